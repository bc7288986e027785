/* SPDX-License-Identifier: MIT */
/*
 * Sleep and wake of rt/executor: post, attract, wait_for_work, enter_user_state, and the kick of a user thread.
 *
 * Memory is TSO (SDM vol. 3, 9.2): a plain store of the owner waits in its store buffer, and its later loads may overtake
 * it; a locked instruction drains the buffer first. Only the owner has plain stores that matter (`state`): what senders
 * write before their compare-exchange is in memory with it.
 *
 * Checked: no run ends with the owner asleep, or computing in user mode, while something was posted or its thread kicked
 * (spin reports it as an invalid end state).
 *
 * MUTANT=1: the store of `state` before the last look at the inbox is a plain one.
 * MUTANT=2: no look at the inbox after that store.
 * MUTANT=3: the sender looks at `state` before it pushes.
 * MUTANT=4: kick() is not looked for after `state` says user mode.
 * MUTANT=5: enter_user_state() does not look at the attention bits.
 */
#ifndef MUTANT
#define MUTANT 0
#endif
#define BUSY 0
#define USER 1
#define SLEEPING 2
#define SENDERS 2
#define MESSAGES 3 /* of all senders: one sends two */

byte state = BUSY;
byte inbox = 0; /* how many nodes are in it */
bit attention = 0;
bit ipi = 0; /* pending at the owner's interrupt controller */
bit kicked = 0;
byte consumed = 0;
bit kick_seen = 0;
chan buffer = [2] of { byte }; /* the owner's stores to `state` that are not in memory yet */

inline drain() {
    do
    :: nempty(buffer) -> buffer?state
    :: empty(buffer) -> break
    od
}
inline store_relaxed(v) { buffer!v }
inline store_seq_cst(v) {
#if MUTANT == 1
    buffer!v
#else
    d_step { drain(); state = v }
#endif
}

/* The memory system: writes buffered stores back at any time. */
active proctype memory() {
end:
    do
    :: atomic { nempty(buffer) -> buffer?state }
    od
}

/* Executor::attract */
inline attract() {
    d_step { before = attention; attention = 1 } /* fetch_or */
    if
    :: before == 0 ->
        seen = state;
        if
        :: seen != BUSY -> ipi = 1
        :: else
        fi
    :: else
    fi
}

/* Executor::post */
inline post() {
#if MUTANT == 3
    seen = state;
    inbox++;
#else
    inbox++; /* compare_exchange */
    seen = state;
#endif
    if
    :: seen != BUSY -> attract()
    :: else
    fi
}

active [SENDERS] proctype sender() {
    byte seen;
    bit before;
    post();
    if
    :: _pid == 2 -> post()
    :: else
    fi
}

/* UserThread::kick */
active proctype kicker() {
    byte seen;
    bit before;
    kicked = 1; /* seq_cst */
    attract()
}

inline take_attention() {
    if
    :: attention != 0 -> d_step { drain(); attention = 0 }
    :: else
    fi
}
inline drain_inbox() {
    if
    :: inbox != 0 -> d_step { drain(); consumed = consumed + inbox; inbox = 0 }
    :: else
    fi
}

active proctype owner() {
    byte looked;
    do
    :: consumed == MESSAGES && kick_seen -> break
    :: else ->
        /* run_one: everything that is there */
        drain_inbox();
        take_attention();
        drain_inbox();
        if
        :: consumed < MESSAGES -> /* nothing to run: wait_for_work */
            store_seq_cst(SLEEPING);
#if MUTANT == 2
            looked = 0;
#else
            looked = inbox;
#endif
            if
            :: looked == 0 ->
                if
                :: attention == 0 -> atomic { ipi == 1 -> ipi = 0 } /* wait_for_event */
                :: else
                fi
            :: else
            fi;
            store_relaxed(BUSY)
        :: true -> /* a user thread is ready: enter */
            store_seq_cst(USER);
#if MUTANT == 2
            looked = 0;
#else
            looked = inbox;
#endif
            if
#if MUTANT == 5
            :: looked != 0 -> store_relaxed(BUSY)
#else
            :: looked != 0 || attention != 0 -> store_relaxed(BUSY)
#endif
            :: else ->
#if MUTANT != 4
                if
                :: kicked -> store_relaxed(BUSY); kicked = 0; kick_seen = 1; goto next
                :: else
                fi;
#endif
user:           if
                :: atomic { ipi == 1 -> ipi = 0 } /* it computes until an interrupt comes */
                :: consumed == MESSAGES && kick_seen /* or until it ends */
                fi;
                /* on the way back: leave_trap */
                if
                :: attention == 0 && !kicked -> goto user
                :: else ->
                    store_relaxed(BUSY);
                    take_attention();
                    drain_inbox();
                    if
                    :: kicked -> kicked = 0; kick_seen = 1
                    :: else
                    fi
                fi
            fi
        fi;
next:   skip
    od
}

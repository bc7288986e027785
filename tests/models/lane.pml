/* SPDX-License-Identifier: MIT */
/*
 * A call that another CPU executes (rt/remote/lane.hpp; call, spin and send of port/kernel/remote_home.cpp, accept and serve
 * of port/kernel/remote_serve.cpp), with the sleep of the serving CPU (wait_for_work of rt/executor.cpp). Two threads make calls to
 * one server, both from one home or each from its own. A lane has one slot here, so the second thread of a home meets
 * it free, held by a call that is over, and held by one that is pending: then it goes by the inbox.
 *
 * TSO: plain stores wait in their CPU's buffer, in order, and may be overtaken by its later loads; locked instructions
 * and seq_cst stores drain it.
 *
 * Checked: every call is executed once, with its own arguments; its end is seen once (Done, or one make_ready), with the
 * result; no run ends with a call that nobody takes (spin reports it as an invalid end state).
 *
 * MUTANT=1: the server does not look at the lanes once more behind the store of `state`.
 * MUTANT=2: the store of `state` before that look is a plain one.
 * MUTANT=3: the home's look at `state` overtakes its fetch_or: that is no full fence.
 * MUTANT=4: the home detaches by a load and a store.
 * MUTANT=5: the server ends a call by a load and a store.
 * MUTANT=6: the server tells of the end of an asynchronous call only if the home had detached.
 * MUTANT=7: a request that waits for its turn stays pending in the lane.
 * MUTANT=8: the server writes the result behind its exchange.
 * MUTANT=9: a slot is taken from a call that is pending.
 * MUTANT=10: the home does not look at `state` behind its fetch_or, only while it spins.
 * MUTANT=11: whoever takes a slot does not tell the thread that had it.
 */
#ifndef MUTANT
#define MUTANT 0
#endif
#define BUSY 0
#define SLEEPING 1
#define THREADS 2
#define CALLS(t) (2 - (t)) /* that thread t makes */

#define PENDING 1
#define DETACHED 2
#define DONE 4
#define ASYNC 8

/* Memory. */
byte word[THREADS], arg[THREADS], result[THREADS];
byte slot[THREADS]; /* of each home's lane: a thread + 1 */
bit state = BUSY, attention = 0, ipi = 0;
bit inbox[THREADS]; /* the server's */
bit ready[THREADS]; /* in the home's inbox */

/* Not in the machine. */
byte executed[THREADS], asked[THREADS];
bit async[THREADS];
bit has_slot[THREADS];      /* core
        :: Thread
        :: lane_server: only its home's, and the home's other thread */
bit started = 0, apart = 0; /* apart: each thread has its own home */

/* Stores that are not in memory yet. */
mtype = {ARG, WORD, SLOT, RESULT, STATE};
chan homes_buffer[2] = [3] of{mtype, byte, byte};
chan servers_buffer = [3] of{mtype, byte, byte};

inline write_back(buffer) {
    if
        :: buffer ? ARG(w_at, w_value) -> arg[w_at] = w_value
        :: buffer ? WORD(w_at, w_value) -> word[w_at] = w_value
        :: buffer ? SLOT(w_at, w_value) -> slot[w_at] = w_value
        :: buffer ? RESULT(w_at, w_value) -> result[w_at] = w_value
        :: buffer ? STATE(w_at, w_value) -> state = w_value fi;
    w_at = 0;
    w_value = 0
}
inline drain(buffer){do
        :: nempty(buffer) -> write_back(buffer)
        :: empty(buffer) -> break od}

/* The memory system: writes buffered stores back at any time. */
active proctype memory() {
    byte w_at, w_value;
end:
    do
        :: d_step {
            nempty(homes_buffer[0]) -> write_back(homes_buffer[0])
        }
        :: d_step { nempty(homes_buffer[1]) -> write_back(homes_buffer[1]) }
        :: d_step{nempty(servers_buffer) -> write_back(servers_buffer)} od
}

inline execute(e) {
    assert(arg[e] == executed[e] + 1 && arg[e] == asked[e]);
    executed[e] = arg[e]
}
inline make_ready(r) {
    assert(!ready[r]);
    ready[r] = 1
}
inline complete() {
    async[t] = 0;
    execute(t);
    result[t] = arg[t];
    make_ready(t);
    t = 0
}

/* Whatever ends asynchronous calls: any CPU. */
active proctype completer() {
    byte t;
end:
    do
        :: atomic {
            async[0] -> t = 0;
            complete()
        }
        :: atomic {
        async[1] -> t = 1;
        complete()
    }
    od
}

/* ---- The home ---- */

/* Executor
        :: attract, in one step here: inbox.pml has them all. */
inline attract(buffer) {
    d_step {
        drain(buffer);
        if
        :: attention == 0 && state != BUSY -> ipi = 1
        :: else fi;
        attention = 1
    }
}
inline look_and_attract(buffer) {
    if
        :: state != BUSY -> attract(buffer)
        :: else fi
}

#define MINE homes_buffer[home]

active[2] proctype home_cpu() {
    byte home = _pid - 2, t, v, w_at, w_value;
    bit waits[THREADS], over[THREADS];
    bit seen;
    if
        :: home == 0 -> if
        :: skip
        :: apart = 1 fi;
    if
        :: apart -> over[1] = 1
        :: else fi;
    d_step {
        ready[0] = 1;
        ready[1] = 1;
        started = 1
    }
        :: else -> over[0] = 1;
    started;
    if
        :: apart
        :: else -> over[1] = 1 fi fi;
next:
    do
        :: over[0] && over[1] -> break
        :: atomic {
            !over[0] && ready[0] -> ready[0] = 0;
            t = 0
        }
    goto runs
        :: atomic {
        !over[1] && ready[1] -> ready[1] = 0;
        t = 1
    }
    goto runs od;
    goto finished;

runs:
    skip; /* thread t is in user mode: its last call is over */
    d_step {
        if
        :: waits[t] -> waits[t] = 0;
        assert(executed[t] == asked[t] && result[t] == asked[t])
        :: else fi
    }
again:
    if
        :: asked[t] == CALLS(t) -> over[t] = 1;
    t = 0;
    goto next
        :: else -> asked[t]++ fi;
    MINE !ARG(t, asked[t]);
    /* lane_claim, unless the thread remembers that it has a slot */
    if
        :: has_slot[t] -> goto claimed
        :: else fi;
    if
        :: slot[home] == t + 1
        :: slot[home] == 0 -> MINE !SLOT(home, t + 1)
        :: slot[home] ==
            2 - t -> if
#if MUTANT == 9
        :: true -> MINE !SLOT(home, t + 1)
#else
        :: (word[1 - t] & PENDING) ==
            0 -> MINE !SLOT(home, t + 1);
#if MUTANT != 11
    has_slot[1 - t] = 0
#endif
        :: (word[1 - t] & PENDING) != 0 -> goto send
#endif
                    fi fi;
    has_slot[t] = 1;
claimed:
    MINE !WORD(t, PENDING);
    /* spin */
    do
        :: break
        :: empty(MINE) && (word[t] & (DONE | ASYNC)) -> v = word[t];
    goto seen_end
        :: look_and_attract(MINE) od;
    skip; /* no jump leads into a d_step */
#if MUTANT == 3
    seen = state;
#endif
#if MUTANT == 4
    d_step {
        drain(MINE);
        v = word[t]
    }
    word[t] = v | DETACHED;
#else
    d_step {
        drain(MINE);
        v = word[t];
        word[t] = v | DETACHED
    }
#endif
seen_end:
    if
        :: v & DONE -> d_step {
            v = 0;
            assert(executed[t] == asked[t] && result[t] == asked[t])
        }
    goto again /* straight back to user mode */
        :: else fi;
    waits[t] = 1;
    if
        :: v& ASYNC
        :: else->
#if MUTANT == 3
            if
        :: seen != BUSY -> attract(MINE)
        :: else fi
#elif MUTANT != 10
            look_and_attract(MINE)
#endif
                             fi;
    v = 0;
    t = 0;
    goto next;

send: /* by the inbox */
    MINE !WORD(t, DETACHED);
    waits[t] = 1;
    d_step {
        drain(MINE);
        inbox[t] = 1
    } /* compare_exchange */
    look_and_attract(MINE);
    t = 0;
    goto next;

finished:
    assert(!(home == 0 && ready[0]))
}

/* ---- The server ---- */

inline store_state(v) {
#if MUTANT == 2
    servers_buffer !STATE(0, v)
#else
    d_step {
        drain(servers_buffer);
        state = v
    }
#endif
}

inline serve(s) {
    if
        :: true -> /* a leaf that is done */
            execute(s);
#if MUTANT == 8
    d_step {
        drain(servers_buffer);
        v = word[s];
        word[s] = DONE
    }
    servers_buffer !RESULT(s, arg[s]);
#elif MUTANT == 5
    servers_buffer !RESULT(s, arg[s]);
    v = word[s];
    servers_buffer !WORD(s, DONE);
#else
    servers_buffer !RESULT(s, arg[s]);
    d_step {
        drain(servers_buffer);
        v = word[s];
        word[s] = DONE
    }
#endif
    if
        :: v & DETACHED -> d_step {
            drain(servers_buffer);
            make_ready(s)
        }
        :: else fi
        :: true -> /* goes on without the home */
        d_step {
        drain(servers_buffer);
        v = word[s];
        word[s] = ASYNC
    }
#if MUTANT == 6
    if
        :: v & DETACHED -> async[s] = 1
        :: else -> d_step {
            execute(s);
            result[s] = arg[s]
        }
    fi
#else
    async[s] = 1
#endif
        fi;
    v = 0
}
inline accept(a) {
    d_step {
        assert(!queued[a]);
        drain(servers_buffer);
#if MUTANT != 7
        word[a] = word[a] & ~PENDING; /* fetch_and */
#endif
        queued[a] = 1
    }
}
/* `found`: a thread + 1 whose call is pending, or 0. */
inline lane_poll(h) {
    found = slot[h];
    if
        :: found != 0 && (word[found - 1] & PENDING)
        :: else -> found = 0 fi
}

active proctype server() {
    byte v, w_at, w_value, found;
    bit queued[THREADS];
    do
        :: true
            ->
            /* run_one */
            if
        :: inbox[0]
 -> inbox[0] = 0;
    accept(0)
        :: else fi;
    if
        :: inbox[1] -> inbox[1] = 0;
    accept(1)
        :: else fi;
    lane_poll(0);
    if
        :: found != 0 -> found--;
    accept(found);
    found = 0
        :: found != 0 && !queued[0] && !queued[1] -> found--;
    serve(found);
    found = 0
        :: else fi;
    lane_poll(1);
    if
        :: found != 0 -> found--;
    accept(found);
    found = 0
        :: else fi;
    if
        :: attention -> d_step {
            drain(servers_buffer);
            attention = 0
        }
        :: else fi;
    if
        :: queued[0] -> queued[0] = 0;
    serve(0)
        :: queued[1] -> queued[1] = 0;
    serve(1)
        :: !queued[0] && !queued[1] -> /* nothing to run: wait_for_work */
                             store_state(SLEEPING);
    if
        :: inbox[0] || inbox[1] ||
            attention
        :: else->
#if MUTANT != 1
            lane_poll(0);
    if
        :: found == 0 -> lane_poll(1)
        :: else fi;
#endif
    if
        :: found == 0 -> end : atomic{ipi == 1 -> ipi = 0} /* wait_for_event */
        :: else fi fi;
    found = 0;
    servers_buffer !STATE(0, BUSY) fi od
}

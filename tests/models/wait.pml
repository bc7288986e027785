/* SPDX-License-Identifier: MIT */
/*
 * One wait of one job (rt/task.cpp): Wait::suspend and finish against WaitQueue::wake, Job::interrupt and a timer.
 *
 * TSO: plain stores wait in their CPU's buffer (one for the waiter's `phase`, one for the interrupter's flag) and may be
 * overtaken by later loads; locked instructions and seq_cst stores drain it.
 *
 * Checked: the wait ends if anything happened that must end it; one cause wins; the job is posted exactly if it had
 * suspended, once; a waker that was told it had woken somebody has; nothing stays in the queue.
 *
 * MUTANT=1: the store of the phase before the flag is looked at is a plain one.
 * MUTANT=2: suspend() does not look at the interrupt flag.
 * MUTANT=3: WaitQueue::add does not compare the sequence.
 * MUTANT=4: the interrupter's flag is set by a plain store.
 */
#ifndef MUTANT
#define MUTANT 0
#endif
#define RUNNING 0
#define PREPARING 1
#define WAITING 2
#define FIRED 8 /* + why */
#define WOKEN 0
#define TIMEOUT 1
#define INTERRUPTED 2

byte phase = RUNNING;
bit interrupt = 0;
bit condition = 0;
byte sequence = 0, waiters = 0;
bit listed = 0, locked = 0;
byte posted = 0, wins = 0;
bit suspended = 0, wake_won = 0, ended = 0, armed = 0;
byte why = 255;
/* What takes part. */
bit chosen = 0, has_queue, has_waker, has_interrupter, has_timer;

chan phase_buffer = [1] of { byte };
chan flag_buffer = [1] of { bit };

inline drain_phase() {
    do
    :: nempty(phase_buffer) -> phase_buffer?phase
    :: empty(phase_buffer) -> break
    od
}

active proctype memory() {
end:
    do
    :: atomic { nempty(phase_buffer) -> phase_buffer?phase }
    :: atomic { nempty(flag_buffer) -> flag_buffer?interrupt }
    od
}

active proctype choose() {
    atomic {
        if
        :: has_queue = 1; has_waker = 1; has_interrupter = 0
        :: has_queue = 1; has_waker = 1; has_interrupter = 1
        :: has_queue = 1; has_waker = 0; has_interrupter = 1
        :: has_queue = 0; has_waker = 0; has_interrupter = 1
        fi;
        if
        :: has_timer = 0
        :: has_timer = 1
        fi;
        chosen = 1
    }
}

/* Job::fire: a load, then a compare-exchange that fails if the phase has changed meanwhile. `won` says if it won. */
inline fire(cause) {
    won = 0;
    do
    :: p = phase;
        if
        :: p != PREPARING && p != WAITING -> break
        :: else ->
            d_step {
                if
                :: phase == p -> phase = FIRED + cause; won = 1; wins++
                :: else
                fi
            }
            if
            :: won ->
                if
                :: p == WAITING -> posted++
                :: else
                fi;
                break
            :: else
            fi
        fi
    od
}
inline lock() { atomic { locked == 0 -> locked = 1 } }
inline unlock() { locked = 0 }

active proctype waiter() {
    byte p, seen;
    bit won, flag, take;
    chosen;
    seen = sequence;
    if
    :: condition -> goto done
    :: else
    fi;
    /* suspend() */
#if MUTANT == 1
    phase_buffer!PREPARING;
#else
    d_step { drain_phase(); phase = PREPARING }
#endif
    if
    :: has_queue ->
        atomic { locked == 0 -> drain_phase(); locked = 1 }
        waiters++; /* locked instruction */
#if MUTANT != 3
        if
        :: sequence != seen ->
            waiters--;
            unlock();
            fire(WOKEN);
            goto finish
        :: else
        fi;
#endif
        listed = 1;
        unlock()
    :: else
    fi;
#if MUTANT != 2
    flag = interrupt;
    if
    :: flag ->
        d_step { drain_phase() }
        fire(INTERRUPTED)
    :: else
    fi;
#endif
    armed = 1;
    d_step { /* compare_exchange preparing -> waiting */
        drain_phase();
        if
        :: phase == PREPARING -> phase = WAITING; suspended = 1
        :: else
        fi
    }
    if
    :: suspended -> posted > 0
    :: else
    fi;
finish:
    if
    :: has_queue ->
        lock();
        if
        :: listed -> listed = 0; waiters--
        :: else
        fi;
        unlock()
    :: else
    fi;
    armed = 0;
    assert(phase >= FIRED);
    why = phase - FIRED;
    phase_buffer!RUNNING; /* relaxed */
done:
    ended = 1
}

active proctype waker() {
    byte p;
    bit won, take;
    chosen;
    if
    :: has_waker ->
        condition = 1;
        sequence++; /* locked, seq_cst */
        if
        :: waiters != 0 ->
            lock();
            take = listed;
            if
            :: take ->
                listed = 0;
                waiters--;
                fire(WOKEN);
                wake_won = won
            :: else
            fi;
            unlock()
        :: else
        fi
    :: else
    fi
}

active proctype interrupter() {
    byte p;
    bit won;
    chosen;
    if
    :: has_interrupter ->
#if MUTANT == 4
        flag_buffer!1;
#else
        interrupt = 1;
#endif
        fire(INTERRUPTED)
    :: else
    fi
}

/* May fire while it is armed. */
active proctype timer() {
    byte p;
    bit won;
end:
    if
    :: armed && has_timer -> fire(TIMEOUT)
    fi
}

/* When everybody has come to rest. */
active proctype judge() {
    ended && _nr_pr <= 8;
    atomic {
        assert(posted <= 1);
        assert(wins <= 1);
        assert(suspended == posted);
        assert(why == 255 || wins == 1);
        assert(waiters == 0 && !listed);
        assert(!(wake_won && why != WOKEN))
    }
}

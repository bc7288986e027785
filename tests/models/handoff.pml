/* SPDX-License-Identifier: MIT */
/*
 * A thread that goes straight from hand to hand between two CPUs (rt/executor.*): hand_off() of two CPUs at once against
 * await_handoff() of a third, which gives up at any moment; what comes too late is posted to its inbox. How a CPU falls
 * asleep over its inbox is inbox.pml; here it looks until both threads have come.
 *
 * TSO: the plain stores of `handoff` (the third CPU's opening, and what mutants store) wait in their CPU's buffer, and may be
 * overtaken by later loads; exchanges drain it.
 *
 * Checked: each thread gets through exactly once, by one way; the CPU that waits comes to its end.
 *
 * MUTANT=1: the wait ends by a load and a plain store instead of an exchange.
 * MUTANT=2: hand_off() stores without a compare-exchange.
 * MUTANT=3: the wait that gives up does not close.
 * MUTANT=4: the wait does not look at the inbox, and does not give up by itself.
 */
#ifndef MUTANT
#define MUTANT 0
#endif
#define OPEN 0
#define CLOSED 9
#define THREADS 2

byte handoff = CLOSED;   /* OPEN, CLOSED, or the number of a thread */
byte inbox = 0;          /* a set: bit n for thread n */
byte got[THREADS + 1];   /* how often it came through */
chan waiter_buffer = [1] of { byte };
chan giver_buffer[THREADS + 1] = [1] of { byte };

active proctype memory() {
    byte n;
end:
    do
    :: atomic { nempty(waiter_buffer) -> waiter_buffer?handoff }
    :: atomic { nempty(giver_buffer[1]) -> giver_buffer[1]?handoff }
    :: atomic { nempty(giver_buffer[2]) -> giver_buffer[2]?handoff }
    od
}

proctype giver(byte me) {
    byte seen;
    seen = handoff;
    if
    :: seen != OPEN -> goto post
    :: else
    fi;
#if MUTANT == 2
    giver_buffer[me]!me;
    goto done;
#else
    /* compare_exchange: nothing of its own is in its buffer. */
    atomic {
        if
        :: handoff == OPEN -> handoff = me; goto done
        :: else
        fi
    };
#endif
post:
    atomic { inbox = inbox | (1 << me) }
done:
    skip
}

active proctype waiter() {
    byte seen, n;
    bit looks;
    do
    :: got[1] + got[2] == THREADS -> break
    :: got[1] + got[2] < THREADS ->
        /* The executor's loop: the inbox. */
        atomic {
            seen = inbox;
            inbox = 0;
            if
            :: seen & 2 -> got[1]++
            :: else
            fi;
            if
            :: seen & 4 -> got[2]++
            :: else
            fi;
            assert(got[1] <= 1 && got[2] <= 1)
        };
        if
        :: got[1] + got[2] == THREADS -> break
        :: else
        fi;
        /* await_handoff() */
        waiter_buffer!OPEN;
        looks = 1;
        do
        :: looks ->
            /* A load sees the CPU's own store first. */
            atomic {
                if
                :: nempty(waiter_buffer) -> seen = OPEN
                :: else -> seen = handoff
                fi
            };
            if
            :: seen != OPEN -> looks = 0
#if MUTANT != 4
            :: seen == OPEN && inbox != 0 -> looks = 0
            :: seen == OPEN -> looks = 0 /* for so long; an interrupt; a timer */
#endif
            :: seen == OPEN ->
                /* Looks again when there is something to see. */
#if MUTANT == 4
                (nempty(waiter_buffer) || handoff != OPEN)
#else
                (nempty(waiter_buffer) || handoff != OPEN || inbox != 0)
#endif
            fi
        :: !looks -> break
        od;
#if MUTANT == 1
        atomic {
            if
            :: nempty(waiter_buffer) -> seen = OPEN
            :: else -> seen = handoff
            fi
        };
        waiter_buffer!CLOSED;
#elif MUTANT == 3
        atomic {
            if
            :: nempty(waiter_buffer) -> waiter_buffer?handoff
            :: else
            fi;
            seen = handoff
        };
        if
        :: seen == OPEN -> /* given up */
        :: else -> atomic { handoff = CLOSED }
        fi;
        if
        :: seen == OPEN -> (got[1] + got[2] < THREADS && inbox != 0) /* it does something else */
        :: else
        fi;
#else
        atomic {
            if
            :: nempty(waiter_buffer) -> waiter_buffer?handoff
            :: else
            fi;
            seen = handoff;
            handoff = CLOSED
        };
#endif
        if
        :: seen == OPEN
        :: seen == CLOSED -> assert(false)
        :: else ->
            got[seen]++;
            assert(got[seen] <= 1)
        fi
    od;
    assert(got[1] == 1 && got[2] == 1)
}

init {
    run giver(1);
    run giver(2)
}

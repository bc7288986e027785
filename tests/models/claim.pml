/* SPDX-License-Identifier: MIT */
/*
 * Who owns what nobody waits with (core/ipc: ThreadClaim, NativeThread::ask, control_here; reply_save, give_back, Reply::end).
 * Two plays:
 * - an inactive thread that a CPU claims, changes and gives back or starts, while another one has asked its home to end it;
 * - a caller that is saved into a Reply, or given back to it after a wrong answer, while the Reply ends and the caller gives
 *   up at any moment.
 *
 * TSO: a plain store waits in its CPU's buffer (here of one store); exchanges write it back first.
 *
 * Checked: one owner at a time; a thread that has ended is in no queue; an end that was asked for comes; a caller's wait ends
 * once, and a Reply that has ended keeps none.
 *
 * MUTANT=1: a claim is given up by a plain store.
 * MUTANT=2: what gives a claim up does not look for requests afterwards.
 * MUTANT=3: the home ends an inactive thread without claiming it.
 * MUTANT=4: reply_save does not look whether the Reply has ended after it has linked the caller.
 * MUTANT=5: the end of a Reply takes the caller by a load and a store.
 * MUTANT=6: a caller is given back without a look whether the Reply has ended.
 * MUTANT=7: a caller is given back by a plain store.
 */
#ifndef MUTANT
#define MUTANT 0
#endif

/* --- Claims */
#define INACTIVE 0
#define CLAIMED 1
#define READY 2
#define ENDED 3
byte state = INACTIVE;
bit control = 0, job = 0, queued = 0;
byte owners = 0;
chan state_buffer = [1] of { byte }; /* of the CPU that claims */

/* --- Replies: of the one caller */
#define NOBODY 0
#define CALLER 1
#define CLOSED 2
#define THE_THREADS 1
#define THE_REPLYS 2
byte slot = NOBODY; /* the Reply's ReplySlot::caller */
byte owed = THE_THREADS;
byte ends = 0;      /* of the caller's wait */
bit saved = 0;      /* reply_save is through */
byte finished = 0;
chan owed_buffer = [1] of { byte }; /* of the CPU that gives back */

active proctype memory() {
end:
    do
    :: atomic { nempty(state_buffer) -> state_buffer?state }
    :: atomic { nempty(owed_buffer) -> owed_buffer?owed }
    od
}

proctype claimer() {
    byte left = 2;
    bit ours;
    do
    :: left == 0 -> break
    :: left > 0 ->
        left--;
        atomic { empty(state_buffer) -> ours = (state == INACTIVE); if :: ours -> state = CLAIMED :: else fi };
        if
        :: !ours
        :: ours ->
            owners++;
            assert(owners == 1);
            owners--;
            if
            :: /* start() */
                atomic { state = READY; queued = 1 };
                left = 0
            :: /* release() */
#if MUTANT == 1
                state_buffer!INACTIVE;
#else
                state = INACTIVE;
#endif
#if MUTANT != 2
                if
                :: control -> job = 1
                :: else
                fi
#endif
            fi
        fi
    od
}

proctype asker() {
    control = 1;
    job = 1
}

proctype home() {
    byte now;
    do
    :: state == ENDED && !control -> break
    :: atomic { queued && control -> queued = 0; owners++ }; /* run_native() */
        assert(owners == 1);
        owners--;
        state = ENDED;
        control = 0
    :: job ->
        job = 0;
        if
        :: !control
        :: control ->
            now = state;
            if
            :: now == READY ->
                /* Out of its queue, or in flight: looked at again. */
                atomic { if :: queued -> queued = 0; owners++ :: else -> job = 1 fi };
                if
                :: owners != 0 -> assert(owners == 1); owners--; state = ENDED; control = 0; assert(!queued)
                :: else
                fi
            :: now == INACTIVE ->
#if MUTANT == 3
                owners++;
                assert(owners == 1);
                owners--;
                state = ENDED;
                control = 0;
                assert(!queued)
#else
                atomic { if :: state == INACTIVE -> state = CLAIMED; now = CLAIMED :: else -> job = 1 fi };
                if
                :: now == CLAIMED ->
                    owners++;
                    assert(owners == 1);
                    owners--;
                    state = ENDED;
                    control = 0;
                    assert(!queued)
                :: else
                fi
#endif
            :: now == CLAIMED /* what gives it up asks again */
            :: now == ENDED
            fi
        fi
    od
}

/* The wait ends, if this CPU has the caller. */
inline give_up() {
    atomic {
        if
        :: owed == THE_REPLYS -> owed = NOBODY; ends++; if :: slot == CALLER -> slot = NOBODY :: else fi
        :: else
        fi
    }
}

proctype saver() {
    bit ok;
    atomic { ok = (slot == NOBODY); if :: ok -> slot = CALLER :: else fi };
    if
    :: ok ->
        atomic { ok = (owed == THE_THREADS); if :: ok -> owed = THE_REPLYS :: else fi };
        if
        :: !ok -> atomic { if :: slot == CALLER -> slot = NOBODY :: else fi }
        :: ok ->
#if MUTANT != 4
            if
            :: slot == CLOSED -> give_up()
            :: else
            fi
#endif
        fi
    :: else
    fi;
    /* What could not be saved is answered. */
    atomic { if :: owed == THE_THREADS -> owed = NOBODY; ends++ :: else fi };
    saved = 1;
    finished++
}

/* An answer that turns out wrong. */
proctype answerer() {
    bit ok = 0;
    if
    :: slot == CALLER ->
        atomic { ok = (owed == THE_REPLYS); if :: ok -> owed = NOBODY :: else fi }
    :: slot != CALLER
    :: true
    fi;
    if
    :: ok ->
#if MUTANT == 7
        owed_buffer!THE_REPLYS;
#else
        owed = THE_REPLYS;
#endif
#if MUTANT != 6
        if
        :: slot == CLOSED -> give_up()
        :: else
        fi
#endif
    :: else
    fi;
    empty(owed_buffer);
    finished++
}

proctype ender() {
    byte found;
#if MUTANT == 5
    found = slot;
    slot = CLOSED;
#else
    atomic { found = slot; slot = CLOSED };
#endif
    if
    :: found == CALLER -> give_up()
    :: else
    fi;
    finished++
}

proctype canceller() {
    byte where;
    if
    :: true
    :: where = owed;
        if
        :: where != NOBODY ->
            atomic {
                if
                :: owed == where -> owed = NOBODY; ends++
                :: else -> where = NOBODY
                fi
            };
            if
            :: where == THE_REPLYS -> atomic { if :: slot == CALLER -> slot = NOBODY :: else fi }
            :: else
            fi
        :: else
        fi
    fi;
    finished++
}

init {
    if
    :: atomic { run claimer(); run asker(); run home() }
    :: atomic { run saver(); run answerer(); run ender(); run canceller() };
        finished == 4;
        assert(ends == 1 && owed == NOBODY)
    fi
}

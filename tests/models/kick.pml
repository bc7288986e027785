/* SPDX-License-Identifier: MIT */
/*
 * Kicks (core/ipc: note_kick, kick_here, give_back, run_native) against answers. A thread waits for an answer, which its own
 * CPU gives by a fastpath (shortest_reply, finish_reply), or another CPU, which passes it home; its home may take it out of
 * its slot for a moment and give it back (do_here), and so may the other CPU (do_reply). It is kicked at any moment.
 *
 * The link (owed), the flag (renew) and requests change by locked instructions; what is not one is a mutant.
 *
 * Checked: the thread is answered once; it never stays in user mode with a kick that was noted and that no request is under
 * way for.
 *
 * MUTANT=1: the home does not mark the link of a thread that waits for its answer.
 * MUTANT=2: what comes home from another CPU does not look for kicks.
 * MUTANT=3: a kick is noted after its CPU is told.
 * MUTANT=4: the home's fastpath answers a thread whose link is marked.
 * MUTANT=5: the other CPU takes the thread by a load and a store.
 * MUTANT=6: a thread is given back without its mark.
 * MUTANT=7: a request that finds the thread in other hands is not made again.
 */
#ifndef MUTANT
#define MUTANT 0
#endif

#define WAITS 0
#define QUEUED 1 /* ready, at home, on its way to run_native() */
#define USER 2
#define TOLD 3 /* its handler has the kick */

byte state = WAITS;
byte owed = 1; /* 0: in some CPU's hands; 1: the slot; 2: the slot, marked */
bit noted = 0, request = 0;
byte answers = 0;
byte through = 0; /* the call of the kick, and all that CPU 1 does */

inline take() {
    atomic {
        ok = (owed != 0);
        if
        :: ok -> owed = 0
        :: else
        fi
    }
}

active proctype kicker() {
#if MUTANT == 3
    request = 1;
    noted = 1
#else
    noted = 1;
    request = 1
#endif
    ;
    through++
}

/* CPU 1: a wrong answer, after which the thread is given back, an answer, or neither. */
active proctype elsewhere() {
    bit ok, mark;
    if
    :: true ->
        take();
        if
        :: ok -> mark = noted; owed = (mark -> 2 : 1)
        :: else
        fi
    :: true
    fi;
    if
    :: true ->
#if MUTANT == 5
        ok = (owed != 0);
        if
        :: ok -> owed = 0
        :: else
        fi;
#else
        take();
#endif
        if
        :: ok -> answers++; state = QUEUED /* posted home */
        :: else
        fi
    :: true
    fi;
    through++
}

active proctype home() {
    bit may_take = 1, ok, mark;
    do
    :: atomic { request && state != USER -> request = 0 }
        if
        :: !noted
        :: noted && state != WAITS
        :: noted && state == WAITS ->
            atomic { /* kick_here: a compare-exchange */
                if
#if MUTANT != 1
                :: owed == 1 -> owed = 2
#endif
#if MUTANT != 7
                :: owed == 0 && state == WAITS -> request = 1 /* in other hands: again */
#endif
                :: else
                fi
            }
        fi
    :: state == WAITS && may_take ->
        may_take = 0;
        take();
        if
        :: ok ->
            mark = noted;
#if MUTANT == 6
            mark = 0;
#endif
            owed = (mark -> 2 : 1);
            mark = 0
        :: else
        fi
    :: state == WAITS -> /* its fastpath: nothing of this CPU comes between the look and the store */
        atomic {
#if MUTANT == 4
            ok = (owed != 0);
#else
            ok = (owed == 1);
#endif
            if
            :: ok -> owed = 0
            :: else
            fi
        }
        if
        :: ok -> answers++; state = USER
        :: else -> /* the slowpath */
            take();
            if
            :: ok -> answers++; state = QUEUED
            :: else
            fi
        fi
    :: state == QUEUED -> /* run_native */
#if MUTANT == 2
        state = USER
#else
        atomic {
            if
            :: noted -> noted = 0; state = TOLD
            :: else -> state = USER
            fi
        }
#endif
    :: atomic { state == USER && request -> state = QUEUED } /* the interrupt: the job, then the thread again */
    :: (state == USER || state == TOLD) && through == 2 && !request -> break
    od;
    assert(answers == 1);
    assert(!(state == USER && noted))
}

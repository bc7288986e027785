/* SPDX-License-Identifier: MIT */
/*
 * Kicks (core/ipc: note_kick, kick_here, give_back, settle, run_native) against answers. A thread waits for an answer, which
 * its own CPU gives by a fastpath (shortest_reply, finish_reply), or another CPU, which passes it home; its home may take it
 * out of its slot for a moment and give it back (do_here), or move it to the other CPU. CPU 1 kicks it at any moment.
 *
 * TSO: a plain store waits in its CPU's buffer of one store. The link (owed), the flag (renew) and requests change by locked
 * instructions, which drain it.
 *
 * Checked: the thread is answered once; it never stays in user mode with a kick that was noted and that no request is under
 * way for.
 *
 * MUTANT=1: the home does not mark the link of a thread that waits for its answer.
 * MUTANT=2: what comes home from another CPU does not look for kicks.
 * MUTANT=3: a kick is noted after its CPU is told.
 * MUTANT=4: who gives a thread back does not look whether it was kicked in the meantime, and the request is not made again.
 * MUTANT=5: the other CPU takes the thread by a load and a store.
 * MUTANT=6: the home answers a thread whose link is marked by its fastpath.
 */
#ifndef MUTANT
#define MUTANT 0
#endif

#define WAITS 0
#define HOME_QUEUE 1 /* ready, at home, in a queue that looks for kicks */
#define USER 2
#define TOLD 3 /* its handler has the kick */

byte state = WAITS;
byte owed = 1; /* 0: in some CPU's hands; 1: the slot; 2: the slot, marked */
bit noted = 0, request = 0;
byte answers = 0;
bit taken = 0;
bit kicked = 0;             /* the call is through */
chan buffer = [1] of{byte}; /* of CPU 1: stores to owed */

active proctype memory(){end : do ::atomic{nempty(buffer) -> buffer ? owed } od}
#define DRAINED empty(buffer)

/* CPU 1: kicks, and may answer. */
active proctype elsewhere() {
    bit ok;
    byte seen;
    bit may_kick = 1, may_answer = 1;
    do ::may_kick->may_kick = 0;
#if MUTANT == 3
    atomic{DRAINED->request = 1} atomic{DRAINED->noted = 1}
#else
    atomic{DRAINED->noted = 1} atomic{DRAINED->request = 1}
#endif
    kicked = 1 ::may_answer->may_answer = 0;
#if MUTANT == 5
    seen = owed;
    ok = (seen != 0);
    if
        ::ok->buffer !0 ::else fi;
#else
    atomic {
        DRAINED->ok = (owed != 0);
        if
            ::ok->owed = 0 ::else fi
    }
#endif
    if
        ::ok->answers++;
    atomic { DRAINED->state = HOME_QUEUE } /* posted home */
    ::else fi ::!may_kick->break od
}

/* Its home: one thing after another. */
active proctype home() {
    bit may_take = 1, ok;
    byte was;
    do
        ::atomic{request->request = 0} /* kick_here */
            if ::!noted ::noted &&
            state != WAITS ::noted &&
            state == WAITS->
#if MUTANT != 1
                     atomic {
            if
                ::owed == 0 && state ==
                    WAITS->
#if MUTANT != 4
                    request = 1 /* in other hands: again */
#else
                    skip
#endif
                              ::owed == 1->owed = 2 ::else fi
        }
#else
            skip
#endif
    fi ::state == WAITS&& may_take->
                  /* do_here: taken and given back */
                  may_take = 0;
    atomic {
        ok = (owed != 0);
        if
            ::ok->owed = 0 ::else fi
    }
    if
        ::ok->
#if MUTANT == 4
            was = 0;
#else
            was = noted;
#endif
    owed = (was->2 : 1)::else fi ::state == WAITS->
    /* its fastpath: looks, then stores; nothing of this CPU comes between */
#if MUTANT == 6
                                            atomic {
        ok = (owed != 0);
        if
            ::ok->owed = 0 ::else fi
    }
#else
                                            atomic {
        ok = (owed == 1);
        if
            ::ok->owed = 0 ::else fi
    }
#endif
    if
        ::ok->answers++;
    state = USER ::!ok->
            /* the slowpath */
            atomic {
        ok = (owed != 0);
        if
            ::ok->owed = 0 ::else fi
    }
    if
        ::ok->answers++;
    state = HOME_QUEUE ::else fi fi ::state == HOME_QUEUE->
    /* run_native */
#if MUTANT == 2
                                               state =
                USER
#else
                                               atomic {
        if
            ::noted->noted = 0;
        state = TOLD ::else->state = USER fi
    }
#endif
                    ::state == USER &&
                request->/* the interrupt: out of user mode, then the request, then this thread again */
                atomic {
        request = 0;
        state = HOME_QUEUE
    }
    ::(state == USER || state == TOLD) && kicked && !request->break od;
    assert(answers == 1);
    assert(!(state == USER && noted))
}

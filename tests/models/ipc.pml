/* SPDX-License-Identifier: MIT */
/*
 * IPC of native threads (core/ipc: fastpath.cpp, slowpath.cpp, wait.cpp, NativeThread::claim, cancel, time_out): two clients
 * and a server. The server and client 1 live on CPU 0, client 2 on CPU 1, so each path is taken on one CPU and across two.
 * Every call and answer takes its fastpath or its slowpath, whatever may have failed: a call that finds no receiver queues
 * on the fastpath (to_queue), an answer where senders wait takes one of them along (answer_and_take). Five plays:
 * - a call of client 2 is cancelled at any moment by its home (a timeout, a suspension);
 * - the same while the server keeps the caller in a Reply object and never answers;
 * - signals for the notification that is bound to the server;
 * - receives of the server have a timeout, or none, and it expires at any moment;
 * - the endpoint ends at any moment, while a call of client 2 may be cancelled too.
 *
 * TSO: a plain store waits in its CPU's buffer, in order; its own CPU sees it, others do not until it is written back.
 * Locked instructions drain the buffer first. Giving a lock up is a plain store. What is read only under the lock (the
 * queue of senders) and what only its own CPU reads (its run queue) needs no buffer. Sleep and wake-up of CPUs: inbox.pml.
 *
 * Checked: a thread is never ready twice, nor ready while it is in a queue or awaits an answer; none is taken from a queue
 * that it is not in; every call ends once, with the answer to itself or as cancelled; a timeout ends only the wait it was
 * for, and a thread that goes on has none any more; no run ends with a message, a cancellation, a signal or an end that
 * nobody takes (spin reports it as an invalid end state).
 *
 * MUTANT=1: a sender's fastpath does not look at the receiver again under the lock.
 * MUTANT=2: an answer to the other CPU takes the caller by a load and a store.
 * MUTANT=3: a cancellation takes the caller by a load and a store.
 * MUTANT=4: a cancellation clears the slot, whoever is in it.
 * MUTANT=5: a receive does not look at the bound notification once more after it has queued.
 * MUTANT=6: that look is a plain load.
 * MUTANT=7: a signal looks for the receiver before it sets the bits.
 * MUTANT=8: the answer's fastpath does not look for senders under the lock.
 * MUTANT=9: a cancellation that finds the thread in other hands is not tried again.
 * MUTANT=10: a sender writes that it awaits an answer after it has let the receiver go.
 * MUTANT=11: reply_save moves the caller by a load and a store.
 * MUTANT=12: a cancellation takes the thread out of the queue without looking at its state under the lock.
 * MUTANT=13: to_queue does not look for a receiver again under the lock.
 * MUTANT=14: to_queue does not look whether the endpoint has ended.
 * MUTANT=15: answer_and_take takes the caller by a load and a store.
 * MUTANT=16: answer_and_take takes the sender out of the queue after it has given up the lock.
 * MUTANT=17: answer_and_take takes it out under the lock, but says that it is in none behind it.
 * MUTANT=18: an endpoint's end says so after its last look at the queue.
 * MUTANT=19: a fastpath to the other CPU looks whether the receiver has a timeout before the lock only.
 * MUTANT=20: a slowpath ends the receiver's timeout after it has let it go.
 * MUTANT=21: a timeout's job does not look whether the timer is armed again, for a later wait.
 * MUTANT=22: the answer's fastpath waits at an endpoint that has ended.
 * MUTANT=23: the answer's fastpath of a bound server does not look for signals after it has queued.
 * MUTANT=24: that look is a plain load.
 * MUTANT=25: signals that came are taken though another CPU has taken the server from the queue.
 */
#ifndef MUTANT
#define MUTANT 0
#endif
#define SERVER 0
#define CALLS(t) (((t) == 1 && bound) -> 1 : 2) /* that client t makes; one, so that the server can wait for the first time last */
#define SIGNALS 2
#define HOME(t) ((t) == 2)

/* What threads are. */
#define READY 0
#define SENDING 1
#define RECEIVING 2
#define AWAITING 3

/* Memory. */
#define LOCK 0
#define RECEIVER 1 /* Endpoint::receiver: SERVER + 1 or 0 */
#define CALLER 2   /* the server's ReplySlot::caller: a client or 0 */
#define SAVED 3    /* the Reply object's */
#define BITS 4     /* of the bound notification */
#define STATE(t) (5 + (t))
#define OWED(t) (7 + (t)) /* of a client: 0, 1 the server's slot, 2 the Reply object's */
#define AT(t) (10 + (t) / 2) /* waits_at is set, of the server and of client 2 */
#define TIMED 12 /* the server's kOddTimed: not atomic, its owner's */
#define CELLS 13
byte memory[CELLS];
bit senders[3]; /* queued; under the lock */
bit inbox[3];   /* posted home */
bit ready[3];   /* in the run queue of the home */

/* Not in the machine. */
byte asked[3], answered[3];
byte got;       /* by the server: a client, or 0 */
byte got_call;  /* which of its calls */
bit calling[3], cancelled[3];
byte signals = 0, seen = 0; /* a bit each */
bit fired = 0, want = 0;
bit bound = 0, deaf = 0, timed = 0, mortal = 0, started = 0; /* which play */
bit waits; /* the server is in the queue */
bit dead = 0, ended = 0, gone = 0; /* the endpoint (under the lock); nobody waits there any more; nor will the server */
bit armed = 0, job = 0; /* the server's timer, under a lock of its own, and time_out(), which is to run at home */
bit signalling = 0;

/* Stores that are not in memory yet, and what their own CPU sees. */
chan buffer[2] = [9] of { byte, byte };
byte pending[26], own[26];

#define P(cell) (me * CELLS + (cell))
#define LOAD(cell) (pending[P(cell)] -> own[P(cell)] : memory[cell])
inline write_back(cpu) {
    buffer[cpu]?w_cell, w_value;
    memory[w_cell] = w_value;
    pending[cpu * CELLS + w_cell]--;
    if
    :: pending[cpu * CELLS + w_cell] == 0 -> own[cpu * CELLS + w_cell] = 0
    :: else
    fi;
    w_cell = 0;
    w_value = 0
}
inline drain() {
    do
    :: nempty(buffer[me]) -> write_back(me)
    :: empty(buffer[me]) -> break
    od
}
inline store(cell, value) {
    atomic { buffer[me]!cell, value; pending[P(cell)]++; own[P(cell)] = value }
}
inline exchange_if(cell, expected, value) {
    d_step {
        drain();
        ok = (memory[cell] == expected);
        if
        :: ok -> memory[cell] = value
        :: else
        fi
    }
}
inline lock() {
    atomic { memory[LOCK] == 0 && pending[P(LOCK)] == 0 -> d_step { drain(); memory[LOCK] = 1 } }
}
inline unlock() { store(LOCK, 0) }

/* The memory system. */
active proctype writer() {
    byte w_cell, w_value;
end:
    do
    :: d_step { nempty(buffer[0]) -> write_back(0) }
    :: d_step { nempty(buffer[1]) -> write_back(1) }
    od
}

/* Thread r, which is ours, goes on at its home. */
inline make_ready(r) {
    d_step {
        assert(!ready[r] && !inbox[r] && !senders[r] && !(r == SERVER && waits));
        if
        :: HOME(r) == me -> ready[r] = 1
        :: else -> drain(); inbox[r] = 1
        fi
    }
}
inline answer(r) {
    d_step { assert(calling[r] && got == r && got_call == asked[r]); answered[r] = got_call }
}
inline owe(r) {
#if MUTANT != 10
    store(STATE(r), AWAITING);
    store(CALLER, r);
    store(OWED(r), 1)
#else
    skip
#endif
}
inline owe_late(r) {
#if MUTANT == 10
    store(STATE(r), AWAITING);
    store(CALLER, r);
    store(OWED(r), 1)
#else
    skip
#endif
}
inline message(r) {
    d_step { got = r; got_call = asked[r] }
}
/* take_receiver, lock held */
inline take_server() {
    d_step { assert(waits); waits = 0 }
    store(RECEIVER, 0);
    store(STATE(SERVER), READY)
}
inline take_sender(r) {
    d_step { assert(senders[r]); senders[r] = 0 }
}
/* Both of a thread that is ours. */
inline arm_timeout() {
    store(TIMED, 1);
    d_step { drain(); armed = 1 }
}
inline drop_timeout() {
    if
    :: LOAD(TIMED) != 0 ->
        store(TIMED, 0);
        d_step { drain(); armed = 0 }
    :: else
    fi
}
inline queue_server() {
    store(STATE(SERVER), RECEIVING);
    store(AT(SERVER), 1);
    store(RECEIVER, 1);
    d_step { assert(!waits); waits = 1 }
}
/* claim(kStateReceiving): ok is what it returns. */
inline claim_server() {
    ok = 0;
    if
    :: LOAD(AT(SERVER)) == 0
    :: else ->
        lock();
        if
        :: LOAD(STATE(SERVER)) == RECEIVING -> take_server(); ok = 1
        :: else
        fi;
        unlock()
    fi
}
inline take_bits() {
    d_step { drain(); bits = memory[BITS]; memory[BITS] = 0 }
}

/* signals_came, take_signals; r, if not 0, is ready, and continues at once if the server waits. */
inline look_for_signals(r) {
    if
    :: bound ->
#if MUTANT == 23
        bits = 0;
#elif MUTANT == 24
        bits = LOAD(BITS);
#else
        d_step { drain(); bits = memory[BITS] } /* fetch_or(0) */
#endif
        if
        :: bits != 0 ->
            claim_server();
#if MUTANT == 25
            ok = 1;
#endif
            if
            :: ok ->
                take_bits();
                d_step { seen = seen | bits; bits = 0; got = 0; got_call = 0 }
                if
                :: r != 0 -> make_ready(r)
                :: else
                fi;
                goto server
            :: else
            fi;
            bits = 0
        :: else
        fi
    :: else
    fi
}

#define ALL_SEEN (signals == SIGNALS && !signalling && memory[BITS] == 0 && seen == (1 << SIGNALS) - 1)
#define FINISHED                                                                                         \
    (asked[1] == CALLS(1) && asked[2] == CALLS(2) && !calling[1] && !calling[2] && !want && !armed &&    \
     !job && (mortal -> ended && gone : waits && memory[RECEIVER] == 1) && (!bound || ALL_SEEN) &&       \
     memory[SAVED] == 0 && memory[CALLER] == 0)

active [2] proctype cpu() {
    byte me = _pid - 1, t, c, bits, w_cell, w_value;
    bit ok;
    if
    :: me == 0 ->
        if
        :: fired = 0
        :: deaf = 1
        :: bound = 1; fired = 1
        :: timed = 1; fired = 1
        :: mortal = 1
        fi;
        d_step { ready[0] = 1; ready[1] = 1; ready[2] = 1; started = 1 }
    :: else -> started
    fi;

next:
    skip; /* no jump leads into a d_step */
    t = 0; c = 0; bits = 0; ok = 0;
    if
    :: FINISHED -> goto done
    :: atomic { inbox[me * 2] -> drain(); inbox[me * 2] = 0; assert(!ready[me * 2]); ready[me * 2] = 1 } goto next
    :: atomic { me == 0 && inbox[1] -> drain(); inbox[1] = 0; assert(!ready[1]); ready[1] = 1 } goto next
    :: atomic { me == 0 && ready[0] -> ready[0] = 0 } goto server
    :: atomic { me == 0 && ready[1] -> ready[1] = 0; t = 1 } goto client
    :: atomic { me == 1 && ready[2] -> ready[2] = 0; t = 2 } goto client
    :: atomic { me == 1 && bound && signals < SIGNALS -> bits = 1 << signals; signals++; signalling = 1 } goto signal
    :: atomic { me == 1 && !fired && asked[2] == 1 && calling[2] -> fired = 1; want = 1 } goto next
    :: me == 1 && want -> goto cancel
    :: me == 1 && mortal && !dead -> goto kill
    :: atomic { me == 0 && armed -> armed = 0; job = 1 } goto next
    :: atomic { me == 0 && job -> job = 0 } goto expired
    fi;

client: /* t is in user mode: whatever it called is over */
    skip;
    d_step {
        if
        :: calling[t] ->
            assert(cancelled[t] != (answered[t] == asked[t]));
            calling[t] = 0;
            cancelled[t] = 0
        :: else
        fi;
        if
        :: t == 2 -> want = 0 /* its wait is over: drop_timeout, or control_here finds it ready */
        :: else
        fi
    }
    if
    :: asked[t] == CALLS(t) -> goto next
    :: else
    fi;
    d_step { asked[t]++; calling[t] = 1 }
    if
    :: true -> goto slow_call
    :: true -> skip
    fi;
    /* The fastpath: of one CPU or across two. */
    if
    :: LOAD(RECEIVER) == 0 -> goto to_queue
    :: else
    fi;
    if
#if MUTANT == 19
    :: LOAD(TIMED) != 0 -> goto slow_call
#else
    :: me == 0 && LOAD(TIMED) != 0 -> goto slow_call /* its home, where it can get none meanwhile */
#endif
    :: else
    fi;
    lock();
    if
#if MUTANT != 1
    :: LOAD(RECEIVER) == 0 -> unlock(); goto slow_call
#endif
#if MUTANT != 19
    :: LOAD(RECEIVER) != 0 && LOAD(TIMED) != 0 -> unlock(); goto slow_call
#endif
    :: else
    fi;
    take_server();
    unlock();
    message(t);
    if
    :: me == 0 ->
        owe(t);
        owe_late(t);
        assert(!ready[SERVER] && !inbox[SERVER]);
        goto server /* switches to it */
    :: else ->
        owe(t);
        make_ready(SERVER);
        owe_late(t);
        goto next
    fi;

to_queue:
    lock();
    if
#if MUTANT != 13
    :: LOAD(RECEIVER) != 0 -> unlock(); goto slow_call
#endif
#if MUTANT != 14
    :: dead -> unlock(); goto slow_call
#endif
    :: else -> goto queue
    fi;

slow_call:
    lock();
    if
    :: dead ->
        unlock();
        cancelled[t] = 1;
        goto client
    :: !dead && LOAD(RECEIVER) == 0 -> goto queue
    :: else
    fi;
    take_server();
    unlock();
#if MUTANT != 20
    drop_timeout();
#endif
    message(t);
    owe(t);
    make_ready(SERVER);
    owe_late(t);
#if MUTANT == 20
    drop_timeout();
#endif
    goto next;

queue: /* t waits as a sender; lock held */
    if
    :: t == 2 -> store(AT(2), 1)
    :: else
    fi;
    store(STATE(t), SENDING);
    senders[t] = 1;
    unlock();
    goto next;

server: /* in user mode, with a message from `got`, or with none */
    skip;
    d_step { assert(!waits && LOAD(TIMED) == 0); t = 0 }
    if
    :: deaf && got == 2 && got_call == 1 -> goto save
    :: true -> goto slow_reply
    :: true -> skip
    fi;
    c = LOAD(CALLER);
    if
    :: c == 0 || (bound && LOAD(BITS) != 0) -> goto slow_reply
    :: else
    fi;
    lock();
    if
#if MUTANT != 8
    :: senders[1] || senders[2] -> goto take_along
#endif
#if MUTANT != 22
    :: dead -> unlock(); goto slow_reply
#endif
    :: else
    fi;
    if
    :: HOME(c) == me ->
        store(OWED(c), 0);
        store(CALLER, 0);
        store(STATE(c), READY);
        answer(c);
        queue_server();
        unlock();
        assert(!ready[c] && !inbox[c]);
        look_for_signals(c);
        t = c;
        goto client
    :: else ->
#if MUTANT == 2
        ok = (LOAD(OWED(c)) == 1);
        if
        :: ok -> store(OWED(c), 0)
        :: else
        fi;
#else
        exchange_if(OWED(c), 1, 0);
#endif
        if
        :: !ok -> unlock(); goto slow_reply
        :: else
        fi;
        store(CALLER, 0);
        answer(c);
        store(STATE(c), READY);
        queue_server();
        unlock();
        make_ready(c);
        look_for_signals(0);
        goto next
    fi;

take_along: /* answer_and_take: c has its answer, and t its message taken, at once; lock held */
    if
    :: dead || !senders[1] || !senders[2] -> unlock(); goto slow_reply /* or a long message, or something above waits */
    :: !dead && senders[1] -> t = 1
    :: !dead && senders[2] -> t = 2
    fi;
#if MUTANT == 15
    ok = (LOAD(OWED(c)) == 1);
    if
    :: ok -> store(OWED(c), 0)
    :: else
    fi;
#else
    exchange_if(OWED(c), 1, 0);
#endif
    if
    :: !ok -> unlock(); goto slow_reply
    :: else
    fi;
#if MUTANT != 16
    take_sender(t);
#if MUTANT != 17
    store(STATE(t), READY);
#endif
#endif
    unlock();
#if MUTANT == 16
    take_sender(t);
#endif
#if MUTANT == 16 || MUTANT == 17
    store(STATE(t), READY);
#endif
    answer(c);
    message(t);
    owe(t);
    owe_late(t);
    store(STATE(c), READY);
    make_ready(c);
    goto server;

save: /* reply_save */
    c = LOAD(CALLER);
    if
    :: c == 0 -> goto receive
    :: else
    fi;
    exchange_if(SAVED, 0, c);
#if MUTANT == 11
    ok = (LOAD(OWED(c)) == 1);
    if
    :: ok -> store(OWED(c), 2)
    :: else
    fi;
#else
    exchange_if(OWED(c), 1, 2);
#endif
    store(CALLER, 0);
    if
    :: !ok -> store(SAVED, 0)
    :: else
    fi;
    goto receive;

slow_reply:
    c = LOAD(CALLER);
    if
    :: c == 0 -> goto receive
    :: else
    fi;
    exchange_if(OWED(c), 1, 0); /* take_caller */
    store(CALLER, 0);
    if
    :: ok ->
        answer(c);
        store(STATE(c), READY);
        make_ready(c)
    :: else
    fi;

receive:
    skip;
    d_step { got = 0; got_call = 0; c = 0 }
    if
    :: bound ->
        take_bits();
        if
        :: bits != 0 -> d_step { seen = seen | bits; bits = 0 } goto server
        :: else
        fi
    :: else
    fi;
    lock();
    if
    :: dead -> unlock(); gone = 1; goto next
    :: !dead && senders[1] -> c = 1
    :: !dead && senders[2] -> c = 2
    :: !dead && !senders[1] && !senders[2]
    fi;
    if
    :: c != 0 ->
        take_sender(c);
        store(STATE(c), READY);
        unlock();
        message(c);
        owe(c);
        owe_late(c);
        c = 0;
        goto server
    :: else
    fi;
    if
    :: timed -> arm_timeout()
    :: true
    fi;
    queue_server();
    unlock();
    if
    :: bound ->
#if MUTANT == 5
        bits = 0;
#elif MUTANT == 6
        bits = LOAD(BITS);
#else
        d_step { drain(); bits = memory[BITS] } /* fetch_or(0) */
#endif
        if
        :: bits != 0 ->
            claim_server();
            if
            :: ok ->
                take_bits();
                assert(bits != 0);
                d_step { seen = seen | bits; bits = 0 }
                goto server
            :: else
            fi
        :: else
        fi
    :: else
    fi;
    goto next;

signal: /* notify(): nobody waits at the notification itself */
    skip;
#if MUTANT == 7
    claim_server();
    d_step { drain(); memory[BITS] = memory[BITS] | bits }
#else
    d_step { drain(); memory[BITS] = memory[BITS] | bits } /* fetch_or */
    claim_server();
#endif
    if
    :: ok ->
        take_bits();
        d_step { seen = seen | bits; got = 0; got_call = 0 } /* none: it makes its call again */
        make_ready(SERVER)
    :: else
    fi;
    signalling = 0;
    goto next;

expired: /* the server's time_out(), at home */
    if
#if MUTANT != 21
    :: armed -> goto next
#endif
    :: LOAD(TIMED) == 0 -> goto next
    :: else
    fi;
    assert(!ready[SERVER]); /* or this would be done for ever, before it goes on */
    claim_server();
    if
    :: ok ->
        assert(!armed);
        store(TIMED, 0);
        make_ready(SERVER)
    :: else -> job = 1 /* in other hands: again */
    fi;
    goto next;

kill: /* Endpoint::end */
    c = 0;
    lock();
#if MUTANT != 18
    dead = 1;
#endif
    if
    :: waits -> take_server(); unlock(); make_ready(SERVER); goto kill
    :: senders[1] -> c = 1
    :: senders[2] -> c = 2
    :: else ->
        unlock();
#if MUTANT == 18
        lock(); /* so that others see it under the lock at once */
        dead = 1;
        unlock();
#endif
        ended = 1;
        goto next
    fi;
    take_sender(c);
    store(STATE(c), READY);
    unlock();
    d_step {
        cancelled[c] = 1;
        if
        :: c == 2 -> want = 0
        :: else
        fi
    }
    make_ready(c);
    goto kill;

cancel: /* client 2's home ends its wait, if it is in one */
    c = LOAD(STATE(2));
    ok = 0;
    if
    :: c == AWAITING -> /* withdraw */
        c = LOAD(OWED(2));
        if
        :: c != 0 ->
#if MUTANT == 3
            ok = (LOAD(OWED(2)) == c);
            if
            :: ok -> store(OWED(2), 0)
            :: else
            fi;
#else
            exchange_if(OWED(2), c, 0);
#endif
            if
            :: ok ->
#if MUTANT == 4
                store(1 + c, 0)
#else
                exchange_if(1 + c, 2, 0);
                ok = 1
#endif
            :: else
            fi
        :: else
        fi
    :: c == SENDING -> /* claim */
        lock();
        if
#if MUTANT == 12
        :: true ->
#else
        :: LOAD(STATE(2)) == SENDING ->
#endif
            take_sender(2);
            store(STATE(2), READY);
            ok = 1
#if MUTANT != 12
        :: else
#endif
        fi;
        unlock()
    :: else
    fi;
    if
    :: ok ->
        d_step { cancelled[2] = 1; want = 0 }
        store(STATE(2), READY);
        make_ready(2)
#if MUTANT == 9
    :: else -> want = 0
#else
    :: else /* in other hands: again */
#endif
    fi;
    goto next;

done:
    skip
}

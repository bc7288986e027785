/* SPDX-License-Identifier: MIT */
/*
 * A contended endpoint (core/ipc/fastpath.cpp): two servers receive from it and two clients call, one of each on each of
 * two CPUs, on fastpaths and slowpaths, so that receivers and senders queue there, and whoever answers takes a sender along
 * (answer_and_take). The call of client 3 is cancelled at any moment by its home, and may then come to the other server.
 * One server, and what else can end a wait: ipc.pml. The memory is that of ipc.pml: explicit store buffers.
 *
 * Checked: a thread is never ready twice, nor taken from a queue that it is not in; every call comes to one server, which
 * answers it, or is cancelled; senders and receivers never wait both; no run ends with a call that nobody takes (an invalid
 * end state).
 *
 * MUTANT=1: answer_and_take takes the sender out of the queue after it has given up the lock.
 * MUTANT=2: answer_and_take takes the caller whoever owes it the answer.
 * MUTANT=3: so does the answer's fastpath to the other CPU.
 * MUTANT=4: so does the slowpath.
 * MUTANT=5: a call looks under the lock whether somebody waits, not whether it is whom it has found.
 * MUTANT=6: a call takes the first receiver and forgets the one behind it.
 * MUTANT=7: to_queue does not look for a receiver again under the lock.
 * MUTANT=8: the answer's fastpath does not look for senders under the lock.
 * MUTANT=9: the answer's fastpath clears the server's slot after it has given up the lock: there is a new caller in it.
 */
#ifndef MUTANT
#define MUTANT 0
#endif
#define HOME(t) ((t) & 1)
#define CALLS 2 /* of each client: threads 2 and 3; the servers are 0 and 1 */

/* What client 3 is. */
#define READY 0
#define SENDING 1
#define AWAITING 2

/* Memory. */
#define LOCK 0
#define RECEIVER 1          /* Endpoint::receiver: the first server that waits, + 1, or 0 */
#define CALLER(s) (2 + (s)) /* ReplySlot::caller: a client or 0 */
#define OWED(t) (2 + (t))   /* of a client: the server whose slot it is, + 1, or 0 */
#define STATE 6             /* of client 3 */
#define CELLS 7
byte memory[CELLS];
bit waits[2];           /* receivers that are queued; under the lock */
bit senders[4];         /* the same */
bit inbox[4], ready[4]; /* posted home; in the run queue of the home */

/* Not in the machine. */
byte asked[4], answered[4];
byte got[2], got_call[2]; /* by each server: a client, or 0; which of its calls */
bit calling[4], cancelled = 0, fired = 0, want = 0;

/* Stores that are not in memory yet, and what their own CPU sees. */
chan buffer[2] = [9] of { byte, byte };
byte pending[14], own[14];

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
/* Whatever it was. */
inline exchange(cell, value) {
    d_step { drain(); ok = (memory[cell] != 0); memory[cell] = value }
}
inline lock() {
    atomic { memory[LOCK] == 0 && pending[P(LOCK)] == 0 -> d_step { drain(); memory[LOCK] = 1 } }
}
inline unlock() { store(LOCK, 0) }

active proctype writer() {
    byte w_cell, w_value;
end:
    do
    :: d_step { nempty(buffer[0]) -> write_back(0) }
    :: d_step { nempty(buffer[1]) -> write_back(1) }
    od
}

inline make_ready(x) {
    d_step {
        assert(!ready[x] && !inbox[x] && !senders[x]);
        if
        :: HOME(x) == me -> ready[x] = 1
        :: else -> drain(); inbox[x] = 1
        fi
    }
}
inline now_is(x, what) {
    if
    :: x == 3 -> store(STATE, what)
    :: else
    fi
}
inline answer(x) {
    d_step { assert(calling[x] && got[me] == x && got_call[me] == asked[x]); answered[x] = got_call[me] }
}
inline message(s, x) {
    d_step { got[s] = x; got_call[s] = asked[x] }
}
inline owe(s, x) {
    now_is(x, AWAITING);
    store(CALLER(s), x);
    store(OWED(x), s + 1)
}
/* take_first of receiver s, lock held */
inline take_server(s) {
    d_step { assert(waits[s] && LOAD(RECEIVER) == s + 1); waits[s] = 0 }
#if MUTANT != 6
    store(RECEIVER, (waits[1 - (s)] -> 2 - (s) : 0))
#else
    store(RECEIVER, 0)
#endif
}
inline take_sender(x) {
    d_step { assert(senders[x]); senders[x] = 0 }
}
/* Lock held. */
inline queue_server() {
    d_step { assert(!waits[me] && !senders[2] && !senders[3]); waits[me] = 1; got[me] = 0; got_call[me] = 0 }
    if
    :: LOAD(RECEIVER) == 0 -> store(RECEIVER, me + 1)
    :: else
    fi
}

#define FINISHED                                                                                                 \
    (asked[2] == CALLS && asked[3] == CALLS && !calling[2] && !calling[3] && !want && waits[0] && waits[1] && \
     memory[CALLER(0)] == 0 && memory[CALLER(1)] == 0)

active [2] proctype cpu() {
    byte me = _pid - 1, t, c, r, w_cell, w_value;
    bit ok;
    d_step { ready[me] = 1; ready[me + 2] = 1 }

next:
    skip; /* no jump leads into a d_step */
    t = 0; c = 0; r = 0; ok = 0;
    if
    :: FINISHED -> goto done
    :: atomic { inbox[me] -> drain(); inbox[me] = 0; assert(!ready[me]); ready[me] = 1 } goto next
    :: atomic { inbox[me + 2] -> drain(); inbox[me + 2] = 0; assert(!ready[me + 2]); ready[me + 2] = 1 } goto next
    :: atomic { ready[me] -> ready[me] = 0 } goto server
    :: atomic { ready[me + 2] -> ready[me + 2] = 0 } goto client
    :: atomic { me == 1 && !fired && asked[3] == 1 && calling[3] -> fired = 1; want = 1 } goto next
    :: me == 1 && want -> goto cancel
    fi;

client: /* in user mode: what it called is over */
    t = me + 2;
    d_step {
        c = 0;
        r = 0;
        if
        :: calling[t] ->
            assert((t == 3 && cancelled) != (answered[t] == asked[t]));
            calling[t] = 0
        :: else
        fi;
        if
        :: t == 3 -> want = 0; cancelled = 0
        :: else
        fi
    }
    if
    :: asked[t] == CALLS -> goto next
    :: else
    fi;
    d_step { asked[t]++; calling[t] = 1 }
    if
    :: true -> goto slow_call
    :: true -> skip
    fi;
    r = LOAD(RECEIVER);
    if
    :: r == 0 -> goto to_queue
    :: else -> r--
    fi;
    lock();
    if
#if MUTANT == 5
    :: LOAD(RECEIVER) == 0 -> unlock(); goto slow_call
#else
    :: LOAD(RECEIVER) != r + 1 -> unlock(); goto slow_call
#endif
    :: else
    fi;
    take_server(r);
    unlock();
    message(r, t);
    owe(r, t);
    if
    :: r == me -> assert(!ready[me] && !inbox[me]); goto server
    :: else -> make_ready(r); goto next
    fi;

to_queue:
    lock();
#if MUTANT != 7
    if
    :: LOAD(RECEIVER) != 0 -> unlock(); goto slow_call
    :: else
    fi;
#endif
    goto queue;

slow_call:
    lock();
    r = LOAD(RECEIVER);
    if
    :: r == 0 -> goto queue
    :: else -> r--
    fi;
    take_server(r);
    unlock();
    message(r, t);
    owe(r, t);
    make_ready(r);
    goto next;

queue: /* t waits as a sender; lock held */
    now_is(t, SENDING);
    d_step { assert(!waits[0] && !waits[1]); senders[t] = 1 }
    unlock();
    goto next;

server: /* in user mode */
    skip;
    d_step { assert(!waits[me]); t = 0; r = 0; ok = 0 }
    c = LOAD(CALLER(me));
    if
    :: c == 0 -> goto receive
    :: else
    fi;
    if
    :: true -> goto slow_reply
    :: true -> skip
    fi;
    lock();
#if MUTANT != 8
    if
    :: senders[2] || senders[3] -> goto take_along
    :: else
    fi;
#endif
    if
    :: HOME(c) == me ->
        assert(LOAD(OWED(c)) == me + 1); /* only its home cancels it */
        store(OWED(c), 0);
#if MUTANT != 9
        store(CALLER(me), 0);
#endif
        now_is(c, READY);
        answer(c);
        queue_server();
        unlock();
#if MUTANT == 9
        store(CALLER(me), 0);
#endif
        assert(!ready[c] && !inbox[c]);
        goto client
    :: else ->
#if MUTANT == 3
        exchange(OWED(c), 0);
#else
        exchange_if(OWED(c), me + 1, 0);
#endif
        if
        :: !ok -> unlock(); goto slow_reply
        :: else
        fi;
        store(CALLER(me), 0);
        answer(c);
        now_is(c, READY);
        queue_server();
        unlock();
        make_ready(c);
        goto next
    fi;

take_along: /* answer_and_take; lock held */
    if
    :: senders[2] -> t = 2
    :: senders[3] -> t = 3
    fi;
#if MUTANT == 2
    exchange(OWED(c), 0);
#else
    exchange_if(OWED(c), me + 1, 0);
#endif
    if
    :: !ok -> unlock(); goto slow_reply
    :: else
    fi;
#if MUTANT != 1
    take_sender(t);
    now_is(t, READY);
#endif
    unlock();
#if MUTANT == 1
    take_sender(t);
    now_is(t, READY);
#endif
    answer(c);
    message(me, t);
    owe(me, t);
    now_is(c, READY);
    make_ready(c);
    goto server;

slow_reply:
#if MUTANT == 4
    exchange(OWED(c), 0);
#else
    exchange_if(OWED(c), me + 1, 0);
#endif
    store(CALLER(me), 0);
    if
    :: ok ->
        answer(c);
        now_is(c, READY);
        make_ready(c)
    :: else
    fi;

receive:
    skip;
    d_step { t = 0; c = 0; got[me] = 0; got_call[me] = 0 }
    lock();
    if
    :: senders[2] -> t = 2
    :: senders[3] -> t = 3
    :: !senders[2] && !senders[3] -> queue_server(); unlock(); goto next
    fi;
    take_sender(t);
    now_is(t, READY);
    unlock();
    message(me, t);
    owe(me, t);
    goto server;

cancel: /* client 3's home ends its wait, if it is in one */
    c = LOAD(STATE);
    ok = 0;
    if
    :: c == AWAITING -> /* withdraw */
        c = LOAD(OWED(3));
        if
        :: c != 0 ->
            exchange_if(OWED(3), c, 0);
            if
            :: ok -> exchange_if(CALLER(c - 1), 3, 0); ok = 1
            :: else
            fi
        :: else
        fi
    :: c == SENDING -> /* claim */
        lock();
        if
        :: LOAD(STATE) == SENDING -> take_sender(3); ok = 1
        :: else
        fi;
        unlock()
    :: else
    fi;
    if
    :: ok ->
        d_step { cancelled = 1; want = 0 }
        store(STATE, READY);
        make_ready(3)
    :: else /* in other hands: again */
    fi;
    goto next;

done:
    skip
}

/* SPDX-License-Identifier: MIT */
/*
 * A copy that the CPU which executes a call shares with the caller's home (rt/remote/share.hpp): offer, take, take back, settle. Two
 * calls of one thread, each with an offer that the home may see, or not: it looks for as long as it likes, and leaves.
 *
 * TSO: plain stores wait in their CPU's buffer, in order, and may be overtaken by its later loads; a compare-exchange, and
 * the exchange that ends a call, drain it.
 *
 * Checked: each part is copied exactly once, before its call ends, and what was offered is what is copied; nobody copies
 * for a call that is over; the server never waits for a home that does not copy (spin reports it as an invalid end state).
 *
 * MUTANT=1: the home takes an offer by a load and a store.
 * MUTANT=2: the server takes it back by a load and a store.
 * MUTANT=3: the server does not wait for a home that has taken the offer.
 * MUTANT=4: the home says that it is done before it is.
 * MUTANT=5: the server leaves what nobody took behind, and does the rest itself.
 * MUTANT=6: the server says that there is an offer before it has said which.
 * MUTANT=7: the server waits though the home has not taken the offer.
 * MUTANT=8: the server believes that an offer which it could not take back is done.
 */
#ifndef MUTANT
#define MUTANT 0
#endif
#define CALLS 2
#define NONE 0
#define OFFERED 1
#define TAKEN 2
#define DONE 3

byte state = NONE, what = 0, copied = 0; /* what: the number of the call whose part is offered */
byte word = 0;                           /* the call that is over */
byte asked = 0;                          /* the call that is pending */
byte count[CALLS + 1];                   /* how often each call's part was copied */

mtype = { STATE, WHAT, COPIED };
chan servers = [3] of { mtype, byte };
chan homes = [3] of { mtype, byte };

inline write_back(buffer) {
    if
    :: buffer?STATE(state)
    :: buffer?WHAT(what)
    :: buffer?COPIED(copied)
    fi
}
inline drain(buffer) {
    do
    :: nempty(buffer) -> write_back(buffer)
    :: empty(buffer) -> break
    od
}

active proctype memory() {
end:
    do
    :: atomic { nempty(servers) -> write_back(servers) }
    :: atomic { nempty(homes) -> write_back(homes) }
    od
}

active proctype home() {
    byte n, seen;
    for (n : 1 .. CALLS) {
        atomic { drain(homes); asked = n };
        do
        :: word == n -> break                        /* the call is over */
        :: n == 1 -> word == n; break                /* has left: does not look again before the call is over */
        :: empty(homes) && state == OFFERED ->
#if MUTANT == 1
            homes!STATE(TAKEN);
            seen = what;
#else
            atomic {
                drain(homes);
                if
                :: state == OFFERED -> state = TAKEN
                :: else -> goto again
                fi
            };
            seen = what;
#endif
#if MUTANT == 4
            homes!COPIED(seen);
            homes!STATE(DONE);
#endif
            assert(seen == n && word != n);          /* its own call's, which is not over */
            count[seen]++;
            assert(count[seen] == 1);
#if MUTANT != 4
            homes!COPIED(seen);
            homes!STATE(DONE);
#endif
again:
            skip
        od
    }
}

active proctype server() {
    byte n, seen;
    for (n : 1 .. CALLS) {
        asked == n;
#if MUTANT == 6
        servers!STATE(OFFERED);
        servers!WHAT(n);
#else
        servers!WHAT(n);
        servers!STATE(OFFERED);
#endif
        /* Its own part; then settle(). A load sees the CPU's own store first. */
        do
        :: true ->
            atomic {
                if
                :: nempty(servers) -> seen = OFFERED
                :: empty(servers) -> seen = state
                fi
            };
            if
            :: seen == DONE ->
                assert(copied == n && count[n] == 1);
                break
            :: else
            fi;
#if MUTANT == 7
            (empty(servers) && state == DONE);
#elif MUTANT == 3
            atomic { drain(servers); state = NONE };
            count[n]++;
            assert(count[n] == 1);
            break
#elif MUTANT == 5
            if
            :: seen == OFFERED ->
                count[n]++;
                assert(count[n] == 1);
                break
            :: else
            fi
#elif MUTANT == 2
            if
            :: seen == OFFERED ->
                servers!STATE(NONE);
                count[n]++;
                assert(count[n] == 1);
                break
            :: else -> (empty(servers) && state != TAKEN)
            fi
#else
            /* compare_exchange */
            atomic {
                drain(servers);
                if
                :: state == OFFERED -> state = NONE; seen = OFFERED
                :: else -> seen = state
                fi
            };
            if
            :: seen == OFFERED ->
                count[n]++;
                assert(count[n] == 1);
                break
#if MUTANT == 8
            :: else -> break
#else
            :: seen == TAKEN -> (state != TAKEN)
            :: seen == DONE
#endif
            fi
#endif
        od;
        /* exchange: the call is over */
        atomic {
            drain(servers);
            assert(count[n] == 1);
            word = n
        }
    }
}

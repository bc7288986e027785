// SPDX-License-Identifier: MIT
// Walks over memory in ways that caches notice, the same in each run: with which the model of tools/cache_model is compared
// with valgrind's cachegrind (tests/tool/misses.sh). Few system calls, so that the kernel hardly disturbs the caches.
#include <stdint.h>

enum { kBytes = 1 << 20, kWords = kBytes / sizeof(uint64_t), kSmall = 24 << 10, kRounds = 6 };
// Volatile: a read and a write each, where cachegrind would count an instruction that does both as one read.
static volatile uint64_t words[kWords];

int main(void) {
    uint64_t sum = 0, next = 1;
    // The kernel clears each page when it is touched first, which fills the caches.
    for (int i = 0; i < kWords; i += 512) words[i] = 1;
    for (int round = 0; round < kRounds; ++round) {
        for (int i = 0; i < kWords; ++i) sum += words[i] + (uint64_t)i;  // every line once
        for (int i = 0; i < kWords; i += 17) words[i] = sum;             // with a stride
        for (int i = 0; i < 40000; ++i) {                                // at random
            next = next * 6364136223846793005u + 1442695040888963407u;
            words[(next >> 33) % kWords] += (uint64_t)i;
        }
        for (int i = 0; i < 40000; ++i) words[(unsigned)i * 8 % (kSmall / sizeof *words)] += sum;  // what fits
    }
    return words[0] == 1;
}

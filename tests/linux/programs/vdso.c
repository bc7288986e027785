// SPDX-License-Identifier: MIT
// The vDSO: where it is, what it exports, that it tells the same time as the system calls, and what may be done to its
// areas. The functions are found as a C library finds them, by the auxiliary vector.
#include "check.h"

#include <elf.h>
#include <link.h>
#include <pthread.h>
#include <sched.h>
#include <sys/auxv.h>

enum { kPage = 4096, kDataPages = 4, kCodePages = 2 };

static char* base(void) { return (char*)getauxval(AT_SYSINFO_EHDR); }
static char* data(void) { return base() - kDataPages * kPage; }

// ---- The object ----

struct object {
    const char* strings;
    const ElfW(Sym) * symbols;
    const uint32_t* hash;
    const ElfW(Versym) * versions;
    const ElfW(Verdef) * definitions;
    const char* name;
    int gnu_hash;
};
static struct object open_object(char* at) {
    struct object o;
    memset(&o, 0, sizeof o);
    const ElfW(Ehdr)* header = (void*)at;
    const ElfW(Phdr)* table = (void*)(at + header->e_phoff);
    char* bias = NULL;
    const ElfW(Dyn)* dynamic = NULL;
    for (int i = 0; i < header->e_phnum; i++) {
        if (table[i].p_type == PT_LOAD) bias = at + table[i].p_offset - table[i].p_vaddr;
        if (table[i].p_type == PT_DYNAMIC) dynamic = (void*)(at + table[i].p_offset);
    }
    NEED(bias && dynamic);
    size_t soname = 0;
    for (; dynamic->d_tag != DT_NULL; dynamic++) {
        void* p = bias + dynamic->d_un.d_ptr;
        if (dynamic->d_tag == DT_STRTAB) o.strings = p;
        if (dynamic->d_tag == DT_SYMTAB) o.symbols = p;
        if (dynamic->d_tag == DT_HASH) o.hash = p;
        if (dynamic->d_tag == DT_VERSYM) o.versions = p;
        if (dynamic->d_tag == DT_VERDEF) o.definitions = p;
        if (dynamic->d_tag == DT_GNU_HASH) o.gnu_hash = 1;
        if (dynamic->d_tag == DT_SONAME) soname = dynamic->d_un.d_val;
    }
    NEED(o.strings && o.symbols && o.hash);
    o.name = o.strings + soname;
    return o;
}
static const ElfW(Sym) * symbol_of(const struct object* o, const char* name) {
    for (uint32_t i = 1; i < o->hash[1]; i++)
        if (o->symbols[i].st_shndx != SHN_UNDEF && strcmp(o->strings + o->symbols[i].st_name, name) == 0)
            return &o->symbols[i];
    return NULL;
}
static const char* version_of(const struct object* o, const ElfW(Sym) * symbol) {
    const ElfW(Verdef)* d = o->definitions;
    for (unsigned wanted = o->versions[symbol - o->symbols] & 0x7fff;;) {
        if (d->vd_ndx == wanted) return o->strings + ((const ElfW(Verdaux)*)((const char*)d + d->vd_aux))->vda_name;
        if (d->vd_next == 0) return "none";
        d = (const void*)((const char*)d + d->vd_next);
    }
}

// The functions, of the object at an address.
static struct {
    int (*gettime)(clockid_t, struct timespec*);
    int (*getres)(clockid_t, struct timespec*);
    int (*timeofday)(struct timeval*, struct timezone*);
    time_t (*time)(time_t*);
    long (*getcpu)(unsigned*, unsigned*, void*);
} v;
static void use(char* at) {
    struct object o = open_object(at);
    v.gettime = (void*)(at + symbol_of(&o, "__vdso_clock_gettime")->st_value);
    v.getres = (void*)(at + symbol_of(&o, "__vdso_clock_getres")->st_value);
    v.timeofday = (void*)(at + symbol_of(&o, "__vdso_gettimeofday")->st_value);
    v.time = (void*)(at + symbol_of(&o, "__vdso_time")->st_value);
    v.getcpu = (void*)(at + symbol_of(&o, "__vdso_getcpu")->st_value);
}

static long ns(const struct timespec* t) { return t->tv_sec * 1000000000 + t->tv_nsec; }
static long by_vdso(int clock) {
    struct timespec t;
    NEED(v.gettime(clock, &t) == 0);
    return ns(&t);
}
static long by_call(int clock) {
    struct timespec t;
    NEED(syscall(SYS_clock_gettime, clock, &t) == 0);
    return ns(&t);
}

// The two lines of /proc/self/maps, with addresses as distances from `from` in pages.
static void show_maps(const char* from) {
    FILE* f = fopen("/proc/self/maps", "r");
    NEED(f);
    char line[512];
    while (fgets(line, sizeof line, f)) {
        unsigned long start, end;
        char rest[256];
        NEED(sscanf(line, "%lx-%lx %255[^\n]", &start, &end, rest) == 3);
        if (strstr(rest, "[v") && !strstr(rest, "[vsyscall]"))
            say("%ld %ld %s\n", ((long)start - (long)from) / kPage, ((long)end - (long)from) / kPage, rest);
    }
    fclose(f);
}

TEST(object) {
    char* at = base();
    NEED(at);
    FACT("at the start of a page", (long)at % kPage == 0);
    const ElfW(Ehdr)* header = (void*)at;
    IS(memcmp(at, "\177ELF\2\1\1", 7) == 0);
    IS(header->e_type == ET_DYN);
    IS(header->e_machine == EM_X86_64);
    struct object o = open_object(at);
    say("name %s\n", o.name);
    IS(o.gnu_hash);
    const ElfW(Phdr)* table = (void*)(at + header->e_phoff);
    for (int i = 0; i < header->e_phnum; i++) {
        if (table[i].p_type == PT_LOAD) say("load: flags %u, at %lu\n", table[i].p_flags, (long)table[i].p_vaddr);
        if (table[i].p_type == PT_GNU_EH_FRAME) say("there is something to unwind by\n");
    }
    static const char* const names[] = {"clock_gettime", "gettimeofday", "time", "getcpu", "clock_getres"};
    for (int i = 0; i < 10; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s%s", i < 5 ? "__vdso_" : "", names[i % 5]);
        const ElfW(Sym)* s = symbol_of(&o, name);
        if (!s) {
            say("%s: none\n", name);
            continue;
        }
        say("%s: %s %s %s\n", name, ELF64_ST_BIND(s->st_info) == STB_WEAK ? "weak" : "global",
            ELF64_ST_TYPE(s->st_info) == STT_FUNC ? "function" : "?", version_of(&o, s));
    }
}

TEST(maps) {
    show_maps(base());
    TOUCH_READ(base());
    TOUCH_READ(base() + kCodePages * kPage - 1);
    TOUCH_WRITE(base());
    TOUCH_READ(data());
    TOUCH_WRITE(data());
    for (int i = 1; i < kDataPages; i++) {
        TOUCH_READ(data() + i * kPage);
    }
}

HELPER(print_place) { say("%lx\n", (long)base()); }
TEST(another_place_each_time) {
    char seen[24][32];
    int different = 0;
    for (int i = 0; i < 24; i++) {
        int ends[2];
        NEED(pipe(ends) == 0);
        pid_t child = fork();
        if (child == 0) {
            dup2(ends[1], 1);
            execl("/proc/self/exe", "vdso", "print_place", NULL);
            _exit(1);
        }
        close(ends[1]);
        memset(seen[i], 0, sizeof seen[i]);
        NEED(read(ends[0], seen[i], sizeof seen[i] - 1) > 0);
        close(ends[0]);
        NEED(waitpid(child, NULL, 0) == child);
        different += strcmp(seen[i], seen[0]) != 0;
    }
    FACT("random", different > 0);
}

TEST(fork_keeps_it) {
    use(base());
    long before = by_vdso(CLOCK_MONOTONIC);
    CHILD("child") {
        show_maps(base());
        IS(by_vdso(CLOCK_MONOTONIC) >= before);
        IS(by_call(CLOCK_MONOTONIC) >= before);
    }
}

// ---- The calls ----

TEST(clocks) {
    use(base());
    static const int clocks[] = {0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 16, 31, 32, 64, -1, -2, -6, 1000, INT_MIN};
    for (unsigned i = 0; i < sizeof clocks / sizeof clocks[0]; i++) {
        struct timespec t = {-1, -1}, r = {-1, -1}, s = {-2, -2};
        int a = v.gettime(clocks[i], &t), b = v.getres(clocks[i], &r);
        int call = (int)syscall(SYS_clock_getres, clocks[i], &s);
        say("clock %d: %s%s, resolution %s %s\n", clocks[i], a ? errno_name(-a) : "ok",
            !a && (t.tv_sec < 0 || t.tv_nsec < 0 || t.tv_nsec > 999999999) ? " bad" : "", b ? errno_name(-b) : "ok",
            call < 0           ? ""
            : ns(&r) == ns(&s) ? "as the call's"
                               : "another than the call's");
    }
    SHOW(v.getres(CLOCK_MONOTONIC, NULL));
    SHOW(v.getres(CLOCK_REALTIME_COARSE, NULL));
    SHOW(v.timeofday(NULL, NULL));
    struct timezone zone = {9, 9};
    SHOW(v.timeofday(NULL, &zone));
    SHOW(zone.tz_minuteswest);
    SHOW(zone.tz_dsttime);
    time_t at = 0;
    time_t got = v.time(&at);
    IS(got == at);
    IS(v.time(NULL) >= at);
    IS(labs(v.time(NULL) - syscall(SYS_time, NULL)) <= 1);
    struct timeval day;
    SHOW(v.timeofday(&day, &zone));
    IS(day.tv_usec >= 0 && day.tv_usec < 1000000);
    IS(labs(day.tv_sec - by_call(CLOCK_REALTIME) / 1000000000) <= 1);
}

// A child each, because the process ends.
TEST(bad_pointers) {
    use(base());
    CHILD("gettime") { v.gettime(CLOCK_MONOTONIC, (void*)8); }
    CHILD("getres") { v.getres(CLOCK_MONOTONIC, (void*)8); }
    CHILD("timeofday") { v.timeofday((void*)8, NULL); }
    CHILD("time") { v.time((void*)8); }
    CHILD("getcpu") { v.getcpu((void*)8, NULL, NULL); }
    CHILD("not its own clock") { say("%s\n", errno_name(-v.gettime(CLOCK_PROCESS_CPUTIME_ID, (void*)8))); }
}

// vDSO and system call by turns, while the thread goes from CPU to CPU: never back.
TEST(by_turns) {
    use(base());
    cpu_set_t all;
    NEED(sched_getaffinity(0, sizeof all, &all) == 0);
    static const int clocks[] = {CLOCK_REALTIME,        CLOCK_MONOTONIC,        CLOCK_BOOTTIME, CLOCK_MONOTONIC_RAW,
                                 CLOCK_REALTIME_COARSE, CLOCK_MONOTONIC_COARSE, CLOCK_TAI};
    for (unsigned i = 0; i < sizeof clocks / sizeof clocks[0]; i++) {
        long back = 0, last = 0;
        for (int turn = 0, cpu = 0; turn < 2000; turn++) {
            if (turn % 50 == 0) {
                do cpu = (cpu + 1) % 64;
                while (!CPU_ISSET(cpu, &all));
                cpu_set_t one;
                CPU_ZERO(&one);
                CPU_SET(cpu, &one);
                NEED(sched_setaffinity(0, sizeof one, &one) == 0);
            }
            long a = by_vdso(clocks[i]), b = by_call(clocks[i]), c = by_vdso(clocks[i]);
            back += (a < last) + (b < a) + (c < b);
            last = c;
        }
        say("clock %d: %ld steps back\n", clocks[i], back);
    }
}

// The same between threads, by one word.
static _Atomic long newest;
static _Atomic int stop;
static void* keep_up(void* by) {
    long back = 0;
    while (!stop) {
        long seen = newest;
        long now = by ? by_vdso(CLOCK_MONOTONIC) : by_call(CLOCK_MONOTONIC);
        back += now < seen;
        while (seen < now && !__atomic_compare_exchange_n(&newest, &seen, now, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
        }
    }
    return (void*)back;
}
TEST(threads_agree) {
    use(base());
    pthread_t thread[4];
    for (long i = 0; i < 4; i++) NEED(pthread_create(&thread[i], NULL, keep_up, (void*)(i & 1)) == 0);
    sleep_ms(300);
    stop = 1;
    long back = 0;
    for (int i = 0; i < 4; i++) {
        void* result;
        NEED(pthread_join(thread[i], &result) == 0);
        back += (long)result;
    }
    SHOW(back);
}

// While the wall clock jumps back and forth, every read shows one of the two, and the setter reads what it set.
enum { kJump = 1000 };
static long difference(void) {
    long before = by_vdso(CLOCK_MONOTONIC), real = by_vdso(CLOCK_REALTIME), after = by_vdso(CLOCK_MONOTONIC);
    return after - before < 100000000 ? real - before : 0;  // 0: interrupted for too long to tell
}
static long normal;
static void* look_on(void* unused) {
    long odd = 0;
    while (!stop) {
        long d = difference();
        if (d != 0 && labs(d - normal) > 900000000 && labs(d - normal - kJump * 1000000000L) > 900000000) odd++;
        (void)unused;
    }
    return (void*)odd;
}
TEST(clock_is_set) {
    use(base());
    normal = by_call(CLOCK_REALTIME) - by_call(CLOCK_MONOTONIC);
    stop = 0;
    pthread_t thread;
    NEED(pthread_create(&thread, NULL, look_on, NULL) == 0);
    long wrong = 0;
    for (int i = 0; i < 300; i++) {
        long jump = i % 2 ? 0 : kJump;
        long to = by_call(CLOCK_MONOTONIC) + normal + jump * 1000000000L;
        struct timespec t = {to / 1000000000, to % 1000000000};
        struct timeval day = {t.tv_sec, t.tv_nsec / 1000};
        if (i % 4 < 2)
            NEED(clock_settime(CLOCK_REALTIME, &t) == 0);
        else
            NEED(settimeofday(&day, NULL) == 0);
        long a = by_vdso(CLOCK_REALTIME), b = by_call(CLOCK_REALTIME), c = by_vdso(CLOCK_REALTIME);
        if (a < to - 1000 || b < a || c < b || a - to > 900000000) wrong++;
        if (labs(v.time(NULL) - t.tv_sec) > 1) wrong++;
        v.timeofday(&day, NULL);
        if (labs(day.tv_sec - t.tv_sec) > 1) wrong++;
    }
    stop = 1;
    void* odd;
    NEED(pthread_join(thread, &odd) == 0);
    say("looks that show neither: %ld\n", (long)odd);
    SHOW(wrong);
}

TEST(cpu_number) {
    use(base());
    cpu_set_t all;
    NEED(sched_getaffinity(0, sizeof all, &all) == 0);
    int wrong = 0;
    for (int cpu = 0; cpu < 64; cpu++) {
        if (!CPU_ISSET(cpu, &all)) continue;
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        NEED(sched_setaffinity(0, sizeof one, &one) == 0);
        unsigned is = 99, node = 99, by = 99;
        if (v.getcpu(&is, &node, NULL) != 0 || is != (unsigned)cpu || node != 0) wrong++;
        NEED(syscall(SYS_getcpu, &by, NULL, NULL) == 0);
        if (by != is) wrong++;
        if (sched_getcpu() != cpu) wrong++;
    }
    SHOW(wrong);
    SHOW(v.getcpu(NULL, NULL, NULL));
}

// ---- What may be done to it ----

TEST(stays_whole) {
    char *code = base(), *d = data();
    CALL(munmap(code, kPage));
    CALL(munmap(code + kPage, kPage));
    CALL(munmap(d, kPage));
    CALL(munmap(d + kPage, (kDataPages + kCodePages - 1) * kPage));
    CALL(mprotect(code, kPage, PROT_READ));
    CALL(mprotect(code, kPage, PROT_READ | PROT_EXEC));
    CALL(mprotect(d, kPage, PROT_NONE));
    CALL(mmap(code, kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED ? -1 : 0);
    CALL(mmap(d, kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED ? -1 : 0);
    CALL(mmap(d, kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED ? -1 : 0);
    CALL(madvise(code, kPage, MADV_DONTFORK));
    CALL(mremap(code, kPage, kPage, MREMAP_MAYMOVE) == code ? 0 : -1);
    CALL(mremap(code, kCodePages * kPage, kPage, 0) == MAP_FAILED ? -1 : 0);
    CALL(mremap(code, kCodePages * kPage, 4 * kPage, MREMAP_MAYMOVE) == MAP_FAILED ? -1 : 0);
    CALL(mremap(d, kDataPages * kPage, 8 * kPage, MREMAP_MAYMOVE) == MAP_FAILED ? -1 : 0);
    CALL(mremap(code, 0, kPage, MREMAP_MAYMOVE) == MAP_FAILED ? -1 : 0);
    CALL(mremap(code, kCodePages * kPage, kCodePages * kPage, MREMAP_MAYMOVE | MREMAP_DONTUNMAP) == MAP_FAILED ? -1
                                                                                                               : 0);
    show_maps(base());
    use(base());
    IS(by_vdso(CLOCK_MONOTONIC) <= by_call(CLOCK_MONOTONIC));
}

// A range that ends inside it: nothing of the rest is lost, however much that is.
TEST(half_of_it_and_much_else) {
    enum { kMuch = 1024 };
    char* p = mmap(NULL, (kMuch + kCodePages) * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    NEED(p != MAP_FAILED);
    memset(p, 1, kMuch * kPage);
    NEED(munmap(data(), kDataPages * kPage) == 0);
    char* code = p + kMuch * kPage;
    NEED(mremap(base(), kCodePages * kPage, kCodePages * kPage, MREMAP_MAYMOVE | MREMAP_FIXED, code) == code);
    CALL(munmap(p, (kMuch + 1) * kPage));
    CALL(mmap(p, (kMuch + 1) * kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED ? -1
                                                                                                               : 0);
    long sum = 0;
    for (int i = 0; i < kMuch; i++) sum += p[i * kPage];
    SHOW(sum);
    show_maps(code);
    CALL(munmap(p, (kMuch + kCodePages) * kPage));
    show_maps(code);
}

TEST(rights) {
    char *code = base(), *d = data();
    CALL(mprotect(d, kDataPages * kPage, PROT_READ | PROT_WRITE));
    CALL(mprotect(d, kDataPages * kPage, PROT_READ | PROT_EXEC));
    CALL(mprotect(d, kDataPages * kPage, PROT_READ));
    // A copy of one's own, as a debugger makes one for its breakpoints.
    CALL(mprotect(code, kCodePages * kPage, PROT_READ | PROT_WRITE | PROT_EXEC));
    code[kCodePages * kPage - 1] = 77;
    SHOW(code[kCodePages * kPage - 1]);
    show_maps(base());
    use(base());
    IS(by_vdso(CLOCK_MONOTONIC) <= by_call(CLOCK_MONOTONIC));
    CHILD("child has the copy") { SHOW(code[kCodePages * kPage - 1]); }
    CHILD("data without rights") {
        CALL(mprotect(data(), kDataPages * kPage, PROT_NONE));
        TOUCH_READ(data());
        show_maps(base());
    }
    CHILD("data is no code") { ((void (*)(void))data())(); }
}
HELPER(print_last_byte) { SHOW(base()[kCodePages * kPage - 1]); }
TEST(changes_stay_private) {
    char* code = base();
    NEED(mprotect(code, kCodePages * kPage, PROT_READ | PROT_WRITE | PROT_EXEC) == 0);
    code[kCodePages * kPage - 1] = 77;
    CHILD("another program") { execl("/proc/self/exe", "vdso", "print_last_byte", NULL); }
}

TEST(as_a_buffer) {
    int ends[2];
    NEED(pipe(ends) == 0);
    CALL(write(ends[1], base(), 4));
    CALL(write(ends[1], data(), 16));
    CALL(write(ends[1], data() + kPage, 1));
    CALL(read(ends[0], base(), 1));
    CALL(read(ends[0], data(), 1));
    CALL(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, data()));
    CALL(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, base()));
}

TEST(unmapped) {
    CHILD("all of it") {
        CALL(munmap(data(), (kDataPages + kCodePages) * kPage));
        show_maps(base());
        struct timespec t;
        CALL(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &t));
        TOUCH_READ(base());
        CHILD("grandchild") {
            TOUCH_READ(base());
            TOUCH_READ(data());
        }
        CHILD("a new program has one") { execl("/proc/self/exe", "vdso", "maps", NULL); }
    }
    CHILD("the code") {
        CALL(munmap(base(), kCodePages * kPage));
        show_maps(base());
        TOUCH_READ(data());
    }
    CHILD("the data") {
        use(base());
        CALL(munmap(data(), kDataPages * kPage));
        show_maps(base());
        SHOW(v.getcpu(NULL, NULL, NULL));
        by_vdso(CLOCK_MONOTONIC);
    }
    CHILD("replaced") {
        CALL(mmap(data(), (kDataPages + kCodePages) * kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
                  0) == MAP_FAILED
                 ? -1
                 : 0);
        show_maps(base());
        SHOW(*base());
    }
}

TEST(moved) {
    char *code = base(), *d = data();
    char* to = mmap(NULL, 16 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    NEED(to != MAP_FAILED);
    to += 4 * kPage;
    IS(mremap(d, kDataPages * kPage, kDataPages * kPage, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
    to += kDataPages * kPage;
    IS(mremap(code, kCodePages * kPage, kCodePages * kPage, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
    show_maps(to);
    TOUCH_READ(code);
    TOUCH_READ(d);
    use(to);
    IS(by_vdso(CLOCK_MONOTONIC) <= by_call(CLOCK_MONOTONIC));
    CHILD("child") {
        IS(by_vdso(CLOCK_MONOTONIC) <= by_call(CLOCK_MONOTONIC));
        show_maps(to);
    }
}

static void advise(const char* what, char* at, size_t pages) {
    static const int all[] = {MADV_NORMAL, MADV_RANDOM,   MADV_WILLNEED,  MADV_DONTNEED, MADV_FREE,
                              MADV_REMOVE, MADV_DONTFORK, MADV_DOFORK,    MADV_DONTDUMP, MADV_DODUMP,
                              MADV_COLD,   MADV_PAGEOUT,  MADV_KEEPONFORK};
    for (unsigned i = 0; i < sizeof all / sizeof all[0]; i++) {
        errno = 0;
        int result = madvise(at, pages * kPage, all[i]);
        say("%s, advice %d: %s\n", what, all[i], result == 0 ? "ok" : errno_name(errno));
    }
}
TEST(advice) {
    CHILD("data") { advise("data", data(), kDataPages); }
    CHILD("code") { advise("code", base(), kCodePages); }
    CHILD("not for children") {
        CALL(madvise(base(), kCodePages * kPage, MADV_DONTFORK));
        CHILD("child") {
            show_maps(base());
            TOUCH_READ(base());
        }
    }
    CHILD("dropped and back") {
        use(base());
        CALL(madvise(base(), kCodePages * kPage, MADV_DONTNEED));
        IS(by_vdso(CLOCK_MONOTONIC) <= by_call(CLOCK_MONOTONIC));
    }
}

static long locked_kib(void) {
    FILE* f = fopen("/proc/self/status", "r");
    NEED(f);
    char line[256];
    long kib = -1;
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "VmLck: %ld", &kib) == 1) break;
    fclose(f);
    return kib;
}
TEST(locked) {
    CALL(mlock(base(), kCodePages * kPage));
    CALL(mlock(data(), kPage));
    SHOW(locked_kib());
    CALL(munlock(base(), kPage));
    unsigned char is[kDataPages + kCodePages] = {0};
    CALL(mincore(data(), sizeof is * kPage, is));
    for (unsigned i = 0; i < sizeof is; i++) SHOW(is[i] & 1);
    CALL(mlockall(MCL_CURRENT));
    IS(locked_kib() > 0);
    CALL(munlockall());
    SHOW(locked_kib());
    CALL(msync(base(), kCodePages * kPage, MS_SYNC));
    CALL(msync(data(), kDataPages * kPage, MS_ASYNC));
}

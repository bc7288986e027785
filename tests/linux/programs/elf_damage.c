// SPDX-License-Identifier: MIT
// Executes damaged copies of a tiny ELF made here: each must fail with Linux's errno, or kill only itself.
#include "check.h"

#include <elf.h>

enum { kBase = 0x400000, kPage = 4096 };

struct image {
    Elf64_Ehdr header;
    Elf64_Phdr segments[4];
    unsigned char code[256];
};

// exit_group(42), position independent.
static const unsigned char exit42[] = {0xbf, 42, 0, 0, 0, 0xb8, 231, 0, 0, 0, 0x0f, 0x05};

static void make(struct image* m) {
    memset(m, 0, sizeof *m);
    memcpy(m->header.e_ident, "\177ELF\2\1\1", 7);
    m->header.e_type = ET_EXEC;
    m->header.e_machine = EM_X86_64;
    m->header.e_version = 1;
    m->header.e_entry = kBase + offsetof(struct image, code);
    m->header.e_phoff = offsetof(struct image, segments);
    m->header.e_ehsize = sizeof m->header;
    m->header.e_phentsize = sizeof(Elf64_Phdr);
    m->header.e_phnum = 1;
    m->segments[0] = (Elf64_Phdr){.p_type = PT_LOAD,
                                  .p_flags = PF_R | PF_X,
                                  .p_vaddr = kBase,
                                  .p_paddr = kBase,
                                  .p_filesz = sizeof *m,
                                  .p_memsz = sizeof *m,
                                  .p_align = kPage};
    memcpy(m->code, exit42, sizeof exit42);
}

static void save(const char* name, const void* bytes, size_t length) {
    unlink(name);
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0700);
    NEED(fd >= 0 && write(fd, bytes, length) == (ssize_t)length && close(fd) == 0);
}

static void attempt(const char* what) {
    pid_t pid = fork();
    if (pid == 0) {
        char* arguments[] = {(char*)"x", NULL};
        char* environment[] = {NULL};
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        alarm(5);
        execve("./x", arguments, environment);
        say("%s: %s\n", what, errno_name(errno));
        _exit(99);
    }
    int status;
    NEED(waitpid(pid, &status, 0) == pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 99) say_status(what, status);
}
#define DAMAGE(what, change)     \
    do {                         \
        struct image m;          \
        make(&m);                \
        change;                  \
        save("x", &m, sizeof m); \
        attempt(what);           \
    } while (0)

TEST(good) { DAMAGE("undamaged", (void)0); }

TEST(truncations) {
    struct image m;
    make(&m);
    static const size_t lengths[] = {0,  1,  4,  5,  15, 16, 18,  20,  24,  32,  40,  48,  52,  54,  56,  58,  60, 62,
                                     63, 64, 65, 72, 80, 96, 104, 112, 119, 120, 200, 280, 287, 288, 289, 292, 300};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        char what[32];
        save("x", &m, lengths[i]);
        snprintf(what, sizeof what, "first %zu bytes", lengths[i]);
        attempt(what);
    }
}

TEST(identity) {
    DAMAGE("magic 0", m.header.e_ident[0] = 0);
    DAMAGE("magic 3", m.header.e_ident[3] = 'f');
    DAMAGE("32 bit class", m.header.e_ident[EI_CLASS] = ELFCLASS32);
    DAMAGE("bad class", m.header.e_ident[EI_CLASS] = 77);
    DAMAGE("big endian", m.header.e_ident[EI_DATA] = ELFDATA2MSB);
    DAMAGE("ident version", m.header.e_ident[EI_VERSION] = 9);
    DAMAGE("system interface", m.header.e_ident[EI_OSABI] = 99);
    DAMAGE("machine none", m.header.e_machine = 0);
    DAMAGE("machine i386", m.header.e_machine = EM_386);
    DAMAGE("machine aarch64", m.header.e_machine = 183);
    DAMAGE("version", m.header.e_version = 0);
    DAMAGE("type none", m.header.e_type = ET_NONE);
    DAMAGE("type relocatable", m.header.e_type = ET_REL);
    DAMAGE("type core", m.header.e_type = ET_CORE);
    DAMAGE("type shared", m.header.e_type = ET_DYN);
    DAMAGE("flags", m.header.e_flags = 0xffffffff);
    DAMAGE("header size", m.header.e_ehsize = 0);
    DAMAGE("section table",
           (m.header.e_shoff = (Elf64_Off)-1, m.header.e_shnum = 0xffff, m.header.e_shstrndx = 0xffff));
}

TEST(program_header_table) {
    DAMAGE("entry size 0", m.header.e_phentsize = 0);
    DAMAGE("entry size 32", m.header.e_phentsize = 32);
    DAMAGE("entry size 57", m.header.e_phentsize = 57);
    DAMAGE("no entries", m.header.e_phnum = 0);
    DAMAGE("more entries than file", m.header.e_phnum = 1000);
    DAMAGE("65535 entries", m.header.e_phnum = 0xffff);
    DAMAGE("offset beyond file", m.header.e_phoff = 100000);
    DAMAGE("offset negative", m.header.e_phoff = (Elf64_Off)-1);
    DAMAGE("offset half negative", m.header.e_phoff = (Elf64_Off)1 << 63);
    DAMAGE("offset wraps", m.header.e_phoff = (Elf64_Off)-56);
    DAMAGE("offset unaligned", (memmove((char*)m.segments + 1, m.segments, 56), m.header.e_phoff = 65));
    DAMAGE("no load segment", m.segments[0].p_type = PT_NOTE);
    DAMAGE("null segment", m.segments[0].p_type = PT_NULL);
    DAMAGE("unknown segment type too",
           (m.segments[1] = m.segments[0], m.segments[1].p_type = 0x12345678, m.header.e_phnum = 2));
}

TEST(segments) {
    DAMAGE("file size above memory size", m.segments[0].p_memsz = 100);
    DAMAGE("memory size 0", (m.segments[0].p_memsz = 0, m.segments[0].p_filesz = 0));
    DAMAGE("file size 0", m.segments[0].p_filesz = 0);
    DAMAGE("file size beyond file", (m.segments[0].p_filesz = 100000, m.segments[0].p_memsz = 100000));
    DAMAGE("file size huge", (m.segments[0].p_filesz = (size_t)1 << 47, m.segments[0].p_memsz = (size_t)1 << 47));
    DAMAGE("memory size huge", m.segments[0].p_memsz = (size_t)1 << 46);
    DAMAGE("memory size to the border", m.segments[0].p_memsz = 0x7ffffffff000 - kBase);
    DAMAGE("memory size negative", m.segments[0].p_memsz = (size_t)-1);
    DAMAGE("both sizes negative", (m.segments[0].p_filesz = (size_t)-1, m.segments[0].p_memsz = (size_t)-1));
    DAMAGE("address wraps", (m.segments[0].p_vaddr = (Elf64_Addr)-4096));
    DAMAGE("address in the kernel", m.segments[0].p_vaddr = 0xffff800000000000);
    DAMAGE("address at the border", m.segments[0].p_vaddr = 0x7ffffffff000);
    DAMAGE("address non-canonical", m.segments[0].p_vaddr = 0x8000000000000000);
    DAMAGE("address unaligned to offset", m.segments[0].p_vaddr = kBase + 1);
    DAMAGE("offset beyond file", m.segments[0].p_offset = 1 << 20);
    DAMAGE("offset negative", m.segments[0].p_offset = (Elf64_Off)-4096);
    DAMAGE("offset unaligned", m.segments[0].p_offset = 3);
    DAMAGE("align 0", m.segments[0].p_align = 0);
    DAMAGE("align 3", m.segments[0].p_align = 3);
    DAMAGE("align huge", m.segments[0].p_align = (Elf64_Xword)1 << 62);
    DAMAGE("no rights", m.segments[0].p_flags = 0);
    DAMAGE("not executable", m.segments[0].p_flags = PF_R);
    DAMAGE("execute only", m.segments[0].p_flags = PF_X);
    DAMAGE("all rights", m.segments[0].p_flags = 7);
    DAMAGE("unknown rights", m.segments[0].p_flags = 0xffffffff);
    DAMAGE("address 0", m.segments[0].p_vaddr = 0);
}

static void second(struct image* m, Elf64_Addr address, size_t file, size_t memory) {
    m->header.e_phnum = 2;
    m->segments[1] = (Elf64_Phdr){.p_type = PT_LOAD,
                                  .p_flags = PF_R | PF_W,
                                  .p_vaddr = address,
                                  .p_filesz = file,
                                  .p_memsz = memory,
                                  .p_align = kPage};
}
TEST(two_segments) {
    DAMAGE("apart", second(&m, kBase + 0x10000, 100, 5000));
    DAMAGE("the same place", second(&m, kBase, 100, 5000));
    DAMAGE("overlapping pages", second(&m, kBase + 0x100, 100, 100));
    DAMAGE("in falling order", second(&m, kBase - 0x10000, 100, 5000));
    DAMAGE("no file part", second(&m, kBase + 0x10000, 0, 5000));
    DAMAGE("empty", second(&m, kBase + 0x10000, 0, 0));
    DAMAGE("second far away", second(&m, 0x700000000000, 100, 5000));
    DAMAGE("second in the kernel", second(&m, 0xffffffff80000000, 100, 5000));
}

TEST(entry_point) {
    DAMAGE("0", m.header.e_entry = 0);
    DAMAGE("outside", m.header.e_entry = 0x12345678);
    DAMAGE("in the kernel", m.header.e_entry = 0xffffffff80000000);
    DAMAGE("non-canonical", m.header.e_entry = 0x8000000000001234);
    DAMAGE("at the border", m.header.e_entry = 0x7ffffffff000);
    DAMAGE("in the middle of the header", m.header.e_entry = kBase);
}

static void interpreter(struct image* m, const char* name, size_t length) {
    m->header.e_phnum = 2;
    m->segments[0].p_flags |= PF_W;
    m->segments[1] = m->segments[0];
    memcpy(m->code + 64, name, length);
    m->segments[0] = (Elf64_Phdr){.p_type = PT_INTERP,
                                  .p_flags = PF_R,
                                  .p_offset = offsetof(struct image, code) + 64,
                                  .p_filesz = length,
                                  .p_memsz = length};
}
TEST(interpreter) {
    DAMAGE("missing", interpreter(&m, "/no/such", 9));
    DAMAGE("not terminated", interpreter(&m, "/no/such", 8));
    DAMAGE("empty", interpreter(&m, "", 1));
    DAMAGE("of length 0", interpreter(&m, "", 0));
    DAMAGE("directory", interpreter(&m, "/tmp", 5));
    DAMAGE("not executable", interpreter(&m, "/etc/passwd", 12));
    DAMAGE("no ELF", interpreter(&m, "/proc/self/comm", 16));
    DAMAGE("huge", (interpreter(&m, "/x", 3), m.segments[0].p_filesz = 1 << 20));
    DAMAGE("outside the file", (interpreter(&m, "/x", 3), m.segments[0].p_offset = 1 << 20));
    DAMAGE("itself, at the same address", interpreter(&m, "./x", 4));
}

TEST(interpreter_runs) {
    struct image m;
    make(&m);
    m.header.e_type = ET_DYN;
    m.header.e_entry -= kBase;
    m.segments[0].p_vaddr = 0;
    m.segments[0].p_flags |= PF_W;  // Linux clears the rest of its last page
    m.code[1] = 43;
    save("loader", &m, sizeof m);
    DAMAGE("position independent interpreter", interpreter(&m, "./loader", 9));
    save("loader", "garbage that is no program at all", 33);
    DAMAGE("garbage interpreter", interpreter(&m, "./loader", 9));
    save("loader", &m, 100);
    DAMAGE("truncated interpreter", interpreter(&m, "./loader", 9));
}

TEST(position_independent) {
    DAMAGE("at 0", (m.header.e_type = ET_DYN, m.header.e_entry -= kBase, m.segments[0].p_vaddr = 0));
    DAMAGE("at an address", m.header.e_type = ET_DYN);
    DAMAGE("with large alignment", (m.header.e_type = ET_DYN, m.header.e_entry -= kBase, m.segments[0].p_vaddr = 0,
                                    m.segments[0].p_align = 0x200000));
    DAMAGE("entry outside", (m.header.e_type = ET_DYN, m.header.e_entry = 0x10000000, m.segments[0].p_vaddr = 0));
}

static void stack_note(struct image* m, unsigned flags) {
    m->header.e_phnum = 2;
    m->segments[1] = (Elf64_Phdr){.p_type = PT_GNU_STACK, .p_flags = flags};
    // push 0xc3 (ret) and jump to it: works only on an executable stack; then exit 42
    static const unsigned char code[] = {0x48, 0x83, 0xec, 0x08, 0xc6, 0x04, 0x24,
                                         0xc3, 0xff, 0xd4, 0x48, 0x83, 0xc4, 0x08};
    memcpy(m->code, code, sizeof code);
    memcpy(m->code + sizeof code, exit42, sizeof exit42);
}
TEST(stack_rights) {
    DAMAGE("executable", stack_note(&m, PF_R | PF_W | PF_X));
    DAMAGE("not executable", stack_note(&m, PF_R | PF_W));
    DAMAGE("none", (stack_note(&m, 0), m.header.e_phnum = 1));
}

static void bss(struct image* m) {
    second(m, kBase + 0x10000, 100, 3 * kPage);
    static const unsigned char code[] = {0x8a, 0x04, 0x25, 0x64, 0x00, 0x41, 0x00,  // mov 0x410064, %al
                                         0x0a, 0x04, 0x25, 0xff, 0x2f, 0x41, 0x00,  // or 0x412fff, %al
                                         0x0f, 0xb6, 0xf8, 0x83, 0xc7, 0x2a,        // movzbl %al, %edi; add $42, %edi
                                         0xb8, 231,  0,    0,    0,    0x0f, 0x05};
    memcpy(m->code, code, sizeof code);
}
TEST(zero_filled_tail) {
    // The byte after the file part of a writable segment, and the last byte of its memory, must be 0.
    DAMAGE("bss", bss(&m));
}

TEST(random_bytes) {
    // A fixed sequence of single damaged bytes in the headers. What becomes of each is the kernel's affair.
    unsigned seed = 1;
    int ended = 0;
    for (int i = 0; i < 100; i++) {
        struct image m;
        make(&m);
        seed = seed * 1103515245 + 12345;
        size_t at = (seed >> 16) % (sizeof m.header + sizeof m.segments[0]);
        seed = seed * 1103515245 + 12345;
        ((unsigned char*)&m)[at] ^= (unsigned char)(seed >> 16 | 1);
        save("x", &m, sizeof m);
        pid_t pid = fork();
        if (pid == 0) {
            alarm(5);
            setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
            execl("./x", "x", (char*)NULL);
            _exit(99);
        }
        int status;
        NEED(waitpid(pid, &status, 0) == pid);
        ended += WIFEXITED(status) || WIFSIGNALED(status);
    }
    say("%d ended\n", ended);
    DAMAGE("a good one afterwards", (void)0);
}

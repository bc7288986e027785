// SPDX-License-Identifier: MIT
// First process on the oracle (Debian's Linux): makes the guest look as it does on Farcall (/proc, /dev, four virtio
// ports), starts the program named in /.farcall/init, and speaks the control protocol of cli/machine.hpp for it. The
// program gets pipes; this process carries their bytes to the ports, because a port cannot carry an end-of-file.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { kIn, kOut, kErr, kControl, kPorts };
static const char* const kNames[kPorts] = {"farcall.stdin", "farcall.stdout", "farcall.stderr", "farcall.control"};
static int ports[kPorts] = {-1, -1, -1, -1};

static void die(const char* what) {
    fprintf(stderr, "oracle_init: %s: %s\n", what, strerror(errno));
    sync();
    reboot(RB_POWER_OFF);
    for (;;) pause();
}

static void write_all(int fd, const char* bytes, size_t length) {
    while (length > 0) {
        ssize_t n = write(fd, bytes, length);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return;
        bytes += n;
        length -= (size_t)n;
    }
}

static void control(const char* format, ...) {
    char line[512];
    va_list list;
    va_start(list, format);
    int n = vsnprintf(line, sizeof line, format, list);
    va_end(list);
    write_all(ports[kControl], line, (size_t)n);
}

static char* read_file(const char* path, size_t* length) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return NULL;
    struct stat st;
    fstat(fd, &st);
    size_t capacity = st.st_size > 0 ? (size_t)st.st_size : 4096, used = 0;
    char* data = calloc(1, capacity + 2);
    ssize_t n;
    while (used < capacity && (n = read(fd, data + used, capacity - used)) > 0) used += (size_t)n;
    close(fd);
    *length = used;
    return data;
}

// The modules carry their order in their names.
static int by_name(const struct dirent** a, const struct dirent** b) { return strcmp((*a)->d_name, (*b)->d_name); }
static void load_modules(void) {
    struct dirent** entries;
    int count = scandir("/.farcall/modules", &entries, NULL, by_name);
    for (int i = 0; i < count; ++i) {
        if (entries[i]->d_name[0] == '.') continue;
        char path[300];
        snprintf(path, sizeof path, "/.farcall/modules/%s", entries[i]->d_name);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) != 0 && errno != EEXIST)) die(path);
        close(fd);
    }
}

static int open_ports(void) {
    DIR* dir = opendir("/.farcall/sys/class/virtio-ports");
    int found = 0;
    if (!dir) return 0;
    for (struct dirent* entry; (entry = readdir(dir));) {
        char path[400];
        size_t length;
        snprintf(path, sizeof path, "/.farcall/sys/class/virtio-ports/%s/name", entry->d_name);
        char* name = entry->d_name[0] == '.' ? NULL : read_file(path, &length);
        for (int i = 0; name && i < kPorts; ++i) {
            size_t n = strlen(kNames[i]);
            if (strncmp(name, kNames[i], n) != 0 || (name[n] != '\n' && name[n] != 0)) continue;
            snprintf(path, sizeof path, "/dev/%s", entry->d_name);
            if (ports[i] < 0)
                ports[i] = open(path, (i == kIn ? O_RDONLY : i == kControl ? O_RDWR : O_WRONLY) | O_CLOEXEC);
        }
        free(name);
    }
    closedir(dir);
    for (int i = 0; i < kPorts; ++i) found += ports[i] >= 0;
    return found;
}

static void on_death(int signal) { (void)signal; }

static void start(char** argv, char** envp, int in, int out, int err, int report) {
    setsid();
    dup2(in, 0);
    dup2(out, 1);
    dup2(err, 2);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGCHLD, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    environ = envp;
    const char* path = getenv("PATH");
    setenv("PATH", path ? path : "/bin", 1);
    int error = ENOENT;
    if (strchr(argv[0], '/')) {
        execve(argv[0], argv, envp);
        error = errno;
    } else {
        char* folders = strdup(path ? path : "/bin");
        for (char* folder; (folder = strsep(&folders, ":"));) {
            char file[4096];
            snprintf(file, sizeof file, "%s/%s", folder, argv[0]);
            execve(file, argv, envp);
            if (errno != ENOENT && errno != ENOTDIR) error = errno;
        }
    }
    write_all(report, (char*)&error, sizeof error);
    _exit(127);
}

static unsigned long totals[2];
// Carries what is there now; 0 when the stream has ended.
static int carry(int from, int index) {
    static char buffer[65536];
    ssize_t n = read(from, buffer, sizeof buffer);
    if (n < 0) return errno == EAGAIN || errno == EINTR;
    if (n == 0) return 0;
    write_all(ports[kOut + index], buffer, (size_t)n);
    totals[index] += (unsigned long)n;
    return 1;
}

int main(void) {
    // A root of the user's need not have them.
    mkdir("/proc", 0555);
    mkdir("/dev", 0755);
    mkdir("/.farcall/sys", 0700);
    mount("proc", "/proc", "proc", 0, NULL);
    mount("sysfs", "/.farcall/sys", "sysfs", 0, NULL);
    mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    load_modules();
    for (int tries = 0; open_ports() < kPorts; ++tries) {
        if (tries > 2000) die("virtio ports");
        usleep(5000);
    }
    umount("/.farcall/sys");
    rmdir("/.farcall/sys");
    signal(SIGPIPE, SIG_IGN);

    size_t length, ignored;
    char* text = read_file("/.farcall/init", &length);
    char* command_line = read_file("/proc/cmdline", &ignored);
    if (!text || !command_line) die("/.farcall/init");
    int null_input = strstr(command_line, "stdin=null") != NULL;
    char* words[4096];
    int count = 0;
    for (char* at = text; at < text + length && count < 4094; at += strlen(at) + 1) words[count++] = at;
    int argc = atoi(words[0]);
    char* argv[2048] = {0};
    for (int i = 0; i < argc && i < 2047; ++i) argv[i] = words[1 + i];
    words[count] = NULL;
    char** envp = words + 1 + argc;

    int in[2], out[2], err[2], report[2];
    if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC) || pipe2(report, O_CLOEXEC)) die("pipe");
    if (null_input) {
        close(in[0]);
        in[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
    control("ready\n");
    // Blocked except during the wait: the end of a child ends the wait, and no polling is needed while the program runs
    // (it may be a benchmark).
    sigset_t chld, none;
    sigemptyset(&none);
    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    sigprocmask(SIG_BLOCK, &chld, NULL);
    signal(SIGCHLD, on_death);
    pid_t pid = fork();
    if (pid < 0) die("fork");
    if (pid == 0) start(argv, envp, in[0], out[1], err[1], report[1]);
    close(in[0]);
    close(out[1]);
    close(err[1]);
    close(report[1]);
    int error = 0;
    if (read(report[0], &error, sizeof error) == sizeof error) {
        control("error %s\n", error == ENOENT || error == ENOTDIR ? "notfound" : "noexec");
        for (;;) pause();
    }

    int source[2] = {out[0], err[0]};
    for (int i = 0; i < 2; ++i) fcntl(source[i], F_SETFL, O_NONBLOCK);
    int sink = null_input ? -1 : in[1];
    if (sink >= 0) fcntl(sink, F_SETFL, O_NONBLOCK);
    static char input[65536];
    size_t input_length = 0;
    unsigned long long input_total = 0, input_end = ~0ull;
    char line[256];
    size_t line_length = 0;
    int status = 0, alive = 1;
    while (alive) {
        struct pollfd fds[] = {
            {ports[kControl], POLLIN, 0},
            {sink >= 0 && input_length == 0 ? ports[kIn] : -1, POLLIN, 0},
            {input_length > 0 ? sink : -1, POLLOUT, 0},
            {source[0], POLLIN, 0},
            {source[1], POLLIN, 0},
        };
        const struct timespec limit = {1, 0};
        ppoll(fds, 5, &limit, &none);
        if (fds[0].revents & POLLIN) {
            ssize_t n = read(ports[kControl], line + line_length, sizeof line - 1 - line_length);
            if (n > 0) line_length += (size_t)n;
            line[line_length] = 0;
            for (char* end; (end = strchr(line, '\n'));) {
                *end = 0;
                if (strncmp(line, "stdin-eof ", 10) == 0) input_end = strtoull(line + 10, NULL, 10);
                if (strcmp(line, "term") == 0) kill(pid, SIGTERM);
                line_length -= (size_t)(end + 1 - line);
                memmove(line, end + 1, line_length + 1);
            }
            if (line_length == sizeof line - 1) line_length = 0;
        }
        if (fds[1].revents & POLLIN) {
            ssize_t n = read(ports[kIn], input, sizeof input);
            if (n > 0) input_length = (size_t)n, input_total += (size_t)n;
        }
        if (sink >= 0 && input_length > 0) {
            ssize_t n = write(sink, input, input_length);
            if (n > 0) {
                input_length -= (size_t)n;
                memmove(input, input + n, input_length);
            } else if (n < 0 && errno != EAGAIN && errno != EINTR) {
                close(sink);
                sink = -1;
            }
        }
        if (sink >= 0 && input_length == 0 && input_total >= input_end) {
            close(sink);
            sink = -1;
        }
        for (int i = 0; i < 2; ++i) {
            if (source[i] >= 0 && fds[3 + i].revents && !carry(source[i], i)) {
                close(source[i]);
                source[i] = -1;
            }
        }
        pid_t dead;
        int got;
        while ((dead = waitpid(-1, &got, WNOHANG)) > 0) {
            if (dead == pid) status = got, alive = 0;
        }
    }
    for (int i = 0; i < 2; ++i) {
        // What is in the pipe now belongs to the output; what a surviving process writes later does not.
        while (source[i] >= 0) {
            struct pollfd fd = {source[i], POLLIN, 0};
            if (poll(&fd, 1, 0) <= 0 || !carry(source[i], i)) break;
        }
    }
    control("stdout-bytes %lu\nstderr-bytes %lu\n", totals[0], totals[1]);
    if (WIFSIGNALED(status)) {
        control("signal %d\n", WTERMSIG(status));
    } else {
        control("exit %d\n", WEXITSTATUS(status));
    }
    for (;;) pause();
}

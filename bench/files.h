// SPDX-License-Identifier: MIT
// The files that task1, task2, task4 and task5 read: 1,200 files of 10 KiB of words, in one directory of tmpfs; with
// BENCH_FILES in the environment as many as that says, at most 4,000.
#pragma once
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { kFiles = 1200, kMostFiles = 4000, kFileSize = 10240 };
#define BENCH_DIRECTORY "/tmp/bench"
#define BENCH_FILES BENCH_DIRECTORY "/files"

static inline int file_count(void) {
    const char* text = getenv("BENCH_FILES");
    const int count = text ? atoi(text) : kFiles;
    return count < 1 ? 1 : count > kMostFiles ? kMostFiles : count;
}

static inline void fill_words(char* to, size_t size) {
    for (size_t i = 0; i < size; ++i) to[i] = "the quick brown fox jumps\nover the lazy dog "[i % 44];
}

static inline void file_name(char name[8], int number) { snprintf(name, 8, "f%04d", number % 10000); }

// Creates them. Returns 0, or -1 after a message on standard error.
static inline int make_many_files(void) {
    static char words[kFileSize];
    fill_words(words, sizeof words);
    mkdir("/tmp", 01777);
    mkdir(BENCH_DIRECTORY, 0755);
    mkdir(BENCH_FILES, 0755);
    for (int i = 0, count = file_count(); i < count; ++i) {
        char name[8], path[64];
        file_name(name, i);
        snprintf(path, sizeof path, BENCH_FILES "/%s", name);
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
        if (fd < 0 || write(fd, words, kFileSize) != kFileSize || close(fd) != 0) {
            perror(path);
            return -1;
        }
    }
    return 0;
}

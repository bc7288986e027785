// SPDX-License-Identifier: MIT
// For tests/tool.sh: does what the test server dies of (tests/server/hooks.cpp), `server_death STEP`. Says "not reached" if it
// lives on.
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BAD_PAGE ((char*)0x6ffffffff000)

int main(int argc, char** argv) {
    if (argc > 1 && strcmp(argv[1], "fault") == 0) {
        char* page = mmap(BAD_PAGE, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        if (page == BAD_PAGE) page[0] = 1;
    } else {
        (void)getppid();
        sleep(2);
    }
    puts("not reached");
    return 0;
}

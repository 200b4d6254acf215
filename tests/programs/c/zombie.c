// Has a child that ended and is not waited for; `ready` names that child.
#define _GNU_SOURCE
#include "fixture.h"

#include <sys/wait.h>
#include <unistd.h>

int main(void) {
    pid_t child = fork();
    if (!child) _exit(0);
    siginfo_t info;
    EXPECT(waitid(P_PID, child, &info, WEXITED | WNOWAIT) == 0);
    truth_number("ready", child);
    char line[16];
    while (read_line(line, sizeof line)) {}
    return 0;
}

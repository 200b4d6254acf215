// Also compiled as C++.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "waiters.h"

#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int waiters_wanted;

enum { STACK = 128 * 1024 };

long now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000 + now.tv_nsec;
}

void waiter_arrive(struct waiter *waiter, const char *function, int line) {
    waiter->tid = (pid_t)syscall(SYS_gettid);
    waiter->function = function;
    waiter->line = line;
    __atomic_store_n(&waiter->since, now_ns(), __ATOMIC_RELEASE);
}

static FRAME void *waiter_body(void *argument) {
    struct waiter *waiter = (struct waiter *)argument;
    char name[16];
    snprintf(name, sizeof name, "%s", waiter->group);
    pthread_setname_np(pthread_self(), name);
    waiter->wait(waiter);
    return keep(argument);
}

struct waiter *launch_waiters(const struct group *group, int count) {
    struct waiter *waiters = (struct waiter *)calloc(count, sizeof *waiters);
    EXPECT(waiters);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK);
    for (int i = 0; i < count; i++) {
        waiters[i].index = i;
        waiters[i].group = group->name;
        waiters[i].wait = group->wait;
        EXPECT(pthread_create(&waiters[i].thread, &attributes, waiter_body, &waiters[i]) == 0);
    }
    return waiters;
}

static int read_task(pid_t tid, const char *file, char *text, size_t size) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/%s", (int)tid, file);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t n = read(fd, text, size - 1);
    close(fd);
    text[n > 0 ? n : 0] = 0;
    return n > 0;
}

// Whether the kernel says that it sleeps in that system call; notes its first argument.
static int sleeps_in(struct waiter *waiter, long number) {
    if (!__atomic_load_n(&waiter->since, __ATOMIC_ACQUIRE)) return 0;
    char text[512];
    if (!read_task(waiter->tid, "stat", text, sizeof text)) return 0;
    char *name_end = strrchr(text, ')');
    if (!name_end || !strchr("SD", name_end[2])) return 0;
    if (!read_task(waiter->tid, "syscall", text, sizeof text)) return 0;
    long found;
    unsigned long argument = 0;
    // "running", or the number and the arguments; without a system call only -1, sp and pc.
    if (sscanf(text, "%ld 0x%lx", &found, &argument) < 1 || found != number) return 0;
    waiter->argument = number < 0 ? 0 : argument;
    return 1;
}

void await_waiters(const struct group *group, struct waiter *waiters, int count) {
    for (int i = 0; i < count; i++)
        while (!sleeps_in(&waiters[i], group->number)) sched_yield();
}

struct waiter *start_waiters(const struct group *group, int count) {
    struct waiter *waiters = launch_waiters(group, count);
    await_waiters(group, waiters, count);
    return waiters;
}

FRAME void hold_asleep(struct waiter *waiter) {
    struct timespec day = {86400, 0};
    for (;;) {
        ARRIVE(waiter), nanosleep(&day, NULL);
    }
}

struct waiter *start_holder(void (*wait)(struct waiter *)) {
    struct group holder = {"holder", "sleep", "clock_nanosleep", SYS_clock_nanosleep, wait};
    struct waiter *waiter = start_waiters(&holder, 1);
    tell_group(&holder, waiter, 1);
    return waiter;
}

__attribute__((format(printf, 1, 2))) static void sayf(const char *format, ...) {
    char line[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    say(line);
}

void tell_group(const struct group *group, const struct waiter *waiters, int count) {
    sayf("blocked %s count=%d kind=%s operation=%s function=%s line=%d\n", group->name, count, group->kind,
         group->operation, waiters->function, waiters->line);
    for (int i = 0; i < count; i++)
        sayf("thread %s %d %ld 0x%lx\n", group->name, (int)waiters[i].tid, waiters[i].since,
             waiters[i].argument);
}

void tell_lock(const char *group, const void *lock, const struct waiter *owner, int waiters) {
    sayf("lock %s 0x%lx %d %d %s\n", group, (unsigned long)lock, owner ? (int)owner->tid : 0, waiters,
         owner ? owner->group : "-");
}

void tell_cycle(const struct waiter *waiter, const void *lock, const struct waiter *owner) {
    sayf("cycle %d 0x%lx %d %s\n", (int)waiter->tid, (unsigned long)lock, (int)owner->tid,
         waiter->function);
}

// Also compiled as C++.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "fixture.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct site *registered;

static void enter(struct site *site) {
    if (__atomic_exchange_n(&site->registered, 1, __ATOMIC_RELAXED)) return;
    struct site *head = __atomic_load_n(&registered, __ATOMIC_RELAXED);
    do site->next = head;
    while (!__atomic_compare_exchange_n(&registered, &head, site, 0, __ATOMIC_RELEASE, __ATOMIC_RELAXED));
}

static void add(long *to, long number) { __atomic_add_fetch(to, number, __ATOMIC_RELAXED); }

void site_alloc(struct site *site, size_t bytes) {
    enter(site);
    add(&site->live_objects, 1);
    add(&site->live_bytes, bytes);
    add(&site->alloc_objects, 1);
    add(&site->alloc_bytes, bytes);
}

void site_free(struct site *site, size_t bytes) {
    add(&site->live_objects, -1);
    add(&site->live_bytes, -(long)bytes);
}

void say(const char *text) {
    for (size_t left = strlen(text); left;) {
        ssize_t n = write(1, text, left);
        if (n <= 0) _exit(3);
        text += n, left -= n;
    }
}

// Integers and strings only: snprintf allocates nothing for these.
static void sayf(const char *format, ...) {
    char line[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    say(line);
}

void truth_number(const char *key, long number) { sayf("%s %ld\n", key, number); }

void fixture_fail(const char *file, int line, const char *text) {
    sayf("failed %s:%d: %s\n", file, line, text);
    _exit(3);
}

int read_line(char *line, size_t size) {
    size_t length = 0;
    char c;
    while (read(0, &c, 1) == 1 && c != '\n')
        if (length + 1 < size) line[length++] = c;
    line[length] = 0;
    return length > 0;
}

static void report(int total) {
    long objects = 0, bytes = 0;
    for (struct site *s = registered; s; s = s->next) {
        sayf("site %s %ld %ld\n", s->name, s->live_objects, s->live_bytes);
        sayf("alloc %s %ld %ld\n", s->name, s->alloc_objects, s->alloc_bytes);
        objects += s->live_objects, bytes += s->live_bytes;
    }
    if (total) sayf("total %ld %ld\n", objects, bytes);
    say("done\n");
}

// What the program becomes by exec: it allocates too, which must not enter the old account.
static int after_exec(void) {
    for (int i = 0; i < 1000; i++) keep(malloc(100));
    say("execed\n");
    char line[16];
    while (read_line(line, sizeof line)) {}
    return 0;
}

static void *wait_for_the_end(void *unused) {
    char line[16];
    while (read_line(line, sizeof line)) {}
    _exit(0);
    return unused;
}

// The main thread ends, the process goes on.
static void leave_it_to_a_thread(void) {
    pthread_t thread;
    EXPECT(pthread_create(&thread, NULL, wait_for_the_end, NULL) == 0);
    pthread_exit(NULL);
}

int fixture_main(int argc, char **argv, const struct scenario *scenarios) {
    const char *wanted = argc > 1 ? argv[1] : scenarios->name;
    if (!strcmp(wanted, "after-exec")) return after_exec();
    const struct scenario *scenario = scenarios;
    while (scenario->name && strcmp(scenario->name, wanted)) scenario++;
    if (!scenario->name) {
        sayf("failed: no scenario %s\n", wanted);
        return 2;
    }
    if (scenario->prepare) scenario->prepare();

    char line[64];
    sayf("ready %d\n", (int)getpid());
    if (!read_line(line, sizeof line)) return 0;
    scenario->run();
    report(scenario->total);
    if (read_line(line, sizeof line)) {
        if (!strcmp(line, "exec")) execl("/proc/self/exe", argv[0], "after-exec", (char *)0);
        if (!strcmp(line, "leave")) leave_it_to_a_thread();
    }
    // Not exit(3): destructors of the allocators would free blocks that are still to be reported.
    _exit(0);
}

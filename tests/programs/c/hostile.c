// Blocked threads whose stacks do not lead to the root: overwritten, or partly not there.
#define _GNU_SOURCE
#include "waiters.h"

#include <linux/futex.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static unsigned word;

// futex(&word, FUTEX_WAIT_PRIVATE, 0, NULL) without touching the stack; with garbage in rbp if asked.
static inline __attribute__((always_inline)) void wait_for_ever(unsigned long rbp) {
    __asm__ volatile("mov %[rbp], %%rbp\n"
                     "1: mov %[number], %%eax\n"
                     "xor %%edx, %%edx\n"
                     "xor %%r10d, %%r10d\n"
                     "syscall\n"
                     "jmp 1b\n"
                     :
                     : [rbp] "r"(rbp), [number] "i"(SYS_futex), "D"(&word), "S"(FUTEX_WAIT_PRIVATE)
                     : "rax", "rdx", "r10", "rcx", "r11", "memory");
}

enum { OWN_CALLER = 1, NOTHING = 2 };
// Overwrites everything from its own return address to near the thread's own data.
static FRAME void smash(struct waiter *w, uintptr_t garbage) {
    uintptr_t *words = (uintptr_t *)__builtin_dwarf_cfa() - 1;
    uintptr_t seed = 88172645463325252u + w->index;
    if (garbage == OWN_CALLER) garbage = (uintptr_t)__builtin_return_address(0);
    ARRIVE(w);
    for (int i = 0; i < 24; i++) {
        seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
        words[i] = garbage == NOTHING ? 0 : garbage ? garbage : seed;
    }
    wait_for_ever(seed);
}
static FRAME void caller(struct waiter *w, uintptr_t garbage) {
    char room[64];
    keep(room);
    smash(w, garbage);
    keep(room);
}
static void at_random(struct waiter *w) { caller(w, 0); }
static void at_zero_page(struct waiter *w) { caller(w, 8); }
static void at_nothing(struct waiter *w) { caller(w, NOTHING); }
// The right return address, again and again: the stack looks as if it went round in circles.
static void at_circle(struct waiter *w) { caller(w, OWN_CALLER); }
// Return addresses behind the end of a function, where no unwind information covers them.
static void at_padding(struct waiter *w) { caller(w, (uintptr_t)caller + 24); }
// Return addresses and frames in the stack itself.
static void at_stack(struct waiter *w) { caller(w, (uintptr_t)__builtin_dwarf_cfa()); }
static void at_kernel(struct waiter *w) { caller(w, 0xffffffff81000000); }

// Frames of a page each; those in the middle vanish.
static FRAME void at_hole(struct waiter *w, char *middle) {
    char *page = (char *)((uintptr_t)middle & ~(uintptr_t)4095);
    ARRIVE(w);
    EXPECT(munmap(page, 4 * 4096) == 0);
    wait_for_ever(0);
}
static FRAME void dive(struct waiter *w, int depth, char *middle) {
    char room[4096];
    keep(room);
    if (depth == 0) at_hole(w, middle);
    else dive(w, depth - 1, depth == 8 ? room : middle);
    keep(room);
}
static void unmapped(struct waiter *w) { dive(w, 16, NULL); }

static void block(const char *name, void (*wait)(struct waiter *), int count) {
    struct group group = {name, "futex", "futex", SYS_futex, wait};
    tell_group(&group, start_waiters(&group, count), count);
}

static void smashed(void) {
    block("random", at_random, waiters_wanted);
    block("zero", at_zero_page, waiters_wanted);
    block("nothing", at_nothing, waiters_wanted);
    block("circle", at_circle, waiters_wanted);
    block("padding", at_padding, waiters_wanted);
    block("stack", at_stack, waiters_wanted);
    block("kernel", at_kernel, waiters_wanted);
}
static FRAME void at_sound(struct waiter *w) {
    for (;;) ARRIVE(w), syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
}
static void hole(void) {
    struct group group = {"hole", "futex", "futex", SYS_futex, unmapped};
    struct waiter *waiters = launch_waiters(&group, 1);
    await_waiters(&group, waiters, 1);
    tell_group(&group, waiters, 1);
}
static void with_sound(void (*scenario)(void)) {
    block("sound", at_sound, 5);
    scenario();
}
static void prepare_smashed(void) { with_sound(smashed); }
static void prepare_hole(void) { with_sound(hole); }
static void nothing(void) {}

int main(int argc, char **argv) {
    static const struct scenario scenarios[] = {
        {"smashed", nothing, prepare_smashed},
        {"hole", nothing, prepare_hole},
        {0},
    };
    waiters_wanted = argc > 2 ? atoi(argv[2]) : 10;
    return fixture_main(argc, argv, scenarios);
}

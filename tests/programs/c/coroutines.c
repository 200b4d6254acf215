// Coroutines of makecontext: they allocate, wait, take turns, and end.
#define _GNU_SOURCE
#include "fixture.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

SITE(site_coroutine, malloc(size))
SITE(site_turn, malloc(size))

enum { STACK = 64 * 1024, TURNS = 1000, COROUTINES = 4 };

struct coroutine {
    ucontext_t own, caller;
    void *stack, *block;
    int ended;
};

// The low and the high half: makecontext passes ints.
static struct coroutine *joined(unsigned low, unsigned high) {
    return (struct coroutine *)((unsigned long)low | (unsigned long)high << 32);
}

static void start(struct coroutine *coroutine, void (*body)(unsigned, unsigned)) {
    coroutine->stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(coroutine->stack != MAP_FAILED && getcontext(&coroutine->own) == 0);
    coroutine->own.uc_stack.ss_sp = coroutine->stack;
    coroutine->own.uc_stack.ss_size = STACK;
    coroutine->own.uc_link = &coroutine->caller;
    coroutine->ended = 0;
    unsigned long address = (unsigned long)coroutine;
    makecontext(&coroutine->own, (void (*)(void))body, 2, (unsigned)address, (unsigned)(address >> 32));
}

static void resume(struct coroutine *coroutine) {
    EXPECT(swapcontext(&coroutine->caller, &coroutine->own) == 0);
}

static void yield_to_caller(struct coroutine *coroutine) {
    EXPECT(swapcontext(&coroutine->own, &coroutine->caller) == 0);
}

static FRAME void leaks(unsigned low, unsigned high) {
    struct coroutine *own = joined(low, high);
    for (int i = 0; i < 10; i++) {
        keep(site_coroutine(100));
        yield_to_caller(own);
    }
    own->ended = 1;
}

static void leak(void) {
    static struct coroutine coroutine;
    start(&coroutine, leaks);
    while (!coroutine.ended) resume(&coroutine);
    munmap(coroutine.stack, STACK);
}

static struct coroutine ring[COROUTINES];

// Frees what another one has allocated, in turns; some turns start a coroutine inside this one.
static FRAME void takes_turns(unsigned low, unsigned high) {
    struct coroutine *own = joined(low, high);
    for (int i = 0; i < TURNS; i++) {
        struct coroutine *next = &ring[(own - ring + 1) % COROUTINES];
        if (next->block) FREE(site_turn, next->block, 48);
        next->block = site_turn(48);
        if (i % 100 == 0) {
            struct coroutine *inner = malloc(sizeof *inner);
            start(inner, leaks);
            while (!inner->ended) resume(inner);
            munmap(inner->stack, STACK);
            free(inner);
        }
        yield_to_caller(own);
    }
    own->ended = 1;
}

static void alternate(void) {
    for (int i = 0; i < COROUTINES; i++) start(&ring[i], takes_turns);
    for (int left = COROUTINES; left > 0;) {
        left = 0;
        for (int i = 0; i < COROUTINES; i++) {
            if (!ring[i].ended) resume(&ring[i]);
            left += !ring[i].ended;
        }
    }
    for (int i = 0; i < COROUTINES; i++) {
        munmap(ring[i].stack, STACK);
        if (ring[i].block) FREE(site_turn, ring[i].block, 48);
    }
}

static sem_t never;
static FRAME void waits(unsigned low, unsigned high) {
    keep(joined(low, high));
    while (sem_wait(&never) != 0) {}
    keep(NULL);
}

static void *waits_in_a_coroutine(void *unused) {
    static struct coroutine coroutine;
    start(&coroutine, waits);
    resume(&coroutine);
    return unused;
}

static void start_waiting(void) {
    pthread_t thread;
    EXPECT(sem_init(&never, 0, 0) == 0);
    EXPECT(pthread_create(&thread, NULL, waits_in_a_coroutine, NULL) == 0);
}
static void nothing(void) {}

int main(int argc, char **argv) {
    static const struct scenario scenarios[] = {
        {"leak", leak, .total = TOTAL},
        {"alternate", alternate, .total = TOTAL},
        {"wait", nothing, .prepare = start_waiting},
        {0},
    };
    return fixture_main(argc, argv, scenarios);
}

// The account across threads. pthread_create allocates too, so there are no totals here.
#define _GNU_SOURCE
#include "fixture.h"

#include <pthread.h>
#include <stdlib.h>

SITE(site_shared, malloc(size))
SITE(site_kept, malloc(size))
SITE(site_churned, malloc(size))
SITE(site_grown, realloc(keep(NULL), size))

enum { BLOCKS = 1000 };
static void *blocks[BLOCKS];
static pthread_barrier_t barrier;

static void run_threads(int number, void *(*body)(void *)) {
    static pthread_t threads[300];
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 256 * 1024);
    for (long i = 0; i < number; i++) EXPECT(pthread_create(&threads[i], &attributes, body, (void *)i) == 0);
    for (int i = 0; i < number; i++) EXPECT(pthread_join(threads[i], NULL) == 0);
}

static void *free_half(void *unused) {
    for (int i = 0; i < BLOCKS; i += 2) FREE(site_shared, blocks[i], 48);
    return unused;
}

static void freed_by_another(void) {
    for (int i = 0; i < BLOCKS; i++) blocks[i] = site_shared(48);
    run_threads(1, free_half);
}

// All threads are inside the allocator at the same time; each frees what its neighbour made.
static FRAME void *one_of_300(void *argument) {
    long index = (long)argument;
    blocks[index] = site_shared(64);
    pthread_barrier_wait(&barrier);
    FREE(site_shared, blocks[(index + 1) % 300], 64);
    for (int i = 0; i < 10; i++) keep(site_kept(16));
    return keep(NULL);
}

static void three_hundred(void) {
    pthread_barrier_init(&barrier, NULL, 300);
    run_threads(300, one_of_300);
}

enum { ROUNDS = 100000 };
static FRAME void *churn(void *argument) {
    void *pending[16] = {0};
    for (int i = 0; i < ROUNDS; i++) {
        void **slot = &pending[i % 16];
        if (*slot) FREE(site_churned, *slot, 200);
        *slot = site_churned(200);
        if (i % 1000 == 0) keep(site_kept(24));
        if (i % 5000 == 0) keep(site_grown(4000));
    }
    for (int i = 0; i < 16; i += 2) FREE(site_churned, pending[i], 200);
    return keep(argument);
}

static void churn8(void) { run_threads(8, churn); }

// Each fills its cache with blocks that it has freed, and ends; libc then frees them once more.
static FRAME void *fills_its_cache(void *argument) {
    void *pending[64];
    for (int i = 0; i < 64; i++) pending[i] = site_churned(16 * (1 + i % 40));
    for (int i = 0; i < 64; i++) FREE(site_churned, pending[i], 16 * (1 + i % 40));
    return keep(argument);
}

static void thousand_end(void) {
    for (int i = 0; i < 10; i++) run_threads(100, fills_its_cache);
    truth_number("unknown_frees", 0);
}

// Waits until it is told to end, so that it lives before anything is traced.
static pthread_t early[100];
static pthread_mutex_t until_go = PTHREAD_MUTEX_INITIALIZER;
static FRAME void *ends_at_go(void *argument) {
    void *block = malloc(100);
    free(block);
    pthread_mutex_lock(&until_go);
    pthread_mutex_unlock(&until_go);
    return keep(argument);
}

static void start_early(void) {
    pthread_mutex_lock(&until_go);
    for (int i = 0; i < 100; i++) EXPECT(pthread_create(&early[i], NULL, ends_at_go, NULL) == 0);
}

static void early_end(void) {
    pthread_mutex_unlock(&until_go);
    for (int i = 0; i < 100; i++) EXPECT(pthread_join(early[i], NULL) == 0);
    thousand_end();
}

int main(int argc, char **argv) {
    static const struct scenario scenarios[] = {
        {"freed-by-another", freed_by_another},
        {"300", three_hundred},
        {"churn8", churn8},
        {"thousand-end", thousand_end},
        {"early-end", early_end, .prepare = start_early},
        {0},
    };
    return fixture_main(argc, argv, scenarios);
}

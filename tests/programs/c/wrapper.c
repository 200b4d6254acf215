// An allocator that leaves the work to the next one, as those do that count or log.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>

static void *(*next_malloc)(size_t), *(*next_realloc)(void *, size_t);
static void (*next_free)(void *);

__attribute__((constructor)) static void find(void) {
    next_malloc = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
    next_realloc = (void *(*)(void *, size_t))dlsym(RTLD_NEXT, "realloc");
    next_free = (void (*)(void *))dlsym(RTLD_NEXT, "free");
}

// What is allocated before that: few blocks, never freed.
static char early[1 << 16] __attribute__((aligned(16)));
static size_t early_used;

static void *early_block(size_t size) {
    void *block = early + early_used;
    early_used += (size + 15) & ~(size_t)15;
    return block;
}

void *malloc(size_t size) {
    void *block = next_malloc ? next_malloc(size) : early_block(size);
    __asm__ volatile("" : "+r"(block) : : "memory");
    return block;
}

void *realloc(void *old, size_t size) {
    void *block = next_realloc ? next_realloc(old, size) : early_block(size);
    __asm__ volatile("" : "+r"(block) : : "memory");
    return block;
}

void free(void *block) {
    if ((char *)block >= early && (char *)block < early + sizeof early) return;
    if (next_free) next_free(block);
    __asm__ volatile("" : : : "memory");
}

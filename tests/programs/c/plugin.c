// A library that a program loads while it is traced.
#include <stdlib.h>

static __attribute__((noinline, noclone)) void *keep_by(size_t size) {
    void *block = malloc(size);
    __asm__ volatile("" : "+r"(block) : : "memory");
    return block;
}

__attribute__((noinline, noclone)) void plugin_first(void) {
    for (int i = 0; i < 50; i++) keep_by(80);
}

__attribute__((noinline, noclone)) void plugin_keep(void) {
    for (int i = 0; i < 50; i++) keep_by(160);
}

void plugin_once(void) {
    keep_by(160);
    __asm__ volatile("");
}

void plugin_work(int phase) {
    if (phase) plugin_keep();
    else plugin_first();
    __asm__ volatile("");
}

// The protocol that every fixture speaks, and the account of truth that it keeps.
//
//   fixture: ready PID         before anything is traced
//   test:    go                tracing is active
//   fixture: site NAME live_objects live_bytes
//            alloc NAME objects bytes
//            total live_objects live_bytes     (only where nothing else allocates)
//            KEY number                        (whatever else the test compares)
//            done
//   test:    exit | exec | leave | end of input
//
// Bytes are those that were asked for. Nothing here allocates: lines go through read(2), write(2).
#pragma once
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

// A function that must show up as a frame of its own.
#define FRAME __attribute__((noinline, noclone))

struct site {
    const char *name;
    long live_objects, live_bytes, alloc_objects, alloc_bytes;
    int registered;
    struct site *next;
};

// All of these may be called by several threads at once.
void site_alloc(struct site *site, size_t bytes);
void site_free(struct site *site, size_t bytes);
// Prints KEY and the number as a line of the truth.
void truth_number(const char *key, long number);

// Ends the program with a message unless the condition holds.
#define EXPECT(condition) ((condition) ? (void)0 : fixture_fail(__FILE__, __LINE__, #condition))
void fixture_fail(const char *file, int line, const char *text) __attribute__((noreturn));

enum { TOTAL = 1 };
struct scenario {
    const char *name;
    void (*run)(void);
    void (*prepare)(void); // runs before `ready`
    int total;             // TOTAL: the sites are all that is live
};
int fixture_main(int argc, char **argv, const struct scenario *scenarios);

// Reads a line of standard input; returns 0 at its end.
int read_line(char *line, size_t size);
void say(const char *text);

// Hides a value from the optimiser. After an allocator call it also keeps the call from becoming a
// tail call, which would take the caller's frame out of the stack.
static inline void *keep(void *pointer) {
    __asm__ volatile("" : "+r"(pointer) : : "memory");
    return pointer;
}
static inline size_t opaque(size_t number) {
    __asm__ volatile("" : "+r"(number));
    return number;
}

#ifdef __cplusplus
}
#else
// Defines `void *NAME(size_t size)`, a site that allocates by CALL and enters it in the truth.
#define SITE(NAME, CALL)                                                                           \
    static struct site NAME##_truth = {.name = #NAME};                                             \
    static FRAME void *NAME(size_t size) {                                                         \
        void *block = keep(CALL);                                                                  \
        if (block) site_alloc(&NAME##_truth, size);                                                \
        return block;                                                                              \
    }
// Frees a block of the site and enters that in the truth.
#define FREE(NAME, block, size) (free(block), site_free(&NAME##_truth, size))
#endif

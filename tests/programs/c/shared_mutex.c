// A mutex whose holder is another process. Prints its role once it has the mutex, or is about to wait for it.
//
// hold FILE: makes a mutex in the memory of the file, and holds it.
// wait FILE: waits for that one.
// fork: a thread of the parent holds a mutex, and the child waits for the copy that fork has made; prints the child's
// PID and the TID of that thread, too.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static pthread_mutex_t copied = PTHREAD_MUTEX_INITIALIZER;
static pid_t holder;

static void *hold(void *ready) {
    pthread_mutex_lock(&copied);
    holder = gettid();
    pthread_barrier_wait(ready);
    for (;;) pause();
    return NULL;
}

static int forked(void) {
    pthread_barrier_t ready;
    pthread_t thread;
    pthread_barrier_init(&ready, NULL, 2);
    if (pthread_create(&thread, NULL, hold, &ready) != 0) return 1;
    pthread_barrier_wait(&ready);
    pid_t child = fork();
    if (child == 0) {
        pthread_mutex_lock(&copied);
        return 0;
    }
    printf("fork %d %d\n", child, holder);
    fflush(stdout);
    waitpid(child, NULL, 0);
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 2) return forked();
    int file = open(argv[2], O_CREAT | O_RDWR, 0600);
    if (file < 0 || ftruncate(file, 4096) != 0) return 1;
    pthread_mutex_t *mutex = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (mutex == MAP_FAILED) return 1;
    int holds = strcmp(argv[1], "hold") == 0;
    if (holds) {
        pthread_mutexattr_t shared;
        pthread_mutexattr_init(&shared);
        pthread_mutexattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
        pthread_mutex_init(mutex, &shared);
        pthread_mutex_lock(mutex);
    }
    puts(argv[1]);
    fflush(stdout);
    if (!holds) pthread_mutex_lock(mutex);
    for (;;) pause();
}

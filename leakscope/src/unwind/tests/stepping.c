/* Runs through much of a C library, one instruction at a time, under a test that follows its stack. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#define N __attribute__((noinline, noclone))
static void *volatile kept[64];
static volatile int handled;
static jmp_buf there;
N static int compare(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }
N static void on_signal(int n) { handled += n; kept[9] = malloc(33); }
N static void leave(int n) { if (n == 0) longjmp(there, 1); leave(n - 1); kept[10] = 0; }
N static void heap(void) {
    kept[0] = malloc(100);
    kept[1] = calloc(7, 9);
    kept[2] = realloc(malloc(10), 300000);
    if (posix_memalign((void **)&kept[3], 64, 1000)) abort();
    kept[4] = strdup("some text");
    for (int i = 0; i < 4; i++) { free(kept[i]); kept[i] = 0; }
}
N static void text(void) {
    char buffer[200];
    int n = snprintf(buffer, sizeof buffer, "%d %s %f %p %-12x| %lld", 42, "words", 3.25, buffer, 77, 1LL << 40);
    if (n < 10 || strtod("12.5e3", 0) != 12500.0) abort();
    printf("%s\n", buffer);
    fflush(stdout);
    FILE *file = fopen("/dev/null", "w");
    if (!file || fprintf(file, "%s %08ld\n", buffer, 5L) < 0 || fclose(file)) abort();
    time_t now = 86400 * 365;
    struct tm tm;
    gmtime_r(&now, &tm);
    if (!strftime(buffer, sizeof buffer, "%Y-%m-%d %A", &tm) || !strstr(buffer, "1971")) abort();
}
N static void locks(void) {
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
    pthread_mutex_lock(&mutex);
    pthread_cond_signal(&cond);
    struct timespec past = { 1, 0 };
    if (!pthread_cond_timedwait(&cond, &mutex, &past)) abort();
    pthread_mutex_unlock(&mutex);
    usleep(1);
}
int main(void) {
    int numbers[40];
    for (int i = 0; i < 40; i++) numbers[i] = i * 7919 % 101;
    qsort(numbers, 40, sizeof *numbers, compare);
    heap();
    text();
    locks();
    signal(SIGUSR1, on_signal);
    raise(SIGUSR1);
    if (!setjmp(there)) leave(5);
    getenv("PATH");
    return handled == SIGUSR1 ? 0 : 1;
}

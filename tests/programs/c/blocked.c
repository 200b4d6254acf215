// Threads that are blocked before anyone looks: each scenario is one kind of wait at one site.
#define _GNU_SOURCE
#include "waiters.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <linux/userfaultfd.h>
#include <mqueue.h>
#include <poll.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// musl has no such kind.
#ifndef PTHREAD_MUTEX_ADAPTIVE_NP
#define PTHREAD_MUTEX_ADAPTIVE_NP PTHREAD_MUTEX_NORMAL
#endif

// Starts so many threads at one site and tells about them.
static struct waiter *block(const char *name, const char *kind, const char *operation, long number,
                            void (*wait)(struct waiter *), int count) {
    struct group *group = (struct group *)malloc(sizeof *group);
    *group = (struct group){name, kind, operation, number, wait};
    struct waiter *waiters = start_waiters(group, count);
    tell_group(group, waiters, count);
    return waiters;
}

#define BLOCK(KIND, OPERATION, WAIT) block("waiters", KIND, #OPERATION, SYS_##OPERATION, WAIT, waiters_wanted)

// ---- Locks that a sleeping thread holds

static pthread_mutex_t mutex;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;

static FRAME void at_mutex(struct waiter *w) {
    ARRIVE(w), pthread_mutex_lock(&mutex);
    keep(w);
}
static FRAME void at_mutex_timed(struct waiter *w) {
    struct timespec until = {4000000000, 0};
    ARRIVE(w), pthread_mutex_timedlock(&mutex, &until);
    keep(w);
}
static FRAME void with_mutex(struct waiter *w) {
    EXPECT(pthread_mutex_lock(&mutex) == 0);
    hold_asleep(w);
}

static void mutex_of(int type, int robust, int protocol) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, type);
    pthread_mutexattr_setrobust(&attributes, robust);
    pthread_mutexattr_setprotocol(&attributes, protocol);
    EXPECT(pthread_mutex_init(&mutex, &attributes) == 0);
    struct waiter *owner = start_holder(with_mutex);
    BLOCK("mutex", futex, at_mutex);
    tell_lock("waiters", &mutex, owner, waiters_wanted);
}

static void mutex_normal(void) { mutex_of(PTHREAD_MUTEX_NORMAL, 0, 0); }
static void mutex_recursive(void) { mutex_of(PTHREAD_MUTEX_RECURSIVE, 0, 0); }
static void mutex_errorcheck(void) { mutex_of(PTHREAD_MUTEX_ERRORCHECK, 0, 0); }
static void mutex_adaptive(void) { mutex_of(PTHREAD_MUTEX_ADAPTIVE_NP, 0, 0); }
static void mutex_robust(void) { mutex_of(PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_ROBUST, 0); }
static void mutex_pi(void) { mutex_of(PTHREAD_MUTEX_NORMAL, 0, PTHREAD_PRIO_INHERIT); }
static void mutex_timed(void) {
    struct waiter *owner = start_holder(with_mutex);
    BLOCK("mutex", futex, at_mutex_timed);
    tell_lock("waiters", &mutex, owner, waiters_wanted);
}

// The holder computes something instead.
static FRAME void with_mutex_busy(struct waiter *w) {
    EXPECT(pthread_mutex_lock(&mutex) == 0);
    ARRIVE(w);
    while (opaque(1)) {}
    pthread_mutex_unlock(&mutex);
}
static void busy_owner(void) {
    struct group busy = {"busy", "running", "-", 0, with_mutex_busy};
    struct waiter *owner = launch_waiters(&busy, 1);
    while (!__atomic_load_n(&owner->since, __ATOMIC_ACQUIRE)) sched_yield();
    BLOCK("mutex", futex, at_mutex);
    tell_lock("waiters", &mutex, owner, waiters_wanted);
}
// The holder has ended and left it locked.
static FRAME void leave_locked(struct waiter *w) {
    EXPECT(pthread_mutex_lock(&mutex) == 0);
    ARRIVE(w);
}
static void dead_owner(void) {
    struct group gone = {"gone", "-", "-", 0, leave_locked};
    struct waiter *owner = launch_waiters(&gone, 1);
    pthread_join(owner->thread, NULL);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d", (int)owner->tid);
    while (access(path, F_OK) == 0) {}
    BLOCK("mutex", futex, at_mutex);
    tell_lock("waiters", &mutex, NULL, waiters_wanted);
}

static FRAME void at_rdlock(struct waiter *w) {
    ARRIVE(w), pthread_rwlock_rdlock(&rwlock);
    keep(w);
}
static FRAME void at_wrlock(struct waiter *w) {
    ARRIVE(w), pthread_rwlock_wrlock(&rwlock);
    keep(w);
}
static FRAME void with_wrlock(struct waiter *w) {
    EXPECT(pthread_rwlock_wrlock(&rwlock) == 0);
    hold_asleep(w);
}
static FRAME void with_rdlock(struct waiter *w) {
    EXPECT(pthread_rwlock_rdlock(&rwlock) == 0);
    hold_asleep(w);
}

static void rwlock_read(void) {
    struct waiter *owner = start_holder(with_wrlock);
    BLOCK("rwlock", futex, at_rdlock);
    tell_lock("waiters", &rwlock, owner, waiters_wanted);
}
static void rwlock_write(void) {
    struct waiter *owner = start_holder(with_wrlock);
    BLOCK("rwlock", futex, at_wrlock);
    tell_lock("waiters", &rwlock, owner, waiters_wanted);
}
// Readers hold it: the lock does not say who.
static void rwlock_write_behind_readers(void) {
    start_holder(with_rdlock);
    BLOCK("rwlock", futex, at_wrlock);
    tell_lock("waiters", &rwlock, NULL, waiters_wanted);
}

// ---- One site, many locks

static pthread_mutex_t *locks;
static int owners;

static FRAME void at_one_of_many(struct waiter *w) {
    pthread_mutex_t *lock = &locks[w->index % owners];
    ARRIVE(w), pthread_mutex_lock(lock);
    keep(w);
}
static FRAME void with_one_of_many(struct waiter *w) {
    EXPECT(pthread_mutex_lock(&locks[w->index]) == 0);
    hold_asleep(w);
}
// Every owner is waited for by nine threads.
static void many_locks(void) {
    owners = waiters_wanted / 10;
    locks = (pthread_mutex_t *)calloc(owners, sizeof *locks);
    struct waiter *holders =
        block("holder", "sleep", "clock_nanosleep", SYS_clock_nanosleep, with_one_of_many, owners);
    block("waiters", "mutex", "futex", SYS_futex, at_one_of_many, owners * 9);
    for (int i = 0; i < owners; i++) tell_lock("waiters", &locks[i], &holders[i], 9);
}

// ---- The C library's other primitives

static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static sem_t semaphore;
static pthread_barrier_t barrier;
static struct waiter *sleepers;

static FRAME void at_condvar(struct waiter *w) {
    pthread_mutex_lock(&mutex);
    for (;;) ARRIVE(w), pthread_cond_wait(&condition, &mutex);
}
static FRAME void at_condvar_timed(struct waiter *w) {
    struct timespec until = {4000000000, 0};
    pthread_mutex_lock(&mutex);
    for (;;) ARRIVE(w), pthread_cond_timedwait(&condition, &mutex, &until);
}
static FRAME void at_semaphore(struct waiter *w) {
    for (;;) ARRIVE(w), sem_wait(&semaphore);
}
static FRAME void at_barrier(struct waiter *w) {
    ARRIVE(w), pthread_barrier_wait(&barrier);
    keep(w);
}
static FRAME void at_join(struct waiter *w) {
    ARRIVE(w), pthread_join(sleepers[w->index].thread, NULL);
    keep(w);
}

static void condvar(void) { BLOCK("condvar", futex, at_condvar); }
static void condvar_timed(void) { BLOCK("condvar", futex, at_condvar_timed); }
static void on_semaphore(void) {
    sem_init(&semaphore, 0, 0);
    BLOCK("semaphore", futex, at_semaphore);
}
static void at_the_barrier(void) {
    pthread_barrier_init(&barrier, NULL, waiters_wanted + 1);
    BLOCK("barrier", futex, at_barrier);
}
static void join(void) {
    sleepers = block("sleepers", "sleep", "clock_nanosleep", SYS_clock_nanosleep, hold_asleep, waiters_wanted / 2);
    struct waiter *joining = block("waiters", "join", "futex", SYS_futex, at_join, waiters_wanted / 2);
    for (int i = 0; i < waiters_wanted / 2; i++)
        tell_lock("waiters", (void *)joining[i].argument, &sleepers[i], 1);
}

// Eight workers of a pool with nothing to do.
static FRAME void wait_for_work(struct waiter *w) {
    for (;;) ARRIVE(w), pthread_cond_wait(&condition, &mutex);
}
static FRAME void worker(struct waiter *w) {
    pthread_mutex_lock(&mutex);
    wait_for_work(w);
}
static void pool(void) { block("waiters", "condvar", "futex", SYS_futex, worker, 8); }

// ---- System calls

static unsigned word;
static int first_fd = -1;
static pid_t child = -1;

static FRAME void at_futex(struct waiter *w) {
    for (;;) ARRIVE(w), syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
}
static FRAME void at_pause(struct waiter *w) {
    while (opaque(1)) ARRIVE(w), pause();
}
static FRAME void at_sigwait(struct waiter *w) {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGUSR2);
    for (;;) ARRIVE(w), sigwaitinfo(&signals, NULL);
}
static FRAME void at_poll(struct waiter *w) {
    struct pollfd one = {.fd = first_fd, .events = POLLIN};
    for (;;) ARRIVE(w), poll(&one, 1, -1);
}
static FRAME void at_epoll(struct waiter *w) {
    struct epoll_event event;
    for (;;) ARRIVE(w), epoll_wait(first_fd, &event, 1, -1);
}
static FRAME void at_select(struct waiter *w) {
    fd_set set;
    for (;;) {
        FD_ZERO(&set);
        FD_SET(first_fd, &set);
        ARRIVE(w), select(first_fd + 1, &set, NULL, NULL, NULL);
    }
}
static FRAME void at_read(struct waiter *w) {
    char text[8];
    for (;;) ARRIVE(w), keep((void *)read(first_fd, text, sizeof text));
}
static FRAME void at_write(struct waiter *w) {
    static const char text[4096];
    for (;;) ARRIVE(w), keep((void *)write(first_fd, text, sizeof text));
}
static FRAME void at_recv(struct waiter *w) {
    char text[8];
    for (;;) ARRIVE(w), keep((void *)recv(first_fd, text, sizeof text, 0));
}
static FRAME void at_send(struct waiter *w) {
    static const char text[4096];
    for (;;) ARRIVE(w), keep((void *)send(first_fd, text, sizeof text, 0));
}
static FRAME void at_accept(struct waiter *w) {
    for (;;) ARRIVE(w), accept(first_fd, NULL, NULL);
}
static FRAME void at_mq(struct waiter *w) {
    char text[64];
    for (;;) ARRIVE(w), keep((void *)mq_receive(first_fd, text, sizeof text, NULL));
}
static FRAME void at_flock(struct waiter *w) {
    for (;;) ARRIVE(w), flock(first_fd, LOCK_EX);
}
static FRAME void at_file_lock(struct waiter *w) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    for (;;) ARRIVE(w), fcntl(first_fd, F_OFD_SETLKW, &lock);
}
static FRAME void at_waitpid(struct waiter *w) {
    int status;
    for (;;) ARRIVE(w), waitpid(child, &status, 0);
}
static FRAME void at_io_uring(struct waiter *w) {
    for (;;) ARRIVE(w), syscall(SYS_io_uring_enter, first_fd, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0);
}

// Looks like a mutex that the main thread holds, and is none.
static FRAME void at_lookalike(struct waiter *w) {
    static struct { int lock; unsigned count; int owner; unsigned users; int kind; } lookalike = {2, 0, 0, 1, 0};
    lookalike.owner = getpid();
    for (;;) ARRIVE(w), syscall(SYS_futex, &lookalike, FUTEX_WAIT_PRIVATE, 2, NULL, NULL, 0);
}
static void on_lookalike(void) { BLOCK("futex", futex, at_lookalike); }
static void on_futex(void) { BLOCK("futex", futex, at_futex); }
static void asleep(void) { BLOCK("sleep", clock_nanosleep, hold_asleep); }
static void on_pause(void) { BLOCK("sleep", pause, at_pause); }
static void on_sigwait(void) {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    BLOCK("sleep", rt_sigtimedwait, at_sigwait);
}

static int pipe_ends[2];
static void on_poll(void) {
    EXPECT(pipe(pipe_ends) == 0);
    first_fd = pipe_ends[0];
    BLOCK("poll", poll, at_poll);
}
static void on_epoll(void) {
    EXPECT(pipe(pipe_ends) == 0);
    first_fd = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN};
    EXPECT(epoll_ctl(first_fd, EPOLL_CTL_ADD, pipe_ends[0], &event) == 0);
    BLOCK("poll", epoll_wait, at_epoll);
}
static void on_select(void) {
    EXPECT(pipe(pipe_ends) == 0);
    first_fd = pipe_ends[0];
    BLOCK("poll", pselect6, at_select);
}
static void pipe_read(void) {
    EXPECT(pipe(pipe_ends) == 0);
    first_fd = pipe_ends[0];
    BLOCK("pipe", read, at_read);
}
static void fill(int fd) {
    static const char text[4096];
    fcntl(fd, F_SETFL, O_NONBLOCK);
    while (write(fd, text, sizeof text) > 0) {}
    while (write(fd, text, 1) > 0) {}
    fcntl(fd, F_SETFL, 0);
}
static void pipe_write(void) {
    EXPECT(pipe(pipe_ends) == 0);
    first_fd = pipe_ends[1];
    fill(first_fd);
    BLOCK("pipe", write, at_write);
}
static void on_eventfd(void) {
    first_fd = eventfd(0, 0);
    BLOCK("poll", read, at_read);
}
static void on_tty(void) {
    first_fd = posix_openpt(O_RDWR | O_NOCTTY);
    EXPECT(first_fd >= 0 && grantpt(first_fd) == 0 && unlockpt(first_fd) == 0);
    first_fd = open(ptsname(first_fd), O_RDWR | O_NOCTTY);
    EXPECT(first_fd >= 0);
    BLOCK("file", read, at_read);
}
static void socket_recv(void) {
    EXPECT(socketpair(AF_UNIX, SOCK_STREAM, 0, pipe_ends) == 0);
    first_fd = pipe_ends[0];
    BLOCK("socket", recvfrom, at_recv);
}
static void socket_read(void) {
    EXPECT(socketpair(AF_UNIX, SOCK_STREAM, 0, pipe_ends) == 0);
    first_fd = pipe_ends[0];
    BLOCK("socket", read, at_read);
}
static void socket_send(void) {
    EXPECT(socketpair(AF_UNIX, SOCK_STREAM, 0, pipe_ends) == 0);
    first_fd = pipe_ends[0];
    fill(first_fd);
    BLOCK("socket", sendto, at_send);
}
static void on_accept(void) {
    first_fd = socket(AF_UNIX, SOCK_STREAM, 0);
    // A name of the kernel's choice, in no file system.
    struct sockaddr address = {.sa_family = AF_UNIX};
    EXPECT(bind(first_fd, &address, sizeof address.sa_family) == 0 && listen(first_fd, 1) == 0);
    BLOCK("socket", accept, at_accept);
}
static void message_queue(void) {
    char name[32];
    snprintf(name, sizeof name, "/fixture-%d", (int)getpid());
    struct mq_attr attributes = {.mq_maxmsg = 1, .mq_msgsize = 64};
    first_fd = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attributes);
    EXPECT(first_fd >= 0 && mq_unlink(name) == 0);
    BLOCK("pipe", mq_timedreceive, at_mq);
}
// Two open file descriptions of one file without a name.
static void lockable_file(void) {
    int held = open("/tmp", O_TMPFILE | O_RDWR, 0600);
    EXPECT(held >= 0);
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", held);
    first_fd = open(path, O_RDWR);
    EXPECT(first_fd >= 0);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    EXPECT(flock(held, LOCK_EX) == 0 && fcntl(held, F_OFD_SETLK, &lock) == 0);
}
static void on_flock(void) {
    lockable_file();
    BLOCK("file", flock, at_flock);
}
static void file_lock(void) {
    lockable_file();
    BLOCK("file", fcntl, at_file_lock);
}
static void start_child(void) {
    child = fork();
    EXPECT(child >= 0);
    if (!child) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;) pause();
    }
}
static void on_child(void) {
    start_child();
    BLOCK("child", wait4, at_waitpid);
}
static void on_io_uring(void) {
    struct io_uring_params parameters = {0};
    first_fd = (int)syscall(SYS_io_uring_setup, 4, &parameters);
    if (first_fd < 0) {
        truth_number("impossible", errno);
        return;
    }
    BLOCK("io_uring", io_uring_enter, at_io_uring);
}

// ---- No system call

static volatile char *page;
static FRAME void at_page(struct waiter *w) {
    ARRIVE(w), keep((void *)(long)*page);
    keep(w);
}
static void page_fault(void) {
    first_fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
    struct uffdio_api api = {.api = UFFD_API};
    if (first_fd < 0 || ioctl(first_fd, UFFDIO_API, &api) != 0) {
        truth_number("impossible", errno);
        return;
    }
    page = (char *)mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(page != MAP_FAILED);
    struct uffdio_register range = {.range = {(unsigned long)page, 4096},
                                    .mode = UFFDIO_REGISTER_MODE_MISSING};
    EXPECT(ioctl(first_fd, UFFDIO_REGISTER, &range) == 0);
    block("waiters", "page_fault", "-", -1, at_page, waiters_wanted);
}

// ---- Stacks that are hard to unwind

static __thread struct waiter *current;

static void on_signal(int number) {
    (void)number;
    at_pause(current);
}
// On a stack of its own; the interrupted one lies elsewhere.
static FRAME void interrupted(struct waiter *w) {
    enum { SIZE = 64 * 1024 };
    stack_t alternate = {.ss_sp = malloc(SIZE), .ss_size = SIZE};
    EXPECT(alternate.ss_sp && sigaltstack(&alternate, NULL) == 0);
    current = w;
    raise(SIGUSR1);
    keep(w);
}
static void signal_handler(void) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
    sigaction(SIGUSR1, &action, NULL);
    BLOCK("sleep", pause, interrupted);
}

static FRAME void dive(struct waiter *w, int depth) {
    char room[opaque(64)];
    keep(room);
    if (depth) dive(w, depth - 1);
    else at_pause(w);
    keep(room);
}
static void deep_dive(struct waiter *w) { dive(w, 99); }
static void deep(void) { BLOCK("sleep", pause, deep_dive); }

// ---- Several of these at once, a few threads each: what is compared with a debugger

static void zoo(void) {
    int few = waiters_wanted;
    EXPECT(pipe(pipe_ends) == 0);
    first_fd = pipe_ends[0];
    pthread_barrier_init(&barrier, NULL, few + 1);
    struct waiter *owner = start_holder(with_mutex);
    sleepers = block("sleepers", "sleep", "clock_nanosleep", SYS_clock_nanosleep, hold_asleep, few);
    block("mutex", "mutex", "futex", SYS_futex, at_mutex, few);
    tell_lock("mutex", &mutex, owner, few);
    block("semaphore", "semaphore", "futex", SYS_futex, at_semaphore, few);
    block("barrier", "barrier", "futex", SYS_futex, at_barrier, few);
    block("join", "join", "futex", SYS_futex, at_join, few);
    block("futex", "futex", "futex", SYS_futex, at_futex, few);
    block("poll", "poll", "poll", SYS_poll, at_poll, few);
    block("select", "poll", "pselect6", SYS_pselect6, at_select, few);
    block("read", "pipe", "read", SYS_read, at_read, few);
    block("pause", "sleep", "pause", SYS_pause, at_pause, few);
}

static void nothing(void) {}

int main(int argc, char **argv) {
    static const struct scenario scenarios[] = {
        {"mutex", nothing, mutex_normal},
        {"mutex-recursive", nothing, mutex_recursive},
        {"mutex-errorcheck", nothing, mutex_errorcheck},
        {"mutex-adaptive", nothing, mutex_adaptive},
        {"mutex-robust", nothing, mutex_robust},
        {"mutex-pi", nothing, mutex_pi},
        {"mutex-timed", nothing, mutex_timed},
        {"mutex-busy-owner", nothing, busy_owner},
        {"mutex-dead-owner", nothing, dead_owner},
        {"rwlock-read", nothing, rwlock_read},
        {"rwlock-write", nothing, rwlock_write},
        {"rwlock-write-behind-readers", nothing, rwlock_write_behind_readers},
        {"many-locks", nothing, many_locks},
        {"condvar", nothing, condvar},
        {"condvar-timed", nothing, condvar_timed},
        {"semaphore", nothing, on_semaphore},
        {"barrier", nothing, at_the_barrier},
        {"join", nothing, join},
        {"pool", nothing, pool},
        {"lookalike", nothing, on_lookalike},
        {"futex", nothing, on_futex},
        {"sleep", nothing, asleep},
        {"pause", nothing, on_pause},
        {"sigwait", nothing, on_sigwait},
        {"poll", nothing, on_poll},
        {"epoll", nothing, on_epoll},
        {"select", nothing, on_select},
        {"pipe-read", nothing, pipe_read},
        {"pipe-write", nothing, pipe_write},
        {"eventfd", nothing, on_eventfd},
        {"tty", nothing, on_tty},
        {"socket-recv", nothing, socket_recv},
        {"socket-read", nothing, socket_read},
        {"socket-send", nothing, socket_send},
        {"accept", nothing, on_accept},
        {"message-queue", nothing, message_queue},
        {"flock", nothing, on_flock},
        {"file-lock", nothing, file_lock},
        {"child", nothing, on_child},
        {"io-uring", nothing, on_io_uring},
        {"page-fault", nothing, page_fault},
        {"signal-handler", nothing, signal_handler},
        {"deep", nothing, deep},
        {"zoo", nothing, zoo},
        {0},
    };
    waiters_wanted = argc > 2 ? atoi(argv[2]) : 1000;
    return fixture_main(argc, argv, scenarios);
}

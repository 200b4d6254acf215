// Deadlocks of the standard library's locks: std::lock_guard in methods and lambdas.
#include "../c/waiters.h"

#include <condition_variable>
#include <future>
#include <mutex>
#include <shared_mutex>
#include <sys/syscall.h>
#include <thread>

namespace {

int members;
int holding;

void await_all_holding() {
    __atomic_add_fetch(&holding, 1, __ATOMIC_ACQ_REL);
    while (__atomic_load_n(&holding, __ATOMIC_ACQUIRE) < members) {}
}

struct Account {
    std::mutex mutex;
    long balance = 0;

    FRAME void deposit(waiter *w, long amount) {
        ARRIVE(w); std::lock_guard<std::mutex> guard(mutex);
        balance += amount;
    }
    FRAME void transfer(waiter *w, Account &to) {
        std::lock_guard<std::mutex> guard(mutex);
        await_all_holding();
        balance -= 1;
        to.deposit(w, 1);
    }
};

template <typename Lock> struct Table {
    Lock lock;
    FRAME void update(waiter *w) {
        ARRIVE(w); std::unique_lock<Lock> guard(lock);
        keep(this);
    }
    FRAME void copy_to(waiter *w, Table &other) {
        std::unique_lock<Lock> guard(lock);
        await_all_holding();
        other.update(w);
    }
};

Account accounts[3];
Table<std::shared_mutex> shared[3];
Table<std::recursive_mutex> recursive[3];

FRAME void move_money(waiter *w) { accounts[w->index].transfer(w, accounts[(w->index + 1) % members]); }
FRAME void copy_shared(waiter *w) { shared[w->index].copy_to(w, shared[(w->index + 1) % members]); }
FRAME void copy_recursive(waiter *w) { recursive[w->index].copy_to(w, recursive[(w->index + 1) % members]); }

template <typename Member> void cycle(int length, const char *kind, void (*wait)(waiter *), Member *all) {
    group dead{"dead", kind, "futex", SYS_futex, wait};
    members = length;
    waiter *waiters = start_waiters(&dead, length);
    tell_group(&dead, waiters, length);
    for (int i = 0; i < length; i++) tell_cycle(&waiters[i], &all[(i + 1) % length], &waiters[(i + 1) % length]);
}

void two() { cycle(2, "mutex", move_money, accounts); }
void three() { cycle(3, "mutex", move_money, accounts); }
void shared_two() { cycle(2, "rwlock", copy_shared, shared); }
void recursive_two() { cycle(2, "mutex", copy_recursive, recursive); }

// ---- What is no deadlock: each primitive with threads that wait for another one's work

std::mutex pool_mutex;
std::condition_variable pool_condition;
std::promise<int> promise;
std::shared_future<int> result;

FRAME void next_job(waiter *w) {
    std::unique_lock<std::mutex> guard(pool_mutex);
    for (;;) {
        ARRIVE(w); pool_condition.wait(guard);
    }
}
FRAME void await_result(waiter *w) {
    ARRIVE(w); result.wait();
    keep(w);
}
FRAME void nap(waiter *w) {
    for (;;) {
        ARRIVE(w); std::this_thread::sleep_for(std::chrono::hours(24));
    }
}

void start(const char *name, const char *kind, const char *operation, long number, void (*wait)(waiter *)) {
    group some{name, kind, operation, number, wait};
    tell_group(&some, start_waiters(&some, 8), 8);
}
void primitives() {
    result = promise.get_future().share();
    start("pool", "condvar", "futex", SYS_futex, next_job);
    start("future", "condvar", "futex", SYS_futex, await_result);
    start("nap", "sleep", "clock_nanosleep", SYS_clock_nanosleep, nap);
}

void nothing() {}

} // namespace

int main(int argc, char **argv) {
    static const scenario scenarios[] = {
        {"two", nothing, two, 0},
        {"three", nothing, three, 0},
        {"shared", nothing, shared_two, 0},
        {"recursive", nothing, recursive_two, 0},
        {"primitives", nothing, primitives, 0},
        {nullptr, nullptr, nullptr, 0},
    };
    return fixture_main(argc, argv, scenarios);
}

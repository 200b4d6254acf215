// Classes with an operator new of their own, and containers with allocators of the program's.
#include "../c/fixture.h"

#include <cstdlib>
#include <memory_resource>
#include <vector>

namespace app {

struct Node {
    char data[120];
    static void *operator new(size_t size) { return keep(malloc(size)); }
    static void operator delete(void *block) { free(block); }
};

template <typename T> struct Tree {
    T value;
    static void *operator new[](size_t size) { return keep(malloc(size)); }
};

// Its name does not say what it is; that a container calls it does.
template <typename T> struct Arena {
    using value_type = T;
    Arena() = default;
    template <typename U> Arena(const Arena<U> &) {}
    FRAME T *allocate(size_t n) { return static_cast<T *>(keep(malloc(n * sizeof(T)))); }
    void deallocate(T *block, size_t) { free(block); }
    template <typename U> bool operator==(const Arena<U> &) const { return true; }
    template <typename U> bool operator!=(const Arena<U> &) const { return false; }
};

struct Tracked : std::pmr::memory_resource {
    void *do_allocate(size_t size, size_t) override { return keep(malloc(size)); }
    void do_deallocate(void *block, size_t, size_t) override { free(block); }
    bool do_is_equal(const memory_resource &other) const noexcept override { return this == &other; }
};

} // namespace app

namespace {

#define TRUTH(ID, NAME) site ID{NAME, 0, 0, 0, 0, 0, nullptr}

TRUTH(class_, "site_class");
TRUTH(array, "site_class_array");
TRUTH(container, "site_container");
TRUTH(resource, "site_resource");

FRAME void site_class() {
    keep(new app::Node);
    site_alloc(&class_, sizeof(app::Node));
}

FRAME void site_class_array() {
    keep(new app::Tree<int>[opaque(7)]);
    site_alloc(&array, 7 * sizeof(app::Tree<int>));
}

FRAME void site_container() {
    static std::vector<int, app::Arena<int>> all;
    all.reserve(opaque(1000));
    site_alloc(&container, 1000 * sizeof(int));
}

FRAME void site_resource() {
    static app::Tracked tracked;
    static std::pmr::vector<long> all{&tracked};
    all.reserve(opaque(500));
    site_alloc(&resource, 500 * sizeof(long));
}

void all() {
    for (int i = 0; i < 50; i++) {
        site_class();
        site_class_array();
    }
    site_container();
    site_resource();
}

} // namespace

int main(int argc, char **argv) {
    static const scenario scenarios[] = {{"all", all, nullptr, TOTAL}, {nullptr, nullptr, nullptr, 0}};
    return fixture_main(argc, argv, scenarios);
}

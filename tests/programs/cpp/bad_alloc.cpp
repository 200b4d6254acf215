// Allocations that throw, caught at several depths, with others before and after.
//
// mimalloc's own operator new is in plain C: where memory runs out it aborts, traced or not. With
// mimalloc this is linked so that libstdc++'s operator new comes first and mimalloc gives the memory.
#include "../c/fixture.h"

#include <cstdint>
#include <new>

namespace {

site before{"site_before", 0, 0, 0, 0, 0, nullptr};
site after{"site_after", 0, 0, 0, 0, 0, nullptr};
site thrown{"site_throwing", 0, 0, 0, 0, 0, nullptr};

// More than any allocator gives, less than what is refused without being tried.
constexpr size_t huge = SIZE_MAX / 2 - 65536;
long caught;

FRAME void *site_throwing(bool array) {
    void *block = array ? ::operator new[](opaque(huge)) : ::operator new(opaque(huge));
    site_alloc(&thrown, huge); // never reached
    return keep(block);
}

FRAME void *throw_at(int depth, bool array) {
    return keep(depth ? throw_at(depth - 1, array) : site_throwing(array));
}

FRAME void *site_before(size_t size) {
    site_alloc(&before, size);
    return keep(::operator new(size));
}

FRAME void *site_after(int depth, size_t size) {
    if (depth) return keep(site_after(depth - 1, size));
    site_alloc(&after, size);
    return keep(::operator new(size));
}

void all() {
    for (int depth = 0; depth < 20; depth++) {
        keep(site_before(40));
        try {
            throw_at(depth, depth % 2);
        } catch (const std::bad_alloc &) {
            caught++;
        }
        // Shallower than what threw, as deep, and deeper.
        for (int i = 0; i <= depth * 2; i += depth + 1) keep(site_after(i, 72));
        EXPECT(!::operator new(opaque(huge), std::nothrow));
    }
    EXPECT(caught == 20);
    truth_number("caught", caught);
}

// Inside a destructor that runs while the exception passes.
struct Guard {
    ~Guard() { keep(site_after(0, 8)); }
};

void with_destructors() {
    for (int depth = 0; depth < 20; depth++) {
        try {
            Guard guard;
            throw_at(depth, false);
        } catch (const std::bad_alloc &) {
            caught++;
        }
    }
    EXPECT(caught == 20);
    truth_number("caught", caught);
}

} // namespace

int main(int argc, char **argv) {
    const scenario scenarios[] = {{"all", all, nullptr, 0}, {"destructors", with_destructors, nullptr, 0}, {}};
    return fixture_main(argc, argv, scenarios);
}

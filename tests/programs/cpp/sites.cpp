// Every operator new and delete, containers, and exceptions. Runs under all allocators.
#include "../c/fixture.h"

#include <list>
#include <map>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

namespace {

// An allocator that enters in the truth of `Tag` what a container asks for.
template <typename T, site &truth> struct Counted {
    using value_type = T;
    template <typename U> struct rebind { using other = Counted<U, truth>; };
    Counted() = default;
    template <typename U> Counted(const Counted<U, truth> &) {}
    T *allocate(size_t n) {
        T *block = static_cast<T *>(keep(::operator new(n * sizeof(T))));
        site_alloc(&truth, n * sizeof(T));
        return block;
    }
    void deallocate(T *block, size_t n) {
        ::operator delete(block, n * sizeof(T));
        site_free(&truth, n * sizeof(T));
    }
    template <typename U> bool operator==(const Counted<U, truth> &) const { return true; }
    template <typename U> bool operator!=(const Counted<U, truth> &) const { return false; }
};

// One truth a function: NAME in frames is the same as here.
#define TRUTH(ID, NAME) site ID{NAME, 0, 0, 0, 0, 0, nullptr}

TRUTH(plain, "site_new");
TRUTH(array, "site_new_array");
TRUTH(nothrow_, "site_new_nothrow");
TRUTH(nothrow_array, "site_new_array_nothrow");
TRUTH(aligned, "site_new_aligned");
TRUTH(aligned_array, "site_new_array_aligned");
TRUTH(aligned_nothrow, "site_new_aligned_nothrow");
TRUTH(aligned_array_nothrow, "site_new_array_aligned_nothrow");

constexpr std::align_val_t alignment{64};

#define NEW(ID, NAME, CALL)                                                                        \
    FRAME void *NAME(size_t size) {                                                                \
        void *block = keep(CALL);                                                                  \
        site_alloc(&ID, size);                                                                     \
        return block;                                                                              \
    }
NEW(plain, site_new, ::operator new(size))
NEW(array, site_new_array, ::operator new[](size))
NEW(nothrow_, site_new_nothrow, ::operator new(size, std::nothrow))
NEW(nothrow_array, site_new_array_nothrow, ::operator new[](size, std::nothrow))
NEW(aligned, site_new_aligned, ::operator new(size, alignment))
NEW(aligned_array, site_new_array_aligned, ::operator new[](size, alignment))
NEW(aligned_nothrow, site_new_aligned_nothrow, ::operator new(size, alignment, std::nothrow))
NEW(aligned_array_nothrow, site_new_array_aligned_nothrow, ::operator new[](size, alignment, std::nothrow))

// Each way to delete, twice; one block of each site stays. Sizes are multiples of the alignment,
// because libstdc++ rounds up to that before it asks.
FRAME void operators() {
    constexpr size_t size = 192;
    auto gone = [](site &truth) { site_free(&truth, size); };
    for (int i = 0; i < 2; i++) {
        ::operator delete(site_new(size)), gone(plain);
        ::operator delete(site_new(size), size), gone(plain);
        ::operator delete(site_new_nothrow(size), std::nothrow), gone(nothrow_);
        ::operator delete[](site_new_array(size)), gone(array);
        ::operator delete[](site_new_array(size), size), gone(array);
        ::operator delete[](site_new_array_nothrow(size), std::nothrow), gone(nothrow_array);
        ::operator delete(site_new_aligned(size), alignment), gone(aligned);
        ::operator delete(site_new_aligned(size), size, alignment), gone(aligned);
        ::operator delete(site_new_aligned_nothrow(size), alignment, std::nothrow), gone(aligned_nothrow);
        ::operator delete[](site_new_array_aligned(size), alignment), gone(aligned_array);
        ::operator delete[](site_new_array_aligned(size), size, alignment), gone(aligned_array);
        ::operator delete[](site_new_array_aligned_nothrow(size), alignment, std::nothrow),
            gone(aligned_array_nothrow);
    }
    for (auto make : {site_new, site_new_nothrow, site_new_array, site_new_array_nothrow, site_new_aligned,
                      site_new_aligned_nothrow, site_new_array_aligned, site_new_array_aligned_nothrow})
        keep(make(size));
}

TRUTH(pool, "Pool::grow");
TRUTH(containers, "fill_containers");
TRUTH(shared, "make_shared_pointers");
TRUTH(thrown, "site_in_handler");
TRUTH(threaded, "work_in_thread");

// A vector that grows inside a method of a class.
class Pool {
  public:
    FRAME void grow(int items) {
        for (int i = 0; i < items; i++) items_.push_back(i);
        keep(items_.data());
    }

  private:
    std::vector<long, Counted<long, pool>> items_;
};

template <typename T> using In = Counted<T, containers>;
using String = std::basic_string<char, std::char_traits<char>, In<char>>;
std::map<int, String, std::less<int>, In<std::pair<const int, String>>> *map;
std::unordered_map<int, int, std::hash<int>, std::equal_to<int>, In<std::pair<const int, int>>> *hash;
std::list<long, In<long>> *list;

FRAME void fill_containers() {
    for (int i = 0; i < 500; i++) {
        (*map)[i] = String(i % 60, 'x');
        (*hash)[i] = i;
        list->push_back(i);
    }
    for (int i = 0; i < 500; i += 3) map->erase(i), hash->erase(i), list->pop_front();
}

std::vector<std::shared_ptr<long>> *pointers;

FRAME void make_shared_pointers() {
    for (int i = 0; i < 100; i++) pointers->push_back(std::allocate_shared<long>(Counted<long, shared>(), i));
    for (int i = 0; i < 30; i++) pointers->pop_back();
}

FRAME void throw_through(int depth) {
    if (depth == 0) throw std::runtime_error("a text that is too long for the short string optimisation");
    throw_through(depth - 1);
    keep(nullptr);
}

FRAME void *site_in_handler(size_t size) {
    site_alloc(&thrown, size);
    return keep(::operator new(size));
}

// The exception and its text are freed again; what is made in the handler stays.
FRAME void throw_and_catch() {
    for (int i = 0; i < 20; i++) {
        try {
            throw_through(i);
        } catch (const std::runtime_error &) {
            keep(site_in_handler(24));
        }
    }
}

FRAME void work_in_thread() {
    for (int i = 0; i < 1000; i++) {
        void *block = keep(::operator new(56));
        site_alloc(&threaded, 56);
        if (i % 10) ::operator delete(block, 56), site_free(&threaded, 56);
    }
}

void all() {
    operators();
    static Pool *leaked = new Pool;
    leaked->grow(5000);
    fill_containers();
    make_shared_pointers();
    throw_and_catch();
    std::thread threads[4];
    for (auto &thread : threads) thread = std::thread(work_in_thread);
    for (auto &thread : threads) thread.join();
}

// The containers themselves are not part of the account, only what they hold.
void prepare() {
    map = new std::remove_pointer_t<decltype(map)>;
    hash = new std::remove_pointer_t<decltype(hash)>;
    list = new std::remove_pointer_t<decltype(list)>;
    pointers = new std::remove_pointer_t<decltype(pointers)>;
    pointers->reserve(100);
}

} // namespace

int main(int argc, char **argv) {
    const scenario scenarios[] = {{"all", all, prepare, 0}, {}};
    return fixture_main(argc, argv, scenarios);
}

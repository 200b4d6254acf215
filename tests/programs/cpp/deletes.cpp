// Each form of operator new and delete, so that every one frees what was allocated, once.
#include "../c/fixture.h"

#include <new>

struct alignas(64) Aligned {
    char bytes[192];
};

struct Destroyed {
    ~Destroyed() { keep(this); }
    int number;
};

static FRAME void round_of_all(void) {
    delete static_cast<Aligned *>(keep(new Aligned));
    delete[] static_cast<char *>(keep(new char[33]));
    delete[] static_cast<Aligned *>(keep(new Aligned[3]));
    delete static_cast<int *>(keep(new int));
    delete[] static_cast<Destroyed *>(keep(new Destroyed[4]));
    ::operator delete(keep(::operator new(50, std::nothrow)), std::nothrow);
    const std::align_val_t alignment{64};
    ::operator delete[](keep(::operator new[](50, alignment)), 50, alignment);
    ::operator delete[](keep(::operator new[](50, alignment)), alignment);
    ::operator delete[](keep(::operator new[](50)), 50);
}

static void all(void) {
    for (int i = 0; i < 100; i++) round_of_all();
    truth_number("unknown_frees", 0);
    truth_number("free_objects", 900);
}

int main(int argc, char **argv) {
    static const struct scenario scenarios[] = {
        {"all", all, 0, TOTAL},
        {0, 0, 0, 0},
    };
    return fixture_main(argc, argv, scenarios);
}

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "_cgo_export.h"

void native_leak(void) {
    for (int i = 0; i < 1000; i++) {
        memset(malloc(1024), 1, 1024);
    }
}

void native_block(void) {
    int ends[2];
    char byte;
    if (pipe(ends) != 0 || read(ends[0], &byte, 1) < 0) {
        abort();
    }
}

void native_call_back(void) { calledFromC(); }

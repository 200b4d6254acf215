// Sizes for which the malloc of hook.c does not return.
#pragma once
#include <setjmp.h>

enum { HOOK_LONGJMP = 1000001, HOOK_PTHREAD_EXIT = 1000003, HOOK_SYS_EXIT = 1000005, HOOK_RAISE = 1007 };
extern __thread jmp_buf *hook_target;

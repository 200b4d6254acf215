"""Leaks through ctypes and through a C extension; speaks the protocol of ../c/fixture.h.

The 2000 blocks that ctypes allocates have no function of their own to be found by.
The only argument is the path of the extension.
"""
import ctypes
import importlib.util
import os
import sys

spec = importlib.util.spec_from_file_location("pyleak", sys.argv[1])
pyleak = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pyleak)
malloc = ctypes.CDLL(None).malloc
malloc.restype = ctypes.c_void_p
malloc.argtypes = [ctypes.c_size_t]


def through_ctypes():
    for _ in range(2000):
        malloc(1000)


def through_extension():
    for _ in range(3000):
        pyleak.keep(700)


print("ready", os.getpid(), flush=True)
sys.stdin.readline()
through_ctypes()
through_extension()
print("site extension_leak 3000 2100000")
print("done", flush=True)
sys.stdin.readline()

"""Loads libraries written in Go, at the start and on command: LIBRARY and how many goroutines each is to start."""

import ctypes
import os
import sys


def load(library, count):
    ctypes.CDLL(library).StartWork(int(count))


for library, count in zip(sys.argv[1::2], sys.argv[2::2]):
    load(library, count)
print("ready", os.getpid(), flush=True)
for line in sys.stdin:
    words = line.split()
    if words[0] == "go":
        break
    load(*words[1:])
    print("loaded", words[2], flush=True)

"""Two threads that each hold a threading.Lock and want the other's; `ready` once both sleep."""

import os
import sys
import threading

first, second = threading.Lock(), threading.Lock()
both_hold = threading.Barrier(2)


def transfer(own, other):
    with own:
        both_hold.wait()
        with other:
            pass


def asleep(tid):
    with open(f"/proc/self/task/{tid}/syscall") as file:
        # futex; a thread that waits for the interpreter's own lock gets it soon and goes on.
        return file.read().startswith("202 ")


threads = [
    threading.Thread(target=transfer, args=pair, daemon=True) for pair in ((first, second), (second, first))
]
for thread in threads:
    thread.start()
while both_hold.n_waiting or not (first.locked() and second.locked()):
    pass
# Asleep, with no switch from one look to the next, while the interpreter is free for them in between.
seen = None
while True:
    now = []
    for thread in threads:
        with open(f"/proc/self/task/{thread.native_id}/status") as file:
            now.append([line for line in file if "ctxt_switches" in line])
    if now == seen and all(asleep(thread.native_id) for thread in threads):
        break
    seen = now
    threading.Event().wait(0.05)
print("threads", *(thread.native_id for thread in threads), flush=True)
print("ready", os.getpid(), flush=True)
sys.stdin.readline()
os._exit(0)

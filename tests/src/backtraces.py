# Run by gdb: the frames that `thread apply all bt` shows, a line each, with what bt does not tell:
#   frame TID KIND 0xPC NAME
# KIND is normal, signal (the kernel's call of a handler), inline (into the next frame), or tail: a
# caller that jumped, of which gdb knows from debug info and of which nothing is on the stack.
import gdb

KINDS = {gdb.INLINE_FRAME: "inline", gdb.TAILCALL_FRAME: "tail", gdb.SIGTRAMP_FRAME: "signal"}

for thread in gdb.selected_inferior().threads():
    thread.switch()
    frame = gdb.newest_frame()
    while frame is not None:
        kind = KINDS.get(frame.type(), "normal")
        print("frame", thread.ptid[1], kind, hex(frame.pc()), frame.name() or "??")
        frame = frame.older()

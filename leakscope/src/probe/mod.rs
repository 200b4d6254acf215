//! Which allocator functions there are, where they are in a file, and where a probe goes.

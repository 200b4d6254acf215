//! Unwind rows from `.eh_frame`, the table that the kernel side looks them up in, and the userspace walk.

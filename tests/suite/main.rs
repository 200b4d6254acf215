//! Integration tests with real BPF programs.

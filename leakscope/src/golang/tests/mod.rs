//! The whole reader, on a program that is made of bytes.

mod whole;

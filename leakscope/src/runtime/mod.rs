//! What the runtimes of languages add to what is known of any process, one folder each.

pub mod go;

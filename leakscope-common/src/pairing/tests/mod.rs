//! The state machine on the host. `histories` compares it with a model over random programs, `cases` has what
//! matters by name.

mod books;
mod cases;
mod functions;
mod histories;
mod outcome;
mod program;
mod stack;
mod truth;

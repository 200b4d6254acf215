//! The report: `model` is its shape (and its JSON) around the sections, `build` makes one from what was observed,
//! `summary` holds the findings, `words` the sentences that are of no section, and `go_program` what there is to say of
//! how a Go program was built. Of saved
//! reports, `read` takes them in, `series` names those of a directory, `charge` judges them by wrappers of the
//! user, `select` leaves a part of one, `group` adds
//! up sites.

pub mod build;
pub mod charge;
pub mod go_program;
pub mod group;
pub mod model;
pub mod naming;
pub mod own_cost;
pub mod read;
pub mod select;
pub mod series;
pub mod summary;
pub mod words;

pub use model::Report;

//! Reports as files and tables: pure functions of the report.

pub mod human;
pub mod json;
pub mod table;

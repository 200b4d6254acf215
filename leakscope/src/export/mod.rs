//! Reports as files and tables: pure functions of the report.

pub mod json;
pub mod table;

//! Prints the JSON Schema of a report; `cargo xtask schema` keeps it in the repository.

fn main() {
    print!("{}", leakscope::report::model::json_schema());
}

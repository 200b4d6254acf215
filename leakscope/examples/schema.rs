//! Prints the JSON Schema of a report, or with `top` or `diff` that of a list of processes or of a difference;
//! `cargo xtask schema` keeps them in the repository.

fn main() {
    let text = match std::env::args().nth(1).as_deref() {
        Some("top") => leakscope::processes::model::json_schema(),
        Some("diff") => leakscope::diff::model::json_schema(),
        _ => leakscope::report::model::json_schema(),
    };
    print!("{text}");
}

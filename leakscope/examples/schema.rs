//! Prints the JSON Schema of a report, or with `top` that of a list of processes; `cargo xtask schema` keeps
//! them in the repository.

fn main() {
    let text = match std::env::args().nth(1).as_deref() {
        Some("top") => leakscope::processes::model::json_schema(),
        _ => leakscope::report::model::json_schema(),
    };
    print!("{text}");
}

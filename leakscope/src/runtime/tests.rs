use std::collections::HashSet;

use super::*;

#[test]
fn the_list_of_runtimes_is_in_order() {
    let names: HashSet<&str> = RUNTIMES.iter().map(|runtime| runtime.name()).collect();
    assert_eq!(names.len(), RUNTIMES.len(), "names are unique");
    let last = RUNTIMES.last().expect("there are some");
    assert_eq!(last.name(), Native.name(), "the one that takes all comes last");
    let signs = last.signs();
    assert!(signs.programs.is_empty() && signs.libraries.is_empty() && signs.contents.is_none());
    for runtime in RUNTIMES {
        let name = runtime.name();
        assert!(name.bytes().all(|b| b.is_ascii_lowercase()), "{name}");
        assert_eq!(RuntimeName::from(*runtime).runtime().map(Runtime::name), Some(name));
        for rule in runtime.idle_rules() {
            assert!(!rule.function.is_empty() && !rule.kinds.is_empty() && !rule.words.is_empty(), "{name}");
        }
    }
}

#[test]
fn names_of_other_versions_are_kept() {
    let newer: RuntimeName = serde_json::from_str("\"cobol\"").expect("a name");
    assert!(newer.runtime().is_none());
    assert_eq!(serde_json::to_string(&newer).expect("JSON"), "\"cobol\"");
}

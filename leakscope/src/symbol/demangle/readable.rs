//! What can be read of a C++ name that the demangler does not understand as a whole.
//!
//! Compilers mangle parameters and return types by expressions that no demangler keeps up with. The path of the
//! function comes before them (`<nested-name>` and `<unscoped-template-name>` of the Itanium C++ ABI, 5.1.2), so it is
//! looked for where it could end, and given to the demangler with no parameters. What is left out is marked by `…`.

use super::Bounded;

/// Longest name of which a part is looked for: each try costs as much as the name is long.
const MAX_LENGTH: usize = 2 << 10;
/// Most places where the path could end that are tried.
const MAX_TRIES: usize = 64;

/// The path of the function: `app::make<int>(…)`; of what is in a function that one's, `app::make<int>(…)::…`; where
/// template arguments cannot be read, the names before them, `app::Pool<…`.
pub(super) fn readable(name: &str) -> Option<String> {
    let rest = name.strip_prefix("__Z").or_else(|| name.strip_prefix("_Z"))?;
    if name.len() > MAX_LENGTH || !name.is_ascii() {
        return None;
    }
    let encoding = rest.trim_start_matches('Z');
    let tail = if encoding.len() < rest.len() { "(…)::…" } else { "(…)" };
    let path = whole(encoding).map(|path| format!("{path}{tail}"));
    path.or_else(|| names(encoding).map(|names| format!("{names}<…")))
}

/// The path, if all of it can be read.
fn whole(encoding: &str) -> Option<String> {
    let nested = encoding.starts_with('N');
    if !nested
        && let Some((plain, rest)) = names_of(encoding)
        && !rest.starts_with(['I', 'B'])
    {
        return Some(plain);
    }
    let ends = encoding.match_indices('E').map(|(at, _)| at + 1).take(MAX_TRIES);
    let mut paths = ends.filter_map(|end| path_of(&demangled(&format!("_Z{}v", &encoding[..end]))?));
    paths.next()
}

/// What the demangler itself makes of a name.
fn demangled(name: &str) -> Option<String> {
    let mut out = Bounded { text: String::new(), full: false };
    let options = cpp_demangle::DemangleOptions::new().no_return_type();
    let symbol = cpp_demangle::Symbol::new(name.as_bytes()).ok()?;
    symbol.structured_demangle(&mut out, &options).ok()?;
    Some(out.text)
}

/// A function without the parameters that it does not have.
fn path_of(function: &str) -> Option<String> {
    let end =
        [" const", " volatile", " &", " &&"].iter().fold(function, |text, end| text.trim_end_matches(end));
    let path = end.strip_suffix("()").or_else(|| end.strip_suffix("(void)")).unwrap_or(end);
    (!path.is_empty()).then(|| path.to_owned())
}

/// The names before the first template arguments.
fn names(encoding: &str) -> Option<String> {
    let inner = encoding.strip_prefix('N').unwrap_or(encoding);
    let (names, rest) = names_of(inner.trim_start_matches(['r', 'V', 'K', 'R', 'O']))?;
    rest.starts_with('I').then_some(names)
}

/// The source names that a path begins with, and what follows.
fn names_of(path: &str) -> Option<(String, &str)> {
    let mut rest = path.trim_start_matches('L');
    let mut names: Vec<&str> = Vec::new();
    if let Some(of_std) = rest.strip_prefix("St") {
        names.push("std");
        rest = of_std;
    }
    loop {
        rest = rest.trim_start_matches('L');
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let Ok(length) = rest[..digits].parse::<usize>() else { break };
        let Some(name) = rest.get(digits..digits.saturating_add(length)) else { break };
        names.push(if name.starts_with("_GLOBAL__N") { "(anonymous namespace)" } else { name });
        rest = &rest[digits + length..];
    }
    let has_own = names.iter().any(|&name| name != "std" && !name.is_empty());
    has_own.then(|| (names.join("::"), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An expression that no demangler reads.
    const STRANGE: &str = "Xqq1xE";

    #[test]
    fn the_path_is_read() {
        let check =
            |name: &str, expected: Option<&str>| assert_eq!(readable(name).as_deref(), expected, "{name}");
        check(&format!("_ZN3app4Pool3getE{STRANGE}"), Some("app::Pool::get(…)"));
        check(&format!("_ZNK3app4PoolIiE3getE{STRANGE}"), Some("app::Pool<int>::get(…)"));
        check(&format!("_ZN3app4makeIPKcEE{STRANGE}"), Some("app::make<char const*>(…)"));
        check(&format!("_Z4make{STRANGE}"), Some("make(…)"));
        check(&format!("_Z4makeIiE{STRANGE}"), Some("make<int>(…)"));
        check(&format!("_ZSt4move{STRANGE}"), Some("std::move(…)"));
        check(&format!("_ZZN3app3runE{STRANGE}ENKUlvE_clEv"), Some("app::run(…)::…"));
        check(&format!("_ZN3app4PoolI{STRANGE}E3getEv"), Some("app::Pool<…"));
        check(&format!("_ZNSt4PoolI{STRANGE}E3getEv"), Some("std::Pool<…"));
        check(&format!("_ZN12_GLOBAL__N_14PoolI{STRANGE}E3getEv"), Some("(anonymous namespace)::Pool<…"));
        for name in [
            "_Z",
            "_ZN",
            "_ZNE",
            "_ZQQ",
            "_Z0",
            "_Z99999999999999999999a",
            "_Z9ab",
            "_ZN9ab",
            "main",
            "_ZTV3app",
        ] {
            check(name, None);
        }
    }

    /// Of V8 10.2, as GCC 12 mangles it.
    #[test]
    fn a_return_type_that_cannot_be_read() {
        let name = "_ZN2v84base17PrintCheckOperandIPKaEENSt9enable_ifIXaaaantsrSt11is_functionINSt14remove_pointerIT_\
                    E4typeEE5valuentsrSt7is_enumIS7_E5valuesrNS0_19has_output_operatorIS7_NS0_18CheckMessageStreamEvEE5\
                    valueENSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEEE4typeES7_";
        assert_eq!(super::super::demangle(name), "v8::base::PrintCheckOperand<signed char const*>(…)");
    }

    #[test]
    fn hostile_names_end() {
        for part in ["E", "IE", "NE", "Z", "1aI", "S_E", "N1aI"] {
            let name = format!("_ZN{}", part.repeat(MAX_LENGTH / part.len() - 2));
            let begun = std::time::Instant::now();
            readable(&name);
            assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{part}: {:?}", begun.elapsed());
        }
        assert_eq!(readable(&format!("_ZN{}Ev", "1a".repeat(MAX_LENGTH))), None);
        readable("_ZN3é4getE");
    }
}

//! Names as people wrote them, of bounded length.
//!
//! A C++ name of a few hundred bytes can stand for gigabytes by substitutions, and names come from the
//! target's files. So they are written through a bound, past which nothing more is worked out.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use super::name::{self, MAX_NAME};

mod readable;

/// Longest mangled name that is worth demangling: real ones have some 10 KiB at most, and the work before
/// the first byte is written grows with it.
const MAX_MANGLED: usize = 64 << 10;

/// The demangled form of a Rust or C++ name; other names as they are. All are [bounded](name::bounded).
///
/// Rust names lose their hash and keep their generic arguments. C++ names keep their parameters and
/// lose their return type, which only templates show, so that every name begins with its path.
pub fn demangle(name: &str) -> Cow<'_, str> {
    demangled(name).map_or_else(|| name::bounded(name), Cow::Owned)
}

fn demangled(name: &str) -> Option<String> {
    if name.len() > MAX_MANGLED || !name.starts_with(['_', 'R', 'Z']) {
        return None;
    }
    let mut out = Bounded { text: String::new(), full: false };
    let written = if let Ok(rust) = rustc_demangle::try_demangle(name) {
        write!(out, "{rust:#}").is_ok()
    } else {
        if !name.starts_with("_Z") && !name.starts_with("__Z") {
            return None;
        }
        let options = cpp_demangle::DemangleOptions::new().no_return_type();
        // The version of a symbol is no part of its name.
        let name = name.split_once('@').map_or(name, |(name, _)| name);
        let Ok(symbol) = cpp_demangle::Symbol::new(name.as_bytes()) else { return readable::readable(name) };
        symbol.structured_demangle(&mut out, &options).is_ok()
    };
    match (written, out.full) {
        (_, true) => Some(name::cut(out.text)),
        (true, false) => Some(without_empty_packs(out.text)),
        (false, false) => readable::readable(name),
    }
}

/// The demangler writes the comma before a parameter pack that is empty, too.
fn without_empty_packs(name: String) -> String {
    let empty = [(", >", ">"), (", )", ")"), (", &&)", ")")];
    let name = empty
        .iter()
        .fold(name, |name, (from, to)| if name.contains(from) { name.replace(from, to) } else { name });
    match name.strip_suffix("(&&)") {
        Some(path) => format!("{path}()"),
        None => name,
    }
}

/// A string that takes no more than [`MAX_NAME`] bytes, and then refuses, which ends the demangling.
struct Bounded {
    text: String,
    full: bool,
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MAX_NAME - self.text.len();
        if text.len() > room {
            self.text.push_str(&text[..text.floor_char_boundary(room)]);
            self.full = true;
        }
        if self.full {
            return Err(fmt::Error);
        }
        self.text.push_str(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_parameter_packs_leave_no_comma() {
        let name = "_ZSt11make_sharedI4NodeJEESt10shared_ptrINSt9enable_ifIXntsr8is_arrayIT_EE5valueES2_E4typeEEDpOT0_";
        assert_eq!(demangle(name), "std::make_shared<Node>()");
    }

    #[test]
    fn rust_names_lose_hashes_and_keep_generics() {
        assert_eq!(
            demangle("_ZN4core9panicking9panic_fmt17h5f1a6fd39197ad62E"),
            "core::panicking::panic_fmt"
        );
        assert_eq!(
            demangle(
                "_ZN63_$LT$alloc..vec..Vec$LT$T$GT$$u20$as$u20$core..clone..Clone$GT$5clone17h0123456789abcdefE"
            ),
            "<alloc::vec::Vec<T> as core::clone::Clone>::clone"
        );
        assert_eq!(demangle("_RINvCs1234_7mycrate3foolE"), "mycrate::foo::<i32>");
    }

    #[test]
    fn cpp_names_begin_with_their_path() {
        assert_eq!(demangle("_ZN3app5queue4pushEi"), "app::queue::push(int)");
        assert_eq!(demangle("_ZN3app4makeIiEESt6vectorIT_SaIS2_EEi"), "app::make<int>(int)");
        assert_eq!(demangle("_Znwm"), "operator new(unsigned long)");
        assert_eq!(demangle("_ZNSt6thread4joinEv@@GLIBCXX_3.4.11"), "std::thread::join()");
    }

    #[test]
    fn other_names_stay() {
        for name in ["malloc", "_start", "__libc_start_main", "Zoo", "R", "", "_ZN", "ngx_palloc"] {
            assert_eq!(demangle(name), name);
        }
    }

    /// A template whose demangled name has `size` bytes.
    fn long_template(size: usize) -> (String, String) {
        let (before, after) = ("app::make<", ">(int)");
        let argument = "a".repeat(size - before.len() - after.len());
        let mangled = format!("_ZN3app4makeI{}{argument}EEvi", argument.len());
        (mangled, format!("{before}{argument}{after}"))
    }

    #[test]
    fn names_over_the_bound_are_cut() {
        let (mangled, whole) = long_template(MAX_NAME);
        assert_eq!(demangle(&mangled), whole);
        let (mangled, whole) = long_template(MAX_NAME + 1);
        let cut = demangle(&mangled);
        assert_eq!(cut.len(), MAX_NAME);
        assert_eq!(whole.strip_prefix(cut.strip_suffix('…').expect("a mark")).map(str::len), Some(4));
    }

    #[test]
    fn names_that_explode_are_cut() {
        // Every parameter is a pair of two of the one before: the text doubles with each.
        let mut name = String::from("_Z1fSt4pairIiiE");
        for index in 0..60 {
            // `S_` is the template, `S0_` the first pair, and the digits are in base 36.
            let tens = char::from_digit(index / 36, 36).filter(|_| index >= 36);
            let ones = char::from_digit(index % 36, 36).expect("a digit").to_ascii_uppercase();
            let before = format!("S{}{ones}_", tens.map(String::from).unwrap_or_default());
            name.push_str(&format!("S_I{before}{before}E"));
        }
        let cut = demangle(&name);
        assert!(cut.len() <= MAX_NAME && cut.starts_with("f(std::pair<") && cut.ends_with('…'), "{cut}");
        let long = format!("_ZN{}{}Ev", MAX_MANGLED, "a".repeat(MAX_MANGLED));
        let kept = demangle(&long);
        assert!(kept.len() <= MAX_NAME && kept.starts_with("_ZN65536aaa") && kept.ends_with('…'));
    }
}

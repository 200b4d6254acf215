//! Names as people wrote them.
//!
//! blazesym can demangle, but puts no bound on what comes out: a C++ name of a few hundred bytes can
//! stand for gigabytes by substitutions. Names come from the target's files, so they are written
//! through a bound here.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

/// Longest name that is kept, mangled or demangled.
const MAX_NAME: usize = 64 << 10;

/// The demangled form of a Rust or C++ name; other names as they are.
///
/// Rust names lose their hash and keep their generic arguments. C++ names keep their parameters and
/// lose their return type, which only templates show, so that every name begins with its path. A
/// name that is too long when demangled stays mangled.
pub fn demangle(name: &str) -> Cow<'_, str> {
    if name.len() > MAX_NAME || !name.starts_with(['_', 'R', 'Z']) {
        return Cow::Borrowed(name);
    }
    let mut out = Bounded(String::new());
    if let Ok(rust) = rustc_demangle::try_demangle(name) {
        return match write!(out, "{rust:#}") {
            Ok(()) => Cow::Owned(out.0),
            Err(fmt::Error) => Cow::Borrowed(name),
        };
    }
    if !name.starts_with("_Z") && !name.starts_with("__Z") {
        return Cow::Borrowed(name);
    }
    let options = cpp_demangle::DemangleOptions::new().no_return_type();
    match cpp_demangle::Symbol::new(name.as_bytes()) {
        Ok(symbol) if symbol.structured_demangle(&mut out, &options).is_ok() => Cow::Owned(out.0),
        _ => Cow::Borrowed(name),
    }
}

/// A string that refuses to grow past [`MAX_NAME`].
struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() + text.len() > MAX_NAME {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    }

    #[test]
    fn other_names_stay() {
        for name in ["malloc", "_start", "__libc_start_main", "Zoo", "R", "", "_ZN", "ngx_palloc"] {
            assert_eq!(demangle(name), name);
        }
    }

    #[test]
    fn names_that_explode_stay_mangled() {
        // Every parameter is a pair of the one before: the text doubles with each.
        let mut name = String::from("_Z1fSt4pairIiiE");
        for index in 0..30 {
            let seq = match index {
                0 => "S0_".to_owned(),
                _ => format!("S{}_", char::from_digit(index, 36).unwrap_or('z').to_ascii_uppercase()),
            };
            name.push_str(&format!("St4pairI{seq}{seq}E"));
        }
        assert!(demangle(&name).len() <= MAX_NAME);
        let long = format!("_ZN{}{}Ev", MAX_NAME, "a".repeat(MAX_NAME));
        assert_eq!(demangle(&long), long);
    }
}

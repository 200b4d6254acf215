//! C++ and Rust functions that hand out memory by what they are called: operators of a class, and what the standard
//! demands of an allocator.

/// What containers call to have memory: [allocator.requirements], [mem.res.private] and [mem.poly.allocator.mem] of
/// C++23.
const ALLOCATES: &[&str] =
    &["allocate", "do_allocate", "allocate_at_least", "allocate_bytes", "allocate_object", "new_object"];

/// Beginnings of the functions of the standard library that call what the user gave them, whatever that does.
const CALLS_BACK: &[&str] = &[
    "std::__invoke",
    "std::invoke",
    "std::function<",
    "std::_Function_",
    "std::thread",
    "std::jthread",
    "std::_Bind",
    "std::__future_",
    "std::__async",
    "std::packaged_task",
    "std::call_once",
    "std::for_each",
    "std::__1::__invoke",
    "std::__1::invoke",
    "std::__1::function",
    "std::__1::__function",
    "std::__1::thread",
    "std::__1::for_each",
];

/// The traits that an allocator has: library/core/src/alloc of Rust 1.83.
const ALLOCATOR_TRAITS: &[&str] =
    &["core::alloc::GlobalAlloc", "core::alloc::global::GlobalAlloc", "core::alloc::Allocator"];

/// Whether a function hands out memory by its name alone: `app::Node::operator new(unsigned long)`,
/// `app::PoolAllocator<int>::allocate(unsigned long)`, `<app::Counting as core::alloc::GlobalAlloc>::alloc`.
pub(super) fn allocates(name: &str) -> bool {
    if let Some((_, after)) = name.split_once(" as ").filter(|_| name.starts_with('<')) {
        return ALLOCATOR_TRAITS.iter().any(|of| after.starts_with(of));
    }
    if !["operator ", "llocate", "new_object"].iter().any(|part| name.contains(part)) {
        return false;
    }
    let (class, function) = parts(name);
    if is_operator_new(function) {
        return true;
    }
    let named = |what| class.is_some_and(|class| holds(without_arguments(class), what));
    ALLOCATES.contains(&without_arguments(function))
        && (named("alloc") || function.starts_with("do_") && named("resource"))
}

/// Whether a function that `caller` calls is an allocator's because a container of the standard library calls it.
pub(super) fn allocates_for(name: &str, caller: &str) -> bool {
    caller.starts_with("std::")
        && ALLOCATES.contains(&without_arguments(parts(name).1))
        && !CALLS_BACK.iter().any(|prefix| caller.starts_with(prefix))
}

fn is_operator_new(function: &str) -> bool {
    let rest = function.strip_prefix("operator new").or_else(|| function.strip_prefix("operator delete"));
    rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
}

/// Whether `name` holds `part`, in whatever case.
fn holds(name: &str, part: &str) -> bool {
    name.as_bytes().windows(part.len()).any(|window| window.eq_ignore_ascii_case(part.as_bytes()))
}

/// A part of a path without template arguments, ABI tags and parameters.
fn without_arguments(part: &str) -> &str {
    part.find(['<', '[', '(']).map_or(part, |end| &part[..end])
}

/// The class or namespace and the function of a C++ name, each as it is written; no parameters.
fn parts(name: &str) -> (Option<&str>, &str) {
    let (mut class, mut start, mut depth) = (None, 0, 0usize);
    let bytes = name.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if depth == 0 && at == start && is_operator(&name[at..]) {
            break;
        }
        match bytes[at] {
            b'(' if depth == 0 && !name[at..].starts_with("(anonymous namespace)") && at > start => {
                return (class, &name[start..at]);
            }
            b'<' | b'(' | b'{' | b'[' => depth += 1,
            b'>' | b')' | b'}' | b']' => depth = depth.saturating_sub(1),
            b':' if depth == 0 && bytes.get(at + 1) == Some(&b':') => {
                class = Some(&name[start..at]);
                at += 1;
                start = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    (class, &name[start..])
}

/// Whether an operator's name begins here, with characters that are no brackets.
fn is_operator(text: &str) -> bool {
    let rest = text.strip_prefix("operator");
    rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_parts() {
        for (name, class, function) in [
            ("main", None, "main"),
            ("app::f(int)", Some("app"), "f"),
            (
                "app::Pool<std::pair<int, (E)1> >::get(unsigned long)",
                Some("Pool<std::pair<int, (E)1> >"),
                "get",
            ),
            ("(anonymous namespace)::Node::make()", Some("Node"), "make"),
            ("app::Node::operator new(unsigned long)", Some("Node"), "operator new(unsigned long)"),
            ("app::Less::operator()(int) const", Some("Less"), "operator()(int) const"),
            ("app::operator<<(std::ostream&, app::X)", Some("app"), "operator<<(std::ostream&, app::X)"),
            ("app::operatornew::f()", Some("operatornew"), "f"),
            ("app::f(int)::{lambda(int)#1}::operator()(int) const", Some("app"), "f"),
        ] {
            assert_eq!(parts(name), (class, function), "{name}");
        }
    }

    #[test]
    fn functions_that_hand_out_memory() {
        for name in [
            "Node::operator new(unsigned long)",
            "app::Node<int>::operator new[](unsigned long, std::align_val_t)",
            "(anonymous namespace)::Node::operator new(unsigned long)",
            "app::Node::operator new",
            "app::MyAlloc<int>::allocate(unsigned long)",
            "app::MyAlloc<std::pair<int const, long> >::allocate",
            "Mallocator<char>::allocate(unsigned long)",
            "app::TrackedResource::do_allocate(unsigned long, unsigned long)",
            "<app::Counting as core::alloc::global::GlobalAlloc>::alloc",
            "<app::Counting as core::alloc::GlobalAlloc>::alloc_zeroed",
        ] {
            assert!(allocates(name), "{name}");
        }
        for name in [
            "app::Node::make(unsigned long)",
            "app::Node::operator newer()",
            "app::Node::operator+(app::Node const&)",
            "app::Seats::allocate(int)",
            "app::allocate_seats(int)",
            "app::Allocations::report()",
            "<app::Counting as core::clone::Clone>::clone",
            "allocate",
            "",
            "<",
            "<>::<",
            "::",
            "operator",
            "é::operator new",
        ] {
            assert!(!allocates(name) || name == "é::operator new", "{name}");
        }
    }

    #[test]
    fn what_containers_call() {
        let vector = "std::vector<int, app::Arena<int> >::_M_realloc_insert<int const&>(int const&)";
        assert!(allocates_for("app::Arena<int>::allocate(unsigned long)", vector));
        assert!(allocates_for("allocate", vector));
        assert!(!allocates_for("app::Arena<int>::grow(unsigned long)", vector));
        assert!(!allocates_for("app::Arena<int>::allocate(unsigned long)", "app::load()"));
        let called_back = "std::__invoke_impl<void, app::Seats>(std::__invoke_other, app::Seats&&)";
        assert!(!allocates_for("app::Seats::allocate(int)", called_back));
    }
}

//! Every module opens with `//!`: what it owns, what it refuses, where to start.

use super::Finding;
use super::source::Source;

/// Files of unit tests need none: they are described by what they test.
pub fn check(source: &Source) -> Vec<Finding> {
    let is_tests = source.path.ends_with("/tests.rs");
    let first =
        source.lines.iter().map(|line| line.raw.trim()).find(|line| !line.is_empty() && !line.starts_with("#!["));
    if is_tests || first.is_some_and(|line| line.starts_with("//!")) {
        return Vec::new();
    }
    vec![Finding::new(
        &source.path,
        1,
        "the module has no `//!` opening",
        "say on top what it owns, what it refuses and where to start",
    )]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_without_an_opening_is_found() {
        assert_eq!(check(&Source::new("a/b.rs", "use x::y;\n//! late\n")).len(), 1);
        assert_eq!(check(&Source::new("a/b.rs", "")).len(), 1);
        assert!(check(&Source::new("a/b.rs", "//! Owns b.\n")).is_empty());
        assert!(check(&Source::new("a/tests.rs", "use super::*;\n")).is_empty());
    }
}

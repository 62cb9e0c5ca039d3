//! How long files, functions and lines may be.

use super::Finding;
use super::source::{Line, Source, block_end, is_word};

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;
const LINE_COLUMNS_MAX: usize = 120;

/// Tables (`*_table.rs`) may be long; nothing else may.
pub fn check(source: &Source) -> Vec<Finding> {
    let mut findings = functions(source);
    let is_table = source.path.ends_with("_table.rs");
    if !is_table && source.lines.len() > FILE_LINES_MAX {
        findings.push(Finding::new(
            &source.path,
            source.lines.len(),
            format!("the file has {} lines, at most {FILE_LINES_MAX}", source.lines.len()),
            "split it: one noun per file",
        ));
    }
    for (number, line) in source.numbered() {
        let columns = columns(line);
        if !is_table && columns > LINE_COLUMNS_MAX {
            findings.push(Finding::new(
                &source.path,
                number,
                format!("{columns} columns, at most {LINE_COLUMNS_MAX}"),
                "break the line",
            ));
        }
    }
    findings
}

/// Test data in a literal is not broken up: in test code only what stands outside literals counts.
fn columns(line: &Line) -> usize {
    if line.is_test && line.code.contains('"') {
        return line.code.split_whitespace().map(|word| word.chars().count().saturating_add(1)).sum();
    }
    line.raw.chars().count()
}

fn functions(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (start, line) in source.lines.iter().enumerate() {
        let Some(name) = function_name(&line.code) else {
            continue;
        };
        let lines = block_end(&source.lines, start).saturating_sub(start).saturating_add(1);
        if lines > FUNCTION_LINES_MAX {
            findings.push(Finding::new(
                &source.path,
                start.saturating_add(1),
                format!("`fn {name}` has {lines} lines, at most {FUNCTION_LINES_MAX}"),
                "keep the ifs here and move the leaves into functions with a name",
            ));
        }
    }
    findings
}

/// The name after the word `fn`; a function type (`fn(u8)`) has none.
fn function_name(code: &str) -> Option<&str> {
    let at = code.match_indices("fn ").find(|(at, _)| !code.get(..*at).is_some_and(|head| head.ends_with(is_word)))?.0;
    let rest = code.get(at..)?.strip_prefix("fn ")?.trim_start();
    let name = rest.split(|c| !is_word(c)).next()?;
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        check(&Source::new(path, text)).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn a_long_file_is_found_and_a_long_table_is_not() {
        let text = "//! a\n".repeat(601);
        assert_eq!(findings("gateway/src/a.rs", &text), ["the file has 601 lines, at most 600"]);
        assert!(findings("gateway/src/price_table.rs", &text).is_empty());
    }

    #[test]
    fn a_long_function_is_found_whatever_its_signature() {
        let body = "    step();\n".repeat(69);
        for head in ["fn f() {\n", "pub(crate) async fn f(a: [u8; 4]) -> u8 {\n", "    const fn f() {\n"] {
            assert_eq!(findings("a.rs", &format!("{head}{body}}}\n")), ["`fn f` has 71 lines, at most 70"], "{head}");
        }
        let short = "    step();\n".repeat(68);
        assert!(findings("a.rs", &format!("fn f() {{\n{short}}}\n")).is_empty());
    }

    #[test]
    fn braces_in_text_do_not_end_a_function() {
        let body = "    step(\"}\");\n".repeat(69);
        assert_eq!(findings("a.rs", &format!("fn f() {{\n{body}}}\n")).len(), 1);
    }

    #[test]
    fn a_declaration_and_a_function_type_have_no_length() {
        let tail = "// x\n".repeat(100);
        assert!(findings("a.rs", &format!("fn f(a: u8);\ntype F = fn(u8);\n{tail}")).is_empty());
    }

    #[test]
    fn a_wide_line_is_found_but_not_test_data() {
        let wide = format!("const A: &str = \"{}\";\n", "x".repeat(120));
        assert_eq!(findings("gateway/src/a.rs", &wide).len(), 1);
        assert!(findings("tests/src/a.rs", &wide).is_empty());
    }
}

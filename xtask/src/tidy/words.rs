//! Words that do not belong in a public tree: where and how the work was done, and the hosts of package registries.
//!
//! Registries are reached through their ordinary clients (cargo, pip), whose own settings name the host: a mirror set
//! there works without a change here. Lock files name their registry and are left out.

use super::Finding;

/// Pieces, joined when matched, so that this file does not find itself.
const WORDS: &[(&[&str], &str)] = &[
    (&["issue", " #"], "say what the change is for; the reader has no tracker"),
    (&["this ", "session"], "name the reader's machine, or nobody"),
    (&["work", "place"], "name the reader's machine, or nobody"),
    (&["/wo", "rk/"], "a path relative to the repository, or a setting"),
    (&["shared/", "design"], "ARCHITECTURE.md or STYLE.md"),
    (&["shared/", "reference"], "say the fact and how it was measured"),
    (&["shared/", "prototypes"], "say the fact and how it was measured"),
    (&["py", "pi.org"], "let pip's own settings name the host"),
    (&["python", "hosted.org"], "let pip's own settings name the host"),
    (&["crates", ".io"], "let cargo's own settings name the host"),
    (&["npm", "js.org"], "let npm's own settings name the host"),
];

/// Case is ignored.
pub fn check(path: &str, text: &str) -> Vec<Finding> {
    if path.ends_with(".lock") {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.to_lowercase();
        for (pieces, instead) in WORDS {
            let word = pieces.concat();
            if line.contains(&word) {
                findings.push(Finding::new(path, number, format!("the words `{word}`"), *instead));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_found_in_any_case() {
        for (pieces, _) in WORDS {
            let text = format!("first\nsee {} there\n", pieces.concat().to_uppercase());
            let findings = check("README.md", &text);
            assert_eq!(findings.len(), 1, "{pieces:?}");
            assert_eq!(findings[0].line, 2);
        }
    }

    #[test]
    fn lock_files_name_their_registry() {
        assert!(check("Cargo.lock", &["crates", ".io"].concat()).is_empty());
    }
}

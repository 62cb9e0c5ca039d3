//! Public reports of faults in systems like this one: each of the themes that are built has a test by its id, or a
//! written reason.

use std::path::Path;

use serde_json::Value;

/// Themes whose reports must have tests.
const THEMES: [&str; 5] = ["sse-streaming", "auth-jwt-oidc", "policy-opa", "usage-cost-budget", "rate-limiting"];

/// Reports about what is not built, or not whole.
const WAITING: [(&str, &str); 0] = [];

/// All Rust text below a folder.
fn text_of(folder: &Path, into: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text_of(&path, into);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            into.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn every_reported_fault_has_its_test_or_a_reason() {
    let Some(folder) = std::env::var_os("WEIR_CASES") else {
        println!("WEIR_CASES names no folder: nothing was compared");
        return;
    };
    let reports = std::fs::read_to_string(Path::new(&folder).join("field_reports.jsonl")).unwrap();
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut text = String::new();
    for folder in [here.join("tests"), here.join("../gateway/src"), here.join("../gateway/wire/src")] {
        text_of(&folder, &mut text);
    }
    let mut found = 0;
    for report in reports.lines() {
        let report: Value = serde_json::from_str(report).unwrap();
        let theme = report["theme"].as_str().unwrap();
        if !THEMES.iter().any(|one| theme.contains(one)) {
            continue;
        }
        let id = report["id"].as_str().unwrap().to_lowercase().replace('-', "_");
        let has_test = text.contains(&format!("fn {id}_"));
        let waits = WAITING.iter().any(|(waiting, _)| *waiting == id);
        assert!(has_test || waits, "no test for {id}");
        found += 1;
    }
    assert!(found >= 20, "only {found} reports");
}

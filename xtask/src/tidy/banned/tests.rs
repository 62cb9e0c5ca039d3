use super::*;

fn whats(path: &str, text: &str) -> Vec<String> {
    check(&Source::new(path, text)).into_iter().map(|finding| finding.what).collect()
}

#[test]
fn each_banned_construct_is_found_once() {
    let cases = [
        ("println!(\"a\");", "`println!`"),
        ("    eprintln!(\"a\");", "`eprintln!`"),
        ("todo!()", "`todo!`"),
        ("use std::sync::{Arc, Mutex};", "`std::sync::Mutex`"),
        ("let a = std::sync::RwLock::new(1);", "`std::sync::RwLock::new`"),
        ("let (a, b) = tokio::sync::mpsc::unbounded_channel();", "`tokio::sync::mpsc::unbounded_channel`"),
        ("let (a, b) = std::sync::mpsc::channel();", "`std::sync::mpsc::channel`"),
        ("static mut A: u8 = 0;", "`static mut `"),
        ("tokio::spawn(async {});", "`tokio::spawn`"),
        ("let t = Instant::now();", "`Instant::now`"),
        ("let t = std::env::var(NAME);", "`std::env::var`"),
        ("use anyhow::Result;", "`anyhow::Result`"),
        ("std::process::exit(1);", "`std::process::exit`"),
        ("pub struct KeyManager;", "a type named `KeyManager`"),
        ("let _ = f();", "`let _ =` without a reason"),
        ("unsafe { f() }", "`unsafe`"),
        ("fn price(of: f64) {}", "`f64`"),
        ("let a = 1 as f32;", "`f32`"),
    ];
    for (text, what) in cases {
        assert_eq!(whats("gateway/src/limits/counter.rs", text), [what], "{text}");
    }
}

#[test]
fn test_attributes_are_bound_in_test_code_too() {
    let text = "#[cfg(test)]\nmod tests {\n    #[test]\n    #[ignore]\n    #[should_panic]\n    fn a() {}\n}\n";
    assert_eq!(whats("gateway/src/a.rs", text), ["`#[ignore`", "`#[should_panic`"]);
}

#[test]
fn what_stands_in_comments_and_text_is_not_code() {
    let text = "// println!(\"a\") and std::sync::Mutex\nlet a = \"tokio::spawn unsafe todo!()\";\n";
    assert_eq!(whats("gateway/src/a.rs", text), Vec::<String>::new());
}

#[test]
fn the_named_owners_may() {
    let clean = |path, text| assert_eq!(whats(path, text), Vec::<String>::new(), "{path}");
    clean("gateway/src/running.rs", "tokio::spawn(async {});");
    clean("gateway/src/clock.rs", "std::time::Instant::now();");
    clean("gateway/src/cli/key.rs", "println!(\"a\");");
    clean("gateway/src/main.rs", "use anyhow::Result;");
    clean("gateway/src/config/secret.rs", "std::env::var(NAME)");
    clean("tests/src/client.rs", "println!(\"a\"); use anyhow::Result; tokio::spawn(f);");
    clean("backends/src/server.rs", "tokio::spawn(f);");
    clean("gateway/src/routing/pick.rs", "let a: f64 = b;");
    clean("gateway/src/usage/price.rs", "let f64x = \"f64\";");
}

#[test]
fn a_dropped_result_may_carry_its_reason() {
    for text in ["let _ = f(); // the peer is gone", "// the peer is gone\nlet _ = f();"] {
        assert_eq!(whats("gateway/src/a.rs", text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn unsafe_code_in_kernels_says_why_it_is_sound() {
    assert_eq!(whats("kernels/src/a.rs", "unsafe { f() }"), ["`unsafe` without `// SAFETY:`"]);
    assert_eq!(whats("kernels/src/a.rs", "// SAFETY: checked above.\nunsafe { f() }"), Vec::<String>::new());
}

#[test]
fn a_room_without_a_noun_is_found() {
    assert_eq!(whats("gateway/src/util.rs", "//! a"), ["a room named `util`"]);
    assert_eq!(whats("gateway/src/common/a.rs", "//! a"), ["a room named `common`"]);
}

#[test]
fn leftovers_and_abort_are_found_in_any_text() {
    let leftover = concat!("# TO", "DO: later");
    assert_eq!(check_text("config/gateway.yaml", leftover).len(), 1);
    assert_eq!(check_text("Cargo.toml", "[profile.release]\npanic = \"abort\"\n")[0].line, 2);
    assert!(check_text("Cargo.lock", leftover).is_empty());
}

#[test]
fn every_rule_names_its_replacement() {
    assert!(RULES.iter().all(|rule| !rule.instead.is_empty()));
    assert!(TEXT_RULES.iter().all(|rule| !rule.instead.is_empty()));
}

use super::super::fixture::{Pair, files, good, rule};
use super::super::roots::Root;
use super::*;
use crate::policy::Input;
use crate::policy::input::tests::subject;
use crate::policy::wasm::tests::written::{Written, module};

fn code(files: &Files) -> &'static str {
    check(&rule("b"), files).map_or_else(|fault| fault.code(), |_| "taken")
}

fn with(name: &str, text: &str) -> Files {
    let mut files = good("r1");
    files.insert(name.to_owned(), text.as_bytes().to_vec());
    files
}

#[test]
fn a_good_bundle_is_compiled_with_its_data_and_its_tests_are_run() {
    let checked = check(&rule("b"), &good("r1")).unwrap();
    assert_eq!((checked.revision.as_str(), checked.tests, checked.signed), ("r1", 1, false));
    assert_eq!(checked.roots, [Root::parse("rules").unwrap()]);
    let pair = Pair::new();
    let rule = BundleRule { signer: Some(pair.signer()), ..rule("b") };
    assert!(check(&rule, &pair.sign(good("r1"))).unwrap().signed);
    assert!(matches!(check(&rule, &good("r1")), Err(BundleFault::Signature(_))));
}

#[test]
fn each_fault_of_a_bundle_has_its_own_code() {
    let table = [
        (with("README.md", "of no meaning"), "taken"),
        (with("rules/more/data.yaml", "a: 1"), "taken"),
        (with("later_test.rego", "package later_test\ntodo_test_x if false"), "taken"),
        (with("rules.rego", "package rules\nallow if {"), "bundle_policy"),
        (with("rules.rego", "package rules\nallow := true"), "bundle_entrypoint"),
        (with("fails_test.rego", "package fails_test\ntest_x if false"), "bundle_tests"),
        (with("errs_test.rego", "package errs_test\ntest_x := 1\ntest_x := 2"), "bundle_tests"),
        (with("other.rego", "package other\nx := 1"), "bundle_outside_roots"),
        (with("data.json", "{\"other\": 1}"), "bundle_outside_roots"),
        (with("data.json", "{"), "bundle_data"),
        (with("data.json", "{\"rules\": {\"a\": 1, \"a\": 2}}"), "bundle_data"),
        (with("rules/lists/more/data.yaml", "a: ["), "bundle_data"),
        (with(".manifest", "{"), "bundle_manifest"),
        (with(".manifest", "{\"roots\": \"rules\"}"), "bundle_manifest"),
        (with(".manifest", "{\"roots\": [\"rules\", \"rules/lists\"]}"), "bundle_manifest"),
        (with(".manifest", "{\"revision\": 1}"), "bundle_manifest"),
        (with(".manifest", "{\"rego_version\": 0}"), "bundle_unsupported"),
        (with("policy.wasm", "\0asm"), "bundle_policy"),
        (with("patch.json", "{}"), "bundle_unsupported"),
        (
            with(".manifest", "{\"wasm\": [{\"entrypoint\": \"x\", \"module\": \"/x/policy.wasm\"}]}"),
            "bundle_unsupported",
        ),
        (with("rules/more/data.json", &format!("[{}0]", "0,".repeat(4 << 20))), "bundle_too_large"),
        (files(&[("data.json", "{}")]), "bundle_empty"),
        (with("rules.rego", "package rules\ndecision := http.send({})"), "bundle_policy"),
    ];
    for (files, is) in table {
        let found = code(&files);
        assert_eq!(found, is, "{:?}", files.keys().collect::<Vec<_>>());
    }
}

#[test]
fn a_bundle_of_a_tenant_stays_within_the_roots_that_it_was_given() {
    let confined = |root: &str| BundleRule { roots: vec![Root::parse(root).unwrap()], ..rule("b") };
    check(&confined("rules"), &good("r1")).unwrap();
    check(&confined(""), &good("r1")).unwrap();
    for root in ["acme", "rules/lists"] {
        assert!(matches!(check(&confined(root), &good("r1")), Err(BundleFault::Roots { .. })), "{root}");
    }
    let mut silent = good("r1");
    silent.remove(".manifest");
    assert!(matches!(check(&confined("rules"), &silent), Err(BundleFault::Roots { .. })), "no roots: all of them");
}

#[test]
fn a_bundle_that_is_compiled_to_wasm_decides_by_its_module() {
    let eval = r#"(return "[{\22result\22:{\22allow\22:true,\22reason\22:\22compiled\22}}]")"#;
    let entrypoints = r"{\22rules/decision\22:0}";
    let module = module(Written { eval, entrypoints, ..Written::default() });
    let mut files = files(&[(
        ".manifest",
        "{\"roots\": [\"rules\"], \"wasm\": [{\"entrypoint\": \"rules/decision\", \"module\": \"/policy.wasm\"}]}",
    )]);
    assert_eq!(code(&files), "bundle_empty");
    files.insert("policy.wasm".to_owned(), module);
    files.insert("rules/data.json".to_owned(), b"{\"a\": 1}".to_vec());
    let checked = check(&rule("b"), &files).unwrap();
    assert_eq!(checked.compiled.engine(), "wasm");
    let who = subject("acme", &[]);
    let permit = checked.compiled.decide(&Input::visible(&who, None, "mock")).unwrap();
    assert_eq!(&**permit.reason(), "compiled");
    let other = BundleRule { entrypoint: "data.rules.other".to_owned(), ..rule("b") };
    assert_eq!(check(&other, &files).unwrap_err().code(), "bundle_entrypoint");
}

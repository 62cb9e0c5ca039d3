//! Runs the shipped policies' own tests: every `test_*` rule must be true, and together they must touch every rule.

use std::collections::BTreeSet;

use regorus::unstable::{Expr, Rule, RuleHead};
use regorus::{Engine, Value};

/// (package, file name, policy, tests).
const SUITES: [(&str, &str, &str, &str); 1] = [(
    "weir.authz",
    "authz/authz.rego",
    include_str!("../../../policies/authz/authz.rego"),
    include_str!("../../../policies/authz/authz_test.rego"),
)];

fn engine(file: &str, policy: &str, tests: &str) -> Engine {
    let mut engine = Engine::new();
    engine.set_strict_builtin_errors(true);
    engine.set_enable_coverage(true);
    engine.add_policy(file.to_owned(), policy.to_owned()).unwrap();
    engine.add_policy(file.replace(".rego", "_test.rego"), tests.to_owned()).unwrap();
    engine
}

/// Names of the `test_*` rules, from the AST.
fn tests_of(engine: &mut Engine) -> BTreeSet<String> {
    let modules = engine.get_modules().clone();
    let mut names = BTreeSet::new();
    for rule in modules.iter().flat_map(|module| &module.policy) {
        let Rule::Spec { head: RuleHead::Compr { refr, .. }, .. } = rule.as_ref() else { continue };
        let Expr::Var { value, .. } = refr.as_ref() else { continue };
        let name = value.as_string().unwrap();
        if name.starts_with("test_") {
            names.insert(name.to_string());
        }
    }
    names
}

#[test]
fn every_shipped_policy_test_holds_and_every_rule_is_covered() {
    for (package, file, policy, tests) in SUITES {
        let mut engine = engine(file, policy, tests);
        let names = tests_of(&mut engine);
        assert!(names.len() >= 10, "{file}: only {} tests were found", names.len());
        for name in &names {
            let answer = engine.eval_rule(format!("data.{package}_test.{name}")).unwrap();
            assert_eq!(answer, Value::Bool(true), "{file}: {name}");
        }
        let report = engine.get_coverage_report().unwrap();
        let covered = report.files.iter().find(|covered| covered.path == file).unwrap();
        let lines = (1_u32..).zip(policy.lines());
        let missed: Vec<_> = lines.filter(|(line, _)| covered.not_covered.contains(line)).collect();
        assert!(missed.is_empty(), "{file} has lines without a test: {missed:#?}");
        assert!(covered.covered.len() >= 10, "{file}: the coverage report is empty");
    }
}

#[test]
fn the_runner_sees_a_failing_test_and_an_uncovered_rule() {
    let policy = "package p\na if input.x\nb if {\n\tinput.y\n}\n";
    let tests =
        "package p_test\ntest_a if data.p.a with input as {\"x\": true}\ntest_no if data.p.a with input as {}\n";
    let mut engine = engine("p.rego", policy, tests);
    assert_eq!(tests_of(&mut engine), BTreeSet::from(["test_a".to_owned(), "test_no".to_owned()]));
    assert_eq!(engine.eval_rule("data.p_test.test_a".to_owned()).unwrap(), Value::Bool(true));
    assert_eq!(engine.eval_rule("data.p_test.test_no".to_owned()).unwrap(), Value::Undefined);
    let report = engine.get_coverage_report().unwrap();
    assert!(report.files.iter().any(|file| file.path == "p.rego" && file.not_covered.contains(&4)));
}

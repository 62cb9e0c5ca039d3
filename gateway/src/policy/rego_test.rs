//! Runs the tests of every policy in `policies/`: all of them hold, and together they touch every line of every rule.

use std::path::Path;

use super::opa_test::{self, Coverage, End, Plan};
use super::source::{self, Tests};

#[test]
fn every_policys_tests_hold_and_every_line_is_covered() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    let bundle = source::read(&[folder], Tests::Taken).unwrap();
    let plan = Plan { modules: &bundle.policies, data: &[], coverage: Coverage::On, now: crate::clock::instant };
    let report = opa_test::run(&plan, &|_| true).unwrap();
    for test in &report.tests {
        assert_eq!(test.end, End::Passed, "{}.{}", test.package, test.name);
    }
    for (file, text) in bundle.policies.iter().filter(|(file, _)| !file.ends_with("_test.rego")) {
        let (covered, missed) = &report.coverage[file];
        assert!(
            covered.len() >= 10 && missed.is_empty(),
            "{file}: {} lines are covered, not {missed:?}",
            covered.len()
        );
        let package = text.lines().find_map(|line| line.strip_prefix("package ")).unwrap();
        let tests = report.tests.iter().filter(|test| test.package == format!("data.{package}_test")).count();
        assert!(tests >= 10, "{file} has {tests} tests");
        assert!(text.contains("# METADATA") && text.contains("# entrypoint: true"), "{file}: its METADATA is missing");
    }
    assert_eq!(report.coverage.len(), bundle.policies.len());
}

/// What ships in the program is what is tested.
#[test]
fn the_shipped_policies_are_those_of_the_folder() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    let entrypoints = ["data.weir.abac.decision", "data.weir.admin.decision"];
    for (name, text) in entrypoints.into_iter().flat_map(source::shipped) {
        assert_eq!(*text, std::fs::read_to_string(folder.join(name)).unwrap());
    }
}

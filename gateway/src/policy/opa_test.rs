//! Runs the tests of policies as `opa test` does: rules named `test_...`, in any package, that must be true.

use std::collections::BTreeMap;
use std::time::Duration;

use regorus::Value;
use regorus::unstable::{Expr, Rule, RuleHead};
use serde_json::{Value as Json, json};

use super::eval;
use super::rego::RegoFault;
use super::rego::builtins::OnError;

/// What became of one test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It was true.
    Passed,
    /// It was false or undefined.
    Failed,
    /// Its name begins with `todo_`.
    Skipped,
    /// Its evaluation failed.
    Error(RegoFault),
}

/// One test.
#[derive(Debug, Clone)]
pub struct Test {
    /// File, row and column of its rule.
    pub location: (String, u32, u32),
    /// Its package, from the root: `data.x_test`.
    pub package: String,
    /// Its name.
    pub name: String,
    /// What became of it.
    pub end: End,
    /// How long that took.
    pub took: Duration,
    /// What it printed.
    pub prints: Vec<String>,
}

/// Rows of one file that were evaluated, and that were not.
pub type Rows = (Vec<u32>, Vec<u32>);

/// All tests of some modules.
#[derive(Debug)]
pub struct Report {
    /// In the order of the files.
    pub tests: Vec<Test>,
    /// By file; empty without coverage.
    pub coverage: BTreeMap<String, Rows>,
}

/// What is run, and how.
#[derive(Debug)]
pub struct Plan<'a> {
    /// (file, text), tests among them.
    pub modules: &'a [(String, String)],
    /// Documents that are merged to `data`.
    pub data: &'a [Value],
    /// Whether to note which rows are evaluated.
    pub coverage: Coverage,
    /// The time, for durations.
    pub now: fn() -> std::time::Instant,
}

/// Whether rows are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coverage {
    /// No.
    Off,
    /// Yes.
    On,
}

/// Runs every test whose full name (`data.package.test_name`) `takes`.
///
/// # Errors
/// The modules don't parse or compile: nothing was run.
pub fn run(plan: &Plan<'_>, takes: &dyn Fn(&str) -> bool) -> Result<Report, RegoFault> {
    let mut rego = eval::prepare(plan.modules, plan.data, OnError::Undefined)?;
    rego.engine.set_enable_coverage(plan.coverage == Coverage::On);
    let mut tests = Vec::new();
    for (location, package, name) in found(&mut rego) {
        let full = format!("{package}.{name}");
        if !takes(&full) {
            continue;
        }
        let begun = (plan.now)();
        let end = match name.starts_with("todo_") {
            true => End::Skipped,
            false => match rego.engine.eval_rule(full) {
                Ok(Value::Undefined | Value::Bool(false)) => End::Failed,
                Ok(_) => End::Passed,
                Err(fault) => End::Error(rego.fault(&fault)),
            },
        };
        let took = (plan.now)().saturating_duration_since(begun);
        let prints = rego.engine.take_prints().unwrap_or_default();
        tests.push(Test { location, package, name, end, took, prints });
    }
    let coverage = match plan.coverage {
        Coverage::Off => BTreeMap::new(),
        Coverage::On => rows(&rego),
    };
    Ok(Report { tests, coverage })
}

type Found = ((String, u32, u32), String, String);

fn found(rego: &mut super::rego::Rego) -> Vec<Found> {
    let modules = rego.engine.get_modules().clone();
    let mut all: Vec<Found> = Vec::new();
    for module in &modules {
        let package = format!("data.{}", module.package.refr.span().text());
        for rule in &module.policy {
            let Rule::Spec { span, head: RuleHead::Compr { refr, .. }, .. } = rule.as_ref() else { continue };
            let Expr::Var { value: Value::String(name), .. } = refr.as_ref() else { continue };
            let is_test = name.starts_with("test_") || name.starts_with("todo_test_");
            let is_new = !all.iter().any(|(_, other, same)| *other == package && **name == **same);
            if is_test && is_new {
                let location = (span.source.get_path().clone(), span.line, span.col);
                all.push((location, package.clone(), name.to_string()));
            }
        }
    }
    all
}

fn rows(rego: &super::rego::Rego) -> BTreeMap<String, Rows> {
    let report = rego.engine.get_coverage_report();
    let files = report.map(|report| report.files).unwrap_or_default();
    let mut all: BTreeMap<String, Rows> = BTreeMap::new();
    for file in files {
        let (covered, missed) = all.entry(file.path).or_default();
        covered.extend(file.covered);
        missed.extend(file.not_covered);
    }
    all
}

impl Report {
    /// Tests with that end.
    pub fn count(&self, is: impl Fn(&End) -> bool) -> usize {
        self.tests.iter().filter(|test| is(&test.end)).count()
    }

    /// Evaluated rows in a hundred of all that can be; 100 where there are none.
    pub fn percent(&self) -> f64 {
        let (covered, missed) = self.coverage.values().fold((0, 0), |(covered, missed), rows| {
            (rows.0.len().saturating_add(covered), rows.1.len().saturating_add(missed))
        });
        percent(covered, missed)
    }

    /// The coverage as `opa test --coverage` writes it.
    pub fn coverage_json(&self) -> Json {
        let files = self.coverage.iter().map(|(file, (covered, missed))| {
            let json = json!({
                "covered": ranges(covered), "not_covered": ranges(missed),
                "covered_lines": covered.len(), "not_covered_lines": missed.len(),
                "coverage": percent(covered.len(), missed.len()),
            });
            (file.clone(), json)
        });
        let sum = |of: fn(&Rows) -> usize| self.coverage.values().map(of).sum::<usize>();
        json!({
            "files": files.collect::<serde_json::Map<_, _>>(),
            "covered_lines": sum(|rows| rows.0.len()), "not_covered_lines": sum(|rows| rows.1.len()),
            "coverage": self.percent(),
        })
    }
}

fn percent(covered: usize, missed: usize) -> f64 {
    let of = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    match covered.saturating_add(missed) {
        0 => 100.0,
        all => (of(covered) * 10_000.0 / of(all)).round() / 100.0,
    }
}

/// Rows that follow one another as one range.
fn ranges(rows: &[u32]) -> Vec<Json> {
    let mut rows = rows.to_vec();
    rows.sort_unstable();
    rows.dedup();
    let mut all: Vec<(u32, u32)> = Vec::new();
    for row in rows {
        match all.last_mut() {
            Some((_, end)) if end.checked_add(1) == Some(row) => *end = row,
            Some(_) | None => all.push((row, row)),
        }
    }
    all.into_iter().map(|(start, end)| json!({"start": {"row": start}, "end": {"row": end}})).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(modules: &[(&str, &str)]) -> Report {
        let modules: Vec<_> = modules.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect();
        let now = crate::clock::instant;
        run(&Plan { modules: &modules, data: &[], coverage: Coverage::On, now }, &|_| true).unwrap()
    }

    #[test]
    fn each_end_is_told_from_the_others() {
        let policy = "package p\nallow if input.user == \"ada\"\nallow if {\n\tinput.never\n}\nf(x) := input.n + x\n";
        let tests = "package p_test\nimport data.p\n\
            test_yes if p.allow with input as {\"user\": \"ada\"}\n\
            test_no if p.allow with input as {}\n\
            test_mock if p.f(1) == 7 with p.f as 7\n\
            test_builtin if count([1]) == 9 with count as 9\n\
            test_two := 1\ntest_two := 2\n\
            todo_test_later if false\nhelper := 1\n";
        let report = report(&[("p.rego", policy), ("p_test.rego", tests)]);
        let ends: Vec<_> = report.tests.iter().map(|test| (test.name.as_str(), &test.end)).collect();
        assert_eq!(ends[0], ("test_yes", &End::Passed));
        assert_eq!(ends[1], ("test_no", &End::Failed));
        assert_eq!(ends[2], ("test_mock", &End::Passed));
        assert_eq!(ends[3], ("test_builtin", &End::Passed));
        assert!(
            matches!(ends[4], ("test_two", End::Error(fault)) if fault.code == "eval_conflict_error"),
            "{:?}",
            ends[4]
        );
        assert_eq!(ends[5], ("todo_test_later", &End::Skipped));
        assert_eq!(ends.len(), 6);
        assert_eq!((report.tests[1].location.0.as_str(), report.tests[1].location.1), ("p_test.rego", 4));
        let (covered, missed) = &report.coverage["p.rego"];
        assert!(covered.contains(&2) && missed.contains(&6), "{covered:?} {missed:?}");
        assert!(report.percent() < 100.0);
    }

    #[test]
    fn rows_that_follow_are_one_range() {
        let json = json!(ranges(&[3, 1, 2, 7]));
        assert_eq!(json, json!([{"start": {"row": 1}, "end": {"row": 3}}, {"start": {"row": 7}, "end": {"row": 7}}]));
        assert!((percent(1, 2) - 33.33).abs() < 1e-9);
    }
}

//! `weir policy test`: as `opa test`.

use std::io::Write;
use std::path::PathBuf;

use regorus::Value;
use serde_json::{Value as Json, json};

use super::{PolicyError, place, text_only};
use crate::clock;
use crate::policy::opa_test::{self, Coverage, End, Plan, Report, Test};
use crate::policy::source::{self, Tests};

/// Exit status where a test failed, as OPA's.
const FAILED: u8 = 2;

/// Arguments of `weir policy test`.
#[derive(Debug, clap::Args)]
pub struct TestArgs {
    /// Files and folders of policies, tests and data
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Only tests whose full name (data.package.test_name) matches
    #[arg(long, short, value_name = "REGEX")]
    pub run: Option<String>,
    /// How to write the results
    #[arg(long, short, value_enum, default_value_t = Format::Pretty)]
    pub format: Format,
    /// Tell which lines were evaluated, as JSON in place of the results
    #[arg(long, short)]
    pub coverage: bool,
    /// Fail where fewer than so many in a hundred lines were evaluated
    #[arg(long, value_name = "PERCENT", requires = "coverage")]
    pub threshold: Option<f64>,
    /// Also name the tests that passed
    #[arg(long, short)]
    pub verbose: bool,
}

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For reading
    Pretty,
    /// As OPA's JSON
    Json,
}

pub(super) fn run(args: &TestArgs, out: &mut dyn Write) -> Result<u8, PolicyError> {
    let bundle = source::read(&args.paths, Tests::Taken)?;
    text_only(&bundle)?;
    let data: Vec<Value> = bundle.data.into_iter().map(Value::from).collect();
    let pattern = args.run.as_deref().map(regex).transpose()?;
    let takes = |name: &str| pattern.as_ref().is_none_or(|pattern| pattern(name));
    let coverage = if args.coverage { Coverage::On } else { Coverage::Off };
    let plan = Plan { modules: &bundle.policies, data: &data, coverage, now: clock::instant };
    let report = match opa_test::run(&plan, &takes) {
        Ok(report) => report,
        Err(fault) => {
            writeln!(out, "{}", serde_json::to_string_pretty(&place::errors(&[fault])).unwrap_or_default())?;
            return Ok(1);
        }
    };
    match (args.coverage, args.format) {
        (true, _) => writeln!(out, "{}", serde_json::to_string_pretty(&report.coverage_json()).unwrap_or_default())?,
        (false, Format::Json) => {
            let all: Vec<Json> = report.tests.iter().map(json_of).collect();
            writeln!(out, "{}", serde_json::to_string_pretty(&all).unwrap_or_default())?;
        }
        (false, Format::Pretty) => pretty(&report, args.verbose, out)?,
    }
    let failed = report.count(|end| matches!(end, End::Failed | End::Error(_)));
    let short = args.threshold.is_some_and(|least| report.percent() < least);
    Ok(if failed > 0 || short { FAILED } else { 0 })
}

/// A regular expression by the engine's own builtin, so that no second way to read one is needed.
fn regex(pattern: &str) -> Result<impl Fn(&str) -> bool + use<>, PolicyError> {
    let bad = |text: String| PolicyError::Pattern { pattern: pattern.to_owned(), text };
    let ask = |pattern: &str, text: &str| {
        let mut rego = crate::policy::rego::Rego::new(crate::policy::rego::builtins::OnError::Fail);
        rego.engine.set_input(Value::from(json!({"pattern": pattern, "text": text})));
        rego.query("regex.match(input.pattern, input.text)")
    };
    ask(pattern, "").map_err(|fault| bad(fault.text))?;
    let pattern = pattern.to_owned();
    Ok(move |text: &str| {
        let found = ask(&pattern, text).map(|found| found.result.into_iter().flat_map(|row| row.expressions).collect());
        found.is_ok_and(|all: Vec<_>| all.iter().any(|one| one.value == Value::from(true)))
    })
}

fn json_of(test: &Test) -> Json {
    let (file, row, col) = &test.location;
    let mut json = json!({
        "location": {"file": file, "row": row, "col": col}, "package": test.package, "name": test.name,
        "duration": u64::try_from(test.took.as_nanos()).unwrap_or(u64::MAX),
    });
    let extra = match &test.end {
        End::Passed => None,
        End::Failed => Some(("fail", json!(true))),
        End::Skipped => Some(("skip", json!(true))),
        End::Error(fault) => Some(("error", place::error(fault))),
    };
    if let (Some((name, value)), Some(members)) = (extra, json.as_object_mut()) {
        members.insert(name.to_owned(), value);
    }
    json
}

fn pretty(report: &Report, verbose: bool, out: &mut dyn Write) -> Result<(), PolicyError> {
    let mut shown = false;
    for test in report.tests.iter().filter(|test| verbose || test.end != End::Passed) {
        let word = match &test.end {
            End::Passed => "PASS",
            End::Failed => "FAIL",
            End::Skipped => "SKIPPED",
            End::Error(_) => "ERROR",
        };
        let (file, row, _) = &test.location;
        writeln!(out, "{file}:{row}: {}.{}: {word} ({:?})", test.package, test.name, test.took)?;
        if let End::Error(fault) = &test.end {
            writeln!(out, "  {}: {}", fault.code, fault.text)?;
        }
        for print in test.prints.iter().filter(|_| test.end != End::Passed || verbose) {
            writeln!(out, "  {print}")?;
        }
        shown = true;
    }
    if shown {
        writeln!(out, "{}", "-".repeat(80))?;
    }
    let all = report.tests.len();
    let counts = [
        ("PASS", report.count(|end| *end == End::Passed)),
        ("FAIL", report.count(|end| *end == End::Failed)),
        ("SKIPPED", report.count(|end| *end == End::Skipped)),
        ("ERROR", report.count(|end| matches!(end, End::Error(_)))),
    ];
    for (word, count) in counts.into_iter().filter(|(word, count)| *word == "PASS" || *count > 0) {
        writeln!(out, "{word}: {count}/{all}")?;
    }
    Ok(())
}

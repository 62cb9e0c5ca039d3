//! OPA's own conformance cases, where the environment names them.

use std::fs;
use std::path::Path;

use regorus::Value;
use serde::Deserialize;
use serde_json::Value as Json;

use super::builtins::OnError;
use super::{Rego, one_line};
use crate::policy::calls;
use crate::policy::eval::{self, Question};

#[derive(Debug, Deserialize)]
pub(in crate::policy) struct Case {
    pub note: String,
    pub group: String,
    pub query: String,
    pub modules: Vec<String>,
    pub data: Option<Json>,
    pub input: Option<Json>,
    pub input_term: Option<String>,
    pub want_result: Option<Vec<Json>>,
    pub want_error: Option<String>,
    pub want_error_code: Option<String>,
    #[serde(default)]
    pub strict_error: bool,
    #[serde(default)]
    pub sort_bindings: bool,
}

/// Runs one case; `Err` says how it differs.
fn run(case: &Case) -> Result<(), String> {
    let wants_error = case.want_error.is_some() || case.want_error_code.is_some();
    match (answer(case), &case.want_result) {
        (Ok(got), Some(want)) if !wants_error => {
            let (mut got, mut want) = (got, want.clone());
            if case.sort_bindings {
                got.sort_by_key(Json::to_string);
                want.sort_by_key(Json::to_string);
                let sorted = |list: &mut Vec<Json>| list.iter_mut().for_each(sort_arrays);
                sorted(&mut got);
                sorted(&mut want);
            }
            match same(&got, &want) {
                true => Ok(()),
                false => Err(format!("value: got {} want {}", Json::from(got), Json::from(want))),
            }
        }
        (Ok(got), _) if wants_error => Err(format!("value: got {} want error {:?}", Json::from(got), case.want_error)),
        (Ok(_), _) => Ok(()),
        // A refused builtin fails when it is compiled, whatever it would have said.
        (Err(fault), _) if wants_error => match &case.want_error_code {
            Some(code) if !fault.starts_with(code) && !fault.contains("is refused: ") => Err(format!("code: {fault}")),
            Some(_) | None => Ok(()),
        },
        (Err(fault), _) => Err(format!("error: {fault}")),
    }
}

fn sort_arrays(value: &mut Json) {
    match value {
        Json::Array(items) => {
            items.iter_mut().for_each(sort_arrays);
            items.sort_by_key(Json::to_string);
        }
        Json::Object(members) => members.values_mut().for_each(sort_arrays),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

/// Equal as Rego values are: 1 and 1.0 are one number.
fn same(got: &[Json], want: &[Json]) -> bool {
    let rego = |list: &[Json]| list.iter().map(|json| Value::from(json.clone())).collect::<Vec<_>>();
    rego(got) == rego(want)
}

fn question(case: &Case) -> Result<Question, String> {
    let input = match (&case.input, &case.input_term) {
        (Some(input), _) => Some(Value::from(input.clone())),
        (None, Some(term)) => Some(eval::term(term).map_err(|fault| fault.to_string())?),
        (None, None) => None,
    };
    let modules = (0..).zip(&case.modules).map(|(number, text)| (format!("m{number}.rego"), text.clone()));
    Ok(Question {
        modules: modules.collect(),
        data: case.data.iter().map(|data| Value::from(data.clone())).collect(),
        input,
        query: case.query.clone(),
        strict: case.strict_error,
        ..Question::default()
    })
}

fn answer(case: &Case) -> Result<Vec<Json>, String> {
    let found = eval::answer(&question(case)?).map_err(|fault| format!("{}: {fault}", fault.code))?;
    let rows = found.result.iter().map(|row| {
        let json = row.bindings.to_json_str().map_err(|fault| fault.to_string())?;
        serde_json::from_str(&json).map_err(|fault| fault.to_string())
    });
    rows.collect()
}

/// An engine with a case's modules, data and input, as far as Weir lets them in.
pub(in crate::policy) fn prepare(case: &Case, on_error: OnError) -> Result<Rego, String> {
    let mut rego = Rego::new(on_error);
    for (number, module) in case.modules.iter().enumerate() {
        rego.add(&format!("m{number}.rego"), module).map_err(|fault| fault.to_string())?;
    }
    if let Some(data) = &case.data {
        rego.engine.add_data(Value::from(data.clone())).map_err(|fault| one_line(&fault))?;
    }
    rego.engine.set_input(input(case)?);
    let modules = rego.engine.get_modules().clone();
    calls::check(&modules.iter().map(AsRef::as_ref).collect::<Vec<_>>()).map_err(|fault| fault.to_string())?;
    Ok(rego)
}

/// The case's `input`.
pub(in crate::policy) fn input(case: &Case) -> Result<Value, String> {
    match (&case.input, &case.input_term) {
        (Some(input), _) => Ok(Value::from(input.clone())),
        (None, Some(term)) => {
            let value = Rego::new(OnError::Undefined).query(term).map_err(|fault| fault.to_string())?;
            let value = value.result.first().and_then(|row| row.expressions.first()).map(|e| e.value.clone());
            Ok(value.unwrap_or(Value::Undefined))
        }
        (None, None) => Ok(Value::Undefined),
    }
}

/// OPA's cases; `None`, said aloud, where the environment names no folder.
pub(in crate::policy) fn all() -> Option<Vec<Case>> {
    let Some(folder) = std::env::var_os("WEIR_CASES") else {
        println!("WEIR_CASES names no folder: OPA's cases were not run");
        return None;
    };
    Some(cases(Path::new(&folder)))
}

fn cases(path: &Path) -> Vec<Case> {
    let text = fs::read_to_string(path.join("rego_conformance.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|fault| panic!("{fault}: {line}"))).collect()
}

/// What the layout leaves alone for fear of its meaning is counted: the count must not grow.
#[test]
fn a_laid_out_module_answers_as_the_written_one() {
    let Some(folder) = std::env::var_os("WEIR_CASES") else {
        println!("WEIR_CASES names no folder: no module of OPA's cases was laid out");
        return;
    };
    let (mut laid_out, mut left) = (0_u32, Vec::new());
    for mut case in cases(Path::new(&folder)) {
        let written = run(&case);
        for text in &mut case.modules {
            match crate::policy::fmt::format("m.rego", text) {
                Ok(laid) => *text = laid,
                Err(fault) if fault.code == "rego_parse_error" => continue,
                Err(fault) => left.push(format!("{}: {fault}", case.note)),
            }
            laid_out += 1;
        }
        assert_eq!(run(&case).is_ok(), written.is_ok(), "{}: {:?}", case.note, case.modules);
    }
    println!("{laid_out} modules laid out, {} of them left alone", left.len());
    assert!(laid_out > 100 && left.is_empty(), "{left:#?}");
}

/// Why a case may differ: the group or the fault it belongs to, and the reason. The first that fits counts.
const REASONS: [(&str, &str); 8] = [
    ("code: eval_builtin_error", "another code for the same failure"),
    ("the builtin `", "refused by design"),
    ("a default for a rule whose name has brackets", "the engine forgets such a default: refused at activation"),
    ("is unsafe", "a builtin can't stand for another by `with`: refused when it is prepared"),
    ("no function `io.jwt.verify_es512`", "P-521 is not in the crates at hand"),
    ("cannot parse number: out of range", "numbers end at those of 64-bit floating point"),
    ("want error", "an error of a builtin that is refused by design"),
    ("could not find function", "refused by design"),
];

/// Groups whose cases need a builtin that is refused by design.
const REFUSED: [&str; 15] = [
    "graphql",
    "providers-aws",
    "jsonschema",
    "rand",
    "rendertemplate",
    "netlookupipaddr",
    "regometadatachain",
    "regometadatarule",
    "regoparsemodule",
    "cryptoparsersaprivatekeys",
    "cryptox509parseandverifycertificates",
    "cryptox509parsecertificaterequest",
    "cryptox509parsecertificates",
    "cryptox509parsekeypair",
    "cryptox509parsersaprivatekey",
];

#[test]
fn opas_cases_pass_but_for_the_listed_ones_and_none_is_wrong_in_silence() {
    let Some(cases) = all() else { return };
    let (mut differ, mut own, mut own_failed) = (Vec::new(), 0_u32, 0_u32);
    for case in &cases {
        let is_own = !REFUSED.contains(&case.group.as_str());
        own += u32::from(is_own);
        let Err(fault) = run(case) else { continue };
        own_failed += u32::from(is_own);
        assert!(!fault.starts_with("value: "), "{}: {fault}", case.note);
        let reason = REASONS.iter().find(|(part, _)| fault.contains(part)).map(|(_, reason)| *reason);
        differ.push(format!("{} | {}", case.note, reason.unwrap_or(&fault)));
    }
    differ.sort();
    differ.dedup();
    let is = format!("{}\n", differ.join("\n"));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/cases/rego/differences.txt");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(path, &is).unwrap();
    }
    assert_eq!(fs::read_to_string(path).unwrap(), is, "`{path}` is stale: run with UPDATE=1 and read the difference");
    println!("{own_failed} of {own} cases without refused builtins differ; {} of {} in all", differ.len(), cases.len());
    assert!(own_failed * 100 <= own * 3, "{own_failed} of {own} cases differ");
}

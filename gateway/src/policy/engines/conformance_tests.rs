//! OPA's cases on the engines as they decide: whatever the machine is let run must be what OPA says.

use std::num::NonZeroU32;
use std::time::Duration;

use regorus::utils::limits::ExecutionTimerConfig;
use serde_json::Value as Json;

use super::super::rego::builtins::OnError;
use super::super::rego::conformance_tests::{Case, all, input, prepare};
use super::*;

const LIMIT: Duration = Duration::from_secs(5);

/// The rule that a case asks for, where it asks for one: `data.a.b = x`.
fn rule(case: &Case) -> Option<&str> {
    let rule = case.query.strip_suffix(" = x")?;
    let is_path = rule.starts_with("data.") && rule.bytes().all(|b| b.is_ascii_alphanumeric() || b"._".contains(&b));
    is_path.then_some(rule)
}

/// The case's engines; `None` where Weir lets its policies in on none.
fn engines(case: &Case, rule: &str) -> Option<(Engines, Result<Machine, Interpreted>)> {
    let load = |on_error| {
        let mut rego = prepare(case, on_error).ok()?;
        rego.engine.compile_with_entrypoint(&rule.into()).ok()?;
        Some(rego)
    };
    let (strict, lenient) = (load(OnError::Fail)?, load(OnError::Undefined)?);
    let timer = ExecutionTimerConfig { limit: LIMIT, check_interval: NonZeroU32::MIN };
    let machine = Machine::build(&strict, rule, timer).map_err(Interpreted::Unable);
    Some((Engines::interpreted(strict, lenient, rule.to_owned(), LIMIT), machine))
}

/// What OPA says: a value, undefined, or `None` for an error.
fn want(case: &Case) -> Option<Value> {
    if case.want_error.is_some() || case.want_error_code.is_some() {
        return None;
    }
    let rows = case.want_result.as_ref()?;
    Some(rows.first().and_then(|row| row.get("x")).map_or(Value::Undefined, |value| Value::from(value.clone())))
}

/// Sets as the arrays that the case's JSON has for them.
fn plain(value: &Value) -> Value {
    if *value == Value::Undefined {
        return Value::Undefined;
    }
    let json: Json = serde_json::from_str(&value.to_json_str().unwrap()).unwrap();
    Value::from(json)
}

/// What an array holds, in no order.
fn members(value: &Value) -> std::collections::BTreeSet<Value> {
    plain(value).as_array().map(|items| items.iter().cloned().collect()).unwrap_or_default()
}

/// The gate is the constructs alone here, so that what it lets through is tried on the machine without the
/// probes' help.
#[test]
fn the_machine_answers_as_opa_wherever_it_is_let() {
    let Some(cases) = all() else { return };
    let (mut fit_cases, mut wrong, mut ungated) = (0, Vec::new(), 0);
    for case in &cases {
        // Strict mode is the tools' business: it has no value to compare.
        let Some(rule) = rule(case).filter(|_| !case.strict_error) else { continue };
        let Some((engines, Ok(machine))) = engines(case, rule) else { continue };
        let modules = engines.strict.engine.clone().get_modules().clone();
        let fits = fit::check(&modules.iter().map(AsRef::as_ref).collect::<Vec<_>>());
        let Ok(Ok(value)) = quietly(|| machine.run(input(case).unwrap_or(Value::Undefined))) else { continue };
        let is_right = want(case).is_some_and(|want| plain(&value) == want);
        match fits {
            Ok(()) => {
                fit_cases += 1;
                if !is_right {
                    wrong.push(format!("{}: {value} for {:?}", case.note, want(case)));
                }
            }
            Err(_) => ungated += u32::from(!is_right),
        }
    }
    println!("{fit_cases} cases on the machine, {} wrong; {ungated} wrong ones kept from it", wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(fit_cases > 50 && ungated > 0, "{fit_cases}, {ungated}");
}

/// And as they are used, probes included.
#[test]
fn the_engines_answer_as_opa_or_refuse() {
    let Some(cases) = all() else { return };
    let (mut by_machine, mut asked, mut wrong) = (0, 0, Vec::new());
    for case in &cases {
        let Some(rule) = rule(case).filter(|_| !case.strict_error) else { continue };
        let Some((mut engines, machine)) = engines(case, rule) else { continue };
        engines.trust(machine, &[]);
        by_machine += u32::from(engines.why_interpreted().is_none());
        asked += 1;
        let Ok(value) = engines.answer(input(case).unwrap_or(Value::Undefined)) else { continue };
        let same = |want: Value| plain(&value) == want || (case.sort_bindings && members(&value) == members(&want));
        if !want(case).is_some_and(same) {
            wrong.push(format!("{}: {value} for {:?}", case.note, want(case)));
        }
    }
    println!("{asked} cases, {by_machine} of them on the machine, {} wrong", wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

//! Faults that were reported of policy engines elsewhere, each by its id.

use regorus::Value;
use serde_json::{Value as Json, json};

use super::eval::{Question, answer};

/// The answer to a query as JSON; `None` where it is undefined.
fn ask(modules: &[&str], query: &str, input: Json) -> Result<Option<Json>, &'static str> {
    let modules = (0..).zip(modules).map(|(at, text)| (format!("m{at}.rego"), (*text).to_owned())).collect();
    let question = Question {
        modules,
        data: Vec::new(),
        input: Some(Value::from(input)),
        query: query.to_owned(),
        ..Question::default()
    };
    let found = answer(&question).map_err(|fault| fault.code)?;
    let value = found.result.first().and_then(|row| row.expressions.first()).map(|one| one.value.to_json_str());
    Ok(value.map(|text| serde_json::from_str(&text.unwrap()).unwrap()))
}

/// FR-POL-04: values where OPA has values, undefined where it has none, errors where it has errors.
#[test]
fn fr_pol_04_eight_snippets_have_opas_answers() {
    let p = "data.p.v";
    assert_eq!(ask(&["package p\nv if to_number(input.x) > 3"], p, json!({"x": "abc"})), Ok(None));
    let negated = "package p\nv contains \"bad\" if not startswith(input.model, \"safe-\")";
    assert_eq!(ask(&[negated], p, json!({})), Ok(Some(json!([]))));
    assert_eq!(ask(&[negated], p, json!({"model": "risky"})), Ok(Some(json!(["bad"]))));
    assert_eq!(ask(&[], "1 == 2", json!({})), Ok(Some(json!(false))));
    let chained = "package p\nv contains \"a\" if { input.p } else if { input.q }";
    assert_eq!(ask(&[chained], p, json!({"q": 1})), Err("rego_parse_error"));
    let late = "package p\ndefault v := false\nv if time.parse_rfc3339_ns(input.t) > 0";
    assert_eq!(ask(&[late], p, json!({"t": "x"})), Ok(Some(json!(false))));
    let tools = "package p\nv contains m if { some i; input.tools[i].name == \"exec\"; m := sprintf(\"%v\", [i]) }";
    assert_eq!(ask(&[tools], p, json!({"tools": null})), Ok(Some(json!([]))));
    assert_eq!(ask(&["package p\ndefault f(_) := false\nv := f(1)"], p, json!({})), Ok(Some(json!(false))));
    let counted = "package p\nv := count([x | some x in input.a; x > 1])";
    assert_eq!(ask(&[counted], p, json!({"a": {"k": 2}})), Ok(Some(json!(1))));
}

/// FR-POL-09: what can be refused when a policy is loaded is, and two values at run time are a conflict.
#[test]
fn fr_pol_09_rules_that_can_not_stand_together_are_refused_and_nothing_panics() {
    let refused = [
        "package p\nv contains m if m := 1\nv[k] contains w if { k := 1; w := 2 }",
        "package p\nv := 1\nv contains 2",
        "package p\nv := 1\nv(x) := x",
        "package p\nv := {}\nv.a := 1",
        "package p\ndefault v := 1\ndefault v := 1",
    ];
    for module in refused {
        assert_eq!(ask(&[module], "data.p.v", json!({})), Err("rego_type_error"), "{module}");
    }
    let twice = ["package p\ndefault v := false", "package p\ndefault v := false\nv if input.a"];
    assert_eq!(ask(&twice, "data.p.v", json!({})), Err("rego_type_error"));
    let conflicts = [
        "package p\nv := true if input.a\nv := false if input.b",
        "package p\nv := \"admin\" if input.a\nv := \"user\" if input.b",
    ];
    for module in conflicts {
        assert_eq!(ask(&[module], "data.p.v", json!({"a": 1, "b": 1})), Err("eval_conflict_error"), "{module}");
    }
    let same = "package p\nv[\"a\"] := 1\nv[\"a\"] := 1";
    assert_eq!(ask(&[same], "data.p.v", json!({})), Ok(Some(json!({"a": 1}))));
    // A letter that only looks like `a` begins no name.
    assert_eq!(ask(&["package p\n\u{430}llow if true"], "data.p.allow", json!({})), Err("rego_parse_error"));
}

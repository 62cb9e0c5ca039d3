use serde_json::json;

use super::*;

const POLICY: &str = "package app\n\nimport data.app.base\n\ndefault allow := false\n\nallow if {\n\tinput.user.role == \"admin\"\n}\n\nallow if {\n\tnot blocked\n\tsome team in input.user.teams\n\tteam in data.teams\n}\n\nblocked if base.list[_] == input.user.name\n\ndecision := {\"allow\": true} if {\n\tallow\n} else := {\"allow\": false, \"reason\": \"blocked\"} if {\n\tblocked\n} else := {\"allow\": false, \"reason\": \"other\"}\n";
const BASE: &str = "package app.base\n\nlist := [\"eve\"]\n";

fn ask(input: &Json, entrypoint: &str) -> Explanation {
    let modules = [("app.rego".to_owned(), POLICY.to_owned()), ("base.rego".to_owned(), BASE.to_owned())];
    explain(&modules, &[Value::from(json!({"teams": ["core"]}))], input, entrypoint).unwrap()
}

fn failed(story: &RuleStory, line: u32) -> &Failed {
    let one = story.definitions.iter().find(|one| one.line == line).unwrap();
    let End::Failed(failed) = &one.end else { panic!("{one:?}") };
    failed
}

#[test]
fn a_refusal_by_default_names_each_rule_that_could_have_allowed_and_where_it_stopped() {
    let told = ask(&json!({"user": {"name": "bob", "role": "dev", "teams": ["web"]}}), "data.app.allow");
    assert!(!told.allowed);
    assert_eq!(told.decided_by.as_deref(), Some("app.rego:5"));
    let story = &told.rules[0];
    assert_eq!(failed(story, 7).text, "input.user.role == \"admin\"");
    assert_eq!((failed(story, 11).line, failed(story, 11).text.as_str()), (14, "team in data.teams"));
    let role = &told.changes[0];
    assert_eq!((role.member.text.as_str(), &role.member.value), ("input.user.role", &Some(json!("dev"))));
    assert_eq!(role.compared_to.as_ref().unwrap().value, Some(json!("admin")));
    let team = &failed(story, 11).compared;
    assert_eq!((&team[0].value, &team[1].value), (&Some(json!("web")), &Some(json!(["core"]))));
}

#[test]
fn an_allow_names_the_definition_that_held() {
    let told = ask(&json!({"user": {"name": "ada", "role": "dev", "teams": ["core"]}}), "data.app.allow");
    assert_eq!((told.allowed, told.decided_by.as_deref()), (true, Some("app.rego:11")));
    assert_eq!(told.rules[0].definitions[0].end, End::Unused);
}

#[test]
fn branches_are_followed_in_order_and_rules_that_were_read_are_told() {
    let told = ask(&json!({"user": {"name": "eve", "role": "dev", "teams": ["core"]}}), "data.app.decision");
    assert_eq!(told.value, Some(json!({"allow": false, "reason": "blocked"})));
    let ends: Vec<_> = told.rules[0].definitions.iter().map(|one| &one.end).collect();
    assert!(matches!(ends[..], [End::Failed(_), End::Held, End::NotReached]), "{ends:?}");
    let names: BTreeSet<_> = told.rules.iter().map(|story| story.rule.as_str()).collect();
    assert_eq!(names, ["data.app.allow", "data.app.blocked", "data.app.decision", "data.app.base.list"].into());
    let allow = told.rules.iter().find(|story| story.rule == "data.app.allow").unwrap();
    assert_eq!(failed(allow, 11).text, "not blocked");
    assert_eq!(failed(allow, 11).rules, ["data.app.blocked"]);
}

#[test]
fn a_member_that_is_not_there_and_an_entry_point_that_is_not_there_are_told() {
    let told = ask(&json!({}), "data.app.allow");
    assert_eq!((told.changes[0].member.text.as_str(), &told.changes[0].member.value), ("input.user.role", &None));
    let text = told.to_string();
    assert!(text.contains("refused by data.app.allow, decided at app.rego:5"), "{text}");
    assert!(text.contains("input.user.role is not there, compared to \"admin\""), "{text}");
    assert!(explain(&[("x.rego".to_owned(), "package x".to_owned())], &[], &json!({}), "data.x.none").is_err());
}

#[test]
fn the_shipped_policy_explains_itself() {
    let shipped = crate::policy::source::shipped("data.weir.abac.decision").iter();
    let policies: Vec<_> = shipped.map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect();
    let told = explain(&policies, &[], &json!({"subject": {}}), "data.weir.abac.decision").unwrap();
    assert!(!told.allowed);
    assert!(told.decided_by.is_some() && told.rules.len() > 1, "{told}");
}

#[test]
fn texts_at_either_end_of_an_expression_keep_their_quotes() {
    let policy = "package app\nallow if {\n\t\"a\" in input.roles\n\tinput.name == `b`\n\t\"c\" == input.other\n}\n";
    let modules = [("app.rego".to_owned(), policy.to_owned())];
    let input = json!({"roles": ["a"], "name": "b", "other": "d"});
    let told = explain(&modules, &[], &input, "data.app.allow").unwrap();
    let stopped = failed(&told.rules[0], 2);
    assert_eq!((stopped.line, stopped.text.as_str()), (5, "\"c\" == input.other"));
    assert_eq!(told.changes[0].compared_to.as_ref().unwrap().text, "\"c\"");
}

#[test]
fn a_refusal_by_a_rule_that_held_is_changed_by_what_that_rule_read() {
    let told = ask(&json!({"user": {"name": "eve", "role": "dev", "teams": ["core"]}}), "data.app.decision");
    let changes: Vec<_> = told.changes.iter().map(|one| one.member.text.as_str()).collect();
    assert_eq!(changes, ["input.user.name"], "{told}");
    assert_eq!(told.changes[0].expression, "app.rego:17: base.list[_] == input.user.name");
}

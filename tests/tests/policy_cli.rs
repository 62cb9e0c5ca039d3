//! `weir policy` and `weir token` as their users run them: the real program, its exit status, its JSON.

use std::fs;

use e2e::program::{self, Done};
use serde_json::{Value, json};
use tempfile::TempDir;

const POLICY: &str =
    "package app\n\nimport rego.v1\n\ndefault allow := false\n\nallow if {\n\tinput.user in data.users\n}\n";
const TESTS: &str = "package app_test\n\nimport rego.v1\n\ntest_known if data.app.allow with input as {\"user\": \"ada\"} with data.users as [\"ada\"]\n\ntest_wrong if data.app.allow with input as {}\n";

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

async fn weir(folder: &TempDir, words: &[&str]) -> Done {
    let words: Vec<String> = words.iter().map(|word| word.replace("DIR", folder.path().to_str().unwrap())).collect();
    program::run(&words.iter().map(String::as_str).collect::<Vec<_>>()).await
}

fn json(done: &Done) -> Value {
    serde_json::from_str(&done.stdout).unwrap_or_else(|fault| panic!("{fault}: {} {}", done.stdout, done.stderr))
}

#[tokio::test]
async fn a_question_has_opas_answer_and_exit_status() {
    let folder = folder(&[
        ("app.rego", POLICY),
        ("data.json", r#"{"users": ["ada"]}"#),
        ("teams/data.yaml", "core: [1, 2]"),
        ("input.json", r#"{"user": "ada"}"#),
        ("broken/x.rego", "package x\np := {"),
    ]);
    let files = ["policy", "eval", "-d", "DIR/app.rego", "-d", "DIR/data.json", "-i", "DIR/input.json"];
    let allow = weir(&folder, &[&files[..], &["data.app.allow"]].concat()).await;
    assert_eq!(allow.status, 0, "{}", allow.stderr);
    let expected = json!({"result": [{"expressions": [
        {"value": true, "text": "data.app.allow", "location": {"row": 1, "col": 1}},
    ]}]});
    assert_eq!(json(&allow), expected);
    let bound = weir(&folder, &["policy", "eval", "-d", "DIR/teams", "x = data.core[i]"]).await;
    assert_eq!(json(&bound)["result"][1]["bindings"], json!({"i": 1, "x": 2}));
    let undefined = weir(&folder, &["policy", "eval", "--fail", "data.nothing"]).await;
    assert_eq!((undefined.status, json(&undefined)), (1, json!({})));
    let broken = weir(&folder, &["policy", "eval", "-d", "DIR/broken", "data.x.p"]).await;
    let error = &json(&broken)["errors"][0];
    assert_eq!((broken.status, &error["code"]), (2, &json!("rego_parse_error")), "{error}");
    assert_eq!(error["location"]["file"], "x.rego");
}

#[tokio::test]
async fn tests_of_policies_run_as_opas_do() {
    let folder = folder(&[("app.rego", POLICY), ("app_test.rego", TESTS)]);
    let done = weir(&folder, &["policy", "test", "DIR", "--format", "json"]).await;
    let all = json(&done);
    assert_eq!(done.status, 2, "one fails: {all}");
    assert_eq!((&all[0]["name"], &all[0]["fail"]), (&json!("test_known"), &Value::Null));
    assert_eq!((&all[1]["name"], &all[1]["fail"]), (&json!("test_wrong"), &json!(true)));
    let chosen = weir(&folder, &["policy", "test", "DIR", "--run", "known$"]).await;
    assert_eq!((chosen.status, chosen.stdout.trim()), (0, "PASS: 1/1"));
    let covered = weir(&folder, &["policy", "test", "DIR", "--run", "known", "--coverage", "--threshold", "100"]).await;
    assert_eq!(covered.status, 2, "the wrong test's line was not evaluated: {}", covered.stdout);
    assert_eq!(json(&covered)["files"]["app.rego"]["coverage"], 100.0);
    let checked = weir(&folder, &["policy", "check", "DIR"]).await;
    assert_eq!((checked.status, checked.stdout.trim()), (0, "ok: 2 policies"));
}

#[tokio::test]
async fn a_refused_builtin_is_a_fault_with_its_place_and_reason() {
    let text = "package x\n\np if http.send({\"url\": \"http://a\"}).status_code == 200\n";
    let folder = folder(&[("x.rego", text)]);
    let done = weir(&folder, &["policy", "check", "DIR"]).await;
    assert_eq!(done.status, 1);
    assert!(done.stdout.starts_with("x.rego:3:") && done.stdout.contains("may not call out"), "{}", done.stdout);
}

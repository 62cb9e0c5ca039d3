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

#[tokio::test]
async fn an_explanation_names_the_line_that_decided_and_what_to_change() {
    let folder = folder(&[
        ("app.rego", POLICY),
        ("data.json", r#"{"users": ["ada"]}"#),
        ("in/input.json", r#"{"user": "bob"}"#),
    ]);
    let files =
        ["-d", "DIR/app.rego", "-d", "DIR/data.json", "-i", "DIR/in/input.json", "--entrypoint", "data.app.allow"];
    let told = weir(&folder, &[&["policy", "explain"], &files[..]].concat()).await;
    let expected = [
        "refused by data.app.allow, decided at app.rego:5",
        "answer: false",
        "",
        "data.app.allow is false",
        "  app.rego:5: by default: default allow := false",
        "  app.rego:7: failed: allow if {",
        "    at line 8: input.user in data.users",
        "",
        "To change the answer, change what it rests on:",
        "  input.user is \"bob\", compared to data.users = [\"ada\"]",
        "    app.rego:8: input.user in data.users",
    ];
    let lines: Vec<&str> = told.stdout.lines().collect();
    assert_eq!((told.status, lines), (0, expected.to_vec()), "{}", told.stderr);
    let as_json = weir(&folder, &[&["policy", "explain", "--json"], &files[..]].concat()).await;
    assert_eq!(json(&as_json)["changes"][0]["member"], json!({"text": "input.user", "value": "bob"}));
    let measured = weir(&folder, &[&["policy", "bench", "--json", "--seconds", "1"], &files[..]].concat()).await;
    let figures = json(&measured);
    assert!(figures["decisions"].as_u64().unwrap() > 0 && figures["p50_us"].as_f64().unwrap() > 0.0, "{figures}");
    let none = weir(&folder, &["policy", "explain", "-i", "DIR/in/input.json", "--entrypoint", "data.weir.none"]).await;
    assert_eq!(none.status, 2, "{}", none.stdout);
}

#[tokio::test]
async fn the_layout_is_checked_shown_and_written() {
    let loose = "package app\n\n\n\nallow if {\n  input.x==1\n}\n";
    let folder = folder(&[("app.rego", loose), ("sub/ok.rego", POLICY)]);
    let checked = weir(&folder, &["policy", "fmt", "--check", "DIR"]).await;
    assert_eq!((checked.status, checked.stdout.lines().count()), (1, 1), "{}", checked.stdout);
    let shown = weir(&folder, &["policy", "fmt", "--diff", "DIR"]).await;
    assert!(shown.stdout.contains("-6:   input.x==1\n+6: \tinput.x == 1\n"), "{}", shown.stdout);
    let written = weir(&folder, &["policy", "fmt", "--write", "DIR"]).await;
    assert_eq!(written.status, 0, "{}", written.stderr);
    let text = fs::read_to_string(folder.path().join("app.rego")).unwrap();
    assert_eq!(text, "package app\n\nallow if {\n\tinput.x == 1\n}\n");
    assert_eq!(weir(&folder, &["policy", "fmt", "--check", "DIR"]).await.status, 0);
    fs::write(folder.path().join("app.rego"), "package app\nallow if {").unwrap();
    let broken = weir(&folder, &["policy", "fmt", "--write", "DIR"]).await;
    assert_eq!((broken.status, &json(&broken)["errors"][0]["code"]), (2, &json!("rego_parse_error")));
}

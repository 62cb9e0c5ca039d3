//! Prices from the command line: the golden vectors through the real binary, and the independent script that made them.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use e2e::program;
use serde_json::Value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/prices")
}

/// Runs the binary with that input.
fn weir(args: &[&str], input: &str) -> Output {
    let mut command = Command::new(program::weir());
    let piped = command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // Written beside, so that neither pipe fills up while nobody reads.
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    output
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn the_binary_prices_every_golden_vector_to_the_nano_dollar() {
    let mut count = 0;
    for (vectors, book) in [("usages", "book"), ("terms", "book"), ("euros", "euros")] {
        let lines = std::fs::read_to_string(folder().join(format!("{vectors}.jsonl"))).unwrap();
        let vectors: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let asked: Vec<String> = vectors.iter().map(|vector| vector["asked"].to_string()).collect();
        let book = folder().join(format!("{book}.yaml"));
        let args = ["usage", "price", "--jsonl", "--prices", book.to_str().unwrap()];
        let output = weir(&args, &asked.join("\n"));
        assert!(output.status.success(), "{}", text(&output.stderr));
        let told: Vec<Value> = text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(told.len(), vectors.len());
        for (told, vector) in told.iter().zip(&vectors) {
            assert_eq!(told["nano_usd"], vector["told"]["nano_usd"], "{vector}");
            assert_eq!(told["status"], vector["told"]["status"], "{vector}");
        }
        count += told.len();
    }
    assert!(count >= 300, "{count}");
}

#[test]
fn the_vectors_are_what_the_independent_script_makes() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("oracle/prices.py");
    let Ok(output) = Command::new("python3").arg(script).arg("check").output() else {
        println!("no python3: the vectors are not made again");
        return;
    };
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn a_public_list_becomes_a_price_file_and_what_is_lost_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (list, book) = (folder.path().join("list.json"), folder.path().join("book.yaml"));
    let fields = r#""litellm_provider": "openai", "input_cost_per_token": 1.3e-10, "off_peak_pricing": {}"#;
    std::fs::write(&list, format!(r#"{{"gpt-list": {{{fields}}}}}"#)).unwrap();
    let output = weir(&["prices", "import", "--from", "litellm", "--version", "mine", list.to_str().unwrap()], "");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("openai/gpt-list: `off_peak_pricing`"), "{}", text(&output.stderr));
    std::fs::write(&book, &output.stdout).unwrap();
    let at = ["prices", "show", "gpt-list", "--at", "2026-01-31", "--prices", book.to_str().unwrap()];
    let shown = weir(&at, "");
    assert!(text(&shown.stdout).contains("0.00013 per 1M"), "{}", text(&shown.stdout));
    let unknown = weir(&["prices", "show", "gpt-list", "--provider", "nobody"], "");
    assert_eq!(unknown.status.code(), Some(1));
    let line = r#"{"provider":"openai","model":"gpt-list","usage":{"prompt_tokens":1000,"completion_tokens":0}}"#;
    let priced = weir(&["usage", "price", "--jsonl", "--prices", book.to_str().unwrap()], line);
    let priced: Value = serde_json::from_slice(&priced.stdout).unwrap();
    assert_eq!((&priced["nano_usd"], &priced["price_version"]), (&Value::from(130), &Value::from("mine")));
}

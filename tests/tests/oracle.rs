//! Others are asked what Weir was asked: the real OPA about policies, Python's and JavaScript's parsers about bodies.

use std::path::{Path, PathBuf};
use std::time::Duration;

use e2e::program;
use tokio::process::Command;

/// Questions for each policy, and bodies: enough to see a change; long runs are made by hand with more.
const QUESTIONS: &str = "600";
const BODIES: &str = "20000";
/// Longest run of a script.
const SCRIPT_MAX: Duration = Duration::from_secs(180);

async fn script(name: &str, args: &[&str]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("oracle").join(name);
    let mut command = Command::new(program::python());
    command.arg(path).args(args).kill_on_drop(true);
    let output = tokio::time::timeout(SCRIPT_MAX, command.output()).await.expect("the script ends").expect("it starts");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let faults = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}\n{faults}");
    told
}

fn policies() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies")
}

#[tokio::test]
async fn the_real_opa_decides_as_weir_does() {
    let Some(opa) = std::env::var_os("WEIR_OPA").filter(|path| !path.is_empty()) else {
        println!("WEIR_OPA names no OPA: nothing was compared");
        return;
    };
    let (weir, policies) = (program::weir(), policies());
    let paths = [weir.to_str().unwrap(), opa.to_str().unwrap(), policies.to_str().unwrap()];
    let words = ["--weir", paths[0], "--opa", paths[1], "--policies", paths[2], "--count", QUESTIONS];
    let told = script("policies.py", &words).await;
    assert!(told.contains("\n0 differ;"), "{told}");
}

#[tokio::test]
async fn other_parsers_find_in_what_is_forwarded_what_was_authorised() {
    let node = Command::new("node").arg("--version").output().await;
    if !node.is_ok_and(|output| output.status.success()) {
        println!("there is no node: nothing was compared");
        return;
    }
    let reads = program::weir().with_file_name("examples").join("envelope_reads");
    assert!(reads.exists(), "`{}` is not built: build with --all-targets", reads.display());
    let mut words = vec!["--reads", reads.to_str().unwrap(), "--count", BODIES];
    let corpus = std::env::var_os("WEIR_CASES").map(|folder| Path::new(&folder).join("json_parsing.jsonl"));
    if let Some(path) = corpus.as_ref().and_then(|path| path.to_str()) {
        words.extend(["--corpus", path]);
    }
    let told = script("bodies.py", &words).await;
    assert!(told.contains(" 0 read differently"), "{told}");
}

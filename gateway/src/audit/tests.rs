//! What a check must find, and what it must not call a fault.

use std::path::{Path, PathBuf};

use crate::audit::verify::{Report, audit_verify};
use crate::config::settings::Durability;
use crate::journal::Journal;
use crate::journal::fixture::{LONG, call, closing, copy, folder};

/// A data folder with a sound log of five calls.
async fn sound(folder: &Path) -> PathBuf {
    let data = folder.join("data");
    let (journal, _) = Journal::open(&data, Durability::Window).await.unwrap();
    for number in 1..=5 {
        journal.permit().unwrap().close(closing(call(number), 1));
    }
    journal.shutdown(LONG).await.unwrap();
    data
}

fn log(data: &Path) -> PathBuf {
    data.join("audit/000001.jsonl")
}

/// Changes the log's lines and checks it.
async fn changed(data: &Path, change: impl FnOnce(&mut Vec<String>)) -> Report {
    let text = std::fs::read_to_string(log(data)).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    change(&mut lines);
    std::fs::write(log(data), lines.join("\n") + "\n").unwrap();
    let report = audit_verify(data).await.unwrap();
    std::fs::write(log(data), text).unwrap();
    report
}

#[tokio::test]
async fn every_kind_of_tampering_is_found() {
    let folder = folder();
    let data = sound(folder.path()).await;
    let report = audit_verify(&data).await.unwrap();
    assert!(report.ok, "{report:#?}");
    assert_eq!((report.records, report.head_seq, report.store_seq), (5, 5, Some(5)));
    assert_eq!((report.attempts, report.cost_nano), (5, 21_000));
    let faults = [
        ("a changed figure", changed(&data, |lines| lines[1] = lines[1].replace("4200", "4201")).await),
        ("a changed last line", changed(&data, |lines| lines[4] = lines[4].replace("4200", "4201")).await),
        ("a line taken out", changed(&data, |lines| drop(lines.remove(2))).await),
        ("the first line taken out", changed(&data, |lines| drop(lines.remove(0))).await),
        ("the tail cut", changed(&data, |lines| lines.truncate(3)).await),
        ("everything cut", changed(&data, Vec::clear).await),
        ("two lines swapped", changed(&data, |lines| lines.swap(1, 2)).await),
        ("a line twice", changed(&data, |lines| lines.insert(1, lines[1].clone())).await),
        ("no JSON", changed(&data, |lines| lines[2] = "{".to_owned()).await),
    ];
    for (what, report) in faults {
        assert!(!report.ok && !report.faults.is_empty(), "{what}: {report:#?}");
    }
    assert!(audit_verify(&data).await.unwrap().ok);
}

#[tokio::test]
async fn a_ledger_that_was_changed_does_not_agree_with_the_log() {
    let folder = folder();
    let data = sound(folder.path()).await;
    let store = crate::store::Store::open(&data.join("weir.db"), crate::store::sqlite::Create::Never).await.unwrap();
    store.execute("UPDATE usage SET cost_nano = 1").await;
    store.close().await;
    let report = audit_verify(&data).await.unwrap();
    assert!(report.faults.iter().any(|fault| fault.starts_with("the ledger has 5 attempts at 5 ")), "{report:#?}");
}

#[tokio::test]
async fn a_log_ahead_of_the_store_is_told_and_is_no_fault() {
    let folder = folder();
    let data = sound(folder.path()).await;
    let early = folder.path().join("early");
    copy(&data, &early);
    let (journal, _) = Journal::open(&data, Durability::Window).await.unwrap();
    journal.permit().unwrap().close(closing(call(6), 1));
    journal.shutdown(LONG).await.unwrap();
    std::fs::copy(log(&data), log(&early)).unwrap();
    let report = audit_verify(&early).await.unwrap();
    assert!(report.ok && report.notes.iter().any(|note| note.contains("1 records ahead")), "{report:#?}");
    assert!(!report.unproven.is_empty());
}

#[tokio::test]
async fn a_log_that_was_cut_behind_the_stores_back_shows_the_gap_for_ever() {
    let folder = folder();
    let data = sound(folder.path()).await;
    let text = std::fs::read_to_string(log(&data)).unwrap();
    std::fs::write(log(&data), &text[..text.len() / 2]).unwrap();
    let (journal, replay) = Journal::open(&data, Durability::Window).await.unwrap();
    assert!(replay.repairs.iter().any(|note| &*note.event == "audit_records_missing"), "{replay:?}");
    journal.permit().unwrap().close(closing(call(9), 1));
    journal.shutdown(LONG).await.unwrap();
    let report = audit_verify(&data).await.unwrap();
    assert!(!report.ok, "{report:#?}");
    assert_eq!(report.head_seq, 7, "the chain goes on behind the gap");
}

#[derive(clap::Parser)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    Usage(crate::cli::usage::UsageArgs),
    Audit(crate::cli::audit::AuditArgs),
}

/// Runs a command line; its exit status and its output.
async fn weir(data: &Path, line: &str) -> (u8, String) {
    let words = ["weir"].into_iter().chain(line.split(' ')).chain(["--data", data.to_str().unwrap()]);
    let mut out = Vec::new();
    let code = match <Cli as clap::Parser>::parse_from(words).verb {
        Verb::Usage(args) => crate::cli::usage::run(&args, 0, &mut out).await.map(|()| 0).unwrap(),
        Verb::Audit(args) => crate::cli::audit::run(&args, &mut out).await.unwrap(),
    };
    (code, String::from_utf8(out).unwrap())
}

#[tokio::test]
async fn the_commands_report_on_a_folder_that_is_in_use() {
    let folder = folder();
    let data = sound(folder.path()).await;
    let (journal, _) = Journal::open(&data, Durability::Window).await.unwrap();
    let (code, text) = weir(&data, "usage report --json --by tenant").await;
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &report["total"]["cost_nano"]), (0, &serde_json::json!(21_000)), "{text}");
    assert_eq!(report["rows"][0]["group"], "acme/research/chat/ada");
    let (_, text) = weir(&data, "usage report --by call --tenant acme/re").await;
    assert_eq!(text, "no usage\n");
    let (_, text) = weir(&data, "usage report --by day --since 2023-11-14 --until 2023-11-15").await;
    assert!(text.contains("2023-11-14") && text.contains("0.000021000"), "{text}");
    let (code, text) = weir(&data, "audit verify").await;
    assert!(code == 0 && text.starts_with("sound: 5 records"), "{text}");
    let (_, text) = weir(&data, "audit list --limit 2").await;
    assert_eq!(text.lines().count(), 2, "{text}");
    journal.shutdown(LONG).await.unwrap();
    std::fs::write(log(&data), "").unwrap();
    let (code, text) = weir(&data, "audit verify --json").await;
    assert!(code == 1 && text.contains("its tail was cut"), "{text}");
}

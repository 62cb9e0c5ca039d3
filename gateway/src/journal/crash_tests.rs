//! A stop after every single step, at every byte of the tail, and by kill -9.

#![allow(clippy::arithmetic_side_effects, clippy::as_conversions)] // tests count small numbers

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use parking_lot::Mutex;

use super::fixture::*;
use super::*;
use crate::exchange::CallId;

/// The data folder after one step, and the calls whose opening the journal had acknowledged.
struct Snapshot {
    data: PathBuf,
    step: &'static str,
    promised: BTreeSet<CallId>,
}

#[derive(Default)]
struct Recorder {
    snapshots: Mutex<Vec<Snapshot>>,
    promised: Mutex<BTreeSet<CallId>>,
}

impl Recorder {
    fn hook(self: &Arc<Self>, data: &Path, into: &Path) -> shared::Setup {
        let (recorder, data, into) = (Arc::clone(self), data.to_owned(), into.to_owned());
        let hook = Box::new(move |step: &'static str| {
            let mut snapshots = recorder.snapshots.lock();
            let to = into.join(format!("{:03}", snapshots.len()));
            copy(&data, &to);
            snapshots.push(Snapshot { data: to, step, promised: recorder.promised.lock().clone() });
        });
        // Files so small that every batch of lines begins a new one.
        shared::Setup { hook: Some(hook), audit_bytes: 500, ..shared::Setup::default() }
    }
}

/// A small day: calls of one and two attempts, a refusal, a note, one call that stays open; snapshots of each step.
async fn day(folder: &Path) -> Vec<Snapshot> {
    let recorder = Arc::new(Recorder::default());
    let data = folder.join("data");
    let hook = recorder.hook(&data, &folder.join("steps"));
    let (journal, _) = Journal::open_with(&data, Durability::Strict, hook).await.unwrap();
    // Each group is opened while the writer has nothing to project: only then is a copy made here of one piece.
    for group in [&[(1, 1), (2, 2)][..], &[(3, 0)], &[(4, 1)], &[(5, 1), (6, 1)]] {
        let mut permits = Vec::new();
        for (number, attempts) in group {
            let mut permit = journal.permit().unwrap();
            for attempt in 0..*attempts {
                permit.open(&opening(call(*number), attempt)).await.unwrap();
                recorder.promised.lock().insert(call(*number));
            }
            permits.push((permit, *number, *attempts));
        }
        for (permit, number, attempts) in permits {
            match number {
                // It stays open until the process dies.
                #[allow(clippy::disallowed_methods, reason = "a process that is killed drops nothing")]
                4 => std::mem::forget(permit),
                _ => permit.close(closing(call(number), attempts)),
            }
        }
        journal.note(note("key_revoked", 7)).unwrap();
        journal.flush(LONG).await.unwrap();
    }
    journal.shutdown(LONG).await.unwrap();
    std::mem::take(&mut recorder.snapshots.lock())
}

#[tokio::test]
async fn a_crash_after_any_step_loses_and_doubles_nothing() {
    let folder = folder();
    let snapshots = day(folder.path()).await;
    assert!(snapshots.len() > 20, "{}", snapshots.len());
    let steps: BTreeSet<_> = snapshots.iter().map(|snapshot| snapshot.step).collect();
    for step in ["opening appended", "closing appended", "journal synced", "audit appended", "store committed"] {
        assert!(steps.contains(step), "{step} in {steps:?}");
    }
    for (at, snapshot) in snapshots.iter().enumerate() {
        let context = format!("step {at}, {}", snapshot.step);
        check(&snapshot.data, &snapshot.promised, &context).await;
    }
}

#[tokio::test]
async fn a_crash_in_the_middle_of_the_start_after_a_crash_loses_and_doubles_nothing() {
    let folder = folder();
    let mut crashes = 0;
    for (at, first) in day(folder.path()).await.iter().enumerate().step_by(3) {
        let recorder = Arc::new(Recorder::default());
        let hook = recorder.hook(&first.data, &folder.path().join(format!("again-{at}")));
        let (journal, _) = Journal::open_with(&first.data, Durability::Window, hook).await.unwrap();
        journal.shutdown(LONG).await.unwrap();
        let seconds = std::mem::take(&mut *recorder.snapshots.lock());
        for second in seconds {
            crashes += 1;
            check(&second.data, &first.promised, &format!("step {at}, then {}", second.step)).await;
        }
    }
    assert!(crashes > 20, "{crashes}");
}

/// The last file of a folder, by name.
fn last_file(folder: &Path) -> PathBuf {
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.pop().unwrap()
}

/// Whether the bytes end with a whole line or frame: then there is nothing to repair.
fn is_whole(bytes: &[u8]) -> bool {
    if bytes.starts_with(b"{") {
        return bytes.ends_with(b"\n");
    }
    let mut rest = bytes;
    loop {
        match frame::decode(rest) {
            frame::Decoded::End => return true,
            frame::Decoded::Torn => return false,
            frame::Decoded::Frame { rest: behind, .. } => rest = behind,
        }
    }
}

/// Cuts the last file of `below` at every byte that the step before did not have yet.
async fn cut_at_every_byte(snapshots: &[Snapshot], step: &str, below: &str) -> usize {
    let at = snapshots.iter().rposition(|snapshot| snapshot.step == step).unwrap();
    let after = &snapshots[at];
    let file = last_file(&after.data.join(below));
    let length = |data: &Path| {
        let path = data.join(below).join(file.file_name().unwrap());
        std::fs::metadata(path).map_or(0, |meta| meta.len())
    };
    let before = snapshots[..at].iter().rfind(|before| length(&before.data) < length(&after.data)).unwrap();
    let known = length(&before.data);
    let bytes = std::fs::read(&file).unwrap();
    for cut in known as usize..bytes.len() {
        let torn = after.data.with_extension(format!("cut-{below}-{cut}"));
        copy(&after.data, &torn);
        std::fs::write(torn.join(below).join(file.file_name().unwrap()), &bytes[..cut]).unwrap();
        let records = check(&torn, &before.promised, &format!("{step}, cut at {cut}")).await;
        let repaired = records.iter().filter(|(_, record)| record.what.ends_with("tail_cut")).count();
        assert_eq!(repaired, usize::from(!is_whole(&bytes[..cut])), "the repair is on record, {step}, cut at {cut}");
        std::fs::remove_dir_all(&torn).unwrap();
    }
    bytes.len() - known as usize
}

#[tokio::test]
async fn a_journal_cut_at_any_byte_of_an_opening_loses_only_what_was_not_acknowledged() {
    let folder = folder();
    let snapshots = day(folder.path()).await;
    assert!(cut_at_every_byte(&snapshots, "opening appended", JOURNAL_FOLDER).await > 300);
}

#[tokio::test]
async fn a_journal_cut_at_any_byte_of_a_closing_interrupts_the_call() {
    let folder = folder();
    let snapshots = day(folder.path()).await;
    assert!(cut_at_every_byte(&snapshots, "closing appended", JOURNAL_FOLDER).await > 400);
}

#[tokio::test]
async fn an_audit_log_cut_at_any_byte_is_whole_again_after_the_start() {
    let folder = folder();
    let snapshots = day(folder.path()).await;
    assert!(cut_at_every_byte(&snapshots, "audit appended", "audit").await > 400);
}

/// Lives only as a child of the next test, until it is killed: says each call that it may not lose.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_is_killed() {
    let Some(data) = std::env::var_os("WEIR_TEST_DATA") else { return };
    let (journal, _) = Journal::open(Path::new(&data), Durability::Window).await.unwrap();
    loop {
        let id = CallId(uuid::Uuid::now_v7());
        let mut permit = journal.permit().unwrap();
        permit.open(&opening(id, 0)).await.unwrap();
        println!("opened {}", id.0);
        permit.close(closing(id, 1));
    }
}

#[tokio::test]
async fn kill_9_at_any_moment_loses_and_doubles_nothing() {
    let folder = folder();
    let data = folder.path().join("data");
    let mut promised = BTreeSet::new();
    for round in 0..6_usize {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "journal::crash_tests::child_that_is_killed", "--nocapture"])
            .env("WEIR_TEST_DATA", &data)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut killer = Some(child);
        let mut seen = 0;
        for line in lines {
            let Some(id) = line.strip_prefix("opened ").and_then(|id| uuid::Uuid::parse_str(id).ok()) else { continue };
            promised.insert(CallId(id));
            seen += 1;
            // The kill falls into other moments each round: what the pipe still holds is read and promised too.
            if seen == 1 + round * 700
                && let Some(mut child) = killer.take()
            {
                child.kill().unwrap();
                child.wait().unwrap();
            }
        }
        check(&data, &promised, &format!("round {round}")).await;
    }
    assert!(promised.len() > 3_000, "{}", promised.len());
}

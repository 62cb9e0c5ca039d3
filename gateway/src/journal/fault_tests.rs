//! Full disks, full queues, second writers, lost permits.

#![allow(clippy::arithmetic_side_effects, clippy::as_conversions)] // tests count small numbers

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use super::fixture::*;
use super::*;
use crate::bounds::JOURNAL_QUEUE;
use crate::exchange::Outcome;

#[tokio::test]
async fn a_second_writer_is_refused_and_the_lock_is_given_back() {
    let folder = folder();
    let (journal, _) = Journal::open(folder.path(), Durability::Window).await.unwrap();
    let error = Journal::open(folder.path(), Durability::Window).await.unwrap_err();
    assert!(matches!(error, JournalError::Locked(_)), "{error}");
    journal.shutdown(LONG).await.unwrap();
    assert_eq!(journal.permit().unwrap_err(), JournalFull::Failing, "after the end no call is admitted");
    Journal::open(folder.path(), Durability::Window).await.unwrap();
}

#[tokio::test]
async fn a_permit_that_is_lost_after_its_opening_settles_at_what_was_held() {
    let folder = folder();
    let (journal, _) = Journal::open(folder.path(), Durability::Window).await.unwrap();
    let mut permit = journal.permit().unwrap();
    permit.open(&opening(call(1), 0)).await.unwrap();
    drop(permit);
    drop(journal.permit().unwrap());
    journal.shutdown(LONG).await.unwrap();
    let records = check_files(folder.path(), &BTreeSet::from([call(1)]), "lost").await;
    assert_eq!(records, [(call(1), Record { what: "failed".to_owned(), attempts: 1 })]);
}

#[tokio::test]
async fn a_call_that_was_open_at_the_end_is_interrupted_at_the_next_start() {
    let folder = folder();
    let (journal, _) = Journal::open(folder.path(), Durability::Strict).await.unwrap();
    let mut permit = journal.permit().unwrap();
    permit.open(&opening(call(1), 0)).await.unwrap();
    permit.open(&opening(call(1), 1)).await.unwrap();
    #[allow(clippy::disallowed_methods, reason = "a process that is killed drops nothing")]
    std::mem::forget(permit);
    journal.shutdown(LONG).await.unwrap();
    let (journal, replay) = Journal::open(folder.path(), Durability::Strict).await.unwrap();
    let [closing] = replay.interrupted.as_slice() else { panic!("{replay:?}") };
    assert_eq!((closing.outcome, closing.attempts.len()), (Outcome::Interrupted, 2));
    assert!(closing.attempts.iter().all(|attempt| (attempt.cost_nano, attempt.output_tokens) == (6_000, 50)));
    journal.shutdown(LONG).await.unwrap();
    check_files(folder.path(), &BTreeSet::from([call(1)]), "interrupted").await;
}

#[tokio::test]
async fn places_run_out_and_come_back() {
    let folder = folder();
    let (journal, _) = Journal::open(folder.path(), Durability::Window).await.unwrap();
    let mut permits: Vec<_> = (0..JOURNAL_QUEUE).map(|_| journal.permit().unwrap()).collect();
    assert_eq!(journal.permit().unwrap_err(), JournalFull::Places);
    permits.pop().unwrap().close(closing(call(1), 0));
    journal.flush(LONG).await.unwrap();
    permits.push(journal.permit().unwrap());
    assert_eq!(journal.permit().unwrap_err(), JournalFull::Places);
    drop(permits);
    assert!(journal.permit().is_ok());
}

#[tokio::test]
async fn segments_rotate_and_go_once_no_call_needs_them() {
    let folder = folder();
    let setup = shared::Setup { segment_bytes: 64 << 10, ..shared::Setup::default() };
    let (journal, _) = Journal::open_with(folder.path(), Durability::Window, setup).await.unwrap();
    let numbers = || segment::numbers(&folder.path().join(JOURNAL_FOLDER)).unwrap();
    let mut long = journal.permit().unwrap();
    long.open(&opening(call(1), 0)).await.unwrap();
    let first = numbers()[0];
    let mut number = 1;
    while numbers().last() < Some(&(first + 2)) {
        for _ in 0..60 {
            number += 1;
            journal.permit().unwrap().close(closing(call(number), 1));
        }
        journal.flush(LONG).await.unwrap();
    }
    assert_eq!(numbers()[0], first, "the open call pins its segment");
    long.close(closing(call(1), 1));
    journal.flush(LONG).await.unwrap();
    journal.shutdown(LONG).await.unwrap();
    assert_eq!(numbers().len(), 1, "{:?}", numbers());
    let records = check_files(folder.path(), &BTreeSet::new(), "rotated").await;
    assert_eq!(records.len() as u128, number);
}

/// Runs a test of this file alone in a process where a write beyond a limit fails instead of killing it.
fn alone(test: &str, data: &Path) {
    let line = "trap '' XFSZ; exec \"$0\" --exact \"$1\" --nocapture";
    let test = format!("journal::fault_tests::{test}");
    let mut child = Command::new("sh");
    child.arg("-c").arg(line).arg(std::env::current_exe().unwrap()).arg(test).env("WEIR_TEST_DATA", data);
    let output = child.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Limits how long any file of this process may become: a disk that is full, for whoever is not root.
fn limit(bytes: Option<u64>) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current: bytes, maximum }).unwrap();
}

#[test]
fn a_full_disk_refuses_new_calls_keeps_closings_and_recovers() {
    let folder = folder();
    alone("child_with_a_full_disk", folder.path());
}

#[tokio::test]
async fn child_with_a_full_disk() {
    let Some(data) = std::env::var_os("WEIR_TEST_DATA") else { return };
    let data = Path::new(&data);
    let (journal, _) = Journal::open(data, Durability::Window).await.unwrap();
    let mut early = journal.permit().unwrap();
    early.open(&opening(call(1), 0)).await.unwrap();
    let mut waiting = journal.permit().unwrap();
    journal.flush(LONG).await.unwrap();
    // Not even the rest of a frame finds room, in any file.
    let size = std::fs::metadata(segment::path(&data.join(JOURNAL_FOLDER), 1)).unwrap().len();
    limit(Some(size + 100));
    let error = waiting.open(&opening(call(2), 0)).await.unwrap_err();
    assert!(matches!(error, JournalError::Io { verb: "written", .. }), "{error}");
    assert_eq!(journal.permit().unwrap_err(), JournalFull::Failing);
    assert_eq!(std::fs::metadata(segment::path(&data.join(JOURNAL_FOLDER), 1)).unwrap().len(), size, "no torn frame");
    early.close(closing(call(1), 1));
    waiting.close(closing(call(2), 0));
    assert!(journal.flush(std::time::Duration::from_millis(400)).await.is_err());
    assert!(!journal.admits());
    limit(None);
    journal.flush(LONG).await.unwrap();
    while !journal.admits() {
        tokio::task::yield_now().await;
    }
    journal.permit().unwrap().close(closing(call(3), 0));
    journal.shutdown(LONG).await.unwrap();
    check_files(data, &BTreeSet::from([call(1), call(2), call(3)]), "full disk").await;
}

#[test]
fn a_projection_without_room_refuses_new_calls_and_loses_nothing() {
    let folder = folder();
    alone("child_with_a_full_audit_log", folder.path());
}

#[tokio::test]
async fn child_with_a_full_audit_log() {
    let Some(data) = std::env::var_os("WEIR_TEST_DATA") else { return };
    let data = Path::new(&data);
    let (journal, _) = Journal::open(data, Durability::Window).await.unwrap();
    let mut promised = BTreeSet::new();
    for number in 1..400 {
        promised.insert(call(number));
        journal.permit().unwrap().close(closing(call(number), 1));
    }
    journal.flush(LONG).await.unwrap();
    // The audit log has room for a part of a line only; then the store's file has none.
    let audit = std::fs::metadata(data.join("audit/000001.jsonl")).unwrap().len();
    for room in [audit + 100, audit + 5_000] {
        limit(Some(room));
        for number in 1_000..1_200 {
            let Ok(permit) = journal.permit() else { continue };
            let id = call(u128::from(room) * 10_000 + number);
            promised.insert(id);
            permit.close(closing(id, 1));
        }
        assert!(journal.flush(std::time::Duration::from_millis(300)).await.is_err());
        assert_eq!(journal.permit().unwrap_err(), JournalFull::Failing);
        limit(None);
        journal.flush(LONG).await.unwrap();
        while !journal.admits() {
            tokio::task::yield_now().await;
        }
    }
    journal.shutdown(LONG).await.unwrap();
    check_files(data, &promised, "full audit log").await;
}

/// A file system of one and a half megabytes, where this user may mount one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=1536k", "tmpfs"]).arg(folder.path()).output();
        mount.is_ok_and(|mount| mount.status.success()).then_some(Self(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmount = Command::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(unmount.unwrap().success());
    }
}

#[tokio::test]
async fn a_disk_without_space_refuses_new_calls_and_recovers() {
    let Some(disk) = SmallDisk::mount() else {
        return eprintln!("not allowed to mount: the limit on file sizes stands for the full disk");
    };
    let data = disk.0.path().join("data");
    let (journal, _) = Journal::open(&data, Durability::Strict).await.unwrap();
    let ballast = disk.0.path().join("ballast");
    let mut promised = BTreeSet::new();
    let mut number = 0;
    for round in 0..3 {
        // Fill the disk with calls in flight, to the last page.
        let mut permits = Vec::new();
        let filled: std::io::Result<()> = std::fs::File::create(&ballast).and_then(|mut file| {
            let pages = vec![7; 8 << 10];
            loop {
                std::io::Write::write_all(&mut file, &pages)?;
            }
        });
        assert!(filled.is_err_and(|error| error.kind() == std::io::ErrorKind::StorageFull));
        while let Ok(mut permit) = journal.permit() {
            number += 1;
            let opened = permit.open(&opening(call(number), 0)).await;
            let attempts = u16::from(opened.is_ok());
            promised.insert(call(number));
            permits.push((permit, closing(call(number), attempts)));
        }
        for (permit, closing) in permits {
            permit.close(closing);
        }
        assert!(journal.flush(std::time::Duration::from_millis(250)).await.is_err(), "round {round}");
        assert_eq!(journal.permit().unwrap_err(), JournalFull::Failing);
        std::fs::remove_file(&ballast).unwrap();
        journal.flush(LONG).await.unwrap();
        while !journal.admits() {
            tokio::task::yield_now().await;
        }
    }
    journal.shutdown(LONG).await.unwrap();
    check_files(&data, &promised, "no space").await;
}

//! Checks the audit log: the chain line by line, its head against the store's, its sums against the ledger's.
//!
//! Takes no lock and runs beside a gateway: the log may then be ahead of the store, which is said and is no failure.
//! What no check of these files can show is said too.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::files::{self, Line, Lines};
use super::record::{Link, Place};
use crate::store::node::Node;
use crate::store::projection::Projected;
use crate::store::sqlite::Create;
use crate::store::usage::Totals;
use crate::store::{STORE_FILE, Store, StoreError, StoreUrl};

/// Faults that are named one by one; after these only their number is told.
const FAULTS_MAX: usize = 20;

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
pub struct Report {
    /// No fault was found.
    pub ok: bool,
    /// Lines that were read.
    pub records: u64,
    /// Files that hold them.
    pub files: u64,
    /// The last line's number.
    pub head_seq: u64,
    /// The last line's hash.
    pub head_hash: String,
    /// The last line's number according to the store; `None` without a store.
    pub store_seq: Option<u64>,
    /// Attempts on the records that the store knows of, and their cost.
    pub attempts: u64,
    /// Nano-dollars on these attempts.
    pub cost_nano: i64,
    /// What is wrong; the first ones.
    pub faults: Vec<String>,
    /// How many faults there are.
    pub faults_total: u64,
    /// What is worth knowing and no fault.
    pub notes: Vec<String>,
    /// What this check can't prove.
    pub unproven: Vec<String>,
}

/// Why no check could be made.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A file or the folder.
    #[error("the audit log can't be read")]
    Io(#[from] io::Error),
    /// The store.
    #[error("the store can't be read")]
    Store(#[from] StoreError),
    /// No store and no log: most likely another folder is meant, and nothing was proven.
    #[error("`{0}` holds neither a store nor an audit log: is it the data folder?")]
    Nothing(std::path::PathBuf),
}

/// Only what is summed up.
#[derive(Deserialize)]
struct Sums {
    #[serde(default)]
    attempts: Vec<Cost>,
}

#[derive(Deserialize)]
struct Cost {
    cost_nano: i64,
}

/// Checks the log of a data folder. Blocking work is done on the caller's thread: call it from a command, or from
/// a blocking task. The store is the data folder's own file.
pub async fn audit_verify(data: &Path) -> Result<Report, VerifyError> {
    audit_verify_on(data, &StoreUrl::from(&data.join(STORE_FILE))).await
}

/// The same with a store that may lie elsewhere: of a shared one, the part of the data folder's node.
pub async fn audit_verify_on(data: &Path, store: &StoreUrl) -> Result<Report, VerifyError> {
    // The store first: the log may run ahead of what was read here, never behind.
    let known = match Store::open(store, Create::Never).await {
        Ok(store) => {
            let totals = store.ledger_totals(Node::of(data)?.as_ref()).await;
            store.close().await;
            Some(totals?)
        }
        Err(StoreError::NoSuchStore(_)) => None,
        Err(error) => return Err(error.into()),
    };
    if known.is_none() && files::numbers(&data.join(files::AUDIT_FOLDER))?.is_empty() {
        return Err(VerifyError::Nothing(data.to_owned()));
    }
    let mut walk = Walk::new(known.as_ref().and_then(|(projected, _)| *projected));
    walk.files(&data.join(files::AUDIT_FOLDER))?;
    Ok(walk.finish(known))
}

struct Walk {
    report: Report,
    link: Link,
    /// The store's last line.
    known: Option<Link>,
    /// Hash of the line with the store's number, once it was passed.
    passed: Option<[u8; 32]>,
}

impl Walk {
    fn new(projected: Option<Projected>) -> Self {
        let known = projected.map(|projected| projected.audit.link);
        let passed = known.filter(|known| known.seq == 0).map(|_| Link::GENESIS.hash);
        Self { report: Report::default(), link: Link::GENESIS, known, passed }
    }

    fn files(&mut self, folder: &Path) -> io::Result<()> {
        let numbers = files::numbers(folder)?;
        for (expected, number) in (1..).zip(&numbers) {
            if expected != *number {
                self.fault(format!("file {expected:06}.jsonl is missing"));
                break;
            }
        }
        for number in &numbers {
            let is_last = numbers.last() == Some(number);
            self.file(folder, *number, is_last)?;
        }
        Ok(())
    }

    fn file(&mut self, folder: &Path, number: u64, is_last: bool) -> io::Result<()> {
        self.report.files = self.report.files.saturating_add(1);
        let mut lines = Lines::open(&files::path(folder, number), 0)?;
        let mut at = 0_u64;
        while let Some(line) = lines.read()? {
            at = at.saturating_add(1);
            match line {
                Line::Whole(line) => self.line(number, at, line),
                Line::Torn(bytes) if is_last => {
                    let text = "is not ended: it is being written, or the next start will cut it off";
                    self.report.notes.push(format!("the last line ({bytes} bytes) {text}"));
                }
                Line::Torn(_) => self.fault(format!("file {number:06}.jsonl, line {at}: is not ended")),
            }
        }
        Ok(())
    }

    fn line(&mut self, number: u64, at: u64, line: &[u8]) {
        self.report.records = self.report.records.saturating_add(1);
        let next = match serde_json::from_slice::<Place<'_>>(line) {
            Ok(place) if place.follows(&self.link) => self.link.next(line),
            Ok(place) => {
                let expected = self.link.seq.saturating_add(1);
                let text = format!("record {} does not continue the chain, {expected} was due", place.seq);
                self.fault(format!("file {number:06}.jsonl, line {at}: {text}"));
                // Go on from what the line claims, so that one break is one fault.
                Link { seq: place.seq.saturating_sub(1), hash: [0; 32] }.next(line)
            }
            Err(_) => {
                self.fault(format!("file {number:06}.jsonl, line {at}: is no audit record"));
                self.link.next(line)
            }
        };
        self.link = next;
        match self.known {
            Some(known) if next.seq == known.seq => self.passed = Some(next.hash),
            _ => {}
        }
        if self.known.is_none_or(|known| next.seq <= known.seq) {
            self.sum(line);
        }
    }

    fn sum(&mut self, line: &[u8]) {
        let Ok(sums) = serde_json::from_slice::<Sums>(line) else { return };
        for attempt in sums.attempts {
            self.report.attempts = self.report.attempts.saturating_add(1);
            self.report.cost_nano = self.report.cost_nano.saturating_add(attempt.cost_nano);
        }
    }

    fn fault(&mut self, text: String) {
        self.report.faults_total = self.report.faults_total.saturating_add(1);
        if self.report.faults.len() < FAULTS_MAX {
            self.report.faults.push(text);
        }
    }

    fn finish(mut self, known: Option<(Option<Projected>, Totals)>) -> Report {
        match known {
            None => {
                self.report.unproven.push("there is no store: its head can't be compared with the log's".to_owned())
            }
            Some((projected, totals)) => self.compare(projected, &totals),
        }
        self.report.unproven.push(
            "if the log's tail and the store were set back together, this folder alone can't show it: keep the head \
             (seq and hash) somewhere else"
                .to_owned(),
        );
        self.report.unproven.push(
            "whoever can write this folder can compute the whole chain anew: only a head kept elsewhere shows it"
                .to_owned(),
        );
        self.report.head_seq = self.link.seq;
        self.report.head_hash = self.link.hex();
        self.report.ok = self.report.faults_total == 0;
        self.report
    }

    fn compare(&mut self, projected: Option<Projected>, totals: &Totals) {
        let known = projected.map_or(Link::GENESIS, |projected| projected.audit.link);
        self.report.store_seq = Some(known.seq);
        if self.link.seq < known.seq {
            let text =
                format!("the store knows {} records, the log ends at {}: its tail was cut", known.seq, self.link.seq);
            self.fault(text);
        } else if known.seq > 0 && self.passed != Some(known.hash) {
            self.fault(format!("record {} is not the one that the store knows: the log was rewritten", known.seq));
        }
        if self.link.seq > known.seq {
            let ahead = self.link.seq.saturating_sub(known.seq);
            self.report.notes.push(format!(
                "the log is {ahead} records ahead of the store: a gateway runs, or died and catches up at its start"
            ));
        }
        let attempts = (self.report.attempts, self.report.cost_nano);
        if projected.is_some() && attempts != (totals.attempts, totals.cost_nano) {
            self.fault(format!(
                "the ledger has {} attempts at {} nano-dollars, the log has {} at {}",
                totals.attempts, totals.cost_nano, attempts.0, attempts.1
            ));
        }
    }
}

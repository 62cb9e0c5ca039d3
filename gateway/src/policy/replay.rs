//! A recorded decision log against a candidate: which decisions would turn, for whom, and what they were worth.
//!
//! Start at [`Replay`]. Blocks of lines are judged by several threads, each with a [`tally`] of its own; [`line`] reads
//! one decision without making a document of it where that isn't needed, [`report`] tells what was found. A decision
//! that was judged before is remembered by exactly what the policies can read of it.

pub mod blocks;
mod judge;
mod line;
mod memory;
pub mod report;
mod tally;

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use regorus::Value;

use super::{Compiled, PolicyFault};
pub use blocks::Blocks;
pub use judge::{Judge, Told};
use line::Line;
pub use report::Report;
use tally::Tally;

/// Recorded inputs on which the fast machine must agree with the interpreter before it judges the rest.
const PROBES_MAX: usize = 128;

/// Whether decisions are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remember {
    /// By what the policies can read.
    Read,
    /// Each is evaluated anew.
    Nothing,
}

/// What a log is replayed against.
pub struct Replay {
    candidate: Judge,
    /// The recorded results without one.
    baseline: Option<Judge>,
    /// Paths of `input` that a judgement depends on; `None`: on more than that.
    reads: Option<BTreeSet<Vec<String>>>,
}

impl Replay {
    /// Against a candidate, compared with a baseline or with what was recorded.
    pub fn new(candidate: Judge, baseline: Option<Judge>, remember: Remember) -> Self {
        let mut reads = candidate.reads().cloned();
        if let Some(baseline) = &baseline {
            reads = reads.zip(baseline.reads()).map(|(all, more)| all.union(more).cloned().collect());
        }
        let reads = reads.filter(|_| remember == Remember::Read);
        Self { candidate, baseline, reads }
    }

    /// Judges every line of the blocks on so many threads. After each block `progress` is told decisions and bytes
    /// done.
    ///
    /// # Errors
    /// A file can't be read.
    pub fn run(&self, blocks: Blocks, threads: usize, progress: &(dyn Fn(u64, u64) + Sync)) -> io::Result<Report> {
        let blocks = Mutex::new(blocks);
        let done = Mutex::new((0_u64, 0_u64));
        let work = || {
            let mut tally = Tally::default();
            loop {
                // One thread reads while the others judge.
                let block = blocks.lock().next_block()?;
                let Some(block) = block else { return Ok(tally) };
                let before = tally.lines();
                self.block(&block, &mut tally);
                let mut done = done.lock();
                done.0 = done.0.saturating_add(tally.lines().saturating_sub(before));
                done.1 = done.1.saturating_add(u64::try_from(block.len()).unwrap_or(u64::MAX));
                progress(done.0, done.1);
            }
        };
        let tallies: Vec<io::Result<Tally>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
            let panicked = |_| Err(io::Error::other("a thread of the replay panicked"));
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect()
        });
        let mut all = Tally::default();
        for tally in tallies {
            all.add(tally?);
        }
        Ok(self.report(all))
    }

    /// Judges lines that are at hand, on this thread.
    pub fn lines(&self, lines: &[Arc<[u8]>]) -> Report {
        let mut tally = Tally::default();
        for line in lines {
            self.block(line, &mut tally);
        }
        self.report(tally)
    }

    fn report(&self, tally: Tally) -> Report {
        Report::new(tally, &self.candidate, self.baseline.as_ref())
    }

    fn block(&self, block: &[u8], tally: &mut Tally) {
        for line in block.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
            self.line(line, tally);
        }
    }

    fn line(&self, text: &[u8], tally: &mut Tally) {
        let Some(line) = Line::read(text) else { return tally.unreadable() };
        let Some(input) = line.input else { return tally.without_input() };
        let reads = self.reads.as_ref().filter(|_| tally.memory.is_useful());
        let key = reads.and_then(|reads| memory::key(input.get(), reads));
        let known = key.and_then(|key| tally.memory.get(&key));
        let (after, before) = match known {
            Some(known) => {
                tally.remembered();
                known
            }
            None => {
                let Ok(document) = Value::from_json_str(input.get()) else { return tally.unreadable() };
                let moment = line.moment(&document);
                let after = self.candidate.judge(document.clone(), moment);
                let before = self.baseline.as_ref().map(|baseline| baseline.judge(document, moment));
                if let Some(key) = key {
                    tally.memory.put(key, (after.clone(), before.clone()));
                }
                (after, before)
            }
        };
        let before = match before {
            Some(before) => before,
            None => match tally.recorded(&line, &self.candidate) {
                Some(before) => before,
                None => return tally.unreadable(),
            },
        };
        tally.judged(&line, &before, &after);
    }
}

/// Inputs of recorded lines, for the machine to be tried on.
pub fn probes(block: &[u8]) -> Vec<Value> {
    let lines = block.split(|byte| *byte == b'\n').filter_map(Line::read);
    lines.filter_map(|line| Value::from_json_str(line.input?.get()).ok()).take(PROBES_MAX).collect()
}

/// Why a candidate can't be judged with.
#[derive(Debug, thiserror::Error)]
pub enum ReplayFault {
    /// It doesn't compile.
    #[error(transparent)]
    Policy(#[from] PolicyFault),
    /// The log can't be read.
    #[error("the log can't be read")]
    Log(#[from] io::Error),
}

/// Which engine answers a policy.
fn engine(policy: &Compiled) -> String {
    policy.interpreted().map_or_else(|| "machine".to_owned(), |why| format!("interpreter: {why}"))
}

#[cfg(test)]
mod tests;

//! One call's right to be recorded: taken at its birth, used for its openings, given up with its closing.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::JournalError;
use super::entry::{Closing, Opening};
use super::frame::{self, Kind};
use super::replay;
use super::shared::{Entry, Shared};
use crate::clock;
use crate::config::settings::Durability;
use crate::exchange::{Attempt, Outcome};

/// A place in the journal's queue. A permit that is dropped without a closing closes its call as `failed` at the
/// held amounts if it was opened, and gives the place back if it was not.
#[derive(Debug)]
pub struct JournalPermit {
    /// `None` once the closing is handed over.
    shared: Option<Arc<Shared>>,
    openings: Vec<Opening>,
    opened_in: Option<u64>,
}

impl JournalPermit {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared: Some(shared), openings: Vec::new(), opened_in: None }
    }

    /// Appends an opening: once per attempt, before a byte leaves for the upstream. On an error nothing is in the
    /// file and the attempt must not be made. With [`Durability::Strict`] it waits for the next group sync.
    pub async fn open(&mut self, opening: &Opening) -> Result<(), JournalError> {
        let Some(shared) = self.shared.clone() else { return Err(JournalError::NotFlushed) };
        let mut bytes = Vec::with_capacity(640);
        frame::encode(&mut bytes, Kind::Opening, opening)?;
        let appended = self.append(&shared, &bytes)?;
        replay::keep(&mut self.openings, opening.clone());
        shared.setup.step("opening appended");
        shared.wake_if_idle();
        match shared.durability {
            Durability::Window => Ok(()),
            Durability::Strict => {
                let mut progress = shared.progress.subscribe();
                let done = progress.wait_for(|progress| progress.synced >= appended || progress.failed).await;
                if done.is_ok_and(|progress| progress.synced >= appended) {
                    return Ok(());
                }
                // The attempt is not made, so it is not charged either.
                self.openings.pop();
                Err(JournalError::NotSynced)
            }
        }
    }

    /// Appends what earlier attempts of the call came to, where that is not what was held for them.
    ///
    /// # Errors
    /// It can't be written.
    pub fn know(&mut self, ended: &[Attempt]) -> Result<(), JournalError> {
        let Some(shared) = self.shared.clone() else { return Err(JournalError::NotFlushed) };
        let mut bytes = Vec::new();
        for opening in &mut self.openings {
            let Some(attempt) = ended.iter().find(|attempt| attempt.attempt == opening.attempt) else { continue };
            let known = Opening {
                held_input_tokens: attempt.input_tokens,
                held_output_tokens: attempt.output_tokens,
                held_nano: attempt.cost_nano,
                ..opening.clone()
            };
            if known != *opening {
                frame::encode(&mut bytes, Kind::Opening, &known)?;
                *opening = known;
            }
        }
        if bytes.is_empty() { Ok(()) } else { self.append(&shared, &bytes).map(drop) }
    }

    /// Appends that the running attempt's hold has grown. It is in the kernel's hands when this returns; no sync is
    /// waited for, since all that a power loss could take is the last slice of a reply.
    ///
    /// # Errors
    /// It can't be written: the hold must not be used.
    pub fn grow(&mut self, output_tokens: u64, nano: i64) -> Result<(), JournalError> {
        let Some(shared) = self.shared.clone() else { return Err(JournalError::NotFlushed) };
        let Some(last) = self.openings.last_mut() else { return Err(JournalError::NotFlushed) };
        let grown = Opening { held_output_tokens: output_tokens, held_nano: nano, ..last.clone() };
        let mut bytes = Vec::with_capacity(640);
        frame::encode(&mut bytes, Kind::Opening, &grown)?;
        *last = grown;
        self.append(&shared, &bytes)?;
        shared.wake_if_idle();
        Ok(())
    }

    /// Returns the number of the append.
    fn append(&mut self, shared: &Shared, bytes: &[u8]) -> Result<u64, JournalError> {
        let mut tail = shared.tail.lock();
        if let Err(source) = tail.append(bytes) {
            shared.failing.store(true, Ordering::Release);
            drop(tail);
            shared.wake_if_idle();
            return Err(JournalError::Io { path: super::JOURNAL_FOLDER.into(), verb: "written", source });
        }
        if self.opened_in.is_none() {
            self.opened_in = Some(tail.count_opening());
        }
        Ok(tail.appended)
    }

    /// Hands the closing over. Never waits, never fails; the writer keeps it until it is on the disk.
    pub fn close(mut self, closing: Closing) {
        self.hand(closing);
    }

    fn hand(&mut self, closing: Closing) {
        if let Some(shared) = self.shared.take() {
            shared.hand(Entry::Call(closing), self.opened_in);
        }
    }
}

impl Drop for JournalPermit {
    fn drop(&mut self) {
        if self.shared.is_none() {
            return;
        }
        let openings = std::mem::take(&mut self.openings);
        match replay::closing_of(openings, clock::unix_ms(), Outcome::Failed, "not_settled") {
            Some(closing) => self.hand(closing),
            None => {
                if let Some(shared) = self.shared.take() {
                    shared.give_places(1);
                }
            }
        }
    }
}

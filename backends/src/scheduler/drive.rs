//! The thread that turns the scheduler, and the async side's handle to it.
//!
//! Executors are synchronous, so the scheduler has a thread of its own; all that reaches it comes through one bounded
//! channel. When the thread ends, for whatever reason, every [`Reading`] ends without a finish and every later request
//! is told [`EngineGone`]: the process is then of no use and should exit.

use super::call::event_channel;
use super::{PageCounts, Progress, Refused, Scheduler};
use crate::clock;
use crate::core::{Ask, Event};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Commands that may wait for the scheduler's thread; more are refused as busy.
const COMMANDS_MAX: usize = 256;
/// Commands taken between two steps.
const COMMANDS_PER_STEP: usize = 64;
/// How often blocked choices are looked at again: their reader may have caught up, their pause may be over.
const BLOCKED_POLL: Duration = Duration::from_millis(5);

/// The scheduler's thread has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the engine has stopped")]
pub struct EngineGone;

/// Why a call did not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The scheduler refused it.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// There is no scheduler any more.
    #[error(transparent)]
    Gone(#[from] EngineGone),
}

enum Command {
    Submit {
        ask: Ask,
        id: Option<String>,
        events: mpsc::Sender<Event>,
        reply: oneshot::Sender<Result<(), Refused>>,
    },
    Renew {
        id: String,
        tokens_total: u64,
        is_last: bool,
        reply: oneshot::Sender<bool>,
    },
    Abort {
        id: String,
        reply: oneshot::Sender<bool>,
    },
    Look {
        reply: oneshot::Sender<PageCounts>,
    },
    /// A reader went away: look, even if there is nothing else to do.
    Wake,
}

/// The async side's handle; the scheduler's thread ends with the last one.
#[derive(Debug, Clone)]
pub struct Engine {
    commands: SyncSender<Command>,
}

/// The events of one call. Dropping it hangs up: the call's pages are freed before the next step.
#[derive(Debug)]
pub struct Reading {
    events: mpsc::Receiver<Event>,
    commands: SyncSender<Command>,
}

impl Reading {
    /// The next event; `None` when the call is over or the engine is gone.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// Waits for at least one event and takes all that are ready, at most `max`. `false` when nothing more comes.
    pub async fn next_all(&mut self, into: &mut Vec<Event>, max: usize) -> bool {
        self.events.recv_many(into, max).await > 0
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.events.close();
        // A full channel means that the thread is about to look anyway; a closed one that nothing is left to free.
        self.commands.try_send(Command::Wake).ok();
    }
}

impl Engine {
    /// Starts the scheduler's thread.
    ///
    /// # Errors
    /// The system gave no thread.
    pub fn start(scheduler: Scheduler) -> std::io::Result<(Self, std::thread::JoinHandle<()>)> {
        let (commands, inbox) = sync_channel(COMMANDS_MAX);
        let thread = std::thread::Builder::new().name("scheduler".into()).spawn(move || turn(scheduler, &inbox))?;
        Ok((Self { commands }, thread))
    }

    /// Hands a call in.
    ///
    /// # Errors
    /// [`SubmitError`] when it was refused or the engine is gone.
    pub async fn submit(&self, ask: Ask, id: Option<String>) -> Result<Reading, SubmitError> {
        let (events, receiver) = event_channel(ask.prompts.len().saturating_mul(ask.choices));
        let reading = Reading { events: receiver, commands: self.commands.clone() };
        let (reply, answer) = oneshot::channel();
        match self.commands.try_send(Command::Submit { ask, id, events, reply }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(Refused::Full.into()),
            Err(TrySendError::Disconnected(_)) => return Err(EngineGone.into()),
        }
        answer.await.map_err(|_| EngineGone)??;
        Ok(reading)
    }

    /// Sets a call's allowance. `false` when no such call lives.
    ///
    /// # Errors
    /// [`SubmitError`] when the engine is busy or gone.
    pub async fn renew(&self, id: String, tokens_total: u64, is_last: bool) -> Result<bool, SubmitError> {
        self.ask(|reply| Command::Renew { id, tokens_total, is_last, reply }).await
    }

    /// Ends a call. `false` when no such call lives.
    ///
    /// # Errors
    /// [`SubmitError`] when the engine is busy or gone.
    pub async fn abort(&self, id: String) -> Result<bool, SubmitError> {
        self.ask(|reply| Command::Abort { id, reply }).await
    }

    /// Who owns how many pages, after the step that runs now.
    ///
    /// # Errors
    /// [`SubmitError`] when the engine is busy or gone.
    pub async fn pages(&self) -> Result<PageCounts, SubmitError> {
        self.ask(|reply| Command::Look { reply }).await
    }

    /// Whether the scheduler's thread lives.
    pub fn is_alive(&self) -> bool {
        !matches!(self.commands.try_send(Command::Wake), Err(TrySendError::Disconnected(_)))
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, SubmitError> {
        let (reply, answer) = oneshot::channel();
        match self.commands.try_send(command(reply)) {
            Ok(()) => Ok(answer.await.map_err(|_| EngineGone)?),
            Err(TrySendError::Full(_)) => Err(Refused::Full.into()),
            Err(TrySendError::Disconnected(_)) => Err(EngineGone.into()),
        }
    }
}

/// The thread: commands, a step, and so on until the last handle is gone.
fn turn(mut scheduler: Scheduler, inbox: &Receiver<Command>) {
    let mut progress = Progress::Idle;
    loop {
        let first = match progress {
            Progress::Stepped => inbox.try_recv().ok(),
            Progress::Blocked => match inbox.recv_timeout(BLOCKED_POLL) {
                Ok(command) => Some(command),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            },
            Progress::Idle => match inbox.recv() {
                Ok(command) => Some(command),
                Err(_) => return,
            },
        };
        let rest = std::iter::from_fn(|| inbox.try_recv().ok()).take(COMMANDS_PER_STEP);
        for command in first.into_iter().chain(rest) {
            obey(&mut scheduler, command);
        }
        progress = scheduler.step(&clock::instant);
    }
}

/// Does what was asked. An asker that did not wait for its reply has hung up, which needs no reply.
fn obey(scheduler: &mut Scheduler, command: Command) {
    match command {
        Command::Submit { ask, id, events, reply } => {
            reply.send(scheduler.submit(&ask, id, events, clock::instant())).ok();
        }
        Command::Renew { id, tokens_total, is_last, reply } => {
            reply.send(scheduler.renew(&id, tokens_total, is_last)).ok();
        }
        Command::Abort { id, reply } => {
            reply.send(scheduler.abort(&id, clock::instant())).ok();
        }
        Command::Look { reply } => {
            reply.send(scheduler.pages()).ok();
        }
        Command::Wake => {}
    }
}

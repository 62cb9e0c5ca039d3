//! Watches while Weir waits: the client may go away, its key may be revoked, and it must not hear silence for long.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::{Client, Talk};
use crate::bounds::REVISION_POLL_MS;
use crate::clock;
use crate::exchange::Outcome;
use crate::identity::caller;

/// Why a wait was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The client went away.
    HungUp,
    /// The key no longer counts.
    Revoked,
}

impl Cut {
    /// The outcome that it means for an attempt.
    pub fn outcome(self) -> Outcome {
        match self {
            Cut::HungUp => Outcome::HungUp,
            Cut::Revoked => Outcome::Revoked,
        }
    }

    /// Its reason code.
    pub fn reason(self) -> &'static str {
        match self {
            Cut::HungUp => "client_hung_up",
            Cut::Revoked => "key_revoked",
        }
    }
}

/// The watch over one wait after another.
pub struct Vigil<'a> {
    talk: &'a Talk<'a>,
    tick: Interval,
    looked: Instant,
    heartbeat: Option<Duration>,
}

impl<'a> Vigil<'a> {
    /// A watch that sends no heartbeats: no head of a reply is known yet.
    pub fn new(talk: &'a Talk<'a>) -> Self {
        let mut tick = interval(Duration::from_millis(REVISION_POLL_MS));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.reset();
        Self { talk, tick, looked: clock::instant(), heartbeat: None }
    }

    /// A watch over a stream, which must not fall silent towards the client.
    pub fn over_stream(talk: &'a Talk<'a>) -> Self {
        Self { heartbeat: Some(talk.world.settings.stream.heartbeat), ..Self::new(talk) }
    }

    /// Waits for `work`, unless the client goes away or its key is revoked first; then `work` is dropped.
    pub async fn guard<T>(&mut self, client: &mut Client<'_>, work: impl Future<Output = T>) -> Result<T, Cut> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                () = client.gone() => return Err(Cut::HungUp),
                _ = self.tick.tick() => {}
            }
            self.look(client).await?;
        }
    }

    /// Looks as [`Vigil::guard`] does where nothing ever had to be waited for.
    pub async fn keep(&mut self, client: &mut Client<'_>, now: Instant) -> Result<(), Cut> {
        match now.saturating_duration_since(self.looked) >= Duration::from_millis(REVISION_POLL_MS) {
            true => self.look(client).await,
            false => Ok(()),
        }
    }

    /// Waits for a write to the client, unless its key is revoked first; that the client goes away ends a write too.
    pub async fn guard_write<T>(&mut self, write: impl Future<Output = T>) -> Result<T, Cut> {
        tokio::pin!(write);
        loop {
            tokio::select! {
                biased;
                done = &mut write => return Ok(done),
                _ = self.tick.tick() => self.live()?,
            }
        }
    }

    fn live(&self) -> Result<(), Cut> {
        match caller::is_live(self.talk.running, self.talk.subject, clock::unix_ms()) {
            true => Ok(()),
            false => Err(Cut::Revoked),
        }
    }

    async fn look(&mut self, client: &mut Client<'_>) -> Result<(), Cut> {
        self.looked = clock::instant();
        self.live()?;
        let Some(heartbeat) = self.heartbeat else { return Ok(()) };
        if client.silent_for(clock::instant()) < heartbeat {
            return Ok(());
        }
        // Only whole events are ever written, so a comment here can't split one.
        let beat = async {
            client.begin_stream().await?;
            client.write(Bytes::from_static(b": keep-alive\n\n")).await
        };
        beat.await.map_err(|_| Cut::HungUp)
    }
}

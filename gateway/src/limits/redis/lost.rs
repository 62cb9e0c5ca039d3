//! What this gateway's earlier runs left in Redis: holds that nobody settled because the process was killed, and
//! settlements whose closings the journal lost with it. Each is settled at what the call's rows in the ledger say; a
//! call without a row never reached an upstream (an opening is written before a byte leaves), and used nothing.
//!
//! Told once at start, again and again until Redis knows. Telling it twice changes nothing. A hold of a gateway that
//! never comes back stays charged at what was held, since nobody can know better; its place among running calls is free
//! and its part of a rate has become a use [`crate::limits::HOLD_TTL`] after its last renewal.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::lease::is_lease;
use super::link::Away;
use super::{Failed, Shared};
use crate::exchange::CallId;
use crate::limits::counter::{NotGranted, UsedBy};
use crate::telemetry::metric::limits as metric;

/// Holds that are looked up together.
const BATCH: usize = 64;
/// The pause after a failure, at first and at most.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// What an earlier run may have left.
pub(super) struct Lost {
    /// Tells what a call used.
    pub(super) ledger: Arc<dyn UsedBy>,
    /// Calls that the journal found open, with their organisations.
    pub(super) interrupted: Vec<(Arc<str>, CallId)>,
}

/// What became of a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It was settled at what the ledger says.
    Settled,
    /// Redis knows nothing of it any more.
    Unknown,
}

impl Lost {
    /// Tells Redis, until it knows.
    pub(super) async fn tell(self, shared: &Shared) {
        let mut pause = PAUSE_MIN;
        loop {
            match self.try_all(shared).await {
                Ok(0) => return,
                Ok(settled) => {
                    tracing::info!(settled, "holds of the last run are settled at what the ledger says");
                    return;
                }
                Err(Failed::Away(away)) => tracing::debug!(why = away.code(), "the last run's holds wait for Redis"),
                Err(Failed::Not(why)) => tracing::warn!(%why, "the last run's holds wait for the ledger"),
            }
            shared.link.answers().await;
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(PAUSE_MAX);
        }
    }

    async fn try_all(&self, shared: &Shared) -> Result<u64, Failed> {
        let (mut settled, mut done) = (0_u64, HashSet::new());
        for org in shared.orgs().await? {
            let mut cursor = "0".to_owned();
            loop {
                let mut found = shared.live_of(&org, &cursor).await?.into_iter();
                cursor = found.next().unwrap_or_else(|| "0".to_owned());
                let members: Vec<String> = found.filter(|member| !shared.is_own(member)).collect();
                done.extend(members.iter().filter_map(|member| call_of(member)));
                for batch in members.chunks(BATCH) {
                    let ends = join_all(batch.iter().map(|member| self.end_member(shared, &org, member))).await;
                    settled = settled.saturating_add(count(ends)?);
                }
                if cursor == "0" {
                    break;
                }
            }
        }
        // Settled already, as Redis was told before the journal could be.
        let told: Vec<_> = self.interrupted.iter().filter(|(_, call)| !done.contains(call)).collect();
        for batch in told.chunks(BATCH) {
            let ends = join_all(batch.iter().map(|(org, call)| self.end(shared, org, *call, ""))).await;
            settled = settled.saturating_add(count(ends)?);
        }
        Ok(settled)
    }

    /// A hold that Redis names as one of this gateway's. A lease stays charged: nobody knows what calls drew from it.
    async fn end_member(&self, shared: &Shared, org: &str, member: &str) -> Result<End, Failed> {
        let end = match call_of(member).filter(|call| !is_lease(call.0)) {
            Some(call) => self.end(shared, org, call, member).await?,
            None => End::Unknown,
        };
        if end == End::Unknown {
            shared.forget(org, member).await?;
        }
        Ok(end)
    }

    async fn end(&self, shared: &Shared, org: &str, call: CallId, member: &str) -> Result<End, Failed> {
        let Some(lines) = shared.kept_lines(org, call).await? else { return Ok(End::Unknown) };
        let used = self.ledger.used_by(call).await.map_err(Failed::Not)?;
        shared.end(org, call, member, &lines, &used).await?;
        metric::recovered(used.requests > 0);
        Ok(End::Settled)
    }
}

/// The call, or the lease, of a gateway's hold.
fn call_of(member: &str) -> Option<CallId> {
    uuid::Uuid::try_parse(member.rsplit(' ').next()?).ok().map(CallId)
}

fn count(ends: Vec<Result<End, Failed>>) -> Result<u64, Failed> {
    let mut settled = 0_u64;
    for end in ends {
        settled = settled.saturating_add(u64::from(end? == End::Settled));
    }
    Ok(settled)
}

/// Where a question to the ledger fails, a call is not settled at a guess.
impl From<NotGranted> for Failed {
    fn from(not: NotGranted) -> Self {
        Failed::Not(not)
    }
}

impl Shared {
    /// Whether the hold was taken by this very process.
    fn is_own(&self, member: &str) -> bool {
        member.starts_with(&*self.start)
    }

    /// The organisations whose calls this gateway ever counted here.
    async fn orgs(&self) -> Result<Vec<String>, Away> {
        self.link.ask(&self.scripts.orgs(self.place())).await
    }

    /// Names the organisation as one whose calls are counted here; before its first hold.
    pub(super) async fn enlist(&self, org: &str) -> Result<(), Away> {
        self.link.ask(&self.scripts.enlist(self.place(), org)).await.map(drop)
    }

    /// Some of the organisation's holds that this gateway's runs took and did not settle; first the cursor of the next.
    async fn live_of(&self, org: &str, cursor: &str) -> Result<Vec<String>, Away> {
        self.link.ask(&self.scripts.live(self.place(), org, cursor)).await
    }

    async fn forget(&self, org: &str, member: &str) -> Result<(), Away> {
        self.link.ask(&self.scripts.forget(self.place(), org, member)).await.map(drop)
    }

    /// The lines of a hold, as the scripts were told them.
    async fn kept_lines(&self, org: &str, call: CallId) -> Result<Option<Vec<String>>, Away> {
        let words = self.link.ask(&self.scripts.kept(self.place(), org, call)).await?;
        let Some(text) = words.first() else { return Ok(None) };
        serde_json::from_str(text).map(Some).map_err(|_unread| Away::Strange)
    }
}

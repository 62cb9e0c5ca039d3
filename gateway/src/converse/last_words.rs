//! What an upstream still says after nobody listens: the books want its count, not its text.
//!
//! The own engine is told to stop and then states its exact count. A provider bills what it made until it noticed; it
//! is heard out only as long and as far as the configuration says, since whatever it goes on making costs money.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{sleep, timeout};

use super::{Talk, stream, whole};
use crate::config::settings::{DeploymentRule, Provider};
use crate::exchange::Books;
use crate::providers::{CallFault, Reply, control};

/// How long the engine may take to end an aborted call: it looks for aborts between two steps of its batch.
const ENGINE_WAIT: Duration = Duration::from_secs(5);
/// Pause before an engine that doesn't know the call yet is told again.
const AGAIN: Duration = Duration::from_millis(20);

/// Whether the reply is at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// More may come.
    Part,
    /// This was the last of it.
    All,
}

/// The head of a reply that nobody waits for any more, where the own engine sends one.
pub(super) async fn head(
    talk: &Talk<'_>,
    deployment: &DeploymentRule,
    sending: Pin<&mut impl Future<Output = Result<Reply, CallFault>>>,
) -> Option<Reply> {
    match deployment.provider {
        Provider::Engine => {}
        Provider::OpenAi | Provider::Anthropic => return None,
    }
    let waiting = async {
        tokio::select! {
            reply = sending => reply.ok(),
            () = stop(talk, deployment) => None,
        }
    };
    timeout(ENGINE_WAIT, waiting).await.ok().flatten()
}

/// Tells the engine to end the call, until it knows of it; then waits for ever.
async fn stop(talk: &Talk<'_>, deployment: &DeploymentRule) {
    while !matches!(control::abort(&talk.running.transport, deployment, talk.call).await, Ok(true)) {
        sleep(AGAIN).await;
    }
    std::future::pending().await
}

/// A reply whose head came when nobody waited for it any more.
pub(super) async fn unheard(talk: &Talk<'_>, books: &mut Books, reply: Option<Reply>) {
    let Some(reply) = reply else { return };
    let status = reply.head().map_or(0, |head| head.status.as_u16());
    books.replied(status);
    match (status, talk.envelope.stream) {
        (200..300, true) => stream::unheard(talk, books, reply).await,
        (200..300, false) => whole::unheard(talk, books, reply).await,
        _ => books.not_reached(),
    }
}

/// Hears the rest of a reply, chunk by chunk through `hear`, as long as it is worth it; `None` is its proper end.
pub(super) async fn rest(
    talk: &Talk<'_>,
    books: &mut Books,
    mut reply: Reply,
    mut hear: impl FnMut(Option<Bytes>, &mut Books) -> Heard,
) {
    let Some(deployment) = books.live.as_ref().map(|live| live.deployment.clone()) else { return };
    let settings = talk.world.settings.stream;
    let (wait, most) = match deployment.provider {
        Provider::Engine => (ENGINE_WAIT, u64::MAX),
        Provider::OpenAi | Provider::Anthropic => (settings.drain, settings.drain_tokens),
    };
    if wait.is_zero() {
        return;
    }
    let before = said(books);
    let hearing = async {
        loop {
            match reply.chunk().await {
                Ok(Some(chunk)) => {
                    if hear(Some(chunk), books) == Heard::All {
                        return true;
                    }
                    if said(books).saturating_sub(before) >= most {
                        return false;
                    }
                }
                Ok(None) => return hear(None, books) == Heard::All,
                Err(_) => return false,
            }
        }
    };
    let ended = async {
        match deployment.provider {
            Provider::Engine => tokio::select! {
                ended = hearing => ended,
                () = stop(talk, &deployment) => false,
            },
            Provider::OpenAi | Provider::Anthropic => hearing.await,
        }
    };
    let ended = timeout(wait, ended).await.unwrap_or(false);
    if let Some(live) = books.live.as_mut() {
        live.meter.is_cut_short = !ended;
    }
}

fn said(books: &Books) -> u64 {
    books.live.as_ref().map_or(0, |live| live.meter.events)
}

//! Puts every change of a key on the audit log, whoever made it: the admin API, `weir key` beside a running gateway, or
//! `weir key` while none ran. A change is taken out of the store only once its note is on the disk: after a crash
//! between the two it may be noted twice, with the same `number`, and never not at all.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::audit::AuditNote;
use crate::running::Running;
use crate::store::key_events::KeyEvent;
use crate::{clock, journal};

/// Time between two looks at the store.
const POLL: Duration = Duration::from_millis(500);
/// Longest wait for the notes to reach the disk; the next look tries again.
const WRITTEN_MAX: Duration = Duration::from_secs(5);

/// Notes every change of a key until `stop` turns true. A task of its own: a slow disk must not delay revocation.
pub async fn watch(running: Arc<Running>, mut stop: watch::Receiver<bool>) {
    let mut tick = tokio::time::interval(POLL);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        note_changes(&running).await;
    }
}

async fn note_changes(running: &Running) {
    let taken = match running.store.key_events_take().await {
        Ok(Some(taken)) => taken,
        Ok(None) => return,
        Err(error) => {
            tracing::error!(%error, "the changes of keys could not be read");
            return;
        }
    };
    for event in &taken.events {
        // A full journal refuses calls already, and says so; the next look tries again.
        if running.journal.note(note_of(event)).is_err() {
            return;
        }
    }
    if running.journal.flush(WRITTEN_MAX).await.is_err() {
        return;
    }
    if let Err(error) = taken.noted().await {
        tracing::error!(%error, "noted changes of keys could not be taken out of the store");
    }
}

fn note_of(event: &KeyEvent) -> AuditNote {
    let note =
        journal::note(&event.event, clock::unix_ms()).with("tenant", &event.tenant).with("number", &event.number);
    // A change of a tenant is no key's; one of a directory is a user's or a group's.
    let note = match (event.key.as_str(), is_of_no_key(&event.event)) {
        ("", _) => note,
        (id, true) => note.with("resource", &id),
        (id, false) => note.with("key", &id),
    };
    match event.at_ms {
        Some(at_ms) => note.with("changed_ms", &at_ms),
        None => note,
    }
}

/// Whether an event is about something with a name of its own: a user or a group, a statement, a budget, corrections.
fn is_of_no_key(event: &str) -> bool {
    ["directory_", "statement_", "budget_", "usage_"].iter().any(|begin| event.starts_with(begin))
}

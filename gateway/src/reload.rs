//! Reload on SIGHUP and on a change of the files: a whole new World, or nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::config::watch::ConfigWatch;
use crate::config::{self, Faults};
use crate::identity::pepper::WrongPepper;
use crate::policy::pushed::PushFault;
use crate::running::Running;
use crate::store::StoreError;
use crate::telemetry::metric;
use crate::world::{World, WorldFault};
use crate::{clock, journal};

/// Why a new configuration is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ReloadFault {
    /// The file is wrong.
    #[error("{0}")]
    Config(#[from] Faults),
    /// Policy or prices are wrong.
    #[error(transparent)]
    World(#[from] WorldFault),
    /// The pepper is another than the stored keys were made with.
    #[error(transparent)]
    Pepper(#[from] WrongPepper),
    /// The store can't say which pepper that was.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It changes what only a restart can change.
    #[error("needs a restart: {}", .0.join(", "))]
    Restart(Vec<&'static str>),
}

/// Reloads whenever the configuration changes or SIGHUP comes, until `stop` turns true.
pub async fn watch(file: PathBuf, named: Vec<PathBuf>, running: Arc<Running>, mut stop: watch::Receiver<bool>) {
    let mut files = ConfigWatch::new(&file, named);
    let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
    loop {
        tokio::select! {
            () = files.next() => {}
            _ = hangup.recv() => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        match reload(&file, &running).await {
            Ok((revision, watched)) => {
                files.names(watched);
                metrics::counter!(metric::RELOADS, "result" => "taken").increment(1);
                tracing::info!(revision, "configuration reloaded");
                let note = journal::note("config_reloaded", clock::unix_ms()).with("revision", &revision);
                // A full journal refuses calls already, and says so.
                running.journal.note(note).unwrap_or(());
            }
            Err(fault) => {
                metrics::counter!(metric::RELOADS, "result" => "refused").increment(1);
                tracing::error!(%fault, "the new configuration is refused, the old one stays");
                let note = journal::note("config_refused", clock::unix_ms()).with("fault", &fault);
                running.journal.note(note).unwrap_or(());
            }
        }
    }
}

/// Builds the World that the file says now and swaps it in.
///
/// # Errors
/// Nothing has changed then.
pub async fn reload(file: &std::path::Path, running: &Running) -> Result<(u64, Vec<PathBuf>), ReloadFault> {
    let loaded = config::load(file)?;
    let old = running.world.load_full();
    let restart = config::needs_restart(&old.settings, &loaded.settings);
    if !restart.is_empty() {
        return Err(ReloadFault::Restart(restart));
    }
    let pushed = running.pushed.lock().await;
    let world = World::build(loaded.settings, &pushed, next_revision(running))?;
    // With another pepper every key would be wrong from now on.
    world.peppers.check(&running.store.pepper_fingerprints().await?)?;
    Ok((swap_in(running, world), loaded.watched))
}

/// Why pushed data is not taken.
#[derive(Debug, thiserror::Error)]
pub enum PushRefused {
    /// It can't be there, or not be kept.
    #[error(transparent)]
    Push(#[from] PushFault),
    /// The policy can't stand with it.
    #[error(transparent)]
    World(#[from] WorldFault),
}

/// Sets data at a path of the operator's own policy, or removes it, and swaps in a World that knows it. Gives its
/// revision, and whether there was something at that path.
///
/// # Errors
/// Nothing has changed then.
pub async fn push(path: &str, value: Option<Value>, running: &Running) -> Result<(u64, bool), PushRefused> {
    let mut pushed = running.pushed.lock().await;
    let (next, had) = pushed.with(path, value)?;
    let old = running.world.load_full();
    let world = World::build(old.settings.clone(), &next, next_revision(running))?;
    next.write(&old.settings.data).map_err(PushFault::from)?;
    *pushed = next;
    Ok((swap_in(running, world), had))
}

fn next_revision(running: &Running) -> u64 {
    running.revisions.fetch_add(1, Ordering::Relaxed).saturating_add(1)
}

/// Called with `running.pushed` held, so that no other World comes between.
fn swap_in(running: &Running, mut world: World) -> u64 {
    let revision = world.revision;
    world.limits.follow(running.keyring.limits());
    // Last: nothing can fail any more, and from here on new revisions of bundles go to the new World.
    world.bundles = running.bundles.follow(&world.settings.bundles, clock::unix_ms());
    running.world.store(Arc::new(world));
    revision
}

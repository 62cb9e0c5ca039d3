//! The own engine as a child process: started, watched, restarted with bounded back-off, never given a secret.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::clock;
use crate::config::settings::EngineSettings;
use crate::running::Running;
use crate::telemetry::metric;

/// First wait before a restart; doubled with each failure in a row.
const BACKOFF_MIN: Duration = Duration::from_millis(200);
/// Longest wait before a restart.
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// An engine that ran this long is forgiven its earlier failures.
const STABLE: Duration = Duration::from_secs(30);
/// Exit status of an engine whose arguments or model can't work (sysexits `EX_CONFIG`).
const EX_CONFIG: i32 = 78;

/// Why the engine can't be run.
#[derive(Debug, thiserror::Error)]
pub enum EngineFault {
    /// No such program.
    #[error("the engine `{0}` could not be started: {1}")]
    Start(PathBuf, std::io::Error),
    /// It says that its own settings are wrong.
    #[error("the engine refused its settings: {0}")]
    Settings(String),
}

/// Runs the engine until `stop` turns true. The first readiness is told through `ready`.
///
/// # Errors
/// Where starting again can't help: no program, or a model that can't be read.
pub async fn supervise(
    settings: &EngineSettings,
    running: &Arc<Running>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), EngineFault> {
    let mut backoff = BACKOFF_MIN;
    // Once it was ready, a start that fails is an accident to recover from: other deployments go on serving meanwhile.
    let mut was_ready = false;
    loop {
        let begun = clock::instant();
        metrics::counter!(metric::ENGINE_STARTS).increment(1);
        let mut child = match spawn(settings) {
            Ok(child) => child,
            Err(fault) if was_ready => {
                tracing::error!(%fault, "trying again");
                tokio::select! {
                    () = tokio::time::sleep(BACKOFF_MAX) => continue,
                    () = stopped(&mut stop) => return Ok(()),
                }
            }
            Err(fault) => return Err(fault),
        };
        let pid = child.id().unwrap_or(0);
        // Held here, since waiting for a child closes its stdin; the engine ends when this does.
        let stdin = child.stdin.take();
        tracing::info!(pid, "engine started");
        let ended = tokio::select! {
            ended = watch_child(&mut child, running) => ended,
            () = stopped(&mut stop) => {
                // Closing its stdin asks it to end; the handle kills it if it does not.
                drop(stdin);
                tokio::time::timeout(Duration::from_secs(3), child.wait()).await.ok();
                return Ok(());
            }
        };
        was_ready |= running.engine_ready.swap(false, Ordering::Relaxed);
        if ended.code == Some(EX_CONFIG) && !was_ready {
            return Err(EngineFault::Settings(ended.last_words));
        }
        tracing::warn!(pid, code = ended.code, last_words = ended.last_words, "engine ended, starting it again");
        if clock::instant().saturating_duration_since(begun) > STABLE {
            backoff = BACKOFF_MIN;
        }
        tokio::select! {
            () = tokio::time::sleep(backoff) => backoff = backoff.saturating_mul(2).min(BACKOFF_MAX),
            () = stopped(&mut stop) => return Ok(()),
        }
    }
}

/// Resolves when `stop` turned true (or nobody can turn it any more).
async fn stopped(stop: &mut watch::Receiver<bool>) {
    stop.wait_for(|stop| *stop).await.ok();
}

/// How an engine ended.
struct Ended {
    code: Option<i32>,
    last_words: String,
}

async fn watch_child(child: &mut Child, running: &Running) -> Ended {
    let stdout = child.stdout.take();
    let stderr = child.stderr.take();
    let announce = async {
        let Some(stdout) = stdout else { return };
        let mut lines = BufReader::new(stdout).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if line.starts_with("ready") {
                running.engine_ready.store(true, Ordering::Relaxed);
                tracing::info!(line, "engine ready");
            }
        }
    };
    let listen = async {
        let mut last = String::new();
        let Some(stderr) = stderr else { return last };
        let mut lines = BufReader::new(stderr).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            tracing::info!(target: "weir_engine", "{line}");
            last = line;
        }
        last
    };
    let ((), last_words, status) = tokio::join!(announce, listen, child.wait());
    Ended { code: status.ok().and_then(|status| status.code()), last_words }
}

fn spawn(settings: &EngineSettings) -> Result<Child, EngineFault> {
    let binary = settings.binary.clone().unwrap_or_else(beside_me);
    let mut command = Command::new(&binary);
    match &settings.model {
        Some(model) => command.arg("--model").arg(model),
        None => command.args(["--executor", "scripted"]),
    };
    command
        .arg("--socket")
        .arg(&settings.socket)
        .args(["--name", &settings.name, "--exit-with-stdin"])
        .args(&settings.args)
        // The child inherits nothing: no secret of the gateway stands in its environment.
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    if settings.threads > 0 {
        command.args(["--threads", &settings.threads.to_string()]);
    }
    command.spawn().map_err(|error| EngineFault::Start(binary, error))
}

/// `weir-engine` in the folder of this program.
fn beside_me() -> PathBuf {
    let me = std::env::current_exe().ok();
    let folder = me.as_deref().and_then(Path::parent).map(Path::to_path_buf).unwrap_or_default();
    folder.join("weir-engine")
}

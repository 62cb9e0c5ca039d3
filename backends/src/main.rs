//! `weir-engine`: flags → model → scheduler → doors.
//!
//! Exit codes: 0 asked to stop, 70 the scheduler died, 78 a setting or the model is not usable (never to be retried).
//! With `--exit-with-stdin` the process ends when its standard input closes: the supervisor holds the other end.

use anyhow::Context;
use clap::Parser;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use weir_engine::executor::cpu::CpuOptions;
use weir_engine::executor::scripted::{Script, ScriptedExecutor, ScriptedLanguage, ScriptedOptions};
use weir_engine::executor::{Executor, ExecutorSpec};
use weir_engine::language::Language;
use weir_engine::metrics::Meters;
use weir_engine::scheduler::{Engine, Scheduler};
use weir_engine::server::secret::Secret;
use weir_engine::server::{Served, listen, router};

/// A setting or the model is not usable (EX_CONFIG).
const EXIT_CONFIG: u8 = 78;
/// The engine failed by itself (EX_SOFTWARE).
const EXIT_SOFTWARE: u8 = 70;
/// How long running answers may take to finish after the process was asked to stop.
const DRAIN: Duration = Duration::from_secs(10);
/// Threads that read requests and write answers; the arithmetic has its own.
const SERVER_THREADS: usize = 2;
/// How long error events may take to leave when the scheduler died.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// Weir's inference engine: serves one model on a Unix socket.
#[derive(Parser)]
#[command(name = "weir-engine", version)]
struct Flags {
    /// A GGUF file, or a folder with safetensors, config.json and tokenizer.json
    #[arg(long, required_unless_present = "executor", conflicts_with = "executor")]
    model: Option<PathBuf>,
    /// Serve without a model: `scripted` plays a text over real pages
    #[arg(long)]
    executor: Option<Kind>,
    /// The Unix socket; its folder is made with mode 0700 and refused if others may enter it
    #[arg(long)]
    socket: PathBuf,
    /// Also listen on this TCP address; needs a secret
    #[arg(long, requires = "secret")]
    tcp: Option<SocketAddr>,
    /// The bearer secret of the TCP door, as file:PATH or env:NAME
    #[arg(long, requires = "tcp")]
    secret: Option<String>,
    /// The model's name in requests, instead of its own
    #[arg(long)]
    name: Option<String>,
    /// Compute threads; all processors by default
    #[arg(long)]
    threads: Option<usize>,
    /// KV pages of 16 tokens, shared by all calls
    #[arg(long)]
    kv_pages: Option<usize>,
    /// Positions of one choice; the model's own by default
    #[arg(long)]
    context_tokens: Option<usize>,
    /// Tokens of one step over all calls
    #[arg(long)]
    batch_tokens: Option<usize>,
    /// scripted: what it says
    #[arg(long, default_value = "words")]
    script: Script,
    /// scripted: tokens after which an answer ends by itself
    #[arg(long, default_value_t = 256)]
    script_tokens: usize,
    /// scripted: milliseconds of one step
    #[arg(long, default_value_t = 0)]
    step_delay_ms: u64,
    /// Exit when standard input closes
    #[arg(long)]
    exit_with_stdin: bool,
}

/// Executors that need no model.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Kind {
    Scripted,
}

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    let flags = Flags::parse();
    match start(&flags) {
        Ok(code) => code,
        Err(error) => {
            // Libraries put backtraces into their messages; the operator gets the one line that says what is wrong.
            let told = format!("{error:#}");
            eprintln!("weir-engine: {}", told.lines().next().unwrap_or_default());
            ExitCode::from(EXIT_CONFIG)
        }
    }
}

fn start(flags: &Flags) -> anyhow::Result<ExitCode> {
    let secret = flags.secret.as_deref().map(Secret::read).transpose()?;
    let (executor, language) = load(flags)?;
    let spec = executor.spec().clone();
    let meters = Meters::new(&spec.model_name).context("the metrics can't be set up")?;
    let metrics = meters.handle();
    let scheduler = Scheduler::new(executor, language.clone(), meters);
    let (engine, thread) = Engine::start(scheduler).context("no thread for the scheduler")?;
    let created = weir_engine::clock::unix_seconds();
    let served = Arc::new(Served { engine, language, name: spec.model_name.clone(), metrics, created });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(SERVER_THREADS)
        .enable_all()
        .build()
        .context("the runtime can't be started")?;
    let code = runtime.block_on(serve(flags, served, secret, spec, thread));
    // What still runs (a step, a reader of stdin) ends with the process.
    runtime.shutdown_background();
    code
}

fn load(flags: &Flags) -> anyhow::Result<(Box<dyn Executor>, Arc<dyn Language>)> {
    if let Some(path) = &flags.model {
        let plain = CpuOptions::default();
        let options = CpuOptions {
            threads: flags.threads.unwrap_or(plain.threads),
            kv_pages: flags.kv_pages.unwrap_or(plain.kv_pages),
            context_tokens: flags.context_tokens,
            batch_tokens: flags.batch_tokens.unwrap_or(plain.batch_tokens),
            name: flags.name.clone(),
            ..plain
        };
        let loaded = weir_engine::model::bundle::load(path, options)
            .with_context(|| format!("the model `{}` can't be loaded", path.display()))?;
        return Ok((loaded.executor, Arc::new(loaded.language)));
    }
    let plain = ScriptedOptions::default();
    let context_tokens_max = flags.context_tokens.unwrap_or(plain.context_tokens_max);
    // Room for four full contexts, so that batching shows.
    let pages_total = context_tokens_max.div_ceil(plain.page_tokens).saturating_mul(4);
    let options = ScriptedOptions {
        script: flags.script,
        answer_tokens: flags.script_tokens,
        pages_total: flags.kv_pages.unwrap_or(pages_total),
        context_tokens_max,
        batch_tokens_max: flags.batch_tokens.unwrap_or(plain.batch_tokens_max).max(1),
        step_delay: Duration::from_millis(flags.step_delay_ms),
        page_tokens: plain.page_tokens,
    };
    let name = flags.name.as_deref().unwrap_or("scripted");
    Ok((Box::new(ScriptedExecutor::new(options, name)), Arc::new(ScriptedLanguage::default())))
}

async fn serve(
    flags: &Flags,
    served: Arc<Served>,
    secret: Option<Secret>,
    spec: ExecutorSpec,
    thread: std::thread::JoinHandle<()>,
) -> anyhow::Result<ExitCode> {
    let app = router(served);
    let (stop, stopped) = watch::channel(false);
    let until = |mut stopped: watch::Receiver<bool>| async move {
        // An error means that the sender is gone, which is a stop too.
        stopped.wait_for(|stop| *stop).await.ok();
    };
    let unix = listen::serve_unix(listen::unix(&flags.socket)?, app.clone(), until(stopped.clone()));
    let mut bound = None;
    let tcp_listener = match (flags.tcp, secret) {
        (Some(address), Some(secret)) => {
            let listener = listen::tcp(address).await?;
            bound = listener.local_addr().ok();
            Some((listener, secret))
        }
        (Some(_), None) | (None, _) => None,
    };
    let tcp = async move {
        match tcp_listener {
            Some((listener, secret)) => listen::serve_tcp(listener, app, secret, until(stopped)).await,
            None => {
                until(stopped).await;
                Ok(())
            }
        }
    };
    let doors = async { tokio::try_join!(unix, tcp) };
    tokio::pin!(doors);
    announce(flags, &spec, bound);
    let died = tokio::task::spawn_blocking(move || thread.join());
    tokio::select! {
        ended = &mut doors => {
            ended.context("a listener failed")?;
            return Ok(ExitCode::from(EXIT_SOFTWARE));
        }
        _ = died => {
            tracing::error!("the scheduler has stopped");
            // Nobody else may find the socket, but those who wait are still told.
            std::fs::remove_file(&flags.socket).ok();
            tokio::time::timeout(LAST_WORDS, &mut doors).await.ok();
            return Ok(ExitCode::from(EXIT_SOFTWARE));
        }
        () = stdin_closed(flags.exit_with_stdin) => {}
        () = asked_to_stop() => {
            // Running answers may finish; new connections are not taken.
            stop.send_replace(true);
            tokio::time::timeout(DRAIN, &mut doors).await.ok();
        }
    }
    std::fs::remove_file(&flags.socket).ok();
    Ok(ExitCode::SUCCESS)
}

/// The one line on standard output, once requests are taken.
fn announce(flags: &Flags, spec: &ExecutorSpec, tcp: Option<SocketAddr>) {
    let facts = serde_json::json!({
        "model": spec.model_name,
        "socket": flags.socket,
        "tcp": tcp.map(|address| address.to_string()),
        "context_tokens_max": spec.context_tokens_max.min(spec.pages_total.saturating_mul(spec.page_tokens)),
        "pages_total": spec.pages_total,
        "page_tokens": spec.page_tokens,
        "batch_tokens_max": spec.batch_tokens_max,
        "pid": std::process::id(),
    });
    println!("ready {facts}");
}

/// Resolves when standard input closes; never if that isn't wanted.
async fn stdin_closed(is_wanted: bool) {
    if !is_wanted {
        return std::future::pending().await;
    }
    let read = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink()));
    // However reading ended, there is nobody left at the other end.
    read.await.ok();
}

/// Resolves on SIGTERM or SIGINT.
async fn asked_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        tracing::error!("signals can't be watched");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
}

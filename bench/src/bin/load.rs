//! The client that measures: so many connections, each sending its next request when the last is answered.
//!
//! `load --url http://127.0.0.1:PORT/v1/chat/completions --pid PID [--mode closed|hold|wait] [--connections N]
//!  [--seconds S] [--warm-up S] [--model mock-64-0] [--stream yes] [--header 'name: value']...`
//!
//! One JSON object on stdout. `closed` measures for a while; `hold` opens streams and reads the memory that they take
//! while they idle; `wait` ends with the first success. CPU time and memory are those of `--pid` and its children,
//! read at the window's edges.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{sleep, timeout};
use weir_bench::client::{Client, Reply};
use weir_bench::flags::{Flags, loopback};
use weir_bench::machine;
use weir_bench::reading::Samples;

/// Bytes of the request's body: a short conversation.
const BODY_BYTES: usize = 2048;

struct Job {
    address: SocketAddr,
    request: Vec<u8>,
    pid: u32,
    connections: usize,
    window: Duration,
    warm_up: Duration,
}

/// What all connections count together, while the window is open.
#[derive(Default)]
struct Tally {
    is_open: Cell<bool>,
    is_over: Cell<bool>,
    calls: Cell<u64>,
    events: Cell<u64>,
    errors: Cell<u64>,
    streams: Cell<u64>,
    whole: RefCell<Samples>,
    first: RefCell<Samples>,
    complaint: RefCell<String>,
}

fn add(cell: &Cell<u64>, count: u64) {
    cell.set(cell.get() + count);
}

impl Tally {
    fn fail(&self, what: String) {
        add(&self.errors, 1);
        let mut complaint = self.complaint.borrow_mut();
        if complaint.is_empty() {
            *complaint = what;
        }
    }
}

fn job(flags: &Flags) -> Result<Job> {
    let url = flags.text("--url", "http://127.0.0.1:9100/v1/chat/completions");
    let rest = url.strip_prefix("http://").with_context(|| format!("`{url}` is not plain http"))?;
    let (host, path) = rest.split_once('/').with_context(|| format!("`{url}` has no path"))?;
    let headers: String = flags.all("--header").iter().map(|header| format!("{header}\r\n")).collect();
    let body = body(flags.text("--model", "mock-64-0"), flags.text("--stream", "no") == "yes");
    let length = body.len();
    let request = format!(
        "POST /{path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\naccept: */*\r\n\
         user-agent: weir-bench\r\n{headers}content-length: {length}\r\n\r\n{body}"
    );
    let seconds = |name, default| flags.parse(name, default).map(Duration::from_secs_f64);
    Ok(Job {
        address: loopback(host)?,
        request: request.into(),
        pid: flags.parse("--pid", 0)?,
        connections: flags.parse("--connections", 1)?,
        window: seconds("--seconds", 3.0)?,
        warm_up: seconds("--warm-up", 0.5)?,
    })
}

/// Usage is always asked for, so that every way has the same events to carry.
fn body(model: &str, is_stream: bool) -> String {
    let text = "Compare the water levels of the northern rivers with last year's and name three risks. ";
    let mut body = json!({
        "model": model, "temperature": 0.7, "max_tokens": 256,
        "messages": [{"role": "system", "content": "Answer briefly."}, {"role": "user", "content": ""}],
    });
    if is_stream {
        body["stream"] = json!(true);
        body["stream_options"] = json!({"include_usage": true});
    }
    let fill = BODY_BYTES.saturating_sub(body.to_string().len());
    body["messages"][1]["content"] = text.chars().cycle().take(fill).collect::<String>().into();
    body.to_string()
}

/// One connection's life: call, count, call again.
async fn keep_calling(job: Rc<Job>, tally: Rc<Tally>) {
    let mut client = None;
    while !tally.is_over.get() {
        match call(&job, &tally, client.take()).await {
            Ok(next) => client = next,
            Err(error) => {
                tally.fail(error.to_string());
                sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

async fn call(job: &Job, tally: &Tally, client: Option<Client>) -> Result<Option<Client>> {
    let mut client = match client {
        Some(client) => client,
        None => Client::connect(job.address).await?,
    };
    let sent = Instant::now();
    let mut is_first = true;
    let Reply { status, keep_alive, complaint } = client
        .call(&job.request, |events| {
            if std::mem::take(&mut is_first) {
                add(&tally.streams, 1);
                if tally.is_open.get() {
                    tally.first.borrow_mut().add(sent.elapsed());
                }
            }
            if tally.is_open.get() {
                add(&tally.events, events);
            }
        })
        .await?;
    if status != 200 {
        bail!("{status} {complaint}");
    }
    if tally.is_open.get() {
        add(&tally.calls, 1);
        tally.whole.borrow_mut().add(sent.elapsed());
    }
    Ok(keep_alive.then_some(client))
}

async fn closed(job: Rc<Job>) -> Value {
    let tally = Rc::new(Tally::default());
    for _ in 0..job.connections {
        spawn_local(keep_calling(Rc::clone(&job), Rc::clone(&tally)));
    }
    sleep(job.warm_up).await;
    let (before, start) = (machine::read(job.pid), Instant::now());
    tally.is_open.set(true);
    sleep(job.window).await;
    tally.is_open.set(false);
    let (seconds, after) = (start.elapsed().as_secs_f64(), machine::read(job.pid));
    tally.is_over.set(true);
    let cpu_us = after.cpu_us.saturating_sub(before.cpu_us) as f64;
    let each = |count: u64| (count > 0 && job.pid > 0).then(|| cpu_us / count as f64);
    let (calls, events) = (tally.calls.get(), tally.events.get());
    json!({
        "calls": calls, "errors": tally.errors.get(), "complaint": *tally.complaint.borrow(),
        "calls_per_s": calls as f64 / seconds, "latency": tally.whole.borrow_mut().summary(),
        "first_event": tally.first.borrow_mut().summary(), "events": events,
        "cpu_us_per_call": each(calls), "cpu_us_per_event": each(events),
        "cpu_share": cpu_us / 1e6 / seconds, "rss_kb": after.rss_kb,
    })
}

/// Opens streams that say one word and then nothing, and reads the memory that they take.
async fn hold(job: Rc<Job>) -> Value {
    let tally = Rc::new(Tally::default());
    let before = machine::read(job.pid);
    for index in 0..job.connections {
        let (job, tally) = (Rc::clone(&job), Rc::clone(&tally));
        spawn_local(async move {
            sleep(Duration::from_micros(500) * u32::try_from(index).unwrap_or(u32::MAX)).await;
            if let Err(error) = call(&job, &tally, None).await {
                tally.fail(error.to_string());
            }
        });
    }
    let start = Instant::now();
    let wanted = u64::try_from(job.connections).unwrap_or(u64::MAX);
    while tally.streams.get() + tally.errors.get() < wanted && start.elapsed() < job.window {
        sleep(Duration::from_millis(20)).await;
    }
    sleep(Duration::from_secs(1)).await;
    let (after, streams) = (machine::read(job.pid), tally.streams.get());
    let grown_kb = after.rss_kb.saturating_sub(before.rss_kb) as f64;
    json!({
        "streams": streams, "errors": tally.errors.get(), "complaint": *tally.complaint.borrow(),
        "rss_kb_per_stream": (streams > 0).then(|| grown_kb / streams as f64),
    })
}

async fn wait(job: Rc<Job>) -> Result<Value> {
    let start = Instant::now();
    let tally = Tally::default();
    loop {
        let said = match timeout(Duration::from_secs(10), call(&job, &tally, None)).await {
            Ok(Ok(_)) => return Ok(json!({"ready_ms": start.elapsed().as_secs_f64() * 1e3})),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in 10 s".into(),
        };
        if start.elapsed() > job.window {
            bail!("no success in {:?}: {said}", job.window);
        }
        sleep(Duration::from_millis(10)).await;
    }
}

fn main() -> Result<()> {
    let flags = Flags::from_args();
    let job = Rc::new(job(&flags)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let found = LocalSet::new().block_on(&runtime, async move {
        match flags.text("--mode", "closed") {
            "closed" => Ok(closed(job).await),
            "hold" => Ok(hold(job).await),
            "wait" => wait(job).await,
            other => bail!("`--mode {other}` is none of closed, hold, wait"),
        }
    })?;
    println!("{found}");
    Ok(())
}

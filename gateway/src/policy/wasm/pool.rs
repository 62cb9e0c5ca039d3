//! Instances that wait for calls, and the clock that stops those that take too long.
//!
//! An instance answers one call at a time. One that failed is thrown away, for nobody knows what it left in its memory;
//! one that answered goes back. wasmtime's epochs count time: a thread counts them up while anything runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use wasmtime::{Engine, Module};

use super::builtins::Builtins;
use super::instance::Instance;
use super::{START_TIME, Stopped, WasmFault, is_late};
use crate::telemetry::metric;

/// Instances of one module: as many evaluate at once, further calls wait. Each may take 64 MiB.
const INSTANCES_MAX: usize = 16;
/// Parts of the time limit that the clock counts: an evaluation may be late by one of them.
const TICKS_PER_LIMIT: u32 = 16;
const TICK_MIN: Duration = Duration::from_millis(1);
const TICK_MAX: Duration = Duration::from_millis(50);

/// Why there is no instance to ask.
pub(super) enum NoInstance {
    /// All are busy, and none came back in time.
    Busy,
    /// A new one can't be started.
    Fault(WasmFault),
}

struct Idle {
    free: Vec<Instance>,
    /// Instances there are, busy ones included.
    all: usize,
}

/// The instances of one module.
pub(super) struct Pool {
    module: Module,
    builtins: Arc<Builtins>,
    data: Box<str>,
    clock: Clock,
    idle: Mutex<Idle>,
    returned: Condvar,
}

impl Pool {
    pub(super) fn new(module: Module, builtins: Arc<Builtins>, data: Box<str>, clock: Clock, first: Instance) -> Self {
        let idle = Mutex::new(Idle { free: vec![first], all: 1 });
        Self { module, builtins, data, clock, idle, returned: Condvar::new() }
    }

    /// Asks some instance; `limit` bounds the wait for one, and once more the evaluation.
    pub(super) fn with<T>(
        &self,
        limit: Duration,
        ask: impl FnOnce(&mut Instance, u64) -> wasmtime::Result<T>,
    ) -> Result<wasmtime::Result<T>, NoInstance> {
        let mut lease = self.take(limit)?;
        let running = self.clock.run();
        let mut instance = match lease.instance.take() {
            Some(instance) => instance,
            None => self.start().map_err(NoInstance::Fault)?,
        };
        let answer = ask(&mut instance, self.clock.ticks(limit));
        drop(running);
        match &answer {
            Ok(_) if instance.may_stay() => lease.instance = Some(instance),
            Ok(_) => metric::wasm_dropped("grown"),
            Err(error) => metric::wasm_dropped(why(error)),
        }
        Ok(answer)
    }

    fn start(&self) -> Result<Instance, WasmFault> {
        let mut instance = Instance::new(&self.module, self.clock.ticks(START_TIME))?;
        instance.load(&self.builtins, &self.data)?;
        Ok(instance)
    }

    /// A place for one evaluation, with an instance where one is free.
    pub(super) fn take(&self, limit: Duration) -> Result<Lease<'_>, NoInstance> {
        let mut idle = self.idle.lock();
        let is_full = |idle: &mut Idle| idle.free.is_empty() && idle.all >= INSTANCES_MAX;
        if self.returned.wait_while_for(&mut idle, is_full, limit).timed_out() && is_full(&mut idle) {
            return Err(NoInstance::Busy);
        }
        let instance = idle.free.pop();
        if instance.is_none() {
            idle.all = idle.all.saturating_add(1);
        }
        Ok(Lease { pool: self, instance })
    }

    /// Instances there are now.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.idle.lock().all
    }
}

/// Why an instance is thrown away: a label.
fn why(error: &wasmtime::Error) -> &'static str {
    if is_late(error) {
        return "timeout";
    }
    match error.downcast_ref::<Stopped>() {
        Some(Stopped::Memory) => "memory",
        Some(Stopped::Abort(_)) => "abort",
        Some(Stopped::Builtin(_)) => "builtin",
        Some(Stopped::Text(_) | Stopped::Answer(_)) => "answer",
        None => "trap",
    }
}

/// A place among the instances: given back when dropped, with what is in it.
pub(super) struct Lease<'p> {
    pool: &'p Pool,
    instance: Option<Instance>,
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let mut idle = self.pool.idle.lock();
        match self.instance.take() {
            Some(instance) => idle.free.push(instance),
            None => idle.all = idle.all.saturating_sub(1),
        }
        drop(idle);
        self.pool.returned.notify_one();
    }
}

struct Shared {
    stop: AtomicBool,
    running: AtomicUsize,
    asleep: AtomicBool,
}

/// Counts epochs while something runs, and sleeps while nothing does.
pub(super) struct Clock {
    shared: Arc<Shared>,
    tick: Duration,
    thread: Option<JoinHandle<()>>,
}

/// Something runs until this is dropped.
pub(super) struct Running<'c>(&'c Shared);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Clock {
    pub(super) fn start(engine: &Engine, limit: Duration) -> std::io::Result<Self> {
        let tick = limit.checked_div(TICKS_PER_LIMIT).unwrap_or(TICK_MIN).clamp(TICK_MIN, TICK_MAX);
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            running: AtomicUsize::new(0),
            asleep: AtomicBool::new(false),
        });
        let (engine, its) = (engine.clone(), shared.clone());
        let thread =
            std::thread::Builder::new().name("weir-wasm-clock".to_owned()).spawn(move || count(&engine, &its, tick))?;
        Ok(Self { shared, tick, thread: Some(thread) })
    }

    /// Something begins to run.
    pub(super) fn run(&self) -> Running<'_> {
        self.shared.running.fetch_add(1, Ordering::SeqCst);
        if self.shared.asleep.swap(false, Ordering::SeqCst) {
            self.wake();
        }
        Running(&self.shared)
    }

    /// Epochs until `limit` has passed: never fewer, and one more at most.
    pub(super) fn ticks(&self, limit: Duration) -> u64 {
        let ticks = limit.as_nanos().div_ceil(self.tick.as_nanos().max(1));
        u64::try_from(ticks).unwrap_or(u64::MAX).saturating_add(1)
    }

    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

fn count(engine: &Engine, shared: &Shared, tick: Duration) {
    while !shared.stop.load(Ordering::SeqCst) {
        if shared.running.load(Ordering::SeqCst) > 0 {
            std::thread::park_timeout(tick);
            engine.increment_epoch();
            continue;
        }
        shared.asleep.store(true, Ordering::SeqCst);
        // Whoever began before this store saw no sleeper; whoever begins after it wakes this thread.
        if shared.running.load(Ordering::SeqCst) == 0 && !shared.stop.load(Ordering::SeqCst) {
            std::thread::park();
        }
        shared.asleep.store(false, Ordering::SeqCst);
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.wake();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread would have been reported where it happened.
            thread.join().unwrap_or_default();
        }
    }
}

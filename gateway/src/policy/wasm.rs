//! Policies that `opa build -t wasm` compiled, run by wasmtime within bounds of time and memory.
//!
//! OPA's ABI (1.2 and later) is spoken here directly. The crate `opa-wasm` speaks it too, and tests hold the two
//! against each other, but it can't stand in the path of a call: its builtins are a closed list, many of them stubs
//! that fail only when called; it needs an async store, a stack of its own for every call; it writes to the log what a
//! policy prints, which may be personal data; and it bounds neither memory nor answers.
//!
//! Refuses at activation: a module that is too large, of another ABI, without the entry point, or that calls builtins
//! which Weir doesn't offer. Refuses a call: an answer that is late, too long or none, a trap, an abort, too much
//! memory; the instance to which that happened is thrown away. Start at [`Wasm`].

mod builtins;
mod instance;
mod pool;

use std::sync::Arc;
use std::time::Duration;

use regorus::Value;
use wasmtime::{Config, Engine, Module};

use super::compiled::PolicyFault;
use super::engines::Unanswered;
use super::permit::DeniedBy;
use super::rego::builtins::OnError;
use super::rego::{Rego, one_line};
use builtins::Builtins;
use instance::Instance;
use pool::{NoInstance, Pool};

/// Bytes of a module: OPA's own part is 0.4 MiB, and machine code is some times as large as what it comes from.
pub const MODULE_BYTES_MAX: usize = 8 << 20;
/// Bytes of the memory of one instance. With 16 instances a policy gone wild takes 1 GiB at most.
const MEMORY_BYTES_MAX: usize = 64 << 20;
/// Bytes of the native stack below a call of a module: a recursion without an end stops there.
const STACK_BYTES_MAX: usize = 512 << 10;
/// Bytes of one answer, and of one value that goes to or from a builtin.
const TEXT_BYTES_MAX: usize = 1 << 20;
/// Time to start an instance and to give it its data, which happens once for some thousand calls.
const START_TIME: Duration = Duration::from_secs(5);

/// Why a module can't be used.
#[derive(Debug, thiserror::Error)]
pub enum WasmFault {
    /// Larger than a module may be.
    #[error("it has {bytes} bytes; {MODULE_BYTES_MAX} are allowed")]
    TooLarge {
        /// Bytes of it.
        bytes: usize,
    },
    /// Not what wasmtime takes for a module, or too much for an instance.
    #[error("{0}")]
    Module(String),
    /// It doesn't speak OPA's ABI as it is known here.
    #[error("it speaks version {0} of OPA's ABI; 1.2 and later of 1 are known: build it again with a newer `opa`")]
    Abi(String),
    /// An export is missing or of another type.
    #[error("it is no policy that `opa build -t wasm` made: {0}")]
    Foreign(String),
    /// A builtin isn't offered.
    #[error("the builtin `{name}` is refused: {why}")]
    Builtin {
        /// Its name.
        name: String,
        /// Why.
        why: &'static str,
    },
    /// The data is no object, or doesn't fit.
    #[error("its data can't be loaded: {0}")]
    Data(String),
    /// The thread that counts time can't be started.
    #[error("no thread for its clock")]
    Thread(#[source] std::io::Error),
}

/// What ended an evaluation.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error("the module aborted: {0}")]
    Abort(String),
    #[error("the module wanted more than {MEMORY_BYTES_MAX} bytes of memory")]
    Memory,
    #[error("a text in the module's memory is {0}")]
    Text(&'static str),
    #[error("builtin: {0}")]
    Builtin(&'static str),
    #[error("the module's answer is no set of results: {0}")]
    Answer(String),
}

/// A compiled module with its data, and instances of it that wait for calls.
pub struct Wasm {
    entrypoints: Vec<(String, i32)>,
    pool: Pool,
    timeout: Duration,
}

impl Wasm {
    /// Compiles a module and starts one instance of it with `data`, a JSON object.
    ///
    /// # Errors
    /// It can't be used; the fault says why.
    pub fn new(bytes: &[u8], data: &str, timeout: Duration) -> Result<Self, WasmFault> {
        if bytes.len() > MODULE_BYTES_MAX {
            return Err(WasmFault::TooLarge { bytes: bytes.len() });
        }
        let engine = engine().map_err(|error| module_fault(&error))?;
        let module = Module::new(&engine, bytes).map_err(|error| module_fault(&error))?;
        let clock = pool::Clock::start(&engine, timeout).map_err(WasmFault::Thread)?;
        let running = clock.run();
        let mut first = Instance::new(&module, clock.ticks(START_TIME))?;
        let builtins = Arc::new(Builtins::new(first.builtins()?, timeout)?);
        let entrypoints = first.entrypoints()?;
        first.load(&builtins, data)?;
        drop(running);
        let pool = Pool::new(module, builtins, data.into(), clock, first);
        Ok(Self { entrypoints, pool, timeout })
    }

    /// The same of a bundle's module and data documents, with the number of the rule that decides.
    ///
    /// # Errors
    /// It can't be used, the documents don't fit together, or there is no such rule.
    pub fn of_bundle(
        module: &[u8],
        data: &[serde_json::Value],
        rule: &str,
        timeout: Duration,
    ) -> Result<(Self, i32), PolicyFault> {
        let wasm = Self::new(module, &merged(data)?, timeout)?;
        match wasm.entrypoint(rule) {
            Some(number) => Ok((wasm, number)),
            None => {
                let text = format!("the module has {}", wasm.entrypoints().collect::<Vec<_>>().join(", "));
                Err(PolicyFault::Entrypoint { entrypoint: rule.to_owned(), text })
            }
        }
    }

    /// The number of an entry point such as `data.weir.authz.decision`, which OPA calls `weir/authz/decision`.
    pub fn entrypoint(&self, rule: &str) -> Option<i32> {
        let path = rule.strip_prefix("data.").unwrap_or(rule).replace('.', "/");
        self.entrypoints.iter().find(|(name, _)| *name == path).map(|(_, number)| *number)
    }

    /// Names of all entry points, as OPA writes them.
    pub fn entrypoints(&self) -> impl Iterator<Item = &str> {
        self.entrypoints.iter().map(|(name, _)| name.as_str())
    }

    /// The value of an entry point for `input`, a JSON text; undefined where the module has no result.
    pub(super) fn answer(&self, entrypoint: i32, input: &str) -> Result<Value, Unanswered> {
        let answer = self.pool.with(self.timeout, |instance, ticks| instance.eval(entrypoint, input, ticks));
        match answer {
            Ok(Ok(text)) => result(&text).map_err(|stopped| Unanswered::new(DeniedBy::Failure, stopped.to_string())),
            Ok(Err(error)) => Err(unanswered(&error)),
            Err(NoInstance::Busy) => Err(Unanswered::new(DeniedBy::Timeout, "no instance became free in time")),
            Err(NoInstance::Fault(fault)) => Err(Unanswered::new(DeniedBy::Failure, fault.to_string())),
        }
    }
}

/// All documents as one, as JSON: two that name the same member differently are a fault.
fn merged(data: &[serde_json::Value]) -> Result<String, PolicyFault> {
    let mut engine = Rego::new(OnError::Fail).engine;
    let fault = |text: String| PolicyFault::Data { name: "data".to_owned(), text };
    for document in data {
        engine.add_data(Value::from(document.clone())).map_err(|error| fault(one_line(&error)))?;
    }
    serde_json::to_string(&engine.get_data()).map_err(|error| fault(error.to_string()))
}

/// The only result of a set of results such as `[{"result": true}]`; undefined where there is none.
fn result(text: &str) -> Result<Value, Stopped> {
    let fault = |text: &str| Stopped::Answer(text.chars().take(128).collect());
    let set = Value::from_json_str(text).map_err(|_| fault(text))?;
    let Value::Array(rows) = &set else { return Err(fault(text)) };
    let mut rows = rows.iter();
    match (rows.next(), rows.next()) {
        (None, _) => Ok(Value::Undefined),
        (Some(Value::Object(members)), None) if members.len() == 1 => {
            members.get(&Value::from("result")).cloned().ok_or_else(|| fault(text))
        }
        (Some(_), _) => Err(fault(text)),
    }
}

/// wasmtime, with what OPA's compiler makes and no more.
fn engine() -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    config.epoch_interruption(true);
    config.max_wasm_stack(STACK_BYTES_MAX);
    config.wasm_memory64(false);
    config.wasm_multi_memory(false);
    config.wasm_tail_call(false);
    config.wasm_relaxed_simd(false);
    Engine::new(&config)
}

fn module_fault(error: &wasmtime::Error) -> WasmFault {
    WasmFault::Module(brief(error))
}

/// What is at the root of an error, without the module's stack.
fn brief(error: &wasmtime::Error) -> String {
    let text = match error.downcast_ref::<Stopped>() {
        Some(stopped) => stopped.to_string(),
        None => error.root_cause().to_string(),
    };
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(256).collect()
}

fn is_late(error: &wasmtime::Error) -> bool {
    error.downcast_ref::<wasmtime::Trap>() == Some(&wasmtime::Trap::Interrupt)
}

fn unanswered(error: &wasmtime::Error) -> Unanswered {
    let text = brief(error);
    // OPA's modules abort where a rule has two values, and say so with this word.
    let is_conflict =
        matches!(error.downcast_ref::<Stopped>(), Some(Stopped::Abort(text)) if text.contains("conflict"));
    match (is_late(error), is_conflict) {
        (true, _) => Unanswered::new(DeniedBy::Timeout, "the time limit passed"),
        (false, true) => Unanswered::new(DeniedBy::Conflict, text),
        (false, false) => Unanswered::new(DeniedBy::Failure, text),
    }
}

#[cfg(test)]
pub(super) mod tests;

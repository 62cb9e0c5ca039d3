//! A compiled policy: sources and data in, decisions out. Pure: reads no file, no clock, no environment of its own.
//!
//! Which engine answers, and when it may, is the business of [`super::engines`].

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use regorus::Value;
use regorus::utils::limits::ExecutionTimerConfig;

use super::cache::Cache;
use super::calls;
use super::engines::{Engines, Interpreted, Unanswered};
use super::envoy;
use super::input::Input;
use super::machine::Machine;
use super::permit::{Denied, DeniedBy, Permit, judge};
use super::reads;
use super::rego::builtins::{OnError, moment};
use super::rego::{self, RegoFault, fault_code, one_line};
use super::wasm::{Wasm, WasmFault};
use crate::config::settings::{PolicyEngine, PolicyInput, PolicySettings};

/// Steps of the interpreter between two looks at the clock.
const TIMER_STEPS: NonZeroU32 = NonZeroU32::MIN.saturating_add(15);

/// Why policies can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyFault {
    /// A policy doesn't parse or compile; the text names file, line and column.
    #[error("policy `{file}`{}: {text}", line.map(|line| format!(" line {line}")).unwrap_or_default())]
    Policy {
        /// File name within the bundle.
        file: String,
        /// Line, where it is known.
        line: Option<u32>,
        /// What is wrong.
        text: String,
    },
    /// A data file doesn't parse, or two data files name the same member.
    #[error("policy data `{name}`: {text}")]
    Data {
        /// File name within the bundle.
        name: String,
        /// What is wrong.
        text: String,
    },
    /// The rule that decides doesn't exist.
    #[error("policy entry point `{entrypoint}` does not exist: {text}")]
    Entrypoint {
        /// The rule.
        entrypoint: String,
        /// What is wrong.
        text: String,
    },
    /// A compiled policy can't be used.
    #[error("the compiled policy: {0}")]
    Wasm(#[from] WasmFault),
    /// A file or folder can't be read.
    #[error("can't read `{}`", path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The folder holds no policy.
    #[error("`{}` holds no `.rego` file", folder.display())]
    Empty {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder is larger than a bundle may be.
    #[error("too many {what} at `{}`", path.display())]
    TooMuch {
        /// Where the bound was passed.
        path: PathBuf,
        /// What there is too much of.
        what: &'static str,
    },
}

/// A compiled policy. Shared by all threads; an evaluation works on its own clone of the state.
pub enum Compiled {
    /// Rego, as text.
    Rego(Rego),
    /// Rego that `opa build -t wasm` compiled.
    Wasm(Module),
}

/// Rego, compiled once per World.
pub struct Rego {
    engines: Engines,
    entrypoint: String,
    shape: PolicyInput,
    cache: Option<Cache>,
    uncacheable: Option<reads::Uncacheable>,
}

/// A compiled policy with the number of the rule that decides.
pub struct Module {
    wasm: Wasm,
    entrypoint: String,
    shape: PolicyInput,
    number: i32,
    uncacheable: reads::Uncacheable,
}

impl Compiled {
    /// Compiles policies, given as (file name, text), with their data documents. Faults name file and line.
    pub fn new(
        sources: Vec<(String, String)>,
        data: Vec<serde_json::Value>,
        settings: &PolicySettings,
    ) -> Result<Self, PolicyFault> {
        Self::with_probes(&sources, &data, settings, &[])
    }

    /// The same; the machine must agree with the interpreter on `probes` too (inputs of the bundle's own tests, of
    /// recorded decisions) before it answers a call.
    pub fn with_probes(
        sources: &[(String, String)],
        data: &[serde_json::Value],
        settings: &PolicySettings,
        probes: &[Value],
    ) -> Result<Self, PolicyFault> {
        let strict = load(sources, data, settings, OnError::Fail)?;
        let lenient = load(sources, data, settings, OnError::Undefined)?;
        let read = reads::check(strict.engine.clone().get_modules().iter().map(AsRef::as_ref));
        let entrypoint = settings.entrypoint.clone();
        let machine = match settings.engine {
            PolicyEngine::Interpreter => Err(Interpreted::Setting),
            PolicyEngine::Auto => Machine::build(&strict, &entrypoint, timer(settings.timeout))
                .map_err(|text| Interpreted::Unable(text.split_whitespace().collect::<Vec<_>>().join(" "))),
        };
        let mut engines = Engines::interpreted(strict, lenient, entrypoint.clone(), settings.timeout);
        engines.trust(machine, probes);
        let (cache, uncacheable) = match read {
            // A key for what a request may hold in Envoy's shape would be the whole request.
            Ok(members) => ((settings.input == PolicyInput::Weir).then(|| Cache::new(members)), None),
            Err(why) => (None, Some(why)),
        };
        Ok(Compiled::Rego(Rego { engines, entrypoint, shape: settings.input, cache, uncacheable }))
    }

    /// Takes a policy that `opa build -t wasm` compiled, with its data documents.
    pub fn wasm(module: &[u8], data: &[serde_json::Value], settings: &PolicySettings) -> Result<Self, PolicyFault> {
        let entrypoint = settings.entrypoint.clone();
        let (wasm, number) = Wasm::of_bundle(module, data, &entrypoint, settings.timeout)?;
        Ok(Compiled::Wasm(Module {
            wasm,
            entrypoint,
            shape: settings.input,
            number,
            uncacheable: reads::Uncacheable::compiled(),
        }))
    }

    /// Allow, or a refusal with the rule's name. Whatever is not a clear allow is a refusal.
    pub fn decide(&self, input: &Input<'_>) -> Result<Permit, Denied> {
        let rego = match self {
            Compiled::Rego(rego) => rego,
            Compiled::Wasm(module) => return module.evaluate(input),
        };
        let Some(cache) = &rego.cache else {
            return rego.evaluate(input).0;
        };
        if let Some(verdict) = cache.get(input) {
            return verdict;
        }
        let (verdict, cacheable) = rego.evaluate(input);
        if cacheable {
            cache.put(input, &verdict);
        }
        verdict
    }

    /// The value of the rule for a document `input`, nothing remembered: what [`Self::decide`] judges.
    ///
    /// # Errors
    /// Why there is none.
    pub fn answer(&self, input: Value) -> Result<Value, RegoFault> {
        let _moment = moment::Moment::hold();
        let answer = match self {
            Compiled::Rego(rego) => rego.engines.answer(input),
            Compiled::Wasm(module) => module.answer(&input),
        };
        answer.map_err(named)
    }

    /// The decision about a document that is no call's, such as a recorded one or an administrator's request; neither
    /// looked up nor remembered.
    pub fn decide_document(&self, input: Value) -> Result<Permit, Denied> {
        match self {
            Compiled::Rego(rego) => rego.evaluate_document(input, "").0,
            Compiled::Wasm(module) => module.evaluate_document(&input, ""),
        }
    }

    /// The value of any document below `data`, by the names that lead there; a compiled policy has its entry points
    /// alone. Undefined where there is none.
    ///
    /// # Errors
    /// The evaluation failed.
    pub fn ask(&self, path: &[String], input: Option<Value>) -> Result<Value, RegoFault> {
        match self {
            Compiled::Rego(rego) => {
                let _moment = moment::Moment::hold();
                let place = |part: &String| match part.parse::<u32>() {
                    Ok(number) => format!("[{number}]"),
                    Err(_) => format!("[{}]", serde_json::Value::from(part.as_str())),
                };
                rego.engines.query(&format!("data{}", path.iter().map(place).collect::<String>()), input)
            }
            Compiled::Wasm(module) => {
                let Some(number) = module.wasm.entrypoint(&path.join("/")) else { return Ok(Value::Undefined) };
                let json = input.map(|input| serde_json::to_string(&input)).transpose();
                let json = json.map(Option::unwrap_or_default).map_err(|fault| fault.to_string());
                let json = json.map_err(|text| Unanswered::new(DeniedBy::Failure, text));
                json.and_then(|json| module.wasm.answer(number, &json)).map_err(named)
            }
        }
    }

    /// Why the interpreter answers every call; `None` while the faster machine does.
    pub fn interpreted(&self) -> Option<Interpreted> {
        match self {
            Compiled::Rego(rego) => rego.engines.why_interpreted(),
            Compiled::Wasm(_) => None,
        }
    }

    /// Why decisions are not remembered; `None` where they are.
    pub fn uncacheable(&self) -> Option<&reads::Uncacheable> {
        match self {
            Compiled::Rego(rego) => rego.uncacheable.as_ref(),
            Compiled::Wasm(module) => Some(&module.uncacheable),
        }
    }

    /// Whether it reads more of a call than who asks for which model.
    pub fn reads_more(&self) -> bool {
        match self {
            Compiled::Rego(rego) => rego.cache.as_ref().is_none_or(Cache::reads_more),
            Compiled::Wasm(_) => true,
        }
    }

    /// What answers calls now: `machine`, `interpreter` or `wasm`.
    pub fn engine(&self) -> &'static str {
        match self {
            Compiled::Rego(rego) if rego.engines.why_interpreted().is_some() => "interpreter",
            Compiled::Rego(_) => "machine",
            Compiled::Wasm(_) => "wasm",
        }
    }
}

impl Module {
    fn answer(&self, input: &Value) -> Result<Value, Unanswered> {
        let json =
            serde_json::to_string(input).map_err(|fault| Unanswered::new(DeniedBy::Failure, fault.to_string()))?;
        self.wasm.answer(self.number, &json)
    }

    fn evaluate(&self, input: &Input<'_>) -> Result<Permit, Denied> {
        self.evaluate_document(&asked(self.shape, input), input.request.model)
    }

    fn evaluate_document(&self, input: &Value, model: &str) -> Result<Permit, Denied> {
        match self.answer(input) {
            Ok(decision) => judge(&told(self.shape, decision), &self.entrypoint, model).verdict,
            Err(unanswered) => Err(Denied::without_rule(unanswered.by, &self.entrypoint, unanswered.text)),
        }
    }
}

impl Rego {
    /// The verdict, and whether it may be remembered.
    fn evaluate(&self, input: &Input<'_>) -> (Result<Permit, Denied>, bool) {
        self.evaluate_document(asked(self.shape, input), input.request.model)
    }

    fn evaluate_document(&self, input: Value, model: &str) -> (Result<Permit, Denied>, bool) {
        let _moment = moment::Moment::hold();
        match self.engines.answer(input) {
            Ok(decision) => {
                let judged = judge(&told(self.shape, decision), &self.entrypoint, model);
                (judged.verdict, judged.cacheable)
            }
            Err(unanswered) => (Err(Denied::without_rule(unanswered.by, &self.entrypoint, unanswered.text)), false),
        }
    }
}

/// Why there is no answer, in OPA's words.
fn named(unanswered: Unanswered) -> RegoFault {
    let code = match unanswered.by {
        DeniedBy::Timeout => fault_code::CANCEL,
        DeniedBy::Conflict => fault_code::CONFLICT,
        DeniedBy::Rule | DeniedBy::Undefined | DeniedBy::Shape | DeniedBy::Obligation | DeniedBy::Failure => {
            fault_code::INTERNAL
        }
    };
    RegoFault { code, file: None, place: None, text: unanswered.text }
}

/// The document in the shape that the policy knows.
fn asked(shape: PolicyInput, input: &Input<'_>) -> Value {
    match shape {
        PolicyInput::Weir => input.to_value(),
        PolicyInput::Envoy => envoy::document(input),
    }
}

/// The decision in Weir's own words.
fn told(shape: PolicyInput, decision: Value) -> Value {
    match shape {
        PolicyInput::Weir => decision,
        PolicyInput::Envoy => envoy::decision(decision),
    }
}

/// An engine with everything in it, prepared, so that its clones evaluate at once.
fn load(
    sources: &[(String, String)],
    data: &[serde_json::Value],
    settings: &PolicySettings,
    on_error: OnError,
) -> Result<rego::Rego, PolicyFault> {
    let mut rego = rego::Rego::new(on_error);
    moment::register(&mut rego.engine);
    rego.engine.set_execution_timer_config(timer(settings.timeout));
    for (file, text) in sources {
        rego.add(file, text).map_err(|fault| policy_fault(file, fault))?;
    }
    for document in data {
        let added = rego.engine.add_data(Value::from(document.clone()));
        added.map_err(|fault| PolicyFault::Data { name: "data".to_owned(), text: one_line(&fault) })?;
    }
    calls::check(&rego.engine.get_modules().iter().map(AsRef::as_ref).collect::<Vec<_>>())?;
    // Finds a missing entry point now.
    rego.engine.compile_with_entrypoint(&settings.entrypoint.as_str().into()).map_err(|fault| {
        let fault = rego.fault(&fault);
        match fault.place {
            Some(_) => policy_fault("", fault),
            None => PolicyFault::Entrypoint { entrypoint: settings.entrypoint.clone(), text: fault.text },
        }
    })?;
    Ok(rego)
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, entrypoint) = match self {
            Compiled::Rego(rego) => ("Rego", &rego.entrypoint),
            Compiled::Wasm(module) => ("Wasm", &module.entrypoint),
        };
        f.debug_struct(name).field("entrypoint", entrypoint).finish_non_exhaustive()
    }
}

fn timer(limit: Duration) -> ExecutionTimerConfig {
    ExecutionTimerConfig { limit, check_interval: TIMER_STEPS }
}

fn policy_fault(file: &str, fault: RegoFault) -> PolicyFault {
    let file = fault.file.unwrap_or_else(|| file.to_owned());
    PolicyFault::Policy { file, line: fault.place.map(|(line, _)| line), text: fault.text }
}

#[cfg(test)]
mod tests;

//! A compiled policy: sources and data in, decisions out. Pure: reads no file, no clock, no environment of its own.
//!
//! Policies run in regorus's interpreter. Its bytecode machine is faster but was measured to answer some documents
//! wrongly without an error, which a policy engine may not do.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{LimitError, Value};

use super::cache::Cache;
use super::calls;
use super::input::Input;
use super::permit::{Denied, DeniedBy, Permit, judge};
use super::reads;
use super::rego::builtins::OnError;
use super::rego::{self, RegoFault, fault_code, one_line};
use crate::config::settings::PolicySettings;

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
    /// Rego, interpreted.
    Rego(Rego),
}

/// Rego, compiled once per World.
pub struct Rego {
    rego: rego::Rego,
    entrypoint: String,
    cache: Option<Cache>,
    uncacheable: Option<reads::Uncacheable>,
}

impl Compiled {
    /// Compiles policies, given as (file name, text), with their data documents. Faults name file and line.
    pub fn new(
        sources: Vec<(String, String)>,
        data: Vec<serde_json::Value>,
        settings: &PolicySettings,
    ) -> Result<Self, PolicyFault> {
        let mut rego = rego::Rego::new(OnError::Undefined);
        rego.engine.set_execution_timer_config(timer(settings.timeout));
        for (file, text) in sources {
            rego.add(&file, &text).map_err(|fault| policy_fault(&file, fault))?;
        }
        for document in data {
            rego.engine
                .add_data(Value::from(document))
                .map_err(|fault| PolicyFault::Data { name: "data".to_owned(), text: one_line(&fault) })?;
        }
        let modules: Vec<_> = rego.engine.get_modules().iter().map(AsRef::as_ref).collect();
        calls::check(&modules)?;
        let uncacheable = reads::check(modules).err();
        let entrypoint = settings.entrypoint.clone();
        // Compiling prepares the engine, so that its clones evaluate at once, and finds a missing entry point now.
        rego.engine.compile_with_entrypoint(&entrypoint.as_str().into()).map_err(|fault| {
            let fault = rego.fault(&fault);
            match fault.place {
                Some(_) => policy_fault("", fault),
                None => PolicyFault::Entrypoint { entrypoint: entrypoint.clone(), text: fault.text },
            }
        })?;
        let cache = uncacheable.is_none().then(Cache::new);
        Ok(Compiled::Rego(Rego { rego, entrypoint, cache, uncacheable }))
    }

    /// Allow, or a refusal with the rule's name. Whatever is not a clear allow is a refusal.
    pub fn decide(&self, input: &Input<'_>) -> Result<Permit, Denied> {
        let Compiled::Rego(rego) = self;
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

    /// Why decisions are not remembered; `None` where they are.
    pub fn uncacheable(&self) -> Option<&reads::Uncacheable> {
        let Compiled::Rego(rego) = self;
        rego.uncacheable.as_ref()
    }
}

impl Rego {
    /// The verdict, and whether it may be remembered.
    fn evaluate(&self, input: &Input<'_>) -> (Result<Permit, Denied>, bool) {
        let mut engine = self.rego.engine.clone();
        engine.set_input(input.to_value());
        match engine.eval_rule(self.entrypoint.clone()) {
            Ok(decision) => {
                let judged = judge(&decision, &self.entrypoint, input.request.model);
                (judged.verdict, judged.cacheable)
            }
            Err(fault) => {
                let late = matches!(fault.downcast_ref(), Some(LimitError::TimeLimitExceeded { .. }));
                let fault = self.rego.fault(&fault);
                let by = match (late, fault.code == fault_code::CONFLICT) {
                    (true, _) => DeniedBy::Timeout,
                    (false, true) => DeniedBy::Conflict,
                    (false, false) => DeniedBy::Failure,
                };
                (Err(Denied::without_rule(by, &self.entrypoint, fault.text)), false)
            }
        }
    }
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Compiled::Rego(rego) = self;
        f.debug_struct("Rego").field("entrypoint", &rego.entrypoint).finish_non_exhaustive()
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

//! The engines of one policy, and which of them answers.
//!
//! The interpreter is the truth. The machine answers only while all of this holds: the configuration lets
//! it, the policy
//! has no construct that it is not trusted with, it agreed with the interpreter on every probe at activation, and it
//! agrees on every call of a sample afterwards. A difference, at whatever time, ends its use for this policy.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::RwLock;
use regorus::Value;

use super::machine::fit::Unfit;
use super::machine::{Machine, Stopped, fit, probes};
use super::permit::DeniedBy;
use super::rego::{Fault, Rego, RegoFault, classify, fault_code};
use crate::telemetry::metric;

/// One call of so many is answered by both engines: often enough to find a difference within seconds under load, and
/// too seldom to be felt.
const SAMPLE: u32 = 512;
/// Probes that may run into the time limit; a policy that is so slow isn't made fast by the machine.
const LATE_PROBES_MAX: u32 = 2;
/// Probes that the machine may fail to answer, of a hundred; above, most calls would pay for both engines.
const UNABLE_PERCENT_MAX: usize = 20;

/// Why the machine is not in use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Interpreted {
    /// The configuration says so.
    #[error("`policy.engine` is `interpreter`")]
    Setting,
    /// The policy has a construct that the machine is not trusted with.
    #[error("{0}")]
    Construct(#[from] Unfit),
    /// The machine can't run the policy.
    #[error("the machine can't run it: {0}")]
    Unable(String),
    /// The policy is slow.
    #[error("too many probes ran into the time limit")]
    Slow,
    /// The engines gave different answers.
    #[error("the machine and the interpreter differ {0}")]
    Differ(When),
}

/// When a difference was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Before the policy came into use.
    Activation,
    /// On a call. The caller got the interpreter's answer.
    Call,
}

impl std::fmt::Display for When {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Activation => "on a probe",
            Self::Call => "on a call",
        })
    }
}

impl Interpreted {
    /// Value of the metric's label.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Setting => "setting",
            Self::Construct(_) => "construct",
            Self::Unable(_) => "unable",
            Self::Slow => "slow",
            Self::Differ(When::Activation) => "differs_on_probe",
            Self::Differ(When::Call) => "differs_on_call",
        }
    }
}

/// An evaluation without an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unanswered {
    pub by: DeniedBy,
    /// For the operator.
    pub text: String,
    /// Whether OPA would answer.
    is_stricter_than_opa: bool,
}

impl Unanswered {
    pub(super) fn new(by: DeniedBy, text: impl Into<String>) -> Self {
        Self { by, text: text.into(), is_stricter_than_opa: false }
    }
}

/// One policy, ready to answer.
pub(super) struct Engines {
    /// Ends with the first error, so that none is lost inside a function with a second definition.
    strict: Rego,
    /// Takes a builtin's error for undefined, as OPA does.
    lenient: Rego,
    entrypoint: String,
    limit: std::time::Duration,
    machine: RwLock<Result<Machine, Interpreted>>,
    calls: AtomicU32,
}

impl Engines {
    /// Interpreted only. Both engines hold the same prepared policy.
    pub(super) fn interpreted(strict: Rego, lenient: Rego, entrypoint: String, limit: std::time::Duration) -> Self {
        let machine = RwLock::new(Err(Interpreted::Setting));
        Self { strict, lenient, entrypoint, limit, machine, calls: AtomicU32::new(0) }
    }

    /// Uses `machine` from now on, where it agrees with the interpreter on all probes of its own and on `further`.
    pub(super) fn trust(&mut self, machine: Result<Machine, Interpreted>, further: &[Value]) {
        let machine = machine.and_then(|machine| {
            let modules = self.strict.engine.get_modules().clone();
            let modules: Vec<_> = modules.iter().map(AsRef::as_ref).collect();
            fit::check(&modules)?;
            let own = probes::make(&modules, &self.strict.engine.get_data());
            self.compare(&machine, further.iter().chain(&own))?;
            Ok(machine)
        });
        if let Err(why) = &machine {
            refused(why);
        }
        *self.machine.write() = machine;
    }

    /// Why the interpreter answers all calls; `None` while the machine does.
    pub(super) fn why_interpreted(&self) -> Option<Interpreted> {
        self.machine.read().as_ref().err().cloned()
    }

    /// The value of the policy's rule for `input`.
    pub(super) fn answer(&self, input: Value) -> Result<Value, Unanswered> {
        let by_machine = match &*self.machine.read() {
            Ok(machine) => quietly(|| machine.run(input.clone())),
            Err(_) => return self.interpret(input),
        };
        match by_machine {
            Ok(Ok(value)) if self.is_sampled() => self.verify(value, input),
            Ok(Ok(value)) => Ok(value),
            Ok(Err(Stopped::Limit(text))) => Err(Unanswered::new(DeniedBy::Timeout, text)),
            Ok(Err(Stopped::Unable(_))) | Err(Panicked) => self.interpret(input),
        }
    }

    fn is_sampled(&self) -> bool {
        self.calls.fetch_add(1, Ordering::Relaxed).checked_rem(SAMPLE) == Some(0)
    }

    fn verify(&self, by_machine: Value, input: Value) -> Result<Value, Unanswered> {
        let answer = self.interpret(input);
        let is_no_truth = matches!(&answer, Err(it) if it.by == DeniedBy::Timeout || it.is_stricter_than_opa);
        if !is_no_truth && answer.as_ref().ok() != Some(&by_machine) {
            let why = Interpreted::Differ(When::Call);
            refused(&why);
            *self.machine.write() = Err(why);
        }
        answer
    }

    fn compare<'p>(&self, machine: &Machine, probes: impl Iterator<Item = &'p Value>) -> Result<(), Interpreted> {
        let (mut late, mut unable, mut all) = (0_u32, 0_usize, 0_usize);
        let mut last = String::new();
        for probe in probes {
            all = all.saturating_add(1);
            let truth = self.interpret(probe.clone());
            let answer = quietly(|| machine.run(probe.clone()));
            match (answer, truth) {
                (Ok(Err(Stopped::Limit(_))), _) | (_, Err(Unanswered { by: DeniedBy::Timeout, .. })) => {
                    late = late.saturating_add(1);
                }
                (Ok(Ok(value)), Ok(truth)) if value == truth => {}
                // The interpreter refuses what OPA answers: there is no truth to compare with.
                (Ok(Ok(_)), Err(unanswered)) if unanswered.is_stricter_than_opa => {}
                (Ok(Ok(_)), Ok(_) | Err(_)) => return Err(Interpreted::Differ(When::Activation)),
                (Ok(Err(Stopped::Unable(text))), Ok(_) | Err(_)) => {
                    unable = unable.saturating_add(1);
                    last = text;
                }
                (Err(Panicked), Ok(_) | Err(_)) => return Err(Interpreted::Unable("it panics".to_owned())),
            }
            if late > LATE_PROBES_MAX {
                return Err(Interpreted::Slow);
            }
        }
        match unable.saturating_mul(100) > all.saturating_mul(UNABLE_PERCENT_MAX) {
            true => Err(Interpreted::Unable(last)),
            false => Ok(()),
        }
    }

    /// The value of any document, such as `data["a"]["b"]`, as OPA would give it; undefined where there is none.
    pub(super) fn query(&self, document: &str, input: Option<Value>) -> Result<Value, RegoFault> {
        let asked = quietly(|| {
            let mut rego = self.lenient.clone();
            if let Some(input) = input {
                rego.engine.set_input(input);
            }
            rego.query(document)
        });
        let panicked = || {
            let text = "the engine panicked".to_owned();
            RegoFault { code: fault_code::INTERNAL, file: None, place: None, text }
        };
        let found = asked.map_err(|Panicked| panicked())??;
        let value = found.result.into_iter().next().and_then(|row| row.expressions.into_iter().next());
        Ok(value.map_or(Value::Undefined, |expression| expression.value))
    }

    /// The interpreter's answer: first as if every error counted; where a builtin's error ended that, as OPA does.
    pub(super) fn interpret(&self, input: Value) -> Result<Value, Unanswered> {
        match self.evaluate(&self.strict, input.clone()) {
            Err(Unanswered { by: DeniedBy::Failure, .. }) => {}
            answer => return answer,
        }
        let started = crate::clock::instant();
        let answer = self.evaluate(&self.lenient, input)?;
        // A function with a second definition may lose the time limit's error.
        if crate::clock::instant().saturating_duration_since(started) >= self.limit {
            return Err(Unanswered::new(DeniedBy::Timeout, "the time limit passed"));
        }
        Ok(answer)
    }

    fn evaluate(&self, rego: &Rego, input: Value) -> Result<Value, Unanswered> {
        let evaluated = quietly(|| {
            let mut engine = rego.engine.clone();
            engine.set_input(input);
            engine.eval_rule(self.entrypoint.clone())
        });
        match evaluated {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(fault)) => {
                let class = classify(&fault);
                let by = match class {
                    Fault::Limit => DeniedBy::Timeout,
                    Fault::Conflict => DeniedBy::Conflict,
                    Fault::NoMembers | Fault::Other => DeniedBy::Failure,
                };
                let is_stricter_than_opa = class == Fault::NoMembers;
                Err(Unanswered { by, text: rego.fault(&fault).text, is_stricter_than_opa })
            }
            Err(Panicked) => Err(Unanswered::new(DeniedBy::Failure, "the engine panicked")),
        }
    }
}

struct Panicked;

/// A panic of the engine ends one evaluation and not the process. What it worked on is dropped with it.
fn quietly<T>(evaluate: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(evaluate)).map_err(|_| Panicked)
}

fn refused(why: &Interpreted) {
    metrics::counter!(metric::POLICY_MACHINE_REFUSED, "reason" => why.code()).increment(1);
    match why {
        Interpreted::Differ(_) => tracing::error!(%why, "the policy is interpreted: its machine was wrong"),
        Interpreted::Setting | Interpreted::Construct(_) | Interpreted::Unable(_) | Interpreted::Slow => {
            tracing::info!(%why, "the policy is interpreted");
        }
    }
}

#[cfg(test)]
mod conformance_tests;
#[cfg(test)]
mod tests;

//! What one revision of the configuration says of its decisions: labels, names, and the Rego of `package system.log`.
//!
//! `data.system.log.mask` names what is erased, `data.system.log.drop` which decisions are not kept. A builtin that
//! fails in them is an error here, and an error keeps the payload out of the log.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use regorus::Value;
use regorus::unstable::{Rule, RuleHead};
use regorus::utils::limits::ExecutionTimerConfig;

use crate::config::Settings;
use crate::config::settings::DecisionSink;
use crate::policy::rego::builtins::OnError;
use crate::policy::rego::{Rego, one_line};
use crate::policy::source::{self, Bundle, Tests};
use crate::policy::{PolicyFault, eval};

/// Longest evaluation of a mask; no call waits for it.
const TIME_MAX: Duration = Duration::from_millis(200);
/// Steps of the interpreter between two looks at the clock.
const TIMER_STEPS: NonZeroU32 = NonZeroU32::MIN.saturating_add(63);
/// Package of masks, as OPA calls it.
const PACKAGE: &str = "system.log";
/// The rule that names what is erased.
const MASK: &str = "mask";
/// The rule that says what is not kept.
const DROP: &str = "drop";
/// Characters of a revision's name.
const REVISION_CHARS: usize = 16;
/// Name of the bundle that the configuration names.
const BUNDLE: &str = "configured";

/// A mask or drop policy without an answer.
#[derive(Debug, thiserror::Error)]
#[error("`data.system.log` failed: {0}")]
pub struct Unmasked(String);

/// Masks, labels and names of one revision.
#[derive(Default)]
pub struct Rules {
    labels: BTreeMap<String, String>,
    bundle: &'static str,
    revision: String,
    path: String,
    engine: Option<Rego>,
    has_mask: bool,
    has_drop: bool,
}

impl Rules {
    /// Reads and compiles them; nothing is read where no decision is kept.
    ///
    /// # Errors
    /// As policies.
    pub fn prepare(settings: &Settings) -> Result<Self, PolicyFault> {
        let own = &settings.decision_log;
        if own.sink == DecisionSink::Off {
            return Ok(Self::default());
        }
        let policies = source::load(&settings.policy)?;
        let masks = match &own.masks {
            Some(folder) => source::read(std::slice::from_ref(folder), Tests::LeftOut)?,
            None => policies.clone(),
        };
        let rules = Self::new(&masks, own.labels.clone(), &settings.policy.entrypoint)?;
        Ok(Self { revision: revision(&policies), ..rules })
    }

    /// Of masks that are at hand.
    ///
    /// # Errors
    /// They don't compile.
    pub fn new(masks: &Bundle, labels: BTreeMap<String, String>, entrypoint: &str) -> Result<Self, PolicyFault> {
        let data: Vec<Value> = masks.data.iter().cloned().map(Value::from).collect();
        let mut rego = eval::prepare(&masks.policies, &data, OnError::Fail).map_err(|fault| PolicyFault::Policy {
            file: fault.file.unwrap_or_default(),
            line: fault.place.map(|(line, _)| line),
            text: fault.text,
        })?;
        rego.engine.set_execution_timer_config(ExecutionTimerConfig { limit: TIME_MAX, check_interval: TIMER_STEPS });
        let (has_mask, has_drop) = (has_rule(&rego, MASK), has_rule(&rego, DROP));
        let path = entrypoint.strip_prefix("data.").unwrap_or(entrypoint).replace('.', "/");
        let mut all = BTreeMap::from([("version".to_owned(), env!("CARGO_PKG_VERSION").to_owned())]);
        all.extend(labels);
        Ok(Self {
            labels: all,
            bundle: BUNDLE,
            revision: revision(masks),
            path,
            engine: (has_mask || has_drop).then_some(rego),
            has_mask,
            has_drop,
        })
    }

    /// Texts that stand on every decision.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.labels
    }

    /// Name and revision of the policies.
    pub fn bundle(&self) -> (&str, &str) {
        (self.bundle, &self.revision)
    }

    /// Path of the rule that decides, as OPA writes it: `weir/authz/decision`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether any decision must be looked at before it is written.
    pub fn look(&self) -> bool {
        self.engine.is_some()
    }

    /// Whether a decision is not kept.
    ///
    /// # Errors
    /// The policy failed, or answered with something else than yes or no.
    pub fn drops(&self, event: &Value) -> Result<bool, Unmasked> {
        match self.has_drop.then(|| self.ask(DROP, event)).transpose()? {
            None | Some(Value::Undefined) => Ok(false),
            Some(answer) => answer.as_bool().copied().map_err(|_| Unmasked("`drop` is no boolean".to_owned())),
        }
    }

    /// What is erased from a decision; undefined where no mask is.
    ///
    /// # Errors
    /// The policy failed.
    pub fn masks(&self, event: &Value) -> Result<Value, Unmasked> {
        if self.has_mask { self.ask(MASK, event) } else { Ok(Value::Undefined) }
    }

    fn ask(&self, rule: &str, event: &Value) -> Result<Value, Unmasked> {
        let Some(rego) = &self.engine else { return Ok(Value::Undefined) };
        let asked = catch_unwind(AssertUnwindSafe(|| {
            let mut engine = rego.engine.clone();
            engine.set_input(event.clone());
            engine.eval_rule(format!("data.{PACKAGE}.{rule}"))
        }));
        let answer = asked.map_err(|_| Unmasked("the engine panicked".to_owned()))?;
        answer.map_err(|fault| Unmasked(one_line(&fault)))
    }
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rules").field("revision", &self.revision).finish_non_exhaustive()
    }
}

/// Whether a module of the package has that rule.
fn has_rule(rego: &Rego, name: &str) -> bool {
    let modules = rego.engine.clone().get_modules().clone();
    modules
        .iter()
        .filter(|module| module.package.refr.span().text() == PACKAGE)
        .flat_map(|module| &module.policy)
        .any(|rule| rule_name(rule) == name)
}

fn rule_name(rule: &Rule) -> &str {
    let refr = match rule {
        Rule::Default { refr, .. }
        | Rule::Spec {
            head: RuleHead::Compr { refr, .. } | RuleHead::Set { refr, .. } | RuleHead::Func { refr, .. },
            ..
        } => refr,
    };
    let text = refr.span().text();
    text.split(['.', '[', '(', ' ']).next().unwrap_or(text)
}

/// A name for exactly these policies and data.
fn revision(bundle: &Bundle) -> String {
    let mut hasher = blake3::Hasher::new();
    for (file, text) in &bundle.policies {
        for part in [file, text] {
            hasher.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
            hasher.update(part.as_bytes());
        }
    }
    for document in &bundle.data {
        hasher.update(document.to_string().as_bytes());
    }
    hasher.finalize().to_hex().chars().take(REVISION_CHARS).collect()
}

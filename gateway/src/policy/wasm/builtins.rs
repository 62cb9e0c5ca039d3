//! The builtins that a module asks its host for, answered by the same functions as in interpreted policies.
//!
//! Each becomes a rule of one small policy, `b_N := NAME(input[0], …)`: so a builtin means the same wherever it is
//! called, and what policies may not call is refused here too. A builtin that fails is undefined, as in OPA.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use regorus::Value;
use regorus::unstable::BUILTINS;
use regorus::utils::limits::ExecutionTimerConfig;

use super::{Stopped, WasmFault};
use crate::policy::calls;
use crate::policy::eval;
use crate::policy::rego::builtins::{OnError, arity};
use crate::policy::rego::{Fault, Rego, classify};

/// Builtins of one module; OPA has two hundred in all.
const BUILTINS_MAX: usize = 512;
/// Arguments of the longest of `opa_builtin0` to `opa_builtin4`.
const ARGUMENTS_MAX: u8 = 4;
/// Steps of the interpreter between two looks at the clock.
const TIMER_STEPS: std::num::NonZeroU32 = std::num::NonZeroU32::MIN.saturating_add(15);

/// The builtins of one module.
pub(super) struct Builtins {
    rego: Rego,
    /// Rule and number of arguments, by the module's own number.
    known: HashMap<i32, (String, usize)>,
}

impl Builtins {
    /// `names` with the module's numbers for them; one that isn't offered is a fault.
    pub(super) fn new(names: Vec<(String, i32)>, timeout: Duration) -> Result<Self, WasmFault> {
        if names.len() > BUILTINS_MAX {
            return Err(WasmFault::Foreign("it calls too many builtins".to_owned()));
        }
        let mut text = "package weir_wasm\nimport rego.v1\n".to_owned();
        let mut known = HashMap::new();
        for (name, number) in names {
            let refused = |why| WasmFault::Builtin { name: name.clone(), why };
            if let Some(why) = calls::refused(&name) {
                return Err(refused(why));
            }
            let count = BUILTINS.get(name.as_str()).map(|(_, count)| *count).or_else(|| arity(&name));
            let count = count.filter(|count| *count <= ARGUMENTS_MAX).ok_or_else(|| refused("there is none"))?;
            let rule = format!("b_{}", known.len());
            let arguments: Vec<String> = (0..count).map(|place| format!("input[{place}]")).collect();
            text.push_str(&format!("{rule} := {name}({})\n", arguments.join(", ")));
            known.insert(number, (format!("data.weir_wasm.{rule}"), usize::from(count)));
        }
        let mut rego = eval::prepare(&[("builtins.rego".to_owned(), text)], &[], OnError::Undefined)
            .map_err(|fault| WasmFault::Foreign(fault.text))?;
        rego.engine.set_execution_timer_config(ExecutionTimerConfig { limit: timeout, check_interval: TIMER_STEPS });
        if let Some((rule, _)) = known.values().next() {
            // Prepares the engine, so that its clones evaluate at once.
            let prepared = rego.engine.compile_with_entrypoint(&rule.as_str().into());
            prepared.map_err(|fault| WasmFault::Foreign(fault.to_string()))?;
        }
        Ok(Self { rego, known })
    }

    /// The value of builtin `number`; undefined where it fails.
    pub(super) fn call(&self, number: i32, arguments: Vec<Value>) -> Result<Value, Stopped> {
        let (rule, count) = self.known.get(&number).ok_or(Stopped::Builtin("the number is unknown"))?;
        if *count != arguments.len() {
            return Err(Stopped::Builtin("it takes another number of arguments"));
        }
        let evaluate = || {
            let mut engine = self.rego.engine.clone();
            engine.set_input(Value::from(arguments));
            engine.eval_rule(rule.clone())
        };
        match catch_unwind(AssertUnwindSafe(evaluate)) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(fault)) if classify(&fault) == Fault::Limit => Err(Stopped::Builtin("it took too long")),
            Ok(Err(_)) => Ok(Value::Undefined),
            Err(_) => Err(Stopped::Builtin("it panicked")),
        }
    }

    /// A value as the module wrote it: JSON, but for sets.
    #[allow(clippy::unused_self, reason = "beside its counterpart `call`")]
    pub(super) fn read(&self, text: &str) -> Result<Value, Stopped> {
        let value = Value::from_json_str(text).ok().or_else(|| eval::term(text).ok());
        value.ok_or(Stopped::Builtin("an argument can't be read"))
    }
}

/// A value as OPA's modules read it: JSON, but for sets, `{1, 2}` and `set()`.
pub(super) fn written(value: &Value) -> String {
    let mut text = String::new();
    write(value, &mut text);
    text
}

fn write(value: &Value, text: &mut String) {
    match value {
        Value::Set(items) if items.is_empty() => text.push_str("set()"),
        Value::Set(items) => list(items.iter(), ('{', '}'), text),
        Value::Array(items) => list(items.iter(), ('[', ']'), text),
        Value::Object(members) => {
            text.push('{');
            for (place, (name, value)) in members.iter().enumerate() {
                if place > 0 {
                    text.push(',');
                }
                write(name, text);
                text.push(':');
                write(value, text);
            }
            text.push('}');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            text.push_str(&value.to_json_str().unwrap_or_default());
        }
        Value::Undefined => {}
    }
}

fn list<'v>(items: impl Iterator<Item = &'v Value>, (open, close): (char, char), text: &mut String) {
    text.push(open);
    for (place, item) in items.enumerate() {
        if place > 0 {
            text.push(',');
        }
        write(item, text);
    }
    text.push(close);
}

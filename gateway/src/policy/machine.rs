//! The engine's bytecode machine: several times faster than its interpreter, and measured to answer some policies
//! wrongly without an error.
//!
//! Owns the compiled program and a pool of machines; decides nothing about trust. [`fit`] says which policies it may
//! run at all, [`probes`] makes the inputs on which it must agree with the interpreter before it runs one.

pub(super) mod fit;
mod guard;
pub(super) mod probes;
mod single;

use std::num::NonZeroU32;
use std::sync::Arc;

use parking_lot::Mutex;
use regorus::languages::rego::compiler::Compiler;
use regorus::rvm::vm::VmError;
use regorus::rvm::{Program, RegoVM};
use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{CompiledPolicy, Value};

use super::rego::builtins::OnError;
use super::rego::{self, Rego};

/// Machines that wait for work. One runs per thread that decides; more threads than this make one for each call.
const IDLE_MAX: usize = 64;
/// Instructions between two looks at the clock: some ten microseconds.
const TIMER_STEPS: NonZeroU32 = NonZeroU32::MIN.saturating_add(255);
/// Instructions of one evaluation. The timer is what stops a runaway; this stops one whose clock doesn't move.
const INSTRUCTIONS_MAX: usize = 50_000_000;

/// A policy compiled for the machine.
pub(super) struct Machine {
    program: Arc<Program>,
    policy: CompiledPolicy,
    data: Value,
    timer: ExecutionTimerConfig,
    idle: Mutex<Vec<RegoVM>>,
    /// A fault that tests put into the answers.
    #[cfg(test)]
    pub(super) twist: Option<fn(Value) -> Value>,
}

/// Why the machine has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stopped {
    /// It took longer than it may, or grew larger.
    #[error("{0}")]
    Limit(String),
    /// It can't run this; the interpreter must answer.
    #[error("{0}")]
    Unable(String),
}

impl Machine {
    /// Compiles the rule `entrypoint` of a policy that the interpreter has; the text says why that can't be.
    pub(super) fn build(known: &Rego, entrypoint: &str, timer: ExecutionTimerConfig) -> Result<Self, String> {
        let mut guarded = Rego::new(OnError::Undefined);
        for module in known.engine.clone().get_modules().iter() {
            let file = module.package.span.source.get_path().to_string();
            guarded.engine.add_policy(file, guard::guarded(module)).map_err(|fault| rego::one_line(&fault))?;
        }
        let data = known.engine.get_data();
        guarded.engine.add_data(data.clone()).map_err(|fault| rego::one_line(&fault))?;
        let policy =
            guarded.engine.compile_with_entrypoint(&entrypoint.into()).map_err(|fault| rego::one_line(&fault))?;
        let program = Compiler::compile_from_policy(&policy, &[entrypoint]).map_err(|fault| fault.to_string())?;
        // It takes many more steps in the same time than the interpreter, and a look at the clock costs several.
        let timer = ExecutionTimerConfig { check_interval: TIMER_STEPS.max(timer.check_interval), ..timer };
        let machine = Self {
            program,
            policy,
            data,
            timer,
            idle: Mutex::default(),
            #[cfg(test)]
            twist: None,
        };
        let first = machine.make().map_err(|fault| fault.to_string())?;
        machine.idle.lock().push(first);
        Ok(machine)
    }

    /// The value of the rule for `input`.
    pub(super) fn run(&self, input: Value) -> Result<Value, Stopped> {
        let waiting = self.idle.lock().pop();
        let mut vm = match waiting {
            Some(vm) => vm,
            None => self.make().map_err(stopped)?,
        };
        vm.set_input(input);
        // A machine that failed may hold half of an evaluation: it is dropped, not kept.
        let value = vm.execute_entry_point_by_index(0).map_err(stopped)?;
        vm.set_input(Value::Null);
        let mut idle = self.idle.lock();
        if idle.len() < IDLE_MAX {
            idle.push(vm);
        }
        drop(idle);
        #[cfg(test)]
        let value = self.twist.map_or_else(|| value.clone(), |twist| twist(value.clone()));
        Ok(value)
    }

    fn make(&self) -> Result<RegoVM, VmError> {
        let mut vm = RegoVM::new_with_policy(self.policy.clone());
        vm.load_program(Arc::clone(&self.program));
        vm.set_data(self.data.clone())?;
        vm.set_max_instructions(INSTRUCTIONS_MAX);
        vm.set_execution_timer_config(Some(self.timer));
        // Strict, it would let a builtin's error end a rule's body without a word.
        vm.set_strict_builtin_errors(false);
        Ok(vm)
    }

    /// Machines that wait now.
    #[cfg(test)]
    pub(super) fn idle(&self) -> usize {
        self.idle.lock().len()
    }
}

/// One question to a policy that the machine may run.
pub(super) fn ask(
    policy: &Rego,
    rule: &str,
    input: Option<Value>,
    timer: ExecutionTimerConfig,
) -> Result<Value, Stopped> {
    let modules = policy.engine.clone().get_modules().clone();
    let modules: Vec<_> = modules.iter().map(AsRef::as_ref).collect();
    fit::check(&modules).map_err(|unfit| Stopped::Unable(unfit.to_string()))?;
    Machine::build(policy, rule, timer).map_err(Stopped::Unable)?.run(input.unwrap_or(Value::Undefined))
}

#[allow(clippy::wildcard_enum_match_arm, reason = "fifty kinds of fault, of which three are limits")]
#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn stopped(fault: VmError) -> Stopped {
    match fault {
        VmError::TimeLimitExceeded { .. }
        | VmError::MemoryLimitExceeded { .. }
        | VmError::InstructionLimitExceeded { .. } => Stopped::Limit(fault.to_string()),
        _ => Stopped::Unable(fault.to_string()),
    }
}

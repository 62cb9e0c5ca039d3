//! The engine's bytecode machine: several times faster than its interpreter, and measured to answer some policies
//! wrongly without an error.
//!
//! Owns the compiled program and a pool of machines; decides nothing about trust. [`fit`] says which policies it may
//! run at all, [`probes`] makes the inputs on which it must agree with the interpreter before it runs one.

pub(super) mod fit;
pub(super) mod probes;
mod single;

use std::sync::Arc;

use parking_lot::Mutex;
use regorus::languages::rego::compiler::Compiler;
use regorus::rvm::vm::VmError;
use regorus::rvm::{Program, RegoVM};
use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{CompiledPolicy, Value};

/// Machines that wait for work. One runs per thread that decides; more threads than this make one for each call.
const IDLE_MAX: usize = 64;
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
    /// Compiles the rule `entrypoint`; the text says why that can't be.
    pub(super) fn build(
        policy: CompiledPolicy,
        data: Value,
        entrypoint: &str,
        timer: ExecutionTimerConfig,
    ) -> Result<Self, String> {
        let program = Compiler::compile_from_policy(&policy, &[entrypoint]).map_err(|fault| fault.to_string())?;
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

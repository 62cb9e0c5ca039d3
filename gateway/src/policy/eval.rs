//! One question to Rego with everything that it needs: modules, data, input, query. Nothing of a running gateway.

use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Expression, Location, QueryResult, QueryResults, Value};

use super::PolicyFault;
use super::calls;
use super::machine::{self, Stopped};
use super::rego::builtins::OnError;
use super::rego::{Rego, RegoFault, fault_code};

/// Longest evaluation.
const TIME_MAX: Duration = Duration::from_secs(30);
/// Steps of the interpreter between two looks at the clock.
const TIMER_STEPS: NonZeroU32 = NonZeroU32::MIN.saturating_add(255);

/// Modules as (file, text), documents, and what is asked of them.
#[derive(Debug, Default)]
pub struct Question {
    /// (file, text).
    pub modules: Vec<(String, String)>,
    /// Documents that are merged to `data`.
    pub data: Vec<Value>,
    /// The document `input`; undefined without it.
    pub input: Option<Value>,
    /// A query.
    pub query: String,
    /// Whether a builtin's error fails the evaluation.
    pub strict: bool,
    /// Who answers.
    pub engine: Engine,
}

/// Who answers a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// The interpreter: the truth.
    #[default]
    Interpreter,
    /// The faster machine, which answers only for a rule, of policies that a gateway would let it run.
    Machine,
}

/// Evaluates a question.
///
/// # Errors
/// What doesn't parse or compile, or why the evaluation failed.
pub fn answer(question: &Question) -> Result<QueryResults, RegoFault> {
    // The engine is not ours: whatever it does, a question has an answer.
    catch_unwind(AssertUnwindSafe(|| evaluate(question))).unwrap_or_else(|_| {
        Err(RegoFault { code: fault_code::INTERNAL, file: None, place: None, text: "the engine panicked".to_owned() })
    })
}

/// An engine with modules and data, everything about them checked.
///
/// # Errors
/// A module or a document is wrong.
pub fn prepare(modules: &[(String, String)], data: &[Value], on_error: OnError) -> Result<Rego, RegoFault> {
    let mut rego = Rego::new(on_error);
    rego.engine.set_execution_timer_config(timer());
    for (file, text) in modules {
        rego.add(file, text)?;
    }
    for document in data {
        rego.engine.add_data(document.clone()).map_err(|fault| rego.fault(&fault))?;
    }
    let modules = rego.engine.get_modules().clone();
    calls::check(&modules.iter().map(AsRef::as_ref).collect::<Vec<_>>()).map_err(compile_fault)?;
    Ok(rego)
}

fn evaluate(question: &Question) -> Result<QueryResults, RegoFault> {
    let on_error = if question.strict { OnError::Fail } else { OnError::Undefined };
    let mut rego = prepare(&question.modules, &question.data, on_error)?;
    if let Some(input) = &question.input {
        rego.engine.set_input(input.clone());
    }
    match question.engine {
        Engine::Interpreter => rego.query(&question.query),
        Engine::Machine => by_machine(&rego, question),
    }
}

fn by_machine(rego: &Rego, question: &Question) -> Result<QueryResults, RegoFault> {
    let fault = |code, text| RegoFault { code, file: None, place: None, text };
    let value =
        machine::ask(rego, question.query.trim(), question.input.clone(), timer()).map_err(
            |stopped| match stopped {
                Stopped::Limit(text) => fault(fault_code::CANCEL, text),
                Stopped::Unable(text) => fault(fault_code::COMPILE, text),
            },
        )?;
    if value == Value::Undefined {
        return Ok(QueryResults::default());
    }
    let location = Location { row: 1, col: 1 };
    let expression = Expression { value, text: question.query.as_str().into(), location };
    Ok(QueryResults { result: vec![QueryResult { expressions: vec![expression], ..QueryResult::default() }] })
}

fn timer() -> ExecutionTimerConfig {
    ExecutionTimerConfig { limit: TIME_MAX, check_interval: TIMER_STEPS }
}

fn compile_fault(fault: PolicyFault) -> RegoFault {
    RegoFault { code: fault_code::TYPE, ..RegoFault::from(fault) }
}

/// A term such as `{"a": {1, 2}}`, evaluated.
///
/// # Errors
/// It is none.
pub fn term(text: &str) -> Result<Value, RegoFault> {
    let found = Rego::new(OnError::Fail).query(text)?;
    let value = found.result.into_iter().next().and_then(|row| row.expressions.into_iter().next());
    Ok(value.map_or(Value::Undefined, |expression| expression.value))
}

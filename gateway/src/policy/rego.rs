//! The one way in which Weir makes a Rego engine: bounds, settings, the builtins that the crate lacks, and the spelling
//! of newer Rego that its parser doesn't know.
//!
//! Start at [`Rego`]. Refuses a module that doesn't parse, by file and line.

pub mod builtins;
pub mod desugar;
pub mod tokens;

#[cfg(test)]
pub(super) mod conformance_tests;

use std::collections::HashMap;
use std::num::{NonZeroU32, NonZeroUsize};

use regorus::unstable::{Expr, Rule, RuleHead};
use regorus::{Engine, LimitError, PolicyLengthConfig, QueryResults};

use super::PolicyFault;
use builtins::OnError;
use desugar::Columns;

/// Columns of one line: generated policies have long ones.
const LINE_COLUMNS_MAX: NonZeroU32 = NonZeroU32::MIN.saturating_add(65_535);
/// Bytes of one module.
const MODULE_BYTES_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add((4 << 20) - 1);
/// Lines of one module.
const MODULE_LINES_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(199_999);

/// Why a module or a query can't be used, or an evaluation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct RegoFault {
    /// Its kind, by OPA's name; one of [`fault_code`].
    pub code: &'static str,
    /// The module's file, where it is known.
    pub file: Option<String>,
    /// Line and column, from 1, where they are known.
    pub place: Option<(u32, u32)>,
    /// What is wrong, on one line, as the engine says it.
    pub text: String,
}

/// Kinds of faults, by OPA's names.
pub mod fault_code {
    /// Text that is no Rego.
    pub const PARSE: &str = "rego_parse_error";
    /// Rego that can't be compiled.
    pub const COMPILE: &str = "rego_compile_error";
    /// A function that doesn't exist or takes other arguments.
    pub const TYPE: &str = "rego_type_error";
    /// A variable that nothing gives a value.
    pub const UNSAFE: &str = "rego_unsafe_var_error";
    /// A rule that refers to itself.
    pub const RECURSION: &str = "rego_recursion_error";
    /// A rule with two values.
    pub const CONFLICT: &str = "eval_conflict_error";
    /// A builtin's operand is of another type.
    pub const OPERAND: &str = "eval_type_error";
    /// A builtin failed.
    pub const BUILTIN: &str = "eval_builtin_error";
    /// It took too long.
    pub const CANCEL: &str = "eval_cancel_error";
    /// Anything else.
    pub const INTERNAL: &str = "eval_internal_error";
}

impl From<PolicyFault> for RegoFault {
    fn from(fault: PolicyFault) -> Self {
        let code = fault_code::COMPILE;
        if let PolicyFault::Policy { file, line, text } = fault {
            return Self { code, file: Some(file), place: line.map(|line| (line, 1)), text };
        }
        Self { code, file: None, place: None, text: fault.to_string() }
    }
}

/// An engine with its modules, and the way back from their plain spelling to the written one.
#[derive(Clone)]
pub struct Rego {
    /// The engine.
    pub engine: Engine,
    columns: HashMap<String, Columns>,
}

impl Rego {
    /// An engine as every part of Weir uses it.
    pub fn new(on_error: OnError) -> Self {
        let mut engine = Engine::new();
        engine.set_policy_length_config(PolicyLengthConfig {
            max_col: LINE_COLUMNS_MAX,
            max_file_bytes: MODULE_BYTES_MAX,
            max_lines: MODULE_LINES_MAX,
        });
        engine.set_strict_builtin_errors(on_error == OnError::Fail);
        engine.set_gather_prints(true);
        builtins::register(&mut engine, on_error);
        Self { engine, columns: HashMap::new() }
    }

    /// Adds a module.
    ///
    /// # Errors
    /// It doesn't parse.
    pub fn add(&mut self, file: &str, text: &str) -> Result<(), RegoFault> {
        for plain in desugar::modules(text) {
            if !plain.columns.is_empty() {
                // Of the modules of one file the first has everything that most errors are about.
                self.columns.entry(file.to_owned()).or_insert(plain.columns);
            }
            let added = self.engine.add_policy(file.to_owned(), plain.text);
            added.map_err(|fault| RegoFault { code: fault_code::PARSE, ..self.fault(&fault) })?;
        }
        Ok(())
    }

    /// Evaluates a query.
    ///
    /// # Errors
    /// It doesn't parse, or the evaluation failed.
    pub fn query(&mut self, query: &str) -> Result<QueryResults, RegoFault> {
        let query = desugar::query(query);
        // Asked for a member below such a set, the engine was found to answer with nothing unless all is evaluated.
        let found =
            match self.engine.get_modules().iter().flat_map(|module| &module.policy).any(|rule| is_inner_set(rule)) {
                true => self.engine.eval_query_and_all_rules(query, false),
                false => self.engine.eval_query(query, false),
            };
        found.map_err(|fault| self.fault(&fault))
    }

    /// An error of the engine with its place as written.
    pub fn fault(&self, fault: &anyhow::Error) -> RegoFault {
        let text = one_line(fault);
        let code = kind(&text);
        let Some((file, line, column)) = position(&text) else {
            return RegoFault { code, file: None, place: None, text };
        };
        let written = self.columns.get(&file).map_or(column, |columns| columns.written(line, column));
        let text = match written == column {
            true => text,
            false => text.replacen(&format!("--> {file}:{line}:{column}"), &format!("--> {file}:{line}:{written}"), 1),
        };
        RegoFault { code, file: Some(file), place: Some((line, written)), text }
    }
}

/// Whether a rule is a set below a computed name, as `p[x].r contains y`.
#[allow(clippy::wildcard_enum_match_arm, reason = "a name is one of these or nothing with brackets")]
fn is_inner_set(rule: &Rule) -> bool {
    let Rule::Spec { head: RuleHead::Set { refr, .. }, .. } = rule else { return false };
    let mut at = refr;
    loop {
        at = match at.as_ref() {
            Expr::RefDot { refr, .. } => refr,
            Expr::RefBrack { refr, index, .. } if matches!(index.as_ref(), Expr::String { .. }) => refr,
            Expr::RefBrack { .. } => return true,
            _ => return false,
        };
    }
}

/// The kind of a fault by the engine's words: it has no kinds of its own. The first that fits counts.
fn kind(text: &str) -> &'static str {
    use fault_code::{BUILTIN, CANCEL, CONFLICT, INTERNAL, OPERAND, PARSE, RECURSION, TYPE, UNSAFE};
    const WORDS: [(&str, &str); 26] = [
        ("is unsafe", UNSAFE),
        ("undefined variable", UNSAFE),
        ("could not find function", TYPE),
        ("undefined rule", TYPE),
        ("mismatch in number of arguments", TYPE),
        ("incorrect number of parameters", TYPE),
        ("cyclic", RECURSION),
        ("recursive", RECURSION),
        ("conflicts with rule", CONFLICT),
        ("multiple outputs", CONFLICT),
        ("generated multiple times", CONFLICT),
        ("execution exceeded time limit", CANCEL),
        ("time limit", CANCEL),
        ("marshaling option must be", OPERAND),
        ("` expects ", OPERAND),
        ("` requires ", OPERAND),
        ("must be array/set", OPERAND),
        ("operand must be", OPERAND),
        ("operand 1 must be", OPERAND),
        ("operand 2 must be", OPERAND),
        ("must be a list of strings", OPERAND),
        ("unexpected keyword", PARSE),
        ("error: expecting", PARSE),
        ("expected ", PARSE),
        ("invalid character", PARSE),
        ("error: ", BUILTIN),
    ];
    WORDS.iter().find(|(words, _)| text.contains(words)).map_or(INTERNAL, |(_, code)| *code)
}

/// File, line and column of a message such as `--> authz.rego:12:3 ...`.
fn position(text: &str) -> Option<(String, u32, u32)> {
    let place = text.split_once("--> ")?.1.split_whitespace().next()?;
    let mut parts = place.rsplitn(3, ':');
    let (column, line, file) = (parts.next()?, parts.next()?, parts.next()?);
    Some((file.to_owned(), line.parse().ok()?, column.parse().ok()?))
}

/// What an error of the engine means for the one who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It took longer than it may, or grew larger.
    Limit,
    /// Rules that may have one value have two.
    Conflict,
    /// `some x in y` of something without members: undefined in OPA and on the machine, an error of the interpreter.
    NoMembers,
    /// Anything else, such as a builtin's error in a strict engine.
    Other,
}

/// How limits read after a function's list of errors, where they lose their type.
const LIMIT_TEXTS: [&str; 2] = ["execution exceeded time limit", "execution exceeded memory limit"];
/// How the engine says that a rule or a function has two values.
const CONFLICT_TEXTS: [&str; 4] =
    ["produce multiple outputs", "produced multiple outputs", "generated multiple times", "rule conflicts with rule"];

/// How the interpreter says that it can't step through a value.
const NO_MEMBERS_TEXT: &str = "`some .. in collection` expects array/set/object";

/// Sorts an error of the engine, which has little but its text.
pub fn classify(fault: &anyhow::Error) -> Fault {
    let text = one_line(fault);
    let is = |known: &[&str]| known.iter().any(|known| text.contains(known));
    if fault.chain().any(|cause| cause.is::<LimitError>()) || is(&LIMIT_TEXTS) {
        Fault::Limit
    } else if is(&CONFLICT_TEXTS) {
        Fault::Conflict
    } else if text.contains(NO_MEMBERS_TEXT) {
        Fault::NoMembers
    } else {
        Fault::Other
    }
}

/// The whole chain of causes on one line.
pub(super) fn one_line(fault: &anyhow::Error) -> String {
    format!("{fault:#}").split_whitespace().collect::<Vec<_>>().join(" ")
}

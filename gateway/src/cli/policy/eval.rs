//! `weir policy eval`: what `opa eval` answers, for one question or a batch.

use std::io::{BufRead, Read, Write};
use std::path::{Path, PathBuf};

use regorus::{QueryResults, Value};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::{PolicyError, document, place, text_only};
use crate::policy::eval::{self, Question};
use crate::policy::rego::{RegoFault, fault_code};
use crate::policy::source::{self, Tests};

/// Bytes of one line of a batch.
const LINE_BYTES_MAX: u64 = 64 << 20;

/// Arguments of `weir policy eval`.
#[derive(Debug, clap::Args)]
pub struct EvalArgs {
    /// Files and folders of policies and data; may stand several times
    #[arg(long = "data", short = 'd', value_name = "PATH")]
    pub data: Vec<PathBuf>,
    /// JSON file of the document `input`; `-` is standard input
    #[arg(long, short, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// The same as `--input -`
    #[arg(long, conflicts_with = "input")]
    pub stdin_input: bool,
    /// How to write the answer
    #[arg(long, short, value_enum, default_value_t = Format::Json)]
    pub format: Format,
    /// Exit with 1 where the answer is undefined
    #[arg(long)]
    pub fail: bool,
    /// Exit with 1 where the answer is defined
    #[arg(long, conflicts_with = "fail")]
    pub fail_defined: bool,
    /// A builtin's error fails the evaluation
    #[arg(long)]
    pub strict_builtin_errors: bool,
    /// Answer a batch from standard input: one JSON object a line with modules, data, input, query, strict, engine
    #[arg(long, conflicts_with_all = ["data", "input", "query"])]
    pub jsonl: bool,
    /// The question, such as `data.weir.authz.decision`
    pub query: Option<String>,
}

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// As OPA's REST and command line do
    Json,
    /// Only the values, for reading
    Pretty,
    /// Only the values, texts without quotes
    Raw,
}

pub(super) fn run(args: &EvalArgs, out: &mut dyn Write) -> Result<u8, PolicyError> {
    if args.jsonl {
        return batch(out);
    }
    let query = args.query.clone().ok_or(PolicyError::NoQuery)?;
    let bundle = source::read(&args.data, Tests::Taken)?;
    text_only(&bundle)?;
    let question = Question {
        modules: bundle.policies,
        data: bundle.data.into_iter().map(Value::from).collect(),
        input: input(args)?,
        query,
        strict: args.strict_builtin_errors,
        engine: eval::Engine::Interpreter,
    };
    let answer = eval::answer(&question);
    let is_defined = answer.as_ref().is_ok_and(|found| !found.result.is_empty());
    write(args.format, &answer, &question.query, out)?;
    Ok(match (&answer, is_defined) {
        (Err(_), _) => 2,
        (Ok(_), true) => u8::from(args.fail_defined),
        (Ok(_), false) => u8::from(args.fail),
    })
}

fn input(args: &EvalArgs) -> Result<Option<Value>, PolicyError> {
    let path = if args.stdin_input { Some(Path::new("-")) } else { args.input.as_deref() };
    Ok(path.map(document).transpose()?.map(Value::from))
}

/// The answer in OPA's shape.
fn shape(answer: &Result<QueryResults, RegoFault>, query: &str) -> Json {
    let found = match answer {
        Ok(found) => found,
        Err(fault) => return place::errors(std::slice::from_ref(fault)),
    };
    if found.result.is_empty() {
        return json!({});
    }
    let rows = found.result.iter().map(|row| {
        let is_single = row.expressions.len() == 1;
        let expressions = row.expressions.iter().map(|expression| {
            // The engine saw the question in plain spelling; its author wrote another.
            let text = if is_single { query.trim() } else { &expression.text };
            let location = json!({"row": expression.location.row, "col": expression.location.col});
            json!({"value": json_of(&expression.value), "text": text, "location": location})
        });
        let mut json = json!({ "expressions": expressions.collect::<Vec<_>>() });
        let bindings = json_of(&row.bindings);
        if let (Some(members), true) = (json.as_object_mut(), bindings.as_object().is_some_and(|all| !all.is_empty())) {
            members.insert("bindings".to_owned(), bindings);
        }
        json
    });
    json!({ "result": rows.collect::<Vec<_>>() })
}

/// Sets become arrays, as in OPA's JSON.
fn json_of(value: &Value) -> Json {
    value.to_json_str().ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or(Json::Null)
}

fn write(
    format: Format,
    answer: &Result<QueryResults, RegoFault>,
    query: &str,
    out: &mut dyn Write,
) -> Result<(), PolicyError> {
    let (Format::Pretty | Format::Raw, Ok(found)) = (format, answer) else {
        let text = serde_json::to_string_pretty(&shape(answer, query)).unwrap_or_default();
        return Ok(writeln!(out, "{text}")?);
    };
    if found.result.is_empty() && format == Format::Pretty {
        writeln!(out, "undefined")?;
    }
    for expression in found.result.iter().flat_map(|row| &row.expressions) {
        let json = json_of(&expression.value);
        match (format, json.as_str()) {
            (Format::Raw, Some(text)) => writeln!(out, "{text}")?,
            (Format::Raw | Format::Pretty | Format::Json, _) => {
                writeln!(out, "{}", serde_json::to_string_pretty(&json).unwrap_or_default())?;
            }
        }
    }
    Ok(())
}

/// One line of a batch; other members are ignored.
#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    modules: Modules,
    data: Option<Json>,
    input: Option<Json>,
    input_term: Option<String>,
    query: String,
    #[serde(default, alias = "strict_error")]
    strict: Option<bool>,
    #[serde(default)]
    engine: eval::Engine,
}

/// Texts, or texts by file name.
#[derive(Deserialize)]
#[serde(untagged)]
enum Modules {
    List(Vec<String>),
    Named(std::collections::BTreeMap<String, String>),
    None(()),
}

impl Default for Modules {
    fn default() -> Self {
        Self::None(())
    }
}

fn batch(out: &mut dyn Write) -> Result<u8, PolicyError> {
    let mut reader = std::io::BufReader::new(std::io::stdin());
    let mut status = 0;
    loop {
        let mut text = Vec::new();
        if (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut text)? == 0 {
            return Ok(status);
        }
        if text.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let json = match text.ends_with(b"\n") || u64::try_from(text.len()).unwrap_or(u64::MAX) < LINE_BYTES_MAX {
            true => line(&text),
            false => {
                reader.skip_until(b'\n')?;
                bad_line(format!("the line is longer than {LINE_BYTES_MAX} bytes"))
            }
        };
        if json.get("errors").is_some() {
            status = 2;
        }
        writeln!(out, "{json}")?;
        out.flush()?;
    }
}

fn bad_line(text: String) -> Json {
    place::errors(&[RegoFault { code: "bad_line", file: None, place: None, text }])
}

fn line(text: &[u8]) -> Json {
    let line: Line = match serde_json::from_slice(text) {
        Ok(line) => line,
        Err(fault) => return bad_line(fault.to_string()),
    };
    let modules = match line.modules {
        Modules::List(texts) => {
            (0..).zip(texts).map(|(number, text)| (format!("module_{number}.rego"), text)).collect()
        }
        Modules::Named(named) => named.into_iter().collect(),
        Modules::None(()) => Vec::new(),
    };
    let input = match (line.input, line.input_term) {
        (Some(input), _) => Some(Value::from(input)),
        (None, Some(term)) => match eval::term(&term) {
            Ok(value) => Some(value),
            Err(fault) => return place::errors(&[RegoFault { code: fault_code::PARSE, ..fault }]),
        },
        (None, None) => None,
    };
    let question = Question {
        modules,
        data: line.data.into_iter().map(Value::from).collect(),
        input,
        query: line.query,
        strict: line.strict.unwrap_or_default(),
        engine: line.engine,
    };
    shape(&eval::answer(&question), &question.query)
}

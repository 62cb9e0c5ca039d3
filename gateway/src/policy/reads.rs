//! What policies read of `input`: decides once, at compile time, whether a decision may be remembered.
//!
//! Conservative by construction: it looks at every expression of every module, reachable or not, and whatever it can't
//! follow (a bare `input`, a computed member, `with`, a builtin that may answer differently next time) forbids it.

use regorus::unstable::{ExprRef, Module};

use super::walk::{self, Found};

/// Members of `input` that the cache's key covers, each with all that lies below it.
const COVERED: [&[&str]; 3] = [&["subject"], &["request", "endpoint"], &["request", "model"]];

/// First names of builtins that may answer differently for the same input. A variable of that name counts too.
const UNSTEADY: [&str; 10] = ["time", "rand", "uuid", "opa", "http", "net", "io", "rego", "trace", "print"];

/// Why decisions of a policy can't be remembered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of `{file}`: `{text}`")]
pub struct Uncacheable {
    /// The policy's file name.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// The expression.
    pub text: String,
}

impl Uncacheable {
    /// Of a policy that can't be read.
    pub(super) fn compiled() -> Self {
        Self { file: "policy.wasm".to_owned(), line: 1, text: "compiled".to_owned() }
    }
}

/// `Ok` where every module reads only what the cache's key covers.
pub fn check<'a>(modules: impl IntoIterator<Item = &'a Module>) -> Result<(), Uncacheable> {
    modules.into_iter().try_for_each(|module| walk::each(module, &mut judge))
}

fn judge(node: &ExprRef, found: Found<'_>) -> Result<(), Uncacheable> {
    let steady = match found {
        // `with` may replace input, data or a function for everything below it: not worth following.
        Found::With => false,
        Found::Call(_)
        | Found::List(_)
        | Found::Members
        | Found::Statement { .. }
        | Found::Membership
        | Found::Assigned(_)
        | Found::Operation => true,
        Found::Reference { root: Some("input"), path } => is_covered(&path),
        Found::Reference { root, .. } => root.is_some_and(|root| !UNSTEADY.contains(&root)),
    };
    if steady {
        return Ok(());
    }
    let span = node.span();
    Err(Uncacheable { file: span.source.get_path().to_string(), line: span.line, text: span.text().to_owned() })
}

fn is_covered(path: &[Option<&str>]) -> bool {
    let begins = |known: &&[&str]| {
        path.len() >= known.len() && path.iter().zip(known.iter()).all(|(member, name)| *member == Some(*name))
    };
    COVERED.iter().any(begins)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(body: &str) -> Result<(), Uncacheable> {
        let mut engine = regorus::Engine::new();
        engine.add_policy("x.rego".to_owned(), format!("package x\n{body}\n")).unwrap();
        let modules = engine.get_modules().clone();
        check(modules.iter().map(AsRef::as_ref))
    }

    #[test]
    fn policies_that_read_only_the_keys_members_pass() {
        let good = [
            "a if input.subject.roles[_] == \"x\"",
            "a if input[\"subject\"][\"tenant\"]",
            "a if input.request.model in data.list",
            "a := {r | some r in input.subject.roles; startswith(r, input.request.endpoint)}",
            "import input.subject as who\na if who.key == \"k\"",
            "a if { s := input.subject; s.attributes.environment == \"test\" }",
            "f(x) := y if y := concat(\"\", [x, input.request.model])",
            "a[input.request.model] := 1 if true",
        ];
        for body in good {
            assert_eq!(scan(body), Ok(()), "{body}");
        }
    }

    #[test]
    fn everything_else_forbids_the_cache() {
        let bad = [
            "a := input",
            "a if input.request.stream",
            "a := input.request",
            "a if input[x] == 1",
            "a if { some x; input[x].model }",
            "a if input.request[data.member]",
            "a if input[\"req\"].model",
            "a if input.estimate.nano > 1",
            "a if count(input.candidates) > 0",
            "a if { x := input; x.estimate.nano == 1 }",
            "a if walk(input, [_, _])",
            "a if time.now_ns() > 1",
            "a if rand.intn(\"x\", 3) == 1",
            "a if { every c in input.candidates { c.region == \"eu\" } }",
            "a if not input.budget.tokens_remaining",
            "a := [x | x := input.estimate.nano]",
            "a := {k: v | some k, v in input.budget}",
            "import input.request as r\na if r.model == \"x\"",
            "import input as i\na if i.x",
            "b := 1\na if b == 1 with input as {}",
            "a if data.list[input.request.n]",
            "f(input_like) := 1 if input.request.n == input_like",
            "a if input.subject.roles[input.request.n]",
            "default a := false\na := 1 if true else := 2 if input.request.n == 1",
            "a contains input.request.n if true",
            "a[input.request.n] := 1 if true",
            "f(1) := input.request.n",
            "a if -input.request.n == 1",
            "a if input.request.n + 1 == 2",
            "a if data.x == ({input.request.n} & {1})",
        ];
        for body in bad {
            assert!(scan(body).is_err(), "{body}");
        }
        let fault = scan("a if input.request.stream").unwrap_err();
        assert_eq!((fault.file.as_str(), fault.line, fault.text.as_str()), ("x.rego", 2, "input.request.stream"));
    }
}

//! What policies read of `input`: decides once, at compile time, whether a decision may be remembered, and by what.
//!
//! Conservative by construction: it looks at every expression of every module, reachable or not, and whatever it can't
//! follow (a bare `input`, a computed member, `with`, a builtin that may answer differently next time) forbids it. So
//! does what is another number with each call: the moment in nanoseconds, the estimate, what is left of a budget.

use std::collections::BTreeSet;

use regorus::unstable::{ExprRef, Module};

use super::walk::{self, Found};

/// A member of `input` that few values of come back often enough for decisions to be remembered by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Member {
    /// Whether the reply is streamed.
    Stream,
    /// Completion tokens asked for.
    MaxTokens,
    /// Choices asked for.
    Choices,
    /// Names of tools.
    Tools,
    /// Whether there are images, sound or files.
    Modality,
    /// Deployments that could serve the call.
    Candidates,
    /// The peer's address.
    Ip,
    /// What the client says of itself.
    UserAgent,
    /// The listener's environment.
    Environment,
    /// The client's country.
    Geo,
    /// Day of the week.
    Weekday,
    /// Hour of the day.
    Hour,
}

/// Which of them a policy reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Members(u16);

impl Members {
    /// Whether it is one of them.
    pub(super) fn has(self, member: Member) -> bool {
        self.0 & member.bit() != 0
    }

    /// Whether there is none: who asks for which model is all.
    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl Member {
    fn bit(self) -> u16 {
        let place: u16 = match self {
            Self::Stream => 0,
            Self::MaxTokens => 1,
            Self::Choices => 2,
            Self::Tools => 3,
            Self::Modality => 4,
            Self::Candidates => 5,
            Self::Ip => 6,
            Self::UserAgent => 7,
            Self::Weekday => 8,
            Self::Hour => 9,
            Self::Environment => 10,
            Self::Geo => 11,
        };
        1 << place
    }
}

/// What decisions may be remembered by, each with all that lies below it; `None` is always part of the key.
const COVERED: [(&[&str], Option<Member>); 18] = [
    (&["version"], None),
    (&["subject"], None),
    (&["request", "dialect"], None),
    (&["request", "endpoint"], None),
    (&["request", "model"], None),
    (&["resource", "alias"], None),
    (&["request", "stream"], Some(Member::Stream)),
    (&["request", "max_tokens"], Some(Member::MaxTokens)),
    (&["request", "n"], Some(Member::Choices)),
    (&["request", "tools"], Some(Member::Tools)),
    (&["request", "modality"], Some(Member::Modality)),
    (&["resource", "candidates"], Some(Member::Candidates)),
    (&["request", "environment"], Some(Member::Environment)),
    (&["client", "geo"], Some(Member::Geo)),
    (&["client", "ip"], Some(Member::Ip)),
    (&["client", "user_agent"], Some(Member::UserAgent)),
    (&["time", "weekday"], Some(Member::Weekday)),
    (&["time", "hour"], Some(Member::Hour)),
];

/// First names of builtins that may answer differently for the same input. A variable of that name counts too.
const UNSTEADY: [&str; 9] = ["time", "rand", "uuid", "opa", "http", "io", "rego", "trace", "print"];

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

/// What all modules together read, where all of it may be part of a key.
pub(super) fn check<'a>(modules: impl IntoIterator<Item = &'a Module>) -> Result<Members, Uncacheable> {
    let mut read = Members::default();
    modules.into_iter().try_for_each(|module| walk::each(module, &mut |node, found| judge(node, found, &mut read)))?;
    Ok(read)
}

fn judge(node: &ExprRef, found: Found<'_>, read: &mut Members) -> Result<(), Uncacheable> {
    let steady = match found {
        // `with` may replace input, data or a function for everything below it: not worth following.
        Found::With(_) => false,
        Found::Call(_)
        | Found::List(_)
        | Found::Members
        | Found::Statement { .. }
        | Found::Membership
        | Found::Assigned(_)
        | Found::Operation => true,
        Found::Reference { root: Some("input"), path } => is_covered(&path, read),
        Found::Reference { root, .. } => root.is_some_and(|root| !UNSTEADY.contains(&root)),
    };
    if steady {
        return Ok(());
    }
    let span = node.span();
    Err(Uncacheable { file: span.source.get_path().to_string(), line: span.line, text: span.text().to_owned() })
}

/// Levels of `input` that are told apart by [`members`].
const DEPTH: usize = 2;

/// The members of `input` that the modules can read, each with all that lies below it, by their paths; an empty path is
/// the whole document. `None` where an answer may depend on more than `input`, such as the time.
pub fn members<'a>(modules: impl IntoIterator<Item = &'a Module>) -> Option<BTreeSet<Vec<String>>> {
    let mut found: BTreeSet<Vec<String>> = BTreeSet::new();
    let mut look = |_: &ExprRef, seen: Found<'_>| {
        let Found::Reference { root, path } = seen else { return Ok(()) };
        match root {
            Some("input") => {
                let names = path.iter().map_while(|name| name.map(str::to_owned));
                found.insert(names.take(DEPTH).collect());
                Ok(())
            }
            // Calculations with given times and addresses are steady; the clock and the resolver are not.
            Some("time") if path.first().is_some_and(|name| name.is_some_and(|name| name != "now_ns")) => Ok(()),
            Some("net") if path.first().is_some_and(|name| name.is_some_and(|name| name.starts_with("cidr_"))) => {
                Ok(())
            }
            Some(root) if !UNSTEADY.contains(&root) => Ok(()),
            Some(_) | None => Err(()),
        }
    };
    modules.into_iter().try_for_each(|module| walk::each(module, &mut look)).ok()?;
    // What lies below another one is covered by it.
    let all = found.clone();
    found.retain(|path| !all.iter().any(|other| other.len() < path.len() && path.starts_with(other)));
    Some(found)
}

fn is_covered(path: &[Option<&str>], read: &mut Members) -> bool {
    let begins = |known: &[&str]| {
        path.len() >= known.len() && path.iter().zip(known.iter()).all(|(member, name)| *member == Some(*name))
    };
    let Some((_, member)) = COVERED.iter().find(|(known, _)| begins(known)) else { return false };
    read.0 |= member.map_or(0, Member::bit);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(body: &str) -> Result<Members, Uncacheable> {
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
            assert_eq!(scan(body), Ok(Members::default()), "{body}");
        }
    }

    #[test]
    fn what_comes_back_often_is_part_of_the_key() {
        let cases: [(&str, &[Member]); 7] = [
            ("a if input.request.stream", &[Member::Stream]),
            ("a if input.request.max_tokens > 5", &[Member::MaxTokens]),
            ("a if { some c in input.resource.candidates; c.region == \"eu\" }", &[Member::Candidates]),
            ("a if net.cidr_contains(\"10.0.0.0/8\", input.client.ip)", &[Member::Ip]),
            ("a if { t := input.time; t.hour > 3 }", &[]),
            ("a if input.time.hour > 3\na if input.time.weekday == 1", &[Member::Hour, Member::Weekday]),
            (
                "a if not input.request.n == 1\nb contains t if some t in input.request.tools",
                &[Member::Choices, Member::Tools],
            ),
        ];
        for (body, want) in cases {
            match scan(body) {
                Ok(read) => assert_eq!(read.0, want.iter().fold(0, |bits, member| bits | member.bit()), "{body}"),
                Err(_) => assert!(want.is_empty(), "{body}"),
            }
        }
    }

    #[test]
    fn everything_else_forbids_the_cache() {
        let bad = [
            "a := input",
            "a if input.time.ns > 1",
            "a if input.time",
            "a := input.request",
            "a if input[x] == 1",
            "a if { some x; input[x].model }",
            "a if input.request[data.member]",
            "a if input[\"req\"].model",
            "a if input.estimate.nano > 1",
            "a if count(input.candidates) > 0",
            "a if input.findings.email",
            "a if input.client",
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
            "a if data.list[input.request.size]",
            "f(input_like) := 1 if input.request.size == input_like",
            "a if input.subject.roles[input.request.size]",
            "default a := false\na := 1 if true else := 2 if input.request.size == 1",
            "a contains input.request.size if true",
            "a[input.request.size] := 1 if true",
            "f(1) := input.request.size",
            "a if -input.request.size == 1",
            "a if input.request.size + 1 == 2",
            "a if data.x == ({input.request.size} & {1})",
        ];
        for body in bad {
            assert!(scan(body).is_err(), "{body}");
        }
        let fault = scan("a if input.request.size").unwrap_err();
        assert_eq!((fault.file.as_str(), fault.line, fault.text.as_str()), ("x.rego", 2, "input.request.size"));
    }

    #[test]
    fn the_members_that_a_policy_reads_are_told_by_their_shortest_paths() {
        let read = |body: &str| {
            let mut engine = regorus::Engine::new();
            engine.add_policy("x.rego".to_owned(), format!("package x\n{body}\n")).unwrap();
            let modules = engine.get_modules().clone();
            members(modules.iter().map(AsRef::as_ref))
                .map(|paths| paths.into_iter().map(|path| path.join(".")).collect::<Vec<_>>())
        };
        let some = |paths: &[&str]| Some(paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>());
        assert_eq!(
            read("a if input.subject.roles[_] == input.request.model"),
            some(&["request.model", "subject.roles"])
        );
        assert_eq!(read("a if input.subject.attributes.x == input.subject[data.y]"), some(&["subject"]));
        assert_eq!(read("import input.request as r\na if r.n == 1"), some(&["request"]));
        assert_eq!(read("a := input"), some(&[""]));
        assert_eq!(read("a := 1"), some(&[]));
        assert_eq!(read("a := time.weekday(input.time.ns)"), some(&["time.ns"]));
        assert_eq!(read("a := time.now_ns()"), None);
        assert_eq!(read("a := uuid.rfc4122(\"x\")"), None);
    }
}

//! Logs against candidates: what turns, what doesn't, and what can't be judged.

use std::io::Write;

use serde_json::{Value as Json, json};

use super::tally::Flip;
use super::*;
use crate::policy::source::Bundle;

const ALLOW_SMALL: &str = "package p\ndecision := {\"allow\": true, \"rule\": \"small\", \"reason\": \"ok\"} if \
    input.request.model == \"small\"\nelse := {\"allow\": false, \"rule\": \"others\", \"reason\": \"no\"}\n";

fn judge(rego: &str) -> Judge {
    let bundle = Bundle { policies: vec![("p.rego".to_owned(), rego.to_owned())], ..Bundle::default() };
    Judge::new(&bundle, "data.p.decision", &[]).unwrap()
}

fn event(id: u32, tenant: &str, model: &str, result: &Json) -> Json {
    json!({"decision_id": format!("id-{id}"), "path": "p/decision", "result": result, "input": {
        "subject": {"tenant": tenant, "key": "k1"}, "request": {"model": model, "n": id},
        "estimate": {"input_tokens": 10, "output_tokens": 5, "nano": 1_500}, "time": {"ns": 1_000_000_000}}})
}

fn lines(events: &[Json]) -> Vec<Arc<[u8]>> {
    events.iter().map(|event| event.to_string().into_bytes().into()).collect()
}

fn allowed() -> Json {
    json!({"allow": true, "rule": "small", "reason": "ok"})
}

#[test]
fn flips_are_told_by_caller_and_rule_with_what_they_are_worth() {
    let refused = json!({"allow": false, "rule": "others", "reason": "no"});
    let events: Vec<Json> = (0..10)
        .map(|id| match id {
            0..4 => event(id, "acme/a", "small", &allowed()),
            4..7 => event(id, "acme/b", "big", &allowed()),
            7 => event(id, "acme/c", "small", &refused),
            8 => event(
                id,
                "acme/c",
                "small",
                &json!({"allow": true, "rule": "small", "reason": "ok", "obligations": ["redact"]}),
            ),
            _ => event(id, "acme/c", "small", &json!(true)),
        })
        .collect();
    let report = Replay::new(judge(ALLOW_SMALL), None, Remember::Read).lines(&lines(&events));
    assert_eq!((report.counts.judged, report.flips(), report.is_whole()), (10, 5, true));
    assert_eq!(report.counts.relabelled, 1, "`true` has no rule of its own");
    assert_eq!(report.counts.remembered, 8, "two models, and nothing else is read");
    let (group, sum) = &report.groups[0];
    assert_eq!((group.flip, &*group.who, &*group.key), (Flip::AllowToDeny, "acme/b", "k1"));
    assert_eq!((&*group.before.rule, &*group.after.rule), ("small", "others"));
    assert_eq!((sum.calls, sum.tokens, sum.nano), (3, 45, 4_500));
    let json = report.to_json(1);
    assert_eq!(json["by_kind"]["allow_to_deny"], json!({"calls": 3, "tokens": 45, "nano_dollars": 4_500}));
    assert_eq!(json["by_kind"]["deny_to_allow"]["calls"], 1);
    assert_eq!(json["by_kind"]["obligations"]["calls"], 1);
    assert_eq!((&json["groups"][0]["models"], &json["groups_left_out"]), (&json!(["big"]), &json!(2)));
    let mut text = Vec::new();
    report.write(&mut text, 10).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("allow by `small` (ok) -> deny by `others` (no)"), "{text}");
    assert!(text.contains("flips       5 calls, 75 tokens, up to $0.000007"), "{text}");
}

#[test]
fn remembering_changes_nothing_but_the_time() {
    let events: Vec<Json> = (0..200)
        .map(|id| {
            event(id, &format!("t{}", id % 7), ["small", "big", "huge"][usize::try_from(id % 3).unwrap()], &allowed())
        })
        .collect();
    let report = |remember, baseline: Option<&str>| {
        Replay::new(judge(ALLOW_SMALL), baseline.map(judge), remember).lines(&lines(&events))
    };
    for baseline in [None, Some("package p\ndecision := input.request.n < 100")] {
        let (with, without) = (report(Remember::Read, baseline), report(Remember::Nothing, baseline));
        assert_eq!(with.groups, without.groups);
        assert_eq!(without.counts.remembered, 0);
    }
    assert!(report(Remember::Read, None).counts.remembered > 190);
}

#[test]
fn the_moment_of_the_decision_comes_back() {
    let rego = "package p\ndecision := time.now_ns() == 5";
    let mut at_five = event(1, "a", "m", &json!(true));
    at_five["nd_builtin_cache"] = json!({"time.now_ns": {"[]": 5}});
    let report = Replay::new(judge(rego), None, Remember::Read).lines(&lines(&[at_five]));
    assert_eq!((report.flips(), report.counts.judged), (0, 1));
    let by_input = "package p\ndecision := time.now_ns() == 1000000000";
    let report = Replay::new(judge(by_input), None, Remember::Read).lines(&lines(&[event(1, "a", "m", &json!(true))]));
    assert_eq!(report.flips(), 0, "without a record, the time in the document");
}

#[test]
fn what_can_not_be_judged_is_counted_and_never_taken_for_unchanged() {
    let mut metadata = event(1, "a", "small", &allowed());
    metadata.as_object_mut().unwrap().remove("input");
    let mut masked = event(2, "a", "small", &allowed());
    masked["erased"] = json!(["/input/subject/name"]);
    let mut undefined = event(3, "a", "small", &allowed());
    undefined.as_object_mut().unwrap().remove("result");
    let mut lines = lines(&[metadata, masked, undefined]);
    lines.extend([b"{\"decision_id\": \"torn".as_slice().into(), b"[]".as_slice().into(), b"".as_slice().into()]);
    let report = Replay::new(judge(ALLOW_SMALL), None, Remember::Read).lines(&lines);
    let counts = report.counts;
    assert_eq!((counts.judged, counts.without_input, counts.unreadable, counts.masked), (2, 1, 2, 1));
    assert!(!report.is_whole());
    assert_eq!(report.groups[0].0.before.reason.as_ref(), "policy_undefined", "no result was a refusal");
    assert!(!Replay::new(judge(ALLOW_SMALL), None, Remember::Read).lines(&[]).is_whole(), "nothing proves nothing");
}

#[test]
fn files_are_read_in_blocks_by_all_threads_packed_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let text = |ids: std::ops::Range<u32>| {
        let lines = ids.map(|id| event(id, "acme", if id % 10 == 0 { "big" } else { "small" }, &allowed()).to_string());
        lines.collect::<Vec<_>>().join("\n")
    };
    let (plain, packed) = (folder.path().join("a.jsonl"), folder.path().join("b.jsonl.gz"));
    std::fs::write(&plain, text(0..9_000)).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(std::fs::File::create(&packed).unwrap(), flate2::Compression::fast());
    gzip.write_all(text(9_000..10_000).as_bytes()).unwrap();
    gzip.finish().unwrap();
    let mut blocks = Blocks::of([plain, packed]);
    assert_eq!(probes(blocks.peek().unwrap()).len(), PROBES_MAX);
    let seen = Mutex::new(0);
    let progress = |decisions: u64, _: u64| *seen.lock() = decisions;
    let report = Replay::new(judge(ALLOW_SMALL), None, Remember::Read).run(blocks, 3, &progress).unwrap();
    assert_eq!((report.counts.judged, report.flips(), *seen.lock()), (10_000, 1_000, 10_000));
    let missing = Blocks::of([folder.path().join("none")]);
    let fault = Replay::new(judge(ALLOW_SMALL), None, Remember::Read).run(missing, 1, &|_, _| {}).unwrap_err();
    assert!(fault.to_string().contains("none"), "{fault}");
}

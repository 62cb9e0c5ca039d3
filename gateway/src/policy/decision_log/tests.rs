//! From a decision to its line, masked or not; the writer and its bounds.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::event::{self, Written};
use super::files::{Bound, Position};
use super::record::Circumstances;
use super::*;
use crate::config::settings::{PolicyEngine, PolicySettings};
use crate::policy::input::tests::subject;
use crate::policy::input::{Input, RequestInput};
use crate::policy::source::Bundle;
use crate::policy::{Compiled, Denied, Permit, replay};

const AT_NS: i64 = 1_795_615_199_123_456_789;

fn decide(rego: &str, input: &Input<'_>) -> Result<Permit, Denied> {
    let settings = PolicySettings::of_rule("data.p.decision", Duration::from_secs(5), PolicyEngine::Interpreter);
    Compiled::new(vec![("p.rego".to_owned(), format!("package p\n{rego}"))], Vec::new(), &settings)
        .unwrap()
        .decide(input)
}

/// Labels, masks and names of tests.
fn rules(masks: &str) -> Arc<Rules> {
    let policies = if masks.is_empty() { Vec::new() } else { vec![("m.rego".to_owned(), masks.to_owned())] };
    let labels = [("region".to_owned(), "eu".to_owned())].into();
    Arc::new(Rules::new(&Bundle { policies, ..Bundle::default() }, labels, "data.p.decision").unwrap())
}

fn record_of(verdict: &Result<Permit, Denied>, rules: &Arc<Rules>) -> Option<Record> {
    let mut caller = subject("acme/research/chat/kim", &["user"]);
    caller.attributes = Arc::new([("email".to_owned(), "kim@example.org".to_owned())].into());
    let request = RequestInput {
        max_tokens: Some(64),
        endpoint: "chat_completions",
        ..Input::visible(&caller, None, "small").request
    };
    let input = Input { request, now_ms: 1_795_615_199_123, ..Input::visible(&caller, None, "small") };
    let id = Uuid::from_u128(7);
    let circumstances = Circumstances { id, at_ns: AT_NS, took_ns: 25_000, now_ns: Some(AT_NS) };
    Record::of(circumstances, &input, verdict, rules, &Arc::default())
}

fn permit(obligations: &str) -> Result<Permit, Denied> {
    let caller = subject("acme", &[]);
    let rego =
        format!("decision := {{\"allow\": true, \"rule\": \"r\", \"reason\": \"ok\", \"obligations\": {obligations}}}");
    decide(&rego, &Input::visible(&caller, None, "small"))
}

fn written(record: &Record) -> (Written, Json) {
    let mut line = Vec::new();
    let written = event::write(record, 3, &mut line);
    (written, serde_json::from_slice(&line).unwrap_or_default())
}

#[test]
fn a_decision_has_the_shape_of_opas_events() {
    let (is, line) = written(&record_of(&permit("{\"route\": {\"region\": [\"eu\"]}}"), &rules("")).unwrap());
    assert_eq!(is, Written::Plain);
    let revision = line["bundles"]["configured"]["revision"].as_str().unwrap();
    assert_eq!(revision.len(), 16);
    let mut rest = line.clone();
    let input = rest.as_object_mut().unwrap().remove("input").unwrap();
    assert_eq!(input["subject"]["tenant"], "acme/research/chat/kim");
    assert_eq!(input["request"]["max_tokens"], 64);
    assert_eq!(
        rest,
        json!({
            "labels": {"region": "eu", "version": env!("CARGO_PKG_VERSION")},
            "decision_id": "00000000-0000-0000-0000-000000000007",
            "bundles": {"configured": {"revision": revision}},
            "path": "p/decision",
            "result": {"allow": true, "rule": "r", "reason": "ok", "obligations": {"route": {"region": ["eu"]}}},
            "timestamp": "2026-11-25T13:59:59.123456789Z",
            "metrics": {"timer_rego_query_eval_ns": 25_000},
            "nd_builtin_cache": {"time.now_ns": {"[]": AT_NS}},
            "req_id": 3,
        })
    );
}

#[test]
fn the_obligation_says_what_is_kept_and_no_decision_is_an_error() {
    let (_, line) = written(&record_of(&permit("{\"log\": \"metadata\"}"), &rules("")).unwrap());
    assert_eq!((line.get("input"), &line["result"]["allow"]), (None, &json!(true)));
    assert!(record_of(&permit("{\"log\": \"none\"}"), &rules("")).is_none());
    let caller = subject("acme", &[]);
    let undefined = decide("decision := true if input.never", &Input::visible(&caller, None, "small"));
    let (_, line) = written(&record_of(&undefined, &rules("")).unwrap());
    assert_eq!(line["error"], json!({"code": "policy_undefined"}));
    assert_eq!(line["result"], json!({"allow": false, "rule": "data.p.decision", "reason": "policy_undefined"}));
}

#[test]
fn every_obligation_reads_back_as_what_it_was() {
    let all = "{\"redact\": true, \"route\": {\"region\": [\"eu\", \"uk\"], \"exclude\": [\"x\"]}, \
               \"limit\": {\"max_tokens\": 5}, \"log\": \"metadata\", \"headers\": {\"x-team\": \"a\"}}";
    for obligations in [all, "{}", "[]", "[\"redact\"]", "{\"route\": {\"exclude\": [\"a\"]}}"] {
        let verdict = permit(obligations);
        let told = event::result(&verdict);
        let rego = format!("decision := {told}");
        let caller = subject("acme", &[]);
        assert_eq!(decide(&rego, &Input::visible(&caller, None, "small")), verdict, "{told}");
    }
}

/// FR-POL-05: masks work on a copy, a wrong path is told, and where masking fails the payload stays out.
#[test]
fn fr_pol_05_masks_work_on_a_copy_and_a_failure_keeps_the_payload_out() {
    let masks = "package system.log\nmask contains \"/result/reason\"\n\
        mask contains {\"op\": \"upsert\", \"path\": \"/input/subject/attributes/email\", \"value\": \"***\"}\n\
        mask contains \"/input/nope/deeper\"\nmask contains \"/input/request/tools\"\n";
    let verdict = permit("{}");
    let record = record_of(&verdict, &rules(masks)).unwrap();
    let before = record.input();
    let (is, line) = written(&record);
    assert_eq!(is, Written::Masked);
    assert_eq!(
        (&verdict.unwrap().reason()[..], record.input()),
        ("ok", before),
        "the call and its record are untouched"
    );
    assert!(line["result"].get("reason").is_none());
    assert_eq!(line["input"]["subject"]["attributes"]["email"], "***");
    assert!(line["input"]["request"].get("tools").is_none());
    assert_eq!(line["erased"], json!(["/input/request/tools", "/result/reason"]));
    assert_eq!(line["masked"], json!(["/input/subject/attributes/email"]));
    assert_eq!(line["not_erased"], json!(["/input/nope/deeper"]));
    let broken = [
        "mask contains \"/input/request\" if to_number(input.input.subject.tenant) > 1",
        "mask := 7",
        "mask contains \"/labels\"",
        "mask contains {\"op\": \"hide\", \"path\": \"/input/subject\"}",
        "mask := [\"/input\"]\nmask := [\"/result\"]",
        "drop := \"perhaps\"",
    ];
    for masks in broken {
        let record = record_of(&permit("{}"), &rules(&format!("package system.log\n{masks}\n"))).unwrap();
        let (is, line) = written(&record);
        assert_eq!(is, Written::Skeleton, "{masks}: {line}");
        assert!(!line.to_string().contains("kim"), "{masks}: {line}");
        assert_eq!(line["decision_id"], "00000000-0000-0000-0000-000000000007");
        assert_eq!(line["timestamp"], "2026-11-25T13:59:59.123456789Z");
        assert_eq!((&line["result"], &line["mask_error"]), (&json!({"allow": true}), &json!("mask_failed")));
        assert_eq!(line.get("input"), None);
    }
}

/// The reported case itself, mask for mask.
#[test]
fn the_reported_masks_do_what_is_right() {
    let event = json!({"input": {"subject": {"email": "kim@example.org"}, "messages": [{"content": "secret"}]},
        "result": {"allow": true, "token": "t-1"}});
    let masks = json!(["/result/token", {"op": "upsert", "path": "/input/subject/email", "value": "***"},
        "/input/nope/deeper", "/input/messages/0/content"]);
    let mut copy = event.clone();
    let applied = mask::apply(&mask::read(&masks).unwrap(), copy.as_object_mut().unwrap());
    let text = copy.to_string();
    assert!(!text.contains("t-1") && !text.contains("kim@") && !text.contains("secret"), "{text}");
    assert_eq!(event["result"]["token"], "t-1");
    assert_eq!(applied.erased, ["/input/messages/0/content", "/result/token"]);
    assert_eq!(
        (applied.masked, applied.not_erased),
        (vec!["/input/subject/email".to_owned()], vec!["/input/nope/deeper".to_owned()])
    );
}

#[test]
fn a_drop_policy_keeps_decisions_out() {
    let masks = "package system.log\ndrop if input.result.allow\n";
    assert_eq!(written(&record_of(&permit("{}"), &rules(masks)).unwrap()).0, Written::Dropped);
    let caller = subject("acme", &[]);
    let refused = decide("decision := false", &Input::visible(&caller, None, "small"));
    assert_eq!(written(&record_of(&refused, &rules(masks)).unwrap()).0, Written::Plain);
}

fn settings(folder: &Path, sink: DecisionSink) -> DecisionLogSettings {
    DecisionLogSettings {
        sink,
        folder: folder.join("decisions"),
        file_bytes_max: 64 << 10,
        full: LogFull::Refuse,
        masks: None,
        labels: Default::default(),
    }
}

fn all_lines(folder: &Path) -> Vec<u64> {
    let numbers = files::numbers(folder).unwrap();
    let text: String =
        numbers.iter().map(|number| std::fs::read_to_string(files::path(folder, *number)).unwrap()).collect();
    text.lines().map(|line| serde_json::from_str::<Json>(line).unwrap()["req_id"].as_u64().unwrap()).collect()
}

#[test]
fn files_are_private_rotated_and_the_newest_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path(), DecisionSink::File { kept: 3 });
    let log = DecisionLog::open(&settings).unwrap();
    let record = record_of(&permit("{}"), &rules("")).unwrap();
    for _ in 0..600 {
        log.keep(|| Some(record.clone()), LogFull::Refuse).unwrap();
        // One file after the other, whatever the threads do.
        if log.recent(1).is_empty() {
            std::thread::yield_now();
        }
    }
    log.end();
    let own = folder.path().join("decisions");
    let numbers = files::numbers(&own).unwrap();
    assert!(numbers.len() <= 3, "{numbers:?}");
    for number in numbers {
        let meta = std::fs::metadata(files::path(&own, number)).unwrap();
        assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    }
    let lines = all_lines(&own);
    assert_eq!(lines.last(), Some(&600), "the queue is written out at the end");
    assert!(lines.windows(2).all(|pair| pair[0] + 1 == pair[1]), "nothing is missing between");
    assert_eq!(log.recent(1_000).len(), 600);
    assert_eq!(log.dropped(), 0);
}

#[test]
fn a_torn_line_is_cut_off_and_the_next_start_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path(), DecisionSink::File { kept: 3 });
    let record = record_of(&permit("{}"), &rules("")).unwrap();
    let log = DecisionLog::open(&settings).unwrap();
    log.keep(|| Some(record.clone()), LogFull::Refuse).unwrap();
    log.end();
    let path = files::path(&settings.folder, 1);
    let mut text = std::fs::read_to_string(&path).unwrap();
    text.push_str("{\"decision_id\": \"torn");
    std::fs::write(&path, text).unwrap();
    let log = DecisionLog::open(&settings).unwrap();
    log.keep(|| Some(record), LogFull::Refuse).unwrap();
    log.end();
    assert_eq!(all_lines(&settings.folder), [1, 1]);
}

#[test]
fn a_full_spool_fills_the_queue_and_then_the_setting_decides() {
    let folder = tempfile::tempdir().unwrap();
    let url = url::Url::parse("http://127.0.0.1:1/logs").unwrap();
    let sink = DecisionSink::Http { url, token: None, spool_bytes_max: 4_096, batch_bytes_max: 4_096 };
    let log = DecisionLog::open(&settings(folder.path(), sink)).unwrap();
    let record = record_of(&permit("{}"), &rules("")).unwrap();
    // The writer takes what fits, then a batch in hand, then the queue fills.
    let mut offered = 0_u64;
    let mut offer_until = |full, done: &dyn Fn(&Result<Kept, LogIsFull>) -> bool| loop {
        let kept = log.keep(|| Some(record.clone()), full);
        offered += 1;
        assert!(offered < 200_000, "the bound is never reached");
        if done(&kept) {
            break;
        }
    };
    offer_until(LogFull::Refuse, &|kept| *kept == Err(LogIsFull));
    offer_until(LogFull::DropNew, &|kept| *kept == Ok(Kept::Dropped));
    assert!(log.dropped() >= 2);
    log.end();
    let lines = u64::try_from(all_lines(&folder.path().join("decisions")).len()).unwrap();
    assert_eq!(log.dropped() + lines, offered, "each one is in the spool or counted");
}

#[test]
fn whole_lines_are_read_in_batches_from_any_place() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = Files::open(folder.path(), 1 << 20, Bound::Bytes(1 << 20)).unwrap();
    assert!(files.append(b"one\ntwo\nthree is longer\n").unwrap());
    let read = |offset, most| {
        let lines = files::read(folder.path(), Position { file: 1, offset }, files.end(), most).unwrap();
        String::from_utf8(lines).unwrap()
    };
    assert_eq!(read(0, 9), "one\ntwo\n");
    assert_eq!(read(8, 3), "three is longer\n", "a line that is longer than a batch is a batch");
    assert_eq!(read(24, 9), "");
}

/// What a call pays. The bound is loose, because this build is not optimised and the machine may be busy.
#[test]
fn handing_a_decision_over_takes_microseconds() {
    let folder = tempfile::tempdir().unwrap();
    let log = DecisionLog::open(&settings(folder.path(), DecisionSink::File { kept: 2 })).unwrap();
    let (rules, verdict) = (rules(""), permit("{}"));
    let mut times: Vec<Duration> = (0..2_000)
        .map(|_| {
            let begun = crate::clock::instant();
            log.keep(|| record_of(&verdict, &rules), LogFull::DropNew).unwrap();
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    println!("p50 {:?}, p99 {:?}", times[1_000], times[1_980]);
    assert!(times[1_000] < Duration::from_micros(200), "{:?}", times[1_000]);
}

/// What is written is what a replay reads: nothing turns against the policy that decided.
#[test]
fn a_written_log_replays_without_a_flip() {
    let folder = tempfile::tempdir().unwrap();
    let log = DecisionLog::open(&settings(folder.path(), DecisionSink::File { kept: 2 })).unwrap();
    let obligations = "{\"limit\": {\"max_tokens\": 5}}";
    log.keep(|| record_of(&permit(obligations), &rules("")), LogFull::Refuse).unwrap();
    log.end();
    let rego = |limit: u32| {
        let text = format!(
            "package p\ndecision := {{\"allow\": true, \"rule\": \"r\", \"reason\": \"ok\", \
            \"obligations\": {{\"limit\": {{\"max_tokens\": {limit}}}}}}} if input.request.model == \"small\""
        );
        let bundle = Bundle { policies: vec![("p.rego".to_owned(), text)], ..Bundle::default() };
        let judge = replay::Judge::new(&bundle, "data.p.decision", &[]).unwrap();
        replay::Replay::new(judge, None, replay::Remember::Read).lines(&log.recent(10))
    };
    assert_eq!((rego(5).flips(), rego(5).counts.judged), (0, 1));
    assert_eq!(rego(6).groups[0].0.flip.name(), "obligations");
}

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::*;
use crate::config::settings::{PolicyEngine, PolicySettings};
use crate::identity::TenantPath;
use crate::policy::bundle::content::check;
use crate::policy::bundle::fixture::{files, good, rule};
use crate::policy::input::tests::subject;

fn own(decision: &str) -> Compiled {
    let settings = PolicySettings::of_rule("data.own.decision", Duration::from_secs(5), PolicyEngine::Interpreter);
    let module = format!("package own\ndecision := {decision}\n");
    Compiled::new(vec![("own.rego".to_owned(), module)], Vec::new(), &settings).unwrap()
}

fn revision(files: &crate::policy::bundle::archive::Files) -> Arc<Revision> {
    let checked = check(&rule("b"), files).unwrap();
    Arc::new(Revision { checked, digest: "0123456789abcdef".into(), activated_ms: 1 })
}

/// A bundle with this decision.
fn saying(rule: BundleRule, decision: &str) -> Member {
    let module = format!("package rules\ndecision := {decision}\n");
    Member { newest: Some(revision(&files(&[("r.rego", &module)]))), ..Member::waiting(Arc::new(rule)) }
}

fn active(members: Vec<Member>) -> Active {
    Active { members }
}

const YES: &str = "{\"allow\": true, \"rule\": \"yes\"}";
const NO: &str = "{\"allow\": false, \"rule\": \"no\", \"reason\": \"never\"}";

fn call(who: &Subject) -> Input<'_> {
    let mut input = Input::visible(who, None, "mock");
    input.request.endpoint = "chat_completions";
    input
}

fn verdict(active: &Active, own: &Compiled, who: &Subject, now_ms: u64) -> Result<String, String> {
    let verdict = active.decide(own, &call(who), now_ms);
    verdict.map(|permit| permit.rule().to_string()).map_err(|denied| denied.reason.to_string())
}

#[test]
fn all_must_allow_and_a_tenants_bundle_decides_only_about_its_own() {
    let acme = Some(TenantPath::parse("acme/research").unwrap());
    let of_acme = || BundleRule { tenant: acme.clone(), ..rule("b") };
    let (inside, outside) = (subject("acme/research/x", &[]), subject("acme/sales", &[]));
    let own_yes = own("{\"allow\": true, \"rule\": \"own\"}");
    let yes = active(vec![saying(of_acme(), YES), saying(rule("c"), YES)]);
    assert_eq!(verdict(&yes, &own_yes, &inside, 0), Ok("own".to_owned()));
    assert_eq!(verdict(&yes, &own(NO), &inside, 0), Err("never".to_owned()), "a bundle grants nothing by itself");
    let no = active(vec![saying(of_acme(), NO)]);
    assert_eq!(verdict(&no, &own_yes, &inside, 0), Err("never".to_owned()));
    assert_eq!(verdict(&no, &own_yes, &outside, 0), Ok("own".to_owned()));
    let waiting = active(vec![Member::waiting(Arc::new(of_acme()))]);
    assert_eq!(verdict(&waiting, &own_yes, &inside, 0), Err("policy_bundle_missing".to_owned()));
    assert_eq!(verdict(&waiting, &own_yes, &outside, 0), Ok("own".to_owned()));
    assert_eq!(waiting.missing().count(), 1);
    let denied = no.decide(&own_yes, &call(&inside), 0).unwrap_err();
    assert_eq!(&*denied.rule, "b:no", "whose rule it was");
    let deciding = |who| yes.deciding(who).map(|(rule, _)| rule.name.to_string()).collect::<Vec<_>>();
    assert_eq!((deciding(&inside), deciding(&outside)), (vec!["b".to_owned(), "c".to_owned()], vec!["c".to_owned()]));
}

#[test]
fn obligations_are_joined_to_the_stricter() {
    let who = subject("acme", &[]);
    let with = |obligations: &str| format!("{{\"allow\": true, \"obligations\": {obligations}}}");
    let ask = |first: &str, second: &str| {
        let members = active(vec![saying(rule("b"), &with(second))]);
        members.decide(&own(&with(first)), &Input::visible(&who, None, "mock"), 0)
    };
    let first = "{\"route\": {\"region\": [\"eu\", \"us\"], \"exclude\": \"a\"}, \"limit\": {\"max_tokens\": 9}, \
                 \"headers\": {\"x-a\": \"1\"}}";
    let second = "{\"route\": {\"region\": [\"eu\", \"asia\"], \"exclude\": \"b\"}, \"limit\": {\"max_tokens\": 7}, \
                  \"log\": \"none\", \"redact\": true, \"headers\": {\"x-a\": \"2\", \"x-b\": \"3\"}}";
    let both = ask(first, second).unwrap();
    let both = both.obligations();
    assert_eq!(both.route.regions, [Arc::from("eu")]);
    assert_eq!(both.route.exclude, [Arc::from("a"), Arc::from("b")]);
    assert_eq!((both.max_tokens, both.redact, both.log), (Some(7), true, obligation::LogLevel::None));
    assert_eq!(both.headers, [("x-a".to_owned(), "1".to_owned()), ("x-b".to_owned(), "3".to_owned())]);
    let denied = ask("{\"route\": {\"region\": \"eu\"}}", "{\"route\": {\"region\": \"us\"}}").unwrap_err();
    assert_eq!(&*denied.reason, "policy_obligations_conflict");
}

#[test]
fn a_bundle_that_is_too_old_refuses_or_goes_on_as_configured() {
    let who = subject("acme", &[]);
    let aged = |on_stale| {
        let rule = BundleRule { staleness_max: Some(Duration::from_secs(60)), on_stale, ..rule("b") };
        let member = saying(rule, YES);
        member.standing.confirmed_ms.store(1_000, Ordering::Relaxed);
        active(vec![member])
    };
    let own = own(YES);
    let (deny, keep) = (aged(OnStale::Deny), aged(OnStale::Keep));
    assert_eq!(verdict(&deny, &own, &who, 61_000), Ok("yes".to_owned()));
    assert_eq!(verdict(&deny, &own, &who, 61_001), Err("policy_bundle_stale".to_owned()));
    assert_eq!(verdict(&keep, &own, &who, 61_001), Ok("yes".to_owned()));
    assert!(keep.members[0].is_stale(61_001));
}

#[test]
fn a_shadow_decides_nothing_and_its_differences_are_kept() {
    let who = subject("acme", &[]);
    let shadow = BundleRule { mode: Mode::Shadow, ..rule("s") };
    let own = own(YES);
    let all = active(vec![saying(shadow.clone(), NO)]);
    for _ in 0..100 {
        assert_eq!(verdict(&all, &own, &who, 0), Ok("yes".to_owned()));
    }
    let standing = &all.members[0].standing;
    assert_eq!((standing.flipped.load(Ordering::Relaxed), standing.flips().len()), (100, FLIPS_MAX));
    let flip = &standing.flips()[0];
    assert_eq!((flip.to, &*flip.rule, &*flip.reason, flip.model.as_str()), ("refuse", "no", "never", "mock"));
    let other_way = active(vec![saying(rule("b"), NO), saying(shadow.clone(), YES)]);
    assert_eq!(verdict(&other_way, &own, &who, 0), Err("never".to_owned()));
    all.decide(&own, &Input::visible(&who, None, "mock"), 0).unwrap();
    assert_eq!(standing.flipped.load(Ordering::Relaxed), 100, "a list of models is no call");
    assert_eq!(other_way.members[1].standing.flips()[0].to, "allow");
    assert_eq!(verdict(&active(vec![Member::waiting(Arc::new(shadow))]), &own, &who, 0), Ok("yes".to_owned()));
}

#[test]
fn a_caller_stays_on_its_side_of_a_roll_out() {
    let own = own(YES);
    let rolled = |percent| {
        let base = revision(&files(&[("r.rego", &format!("package rules\ndecision := {YES}"))]));
        active(vec![Member { base: Some(base), ..saying(BundleRule { percent, ..rule("b") }, NO) }])
    };
    let callers: Vec<Subject> = (0..400).map(|number| subject(&format!("acme/t{number}"), &[])).collect();
    let refused = |percent| {
        let active = rolled(percent);
        callers.iter().map(|who| verdict(&active, &own, who, 0).is_err()).collect::<Vec<_>>()
    };
    let (none, some, more, all) = (refused(0), refused(25), refused(60), refused(100));
    let count = |list: &[bool]| list.iter().filter(|refused| **refused).count();
    assert_eq!((count(&none), count(&all)), (0, 400));
    assert!((60..140).contains(&count(&some)), "{}", count(&some));
    assert!(some.iter().zip(&more).all(|(before, after)| !before || *after), "who was in stays in");
    let first = active(vec![saying(BundleRule { percent: 1, ..rule("b") }, NO)]);
    assert!(callers.iter().all(|who| verdict(&first, &own, who, 0).is_err()), "without one before it decides for all");
}

/// Modules and data of a bundle change together: no call sees the rules of one revision with the data of another.
#[test]
fn no_decision_mixes_two_revisions() {
    let own = own(YES);
    let who = subject("acme", &[]);
    let member = Member::waiting(Arc::new(rule("b")));
    let all: Vec<Arc<Active>> = ["r1", "r2"]
        .map(|name| Arc::new(active(vec![Member { newest: Some(revision(&good(name))), ..member.clone() }])))
        .to_vec();
    let current = arc_swap::ArcSwap::new(all[0].clone());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for turn in 0..20_000 {
                current.store(all[turn % 2].clone());
                std::thread::yield_now();
            }
            stop.store(true, Ordering::Relaxed);
        });
        for _ in 0..2 {
            scope.spawn(|| {
                let mut seen = [0_u32; 2];
                while !stop.load(Ordering::Relaxed) || seen.contains(&0) {
                    let snapshot = current.load_full();
                    // The bundle's own answer: its rule comes from the data, its reason from the module.
                    let answer = snapshot.members[0].decide(&Input::visible(&who, None, "mock"), 0).unwrap();
                    assert_eq!(answer.rule(), answer.reason());
                    snapshot.decide(&own, &Input::visible(&who, None, "mock"), 0).unwrap();
                    seen[usize::from(&**answer.rule() == "r2")] += 1;
                    if stop.load(Ordering::Relaxed) {
                        current.store(all[usize::from(seen[1] == 0)].clone());
                    }
                }
            });
        }
    });
}

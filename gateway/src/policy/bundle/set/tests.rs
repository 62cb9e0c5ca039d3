use std::time::Duration;

use serde_json::json;

use super::super::archive::{Files, pack};
use super::super::fixture::{Pair, files, good, rule};
use super::super::roots::Root;
use super::*;
use crate::config::settings::{PolicyEngine, PolicySettings};
use crate::identity::TenantPath;
use crate::policy::input::tests::subject;
use crate::policy::{Compiled, Input};

/// A gateway's bundles, and a policy of its own that allows all.
struct Scene {
    folder: tempfile::TempDir,
    bundles: Bundles,
    slot: Slot,
    own: Compiled,
}

impl Scene {
    fn new(rules: &[BundleRule]) -> (Self, Vec<Arc<BundleRule>>) {
        Self::again(tempfile::tempdir().unwrap(), rules)
    }

    /// A start in a folder where another has been.
    fn again(folder: tempfile::TempDir, rules: &[BundleRule]) -> (Self, Vec<Arc<BundleRule>>) {
        let rules: Vec<_> = rules.iter().cloned().map(Arc::new).collect();
        let bundles = Bundles::new(folder.path().to_owned());
        let slot = bundles.follow(&rules, 1_000);
        let settings = PolicySettings::of_rule("data.own.decision", Duration::from_secs(5), PolicyEngine::Interpreter);
        let module = ("own.rego".to_owned(), "package own\ndecision := true\n".to_owned());
        let own = Compiled::new(vec![module], Vec::new(), &settings).unwrap();
        (Self { folder, bundles, slot, own }, rules)
    }

    fn offer(&self, rule: &Arc<BundleRule>, files: &Files) -> Result<Offered, BundleFault> {
        self.bundles.offer(rule, &pack(files).unwrap(), Some("\"tag\""), 2_000)
    }

    /// What a call of `acme` learns: the deciding revision, or the reason of the refusal.
    fn decides(&self, now_ms: u64) -> String {
        let who = subject("acme/research", &[]);
        let snapshot = self.slot.load_full();
        let input = Input::visible(&who, None, "mock");
        match snapshot.decide(&self.own, &input, now_ms) {
            Ok(_) => snapshot.members[0].newest.as_ref().unwrap().name().to_owned(),
            Err(denied) => denied.reason.to_string(),
        }
    }
}

fn http(name: &str) -> BundleRule {
    BundleRule { source: Source::Http("http://127.0.0.1:9/b".parse().unwrap()), ..rule(name) }
}

fn with(name: &str, text: &str) -> Files {
    let mut files = good("r2");
    files.insert(name.to_owned(), text.as_bytes().to_vec());
    files
}

/// Nine broken forms of a second revision, each while the first decides.
#[test]
fn fr_pol_03_whatever_is_wrong_with_a_revision_the_one_before_decides() {
    let pair = Pair::new();
    let signed = BundleRule { signer: Some(pair.signer()), ..http("b") };
    let other = BundleRule {
        entrypoint: "data.beta.decision".to_owned(),
        tenant: Some(TenantPath::parse("beta").unwrap()),
        ..signed.clone()
    };
    let (scene, rules) = Scene::new(&[signed, BundleRule { name: "beta".into(), ..other }]);
    assert_eq!(scene.decides(0), "policy_bundle_missing", "nobody is let in before the first bundle");
    assert!(matches!(scene.offer(&rules[0], &pair.sign(good("r1"))), Ok(Offered::Activated(_))));
    let beta = files(&[
        ("beta.rego", "package beta\ndecision := true"),
        (".manifest", &json!({"revision": "b1", "roots": ["beta"]}).to_string()),
    ]);
    assert!(matches!(scene.offer(&rules[1], &pair.sign(beta)), Ok(Offered::Activated(_))));
    let whole = pack(&pair.sign(good("r2"))).unwrap();
    let tampered = {
        let mut files = pair.sign(good("r2"));
        files.insert("rules/lists/data.json".to_owned(), b"{\"marker\": \"r2\", \"models\": [\"*\"]}".to_vec());
        files
    };
    let unlisted = pair.sign_as(good("r2"), &json!({"files": []}));
    let overlapping = {
        let mut files = with("beta/more/data.json", "{}");
        let manifest = json!({"revision": "r2", "roots": ["rules", "beta/more"]});
        files.insert(".manifest".to_owned(), manifest.to_string().into_bytes());
        files
    };
    let raw = |name: &str, size: u64, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(size);
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(512) + 1024, 0);
        gz(&bytes)
    };
    let bomb = raw("data.json", 1, &vec![0; 60 << 20]);
    assert!(bomb.len() * 500 < 60 << 20, "{}", bomb.len());
    let signed = |files: Files| pack(&pair.sign(files)).unwrap();
    let table: [(&str, Vec<u8>, &str); 10] = [
        ("truncated tar.gz", whole[..whole.len() / 2].to_vec(), "bundle_broken"),
        ("parse error in one file", signed(with("more.rego", "package rules.more\nx := {")), "bundle_policy"),
        ("roots overlap with another tenant", signed(overlapping), "bundle_overlap"),
        ("wrong file hash", pack(&tampered).unwrap(), "bundle_signature"),
        ("file hash missing", pack(&unlisted).unwrap(), "bundle_signature"),
        ("data.json of 300 MB", raw("data.json", 300 << 20, b"{"), "bundle_too_large"),
        ("gzip bomb", bomb, "bundle_too_large"),
        ("path out of the archive", raw("../../etc/x", 1, b"x"), "bundle_file_name"),
        ("entry point missing", signed(with("rules.rego", "package rules\nallow := true")), "bundle_entrypoint"),
        ("a test fails", signed(with("more_test.rego", "package more_test\ntest_no if false")), "bundle_tests"),
    ];
    for (what, bytes, code) in table {
        let fault = scene.bundles.offer(&rules[0], &bytes, Some("\"r2\""), 3_000).unwrap_err();
        assert_eq!(fault.code(), code, "{what}: {fault}");
        assert_eq!(scene.decides(3_000), "r1", "{what}");
        assert_eq!(scene.bundles.etag(&rules[0]).as_deref(), Some("\"tag\""), "{what}: it is asked for again");
        assert_eq!(scene.bundles.member("b").unwrap().standing.confirmed_ms.load(Ordering::Relaxed), 2_000, "{what}");
    }
    assert!(matches!(scene.bundles.offer(&rules[0], &whole, None, 4_000), Ok(Offered::Activated(_))));
    assert_eq!(scene.decides(4_000), "r2");
}

fn gz(plain: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    out.write_all(plain).unwrap();
    out.finish().unwrap()
}

/// The second half: a start without network, and the age at which something happens.
#[test]
fn fr_pol_03_a_start_without_network_has_the_last_good_one_or_refuses() {
    let pair = Pair::new();
    let signed = BundleRule { signer: Some(pair.signer()), staleness_max: Some(Duration::from_secs(60)), ..http("b") };
    let (scene, rules) = Scene::new(std::slice::from_ref(&signed));
    scene.offer(&rules[0], &pair.sign(good("r1"))).unwrap();
    let (scene, rules) = Scene::again(scene.folder, std::slice::from_ref(&signed));
    assert_eq!(scene.decides(2_000), "r1");
    assert_eq!(scene.bundles.etag(&rules[0]).as_deref(), Some("\"tag\""));
    assert_eq!(scene.decides(62_001), "policy_bundle_stale", "its age goes on over a start");
    scene.bundles.confirm(&rules[0], 62_001);
    assert_eq!(scene.decides(62_001), "r1");
    // Another key: what lies there is not proven any more.
    let other = BundleRule { signer: Some(Pair::new().signer()), ..signed.clone() };
    let (scene, rules) = Scene::again(scene.folder, &[other]);
    assert_eq!(scene.decides(62_001), "policy_bundle_missing");
    assert_eq!(scene.bundles.etag(&rules[0]), None, "it is fetched whole");
    let (scene, _) = Scene::again(scene.folder, std::slice::from_ref(&signed));
    assert_eq!(scene.decides(62_001), "r1");
    // Other bytes under the same name.
    let kept = scene.bundles.state("b").kept[0].digest.clone();
    std::fs::write(scene.folder.path().join(format!("b/{kept}.tar.gz")), pack(&good("evil")).unwrap()).unwrap();
    let (scene, _) = Scene::again(scene.folder, &[signed]);
    assert_eq!(scene.decides(62_001), "policy_bundle_missing");
    assert!(scene.bundles.member("b").unwrap().standing.fault.lock().as_ref().unwrap().contains("changed"));
}

#[test]
fn a_roll_back_lasts_until_something_newer_comes() {
    let (scene, rules) = Scene::new(&[http("b")]);
    for name in ["r1", "r2", "r3"] {
        scene.offer(&rules[0], &good(name)).unwrap();
    }
    let unknown = scene.bundles.roll_back("b", "r9").unwrap_err();
    assert!(matches!(unknown, RollBackFault::Revision(_)), "{unknown}");
    assert!(matches!(scene.bundles.roll_back("c", "r1"), Err(RollBackFault::Bundle(_))));
    assert!(matches!(scene.bundles.roll_back("b", "r3"), Err(RollBackFault::Revision(_))), "it decides already");
    assert_eq!(scene.bundles.roll_back("b", "r2").unwrap().name(), "r2");
    assert_eq!(scene.decides(0), "r2");
    assert!(matches!(scene.offer(&rules[0], &good("r3")), Ok(Offered::Held)));
    assert_eq!(scene.decides(0), "r2");
    let (scene, rules) = Scene::again(scene.folder, &[http("b")]);
    assert!(matches!(scene.offer(&rules[0], &good("r3")), Ok(Offered::Held)), "over a start too");
    assert!(matches!(scene.offer(&rules[0], &good("r2")), Ok(Offered::Unchanged)));
    assert!(matches!(scene.offer(&rules[0], &good("r4")), Ok(Offered::Activated(_))));
    let names =
        |scene: &Scene| scene.bundles.state("b").kept.iter().map(|kept| kept.revision.clone()).collect::<Vec<_>>();
    assert_eq!(names(&scene), ["r2", "r3", "r4"], "three are kept");
    let digest = scene.bundles.state("b").kept[1].digest.clone();
    assert_eq!(scene.bundles.roll_back("b", &digest[..12]).unwrap().name(), "r3", "forward again, by its digest");
    assert_eq!(std::fs::read_dir(scene.folder.path().join("b")).unwrap().count(), 4, "no archive is left over");
}

#[test]
fn a_new_revision_is_rolled_out_to_some_and_then_to_all() {
    let some = BundleRule { percent: 40, ..http("b") };
    let (scene, rules) = Scene::new(std::slice::from_ref(&some));
    let decision = |allow: bool| {
        let module = format!("package rules\ndecision := {{\"allow\": {allow}, \"reason\": \"never\"}}");
        files(&[("r.rego", &module), (".manifest", &json!({"revision": allow.to_string()}).to_string())])
    };
    let callers: Vec<_> = (0..200).map(|number| subject(&format!("acme/t{number}"), &[])).collect();
    let refused = |scene: &Scene| {
        let snapshot = scene.slot.load_full();
        let refused = |who: &&_| snapshot.decide(&scene.own, &Input::visible(who, None, "mock"), 0).is_err();
        callers.iter().filter(refused).count()
    };
    scene.offer(&rules[0], &decision(true)).unwrap();
    assert_eq!(refused(&scene), 0, "the first decides about all");
    scene.offer(&rules[0], &decision(false)).unwrap();
    let part = refused(&scene);
    assert!((40..120).contains(&part), "{part}");
    let (scene, rules) = Scene::again(scene.folder, std::slice::from_ref(&some));
    assert_eq!(refused(&scene), part, "the same ones after a start");
    scene.offer(&rules[0], &good("r3")).unwrap();
    assert_eq!(refused(&scene), 0, "what was never rolled out to all is nobody's base");
    scene.bundles.roll_back("b", "false").unwrap();
    assert_eq!(refused(&scene), 200, "a roll-back is for all");
    let all = Arc::new(BundleRule { percent: 100, ..some });
    scene.bundles.follow(&[all], 0);
    assert!(scene.bundles.member("b").unwrap().base.is_none());
}

#[test]
fn a_reload_keeps_what_decides_and_drops_what_is_gone() {
    let confined = |name: &str, root: &str| BundleRule { roots: vec![Root::parse(root).unwrap()], ..http(name) };
    let (scene, rules) = Scene::new(&[confined("b", "")]);
    scene.offer(&rules[0], &good("r1")).unwrap();
    let shadow = Arc::new(BundleRule { mode: super::super::rule::Mode::Shadow, ..confined("s", "") });
    let slot = scene.bundles.follow(&[rules[0].clone(), shadow.clone()], 0);
    assert_eq!(slot.load().members[0].newest.as_ref().unwrap().name(), "r1");
    assert!(matches!(scene.offer(&shadow, &good("r2")), Ok(Offered::Activated(_))), "a shadow may own the same roots");
    let second = Arc::new(confined("c", ""));
    let slot = scene.bundles.follow(&[rules[0].clone(), second.clone()], 0);
    assert!(matches!(scene.offer(&second, &good("r2")), Err(BundleFault::Overlap { .. })));
    assert!(matches!(scene.offer(&shadow, &good("r3")), Ok(Offered::Superseded)), "nobody configures it any more");
    assert_eq!(slot.load().members.len(), 2);
    let narrower = Arc::new(confined("b", "acme"));
    let slot = scene.bundles.follow(&[narrower], 0);
    assert!(slot.load().members[0].newest.is_none(), "what lay within the old roots isn't within the new ones");
}

#[test]
fn a_folder_is_there_at_once_and_a_broken_one_refuses() {
    let at = tempfile::tempdir().unwrap();
    let place = |files: &Files| {
        for (name, content) in files {
            std::fs::create_dir_all(at.path().join(name).parent().unwrap()).unwrap();
            std::fs::write(at.path().join(name), content).unwrap();
        }
    };
    place(&good("r1"));
    let local = BundleRule { source: Source::Path(at.path().to_owned()), ..rule("b") };
    let (scene, _) = Scene::new(std::slice::from_ref(&local));
    assert_eq!(scene.decides(0), "r1");
    place(&with("rules.rego", "package rules\nallow if {"));
    let (scene, _) = Scene::new(&[local]);
    assert_eq!(scene.decides(0), "policy_bundle_missing");
    let fault = scene.bundles.member("b").unwrap().standing.fault.lock().clone();
    assert!(fault.unwrap().contains("rules.rego"));
}

/// Offers come while calls are decided: none sees the rules of one revision with the data of another.
#[test]
fn fr_pol_03_no_call_sees_the_rules_of_one_revision_with_the_data_of_another() {
    let (scene, rules) = Scene::new(&[http("b")]);
    scene.offer(&rules[0], &good("r0")).unwrap();
    let who = subject("acme", &[]);
    let (scene, rule) = (&scene, &rules[0]);
    let over = &std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for number in 1..=60 {
                scene.offer(rule, &good(&format!("r{number}"))).unwrap();
            }
            over.store(true, Ordering::Relaxed);
        });
        for _ in 0..2 {
            let who = &who;
            scope.spawn(move || {
                let mut seen = std::collections::BTreeSet::new();
                while !over.load(Ordering::Relaxed) {
                    let snapshot = scene.slot.load_full();
                    let compiled = &snapshot.members[0].newest.as_ref().unwrap().checked.compiled;
                    let permit = compiled.decide(&Input::visible(who, None, "mock")).unwrap();
                    assert_eq!(permit.rule(), permit.reason(), "the rule is from the data, the reason from the module");
                    seen.insert(permit.rule().to_string());
                }
                assert!(seen.len() > 3, "{seen:?}");
            });
        }
    });
}

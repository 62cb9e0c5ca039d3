//! The file's faults, its defaults, its goldens.

mod limits;

use crate::limits::counter::Outage;
use crate::limits::window::{CalendarUnit, Window};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use proptest::prelude::*;

use super::file::Node;
use super::keys_table::{Key, Kind, ROOT};
use super::settings::{Address, Durability, Provider};
use super::*;
use crate::bounds;

const PEPPER: &str = "0123456789abcdef";
const BUNDLE_KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
    MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE0kQMA6Upvm+XYbEQ6C0hsj5ojSxk\n\
    KNuX0pEpbzfptNSfXcHaqfLNtGagABPo6oI/gogI4eS/qKnluyeq+j7KCw==\n-----END PUBLIC KEY-----\n";
const MINIMAL: &str = "keys: { pepper: \"env:PEPPER\" }\n";

fn environment(name: &str) -> Option<String> {
    match name {
        "PEPPER" | "PEPPER_2" | "TOKEN" | "CLOUD_KEY" => Some(PEPPER.to_owned()),
        "SHORT" => Some("short".to_owned()),
        "BROKEN" => Some("0123456789\nabcdef0123".to_owned()),
        _ => None,
    }
}

/// A folder with everything that the examples and the shipped files name.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    for inner in ["tls", "secrets", "models", "policies", "admin_policy"] {
        std::fs::create_dir(path.join(inner)).unwrap();
    }
    for name in [
        "model.gguf",
        "models/smollm2.gguf",
        "weir-engine",
        "prices.json",
        "upstream-ca.pem",
        "policy_data.yaml",
        "redis_ca.pem",
    ] {
        std::fs::write(path.join(name), "x").unwrap();
    }
    for name in ["tls/cert.pem", "tls/clients.pem", "tls/ldap-ca.pem"] {
        std::fs::write(path.join(name), "-----BEGIN CERTIFICATE-----\n").unwrap();
    }
    std::fs::write(path.join("tls/clients.crl"), "-----BEGIN X509 CRL-----\n").unwrap();
    private(&path.join("tls/key.pem"), "-----BEGIN PRIVATE KEY-----\n");
    std::fs::write(path.join("bundle_key.pem"), BUNDLE_KEY).unwrap();
    for name in [
        "pepper",
        "admin_token",
        "redis_url",
        "cloud_key",
        "master_key",
        "idp_secret",
        "bundle_token",
        "scim_token",
        "scim_token_next",
        "ldap_password",
        "secrets/admin_token",
        "secrets/pepper_1",
        "secrets/pepper_2",
    ] {
        private(&path.join(name), PEPPER);
    }
    folder
}

fn private(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn load_text(folder: &tempfile::TempDir, text: &str) -> Result<Loaded, Faults> {
    let file = folder.path().join("gateway.yaml");
    std::fs::write(&file, text).unwrap();
    load_with(&file, &environment)
}

fn lines(text: &str) -> Vec<String> {
    let folder = folder();
    let faults = load_text(&folder, text).map(|_| ()).unwrap_err().to_string();
    faults.replace(&folder.path().display().to_string(), "FOLDER").lines().map(str::to_owned).collect()
}

fn golden(path: &str, is: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    #[allow(clippy::disallowed_methods)] // a test's own switch
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, is).unwrap();
    }
    let was = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(was == is, "{path} is stale; run `UPDATE=1 cargo test -p weir config`");
}

#[test]
fn every_fault_is_reported_at_once_with_its_path() {
    let folder = folder();
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases/config/faults.yaml"))
        .unwrap();
    let faults = load_text(&folder, &text).map(|_| ()).unwrap_err().to_string();
    let is = faults.replace(&folder.path().display().to_string(), "FOLDER");
    assert!(!is.contains("sk-literal") && !is.contains("hunter2"), "a secret was printed");
    golden("../tests/cases/config/faults.txt", &format!("{is}\n"));
}

#[test]
fn the_schema_and_the_reference_are_what_the_table_says() {
    golden("../config/schema.json", &reference::schema());
    golden("../docs/configuration.md", &reference::page());
}

#[test]
fn the_smallest_file_has_the_documented_defaults() {
    let loaded = load_text(&folder(), MINIMAL).unwrap();
    let settings = loaded.settings;
    assert_eq!(settings.listeners[0].address.to_string(), "127.0.0.1:8080");
    assert_eq!(settings.admin.listen.to_string(), "127.0.0.1:8081");
    assert!(settings.data.is_absolute() && settings.data.ends_with("data"));
    assert!(settings.threads >= 1);
    assert_eq!(settings.request.body_bytes_max, bounds::REQUEST_BYTES_MAX);
    assert_eq!(settings.stream.event_bytes_max, bounds::EVENT_BYTES_MAX);
    assert!(settings.retry.attempts_max <= bounds::ATTEMPTS_MAX);
    assert_eq!(settings.durability, Durability::Window);
    assert_eq!(settings.drain, Duration::from_secs(30));
    assert_eq!((settings.engine, settings.prices), (None, None));
    let doubts: Vec<_> = loaded.warnings.iter().map(|warning| warning.path.as_str()).collect();
    assert_eq!(doubts, ["models", "tenants"]);
}

#[test]
fn the_shipped_files_load() {
    let folder = folder();
    for name in ["gateway.yaml", "production.yaml"] {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../config").join(name)).unwrap();
        let loaded = load_text(&folder, &text).unwrap_or_else(|faults| panic!("{name}: {faults}"));
        assert_eq!(loaded.warnings, [], "{name}");
    }
}

#[test]
fn production_means_what_it_says() {
    let folder = folder();
    let text = include_str!("../../../config/production.yaml");
    let settings = load_text(&folder, text).unwrap().settings;
    let (small, large) = (&settings.models[0], &settings.models[1]);
    assert_eq!(small.deployments[0].provider, Provider::Engine);
    assert_eq!(small.deployments[0].address, Address::Unix(settings.engine.clone().unwrap().socket));
    assert_eq!((&*small.deployments[1].model, small.deployments[1].weight), ("small-1", 0));
    assert_eq!(small.output_tokens_default, small.output_tokens_max);
    assert_eq!(&*large.deployments[0].model, "gpt-x");
    assert_eq!(large.deployments[0].timeouts.first_byte, Duration::from_secs(120));
    assert_eq!(large.deployments[1].timeouts.first_byte, Duration::from_secs(60));
    let versions: Vec<_> = settings.peppers.iter().map(|pepper| pepper.version).collect();
    assert_eq!(versions, [1, 2]);
    assert_eq!(settings.durability, Durability::Strict);
}

/// The tree of every key's example; `pepper` gives way to `peppers`, which it excludes.
fn examples(keys: &[Key], skipped: &[&str]) -> Node {
    let example = |key: &Key| {
        if let Kind::Section(keys) = key.kind {
            return examples(keys, skipped);
        }
        if let Kind::Sections(keys) | Kind::Listeners(keys) = key.kind {
            return Node::List(vec![examples(keys, skipped)]);
        }
        file::parse(key.example).unwrap()
    };
    let kept = keys.iter().filter(|key| !skipped.contains(&key.name));
    Node::Map(kept.map(|key| (key.name.to_owned(), example(key))).collect())
}

#[test]
fn every_key_has_an_example_that_loads() {
    let folder = folder();
    let calendar = ["pepper", "master_key", "amount", "times", "window", "prices"];
    for skipped in [&calendar[..], &["peppers", "master_keys", "amount", "zone", "lease", "percent"][..]] {
        let tree = examples(ROOT, skipped);
        let done = check::settings(&tree, folder.path(), &environment);
        assert!(done.is_ok(), "{:#?}", done.map(|_| ()).unwrap_err().0);
    }
}

#[test]
fn limit_rules_mean_what_they_say() {
    let rules = "[
        { name: month, what: money, dollars: \"250.00\", per: month, zone: Europe/Berlin, lease: 2 },
        { name: users, what: tokens, amount: 5000, per: minute, each: [end_user], models: [\"*\"] },
        { name: thirty, what: requests, amount: 10, per: day, times: 30, window: rolling, when_unavailable: local },
        { name: once, what: output_tokens, amount: 7, per: ever },
        { name: places, what: concurrency, amount: 3, each: [key], endpoints: [completions] }]";
    let text = format!("{MINIMAL}tenants: [{{ path: acme, limit_rules: {rules} }}]");
    let settings = load_text(&folder(), &text).unwrap().settings;
    let rules = &settings.tenants[0].rules;
    let zone = chrono_tz::Europe::Berlin;
    let expected = [
        ("month", 250_000_000_000, Window::Calendar { unit: CalendarUnit::Month, zone }, Outage::Refuse),
        ("users", 5_000, Window::Rate { ms: 60_000 }, Outage::Local),
        ("thirty", 10, Window::Rolling { ms: 30 * 86_400_000 }, Outage::Local),
        ("once", 7, Window::Total, Outage::Refuse),
        ("places", 3, Window::Now, Outage::Local),
    ];
    let found: Vec<_> = rules.iter().map(|rule| (&*rule.name, rule.amount, rule.window, rule.outage)).collect();
    assert_eq!(found, expected);
    assert!(rules[1].each.end_user && !rules[1].each.key && rules[4].each.key);
    assert_eq!(rules[0].lease().map(std::num::NonZeroU64::get), Some(5_000_000_000));
    assert_eq!((rules[3].lease(), rules[4].lease()), (None, None));
    for rolling in ["window: rolling", "per: minute"] {
        let rule = format!("{{ name: one, what: tokens, amount: 9, per: hour, lease: 1, {rolling} }}");
        let rule = if rolling.starts_with("per") { rule.replace("per: hour, ", "") } else { rule };
        let text = format!("{MINIMAL}tenants: [{{ path: acme, limit_rules: [{rule}] }}]");
        assert!(load_text(&folder(), &text).is_err(), "{rule}");
    }
}

#[test]
fn the_page_of_bundles_shows_a_configuration_that_loads() {
    let page = include_str!("../../../docs/bundles.md");
    let example = page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let loaded = load_text(&folder(), example).unwrap();
    let bundles = &loaded.settings.bundles;
    assert_eq!(bundles.len(), 3);
    assert_eq!(bundles[1].roots[0].to_string(), "acme", "a tenant's own part, where none is given");
    assert!(loaded.warnings.iter().all(|warning| !warning.path.starts_with("policy")), "{:?}", loaded.warnings);
    let unsigned = example.replace("      signature: { key: \"file:./bundle_key.pem\", algorithm: ES256 }\n", "");
    let doubts = load_text(&folder(), &unsigned).unwrap().warnings;
    assert_eq!(doubts.iter().filter(|doubt| doubt.path.ends_with(".signature")).count(), 3);
}

#[test]
fn what_can_not_be_a_bundle_is_refused_by_its_key() {
    let table = [
        ("name: Corp", "name"),
        ("name: two, url: \"https://me:hunter2@b.example/x\"", "url"),
        ("name: two, url: \"ftp://b.example/x\"", "url"),
        ("name: two, url: \"file:./absent\"", "url"),
        ("name: two, entrypoint: corp.decision", "entrypoint"),
        ("name: two, tenant: Acme", "tenant"),
        ("name: two, roots: [\"a//b\"]", "roots[0]"),
        ("name: two, poll_min_ms: 500, poll_max_ms: 400", "poll_max_ms"),
        ("name: two, signature: { key: \"file:./bundle_key.pem\", algorithm: RS256 }", "signature.key"),
        ("name: two, signature: { key: \"file:./bundle_key.pem\", algorithm: none }", "signature.algorithm"),
        ("name: two, signature: { key: \"env:SHORT\", algorithm: HS256 }", "signature.key"),
        ("name: one", "name"),
    ];
    for (keys, place) in table {
        let has = |key: &str| keys.contains(&format!("{key}: "));
        let url = if has("url") { "" } else { ", url: \"https://b.example/b.tar.gz\"" };
        let entrypoint = if has("entrypoint") { "" } else { ", entrypoint: data.x.y" };
        let one = "{ name: one, url: \"https://b.example/a.tar.gz\", entrypoint: data.a.b }";
        let text = format!("{MINIMAL}policy: {{ bundles: [{one}, {{ {keys}{url}{entrypoint} }}] }}\n");
        let faults = lines(&text);
        assert!(faults.len() == 1 && faults[0].contains(&format!("policy.bundles[1].{place}: ")), "{keys}: {faults:?}");
        assert!(!faults[0].contains("hunter2"));
    }
}

#[test]
fn every_default_of_a_scalar_fits_its_key() {
    fn walk(keys: &[Key]) {
        for key in keys {
            assert!(!key.doc.is_empty() && key.doc.ends_with('.'), "{}", key.name);
            if let (keys_table::Absent::Default(text), Kind::Int { min, max }) = (key.absent, key.kind) {
                assert!((min..=max).contains(&text.parse().unwrap()), "{}", key.name);
            }
            if let Kind::Section(keys) | Kind::Sections(keys) | Kind::Listeners(keys) = key.kind {
                walk(keys);
            }
        }
    }
    walk(ROOT);
}

#[test]
fn single_faults_say_what_to_do() {
    let table: &[(&str, &str)] = &[
        ("", "gateway.yaml: keys.pepper: is missing: stored API keys"),
        ("keys: { pepper: \"env:SHORT\" }", "gateway.yaml: keys.pepper: the secret has 5 bytes; it needs at least 16"),
        ("keys: { pepper: \"env:UNSET\" }", "gateway.yaml: keys.pepper: the environment variable `UNSET` is not set"),
        ("keys: { pepper: \"file:absent\" }", "gateway.yaml: keys.pepper: `FOLDER/absent` can't be read: No such file"),
        ("keys: [", "gateway.yaml: is not valid YAML"),
        ("- a", "gateway.yaml: must be a mapping, not a list"),
        (
            "keys: { pepper: \"env:PEPPER\" }\nlisten: localhost:80",
            "gateway.yaml: listen: `localhost:80` is no address",
        ),
        ("keys: { pepper: \"env:PEPPER\" }\nthreads: 0", "gateway.yaml: threads: must be 1 to 1024, not 0"),
        ("keys: { pepper: \"env:PEPPER\" }\nthreads: -1", "gateway.yaml: threads: must be 1 to 1024, not -1"),
        ("keys: { pepper: \"env:PEPPER\" }\nthreads: two", "gateway.yaml: threads: must be a whole number, not text"),
        (
            "keys: { pepper: \"env:PEPPER\" }\nlisten: 127.0.0.1:8081",
            "gateway.yaml: admin.listen: `127.0.0.1:8081` clashes with",
        ),
        (
            "keys: { pepper: \"env:PEPPER\" }\nlisten: 0.0.0.0:8081",
            "gateway.yaml: admin.listen: `127.0.0.1:8081` clashes with",
        ),
        ("keys: { pepper: \"env:PEPPER\" }\nprices: ./absent", "gateway.yaml: prices: `FOLDER/absent` can't be read"),
        (
            "keys: { pepper: \"env:PEPPER\" }\npolicy: {path: ./model.gguf}",
            "gateway.yaml: policy.path: `FOLDER/model.gguf` is not a folder",
        ),
        (
            "keys: { pepper: \"env:PEPPER\" }\nadmin: {token: \"env:BROKEN\"}",
            "gateway.yaml: admin.token: the secret has characters",
        ),
        ("keys: { peppers: [] }", "gateway.yaml: keys.peppers: needs at least one entry"),
    ];
    for (text, expected) in table {
        let lines = lines(text);
        assert_eq!(lines.len(), 1, "{text}: {lines:#?}");
        assert!(lines[0].starts_with(expected), "{text}: {}", lines[0]);
    }
}

#[test]
fn an_absent_file_is_a_fault_with_its_name() {
    let faults = load_with(Path::new("/nowhere/w.yaml"), &environment).map(|_| ()).unwrap_err().to_string();
    assert!(faults.starts_with("w.yaml: can't be read: No such file"), "{faults}");
}

#[test]
fn what_a_reload_may_not_change_is_named() {
    let folder = folder();
    let old = load_text(&folder, MINIMAL).unwrap().settings;
    let text = format!("{MINIMAL}listen: 127.0.0.1:9\ndata: ./other\nrequest: {{body_bytes_max: 2048}}\n");
    let new = load_text(&folder, &text).unwrap().settings;
    assert_eq!(needs_restart(&old, &new), ["listen", "data"]);
    assert!(needs_restart(&old, &old).is_empty());
}

#[test]
fn a_missing_secret_file_is_watched_so_that_its_arrival_counts() {
    let folder = folder();
    let faults = load_text(&folder, "keys: { pepper: \"file:./later\" }").map(|_| ()).unwrap_err();
    assert_eq!(faults.watched, [folder.path().join("later")]);
}

fn any_tree() -> impl Strategy<Value = Node> {
    let names = prop::sample::select(vec![
        "listen",
        "address",
        "tls",
        "keys",
        "pepper",
        "peppers",
        "secret",
        "version",
        "tenants",
        "path",
        "models",
        "name",
        "deployments",
        "base_url",
        "weight",
        "limits",
        "concurrency",
        "engine",
        "policy",
        "prices",
        "stranger",
        "",
    ]);
    let leaf = prop_oneof![
        Just(Node::Null),
        any::<bool>().prop_map(Node::Bool),
        any::<u64>().prop_map(Node::Whole),
        Just(Node::Number("-1.5".to_owned())),
        prop::sample::select(vec![
            "",
            "*",
            "a*b",
            "env:PEPPER",
            "file:",
            "unix:",
            "http://x",
            "127.0.0.1:80",
            "acme/x",
            "é"
        ])
        .prop_map(|text| Node::Text(text.to_owned())),
    ];
    leaf.prop_recursive(5, 60, 8, move |inner| {
        let entry = (names.clone().prop_map(str::to_owned), inner.clone());
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Node::List),
            prop::collection::vec(entry, 0..8).prop_map(Node::Map)
        ]
    })
}

proptest! {
    #[test]
    fn any_tree_is_taken_or_refused_with_reasons(tree in any_tree()) {
        let done = check::settings(&tree, Path::new("/nowhere"), &environment);
        if let Err((faults, _)) = done {
            prop_assert!(!faults.is_empty());
        }
    }
}

#[test]
fn what_is_agreed_about_prices_has_to_mean_something() {
    let read = |pricing: &str| {
        let folder = folder();
        let text = format!("keys: {{ pepper: \"env:PEPPER\" }}\npricing: {pricing}");
        let done = check::settings(&file::parse(&text).unwrap(), folder.path(), &environment);
        done.map(|loaded| loaded.settings.terms).map_err(|(faults, _)| faults[0].to_string())
    };
    let terms = read("{ discounts: [{ tenant: acme, provider: o, model: \"*\", percent: \"12.5\" }] }").unwrap();
    assert_eq!(terms.discounts[0].percent.as_deref(), Some("12.5"));
    for (wrong, why) in [
        ("{ discounts: [{ provider: o, model: m }] }", "either a `percent`"),
        ("{ discounts: [{ provider: o, model: m, percent: \"101\" }] }", "either a `percent`"),
        ("{ discounts: [{ provider: o, model: m, percent: \"1\", from: soon }] }", "`soon`"),
        ("{ discounts: [{ provider: o, model: m, prices: { tokens: \"1 per 1M\" } }] }", "`tokens`"),
        ("{ discounts: [{ provider: o, model: m, prices: { input: \"1\" } }] }", "is no price"),
        ("{ discounts: [{ tenant: \"/\", provider: o, model: m, percent: \"1\" }] }", "pricing.discounts[0].tenant"),
        ("{ currency: EUR }", "`rates`"),
        ("{ rates: [{ from: 2026-01-01, usd: \"1.1\" }] }", "`rates`"),
    ] {
        let told = read(wrong).unwrap_err();
        assert!(told.contains(why), "{wrong}: {told}");
    }
}

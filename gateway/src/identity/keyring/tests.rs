//! Who is identified, who isn't, and when the snapshot moves.

use super::*;
use crate::config::settings::{LimitRule, Pepper, Secret};
use crate::identity::api_key::{NewKey, parse};
use crate::identity::scope::{KeyKind, Scopes};
use crate::identity::stored::TenantSettings;
use crate::store::sqlite::Create;
use crate::store::{KeyRow, TenantRow};

const NOW: u64 = 1_000_000;

fn peppers(versions: &[u32]) -> Peppers {
    let pepper = |version: &u32| Pepper { version: *version, secret: Secret::new(b"0123456789abcdef") };
    Peppers::new(&versions.iter().map(pepper).collect::<Vec<_>>())
}

fn rule(path: &str, roles: &[&str], attributes: &[(&str, &str)]) -> TenantRule {
    TenantRule {
        path: TenantPath::parse(path).unwrap(),
        models: Vec::new(),
        roles: roles.iter().map(|role| Arc::from(*role)).collect(),
        attributes: attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        limits: LimitRule::default(),
        key_limits: LimitRule::default(),
        rules: Arc::default(),
        share: 1,
        priority: crate::routing::fair::Priority::Normal,
    }
}

fn rules() -> TenantRules {
    TenantRules::new(&[
        rule("acme", &["user"], &[("environment", "prod"), ("region", "eu")]),
        rule("acme/lab/x", &["tester", "user"], &[("environment", "test")]),
    ])
}

fn row(key: &NewKey, tenant: &str) -> KeyRow {
    KeyRow {
        id: key.id.0.to_string(),
        tenant: tenant.to_owned(),
        name: String::new(),
        pepper_version: 1,
        hash: peppers(&[1]).hash(1, &parse(key.reveal()).unwrap()).unwrap(),
        roles: Vec::new(),
        models: None,
        created_ms: NOW,
        expires_ms: None,
        revoked_ms: None,
        epoch: 0,
        kind: KeyKind::User,
        scopes: Scopes::default(),
        replaces: None,
        used_ms: None,
    }
}

/// A keyring that read these rows just now.
fn keyring(rows: Vec<KeyRow>) -> Keyring {
    let keyring = Keyring::new();
    keyring.replace(1, Rows { keys: rows, ..Rows::default() });
    keyring.read_ms.store(NOW, Ordering::Release);
    keyring
}

fn identify(keyring: &Keyring, key: &NewKey, now_ms: u64) -> Result<Identified, IdentityFault> {
    keyring.identify(&parse(key.reveal()).unwrap(), &peppers(&[1]), &rules(), now_ms)
}

#[test]
fn roles_are_joined_and_the_inner_attribute_wins() {
    let key = NewKey::generate().unwrap();
    let row =
        KeyRow { roles: vec!["admin".to_owned()], models: Some(vec!["m".to_owned()]), ..row(&key, "acme/lab/x/ada") };
    let found = identify(&keyring(vec![row]), &key, NOW).unwrap();
    let roles: Vec<_> = found.subject.roles.iter().map(|role| &**role).collect();
    assert_eq!(roles, ["admin", "tester", "user"]);
    let attributes: Vec<_> = found.subject.attributes.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(attributes, [("environment", "test"), ("region", "eu")]);
    assert_eq!(found.key_models.as_deref(), Some(&["m".to_owned()][..]));
    assert_eq!(found.subject.tenant.as_str(), "acme/lab/x/ada");
}

#[test]
fn an_outer_rule_covers_what_no_inner_one_does() {
    let key = NewKey::generate().unwrap();
    let found = identify(&keyring(vec![row(&key, "acme/lab/y")]), &key, NOW).unwrap();
    assert_eq!(found.subject.attributes.get("environment").map(String::as_str), Some("prod"));
    assert_eq!(found.subject.roles.len(), 1);
}

#[test]
fn each_way_to_fail_has_its_own_code_and_looks_alike_outside() {
    let (key, other) = (NewKey::generate().unwrap(), NewKey::generate().unwrap());
    let good = row(&key, "acme");
    let table = [
        (KeyRow { id: other.id.0.to_string(), ..good.clone() }, "unknown_api_key"),
        (KeyRow { hash: [0; 32], ..good.clone() }, "wrong_api_key"),
        (KeyRow { hash: [0; 32], revoked_ms: Some(1), ..good.clone() }, "wrong_api_key"),
        (KeyRow { revoked_ms: Some(1), ..good.clone() }, "revoked_api_key"),
        (KeyRow { expires_ms: Some(NOW), ..good.clone() }, "expired_api_key"),
        (KeyRow { pepper_version: 2, ..good.clone() }, "pepper_not_configured"),
        (KeyRow { tenant: "acmeco".to_owned(), ..good.clone() }, "tenant_not_configured"),
        (KeyRow { tenant: "not a path".to_owned(), ..good.clone() }, "unknown_api_key"),
    ];
    for (row, code) in table {
        let fault = identify(&keyring(vec![row]), &key, NOW).unwrap_err();
        assert_eq!((fault.code(), fault.public_code()), (code, "invalid_api_key"));
    }
    assert!(identify(&keyring(vec![KeyRow { expires_ms: Some(NOW + 1), ..good }]), &key, NOW).is_ok());
}

#[test]
fn a_store_that_cannot_be_read_closes_the_gate() {
    let key = NewKey::generate().unwrap();
    let keyring = keyring(vec![row(&key, "acme")]);
    assert!(identify(&keyring, &key, NOW + STALE_MS).is_ok());
    let fault = identify(&keyring, &key, NOW + STALE_MS + 1).unwrap_err();
    assert_eq!((fault.code(), fault.public_code()), ("key_store_unavailable", "key_store_unavailable"));
    assert!(keyring.is_live(&key.id, 0, NOW + STALE_MS) && !keyring.is_live(&key.id, 0, NOW + STALE_MS + 1));
    assert_eq!(identify(&Keyring::new(), &key, NOW), Err(IdentityFault::StoreUnavailable));
}

#[test]
fn a_running_stream_ends_when_the_key_moved_on_expired_or_vanished() {
    let key = NewKey::generate().unwrap();
    let good = row(&key, "acme");
    assert!(keyring(vec![good.clone()]).is_live(&key.id, 0, NOW));
    for later in [
        vec![KeyRow { epoch: 1, ..good.clone() }],
        vec![KeyRow { expires_ms: Some(NOW), ..good.clone() }],
        vec![KeyRow { revoked_ms: Some(NOW), ..good }],
        Vec::new(),
    ] {
        assert!(!keyring(later.clone()).is_live(&key.id, 0, NOW), "{later:?}");
    }
}

#[tokio::test]
async fn a_revocation_in_the_store_reaches_calls_and_running_streams() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("weir.db"), Create::IfMissing).await.unwrap();
    let (key, late) = (NewKey::generate().unwrap(), NewKey::generate().unwrap());
    store.key_insert(&row(&key, "acme")).await.unwrap();
    let keyring = Keyring::new();
    assert!(keyring.refresh(&store, NOW).await.unwrap());
    assert!(!keyring.refresh(&store, NOW).await.unwrap(), "nothing moved");
    let epoch = identify(&keyring, &key, NOW).unwrap().subject.key_epoch;
    assert!(keyring.is_live(&key.id, epoch, NOW));

    assert!(store.key_revoke(&key.id.0, NOW).await.unwrap());
    assert!(keyring.refresh(&store, NOW).await.unwrap());
    assert_eq!(identify(&keyring, &key, NOW), Err(IdentityFault::Revoked));
    assert!(!keyring.is_live(&key.id, epoch, NOW));

    store.key_insert(&row(&late, "acme")).await.unwrap();
    assert_eq!(identify(&keyring, &late, NOW), Err(IdentityFault::Unknown));
    keyring.refresh(&store, NOW).await.unwrap();
    assert!(identify(&keyring, &late, NOW).is_ok());
    assert_eq!((keyring.len(), keyring.is_empty()), (2, false));

    store.close().await;
    assert!(keyring.refresh(&store, NOW + 1).await.is_err());
    assert!(
        identify(&keyring, &late, NOW + STALE_MS).is_ok() && identify(&keyring, &late, NOW + STALE_MS + 1).is_err()
    );
}

/// A keyring with stored tenants.
fn narrowed_keyring(rows: Vec<KeyRow>, tenants: Vec<TenantRow>) -> Keyring {
    let keyring = keyring(Vec::new());
    keyring.replace(2, Rows { keys: rows, tenants, ..Rows::default() });
    keyring
}

fn tenant(path: &str, disabled: bool, settings: TenantSettings) -> TenantRow {
    TenantRow { path: path.to_owned(), name: String::new(), disabled, settings, created_ms: 0, changed_ms: 0 }
}

#[test]
fn a_stored_tenant_takes_away_and_gives_nothing() {
    let key = NewKey::generate().unwrap();
    let settings = TenantSettings {
        models: Some(vec!["gpt-*".to_owned()]),
        without_roles: vec!["tester".to_owned()],
        attributes: BTreeMap::from([
            ("environment".to_owned(), "forged".to_owned()),
            ("desk".to_owned(), "7".to_owned()),
        ]),
        ..TenantSettings::default()
    };
    let row = KeyRow { models: Some(vec!["gpt-4".to_owned(), "big".to_owned()]), ..row(&key, "acme/lab/x/ada") };
    let keyring = narrowed_keyring(vec![row], vec![tenant("acme/lab", false, settings)]);
    let found = identify(&keyring, &key, NOW).unwrap();
    assert_eq!(found.key_models.as_deref(), Some(&["gpt-4".to_owned()][..]));
    assert_eq!(found.subject.roles.iter().map(|role| &**role).collect::<Vec<_>>(), ["user"]);
    assert_eq!((&*found.subject.attributes["environment"], &*found.subject.attributes["desk"]), ("test", "7"));
}

#[test]
fn a_disabled_level_refuses_everybody_below_it_in_streams_too() {
    let key = NewKey::generate().unwrap();
    let row = row(&key, "acme/lab/x/ada");
    for (path, disabled) in [("acme", true), ("acme/lab", true), ("acme/lab/x/ada", true), ("acme/lab/y", false)] {
        let keyring = narrowed_keyring(vec![row.clone()], vec![tenant(path, true, TenantSettings::default())]);
        let found = identify(&keyring, &key, NOW).err().map(IdentityFault::code);
        assert_eq!(found, disabled.then_some("tenant_disabled"), "{path}");
        assert_eq!(keyring.is_live(&key.id, 0, NOW), !disabled, "{path}");
        assert_eq!(keyring.is_enabled(&TenantPath::parse("acme/lab/x/ada").unwrap()), !disabled, "{path}");
    }
}

#[test]
fn an_administrators_key_makes_no_calls_and_a_key_for_calls_administers_nothing() {
    let (key, admin, broken) = (NewKey::generate().unwrap(), NewKey::generate().unwrap(), NewKey::generate().unwrap());
    let of = |key: &NewKey, tenant: &str, roles: &[&str]| KeyRow {
        kind: KeyKind::Admin,
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        ..row(key, tenant)
    };
    let rows = vec![row(&key, "acme"), of(&admin, "*", &["auditor"]), of(&broken, "acme", &["owner", "auditor"])];
    let keyring = narrowed_keyring(rows, vec![tenant("globex", true, TenantSettings::default())]);
    let administrator = |key: &NewKey| keyring.administrator(&parse(key.reveal()).unwrap(), &peppers(&[1]), NOW);
    let found = administrator(&admin).unwrap();
    assert_eq!((found.tenant, &*found.role), (None, "auditor"));
    assert_eq!(administrator(&key), Err(IdentityFault::Unknown));
    assert_eq!(administrator(&broken), Err(IdentityFault::Unknown), "an administrator has one role");
    assert_eq!(identify(&keyring, &admin, NOW), Err(IdentityFault::Unknown));
}

#[test]
fn a_use_is_remembered_over_snapshots() {
    let key = NewKey::generate().unwrap();
    let keyring = keyring(vec![row(&key, "acme")]);
    assert_eq!(keyring.used_since(0), []);
    identify(&keyring, &key, NOW).unwrap();
    keyring.replace(2, Rows { keys: vec![row(&key, "acme")], ..Rows::default() });
    assert_eq!(keyring.used_since(0), [(key.id.to_string(), NOW)]);
    assert_eq!(keyring.used_since(NOW), []);
}

//! The key commands against a store in a folder of their own.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use clap::Parser;

use super::*;
use crate::identity::{Keyring, Peppers, TenantRules};

const NOW: u64 = 1_700_000_000_000;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    key: KeyArgs,
}

fn private(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// A data folder with a pepper, and a configuration beside it that names both.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    private(&folder.path().join("data/pepper"), "0123456789abcdef\n");
    let text = "keys: { pepper: \"file:data/pepper\" }\ntenants: [{ path: acme }]\n";
    std::fs::write(folder.path().join("w.yaml"), text).unwrap();
    folder
}

async fn key(folder: &Path, line: &str) -> Result<String, KeyError> {
    let line = line
        .replace("DATA", &folder.join("data").display().to_string())
        .replace("FILE", &folder.join("w.yaml").display().to_string());
    let cli = Cli::try_parse_from(["key"].into_iter().chain(line.split(' '))).unwrap();
    let mut out = Vec::new();
    run(&cli.key, NOW, &mut out).await?;
    Ok(String::from_utf8(out).unwrap())
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn a_key_is_made_listed_and_revoked() {
    let folder = folder();
    let made = json(
        &key(
            folder.path(),
            "create --data DATA --tenant acme/lab --name ci --expires-in 30d --role user --model g* --json",
        )
        .await
        .unwrap(),
    );
    let (id, text) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    assert_eq!(made["expires_ms"], NOW + 30 * 86_400_000);
    assert_eq!((&made["roles"][0], &made["models"][0]), (&"user".into(), &"g*".into()));
    assert_eq!(api_key::parse(text).unwrap().id(), id);

    let listed = json(&key(folder.path(), "list --config FILE --json").await.unwrap());
    assert_eq!((&listed["id"], &listed["state"], listed.get("key")), (&id.into(), &"active".into(), None));
    assert_eq!(key(folder.path(), "list --data DATA --tenant other").await.unwrap().lines().count(), 1);

    let said = key(folder.path(), &format!("revoke --data DATA {text}")).await.unwrap();
    assert!(said.starts_with(&format!("revoked {id}")) && !said.contains(text));
    assert!(matches!(key(folder.path(), &format!("revoke --data DATA {id}")).await, Err(KeyError::RevokedBefore(_))));
    assert!(matches!(key(folder.path(), "revoke --data DATA absent").await, Err(KeyError::Unknown(_))));
    assert!(key(folder.path(), "list --data DATA").await.unwrap().contains("revoked  2023-11-14 22:13:20Z"));
}

#[tokio::test]
async fn a_key_made_by_the_command_is_proven_by_the_keyring() {
    let folder = folder();
    let made = key(folder.path(), "create --config FILE --tenant acme").await.unwrap();
    let text = made.lines().next().unwrap();
    let settings = crate::config::load(&folder.path().join("w.yaml")).unwrap().settings;
    let store = Store::open(&settings.data.join("weir.db"), Create::Never).await.unwrap();
    let keyring = Keyring::new();
    keyring.refresh(&store, NOW).await.unwrap();
    let presented = api_key::parse(text).unwrap();
    let found =
        keyring.identify(&presented, &Peppers::new(&settings.peppers), &TenantRules::new(&settings.tenants), NOW);
    assert_eq!(found.unwrap().subject.tenant.as_str(), "acme");
}

#[tokio::test]
async fn a_key_that_could_not_work_is_not_made() {
    let folder = folder();
    let path = folder.path();
    assert!(matches!(key(path, "create --config FILE --tenant other").await, Err(KeyError::UncoveredTenant(_))));
    assert!(matches!(key(path, "list --data DATA").await, Err(KeyError::Store(StoreError::NoSuchStore(_)))));
    key(path, "create --data DATA --tenant acme").await.unwrap();
    private(&path.join("data/pepper"), "another pepper 16");
    let error = key(path, "create --data DATA --tenant acme").await.unwrap_err();
    assert!(matches!(error, KeyError::Pepper(WrongPepper { version: 1 })));
    std::fs::remove_file(path.join("data/pepper")).unwrap();
    let error = key(path, "create --data DATA --tenant acme").await.unwrap_err();
    assert!(error.to_string().starts_with("there is no `pepper` in"), "{error}");
    let error = key(path, "create --config FILE --tenant acme").await.unwrap_err();
    assert_eq!((error.exit_code(), error.to_string().contains("w.yaml: keys.pepper: ")), (78, true));
    assert_eq!(key(path, "list --data DATA --json").await.unwrap().lines().count(), 1);
}

#[test]
fn arguments_that_mean_nothing_are_refused() {
    let good = "create --data d --tenant a";
    let bad = [
        "create --tenant a",
        "create --data d --config c --tenant a",
        "create --data d --tenant A",
        "create --data d --tenant a --expires-in 0d",
        "create --data d --tenant a --expires-in 30",
        "create --data d --tenant a --expires-in 99999999999999999w",
        "create --data d --tenant a --model g*t",
        "revoke --data d",
        "list",
    ];
    let parses = |line: &str| Cli::try_parse_from(["key"].into_iter().chain(line.split(' '))).is_ok();
    assert!(parses(good));
    for line in bad {
        assert!(!parses(line), "{line}");
    }
}

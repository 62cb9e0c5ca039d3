//! Tenants.

use super::Place;
use crate::identity::stored::TenantSettings;
use crate::store::StoreError;
use crate::store::tenant::{TenantGone, TenantRow};
use crate::store::tenant_secret::SecretRow;

fn row(path: &str) -> TenantRow {
    TenantRow {
        path: path.to_owned(),
        name: "Research".to_owned(),
        disabled: false,
        settings: TenantSettings { models: Some(vec!["a*".to_owned()]), ..TenantSettings::default() },
        created_ms: 1,
        changed_ms: 1,
    }
}

pub(super) async fn a_tenant_comes_back_and_every_change_moves_the_revision(at: &Place) {
    let store = &at.store;
    store.tenant_insert(&row("acme/re")).await.unwrap();
    assert_eq!(store.tenant_get("acme/re").await.unwrap(), Some(row("acme/re")));
    assert!(matches!(store.tenant_insert(&row("acme/re")).await, Err(StoreError::TenantExists(_))));
    assert!(store.tenant_set("acme/re", &TenantSettings::default(), 2).await.unwrap());
    assert!(!store.tenant_set("acme", &TenantSettings::default(), 2).await.unwrap());
    store.tenant_disable("acme/re", 3).await.unwrap();
    store.tenant_disable("globex", 3).await.unwrap();
    assert!(store.tenant_enable("acme/re", 4).await.unwrap() && !store.tenant_enable("none", 4).await.unwrap());
    let states: Vec<_> = store.tenants_all().await.unwrap().into_iter().map(|row| (row.path, row.disabled)).collect();
    assert_eq!(states, [("acme/re".to_owned(), false), ("globex".to_owned(), true)]);
    assert_eq!(store.revision().await.unwrap(), 5);
    let events: Vec<_> = store.key_events().await.unwrap().into_iter().map(|event| event.event).collect();
    let expected = ["tenant_created", "tenant_changed", "tenant_disabled", "tenant_created", "tenant_enabled"];
    assert_eq!(events, expected);
}

pub(super) async fn a_deletion_takes_what_lies_below_and_no_sibling(at: &Place) {
    let store = &at.store;
    for path in ["a_c", "a_c/x", "abc/x", "a_c-2"] {
        store.tenant_insert(&row(path)).await.unwrap();
    }
    let gone = store.tenant_delete("a_c", 9).await.unwrap();
    assert_eq!(gone, TenantGone { tenants: 2, keys: 0, secrets: 0 });
    let left: Vec<_> = store.tenants_all().await.unwrap().into_iter().map(|row| row.path).collect();
    assert_eq!(left, ["a_c-2", "abc/x"]);
    assert_eq!(store.tenant_delete("a_c", 9).await.unwrap(), TenantGone::default());
}

pub(super) async fn a_secret_is_replaced_read_and_removed(at: &Place) {
    let store = &at.store;
    let row = |sealed: &[u8]| SecretRow {
        tenant: "acme".to_owned(),
        name: "openai".to_owned(),
        version: 3,
        sealed: sealed.to_vec(),
        changed_ms: 7,
    };
    for sealed in [&[0, 255, 1][..], &[9]] {
        store.secret_set(&row(sealed)).await.unwrap();
        assert_eq!(store.secret_get("acme", "openai").await.unwrap(), Some(row(sealed)));
    }
    assert_eq!(store.secrets_all().await.unwrap(), [row(&[9])]);
    assert_eq!(store.revision().await.unwrap(), 2);
    assert!(store.secret_remove("acme", "openai").await.unwrap());
    assert!(!store.secret_remove("acme", "openai").await.unwrap());
    let events: Vec<_> = store.key_events().await.unwrap().into_iter().map(|event| event.event).collect();
    assert_eq!(events, ["secret_set", "secret_set", "secret_removed"]);
}

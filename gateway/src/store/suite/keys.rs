//! Keys.

use super::Place;
use crate::identity::scope::{KeyKind, Scopes};
use crate::store::{KeyRow, StoreError};

pub(super) fn row(id: &str, tenant: &str) -> KeyRow {
    KeyRow {
        id: id.to_owned(),
        tenant: tenant.to_owned(),
        name: "laptop".to_owned(),
        pepper_version: 1,
        hash: [7; 32],
        roles: vec!["dev".to_owned(), "say \"hi\"".to_owned()],
        models: Some(vec!["small*".to_owned()]),
        created_ms: 10,
        expires_ms: Some(20),
        revoked_ms: None,
        epoch: 0,
        kind: KeyKind::Service,
        scopes: Scopes { ips: Some(vec!["10.0.0.0/8".to_owned()]), ..Scopes::default() },
        replaces: None,
        used_ms: None,
    }
}

pub(super) async fn a_key_comes_back_as_it_was_and_its_id_is_taken(at: &Place) {
    let store = &at.store;
    let mut plain = row("bbbbbbbb", "acme");
    plain.models = None;
    plain.expires_ms = None;
    for key in [row("aaaaaaaa", "acme/re"), plain.clone()] {
        store.key_insert(&key).await.unwrap();
        assert_eq!(store.key_get(&key.id).await.unwrap(), Some(key));
    }
    let error = store.key_insert(&plain).await.unwrap_err();
    assert!(matches!(error, StoreError::KeyExists(id) if id == "bbbbbbbb"));
    assert_eq!(store.key_get("cccccccc").await.unwrap(), None);
}

pub(super) async fn revoking_moves_epoch_and_revision_once(at: &Place) {
    let store = &at.store;
    store.key_insert(&row("aaaaaaaa", "acme")).await.unwrap();
    let before = store.revision().await.unwrap();
    assert!(store.key_revoke("aaaaaaaa", 99).await.unwrap());
    assert!(!store.key_revoke("aaaaaaaa", 100).await.unwrap());
    assert!(!store.key_revoke("zzzzzzzz", 100).await.unwrap());
    let key = store.key_get("aaaaaaaa").await.unwrap().unwrap();
    assert_eq!((key.revoked_ms, key.epoch), (Some(99), 1));
    assert_eq!(store.revision().await.unwrap(), before + 1);
}

pub(super) async fn a_list_holds_the_level_and_what_lies_below(at: &Place) {
    let store = &at.store;
    for (id, tenant) in [("aaaaaaaa", "acme/re"), ("bbbbbbbb", "acme/research"), ("cccccccc", "acme/re/x")] {
        store.key_insert(&row(id, tenant)).await.unwrap();
    }
    let ids = |rows: Vec<KeyRow>| rows.into_iter().map(|row| row.id).collect::<Vec<_>>();
    assert_eq!(ids(store.key_list(Some("acme/re")).await.unwrap()), ["aaaaaaaa", "cccccccc"]);
    assert_eq!(ids(store.key_list(None).await.unwrap()).len(), 3);
}

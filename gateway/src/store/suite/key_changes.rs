//! Changes of keys.

use super::Place;
use crate::identity::scope::{KeyKind, Scopes};
use crate::store::{KeyRow, Store};

pub(super) fn row(id: &str) -> KeyRow {
    KeyRow {
        id: id.to_owned(),
        tenant: "acme".to_owned(),
        name: String::new(),
        pepper_version: 1,
        hash: [7; 32],
        roles: Vec::new(),
        models: None,
        created_ms: 10,
        expires_ms: None,
        revoked_ms: None,
        epoch: 0,
        kind: KeyKind::User,
        scopes: Scopes::default(),
        replaces: None,
        used_ms: None,
    }
}

pub(super) async fn every_change_moves_the_revision_and_a_use_does_not(at: &Place) {
    let store = &at.store;
    store.key_insert(&row("aaaaaaaa")).await.unwrap();
    let mut revision = store.revision().await.unwrap();
    let mut moved = async |store: &Store| {
        let now = store.revision().await.unwrap();
        std::mem::replace(&mut revision, now) != now
    };
    assert!(store.key_expire("aaaaaaaa", 100).await.unwrap());
    assert!(store.key_expire("aaaaaaaa", 200).await.unwrap(), "a later end changes nothing");
    assert_eq!(store.key_get("aaaaaaaa").await.unwrap().unwrap().expires_ms, Some(100));
    assert!(moved(store).await);
    let new = KeyRow { replaces: Some("aaaaaaaa".to_owned()), ..row("bbbbbbbb") };
    assert!(store.key_rotate("aaaaaaaa", &new, 50).await.unwrap());
    assert!(!store.key_rotate("zzzzzzzz", &row("cccccccc"), 50).await.unwrap());
    assert_eq!(store.key_get("cccccccc").await.unwrap(), None, "nothing was added");
    assert_eq!(store.key_get("aaaaaaaa").await.unwrap().unwrap().expires_ms, Some(50));
    assert!(moved(store).await);
    let scopes = Scopes { endpoints: Some(vec!["models".to_owned()]), ..Scopes::default() };
    assert!(store.key_narrow("bbbbbbbb", Some(&["m".to_owned()]), &scopes).await.unwrap());
    let found = store.key_get("bbbbbbbb").await.unwrap().unwrap();
    assert_eq!((found.epoch, found.scopes, found.models), (1, scopes, Some(vec!["m".to_owned()])));
    assert!(moved(store).await);
    store.key_uses(&[("bbbbbbbb".to_owned(), 9), ("gone".to_owned(), 9)]).await.unwrap();
    store.key_uses(&[("bbbbbbbb".to_owned(), 8)]).await.unwrap();
    assert_eq!(store.key_uses_all().await.unwrap(), [("bbbbbbbb".to_owned(), 9)]);
    assert!(!moved(store).await, "no gateway reads the keys again for a use");
    assert!(store.key_delete("bbbbbbbb").await.unwrap() && !store.key_delete("bbbbbbbb").await.unwrap());
    assert_eq!(store.key_uses_all().await.unwrap(), []);
    assert!(moved(store).await);
    assert!(store.key_events().await.unwrap().iter().any(|event| event.event == "key_deleted"));
}

//! Directories.

use super::Place;
use crate::store::StoreError;
use crate::store::directory::{Pick, UserEntry};
use crate::store::directory_group::GroupEntry;

fn user(name: &str) -> UserEntry {
    UserEntry {
        user_name: name.to_owned(),
        external_id: Some(format!("x-{name}")),
        active: true,
        names: "[]".to_owned(),
        facts: "{}".to_owned(),
        document: format!("{{\"userName\":\"{name}\"}}"),
    }
}

fn group(members: &[&str]) -> GroupEntry {
    GroupEntry {
        name: "devs".to_owned(),
        external_id: None,
        document: r#"{"displayName":"Devs"}"#.to_owned(),
        members: members.iter().map(|id| (*id).to_owned()).collect(),
    }
}

pub(super) async fn a_change_is_made_to_the_version_that_was_read_or_not_at_all(at: &Place) {
    let store = &at.store;
    store.user_insert("acme", "u1", &user("ada"), 5).await.unwrap();
    assert!(store.user_replace("acme", ("u1", 1), &user("eve"), 6).await.unwrap());
    assert!(!store.user_replace("acme", ("u1", 1), &user("bob"), 7).await.unwrap());
    let found = store.users_list("acme", &Pick::Name("eve".to_owned()), (0, 9)).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].version, found[0].created_ms, found[0].changed_ms), (2, 5, 6));
    assert_eq!(store.users_count("acme", &Pick::External("x-ada".to_owned())).await.unwrap(), 0);
    assert!(matches!(store.user_insert("acme", "u2", &user("eve"), 8).await, Err(StoreError::UserExists)));
    store.user_insert("globex", "u2", &user("eve"), 8).await.unwrap();
}

pub(super) async fn what_is_deleted_is_gone_but_its_names_and_the_name_is_free(at: &Place) {
    let store = &at.store;
    store.user_insert("acme", "u1", &user("ada"), 5).await.unwrap();
    store.group_insert("acme", "g1", &group(&["u1"]), 5).await.unwrap();
    let before = store.directory_revision().await.unwrap();
    assert!(store.user_delete("acme", "u1", 6).await.unwrap() && !store.user_delete("acme", "u1", 6).await.unwrap());
    assert_eq!(store.directory_revision().await.unwrap(), before + 1);
    assert_eq!(store.users_count("acme", &Pick::All).await.unwrap(), 0);
    assert!(store.group_members("acme", "g1").await.unwrap().is_empty());
    let people = store.people_all().await.unwrap();
    assert!(people[0].deleted && !people[0].active, "{people:?}");
    store.user_insert("acme", "u2", &user("ada"), 7).await.unwrap();
    let events: Vec<_> = store.key_events().await.unwrap().into_iter().map(|event| (event.event, event.key)).collect();
    let expected = [
        ("directory_user_created", "u1"),
        ("directory_group_created", "g1"),
        ("directory_user_deleted", "u1"),
        ("directory_user_created", "u2"),
    ];
    assert_eq!(events, expected.map(|(event, key)| (event.to_owned(), key.to_owned())));
}

pub(super) async fn nothing_of_another_tenant_is_seen_changed_or_joined(at: &Place) {
    let store = &at.store;
    store.user_insert("acme", "u1", &user("ada"), 5).await.unwrap();
    store.group_insert("acme", "g1", &group(&["u1"]), 5).await.unwrap();
    for tenant in ["globex", "acme/re", "acm", ""] {
        let id = Pick::Id("u1".to_owned());
        assert!(store.users_list(tenant, &id, (0, 9)).await.unwrap().is_empty(), "{tenant}");
        assert_eq!(store.users_count(tenant, &Pick::All).await.unwrap(), 0, "{tenant}");
        assert!(!store.user_replace(tenant, ("u1", 1), &user("eve"), 6).await.unwrap(), "{tenant}");
        assert!(!store.user_delete(tenant, "u1", 6).await.unwrap(), "{tenant}");
        assert!(!store.group_delete(tenant, "g1").await.unwrap(), "{tenant}");
        assert!(!store.group_replace(tenant, ("g1", 1), &group(&[]), 6).await.unwrap(), "{tenant}");
        let joined = store.group_insert(tenant, "g2", &group(&["u1"]), 6).await;
        assert!(matches!(joined, Err(StoreError::NoSuchMember)), "{tenant}: {joined:?}");
        assert!(store.groups_of(tenant, "u1").await.unwrap().is_empty(), "{tenant}");
        assert!(store.group_members(tenant, "g1").await.unwrap().is_empty(), "{tenant}");
    }
    assert_eq!(store.group_members("acme", "g1").await.unwrap(), [("u1".to_owned(), "User".to_owned())]);
    assert_eq!(store.groups_all().await.unwrap().0.len(), 1, "what failed left nothing behind");
}

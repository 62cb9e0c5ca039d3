//! Several processes, or gateways, at one store.

use super::Place;
use super::key_changes::row;
use crate::store::KeyRow;

const TOGETHER: usize = 8;

pub(super) async fn writers_wait_for_each_other_and_none_is_lost(at: &Place) {
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..TOGETHER {
        let store = at.again().await;
        tasks.spawn(async move {
            for number in 0..4 {
                let id = format!("k{writer}{number}");
                store.key_insert(&row(&id)).await.unwrap();
                let new = KeyRow { replaces: Some(id.clone()), ..row(&format!("n{writer}{number}")) };
                assert!(store.key_rotate(&id, &new, 50).await.unwrap());
                store.tenant_disable("acme", 3).await.unwrap();
                store.key_uses(&[(id.clone(), 9), (format!("n{writer}{number}"), 9)]).await.unwrap();
                assert!(store.key_revoke(&id, 60).await.unwrap());
            }
            store.close().await;
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let keys = at.store.keys_all().await.unwrap();
    assert_eq!(keys.len(), TOGETHER * 8);
    // For each of the 32: an insert, an insert and an end, a tenant, a revocation.
    assert_eq!(at.store.revision().await.unwrap(), (TOGETHER * 4 * 5) as u64);
    assert_eq!(at.store.key_events().await.unwrap().len(), TOGETHER * 4 * 5);
}

pub(super) async fn a_deletion_beside_new_keys_leaves_none_alive(at: &Place) {
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..TOGETHER {
        let store = at.again().await;
        tasks.spawn(async move {
            for number in 0..8 {
                if writer == 0 {
                    store.tenant_delete("acme", 5).await.unwrap();
                } else {
                    store.key_insert(&row(&format!("k{writer}{number}"))).await.unwrap();
                }
            }
            store.close().await;
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    at.store.tenant_delete("acme", 6).await.unwrap();
    let keys = at.store.keys_all().await.unwrap();
    assert_eq!(keys.len(), (TOGETHER - 1) * 8);
    assert!(keys.iter().all(|key| key.revoked_ms.is_some() && key.epoch == 1), "{keys:?}");
}

pub(super) async fn changes_are_handed_over_once_and_again_where_they_were_not_noted(at: &Place) {
    let store = &at.store;
    assert!(store.key_events_take().await.unwrap().is_none());
    for id in ["aaaaaaaa", "bbbbbbbb"] {
        store.key_insert(&row(id)).await.unwrap();
    }
    let dropped = store.key_events_take().await.unwrap().unwrap();
    assert_eq!(dropped.events.iter().map(|event| event.key.as_str()).collect::<Vec<_>>(), ["aaaaaaaa", "bbbbbbbb"]);
    drop(dropped);
    // They are let go in the background.
    let taken = loop {
        match store.key_events_take().await.unwrap() {
            Some(taken) => break taken,
            None => tokio::task::yield_now().await,
        }
    };
    assert_eq!(taken.events.len(), 2);
    // A change that comes meanwhile is not taken out with those that were read.
    store.key_insert(&row("cccccccc")).await.unwrap();
    taken.noted().await.unwrap();
    let taken = store.key_events_take().await.unwrap().unwrap();
    assert_eq!(taken.events.iter().map(|event| event.key.as_str()).collect::<Vec<_>>(), ["cccccccc"]);
    taken.noted().await.unwrap();
    assert!(store.key_events_take().await.unwrap().is_none());
}

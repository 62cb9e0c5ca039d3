//! A disk that takes no more: Weir refuses rather than serve what it can't record, and recovers by itself.

use e2e::config::Config;
use e2e::gateway::{Gateway, outcome};
use e2e::say;
use e2e::upstream::Upstream;

use e2e::client::Request;

/// One MiB for any single file: enough to start, soon used up by the journal.
const FILE_BLOCKS: u32 = 2048;
/// More calls than the journal can have room for.
const CALLS_MAX: usize = 20_000;

#[tokio::test]
async fn a_full_disk_refuses_calls_and_loses_none() {
    let upstream = Upstream::start().await;
    let mut gateway = Gateway::prepare(&Config::with(&upstream));
    gateway.file_blocks_max = Some(FILE_BLOCKS);
    gateway.spawn().await;
    let key = gateway.key("acme").await;
    let request = Request::chat(&key.secret, &say::chat("mock", "hi", false));
    let mut served = 0;
    let refused = loop {
        let reply = gateway.fetch(&request).await;
        if reply.status != 200 {
            break reply;
        }
        served += 1;
        assert!(served < CALLS_MAX, "the limit on files does not bite");
    };
    assert_eq!((refused.status, refused.code().as_str()), (503, "ledger_unavailable"), "after {served} calls");
    assert!(refused.head.get("retry-after").is_some());
    let sent = upstream.count();
    assert_eq!(gateway.fetch(&request).await.status, 503);
    assert_eq!(upstream.count(), sent, "a call that can't be recorded is not sent");

    // With room again, all that was sent is in the books.
    gateway.kill().await;
    gateway.file_blocks_max = None;
    gateway.spawn().await;
    let rows = e2e::clock::eventually("every request sent upstream has its row", async || {
        Some(gateway.usage().await).filter(|rows| rows.len() >= sent)
    })
    .await;
    assert!(rows.len() <= sent + 1, "{} rows for {sent} requests", rows.len());
    let completed = rows.iter().filter(|row| outcome(row) == "completed").count();
    assert!(completed + 1 >= served, "{completed} of {served} served calls are complete in the books");
    gateway.verify_audit().await;
    assert_eq!(gateway.fetch(&request).await.status, 200);
}

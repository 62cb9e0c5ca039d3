//! The ledger: rows and heads, once.

use std::collections::BTreeSet;

use super::Place;
use crate::audit::record::Link;
use crate::audit::sink::Head;
use crate::journal::fixture::{call, closing};
use crate::journal::{Closing, Position};
use crate::store::node::Node;
use crate::store::projection::{Projected, Projection};
use crate::store::usage::{GroupBy, Totals, UsageFilter};

pub(in crate::store) fn to(offset: u64) -> Projected {
    let link = Link { seq: offset, hash: [7; 32] };
    Projected { position: Position { segment: 1, offset }, audit: Head { link, file: 1, offset } }
}

pub(super) async fn rows_and_heads_move_together_and_a_second_time_changes_nothing(at: &Place) {
    let mut projection = Projection::connect(&at.url, at.data.path()).await.unwrap();
    assert_eq!(projection.read().await.unwrap(), None);
    let closings = [closing(call(1), 2), closing(call(2), 0), closing(call(3), 1)];
    projection.commit(closings.iter(), &to(10)).await.unwrap();
    // What a crash behind the commit makes of it: the same again, with more behind it.
    let mut projection = Projection::connect(&at.url, at.data.path()).await.unwrap();
    assert_eq!(projection.read().await.unwrap(), Some(to(10)));
    let more = [closing(call(3), 1), closing(call(4), 1)];
    projection.commit(more.iter(), &to(20)).await.unwrap();
    projection.checkpoint().await.unwrap();
    let node = Node::of(at.data.path()).unwrap();
    let totals = at.store.ledger_totals(node.as_ref()).await.unwrap();
    assert_eq!(totals, (Some(to(20)), Totals { attempts: 4, cost_nano: 4 * 4_200 }));
}

pub(super) async fn every_group_of_a_report_sums_the_same_rows(at: &Place) {
    let mut projection = Projection::connect(&at.url, at.data.path()).await.unwrap();
    let mut late = closing(call(2), 1);
    late.at_ms += 86_400_000;
    late.attempts[0].source = crate::exchange::UsageSource::Estimated;
    projection.commit([closing(call(1), 2), late].iter(), &to(10)).await.unwrap();
    let report = async |by, filter: &UsageFilter| at.store.usage_rows(by, filter).await.unwrap();
    let all = UsageFilter::default();
    for (by, groups) in [
        (GroupBy::Tenant, &["acme/research/chat/ada"][..]),
        (GroupBy::Key, &["k0000001"]),
        (GroupBy::Model, &["small"]),
        (GroupBy::Deployment, &["own"]),
        (GroupBy::Day, &["2023-11-14", "2023-11-15"]),
        (GroupBy::Call, &["01990000-0000-7000-8000-000000000001", "01990000-0000-7000-8000-000000000002"]),
    ] {
        let sums = report(by, &all).await;
        assert_eq!(sums.iter().map(|sum| &sum.group).collect::<Vec<_>>(), groups, "{by:?}");
        let sum = |of: fn(&crate::store::usage::UsageSum) -> u64| sums.iter().map(of).sum::<u64>();
        let counts = [sum(|s| s.calls), sum(|s| s.attempts), sum(|s| s.input_tokens), sum(|s| s.estimated)];
        assert_eq!(counts, [2, 3, 270, 1], "{by:?}");
        assert_eq!(sums.iter().map(|sum| sum.cost_nano).sum::<i64>(), 3 * 4_200, "{by:?}");
    }
    let within = |tenant: &str| UsageFilter { tenant: Some(tenant.to_owned()), ..UsageFilter::default() };
    assert_eq!(report(GroupBy::Tenant, &within("acme/research")).await.len(), 1);
    assert_eq!(report(GroupBy::Tenant, &within("acme/re")).await, []);
    let early = UsageFilter { until_ms: Some(1_700_000_000_001), ..UsageFilter::default() };
    assert_eq!(report(GroupBy::Call, &early).await.len(), 1);
}

pub(super) async fn what_a_client_or_an_upstream_wrote_never_stops_the_ledger(at: &Place) {
    let mut odd = closing(call(1), 1);
    odd.model = Some("a\0b \u{fffd} \"'; -- \u{1f600}".into());
    odd.attempts[0].finish_reason = Some("\0".into());
    odd.attempts[0].reason = Some("\0\0".into());
    odd.attempts[0].input_tokens = u64::MAX;
    odd.at_ms = u64::MAX;
    let mut projection = Projection::connect(&at.url, at.data.path()).await.unwrap();
    projection.commit([odd].iter(), &to(1)).await.unwrap();
    let node = Node::of(at.data.path()).unwrap();
    assert_eq!(at.store.ledger_totals(node.as_ref()).await.unwrap().1.attempts, 1);
}

pub(super) async fn a_batch_is_written_whole_across_all_sizes_of_statements(at: &Place) {
    let mut projection = Projection::connect(&at.url, at.data.path()).await.unwrap();
    let closings: Vec<Closing> = (0..213).map(|number| closing(call(number), 1)).collect();
    projection.commit(closings.iter(), &to(1)).await.unwrap();
    let rows = at.store.usage_rows(GroupBy::Call, &UsageFilter::default()).await.unwrap();
    assert!(rows.iter().all(|row| row.attempts == 1), "{rows:?}");
    assert_eq!(rows.into_iter().map(|row| row.group).collect::<BTreeSet<_>>().len(), 213);
}

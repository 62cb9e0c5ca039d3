//! Sums by hour and day, closed months, alerts of budgets.

use super::Place;
use super::ledger::to;
use crate::finance::close::tests::months_close_once_and_late_rows_are_corrections;
use crate::finance::report::tests::reports_are_the_sums_of_the_rows;
use crate::journal::fixture::{call, closing};
use crate::store::projection::Projection;
use crate::store::spent::tests::each_kind_of_question_has_its_index;

pub(super) async fn sums_are_those_of_the_rows(place: &Place) {
    reports_are_the_sums_of_the_rows(&place.store, &place.url, place.data.path()).await;
}

pub(super) async fn a_closed_month_stays_as_it_is(place: &Place) {
    months_close_once_and_late_rows_are_corrections(&place.store, &place.url, place.data.path()).await;
}

pub(super) async fn a_sum_beyond_what_can_be_counted_stops_no_row(place: &Place) {
    let mut projection = Projection::connect(&place.url, place.data.path()).await.unwrap();
    for number in 1..5 {
        let mut one = closing(call(u128::from(number)), 1);
        for attempt in &mut one.attempts {
            (attempt.input_tokens, attempt.cost_nano) = (u64::MAX, if number == 4 { -7 } else { i64::MAX });
            attempt.bill.buckets = [("input_text".into(), u64::MAX)].into();
        }
        projection.commit([one].iter(), &to(number)).await.unwrap();
    }
}

pub(super) async fn an_alert_is_given_once(place: &Place) {
    let budget = ("acme", "monthly", "");
    assert!(place.store.give_budget_alert(budget, 5, "80", 7).await.unwrap());
    assert!(!place.again().await.give_budget_alert(budget, 5, "80", 8).await.unwrap());
    assert!(place.store.give_budget_alert(budget, 6, "80", 9).await.unwrap());
    let given = place.store.budget_alerts("acme", "monthly", "", 5).await.unwrap();
    assert_eq!(given.iter().map(|alert| (alert.kind.as_str(), alert.at_ms)).collect::<Vec<_>>(), [("80", 7)]);
    let events = place.store.key_events().await.unwrap();
    let noted: Vec<_> = events.iter().map(|event| (event.event.as_str(), event.key.as_str())).collect();
    assert_eq!(noted, [("budget_alert", "monthly 80"), ("budget_alert", "monthly 80")]);
}

pub(super) async fn the_rows_of_an_end_user_are_found_by_an_index(place: &Place) {
    each_kind_of_question_has_its_index(&place.store, &place.url, place.data.path()).await;
}

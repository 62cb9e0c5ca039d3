//! Reports against the rows themselves, added up by hand.

#![allow(clippy::arithmetic_side_effects, clippy::as_conversions)] // tests count small numbers

mod year;

use super::*;
use crate::audit::record::Link;
use crate::audit::sink::Head;
use crate::exchange::{CallId, UsageSource};
use crate::finance::calendar::name;
use crate::identity::{KeyId, TenantPath};
use crate::journal::fixture::{closing, folder};
use crate::journal::{Closing, Position};
use crate::store::projection::{Projected, Projection};
use crate::store::sqlite::Create;
use crate::store::{STORE_FILE, StoreUrl};
use crate::usage::bill::Pricing;

/// Numbers that look random and are the same in every run (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % end
    }

    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[usize::try_from(self.below(all.len() as u64)).unwrap()]
    }
}

/// 2026-10-20 to 2026-12-05: two changes of clocks and two ends of a month.
const FROM_MS: u64 = 1_792_454_400_000;
const LENGTH_MS: u64 = 46 * 86_400_000;

fn some_closing(dice: &mut Dice, number: u128) -> Closing {
    let id = CallId(uuid::Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0000 + number));
    let mut one = closing(id, u16::try_from(dice.below(4)).unwrap());
    let tenants = ["acme", "acme/a", "acme/a/x/ada", "acme/a/y/bob", "acme/ab", "beta/a/x", "beta"];
    one.at_ms = FROM_MS + dice.below(LENGTH_MS);
    one.tenant = (dice.below(20) > 0).then(|| TenantPath::parse(dice.of(&tenants)).unwrap());
    one.key = Some(KeyId(dice.of(&["k1", "k2", "k3"]).into()));
    one.model = Some(dice.of(&["small", "large"]).into());
    for attempt in &mut one.attempts {
        attempt.deployment = dice.of(&["own", "far"]).into();
        attempt.provider = if &*attempt.deployment == "own" { "engine".into() } else { "openai".into() };
        attempt.input_tokens = dice.below(100_000);
        attempt.output_tokens = dice.below(5_000);
        attempt.cost_nano = dice.below(1 << 40) as i64;
        attempt.source = if dice.below(5) == 0 { UsageSource::Estimated } else { UsageSource::Exact };
        attempt.bill.list_nano = attempt.cost_nano + 7;
        attempt.bill.tier = dice.of(&["standard", "batch"]).into();
        attempt.bill.pricing = if dice.below(9) == 0 { Pricing::Inconsistent } else { Pricing::Priced };
        let (cached, reasoned) = (attempt.input_tokens / 3, attempt.output_tokens / 2);
        attempt.bill.buckets = [
            ("input_text".into(), attempt.input_tokens - cached),
            ("cache_read".into(), cached),
            ("output_text".into(), attempt.output_tokens - reasoned),
            ("reasoning".into(), reasoned),
        ]
        .into();
    }
    one
}

pub(crate) fn projected() -> Projected {
    let audit = Head { link: Link::GENESIS, file: 0, offset: 0 };
    Projected { position: Position { segment: 0, offset: 0 }, audit }
}

/// Adds up what the report should say.
fn by_hand(closings: &[Closing], of: &ReportOf) -> Vec<UsageSum> {
    let mut groups: BTreeMap<Vec<String>, UsageSum> = BTreeMap::new();
    for one in closings {
        let tenant = one.tenant.as_ref().map_or("", |tenant| tenant.as_str());
        let inside = of.filter.tenant.as_deref().is_none_or(|scope| {
            tenant == scope || tenant.strip_prefix(scope).is_some_and(|rest| rest.starts_with('/'))
        });
        let early = of.since_ms.is_some_and(|since| one.at_ms < since);
        let late = of.until_ms.is_some_and(|until| one.at_ms >= until);
        if !inside || early || late {
            continue;
        }
        for attempt in &one.attempts {
            if of.filter.provider.as_deref().is_some_and(|provider| provider != &*attempt.provider) {
                continue;
            }
            let value = |by: &By| match by {
                By::Tenant => of.level.of(tenant).to_owned(),
                By::Key => one.key.as_ref().unwrap().0.to_string(),
                By::Model => one.model.as_ref().unwrap().to_string(),
                By::UpstreamModel => attempt.model.to_string(),
                By::Provider => attempt.provider.to_string(),
                By::Deployment => attempt.deployment.to_string(),
                By::Tier => attempt.bill.tier.to_string(),
                By::Hour => name(CalendarUnit::Hour, of.zone, one.at_ms),
                By::Day => name(CalendarUnit::Day, of.zone, one.at_ms),
                By::Month => name(CalendarUnit::Month, of.zone, one.at_ms),
                By::Call => one.call.0.to_string(),
            };
            let sum = groups.entry(of.by.iter().map(value).collect()).or_default();
            sum.calls += u64::from(attempt.attempt == 0);
            sum.attempts += 1;
            sum.input_tokens += attempt.input_tokens;
            sum.output_tokens += attempt.output_tokens;
            sum.cache_read_tokens += attempt.bill.sum("cache_read");
            sum.cache_write_tokens += attempt.bill.sum("cache_write");
            sum.reasoning_tokens += attempt.bill.sum("reasoning");
            sum.estimated += u64::from(attempt.source == UsageSource::Estimated);
            sum.inconsistent += u64::from(attempt.bill.pricing == Pricing::Inconsistent);
            sum.list_nano += attempt.bill.list_nano;
            sum.cost_nano += attempt.cost_nano;
        }
    }
    groups.into_iter().map(|(groups, sum)| UsageSum { group: groups.join(" "), groups, ..sum }).collect()
}

/// Fills a store with random closings; some of them are handed over twice.
async fn fill(url: &StoreUrl, data: &std::path::Path, seed: u64, count: u128) -> Vec<Closing> {
    let mut projection = Projection::connect(url, data).await.unwrap();
    let mut dice = Dice(seed);
    let closings: Vec<Closing> = (0..count).map(|number| some_closing(&mut dice, number)).collect();
    for (at, batch) in closings.chunks(97).enumerate() {
        projection.commit(batch.iter(), &projected()).await.unwrap();
        if at % 3 == 0 {
            let again = batch.iter().take(5).chain(closings.get(..3).unwrap());
            projection.commit(again, &projected()).await.unwrap();
        }
    }
    closings
}

/// A ledger of random closings.
async fn ledger(folder: &std::path::Path, seed: u64, count: u128) -> (Store, Vec<Closing>) {
    let url = StoreUrl::from(&folder.join(STORE_FILE));
    let store = Store::open(&url, Create::IfMissing).await.unwrap();
    let closings = fill(&url, folder, seed, count).await;
    (store, closings)
}

fn question(dice: &mut Dice) -> ReportOf {
    let times = [By::Hour, By::Day, By::Month];
    let columns = [By::Tenant, By::Key, By::Model, By::UpstreamModel, By::Provider, By::Deployment, By::Tier];
    let mut by = Vec::new();
    if dice.below(2) == 0 {
        by.push(times[dice.below(3) as usize]);
    }
    let first = dice.below(7) as usize;
    by.push(columns[first]);
    if dice.below(2) == 0 {
        by.insert(0, columns[(first + 1 + dice.below(6) as usize) % 7]);
    }
    let zones = ["UTC", "Europe/Berlin", "Asia/Kolkata", "America/St_Johns", "Pacific/Auckland"];
    // Whole hours as often as not.
    let step = [1, 3_600_000][dice.below(2) as usize];
    let moment = |dice: &mut Dice| (dice.below(4) > 0).then(|| (FROM_MS + dice.below(LENGTH_MS)) / step * step);
    ReportOf {
        by,
        level: [Level::Org, Level::Team, Level::Project, Level::User][dice.below(4) as usize],
        zone: dice.of(&zones).parse().unwrap(),
        since_ms: moment(dice),
        until_ms: moment(dice),
        filter: RollupFilter {
            tenant: (dice.below(3) == 0).then(|| dice.of(&["acme", "acme/a", "beta", "none"]).to_owned()),
            provider: (dice.below(4) == 0).then(|| "engine".to_owned()),
            ..RollupFilter::default()
        },
    }
}

/// What the store's suite tries on every database.
pub(crate) async fn reports_are_the_sums_of_the_rows(store: &Store, url: &StoreUrl, data: &std::path::Path) {
    let closings = fill(url, data, 7, 1_500).await;
    let mut dice = Dice(11);
    let mut rows = 0;
    for turn in 0..150 {
        let of = question(&mut dice);
        let report = usage_report(store, &of).await.unwrap();
        assert_eq!(report.rows, by_hand(&closings, &of), "turn {turn}: {of:?}");
        let cost: i128 = report.rows.iter().map(|row| i128::from(row.cost_nano)).sum();
        assert_eq!(i128::from(report.total.cost_nano), cost);
        rows += report.rows.len();
    }
    assert!(rows > 1_000, "{rows} rows say little");
    let day = 86_400_000;
    for (from, to) in [(0, u64::MAX), (FROM_MS + 5_000_000, FROM_MS + 20 * day + 1), (FROM_MS, FROM_MS + 10_000)] {
        buckets_are_the_sums_of_the_rows(store, &closings, Span { from_ms: from, to_ms: to }).await;
    }
}

async fn buckets_are_the_sums_of_the_rows(store: &Store, closings: &[Closing], span: Span) {
    let parts = store.bucket_rollups(&[Column::Model], &[span], &RollupFilter::default()).await.unwrap();
    let mut got: BTreeMap<(String, String), u64> = BTreeMap::new();
    for mut part in parts {
        *got.entry((part.columns.remove(0), part.bucket)).or_default() += part.amount;
    }
    let mut want: BTreeMap<(String, String), u64> = BTreeMap::new();
    for one in closings.iter().filter(|one| span.from_ms <= one.at_ms && one.at_ms < span.to_ms) {
        for (bucket, amount) in one.attempts.iter().flat_map(|attempt| &attempt.bill.buckets) {
            let model = one.model.as_ref().unwrap().to_string();
            *want.entry((model, bucket.to_string())).or_default() += amount;
        }
    }
    assert_eq!(got, want);
}

#[tokio::test]
async fn rows_from_before_the_sums_are_summed_up_when_the_store_is_opened() {
    let folder = folder();
    let (store, closings) = ledger(folder.path(), 5, 300).await;
    let undo = "DROP TABLE statements; DROP TABLE budget_alerts; DROP TABLE usage_hour; DROP TABLE usage_day; \
         DROP TABLE usage_day_bucket; DROP INDEX usage_at; DROP TABLE stored_responses; \
         DROP INDEX usage_end_user; PRAGMA user_version = 6";
    store.execute(undo).await;
    store.close().await;
    let store = Store::open(&folder.path().join(STORE_FILE), Create::Never).await.unwrap();
    let mut dice = Dice(3);
    for _ in 0..20 {
        let of = question(&mut dice);
        assert_eq!(usage_report(&store, &of).await.unwrap().rows, by_hand(&closings, &of), "{of:?}");
    }
}

#[tokio::test]
async fn questions_that_have_no_answer_are_refused() {
    let folder = folder();
    let (store, _) = ledger(folder.path(), 5, 3).await;
    let of = |by: &[By]| ReportOf {
        by: by.to_vec(),
        level: Level::User,
        zone: Tz::UTC,
        since_ms: None,
        until_ms: None,
        filter: RollupFilter::default(),
    };
    let fault = async |of: ReportOf| usage_report(&store, &of).await.unwrap_err();
    assert!(matches!(fault(of(&[])).await, ReportError::Dimensions));
    assert!(matches!(fault(of(&[By::Key, By::Model, By::Tenant, By::Day])).await, ReportError::Dimensions));
    assert!(matches!(fault(of(&[By::Key, By::Key])).await, ReportError::Clash("key", "key")));
    assert!(matches!(fault(of(&[By::Day, By::Month])).await, ReportError::Clash("day", "month")));
    assert!(matches!(fault(of(&[By::Call, By::Key])).await, ReportError::Call));
    let narrowed = RollupFilter { key: Some("k1".to_owned()), ..RollupFilter::default() };
    assert!(matches!(fault(ReportOf { filter: narrowed, ..of(&[By::Call]) }).await, ReportError::Call));
}

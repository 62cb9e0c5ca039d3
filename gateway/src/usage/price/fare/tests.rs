use super::*;
use crate::routing::pick::tests::deployment;
use crate::usage::buckets::Buckets;
use crate::usage::price::Terms;
use crate::usage::price::file::{Discount, Moment, Rate};

const BOOK: &str = "version: t\nprices: [{provider: openai, model: m, input: 2 per 1M, output: 8 per 1M}]";

fn off(tenant: Option<&str>, percent: &str, from: Option<u64>) -> Discount {
    Discount {
        tenant: tenant.map(str::to_owned),
        provider: "openai".to_owned(),
        model: "*".to_owned(),
        from: from.map(Moment),
        to: None,
        percent: Some(percent.to_owned()),
        prices: None,
    }
}

fn book(terms: &Terms) -> PriceBook {
    PriceBook::parse(BOOK).unwrap().with(terms).unwrap()
}

#[test]
fn holds_and_rows_of_a_discounted_tenant_are_discounted_to_the_nano_dollar() {
    let discounts =
        vec![off(None, "5", None), off(Some("acme"), "12.5", Some(1_000)), off(Some("acme/x"), "33.33", None)];
    let book = book(&Terms { discounts, ..Terms::default() });
    let rule = deployment("a", 1);
    // The list says 9 x 2,000 + 3 x 8,000.
    for (tenant, at_ms, nano) in [
        ("other", 2_000, 39_900),
        ("acme", 2_000, 36_750),
        ("acme/y/z", 2_000, 36_750),
        ("acme", 999, 39_900),
        ("acmes", 2_000, 39_900),
    ] {
        let fare = Fare::new(&book, tenant, at_ms);
        let row = book.price(&fare.of(&rule, Tier::Standard), &Buckets::text(9, 3)).unwrap();
        assert_eq!((row.nano, row.list_nano), (nano, 42_000), "{tenant} at {at_ms}");
        assert_eq!(fare.most(&rule, 9, 3), Ok(u64::try_from(nano).unwrap()), "{tenant} at {at_ms}");
    }
    // 66.67 % of one token's 2,000 are 1,333.4: rows to the nearest, holds never below.
    let fare = Fare::new(&book, "acme/x", 0);
    assert_eq!(book.price(&fare.of(&rule, Tier::Standard), &Buckets::text(1, 0)).unwrap().nano, 1_333);
    assert_eq!(fare.most(&rule, 1, 0), Ok(1_334));
}

#[test]
fn the_configurations_currency_takes_the_place_of_the_files() {
    let rates = vec![Rate { from: Moment(0), usd: "1.1".to_owned() }, Rate { from: Moment(50), usd: "1.2".to_owned() }];
    let terms = Terms { currency: Some("EUR".to_owned()), rates, ..Terms::default() };
    let (book, rule) = (book(&terms), deployment("a", 1));
    assert_eq!(Fare::new(&book, "acme", 49).most(&rule, 9, 3), Ok(46_200));
    assert_eq!(Fare::new(&book, "acme", 50).most(&rule, 9, 3), Ok(50_400));
    let unknown = Terms { currency: Some("EUR".to_owned()), ..Terms::default() };
    assert!(PriceBook::parse(BOOK).unwrap().with(&unknown).is_err(), "a currency without its worth");
}

#[test]
fn time_is_charged_only_where_tokens_have_no_price() {
    let gpu = GpuRule::new("2.49", 20, "50");
    let priced = DeploymentRule { gpu: gpu.clone(), ..(*deployment("a", 1)).clone() };
    let own = DeploymentRule { model: "own".into(), ..priced.clone() };
    let unpriced = DeploymentRule { gpu: None, ..own.clone() };
    let (book, ceiling) = (book(&Terms::default()), "version: t\nprices: []\nunpriced: {ceiling: {input: 1 per 1}}");
    let fare = Fare::new(&book, "acme", 0);
    assert_eq!((fare.by_time(&priced), fare.most(&priced, 9, 3)), (None, Ok(42_000)));
    assert_eq!((fare.by_time(&own), fare.most(&own, 9, 3)), (gpu.as_ref(), Ok(600_000)));
    assert!(fare.most(&unpriced, 9, 3).is_err());
    // A ceiling is a guess; the machine's price is none.
    let ceiling = PriceBook::parse(ceiling).unwrap();
    assert_eq!(Fare::new(&ceiling, "acme", 0).by_time(&own), gpu.as_ref());
}

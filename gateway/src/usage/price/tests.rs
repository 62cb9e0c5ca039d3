//! Tables of prices and sums.

use super::*;
use crate::usage::buckets::Bucket;

fn book(entries: &str) -> PriceBook {
    PriceBook::parse(&format!("version: v1\nprices:\n{entries}")).unwrap()
}

fn one(input: &str, output: &str) -> PriceBook {
    book(&format!("  - {{provider: p, model: m, input: \"{input}\", output: \"{output}\"}}\n"))
}

/// A list with everything that a list may have.
fn full() -> PriceBook {
    let text = "version: v1
discounts:
  - {tenant: acme, provider: p, model: \"*\", from: 2026-07-01, percent: \"12.5\"}
  - {tenant: acme/labs, provider: p, model: m, from: 2026-07-01, prices: {input: 1 per 1M, output: 0 per 1M}}
prices:
  - {provider: p, model: m, from: 2026-01-01, to: 2026-07-01, input: 1 per 1M, output: 2 per 1M}
  - {provider: p, model: m, from: 2026-07-01, region: eu, input: 3.3 per 1M, output: 4.4 per 1M}
  - provider: p
    model: m
    from: 2026-07-01
    input: 3 per 1M
    output: 4 per 1M
    cache_read: 0.3 per 1M
    tiers: {batch: {input: 1.5 per 1M, output: 2 per 1M}}
    above: [{tokens: 200000, input: 6 per 1M, output: 5 per 1M}]";
    PriceBook::parse(text).unwrap()
}

#[test]
fn the_shipped_file_prices_the_engine_and_nothing_that_it_does_not_name() {
    let book = PriceBook::parse(BUILTIN).unwrap();
    let cost = book.cost("engine", "smollm2", 1_000_000, 1_000_000).unwrap();
    assert_eq!(cost.nano, 20_000_000 + 80_000_000);
    assert_eq!(&*cost.version, "builtin-2026-11-25");
    assert!(matches!(book.cost("openai", "unheard-of", 1, 1), Err(Unpriced::Unknown { .. })));
    assert_eq!(book.cost("openai", "gpt-4o-mini", 1000, 500).unwrap().nano, 150_000 + 300_000);
    // What a public list's own calculator gives: 1000 in, 300 of them cached, 100 out.
    let used = Buckets::text(700, 100).with(Bucket::CacheRead, 300);
    for name in ["gpt-4o", "gpt-4o-2024-08-06"] {
        assert_eq!(book.price(&PriceOf::new("openai", name, 0), &used).unwrap().nano, 3_125_000, "{name}");
    }
    assert_eq!(book.cost("openai", "gpt-4o-2024-05-13", 1000, 100).unwrap().nano, 5_000_000 + 1_500_000);
    assert_eq!(book.cost("anthropic", "claude-haiku-4-5-20251001", 1000, 100).unwrap().nano, 1_000_000 + 500_000);
    assert_eq!(book.cost("gemini", "gemini-2.5-pro", 200_001, 100).unwrap().nano, 500_002_500 + 1_500_000);
}

#[test]
fn a_half_goes_to_the_even_neighbour_and_each_attempt_is_rounded_once() {
    // 0.0005 dollars per 1M tokens are half a nano-dollar a token.
    let book = one("0.0005 per 1M", "0.0005 per 1M");
    let cases = [(0, 0, 0), (1, 0, 0), (2, 0, 1), (3, 0, 2), (5, 0, 2), (7, 0, 4), (1, 1, 1), (3, 2, 2), (4, 3, 4)];
    for (input, output, nano) in cases {
        assert_eq!(book.cost("p", "m", input, output).unwrap().nano, nano, "{input} + {output}");
    }
    // A pico-dollar beyond the half is no half.
    assert_eq!(one("0.000000000501 per 1", "0 per 1").cost("p", "m", 1, 0).unwrap().nano, 1);
    assert_eq!(one("0.000000000500 per 1", "0 per 1").cost("p", "m", 1, 0).unwrap().nano, 0);
    assert_eq!(one("0.000000000499 per 1", "0 per 1").cost("p", "m", 1, 0).unwrap().nano, 0);
}

#[test]
fn units_may_differ_within_an_entry() {
    let book = one("2 per 1M", "0.003 per 1K");
    assert_eq!(book.cost("p", "m", 500, 1000).unwrap().nano, 1_000_000 + 3_000_000);
}

#[test]
fn a_hold_is_never_below_the_cost_of_as_many_or_fewer_tokens() {
    let book = one("0.0007 per 1M", "0.0003 per 1M");
    for input in 0..40 {
        for output in 0..40 {
            let hold = book.hold(&PriceOf::new("p", "m", 0), input, output).unwrap().nano;
            for (less_in, less_out) in [(input, output), (input / 2, output), (input, output / 3)] {
                assert!(book.cost("p", "m", less_in, less_out).unwrap().nano <= hold, "{input} {output}");
            }
        }
    }
}

#[test]
fn an_exact_name_wins_over_a_prefix_and_a_longer_prefix_over_a_shorter() {
    let book = book(
        "  - {provider: p, model: \"*\", input: 1 per 1, output: 0 per 1}
  - {provider: p, model: \"gpt-*\", input: 2 per 1, output: 0 per 1}
  - {provider: p, model: gpt-x, input: 3 per 1, output: 0 per 1}\n",
    );
    for (model, dollars) in [("llama", 1), ("gpt-y", 2), ("gpt-x", 3), ("gpt-xx", 2)] {
        assert_eq!(book.cost("p", model, 1, 0).unwrap().nano, dollars * 1_000_000_000, "{model}");
    }
    assert!(book.cost("q", "gpt-x", 1, 0).is_err());
}

#[test]
fn an_unknown_price_is_refused_unless_a_ceiling_is_named() {
    let refuse = PriceBook::parse("version: v1\nunpriced: refuse\nprices: []").unwrap();
    assert!(refuse.cost("p", "m", 0, 0).is_err(), "also for no tokens at all");
    let text = "version: v1\nunpriced: {ceiling: {input: 1 per 1K, output: 2 per 1K}}\nprices: []";
    let cost = PriceBook::parse(text).unwrap().cost("p", "m", 1, 1).unwrap();
    assert_eq!((cost.nano, &*cost.version), (3_000_000, "v1+ceiling"));
}

#[test]
fn sums_beyond_an_i64_are_refused_and_do_not_wrap() {
    let book = one("999999999 per 1", "0 per 1");
    assert_eq!(book.cost("p", "m", u64::MAX, 0), Err(Unpriced::Overflow));
    assert_eq!(one("1 per 1M", "1 per 1M").cost("p", "m", u64::MAX, u64::MAX), Err(Unpriced::Overflow));
}

#[test]
fn a_fixed_price_list_of_every_kind_of_key_is_read() {
    let book = full();
    let of = |at: &str| PriceOf::new("p", "m", file::Moment::read(at).unwrap().0);
    let cost = |of: &PriceOf<'_>, used: &Buckets| book.price(of, used).map(|cost| (cost.nano, cost.list_nano));
    let text = Buckets::text(1000, 100);
    // Dollars per million tokens are thousands of nano-dollars a token.
    assert_eq!(cost(&of("2026-01-01"), &text), Ok((1_000_000 + 200_000, 1_200_000)));
    assert_eq!(cost(&of("2026-06-30T23:59:59.999Z"), &text), Ok((1_200_000, 1_200_000)), "the last moment");
    assert_eq!(cost(&of("2026-07-01"), &text), Ok((3_000_000 + 400_000, 3_400_000)), "the first of the next");
    assert!(matches!(cost(&of("2025-12-31T23:59:59Z"), &text), Err(Unpriced::Unknown { .. })), "before any");
    let later = of("2026-07-01T12:00:00+02:00");
    assert_eq!(cost(&PriceOf { region: Some("eu"), ..later }, &text), Ok((3_740_000, 3_740_000)));
    assert_eq!(cost(&PriceOf { region: Some("us"), ..later }, &text), Ok((3_400_000, 3_400_000)));
    let batch = PriceOf { tier: Tier::Batch, ..later };
    assert_eq!(cost(&batch, &text), Ok((1_700_000, 1_700_000)));
    assert_eq!(cost(&PriceOf { tier: Tier::Flex, ..later }, &text), Ok((3_400_000, 3_400_000)), "no price of its own");
    let urgent = PriceOf { tier: Tier::Priority, ..later };
    assert!(matches!(cost(&urgent, &text), Err(Unpriced::Tier { .. })), "a surcharge is never guessed");
    // A prompt of exactly the length is not above it; cached tokens count for the length.
    let (at, above) = (Buckets::text(200_000, 1), Buckets::text(200_000, 1).with(Bucket::CacheRead, 1));
    assert_eq!(cost(&later, &at), Ok((600_004_000, 600_004_000)));
    assert_eq!(cost(&later, &above), Ok((1_200_000_000 + 300 + 5_000, 1_200_005_300)));
    assert_eq!(cost(&batch, &above), Ok((1_200_005_300, 1_200_005_300)), "no batch price of its own up there");
}

#[test]
fn tenants_pay_less_where_a_discount_says_so() {
    let book = full();
    let of = |tenant| PriceOf { tenant: Some(tenant), ..PriceOf::new("p", "m", 1_790_000_000_000) };
    let pays = |tenant| book.price(&of(tenant), &Buckets::text(1000, 100)).unwrap();
    for (tenant, nano) in
        [("acme", 2_975_000), ("acme/team", 2_975_000), ("acme/labs", 1_000_000), ("acme2", 3_400_000)]
    {
        assert_eq!((pays(tenant).nano, pays(tenant).list_nano), (nano, 3_400_000), "{tenant}");
    }
    assert_eq!(book.hold(&of("acme"), 1000, 100).unwrap().nano, 2_975_000);
    let early = PriceOf { at_ms: 1_767_225_600_000, ..of("acme") };
    assert_eq!(book.price(&early, &Buckets::text(1000, 100)).unwrap().nano, 1_200_000, "before the discount");
}

#[test]
fn kinds_without_a_price_of_their_own_cost_as_much_as_the_plainer_one_or_are_unknown() {
    let book = book(
        "  - {provider: p, model: m, input: 1 per 1M, output: 8 per 1M, input_audio: 5 per 1M, cache_read: 0.1 per 1M}
  - {provider: p, model: pictures, images: {1024x1024/low: 0.01 per 1, 1024x1024/high: 0.04 per 1}}
  - {provider: p, model: sound, audio_ms: 0.006 per minute}\n",
    );
    let nano = |model: &str, bucket, amount, picture| {
        let of = PriceOf { picture, ..PriceOf::new("p", model, 0) };
        book.price(&of, &Buckets::NONE.with(bucket, amount)).map(|cost| cost.nano).ok()
    };
    for (bucket, expected) in [
        (Bucket::InputImage, Some(1000)),
        (Bucket::CacheReadAudio, Some(5000)),
        (Bucket::CacheReadImage, Some(100)),
        (Bucket::CacheWrite1h, Some(1000)),
        (Bucket::Reasoning, Some(8000)),
        (Bucket::WebSearches, None),
        (Bucket::Images, None),
        (Bucket::Requests, Some(0)),
    ] {
        assert_eq!(nano("m", bucket, 1, None), expected, "{bucket:?}");
    }
    assert_eq!(nano("pictures", Bucket::Images, 2, Some("1024x1024/high")), Some(80_000_000));
    assert_eq!(nano("pictures", Bucket::Images, 1, Some("1792x1024/high")), None, "no size is taken for another");
    assert_eq!(nano("pictures", Bucket::InputText, 1, None), None);
    assert_eq!(nano("sound", Bucket::AudioMs, 90_500, None), Some(9_050_000));
    assert_eq!(nano("sound", Bucket::AudioMs, 1, None), Some(100));
}

#[test]
fn a_hold_takes_the_dearest_length_kind_and_tier_that_may_apply() {
    let book = book(
        "  - provider: p
    model: m
    input: 1 per 1M
    output: 8 per 1M
    reasoning: 10 per 1M
    cache_write_1h: 2 per 1M
    input_audio: 5 per 1M
    requests: 0.001 per 1
    tiers: {priority: {input: 9 per 1M, output: 20 per 1M}, batch: {input: 0.5 per 1M, output: 4 per 1M}}
    above: [{tokens: 1000, input: 3 per 1M, output: 12 per 1M, cache_write_1h: 6 per 1M}]\n",
    );
    let of = PriceOf::new("p", "m", 0);
    assert_eq!(book.hold(&of, 1000, 10).unwrap().nano, 1000 * 5000 + 10 * 10_000 + 1_000_000);
    assert_eq!(book.hold_text(&of, 1000, 10).unwrap().nano, 1000 * 2000 + 10 * 10_000 + 1_000_000);
    assert_eq!(book.hold_text(&of, 1001, 10).unwrap().nano, 1001 * 6000 + 10 * 12_000 + 1_000_000);
    let batch = PriceOf { tier: Tier::Batch, ..of };
    assert_eq!(book.hold_text(&batch, 1000, 10).unwrap().nano, 3_100_000, "it may run at once all the same");
    let urgent = PriceOf { tier: Tier::Priority, ..of };
    assert_eq!(book.hold_text(&urgent, 1000, 10).unwrap().nano, 1000 * 9000 + 10 * 20_000 + 1_000_000);
    // The provider may count a token less than was estimated, and then it is urgent at the shorter length's price.
    assert_eq!(book.hold_text(&urgent, 1001, 10).unwrap().nano, 1001 * 9000 + 10 * 20_000 + 1_000_000);
}

#[test]
fn another_currency_is_worth_what_the_file_says_on_the_day() {
    let text = "version: e1
currency: EUR
rates: [{from: 2026-01-01, usd: \"1.05\"}, {from: 2026-02-01, usd: \"1.1234567\"}]
prices: [{provider: p, model: m, input: 1 per 1M, output: 1 per 1M}]";
    let book = PriceBook::parse(text).unwrap();
    let cost = |at: &str, tokens| {
        let of = PriceOf::new("p", "m", file::Moment::read(at).unwrap().0);
        book.price(&of, &Buckets::text(tokens, 0)).map(|cost| cost.nano)
    };
    assert_eq!(cost("2026-01-31", 10), Ok(10_500));
    assert_eq!(cost("2026-02-01", 10_000), Ok(11_234_567));
    assert_eq!(cost("2026-02-01", 1), Ok(1123), "rounded once, after the exchange");
    assert_eq!(cost("2025-12-31", 1), Err(Unpriced::Rate));
    for bad in [
        "currency: EUR",
        "rates: [{from: 2026-01-01, usd: \"1\"}]",
        "currency: EUR\nrates: [{from: 2026-01-01, usd: \"0\"}]",
    ] {
        assert!(
            matches!(PriceBook::parse(&format!("version: v\n{bad}\nprices: []")), Err(PriceError::Currency)),
            "{bad}"
        );
    }
}

#[test]
fn the_ceiling_is_for_every_tier() {
    let text = "version: v1\nunpriced: {ceiling: {input: 1 per 1K, output: 2 per 1K, web_searches: 1 per 1}}
prices: [{provider: p, model: m, input: 1 per 1M, output: 1 per 1M}]";
    let book = PriceBook::parse(text).unwrap();
    let urgent = PriceOf { tier: Tier::Priority, ..PriceOf::new("p", "m", 0) };
    let cost = book.price(&urgent, &Buckets::text(1, 0)).unwrap();
    assert_eq!((cost.nano, cost.basis), (1_000_000, Basis::Ceiling));
    let searched = Buckets::text(1, 0).with(Bucket::WebSearches, 1);
    let cost = book.price(&PriceOf::new("p", "m", 0), &searched).unwrap();
    assert_eq!((cost.nano, cost.basis), (1_001_000_000, Basis::Ceiling), "the whole call, not the search alone");
    assert!(book.price(&PriceOf::new("p", "m", 0), &searched.with(Bucket::Pages, 1)).is_err());
}

#[test]
fn what_is_no_price_file_is_refused_with_the_reason() {
    for bad in ["1", "-1 per 1M", "1 per 2M", "1e3 per 1M", ".5 per 1M", "1. per 1M", "", "0.0000000000001 per 1M"] {
        let text = format!("version: v\nprices: [{{provider: p, model: m, input: \"{bad}\", output: \"1 per 1M\"}}]");
        assert!(matches!(PriceBook::parse(&text), Err(PriceError::Amount { .. })), "{bad}");
    }
    let entry = "{provider: p, model: m, input: 1 per 1, output: 1 per 1}";
    let twice = format!("version: v\nprices: [{entry}, {entry}]");
    assert!(matches!(PriceBook::parse(&twice), Err(PriceError::Twice { .. })));
    let star = "version: v\nprices: [{provider: p, model: \"a*b\", input: 1 per 1, output: 1 per 1}]";
    assert!(matches!(PriceBook::parse(star), Err(PriceError::Pattern(_))));
    let of = |rest: &str| format!("version: v\nprices: [{{provider: p, model: m, {rest}}}]");
    for (rest, is_right) in [
        ("input: 1 per 1", true),
        ("inputs: 1 per 1", false),
        ("also: [m-20*, m2], input: 1 per 1", true),
        ("also: [m], input: 1 per 1", false),
        ("from: 2026-13-01, input: 1 per 1", false),
        ("from: 2026-02-01, to: 2026-02-01, input: 1 per 1", false),
        ("from: 2026-02-01", false),
        ("input: {a: 1 per 1}", false),
        ("tiers: {slow: {input: 1 per 1}}, input: 1 per 1", false),
        ("above: [{tokens: 1, input: 1 per 1}, {tokens: 1, input: 2 per 1}], input: 1 per 1", false),
    ] {
        assert_eq!(PriceBook::parse(&of(rest)).is_ok(), is_right, "{rest}");
    }
    for bad in ["percent: \"100.01\"", "percent: \"1.005\"", "from: 2026-01-01"] {
        let text = format!("version: v\ndiscounts: [{{provider: p, model: m, {bad}}}]\nprices: []");
        assert!(matches!(PriceBook::parse(&text), Err(PriceError::Percent(_))), "{bad}");
    }
    for bad in ["prices: []", "version: v\nprices: []\nextra: 1", "version: v\nunpriced: free\nprices: []"] {
        assert!(matches!(PriceBook::parse(bad), Err(PriceError::Syntax(_))), "{bad}");
    }
}

#[test]
fn what_a_book_says_of_a_model_is_told_without_what_goes_without_saying() {
    let shown = full().show(None, "m", 1_790_000_000_000);
    let heads: Vec<_> = shown.iter().map(|shown| (shown.name.as_str(), shown.region.as_deref())).collect();
    assert_eq!(heads, [("m", Some("eu")), ("m", None)]);
    let told: Vec<_> = shown[1].prices.iter().map(|p| (p.bucket.as_str(), p.price.as_str(), p.tier, p.above)).collect();
    let standard = Tier::Standard;
    assert_eq!(
        told,
        [
            ("input_text", "3 per 1M", standard, None),
            ("cache_read", "0.3 per 1M", standard, None),
            ("output_text", "4 per 1M", standard, None),
            ("input_text", "1.5 per 1M", Tier::Batch, None),
            ("output_text", "2 per 1M", Tier::Batch, None),
            ("input_text", "6 per 1M", standard, Some(200_000)),
            ("output_text", "5 per 1M", standard, Some(200_000)),
            ("input_text", "6 per 1M", Tier::Batch, Some(200_000)),
            ("output_text", "5 per 1M", Tier::Batch, Some(200_000)),
            ("input_text", "6 per 1M", Tier::Flex, Some(200_000)),
            ("output_text", "5 per 1M", Tier::Flex, Some(200_000)),
        ]
    );
    assert!(full().show(Some("q"), "m", 1_790_000_000_000).is_empty());
}

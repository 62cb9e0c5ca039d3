//! Tables of prices and sums.

use super::*;

fn book(entries: &str) -> PriceBook {
    PriceBook::parse(&format!("version: v1\nprices:\n{entries}")).unwrap()
}

fn one(input: &str, output: &str) -> PriceBook {
    book(&format!("  - {{provider: p, model: m, input: \"{input}\", output: \"{output}\"}}\n"))
}

#[test]
fn the_shipped_file_prices_the_engine_and_nothing_that_it_does_not_name() {
    let book = PriceBook::parse(BUILTIN).unwrap();
    let cost = book.cost("engine", "smollm2", 1_000_000, 1_000_000).unwrap();
    assert_eq!(cost.nano, 20_000_000 + 80_000_000);
    assert_eq!(&*cost.version, "builtin-1");
    assert!(matches!(book.cost("openai", "unheard-of", 1, 1), Err(Unpriced::Unknown { .. })));
    assert_eq!(book.cost("openai", "gpt-4o-mini", 1000, 500).unwrap().nano, 150_000 + 300_000);
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
            let hold = book.hold("p", "m", input, output).unwrap().nano;
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
    for bad in ["prices: []", "version: v\nprices: []\nextra: 1", "version: v\nunpriced: free\nprices: []"] {
        assert!(matches!(PriceBook::parse(bad), Err(PriceError::Syntax(_))), "{bad}");
    }
}

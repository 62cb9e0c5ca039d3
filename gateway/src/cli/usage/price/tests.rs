//! Lines in, lines out; and the golden vectors, which `tests/oracle/prices.py` makes without any of this code.

use super::*;

fn priced(lines: &str) -> Vec<serde_json::Value> {
    let book = "version: v1\nprices: [{provider: openai, model: gpt-x, input: 2 per 1M, output: 8 per 1M,
        cache_read: 0.5 per 1M, tiers: {batch: {input: 1 per 1M, output: 4 per 1M}}}]";
    let mut out = Vec::new();
    run(&PriceBook::parse(book).unwrap(), 0, &mut lines.as_bytes(), &mut out).unwrap();
    String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn each_line_gets_its_line_and_a_bad_one_stops_nothing() {
    let long = format!("{}\n", "x".repeat(LINE_MAX + 10));
    let lines = [
        r#"{"provider":"openai","model":"gpt-x","usage":{"prompt_tokens":10,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":4}}}"#,
        "",
        "nonsense",
        long.trim_end(),
        r#"{"provider":"openai","model":"gpt-x","tier":"batch","buckets":{"input_text":10,"output_text":2}}"#,
        r#"{"provider":"openai","model":"gpt-y","usage":{"prompt_tokens":1,"completion_tokens":1}}"#,
        r#"{"provider":"openai","model":"gpt-x","usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":9}}"#,
        r#"{"provider":"openai","model":"gpt-x","usage":null}"#,
        r#"{"provider":"openai","model":"gpt-x","usage":{},"tier":"slow"}"#,
    ];
    let told = priced(&lines.join("\n"));
    let statuses: Vec<_> = told.iter().map(|line| line["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["priced", "error", "error", "priced", "unpriced", "inconsistent", "error", "error"]);
    assert_eq!(told[0]["nano_usd"], 6 * 2000 + 4 * 500 + 2 * 8000);
    assert_eq!(told[0]["buckets"], serde_json::json!({"input_text": 6, "cache_read": 4, "output_text": 2}));
    assert_eq!(told[0]["price_version"], "v1");
    assert_eq!(told[3]["nano_usd"], 10 * 1000 + 2 * 4000);
    assert_eq!(told[5]["nano_usd"], serde_json::Value::Null);
}

/// One golden vector: a line that comes in, and what has to stand in the line that goes out.
#[derive(Deserialize)]
struct Golden<'a> {
    #[serde(borrow)]
    asked: &'a RawValue,
    told: serde_json::Map<String, serde_json::Value>,
}

fn golden(book: &str, vectors: &str) -> usize {
    let book = PriceBook::parse(book).unwrap();
    let vectors: Vec<Golden<'_>> = vectors.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let asked: Vec<&str> = vectors.iter().map(|vector| vector.asked.get()).collect();
    let mut out = Vec::new();
    run(&book, 0, &mut asked.join("\n").as_bytes(), &mut out).unwrap();
    let told = String::from_utf8(out).unwrap();
    assert_eq!(told.lines().count(), vectors.len());
    for (told, vector) in told.lines().zip(&vectors) {
        let line: serde_json::Value = serde_json::from_str(told).unwrap();
        for (key, value) in &vector.told {
            assert_eq!(line.get(key), Some(value), "{key} of {}: {told}", vector.asked.get());
        }
    }
    vectors.len()
}

#[test]
fn every_golden_vector_is_right_to_the_nano_dollar() {
    let (book, euros) = (
        include_str!("../../../../../tests/cases/prices/book.yaml"),
        include_str!("../../../../../tests/cases/prices/euros.yaml"),
    );
    let vectors = [
        golden(book, include_str!("../../../../../tests/cases/prices/usages.jsonl")),
        golden(book, include_str!("../../../../../tests/cases/prices/terms.jsonl")),
        golden(euros, include_str!("../../../../../tests/cases/prices/euros.jsonl")),
    ];
    assert!(vectors.iter().sum::<usize>() >= 300, "{vectors:?}");
}

/// A call that dies after 310 tokens and is answered by another model: each attempt at its own model's price.
#[test]
fn fr_cost_04_each_attempt_costs_its_own_models_price() {
    let text = "version: v1\nprices: [{provider: p, model: a, input: 10 per 1M, output: 50 per 1M},
        {provider: p, model: b, input: 5 per 1M, output: 25 per 1M}]";
    let book = PriceBook::parse(text).unwrap();
    let nano =
        |model, input, output| book.price(&PriceOf::new("p", model, 0), &Buckets::text(input, output)).unwrap().nano;
    assert_eq!((nano("a", 420_000, 310), nano("b", 420_000, 900)), (4_215_500_000, 2_122_500_000));
    assert_eq!(nano("a", 0, 0) + nano("b", 100, 10), 750_000, "an attempt that was refused costs nothing");
}

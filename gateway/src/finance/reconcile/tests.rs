//! Bills that differ in every way, and the providers' exports.

#![allow(clippy::arithmetic_side_effects)] // tests count small numbers

use super::read::{Kind, read};
use super::*;
use crate::finance::report::tests::projected;
use crate::journal::fixture::{call, closing, folder};
use crate::store::projection::Projection;
use crate::store::sqlite::Create;
use crate::store::{STORE_FILE, StoreUrl};

/// 2026-10-15.
const DAY_MS: u64 = 1_792_022_400_000;

/// Three models of 120 tokens for 4,200 nano-dollars each.
async fn ledger(folder: &std::path::Path) -> Store {
    let url = StoreUrl::from(&folder.join(STORE_FILE));
    let store = Store::open(&url, Create::IfMissing).await.unwrap();
    let mut projection = Projection::connect(&url, folder).await.unwrap();
    let one = |(number, model): (u128, &str)| {
        let mut one = closing(call(number), 1);
        one.at_ms = DAY_MS;
        one.attempts[0].provider = "openai".into();
        one.attempts[0].model = model.into();
        one
    };
    let rows: Vec<_> = [(1, "gpt-4o"), (2, "gpt-4o-mini"), (3, "o3"), (4, "ours-alone")].map(one).into();
    projection.commit(rows.iter(), &projected()).await.unwrap();
    store
}

fn billed(tokens: Option<u64>, nano: i128) -> Billed {
    Billed { tokens, nano: Some(nano), lines: 1, rounding: 1 }
}

#[tokio::test]
async fn every_nano_dollar_of_a_residual_has_a_cause() {
    let folder = folder();
    let store = ledger(folder.path()).await;
    let place = |model: &str| ("2026-10-15".to_owned(), model.to_owned(), "standard".to_owned());
    let bill = Bill::from([
        // A date behind the name, twice the tokens, and a price on top.
        (place("gpt-4o-2024-08-06"), billed(Some(240), 8_500)),
        (place("gpt-4o-mini"), billed(Some(120), 4_202)),
        (place("o3"), billed(None, 5_000)),
        (place("never-seen"), billed(None, 77)),
        (("2026-10-16".to_owned(), "o3".to_owned(), "standard".to_owned()), billed(None, 5)),
    ]);
    let of = ReconcileOf { provider: "openai".to_owned(), names: BTreeMap::new(), since_ms: None, until_ms: None };
    let told = reconcile(&store, &bill, &of).await.unwrap();
    let want = BTreeMap::from([
        (Cause::MissingHere, 5),
        (Cause::MissingThere, -4_200),
        (Cause::UnmatchedModel, 77),
        (Cause::Tokens, 4_200),
        (Cause::Price, 100 + 800),
        (Cause::Rounding, 2),
    ]);
    assert_eq!(told.causes, want);
    assert_eq!(told.residual_nano, told.causes.values().sum::<i128>());
    assert_eq!((told.theirs_nano, told.ours_nano), (8_500 + 4_202 + 5_000 + 77 + 5, 4 * 4_200));
    // A name that is given is believed.
    let names = BTreeMap::from([("never-seen".to_owned(), "ours-alone".to_owned())]);
    let told = reconcile(&store, &bill, &ReconcileOf { names, ..of }).await.unwrap();
    assert!(!told.causes.contains_key(&Cause::UnmatchedModel) && !told.causes.contains_key(&Cause::MissingThere));
    assert_eq!(told.residual_nano, told.causes.values().sum::<i128>());
}

#[test]
fn openais_costs_and_usage_are_read() {
    let costs = r#"{"object": "page", "data": [{"object": "bucket", "start_time": 1792022400, "results": [
        {"amount": {"value": 0.06, "currency": "usd"}, "line_item": "gpt-4o-2024-08-06, input"},
        {"amount": {"value": 1.2e-05, "currency": "usd"}, "line_item": "gpt-4o-2024-08-06, output"},
        {"amount": {"value": 3, "currency": "usd"}, "line_item": "assistants api | file search"}]}]}"#;
    let usage = r#"{"data": [{"start_time": 1792022400, "results": [
        {"input_tokens": 1000, "output_tokens": 200, "model": "gpt-4o-2024-08-06", "batch": false},
        {"input_tokens": 5, "output_tokens": 5, "model": "gpt-4o-2024-08-06", "batch": true}]}]}"#;
    let mut export = read(Kind::Openai, costs).unwrap();
    export.join(read(Kind::Openai, usage).unwrap());
    let place = |tier: &str| ("2026-10-15".to_owned(), "gpt-4o-2024-08-06".to_owned(), tier.to_owned());
    let sum = export.bill.get(&place("standard")).unwrap();
    assert_eq!((sum.nano, sum.tokens), (Some(60_012_000), Some(1_200)));
    assert_eq!(export.bill.get(&place("batch")).unwrap().tokens, Some(10));
    assert_eq!((export.others, export.others_nano), (1, 3_000_000_000));
    let csv = "start_time,end_time,amount_value,amount_currency,line_item\n\
        1792022400,1792108800,0.06,usd,\"gpt-4o-2024-08-06, input\"\n";
    let export = read(Kind::Openai, csv).unwrap();
    assert_eq!(export.bill.get(&place("standard")).unwrap().nano, Some(60_000_000));
    assert!(read(Kind::Openai, &csv.replace("usd", "eur")).is_err());
    assert!(read(Kind::Openai, &csv.replace("0.06", "x")).is_err());
    assert!(read(Kind::Openai, "a,b\n1,2\n").is_err());
}

#[test]
fn anthropics_cents_and_tokens_are_read() {
    let costs = r#"{"data": [{"starting_at": "2026-10-15T00:00:00Z", "ending_at": "2026-10-16T00:00:00Z", "results": [
        {"currency": "USD", "amount": "123.78912", "model": "claude-opus-4", "service_tier": "standard"},
        {"currency": "USD", "amount": "1", "model": null, "service_tier": null}]}], "has_more": false}"#;
    let usage = r#"{"data": [{"starting_at": "2026-10-15T00:00:00Z", "results": [
        {"uncached_input_tokens": 1500, "cache_creation": {"ephemeral_1h_input_tokens": 1000,
         "ephemeral_5m_input_tokens": 500}, "cache_read_input_tokens": 200, "output_tokens": 500,
         "model": "claude-opus-4", "service_tier": "standard"}]}]}"#;
    let mut export = read(Kind::Anthropic, costs).unwrap();
    export.join(read(Kind::Anthropic, usage).unwrap());
    let sum = export.bill.values().next().unwrap();
    assert_eq!((sum.nano, sum.tokens), (Some(1_237_891_200), Some(3_700)));
    assert_eq!((export.others, export.others_nano), (1, 10_000_000));
}

#[test]
fn tables_of_the_clouds_are_read() {
    let aws = "lineItem/UsageStartDate,lineItem/ProductCode,lineItem/UsageType,lineItem/UsageAmount,\
        lineItem/UnblendedCost,lineItem/CurrencyCode,pricing/unit\n\
        2026-10-15T03:00:00Z,AmazonBedrock,USE1-Claude3Sonnet-input-tokens,2.5,0.0075,USD,1K tokens\n\
        2026-10-15T04:00:00Z,AmazonBedrock,USE1-Claude3Sonnet-output-tokens,1,0.015,USD,1K tokens\n\
        2026-10-15T04:00:00Z,AmazonEC2,BoxUsage,1,7,USD,Hrs\n";
    let export = read(Kind::AwsCur, aws).unwrap();
    let (place, sum) = export.bill.iter().next().unwrap();
    assert_eq!(place, &("2026-10-15".to_owned(), "Claude3Sonnet".to_owned(), "standard".to_owned()));
    assert_eq!((sum.nano, sum.tokens, export.others_nano), (Some(22_500_000), Some(3_500), 7_000_000_000));
    let azure = "\u{feff}Date,MeterCategory,MeterName,Quantity,UnitOfMeasure,CostInBillingCurrency,BillingCurrency\n\
        10/15/2026,Azure OpenAI Service,gpt-4o-0806-Inp-glbl Tokens,12.5,1K,0.03125,USD\n\
        10/15/2026,Azure OpenAI Service,gpt 4o 0806 Batch Outp glbl Tokens,1,1M,5,USD\n\
        10/15/2026,Storage,Data Stored,1,1 GB,2,USD\n";
    let export = read(Kind::Azure, azure).unwrap();
    let place = |tier: &str| ("2026-10-15".to_owned(), "gpt-4o-0806".to_owned(), tier.to_owned());
    let sum = export.bill.get(&place("standard")).unwrap();
    assert_eq!((sum.nano, sum.tokens), (Some(31_250_000), Some(12_500)));
    assert_eq!(export.bill.get(&place("batch")).unwrap().tokens, Some(1_000_000));
    assert_eq!(export.others_nano, 2_000_000_000);
}

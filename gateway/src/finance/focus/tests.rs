//! What is written is read back, by CSV's and by Parquet's own reader.

#![allow(clippy::arithmetic_side_effects)] // tests count small numbers

use bytes::Bytes;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;

use super::sink::{Format, Sink};
use super::*;

fn charge(day: u64, cost_nano: i64) -> Charge {
    Charge {
        day: Span { from_ms: day * 86_400_000, to_ms: (day + 1) * 86_400_000 },
        issuer: "Weir".to_owned(),
        tenant: "acme/a, \"b\"".to_owned(),
        key: "k1".to_owned(),
        model: "small".to_owned(),
        upstream_model: "smollm2".to_owned(),
        provider: "engine".to_owned(),
        deployment: "own".to_owned(),
        tier: "standard".to_owned(),
        sums: UsageSum { calls: 1, attempts: 2, input_tokens: 90, output_tokens: 30, cost_nano, ..UsageSum::default() },
        buckets: BTreeMap::from([("input_text".to_owned(), 90)]),
        statement: (day == 20_000).then_some(3),
    }
}

fn written(format: Format, version: Version) -> Vec<u8> {
    let mut out = Vec::new();
    let mut sink = Sink::new(&mut out, format, version).unwrap();
    sink.write(&[charge(20_000, 4_200), charge(20_001, -1)]).unwrap();
    sink.write(&[]).unwrap();
    sink.write(&[charge(20_002, 9_000_000_000_000_000_001)]).unwrap();
    sink.finish().unwrap();
    out
}

#[test]
fn csv_is_read_back_to_the_nano_dollar() {
    let text = written(Format::FocusCsv, Version::V1_2);
    let mut reader = csv::Reader::from_reader(text.as_slice());
    let names = reader.headers().unwrap().clone();
    let at = |name: &str| names.iter().position(|known| known == name).unwrap();
    let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
    let column = |name: &str| rows.iter().map(|row| row.get(at(name)).unwrap()).collect::<Vec<_>>();
    assert_eq!(column("BilledCost"), ["0.0000042", "-0.000000001", "9000000000.000000001"]);
    assert_eq!(column("InvoiceId"), ["3", "", ""]);
    assert_eq!(column("SubAccountId"), ["acme/a, \"b\""; 3]);
    assert_eq!(column("ChargePeriodStart").first(), Some(&"2024-10-04T00:00:00Z"));
    assert_eq!(column("BillingPeriodEnd").first(), Some(&"2024-11-01T00:00:00Z"));
    assert_eq!(column("PricingQuantity"), ["120.0"; 3]);
    assert_eq!(column("x_Tokens").first(), Some(&"{\"input_text\":90}"));
    assert!(!names.iter().any(|name| name == "ServiceProviderName"));
    let later = written(Format::FocusCsv, Version::V1_4);
    let names = csv::Reader::from_reader(later.as_slice()).headers().unwrap().clone();
    assert!(names.iter().any(|name| name == "ServiceProviderName") && !names.iter().any(|name| name == "ProviderName"));
}

#[test]
fn parquet_has_the_same_numbers_as_decimals() {
    let file = Bytes::from(written(Format::FocusParquet, Version::V1_2));
    let reader = SerializedFileReader::new(file).unwrap();
    assert_eq!(reader.metadata().num_row_groups(), 2);
    let mut costs = Vec::new();
    for row in reader.get_row_iter(None).unwrap() {
        let row = row.unwrap();
        let (_, cost) = row.get_column_iter().find(|(name, _)| *name == "BilledCost").unwrap();
        let Field::Decimal(decimal) = cost else { panic!("{cost:?}") };
        let bytes: [u8; 16] = decimal.data().try_into().unwrap();
        assert_eq!((decimal.precision(), decimal.scale()), (38, 9));
        costs.push(i128::from_be_bytes(bytes));
    }
    assert_eq!(costs, [4_200, -1, 9_000_000_000_000_000_001]);
}

#[test]
fn decimals_and_moments_are_exact() {
    let table = [(0, "0.0"), (1, "0.000000001"), (-1_500_000_000, "-1.5"), (120_000_000_000, "120.0")];
    for (nano, text) in table {
        assert_eq!(decimal_text(nano), text);
    }
    assert_eq!(time_text(1_795_609_565_000), "2026-11-25T12:26:05Z");
}

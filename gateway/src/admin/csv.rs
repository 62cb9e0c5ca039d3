//! Reports as CSV (RFC 4180): the rows and columns that the finance page shows, money as exact decimals.
//!
//! A text that a spreadsheet would take for a formula gets an apostrophe before it.

use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::AdminError;
use crate::finance::report::UsageReport;
use crate::store::usage::UsageSum;
use crate::usage::query::dollars;

/// The sums of a row, in the order of the page's columns.
const SUMS: [&str; 7] =
    ["calls", "attempts", "input_tokens", "cache_read_tokens", "output_tokens", "estimated", "cost_usd"];
/// What begins a formula in a spreadsheet.
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// A report's rows; the total is theirs, and has none.
pub(super) fn of_report(report: &UsageReport) -> Result<Response, AdminError> {
    let text = text(report).map_err(AdminError::fault)?;
    let head = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"costs.csv\""),
    ];
    Ok((head, text).into_response())
}

fn text(report: &UsageReport) -> Result<Vec<u8>, ::csv::Error> {
    let mut writer = ::csv::WriterBuilder::new().terminator(::csv::Terminator::CRLF).from_writer(Vec::new());
    writer.write_record(report.by.split(',').chain(SUMS))?;
    for row in &report.rows {
        let groups = row.groups.iter().map(|group| harmless(group));
        writer.write_record(groups.chain(sums(row)))?;
    }
    writer.into_inner().map_err(|error| error.into_error().into())
}

fn sums(row: &UsageSum) -> [String; SUMS.len()] {
    let counts = [row.calls, row.attempts, row.input_tokens, row.cache_read_tokens, row.output_tokens, row.estimated];
    let [calls, attempts, input, cached, output, estimated] = counts.map(|count| count.to_string());
    [calls, attempts, input, cached, output, estimated, dollars(row.cost_nano)]
}

fn harmless(text: &str) -> String {
    if text.starts_with(FORMULA) { format!("'{text}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_exact_quoted_and_no_formulas() {
        let row = |groups: [&str; 2], cost_nano| UsageSum {
            groups: groups.map(str::to_owned).to_vec(),
            calls: 1,
            attempts: 2,
            input_tokens: 3,
            cache_read_tokens: 4,
            output_tokens: 5,
            estimated: 6,
            cost_nano,
            ..UsageSum::default()
        };
        let rows = vec![row(["acme", "2026-11-01"], 9_007_199_254_740_993), row(["=cmd|' /C calc'!A0", "a\"b,c"], -1)];
        let report = UsageReport {
            by: "tenant,day".to_owned(),
            level: "org",
            zone: "UTC",
            since_ms: None,
            until_ms: None,
            rows,
            total: UsageSum::default(),
        };
        let expected = "tenant,day,calls,attempts,input_tokens,cache_read_tokens,output_tokens,estimated,cost_usd\r\n\
             acme,2026-11-01,1,2,3,4,5,6,9007199.254740993\r\n\
             '=cmd|' /C calc'!A0,\"a\"\"b,c\",1,2,3,4,5,6,-0.000000001\r\n";
        assert_eq!(String::from_utf8(text(&report).unwrap()).unwrap(), expected);
    }
}

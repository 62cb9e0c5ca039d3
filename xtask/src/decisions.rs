//! A decision log as a busy gateway writes it, for measuring a replay: the same calls for the same count.

use std::fs::File;
use std::io::{BufWriter, Write};

use anyhow::{Context, Result};

/// The moment of the first call.
const START_NS: u64 = 1_795_615_199_123_000_000;
const TENANTS: u64 = 1_000;
const MODELS: [&str; 5] = ["small", "large", "report-analysis", "code", "vision"];
const DEPARTMENTS: [&str; 4] = ["finance", "research", "sales", "support"];
const REGIONS: [&str; 2] = ["eu", "us"];

/// Writes `COUNT` decisions to `FILE`.
pub fn write(mut args: impl Iterator<Item = String>) -> Result<()> {
    let path = args.next().context("FILE is missing")?;
    let count: u64 = args.next().context("COUNT is missing")?.parse().context("COUNT is no number")?;
    let mut out = BufWriter::new(File::create(&path).with_context(|| format!("can't create `{path}`"))?);
    let template = serde_json::from_str::<serde_json::Value>(include_str!("decisions/line.json"))?.to_string();
    let mut dice = 0x9e37_79b9_7f4a_7c15_u64;
    for number in 0..count {
        writeln!(out, "{}", one(&template, number, &mut dice))?;
    }
    out.flush()?;
    Ok(())
}

/// A number below `most`, by xorshift.
fn roll(dice: &mut u64, most: u64) -> u64 {
    *dice ^= *dice << 13;
    *dice ^= *dice >> 7;
    *dice ^= *dice << 17;
    dice.checked_rem(most).unwrap_or_default()
}

fn pick<'a>(dice: &mut u64, names: &[&'a str]) -> &'a str {
    let at = roll(dice, u64::try_from(names.len()).unwrap_or(1));
    usize::try_from(at).ok().and_then(|at| names.get(at)).copied().unwrap_or_default()
}

/// A line of the template with its places filled; `"#NAME#"` stands for a number.
fn one(template: &str, number: u64, dice: &mut u64) -> String {
    let tenant = roll(dice, TENANTS);
    let (prompt, most) = (roll(dice, 4_000).saturating_add(8), roll(dice, 2_000).saturating_add(16));
    let ns = START_NS.saturating_add(number.saturating_mul(37_000_000));
    let (org, team) = (format!("org{tenant}"), format!("team{}", tenant % 7));
    let places = [
        ("@ID@", format!("{number:012x}")),
        ("@PATH@", format!("{org}/{team}/app")),
        ("@ORG@", org),
        ("@TEAM@", team),
        ("@KEY@", format!("k{tenant:07}")),
        ("@DEPARTMENT@", pick(dice, &DEPARTMENTS).to_owned()),
        ("@REGION@", pick(dice, &REGIONS).to_owned()),
        ("@MODEL@", pick(dice, &MODELS).to_owned()),
        ("@HOST@", roll(dice, 250).to_string()),
        ("@SECONDS@", format!("{:02}.{:09}", ns.div_euclid(1_000_000_000) % 60, ns % 1_000_000_000)),
        ("\"#MOST#\"", most.to_string()),
        ("\"#NS#\"", ns.to_string()),
        ("\"#HOUR#\"", roll(dice, 24).to_string()),
        ("\"#PROMPT#\"", prompt.to_string()),
        ("\"#NANO#\"", prompt.saturating_mul(150).saturating_add(most.saturating_mul(600)).to_string()),
        ("\"#LEFT#\"", roll(dice, 900_000).to_string()),
        ("\"#NUMBER#\"", number.to_string()),
    ];
    places.into_iter().fold(template.to_owned(), |line, (place, value)| line.replace(place, &value))
}

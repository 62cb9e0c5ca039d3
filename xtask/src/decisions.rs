//! A decision log as a busy gateway writes it, for measuring a replay: the same calls for the same count.

use std::fs::File;
use std::io::{BufWriter, Write};

use anyhow::{Context, Result};

const TENANTS: u64 = 1_000;
const MODELS: [&str; 5] = ["small", "large", "report-analysis", "code", "vision"];
const DEPARTMENTS: [&str; 4] = ["finance", "research", "sales", "support"];
const REGIONS: [&str; 2] = ["eu", "us"];

/// Writes `COUNT` decisions to `FILE`.
pub fn write(mut args: impl Iterator<Item = String>) -> Result<()> {
    let path = args.next().context("FILE is missing")?;
    let count: u64 = args.next().context("COUNT is missing")?.parse().context("COUNT is no number")?;
    let mut out = BufWriter::new(File::create(&path).with_context(|| format!("can't create `{path}`"))?);
    let mut dice = 0x9e37_79b9_7f4a_7c15_u64;
    for number in 0..count {
        one(&mut out, number, &mut dice)?;
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

fn one(out: &mut impl Write, number: u64, dice: &mut u64) -> Result<()> {
    let (tenant, model) = (roll(dice, TENANTS), pick(dice, &MODELS));
    let (department, region) = (pick(dice, &DEPARTMENTS), pick(dice, &REGIONS));
    let (prompt, most, hour) =
        (roll(dice, 4_000).saturating_add(8), roll(dice, 2_000).saturating_add(16), roll(dice, 24));
    let ns = 1_795_615_199_123_000_000_u64.saturating_add(number.saturating_mul(37_000_000));
    let path = format!("org{tenant}/team{}/app", tenant % 7);
    write!(
        out,
        r#"{{"labels":{{"version":"0.1.0"}},"decision_id":"0199a0b0-0000-7000-8000-{number:012x}","bundles":{{"configured":{{"revision":"3c1d5f7a9b2e4d60"}}}},"path":"weir/authz/decision","input":{{"#
    )?;
    write!(
        out,
        r#""budget":{{"tokens_remaining":{}}},"client":{{"ip":"192.0.2.{}","user_agent":"openai-python/1.54"}},"estimate":{{"input_tokens":{prompt},"nano":{},"output_tokens":{most}}},"findings":{{}},"#,
        roll(dice, 900_000),
        roll(dice, 250),
        prompt.saturating_mul(150).saturating_add(most.saturating_mul(600)),
    )?;
    write!(
        out,
        r#""request":{{"dialect":"openai","endpoint":"chat_completions","max_tokens":{most},"modality":["text"],"model":"{model}","n":1,"stream":true,"tools":[]}},"resource":{{"alias":"{model}","candidates":[{{"data_class":"internal","deployment":"{model}-a","owner":"acme","provider":"openai","region":"eu"}},{{"data_class":"internal","deployment":"{model}-b","owner":"acme","provider":"openai","region":"us"}}]}},"#
    )?;
    write!(
        out,
        r#""subject":{{"attributes":{{"department":"{department}","region":"{region}"}},"credential":"api_key","key":"k{tenant:07}","levels":["org{tenant}","org{tenant}/team{}","{path}"],"org":"org{tenant}","project":"app","roles":["user","developer"],"team":"team{}","tenant":"{path}"}},"time":{{"hour":{hour},"ns":{ns},"weekday":3}},"version":1}},"#,
        tenant % 7,
        tenant % 7,
    )?;
    let (seconds, rest) = (ns.div_euclid(1_000_000_000) % 60, ns % 1_000_000_000);
    writeln!(
        out,
        r#""result":{{"allow":true,"obligations":{{}},"reason":"granted","rule":"tenant_models"}},"requested_by":"192.0.2.7","timestamp":"2026-11-25T13:59:{seconds:02}.{rest:09}Z","metrics":{{"timer_rego_query_eval_ns":21000}},"req_id":{number}}}"#
    )?;
    Ok(())
}

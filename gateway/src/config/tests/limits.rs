//! Limits as people write them: every combination of words either means something, and is kept, or is a fault at its
//! own place.
#![allow(clippy::arithmetic_side_effects, reason = "an overflow fails the test")]

use std::collections::BTreeSet;

use super::*;
use crate::config::limits_table::{QUANTITIES, UNITS, WINDOWS};
use crate::limits::LimitRules;

/// A file whose only tenant has these limits.
fn file(rules: &[String]) -> String {
    let rules = rules.iter().enumerate().map(|(at, rule)| format!("      - {{ name: r{at}, {rule} }}\n"));
    format!("{MINIMAL}tenants:\n  - path: acme\n    limit_rules:\n{}", rules.collect::<String>())
}

/// The places of limits that a fault names.
fn faulty(text: &str) -> BTreeSet<usize> {
    let folder = folder();
    let Err(faults) = load_text(&folder, text) else { return BTreeSet::new() };
    let place = |line: &str| {
        let (_, rest) = line.split_once("limit_rules[").unwrap_or_else(|| panic!("{line}"));
        rest.split(']').next().and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{line}"))
    };
    faults.to_string().lines().map(place).collect()
}

#[derive(Debug)]
struct Words {
    what: &'static str,
    amount: &'static str,
    per: Option<&'static str>,
    window: Option<&'static str>,
    times: Option<u64>,
    zone: bool,
}

impl Words {
    fn text(&self) -> String {
        let mut text = format!("what: {}, {}", self.what, self.amount);
        self.per.iter().for_each(|per| text.push_str(&format!(", per: {per}")));
        self.window.iter().for_each(|window| text.push_str(&format!(", window: {window}")));
        self.times.iter().for_each(|times| text.push_str(&format!(", times: {times}")));
        text.push_str(if self.zone { ", zone: Europe/Berlin" } else { "" });
        text
    }

    /// Whether it means something; said once more, and otherwise than where it is read.
    fn makes_sense(&self) -> bool {
        let is_money = self.what == "money";
        if is_money != self.amount.starts_with("dollars") {
            return false;
        }
        let has_time = self.window.is_some() || self.times.is_some() || self.zone;
        if self.what == "concurrency" {
            return self.per.is_none() && !has_time;
        }
        let Some(per) = self.per else { return false };
        if per == "ever" {
            return !has_time;
        }
        let is_short = ["second", "minute", "hour"].contains(&per) && !is_money;
        let window = self.window.unwrap_or(if is_short { "rate" } else { "calendar" });
        if window == "calendar" {
            return ["hour", "day", "week", "month"].contains(&per) && self.times.is_none_or(|times| times == 1);
        }
        let days = self.times.unwrap_or(1) * if per == "week" { 7 } else { 1 };
        let fits = per != "month" && (!["day", "week"].contains(&per) || days <= 366);
        let is_countable =
            window == "rolling" || !["amount: 9000000000000000", "dollars: \"2000000\""].contains(&self.amount);
        fits && !self.zone && is_countable
    }
}

#[test]
fn every_combination_of_words_is_kept_or_is_a_fault() {
    let mut all = Vec::new();
    for what in QUANTITIES {
        for amount in ["amount: 1", "amount: 9000000000000000", "dollars: \"0.000000001\"", "dollars: \"2000000\""] {
            for per in [None].into_iter().chain(UNITS.iter().map(|unit| Some(*unit))) {
                for window in [None].into_iter().chain(WINDOWS.iter().map(|window| Some(*window))) {
                    for times in [None, Some(1), Some(30), Some(400)] {
                        let words = |zone| Words { what, amount, per, window, times, zone };
                        all.extend([words(false), words(true)]);
                    }
                }
            }
        }
    }
    let rules: Vec<String> = all.iter().map(Words::text).collect();
    let faulty = faulty(&file(&rules));
    for (at, words) in all.iter().enumerate() {
        assert_eq!(!faulty.contains(&at), words.makes_sense(), "{words:?}");
    }
    // What is taken is kept: each of them counts a call and refuses one beyond it.
    let taken: Vec<String> =
        rules.into_iter().enumerate().filter(|(at, _)| !faulty.contains(at)).map(|(_, r)| r).collect();
    assert!(taken.len() > 200, "{}", taken.len());
    let folder = folder();
    let tenants = load_text(&folder, &file(&taken)).unwrap().settings.tenants;
    assert_eq!(tenants[0].rules.len(), taken.len());
    LimitRules::new(&tenants).prove(&tenants).unwrap();
    assert!(tenants[0].rules.iter().all(|rule| rule.amount > 0));
}

#[test]
fn absurd_amounts_are_faults_each_at_its_place() {
    let amounts = [
        "0",
        "-1",
        "1.5",
        "1e3",
        "\"5\"",
        "9000000000000001",
        "18446744073709551616",
        "null",
        "[]",
        "true",
        "0x",
        "''",
        "-9223372036854775808",
        ".inf",
        ".nan",
    ];
    let dollars = [
        "\"0\"",
        "\"0.0\"",
        "\"0.000000000\"",
        "\"-1\"",
        "\"1e3\"",
        "\"inf\"",
        "\"NaN\"",
        "\"1,000\"",
        "\" 5\"",
        "\"5 \"",
        "\"+5\"",
        "\"0x10\"",
        "\"٣\"",
        "\"1000000000\"",
        "\"5.0000000001\"",
        "\"$5\"",
        "\"\"",
        "null",
        "[5]",
        "true",
    ];
    let amounts = amounts.iter().map(|amount| format!("what: tokens, per: day, amount: {amount}"));
    let dollars = dollars.iter().map(|dollars| format!("what: money, per: day, dollars: {dollars}"));
    let rules: Vec<String> = amounts.chain(dollars).collect();
    let faulty = faulty(&file(&rules));
    for (at, rule) in rules.iter().enumerate() {
        assert!(faulty.contains(&at), "taken: {rule}");
    }
}

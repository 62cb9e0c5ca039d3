//! Limits beyond the short forms: what their words mean together.

use std::sync::Arc;

use chrono_tz::Tz;
use weir_wire::fault::Endpoint;

use super::Check;
use crate::config::fault::Wrong;
use crate::config::settings::ModelRule;
use crate::config::shape::Section;
use crate::limits::counter::Outage;
use crate::limits::quantity::Quantity;
use crate::limits::rule::{Each, RuleSettings};
use crate::limits::window::{CalendarUnit, Window};

/// Most digits of whole dollars: a billion is within what a ledger of nano-dollars can count.
const DOLLAR_DIGITS_MAX: usize = 9;
/// Digits behind the point: nano-dollars.
const NANO_DIGITS: usize = 9;
const SECOND_MS: u64 = 1_000;
const DAY_MS: u64 = 86_400 * SECOND_MS;
/// Largest amount of a rate: counters that gateways share compute it in doubles, exactly to here.
const RATE_AMOUNT_MAX: u64 = 1 << 50;
/// Longest time of a rolling window or a rate: a leap year.
const WINDOW_MS_MAX: u64 = 366 * DAY_MS;

impl Check<'_> {
    /// The limits of one tenant's `limit_rules`.
    pub(super) fn limit_rules(&mut self, tenant: &Section<'_>, models: &[ModelRule]) -> Arc<[RuleSettings]> {
        let mut rules: Vec<RuleSettings> = Vec::new();
        for section in tenant.sections("limit_rules") {
            let Some(rule) = self.limit_rule(&section, models) else { continue };
            if rules.iter().any(|other| other.name == rule.name) {
                let wrong = Wrong::DuplicateName { name: rule.name.to_string(), other: "another limit".to_owned() };
                self.fault(section.at("name"), wrong);
            }
            rules.push(rule);
        }
        rules.into()
    }

    fn limit_rule(&mut self, section: &Section<'_>, models: &[ModelRule]) -> Option<RuleSettings> {
        let name = section.text("name").filter(|name| !name.is_empty())?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if name.len() > 64 || !name.bytes().all(plain) {
            self.fault(
                section.at("name"),
                Wrong::LimitRule("a limit's name has 1 to 64 of A-Z, a-z, 0-9, `.`, `_`, `-`"),
            );
        }
        let quantity = quantity(section.text("what")?)?;
        let amount = self.amount(section, quantity);
        let window = self.window(section, quantity);
        if let (Some(amount), Some(Window::Rate { .. })) = (amount, window)
            && amount > RATE_AMOUNT_MAX
        {
            let why = "a rate counts to 1125899906842624 (of money: 1125899 dollars): say `window: rolling`, or a \
                       shorter `per`";
            self.fault(section.at("window"), Wrong::LimitRule(why));
        }
        let each = self.each(section);
        let patterns = self.patterns(section, models);
        let rule = RuleSettings {
            name: name.into(),
            quantity,
            amount: amount?,
            window: window?,
            models: patterns.into_iter().map(Arc::from).collect(),
            endpoints: self.limited_endpoints(section),
            each: each?,
            outage: Outage::Refuse,
            lease_percent: 0,
        };
        let usual = if rule.is_budget() || quantity == Quantity::Money { Outage::Refuse } else { Outage::Local };
        let outage = section.text("when_unavailable").map_or(Some(usual), outage)?;
        Some(RuleSettings { outage, lease_percent: self.lease_percent(section, &rule), ..rule })
    }

    fn lease_percent(&mut self, section: &Section<'_>, rule: &RuleSettings) -> u8 {
        let percent = section.int("lease").unwrap_or(0);
        if percent > 0 && !matches!(rule.window, Window::Calendar { .. } | Window::Total) {
            self.fault(
                section.at("lease"),
                Wrong::LimitRule("only a budget of a calendar's time, or for ever, leases"),
            );
        }
        u8::try_from(percent).unwrap_or(0)
    }

    fn amount(&mut self, section: &Section<'_>, quantity: Quantity) -> Option<u64> {
        let (count, dollars) = (section.get("amount"), section.text("dollars"));
        match (quantity, count, dollars) {
            (Quantity::Money, None, Some(text)) => match nano(text).filter(|nano| *nano > 0) {
                Some(nano) => return Some(nano),
                None => self.fault(section.at("dollars"), Wrong::Dollars(text.to_owned())),
            },
            (Quantity::Money, ..) => {
                self.fault(
                    section.at("dollars"),
                    Wrong::LimitRule("a limit of `money` takes `dollars`, and no `amount`"),
                );
            }
            (_, Some(_), None) => return section.int("amount"),
            (_, _, _) => {
                self.fault(section.at("amount"), Wrong::LimitRule("this limit takes `amount`, and no `dollars`"));
            }
        }
        None
    }

    fn window(&mut self, section: &Section<'_>, quantity: Quantity) -> Option<Window> {
        if quantity == Quantity::Concurrency {
            if ["per", "window", "times", "zone"].iter().any(|key| section.get(key).is_some()) {
                let why = "calls at the same time have no `per`, no `window`, no `times` and no `zone`";
                self.fault(section.at("per"), Wrong::LimitRule(why));
            }
            return Some(Window::Now);
        }
        let Some(unit) = section.text("per") else {
            self.fault(section.at("per"), Wrong::Missing { key: "per", example: "month" });
            return None;
        };
        let zone = self.zone(section)?;
        let flows = quantity != Quantity::Money && ["second", "minute", "hour"].contains(&unit);
        let usual = if flows { "rate" } else { "calendar" };
        let times = section.int("times").unwrap_or(1);
        let ms = length_ms(unit).and_then(|ms| ms.checked_mul(times)).filter(|ms| *ms <= WINDOW_MS_MAX);
        let says = |key: &str| section.get(key).is_some();
        let found = match (unit, section.text("window").unwrap_or(usual)) {
            // What would mean nothing is not passed over: whoever wrote it meant something.
            ("ever", _) if says("window") || says("times") || says("zone") => {
                Err("for `ever` there is no `window`, no `times` and no `zone`")
            }
            ("ever", _) => Ok(Window::Total),
            (_, "rate" | "rolling") if says("zone") => {
                Err("only a calendar has a `zone`; a `rate` and a `rolling` time are the same everywhere")
            }
            (_, "rate") => ms
                .map(|ms| Window::Rate { ms })
                .ok_or("a rate is per at most 366 days, and a month has no length: say `per: day` and `times`"),
            (_, "rolling") => ms
                .map(|ms| Window::Rolling { ms })
                .ok_or("a rolling time is at most 366 days, and a month has no length: say `per: day` and `times`"),
            (_, _) if times != 1 => Err("a calendar's window takes no `times`"),
            (unit, _) => calendar(unit)
                .map(|unit| Window::Calendar { unit, zone })
                .ok_or("a calendar has hours, days, weeks and months"),
        };
        found.map_err(|why| self.fault(section.at("per"), Wrong::LimitRule(why))).ok()
    }

    fn zone(&mut self, section: &Section<'_>) -> Option<Tz> {
        let name = section.text("zone")?;
        let zone = name.parse().ok();
        if zone.is_none() {
            self.fault(section.at("zone"), Wrong::Zone(name.to_owned()));
        }
        zone
    }

    fn limited_endpoints(&mut self, section: &Section<'_>) -> Arc<[Arc<str>]> {
        let mut names = Vec::new();
        for (place, name) in section.texts("endpoints") {
            if Endpoint::ALL.iter().all(|endpoint| endpoint.name() != name) {
                self.fault(place, Wrong::LimitRule("is no endpoint's name"));
            }
            names.push(Arc::from(name));
        }
        names.into()
    }

    fn each(&mut self, section: &Section<'_>) -> Option<Each> {
        let mut each = Each::default();
        for (place, word) in section.texts("each") {
            match word {
                "key" => each.key = true,
                "user" => each.user = true,
                "end_user" => each.end_user = true,
                "model" => each.model = true,
                "endpoint" => each.endpoint = true,
                _ => {
                    self.fault(place, Wrong::LimitRule("is none of `key`, `user`, `end_user`, `model`, `endpoint`"));
                    return None;
                }
            }
        }
        Some(each)
    }
}

fn quantity(word: &str) -> Option<Quantity> {
    let all = [
        Quantity::Requests,
        Quantity::InputTokens,
        Quantity::OutputTokens,
        Quantity::Tokens,
        Quantity::Money,
        Quantity::Concurrency,
    ];
    all.into_iter().find(|quantity| quantity.name() == word)
}

fn outage(word: &str) -> Option<Outage> {
    match word {
        "refuse" => Some(Outage::Refuse),
        "local" => Some(Outage::Local),
        "allow" => Some(Outage::Allow),
        _ => None,
    }
}

fn length_ms(unit: &str) -> Option<u64> {
    match unit {
        "second" => Some(SECOND_MS),
        "minute" => Some(60 * SECOND_MS),
        "hour" => Some(3_600 * SECOND_MS),
        "day" => Some(DAY_MS),
        "week" => Some(7 * DAY_MS),
        _ => None,
    }
}

fn calendar(unit: &str) -> Option<CalendarUnit> {
    match unit {
        "hour" => Some(CalendarUnit::Hour),
        "day" => Some(CalendarUnit::Day),
        "week" => Some(CalendarUnit::Week),
        "month" => Some(CalendarUnit::Month),
        _ => None,
    }
}

/// Reads a decimal number of dollars as nano-dollars, exactly.
fn nano(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |digits: &str, max: usize| {
        !digits.is_empty() && digits.len() <= max && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    if !is_number(whole, DOLLAR_DIGITS_MAX) || !is_number(fraction, NANO_DIGITS) {
        return None;
    }
    format!("{whole}{fraction:0<NANO_DIGITS$}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_read_exactly() {
        let cases = [
            ("0.000000001", Some(1)),
            ("250.00", Some(250_000_000_000)),
            ("999999999.999999999", Some(999_999_999_999_999_999)),
            ("1", Some(1_000_000_000)),
            ("0.0000000001", None),
            ("1e3", None),
            ("-1", None),
            ("1000000000", None),
            (".5", None),
            ("5.", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(nano(text), expected, "{text}");
        }
    }
}

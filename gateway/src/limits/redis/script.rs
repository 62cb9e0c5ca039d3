//! The scripts, and how a call's lines become their keys and words. Pure.
//!
//! All keys of an organisation carry it as their hash tag, so that in a cluster they lie on one node and one script
//! reaches them all.

use redis::{Script, ScriptInvocation};

use crate::exchange::CallId;
use crate::limits::counter::{Ask, Line};
use crate::limits::quantity::{Amounts, Quantity};
use crate::limits::window::{CalendarUnit, ROLLING_STEPS, Span, Window};

/// Counters are signed in Redis: a cap above that is that, nine billion dollars.
const COUNT_MAX: u64 = i64::MAX.unsigned_abs();
/// Rates are computed in doubles, which are exact to here.
const RATE_MAX: u64 = 1 << 50;
/// Milliseconds for which an ended hold is remembered, so that a late or doubled settlement corrects and never doubles.
const REMEMBERED_MS: u64 = 3_600_000;
/// Milliseconds after its end for which a window is kept, for calls that were born in it and end later.
const GRACE_MS: u64 = 3 * 3_600_000;
/// Milliseconds for which a budget without an end is kept unused; then its past is read from the ledger again.
const TOTAL_MS: u64 = 30 * 86_400_000;
/// Milliseconds by which another gateway's clock may be ahead: what was used there is known too.
pub(super) const AHEAD_MS: u64 = 3_600_000;
/// Steps of a rolling window that are known beyond its own, for clocks that differ.
const STEPS_MORE: u64 = 2;

/// The scripts, with their hashes.
pub(super) struct Scripts {
    take: Script,
    settle: Script,
    seed: Script,
    probe: Script,
    orgs: Script,
    enlist: Script,
    live: Script,
    forget: Script,
    kept: Script,
}

/// What of a call's hold a script is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Take {
    /// The call begins.
    Reserve,
    /// Its budgets become what is asked.
    Extend,
    /// Nothing is taken: is everything known that has to be?
    Look,
}

/// Where keys lie and whose time counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) prefix: &'a str,
    /// Microseconds; 0 for the server's own time.
    pub(super) now_us: u64,
    /// The gateway's name, which its next start has too.
    pub(super) node: &'a str,
    /// The name of this start of it.
    pub(super) start: &'a str,
}

impl Scripts {
    pub(super) fn new() -> Self {
        let common = include_str!("script/common.lua");
        let rolling = include_str!("script/rolling.lua");
        let whole = |own: &str| Script::new(&[common, rolling, own].concat());
        Self {
            take: whole(include_str!("script/take.lua")),
            settle: whole(include_str!("script/settle.lua")),
            seed: Script::new(include_str!("script/seed.lua")),
            // What is read-only, loading or full says so to a write alone.
            probe: Script::new("return redis.call('SET', KEYS[1], '1', 'PX', '1000')"),
            orgs: Script::new("return redis.call('SMEMBERS', KEYS[1])"),
            enlist: Script::new(
                "redis.call('SADD', KEYS[1], ARGV[1]) redis.call('PEXPIRE', KEYS[1], ARGV[2]) return {'ok'}",
            ),
            live: Script::new(
                "local page = redis.call('SSCAN', KEYS[1], ARGV[1], 'COUNT', 256) \
                 table.insert(page[2], 1, page[1]) return page[2]",
            ),
            forget: Script::new("redis.call('SREM', KEYS[1], ARGV[1]) return {'ok'}"),
            kept: Script::new("local kept = redis.call('GET', KEYS[1]) return kept and {kept} or {}"),
        }
    }

    /// Takes or changes a hold of `budgets` in all.
    pub(super) fn take(&self, place: Place<'_>, ask: &Ask, take: Take, budgets: &Amounts) -> ScriptInvocation<'_> {
        let mut call = self.take.prepare_invoke();
        call.key(hold_key(place, &ask.org, ask.call)).key(lines_key(place, &ask.org, ask.call));
        call.key(live_key(place, &ask.org));
        amounts(&mut call, place, ttl_us(ask), budgets, &ask.rates);
        call.arg(member(place, ask.call));
        words(&mut call, place, ask);
        call.arg(match take {
            Take::Reserve => "reserve",
            Take::Extend => "extend",
            Take::Look => "look",
        });
        call
    }

    /// Ends a hold.
    pub(super) fn settle(&self, place: Place<'_>, ask: &Ask, used: &Amounts) -> ScriptInvocation<'_> {
        let mut call = self.settle.prepare_invoke();
        call.key(hold_key(place, &ask.org, ask.call)).key(lines_key(place, &ask.org, ask.call));
        call.key(live_key(place, &ask.org));
        amounts(&mut call, place, ttl_us(ask), used, &Amounts::default());
        call.arg(member(place, ask.call));
        words(&mut call, place, ask);
        call
    }

    /// Ends a hold of an earlier start, by the lines that it kept.
    pub(super) fn end(
        &self,
        place: Place<'_>,
        org: &str,
        call: CallId,
        member: &str,
        lines: &[String],
        used: &Amounts,
    ) -> ScriptInvocation<'_> {
        let mut script = self.settle.prepare_invoke();
        script.key(hold_key(place, org, call)).key(lines_key(place, org, call)).key(live_key(place, org));
        amounts(&mut script, place, 0, used, &Amounts::default());
        script.arg(member);
        for line in lines.chunks(LINE_WORDS) {
            let Some((key, words)) = line.split_first() else { continue };
            script.key(key);
            for word in words {
                script.arg(word);
            }
        }
        script
    }

    /// The organisations that were enlisted for the gateway.
    pub(super) fn orgs(&self, place: Place<'_>) -> ScriptInvocation<'_> {
        self.orgs.key(orgs_key(place))
    }

    /// Enlists an organisation for the gateway.
    pub(super) fn enlist(&self, place: Place<'_>, org: &str) -> ScriptInvocation<'_> {
        let mut script = self.enlist.key(orgs_key(place));
        script.arg(org).arg(TOTAL_MS);
        script
    }

    /// A page of the gateway's holds that nobody settled.
    pub(super) fn live(&self, place: Place<'_>, org: &str, cursor: &str) -> ScriptInvocation<'_> {
        let mut script = self.live.key(live_key(place, org));
        script.arg(cursor);
        script
    }

    /// Takes one from those.
    pub(super) fn forget(&self, place: Place<'_>, org: &str, member: &str) -> ScriptInvocation<'_> {
        let mut script = self.forget.key(live_key(place, org));
        script.arg(member);
        script
    }

    /// The lines of a hold, as JSON.
    pub(super) fn kept(&self, place: Place<'_>, org: &str, call: CallId) -> ScriptInvocation<'_> {
        self.kept.key(lines_key(place, org, call))
    }

    /// Puts in what was used of a budget before: amounts by the first moment of a window, or by a moment of
    /// a step.
    pub(super) fn seed(
        &self,
        place: Place<'_>,
        ask: &Ask,
        line: &Line,
        span: Span,
        known_from: Option<u64>,
        uses: &[(u64, u64)],
    ) -> ScriptInvocation<'_> {
        let mut call = self.seed.prepare_invoke();
        call.key(line_key(place.prefix, ask, line));
        let rolling = match line.window {
            Window::Rolling { ms } => Some(ms),
            Window::Calendar { .. } | Window::Total | Window::Rate { .. } | Window::Now => None,
        };
        call.arg(if rolling.is_some() { "o" } else { "b" });
        call.arg(rolling.map_or_else(|| kept_ms(line, ask.born_ms), |ms| ms.saturating_mul(3)));
        call.arg(span.from_ms);
        call.arg(known_from.map_or_else(|| "-1".to_owned(), |known| known.to_string()));
        for (at_ms, used) in uses {
            call.arg(rolling.map_or(*at_ms, |ms| step_from(ms, *at_ms)));
            call.arg(used.min(&COUNT_MAX).to_string());
        }
        call
    }

    /// Writes something that means nothing.
    pub(super) fn probe(&self, prefix: &str) -> ScriptInvocation<'_> {
        self.probe.key(format!("{prefix}{{probe}}"))
    }
}

/// What has to be known of a budget's past before a call can be counted at it; `None` for what has no past.
/// `known_from`
/// is the moment from which on it is counted already.
pub(super) fn past(line: &Line, born_ms: u64, known_from: Option<u64>) -> Option<Span> {
    match line.window {
        Window::Calendar { unit, zone } => Some(CalendarUnit::span(unit, zone, born_ms)),
        Window::Rolling { ms } => {
            let (step, from_ms) = (step(ms), step_from(ms, born_ms));
            let behind = step.saturating_mul(ROLLING_STEPS.saturating_add(STEPS_MORE));
            let ahead = AHEAD_MS.div_ceil(step).saturating_mul(step);
            let to_ms = known_from.unwrap_or(from_ms.saturating_add(step).saturating_add(ahead));
            Some(Span { from_ms: from_ms.saturating_sub(behind), to_ms })
        }
        Window::Total => Some(Span { from_ms: 0, to_ms: u64::MAX }),
        Window::Rate { .. } | Window::Now => None,
    }
}

/// Milliseconds of one step of a rolling window.
pub(super) use crate::limits::budget::step;

fn step_from(ms: u64, at_ms: u64) -> u64 {
    at_ms.saturating_sub(at_ms.checked_rem(step(ms)).unwrap_or(0))
}

/// Words of one line beside its key, and the key.
const LINE_WORDS: usize = 6;

fn hold_key(place: Place<'_>, org: &str, call: CallId) -> String {
    format!("{}:h:{}", tag(place.prefix, org), call.0.as_simple())
}

/// Where a hold's lines are kept for the next start of its gateway.
fn lines_key(place: Place<'_>, org: &str, call: CallId) -> String {
    format!("{}:l:{}", tag(place.prefix, org), call.0.as_simple())
}

/// The gateway's holds that nobody settled yet.
fn live_key(place: Place<'_>, org: &str) -> String {
    format!("{}:g:{}", tag(place.prefix, org), place.node)
}

/// The organisations with such holds, which lie wherever they do.
fn orgs_key(place: Place<'_>) -> String {
    format!("{}{{~{}}}", place.prefix, place.node)
}

/// A hold among those of its gateway.
fn member(place: Place<'_>, call: CallId) -> String {
    format!("{} {}", place.start, call.0.as_simple())
}

fn ttl_us(ask: &Ask) -> u64 {
    u64::try_from(ask.ttl.as_micros()).unwrap_or(u64::MAX).min(RATE_MAX)
}

/// The words that every script on a call's lines begins with; `common.lua` reads them.
fn amounts(call: &mut ScriptInvocation<'_>, place: Place<'_>, ttl_us: u64, budgets: &Amounts, rates: &Amounts) {
    call.arg(place.now_us).arg(ttl_us).arg(REMEMBERED_MS);
    for amount in each(budgets) {
        call.arg(amount.min(COUNT_MAX));
    }
    for amount in each(rates) {
        call.arg(amount.min(RATE_MAX));
    }
}

/// The keys and words of the call's lines.
fn words(call: &mut ScriptInvocation<'_>, place: Place<'_>, ask: &Ask) {
    for line in ask.lines.iter() {
        call.key(line_key(place.prefix, ask, line));
        let quantity = match line.quantity {
            Quantity::Requests | Quantity::Concurrency => 1,
            Quantity::InputTokens => 2,
            Quantity::OutputTokens => 3,
            Quantity::Money => 4,
            Quantity::Tokens => 5,
        };
        let (kind, cap, one, two) = match line.window {
            // A cap of nothing is refused before the script is asked, which needs something to drain.
            Window::Rate { ms } => ("r", line.cap.clamp(1, RATE_MAX), ms.max(1).saturating_mul(1_000), 0),
            Window::Calendar { .. } | Window::Total => {
                let from_ms = past(line, ask.born_ms, None).map_or(0, |span| span.from_ms);
                ("b", line.cap, kept_ms(line, ask.born_ms), from_ms)
            }
            Window::Rolling { ms } => ("o", line.cap, step(ms), step_from(ms, ask.born_ms)),
            Window::Now => ("n", line.cap, 0, 0),
        };
        call.arg(kind).arg(quantity).arg(cap.min(COUNT_MAX)).arg(one).arg(two);
    }
}

fn each(amounts: &Amounts) -> [u64; 4] {
    [amounts.requests, amounts.input_tokens, amounts.output_tokens, amounts.nano]
}

/// Milliseconds from a call's birth for which its window means something.
fn kept_ms(line: &Line, born_ms: u64) -> u64 {
    match (line.window, past(line, born_ms, None)) {
        (Window::Calendar { .. }, Some(span)) => {
            span.to_ms.saturating_sub(born_ms).saturating_add(GRACE_MS).min(RATE_MAX)
        }
        _ => TOTAL_MS,
    }
}

/// The line's counter. A line that counts otherwise than before has another one.
fn line_key(prefix: &str, ask: &Ask, line: &Line) -> String {
    let kind = match line.window {
        Window::Rate { .. } => "r".to_owned(),
        Window::Calendar { unit, zone } => {
            let unit = match unit {
                CalendarUnit::Hour => 'h',
                CalendarUnit::Day => 'd',
                CalendarUnit::Week => 'w',
                CalendarUnit::Month => 'm',
            };
            format!("{unit}{}", zone.name())
        }
        Window::Rolling { ms } => format!("o{}", step(ms)),
        Window::Total => "t".to_owned(),
        Window::Now => "n".to_owned(),
    };
    format!("{}:{kind}:{}", tag(prefix, &ask.org), line.id)
}

/// The prefix and the hash tag: what a cluster places keys by. Braces and the empty name would change what that is.
fn tag(prefix: &str, org: &str) -> String {
    let mut tag = format!("{prefix}{{%");
    for letter in org.chars() {
        match letter {
            '{' => tag.push_str("%7b"),
            '}' => tag.push_str("%7d"),
            '%' => tag.push_str("%25"),
            _ => tag.push(letter),
        }
    }
    tag.push('}');
    tag
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_organisation_is_one_hash_tag_whatever_its_name() {
        let tags = ["acme", "", "a}b", "{a}", "%7d", "a{b"].map(|org| tag("weir", org));
        assert_eq!(tags, ["weir{%acme}", "weir{%}", "weir{%a%7db}", "weir{%%7ba%7d}", "weir{%%257d}", "weir{%a%7bb}"]);
    }
}

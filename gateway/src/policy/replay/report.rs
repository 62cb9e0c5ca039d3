//! What a replay found, for people and for programs.

use std::fmt;

use serde_json::{Value as Json, json};

use super::judge::{Judge, Told};
use super::tally::{Counts, Flip, Group, Sum, Tally};

/// Nano-dollars of a dollar.
const DOLLAR_NANO: i64 = 1_000_000_000;

/// Every flip, in groups, the largest first.
#[derive(Debug)]
pub struct Report {
    /// Numbers of lines.
    pub counts: Counts,
    /// Groups of flips.
    pub groups: Vec<(Group, Sum)>,
    candidate: String,
    baseline: String,
}

impl Flip {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::AllowToDeny => "allow_to_deny",
            Self::DenyToAllow => "deny_to_allow",
            Self::Obligations => "obligations",
        }
    }

    const ALL: [Self; 3] = [Self::AllowToDeny, Self::DenyToAllow, Self::Obligations];
}

impl Report {
    pub(super) fn new(tally: Tally, candidate: &Judge, baseline: Option<&Judge>) -> Self {
        let mut groups: Vec<_> = tally.groups.into_iter().collect();
        groups.sort_by(|(a, of_a), (b, of_b)| of_b.calls.cmp(&of_a.calls).then_with(|| a.cmp(b)));
        let baseline = baseline.map_or_else(|| "recorded results".to_owned(), Judge::engine);
        Self { counts: tally.counts, groups, candidate: candidate.engine(), baseline }
    }

    /// All flips together.
    pub fn flips(&self) -> u64 {
        self.sum(|_| true).calls
    }

    /// Whether nothing is wrong with what was read: every line was a decision, and there was one with its input.
    pub fn is_whole(&self) -> bool {
        self.counts.unreadable == 0 && self.counts.judged > 0
    }

    fn sum(&self, of: impl Fn(&Group) -> bool) -> Sum {
        let mut all = Sum::default();
        for (_, sum) in self.groups.iter().filter(|(group, _)| of(group)) {
            all.add(Sum { models: Default::default(), examples: Vec::new(), ..sum.clone() });
        }
        all
    }

    /// One document, with so many groups.
    pub fn to_json(&self, limit: usize) -> Json {
        let counts = &self.counts;
        let all = self.sum(|_| true);
        let by_flip = Flip::ALL.map(|flip| (flip.name().to_owned(), sum(&self.sum(|group| group.flip == flip))));
        let groups: Vec<Json> = self.groups.iter().take(limit).map(|(group, sum)| one(group, sum)).collect();
        json!({
            "candidate": self.candidate,
            "baseline": self.baseline,
            "decisions": {
                "replayed": counts.judged,
                "remembered": counts.remembered,
                "input_masked": counts.masked,
                "other_rule": counts.relabelled,
                "without_input": counts.without_input,
                "unreadable": counts.unreadable,
            },
            "flips": sum(&all),
            "by_kind": Json::Object(by_flip.into_iter().collect()),
            "groups_left_out": self.groups.len().saturating_sub(groups.len()),
            "groups": groups,
        })
    }

    /// Writes it for people, with so many groups.
    ///
    /// # Errors
    /// The writer's own.
    pub fn write(&self, f: &mut dyn std::io::Write, limit: usize) -> std::io::Result<()> {
        let counts = &self.counts;
        writeln!(f, "decisions   {} replayed, {} of them remembered", counts.judged, counts.remembered)?;
        for (count, what) in [
            (counts.without_input, "recorded without their input"),
            (counts.unreadable, "lines that are no decisions"),
            (counts.masked, "with a masked input: a flip may be the mask's doing"),
            (counts.relabelled, "answered alike by another rule or reason"),
        ] {
            if count > 0 {
                writeln!(f, "            {count} {what}")?;
            }
        }
        writeln!(f, "candidate   {}\nbaseline    {}", self.candidate, self.baseline)?;
        let all = self.sum(|_| true);
        writeln!(f, "flips       {} calls, {} tokens, {}", all.calls, all.tokens, Dollars(all.nano))?;
        for flip in Flip::ALL {
            let sum = self.sum(|group| group.flip == flip);
            if sum.calls > 0 {
                writeln!(f, "  {:<15} {} calls, {} tokens, {}", flip.name(), sum.calls, sum.tokens, Dollars(sum.nano))?;
            }
        }
        for (group, sum) in self.groups.iter().take(limit) {
            let models: Vec<&str> = sum.models.iter().map(AsRef::as_ref).collect();
            let example = sum.examples.first().map_or("", AsRef::as_ref);
            writeln!(f, "\n{} {} key {}: {} calls", group.flip.name(), group.who, group.key, sum.calls)?;
            writeln!(f, "  {} -> {}", Side(&group.before), Side(&group.after))?;
            writeln!(
                f,
                "  {} tokens, {}; models {}; such as {example}",
                sum.tokens,
                Dollars(sum.nano),
                models.join(", ")
            )?;
        }
        let left = self.groups.len().saturating_sub(limit);
        if left > 0 {
            writeln!(f, "\n{left} more groups; --limit shows them")?;
        }
        Ok(())
    }
}

fn sum(sum: &Sum) -> Json {
    json!({"calls": sum.calls, "tokens": sum.tokens, "nano_dollars": sum.nano})
}

fn one(group: &Group, sum: &Sum) -> Json {
    json!({
        "kind": group.flip.name(),
        "tenant": group.who,
        "key": group.key,
        "before": side(&group.before),
        "after": side(&group.after),
        "calls": sum.calls,
        "tokens": sum.tokens,
        "nano_dollars": sum.nano,
        "models": sum.models,
        "examples": sum.examples,
    })
}

fn side(told: &Told) -> Json {
    let mut side = json!({"allow": told.allow, "rule": told.rule, "reason": told.reason});
    let obligations = serde_json::from_str::<Json>(&told.obligations).ok();
    if let (Some(obligations), Some(members)) = (obligations, side.as_object_mut()) {
        members.insert("obligations".to_owned(), obligations);
    }
    side
}

struct Side<'a>(&'a Told);

impl fmt::Display for Side<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Told { allow, rule, reason, obligations } = self.0;
        let word = if *allow { "allow" } else { "deny" };
        write!(f, "{word} by `{rule}` ({reason})")?;
        if matches!(&**obligations, "" | "{}") { Ok(()) } else { write!(f, " {obligations}") }
    }
}

struct Dollars(i64);

impl fmt::Display for Dollars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0.div_euclid(DOLLAR_NANO), self.0.rem_euclid(DOLLAR_NANO));
        write!(f, "up to ${whole}.{:06}", part.div_euclid(1_000))
    }
}

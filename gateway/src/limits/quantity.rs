//! What limits count, and how much of each. Pure.

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Quantity {
    /// Calls.
    Requests,
    /// Prompt tokens.
    InputTokens,
    /// Completion tokens.
    OutputTokens,
    /// Both kinds of tokens.
    Tokens,
    /// Nano-dollars, at the tenant's own prices.
    Money,
    /// Calls at the same time.
    Concurrency,
}

impl Quantity {
    /// Name in the configuration, in counters' names and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Quantity::Requests => "requests",
            Quantity::InputTokens => "input_tokens",
            Quantity::OutputTokens => "output_tokens",
            Quantity::Tokens => "tokens",
            Quantity::Money => "money",
            Quantity::Concurrency => "concurrency",
        }
    }

    /// So much of it, in words; money in dollars.
    pub fn words(self, amount: u64) -> String {
        match self {
            Quantity::Requests => format!("{amount} requests"),
            Quantity::InputTokens => format!("{amount} input tokens"),
            Quantity::OutputTokens => format!("{amount} output tokens"),
            Quantity::Tokens => format!("{amount} tokens"),
            Quantity::Money => format!("{} dollars", dollars(amount)),
            Quantity::Concurrency => format!("{amount} calls at the same time"),
        }
    }
}

/// Nano-dollars as a decimal number of dollars, exact and without zeros at its end.
pub fn dollars(nano: u64) -> String {
    let text = format!("{}.{:09}", nano / NANO, nano % NANO);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Nano-dollars of a dollar.
const NANO: u64 = 1_000_000_000;

/// How much a call takes of what is counted. A call takes one request and one place among those that run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amounts {
    /// Calls: 1 when a call begins, 0 when its hold grows.
    pub requests: u64,
    /// Prompt tokens.
    pub input_tokens: u64,
    /// Completion tokens.
    pub output_tokens: u64,
    /// Nano-dollars.
    pub nano: u64,
}

impl Amounts {
    /// So much of one quantity alone.
    pub fn only(quantity: Quantity, amount: u64) -> Self {
        let none = Amounts::default();
        match quantity {
            Quantity::Requests | Quantity::Concurrency => Amounts { requests: amount, ..none },
            Quantity::InputTokens | Quantity::Tokens => Amounts { input_tokens: amount, ..none },
            Quantity::OutputTokens => Amounts { output_tokens: amount, ..none },
            Quantity::Money => Amounts { nano: amount, ..none },
        }
    }

    /// What counts for a limit of this quantity.
    pub fn of(&self, quantity: Quantity) -> u64 {
        match quantity {
            Quantity::Requests | Quantity::Concurrency => self.requests,
            Quantity::InputTokens => self.input_tokens,
            Quantity::OutputTokens => self.output_tokens,
            Quantity::Tokens => self.input_tokens.saturating_add(self.output_tokens),
            Quantity::Money => self.nano,
        }
    }

    /// The larger of each.
    #[must_use]
    pub fn most(&self, other: &Amounts) -> Amounts {
        Amounts {
            requests: self.requests.max(other.requests),
            input_tokens: self.input_tokens.max(other.input_tokens),
            output_tokens: self.output_tokens.max(other.output_tokens),
            nano: self.nano.max(other.nano),
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(&self, more: &Amounts) -> Amounts {
        Amounts {
            requests: self.requests.saturating_add(more.requests),
            input_tokens: self.input_tokens.saturating_add(more.input_tokens),
            output_tokens: self.output_tokens.saturating_add(more.output_tokens),
            nano: self.nano.saturating_add(more.nano),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_told_in_dollars_to_the_last_nano() {
        for (nano, text) in [(0, "0"), (1, "0.000000001"), (25_000_000_000, "25"), (12_500_000_000, "12.5")] {
            assert_eq!(dollars(nano), text);
        }
        assert_eq!(Quantity::Money.words(u64::MAX), "18446744073.709551615 dollars");
    }
}

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
}

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

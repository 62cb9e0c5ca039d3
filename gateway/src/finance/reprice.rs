//! Holds the ledger's rows against a price book, page by page, and writes the differences as corrections where that is
//! wanted: the same for the command line and the admin listener. What a row should have cost is told by
//! [`crate::usage::reprice`].

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;

use crate::config::settings::ModelRule;
use crate::store::usage::UsageFilter;
use crate::store::usage_event::UsageEvent;
use crate::store::{Store, StoreError};
use crate::usage::price::PriceBook;
use crate::usage::reprice::{Charged, Rating, Verdict, correction, judge};

/// Prices, and what the configuration calls each deployment's provider in them.
#[derive(Debug)]
pub struct Prices {
    /// The prices.
    pub book: PriceBook,
    providers: HashMap<Arc<str>, Arc<str>>,
}

impl Prices {
    /// The book's prices for the deployments of these models.
    pub fn new(book: PriceBook, models: &[ModelRule]) -> Self {
        let rules = models.iter().flat_map(|model| &model.deployments);
        let providers = rules.map(|rule| (rule.name.clone(), rule.price_provider.clone())).collect();
        Self { book, providers }
    }
}

/// What is to be done.
#[derive(Debug, Clone, Default)]
pub struct RepriceOf {
    /// Which rows.
    pub filter: UsageFilter,
    /// Prices in force then, in Unix milliseconds; none: at each call's own time.
    pub as_of_ms: Option<u64>,
    /// Whether corrections are written.
    pub apply: bool,
    /// Unix milliseconds: the time of the corrections.
    pub now_ms: u64,
}

/// What came of it.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct Repriced {
    /// Rows that were looked at.
    pub rows: u64,
    /// As they should be.
    pub right: u64,
    /// To correct, or corrected.
    pub corrections: u64,
    /// Without work, or charged at what was held.
    pub apart: u64,
    /// Without a price in this book.
    pub unpriced: u64,
    /// Nano-dollars that all corrections amount to.
    pub difference_nano: i64,
    /// Whether the corrections were written.
    pub applied: bool,
    /// Version of the book.
    pub price_version: String,
}

/// One row that was charged otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Off {
    /// The row's id.
    pub corrects: String,
    /// Who called.
    pub tenant: String,
    /// Model as asked for.
    pub model: String,
    /// Nano-dollars charged so far, with earlier corrections.
    pub charged_nano: i64,
    /// Nano-dollars that are missing, or too much where negative.
    pub difference_nano: i64,
    /// Version of the price.
    pub price_version: Arc<str>,
}

/// Looks at every row, hands those that are off to `each`, and corrects them where that is asked. Interrupted, it has
/// corrected whole pages; begun again, it does the rest.
///
/// # Errors
/// The store can't be read or written, or `each` fails.
pub async fn reprice<E: From<StoreError>>(
    store: &Store,
    prices: &Prices,
    of: &RepriceOf,
    mut each: impl FnMut(&Off) -> Result<(), E>,
) -> Result<Repriced, E> {
    let mut sums =
        Repriced { applied: of.apply, price_version: prices.book.version().to_string(), ..Repriced::default() };
    let mut after = None;
    loop {
        let page = store.usage_events(&of.filter, after).await?;
        let Some(last) = page.last() else { return Ok(sums) };
        after = Some(last.event);
        let corrected = store.corrections(&page).await?;
        let mut closings = Vec::new();
        for event in page.iter().filter(|event| event.kind == "usage") {
            let own = Charged { cost_nano: event.cost_nano, list_nano: event.list_nano, corrections: 0 };
            let charged = own.plus(corrected.get(&event.event.to_string()).copied().unwrap_or_default());
            let provider = prices.providers.get(&*event.deployment).map_or(&*event.provider, |name| &**name);
            let verdict = judge(event, charged, Rating { book: &prices.book, provider, as_of_ms: of.as_of_ms });
            sums.count(&verdict);
            if let Some(off) = off(event, charged, &verdict) {
                each(&off)?;
            }
            closings.extend(correction(event, charged, &verdict, of.now_ms));
        }
        if of.apply {
            store.correct(&closings).await?;
        }
    }
}

impl Repriced {
    fn count(&mut self, verdict: &Verdict) {
        self.rows = self.rows.saturating_add(1);
        let (of, difference) = match verdict {
            Verdict::Right => (&mut self.right, 0),
            Verdict::Off { difference, .. } => (&mut self.corrections, difference.cost_nano),
            Verdict::Apart => (&mut self.apart, 0),
            Verdict::Unpriced(_) => (&mut self.unpriced, 0),
        };
        *of = of.saturating_add(1);
        self.difference_nano = self.difference_nano.saturating_add(difference);
    }
}

fn off(event: &UsageEvent, charged: Charged, verdict: &Verdict) -> Option<Off> {
    let Verdict::Off { difference, version, .. } = verdict else { return None };
    Some(Off {
        corrects: event.event.to_string(),
        tenant: event.tenant.clone(),
        model: event.model.clone(),
        charged_nano: charged.cost_nano,
        difference_nano: difference.cost_nano,
        price_version: Arc::clone(version),
    })
}

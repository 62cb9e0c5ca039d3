//! Counts long prompts where that holds nobody up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;
use weir_wire::envelope::Envelope;

use super::prompt::Text;
use super::{Family, INLINE_BYTES_MAX, Vocabulary};

/// Prompts that are counted at the same time: each holds a core.
const COUNTING_MAX: usize = 2;
/// How long a prompt waits for its turn; then its bytes are held, of which no text has fewer than tokens.
const WAIT_MAX: Duration = Duration::from_millis(500);

/// Tokens of one prompt by vocabulary.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counted {
    by_vocabulary: BTreeMap<bool, u64>,
    /// What no count is above.
    most: u64,
    /// Exact counts of own engines, by their model.
    own: Vec<(Arc<str>, u64)>,
    /// Tokens that the model reads beside the prompt, as its provider counted them: the conversation that is gone on
    /// from.
    history: u64,
}

impl Counted {
    /// Counts a prompt here and now, in the vocabularies of `families`.
    pub fn now(envelope: &Envelope, families: &[Family]) -> Self {
        count(&Text::of(envelope), &vocabularies(families))
    }

    /// The same where the prompt goes on from a conversation of so many tokens.
    #[must_use]
    pub fn after(self, history: u64) -> Self {
        Self { history, ..self }
    }

    /// Tokens that a model makes of the prompt, most likely, with what it goes on from.
    pub fn likely(&self, family: Family) -> u64 {
        self.get(family.vocabulary).map_or(self.most, |count| family.likely(count)).saturating_add(self.history)
    }

    /// The same at most: what is held.
    pub fn most(&self, family: Family) -> u64 {
        self.get(family.vocabulary).map_or(self.most, |count| family.most(count)).saturating_add(self.history)
    }

    /// Takes what an own engine counted for its model.
    pub fn learn(&mut self, model: &Arc<str>, tokens: u64) {
        self.own.push((Arc::clone(model), tokens));
    }

    /// The exact count of the own engine that serves this model, its template's tokens included.
    pub fn own(&self, model: &str) -> Option<u64> {
        let own = self.own.iter().find(|(known, _)| **known == *model);
        own.map(|(_, tokens)| tokens.saturating_add(self.history))
    }

    fn get(&self, vocabulary: Vocabulary) -> Option<u64> {
        self.by_vocabulary.get(&is_o200k(vocabulary)).copied()
    }
}

fn is_o200k(vocabulary: Vocabulary) -> bool {
    match vocabulary {
        Vocabulary::O200k => true,
        Vocabulary::Cl100k => false,
    }
}

/// The places of those who count.
#[derive(Debug)]
pub struct Pool(Arc<Semaphore>);

impl Default for Pool {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(COUNTING_MAX)))
    }
}

impl Pool {
    /// Counts a prompt in the vocabularies of `families`.
    pub async fn count(&self, envelope: &Arc<Envelope>, families: &[Family]) -> Counted {
        if envelope.body().len() <= INLINE_BYTES_MAX {
            return Counted::now(envelope, families);
        }
        let place = timeout(WAIT_MAX, Arc::clone(&self.0).acquire_owned()).await;
        let bound = || Counted { most: u64::try_from(envelope.body().len()).unwrap_or(u64::MAX), ..Counted::default() };
        let Ok(Ok(place)) = place else { return bound() };
        let (asked, vocabularies) = (Arc::clone(envelope), vocabularies(families));
        let counting = tokio::task::spawn_blocking(move || {
            // The place is held as long as the work runs, also where nobody waits for it any more.
            let _place = place;
            count(&Text::of(&asked), &vocabularies)
        });
        counting.await.unwrap_or_else(|_| bound())
    }
}

fn count(text: &Text, vocabularies: &[Vocabulary]) -> Counted {
    let by_vocabulary = vocabularies.iter().map(|vocabulary| (is_o200k(*vocabulary), text.count(*vocabulary)));
    Counted { by_vocabulary: by_vocabulary.collect(), most: text.most(), own: Vec::new(), history: 0 }
}

fn vocabularies(families: &[Family]) -> Vec<Vocabulary> {
    let mut all: Vec<Vocabulary> = families.iter().map(|family| family.vocabulary).collect();
    all.sort_by_key(|vocabulary| is_o200k(*vocabulary));
    all.dedup();
    all
}

//! How many tokens a text has, for models that run elsewhere. Pure.
//!
//! OpenAI's two vocabularies are counted exactly; for other makers' models, whose vocabularies aren't public or aren't
//! here, the nearer of the two is counted and multiplied by a stated factor: one for what is most likely, one for
//! what is held. Time is linear in the text whatever is in it: it is counted in pieces of one size. What is longer
//! than [`INLINE_BYTES_MAX`] belongs on another thread: see [`pool`]. Start at [`Family::of`].

pub mod pool;
pub mod prompt;

use bpe_openai::{Tokenizer, cl100k_base, o200k_base};

/// Bytes that are counted on the thread that serves calls: some 400 µs.
pub const INLINE_BYTES_MAX: usize = 8 << 10;
/// Bytes that are counted as one piece. A border between two costs at most a few tokens in some two thousand, and
/// makes the time linear whatever the text is.
const PIECE_BYTES: usize = 8 << 10;
/// Bytes that are counted of a text that has a token for every two bytes or more: counting takes time by the token, and
/// what is so dense is no text that a model was made for.
const DENSE_BYTES: usize = 256 << 10;
/// The whole, in factors.
const PER_MILLE: u64 = 1_000;

/// Which of OpenAI's vocabularies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Vocabulary {
    /// `o200k_base`: GPT-4o and all later ones.
    O200k,
    /// `cl100k_base`: GPT-4, GPT-3.5 and the embeddings.
    Cl100k,
}

impl Vocabulary {
    fn tokenizer(self) -> &'static Tokenizer {
        match self {
            Vocabulary::O200k => o200k_base(),
            Vocabulary::Cl100k => cl100k_base(),
        }
    }

    /// Tokens of a text; of a very long one without words, such as base64, what they are at most.
    pub fn count(self, text: &str) -> u64 {
        let tokenizer = self.tokenizer();
        let (mut tokens, mut bytes) = (0_u64, 0_usize);
        for piece in pieces(text) {
            if bytes >= DENSE_BYTES && tokens.saturating_mul(2) >= count(bytes) {
                // No token is shorter than a byte.
                return tokens.saturating_add(count(text.len().saturating_sub(bytes)));
            }
            tokens = tokens.saturating_add(count(tokenizer.count(piece)));
            bytes = bytes.saturating_add(piece.len());
        }
        tokens
    }
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// The text in pieces of at most [`PIECE_BYTES`], cut between characters; where a space is near the end, before it.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut end = PIECE_BYTES.min(rest.len());
        while !rest.is_char_boundary(end) {
            end = end.saturating_sub(1);
        }
        if end < rest.len() {
            // A word's own space belongs to the word.
            let near = end.saturating_sub(64);
            let space = rest.get(near..end).and_then(|tail| tail.rfind(' ')).map(|at| near.saturating_add(at));
            end = space.filter(|at| *at > 0).unwrap_or(end);
        }
        let (piece, behind) = rest.split_at_checked(end)?;
        rest = behind;
        Some(piece)
    })
}

/// How a model's tokens are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Family {
    /// What is counted.
    pub vocabulary: Vocabulary,
    /// The model's own tokens for a thousand of these, most likely.
    likely_per_mille: u64,
    /// The same, at most.
    most_per_mille: u64,
}

/// Models by the beginning of their name: vocabulary, likely and highest factor. The first that fits counts. Factors
/// of other makers are those that their documents and public counts give for prose, source code and tables: Anthropic
/// states up to 1.35 for its newest; vocabularies of 32,000 make a third more of English than those of 100,000.
const FAMILIES: [(&str, Family); 19] = [
    ("gpt-4o", exact(Vocabulary::O200k)),
    ("gpt-4.", exact(Vocabulary::O200k)),
    ("gpt-4", exact(Vocabulary::Cl100k)),
    ("gpt-3.5", exact(Vocabulary::Cl100k)),
    ("gpt-", exact(Vocabulary::O200k)),
    ("chatgpt-", exact(Vocabulary::O200k)),
    ("o1", exact(Vocabulary::O200k)),
    ("o3", exact(Vocabulary::O200k)),
    ("o4", exact(Vocabulary::O200k)),
    ("text-embedding-3", exact(Vocabulary::Cl100k)),
    ("text-embedding-ada", exact(Vocabulary::Cl100k)),
    ("claude-", near(Vocabulary::Cl100k, 1_200, 1_500)),
    ("gemini-", near(Vocabulary::O200k, 1_050, 1_250)),
    ("gemma", near(Vocabulary::O200k, 1_050, 1_250)),
    ("llama-3", near(Vocabulary::Cl100k, 1_020, 1_150)),
    ("llama", near(Vocabulary::Cl100k, 1_150, 1_500)),
    ("qwen", near(Vocabulary::Cl100k, 1_050, 1_250)),
    ("deepseek", near(Vocabulary::Cl100k, 1_050, 1_250)),
    ("mistral", near(Vocabulary::Cl100k, 1_150, 1_500)),
];

const fn exact(vocabulary: Vocabulary) -> Family {
    Family { vocabulary, likely_per_mille: PER_MILLE, most_per_mille: PER_MILLE }
}

const fn near(vocabulary: Vocabulary, likely_per_mille: u64, most_per_mille: u64) -> Family {
    Family { vocabulary, likely_per_mille, most_per_mille }
}

impl Family {
    /// A model that nobody here knows.
    pub const UNKNOWN: Family = near(Vocabulary::O200k, 1_100, 1_500);

    /// The family of a model by its upstream name; a maker's name before a slash doesn't count.
    pub fn of(model: &str) -> Self {
        let name = model.rsplit('/').next().unwrap_or(model).to_ascii_lowercase();
        // A tuned model is named `ft:gpt-4o-mini:...`.
        let name = name.strip_prefix("ft:").unwrap_or(&name);
        FAMILIES.iter().find(|(prefix, _)| name.starts_with(prefix)).map_or(Self::UNKNOWN, |(_, family)| *family)
    }

    /// The model's own tokens, most likely, for so many counted ones.
    pub fn likely(self, counted: u64) -> u64 {
        scaled(counted, self.likely_per_mille)
    }

    /// The same at most: what is held.
    pub fn most(self, counted: u64) -> u64 {
        scaled(counted, self.most_per_mille)
    }
}

fn scaled(counted: u64, per_mille: u64) -> u64 {
    counted.saturating_mul(per_mille).div_ceil(PER_MILLE)
}

#[cfg(test)]
mod tests;

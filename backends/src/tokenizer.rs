//! Text to tokens and tokens to bytes, for byte-level BPE vocabularies.
//!
//! Owns: the alphabet (from GGUF metadata or `tokenizer.json`), the splitting rules by name, the list of special
//! tokens and of those that end an answer. Refuses: vocabularies that are not byte-level, and splitting rules that it
//! doesn't know: a wrong rule would give a model text that it was never trained on, silently.
//!
//! Plain text never yields a special token, whatever it spells; only [`Tokenizer::encode_marked`] does, and only where
//! `template.rs` says so. Start at [`Tokenizer::encode`].

use std::path::Path;

use candle_core::quantized::gguf_file::Value;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;

use crate::core::TokenId;
use crate::model::LoadError;
use crate::model::gguf::GgufFile;

/// GGUF's token type of a special token.
const TYPE_CONTROL: u64 = 3;
/// Special tokens that end an answer in the known model families, whatever the file names as its end token.
const END_TEXTS: [&str; 7] =
    ["<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|end|>", "</s>"];
/// Words, numbers of up to three digits, runs of signs, spaces: Llama 3's rule.
const LLAMA3_SPLIT: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);
/// The same with single digits: Qwen 2's rule.
const QWEN2_SPLIT: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// A byte-level BPE tokenizer.
#[derive(Debug)]
pub struct Tokenizer {
    /// Never yields a special token.
    plain: tokenizers::Tokenizer,
    /// All tokens' bytes, one after another; token `t` is at `bounds[t]..bounds[t + 1]`.
    bytes: Vec<u8>,
    bounds: Vec<usize>,
    /// Longest first, so that the first match is the right one.
    specials: Vec<(String, TokenId)>,
    /// Put before every plain prompt.
    prefix: Vec<TokenId>,
    ends: Vec<TokenId>,
}

impl Tokenizer {
    /// From GGUF metadata.
    ///
    /// # Errors
    /// [`LoadError::Setting`] naming the metadata key that is missing, damaged or unknown.
    pub fn from_gguf(file: &GgufFile) -> Result<Self, LoadError> {
        let model = file.text("tokenizer.ggml.model")?;
        if model != "gpt2" {
            return Err(LoadError::setting(
                "tokenizer.ggml.model",
                format!("is `{model}`; this engine reads `gpt2` (byte-level BPE)"),
            ));
        }
        let texts = texts(file, "tokenizer.ggml.tokens")?;
        let pre = file.text("tokenizer.ggml.pre").unwrap_or("gpt-2");
        let (splitter, ignore_merges) = splitter(pre)?;
        let bpe = bpe(&texts, &texts_of_merges(file)?, ignore_merges)?;
        let mut plain = tokenizers::Tokenizer::new(bpe);
        plain.with_pre_tokenizer(Some(splitter));
        let types = file.array("tokenizer.ggml.token_type").unwrap_or(&[]);
        let special = |id: usize| types.get(id).is_some_and(|kind| number(kind) == Some(TYPE_CONTROL));
        let specials =
            ids().zip(&texts).enumerate().filter(|(i, _)| special(*i)).map(|(_, (id, text))| (text.clone(), id));
        let specials: Vec<_> = specials.collect();
        let token = |key: &str| file.value(key).and_then(number).and_then(|id| TokenId::try_from(id).ok());
        let ends = ["eos_token_id", "eot_token_id", "eom_token_id"]
            .into_iter()
            .filter_map(|key| token(&format!("tokenizer.ggml.{key}")));
        let ends: Vec<_> = ends.collect();
        let add_bos = file.value("tokenizer.ggml.add_bos_token").is_some_and(|v| v.to_bool().unwrap_or(false));
        let prefix = if add_bos { token("tokenizer.ggml.bos_token_id").into_iter().collect() } else { Vec::new() };
        Ok(Self::new(plain, &texts, specials, prefix, ends))
    }

    /// From a folder's `tokenizer.json`; `ends` are the end tokens that the model's settings name.
    ///
    /// # Errors
    /// [`LoadError`] when it can't be read or is not byte-level.
    pub fn from_folder(folder: &Path, ends: Vec<TokenId>) -> Result<Self, LoadError> {
        let path = folder.join("tokenizer.json");
        let bytes = std::fs::read(&path).map_err(|source| LoadError::Io { path: path.clone(), source })?;
        let fail = |reason: String| LoadError::Format { path: path.clone(), reason };
        let mut plain = tokenizers::Tokenizer::from_bytes(bytes).map_err(|e| fail(e.to_string()))?;
        if !matches!(plain.get_decoder(), Some(tokenizers::DecoderWrapper::ByteLevel(_))) {
            return Err(fail("its decoder is not byte-level".to_owned()));
        }
        let size = plain.get_vocab_size(true);
        let added = plain.get_added_tokens_decoder();
        let texts: Vec<String> = ids().take(size).map(|id| plain.id_to_token(id).unwrap_or_default()).collect();
        let specials: Vec<_> =
            added.iter().filter(|(_, t)| t.special).map(|(id, t)| (t.content.clone(), *id)).collect();
        let prefix = plain.encode_fast("", true).map_err(|e| fail(e.to_string()))?.get_ids().to_vec();
        plain.set_encode_special_tokens(true);
        Ok(Self::new(plain, &texts, specials, prefix, ends))
    }

    fn new(
        plain: tokenizers::Tokenizer,
        texts: &[String],
        mut specials: Vec<(String, TokenId)>,
        prefix: Vec<TokenId>,
        mut ends: Vec<TokenId>,
    ) -> Self {
        specials.retain(|(text, _)| !text.is_empty());
        specials.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.cmp(b)));
        ends.extend(specials.iter().filter(|(text, _)| END_TEXTS.contains(&text.as_str())).map(|(_, id)| *id));
        ends.sort_unstable();
        ends.dedup();
        let alphabet = alphabet();
        let (mut bytes, mut bounds) = (Vec::new(), vec![0]);
        for (id, text) in ids().zip(texts) {
            let silent = specials.iter().any(|(_, special)| *special == id);
            if !silent {
                push_bytes(text, &alphabet, &mut bytes);
            }
            bounds.push(bytes.len());
        }
        Self { plain, bytes, bounds, specials, prefix, ends }
    }

    /// Tokens of a plain prompt, with the prefix that the model wants before one.
    pub fn encode(&self, text: &str) -> Vec<TokenId> {
        let mut out = self.prefix.clone();
        self.push_plain(text, &mut out);
        out
    }

    /// Tokens of a rendered template: special tokens' texts become special tokens, but for those broken by `guard`;
    /// the guards themselves are dropped. See `template.rs`.
    pub fn encode_marked(&self, text: &str, guard: char) -> Vec<TokenId> {
        let mut out = Vec::new();
        let mut rest = text;
        let mut start = 0_usize;
        while let Some(tail) = rest.get(start..) {
            let Some(first) = tail.chars().next() else { break };
            if let Some((special, id)) = self.specials.iter().find(|(special, _)| tail.starts_with(special.as_str())) {
                self.push_plain(&rest.get(..start).unwrap_or_default().replace(guard, ""), &mut out);
                out.push(*id);
                rest = tail.get(special.len()..).unwrap_or_default();
                start = 0;
            } else {
                start = start.saturating_add(first.len_utf8());
            }
        }
        self.push_plain(&rest.replace(guard, ""), &mut out);
        out
    }

    fn push_plain(&self, text: &str, out: &mut Vec<TokenId>) {
        // A byte-level vocabulary has a token for every byte, so encoding can't fail; were it to, no token is
        // the honest answer.
        if let Ok(encoding) = self.plain.encode_fast(text, false) {
            out.extend_from_slice(encoding.get_ids());
        }
    }

    /// The bytes that a token stands for; empty for special tokens and unknown ids.
    pub fn token_bytes(&self, id: TokenId) -> &[u8] {
        let Ok(index) = usize::try_from(id) else { return &[] };
        let (Some(start), Some(end)) = (self.bounds.get(index), self.bounds.get(index.saturating_add(1))) else {
            return &[];
        };
        self.bytes.get(*start..*end).unwrap_or_default()
    }

    /// Whether the token is special.
    pub fn is_special(&self, id: TokenId) -> bool {
        self.specials.iter().any(|(_, special)| *special == id)
    }

    /// The tokens that end an answer, in order.
    pub fn end_ids(&self) -> &[TokenId] {
        &self.ends
    }

    /// The special tokens' texts, longest first.
    pub fn special_texts(&self) -> impl Iterator<Item = &str> {
        self.specials.iter().map(|(text, _)| text.as_str())
    }

    /// The text of a special token.
    pub fn special_text(&self, id: TokenId) -> Option<&str> {
        self.specials.iter().find(|(_, special)| *special == id).map(|(text, _)| text.as_str())
    }

    /// Tokens in the vocabulary.
    pub fn vocab_size(&self) -> usize {
        self.bounds.len().saturating_sub(1)
    }
}

/// 0, 1, 2, …: the ids of a vocabulary in order.
fn ids() -> impl Iterator<Item = TokenId> {
    0..TokenId::MAX
}

/// How text is cut before merging, by the file's name for it; and whether whole words are looked up before merging.
fn splitter(pre: &str) -> Result<(PreTokenizerWrapper, bool), LoadError> {
    let gpt2 = ByteLevel::new(false, false, true);
    let split = |pattern: &str| {
        let split = Split::new(SplitPattern::Regex(pattern.to_owned()), SplitDelimiterBehavior::Isolated, false);
        let split = split.map_err(|e| LoadError::setting("tokenizer.ggml.pre", e.to_string()))?;
        Ok(Sequence::new(vec![split.into(), ByteLevel::new(false, false, false).into()]))
    };
    Ok(match pre {
        "gpt-2" | "gpt2" | "default" => (gpt2.into(), false),
        "smollm" => (Sequence::new(vec![Digits::new(true).into(), gpt2.into()]).into(), false),
        "llama-bpe" | "llama3" | "llama-v3" => (split(LLAMA3_SPLIT)?.into(), true),
        "qwen2" => (split(QWEN2_SPLIT)?.into(), false),
        _ => {
            let known = "`gpt-2`, `smollm`, `llama-bpe` and `qwen2` are known";
            return Err(LoadError::setting("tokenizer.ggml.pre", format!("is `{pre}`; {known}")));
        }
    })
}

fn bpe(texts: &[String], merges: &[String], ignore_merges: bool) -> Result<BPE, LoadError> {
    let vocab: Vocab = texts.iter().cloned().zip(ids()).collect();
    let pairs = merges.iter().map(|merge| merge.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned())));
    let pairs = pairs
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| LoadError::setting("tokenizer.ggml.merges", "has an entry that is no pair"))?;
    let bpe = BPE::builder().vocab_and_merges(vocab, pairs).ignore_merges(ignore_merges).build();
    bpe.map_err(|e| LoadError::setting("tokenizer.ggml.merges", format!("don't fit the tokens: {e}")))
}

fn texts(file: &GgufFile, key: &str) -> Result<Vec<String>, LoadError> {
    let values = file.array(key)?.iter().map(|value| value.to_string().cloned());
    values.collect::<Result<_, _>>().map_err(|_| LoadError::setting(key, "has an entry that is no text"))
}

fn texts_of_merges(file: &GgufFile) -> Result<Vec<String>, LoadError> {
    texts(file, "tokenizer.ggml.merges")
}

fn number(value: &Value) -> Option<u64> {
    value.to_u64().ok().or_else(|| value.to_i32().ok().and_then(|v| u64::try_from(v).ok()))
}

/// The byte that each character of a byte-level vocabulary stands for: printable Latin-1 stands for itself, the
/// other bytes for the characters from U+0100 on, in order.
fn alphabet() -> std::collections::HashMap<char, u8> {
    let printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let own = (0..=255_u8).filter(printable).map(|byte| (char::from(byte), byte));
    let moved = (0..=255_u8).filter(|byte| !printable(byte)).zip('\u{100}'..).map(|(byte, shown)| (shown, byte));
    own.chain(moved).collect()
}

fn push_bytes(text: &str, alphabet: &std::collections::HashMap<char, u8>, out: &mut Vec<u8>) {
    match text.chars().map(|c| alphabet.get(&c).copied()).collect::<Option<Vec<u8>>>() {
        Some(bytes) => out.extend(bytes),
        // An added token is written as it is.
        None => out.extend_from_slice(text.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_has_every_byte_once() {
        let alphabet = alphabet();
        let bytes: std::collections::BTreeSet<u8> = alphabet.values().copied().collect();
        assert_eq!((alphabet.len(), bytes.len()), (256, 256));
        assert_eq!(alphabet.get(&'Ġ'), Some(&b' '));
        assert_eq!(alphabet.get(&'Ċ'), Some(&b'\n'));
    }

    #[test]
    fn splitting_rules_that_are_not_known_are_refused() {
        for pre in ["gpt-2", "smollm", "llama-bpe", "qwen2"] {
            assert!(splitter(pre).is_ok(), "{pre}");
        }
        assert!(splitter("deepseek-llm").unwrap_err().to_string().contains("`deepseek-llm`"));
    }

    /// A folder with the byte alphabet, two merges and one special token.
    fn folder() -> tempfile::TempDir {
        let mut letters: Vec<(char, u8)> = alphabet().into_iter().collect();
        letters.sort_unstable();
        let mut vocab: serde_json::Map<String, serde_json::Value> =
            letters.iter().zip(0_u32..).map(|((c, _), id)| (c.to_string(), id.into())).collect();
        vocab.insert("he".to_owned(), 256.into());
        vocab.insert("Ġhe".to_owned(), 257.into());
        let byte_level = serde_json::json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
        let file = serde_json::json!({
            "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
            "added_tokens": [{"id": 258, "content": "<|im_end|>", "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true}],
            "pre_tokenizer": byte_level, "decoder": byte_level,
            "model": {"type": "BPE", "vocab": vocab, "merges": [["h", "e"], ["Ġ", "he"]]},
        });
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tokenizer.json"), file.to_string()).unwrap();
        folder
    }

    #[test]
    fn a_folders_tokenizer_merges_and_keeps_specials_out_of_plain_text() {
        let tokenizer = Tokenizer::from_folder(folder().path(), vec![]).unwrap();
        assert_eq!(tokenizer.encode("he he"), [256, 257]);
        assert_eq!(tokenizer.token_bytes(257), b" he");
        assert_eq!(tokenizer.end_ids(), [258]);
        assert_eq!(tokenizer.vocab_size(), 259);
        let plain = tokenizer.encode("he<|im_end|>");
        assert!(!plain.contains(&258) && plain.len() > 2);
        assert_eq!(tokenizer.encode_marked("he<|im_end|> he", '#'), [256, 258, 257]);
        assert_eq!(tokenizer.encode_marked("he<#|im_end|>", '#'), plain);
        assert_eq!(tokenizer.token_bytes(258), b"", "a special token shows nothing");
        assert_eq!(tokenizer.token_bytes(9_999), b"");
    }

    #[test]
    fn a_vocabulary_that_is_not_byte_level_is_refused() {
        let folder = folder();
        let path = folder.path().join("tokenizer.json");
        let text = std::fs::read_to_string(&path).unwrap();
        let mut file: serde_json::Value = serde_json::from_str(&text).unwrap();
        file["decoder"] = serde_json::Value::Null;
        std::fs::write(&path, file.to_string()).unwrap();
        assert!(Tokenizer::from_folder(folder.path(), vec![]).unwrap_err().to_string().contains("not byte-level"));
    }
}

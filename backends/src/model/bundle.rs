//! Everything that serves one model: its executor and its language, loaded from one path.
//!
//! Owns: what a GGUF file and a safetensors folder say about templates and end tokens. Start at [`load`].

use std::path::Path;

use super::LoadError;
use super::gguf::GgufFile;
use crate::core::{Message, TokenId};
use crate::executor::Executor;
use crate::executor::cpu::{CpuExecutor, CpuOptions};
use crate::language::{Language, LanguageError};
use crate::template::ChatTemplate;
use crate::tokenizer::Tokenizer;

/// A model, ready to be served.
pub struct LoadedModel {
    /// Runs its forward passes.
    pub executor: Box<dyn Executor>,
    /// Its tokenizer and chat template.
    pub language: ModelLanguage,
}

/// A model's tokenizer and, if it has one, chat template.
#[derive(Debug)]
pub struct ModelLanguage {
    /// The model's name, for errors.
    pub name: String,
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// The chat template.
    pub template: Option<ChatTemplate>,
}

/// Loads a GGUF file, or a folder with `config.json`, `tokenizer.json` and safetensors.
///
/// # Errors
/// [`LoadError`] saying which file, setting or tensor is wrong.
pub fn load(path: &Path, options: CpuOptions) -> Result<LoadedModel, LoadError> {
    let (tokenizer, source, tokens) = if path.is_dir() { folder_language(path)? } else { gguf_language(path)? };
    let text = |id: Option<TokenId>| id.and_then(|id| tokenizer.special_text(id)).unwrap_or_default();
    let template = source
        .map(|source| ChatTemplate::new(source, text(tokens.bos), text(tokens.eos)))
        .transpose()
        .map_err(|e| LoadError::setting("chat_template", format!("is not usable: {}", chain(&e))))?;
    let executor = CpuExecutor::load(path, options)?;
    let (spec, found) = (executor.spec(), tokenizer.vocab_size());
    if found > spec.vocab_size {
        return Err(LoadError::setting(
            "vocab_size",
            format!("is {}, the tokenizer has {found} tokens", spec.vocab_size),
        ));
    }
    let name = spec.model_name.clone();
    Ok(LoadedModel { executor: Box::new(executor), language: ModelLanguage { name, tokenizer, template } })
}

/// The model's own first and last tokens.
#[derive(Debug, Default)]
struct OwnTokens {
    bos: Option<TokenId>,
    eos: Option<TokenId>,
}

fn gguf_language(path: &Path) -> Result<(Tokenizer, Option<String>, OwnTokens), LoadError> {
    let file = GgufFile::open(path)?;
    let token = |key: &str| file.count(key).ok().and_then(|id| TokenId::try_from(id).ok());
    let tokens = OwnTokens { bos: token("tokenizer.ggml.bos_token_id"), eos: token("tokenizer.ggml.eos_token_id") };
    let template = file.text("tokenizer.chat_template").ok().map(str::to_owned);
    Ok((Tokenizer::from_gguf(&file)?, template, tokens))
}

fn folder_language(folder: &Path) -> Result<(Tokenizer, Option<String>, OwnTokens), LoadError> {
    let read = |name: &str| {
        std::fs::read(folder.join(name)).ok().and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok())
    };
    let config = read("config.json").unwrap_or_default();
    let generation = read("generation_config.json").unwrap_or_default();
    let tokenizer_config = read("tokenizer_config.json").unwrap_or_default();
    let ids = |value: &serde_json::Value| -> Vec<TokenId> {
        let list = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
        list.iter().filter_map(|id| id.as_u64().and_then(|id| TokenId::try_from(id).ok())).collect()
    };
    let ends =
        [&config, &generation].into_iter().flat_map(|file| file.get("eos_token_id").map(ids).unwrap_or_default());
    let ends: Vec<TokenId> = ends.collect();
    let bos = config.get("bos_token_id").map(ids).unwrap_or_default().first().copied();
    let tokens = OwnTokens { bos, eos: ends.first().copied() };
    let template = std::fs::read_to_string(folder.join("chat_template.jinja")).ok();
    let template = template.or_else(|| tokenizer_config.get("chat_template")?.as_str().map(str::to_owned));
    Ok((Tokenizer::from_folder(folder, ends)?, template, tokens))
}

impl Language for ModelLanguage {
    fn encode(&self, text: &str) -> Vec<TokenId> {
        self.tokenizer.encode(text)
    }

    fn encode_chat(&self, messages: &[Message]) -> Result<Vec<TokenId>, LanguageError> {
        let template = self.template.as_ref().ok_or_else(|| LanguageError::NoTemplate(self.name.clone()))?;
        template.render_tokens(messages, &self.tokenizer).map_err(|e| LanguageError::Template(chain(&e)))
    }

    fn token_bytes(&self, token: TokenId) -> &[u8] {
        self.tokenizer.token_bytes(token)
    }

    fn is_end(&self, token: TokenId) -> bool {
        self.tokenizer.end_ids().contains(&token)
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |e| e.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

//! A model's weights and structure, read from a GGUF file or a safetensors folder.
//!
//! Owns: configuration ([`config`]), where tensors come from ([`weights`], with [`gguf`] for its file format), and the
//! Llama forward pass ([`llama`]) out of [`layers`]. Refuses: scheduling, pages' ownership, text.
//! Start at `llama.rs`.

pub mod bundle;
pub mod config;
pub mod gguf;
pub mod layers;
pub mod llama;
pub mod weights;

use std::path::PathBuf;

/// A model could not be loaded: the operator's fault (wrong path, wrong or damaged file), never to be retried.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file can't be read.
    #[error("can't read `{path}`")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not in the format that its place or name promises.
    #[error("`{path}` is not a usable model: {reason}")]
    Format {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A setting is missing, or outside what the engine computes with.
    #[error("the model's setting `{name}` {reason}")]
    Setting {
        /// The setting as the file names it.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A tensor is missing or of another shape than the settings say.
    #[error("the tensor `{name}` {reason}")]
    Tensor {
        /// The tensor as the file names it.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The threads for the arithmetic could not be started.
    #[error("can't start {threads} compute threads")]
    Threads {
        /// Threads asked for.
        threads: usize,
        /// Why.
        #[source]
        source: rayon::ThreadPoolBuildError,
    },
}

impl LoadError {
    pub(crate) fn setting(name: &str, reason: impl Into<String>) -> Self {
        Self::Setting { name: name.to_owned(), reason: reason.into() }
    }

    pub(crate) fn tensor(name: &str, reason: impl std::fmt::Display) -> Self {
        Self::Tensor { name: name.to_owned(), reason: reason.to_string() }
    }
}

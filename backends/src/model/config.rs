//! What a model's file says about its shape, checked.
//!
//! Owns: the names of the settings in GGUF metadata and in `config.json`, their bounds, the defaults of the formats.
//! Refuses: architectures, activations and position schemes that `llama.rs` doesn't compute: a model that loads
//! is a model that is right.

use std::path::Path;

use serde::Deserialize;
use weir_kernels::paged_attention::Heads;
use weir_kernels::rope::Pairing;

use super::LoadError;
use super::gguf::GgufFile;

/// The largest value of any count in a configuration; far above every real model, small enough never to overflow.
const COUNT_MAX: usize = 1 << 20;
/// Layers at most.
const LAYERS_MAX: usize = 1_024;
/// Rotations' base where a file names none.
const ROPE_BASE_DEFAULT: f64 = 10_000.0;

/// The shape of a Llama-family model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// The model's own name.
    pub name: String,
    /// Tokens in the vocabulary.
    pub vocab_size: usize,
    /// Transformer layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Width of the feed-forward part.
    pub ff_width: usize,
    /// Attention heads.
    pub heads: Heads,
    /// Positions that the model was trained for.
    pub context_tokens_max: usize,
    /// Base of the rotary frequencies.
    pub rope_base: f64,
    /// How the file's weights pair the rotated dimensions.
    pub pairing: Pairing,
    /// Added to the mean square in norms.
    pub norm_eps: f32,
}

impl ModelConfig {
    /// From GGUF metadata.
    ///
    /// # Errors
    /// [`LoadError::Setting`] naming the metadata key.
    pub fn from_gguf(file: &GgufFile) -> Result<Self, LoadError> {
        let arch = file.text("general.architecture")?;
        if arch != "llama" {
            return Err(LoadError::setting("general.architecture", format!("is `{arch}`; this engine runs `llama`")));
        }
        let key = |name: &str| format!("llama.{name}");
        if let Ok(scaling) = file.text(&key("rope.scaling.type"))
            && scaling != "none"
        {
            return Err(LoadError::setting(&key("rope.scaling.type"), format!("is `{scaling}`; only `none` is known")));
        }
        let width = file.count(&key("embedding_length"))?;
        let query = file.count(&key("attention.head_count"))?;
        let kv = file.count_or(&key("attention.head_count_kv"), query)?;
        let dim = file.count_or(&key("attention.key_length"), width.checked_div(query).unwrap_or(0))?;
        let turned = file.count_or(&key("rope.dimension_count"), dim)?;
        if turned != dim {
            return Err(LoadError::setting(
                &key("rope.dimension_count"),
                format!("is {turned}, the head dimension {dim}"),
            ));
        }
        let config = Self {
            name: file.text("general.name").unwrap_or("model").to_owned(),
            vocab_size: file.array_len("tokenizer.ggml.tokens")?,
            layers: file.count(&key("block_count"))?,
            width,
            ff_width: file.count(&key("feed_forward_length"))?,
            heads: Heads { query, kv, dim },
            context_tokens_max: file.count(&key("context_length"))?,
            rope_base: file.number_or(&key("rope.freq_base"), ROPE_BASE_DEFAULT)?,
            pairing: Pairing::Adjacent,
            norm_eps: narrow(file.number_or(&key("attention.layer_norm_rms_epsilon"), 1e-5)?),
        };
        config.checked()
    }

    /// From a folder's `config.json`, in the layout of Hugging Face's Llama.
    ///
    /// # Errors
    /// [`LoadError`] when the file can't be read, or names something that this engine doesn't compute.
    pub fn from_folder(folder: &Path) -> Result<Self, LoadError> {
        let path = folder.join("config.json");
        let bytes = std::fs::read(&path).map_err(|source| LoadError::Io { path: path.clone(), source })?;
        let file: ConfigFile =
            serde_json::from_slice(&bytes).map_err(|e| LoadError::Format { path, reason: e.to_string() })?;
        let name = folder.file_name().map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned());
        file.into_config(name)
    }

    fn checked(self) -> Result<Self, LoadError> {
        let counts = [
            ("vocabulary", self.vocab_size, COUNT_MAX),
            ("layers", self.layers, LAYERS_MAX),
            ("width", self.width, COUNT_MAX),
            ("feed-forward width", self.ff_width, COUNT_MAX),
            ("query heads", self.heads.query, COUNT_MAX),
            ("context", self.context_tokens_max, COUNT_MAX),
        ];
        for (name, value, max) in counts {
            if value == 0 || value > max {
                return Err(LoadError::setting(name, format!("is {value}; 1 to {max} are possible")));
            }
        }
        self.heads.check().map_err(|e| LoadError::setting("heads", format!("don't fit: {e}")))?;
        if !(self.rope_base.is_finite() && self.rope_base >= 1.0 && self.norm_eps.is_finite() && self.norm_eps >= 0.0) {
            return Err(LoadError::setting("rope base or norm epsilon", "is not a usable number"));
        }
        Ok(self)
    }
}

#[derive(Debug, Deserialize)]
struct ConfigFile {
    model_type: String,
    vocab_size: usize,
    num_hidden_layers: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    max_position_embeddings: usize,
    rms_norm_eps: f64,
    #[serde(default)]
    hidden_act: Option<String>,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    rope_theta: Option<f64>,
    rope_scaling: Option<serde_json::Value>,
    rope_parameters: Option<RopeParameters>,
}

#[derive(Debug, Deserialize)]
struct RopeParameters {
    rope_theta: Option<f64>,
    rope_type: Option<String>,
}

impl ConfigFile {
    fn into_config(self, name: String) -> Result<ModelConfig, LoadError> {
        let refuse = |name: &str, found: &str, known: &str| {
            Err(LoadError::setting(name, format!("is `{found}`; this engine runs {known}")))
        };
        if self.model_type != "llama" {
            return refuse("model_type", &self.model_type, "`llama`");
        }
        if let Some(act) = self.hidden_act.as_deref().filter(|act| *act != "silu") {
            return refuse("hidden_act", act, "`silu`");
        }
        if self.attention_bias || self.mlp_bias {
            return refuse("attention_bias or mlp_bias", "true", "models without biases");
        }
        if let Some(scaling) = self.rope_scaling.filter(|scaling| !scaling.is_null()) {
            return refuse("rope_scaling", &scaling.to_string(), "unscaled positions");
        }
        let rope = self.rope_parameters.unwrap_or(RopeParameters { rope_theta: None, rope_type: None });
        if let Some(kind) = rope.rope_type.as_deref().filter(|kind| *kind != "default") {
            return refuse("rope_parameters.rope_type", kind, "`default`");
        }
        let query = self.num_attention_heads;
        let dim = self.head_dim.or(self.hidden_size.checked_div(query)).unwrap_or(0);
        let config = ModelConfig {
            name,
            vocab_size: self.vocab_size,
            layers: self.num_hidden_layers,
            width: self.hidden_size,
            ff_width: self.intermediate_size,
            heads: Heads { query, kv: self.num_key_value_heads.unwrap_or(query), dim },
            context_tokens_max: self.max_position_embeddings,
            rope_base: rope.rope_theta.or(self.rope_theta).unwrap_or(ROPE_BASE_DEFAULT),
            pairing: Pairing::Halves,
            norm_eps: narrow(self.rms_norm_eps),
        };
        config.checked()
    }
}

/// A setting as the arithmetic takes it.
#[allow(
    clippy::as_conversions,
    reason = "f64 to f32 has no other spelling; out of range becomes infinite, which is refused"
)]
fn narrow(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"model_type":"llama","vocab_size":256,"num_hidden_layers":2,"hidden_size":64,"intermediate_size":160,
        "num_attention_heads":4,"num_key_value_heads":2,"max_position_embeddings":512,"rms_norm_eps":1e-5,"hidden_act":"silu",
        "rope_theta":500000.0}"#;

    fn load(text: &str) -> Result<ModelConfig, LoadError> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.json"), text).unwrap();
        ModelConfig::from_folder(folder.path())
    }

    #[test]
    fn a_folder_in_the_old_layout_of_rope_settings() {
        let config = load(GOOD).unwrap();
        assert_eq!(config.rope_base, 500_000.0);
        assert_eq!(config.heads, Heads { query: 4, kv: 2, dim: 16 });
        assert_eq!(config.pairing, Pairing::Halves);
    }

    #[test]
    fn what_would_be_computed_wrongly_is_refused_by_name() {
        for (from, to, name) in [
            ("\"llama\"", "\"qwen2\"", "model_type"),
            ("\"silu\"", "\"gelu\"", "hidden_act"),
            ("\"rope_theta\":500000.0", "\"rope_scaling\":{\"factor\":8.0}", "rope_scaling"),
            ("\"hidden_act\"", "\"attention_bias\":true,\"hidden_act\"", "attention_bias"),
            ("\"num_key_value_heads\":2", "\"num_key_value_heads\":3", "heads"),
            ("\"num_attention_heads\":4", "\"num_attention_heads\":0", "query heads"),
            ("\"num_hidden_layers\":2", "\"num_hidden_layers\":99999", "layers"),
        ] {
            let error = load(&GOOD.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(name), "{name}: {error}");
        }
        assert!(matches!(load("{"), Err(LoadError::Format { .. })));
    }
}

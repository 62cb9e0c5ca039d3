//! The Llama forward pass: tokens of several sequences in, logits of the wanted rows out.
//!
//! Every product runs once over all tokens of the step; only attention looks at which sequence a token belongs to.
//! A token's result doesn't depend on what else is in the step: the kernels add in an order of the token's own.
#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "numeric code on buffers that it sized itself; ids and pages are checked in executor/cpu.rs"
)]

use weir_kernels::KernelError;
use weir_kernels::pack::PackedMatrix;
use weir_kernels::paged_attention::{KvPages, Span, paged_attention, write_kv};
use weir_kernels::rope::{Rope, Turn};
use weir_kernels::vector::{add, silu_mul};

use super::LoadError;
use super::config::ModelConfig;
use super::layers::{Linear, Norm, Scratch, project};
use super::weights::Tensors;
use crate::core::TokenId;

/// One layer's weights.
#[derive(Debug)]
struct Layer {
    attention_norm: Norm,
    qkv: Linear,
    output: Linear,
    ff_norm: Norm,
    gate_up: Linear,
    down: Linear,
}

/// A loaded model.
#[derive(Debug)]
pub struct Llama {
    config: ModelConfig,
    embedding: PackedMatrix,
    layers: Vec<Layer>,
    norm: Norm,
    /// `None`: the embedding serves as head.
    head: Option<PackedMatrix>,
    rope: Rope,
}

/// One layer's pages.
#[derive(Debug)]
pub struct LayerKv {
    /// `[page][kv head][dim][16]`.
    pub keys: Vec<f32>,
    /// `[page][kv head][16][dim]`.
    pub values: Vec<f32>,
}

/// One step's tokens; the spans' tokens lie one after another.
#[derive(Debug)]
pub struct Batch<'a> {
    /// All tokens.
    pub tokens: Vec<TokenId>,
    /// Which sequence and positions they are.
    pub spans: Vec<Span<'a>>,
    /// Indices into `tokens` whose logits are wanted.
    pub wanted: Vec<usize>,
}

impl Llama {
    /// Loads all weights.
    ///
    /// # Errors
    /// [`LoadError`] naming the tensor that is missing or wrong.
    pub fn load(config: ModelConfig, tensors: &mut dyn Tensors) -> Result<Self, LoadError> {
        let embedding = tensors.matrix("token_embd.weight", config.vocab_size, config.width)?;
        let layers = (0..config.layers).map(|layer| Layer::load(&config, layer, tensors)).collect::<Result<_, _>>()?;
        let norm = Norm::load(tensors, "output_norm.weight", config.width, config.norm_eps)?;
        let head = match tensors.contains("output.weight") {
            true => Some(tensors.matrix("output.weight", config.vocab_size, config.width)?),
            false => None,
        };
        let rope = Rope::new(config.rope_base, config.heads.dim, config.pairing);
        Ok(Self { config, embedding, layers, norm, head, rope })
    }

    /// The model's shape.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Bytes of all weight matrices.
    pub fn weight_bytes(&self) -> usize {
        let layers = self.layers.iter().flat_map(|layer| [&layer.qkv, &layer.output, &layer.gate_up, &layer.down]);
        let tables = self.embedding.bytes() + self.head.as_ref().map_or(0, PackedMatrix::bytes);
        layers.map(Linear::bytes).sum::<usize>() + tables
    }

    /// Writes the tokens' keys and values into `kv` (one entry per layer) and returns the wanted logits, one row each.
    ///
    /// # Errors
    /// [`KernelError`] when a token or page is out of range.
    pub fn forward(
        &self,
        batch: &Batch<'_>,
        kv: &mut [LayerKv],
        scratch: &mut Scratch,
    ) -> Result<Vec<Vec<f32>>, KernelError> {
        let width = self.config.width;
        scratch.stream.resize(batch.tokens.len() * width, 0.0);
        for (token, row) in batch.tokens.iter().zip(scratch.stream.chunks_exact_mut(width)) {
            self.embedding.row(usize::try_from(*token).unwrap_or(usize::MAX), row)?;
        }
        let turns: Vec<Turn> =
            batch.spans.iter().flat_map(|span| span.pos..span.pos + span.len).map(|pos| self.rope.turn(pos)).collect();
        for (layer, kv) in self.layers.iter().zip(kv) {
            self.attention(layer, batch, &turns, kv, scratch)?;
            self.feed_forward(layer, scratch)?;
        }
        self.logits(&batch.wanted, scratch)
    }

    fn attention(
        &self,
        layer: &Layer,
        batch: &Batch<'_>,
        turns: &[Turn],
        kv: &mut LayerKv,
        scratch: &mut Scratch,
    ) -> Result<(), KernelError> {
        let heads = self.config.heads;
        let (q_len, kv_len) = (heads.query * heads.dim, heads.kv * heads.dim);
        layer.attention_norm.forward(&scratch.stream, &mut scratch.normed)?;
        layer.qkv.forward(&scratch.normed, &mut scratch.wide, &mut scratch.matmul)?;
        scratch.queries.clear();
        let mut rows = scratch.wide.chunks_exact_mut(q_len + 2 * kv_len).zip(turns);
        for span in &batch.spans {
            for (pos, (row, turn)) in (span.pos..span.pos + span.len).zip(&mut rows) {
                let (turned, value) = row.split_at_mut(q_len + kv_len);
                self.rope.apply(turn, turned)?;
                let (query, key) = turned.split_at(q_len);
                write_kv(heads, &mut kv.keys, &mut kv.values, span.pages, pos, (key, value))?;
                scratch.queries.extend_from_slice(query);
            }
        }
        scratch.mixed.resize(scratch.queries.len(), 0.0);
        let pages = KvPages { keys: &kv.keys, values: &kv.values };
        paged_attention(heads, pages, &batch.spans, &scratch.queries, &mut scratch.mixed)?;
        layer.output.forward(&scratch.mixed, &mut scratch.branch, &mut scratch.matmul)?;
        add(&mut scratch.stream, &scratch.branch)
    }

    fn feed_forward(&self, layer: &Layer, scratch: &mut Scratch) -> Result<(), KernelError> {
        layer.ff_norm.forward(&scratch.stream, &mut scratch.normed)?;
        layer.gate_up.forward(&scratch.normed, &mut scratch.wide, &mut scratch.matmul)?;
        scratch.mixed.resize(scratch.wide.len() / 2, 0.0);
        silu_mul(&scratch.wide, self.config.ff_width, &mut scratch.mixed)?;
        layer.down.forward(&scratch.mixed, &mut scratch.branch, &mut scratch.matmul)?;
        add(&mut scratch.stream, &scratch.branch)
    }

    fn logits(&self, wanted: &[usize], scratch: &mut Scratch) -> Result<Vec<Vec<f32>>, KernelError> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let width = self.config.width;
        scratch.branch.clear();
        for row in wanted {
            scratch.branch.extend_from_slice(&scratch.stream[row * width..(row + 1) * width]);
        }
        self.norm.forward(&scratch.branch, &mut scratch.normed)?;
        let mut logits = Vec::new();
        project(self.head.as_ref().unwrap_or(&self.embedding), &scratch.normed, &mut logits, &mut scratch.matmul)?;
        if wanted.len() == 1 {
            return Ok(vec![logits]);
        }
        Ok(logits.chunks_exact(self.config.vocab_size).map(<[f32]>::to_vec).collect())
    }
}

impl Layer {
    fn load(config: &ModelConfig, layer: usize, tensors: &mut dyn Tensors) -> Result<Self, LoadError> {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        let (width, ff, heads) = (config.width, config.ff_width, config.heads);
        let (q, kv) = (heads.query * heads.dim, heads.kv * heads.dim);
        let qkv = [(&*name("attn_q"), q), (&*name("attn_k"), kv), (&*name("attn_v"), kv)];
        Ok(Self {
            attention_norm: Norm::load(tensors, &name("attn_norm"), width, config.norm_eps)?,
            qkv: Linear::load(tensors, &qkv, width)?,
            output: Linear::load(tensors, &[(&name("attn_output"), width)], q)?,
            ff_norm: Norm::load(tensors, &name("ffn_norm"), width, config.norm_eps)?,
            gate_up: Linear::load(tensors, &[(&name("ffn_gate"), ff), (&name("ffn_up"), ff)], width)?,
            down: Linear::load(tensors, &[(&name("ffn_down"), width)], ff)?,
        })
    }
}

//! Runs a model on the processor: owns the weights, the pages' contents and the threads.
//!
//! Refuses: a plan that breaks the contract (an unknown token, a page outside the pool, too many tokens), before a
//! single value is written. Pages belong to the scheduler; here they are only memory. Start at `step`.

use std::path::Path;

use rayon::{ThreadPool, ThreadPoolBuilder};
use weir_kernels::PAGE_TOKENS;
use weir_kernels::paged_attention::Span;

use super::{Chunk, Executor, ExecutorError, ExecutorSpec, StepOutput, StepPlan};
use crate::model::LoadError;
use crate::model::config::ModelConfig;
use crate::model::gguf::GgufFile;
use crate::model::layers::Scratch;
use crate::model::llama::{Batch, LayerKv, Llama};
use crate::model::weights::{SafetensorsFolder, Tensors, Widened};

/// How products treat their inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Arithmetic {
    /// Activations are rounded to 8 bits in blocks of 32 where the weights are quantised, as llama.cpp does.
    #[default]
    Served,
    /// All in f32 over the same weights: what the file means, slowly.
    Exact,
}

/// Settings of a CPU executor.
#[derive(Debug, Clone)]
pub struct CpuOptions {
    /// Compute threads, at least 1.
    pub threads: usize,
    /// KV pages of 16 tokens, shared by all sequences. Their memory is taken from the system as they are first used.
    pub kv_pages: usize,
    /// Positions per sequence; at most the model's own, which is also the default.
    pub context_tokens: Option<usize>,
    /// Tokens of one step over all sequences.
    pub batch_tokens: usize,
    /// The name to go by instead of the model's own.
    pub name: Option<String>,
    /// Rounded or exact products.
    pub arithmetic: Arithmetic,
}

impl Default for CpuOptions {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            threads,
            kv_pages: 1_024,
            context_tokens: None,
            batch_tokens: 256,
            name: None,
            arithmetic: Arithmetic::Served,
        }
    }
}

/// A model on the processor.
#[derive(Debug)]
pub struct CpuExecutor {
    spec: ExecutorSpec,
    model: Llama,
    kv: Vec<LayerKv>,
    scratch: Scratch,
    /// `None`: the caller's own thread does the work.
    pool: Option<ThreadPool>,
}

impl CpuExecutor {
    /// Loads a GGUF file, or a folder with `config.json` and safetensors.
    ///
    /// # Errors
    /// [`LoadError`] saying which file, setting or tensor is wrong.
    pub fn load(path: &Path, options: CpuOptions) -> Result<Self, LoadError> {
        let model = if path.is_dir() {
            let config = ModelConfig::from_folder(path)?;
            Self::weights(config, &mut SafetensorsFolder::open(path)?, options.arithmetic)?
        } else {
            let mut file = GgufFile::open(path)?;
            Self::weights(ModelConfig::from_gguf(&file)?, &mut file, options.arithmetic)?
        };
        Self::new(model, options)
    }

    fn weights(config: ModelConfig, tensors: &mut dyn Tensors, arithmetic: Arithmetic) -> Result<Llama, LoadError> {
        match arithmetic {
            Arithmetic::Served => Llama::load(config, tensors),
            Arithmetic::Exact => Llama::load(config, &mut Widened(tensors)),
        }
    }

    fn new(model: Llama, options: CpuOptions) -> Result<Self, LoadError> {
        let config = model.config();
        let page_len = config.heads.page_len();
        let Some(values) = options.kv_pages.checked_mul(page_len).filter(|values| *values > 0) else {
            return Err(LoadError::setting(
                "kv_pages",
                format!("is {}: at least one page that fits the memory", options.kv_pages),
            ));
        };
        let kv = (0..config.layers).map(|_| LayerKv { keys: vec![0.0; values], values: vec![0.0; values] }).collect();
        let pool = match options.threads {
            0 | 1 => None,
            threads => Some(
                ThreadPoolBuilder::new()
                    .num_threads(threads)
                    .thread_name(|index| format!("weir-compute-{index}"))
                    .build()
                    .map_err(|source| LoadError::Threads { threads, source })?,
            ),
        };
        let context = options.context_tokens.unwrap_or(usize::MAX).min(config.context_tokens_max).max(1);
        let spec = ExecutorSpec {
            page_tokens: PAGE_TOKENS,
            pages_total: options.kv_pages,
            context_tokens_max: context,
            batch_tokens_max: options.batch_tokens.max(1),
            vocab_size: config.vocab_size,
            model_name: options.name.unwrap_or_else(|| config.name.clone()),
        };
        Ok(Self { spec, model, kv, scratch: Scratch::default(), pool })
    }

    /// The model's shape, for tests and reports.
    pub fn model(&self) -> &Llama {
        &self.model
    }

    fn check(&self, plan: &StepPlan<'_>) -> Result<(), ExecutorError> {
        let total: usize = plan.chunks.iter().map(|chunk| chunk.tokens.len()).sum();
        if total > self.spec.batch_tokens_max {
            return Err(ExecutorError::Plan(format!("{total} tokens, {} are possible", self.spec.batch_tokens_max)));
        }
        plan.chunks.iter().try_for_each(|chunk| self.check_chunk(chunk))
    }

    fn check_chunk(&self, chunk: &Chunk<'_>) -> Result<(), ExecutorError> {
        let fault = |text: String| Err(ExecutorError::Plan(format!("sequence {}: {text}", chunk.slot)));
        let end = chunk.pos.saturating_add(chunk.tokens.len());
        if chunk.tokens.is_empty() || end > self.spec.context_tokens_max {
            return fault(format!("positions {}..{end}, context {}", chunk.pos, self.spec.context_tokens_max));
        }
        if chunk.pages.len().saturating_mul(PAGE_TOKENS) < end {
            return fault(format!("{} pages for {end} tokens", chunk.pages.len()));
        }
        let beyond = |id: &u32, count: usize| usize::try_from(*id).is_ok_and(|id| id >= count);
        if let Some(page) = chunk.pages.iter().find(|page| beyond(page, self.spec.pages_total)) {
            return fault(format!("page {page} of {}", self.spec.pages_total));
        }
        if let Some(token) = chunk.tokens.iter().find(|token| beyond(token, self.spec.vocab_size)) {
            return fault(format!("token {token} of {}", self.spec.vocab_size));
        }
        Ok(())
    }
}

impl Executor for CpuExecutor {
    fn spec(&self) -> &ExecutorSpec {
        &self.spec
    }

    fn step(&mut self, plan: &StepPlan<'_>) -> Result<StepOutput, ExecutorError> {
        self.check(plan)?;
        let mut batch = Batch { tokens: Vec::new(), spans: Vec::new(), wanted: Vec::new() };
        for chunk in &plan.chunks {
            batch.tokens.extend_from_slice(chunk.tokens);
            batch.spans.push(Span { pos: chunk.pos, len: chunk.tokens.len(), pages: chunk.pages });
            if chunk.wants_logits {
                batch.wanted.push(batch.tokens.len().saturating_sub(1));
            }
        }
        let Self { model, kv, scratch, pool, .. } = self;
        let logits = match pool {
            Some(pool) => pool.install(|| model.forward(&batch, kv, scratch)),
            None => model.forward(&batch, kv, scratch),
        };
        logits.map(|logits| StepOutput { logits }).map_err(|e| ExecutorError::Compute(e.to_string()))
    }
}

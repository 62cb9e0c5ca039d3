//! A tiny random Llama against an f64 reference, from both file formats; and the proof that neither chunks nor batches
//! nor threads change a single bit. `golden/make_tiny.py` recorded the reference and says how the weights are made.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "a test"
)]

use std::path::Path;

use candle_core::quantized::gguf_file::{Value, write};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use weir_engine::executor::cpu::{CpuExecutor, CpuOptions};
use weir_engine::executor::{Chunk, Executor, StepPlan};

/// Logits are within ±10; f32 sums of 64 to 160 terms in two layers.
const TOLERANCE: f64 = 1e-4;

fn golden() -> serde_json::Value {
    serde_json::from_str(include_str!("golden/tiny.json")).unwrap()
}

fn ids(value: &serde_json::Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

/// Hugging Face's name, GGUF's name and the shape of every tensor, in the order that numbers them.
fn shapes() -> Vec<(String, String, Vec<usize>)> {
    let mut out = vec![("model.embed_tokens.weight".to_owned(), "token_embd.weight".to_owned(), vec![256, 64])];
    for layer in 0..2 {
        let parts: [(&str, &str, &[usize]); 9] = [
            ("input_layernorm", "attn_norm", &[64]),
            ("self_attn.q_proj", "attn_q", &[64, 64]),
            ("self_attn.k_proj", "attn_k", &[32, 64]),
            ("self_attn.v_proj", "attn_v", &[32, 64]),
            ("self_attn.o_proj", "attn_output", &[64, 64]),
            ("post_attention_layernorm", "ffn_norm", &[64]),
            ("mlp.gate_proj", "ffn_gate", &[160, 64]),
            ("mlp.up_proj", "ffn_up", &[160, 64]),
            ("mlp.down_proj", "ffn_down", &[64, 160]),
        ];
        out.extend(parts.map(|(folder, gguf, shape)| {
            (format!("model.layers.{layer}.{folder}.weight"), format!("blk.{layer}.{gguf}.weight"), shape.to_vec())
        }));
    }
    out.push(("model.norm.weight".to_owned(), "output_norm.weight".to_owned(), vec![64]));
    out.push(("lm_head.weight".to_owned(), "output.weight".to_owned(), vec![256, 64]));
    out
}

/// As `noise` in the script.
fn values(index: usize, shape: &[usize]) -> Vec<f32> {
    let count = shape.iter().product::<usize>() as u64;
    let seed = (index as u64 + 1) * 1_000_003;
    let base = if shape.len() == 1 { 1.0 } else { 0.0 };
    (1..=count)
        .map(|i| {
            let mut z = seed.wrapping_add(i.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^= z >> 31;
            ((z >> 40) as f32 / (1 << 23) as f32 - 1.0) * 0.25 + base
        })
        .collect()
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), golden()["config"].to_string()).unwrap();
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = shapes()
        .into_iter()
        .enumerate()
        .map(|(i, (name, _, shape))| {
            let bytes = values(i, &shape).iter().flat_map(|v| v.to_le_bytes()).collect();
            (name, shape, bytes)
        })
        .collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        (name.as_str(), safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes).unwrap())
    });
    std::fs::write(folder.path().join("model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
    folder
}

/// The same weights as GGUF's converter lays them out: rotated pairs side by side.
fn gguf(path: &Path, dtype: GgmlDType) {
    let pair_up = |values: Vec<f32>| -> Vec<f32> {
        let row = |r: usize| {
            let (head, i) = (r / 16, r % 16);
            let source = head * 16 + i % 2 * 8 + i / 2;
            values[source * 64..(source + 1) * 64].to_vec()
        };
        (0..values.len() / 64).flat_map(row).collect()
    };
    let tensors: Vec<(String, QTensor)> = shapes()
        .into_iter()
        .enumerate()
        .map(|(i, (_, name, shape))| {
            let turned = name.contains("attn_q") || name.contains("attn_k");
            let values = if turned { pair_up(values(i, &shape)) } else { values(i, &shape) };
            let dtype = if shape.len() == 1 { GgmlDType::F32 } else { dtype };
            let tensor = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
            (name, QTensor::quantize(&tensor, dtype).unwrap())
        })
        .collect();
    let counts = [
        ("llama.block_count", 2),
        ("llama.embedding_length", 64),
        ("llama.feed_forward_length", 160),
        ("llama.attention.head_count", 4),
        ("llama.attention.head_count_kv", 2),
        ("llama.context_length", 512),
    ];
    let mut metadata: Vec<(&str, Value)> = counts.map(|(key, count)| (key, Value::U32(count))).to_vec();
    metadata.push(("general.architecture", Value::String("llama".to_owned())));
    metadata.push(("llama.rope.freq_base", Value::F32(10_000.0)));
    metadata.push(("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)));
    metadata.push(("tokenizer.ggml.tokens", Value::Array((0..256).map(|i| Value::String(i.to_string())).collect())));
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(key, value)| (*key, value)).collect();
    let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    write(&mut std::fs::File::create(path).unwrap(), &metadata, &tensors).unwrap();
}

fn load(path: &Path, threads: usize) -> CpuExecutor {
    CpuExecutor::load(path, CpuOptions { threads, kv_pages: 64, ..CpuOptions::default() }).unwrap()
}

/// Loads the tiny model from each format.
fn formats(test: impl Fn(&str, &Path)) {
    let folder = folder();
    test("safetensors", folder.path());
    for dtype in [GgmlDType::F32, GgmlDType::Q8_0, GgmlDType::Q4_1] {
        let path = folder.path().join(format!("{dtype:?}.gguf"));
        gguf(&path, dtype);
        test(&format!("{dtype:?}"), &path);
    }
}

/// A sequence with pages of its own.
#[derive(Clone)]
struct Sequence {
    tokens: Vec<u32>,
    done: usize,
    pages: Vec<u32>,
}

impl Sequence {
    fn new(tokens: &[u32], first_page: u32) -> Self {
        Self { tokens: tokens.to_vec(), done: 0, pages: (first_page..first_page + 8).rev().collect() }
    }
}

/// One step in which each sequence gets up to `lens[i]` of its tokens; the logits of each one's last token.
fn step(executor: &mut CpuExecutor, sequences: &mut [Sequence], lens: &[usize]) -> Vec<Vec<f32>> {
    let mut chunks = Vec::new();
    for (slot, (sequence, len)) in sequences.iter().zip(lens).enumerate() {
        let end = (sequence.done + len).min(sequence.tokens.len());
        let tokens = &sequence.tokens[sequence.done..end];
        chunks.push(Chunk {
            slot: slot as u64,
            pos: sequence.done,
            tokens,
            pages: &sequence.pages,
            wants_logits: true,
        });
    }
    chunks.retain(|chunk| !chunk.tokens.is_empty());
    let out = executor.step(&StepPlan { chunks }).unwrap().logits;
    for (sequence, len) in sequences.iter_mut().zip(lens) {
        sequence.done = (sequence.done + len).min(sequence.tokens.len());
    }
    out
}

/// The last token's logits after a prefill in chunks of `chunk`.
fn prefill(executor: &mut CpuExecutor, tokens: &[u32], chunk: usize) -> Vec<f32> {
    let mut sequence = [Sequence::new(tokens, 8)];
    let mut last = Vec::new();
    while sequence[0].done < tokens.len() {
        last = step(executor, &mut sequence, &[chunk]).remove(0);
    }
    last
}

fn best(logits: &[f32]) -> u32 {
    (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap() as u32
}

#[test]
fn logits_and_greedy_tokens_are_the_references_from_both_formats() {
    let golden = golden();
    let prompt = ids(&golden["ids"]);
    formats(|name, path| {
        if name.starts_with('Q') {
            return;
        }
        let mut executor = load(path, 1);
        for (pos, want) in golden["rows"].as_object().unwrap() {
            let got = prefill(&mut executor, &prompt[..=pos.parse::<usize>().unwrap()], 64);
            for (i, want) in want.as_array().unwrap().iter().enumerate() {
                let error = (f64::from(got[i]) - want.as_f64().unwrap()).abs();
                assert!(error < TOLERANCE, "{name}, position {pos}, token {i}: off by {error}");
            }
        }
        let mut sequence = [Sequence::new(&prompt, 0)];
        for want in ids(&golden["greedy"]) {
            let logits = step(&mut executor, &mut sequence, &[64]).remove(0);
            assert_eq!(best(&logits), want, "{name}");
            sequence[0].tokens.push(want);
        }
    });
}

#[test]
fn no_chunking_changes_a_bit() {
    let prompt = ids(&golden()["ids"]);
    formats(|name, path| {
        let mut executor = load(path, 1);
        let whole = prefill(&mut executor, &prompt, 64);
        for chunk in [1, 3, 15, 16, 17, 39] {
            assert!(prefill(&mut executor, &prompt, chunk) == whole, "{name} in chunks of {chunk}");
        }
    });
}

#[test]
fn no_batching_changes_a_bit() {
    let prompts: Vec<Vec<u32>> = (1..=7_u32).map(|s| (0..s * 9).map(|i| (i * 29 + s * 71) % 256).collect()).collect();
    formats(|name, path| {
        let mut executor = load(path, 1);
        let alone: Vec<Vec<f32>> = prompts.iter().map(|prompt| prefill(&mut executor, prompt, 64)).collect();
        let mut together: Vec<Sequence> = prompts.iter().zip(0..).map(|(p, i)| Sequence::new(p, i * 8)).collect();
        assert!(step(&mut executor, &mut together, &[64; 7]) == alone, "{name}: all prompts in one step");
        // Mixed steps: some sequences decode while others still read their prompts.
        let mut mixed: Vec<Sequence> = prompts.iter().zip(0..).map(|(p, i)| Sequence::new(p, i * 8)).collect();
        let lens = [9, 1, 5, 16, 20, 3, 11];
        while mixed.iter().any(|s| s.done < s.tokens.len()) {
            let live: Vec<usize> = (0..7).filter(|i| mixed[*i].done < mixed[*i].tokens.len()).collect();
            let logits = step(&mut executor, &mut mixed, &lens);
            for (i, logits) in live.into_iter().zip(logits) {
                assert!(
                    mixed[i].done < mixed[i].tokens.len() || logits == alone[i],
                    "{name}: sequence {i} in mixed steps"
                );
            }
        }
    });
}

#[test]
fn no_number_of_threads_changes_a_bit() {
    let prompt = ids(&golden()["ids"]);
    formats(|name, path| {
        let one = prefill(&mut load(path, 1), &prompt, 64);
        assert!(prefill(&mut load(path, 3), &prompt, 64) == one, "{name}");
    });
}

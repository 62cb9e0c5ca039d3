//! The engine's metrics, named after vLLM's with the prefix `weir_engine_`. The table of names is here and nowhere
//! else.
//!
//! Labels are bounded: the model's name and the finish reason. Each engine has its own registry, so several can live
//! in one process (tests do).

use crate::core::FinishReason;
use ::metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use std::time::Duration;

const SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];
const TOKENS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0];

/// Handles of all metrics.
pub struct Meters {
    /// Choices that hold pages.
    pub running: Gauge,
    /// Choices that wait for pages.
    pub waiting: Gauge,
    /// Held pages over all pages, 0 to 1.
    pub kv_usage: Gauge,
    /// Prompt tokens of accepted calls.
    pub prompt_tokens: Counter,
    /// Tokens made.
    pub generation_tokens: Counter,
    /// Choices whose pages were taken to be recomputed later.
    pub preemptions: Counter,
    /// Calls whose client hung up.
    pub hang_ups: Counter,
    /// Calls that failed in a forward pass.
    pub failures: Counter,
    /// Tokens of one forward pass.
    pub step_tokens: Histogram,
    /// Seconds of one forward pass.
    pub step_seconds: Histogram,
    /// Arrival to first token.
    pub first_token_seconds: Histogram,
    /// Token to token of one choice.
    pub inter_token_seconds: Histogram,
    /// Arrival to the end of a choice.
    pub call_seconds: Histogram,
    /// Whose the machine's time was.
    pub gpu: GpuMeters,
    finished: [Counter; 4],
    handle: PrometheusHandle,
}

/// Microseconds of the machine by what they went to. Prefill, decode and idle are all there is; `kv` runs beside them.
pub struct GpuMeters {
    /// Reading prompts.
    pub prefill: Counter,
    /// Making tokens.
    pub decode: Counter,
    /// Held pages over all pages, times time.
    pub kv: Counter,
    /// Between steps: nobody's.
    pub idle: Counter,
}

impl Meters {
    /// A registry of its own for the engine that serves `model`.
    ///
    /// # Errors
    /// [`BuildError`] when a bucket list is empty, which none is.
    pub fn new(model: &str) -> Result<Self, BuildError> {
        let recorder = PrometheusBuilder::new()
            .add_global_label("model_name", model)
            .set_buckets(SECONDS)?
            .set_buckets_for_metric(Matcher::Full("weir_engine_iteration_tokens".into()), TOKENS)?
            .build_recorder();
        let counter = |name| counter(&recorder, name, Vec::new());
        let histogram = |name| recorder.register_histogram(&Key::from_static_name(name), &META);
        let gauge = |name| recorder.register_gauge(&Key::from_static_name(name), &META);
        Ok(Self {
            running: gauge("weir_engine_num_requests_running"),
            waiting: gauge("weir_engine_num_requests_waiting"),
            kv_usage: gauge("weir_engine_kv_cache_usage_perc"),
            prompt_tokens: counter("weir_engine_prompt_tokens_total"),
            generation_tokens: counter("weir_engine_generation_tokens_total"),
            preemptions: counter("weir_engine_num_preemptions_total"),
            hang_ups: counter("weir_engine_hang_ups_total"),
            failures: counter("weir_engine_failures_total"),
            step_tokens: histogram("weir_engine_iteration_tokens"),
            step_seconds: histogram("weir_engine_step_seconds"),
            first_token_seconds: histogram("weir_engine_time_to_first_token_seconds"),
            inter_token_seconds: histogram("weir_engine_inter_token_latency_seconds"),
            call_seconds: histogram("weir_engine_e2e_request_latency_seconds"),
            gpu: {
                let of = |kind| counter_with(&recorder, "weir_engine_gpu_microseconds_total", "kind", kind);
                GpuMeters { prefill: of("prefill"), decode: of("decode"), kv: of("kv"), idle: of("idle") }
            },
            finished: ["stop", "length", "allowance", "abort"]
                .map(|reason| counter_with(&recorder, "weir_engine_request_success_total", "finished_reason", reason)),
            handle: recorder.handle(),
        })
    }

    /// Counts an ended choice.
    pub fn finished(&self, reason: FinishReason, lasted: Duration) {
        let [stop, length, allowance, abort] = &self.finished;
        match reason {
            FinishReason::Stop => stop,
            FinishReason::Length => length,
            FinishReason::Allowance => allowance,
            FinishReason::Abort => abort,
        }
        .increment(1);
        self.call_seconds.record(lasted);
    }

    /// The registry, for the server to render.
    pub fn handle(&self) -> PrometheusHandle {
        self.handle.clone()
    }
}

static META: Metadata<'static> = Metadata::new("weir_engine", Level::INFO, None);

fn counter(recorder: &PrometheusRecorder, name: &'static str, labels: Vec<Label>) -> Counter {
    recorder.register_counter(&Key::from_parts(name, labels), &META)
}

fn counter_with(
    recorder: &PrometheusRecorder,
    name: &'static str,
    label: &'static str,
    value: &'static str,
) -> Counter {
    counter(recorder, name, vec![Label::from_static_parts(label, value)])
}

//! Small lists in the shape of the public ones.

use super::*;
use crate::usage::buckets::Buckets;
use crate::usage::price::{PriceBook, PriceOf};

const LITELLM: &str = r#"{
  "sample_spec": {"input_cost_per_token": 0.0, "litellm_provider": "one of them"},
  "big": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 2.5e-06, "output_cost_per_token": 1e-05,
    "cache_read_input_token_cost": 1.3e-10, "input_cost_per_token_batches": 1.25e-06,
    "input_cost_per_token_above_272k_tokens": 5e-06, "input_cost_per_token_above_272k_tokens_priority": 1e-05,
    "search_context_cost_per_query": {"search_context_size_low": 0.01, "search_context_size_high": 0.01},
    "off_peak_pricing": {"a": 1}, "max_tokens": 4096},
  "openai/big": {"litellm_provider": "openai", "input_cost_per_token": 9e-06, "output_cost_per_token": 1e-05},
  "free": {"litellm_provider": "openai", "input_cost_per_token": 0.0, "output_cost_per_token": 0},
  "bedrock/eu-central-1/claude": {"litellm_provider": "bedrock", "input_cost_per_token": 1e-05},
  "film": {"litellm_provider": "vertex_ai-video-models", "mode": "video_generation",
    "output_cost_per_second": 0.00056666666667},
  "sound": {"litellm_provider": "openai", "mode": "audio_transcription", "input_cost_per_second": 0.0001,
    "output_cost_per_second": 0.0001}
}"#;

#[test]
fn a_list_by_fields_becomes_a_file_that_says_the_same_to_the_last_digit() {
    let imported = import(Source::Litellm, LITELLM, "t-1", &[]).unwrap();
    let book = PriceBook::parse(&imported.yaml).unwrap();
    assert_eq!((imported.entries, &**book.version()), (4, "t-1"));
    let of = PriceOf::new("openai", "big", 0);
    let nano = |of: &PriceOf<'_>, used: Buckets| book.price(of, &used).unwrap().nano;
    let cached = |amount| Buckets::NONE.with(Bucket::CacheRead, amount);
    assert_eq!(nano(&of, Buckets::text(1000, 10).with(Bucket::WebSearches, 1)), 2_500_000 + 100_000 + 10_000_000);
    assert_eq!(nano(&of, cached(1000)), 130, "1.3e-10 dollars a token");
    assert_eq!(nano(&PriceOf { tier: Tier::Batch, ..of }, Buckets::text(1000, 10)), 1_250_000 + 100_000);
    assert_eq!(nano(&of, Buckets::text(272_001, 0)), 272_001 * 5_000);
    assert_eq!(nano(&PriceOf { tier: Tier::Priority, ..of }, Buckets::text(272_001, 0)), 272_001 * 10_000);
    let claude = PriceOf { region: Some("eu-central-1"), ..PriceOf::new("bedrock", "claude", 0) };
    assert_eq!(nano(&claude, Buckets::text(1, 0)), 10_000);
    let film = PriceOf::new("vertex_ai", "film", 0);
    assert_eq!(nano(&film, Buckets::NONE.with(Bucket::VideoMs, 3_600_000)), 2_040_000_000);
    assert_eq!(nano(&PriceOf::new("openai", "sound", 0), Buckets::NONE.with(Bucket::AudioMs, 60_000)), 6_000_000);
    assert_eq!(
        imported.left_out,
        [
            "openai/big: `off_peak_pricing`",
            "openai/free: it has no price above zero",
            "openai/big: it stands there twice with other prices",
            "openai/sound: `output_cost_per_second`",
        ]
    );
}

const GENAI: &str = r#"[{"id": "anthropic", "name": "Anthropic", "models": [
  {"id": "claude-x", "match": {"or": [{"starts_with": "claude-x-2"}, {"equals": "claude.x"}, {"contains": "x"}]},
   "prices": [{"prices": {"input_mtok": {"base": 5, "tiers": [{"start": 200000, "price": 10}]}, "output_mtok": 25}},
     {"constraint": {"start_date": "2026-03-13"}, "prices": {"input_mtok": 5, "output_mtok": 20.5, "odd_mtok": 1}}]},
  {"id": "night", "match": {"equals": "night"}, "prices": [{"prices": {"input_mtok": 1}},
     {"constraint": {"start_time": "00:30:00Z", "end_time": "16:30:00Z"}, "prices": {"input_mtok": 2}}]}
]}, {"id": "other", "models": [{"id": "m", "prices": {"input_mtok": 1, "requests_kcount": 5}}]}]"#;

#[test]
fn a_list_by_providers_keeps_its_days_lengths_and_names() {
    let imported = import(Source::GenaiPrices, GENAI, "t-2", &["anthropic".to_owned()]).unwrap();
    let book = PriceBook::parse(&imported.yaml).unwrap();
    let day = |at: &str| crate::usage::price::file::Moment::read(at).unwrap().0;
    let nano = |model, at, used: Buckets| {
        book.price(&PriceOf::new("anthropic", model, day(at)), &used).map(|cost| cost.nano).ok()
    };
    for model in ["claude-x", "claude-x-20260101", "claude.x"] {
        assert_eq!(nano(model, "2026-03-12", Buckets::text(200_001, 0)), Some(2_000_010_000), "{model}");
        assert_eq!(nano(model, "2026-03-13", Buckets::text(200_001, 2)), Some(1_000_005_000 + 41_000), "{model}");
    }
    assert_eq!(nano("night", "2026-03-13", Buckets::text(1, 0)), None);
    assert_eq!(
        imported.left_out,
        [
            "anthropic/claude-x: names by `contains`",
            "anthropic/claude-x: `odd_mtok` of 1",
            "anthropic/night: its prices depend on more than the day",
        ]
    );
    let all = import(Source::GenaiPrices, GENAI, "t-3", &[]).unwrap();
    let book = PriceBook::parse(&all.yaml).unwrap();
    let used = Buckets::text(1000, 0).with(Bucket::Requests, 2);
    assert_eq!(book.price(&PriceOf::new("other", "m", 0), &used).unwrap().nano, 1_000_000 + 10_000_000);
}

#[test]
fn what_is_no_list_is_refused() {
    assert!(import(Source::Litellm, "[]", "v", &[]).is_err());
    assert!(import(Source::GenaiPrices, "{}", "v", &[]).is_err());
}

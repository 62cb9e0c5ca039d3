//! Counts against the whole text's own count, and against time.

use super::*;

/// Eight kinds of text, `bytes` long, that have stopped other counters.
fn patterns(bytes: usize) -> Vec<(&'static str, String)> {
    let fill = |unit: &str| unit.repeat(bytes.div_ceil(unit.len()));
    let base64: String = (0_usize..bytes)
        .scan(0x9E37_79B9_7F4A_7C15_u64, |state, _| {
            *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
            letters.get(usize::try_from(*state >> 58).ok()?).map(|byte| char::from(*byte))
        })
        .collect();
    let prose = "It was the best of times, it was the worst of times; and Mr. Brown, aged 47, said: \"Well...\"\n\n";
    vec![
        ("a", fill("a")),
        ("_", fill("_")),
        ("space", fill(" ")),
        ("han", fill("中")),
        ("ab", fill("ab")),
        ("base64", base64),
        ("accent", fill("\u{301}")),
        ("prose", fill(prose)),
    ]
}

/// Processor time of this thread in microseconds: other tests run on the same cores.
fn cpu_us() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1_000
}

#[test]
fn fr_cost_14_no_text_stops_the_counting_and_none_is_counted_short() {
    for vocabulary in [Vocabulary::O200k, Vocabulary::Cl100k] {
        vocabulary.count("warm");
        for ((name, short), (_, long)) in patterns(100_000).into_iter().zip(patterns(1_000_000)) {
            // Of three times the shortest: other tests take turns on the same core.
            let time = |text: &str, times: usize| {
                let once = || {
                    let before = cpu_us();
                    let count: u64 = (0..times).map(|_| vocabulary.count(text)).sum();
                    (cpu_us().saturating_sub(before), count)
                };
                (0..3).map(|_| once()).min().unwrap()
            };
            // As much text in ten pieces: the system's clock moves every few milliseconds.
            let (pieces, _) = time(&short, 10);
            let (whole, counted) = time(&long, 1);
            println!("{vocabulary:?} {name}: 10 times 100 KB {pieces} us, 1 MB {whole} us, {counted} tokens");
            // One of ten times the length takes less than fifteen times as long.
            assert!(whole < pieces.saturating_mul(3) / 2 + 5_000, "{name}: {pieces} us, then {whole} us");
            assert!(whole < 100_000, "{name}: {whole} us");
            // The whole text at once, where that ends in this life.
            let exact = u64::try_from(vocabulary.tokenizer().count(&*short)).unwrap();
            let ours = vocabulary.count(&short);
            assert!(ours * 100 >= exact * 95, "{name}: {ours} of {exact}");
            assert!(ours * 100 <= exact * 103, "{name}: {ours} of {exact}");
        }
    }
}

#[test]
fn known_texts_have_the_counts_that_openai_gives() {
    // From OpenAI's cookbook, "How to count tokens with tiktoken".
    let table = [
        ("antidisestablishmentarianism", 6, 6),
        ("2 + 2 = 4", 7, 7),
        ("お誕生日おめでとう", 9, 8),
        ("tiktoken is great!", 6, 6),
        ("", 0, 0),
    ];
    for (text, cl100k, o200k) in table {
        assert_eq!(Vocabulary::Cl100k.count(text), cl100k, "{text}");
        assert_eq!(Vocabulary::O200k.count(text), o200k, "{text}");
    }
}

#[test]
fn a_model_is_counted_by_the_vocabulary_of_its_family() {
    for (model, vocabulary, most) in [
        ("gpt-4o-mini", Vocabulary::O200k, 1_000),
        ("gpt-4-turbo", Vocabulary::Cl100k, 1_000),
        ("ft:gpt-4.1-nano:acme", Vocabulary::O200k, 1_000),
        ("openai/o3-mini", Vocabulary::O200k, 1_000),
        ("claude-sonnet-4-5", Vocabulary::Cl100k, 1_500),
        ("meta-llama/Llama-3.3-70B", Vocabulary::Cl100k, 1_150),
        ("smollm2", Vocabulary::O200k, 1_500),
    ] {
        let family = Family::of(model);
        assert_eq!((family.vocabulary, family.most(1_000)), (vocabulary, most), "{model}");
        assert!(family.likely(1_000) <= family.most(1_000), "{model}");
    }
}

#[test]
fn pieces_are_cut_between_characters_and_lose_nothing() {
    for text in ["中".repeat(20_000), "word ".repeat(5_000), "x".repeat(PIECE_BYTES), String::new()] {
        assert_eq!(pieces(&text).collect::<String>(), text);
        assert!(pieces(&text).all(|piece| !piece.is_empty() && piece.len() <= PIECE_BYTES));
    }
}

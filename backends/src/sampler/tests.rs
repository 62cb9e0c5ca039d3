use super::*;

fn drawn(rules: &Sampling, seed: u64, row: &[f32], count: usize) -> Vec<TokenId> {
    let rules = Sampling { seed, ..rules.clone() };
    let mut sampler = Sampler::new(&rules, 0, &[]);
    (0..count).map(|_| sampler.next(&mut row.to_vec()).unwrap()).collect()
}

fn distinct(mut tokens: Vec<TokenId>) -> Vec<TokenId> {
    tokens.sort_unstable();
    tokens.dedup();
    tokens
}

#[test]
fn temperature_zero_is_greedy_and_the_first_of_equals() {
    let rules = Sampling { temperature: 0.0, ..Sampling::default() };
    assert_eq!(drawn(&rules, 1, &[0.0, 2.0, 2.0, 1.0], 2), [1, 1]);
}

#[test]
fn each_filter_keeps_what_it_says() {
    // probabilities 0.5 0.25 0.125 0.125
    let row = [0.5f32.ln(), 0.25f32.ln(), 0.125f32.ln(), 0.125f32.ln()];
    let table: &[(Sampling, &[TokenId])] = &[
        (Sampling::default(), &[0, 1, 2, 3]),
        (Sampling { top_k: 2, ..Sampling::default() }, &[0, 1]),
        (Sampling { top_k: 1, ..Sampling::default() }, &[0]),
        (Sampling { top_k: 99, ..Sampling::default() }, &[0, 1, 2, 3]),
        (Sampling { top_p: 0.4, ..Sampling::default() }, &[0]),
        (Sampling { top_p: 0.6, ..Sampling::default() }, &[0, 1]),
        (Sampling { top_p: 0.8, ..Sampling::default() }, &[0, 1, 2]),
        (Sampling { top_p: 1e-6, ..Sampling::default() }, &[0]),
        (Sampling { min_p: 0.4, ..Sampling::default() }, &[0, 1]),
        (Sampling { min_p: 1.0, ..Sampling::default() }, &[0]),
        (Sampling { logit_bias: vec![(0, -100.0), (1, -100.0)], ..Sampling::default() }, &[2, 3]),
        (Sampling { top_k: 3, top_p: 0.7, ..Sampling::default() }, &[0, 1]),
    ];
    for (rules, kept) in table {
        assert_eq!(distinct(drawn(rules, 7, &row, 400)), *kept, "{rules:?}");
    }
}

#[test]
fn draws_follow_the_probabilities() {
    let row = [0.7f32.ln(), 0.2f32.ln(), 0.1f32.ln()];
    let tokens = drawn(&Sampling::default(), 3, &row, 20_000);
    for (token, share) in [(0, 0.7), (1, 0.2), (2, 0.1)] {
        let seen = tokens.iter().filter(|drawn| **drawn == token).count() as f64 / 20_000.0;
        assert!((seen - share).abs() < 0.015, "token {token}: {seen} for {share}");
    }
    let cold = Sampling { temperature: 0.25, ..Sampling::default() };
    let seen = drawn(&cold, 3, &row, 5_000).iter().filter(|token| **token == 0).count();
    assert!(seen > 4_900, "a low temperature sharpens: {seen}");
}

#[test]
fn the_same_seed_repeats_and_choices_differ() {
    let row = [0.1f32, 0.2, 0.3, 0.4];
    let rules = Sampling::default();
    assert_eq!(drawn(&rules, 42, &row, 50), drawn(&rules, 42, &row, 50));
    assert_ne!(drawn(&rules, 42, &row, 50), drawn(&rules, 43, &row, 50));
    let mut other = Sampler::new(&Sampling { seed: 42, ..rules.clone() }, 1, &[]);
    let second: Vec<TokenId> = (0..50).map(|_| other.next(&mut row.to_vec()).unwrap()).collect();
    assert_ne!(drawn(&rules, 42, &row, 50), second);
}

#[test]
fn penalties_move_what_was_made_or_read() {
    let greedy = Sampling { temperature: 0.0, ..Sampling::default() };
    let presence = Sampling { presence_penalty: 1.5, ..greedy.clone() };
    assert_eq!(drawn(&presence, 0, &[2.0, 1.0, 0.0], 4), [0, 1, 0, 0]);
    let frequency = Sampling { frequency_penalty: 0.6, ..greedy.clone() };
    assert_eq!(drawn(&frequency, 0, &[2.0, 1.0, 0.0], 5), [0, 0, 1, 0, 1]);
    let repetition = Sampling { repetition_penalty: 4.0, ..greedy };
    let mut sampler = Sampler::new(&repetition, 0, &[0, 0, 5]);
    let row = [2.0f32, 1.0, -0.1];
    let tokens: Vec<TokenId> = (0..2).map(|_| sampler.next(&mut row.to_vec()).unwrap()).collect();
    assert_eq!(tokens, [1, 0], "the prompt's token counts, once however often it occurs");
}

#[test]
fn the_nucleus_prune_changes_nothing() {
    let mut draws = Draws::new(9, 0);
    for _ in 0..200 {
        let row: Vec<(TokenId, f64)> = (0..60).map(|token| (token, draws.next_unit().powi(6))).collect();
        let mass = draws.next_unit().clamp(0.01, 0.999);
        let mut sorted = row.clone();
        sorted.sort_unstable_by(likelier_first);
        let total: f64 = row.iter().map(|(_, weight)| weight).sum();
        let mut sum = 0.0;
        let mut whole = Vec::new();
        for (token, weight) in sorted {
            whole.push(token);
            sum += weight;
            if sum >= total * mass {
                break;
            }
        }
        let mut kept = row;
        nucleus(&mut kept, mass);
        assert_eq!(kept.iter().map(|(token, _)| *token).collect::<Vec<_>>(), whole, "mass {mass}");
    }
}

#[test]
fn scores_come_from_the_raw_row() {
    let row = [0.5f32.ln(), 0.25f32.ln(), 0.125f32.ln(), 0.125f32.ln()];
    let scored = scores(&row, 2, 3);
    assert!((scored.chosen.logprob - 0.125f32.ln()).abs() < 1e-6);
    assert_eq!(scored.top.iter().map(|top| top.token).collect::<Vec<_>>(), [0, 1, 2], "of equals the first");
    assert!((scored.top[0].logprob - 0.5f32.ln()).abs() < 1e-6);
    assert!(scores(&row, 0, 0).top.is_empty());
    assert_eq!(scores(&row, 0, 20).top.len(), 4);
}

#[test]
fn impossible_tokens_have_a_log_probability_that_json_can_say() {
    let scored = scores(&[1.0, f32::NEG_INFINITY, f32::NAN], 1, 3);
    assert_eq!(scored.chosen.logprob, -9999.0);
    assert_eq!(scored.top.iter().map(|top| top.token).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(scored.top.iter().all(|top| top.logprob.is_finite()));
}

#[test]
fn a_row_without_a_finite_logit_is_refused() {
    for rules in [Sampling::default(), Sampling { temperature: 0.0, ..Sampling::default() }] {
        let mut sampler = Sampler::new(&rules, 0, &[]);
        assert_eq!(sampler.next(&mut [f32::NAN, f32::NEG_INFINITY]), Err(NoFiniteLogit));
        assert_eq!(sampler.next(&mut [f32::NAN, 1.0]), Ok(1));
    }
}

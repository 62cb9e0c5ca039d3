//! Random calls, hang-ups, aborts, renewals and stalls in a small pool; the page bookkeeping is checked at every step
//! and every answer is compared with the one it has alone.

use super::*;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Act {
    Submit {
        len: usize,
        tokens: usize,
        choices: usize,
        seed: u64,
        allowance: Option<u64>,
    },
    HangUp(usize),
    Abort(usize),
    Renew(usize, u64),
    /// The reader takes nothing for these steps.
    Steps {
        count: usize,
        reads: bool,
    },
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => (1usize..70, 1usize..50, 1usize..4, 0u64..3, proptest::option::weighted(0.2, 0u64..60))
            .prop_map(|(len, tokens, choices, seed, allowance)| Act::Submit { len, tokens, choices, seed, allowance }),
        1 => (0usize..8).prop_map(Act::HangUp),
        1 => (0usize..8).prop_map(Act::Abort),
        1 => (0usize..8, 0u64..200).prop_map(|(call, total)| Act::Renew(call, total)),
        6 => (1usize..40, any::<bool>()).prop_map(|(count, reads)| Act::Steps { count, reads }),
    ]
}

struct Running {
    id: String,
    ask: Ask,
    reader: Option<Receiver<Event>>,
    answer: Answer,
}

fn perform(bench: &mut Bench, calls: &mut Vec<Running>, act: &Act) {
    match act {
        Act::Submit { len, tokens, choices, seed, allowance } => {
            let letter = ["k", "q"][calls.len() % 2];
            let mut ask = ask(&letter.repeat(*len), *tokens);
            (ask.choices, ask.sampling.seed, ask.allowance) = (*choices, *seed, *allowance);
            let id = calls.len().to_string();
            let reader = bench.submit(&ask, &id).unwrap();
            calls.push(Running { id, ask, reader: Some(reader), answer: Answer::default() });
        }
        Act::HangUp(at) => {
            if let Some(call) = calls.get_mut(*at) {
                call.reader = None;
            }
        }
        Act::Abort(at) => {
            if let Some(call) = calls.get(*at) {
                bench.scheduler.abort(&call.id, bench.now());
            }
        }
        Act::Renew(at, total) => {
            if let Some(call) = calls.get(*at) {
                bench.scheduler.renew(&call.id, *total, false);
            }
        }
        Act::Steps { count, reads } => {
            for _ in 0..*count {
                bench.step();
                for call in calls.iter_mut().filter(|_| *reads) {
                    if let Some(reader) = &mut call.reader {
                        call.answer.read(reader);
                    }
                }
            }
        }
    }
}

fn settle(bench: &mut Bench, calls: &mut [Running]) {
    for _ in 0..20_000 {
        bench.elapsed.set(bench.elapsed.get() + Duration::from_millis(100));
        let progress = bench.step();
        for call in calls.iter_mut() {
            if let Some(reader) = &mut call.reader {
                call.answer.read(reader);
            }
        }
        if progress == Progress::Idle {
            return;
        }
    }
    panic!("a call never ended");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn every_page_comes_back_and_every_answer_is_its_own(
        acts in proptest::collection::vec(act(), 1..40),
        pages_total in 8usize..20,
        batch_tokens_max in 1usize..40,
    ) {
        let mut bench = Bench::new(ScriptedOptions { pages_total, batch_tokens_max, ..noise() });
        let mut calls = Vec::new();
        for act in &acts {
            perform(&mut bench, &mut calls, act);
        }
        settle(&mut bench, &mut calls);
        prop_assert_eq!(bench.scheduler.pages().free, pages_total);
        for call in calls.iter().filter(|call| call.reader.is_some()) {
            prop_assert!(call.answer.ends.iter().all(Option::is_some), "every choice learns its end");
            let alone = Bench::new(noise()).answer(&Ask { allowance: None, ..call.ask.clone() });
            for (text, whole) in call.answer.texts.iter().zip(&alone.texts) {
                prop_assert!(whole.starts_with(text.as_str()), "{:?} is not the beginning of {:?}", text, whole);
            }
            let made = call.answer.counts.completion;
            prop_assert!(made <= alone.counts.completion);
            let ran_through = call.answer.ends.iter().all(|end| *end == Some(FinishReason::Length));
            prop_assert_eq!(ran_through, call.answer.texts == alone.texts && ran_through);
        }
    }
}

//! Shares of a step's time, and crowds of calls that pay for all of it.

#![allow(clippy::arithmetic_side_effects)] // tests count small numbers

use super::*;
use crate::core::{Ask, Event, GpuTime, Sampling};
use crate::executor::scripted::{ScriptedExecutor, ScriptedLanguage, ScriptedOptions};
use crate::metrics::Meters;
use crate::scheduler::{Progress, event_channel};
use proptest::prelude::*;
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::Receiver;

proptest! {
    #[test]
    fn shares_add_up_and_are_within_one_of_their_part(
        total in 0_u64..=u64::MAX >> 20,
        weights in prop::collection::vec(0_u64..=5_000, 0..70),
    ) {
        let parts = shares(total, &weights);
        let sum: u64 = weights.iter().sum();
        prop_assert_eq!(parts.iter().sum::<u64>(), if sum == 0 { 0 } else { total });
        for (part, weight) in parts.iter().zip(&weights) {
            let exact = u128::from(total) * u128::from(*weight);
            let low = exact.checked_div(u128::from(sum)).unwrap_or(0);
            prop_assert!((low..=low + 1).contains(&u128::from(*part)));
            prop_assert!(*weight > 0 || *part == 0, "who took no part pays nothing");
        }
    }

    /// Random crowds: of every step's time nothing is lost, nothing is paid twice.
    #[test]
    fn the_calls_of_a_crowd_pay_for_exactly_the_steps(
        crowd in prop::collection::vec((1_usize..60, 1_usize..3, 1_usize..20), 1..12),
        pace in prop::collection::vec(1_u64..5_000, 1..9),
    ) {
        let run = Run::of(&crowd, &pace);
        let paid: u64 = run.ended.iter().map(|gpu| gpu.prefill_us + gpu.decode_us).sum();
        prop_assert_eq!(paid, run.busy_us);
        prop_assert!(run.ended.iter().map(|gpu| gpu.kv_us).sum::<u64>() <= run.wall_us);
        // A part of a short step may be less than half a microsecond, so that a call may get away with nothing.
        prop_assert!(paid > 0);
    }
}

#[derive(Default)]
struct Run {
    ended: Vec<GpuTime>,
    busy_us: u64,
    wall_us: u64,
}

impl Run {
    /// Calls of so many prompt tokens, choices and completion tokens, one more before each step; steps take what `pace`
    /// says, in milliseconds, and so do the pauses between them.
    fn of(crowd: &[(usize, usize, usize)], pace: &[u64]) -> Self {
        let executor =
            ScriptedExecutor::new(ScriptedOptions { pages_total: 64, ..ScriptedOptions::default() }, "scripted");
        let language = Arc::new(ScriptedLanguage::default());
        let mut scheduler = Scheduler::new(Box::new(executor), language, Meters::new("scripted").unwrap());
        let (start, elapsed, mut run) = (crate::clock::instant(), Cell::new(Duration::ZERO), Run::default());
        let mut readers: Vec<(Receiver<Event>, GpuTime)> = Vec::new();
        let mut coming = crowd.iter();
        for step in 0.. {
            if let Some((prompt, choices, tokens)) = coming.next() {
                let (sender, receiver) = event_channel(*choices);
                let now = start + elapsed.get();
                scheduler.submit(&ask(*prompt, *choices, *tokens), None, sender, now).unwrap();
                readers.push((receiver, GpuTime::default()));
            }
            let took = Duration::from_micros(pace[step % pace.len()]);
            let begun = Cell::new(false);
            let clock = || {
                // The first look is at the step's beginning, the second at its end.
                if begun.replace(true) {
                    elapsed.set(elapsed.get() + took);
                }
                start + elapsed.get()
            };
            let progress = scheduler.step(&clock);
            if progress == Progress::Stepped {
                run.busy_us += u64::try_from(took.as_micros()).unwrap();
            }
            elapsed.set(elapsed.get() + Duration::from_micros(17));
            for (reader, gpu) in &mut readers {
                while let Ok(event) = reader.try_recv() {
                    if let Event::Finish { gpu: so_far, .. } = event {
                        *gpu = so_far;
                    }
                }
            }
            if progress == Progress::Idle {
                break;
            }
        }
        run.wall_us = u64::try_from(elapsed.get().as_micros()).unwrap();
        run.ended = readers.into_iter().map(|(_, gpu)| gpu).collect();
        run
    }
}

fn ask(prompt: usize, choices: usize, tokens: usize) -> Ask {
    Ask {
        prompts: vec![vec![5; prompt].into()],
        choices,
        tokens_max: Some(tokens),
        tokens_usual: None,
        sampling: Sampling::default(),
        stops: Vec::new(),
        logprobs: None,
        allowance: None,
    }
}

#[test]
fn a_pause_of_the_engine_is_nobodys() {
    let run = Run::of(&[(4, 1, 3)], &[1_000]);
    assert_eq!((run.ended[0].prefill_us, run.ended[0].decode_us), (1_000, 2_000));
    assert_eq!(run.busy_us, 3_000);
    // One of 64 pages, over three steps and the pauses between them.
    assert!((1..=run.wall_us / 64 + 1).contains(&run.ended[0].kv_us), "{:?} of {}", run.ended[0], run.wall_us);
}

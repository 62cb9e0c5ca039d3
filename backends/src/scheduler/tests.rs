//! The scheduler over the scripted executor: what comes out must not depend on what else runs.

mod simulation;

use super::*;
use crate::core::{Ask, Counts, Sampling, TokenId, TokenScores};
use crate::executor::scripted::{Script, ScriptedExecutor, ScriptedLanguage, ScriptedOptions};
use std::cell::Cell;
use tokio::sync::mpsc::Receiver;

/// A scheduler under a clock that only tests move; the page bookkeeping is checked after every step.
struct Bench {
    scheduler: Scheduler,
    start: Instant,
    elapsed: Cell<Duration>,
    preempted: usize,
}

#[derive(Debug, Default, PartialEq)]
struct Answer {
    texts: Vec<String>,
    scores: Vec<Vec<TokenScores>>,
    ends: Vec<Option<FinishReason>>,
    failed: Option<String>,
    counts: Counts,
}

impl Bench {
    fn new(options: ScriptedOptions) -> Self {
        let executor = ScriptedExecutor::new(options, "scripted");
        let language = Arc::new(ScriptedLanguage::default());
        let scheduler = Scheduler::new(Box::new(executor), language, Meters::new("scripted").unwrap());
        Self { scheduler, start: crate::clock::instant(), elapsed: Cell::new(Duration::ZERO), preempted: 0 }
    }

    fn now(&self) -> Instant {
        self.start + self.elapsed.get()
    }

    fn submit(&mut self, ask: &Ask, id: &str) -> Result<Receiver<Event>, Refused> {
        let (sender, receiver) = event_channel(ask.prompts.len() * ask.choices);
        self.scheduler.submit(ask, Some(id.to_owned()), sender, self.now()).map(|()| receiver)
    }

    fn step(&mut self) -> Progress {
        let held = |scheduler: &Scheduler| -> Vec<u64> { scheduler.keys_running() };
        let before = held(&self.scheduler);
        let now = self.now();
        let progress = self.scheduler.step(&|| now);
        let after = &self.scheduler.sequences;
        self.preempted += before.iter().filter(|key| after.get(key).is_some_and(|sequence| !sequence.running)).count();
        self.scheduler.check().unwrap();
        self.elapsed.set(self.elapsed.get() + Duration::from_millis(1));
        progress
    }

    /// Steps until all is done, reading along.
    fn run(&mut self, readers: &mut [(Receiver<Event>, Answer)]) {
        for _ in 0..100_000 {
            let progress = self.step();
            for (reader, answer) in readers.iter_mut() {
                answer.read(reader);
            }
            if progress == Progress::Idle {
                return;
            }
        }
        panic!("still running after 100,000 steps");
    }

    fn answer(&mut self, ask: &Ask) -> Answer {
        let reader = self.submit(ask, "one").unwrap();
        let mut readers = [(reader, Answer::default())];
        self.run(&mut readers);
        let [(_, answer)] = readers;
        answer
    }
}

impl Scheduler {
    fn keys_running(&self) -> Vec<u64> {
        self.sequences.iter().filter(|(_, sequence)| sequence.running).map(|(key, _)| *key).collect()
    }
}

impl Answer {
    fn read(&mut self, reader: &mut Receiver<Event>) {
        while let Ok(event) = reader.try_recv() {
            match event {
                Event::Delta { choice, text, scores, counts } => {
                    self.grow(choice);
                    self.texts[choice].push_str(&text);
                    self.scores[choice].extend(scores);
                    self.counts = counts;
                }
                Event::Finish { choice, reason, counts, gpu: _ } => {
                    self.grow(choice);
                    assert_eq!(self.ends[choice], None, "a choice ends once");
                    self.ends[choice] = Some(reason);
                    self.counts = counts;
                }
                Event::Failed { message, counts } => {
                    self.failed = Some(message);
                    self.counts = counts;
                }
            }
        }
    }

    fn grow(&mut self, choice: usize) {
        let size = self.texts.len().max(choice + 1);
        self.texts.resize_with(size, String::new);
        self.scores.resize_with(size, Vec::new);
        self.ends.resize(size, None);
    }
}

fn prompt(text: &str) -> Arc<[TokenId]> {
    text.bytes().map(TokenId::from).collect()
}

fn ask(text: &str, tokens_max: usize) -> Ask {
    Ask {
        prompts: vec![prompt(text)],
        choices: 1,
        tokens_max: Some(tokens_max),
        tokens_usual: None,
        sampling: Sampling { seed: 11, ..Sampling::default() },
        stops: Vec::new(),
        logprobs: None,
        allowance: None,
    }
}

fn noise() -> ScriptedOptions {
    ScriptedOptions { script: Script::Noise, answer_tokens: 100_000, ..ScriptedOptions::default() }
}

/// The tokens of a conversation of one user message.
fn chat(content: &str) -> Arc<[TokenId]> {
    let message = crate::core::Message { role: "user".into(), content: content.into() };
    ScriptedLanguage::default().encode_chat(&[message]).unwrap().into()
}

#[test]
fn an_answer_ends_at_its_limit_or_by_itself() {
    let options = ScriptedOptions { answer_tokens: 20, ..ScriptedOptions::default() };
    let cut = Bench::new(options.clone()).answer(&Ask { prompts: vec![chat("hello")], ..ask("", 3) });
    assert_eq!((cut.texts[0].as_str(), cut.ends[0]), ("wor", Some(FinishReason::Length)));
    let whole = Bench::new(options).answer(&Ask { prompts: vec![chat("hello")], ..ask("", 100) });
    assert_eq!((whole.texts[0].as_str(), whole.ends[0]), ("word 1 word 2 word 3", Some(FinishReason::Stop)));
    assert_eq!(whole.counts, Counts { prompt: 12, completion: 21 }, "20 letters and the end token");
}

#[test]
fn chunking_batching_and_preemption_change_nothing() {
    let texts = ["a", "a longer prompt that spans several pages of the cache", "0123456789abcdef", "0123456789abcdefg"];
    let mut asks: Vec<Ask> = texts.iter().map(|text| ask(text, 40)).collect();
    asks[1].sampling = Sampling { seed: 5, top_p: 0.9, frequency_penalty: 0.5, ..Sampling::default() };
    asks[2].choices = 3;
    let alone: Vec<Answer> = asks.iter().map(|ask| Bench::new(noise()).answer(ask)).collect();
    let mut preempted = 0;
    for batch_tokens_max in [1, 3, 16, 17, 512] {
        for pages_total in [7, 9, 12, 1024] {
            let mut bench = Bench::new(ScriptedOptions { batch_tokens_max, pages_total, ..noise() });
            let mut readers: Vec<(Receiver<Event>, Answer)> = Vec::new();
            for (at, ask) in asks.iter().enumerate() {
                readers.push((bench.submit(ask, &at.to_string()).unwrap(), Answer::default()));
                bench.step();
            }
            bench.run(&mut readers);
            for ((_, answer), alone) in readers.iter().zip(&alone) {
                assert_eq!(answer, alone, "{batch_tokens_max} tokens a batch, {pages_total} pages");
            }
            assert_eq!(bench.scheduler.pages().free, pages_total);
            preempted += bench.preempted;
        }
    }
    assert!(preempted > 0, "the small pools preempt");
}

#[test]
fn choices_share_the_prompt_and_count_it_once() {
    let long = "x".repeat(161);
    let mut bench = Bench::new(noise());
    let mut ask = ask(&long, 5);
    ask.choices = 4;
    let reader = bench.submit(&ask, "n").unwrap();
    bench.step();
    bench.step();
    let pages = bench.scheduler.pages();
    assert_eq!((pages.owned, pages.sequences), (10 + 4, 4), "ten full pages once, one of its own for each");
    let mut readers = [(reader, Answer::default())];
    bench.run(&mut readers);
    let answer = &readers[0].1;
    assert_eq!(answer.counts, Counts { prompt: 161, completion: 20 });
    let distinct: std::collections::HashSet<&String> = answer.texts.iter().collect();
    assert_eq!(distinct.len(), 4, "each choice draws for itself");
}

#[test]
fn a_long_prompt_does_not_stop_a_running_stream() {
    let mut bench = Bench::new(ScriptedOptions { batch_tokens_max: 32, ..noise() });
    let mut stream = (bench.submit(&ask("hi", 200), "stream").unwrap(), Answer::default());
    bench.step();
    let _long = bench.submit(&ask(&"y".repeat(320), 5), "long").unwrap();
    for _ in 0..10 {
        bench.step();
    }
    stream.1.read(&mut stream.0);
    assert_eq!(stream.1.counts.completion, 11, "one token in every step");
}

#[test]
fn what_can_never_fit_is_refused_at_once() {
    let options = ScriptedOptions { context_tokens_max: 100, pages_total: 5, ..ScriptedOptions::default() };
    let mut bench = Bench::new(options);
    assert_eq!(bench.scheduler.context_tokens_max(), 80, "five pages are fewer than the context");
    let refused = bench.submit(&ask(&"x".repeat(60), 21), "a").unwrap_err();
    assert_eq!(refused, Refused::TooLong { context: 80, prompt: 60, completion: 21 });
    let open_end = Ask { tokens_max: None, ..ask(&"x".repeat(80), 1) };
    assert!(matches!(bench.submit(&open_end, "b"), Err(Refused::TooLong { prompt: 80, completion: 1, .. })));
    assert!(matches!(bench.submit(&ask("", 1), "c"), Err(Refused::Malformed(_))));
    let mut foreign = ask("x", 1);
    foreign.prompts = vec![[99_999].into()];
    assert!(matches!(bench.submit(&foreign, "d"), Err(Refused::Malformed(_))));
    assert!(bench.submit(&ask(&"x".repeat(60), 20), "e").is_ok());
    assert!(matches!(bench.submit(&ask("x", 1), "e"), Err(Refused::Duplicate(_))));
    let many = Ask { choices: WAITING_MAX, ..ask("x", 1) };
    assert_eq!(bench.submit(&many, "f").unwrap_err(), Refused::Full);
    let too_many = Ask { choices: WAITING_MAX + 1, ..ask("x", 1) };
    assert_eq!(bench.submit(&too_many, "g").unwrap_err(), Refused::TooMany(WAITING_MAX + 1));
}

#[test]
fn a_hang_up_frees_the_pages_before_the_next_step() {
    let mut bench = Bench::new(noise());
    let reader = bench.submit(&ask(&"x".repeat(100), 50), "gone").unwrap();
    bench.step();
    assert_eq!(bench.scheduler.pages().owned, 7);
    drop(reader);
    assert_eq!(bench.step(), Progress::Idle);
    assert_eq!(bench.scheduler.pages().owned, 0);
}

#[test]
fn a_reader_who_does_not_read_pauses_only_itself() {
    let mut bench = Bench::new(noise());
    let lazy = bench.submit(&ask("lazy", 1000), "lazy").unwrap();
    let mut eager = [(bench.submit(&ask("eager", 300), "eager").unwrap(), Answer::default())];
    for _ in 0..400 {
        bench.step();
        eager[0].1.read(&mut eager[0].0);
    }
    assert_eq!(eager[0].1.ends, [Some(FinishReason::Length)]);
    assert!(lazy.len() < 64 && lazy.len() > 50, "{} events wait", lazy.len());
    assert!(bench.scheduler.abort("lazy", bench.now()), "there was room left to end it");
    let mut answer = Answer::default();
    answer.read(&mut { lazy });
    assert_eq!(answer.ends, [Some(FinishReason::Abort)]);
}

#[test]
fn an_allowance_pauses_at_the_token_and_goes_on_or_ends() {
    let mut bench = Bench::new(noise());
    let mut three = ask("allowance", 50);
    (three.choices, three.allowance) = (3, Some(10));
    let mut readers = [(bench.submit(&three, "paid").unwrap(), Answer::default())];
    while bench.step() != Progress::Blocked {}
    readers[0].1.read(&mut readers[0].0);
    assert_eq!(readers[0].1.counts.completion, 10, "to the token, over all choices");
    assert!(!bench.scheduler.renew("unknown", 20, false));
    assert!(bench.scheduler.renew("paid", 17, false));
    while bench.step() != Progress::Blocked {}
    readers[0].1.read(&mut readers[0].0);
    assert_eq!(readers[0].1.counts.completion, 17);
    bench.elapsed.set(bench.elapsed.get() + ALLOWANCE_PAUSE - Duration::from_millis(5));
    assert_eq!(bench.step(), Progress::Blocked, "it waits the whole pause");
    bench.elapsed.set(bench.elapsed.get() + Duration::from_millis(5));
    assert_eq!(bench.step(), Progress::Idle);
    readers[0].1.read(&mut readers[0].0);
    assert_eq!(readers[0].1.ends, [Some(FinishReason::Allowance); 3]);
    assert_eq!(readers[0].1.counts.completion, 17);
}

#[test]
fn the_last_allowance_ends_at_the_token_without_a_pause() {
    let mut bench = Bench::new(noise());
    let two = Ask { allowance: Some(10), choices: 2, ..ask("allowance", 50) };
    let mut readers = [(bench.submit(&two, "paid").unwrap(), Answer::default())];
    assert!(bench.scheduler.renew("paid", 13, true));
    bench.run(&mut readers);
    assert_eq!(readers[0].1.ends, [Some(FinishReason::Allowance); 2]);
    assert_eq!(readers[0].1.counts.completion, 13);
    // Told while it waits already.
    let mut readers = [(bench.submit(&two, "late").unwrap(), Answer::default())];
    while bench.step() != Progress::Blocked {}
    assert!(bench.scheduler.renew("late", 10, true));
    bench.run(&mut readers);
    assert_eq!(readers[0].1.ends, [Some(FinishReason::Allowance); 2]);
    assert_eq!(readers[0].1.counts.completion, 10);
}

#[test]
fn a_renewed_answer_is_the_unbroken_answer() {
    let whole = Bench::new(noise()).answer(&ask("same", 30));
    let mut bench = Bench::new(noise());
    let paid = Ask { allowance: Some(1), ..ask("same", 30) };
    let mut readers = [(bench.submit(&paid, "paid").unwrap(), Answer::default())];
    for total in (2..=40).step_by(7) {
        while bench.step() == Progress::Stepped {}
        bench.scheduler.renew("paid", total, false);
    }
    bench.run(&mut readers);
    assert_eq!(readers[0].1, whole);
}

#[test]
fn blocked_choices_give_their_pages_to_those_who_can_go_on() {
    let mut bench = Bench::new(ScriptedOptions { pages_total: 8, ..noise() });
    let paused = Ask { allowance: Some(1), ..ask(&"p".repeat(90), 20) };
    let mut old = (bench.submit(&paused, "old").unwrap(), Answer::default());
    while bench.step() != Progress::Blocked {}
    let mut young = (bench.submit(&ask("young", 100), "young").unwrap(), Answer::default());
    while bench.step() == Progress::Stepped {
        young.1.read(&mut young.0);
    }
    young.1.read(&mut young.0);
    assert_eq!(young.1.ends, [Some(FinishReason::Length)], "the younger one was not held up");
    assert!(bench.preempted > 0);
    bench.scheduler.renew("old", 100, false);
    bench.run(std::slice::from_mut(&mut old));
    assert_eq!(old.1, Bench::new(noise()).answer(&ask(&"p".repeat(90), 20)), "and the older one lost nothing");
}

#[test]
fn stops_and_scores_work_through_the_scheduler() {
    let mut echo = Ask { prompts: vec![chat("one two STOP three")], ..ask("", 100) };
    echo.stops = vec!["STOP".into()];
    echo.logprobs = Some(2);
    let options = ScriptedOptions { script: Script::Echo, ..ScriptedOptions::default() };
    let answer = Bench::new(options).answer(&echo);
    assert_eq!((answer.texts[0].as_str(), answer.ends[0]), ("one two ", Some(FinishReason::Stop)));
    assert_eq!(answer.counts.completion, 12, "the tokens of the stop text were made");
    assert_eq!(answer.scores[0].len(), 8, "but they are not shown");
    assert!(answer.scores[0].iter().all(|score| score.top.len() == 2 && score.chosen.logprob > -0.01));
}

#[test]
fn a_failed_step_ends_its_calls_with_an_error_and_no_others() {
    struct Broken(ScriptedExecutor);
    impl Executor for Broken {
        fn spec(&self) -> &crate::executor::ExecutorSpec {
            self.0.spec()
        }
        fn step(&mut self, plan: &StepPlan<'_>) -> Result<StepOutput, ExecutorError> {
            if plan.chunks.iter().any(|chunk| chunk.tokens.contains(&u32::from(b'!'))) {
                return Err(ExecutorError::Compute("as asked".into()));
            }
            self.0.step(plan)
        }
    }
    let mut bench = Bench::new(noise());
    bench.scheduler.executor = Box::new(Broken(ScriptedExecutor::new(noise(), "m")));
    let mut readers = [(bench.submit(&ask("bad!", 5), "bad").unwrap(), Answer::default())];
    bench.run(&mut readers);
    assert_eq!(readers[0].1.failed.as_deref(), Some("the engine could not compute this answer"));
    assert_eq!(bench.answer(&ask("good", 5)).counts.completion, 5);
}

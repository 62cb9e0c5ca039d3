#![allow(clippy::arithmetic_side_effects, reason = "an overflow fails the test")]

use std::collections::HashMap;

use super::*;
use crate::limits::quantity::Quantity;
use crate::limits::suite::{self, BORN_MS, Calls, Stand, calendar, nano};
use crate::limits::window::CalendarUnit;

/// What was used before, by line; and how often somebody asked.
#[derive(Default)]
pub(in crate::limits) struct Book {
    uses: Mutex<HashMap<Arc<str>, Vec<(u64, u64)>>>,
    pub(in crate::limits) asked: AtomicUsize,
    pub(in crate::limits) is_torn: std::sync::atomic::AtomicBool,
}

/// A counter of one process with a time of its own.
pub(in crate::limits) struct Desk {
    pub(in crate::limits) ns: Arc<AtomicU64>,
    pub(in crate::limits) book: Arc<Book>,
    pub(in crate::limits) counter: Mutex<Arc<dyn Counter>>,
}

#[async_trait]
impl Spent for Book {
    async fn spent(&self, line: &Line, span: Span) -> Result<u64, NotGranted> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        // Others come meanwhile.
        tokio::task::yield_now().await;
        if self.is_torn.load(Ordering::SeqCst) {
            return Err(NotGranted::Unavailable { why: "ledger_unreadable" });
        }
        let uses = self.uses.lock();
        let within = |(at, _): &&(u64, u64)| span.from_ms <= *at && *at < span.to_ms;
        Ok(uses.get(&line.id).into_iter().flatten().filter(within).map(|(_, used)| used).sum())
    }
}

impl Desk {
    pub(in crate::limits) fn new() -> Self {
        let (ns, book) = (Arc::new(AtomicU64::new(0)), Arc::new(Book::default()));
        let counter = Mutex::new(Self::open(&ns, &book));
        Self { ns, book, counter }
    }

    fn open(ns: &Arc<AtomicU64>, book: &Arc<Book>) -> Arc<dyn Counter> {
        Arc::new(Local::new(Clock::Given(ns.clone()), Some(book.clone()), 262_144))
    }
}

#[async_trait]
impl Stand for Desk {
    fn counter(&self) -> Arc<dyn Counter> {
        Arc::clone(&self.counter.lock())
    }

    async fn pass(&self, time: Duration) {
        self.ns.fetch_add(u64::try_from(time.as_nanos()).unwrap(), Ordering::SeqCst);
    }

    async fn settled(&self) {}

    fn write_down(&self, line: &Line, uses: &[(u64, u64)]) {
        self.book.uses.lock().entry(Arc::clone(&line.id)).or_default().extend_from_slice(uses);
    }

    fn restart(&self) {
        *self.counter.lock() = Self::open(&self.ns, &self.book);
    }
}

#[tokio::test]
async fn the_counter_of_one_process_keeps_what_every_counter_keeps() {
    suite::all(&Desk::new()).await;
}

#[tokio::test]
async fn the_book_is_asked_once_however_many_calls_wait_for_it() {
    let desk = Desk::new();
    let day = calendar(CalendarUnit::Day);
    let calls = Calls::new(&desk, &[(Quantity::Money, 100, day), (Quantity::Money, 100, Window::Total)]);
    desk.write_down(&calls.lines[0], &[(BORN_MS, 97)]);
    let (counter, asks) = (desk.counter(), (0..50).map(|_| calls.ask(nano(1), BORN_MS)).collect::<Vec<_>>());
    let answers = futures_util::future::join_all(asks.iter().map(|ask| counter.reserve(ask))).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 3);
    assert_eq!(desk.book.asked.load(Ordering::SeqCst), 3, "whether anything, and how much of it today");
}

#[tokio::test]
async fn a_book_that_cannot_be_read_refuses_and_takes_nothing() {
    let desk = Desk::new();
    let calls = Calls::new(&desk, &[(Quantity::Money, 100, Window::Total)]);
    desk.book.is_torn.store(true, Ordering::SeqCst);
    let counter = desk.counter();
    let refused = counter.reserve(&calls.ask(nano(60), BORN_MS)).await;
    assert_eq!(refused, Err(NotGranted::Unavailable { why: "ledger_unreadable" }));
    desk.book.is_torn.store(false, Ordering::SeqCst);
    counter.reserve(&calls.ask(nano(100), BORN_MS)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_book_that_answers_too_slowly_refuses() {
    struct Slow;
    #[async_trait]
    impl Spent for Slow {
        async fn spent(&self, _line: &Line, _span: Span) -> Result<u64, NotGranted> {
            std::future::pending().await
        }
    }
    let desk = Desk::new();
    let calls = Calls::new(&desk, &[(Quantity::Money, 100, Window::Total)]);
    let counter = Local::new(Clock::Given(Arc::default()), Some(Arc::new(Slow)), 10);
    let refused = counter.reserve(&calls.ask(nano(1), BORN_MS)).await;
    assert_eq!(refused, Err(NotGranted::Unavailable { why: "ledger_slow" }));
}

#[tokio::test(start_paused = true)]
async fn one_slow_question_never_lets_others_wait_without_end() {
    struct Stuck(Arc<str>);
    #[async_trait]
    impl Spent for Stuck {
        async fn spent(&self, line: &Line, _span: Span) -> Result<u64, NotGranted> {
            if line.id == self.0 { std::future::pending().await } else { Ok(0) }
        }
    }
    let desk = Desk::new();
    let stuck = Calls::new(&desk, &[(Quantity::Money, 100, Window::Total)]);
    let book = Arc::new(Stuck(Arc::clone(&stuck.lines[0].id)));
    let counter = Local::new(Clock::Given(Arc::default()), Some(book), 1_000);
    let began = tokio::time::Instant::now();
    let asks: Vec<_> = (0..40).map(|_| stuck.ask(nano(1), BORN_MS)).collect();
    let refused = futures_util::future::join_all(asks.iter().map(|ask| counter.reserve(ask)));
    let others = async {
        for _ in 0..200 {
            let calm = Calls::new(&desk, &[(Quantity::Money, 100, Window::Total)]);
            counter.reserve(&calm.ask(nano(1), BORN_MS)).await.unwrap();
        }
        began.elapsed()
    };
    let (refused, others) = tokio::join!(refused, others);
    assert_eq!(others, Duration::ZERO, "nobody waits for another line");
    assert!(refused.iter().all(|answer| *answer == Err(NotGranted::Unavailable { why: "ledger_slow" })));
    assert!(began.elapsed() <= BOOK_WAIT_MAX * 2 + Duration::from_millis(10), "{:?}", began.elapsed());
    assert_eq!(counter.asking.len(), 0, "nothing is left behind");
}

#[tokio::test]
async fn an_idle_budget_is_forgotten_and_found_again_in_the_book() {
    let desk = Desk::new();
    let calls = Calls::new(&desk, &[(Quantity::Money, 100, calendar(CalendarUnit::Month))]);
    let ask = calls.ask(nano(60), BORN_MS);
    desk.counter().reserve(&ask).await.unwrap();
    let hour = Duration::from_secs(3_601);
    desk.pass(hour).await;
    // Its hold has expired, and still nothing is forgotten that somebody asked for lately.
    assert!(desk.counter().reserve(&calls.ask(nano(41), BORN_MS)).await.is_err());
    desk.counter().settle(&ask, &nano(60), &nano(30));
    desk.write_down(&calls.lines[0], &[(BORN_MS, 30)]);
    desk.counter().sweep();
    assert_eq!(desk.counter().tracked(), 1);
    desk.pass(hour).await;
    desk.counter().sweep();
    assert_eq!(desk.counter().tracked(), 0);
    assert!(desk.counter().reserve(&calls.ask(nano(71), BORN_MS)).await.is_err());
    desk.counter().reserve(&calls.ask(nano(70), BORN_MS)).await.unwrap();
}

#[tokio::test]
async fn threads_together_take_no_more_than_the_budget_and_lose_nothing() {
    let desk = Arc::new(Desk::new());
    let limits = [(Quantity::Money, 10_000, Window::Total), (Quantity::Concurrency, 3, Window::Now)];
    let shape = Calls::new(&*desk, &limits);
    let (org, lines) = (Arc::clone(&shape.org), Arc::clone(&shape.lines));
    let used = Arc::new(AtomicU64::new(0));
    std::thread::scope(|scope| {
        for worker in 0..4_u64 {
            let (desk, org, lines, used) = (&desk, &org, &lines, &used);
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let calls = Calls { stand: &**desk, org: org.clone(), lines: lines.clone() };
                for round in 0..2_000_u64 {
                    let ask = calls.ask(nano(20), BORN_MS);
                    if runtime.block_on(desk.counter().reserve(&ask)).is_err() {
                        continue;
                    }
                    let cost = (round * 7 + worker) % 21;
                    used.fetch_add(cost, Ordering::SeqCst);
                    desk.counter().settle(&ask, &ask.budgets, &nano(cost));
                }
            });
        }
    });
    let used = used.load(Ordering::SeqCst);
    assert!((9_900..=10_000).contains(&used), "{used}");
    assert!(desk.counter().reserve(&shape.ask(nano(10_001 - used), BORN_MS)).await.is_err());
    desk.counter().reserve(&shape.ask(nano(10_000 - used), BORN_MS)).await.unwrap();
}

#[tokio::test]
async fn one_organisation_that_names_ever_new_end_users_leaves_room_for_the_others() {
    let local = Local::new(Clock::Given(Arc::new(AtomicU64::new(0))), None, 100);
    let stand = Desk::new();
    let (mut flood, mut refused) = (0, 0);
    let org = Calls::new(&stand, &[]).org;
    for user in 0..1_000_usize {
        let lines = [suite::line(&org, user, Quantity::Money, 10, calendar(CalendarUnit::Month))].into();
        let ask = Calls { stand: &stand, org: Arc::clone(&org), lines }.ask(nano(1), BORN_MS);
        match local.reserve(&ask).await {
            Ok(_) => flood += 1,
            Err(_) => refused += 1,
        }
    }
    assert_eq!((flood, refused), (50, 950));
    // Organisations that came first may lie in the same shard; not all of them do.
    let mut served = 0;
    for _ in 0..40 {
        let calm = Calls::new(&stand, &[(Quantity::Money, 10, calendar(CalendarUnit::Month))]);
        served += usize::from(local.reserve(&calm.ask(nano(1), BORN_MS)).await.is_ok());
    }
    assert!(served > 30, "{served} of 40");
}

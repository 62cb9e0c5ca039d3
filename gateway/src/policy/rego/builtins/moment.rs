//! `time.now_ns` with a moment that can be fixed: one evaluation has one moment, a decision's record names it, and a
//! replay gives the recorded one back.

use std::cell::Cell;

use regorus::{Engine, Value};

use crate::clock;

const NAME: &str = "time.now_ns";

thread_local! {
    /// The moment of this thread's evaluation.
    static FIXED: Cell<Option<i64>> = const { Cell::new(None) };
    /// Whether it was asked for.
    static ASKED: Cell<bool> = const { Cell::new(false) };
}

/// While this lives, `time.now_ns` is one moment on this thread.
#[derive(Debug)]
pub struct Moment {
    ns: i64,
    // Belongs to the thread that made it.
    _thread: std::marker::PhantomData<*const ()>,
}

impl Moment {
    /// Fixes it, in nanoseconds since the Unix epoch.
    pub fn fix(ns: i64) -> Self {
        FIXED.set(Some(ns));
        ASKED.set(false);
        Self { ns, _thread: std::marker::PhantomData }
    }

    /// The present one, unless one is fixed already: whoever evaluates holds it until the end.
    pub fn hold() -> Option<Self> {
        FIXED.get().is_none().then(|| Self::fix(i64::try_from(clock::unix().as_nanos()).unwrap_or(i64::MAX)))
    }

    /// The moment, if a policy asked for it.
    pub fn asked(&self) -> Option<i64> {
        ASKED.get().then_some(self.ns)
    }
}

impl Drop for Moment {
    fn drop(&mut self) {
        FIXED.set(None);
        ASKED.set(false);
    }
}

/// Takes the place of the engine's own clock.
pub(in crate::policy) fn register(engine: &mut Engine) {
    let now = |_: Vec<Value>| {
        ASKED.set(true);
        let by_clock = || i64::try_from(clock::unix().as_nanos()).unwrap_or(i64::MAX);
        Ok(FIXED.get().unwrap_or_else(by_clock).into())
    };
    // The only fault is a name that is there already, and an engine is given this one once.
    engine.add_extension(NAME.to_owned(), 0, Box::new(now)).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_moment_is_what_policies_get_and_it_is_known_whether_they_asked() {
        let mut engine = Engine::new();
        register(&mut engine);
        engine.add_policy("a.rego".to_owned(), "package a\nnow := time.now_ns()\nb := 1".to_owned()).unwrap();
        let moment = Moment::fix(1_790_000_000_000_000_001);
        assert_eq!(engine.clone().eval_rule("data.a.b".to_owned()).unwrap(), Value::from(1_u64));
        assert_eq!(moment.asked(), None);
        assert_eq!(
            engine.clone().eval_rule("data.a.now".to_owned()).unwrap(),
            Value::from(1_790_000_000_000_000_001_i64)
        );
        assert_eq!(moment.asked(), Some(1_790_000_000_000_000_001));
        drop(moment);
        let now = engine.eval_rule("data.a.now".to_owned()).unwrap().as_i64().unwrap();
        assert!(now > 1_790_000_000_000_000_001, "without a fixed moment the clock answers: {now}");
    }
}

//! Around one decision of a call: its moment, its time, and its record.

use std::time::Instant;

use super::record::{Circumstances, Record};
use super::{DecisionLog, Kept, LogIsFull};
use crate::clock;
use crate::exchange::Exchange;
use crate::policy::input::Input;
use crate::policy::rego::builtins::moment::Moment;
use crate::policy::{Denied, Permit};

/// A decision that is being made. Made before it, given to [`DecisionLog::decided`] after it.
#[derive(Debug)]
pub struct Deciding {
    moment: Moment,
    at_ns: i64,
    begun: Instant,
}

impl Deciding {
    /// From here on, `time.now_ns` stands still on this thread.
    pub fn begin() -> Self {
        let at_ns = i64::try_from(clock::unix().as_nanos()).unwrap_or(i64::MAX);
        Self { moment: Moment::fix(at_ns), at_ns, begun: clock::instant() }
    }
}

impl DecisionLog {
    /// Keeps the decision that was just made, whether it was remembered or not.
    ///
    /// # Errors
    /// The log is full and calls are refused then.
    pub fn decided(
        &self,
        deciding: Deciding,
        x: &Exchange,
        input: &Input<'_>,
        verdict: &Result<Permit, Denied>,
    ) -> Result<Kept, LogIsFull> {
        if !self.is_on() {
            return Ok(Kept::Whole);
        }
        let Deciding { moment, at_ns, begun } = deciding;
        let took = clock::instant().saturating_duration_since(begun);
        let took_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let circumstances = Circumstances { id: x.call.0, at_ns, took_ns, now_ns: moment.asked() };
        let make = || Record::of(circumstances, input, verdict, &x.world.decisions, &x.policy);
        self.keep(make, x.world.settings.decision_log.full)
    }
}

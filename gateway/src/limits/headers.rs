//! How limits look to a client: OpenAI's `x-ratelimit-*` headers, the IETF's fields, and `retry-after`. Pure.

use std::time::Duration;

use super::window::Window;
use super::{LimitExceeded, LimitKind, Standing};

/// One response header.
pub type Header = (&'static str, String);

/// Headers of the two quotas that a call counts against: the tightest level of each.
pub fn quota(requests: Option<&Standing>, tokens: Option<&Standing>) -> Vec<Header> {
    let mut headers = Vec::with_capacity(6);
    if let Some(standing) = requests {
        headers.push(("x-ratelimit-limit-requests", standing.limit.to_string()));
        headers.push(("x-ratelimit-remaining-requests", standing.remaining.to_string()));
        headers.push(("x-ratelimit-reset-requests", reset(standing.reset)));
    }
    if let Some(standing) = tokens {
        headers.push(("x-ratelimit-limit-tokens", standing.limit.to_string()));
        headers.push(("x-ratelimit-remaining-tokens", standing.remaining.to_string()));
        headers.push(("x-ratelimit-reset-tokens", reset(standing.reset)));
    }
    headers.extend(fields(requests, tokens));
    headers
}

/// The `RateLimit-Policy` and `RateLimit` fields of draft-ietf-httpapi-ratelimit-headers-11: of each quota how much
/// there is in how many seconds, how much is left, and in how many seconds all of it is there again.
fn fields(requests: Option<&Standing>, tokens: Option<&Standing>) -> Vec<Header> {
    let quotas = [("requests", requests, ""), ("tokens", tokens, ";qu=\"tokens\"")];
    let (mut policies, mut states) = (Vec::new(), Vec::new());
    for (name, standing, unit) in quotas {
        let Some(standing) = standing else { continue };
        let window = match standing.window {
            Window::Rate { ms } | Window::Rolling { ms } => format!(";w={}", ms.div_ceil(1_000)),
            // A day or a month has no one length.
            Window::Calendar { .. } | Window::Total | Window::Now => String::new(),
        };
        policies.push(format!("\"{name}\";q={}{window}{unit}", standing.limit));
        // What never comes back has no time.
        let wait = match standing.reset {
            Duration::MAX => String::new(),
            reset => format!(";t={}", ms_up(reset).div_ceil(1_000)),
        };
        states.push(format!("\"{name}\";r={}{wait}", standing.remaining));
    }
    if policies.is_empty() {
        return Vec::new();
    }
    vec![("ratelimit-policy", policies.join(", ")), ("ratelimit", states.join(", "))]
}

/// Headers of a refusal: the level that refused, and the wait where one helps.
pub fn exceeded(exceeded: &LimitExceeded) -> Vec<Header> {
    let standing = exceeded.standing.as_ref();
    let mut headers = match exceeded.kind {
        LimitKind::Requests => quota(standing, None),
        LimitKind::Tokens => quota(None, standing),
        LimitKind::Money | LimitKind::Concurrency | LimitKind::Levels => Vec::new(),
    };
    headers.extend(exceeded.retry_after.into_iter().flat_map(retry_after));
    if exceeded.is_budget() {
        // What is used up is not there again in a moment: SDKs that know the header do not try again by themselves.
        headers.push(("x-should-retry", "false".to_owned()));
    }
    headers
}

/// `retry-after` in whole seconds and `retry-after-ms`, both rounded up: who waits that long has waited long enough.
/// Never 0, which would say: at once, again and again.
pub fn retry_after(wait: Duration) -> [Header; 2] {
    let ms = ms_up(wait).max(1);
    [("retry-after", ms.div_ceil(1_000).to_string()), ("retry-after-ms", ms.to_string())]
}

/// A duration as OpenAI writes it: `120ms`, `8.64s`, `1m30s`, `2h0m5s`; rounded up to the millisecond.
pub fn reset(wait: Duration) -> String {
    let ms = ms_up(wait);
    let (hours, minutes, ms_left) = (ms / 3_600_000, ms / 60_000 % 60, ms % 60_000);
    match (hours, minutes) {
        (0, 0) if ms == 0 => "0s".to_owned(),
        (0, 0) if ms < 1_000 => format!("{ms}ms"),
        (0, 0) => seconds(ms_left),
        (0, _) => format!("{minutes}m{}", seconds(ms_left)),
        (_, _) => format!("{hours}h{minutes}m{}", seconds(ms_left)),
    }
}

/// Seconds with at most three decimals and no zeros at their end.
fn seconds(ms: u128) -> String {
    let text = format!("{}.{:03}", ms / 1_000, ms % 1_000);
    format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
}

fn ms_up(wait: Duration) -> u128 {
    wait.as_nanos().div_ceil(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::quantity::Quantity;

    #[test]
    fn durations_are_written_as_openai_writes_them() {
        let cases = [
            (0, "0s"),
            (1, "1ms"),
            (120_000_000, "120ms"),
            (999_999_999, "1s"),
            (8_640_000_000, "8.64s"),
            (10_000_000_000, "10s"),
            (59_999_000_000, "59.999s"),
            (60_000_000_000, "1m0s"),
            (90_000_000_000, "1m30s"),
            (360_000_000_000, "6m0s"),
            (7_205_050_000_000, "2h0m5.05s"),
        ];
        for (ns, text) in cases {
            assert_eq!(reset(Duration::from_nanos(ns)), text, "{ns}");
        }
    }

    #[test]
    fn a_wait_is_never_rounded_down() {
        let cases = [
            (0, "1", "1"),
            (1, "1", "1"),
            (1_000_000_000, "1", "1000"),
            (1_000_000_001, "2", "1001"),
            (59_500_000_000, "60", "59500"),
        ];
        for (ns, seconds, ms) in cases {
            let [first, second] = retry_after(Duration::from_nanos(ns));
            assert_eq!((first.1.as_str(), second.1.as_str()), (seconds, ms), "{ns}");
        }
    }

    #[test]
    fn a_refusal_tells_its_own_quota_and_a_wait_only_where_one_helps() {
        let window = Some(Window::Rate { ms: 60_000 });
        let standing = Standing {
            level: "key".into(),
            window: Window::Rate { ms: 60_000 },
            limit: 60,
            remaining: 0,
            reset: Duration::from_secs(60),
        };
        let mut refusal = LimitExceeded {
            level: "key".into(),
            kind: LimitKind::Requests,
            quantity: Quantity::Requests,
            window,
            limit: 60,
            retry_after: Some(Duration::from_millis(500)),
            too_large: false,
            standing: Some(standing),
        };
        let expected = [
            ("x-ratelimit-limit-requests", "60"),
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", "1m0s"),
            ("ratelimit-policy", "\"requests\";q=60;w=60"),
            ("ratelimit", "\"requests\";r=0;t=60"),
            ("retry-after", "1"),
            ("retry-after-ms", "500"),
        ];
        assert_eq!(exceeded(&refusal), expected.map(|(name, text)| (name, text.to_owned())));
        refusal.retry_after = None;
        assert!(exceeded(&refusal).iter().all(|(name, _)| !name.starts_with("retry")));
    }
}

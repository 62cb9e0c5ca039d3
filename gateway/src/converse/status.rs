//! What an upstream's status means: whose fault it is decides about retries and cool-downs. Pure.

use std::time::Duration;

use pingora::http::ResponseHeader;

use crate::routing::hint::{rate_limited, retry_after};

/// The meaning of a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A reply.
    Success,
    /// The caller's request is at fault: passed on as it is, nobody is punished, nothing is repeated.
    CallerFault,
    /// Weir's own credential, credit or model name is at fault there.
    Account,
    /// Too busy or broken, with the upstream's own hint when to come back.
    Capacity(Option<Duration>),
}

/// Classifies a reply's head that came at `now_ms`.
pub fn classify(status: u16, head: Option<&ResponseHeader>, now_ms: u64) -> Class {
    match status {
        200..=299 => Class::Success,
        401..=404 => Class::Account,
        429 => Class::Capacity(head.and_then(|head| rate_limited(&head.headers, now_ms))),
        408 | 500..=599 => Class::Capacity(head.and_then(|head| retry_after(&head.headers, now_ms))),
        400..=499 => Class::CallerFault,
        // A redirect is never followed: the address comes from the configuration alone.
        _ => Class::Capacity(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(pairs: &[(&'static str, &'static str)]) -> ResponseHeader {
        let mut head = ResponseHeader::build(429, None).unwrap();
        for (name, value) in pairs {
            head.insert_header(*name, *value).unwrap();
        }
        head
    }

    #[test]
    fn a_lack_of_capacity_comes_with_the_upstreams_hint() {
        let wanted = Class::Capacity(Some(Duration::from_secs(30)));
        for status in [408, 429, 503] {
            assert_eq!(classify(status, Some(&head(&[("retry-after", "30")])), 0), wanted, "{status}");
        }
        assert_eq!(classify(400, Some(&head(&[("retry-after", "30")])), 0), Class::CallerFault);
        // Quotas stand on every reply of some; where they are not what failed, they mean no wait.
        let quota = head(&[("x-ratelimit-reset-tokens", "30s")]);
        assert_eq!((classify(429, Some(&quota), 0), classify(500, Some(&quota), 0)), (wanted, Class::Capacity(None)));
    }

    #[test]
    fn fr_route_04_the_callers_faults_cool_nobody() {
        for status in [400, 409, 413, 422, 499] {
            assert_eq!(classify(status, None, 0), Class::CallerFault, "{status}");
        }
        for status in [401, 402, 403, 404] {
            assert_eq!(classify(status, None, 0), Class::Account, "{status}");
        }
        for status in [301, 408, 429, 500, 503, 529] {
            assert_eq!(classify(status, None, 0), Class::Capacity(None), "{status}");
        }
    }
}

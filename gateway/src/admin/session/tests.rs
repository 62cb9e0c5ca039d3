use axum::http::HeaderMap;

use super::*;

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&str, &str)| {
        (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
    };
    let mut headers = HeaderMap::new();
    for (name, value) in pairs.iter().map(pair) {
        headers.append(name, value);
    }
    headers
}

#[test]
fn one_cookie_is_the_session_and_two_are_none() {
    let table: [(&[(&str, &str)], Option<&str>); 8] = [
        (&[], None),
        (&[("cookie", "weir_session=abc")], Some("abc")),
        (&[("cookie", "a=b; weir_session=abc; c=d")], Some("abc")),
        (&[("cookie", "weir_session=abc; weir_session=def")], None),
        (&[("cookie", "weir_session=abc"), ("cookie", "weir_session=def")], None),
        (&[("cookie", "xweir_session=abc; weir_session2=x")], None),
        (&[("cookie", "weir_session=abc; __Host-weir_session=tls")], Some("tls")),
        (&[("cookie", "__Host-weir_session=1; __Host-weir_session=2; weir_session=abc")], None),
    ];
    for (pairs, expected) in table {
        assert_eq!(cookie(&headers(pairs)), expected, "{pairs:?}");
    }
}

#[test]
fn only_this_very_origin_counts() {
    let host = ("host", "127.0.0.1:8081");
    let table: [(&[(&str, &str)], bool, bool); 12] = [
        (&[host], true, true),
        (&[host, ("sec-fetch-site", "same-origin")], true, true),
        (&[host, ("sec-fetch-site", "none")], true, false),
        (&[host, ("sec-fetch-site", "same-site")], false, false),
        (&[host, ("sec-fetch-site", "cross-site")], false, false),
        (&[host, ("origin", "http://127.0.0.1:8081")], true, true),
        (&[host, ("origin", "https://127.0.0.1:8081")], true, true),
        (&[host, ("origin", "http://127.0.0.1:9999")], false, false),
        (&[host, ("origin", "http://127.0.0.1")], false, false),
        (&[host, ("origin", "null")], false, false),
        (&[host, ("origin", "http://evil.example")], false, false),
        (&[("origin", "http://127.0.0.1:8081")], false, false),
    ];
    for (pairs, reads, changes) in table {
        assert_eq!(is_same_origin(&headers(pairs), true), reads, "{pairs:?}");
        assert_eq!(is_same_origin(&headers(pairs), false), changes, "{pairs:?}");
    }
}

#[test]
fn a_cookie_is_bound_to_tls_where_the_page_came_over_it() {
    let plain = set_cookie("abc", 60, &headers(&[("origin", "http://weir.example")])).unwrap_or_else(|_| panic!());
    assert_eq!(plain, "weir_session=abc; Path=/; HttpOnly; SameSite=Strict; Max-Age=60");
    let tls = set_cookie("abc", 60, &headers(&[("origin", "https://weir.example")])).unwrap_or_else(|_| panic!());
    assert_eq!(tls, "__Host-weir_session=abc; Path=/; HttpOnly; SameSite=Strict; Max-Age=60; Secure");
}

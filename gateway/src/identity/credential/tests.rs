use http::{HeaderName, HeaderValue};

use super::*;

fn headers(list: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in list {
        headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
    }
    headers
}

#[test]
fn the_credential_is_found_in_each_of_its_places() {
    type Case<'a> = (&'a [(&'a str, &'a str)], Result<&'a str, CredentialFault>);
    let table: &[Case] = &[
        (&[("authorization", "Bearer k1")], Ok("k1")),
        (&[("authorization", "bearer   k1 ")], Ok("k1")),
        (&[("x-api-key", "k1")], Ok("k1")),
        (&[("api-key", " k1")], Ok("k1")),
        (&[("x-goog-api-key", "k1")], Ok("k1")),
        (&[("x-goog-api-key", "k1"), ("x-goog-api-key", "k2")], Err(CredentialFault::Ambiguous)),
        (&[("x-goog-api-key", "k1"), ("api-key", "")], Err(CredentialFault::Scheme)),
        (&[("authorization", "Bearer k1"), ("x-api-key", "k1")], Ok("k1")),
        (&[], Err(CredentialFault::Missing)),
        (&[("authorization", "Bearer k1"), ("x-api-key", "k2")], Err(CredentialFault::Ambiguous)),
        (&[("authorization", "Bearer k1"), ("authorization", "Bearer k2")], Err(CredentialFault::Ambiguous)),
        (&[("authorization", "Basic dTpw")], Err(CredentialFault::Scheme)),
        (&[("authorization", "Bearer")], Err(CredentialFault::Scheme)),
        (&[("authorization", "Basic dTpw"), ("x-api-key", "k1")], Err(CredentialFault::Scheme)),
        (&[("x-api-key", "")], Err(CredentialFault::Scheme)),
    ];
    for (list, expected) in table {
        let expected = expected.map(|text| (Scheme::Bearer, text));
        assert_eq!(text(&headers(list), None, None), expected, "{list:?}");
    }
}

#[test]
fn a_token_with_a_proof_is_another_credential_than_its_bearers() {
    let one = |list: &[(&str, &str)]| {
        presented(&headers(list), None, None).map(|found| found == Credential::BoundToken("t1"))
    };
    assert_eq!(one(&[("authorization", "DPoP t1")]), Ok(true));
    assert_eq!(one(&[("authorization", "dpop t1"), ("authorization", "DPoP t1")]), Ok(true));
    for list in [
        &[("authorization", "DPoP t1"), ("authorization", "Bearer t1")],
        &[("authorization", "DPoP t1"), ("x-api-key", "t1")],
    ] {
        assert_eq!(one(list), Err(CredentialFault::Ambiguous.into()), "{list:?}");
    }
    let key = api_key::NewKey::generate().unwrap();
    let text = format!("DPoP {}", key.reveal());
    assert_eq!(one(&[("authorization", &text)]), Err(CredentialFault::Scheme.into()), "an API key proves nothing more");
}

#[test]
fn a_key_in_the_query_is_refused_even_beside_one_in_a_header() {
    let headers = headers(&[("authorization", "Bearer k1")]);
    for query in
        ["api_key=x", "a=1&KEY=x", "x=wr_abc", "x=w%72_abc", "x=wr%5Fabc", "wr_abc", "access%5Ftoken=1", "a=1;token=2"]
    {
        assert_eq!(text(&headers, Some(query), None), Err(CredentialFault::InQuery), "{query}");
    }
    for query in ["", "limit=20&after=wr", "x=%zz%", "monkey=1"] {
        assert_eq!(text(&headers, Some(query), None), Ok((Scheme::Bearer, "k1")), "{query}");
    }
}

#[test]
fn a_key_in_the_query_counts_only_under_the_name_that_is_switched_on() {
    let none = HeaderMap::new();
    let ask = |query, headers: &HeaderMap| text(headers, Some(query), Some("key")).map(|(_, text)| text.to_owned());
    assert_eq!(ask("key=wr_a&alt=sse", &none), Ok("wr_a".to_owned()));
    assert_eq!(ask("key=wr_a&key=wr_a", &headers(&[("x-goog-api-key", "wr_a")])), Ok("wr_a".to_owned()));
    for query in ["Key=wr_a", "api_key=wr_a", "key=eyJ0", "key=w%72_a", "key=", "key=wr_a&token=x", "a=wr_a&key=wr_a"] {
        assert_eq!(ask(query, &none), Err(CredentialFault::InQuery), "{query}");
    }
    assert_eq!(ask("key=wr_a&key=wr_b", &none), Err(CredentialFault::Ambiguous));
    assert_eq!(ask("key=wr_a", &headers(&[("authorization", "Bearer wr_b")])), Err(CredentialFault::Ambiguous));
}

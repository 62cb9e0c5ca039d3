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
        assert_eq!(text(&headers(list), None), *expected, "{list:?}");
    }
}

#[test]
fn a_key_in_the_query_is_refused_even_beside_one_in_a_header() {
    let headers = headers(&[("authorization", "Bearer k1")]);
    for query in
        ["api_key=x", "a=1&KEY=x", "x=wr_abc", "x=w%72_abc", "x=wr%5Fabc", "wr_abc", "access%5Ftoken=1", "a=1;token=2"]
    {
        assert_eq!(text(&headers, Some(query)), Err(CredentialFault::InQuery), "{query}");
    }
    for query in ["", "limit=20&after=wr", "x=%zz%", "monkey=1"] {
        assert_eq!(text(&headers, Some(query)), Ok("k1"), "{query}");
    }
}

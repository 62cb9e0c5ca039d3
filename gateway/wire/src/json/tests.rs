use base64::Engine as _;
use proptest::prelude::*;

use super::*;

fn kind(text: impl AsRef<[u8]>) -> Option<FaultKind> {
    check(text.as_ref()).err().map(|fault| fault.kind)
}

#[test]
fn the_grammar_accepts() {
    let cases = [
        "0",
        "-0",
        "10",
        "-1.5e+10",
        "1E2",
        "0.1e-9",
        "1e999",
        "123456789012345678901234567890",
        "true",
        "false",
        "null",
        r#""""#,
        r#""é😀""#,
        r#""\"\\\/\b\f\n\r\t\u00e9\uD83D\uDE00""#,
        r#""\ud800""#,
        r#""\udc00\ud800""#,
        "\"\u{7f}\"",
        "\"\u{feff}\"",
        "[]",
        "[ ]",
        "{}",
        "{ }",
        "[1,2 , 3]",
        "\t\r\n [1] \n",
        r#"{"":1}"#,
        r#"{"a":{"a":{"a":1}}}"#,
        r#"[{"a":1},{"a":1}]"#,
        r#"{"a":"a","A":1}"#,
        r#""\u0000""#,
    ];
    for text in cases {
        assert_eq!(kind(text), None, "{text}");
    }
}

#[test]
fn the_grammar_refuses() {
    use FaultKind::{ByteOrderMark, Control, Duplicate, Empty, End, Escape, Number, Trailing, Unexpected, Utf8};
    let cases: [(&[u8], FaultKind); 62] = [
        (b"", Empty),
        (b"  \n", Empty),
        (b"\xef\xbb\xbf{}", ByteOrderMark),
        (b"\"\xff\"", Utf8),
        (b"\"\xc0\xaf\"", Utf8),
        (b"\"\xed\xa0\x80\"", Utf8),
        (b"\"\xf4\x90\x80\x80\"", Utf8),
        (b"\"\xe2\x82", Utf8),
        (b"[1]\x80", Utf8),
        (b"01", Number),
        (b"-01", Number),
        (b"-", End),
        (b"-a", Number),
        (b"1.", End),
        (b"1.a", Number),
        (b".5", Unexpected),
        (b"+1", Unexpected),
        (b"1e", End),
        (b"1e+", End),
        (b"1eE2", Number),
        (b"1.2.3", Number),
        (b"0x1", Trailing),
        (b"1_000", Trailing),
        (b"NaN", Unexpected),
        (b"Infinity", Unexpected),
        (b"-Infinity", Number),
        (b"tru", End),
        (b"trux", Unexpected),
        (b"True", Unexpected),
        (b"nul", End),
        (b"nulls", Trailing),
        (b"'a'", Unexpected),
        (b"\"a", End),
        (b"\"\\", End),
        (b"\"\\x\"", Escape),
        (b"\"\\u12\"", End),
        (b"\"\\u12g4\"", Escape),
        (b"\"\\U0041\"", Escape),
        (b"\"a\nb\"", Control),
        (b"\"a\x00b\"", Control),
        (b"\"\\u00", End),
        (b"\"\t", Control),
        (b"[", End),
        (b"[1", End),
        (b"[1,", End),
        (b"[1,]", Unexpected),
        (b"[,1]", Unexpected),
        (b"[1 2]", Unexpected),
        (b"[1}", Unexpected),
        (b"{", End),
        (b"{\"a\"", End),
        (b"{\"a\":", End),
        (b"{\"a\":1", End),
        (b"{\"a\":1,}", Unexpected),
        (b"{a:1}", Unexpected),
        (b"{1:1}", Unexpected),
        (b"{\"a\" 1}", Unexpected),
        (b"{} {}", Trailing),
        (b"[1],", Trailing),
        (b"{\"a\":1,\"a\":2}", Duplicate),
        (b"[1]//x", Trailing),
        (b"\xc2\xa0[]", Unexpected),
    ];
    for (text, expected) in cases {
        assert_eq!(kind(text), Some(expected), "{}", String::from_utf8_lossy(text));
    }
}

#[test]
fn duplicates_are_found_at_every_depth_and_after_unescaping() {
    let cases = [
        (r#"{"a":1,"a":1}"#, 7, "a"),
        (r#"{"a":1,"\u0061":1}"#, 7, "\\u0061"),
        (r#"{"x":[0,{"b":{"c":1,"d":2,"c":3}}]}"#, 26, "x[1].b.c"),
        (r#"{"😀":1,"\ud83d\ude00":2}"#, 10, "\\ud83d\\ude00"),
        (r#"{"\ud800":1,"\uD800":2}"#, 12, "\\uD800"),
        (r#"[{"":0,"":0}]"#, 7, "[0]"),
    ];
    for (text, offset, path) in cases {
        let fault = check(text.as_bytes()).unwrap_err();
        assert_eq!((fault.kind, fault.offset, fault.path.as_str()), (FaultKind::Duplicate, offset, path), "{text}");
    }
    assert_eq!(kind(r#"{"\ud800":1,"\ud801":2,"\ud800\ud800":3}"#), None);
}

#[test]
fn duplicates_are_found_among_many() {
    for count in [15, 16, 17, 18, 1000] {
        let names: Vec<String> = (0..count).map(|n| format!("\"k{n}\":{{\"k0\":0}}")).collect();
        assert_eq!(kind(format!("{{{}}}", names.join(","))), None);
        for twice in [0, 14, count - 1] {
            assert_eq!(kind(format!("{{{},\"k{twice}\":1}}", names.join(","))), Some(FaultKind::Duplicate));
        }
    }
}

#[test]
fn a_million_members_are_not_quadratic() {
    // A quadratic look-up would make half a million million comparisons and never end.
    let names: Vec<String> = (0..1_000_000).map(|n| format!("\"{n}\":0")).collect();
    let text = format!("{{{}}}", names.join(","));
    assert_eq!(members(text.as_bytes()).unwrap().list.len(), 1_000_000);
}

#[test]
fn depth_is_bounded() {
    let nest = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(kind(nest(DEPTH_MAX)), None);
    assert_eq!(kind(nest(DEPTH_MAX + 1)), Some(FaultKind::Depth));
    assert_eq!(kind("[".repeat(10_000_000)), Some(FaultKind::Depth));
    assert_eq!(kind("{\"a\":".repeat(10_000_000)), Some(FaultKind::Depth));
}

#[test]
fn members_lie_where_they_are_said_to_lie() {
    let text = br#" { "a" : [1, {"x":2}] ,"b\n":"v" , "c":{} } "#;
    let members = members(text).unwrap();
    let found: Vec<(&[u8], &[u8], &[u8])> =
        members.list.iter().map(|m| (m.name.as_ref(), m.value.of(text), m.whole.of(text))).collect();
    let expected: [(&[u8], &[u8], &[u8]); 3] = [
        (b"a", br#"[1, {"x":2}]"#, br#""a" : [1, {"x":2}]"#),
        (b"b\n", br#""v""#, br#""b\n":"v""#),
        (b"c", b"{}", br#""c":{}"#),
    ];
    assert_eq!(found, expected);
    assert_eq!(members.open, 2);
    assert_eq!(super::members(b"[1]").unwrap_err().kind, FaultKind::NotAnObject);
}

#[test]
fn paths_in_faults_are_short() {
    let fault = check(format!("{{\"{}\":x}}", "é".repeat(1000)).as_bytes()).unwrap_err();
    assert_eq!(fault.path.len(), PATH_BYTES_MAX);
    assert!(fault.to_string().starts_with("unexpected character at byte 2004 in `éé"));
}

#[test]
fn strings_say_what_they_mean() {
    let cases =
        [(r#""a""#, Ok("a")), (r#""\u00e9\n\ud83d\ude00\/""#, Ok("é\n😀/")), (r#""\ud800x""#, Err(LoneSurrogate))];
    for (quoted, said) in cases {
        assert_eq!(unescape(quoted.as_bytes()).as_deref().map_err(|fault| *fault), said);
    }
}

/// The public collection of parsing cases, where a folder with it is named.
#[test]
fn the_public_parsing_cases_hold() {
    let Some(folder) = std::env::var_os("WEIR_CASES") else {
        return;
    };
    let lines = std::fs::read_to_string(std::path::Path::new(&folder).join("json_parsing.jsonl")).unwrap();
    for line in lines.lines() {
        let case: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| case.get(name).and_then(|value| value.as_str()).unwrap_or_default();
        let bytes = base64::engine::general_purpose::STANDARD.decode(text("bytes_base64")).unwrap();
        let (name, found) = (text("name"), kind(&bytes));
        match text("expect") {
            // The collection calls duplicate members fine; this reader refuses them on purpose.
            "accept" if name.contains("duplicated_key") => assert_eq!(found, Some(FaultKind::Duplicate), "{name}"),
            "accept" => assert_eq!(found, None, "{name}"),
            "reject" => assert!(found.is_some(), "{name}"),
            _ => {}
        }
    }
}

proptest! {
    #[test]
    fn nothing_is_accepted_that_serde_refuses(text in prop::collection::vec(prop::sample::select(
        br#"{}[]",:0123456789.eE+-truefalsn\u /"#.to_vec()), 0..24)) {
        if check(&text).is_ok() {
            let read = serde_json::from_slice::<Box<serde_json::value::RawValue>>(&text);
            prop_assert!(read.is_ok());
        }
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Err(fault) = check(&bytes) {
            prop_assert!(fault.offset <= bytes.len());
        }
    }
}

use proptest::prelude::*;

use super::*;

/// All events of a stream that arrives in these pieces, the unfinished rest last.
fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Event>, Option<Event>) {
    let mut decoder = SseDecoder::default();
    let mut events = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        while let Some(event) = decoder.next_event().unwrap() {
            events.push(event);
        }
    }
    (events, decoder.finish())
}

fn payloads(stream: &[u8]) -> Vec<String> {
    let (events, _) = decode([stream]);
    events.iter().filter_map(|event| event.data.as_deref()).map(|data| String::from_utf8_lossy(data).into()).collect()
}

#[test]
fn lines_end_at_lf_cr_and_crlf() {
    for end in ["\n", "\r", "\r\n"] {
        let stream = format!("event: a{end}data: 1{end}data:2{end}id: 7{end}{end}data: [DONE]{end}{end}");
        let (events, rest) = decode([stream.as_bytes()]);
        let data: Vec<_> = events.iter().filter_map(|event| event.data.as_deref()).collect();
        assert_eq!(data, [b"1\n2".as_slice(), b"[DONE]"], "{end:?}");
        assert_eq!(events.first().unwrap().name.as_deref(), Some(b"a".as_slice()));
        assert!(events.last().unwrap().is_done() && rest.is_none());
    }
}

#[test]
fn fr_sse_02_only_lf_and_cr_end_a_line() {
    let content = "a\u{2028}b\u{2029}c\u{85}d \u{2705} e";
    let event = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{content}\"}}}}]}}\n\n");
    let stream = format!("{event}data: [DONE]\n\n");
    let found = payloads(stream.as_bytes());
    assert_eq!(found.len(), 2);
    let value: serde_json::Value = serde_json::from_str(found.first().unwrap()).unwrap();
    assert_eq!(value.pointer("/choices/0/delta/content").unwrap(), content);
}

#[test]
fn fr_sse_04_comments_come_out_at_once_and_never_inside_an_event() {
    let mut decoder = SseDecoder::default();
    decoder.push(b": ping\n");
    let ping = decoder.next_event().unwrap().unwrap();
    assert!(ping.is_keepalive() && decoder.is_between_events());
    decoder.push(b"\ndata: {\"a\":\"par");
    assert_eq!(decoder.next_event().unwrap().unwrap().raw.as_ref(), b"\n");
    assert!(decoder.next_event().unwrap().is_none() && !decoder.is_between_events());
    decoder.push(b"t\"}\n: inside\n\n");
    let event = decoder.next_event().unwrap().unwrap();
    assert_eq!(event.data.as_deref(), Some(b"{\"a\":\"part\"}".as_slice()));
    assert_eq!(event.raw.as_ref(), b"data: {\"a\":\"part\"}\n: inside\n\n");
}

#[test]
fn fr_sse_05_long_lines_pass_and_hostile_ones_end_with_a_fault() {
    for len in [65_536, 1_048_577, 4_194_304, 15_728_640] {
        let stream = format!("data: {}\n\n", "A".repeat(len));
        let (events, _) = decode(stream.as_bytes().chunks(16_384));
        assert_eq!(events.len(), 1);
        assert_eq!(events.first().unwrap().raw.as_ref(), stream.as_bytes());
    }
    let mut decoder = SseDecoder::default();
    let piece = vec![b'A'; 65_536];
    let mut sent = 0_usize;
    let fault = loop {
        decoder.push(&piece);
        sent += piece.len();
        if let Err(fault) = decoder.next_event() {
            break fault;
        }
        assert!(sent <= EVENT_BYTES_MAX);
    };
    assert_eq!(fault, SseFault::TooLarge { bytes_max: EVENT_BYTES_MAX });
    assert_eq!(decoder.next_event(), Err(fault));
}

#[test]
fn a_complete_event_over_the_bound_is_refused_too() {
    let mut decoder = SseDecoder::new(10);
    decoder.push(b"data: 1\n\ndata: 12345\n\n");
    assert_eq!(decoder.next_event().unwrap().unwrap().data.as_deref(), Some(b"1".as_slice()));
    assert_eq!(decoder.next_event(), Err(SseFault::TooLarge { bytes_max: 10 }));
}

#[test]
fn an_event_of_too_many_lines_is_refused() {
    let mut decoder = SseDecoder::default();
    decoder.push("data\n".repeat(EVENT_LINES_MAX + 2).as_bytes());
    assert_eq!(decoder.next_event(), Err(SseFault::TooManyLines));
}

#[test]
fn a_mark_at_the_start_is_ignored_and_data_elsewhere() {
    for cut in 0..4 {
        let (head, tail) = "\u{feff}data: 1\n\ndata: \u{feff}\n\n".as_bytes().split_at(cut);
        let (events, _) = decode([head, tail]);
        let data: Vec<_> = events.iter().filter_map(|event| event.data.as_deref()).collect();
        assert_eq!(data, [b"1".as_slice(), b"\xef\xbb\xbf"]);
        assert_eq!(events.first().unwrap().raw.as_ref(), b"data: 1\n\n");
    }
}

#[test]
fn a_cut_stream_gives_its_rest_at_the_end() {
    for (stream, data) in
        [("data: [DONE]", "[DONE]"), ("data: [DONE]\n", "[DONE]"), ("data: {\"a", "{\"a"), ("data: x\r", "x")]
    {
        let (events, rest) = decode([stream.as_bytes()]);
        assert!(events.is_empty());
        assert_eq!(rest.unwrap().data.as_deref(), Some(data.as_bytes()), "{stream:?}");
    }
    assert!(decode([b"data: 1\n\n".as_slice()]).1.is_none());
    assert!(decode([b": pi".as_slice()]).1.unwrap().is_keepalive());
}

#[test]
fn a_stream_of_bare_crs_does_not_wait_for_the_next_event() {
    let mut decoder = SseDecoder::default();
    decoder.push(b"data: 1\r\r");
    assert_eq!(decoder.next_event().unwrap().unwrap().data.as_deref(), Some(b"1".as_slice()));
    decoder.push(b"data: 2\r\n\r");
    assert!(decoder.next_event().unwrap().is_none());
    decoder.push(b"\n");
    assert_eq!(decoder.next_event().unwrap().unwrap().raw.as_ref(), b"data: 2\r\n\r\n");
}

#[test]
fn events_without_data_say_nothing() {
    let (events, _) = decode([b"event: x\nid: 1\n\ndatax: 1\n\ndata\n\n".as_slice()]);
    let data: Vec<_> = events.iter().map(|event| event.data.as_deref()).collect();
    assert_eq!(data, [None, None, Some(b"".as_slice())]);
}

#[test]
fn written_events_are_read_back() {
    for data in ["", "{}", "a\nb", "a\r\nb\n", " x"] {
        let event = encode_event(Some("error"), data.as_bytes());
        let read = payloads(&event);
        assert_eq!(read, [data.replace("\r\n", "\n")]);
    }
    assert_eq!(encode_event(None, b"[DONE]").as_ref(), b"data: [DONE]\n\n");
    assert_eq!(encode_comment("a\nb").as_ref(), b": ab\n\n");
}

/// Pieces of streams that meet at awkward places.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let atom = prop::sample::select(vec![
        "\n",
        "\r",
        "\r\n",
        "\n\n",
        "\r\n\r\n",
        "data: x",
        "data:",
        "data",
        ": c",
        ":",
        "event: e",
        "id: 1",
        "\u{feff}",
        "\u{85}",
        "\u{2028}",
        " ",
        "{\"a\":1}",
        "data: [DONE]",
    ]);
    prop::collection::vec(atom, 0..24).prop_map(|atoms| atoms.concat().into_bytes())
}

proptest! {
    #[test]
    fn every_split_gives_the_same_events(stream in stream()) {
        let whole = decode([stream.as_slice()]);
        prop_assert_eq!(&decode(stream.chunks(1)), &whole);
        for cut in 0..=stream.len() {
            let (head, tail) = stream.split_at(cut);
            prop_assert_eq!(&decode([head, tail]), &whole);
        }
        let raws = whole.0.iter().chain(&whole.1).flat_map(|event| event.raw.to_vec());
        let text = stream.strip_prefix(BOM).unwrap_or(&stream);
        prop_assert_eq!(raws.collect::<Vec<u8>>(), text.to_vec());
    }

    #[test]
    fn data_is_what_the_living_standard_says(mut stream in stream()) {
        // The last CR would wait for an LF; give it one.
        stream.push(b'\n');
        prop_assert_eq!(payloads(&stream), by_the_standard(&stream));
    }
}

/// The standard's own words in the plainest form: split into lines, gather data, dispatch at blank lines.
fn by_the_standard(stream: &[u8]) -> Vec<String> {
    let text = String::from_utf8(stream.to_vec()).unwrap();
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text).replace("\r\n", "\n").replace('\r', "\n");
    let mut lines: Vec<&str> = text.split('\n').collect();
    lines.pop();
    let mut found = Vec::new();
    let mut data: Option<String> = None;
    for line in lines {
        if line.is_empty() {
            found.extend(data.take());
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        if field == "data" {
            let value = value.strip_prefix(' ').unwrap_or(value);
            data = Some(data.map_or_else(|| value.to_owned(), |before| format!("{before}\n{value}")));
        }
    }
    found
}

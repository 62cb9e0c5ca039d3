//! JSON texts, each as the whole body and as a member of a valid call: nothing that a parser must reject is forwarded,
//! and what is forwarded arrives as it was.

use base64::Engine as _;
use bytes::Bytes;
use e2e::client::Request;

use crate::scene::Scene;

/// Whether a parser must take the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    Accept,
    Reject,
    Either,
}

/// Our own cases, one of each class.
const OWN: &[(&[u8], Expect)] = &[
    (b"{\"a\":[1,-0.5e+3,\"\\u00e9\\ud83d\\ude00\",true,false,null,{}]}", Expect::Accept),
    (b"\"\\u0000\"", Expect::Accept),
    (b"\"\xe2\x80\xa8\x7f\"", Expect::Accept),
    (b" \t\r\n[ ] ", Expect::Accept),
    (b"1e999", Expect::Either),
    (b"\"\\ud800\"", Expect::Either),
    (b"123456789012345678901234567890.5", Expect::Accept),
    (b"", Expect::Reject),
    (b"[1,]", Expect::Reject),
    (b"[,1]", Expect::Reject),
    (b"{\"a\":1,}", Expect::Reject),
    (b"{'a':1}", Expect::Reject),
    (b"{a:1}", Expect::Reject),
    (b"{\"a\"}", Expect::Reject),
    (b"[1}", Expect::Reject),
    (b"[1", Expect::Reject),
    (b"1]", Expect::Reject),
    (b"01", Expect::Reject),
    (b"1.", Expect::Reject),
    (b".1", Expect::Reject),
    (b"+1", Expect::Reject),
    (b"0x1f", Expect::Reject),
    (b"NaN", Expect::Reject),
    (b"-Infinity", Expect::Reject),
    (b"TRUE", Expect::Reject),
    (b"nul", Expect::Reject),
    (b"\"\n\"", Expect::Reject),
    (b"\"\x00\"", Expect::Reject),
    (b"\"\\x41\"", Expect::Reject),
    (b"\"\\u12\"", Expect::Reject),
    (b"\"\xff\"", Expect::Reject),
    (b"\"\xc0\xaf\"", Expect::Reject),
    (b"\"\xed\xa0\x80\"", Expect::Reject),
    (b"\xef\xbb\xbf{}", Expect::Reject),
    (b"{} // note", Expect::Reject),
    (b"/* note */ {}", Expect::Reject),
    (b"\xc2\xa0{}", Expect::Reject),
    (b"{\"a\":1,\"a\":1}", Expect::Reject),
    (b"[{\"a\":1,\"\\u0061\":2}]", Expect::Reject),
];

/// Sends the text in both places and looks at what arrived.
async fn hold(scene: &Scene, name: &str, text: &[u8], expect: Expect) {
    let before = scene.upstream.count();
    let send = async |body: Vec<u8>| {
        let request = Request::post("/v1/chat/completions", &scene.key.secret, Bytes::from(body));
        scene.gateway.fetch(&request).await
    };
    let whole = send(text.to_vec()).await;
    assert_eq!(whole.status, 400, "{name} as the body: {:?}", whole.body);
    assert_eq!(scene.upstream.count(), before, "{name} as the body was forwarded");

    let head = br#"{"model":"mock","messages":[{"role":"user","content":"hi"}],"max_tokens":5,"metadata":"#;
    let member = send([head, text, b"}"].concat()).await;
    match expect {
        Expect::Accept => assert_eq!(member.status, 200, "{name} as a member: {:?}", member.body),
        Expect::Reject => assert_eq!(member.status, 400, "{name} as a member: {:?}", member.body),
        Expect::Either => assert!(matches!(member.status, 200 | 400), "{name} as a member: {:?}", member.body),
    }
    if member.status == 200 {
        let arrived = &scene.upstream.received()[before].body;
        let ends = [br#""metadata":"#, text, b"}"].concat();
        assert!(arrived.ends_with(&ends), "{name} arrived as {}", String::from_utf8_lossy(arrived));
    } else {
        assert_eq!(scene.upstream.count(), before, "{name} as a member was forwarded");
    }
}

#[tokio::test]
async fn texts_of_every_class_are_refused_or_arrive_as_they_were() {
    let scene = Scene::new().await;
    for (text, expect) in OWN {
        hold(&scene, &String::from_utf8_lossy(text), text, *expect).await;
    }
}

/// The public collection of parsing cases, where a folder with it is named.
#[tokio::test]
async fn the_public_parsing_cases_hold() {
    let Some(folder) = std::env::var_os("WEIR_CASES") else { return };
    let lines = std::fs::read_to_string(std::path::Path::new(&folder).join("json_parsing.jsonl")).unwrap();
    let scene = Scene::new().await;
    for line in lines.lines() {
        let case: serde_json::Value = serde_json::from_str(line).unwrap();
        let name = case["name"].as_str().unwrap();
        let text = base64::engine::general_purpose::STANDARD.decode(case["bytes_base64"].as_str().unwrap()).unwrap();
        let expect = match case["expect"].as_str().unwrap() {
            // The collection calls duplicate members fine; Weir refuses them on purpose.
            "accept" if name.contains("duplicated_key") => Expect::Reject,
            "accept" => Expect::Accept,
            "reject" => Expect::Reject,
            _ => Expect::Either,
        };
        hold(&scene, name, &text, expect).await;
    }
}

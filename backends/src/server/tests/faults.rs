//! What wrong requests get, and doors that do not open.

use super::*;
use std::os::unix::fs::PermissionsExt;

#[tokio::test]
async fn wrong_requests_get_their_own_errors() {
    let mut house = House::new(ScriptedOptions { context_tokens_max: 100, ..ScriptedOptions::default() });
    let chat = |extra| chat_body("hi", extra);
    let prompt = |prompt: Value, extra: Value| {
        let mut body = json!({"model": "scripted", "prompt": prompt});
        merge(&mut body, extra);
        body
    };
    let table = [
        (CHAT, chat(json!({"model": "other"})), 404, "model_not_found", Some("model")),
        (CHAT, chat(json!({"max_tokens": 92})), 400, "context_length_exceeded", Some("messages")),
        (CHAT, chat(json!({"max_tokens": 0})), 400, "invalid_value", Some("max_tokens")),
        (CHAT, chat(json!({"n": 0})), 400, "invalid_value", Some("n")),
        (CHAT, chat(json!({"temperature": 3})), 400, "invalid_value", Some("temperature")),
        (CHAT, chat(json!({"messages": []})), 400, "invalid_value", Some("messages")),
        (CHAT, chat(json!({"messages": 7})), 400, "invalid_request", None),
        (CHAT, chat(json!({"top_logprobs": 3})), 400, "invalid_value", Some("top_logprobs")),
        (CHAT, chat(json!({"tool_choice": "required"})), 400, "unsupported_parameter", Some("tool_choice")),
        (
            CHAT,
            chat(json!({"response_format": {"type": "json_object"}})),
            400,
            "unsupported_parameter",
            Some("response_format"),
        ),
        (COMPLETIONS, prompt(json!("x".repeat(101)), json!({})), 400, "context_length_exceeded", Some("prompt")),
        (COMPLETIONS, prompt(json!(""), json!({})), 400, "invalid_value", Some("prompt")),
        (COMPLETIONS, prompt(json!([1_000_000]), json!({})), 400, "invalid_value", Some("prompt")),
        (COMPLETIONS, prompt(json!("a"), json!({"best_of": 3})), 400, "unsupported_parameter", Some("best_of")),
        (
            COMPLETIONS,
            prompt(json!("a"), json!({"echo": true, "logprobs": 1})),
            400,
            "unsupported_parameter",
            Some("echo"),
        ),
        ("/v1/nothing", json!({}), 404, "unknown_url", None),
        ("/v1/models", json!({}), 405, "method_not_allowed", None),
        ("/weir/calls/nobody/allowance", json!({"tokens_total": 1}), 404, "unknown_call", None),
    ];
    for (path, body, status, code, param) in table {
        let (got, error) = house.post(path, &body).await;
        let error = &error["error"];
        assert_eq!((got.as_u16(), &error["code"]), (status, &json!(code)), "{path} {body}");
        assert_eq!(error["param"].as_str(), param, "{path} {body}");
        assert_eq!(error["type"], "invalid_request_error");
        assert!(!error["message"].as_str().unwrap().is_empty());
    }
    let (_, body) = house.post(CHAT, &chat(json!({"max_tokens": 92}))).await;
    let message = body["error"]["message"].as_str().unwrap();
    assert!(message.contains("100 tokens") && message.contains("101 tokens"), "both numbers: {message}");
    house.freed().await;
}

#[tokio::test]
async fn bodies_that_are_not_json_or_too_large_are_refused() {
    let mut house = House::new(ScriptedOptions::default());
    let deep = format!(r#"{{"model":"scripted","messages":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    for (body, status, code) in [
        ("{".to_owned(), 400, "invalid_json"),
        (r#"{"model":"a","model":"b","messages":[]}"#.to_owned(), 400, "invalid_json"),
        (deep, 400, "invalid_json"),
        (" ".repeat(BODY_BYTES_MAX + 1), 413, "body_too_large"),
    ] {
        let start: String = body.chars().take(40).collect();
        let (got, error) = whole(house.send(request(Method::POST, CHAT, body, &[])).await).await;
        assert_eq!((got.as_u16(), &error["error"]["code"]), (status, &json!(code)), "{start}");
    }
    for header in [("x-weir-call-id", ""), ("x-weir-token-allowance", "many")] {
        let response = house.open(CHAT, &chat_body("hi", json!({})), &[header]).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{header:?}");
    }
}

#[tokio::test]
async fn tools_that_are_not_forced_are_answered_with_text() {
    let mut house = House::new(ScriptedOptions::default());
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {}}}]);
    for extra in [json!({"tools": tools}), json!({"tools": tools, "tool_choice": "auto"}), json!({"tool_choice": null})]
    {
        let (status, body) = house.post(CHAT, &chat_body("hi", extra)).await;
        assert_eq!(status, StatusCode::OK, "{body}");
    }
}

#[tokio::test]
async fn a_folder_that_others_may_enter_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("made/by/the engine");
    let socket = inside.join("engine.sock");
    let listener = listen::unix(&socket).unwrap();
    assert_eq!(std::fs::metadata(&inside).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(matches!(listen::unix(&socket), Err(listen::ListenError::InUse(_))), "somebody listens");
    drop(listener);
    drop(listen::unix(&socket).expect("a socket that nobody listens on is taken away"));
    for mode in [0o755, 0o710, 0o701] {
        std::fs::set_permissions(&inside, std::fs::Permissions::from_mode(mode)).unwrap();
        assert!(matches!(listen::unix(&socket), Err(listen::ListenError::Open { .. })), "{mode:o}");
    }
    std::fs::set_permissions(&inside, std::fs::Permissions::from_mode(0o700)).unwrap();
    std::fs::remove_file(&socket).unwrap();
    std::fs::write(&socket, "precious").unwrap();
    assert!(matches!(listen::unix(&socket), Err(listen::ListenError::InUse(_))), "not a socket");
    assert!(matches!(listen::unix("bare.sock".as_ref()), Err(listen::ListenError::NoFolder(_))));
}

#[tokio::test]
async fn the_tcp_door_wants_the_secret_on_every_endpoint() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, "a secret of some length").unwrap();
    let secret = secret::Secret::read(&format!("file:{}", file.display())).unwrap();
    let executor = Box::new(ScriptedExecutor::new(ScriptedOptions::default(), "scripted"));
    let language: Arc<dyn Language> = Arc::new(ScriptedLanguage::default());
    let meters = Meters::new("scripted").unwrap();
    let metrics = meters.handle();
    let (engine, _) = Engine::start(Scheduler::new(executor, language.clone(), meters)).unwrap();
    let app = router(Arc::new(Served { engine, language, name: "scripted".into(), metrics, created: 1 }));
    let listener = listen::tcp("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { listen::serve_tcp(listener, app, secret, std::future::pending()).await.unwrap() });
    for (path, header, status) in [
        ("/health", None, 401),
        ("/weir/pages", Some("Bearer wrong"), 401),
        ("/nothing", None, 401),
        ("/health", Some("Basic a secret of some length"), 401),
        ("/health", Some("Bearer a secret of some length"), 200),
    ] {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tasks.spawn(async move { connection.await.unwrap_or_default() });
        let headers: Vec<(&str, &str)> = header.iter().map(|value| ("authorization", *value)).collect();
        let response = sender.send_request(request(Method::GET, path, String::new(), &headers)).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{path} {header:?}");
    }
}

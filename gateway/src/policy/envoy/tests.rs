use super::*;
use crate::policy::input::tests::subject;

fn json(value: &Value) -> serde_json::Value {
    serde_json::to_value(value).unwrap()
}

#[test]
fn the_document_is_the_one_that_envoys_policies_know() {
    let subject = subject("acme/research", &["developer"]);
    let mut headers = HeaderMap::new();
    let lines = [
        ("host", "weir.example"),
        ("authorization", "Bearer wr_secret"),
        ("cookie", "session=1"),
        ("x-api-key", "k"),
        ("x-odd", "my wr_key"),
        ("x-weir-tenant", "other"),
        ("x-team", "red"),
        ("x-team", "blue"),
    ];
    for (name, value) in lines {
        headers.append(name, value.parse().unwrap());
    }
    let http = HttpInput {
        id: uuid::Uuid::nil(),
        host: "weir.example",
        method: "POST",
        target: "/v1/chat%2Fx/y?a=1&a=2+3&b",
        scheme: "https",
        protocol: "HTTP/2",
        headers: &headers,
        body: br#"{"model":"small"}"#,
        source: Some(([192, 0, 2, 7], 4711).into()),
        destination: None,
    };
    let mut input = Input { http: Some(http), ..Input::visible(&subject, None, "small") };
    let found = json(&document(&input));
    let expected = serde_json::json!({
        "id": "00000000-0000-0000-0000-000000000000", "method": "POST", "path": "/v1/chat%2Fx/y?a=1&a=2+3&b",
        "host": "weir.example", "scheme": "https", "protocol": "HTTP/2", "size": 17, "body": "{\"model\":\"small\"}",
        "headers": {
            ":authority": "weir.example", ":method": "POST", ":path": "/v1/chat%2Fx/y?a=1&a=2+3&b", ":scheme": "https",
            "host": "weir.example", "x-team": "red,blue",
        },
    });
    assert_eq!(found["attributes"]["request"]["http"], expected);
    let socket = &found["attributes"]["source"]["address"]["socketAddress"];
    assert_eq!(*socket, serde_json::json!({"address": "192.0.2.7", "portValue": 4711}));
    assert_eq!(found["attributes"]["destination"], serde_json::json!({}));
    assert_eq!(found["parsed_path"], serde_json::json!(["v1", "chat/x", "y"]));
    assert_eq!(found["parsed_query"], serde_json::json!({"a": ["1", "2 3"], "b": [""]}));
    assert_eq!(found["parsed_body"], serde_json::json!({"model": "small"}));
    assert_eq!(found["truncated_body"], false);
    assert_eq!(found["weir"], json(&input.to_value()));
    input.http = Some(HttpInput { body: b"", ..http });
    assert!(json(&document(&input)).get("parsed_body").is_none());
}

#[test]
fn an_answer_for_envoy_is_judged_like_any_other() {
    let table = [
        ("true", "granted"),
        ("false", "policy_denied"),
        (r#"{"allowed":true,"headers":{"x-user":"a"},"http_status":201,"body":"ok"}"#, "granted"),
        (r#"{"allowed":true,"response_headers_to_add":{"x-checked":"yes"}}"#, "granted x-checked=yes"),
        (r#"{"allowed":true,"response_headers_to_add":[{"x-a":"1"},{"x-b":"2"}]}"#, "granted x-a=1 x-b=2"),
        (r#"{"allowed":true,"response_headers_to_add":{"set-cookie":"a"}}"#, "policy_wrong_obligation"),
        (r#"{"allowed":true,"response_headers_to_add":[1]}"#, "policy_wrong_obligation"),
        (r#"{"allowed":true,"request_headers_to_remove":["x"],"dynamic_metadata":{"a":1}}"#, "granted"),
        (r#"{"allowed":false,"http_status":402,"body":"pay first"}"#, "pay first 402"),
        (r#"{"allowed":false,"http_status":302}"#, "policy_status"),
        (r#"{"allowed":false,"body":"","headers":{"a":"b"}}"#, "policy_denied"),
        (r#"{"allowed":false,"body":{"a":1}}"#, "policy_reason_type"),
        (r#"{"allowed":"yes"}"#, "policy_allow_type"),
        (r#"{"headers":{}}"#, "policy_unknown_member"),
        (r#"{"allowed":true,"surprise":1}"#, "policy_unknown_member"),
        ("1", "policy_number"),
    ];
    for (answer, expected) in table {
        let value = decision(Value::from_json_str(answer).unwrap());
        let found = match super::super::permit::judge(&value, "data.envoy.authz.allow", "small").verdict {
            Ok(permit) => {
                let headers = permit.obligations().headers.iter().map(|(name, value)| format!(" {name}={value}"));
                format!("{}{}", permit.reason(), headers.collect::<String>())
            }
            Err(denied) => {
                let status = denied.status.map(|status| format!(" {status}")).unwrap_or_default();
                format!("{}{status}", denied.reason)
            }
        };
        assert_eq!(found, expected, "{answer}");
    }
    assert_eq!(decision(Value::Undefined), Value::Undefined);
}

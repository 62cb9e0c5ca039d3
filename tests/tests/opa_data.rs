//! OPA's data API on the admin listener, asked as tools that know OPA ask it.

use e2e::client::{Fetched, Request};
use e2e::config::ADMIN_TOKEN;
use serde_json::json;

use crate::scene::Scene;

#[tokio::test]
async fn any_document_of_the_policy_is_evaluated_as_opa_does() {
    let scene = Scene::new().await;
    let admin = scene.gateway.admin;
    let ask = async |method: &str, path: &str, body: &str| -> Fetched {
        let request = Request { method: method.into(), ..Request::post(path, ADMIN_TOKEN, body.to_owned()) };
        request.fetch(admin).await
    };
    let decision = "/v1/data/weir/authz/decision";
    let input = json!({"subject": {"levels": ["acme"], "roles": [], "tenant": "acme"}, "request": {"model": "mock"}});
    let found = ask("POST", decision, &json!({"input": input}).to_string()).await;
    assert_eq!(found.status, 200, "{}", found.json());
    let found = found.json();
    assert!(found["result"]["allow"].is_boolean() && found["decision_id"].is_string(), "{found}");
    assert!(found.get("warning").is_none(), "{found}");
    // Data lies there too, and what isn't there has no result.
    assert_eq!(ask("POST", "/v1/data/weir/grants/acme", r#"{"input":1}"#).await.json()["result"], json!(["*"]));
    assert_eq!(ask("GET", "/v1/data/weir/grants/acme/0", "").await.json()["result"], json!("*"));
    let none = ask("POST", "/v1/data/weir/none", "").await.json();
    assert!(none.get("result").is_none(), "{none}");
    assert_eq!(none["warning"]["code"], "api_usage_warning");
    let more = ask("GET", &format!("{decision}?input=%7B%7D&metrics=true&provenance&pretty=true"), "").await;
    assert!(more.body.windows(2).any(|pair| pair == b"\n "), "indented");
    let more = more.json();
    assert!(
        more["metrics"]["timer_rego_query_eval_ns"].is_u64() && more["provenance"]["version"].is_string(),
        "{more}"
    );
    for body in ["{", "[]", r#"{"input":1,"input":2}"#] {
        let refused = ask("POST", decision, body).await;
        assert_eq!((refused.status, &refused.json()["code"]), (400, &json!("invalid_parameter")), "{body}");
    }
    assert_eq!(ask("POST", decision, &" ".repeat(3_000_000)).await.status, 413);
    let stranger = Request::post(decision, &scene.key.secret, "{}".to_owned()).fetch(admin).await;
    assert_eq!(stranger.status, 401, "a key for calls asks nothing");
    assert_eq!(Request::get("/health").fetch(admin).await.json(), json!({}));
    assert_eq!(scene.upstream.count(), 0);
}

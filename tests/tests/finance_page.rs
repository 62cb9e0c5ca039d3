//! The finance page: signing in and out, what a cookie may do and what not, and in a real browser whether what is shown
//! is what the ledger says.

use std::time::{Duration, Instant};

use e2e::client::{Fetched, Request};
use e2e::clock;
use e2e::config::{ADMIN_TOKEN, Config};
use e2e::gateway::Gateway;
use e2e::say;
use e2e::sdk::Chapter;
use e2e::upstream::{Script, Upstream};
use serde_json::{Value, json};

/// Who signed in, as a browser keeps it.
#[derive(Clone)]
struct Browser {
    cookie: String,
    csrf: String,
    about: Value,
}

fn session_request(method: &str, body: &Value) -> Request {
    let request = Request { method: method.into(), ..Request::post("/session", "", body.to_string()) };
    request.without("authorization")
}

async fn sign_in(gateway: &Gateway, key: &str) -> Browser {
    let reply = session_request("POST", &json!({"key": key})).fetch(gateway.admin).await;
    assert_eq!(reply.status, 201, "{:?}", String::from_utf8_lossy(&reply.body));
    let set = reply.head.get("set-cookie").expect("a cookie").to_owned();
    assert!(set.contains("; HttpOnly; SameSite=Strict; Max-Age="), "{set}");
    let cookie = set.split(';').next().unwrap().to_owned();
    let about = reply.json();
    Browser { cookie, csrf: about["csrf"].as_str().unwrap().to_owned(), about }
}

impl Browser {
    fn request(&self, method: &str, path: &str, body: &str) -> Request {
        let request = Request { method: method.into(), ..Request::post(path, "", body.to_owned()) };
        request.without("authorization").header("cookie", &self.cookie)
    }

    async fn get(&self, gateway: &Gateway, path: &str) -> Fetched {
        self.request("GET", path, "").fetch(gateway.admin).await
    }

    async fn change(&self, gateway: &Gateway, method: &str, path: &str, body: &str) -> Fetched {
        self.request(method, path, body).header("x-csrf-token", &self.csrf).fetch(gateway.admin).await
    }
}

async fn admin_key(gateway: &Gateway, words: &[&str]) -> (String, String) {
    let made = gateway.weir(&[&["key", "create", "--json", "--admin"], words].concat()).await.json();
    let text = |name: &str| made[name].as_str().unwrap_or_else(|| panic!("no {name}: {made}")).to_owned();
    (text("id"), text("key"))
}

/// A gateway without calls.
async fn quiet(more: &str) -> (Upstream, Gateway) {
    let upstream = Upstream::start().await;
    let config = Config::with(&upstream).tenant("globex", "");
    let gateway = Gateway::prepare(&if more.is_empty() { config } else { config.section(more) });
    (upstream, gateway)
}

#[tokio::test]
async fn a_cookie_is_another_credential_of_the_same_administrator() {
    let (_upstream, mut gateway) = quiet("").await;
    let (_, finance) = admin_key(&gateway, &["finance", "--tenant", "acme"]).await;
    let call_key = gateway.key("acme").await;
    gateway.spawn().await;
    for wrong in ["", "wrong", &call_key.secret, &format!("{finance}x")] {
        let refused = session_request("POST", &json!({"key": wrong})).fetch(gateway.admin).await;
        assert_eq!((refused.status, refused.head.get("set-cookie")), (401, None), "{wrong}");
    }
    let ada = sign_in(&gateway, &finance).await;
    assert_eq!((&ada.about["role"], &ada.about["tenant"]), (&json!("finance"), &json!("acme")));
    assert!(!finance.contains(&ada.cookie) && !ada.cookie.contains(&finance[5..]), "the cookie holds no key");
    assert_eq!(ada.get(&gateway, "/session").await.json(), ada.about, "the page learns it anew when it is loaded");
    assert_eq!(ada.get(&gateway, "/admin/v1/usage").await.status, 200);
    assert_eq!(ada.get(&gateway, "/admin/v1/keys").await.status, 403, "the policy decides as for a bearer");
    assert_eq!(ada.get(&gateway, "/admin/v1/usage?tenant=globex").await.status, 403);
    let both = ada.request("GET", "/admin/v1/usage", "").header("authorization", "Bearer wrong");
    assert_eq!(both.fetch(gateway.admin).await.status, 401, "a wrong bearer is not made good by a cookie");
    for other in ["http://evil.example", "http://127.0.0.1:1", "null"] {
        let forged = ada.request("GET", "/admin/v1/usage", "").header("origin", other);
        assert_eq!(forged.fetch(gateway.admin).await.status, 403, "{other}");
    }
    let owner = sign_in(&gateway, ADMIN_TOKEN).await;
    assert_eq!((&owner.about["role"], &owner.about["tenant"]), (&json!("owner"), &Value::Null));
    let new = r#"{"tenant": "acme"}"#;
    let plain = owner.request("POST", "/admin/v1/keys", new);
    for csrf in [None, Some(""), Some("wrong"), Some(ada.csrf.as_str())] {
        let request = csrf.map_or_else(|| plain.clone(), |csrf| plain.clone().header("x-csrf-token", csrf));
        let refused = request.fetch(gateway.admin).await;
        assert_eq!(refused.status, 403, "{csrf:?}");
        assert!(String::from_utf8_lossy(&refused.body).contains("x-csrf-token"), "{csrf:?}");
    }
    for site in ["cross-site", "same-site", "none"] {
        let forged = plain.clone().header("x-csrf-token", &owner.csrf).header("sec-fetch-site", site);
        assert_eq!(forged.fetch(gateway.admin).await.status, 403, "{site}");
    }
    assert_eq!(owner.change(&gateway, "POST", "/admin/v1/keys", new).await.status, 201);
    assert_eq!(gateway.metric("weir_admin_sessions", "").await, 2.0);
    assert_eq!(gateway.metric("weir_admin_sign_ins_total", "refused").await, 4.0);
}

#[tokio::test]
async fn a_session_ends_with_sign_out_with_its_key_and_with_the_owners_token() {
    let (_upstream, mut gateway) = quiet("").await;
    let (id, key) = admin_key(&gateway, &["auditor"]).await;
    gateway.spawn().await;
    let (kept, left) = (sign_in(&gateway, &key).await, sign_in(&gateway, &key).await);
    assert_eq!(left.request("DELETE", "/session", "").fetch(gateway.admin).await.status, 403, "without its token");
    assert_eq!(left.get(&gateway, "/session").await.status, 200);
    let out = left.change(&gateway, "DELETE", "/session", "").await;
    assert_eq!(out.status, 204);
    assert!(
        out.head.get("set-cookie").is_some_and(|set| set.starts_with("weir_session=; ") && set.contains("Max-Age=0"))
    );
    assert_eq!(left.get(&gateway, "/admin/v1/usage").await.status, 401, "the signed-out cookie is nobody's");
    assert_eq!(left.change(&gateway, "DELETE", "/session", "").await.status, 401);
    assert_eq!(kept.get(&gateway, "/admin/v1/usage").await.status, 200, "another browser's session holds on");
    gateway.weir(&["key", "revoke", &id]).await;
    let revoked = Instant::now();
    clock::eventually("the key's session ends", async || {
        (kept.get(&gateway, "/admin/v1/usage").await.status == 401).then_some(())
    })
    .await;
    assert!(revoked.elapsed() < Duration::from_secs(1), "ended after {:?}", revoked.elapsed());
    let owner = sign_in(&gateway, ADMIN_TOKEN).await;
    gateway.write("admin_token", "another-token-of-the-owner");
    clock::eventually("the old token's session ends", async || {
        (owner.get(&gateway, "/admin/v1/usage").await.status == 401).then_some(())
    })
    .await;
    let events = async || {
        let lines = gateway.weir(&["audit", "list", "--json", "--limit", "1000"]).await.json();
        let event =
            |line: &Value| line["event"].as_str().filter(|event| event.starts_with("admin_sign")).map(str::to_owned);
        let events: Vec<String> = lines.as_array().into_iter().flatten().filter_map(event).collect();
        (events.len() >= 4).then_some(events)
    };
    let noted = clock::eventually("notes of sign-ins", events).await;
    assert_eq!(noted, ["admin_signed_in", "admin_signed_in", "admin_signed_out", "admin_signed_in"]);
}

#[tokio::test]
async fn attempts_are_throttled_sessions_run_out_and_the_page_needs_an_owner() {
    let upstream = Upstream::start().await;
    let config = Config::with(&upstream);
    let mut gateway = Gateway::prepare(&config);
    let yaml = config.yaml(gateway.address.port(), gateway.admin.port());
    let short = yaml.replace("token: \"file:./admin_token\"", "token: \"file:./admin_token\", session_idle_s: 10");
    assert_ne!(short, yaml);
    gateway.write("gateway.yaml", &short);
    gateway.spawn().await;
    for path in ["/", "/page/app.js", "/page/style.css"] {
        let page = Request::get(path).fetch(gateway.admin).await;
        let header = |name: &str| page.head.get(name).unwrap_or_default().to_owned();
        assert_eq!(page.status, 200, "{path}");
        let policy = header("content-security-policy");
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        let fixed = [("cache-control", "no-store"), ("x-content-type-options", "nosniff"), ("x-frame-options", "DENY")];
        assert!(fixed.iter().all(|(name, value)| header(name) == *value), "{path}: {:?}", page.head);
    }
    assert_eq!(Request::get("/page/nothing.js").fetch(gateway.admin).await.status, 404);
    assert_eq!(Request::get("/page/..%2f..%2fgateway.yaml").fetch(gateway.admin).await.status, 404);
    let mut answers = Vec::new();
    for _ in 0..30 {
        answers.push(session_request("POST", &json!({"key": "guess"})).fetch(gateway.admin).await);
    }
    let throttled: Vec<&Fetched> = answers.iter().filter(|reply| reply.status == 429).collect();
    assert!(answers.len() - throttled.len() >= 20 && throttled.len() >= 8, "{}", throttled.len());
    let wait = |reply: &&Fetched| reply.head.get("retry-after").and_then(|wait| wait.parse::<u64>().ok());
    assert!(throttled.iter().all(|reply| wait(reply).is_some_and(|wait| (1..=60).contains(&wait))));
    gateway.write("gateway.yaml", &yaml.replace(", token: \"file:./admin_token\"", ""));
    clock::eventually("no owner, no page", async || {
        let statuses = [Request::get("/"), session_request("POST", &json!({"key": ADMIN_TOKEN}))];
        let all = [statuses[0].fetch(gateway.admin).await.status, statuses[1].fetch(gateway.admin).await.status];
        (all[0] == 404 && [404, 429].contains(&all[1])).then_some(())
    })
    .await;
}

/// Calls by tenant and model: prompt and completion tokens of each.
const CALLS: [(&str, &str, u64, u64); 9] = [
    ("acme/research/chat/ada", "mock", 100_003, 7),
    ("acme/research/chat/ada", "other", 13, 40_001),
    ("acme/research/chat", "mock", 1, 1),
    ("acme/research/search", "mock", 999_999, 123_457),
    ("acme/research", "other", 77, 5),
    ("acme/ops", "mock", 21, 2),
    ("globex/sales/web", "mock", 31, 3),
    ("globex", "other", 41, 4),
    ("initech/x", "other", 51, 5),
];

/// Three tenants' calls, through the scripted provider.
async fn traffic() -> (Upstream, Gateway) {
    let upstream = Upstream::start().await;
    let monthly =
        |dollars: &str| format!("limit_rules: [{{ name: monthly, what: money, dollars: \"{dollars}\", per: month }}]");
    let config = Config::with(&upstream).tenant("globex", &monthly("5")).tenant("initech", &monthly("7.5"));
    let mut gateway = Gateway::prepare(&config.deployment("other", "other-a", &upstream.base_url(), ""));
    let mut keys = Vec::new();
    for (tenant, ..) in CALLS {
        keys.push(gateway.key(tenant).await);
    }
    gateway.spawn().await;
    for ((_, model, prompt, completion), key) in CALLS.iter().zip(&keys) {
        upstream.next(Script::json(200, say::answer("hello", *prompt, *completion)));
        let reply = gateway.fetch(&Request::chat(&key.secret, &say::chat(model, "hi", false))).await;
        assert_eq!(reply.status, 200);
    }
    gateway.usage_rows(CALLS.len()).await;
    (upstream, gateway)
}

/// The ledger's own sums: nano-dollars by group, paths cut off below a depth.
async fn ledger(gateway: &Gateway, words: &[&str], depth: usize) -> Value {
    let report = gateway.weir(&[&["usage", "report", "--json"], words].concat()).await.json();
    let mut sums = std::collections::BTreeMap::<String, i128>::new();
    for row in report["rows"].as_array().expect("rows") {
        let group = row["group"].as_str().expect("a group");
        let level = group.split('/').take(depth).collect::<Vec<_>>().join("/");
        *sums.entry(level).or_default() += i128::from(row["cost_nano"].as_i64().expect("nano-dollars"));
    }
    json!(sums.into_iter().map(|(group, nano)| (group, nano.to_string())).collect::<std::collections::BTreeMap<_, _>>())
}

#[tokio::test]
async fn a_csv_is_the_report_and_keeps_to_its_readers_tenant() {
    let (_upstream, gateway) = traffic().await;
    let (_, viewer) = admin_key(&gateway, &["finance", "--tenant", "globex"]).await;
    let ask = async |key: &str, query: &str| {
        let path = format!("/admin/v1/usage?{query}");
        Request::get(&path).header("authorization", &format!("Bearer {key}")).fetch(gateway.admin).await
    };
    clock::eventually("the key is known", async || (ask(&viewer, "").await.status == 200).then_some(())).await;
    let query = "by=tenant,model&level=org&order=cost";
    let csv = ask(ADMIN_TOKEN, &format!("{query}&format=csv")).await;
    assert_eq!(csv.head.get("content-type"), Some("text/csv; charset=utf-8"));
    assert!(csv.head.get("content-disposition").is_some_and(|kind| kind.starts_with("attachment")));
    let report = ask(ADMIN_TOKEN, query).await.json();
    let rows = report["rows"].as_array().expect("rows");
    let line = |row: &Value| {
        let nano = row["cost_nano"].as_i64().expect("nano-dollars");
        let (groups, whole, rest) = (&row["groups"], nano / 1_000_000_000, nano % 1_000_000_000);
        let counts = ["calls", "attempts", "input_tokens", "cache_read_tokens", "output_tokens", "estimated"];
        let counts = counts.map(|name| row[name].to_string()).join(",");
        let text = |at: usize| groups[at].as_str().expect("a group").to_owned();
        format!("{},{},{counts},{whole}.{rest:09}\r\n", text(0), text(1))
    };
    let head = "tenant,model,calls,attempts,input_tokens,cache_read_tokens,output_tokens,estimated,cost_usd\r\n";
    let lines: String = rows.iter().map(line).collect();
    assert_eq!(String::from_utf8_lossy(&csv.body), format!("{head}{lines}"));
    let costs: Vec<i64> = rows.iter().filter_map(|row| row["cost_nano"].as_i64()).collect();
    assert!(costs.len() == 5 && costs.is_sorted_by(|a, b| a >= b), "{costs:?}");
    let own = ask(&viewer, "format=csv").await;
    let own = String::from_utf8_lossy(&own.body).into_owned();
    assert!(own.contains("globex") && !own.contains("acme") && !own.contains("initech"), "{own}");
    for foreign in ["tenant=acme", "tenant=acme/research", "tenant=globexx", "tenant=initech&by=model"] {
        let refused = ask(&viewer, &format!("{foreign}&format=csv")).await;
        assert_eq!(refused.status, 403, "{foreign}");
        assert!(!String::from_utf8_lossy(&refused.body).contains("000"), "{foreign}");
    }
    assert_eq!(ask(ADMIN_TOKEN, "format=xls").await.status, 400);
    assert_eq!(ask(ADMIN_TOKEN, "order=size").await.status, 400);
}

/// What a key's holder is told of budgets, each checked against the ledger: name, cap, spent, left.
async fn budgets(gateway: &Gateway, key: &str) -> Vec<[String; 4]> {
    let asked = Request::get("/admin/v1/budgets").header("authorization", &format!("Bearer {key}"));
    let look = async || Some(asked.fetch(gateway.admin).await).filter(|reply| reply.status == 200);
    let told = clock::eventually("budgets are told", look).await.json();
    let mut all = Vec::new();
    for budget in told["budgets"].as_array().expect("budgets") {
        let tenant = budget["tenant"].as_str().expect("a tenant");
        let spent = ledger(gateway, &["--tenant", tenant], 1).await[tenant].as_str().expect("a sum").to_owned();
        assert_eq!(budget["spent_nano"].to_string(), spent, "{budget}");
        let name = format!("{tenant} · {}", budget["name"].as_str().expect("a name"));
        all.push([name, budget["cap_nano"].to_string(), spent, budget["left_nano"].to_string()]);
    }
    all
}

#[tokio::test]
async fn the_page_shows_what_the_ledger_says_to_the_nano_dollar_and_nothing_of_others() {
    let (_upstream, gateway) = traffic().await;
    let (id, viewer) = admin_key(&gateway, &["finance", "--tenant", "globex"]).await;
    let folder = tempfile::tempdir().expect("room for a folder");
    let keep = std::env::var_os("WEIR_SCREENSHOTS").map(std::path::PathBuf::from);
    let research = ["--by", "model", "--tenant", "acme/research"];
    let facts = json!({
        "url": format!("http://{}", gateway.admin),
        "owner": ADMIN_TOKEN,
        "viewer": viewer,
        "budgets": { "all": budgets(&gateway, ADMIN_TOKEN).await, "globex": budgets(&gateway, &viewer).await },
        "folder": keep.as_deref().unwrap_or(folder.path()),
        "expected": {
            "all": ledger(&gateway, &[], 1).await,
            "acme": ledger(&gateway, &["--tenant", "acme"], 2).await,
            "research": ledger(&gateway, &["--tenant", "acme/research"], 3).await,
            "research_models": ledger(&gateway, &research, 1).await,
            "research_mock": ledger(&gateway, &["--model", "mock", "--tenant", "acme/research"], 3).await,
            "research_days": ledger(&gateway, &["--by", "day", "--tenant", "acme/research"], 1).await,
            "globex": ledger(&gateway, &["--tenant", "globex"], 2).await,
        },
    });
    let Some(mut chapter) = Chapter::in_browser("finance", &facts).await else { return };
    chapter.event("revoke").await;
    gateway.weir(&["key", "revoke", &id]).await;
    chapter.answer(&json!({})).await;
    assert!(chapter.finish().await > 40);
}

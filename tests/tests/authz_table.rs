//! Every endpoint and every control, as one generated table: a route that is added without its cells fails here.
//!
//! The routes come from the program itself (`weir routes --json`), each cell from a request to a running gateway. What
//! stands in `cases/authz_table.txt` was read and meant; `UPDATE=1` writes it anew.

use std::fmt::Write;
use std::path::Path;

use e2e::client::{Fetched, Request};
use e2e::config::{ADMIN_TOKEN, Config};
use e2e::gateway::{Gateway, outcome};
use e2e::say;
use e2e::upstream::Upstream;
use serde_json::Value;

/// A credential and the column that it makes.
struct Column {
    name: String,
    secret: Option<String>,
}

fn column(name: &str, secret: &str) -> Column {
    Column { name: name.to_owned(), secret: Some(secret.to_owned()) }
}

const ROLES: [&str; 5] = ["owner", "security", "finance", "developer", "auditor"];

async fn routes(listener: &str) -> Vec<Value> {
    let told = e2e::program::run(&["routes", "--json"]).await;
    assert_eq!(told.status, 0, "{}", told.stderr);
    let lines = told.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["listener"] == listener).collect()
}

/// Makes a key, and gives its id and itself.
async fn key(gateway: &Gateway, words: &[&str]) -> (String, String) {
    let made = gateway.weir(&[&["key", "create", "--json"], words].concat()).await.json();
    let text = |name: &str| made[name].as_str().unwrap_or_else(|| panic!("no {name}: {made}")).to_owned();
    (text("id"), text("key"))
}

/// With a tenant of one request a minute for each endpoint.
async fn gateway(endpoints: &[Value]) -> (Upstream, Gateway) {
    let upstream = Upstream::start().await;
    let all = "endpoints: [chat_completions, completions, messages, count_tokens, responses, embeddings, rerank]";
    let config = Config::default()
        .deployment("mock", "mock-a", &upstream.base_url(), all)
        .tenant("acme", "")
        .tenant("small", "limits: { tokens_per_minute: 1 }")
        .tenant_with("path: bare")
        .tenant("out", "")
        .section("request: { body_bytes_max: 65536 }");
    let limited = |config: Config, one: &Value| config.tenant(text(one, "asks"), "limits: { requests_per_minute: 1 }");
    let config = endpoints.iter().fold(config, limited);
    let gateway = Gateway::prepare(&config);
    (upstream, gateway)
}

/// The file as it was meant, compared or written.
fn golden(name: &str, is: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases").join(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, is).unwrap();
    }
    let was = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(was == is, "`{name}` is stale: a route or a control changed. UPDATE=1, and read what changes:\n{is}");
}

fn table(head: &str, columns: &[Column], rows: &[(String, Vec<String>)]) -> String {
    let mut text =
        format!("# {head}\n# One line per route and control; written by `UPDATE=1 cargo nextest run authz_table`.\n");
    for (route, cells) in rows {
        assert_eq!(cells.len(), columns.len(), "{route}");
        for (column, cell) in columns.iter().zip(cells) {
            writeln!(text, "{route:<44} {:<22} {cell}", column.name).unwrap();
        }
    }
    text
}

#[tokio::test]
async fn every_admin_route_with_every_credential() {
    let (_upstream, mut gateway) = gateway(&[]).await;
    let call_key = gateway.key("acme").await;
    let mut columns = vec![
        Column { name: "none".to_owned(), secret: None },
        column("wrong token", "Bearer wrong-wrong-wrong"),
        column("basic scheme", "Basic dTpw"),
        column("key for calls", &format!("Bearer {}", call_key.secret)),
        column("owner's token", &format!("Bearer {ADMIN_TOKEN}")),
    ];
    for role in ROLES {
        columns.push(column(role, &format!("Bearer {}", key(&gateway, &["--admin", role]).await.1)));
    }
    for role in ROLES {
        let (_, secret) = key(&gateway, &["--admin", role, "--tenant", "acme"]).await;
        columns.push(column(&format!("{role} of acme"), &format!("Bearer {secret}")));
    }
    let (_, unknown) = key(&gateway, &["--admin", "janitor"]).await;
    columns.push(column("unknown role", &format!("Bearer {unknown}")));
    let (_, expired) = key(&gateway, &["--admin", "owner", "--expires-in", "1s"]).await;
    columns.push(column("expired", &format!("Bearer {expired}")));
    let (id, revoked) = key(&gateway, &["--admin", "owner"]).await;
    columns.push(column("revoked", &format!("Bearer {revoked}")));
    gateway.weir(&["key", "revoke", &id]).await;
    let (_, disabled) = key(&gateway, &["--admin", "owner", "--tenant", "out/team"]).await;
    columns.push(column("of a disabled tenant", &format!("Bearer {disabled}")));
    gateway.weir(&["tenant", "create", "out/team"]).await;
    gateway.weir(&["tenant", "disable", "out/team"]).await;
    gateway.spawn().await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let mut rows = Vec::new();
    for route in routes("admin").await {
        let (method, path, asks) = (text(&route, "method"), text(&route, "path"), text(&route, "asks"));
        let mut cells = Vec::new();
        for one in &columns {
            // Of nothing that is there: whoever passes the control is told so, and nothing changes.
            let place = path.replace("{id}", "zzzzzzzz").replace("{*path}", "acme/none").replace("{number}", "999");
            let mut request = Request { method: method.into(), ..Request::post(&place, "", "{}") };
            request = request.without("authorization");
            if let Some(secret) = &one.secret {
                request = request.header("authorization", secret);
            }
            cells.push(cell(&request.fetch(gateway.admin).await));
        }
        rows.push((format!("{method} {path} ({asks})"), cells));
    }
    golden("authz_table_admin.txt", &table("Admin listener: who passes", &columns, &rows));
}

fn text<'a>(route: &'a Value, name: &str) -> &'a str {
    route[name].as_str().unwrap_or_else(|| panic!("no {name}: {route}"))
}

fn cell(reply: &Fetched) -> String {
    match reply.status {
        401 => "401 not proven".to_owned(),
        403 => "403 not allowed".to_owned(),
        405 | 500..=599 => panic!("{}: {:?}", reply.status, String::from_utf8_lossy(&reply.body)),
        _ => "passes".to_owned(),
    }
}

/// A control of the data plane, and the request that meets it.
struct Control {
    name: &'static str,
    request: Request,
}

fn call(route: &Value, key: &str, model: &str) -> Request {
    let (method, path) = (text(route, "method"), text(route, "path"));
    let body = say::dialects::request(path, model, false);
    let body = if method == "GET" { String::new() } else { body.to_string() };
    Request { method: method.into(), ..Request::post(path, key, body) }
}

/// The keys of the data plane's columns.
struct Keys {
    good: String,
    admin: String,
    expired: String,
    revoked: String,
    elsewhere: String,
    other_model: String,
    suspended: String,
    bare: String,
    out: String,
    small: String,
}

impl Keys {
    async fn make(gateway: &Gateway) -> Self {
        let (revoked_id, revoked) = key(gateway, &["--tenant", "acme"]).await;
        gateway.weir(&["key", "revoke", &revoked_id]).await;
        let of = async |words: &[&str]| key(gateway, words).await.1;
        let keys = Self {
            good: gateway.key("acme").await.secret,
            admin: of(&["--admin", "owner"]).await,
            expired: of(&["--tenant", "acme", "--expires-in", "1s"]).await,
            revoked,
            elsewhere: of(&["--tenant", "acme", "--ip", "192.0.2.0/24"]).await,
            other_model: of(&["--tenant", "acme", "--model", "other"]).await,
            suspended: of(&["--tenant", "acme", "--role", "suspended"]).await,
            bare: of(&["--tenant", "bare"]).await,
            out: of(&["--tenant", "out/team"]).await,
            small: of(&["--tenant", "small"]).await,
        };
        gateway.weir(&["tenant", "create", "out/team"]).await;
        gateway.weir(&["tenant", "disable", "out/team"]).await;
        keys
    }
}

/// Every control, for one endpoint.
fn controls(route: &Value, keys: &Keys, limited: &str, narrow: &str) -> Vec<Control> {
    let good = &keys.good;
    let unknown = format!("{}0000", &good[..good.len() - 4]);
    let with = |key: &str| call(route, key, "mock");
    let mut huge = with(&keys.good);
    huge.body = vec![b' '; 70_000].into();
    let control = |name, request| Control { name, request };
    vec![
        control("allowed", with(&keys.good)),
        control("no credential", with(&keys.good).without("authorization")),
        control("basic scheme", with(&keys.good).without("authorization").header("authorization", "Basic dTpw")),
        control("mistyped key", with(&unknown)),
        control("administrator's key", with(&keys.admin)),
        control("expired key", with(&keys.expired)),
        control("revoked key", with(&keys.revoked)),
        control("two credentials", with(&keys.good).header("x-api-key", &keys.elsewhere)),
        control(
            "key in the URL",
            Request { path: format!("{}?key={}", text(route, "path"), keys.good), ..with(&keys.good) },
        ),
        control("disabled tenant", with(&keys.out)),
        control("address out of scope", with(&keys.elsewhere)),
        control("endpoint out of scope", with(narrow)),
        control("key of other models", with(&keys.other_model)),
        control("suspended by policy", with(&keys.suspended)),
        control("tenant without grants", with(&keys.bare)),
        control("unknown model", call(route, &keys.good, "nobody")),
        control("too large a body", huge),
        control("tokens used up", with(&keys.small)),
        control("first of one a minute", with(limited)),
        control("request limit", with(limited)),
    ]
}

#[tokio::test]
async fn every_endpoint_with_every_control() {
    let endpoints = routes("data").await;
    let (upstream, mut gateway) = gateway(&endpoints).await;
    let keys = Keys::make(&gateway).await;
    let mut own = Vec::new();
    for route in &endpoints {
        let name = text(route, "asks");
        let limited = key(&gateway, &["--tenant", name]).await.1;
        let other = endpoints.iter().map(|other| text(other, "asks")).find(|other| *other != name).unwrap();
        own.push((limited, key(&gateway, &["--tenant", "acme", "--endpoint", other]).await.1));
    }
    gateway.spawn().await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let mut rows = Vec::new();
    let mut asked = 0;
    let mut names: Vec<Column> = Vec::new();
    for (route, (limited, narrow)) in endpoints.iter().zip(&own) {
        let controls = controls(route, &keys, limited, narrow);
        let mut cells = Vec::new();
        names = controls.iter().map(|control| column(control.name, "")).collect();
        for control in controls {
            let reply = control.request.fetch(gateway.address).await;
            asked += 1;
            let code = if reply.status < 300 { String::new() } else { format!(" {}", reply.code()) };
            cells.push(format!("{}{code}", reply.status));
        }
        rows.push((format!("{} {}", text(route, "method"), text(route, "path")), cells));
    }
    // One record each, whatever was said.
    let records = gateway.audit_calls(asked).await;
    assert_eq!(records.len(), asked);
    let refused = records.iter().filter(|record| outcome(record) == "refused");
    assert!(refused.clone().all(|record| record["reason"].as_str().is_some_and(|reason| !reason.is_empty())));
    let answered = records.iter().filter(|record| outcome(record) == "completed").count();
    assert_eq!(refused.count() + answered, asked);
    assert!(upstream.count() < answered, "what is refused goes nowhere, and lists need nobody");
    golden("authz_table_data.txt", &table("Data plane: what each control answers", &names, &rows));
}

#[tokio::test]
async fn every_route_of_the_token_endpoint_with_every_credential() {
    let upstream = Upstream::start().await;
    let on = "identity: { token_endpoint: { issuer: \"https://weir.example.com\" } }";
    let closed = Gateway::start(&Config::with(&upstream)).await;
    let mut open = Gateway::prepare(&Config::with(&upstream).section(on).tenant("out", ""));
    let (service, secret) = key(&open, &["--tenant", "acme", "--service"]).await;
    let (person, persons) = key(&open, &["--tenant", "acme"]).await;
    let (admin, admins) = key(&open, &["--admin", "owner"]).await;
    let (gone, revoked) = key(&open, &["--tenant", "acme", "--service"]).await;
    open.weir(&["key", "revoke", &gone]).await;
    let (out, outs) = key(&open, &["--tenant", "out/team", "--service"]).await;
    open.weir(&["tenant", "create", "out/team"]).await;
    open.weir(&["tenant", "disable", "out/team"]).await;
    open.spawn().await;
    let basic = |id: &str, secret: &str| {
        use base64::Engine as _;
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{id}:{secret}")))
    };
    let columns = [
        Column { name: "none".to_owned(), secret: None },
        column("service account", &basic(&service, &secret)),
        column("another's secret", &basic(&service, &persons)),
        column("person's key", &basic(&person, &persons)),
        column("administrator's key", &basic(&admin, &admins)),
        column("revoked", &basic(&gone, &revoked)),
        column("of a disabled tenant", &basic(&out, &outs)),
        column("bearer", &format!("Bearer {secret}")),
    ];
    let mut rows = Vec::new();
    for route in routes("tokens").await {
        let (method, path) = (text(&route, "method"), text(&route, "path"));
        let mut cells = Vec::new();
        for one in &columns {
            let body = if method == "POST" { "grant_type=client_credentials" } else { "" };
            let request = Request { method: method.into(), ..Request::post(path, "", body) };
            let request = request.without("authorization").header("content-type", "application/x-www-form-urlencoded");
            let request = one.secret.iter().fold(request, |request, secret| request.header("authorization", secret));
            assert!(closed.fetch(&request).await.status >= 400, "{method} {path}: there is no such endpoint");
            let reply = open.fetch(&request).await;
            let why = reply.json()["error"].as_str().map(|why| format!(" {why}")).unwrap_or_default();
            cells.push(format!("{}{why}", reply.status));
        }
        rows.push((format!("{method} {path}"), cells));
    }
    golden("authz_table_tokens.txt", &table("Token endpoint: what each credential gets", &columns, &rows));
}

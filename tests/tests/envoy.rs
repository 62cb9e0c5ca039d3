//! Policies that were written for other homes decide calls here: one for Envoy's external authorization as it stands,
//! and one that was compiled to WebAssembly.

use e2e::client::Request;
use e2e::gateway::outcome;
use e2e::program;
use e2e::say;

use crate::scene::Scene;

/// A policy as operators of opa-envoy-plugin write them.
const ENVOYS: &str = r#"package envoy.authz

import input.attributes.request.http as http_request

default allow := false

allow if {
	http_request.method == "GET"
	input.parsed_path[1] == "models"
}

allow := {"allowed": true, "headers": {"x-user": "red"}, "response_headers_to_add": {"x-checked-by": "envoy"}} if {
	http_request.method == "POST"
	http_request.path == "/v1/chat/completions"
	input.parsed_path == ["v1", "chat", "completions"]
	input.parsed_body.model == "mock"
	not input.truncated_body
	input.version.ext_authz == "v3"
	http_request.headers["x-team"] == "red"
	not http_request.headers.authorization
	input.attributes.source.address.socketAddress.address == "127.0.0.1"
	input.weir.subject.org == "acme"
}

allow := {"allowed": false, "http_status": 402, "body": "the blue team must pay first"} if {
	http_request.headers["x-team"] == "blue"
}
"#;

#[tokio::test]
async fn a_policy_for_envoy_decides_calls_as_it_stands() {
    let scene = Scene::new().await;
    let config = std::fs::read_to_string(scene.gateway.path("gateway.yaml")).unwrap();
    std::fs::create_dir(scene.gateway.path("own")).unwrap();
    scene.gateway.write("own/authz.rego", ENVOYS);
    scene.gateway.write("gateway.yaml", &format!("policy: {{ path: ./own, input: envoy }}\n{config}"));
    let chat = scene.whole();
    e2e::clock::eventually("the policy is taken", async || {
        (scene.gateway.fetch(&chat).await.status == 403).then_some(())
    })
    .await;
    let served = scene.upstream.count();
    let red = scene.gateway.fetch(&chat.clone().header("x-team", "red")).await;
    let said = String::from_utf8_lossy(&red.body).into_owned();
    assert_eq!((red.status, red.head.get("x-checked-by")), (200, Some("envoy")), "{said}");
    let blue = scene.gateway.fetch(&chat.clone().header("x-team", "blue")).await;
    assert_eq!(blue.status, 402);
    let message = blue.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.contains("the blue team must pay first"), "{message}");
    let mut two = chat.clone().header("x-team", "red");
    two.headers.push(("x-team".into(), "red".into()));
    assert_eq!(scene.gateway.fetch(&two).await.status, 403, "two lines of one header are one text");
    let models = Request { method: "GET".into(), path: "/v1/models".into(), ..chat.clone() };
    let listed = scene.gateway.fetch(&models).await.json();
    assert_eq!(listed["data"][0]["id"], "mock", "{listed}");
    assert_eq!(scene.upstream.count(), served + 1);
    let record = e2e::clock::eventually("the record", async || {
        let records = scene.gateway.audit().await;
        records.into_iter().find(|record| record["rule"] == "data.envoy.authz.allow" && outcome(record) == "refused")
    });
    record.await;
}

/// Speaks OPA's ABI and looks for a text in the input: models named `big` are refused.
const COMPILED: &str = r#"(module
  (import "env" "memory" (memory 4))
  (global (export "opa_wasm_abi_version") i32 (i32.const 1))
  (global (export "opa_wasm_abi_minor_version") i32 (i32.const 3))
  (global $heap (mut i32) (i32.const 4096))
  (data (i32.const 16) "{}\00")
  (data (i32.const 32) "{\22weir/authz/decision\22:0}\00")
  (data (i32.const 128) "[{\22result\22:{\22allow\22:true,\22rule\22:\22compiled\22}}]\00")
  (data (i32.const 256) "[{\22result\22:{\22allow\22:false,\22rule\22:\22compiled\22,\22reason\22:\22too_big\22}}]\00")
  (data (i32.const 512) "\22model\22:\22big")
  (func $malloc (export "opa_malloc") (param $size i32) (result i32)
    (global.set $heap (i32.add (global.get $heap) (local.get $size)))
    (i32.sub (global.get $heap) (local.get $size)))
  (func (export "opa_heap_ptr_get") (result i32) (global.get $heap))
  (func (export "opa_json_parse") (param i32 i32) (result i32) (local.get 0))
  (func (export "opa_value_parse") (param i32 i32) (result i32) (local.get 0))
  (func (export "opa_json_dump") (param i32) (result i32) (local.get 0))
  (func (export "opa_value_dump") (param i32) (result i32) (local.get 0))
  (func (export "builtins") (result i32) (i32.const 16))
  (func (export "entrypoints") (result i32) (i32.const 32))
  (func (export "opa_eval") (param i32 i32 i32 i32 i32 i32 i32) (result i32) (local $at i32) (local $same i32)
    (loop $next
      (if (i32.ge_u (i32.add (local.get $at) (i32.const 12)) (local.get 4)) (then (return (i32.const 128))))
      (local.set $same (i32.const 0))
      (block $other (loop $more
        (if (i32.eq (local.get $same) (i32.const 12)) (then (return (i32.const 256))))
        (br_if $other (i32.ne
          (i32.load8_u (i32.add (local.get 3) (i32.add (local.get $at) (local.get $same))))
          (i32.load8_u (i32.add (i32.const 512) (local.get $same)))))
        (local.set $same (i32.add (local.get $same) (i32.const 1)))
        (br $more)))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br $next))
    (unreachable)))"#;

#[tokio::test]
async fn a_compiled_policy_decides_calls() {
    let scene = Scene::with(|config| config.deployment("big-1", "big", "http://127.0.0.1:1/v1", "")).await;
    let config = std::fs::read_to_string(scene.gateway.path("gateway.yaml")).unwrap();
    let path = scene.gateway.path("policy.wasm");
    std::fs::write(&path, wat::parse_str(COMPILED).unwrap()).unwrap();
    scene.gateway.write("gateway.yaml", &format!("policy: {{ path: ./policy.wasm }}\n{config}"));
    let chat = scene.whole();
    let big = Request { body: say::chat("big-1", "hi", false).to_string().into(), ..chat.clone() };
    let refused = e2e::clock::eventually("the compiled policy is taken", async || {
        let reply = scene.gateway.fetch(&big).await;
        (reply.status == 403).then_some(reply)
    })
    .await;
    let message = refused.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.contains("`compiled`") && message.contains("too_big"), "{message}");
    assert_eq!(scene.gateway.fetch(&chat).await.status, 200);
    let named = |args: &[&str]| args.iter().map(ToString::to_string).collect::<Vec<_>>();
    let path = path.display().to_string();
    for (args, expected) in [
        (named(&["policy", "check", &path]), "ok: 1 compiled policy"),
        (named(&["policy", "check", "--entrypoint", "data.other", &path]), "does not exist"),
        (named(&["policy", "eval", "-d", &path, "data"]), "name its Rego"),
    ] {
        let done = program::run(&args.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let said = format!("{}{}", done.stdout, done.stderr);
        assert!(said.contains(expected), "{args:?}: {said}");
    }
    // One that can't decide is never taken: the revision before stays.
    scene.gateway.write("policy.wasm", "no module");
    e2e::clock::eventually("the broken module is refused", async || {
        scene.gateway.log().contains("the new configuration is refused").then_some(())
    })
    .await;
    assert_eq!(scene.gateway.fetch(&chat).await.status, 200);
}

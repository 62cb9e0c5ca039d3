//! The same modules, asked by the crate `opa-wasm`: both must read OPA's ABI in the same way.

use futures_util::FutureExt;
use opa_wasm::wasmtime;
use wasmtime::{Engine, Module, Store};

use super::{Duration, Value, Wasm, Written, module};

/// The set of results as the other implementation reads it.
fn theirs(bytes: &[u8], data: &serde_json::Value, entrypoint: &str, input: &serde_json::Value) -> serde_json::Value {
    let engine = Engine::default();
    let module = Module::new(&engine, bytes).unwrap();
    let mut store = Store::new(&engine, ());
    let answer = async {
        let runtime = opa_wasm::Runtime::new(&mut store, &module).await.unwrap();
        let policy = runtime.with_data(&mut store, data).await.unwrap();
        policy.evaluate::<_, serde_json::Value, _>(&mut store, entrypoint, input).await.unwrap()
    };
    // It never waits for anything.
    answer.now_or_never().unwrap()
}

#[test]
fn two_readers_of_the_abi_get_the_same_answers() {
    let evals = [
        r#"(return "[{\22result\22:{\22allow\22:true}}]")"#,
        r#"(return "[]")"#,
        // Whether input, data and entry point arrive as they are.
        r#"(return (call $wrap (call $text (local.get $input) (local.get $length))))"#,
        r#"(return (call $wrap (local.get $data)))"#,
        r#"(if (local.get $entrypoint) (then (return "[{\22result\22:\22second\22}]")))
           (return "[{\22result\22:\22first\22}]")"#,
        r#"(return (call $wrap (call $builtin1 (i32.const 1) (i32.const 0) "\22a\22")))"#,
    ];
    let data = serde_json::json!({"plans": {"gold": [1, 2.5, "ü"]}});
    let inputs = [serde_json::json!({"model": "small", "n": [1, null, true]}), serde_json::json!("x".repeat(300_000))];
    for eval in evals {
        let bytes = module(Written { eval, builtins: r#"{\22hex.encode\22:1}"#, pages: 32, ..Written::default() });
        let ours = Wasm::new(&bytes, &data.to_string(), Duration::from_secs(5)).unwrap();
        for input in &inputs {
            for (number, entrypoint) in [(0, "weir/authz/decision"), (1, "weir/other")] {
                let own = ours.answer(number, &input.to_string()).unwrap();
                let theirs = theirs(&bytes, &data, entrypoint, input);
                let expected = theirs.get(0).map_or(Value::Undefined, |row| Value::from(row["result"].clone()));
                assert_eq!(own, expected, "{eval}");
            }
        }
    }
}

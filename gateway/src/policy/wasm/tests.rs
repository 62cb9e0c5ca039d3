//! Modules written by hand that speak OPA's ABI: no compiler from Rego to WebAssembly can be had here.

mod oracle;
pub mod written;

use super::*;
use crate::config::settings::{PolicyEngine, PolicySettings};
use crate::policy::input::tests::subject;
use crate::policy::{Compiled, Input, PolicyFault};
use written::{Written, module};

const LIMIT: Duration = Duration::from_millis(40);

fn settings() -> PolicySettings {
    PolicySettings::of_rule("data.weir.authz.decision", LIMIT, PolicyEngine::Auto)
}

fn compiled(written: Written<'_>) -> Result<Compiled, PolicyFault> {
    Compiled::wasm(&module(written), &[serde_json::json!({"plans": {"gold": 1}})], &settings())
}

/// The reason code of a call to `model`, or `granted`.
fn decide(policy: &Compiled, model: &str) -> String {
    let subject = subject("acme/research", &["developer"]);
    match policy.decide(&Input::visible(&subject, None, model)) {
        Ok(permit) => permit.reason().to_string(),
        Err(denied) => denied.reason.to_string(),
    }
}

fn decided(eval: &str) -> String {
    decide(&compiled(Written { eval, ..Written::default() }).unwrap(), "small")
}

#[test]
fn a_compiled_policy_allows_and_refuses_by_its_input() {
    let eval = r#"(if (result i32) (call $contains (local.get $input) (local.get $length) "\22model\22:\22small\22")
        (then (return "[{\22result\22:{\22allow\22:true,\22reason\22:\22small_is_free\22}}]"))
        (else (return "[{\22result\22:{\22allow\22:false,\22reason\22:\22too_large\22}}]")))"#;
    let policy = compiled(Written { eval, ..Written::default() }).unwrap();
    assert_eq!(policy.engine(), "wasm");
    for _ in 0..3 {
        assert_eq!(decide(&policy, "small"), "small_is_free");
        assert_eq!(decide(&policy, "large"), "too_large");
    }
    assert!(policy.uncacheable().is_some(), "each call is evaluated, for nobody knows what the module reads");
}

#[test]
fn whatever_is_no_clear_answer_is_a_refusal_with_its_own_code() {
    let table = [
        (r#"(return "[{\22result\22:true}]")"#, "granted"),
        (r#"(return "[{\22result\22:false}]")"#, "policy_denied"),
        (r#"(return "[]")"#, "policy_undefined"),
        (r#"(return "[{\22result\22:1}]")"#, "policy_number"),
        (r#"(return "[{\22result\22:{}}]")"#, "policy_empty"),
        (r#"(return "[{\22result\22:{\22allow\22:\22yes\22}}]")"#, "policy_allow_type"),
        (
            r#"(return "[{\22result\22:{\22allow\22:true,\22obligations\22:[\22dance\22]}}]")"#,
            "policy_unknown_obligation",
        ),
        (r#"(return "[{\22result\22:true},{\22result\22:true}]")"#, "policy_failed"),
        (r#"(return "[{\22value\22:true}]")"#, "policy_failed"),
        (r#"(return "{\22result\22:true}")"#, "policy_failed"),
        (r#"(return "true, surely")"#, "policy_failed"),
        (r#"(return (i32.const -1))"#, "policy_failed"),
        (r#"(unreachable)"#, "policy_failed"),
        (r#"(call $abort "opa_malloc: failed")(unreachable)"#, "policy_failed"),
        (r#"(call $abort "authz.rego:3:1: var assignment conflict")(unreachable)"#, "policy_conflict"),
        (r#"(loop $ever (br $ever))(unreachable)"#, "policy_timeout"),
        (r#"(return (call $deep (i32.const 0)))"#, "policy_failed"),
    ];
    for (eval, code) in table {
        assert_eq!(decided(eval), code, "{eval}");
    }
}

#[test]
fn a_policy_that_takes_all_memory_is_refused_and_its_instance_thrown_away() {
    let eval = r#"(loop $more (drop (memory.grow (i32.const 16))) (br $more))(unreachable)"#;
    let wasm = Wasm::new(&module(Written { eval, ..Written::default() }), "{}", Duration::from_secs(5)).unwrap();
    let unanswered = wasm.answer(0, "{}").unwrap_err();
    assert_eq!(unanswered.by, DeniedBy::Failure);
    assert!(unanswered.text.contains("memory"), "{}", unanswered.text);
    assert_eq!(wasm.pool.len(), 0, "the instance is gone");
    // And one that takes half of it only once is not kept either.
    let eval = r#"(drop (memory.grow (i32.const 600)))(return "[{\22result\22:true}]")"#;
    let wasm = Wasm::new(&module(Written { eval, ..Written::default() }), "{}", LIMIT).unwrap();
    assert_eq!(wasm.answer(0, "{}").unwrap(), Value::from(true));
    assert_eq!(wasm.pool.len(), 0);
}

#[test]
fn an_answer_past_its_bound_is_refused() {
    // A text without an end: all of the memory is filled.
    let eval = r#"(memory.fill (i32.const 0x10000) (i32.const 0x31) (i32.const 0x1f0000))(return (i32.const 0x10000))"#;
    assert_eq!(decide(&compiled(Written { eval, pages: 32, ..Written::default() }).unwrap(), "small"), "policy_failed");
}

#[test]
fn after_a_failure_the_next_call_gets_a_fresh_instance() {
    // The first word of the state survives an evaluation; a trap must not.
    let eval = r#"(if (call $contains (local.get $input) (local.get $length) "\22bad\22")
          (then (i32.store (i32.const 8) (i32.const 7)) (unreachable)))
        (if (i32.load (i32.const 8)) (then (return "[{\22result\22:false}]")))
        (return "[{\22result\22:true}]")"#;
    let policy = compiled(Written { eval, ..Written::default() }).unwrap();
    assert_eq!(["good", "bad", "good"].map(|model| decide(&policy, model)), ["granted", "policy_failed", "granted"]);
}

#[test]
fn a_module_that_can_t_be_used_is_a_fault_at_activation() {
    let usual = Written::default;
    let faults = [
        (
            Written { builtins: r#"{\22http.send\22:1}"#, ..usual() },
            "`http.send` is refused: a policy may not call out",
        ),
        (Written { builtins: r#"{\22no.such\22:1}"#, ..usual() }, "`no.such` is refused: there is none"),
        (Written { builtins: r#"[1]"#, ..usual() }, "it is no policy"),
        (Written { entrypoints: r#"{\22other/rule\22:0}"#, ..usual() }, "does not exist: the module has other/rule"),
        (Written { abi: (2, 0), ..usual() }, "version 2.0"),
        (Written { abi: (1, 1), ..usual() }, "version 1.1"),
        (Written { left_out: "opa_eval", ..usual() }, "`opa_eval`"),
        (Written { left_out: "opa_json_parse", ..usual() }, "`opa_json_parse`"),
        (Written { pages: 2_000, ..usual() }, "bytes of memory"),
        (Written { more: "(func (import \"env\" \"open_file\") (param i32))", ..usual() }, "open_file"),
    ];
    for (written, text) in faults {
        let fault = compiled(written).err().map(|fault| fault.to_string()).unwrap_or_default();
        assert!(fault.contains(text), "`{fault}` lacks `{text}`");
    }
    let fault = Wasm::new(b"\0asm, or so", "{}", LIMIT).err().unwrap();
    assert!(matches!(fault, WasmFault::Module(_)), "{fault}");
    let fault = Wasm::new(&vec![0; MODULE_BYTES_MAX + 1], "{}", LIMIT).err().unwrap();
    assert!(matches!(fault, WasmFault::TooLarge { .. }), "{fault}");
}

#[test]
fn a_module_that_never_starts_is_stopped() {
    let (engine, limit) = (engine().unwrap(), Duration::from_millis(1));
    let written = Written { start: "(loop $ever (br $ever))", ..Written::default() };
    let module = Module::new(&engine, module(written)).unwrap();
    let clock = pool::Clock::start(&engine, limit).unwrap();
    let _running = clock.run();
    let fault = Instance::new(&module, clock.ticks(limit)).err().unwrap();
    assert!(fault.to_string().contains("interrupt"), "{fault}");
}

#[test]
fn values_are_written_as_modules_read_them() {
    let text = r#"{"a": {1, "x"}, "b": [set(), null, true, 1.5], "c": {"d": {[1]}}}"#;
    let value = crate::policy::eval::term(text).unwrap();
    assert_eq!(builtins::written(&value), r#"{"a":{1,"x"},"b":[set(),null,true,1.5],"c":{"d":{[1]}}}"#);
}

#[test]
fn builtins_are_those_of_interpreted_policies() {
    // The module hands its input to a builtin as the only argument, and its value out as the result.
    let one = |name: &str, input: &str| {
        let eval = r#"(return (call $wrap (call $builtin1 (i32.const 1) (i32.const 0)
            (call $text (local.get $input) (local.get $length)))))"#;
        let builtins = format!(r#"{{\22{name}\22:1}}"#);
        let written = Written { eval, builtins: &builtins, ..Written::default() };
        Wasm::new(&module(written), "{}", Duration::from_secs(5))
            .unwrap()
            .answer(0, input)
            .map(|value| value.to_string())
    };
    assert_eq!(one("crypto.md5", r#""a""#).unwrap(), r#""0cc175b9c0f1b6a831c399e269772661""#);
    assert_eq!(one("array.flatten", "[[1, [2]], 3]").unwrap(), "[1,[2],3]");
    assert_eq!(one("count", "{1, 2, 2}").unwrap(), "2", "sets come through as sets");
    assert_eq!(one("crypto.md5", "1").unwrap(), "\"<undefined>\"", "a builtin that fails is undefined");
    assert!(one("count", "{1, 2").unwrap_err().text.contains("can't be read"));
}

#[test]
fn a_thousand_calls_at_once_get_their_own_answers() {
    let eval = r#"(if (call $contains (local.get $input) (local.get $length) "\22even\22")
        (then (return "[{\22result\22:true}]")))
        (return "[{\22result\22:false}]")"#;
    let wasm = Wasm::new(&module(Written { eval, ..Written::default() }), "{}", Duration::from_secs(30)).unwrap();
    let barrier = std::sync::Barrier::new(1_000);
    std::thread::scope(|scope| {
        for number in 0..1_000 {
            let (wasm, barrier) = (&wasm, &barrier);
            let small = std::thread::Builder::new().stack_size(1 << 20);
            let ask = move || {
                barrier.wait();
                let input = if number % 2 == 0 { r#"{"is":"even"}"# } else { r#"{"is":"odd"}"# };
                assert_eq!(wasm.answer(0, input).unwrap(), Value::from(number % 2 == 0));
            };
            small.spawn_scoped(scope, ask).unwrap();
        }
    });
    assert!(wasm.pool.len() <= 16, "{}", wasm.pool.len());
}

#[test]
fn a_call_that_finds_no_free_instance_in_time_is_refused() {
    let wasm = Wasm::new(&module(Written::default()), "{}", LIMIT).unwrap();
    let mut busy: Vec<_> = (0..16).map(|_| wasm.pool.take(LIMIT).ok().unwrap()).collect();
    let late = wasm.answer(0, "{}").unwrap_err();
    assert!(late.by == DeniedBy::Timeout && late.text.contains("no instance"), "{late:?}");
    busy.pop();
    assert!(wasm.answer(0, "{}").is_ok(), "one came back");
}

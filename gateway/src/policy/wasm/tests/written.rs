//! A module's text, put together.
//!
//! A value of such a module is the address of its JSON text, so that parsing copies a text and dumping does nothing. A
//! string that stands where a number is expected becomes its address.

/// The parts that tests change.
#[derive(Clone, Copy)]
pub struct Written<'t> {
    /// Body of `opa_eval`, with `$entrypoint`, `$data`, `$input`, `$length`.
    pub eval: &'t str,
    /// Name to number, with `\22` for the quotes.
    pub builtins: &'t str,
    pub entrypoints: &'t str,
    pub abi: (i32, i32),
    pub pages: u32,
    /// Body of the start function.
    pub start: &'t str,
    /// An export that is missing.
    pub left_out: &'t str,
    /// Further imports.
    pub more: &'t str,
}

impl Default for Written<'_> {
    fn default() -> Self {
        Self {
            eval: r#"(return "[{\22result\22:true}]")"#,
            builtins: "{}",
            entrypoints: r#"{\22weir/authz/decision\22:0,\22weir/other\22:1}"#,
            abi: (1, 2),
            pages: 3,
            start: "",
            left_out: "-",
            more: "",
        }
    }
}

/// The module in binary.
pub fn module(written: Written<'_>) -> Vec<u8> {
    wat::parse_str(text(written)).unwrap()
}

fn text(written: Written<'_>) -> String {
    let Written { eval, builtins, entrypoints, abi: (major, minor), pages, start, more, .. } = written;
    let head = format!(
        r#"(module
  (import "env" "memory" (memory {pages}))
  (import "env" "opa_abort" (func $abort (param i32)))
  (import "env" "opa_builtin1" (func $builtin1 (param i32 i32 i32) (result i32)))
  {more}
  (global (export "opa_wasm_abi_version") i32 (i32.const {major}))
  (global (export "opa_wasm_abi_minor_version") i32 (i32.const {minor}))
  (global $heap (mut i32) (i32.const 0x8000))
  (func $start {start})
  (start $start)
  (func $malloc (export "opa_malloc") (param $size i32) (result i32) (local $at i32)
    (local.set $at (global.get $heap))
    (global.set $heap (i32.add (global.get $heap) (local.get $size)))
    (local.get $at))
  (func (export "opa_free") (param i32))
  (func (export "opa_heap_ptr_get") (result i32) (global.get $heap))
  (func (export "opa_heap_ptr_set") (param i32) (global.set $heap (local.get 0)))
  (func $text (export "opa_json_parse") (param $from i32) (param $length i32) (result i32) (local $at i32)
    (local.set $at (call $malloc (i32.add (local.get $length) (i32.const 1))))
    (memory.copy (local.get $at) (local.get $from) (local.get $length))
    (i32.store8 (i32.add (local.get $at) (local.get $length)) (i32.const 0))
    (local.get $at))
  (func (export "opa_value_parse") (param i32 i32) (result i32) (call $text (local.get 0) (local.get 1)))
  (func (export "opa_json_dump") (param i32) (result i32) (local.get 0))
  (func (export "opa_value_dump") (param i32) (result i32) (local.get 0))
  (func (export "builtins") (result i32) "{builtins}")
  (func (export "entrypoints") (result i32) "{entrypoints}")
  (func (export "opa_eval") (param $reserved i32) (param $entrypoint i32) (param $data i32) (param $input i32)
    (param $length i32) (param $heap_at i32) (param $format i32) (result i32)
    (global.set $heap (local.get $heap_at))
    {eval})
"#
    );
    let text = (head + WORDS).replace(&format!("(export \"{}\")", written.left_out), "");
    format!("{})", addresses(&text))
}

/// What tests' modules do with texts; and what `opa-wasm` wants of an older ABI.
const WORDS: &str = r#"
  (func (export "eval") (param i32) (result i32) (i32.const 0))
  (func (export "opa_eval_ctx_new") (result i32) (i32.const 0))
  (func (export "opa_eval_ctx_set_input") (param i32 i32))
  (func (export "opa_eval_ctx_set_data") (param i32 i32))
  (func (export "opa_eval_ctx_set_entrypoint") (param i32 i32))
  (func (export "opa_eval_ctx_get_result") (param i32) (result i32) (i32.const 0))
  (func $deep (param i32) (result i32) (i32.add (call $deep (i32.add (local.get 0) (i32.const 1))) (i32.const 1)))
  ;; Length of a text.
  (func $long (param $at i32) (result i32) (local $end i32)
    (local.set $end (local.get $at))
    (block $done (loop $next
      (br_if $done (i32.eqz (i32.load8_u (local.get $end))))
      (local.set $end (i32.add (local.get $end) (i32.const 1)))
      (br $next)))
    (i32.sub (local.get $end) (local.get $at)))
  ;; Whether a text stands somewhere in what has a length.
  (func $contains (param $in i32) (param $length i32) (param $what i32) (result i32) (local $at i32) (local $same i32)
    (loop $next
      (if (i32.ge_u (local.get $at) (local.get $length)) (then (return (i32.const 0))))
      (local.set $same (i32.const 0))
      (block $other (loop $more
        (if (i32.eqz (i32.load8_u (i32.add (local.get $what) (local.get $same)))) (then (return (i32.const 1))))
        (br_if $other (i32.ne
          (i32.load8_u (i32.add (local.get $in) (i32.add (local.get $at) (local.get $same))))
          (i32.load8_u (i32.add (local.get $what) (local.get $same)))))
        (local.set $same (i32.add (local.get $same) (i32.const 1)))
        (br $more)))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br $next))
    (unreachable))
  ;; The set of results with one value; of no value, the empty one.
  (func $wrap (param $value i32) (result i32) (local $at i32) (local $length i32)
    (if (i32.eqz (local.get $value)) (then (return "[]")))
    (local.set $length (call $long (local.get $value)))
    (local.set $at (call $malloc (i32.add (local.get $length) (i32.const 16))))
    (memory.copy (local.get $at) "[{\22result\22:" (i32.const 11))
    (memory.copy (i32.add (local.get $at) (i32.const 11)) (local.get $value) (local.get $length))
    (memory.copy (i32.add (i32.add (local.get $at) (i32.const 11)) (local.get $length)) "}]" (i32.const 3))
    (local.get $at))
"#;

/// Strings that stand for a number, put into the memory and replaced by their address.
fn addresses(text: &str) -> String {
    let (mut out, mut data, mut at) = (String::new(), String::new(), 64);
    for (place, part) in text.split('"').enumerate() {
        let is_name = ["import ", "import \"env\" ", "export "].iter().any(|word| out.ends_with(word));
        match (place % 2 == 0, is_name) {
            (true, _) => out.push_str(part),
            (false, true) => out.push_str(&format!("\"{part}\"")),
            (false, false) => {
                out.push_str(&format!("(i32.const {at})"));
                data.push_str(&format!("\n  (data (i32.const {at}) \"{part}\\00\")"));
                at = usize::saturating_add(at, part.replace("\\22", "'").len()).saturating_add(1);
            }
        }
    }
    assert!(at < 0x8000, "the heap begins there");
    out + &data
}

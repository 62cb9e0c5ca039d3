//! One instance of a module: its memory, its exports by OPA's ABI, and one question after the other.
//!
//! Below `base` the memory holds the module and its data; whatever an evaluation puts above is overwritten by the next.

use std::sync::Arc;

use regorus::Value;
use wasmtime::{
    AsContext, AsContextMut, Caller, Linker, Memory, Module, ResourceLimiter, Store, TypedFunc, WasmParams, WasmResults,
};

use super::builtins::Builtins;
use super::{MEMORY_BYTES_MAX, Stopped, TEXT_BYTES_MAX, WasmFault, brief, module_fault};

/// Entries of one table: OPA's modules hold their functions there.
const TABLE_ENTRIES_MAX: usize = 65_536;
/// An instance with more memory than this is not used again: what a large input once took would be held for ever.
const RETIRE_BYTES: usize = MEMORY_BYTES_MAX / 2;
const PAGE_BYTES: usize = 64 << 10;
/// JSON in, JSON out: the last argument of `opa_eval`.
const FORMAT_JSON: i32 = 0;

type Eval = TypedFunc<(i32, i32, i32, i32, i32, i32, i32), i32>;

/// What the host's functions need, and what bounds the memory.
struct State {
    exports: Option<Arc<Exports>>,
    builtins: Option<Arc<Builtins>>,
}

impl ResourceLimiter for State {
    fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        match desired <= MEMORY_BYTES_MAX {
            true => Ok(true),
            false => Err(wasmtime::Error::new(Stopped::Memory)),
        }
    }
    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        match desired <= TABLE_ENTRIES_MAX {
            true => Ok(true),
            false => Err(wasmtime::Error::new(Stopped::Memory)),
        }
    }
    fn instances(&self) -> usize {
        1
    }
    fn memories(&self) -> usize {
        1
    }
    fn tables(&self) -> usize {
        1
    }
}

/// The functions of OPA's ABI that are used.
struct Exports {
    memory: Memory,
    eval: Eval,
    builtins: TypedFunc<(), i32>,
    entrypoints: TypedFunc<(), i32>,
    malloc: TypedFunc<i32, i32>,
    json_parse: TypedFunc<(i32, i32), i32>,
    json_dump: TypedFunc<i32, i32>,
    value_parse: TypedFunc<(i32, i32), i32>,
    value_dump: TypedFunc<i32, i32>,
    heap_get: TypedFunc<(), i32>,
}

/// A running module.
pub(super) struct Instance {
    store: Store<State>,
    exports: Arc<Exports>,
    data: i32,
    base: usize,
}

impl Instance {
    /// Starts a module; without builtins and data yet.
    pub(super) fn new(module: &Module, ticks: u64) -> Result<Self, WasmFault> {
        let mut store = Store::new(module.engine(), State { exports: None, builtins: None });
        store.limiter(|state| state);
        // Also bounds the module's own start function.
        store.set_epoch_deadline(ticks);
        let memory = memory(&mut store, module)?;
        let mut linker = Linker::new(module.engine());
        linker.define(&store, "env", "memory", memory).map_err(|error| module_fault(&error))?;
        offer(&mut linker).map_err(|error| module_fault(&error))?;
        let instance = linker.instantiate(&mut store, module).map_err(|error| module_fault(&error))?;
        abi(&mut store, &instance)?;
        let exports = Exports {
            memory,
            eval: export(&mut store, &instance, "opa_eval")?,
            builtins: export(&mut store, &instance, "builtins")?,
            entrypoints: export(&mut store, &instance, "entrypoints")?,
            malloc: export(&mut store, &instance, "opa_malloc")?,
            json_parse: export(&mut store, &instance, "opa_json_parse")?,
            json_dump: export(&mut store, &instance, "opa_json_dump")?,
            value_parse: export(&mut store, &instance, "opa_value_parse")?,
            value_dump: export(&mut store, &instance, "opa_value_dump")?,
            heap_get: export(&mut store, &instance, "opa_heap_ptr_get")?,
        };
        let exports = Arc::new(exports);
        store.data_mut().exports = Some(exports.clone());
        Ok(Self { store, exports, data: 0, base: 0 })
    }

    /// Number by name of the builtins that the module calls.
    pub(super) fn builtins(&mut self) -> Result<Vec<(String, i32)>, WasmFault> {
        let function = self.exports.builtins.clone();
        self.numbers(&function)
    }

    /// Number by name of its entry points.
    pub(super) fn entrypoints(&mut self) -> Result<Vec<(String, i32)>, WasmFault> {
        let function = self.exports.entrypoints.clone();
        self.numbers(&function)
    }

    fn numbers(&mut self, function: &TypedFunc<(), i32>) -> Result<Vec<(String, i32)>, WasmFault> {
        let exports = self.exports.clone();
        let mut read = || {
            let value = function.call(&mut self.store, ())?;
            let text = exports.json_dump.call(&mut self.store, value)?;
            text_at(&self.store, &exports.memory, text)
        };
        let text = read().map_err(|error| WasmFault::Foreign(brief(&error)))?;
        let map: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&text).map_err(|error| WasmFault::Foreign(error.to_string()))?;
        let number = |(name, value): (String, serde_json::Value)| {
            let number = value.as_i64().and_then(|number| i32::try_from(number).ok());
            number.map(|number| (name, number)).ok_or_else(|| WasmFault::Foreign("a number is none".to_owned()))
        };
        map.into_iter().map(number).collect()
    }

    /// Gives it its builtins and its data. From here on it can be asked.
    pub(super) fn load(&mut self, builtins: &Arc<Builtins>, data: &str) -> Result<(), WasmFault> {
        self.store.data_mut().builtins = Some(builtins.clone());
        let exports = self.exports.clone();
        let mut load = || {
            let at = put(&mut self.store, &exports, data)?;
            self.data = exports.json_parse.call(&mut self.store, (at, length(data)?))?;
            exports.heap_get.call(&mut self.store, ())
        };
        let base = load().map_err(|error| WasmFault::Data(brief(&error)))?;
        self.base = address(base).ok_or_else(|| WasmFault::Foreign("its heap has no beginning".to_owned()))?;
        match self.data {
            // What OPA's parser says of a text that is no JSON.
            0 => Err(WasmFault::Data("the module takes it for no JSON".to_owned())),
            _ => Ok(()),
        }
    }

    /// The set of results of an entry point, as JSON.
    pub(super) fn eval(&mut self, entrypoint: i32, input: &str, ticks: u64) -> wasmtime::Result<String> {
        self.store.set_epoch_deadline(ticks);
        let exports = self.exports.clone();
        let end = self.base.saturating_add(input.len());
        let have = exports.memory.data_size(&self.store);
        if let Some(missing) = end.checked_sub(have).filter(|missing| *missing > 0) {
            let pages = missing.div_ceil(PAGE_BYTES);
            exports.memory.grow(&mut self.store, u64::try_from(pages).unwrap_or(u64::MAX))?;
        }
        exports.memory.write(&mut self.store, self.base, input.as_bytes())?;
        let (at, heap) = (signed(self.base)?, signed(end)?);
        let arguments = (0, entrypoint, self.data, at, length(input)?, heap, FORMAT_JSON);
        let text = exports.eval.call(&mut self.store, arguments)?;
        text_at(&self.store, &exports.memory, text)
    }

    /// Whether it is small enough to be asked again.
    pub(super) fn may_stay(&self) -> bool {
        self.exports.memory.data_size(&self.store) <= RETIRE_BYTES
    }
}

/// The memory that the module wants from its host.
fn memory(store: &mut Store<State>, module: &Module) -> Result<Memory, WasmFault> {
    let wanted = module.imports().find(|import| import.module() == "env" && import.name() == "memory");
    let kind = wanted.and_then(|import| import.ty().memory().cloned());
    let kind = kind.ok_or_else(|| WasmFault::Foreign("it doesn't import `env.memory`".to_owned()))?;
    match kind.is_64() || kind.is_shared() {
        true => Err(WasmFault::Foreign("its memory is shared or of 64 bits".to_owned())),
        false => Memory::new(store, kind).map_err(|error| module_fault(&error)),
    }
}

fn abi(store: &mut Store<State>, instance: &wasmtime::Instance) -> Result<(), WasmFault> {
    let mut global = |name: &str| {
        let global = instance.get_global(&mut *store, name);
        let number = global.and_then(|global| global.get(&mut *store).i32());
        number.ok_or_else(|| WasmFault::Foreign(format!("`{name}` is missing")))
    };
    let (major, minor) = (global("opa_wasm_abi_version")?, global("opa_wasm_abi_minor_version")?);
    if major == 1 && minor >= 2 { Ok(()) } else { Err(WasmFault::Abi(format!("{major}.{minor}"))) }
}

fn export<P: WasmParams, R: WasmResults>(
    store: &mut Store<State>,
    instance: &wasmtime::Instance,
    name: &str,
) -> Result<TypedFunc<P, R>, WasmFault> {
    instance.get_typed_func(store, name).map_err(|error| WasmFault::Foreign(format!("`{name}`: {}", brief(&error))))
}

/// What OPA's modules import besides their memory.
fn offer(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap("env", "opa_abort", |caller: Caller<'_, State>, text: i32| -> wasmtime::Result<()> {
        let text = exports(&caller).and_then(|exports| text_at(&caller, &exports.memory, text));
        Err(wasmtime::Error::new(Stopped::Abort(text.unwrap_or_default())))
    })?;
    // What a policy prints may hold personal data: it goes nowhere.
    linker.func_wrap("env", "opa_println", |_: Caller<'_, State>, _: i32| {})?;
    linker.func_wrap("env", "opa_builtin0", |caller: Caller<'_, State>, number: i32, _: i32| {
        call_back(caller, number, &[])
    })?;
    linker.func_wrap("env", "opa_builtin1", |caller: Caller<'_, State>, number: i32, _: i32, a: i32| {
        call_back(caller, number, &[a])
    })?;
    linker.func_wrap("env", "opa_builtin2", |caller: Caller<'_, State>, number: i32, _: i32, a: i32, b: i32| {
        call_back(caller, number, &[a, b])
    })?;
    linker.func_wrap(
        "env",
        "opa_builtin3",
        |caller: Caller<'_, State>, number: i32, _: i32, a: i32, b: i32, c: i32| call_back(caller, number, &[a, b, c]),
    )?;
    linker.func_wrap(
        "env",
        "opa_builtin4",
        |caller: Caller<'_, State>, number: i32, _: i32, a: i32, b: i32, c: i32, d: i32| {
            call_back(caller, number, &[a, b, c, d])
        },
    )?;
    Ok(())
}

/// A builtin's value; 0, the address of nothing, where it is undefined.
fn call_back(mut caller: Caller<'_, State>, number: i32, arguments: &[i32]) -> wasmtime::Result<i32> {
    let exports = exports(&caller)?;
    let builtins = caller.data().builtins.clone();
    let builtins = builtins.ok_or_else(|| wasmtime::Error::new(Stopped::Builtin("called before the start")))?;
    let mut values = Vec::with_capacity(arguments.len());
    for argument in arguments {
        let text = exports.value_dump.call(&mut caller, *argument)?;
        let text = text_at(&caller, &exports.memory, text)?;
        values.push(builtins.read(&text).map_err(wasmtime::Error::new)?);
    }
    let value = builtins.call(number, values).map_err(wasmtime::Error::new)?;
    if value == Value::Undefined {
        return Ok(0);
    }
    let text = super::builtins::written(&value);
    if text.len() > TEXT_BYTES_MAX {
        return Err(wasmtime::Error::new(Stopped::Text("too long")));
    }
    let at = put(&mut caller, &exports, &text)?;
    exports.value_parse.call(&mut caller, (at, length(&text)?))
}

fn exports(caller: &Caller<'_, State>) -> wasmtime::Result<Arc<Exports>> {
    caller.data().exports.clone().ok_or_else(|| wasmtime::Error::new(Stopped::Builtin("called before the start")))
}

/// Copies a text into the module's memory.
fn put(mut store: impl AsContextMut, exports: &Exports, text: &str) -> wasmtime::Result<i32> {
    let at = exports.malloc.call(&mut store, length(text)?)?;
    let place = address(at).ok_or_else(|| wasmtime::Error::new(Stopped::Text("nowhere")))?;
    exports.memory.write(&mut store, place, text.as_bytes())?;
    Ok(at)
}

/// The text at an address, up to its NUL.
fn text_at(store: impl AsContext, memory: &Memory, at: i32) -> wasmtime::Result<String> {
    let fault = |what| wasmtime::Error::new(Stopped::Text(what));
    let rest = address(at).and_then(|at| memory.data(&store).get(at..)).ok_or_else(|| fault("nowhere"))?;
    let rest = rest.get(..=TEXT_BYTES_MAX).unwrap_or(rest);
    let end = memchr::memchr(0, rest).ok_or_else(|| fault("too long"))?;
    let text = rest.get(..end).unwrap_or_default();
    std::str::from_utf8(text).map(str::to_owned).map_err(|_| fault("no UTF-8"))
}

/// Addresses are numbers without a sign that the ABI passes as numbers with one.
fn address(at: i32) -> Option<usize> {
    usize::try_from(at.cast_unsigned()).ok()
}

fn signed(at: usize) -> wasmtime::Result<i32> {
    i32::try_from(at).map_err(|_| wasmtime::Error::new(Stopped::Memory))
}

fn length(text: &str) -> wasmtime::Result<i32> {
    signed(text.len())
}

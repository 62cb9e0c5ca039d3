//! One line of a decision log, in OPA's event shape: the members that a replay needs, as slices of the text.

use std::borrow::Cow;

use regorus::Value;
use serde::Deserialize;
use serde_json::value::RawValue;

/// A recorded decision. Whatever else stands on the line is passed over.
#[derive(Debug, Deserialize)]
pub(super) struct Line<'a> {
    #[serde(borrow, default)]
    pub(super) decision_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) input: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) requested_by: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    nd_builtin_cache: Option<&'a RawValue>,
    #[serde(borrow, default)]
    erased: Option<&'a RawValue>,
    #[serde(borrow, default)]
    masked: Option<&'a RawValue>,
}

/// Values of builtins that answer differently each time, as far as they are given back.
#[derive(Debug, Deserialize)]
struct Remembered {
    #[serde(rename = "time.now_ns", default)]
    now_ns: Option<NoArguments>,
}

#[derive(Debug, Deserialize)]
struct NoArguments {
    #[serde(rename = "[]")]
    value: i64,
}

impl<'a> Line<'a> {
    /// `None` where the text is no decision.
    pub(super) fn read(text: &'a [u8]) -> Option<Self> {
        let line: Self = serde_json::from_str(std::str::from_utf8(text).ok()?).ok()?;
        (line.decision_id.is_some() || line.input.is_some()).then_some(line)
    }

    /// What `time.now_ns` was: as recorded, or the time in the document.
    pub(super) fn moment(&self, input: &Value) -> Option<i64> {
        let recorded = self.nd_builtin_cache.and_then(|cache| serde_json::from_str::<Remembered>(cache.get()).ok());
        let recorded = recorded.and_then(|cache| Some(cache.now_ns?.value));
        recorded.or_else(|| member(member(input, "time")?, "ns")?.as_i64().ok())
    }

    /// Whether a mask took or changed something of the input: then a flip may be the mask's doing.
    pub(super) fn is_masked(&self) -> bool {
        let touches = |list: &RawValue| list.get().contains("\"/input");
        self.erased.is_some_and(touches) || self.masked.is_some_and(touches)
    }
}

/// The member of that name.
pub(super) fn member<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    value.as_object().ok()?.get(&Value::from(name))
}

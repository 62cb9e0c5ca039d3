//! `GET /v1/models`: the aliases that a caller may use, by the same policy that decides about calls.

use serde_json::json;

use crate::exchange::Exchange;
use crate::identity::keyring::Identified;
use crate::policy::Input;
use crate::policy::envoy::HttpInput;
use crate::refusal::Refusal;

/// The list, or the one model `wanted`.
///
/// # Errors
/// [`Refusal::ModelUnknown`] where `wanted` does not exist or is not for this caller: the answer is the same.
pub fn list(x: &Exchange, caller: &Identified, wanted: Option<&str>, http: HttpInput<'_>) -> Result<Vec<u8>, Refusal> {
    let world = &x.world;
    let visible = |name: &str| {
        let input = Input::visible(&caller.subject, caller.key_models.as_deref(), name);
        let input = Input { http: Some(http), ..input };
        x.policy.decide(&world.policy, &input, x.born_ms).is_ok()
    };
    let entry = |name: &str| json!({"id": name, "object": "model", "created": 0, "owned_by": "weir"});
    let value = match wanted {
        Some(name) if world.model(name).is_some() && visible(name) => entry(name),
        Some(name) => return Err(Refusal::ModelUnknown { model: name.into() }),
        None => {
            let names = world.settings.models.iter().map(|model| model.name.as_ref());
            let data: Vec<_> = names.filter(|name| visible(name)).map(entry).collect();
            json!({"object": "list", "data": data})
        }
    };
    Ok(value.to_string().into_bytes())
}

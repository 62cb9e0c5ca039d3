//! `GET /v1/models`: the aliases that a caller may use, by the same policy that decides about calls.

use serde_json::json;

use crate::identity::keyring::Identified;
use crate::policy::Input;
use crate::refusal::Refusal;
use crate::world::World;

/// The list, or the one model `wanted`.
///
/// # Errors
/// [`Refusal::ModelUnknown`] where `wanted` does not exist or is not for this caller: the answer is the same.
pub fn list(world: &World, caller: &Identified, wanted: Option<&str>) -> Result<Vec<u8>, Refusal> {
    let visible =
        |name: &str| world.policy.decide(&Input::visible(&caller.subject, caller.key_models.as_deref(), name)).is_ok();
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

//! Whom the application serves: the name that its body gives the end user.

use super::fields::Fields;
use super::{EnvelopeFault, USER_BYTES_MAX};
use crate::json;

/// The first of `user`, `safety_identifier` and `metadata.user_id` that is a text. What stands in `metadata` is the
/// application's own business, so another type there is no fault.
pub(super) fn end_user(read: &Fields<'_>) -> Result<Option<String>, EnvelopeFault> {
    for name in ["user", "safety_identifier"] {
        if let Some(found) = read.text(name, USER_BYTES_MAX)?.filter(|found| !found.is_empty()) {
            return Ok(Some(found));
        }
    }
    let Some(metadata) = read.members.get("metadata").map(|member| member.value.of(read.body)) else { return Ok(None) };
    if !metadata.starts_with(b"{") {
        return Ok(None);
    }
    let members = json::members(metadata)?;
    let within = Fields { body: metadata, members: &members, prefix: "metadata." };
    match members.get("user_id").is_some_and(|member| member.value.of(metadata).starts_with(b"\"")) {
        true => Ok(within.text("user_id", USER_BYTES_MAX)?.filter(|found| !found.is_empty())),
        false => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use crate::envelope::Envelope;
    use crate::fault::Endpoint;

    #[test]
    fn the_end_user_is_read_where_an_application_may_name_it() {
        let table = [
            (r#""user":"ada""#, Some("ada")),
            (r#""safety_identifier":"s1""#, Some("s1")),
            (r#""user":"","safety_identifier":"s1""#, Some("s1")),
            (r#""user":"ada","metadata":{"user_id":"m"}"#, Some("ada")),
            (r#""metadata":{"user_id":"m\u0031","other":[1]}"#, Some("m1")),
            (r#""metadata":{"user_id":7}"#, None),
            (r#""metadata":null"#, None),
            (r#""metadata":"x""#, None),
            (r#""other":"ada""#, None),
        ];
        for (member, found) in table {
            let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}],{member}}}"#);
            let envelope = Envelope::parse(Bytes::from(body), Endpoint::ChatCompletions).unwrap();
            assert_eq!(envelope.end_user.as_deref(), found, "{member}");
        }
    }
}

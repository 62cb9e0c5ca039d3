//! What Weir tells clients about its token endpoint: where it is (RFC 8414), which API wants its tokens (RFC 9728), and
//! its keys' address. Pure; nothing here is about any tenant.

use serde_json::{Value as Json, json};
use weir_wire::fault::Endpoint;

use super::own_tokens::TokenEndpointRule;

/// The token endpoint's path.
pub const TOKEN_PATH: &str = "/oauth/token";
/// The path of the public keys.
pub const KEYS_PATH: &str = "/.well-known/jwks.json";
const SERVER_PATH: &str = "/.well-known/oauth-authorization-server";
const RESOURCE_PATH: &str = "/.well-known/oauth-protected-resource";
/// The path of all endpoints: clients name the API by it.
const API_PATH: &str = "/v1";

/// What is served beside the calls, as method and path, and whether a client has to prove itself there: for the table
/// of routes. Below the last one lie the parts of the API.
pub const ROUTES: [(&str, &str, bool); 4] =
    [("POST", TOKEN_PATH, true), ("GET", KEYS_PATH, false), ("GET", SERVER_PATH, false), ("GET", RESOURCE_PATH, false)];

/// What is served beside the calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route<'a> {
    /// Tokens.
    Token,
    /// The public keys.
    Keys,
    /// The token endpoint's own document.
    Server,
    /// The document of the API, or of the part of it with this path.
    Resource(&'a str),
}

/// What a path names; nothing where no token endpoint is configured.
pub fn route<'a>(rule: Option<&TokenEndpointRule>, path: &'a str) -> Option<Route<'a>> {
    rule?;
    match path {
        TOKEN_PATH => Some(Route::Token),
        KEYS_PATH => Some(Route::Keys),
        SERVER_PATH => Some(Route::Server),
        _ => path.strip_prefix(RESOURCE_PATH).filter(|suffix| is_resource(suffix)).map(Route::Resource),
    }
}

/// Whether a path behind the issuer's address is a resource of its own name.
fn is_resource(suffix: &str) -> bool {
    suffix.is_empty() || suffix == API_PATH || Endpoint::of_path(suffix).next().is_some()
}

/// Whether a client may ask for tokens for that audience or resource (RFC 8693, section 2.1).
pub fn is_target(rule: &TokenEndpointRule, text: &str) -> bool {
    text == rule.audience() || text.strip_prefix(&*rule.issuer).is_some_and(is_resource)
}

/// The token endpoint's document.
pub fn server(rule: &TokenEndpointRule) -> Json {
    let issuer = &rule.issuer;
    json!({
        "issuer": issuer,
        "token_endpoint": format!("{issuer}{TOKEN_PATH}"),
        "jwks_uri": format!("{issuer}{KEYS_PATH}"),
        "grant_types_supported": ["client_credentials", "urn:ietf:params:oauth:grant-type:token-exchange"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
        "response_types_supported": [],
    })
}

/// The API's document.
pub fn resource(rule: &TokenEndpointRule, suffix: &str) -> Json {
    let issuer = &rule.issuer;
    json!({
        "resource": format!("{issuer}{suffix}"),
        "authorization_servers": [issuer],
        "bearer_methods_supported": ["header"],
        "resource_name": "Weir",
    })
}

/// The address of the API's document, for challenges (RFC 9728, section 5.1).
pub fn resource_address(rule: &TokenEndpointRule) -> String {
    format!("{}{RESOURCE_PATH}", rule.issuer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::own_tokens::tests::rule;

    #[test]
    fn only_exact_paths_are_served_and_none_without_a_token_endpoint() {
        let rule = rule();
        let cases = [
            ("/oauth/token", Some(Route::Token)),
            ("/.well-known/jwks.json", Some(Route::Keys)),
            ("/.well-known/oauth-authorization-server", Some(Route::Server)),
            ("/.well-known/oauth-protected-resource", Some(Route::Resource(""))),
            ("/.well-known/oauth-protected-resource/v1", Some(Route::Resource("/v1"))),
            ("/.well-known/oauth-protected-resource/v1/models", Some(Route::Resource("/v1/models"))),
            ("/.well-known/oauth-protected-resource/v1/other", None),
            ("/.well-known/oauth-protected-resourceful", None),
            ("/.well-known/oauth-protected-resource/", None),
            ("/oauth/token/", None),
            ("/OAuth/token", None),
            ("//oauth/token", None),
            ("/.well-known/openid-configuration", None),
            ("/v1/models", None),
        ];
        for (path, expected) in cases {
            assert_eq!(route(Some(&rule), path), expected, "{path}");
            assert_eq!(route(None, path), None, "{path}");
        }
    }

    #[test]
    fn a_resource_is_named_as_its_document_was_asked_for() {
        let rule = rule();
        assert_eq!(resource(&rule, "/v1")["resource"], "https://weir.example.com/v1");
        assert_eq!(server(&rule)["issuer"], "https://weir.example.com");
        let address = resource_address(&rule);
        assert_eq!(address, "https://weir.example.com/.well-known/oauth-protected-resource");
        for (target, good) in [
            ("weir", true),
            ("https://weir.example.com", true),
            ("https://weir.example.com/v1/chat/completions", true),
            ("https://weir.example.com.evil", false),
            ("https://weir.example.com/admin", false),
            ("", false),
        ] {
            assert_eq!(is_target(&rule, target), good, "{target}");
        }
    }
}

//! Every route of the admin listener, in one table: the router is built from it, `weir routes` prints it, and the table
//! of endpoints and controls in the tests is generated from what it prints.

use std::sync::Arc;

use axum::routing::{MethodRouter, delete, get, patch, post, put};

use super::action::Action;
use super::{directory, finance, issuers, keys, ledger, opa, page, policy, rehearse, scim, secrets, session, status};
use super::{tenants, token_keys};
use crate::running::Running;

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody who reaches the listener.
    Open,
    /// Whom the admin policy lets do this.
    Asks(Action),
    /// Who signed in, with the session's cookie.
    Session,
    /// Identity providers, with the token of their directory.
    Directory,
}

/// One route.
pub struct Route {
    /// The method.
    pub method: &'static str,
    /// The path, with its parameters in braces.
    pub path: &'static str,
    /// Who may use it.
    pub access: Access,
    /// `None` where a router of its own serves it.
    pub(super) handler: Option<MethodRouter<Arc<Running>>>,
}

/// All routes.
pub fn table() -> Vec<Route> {
    use Access::{Asks, Open, Session};
    let route = |method, path, access, handler| Route { method, path, access, handler: Some(handler) };
    let mut all = vec![
        route("GET", "/healthz", Open, get(status::health)),
        route("GET", "/readyz", Open, get(status::ready)),
        route("GET", "/metrics", Open, get(status::metrics)),
        route("GET", "/", Open, get(page::index)),
        route("GET", "/page/{file}", Open, get(page::part)),
        route("POST", "/session", Open, post(session::open)),
        route("GET", "/session", Session, get(session::show)),
        route("DELETE", "/session", Session, delete(session::close)),
        route("GET", "/admin/v1/status", Asks(Action::StatusRead), get(status::status)),
        route("GET", "/admin/v1/keys", Asks(Action::KeysRead), get(keys::list)),
        route("POST", "/admin/v1/keys", Asks(Action::KeysCreate), post(keys::create)),
        route("DELETE", "/admin/v1/keys/{id}", Asks(Action::KeysRevoke), delete(keys::revoke)),
        route("POST", "/admin/v1/keys/{id}/revoke", Asks(Action::KeysRevoke), post(keys::revoke)),
        route("POST", "/admin/v1/keys/{id}/rotate", Asks(Action::KeysRotate), post(keys::rotate)),
        route("POST", "/admin/v1/keys/{id}/expire", Asks(Action::KeysExpire), post(keys::expire)),
        route("POST", "/admin/v1/keys/{id}/scope", Asks(Action::KeysScope), post(keys::scope)),
        route("POST", "/admin/v1/admins", Asks(Action::AdminsChange), post(keys::create_admin)),
        route("GET", "/admin/v1/tenants", Asks(Action::TenantsRead), get(tenants::list)),
        route("POST", "/admin/v1/tenants", Asks(Action::TenantsCreate), post(tenants::create)),
        route("PATCH", "/admin/v1/tenants/{*path}", Asks(Action::TenantsChange), patch(tenants::change)),
        route("DELETE", "/admin/v1/tenants/{*path}", Asks(Action::TenantsDelete), delete(tenants::delete)),
        route("GET", "/admin/v1/secrets", Asks(Action::SecretsRead), get(secrets::list)),
        route("PUT", "/admin/v1/secrets", Asks(Action::SecretsChange), put(secrets::set)),
        route("DELETE", "/admin/v1/secrets", Asks(Action::SecretsChange), delete(secrets::remove)),
        route("GET", "/admin/v1/issuers", Asks(Action::IssuersRead), get(issuers::list)),
        route("GET", "/admin/v1/token-keys", Asks(Action::IssuersRead), get(token_keys::list)),
        route("POST", "/admin/v1/token-keys/rotate", Asks(Action::IssuersRotate), post(token_keys::rotate)),
        route("POST", "/admin/v1/policy/rehearse", Asks(Action::PolicyRehearse), post(rehearse::rehearse)),
        route("GET", "/admin/v1/policy", Asks(Action::PolicyRead), get(policy::show)),
        route("POST", "/v1/data/{*path}", Asks(Action::PolicyAsk), post(opa::ask)),
        route("GET", "/v1/data/{*path}", Asks(Action::PolicyRead), get(opa::get)),
        route("GET", "/health", Open, get(opa::health)),
        route("POST", "/admin/v1/policy/rollback", Asks(Action::PolicyChange), post(policy::roll_back)),
        route("GET", "/admin/v1/policy/data", Asks(Action::PolicyRead), get(policy::pushed)),
        route("PUT", "/admin/v1/policy/data/{*path}", Asks(Action::PolicyChange), put(policy::push)),
        route("DELETE", "/admin/v1/policy/data/{*path}", Asks(Action::PolicyChange), delete(policy::take_back)),
        route("GET", "/admin/v1/directory", Asks(Action::DirectoryRead), get(directory::list)),
        route("GET", "/admin/v1/usage", Asks(Action::UsageRead), get(ledger::usage)),
        route("POST", "/admin/v1/usage/reprice", Asks(Action::UsageReprice), post(finance::reprice)),
        route("GET", "/admin/v1/budgets", Asks(Action::UsageRead), get(finance::budgets)),
        route("GET", "/admin/v1/export", Asks(Action::UsageRead), get(finance::export)),
        route("GET", "/admin/v1/statements", Asks(Action::UsageRead), get(finance::statements)),
        route("POST", "/admin/v1/statements", Asks(Action::StatementsClose), post(finance::close)),
        route("GET", "/admin/v1/statements/{number}", Asks(Action::UsageRead), get(finance::statement)),
        route("GET", "/admin/v1/statements/{number}/verify", Asks(Action::UsageRead), get(finance::check)),
        route("GET", "/admin/v1/audit/verify", Asks(Action::AuditVerify), get(ledger::verify)),
    ];
    let scim = scim::ENDPOINTS.iter();
    all.extend(scim.map(|(method, path)| Route { method, path, access: Access::Directory, handler: None }));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_has_a_route_and_every_change_another_method_than_get() {
        let table = table();
        for action in Action::ALL {
            let routes: Vec<_> = table.iter().filter(|route| route.access == Access::Asks(action)).collect();
            assert!(!routes.is_empty(), "{action:?}");
            assert!(routes.iter().all(|route| (route.method == "GET") != action.is_change()), "{action:?}");
        }
        let names: std::collections::BTreeSet<_> = Action::ALL.iter().map(|action| action.name()).collect();
        assert_eq!(names.len(), Action::ALL.len());
    }
}

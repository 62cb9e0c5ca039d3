//! Who asks, and whether they may. Proves an administrator by the owner's token, by an administrator's key, or by the
//! cookie that either was given for, then asks the admin policy: once for the route, and once more where a handler
//! learns which tenant it is about.
//!
//! Refuses everything that the policy doesn't clearly allow. What belongs to another tenant is not there at all.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use regorus::Value;
use serde_json::json;
use subtle::ConstantTimeEq;

use super::action::Action;
use super::{AdminError, bearer, nothing_here, session};
use crate::identity::keyring::Administrator;
use crate::identity::{KeyId, TenantPath, api_key};
use crate::policy::Denied;
use crate::running::Running;
use crate::telemetry::metric;
use crate::world::World;
use crate::{clock, journal};

/// Id and role of who has the owner's token.
const OWNER: &str = "owner";

/// What an action is done to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Resource<'a> {
    /// The tenant that it belongs to.
    pub(crate) tenant: Option<&'a TenantPath>,
    /// Whether it is everybody's.
    pub(crate) deployment: bool,
    /// Roles that it gives somebody.
    pub(crate) roles: &'a [String],
}

impl<'a> Resource<'a> {
    /// A thing of that tenant.
    pub(crate) fn of(tenant: &'a TenantPath) -> Self {
        Self { tenant: Some(tenant), ..Self::default() }
    }
}

/// A proven administrator, under the rules of one World.
#[derive(Clone)]
pub(crate) struct Authority {
    who: Arc<Administrator>,
    world: Arc<World>,
}

impl Authority {
    /// Asks the policy.
    ///
    /// # Errors
    /// 403 with the reason code.
    pub(crate) fn may(&self, action: Action, resource: &Resource<'_>) -> Result<(), AdminError> {
        // A member that is not there means something else than an empty one.
        let tenant = |tenant: Option<&TenantPath>| tenant.map(|tenant| ("tenant", json!(tenant.as_str())));
        let deployment = resource.deployment.then_some(("deployment", json!(true)));
        let about = [("roles", json!(resource.roles))].into_iter().chain(tenant(resource.tenant)).chain(deployment);
        let subject = [("id", json!(self.who.id)), ("role", json!(self.who.role))];
        let subject = subject.into_iter().chain(tenant(self.who.tenant.as_ref()));
        let (about, subject): (BTreeMap<_, _>, BTreeMap<_, _>) = (about.collect(), subject.collect());
        let input = json!({"subject": subject, "action": action.name(), "resource": about});
        self.world.admin_policy.decide_document(Value::from(input)).map(drop).map_err(|denied| self.refused(&denied))
    }

    fn refused(&self, denied: &Denied) -> AdminError {
        metrics::counter!(metric::REFUSALS, "reason" => "admin_denied").increment(1);
        let text = format!("the role `{}` may not do this: {}", self.who.role, denied.reason);
        AdminError(StatusCode::FORBIDDEN, text)
    }

    /// The level that everything shown must lie in; `None`: all.
    pub(crate) fn scope(&self) -> Option<&TenantPath> {
        self.who.tenant.as_ref()
    }

    /// Whether things of that tenant are shown at all.
    pub(crate) fn sees(&self, tenant: &str) -> bool {
        let Some(scope) = self.scope() else { return true };
        TenantPath::parse(tenant).is_ok_and(|tenant| tenant.is_within(scope))
    }
}

/// The credential is no administrator's.
pub(super) enum Unproven {
    /// Nobody could be: the owner set no token, and no key fits.
    Closed,
    Wrong,
    /// It is this one's, but another page than ours made the request.
    Forged(Administrator),
}

/// Who has the owner's token.
pub(super) fn owner() -> Administrator {
    Administrator { id: KeyId(OWNER.into()), tenant: None, role: OWNER.into(), epoch: 0 }
}

/// By `authorization` where that is there, else by the cookie of who signed in: never by one where the other fails.
fn prove(running: &Running, world: &World, request: &Request) -> Result<Administrator, Unproven> {
    match request.headers().contains_key(header::AUTHORIZATION) {
        true => prove_bearer(running, world, bearer(request.headers()).unwrap_or_default()),
        false => session::prove(running, world, request),
    }
}

/// Proves the owner's token or an administrator's key.
pub(super) fn prove_bearer(running: &Running, world: &World, presented: &[u8]) -> Result<Administrator, Unproven> {
    // The token of the present revision: a reload that changes it locks the old one out.
    let token = world.settings.admin.token.as_ref().ok_or(Unproven::Closed)?;
    if presented.ct_eq(token.expose()).into() {
        return Ok(owner());
    }
    let key = std::str::from_utf8(presented).ok().and_then(|text| api_key::parse(text).ok()).ok_or(Unproven::Wrong)?;
    running.keyring.administrator(&key, &world.peppers, clock::unix_ms()).map_err(|fault| {
        metrics::counter!(metric::REFUSALS, "reason" => fault.code()).increment(1);
        Unproven::Wrong
    })
}

/// Tells that nobody is proven, and counts it.
pub(super) async fn refuse(unproven: &Unproven) -> Response {
    let (reason, status, text) = match unproven {
        Unproven::Closed => return nothing_here().await.into_response(),
        Unproven::Wrong => (
            "admin_token",
            StatusCode::UNAUTHORIZED,
            "send the owner's token or an administrator's key as `authorization: Bearer ...`, or sign in",
        ),
        Unproven::Forged(_) => (
            "admin_forged",
            StatusCode::FORBIDDEN,
            "with a cookie, only the listener's own page may ask, and for a change it sends its `x-csrf-token`",
        ),
    };
    metrics::counter!(metric::REFUSALS, "reason" => reason).increment(1);
    AdminError(status, text.to_owned()).into_response()
}

/// Lets a request through to its handler, with its [`Authority`], and notes changes and refusals on the audit log.
pub(super) async fn guard(
    State((running, action)): State<(Arc<Running>, Action)>,
    mut request: Request,
    next: Next,
) -> Response {
    let world = running.world.load_full();
    let who = match prove(&running, &world, &request) {
        Ok(who) => Arc::new(who),
        Err(unproven) => {
            let response = refuse(&unproven).await;
            if let Unproven::Forged(who) = &unproven {
                note(&running, who, action, request.uri().path(), response.status());
            }
            return response;
        }
    };
    let authority = Authority { who: Arc::clone(&who), world };
    let about = Resource { deployment: action.is_of_deployment(), ..Resource::default() };
    let path = request.uri().path().to_owned();
    let response = match authority.may(action, &about) {
        Ok(()) => {
            request.extensions_mut().insert(authority);
            next.run(request).await
        }
        Err(refused) => refused.into_response(),
    };
    if action.is_change() || response.status() == StatusCode::FORBIDDEN {
        note(&running, &who, action, &path, response.status());
    }
    response
}

/// The journal refuses calls where it is full, and says so: the answer to an administrator stands all the same, and
/// what was changed is noted from the store too.
fn note(running: &Running, who: &Administrator, action: Action, path: &str, status: StatusCode) {
    let note = journal::note("admin_action", clock::unix_ms())
        .with("who", &who.id)
        .with("role", &who.role)
        .with("action", &action.name())
        .with("path", &path)
        .with("status", &status.as_u16());
    if running.journal.note(note).is_err() {
        tracing::error!(action = action.name(), "an administrator's action could not be noted");
    }
}

//! Everything that one revision of the configuration says. A call clones one `Arc<World>` at its birth and never sees
//! another; a reload builds a whole new World and swaps it in, or changes nothing.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use weir_wire::endpoint::Endpoint;

use crate::config::fault::Doubt;
use crate::config::settings::{DeploymentRule, ModelRule, TenantRule};
use crate::config::{Settings, Warning};
use crate::identity::TenantPath;
use crate::identity::certificate::connection::Judges;
use crate::identity::certificate::trust::Trust;
use crate::identity::keyring::TenantRules;
use crate::identity::pepper::Peppers;
use crate::identity::sealed::MasterKeys;
use crate::limits::LimitRules;
use crate::limits::rules::CanaryFault;
use crate::policy::bundle::keep::KeepFault;
use crate::policy::bundle::set::Slot;
use crate::policy::{self, Compiled, PolicyFault, Pushed, decision_log};
use crate::refusal::Refusal;
use crate::routing::fair::{Claim, Priority};
use crate::telemetry::metric;
use crate::tls::{self, TlsFault};
use crate::usage::price::fare::Fare;
use crate::usage::price::{BUILTIN, PriceBook, PriceError};

/// Rules, never state.
pub struct World {
    /// Counts up with each reload.
    pub revision: u64,
    /// The settings as meant.
    pub settings: Settings,
    /// The compiled policy.
    pub policy: Compiled,
    /// What decides about administrators.
    pub admin_policy: Compiled,
    /// What its decisions are masked with and named after.
    pub decisions: Arc<decision_log::Rules>,
    /// The bundles that decide beside it; a new revision of one is another snapshot in here.
    pub bundles: Slot,
    /// Roles and attributes by level.
    pub tenants: TenantRules,
    /// Hash keys by pepper version.
    pub peppers: Peppers,
    /// What tenants' secrets are sealed under.
    pub master_keys: MasterKeys,
    /// Who vouches for client certificates, by listener.
    pub trusts: Vec<Option<Trust>>,
    /// Limits by level.
    pub limits: LimitRules,
    /// Prices.
    pub prices: PriceBook,
    /// When their file was last written, in Unix milliseconds; none for the one that ships with Weir.
    pub prices_written_ms: Option<u64>,
    models: HashMap<Arc<str>, ModelRule>,
    /// Share and priority of organisations that have their own.
    shares: HashMap<Box<str>, (u32, Priority)>,
}

/// Why a revision can't be served.
#[derive(Debug, thiserror::Error)]
pub enum WorldFault {
    /// The policy doesn't compile.
    #[error("policy: {0}")]
    Policy(#[from] PolicyFault),
    /// The authorities of client certificates can't be used.
    #[error(transparent)]
    Trust(#[from] TlsFault),
    /// A limit that could not refuse.
    #[error("limits: {0}")]
    Limits(#[from] CanaryFault),
    /// The data that was pushed can't be read back.
    #[error("pushed data: {0}")]
    Pushed(#[from] KeepFault),
    /// The price file can't be read.
    #[error("prices: `{path}`: {source}")]
    PriceFile {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The price file is wrong.
    #[error("prices: {0}")]
    Prices(#[from] PriceError),
}

impl World {
    /// Builds the World of `settings` and of the data that was pushed, or says what is wrong with it.
    pub fn build(settings: Settings, pushed: &Pushed, revision: u64) -> Result<Self, WorldFault> {
        let policy = policy::prepare(&settings.policy, &settings.tenants, pushed)?;
        let admin_policy = policy::prepare_admin(&settings.admin, &settings.policy)?;
        let decisions = Arc::new(decision_log::Rules::prepare(&settings)?);
        let prices = prices(settings.prices.as_deref())?.with(&settings.terms)?;
        let prices_written_ms = settings.prices.as_deref().and_then(written_ms);
        let limits = LimitRules::new(&settings.tenants);
        limits.prove(&settings.tenants)?;
        let models = settings.models.iter().map(|model| (model.name.clone(), model.clone())).collect();
        let share = |rule: &TenantRule| (rule.path.as_str().into(), (rule.share, rule.priority));
        let shares = settings.tenants.iter().map(share).collect();
        let tenants = TenantRules::new(&settings.tenants);
        let peppers = Peppers::new(&settings.peppers);
        let master_keys = MasterKeys::new(&settings.master_keys);
        let trusts = tls::trusts(&settings)?;
        Ok(Self {
            revision,
            settings,
            policy,
            admin_policy,
            decisions,
            bundles: Slot::default(),
            tenants,
            peppers,
            master_keys,
            trusts,
            limits,
            prices,
            prices_written_ms,
            models,
            shares,
        })
    }

    /// Deployments that are never called, because no price is known for them.
    pub fn unpriced(&self) -> Vec<Warning> {
        let mut found = Vec::new();
        for (model, rule) in self.settings.models.iter().enumerate() {
            for (place, deployment) in rule.deployments.iter().enumerate() {
                let priced = self.prices.cost(&deployment.price_provider, &deployment.model, 1, 1);
                if let Err(why) = priced
                    && deployment.gpu.is_none()
                {
                    let path = format!("models[{model}].deployments[{place}]");
                    found.push(Warning { path, doubt: Doubt::Unpriced(why.to_string()) });
                }
            }
        }
        found
    }

    /// What it says of client certificates.
    pub fn judges(&self) -> Judges<'_> {
        Judges { revision: self.revision, trusts: &self.trusts, denied: &self.settings.denied_certificates }
    }

    /// Whose line a tenant's calls wait in, and what they weigh there.
    pub fn claim(&self, tenant: &TenantPath, cost: u64) -> Claim {
        let org = tenant.org();
        let (weight, priority) = self.shares.get(org).copied().unwrap_or((1, Priority::Normal));
        Claim { flow: org.into(), weight, priority, cost }
    }

    /// The model of that alias.
    pub fn model(&self, name: &str) -> Option<&ModelRule> {
        self.models.get(name)
    }
}

impl World {
    /// The deployments of `model` that speak the endpoint and have a price: nothing is translated, and a call that
    /// can't be priced is not served.
    pub fn candidates(
        &self,
        model: &ModelRule,
        endpoint: Endpoint,
        fare: Fare<'_>,
    ) -> Result<Vec<Arc<DeploymentRule>>, Refusal> {
        let speaks = |rule: &&Arc<DeploymentRule>| rule.endpoints.contains(&endpoint.spoken());
        let speaking: Vec<_> = model.deployments.iter().filter(speaks).cloned().collect();
        if speaking.is_empty() {
            return Err(Refusal::EndpointUnserved { model: model.name.clone(), endpoint });
        }
        let priced = |rule: &Arc<DeploymentRule>| fare.most(rule, 1, 1).is_ok();
        let priced: Vec<_> = speaking.into_iter().filter(priced).collect();
        if priced.is_empty() {
            metric::prices::unknown(&model.name);
            return Err(Refusal::Unpriced);
        }
        Ok(priced)
    }
}

fn written_ms(path: &Path) -> Option<u64> {
    let written = std::fs::metadata(path).and_then(|found| found.modified()).ok()?;
    u64::try_from(written.duration_since(std::time::UNIX_EPOCH).ok()?.as_millis()).ok()
}

fn prices(path: Option<&Path>) -> Result<PriceBook, WorldFault> {
    let Some(path) = path else { return Ok(PriceBook::parse(BUILTIN)?) };
    let fault = |source| WorldFault::PriceFile { path: path.display().to_string(), source };
    Ok(PriceBook::parse(&std::fs::read_to_string(path).map_err(fault)?)?)
}

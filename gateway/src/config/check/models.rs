//! Models and their deployments: names, addresses, credentials, weights.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use weir_wire::endpoint::Endpoint;

use super::{Check, ms};
use crate::config::fault::{Doubt, Wrong};
use crate::config::file::Node;
use crate::config::resolve;
use crate::config::settings::{Address, DeploymentRule, EngineSettings, ModelRule, Provider, Timeouts};
use crate::config::shape::Section;
use crate::config::url::{BaseUrl, parse};
use crate::routing::queue::QueueRule;

impl Check<'_> {
    /// Every model of the file.
    pub(super) fn models(&mut self, root: &Section<'_>, engine: Option<&EngineSettings>) -> Vec<ModelRule> {
        let sections = root.sections("models");
        let (mut names, mut deployment_names) = (HashMap::new(), HashMap::new());
        let models: Vec<_> = sections.iter().map(|one| self.model(one, &mut names, &mut deployment_names)).collect();
        if models.is_empty() && root.get("models").is_none_or(|node| matches!(node, Node::List(_))) {
            self.doubt(root.at("models"), Doubt::NoModels);
        }
        if let Some(engine) = engine {
            let served = |rule: &Arc<DeploymentRule>| {
                rule.provider == Provider::Engine && rule.address == Address::Unix(engine.socket.clone())
            };
            if !models.iter().flat_map(|model| &model.deployments).any(served) {
                self.doubt("engine.socket".to_owned(), Doubt::UnusedEngine);
            }
        }
        models
    }

    fn model(
        &mut self,
        section: &Section<'_>,
        names: &mut HashMap<String, String>,
        deployment_names: &mut HashMap<String, String>,
    ) -> ModelRule {
        let name = self.unique(section, names);
        let most = section.int("output_tokens_max").unwrap_or(1);
        let usual = section.int("output_tokens_default").unwrap_or(most);
        if usual > most {
            self.fault(section.at("output_tokens_default"), Wrong::OutputTokens { default: usual, max: most });
        }
        let sections = section.sections("deployments");
        let deployments: Vec<_> =
            sections.iter().map(|one| Arc::new(self.deployment(one, &name, deployment_names))).collect();
        if deployments.is_empty() && matches!(section.get("deployments"), Some(Node::List(_))) {
            self.fault(section.at("deployments"), Wrong::EmptyList);
        }
        if !deployments.is_empty() && deployments.iter().all(|deployment| deployment.weight == 0) {
            self.fault(section.at("deployments"), Wrong::WeightsZero);
        }
        ModelRule {
            name: name.into(),
            deployments,
            output_tokens_max: non_zero(most),
            output_tokens_default: non_zero(usual),
        }
    }

    /// The section's name, checked, and reported where another has it.
    fn unique(&mut self, section: &Section<'_>, names: &mut HashMap<String, String>) -> String {
        let name = section.text("name");
        self.name(section.at("name"), name);
        let Some(name) = name else { return String::new() };
        if let Some(other) = names.get(name) {
            self.fault(section.at("name"), Wrong::DuplicateName { name: name.to_owned(), other: other.clone() });
        } else {
            names.insert(name.to_owned(), section.path.clone());
        }
        name.to_owned()
    }

    fn deployment(
        &mut self,
        section: &Section<'_>,
        model: &str,
        names: &mut HashMap<String, String>,
    ) -> DeploymentRule {
        let name = self.unique(section, names);
        let provider = match section.text("provider") {
            Some("engine") => Provider::Engine,
            Some("anthropic") => Provider::Anthropic,
            _ => Provider::OpenAi,
        };
        let api_key = self.secret(section, "api_key");
        self.fits_header(section.at("api_key"), api_key.as_ref());
        let (address, base_path) = self.base_url(section, provider);
        let upstream = section.text("upstream_model").unwrap_or(model);
        let price_provider = section.text("price_provider").unwrap_or(provider.name());
        let timeouts = section.section("timeouts");
        DeploymentRule {
            name: name.into(),
            provider,
            endpoints: self.spoken(section, provider),
            address,
            base_path,
            api_key,
            tenant_key: section.text("tenant_key").map(Arc::from),
            model: upstream.into(),
            region: section.text("region").map(Arc::from),
            owner: section.text("owner").map(Arc::from),
            data_class: section.text("data_class").map(Arc::from),
            price_provider: price_provider.into(),
            weight: section.int("weight").and_then(|n| u32::try_from(n).ok()).unwrap_or(1),
            gpu: self.gpu(section, provider),
            queue: queue(section),
            timeouts: Timeouts {
                connect: ms(&timeouts, "connect_ms"),
                first_byte: ms(&timeouts, "first_byte_ms"),
                idle: ms(&timeouts, "idle_ms"),
            },
        }
    }

    /// The endpoints that a deployment speaks.
    fn spoken(&mut self, section: &Section<'_>, provider: Provider) -> Arc<[Endpoint]> {
        let named = section.texts("endpoints");
        if named.is_empty() {
            if matches!(section.get("endpoints"), Some(Node::List(items)) if items.is_empty()) {
                self.fault(section.at("endpoints"), Wrong::EmptyList);
            }
            return provider.usual_endpoints().into();
        }
        let mut found = Vec::with_capacity(named.len());
        for (path, name) in named {
            match Endpoint::from_name(name).filter(|endpoint| provider.may_speak(*endpoint)) {
                Some(endpoint) => found.push(endpoint),
                None => {
                    let all = Endpoint::ALL.into_iter().filter(|endpoint| provider.may_speak(*endpoint));
                    let known = all.map(Endpoint::name).collect();
                    self.fault(path, Wrong::Endpoint { got: name.to_owned(), provider: provider.name(), known });
                }
            }
        }
        found.into()
    }

    fn base_url(&mut self, section: &Section<'_>, provider: Provider) -> (Address, Arc<str>) {
        let nowhere = (Address::Unix(Default::default()), Arc::from("/v1"));
        let Some(text) = section.text("base_url").filter(|text| !text.is_empty()) else { return nowhere };
        match parse(text) {
            Err(fault) => {
                self.fault(section.at("base_url"), fault.into());
                nowhere
            }
            Ok(BaseUrl::Unix(path)) => {
                let path = resolve(self.folder, &path);
                self.socket(section.at("base_url"), &path);
                if section.bool("http2") {
                    self.fault(section.at("http2"), Wrong::Http2OverUnix);
                }
                (Address::Unix(path), "/v1".into())
            }
            Ok(BaseUrl::Tcp { host, port, tls, path }) => {
                let credential = section.get("api_key").is_some();
                if provider == Provider::Engine && !credential {
                    self.fault(section.at("base_url"), Wrong::OpenEngine);
                }
                if credential && !tls && !is_loopback(&host) {
                    self.doubt(section.at("base_url"), Doubt::PlainUpstream(host.to_string()));
                }
                (Address::Tcp { host, port, tls, http2: section.bool("http2") }, path)
            }
        }
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn non_zero(number: u64) -> NonZeroU32 {
    u32::try_from(number).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN)
}

/// How many calls a deployment takes; `None` where nothing is said.
fn queue(section: &Section<'_>) -> Option<QueueRule> {
    section.get("queue")?;
    let queue = section.section("queue");
    Some(QueueRule {
        slots: queue.int("slots").and_then(|slots| u32::try_from(slots).ok())?,
        waiting_max: queue.int("waiting_max").and_then(|most| usize::try_from(most).ok())?,
        wait_max: ms(&queue, "wait_ms"),
    })
}

//! A gateway's configuration, written piece by piece.

use std::fmt::Write;

use crate::upstream::Upstream;

/// The pepper of all test gateways.
pub const PEPPER: &str = "a pepper that is only for tests, 32+ bytes";

/// The owner's token of all test gateways.
pub const ADMIN_TOKEN: &str = "the-owners-token-of-tests";

/// What goes into the file.
#[derive(Debug, Clone, Default)]
pub struct Config {
    tenants: Vec<String>,
    models: Vec<(String, Vec<String>)>,
    sections: Vec<String>,
    tls: Option<String>,
    listener: String,
    keys: String,
    model_keys: String,
}

impl Config {
    /// One model `mock`, served by `upstream` as `mock-1`, for one tenant `acme` without limits.
    pub fn with(upstream: &Upstream) -> Self {
        Self::default().tenant("acme", "").deployment("mock", "mock-a", &upstream.base_url(), "")
    }

    /// Adds a tenant that may use all models; `more` are further keys, like `limits: { concurrency: 1 }`.
    #[must_use]
    pub fn tenant(self, path: &str, more: &str) -> Self {
        self.tenant_with(&format!("path: {path}, models: [\"*\"], roles: [user]{}", comma(more)))
    }

    /// Adds a tenant with exactly these keys.
    #[must_use]
    pub fn tenant_with(mut self, keys: &str) -> Self {
        self.tenants.push(format!("  - {{ {keys} }}\n"));
        self
    }

    /// Adds a deployment to a model; `more` are further keys, like `weight: 0`.
    #[must_use]
    pub fn deployment(mut self, model: &str, name: &str, base_url: &str, more: &str) -> Self {
        let timeouts = "timeouts: { connect_ms: 1000, first_byte_ms: 5000, idle_ms: 5000 }";
        let timeouts = if more.contains("timeouts") { "" } else { timeouts };
        let upstream = if more.contains("upstream_model") { "" } else { "upstream_model: mock-1" };
        let keys =
            format!("name: {name}, base_url: \"{base_url}\"{}{}{}", comma(upstream), comma(timeouts), comma(more));
        let line = format!("      - {{ {keys} }}\n");
        match self.models.iter_mut().find(|(found, _)| found == model) {
            Some((_, deployments)) => deployments.push(line),
            None => self.models.push((model.to_owned(), vec![line])),
        }
        self
    }

    /// Further keys of every model, one a line, like `output_tokens_max: 10`.
    #[must_use]
    pub fn models_with(mut self, keys: &str) -> Self {
        self.model_keys = format!("    {keys}\n");
        self
    }

    /// The data plane speaks TLS, with `cert.pem` and `key.pem` beside the file.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = Some(String::new());
        self
    }

    /// The same with further keys, like `client_ca: ./clients.pem`.
    #[must_use]
    pub fn tls_with(mut self, more: &str) -> Self {
        self.tls = Some(comma(more));
        self
    }

    /// Adds keys of the listener, like `environment: production`.
    #[must_use]
    pub fn listener(mut self, keys: &str) -> Self {
        self.listener = comma(keys);
        self
    }

    /// Adds keys about API keys, like `query_parameter: key`.
    #[must_use]
    pub fn keys(mut self, keys: &str) -> Self {
        self.keys = comma(keys);
        self
    }

    /// Adds a top-level section, like `retry: { attempts_max: 1 }`.
    #[must_use]
    pub fn section(mut self, yaml: &str) -> Self {
        self.sections.push(format!("{yaml}\n"));
        self
    }

    /// The file's text for a gateway on these ports; the pepper lies beside it.
    ///
    /// # Panics
    /// Never: memory takes every write.
    pub fn yaml(&self, port: u16, admin_port: u16) -> String {
        let files = |more: &String| format!(", tls: {{ cert: ./cert.pem, key: ./key.pem{more} }}");
        let files = self.tls.as_ref().map(files).unwrap_or_default();
        let (listener, keys) = (&self.listener, &self.keys);
        let mut text = format!(
            "listen: [{{ address: \"127.0.0.1:{port}\"{files}{listener} }}]\n\
             admin: {{ listen: \"127.0.0.1:{admin_port}\", token: \"file:./admin_token\" }}\ndata: ./data\n\
             threads: 2\nkeys: {{ pepper: \"file:./pepper\"{keys} }}\nprices: ./prices.yaml\n"
        );
        if !self.sections.iter().any(|section| section.starts_with("shutdown")) {
            text.push_str("shutdown: { drain_s: 5 }\n");
        }
        text.extend(self.sections.iter().map(String::as_str));
        text.push_str("tenants:\n");
        text.extend(self.tenants.iter().map(String::as_str));
        text.push_str("models:\n");
        for (name, deployments) in &self.models {
            write!(text, "  - name: {name}\n{}    deployments:\n", self.model_keys).expect("memory takes every write");
            text.extend(deployments.iter().map(String::as_str));
        }
        text
    }
}

fn comma(keys: &str) -> String {
    if keys.is_empty() { String::new() } else { format!(", {keys}") }
}

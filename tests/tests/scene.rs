//! What most tests begin with: one provider, one gateway before it, one key.

use e2e::client::Request;
use e2e::config::Config;
use e2e::gateway::{Gateway, Key};
use e2e::say;
use e2e::upstream::Upstream;
use serde_json::Value;

/// One provider, one gateway before it, one key.
pub struct Scene {
    pub upstream: Upstream,
    pub gateway: Gateway,
    pub key: Key,
}

impl Scene {
    /// The model `mock` for the tenant `acme`, with nothing that limits it.
    pub async fn new() -> Self {
        Self::with(|config| config).await
    }

    /// The same with a changed configuration.
    pub async fn with(change: impl FnOnce(Config) -> Config) -> Self {
        let upstream = Upstream::start().await;
        let mut gateway = Gateway::prepare(&change(Config::with(&upstream)));
        let key = gateway.key("acme/research/chat/ada").await;
        gateway.spawn().await;
        Self { upstream, gateway, key }
    }

    /// The same with waits of these lengths in milliseconds for the provider.
    pub async fn impatient(first_byte_ms: u64, idle_ms: u64, section: &str) -> Self {
        let upstream = Upstream::start().await;
        let waits = format!("timeouts: {{ connect_ms: 500, first_byte_ms: {first_byte_ms}, idle_ms: {idle_ms} }}");
        let config = Config::default().tenant("acme", "").deployment("mock", "mock-a", &upstream.base_url(), &waits);
        let mut gateway = Gateway::prepare(&config.section("retry: { attempts_max: 1 }").section(section));
        let key = gateway.key("acme").await;
        gateway.spawn().await;
        Self { upstream, gateway, key }
    }

    /// A streamed chat with a short prompt.
    pub fn streamed(&self) -> Request {
        Request::chat(&self.key.secret, &say::chat("mock", "hi", true))
    }

    /// A chat with a short prompt that is answered at once.
    pub fn whole(&self) -> Request {
        Request::chat(&self.key.secret, &say::chat("mock", "hi", false))
    }

    /// A streamed chat that asks for usage.
    pub fn streamed_with_usage(&self) -> Request {
        let mut body = say::chat("mock", "hi", true);
        body["stream_options"] = serde_json::json!({"include_usage": true});
        Request::chat(&self.key.secret, &body)
    }

    /// The only usage row and the only audit record of a call, once they are there; the chain is proven.
    pub async fn books(&self) -> (Value, Value) {
        let mut rows = self.gateway.usage_rows(1).await;
        let mut records = self.gateway.audit_calls(1).await;
        self.gateway.verify_audit().await;
        (rows.remove(0), records.remove(0))
    }
}

//! The smallest Pingora proxy: forwards everything, touches nothing. The floor that Weir is compared with.
//!
//! `bare [--listen 127.0.0.1:9200] [--upstream 127.0.0.1:9100] [--threads 1] [--work-stealing true]`
//!
//! Work stealing is Pingora's default. Weir runs without it, so both settings are worth a look.

use std::net::SocketAddr;

use async_trait::async_trait;
use pingora::prelude::{HttpPeer, Server};
use pingora::proxy::{ProxyHttp, Session, http_proxy_service};
use pingora::server::configuration::ServerConf;
use weir_bench::flags::Flags;

struct PassThrough {
    upstream: SocketAddr,
}

#[async_trait]
impl ProxyHttp for PassThrough {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> pingora::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.upstream, false, String::new())))
    }
}

fn main() -> anyhow::Result<()> {
    let flags = Flags::from_args();
    let (listen, upstream) =
        (flags.loopback("--listen", "127.0.0.1:9200")?, flags.loopback("--upstream", "127.0.0.1:9100")?);
    let conf = ServerConf {
        threads: flags.parse("--threads", 1)?,
        work_stealing: flags.parse("--work-stealing", true)?,
        upstream_keepalive_pool_size: 16_384,
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, PassThrough { upstream });
    service.add_tcp(&listen.to_string());
    server.add_service(service);
    server.run_forever()
}

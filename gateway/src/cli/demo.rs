//! `weir demo`: a gateway with its own engine and two tenants with different rights, ready for the first call.

mod folder;

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::fail;
use super::serve::{conclude, start_log};
use crate::serve;
use crate::telemetry::metric;

/// `weir demo`
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Print one line of JSON once ready, and nothing else on stdout.
    #[arg(long)]
    pub json: bool,
    /// Data folder; kept between runs. Default: `weir/demo` in the user's data folder.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Address of the data plane; loopback only.
    #[arg(long, default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Address of the admin listener; loopback only.
    #[arg(long, default_value = "127.0.0.1:8081")]
    pub admin: SocketAddr,
    /// GGUF file or safetensors folder. Default: the cached SmolLM2-135M-Instruct.
    #[arg(long, value_name = "PATH")]
    pub model: Option<PathBuf>,
    /// Run the engine's scripted executor instead of a model.
    #[arg(long)]
    pub scripted: bool,
    /// Log filter.
    #[arg(long, default_value = "warn")]
    pub log: String,
}

/// Sets the folder up and serves it.
pub fn run(args: &DemoArgs) -> ExitCode {
    start_log(&args.log);
    let demo = match folder::set_up(args) {
        Ok(demo) => demo,
        Err(fault) => {
            return fail(&fault, fault.exit_code());
        }
    };
    if let Err(error) = metric::install() {
        eprintln!("weir: metrics: {error}");
        return ExitCode::FAILURE;
    }
    let served = serve::prepare(&demo.config).and_then(|prepared| {
        let config = demo.config.clone();
        let json = args.json;
        prepared.serve(&config, move |_| say_ready(&demo, json))
    });
    conclude(served)
}

/// Tells a person or a script how to reach the gateway. A closed stdout is no reason to stop serving.
fn say_ready(demo: &folder::Demo, json: bool) {
    let text = if json { format!("{}\n", demo.to_json()) } else { welcome(demo) };
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).unwrap_or(());
}

fn welcome(demo: &folder::Demo) -> String {
    let mut text = format!(
        "\nWeir is ready.\n\n  base URL   {}\n  admin      {}  (token: {})\n  \
         finance    {}/  (sign in with that token)\n  data       {}\n\n",
        demo.base_url,
        demo.admin_url,
        demo.owner_key,
        demo.admin_url,
        demo.data.display(),
    );
    for tenant in &demo.tenants {
        text.push_str(&format!("  {:<8} {}  may use: {}\n", tenant.name, tenant.key, tenant.models.join(", ")));
    }
    let key = demo.tenants.first().map_or("KEY", |tenant| tenant.key.as_str());
    text.push_str(&format!(
        "\nTry it:\n\n  curl {}/chat/completions \\\n    -H 'authorization: Bearer {key}' \\\n    \
         -H 'content-type: application/json' \\\n    \
         -d '{{\"model\":\"smollm2\",\"messages\":[{{\"role\":\"user\",\"content\":\"What is a weir?\"}}],\
         \"max_tokens\":60}}'\n\n\
         Then: weir usage report --data {data}    weir audit verify --data {data}\nCtrl-C ends it.\n",
        demo.base_url,
        data = demo.data.display(),
    ));
    text
}

//! `weir routes`: every endpoint of the data plane and every route of the admin listener, with who may use it. Those of
//! `tokens` are on the data plane too, where a token endpoint is configured.

use std::io::Write;

use serde_json::json;
use weir_wire::fault::Endpoint;

use crate::admin::route::{self, Access};
use crate::identity::metadata;

/// Arguments of `weir routes`.
#[derive(Debug, clap::Args)]
pub struct RoutesArgs {
    /// One line of JSON per route
    #[arg(long)]
    pub json: bool,
}

/// One line.
struct Line {
    listener: &'static str,
    method: &'static str,
    path: &'static str,
    asks: &'static str,
}

fn lines() -> Vec<Line> {
    let data = Endpoint::ALL.iter().map(|endpoint| Line {
        listener: "data",
        method: endpoint.method(),
        path: endpoint.path(),
        asks: endpoint.name(),
    });
    let admin = route::table().into_iter().map(|route| {
        let asks = match route.access {
            Access::Open => "open",
            Access::Session => "session's cookie",
            Access::Asks(action) => action.name(),
            Access::Directory => "directory's token",
        };
        Line { listener: "admin", method: route.method, path: route.path, asks }
    });
    let tokens = metadata::ROUTES.into_iter().map(|(method, path, is_proven)| {
        let asks = if is_proven { "client's credential" } else { "open" };
        Line { listener: "tokens", method, path, asks }
    });
    data.chain(tokens).chain(admin).collect()
}

/// Prints the table.
///
/// # Errors
/// The output can't be written.
pub fn run(args: &RoutesArgs, out: &mut dyn Write) -> std::io::Result<()> {
    for line in lines() {
        let Line { listener, method, path, asks } = line;
        match args.json {
            true => {
                writeln!(out, "{}", json!({"listener": listener, "method": method, "path": path, "asks": asks}))?;
            }
            false => writeln!(out, "{listener:6}  {method:6}  {path:34}  {asks}")?,
        }
    }
    Ok(())
}

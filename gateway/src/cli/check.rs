//! `weir check`: every fault of a configuration at once, before it is served.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::config::{self, Fault, Faults, Settings, Warning};

/// Arguments of `weir check`.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// Configuration file
    #[arg(long, short, value_name = "FILE")]
    pub config: PathBuf,
}

/// Why a check didn't end with `ok`.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The faults; print them one a line.
    #[error(transparent)]
    Config(#[from] Faults),
    /// The output can't be written.
    #[error("the output can't be written")]
    Output(#[from] std::io::Error),
}

impl CheckError {
    /// The process's exit status: 78 for faults, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) => 78,
            Self::Output(_) => 1,
        }
    }
}

/// Loads the configuration, hands the settings to `deeper` (which compiles the policy and loads the prices), and writes
/// warnings and a summary.
pub fn run(
    args: &CheckArgs,
    deeper: impl Fn(&Settings) -> Result<Vec<Warning>, Vec<Fault>>,
    out: &mut dyn Write,
) -> Result<(), CheckError> {
    let loaded = config::load(&args.config)?;
    let doubts = match deeper(&loaded.settings) {
        Ok(doubts) => doubts,
        Err(list) => {
            let file = config::file_name(&args.config);
            return Err(Faults { file, list, watched: loaded.watched }.into());
        }
    };
    let warnings = loaded.warnings.into_iter().chain(doubts).collect::<Vec<_>>();
    write_summary(&args.config, &loaded.settings, &warnings, out)?;
    Ok(())
}

fn write_summary(file: &Path, settings: &Settings, warnings: &[Warning], out: &mut dyn Write) -> std::io::Result<()> {
    for warning in warnings {
        writeln!(out, "{}: warning: {warning}", config::file_name(file))?;
    }
    let listeners = settings.listeners.iter().map(|listener| {
        let scheme = if listener.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", listener.address)
    });
    let models = settings
        .models
        .iter()
        .map(|model| format!("{} ({})", model.name, count(model.deployments.len(), "deployment")));
    let tenants = settings.tenants.iter().map(|tenant| tenant.path.to_string());
    writeln!(out, "ok")?;
    writeln!(out, "listen   {}", some(listeners))?;
    writeln!(out, "admin    http://{}", settings.admin.listen)?;
    writeln!(out, "data     {}", settings.data.display())?;
    writeln!(out, "models   {}", some(models))?;
    writeln!(out, "tenants  {}", some(tenants))
}

/// Entries of one line of the summary at most.
const SHOWN_MAX: usize = 12;

fn some(entries: impl Iterator<Item = String>) -> String {
    let all: Vec<_> = entries.collect();
    let shown = all.iter().take(SHOWN_MAX).cloned().collect::<Vec<_>>().join(", ");
    match all.len().checked_sub(SHOWN_MAX) {
        Some(more) if more > 0 => format!("{shown} and {more} more"),
        Some(_) | None if all.is_empty() => "none".to_owned(),
        Some(_) | None => shown,
    }
}

fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Wrong;

    fn check(text: &str, deeper: impl Fn(&Settings) -> Result<Vec<Warning>, Vec<Fault>>) -> (u8, String) {
        let folder = tempfile::tempdir().unwrap();
        let args = CheckArgs { config: folder.path().join("w.yaml") };
        std::fs::write(&args.config, text).unwrap();
        let pepper = folder.path().join("pepper");
        std::fs::write(&pepper, "0123456789abcdef").unwrap();
        std::fs::set_permissions(&pepper, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let mut out = Vec::new();
        let (code, text) = match run(&args, deeper, &mut out) {
            Ok(()) => (0, String::from_utf8(out).unwrap()),
            Err(error) => (error.exit_code(), error.to_string()),
        };
        (code, text.replace(&folder.path().display().to_string(), "FOLDER"))
    }

    #[test]
    fn a_good_file_is_summed_up() {
        let (code, text) = check(include_str!("../../../config/gateway.yaml"), |_| Ok(Vec::new()));
        let summary = "ok\nlisten   http://127.0.0.1:8080\nadmin    http://127.0.0.1:8081\ndata     FOLDER/data\nmodels   smollm2 (1 deployment)\ntenants  acme\n";
        assert_eq!((code, text.as_str()), (0, summary));
    }

    #[test]
    fn faults_of_the_file_and_of_what_it_names_end_with_78() {
        let (code, text) = check("keys: {}\ndat: x", |_| panic!("a faulty file goes no further"));
        assert_eq!((code, text.lines().count()), (78, 2));
        let deeper = |_: &Settings| {
            Err(vec![Fault { path: "policy.path".to_owned(), wrong: Wrong::Policy("no such rule".to_owned()) }])
        };
        let (code, text) = check("keys: {pepper: \"file:pepper\"}", deeper);
        assert_eq!((code, text.as_str()), (78, "w.yaml: policy.path: the policy doesn't compile: no such rule"));
    }
}

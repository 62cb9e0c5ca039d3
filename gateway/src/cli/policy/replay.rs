//! `weir policy replay`: a recorded decision log against a candidate, and every decision that would turn.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use parking_lot::Mutex;

use super::{PolicyError, bundle};
use crate::clock;
use crate::policy::replay::{self, Blocks, Judge, Remember, Replay, Report};
use crate::policy::source::{self, Bundle, Tests};

/// Time between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(1);
/// Exit status where decisions turn.
const FLIPS: u8 = 1;
/// Exit status where not everything could be judged.
const FAILED: u8 = 2;

/// Arguments of `weir policy replay`.
#[derive(Debug, clap::Args)]
pub struct ReplayArgs {
    /// Files of a decision log, JSON lines in OPA's form; those ending in `.gz` are unpacked
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    pub log: Vec<PathBuf>,
    /// Files and folders of the candidate; without policies among them the shipped ones
    #[arg(long, required = true, value_name = "PATH")]
    pub candidate: Vec<PathBuf>,
    /// Files and folders to compare with, in place of what was recorded
    #[arg(long, value_name = "PATH")]
    pub baseline: Vec<PathBuf>,
    /// Configuration whose tenants' grants and `policy.data` are given to the policies, as a gateway does
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The rule that decides
    #[arg(long, value_name = "RULE", default_value = super::ENTRYPOINT)]
    pub entrypoint: String,
    /// Groups of flips that are shown
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: usize,
    /// Threads; one per core without it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: Option<u16>,
    /// Evaluate each decision anew, also where one with the same input was judged before
    #[arg(long)]
    pub remember_nothing: bool,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

pub(super) fn run(args: &ReplayArgs, out: &mut dyn Write) -> Result<u8, PolicyError> {
    let mut blocks = Blocks::of(args.log.iter().cloned());
    let probes = replay::probes(blocks.peek()?);
    let judge =
        |paths: &[PathBuf]| Ok::<_, PolicyError>(Judge::new(&with_grants(args, paths)?, &args.entrypoint, &probes)?);
    let candidate = judge(&args.candidate)?;
    let baseline = if args.baseline.is_empty() { None } else { Some(judge(&args.baseline)?) };
    let remember = if args.remember_nothing { Remember::Nothing } else { Remember::Read };
    let replay = Replay::new(candidate, baseline, remember);
    let threads = args.threads.map(usize::from).or_else(|| std::thread::available_parallelism().ok().map(usize::from));
    let begun = clock::instant();
    let told = Mutex::new(begun);
    let progress = |decisions: u64, bytes: u64| {
        let (now, mut last) = (clock::instant(), told.lock());
        if now.saturating_duration_since(*last) >= PROGRESS {
            *last = now;
            eprintln!("{decisions} decisions, {} MB", bytes.div_euclid(1_000_000));
        }
    };
    let report = replay.run(blocks, threads.unwrap_or(1), &progress)?;
    let took = clock::instant().saturating_duration_since(begun);
    write(args, &report, took, out)?;
    Ok(match (report.flips(), report.is_whole()) {
        (0, true) => 0,
        (0, false) => FAILED,
        (_, _) => FLIPS,
    })
}

fn with_grants(args: &ReplayArgs, paths: &[PathBuf]) -> Result<Bundle, PolicyError> {
    let mut bundle = bundle(paths, &args.entrypoint)?;
    if let Some(file) = &args.config {
        let loaded = crate::config::load(file)?;
        bundle.data.insert(0, crate::policy::grants(&loaded.settings.tenants));
        if let Some(path) = &loaded.settings.policy.data {
            bundle.data.extend(source::read(std::slice::from_ref(path), Tests::LeftOut)?.data);
        }
    }
    Ok(bundle)
}

fn write(args: &ReplayArgs, report: &Report, took: Duration, out: &mut dyn Write) -> Result<(), PolicyError> {
    let seconds = took.as_secs_f64();
    let per_second = f64::from(u32::try_from(report.counts.judged).unwrap_or(u32::MAX)) / seconds.max(1e-9);
    if args.json {
        let mut json = report.to_json(args.limit);
        if let Some(members) = json.as_object_mut() {
            members.insert("seconds".to_owned(), seconds.into());
            members.insert("per_second".to_owned(), per_second.round().into());
        }
        writeln!(out, "{json}")?;
        return Ok(());
    }
    writeln!(out, "time        {seconds:.1} s, {per_second:.0} decisions a second")?;
    report.write(out, args.limit)?;
    Ok(())
}

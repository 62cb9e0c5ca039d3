//! CPU time and memory of a process and its children, from /proc.

use std::collections::BTreeMap;
use std::fs;

/// Linux counts CPU time in hundredths of a second.
const TICK_US: u64 = 10_000;

/// What a process tree has used and holds.
#[derive(Clone, Copy, Default)]
pub struct Reading {
    /// User and system time since the start, microseconds.
    pub cpu_us: u64,
    /// Resident memory, kB.
    pub rss_kb: u64,
}

/// The tree below `root`; zeroes where there is none.
pub fn read(root: u32) -> Reading {
    let mut sum = Reading::default();
    for pid in tree(root) {
        sum.cpu_us += stat(pid).map_or(0, |(_, ticks)| ticks * TICK_US);
        sum.rss_kb += rss_kb(pid);
    }
    sum
}

fn tree(root: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else {
            continue;
        };
        if let Some((parent, _)) = stat(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children.remove(pid).unwrap_or_default());
        next += 1;
    }
    found
}

/// Parent, and user plus system time in ticks. The name in brackets may hold spaces, so fields count from its end.
fn stat(pid: u32) -> Option<(u32, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(1);
    let parent = fields.next()?.parse().ok()?;
    let mut times = fields.skip(9).map_while(|field| field.parse::<u64>().ok());
    Some((parent, times.next()? + times.next()?))
}

fn rss_kb(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_a_parent_memory_and_work_done() {
        let me = std::process::id();
        let started = std::time::Instant::now();
        while started.elapsed().as_millis() < 50 {}
        let reading = read(me);
        assert!(reading.rss_kb > 100);
        assert!(reading.cpu_us >= 2 * TICK_US, "{} us", reading.cpu_us);
        assert!(stat(me).is_some_and(|(parent, _)| parent > 0));
    }

    #[test]
    fn children_count() {
        let mut child = std::process::Command::new("sleep").arg("5").spawn().unwrap();
        assert!(tree(std::process::id()).contains(&child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

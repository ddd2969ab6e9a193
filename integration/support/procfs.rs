//! What the kernel says about a process: CPU time and resident memory.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// The CPU time of a process at one moment, by thread: to the nanosecond, where `stat`
/// counts in hundredths of a second.
#[derive(Clone, Debug)]
pub(crate) struct Cpu(BTreeMap<String, u64>);

/// The CPU time that a process has used.
pub(crate) fn cpu(pid: u32) -> Cpu {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("the server's threads");
    let times = threads.flatten().filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?; // it may have ended
        let nanos = text.split_ascii_whitespace().next()?.parse().ok()?;
        Some((thread.file_name().to_string_lossy().into_owned(), nanos))
    });
    Cpu(times.collect())
}

impl Cpu {
    /// What was used from then till now. (What a thread used that ended meanwhile is lost.)
    pub(crate) fn since(&self, then: &Self) -> Duration {
        let used = |(id, now): (&String, &u64)| now.saturating_sub(then.0.get(id).copied().unwrap_or(0));
        Duration::from_nanos(self.0.iter().map(used).sum())
    }
}

/// What a process has used since its start.
pub(crate) fn total(pid: u32) -> Duration {
    cpu(pid).since(&Cpu(BTreeMap::new()))
}

/// `VmRSS`: resident now. In KiB.
pub(crate) fn resident(pid: u32) -> u64 {
    status(pid, "VmRSS:")
}

/// `VmHWM`: the most that was resident since [`forget_peak`]. In KiB.
pub(crate) fn peak(pid: u32) -> u64 {
    status(pid, "VmHWM:")
}

/// The peak begins anew.
pub(crate) fn forget_peak(pid: u32) {
    drop(fs::write(format!("/proc/{pid}/clear_refs"), "5")); // not ours: the peak counts from its start
}

fn status(pid: u32, key: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("the server's status");
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let value = line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok());
    value.expect("a number of KiB")
}

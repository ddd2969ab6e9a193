//! What this process is and takes: its version, memory, CPU time, threads and open files. Read from `/proc` when somebody asks;
//! elsewhere than on Linux only the version is there.

use std::fs;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The kernel counts CPU time in hundredths of a second for programs, on each platform that we build for.
const TICKS: f64 = 100.0;

/// Which build this is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
    /// Of the processor.
    arch: &'static str,
}

/// The metrics of the process.
#[derive(Debug, Default)]
pub(super) struct Process {
    resident: Gauge,
    threads: Gauge,
    files: Gauge,
    cpu: Gauge<f64, AtomicU64>,
}

impl Process {
    pub(super) fn register(&self, r: &mut Registry) {
        let build: Family<Build, Gauge> = Family::default();
        let this = Build {
            version: env!("CARGO_PKG_VERSION"),
            arch: std::env::consts::ARCH,
        };
        build.get_or_create(&this).set(1);
        r.register("build_info", "1, with the version of the program", build);
        let text = "Memory of the process that is in RAM";
        r.register("process_resident_memory_bytes", text, self.resident.clone());
        r.register("process_threads", "Threads of the process", self.threads.clone());
        let text = "Files and connections that the process has open";
        r.register("process_open_files", text, self.files.clone());
        let text = "CPU time that the process has used, in seconds";
        r.register("process_cpu_seconds", text, self.cpu.clone());
    }

    /// As it is now; what cannot be read stays as it was.
    pub(super) fn look(&self) {
        if let Ok(status) = fs::read_to_string("/proc/self/status") {
            if let Some(kib) = number(&status, "VmRSS:") {
                self.resident.set(kib * 1024);
            }
            if let Some(threads) = number(&status, "Threads:") {
                self.threads.set(threads);
            }
        }
        if let Ok(entries) = fs::read_dir("/proc/self/fd") {
            // One of them is this look.
            self.files.set(super::count(entries.count().saturating_sub(1)));
        }
        if let Some(ticks) = fs::read_to_string("/proc/self/stat")
            .ok()
            .as_deref()
            .and_then(ticks)
        {
            self.cpu.set(ticks / TICKS);
        }
    }
}

fn number(status: &str, name: &str) -> Option<i64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// User and system time. The name of the program, which may hold anything, ends with the last bracket.
fn ticks(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut times = rest.split_whitespace().skip(11).map(str::parse::<f64>);
    Some(times.next()?.ok()? + times.next()?.ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel_are_read() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 4 0 1 2 3";
        assert_eq!(ticks(stat), Some(300.0));
        assert_eq!(ticks("7 (a"), None);
        assert_eq!(number("Name:\tx\nVmRSS:\t  12 kB\n", "VmRSS:"), Some(12));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_is_measured() {
        let process = Process::default();
        process.look();
        assert!(process.resident.get() > 1 << 20 && process.threads.get() > 0 && process.files.get() > 0);
    }
}

//! A real program as a child: its output goes to a log file, it ends with the test (also
//! when the test panics, and then the tail of its log is printed), it can be stopped,
//! killed, and started again with the same arguments.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher as _, RandomState};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use super::wait;

/// So many tries with new ports when another program was quicker to take one.
pub(crate) const TRIES: usize = 4;

/// So many lines of each log stand below a failed test.
const TAIL: usize = 40;

/// Below are ports of programs that everybody knows.
const LOWEST: u64 = 11_000;

/// A child process.
pub(crate) struct Program {
    name: String,
    binary: PathBuf,
    args: Vec<OsString>,
    log: PathBuf,
    /// Where in the log the present start begins.
    begin: usize,
    child: Child,
}

/// How a start ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// It serves.
    Ready,
    /// Another program has one of its ports: start it again.
    Clash,
}

impl Program {
    /// Starts `binary`; the log is `NAME.log` in `dir`.
    pub(crate) fn start<A: Into<OsString>>(
        name: &str,
        binary: &Path,
        args: impl IntoIterator<Item = A>,
        dir: &Path,
    ) -> Self {
        let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
        let log = dir.join(format!("{name}.log"));
        let child = spawn(binary, &args, &log);
        Self {
            name: name.to_owned(),
            binary: binary.to_owned(),
            args,
            log,
            begin: 0,
            child,
        }
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its exit status, when it has ended.
    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("asking for a child's status")
    }

    /// All that it wrote since its (last) start.
    pub(crate) fn log(&self) -> String {
        let all = read(&self.log);
        all.get(self.begin..).unwrap_or_default().to_owned()
    }

    /// Sends a signal by its name, `TERM`.
    pub(crate) fn signal(&self, signal: &str) {
        // No `libc` and no `unsafe` for one call: each shell has `kill`.
        let id = self.child.id().to_string();
        let sent = Command::new("sh")
            .args(["-c", "kill -s \"$0\" \"$1\"", signal, &id])
            .status();
        assert!(
            sent.is_ok_and(|s| s.success()),
            "sending {signal} to {}",
            self.name
        );
    }

    /// SIGTERM, and the status it ended with. Panics when it does not end.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.ended().await
    }

    /// Waits for its end after a signal, and gives its status. Panics when it does not end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let what = format!("{} has ended after SIGTERM", self.name);
        wait::until(Duration::from_secs(20), &what, async || {
            self.exited().ok_or_else(|| "it runs".to_owned())
        })
        .await
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        drop(self.child.kill()); // an error means: it has ended already
        self.child.wait().expect("waiting for a killed child");
    }

    /// Its arguments from the next start on.
    pub(crate) fn set_args(&mut self, args: &[String]) {
        self.args = args.iter().map(Into::into).collect();
    }

    /// Another program from the next start on, with the same arguments.
    pub(crate) fn set_binary(&mut self, binary: &Path) {
        binary.clone_into(&mut self.binary);
    }

    /// Starts it again as it was. It must have ended.
    pub(crate) fn start_again(&mut self) {
        assert!(self.exited().is_some(), "{} still runs", self.name);
        self.begin = read(&self.log).len();
        self.child = spawn(&self.binary, &self.args, &self.log);
    }

    /// Waits until `look` says `Ok`. A program that ends instead is a failure, except
    /// when another one has its port.
    pub(crate) async fn ready(&mut self, mut look: impl AsyncFnMut() -> Result<(), String>) -> Start {
        let what = format!("{} is ready", self.name);
        wait::until(wait::PATIENCE, &what, async || {
            if let Some(status) = self.exited() {
                let log = self.log();
                if log.to_ascii_lowercase().contains("address already in use") {
                    return Ok(Start::Clash);
                }
                panic!("{} ended at its start, {status}", self.name);
            }
            look().await.map(|()| Start::Ready)
        })
        .await
    }

    /// Starts it again on the same ports, and waits until it serves. A port that the
    /// kernel lent to some connection meanwhile comes back, so this tries again.
    pub(crate) async fn restart(&mut self, mut look: impl AsyncFnMut() -> Result<(), String>) {
        for _ in 0..TRIES {
            self.start_again();
            if self.ready(&mut look).await == Start::Ready {
                return;
            }
        }
        panic!("{} finds its ports taken", self.name);
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = read(&self.log);
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(TAIL)..];
            eprintln!("--- {}, the end of its log ---", self.name);
            for line in tail {
                eprintln!("{}", line.get(..400).unwrap_or(line));
            }
        }
    }
}

fn read(log: &Path) -> String {
    std::fs::read(log).map_or_else(|_| String::new(), |b| String::from_utf8_lossy(&b).into_owned())
}

fn spawn(binary: &Path, args: &[OsString], log: &Path) -> Child {
    let out: File = OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .expect("opening a log file");
    let err = out.try_clone().expect("a second handle of a log file");
    let mut command = Command::new(binary);
    // What a developer has set must not change what is proved.
    for (key, _) in std::env::vars_os().filter(|(k, _)| k.to_string_lossy().starts_with("XDS_BRIDGE__")) {
        command.env_remove(key);
    }
    command.args(args).stdin(Stdio::null()).stdout(out).stderr(err);
    command
        .spawn()
        .unwrap_or_else(|e| panic!("starting {}: {e}", binary.display()))
}

/// Where the program `name` must be: the variable's, or the one that `make tools` fetched.
fn place(variable: &str, name: &str) -> PathBuf {
    std::env::var_os(variable).map_or_else(
        || {
            let root = std::env::var_os("CARGO_MANIFEST_DIR")
                .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
            root.join("target/tools/bin").join(name)
        },
        PathBuf::from,
    )
}

/// Whether it is there.
pub(crate) fn is_there(variable: &str, name: &str) -> bool {
    place(variable, name).is_file()
}

/// Whether a program of the machine's own is found by its name.
pub(crate) fn is_on_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(name).is_file())
}

/// The program `name`.
pub(crate) fn tool(variable: &str, name: &str) -> PathBuf {
    let path = place(variable, name);
    let missing = format!(
        "{name} is not there ({}): `make tools` fetches it; or set {variable} to one of your own",
        path.display()
    );
    assert!(path.is_file(), "{missing}");
    path
}

/// Free ports, all different, and none given twice in this process. Another program may
/// take one before it is used: whoever starts something looks for [`Start::Clash`].
pub(crate) fn ports<const N: usize>() -> [u16; N] {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut held = Vec::new(); // each port stays taken until all are chosen
    std::array::from_fn(|_| {
        loop {
            let listener = free();
            let port = listener.local_addr().expect("its number").port();
            held.push(listener);
            if given.insert(port) {
                return port;
            }
        }
    })
}

/// A port that is free now, and that the kernel lends to no outgoing connection: one of those would take it before the
/// program that it is for listens there, and tests open thousands.
fn free() -> TcpListener {
    let lent = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let begin: Option<u64> = lent.split_whitespace().next().and_then(|n| n.parse().ok());
    let below = begin
        .filter(|begin| *begin > 2 * LOWEST)
        .map(|begin| begin - LOWEST);
    let tries = below.map_or(0, |_| 1000);
    (0..tries)
        .filter_map(|_| u16::try_from(LOWEST + RandomState::new().hash_one(()) % below?).ok())
        .find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok())
        .unwrap_or_else(|| TcpListener::bind("127.0.0.1:0").expect("a free port"))
}

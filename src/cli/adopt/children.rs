//! Programs that a comparison starts, each with its log, stopped when it ends.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::cli::Failure;
use crate::cli::client;

/// A busy machine may take this long to start a program.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);
/// What is shown of a log.
const TAIL: usize = 20;

/// A folder that goes with its owner.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("xds-bridge-adopt-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    pub(super) fn write(&self, name: &str, text: &str) -> std::io::Result<PathBuf> {
        let path = self.0.join(name);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&path, text)?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("xds-bridge: {} stays: {error}", self.0.display());
        }
    }
}

/// A running program.
pub(super) struct Program {
    child: Child,
    name: &'static str,
    log: PathBuf,
}

impl Program {
    pub(super) fn start(
        name: &'static str,
        binary: &Path,
        arguments: &[&str],
        folder: &Folder,
    ) -> Result<Self, Failure> {
        let log = folder.0.join(format!("{name}.log"));
        let file = std::fs::File::create(&log)?;
        let child = Command::new(binary)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .map_err(|e| format!("{}: {e}", binary.display()))?;
        Ok(Self { child, name, log })
    }

    /// Waits until its admin port says yes.
    pub(super) async fn ready(&mut self, admin: SocketAddr, path: &str) -> Result<(), Failure> {
        let asking = async {
            loop {
                if let Some(status) = self.child.try_wait()? {
                    return Err(format!("{} ended ({status}):\n{}", self.name, self.tail()).into());
                }
                if client::get(admin, path).await.is_ok() {
                    return Ok(());
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        match tokio::time::timeout(PATIENCE, asking).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("{} is not ready after {PATIENCE:?}:\n{}", self.name, self.tail()).into()),
        }
    }

    fn tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let ended = self.child.kill().and_then(|()| self.child.wait());
        if let Err(error) = ended {
            eprintln!("xds-bridge: stopping {}: {error}", self.name);
        }
    }
}

/// Free ports of loopback, different from each other. They are on an address of this process alone where the system has
/// all of 127.0.0.0/8 (Linux): on 127.0.0.1 another program, or a connection going out, could take one of them before the
/// program that it is for listens there.
pub(super) fn ports(count: usize) -> std::io::Result<Vec<SocketAddr>> {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let own = Ipv4Addr::new(127, 64 + high % 64, middle, low.max(1));
    let bound = |ip: Ipv4Addr| -> std::io::Result<Vec<TcpListener>> {
        (0..count).map(move |_| TcpListener::bind((ip, 0))).collect()
    };
    let held = bound(own).or_else(|_| bound(Ipv4Addr::LOCALHOST));
    held?.iter().map(TcpListener::local_addr).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ_and_are_on_loopback() {
        let ports = ports(50).expect("ports");
        let different: std::collections::BTreeSet<_> = ports.iter().collect();
        assert_eq!(different.len(), 50);
        assert!(ports.iter().all(|at| at.ip().is_loopback() && at.port() != 0));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_others_take_on_the_common_address_is_not_in_the_way() {
        let ports = ports(50).expect("ports");
        for at in ports {
            let _others = TcpListener::bind((Ipv4Addr::LOCALHOST, at.port()));
            assert!(TcpListener::bind(at).is_ok(), "{at}");
        }
    }
}

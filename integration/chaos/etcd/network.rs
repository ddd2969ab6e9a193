//! A network of our own, made of network namespaces: one router, and behind it one part for each member.
//! The router can silently drop what goes between two of them, as a real partition does; nothing is refused.
//!
//! Needs root and `ip` (iproute2). Never leaves anything behind: what a killed run left is removed by the
//! next one, which knows it by a lock that nobody holds any more.

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::cluster::MEMBERS;

/// So many networks may be there at once: 198.18.0.0/24 and those after it (RFC 2544, for tests only).
const NETWORKS: u8 = 64;

/// The namespaces; they end with the test.
pub(crate) struct Network {
    ip: PathBuf,
    number: u8,
    /// Held as long as we live, also when we are killed.
    _lock: File,
}

/// One end of a way through the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// This test and all it started on the machine itself: the bridge.
    Here,
    /// A member.
    Member(usize),
}

impl Network {
    /// Makes the namespaces, and a way from here to each of them.
    ///
    /// Panics with the sentence that says what is missing.
    pub(crate) fn new() -> Self {
        let ip = find_ip();
        let id = Command::new("id").arg("-u").output().expect("running id").stdout;
        assert!(
            id.trim_ascii() == b"0",
            "partitions are made of network namespaces, which only root can make: run this test as root"
        );
        let (number, lock) = (0..NETWORKS)
            .find_map(take)
            .expect("a network number that is free");
        let network = Self {
            ip,
            number,
            _lock: lock,
        };
        network.remove(); // what a killed run has left
        network.make();
        network
    }

    fn make(&self) {
        let (router, here) = (self.namespace(0), format!("xb{}here", self.number));
        self.run(&format!("netns add {router}"));
        self.run(&format!("-n {router} link set lo up"));
        self.run(&format!(
            "link add {here} type veth peer name here netns {router}"
        ));
        self.run(&format!("addr add {}/30 dev {here}", self.end(End::Here)));
        self.run(&format!("link set {here} up"));
        self.run(&format!(
            "-n {router} addr add {}/30 dev here",
            self.router(End::Here)
        ));
        self.run(&format!("-n {router} link set here up"));
        for n in 0..MEMBERS {
            let (end, member) = (End::Member(n), self.namespace(n + 1));
            self.run(&format!("netns add {member}"));
            self.run(&format!("-n {member} link set lo up"));
            self.run(&format!(
                "-n {router} link add m{n} type veth peer name way netns {member}"
            ));
            self.run(&format!("-n {router} addr add {}/30 dev m{n}", self.router(end)));
            self.run(&format!("-n {router} link set m{n} up"));
            self.run(&format!("-n {member} addr add {}/30 dev way", self.end(end)));
            self.run(&format!("-n {member} link set way up"));
            self.run(&format!("-n {member} route add default via {}", self.router(end)));
        }
        self.run(&format!("netns exec {router} sysctl -qw net.ipv4.ip_forward=1"));
        let all = Ipv4Addr::new(198, 18, self.number, 0);
        self.run(&format!("route add {all}/24 via {}", self.router(End::Here)));
    }

    /// Where a member is.
    pub(crate) const fn address(&self, member: usize) -> Ipv4Addr {
        self.end(End::Member(member))
    }

    /// The program and arguments that run `binary` at a member.
    pub(crate) fn inside(&self, member: usize, binary: &Path, args: Vec<String>) -> (PathBuf, Vec<String>) {
        let place = ["netns".to_owned(), "exec".to_owned(), self.namespace(member + 1)];
        let binary = binary.display().to_string();
        let args = place.into_iter().chain([binary]).chain(args).collect();
        (self.ip.clone(), args)
    }

    /// From now on nothing gets through between these two, in neither direction.
    pub(crate) fn cut(&self, one: End, other: End) {
        self.rule("add", one, other);
    }

    /// It does again.
    pub(crate) fn heal(&self, one: End, other: End) {
        self.rule("del", one, other);
    }

    fn rule(&self, verb: &str, one: End, other: End) {
        let router = self.namespace(0);
        for (from, to) in [(one, other), (other, one)] {
            let (from, to) = (self.end(from), self.end(to));
            self.run(&format!("-n {router} rule {verb} from {from} to {to} blackhole"));
        }
    }

    const fn end(&self, end: End) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, self.number, block(end) + 2)
    }

    const fn router(&self, end: End) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, self.number, block(end) + 1)
    }

    /// 0: the router.
    fn namespace(&self, part: usize) -> String {
        format!("xds-bridge-{}-{part}", self.number)
    }

    fn run(&self, args: &str) {
        let output = Command::new(&self.ip)
            .args(args.split(' '))
            .output()
            .expect("running ip");
        assert!(
            output.status.success(),
            "ip {args}: {} (network namespaces must be allowed: as root, with CAP_NET_ADMIN and CAP_SYS_ADMIN)",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }

    /// Removes everything, with the processes that are still in it.
    fn remove(&self) {
        for part in 0..=MEMBERS {
            let name = self.namespace(part);
            let ask = |args: &[&str]| Command::new(&self.ip).args(args).output();
            if let Ok(found) = ask(&["netns", "pids", &name]) {
                for id in String::from_utf8_lossy(&found.stdout).split_whitespace() {
                    drop(Command::new("sh").args(["-c", "kill -9 \"$0\"", id]).output());
                }
            }
            // The links end with the namespaces, and the route with the link; an error: there was none.
            drop(ask(&["netns", "del", &name]));
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.remove();
    }
}

/// The first of four addresses: network, router, end, broadcast.
const fn block(end: End) -> u8 {
    match end {
        End::Here => 0,
        #[expect(clippy::cast_possible_truncation, reason = "three members")]
        End::Member(n) => 4 * (n as u8 + 1),
    }
}

fn find_ip() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders
        .map(|folder| folder.join("ip"))
        .find(|file| file.is_file())
        .expect("partitions are made with `ip`, which is not here: install iproute2 (`make tools` does on Debian)")
}

/// Takes a number that no living test has. The kernel lets the lock go when its holder dies.
fn take(number: u8) -> Option<(u8, File)> {
    let path = std::env::temp_dir().join(format!("xds-bridge-network-{number}"));
    let file = File::create(path).expect("a file for a lock");
    file.try_lock().ok().map(|()| (number, file))
}

//! A service with versions, in a file that is rewritten while the bridge runs.

use std::fmt::Write as _;

use tempfile::TempDir;

use super::servers::Server;

/// A server, its version, and what else its instance declares.
pub(crate) type Instance<'a> = (&'a Server, &'a str, &'a [(&'a str, &'a str)]);

/// The file; it goes with the test.
pub(crate) struct Versions {
    dir: TempDir,
    /// What the service declares.
    keys: Vec<(&'static str, &'static str)>,
}

impl Versions {
    /// `orders` with these keys and instances.
    pub(crate) fn of(keys: &[(&'static str, &'static str)], instances: &[Instance<'_>]) -> Self {
        let versions = Self {
            dir: tempfile::tempdir().expect("a folder"),
            keys: keys.to_vec(),
        };
        versions.write(instances);
        versions
    }

    /// It has these instances from now on, and no others.
    pub(crate) fn write(&self, instances: &[Instance<'_>]) {
        let mut text = "[services.orders]\n".to_owned();
        for (key, value) in &self.keys {
            let _ = writeln!(text, "{key} = \"{value}\"");
        }
        for (server, version, keys) in instances {
            let _ = write!(
                text,
                "[[services.orders.instances]]\nid = \"{}\"\naddress = \"127.0.0.1\"\nport = {}\nversion = \"{version}\"\n",
                server.id,
                server.address.port()
            );
            for (key, value) in *keys {
                let _ = writeln!(text, "{key} = \"{value}\"");
            }
        }
        let (draft, file) = (
            self.dir.path().join("all.draft"),
            self.dir.path().join("all.toml"),
        );
        std::fs::write(&draft, text).expect("writing a catalog");
        std::fs::rename(draft, file).expect("a catalog at once");
    }

    /// Its section in `bridge.toml`.
    pub(crate) fn section(&self) -> String {
        format!(
            "[sources.folder]\nkind = \"file\"\npath = \"{}\"\n",
            self.dir.path().display()
        )
    }
}

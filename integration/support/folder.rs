//! A watched folder with services, the source of kind `file`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;

use tempfile::TempDir;

/// A service: name, address, declared keys. Another one of the same name is one more instance of it.
pub(crate) type Declared<'a> = (&'a str, SocketAddr, Keys<'a>);

/// Keys with their values.
type Keys<'a> = &'a [(&'a str, &'a str)];

/// The folder; it goes with the test.
pub(crate) struct Folder(TempDir);

impl Folder {
    /// A folder with these services.
    pub(crate) fn of(services: &[Declared<'_>]) -> Self {
        let folder = Self(tempfile::tempdir().expect("a folder"));
        folder.write(services);
        folder
    }

    /// These are in it from now on, and no others.
    pub(crate) fn write(&self, services: &[Declared<'_>]) {
        let mut all: BTreeMap<&str, (Keys<'_>, Vec<String>)> = BTreeMap::new();
        for (name, address, keys) in services {
            let instance = format!("{{ address = \"{}\", port = {} }}", address.ip(), address.port());
            let (_, instances) = all.entry(name).or_insert((keys, Vec::new()));
            instances.push(instance);
        }
        let mut text = String::new();
        for (name, (keys, instances)) in all {
            let _ = writeln!(text, "[services.\"{name}\"]");
            for (key, value) in keys {
                let value = toml::Value::from(*value); // with its quotes and backslashes
                let _ = writeln!(text, "{key} = {value}");
            }
            let _ = writeln!(text, "instances = [{}]", instances.join(", "));
        }
        let (draft, file) = (self.0.path().join("all.draft"), self.0.path().join("all.toml"));
        std::fs::write(&draft, text).expect("writing a catalog");
        std::fs::rename(draft, file).expect("a catalog at once");
    }

    /// Its section in `bridge.toml`.
    pub(crate) fn section(&self) -> String {
        format!(
            "[sources.folder]\nkind = \"file\"\npath = \"{}\"\n",
            self.0.path().display()
        )
    }
}

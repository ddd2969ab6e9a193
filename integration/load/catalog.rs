//! What is served: services of the same shape, and the files and keys that declare them.

use std::fmt::Write as _;
use std::path::Path;

/// Instances of each service.
pub(crate) const INSTANCES: usize = 15;

/// The name of a service.
pub(crate) fn name(service: usize) -> String {
    format!("svc-{service:05}")
}

/// Writes a catalog for the file source.
pub(crate) fn write(file: &Path, services: usize, instances: usize) {
    let mut text = String::from("{\"services\":{");
    for service in 0..services {
        let comma = if service == 0 { "" } else { "," };
        let _ = write!(text, "{comma}\n\"{}\":{{\"instances\":[", name(service));
        for instance in 0..instances {
            let comma = if instance == 0 { "" } else { "," };
            let (high, low) = (service / 250, service % 250);
            let _ = write!(
                text,
                "{comma}{{\"address\":\"10.{high}.{low}.{}\",\"port\":8080}}",
                instance + 1
            );
        }
        text.push_str("]}");
    }
    text.push_str("\n}}\n");
    std::fs::write(file, text).expect("writing a catalog");
}

/// The section of `bridge.toml` that reads such a catalog.
pub(crate) fn file_source(folder: &Path) -> String {
    format!(
        "[sources.catalog]\nkind = \"file\"\npath = \"{}\"\n\n",
        folder.display()
    )
}

/// The section that watches an etcd.
pub(crate) fn etcd_source(url: &str) -> String {
    format!("[sources.keys]\nkind = \"etcd\"\nendpoints = [\"{url}\"]\n\n")
}

/// The key of the instance of a service that changes.
pub(crate) fn moving_key(service: usize) -> String {
    crate::support::etcd::instance_key(&name(service), "moving")
}

/// That instance, at another port each time.
pub(crate) fn moving_value(port: u16) -> String {
    format!("{{\"address\":\"10.99.0.1\",\"port\":{port}}}")
}

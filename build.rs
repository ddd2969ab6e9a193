//! Takes the protobuf descriptors that envoy-types ships, without their comments and only those that
//! resources and bootstraps are made of, so that `dump` and `bootstrap` can print them as Envoy does.
//! The crate does not export them, so its folder is asked of cargo.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

use prost::Message as _;
use prost_types::FileDescriptorSet;

/// What resources and bootstraps are, and what stands inside of them as `Any`: a message of another file cannot
/// be printed (`integration/ports.rs` and `tests/readme.rs` find it).
const NEEDED: &[&str] = &[
    "envoy/config/bootstrap/v3/",
    "envoy/config/cluster/v3/cluster.proto",
    "envoy/config/endpoint/v3/endpoint.proto",
    "envoy/config/listener/v3/listener.proto",
    "envoy/config/route/v3/route.proto",
    "envoy/config/trace/v3/opentelemetry.proto",
    "envoy/extensions/access_loggers/file/",
    "envoy/extensions/access_loggers/filters/cel/",
    "envoy/extensions/access_loggers/grpc/",
    "envoy/extensions/access_loggers/stream/",
    "envoy/extensions/bootstrap/internal_listener/",
    "envoy/extensions/compression/",
    "envoy/extensions/filters/http/compressor/",
    "envoy/extensions/filters/http/cors/",
    "envoy/extensions/filters/http/ext_authz/",
    "envoy/extensions/filters/http/jwt_authn/",
    "envoy/extensions/filters/http/local_ratelimit/",
    "envoy/extensions/filters/http/rbac/",
    "envoy/extensions/filters/http/router/",
    "envoy/extensions/filters/listener/proxy_protocol/",
    "envoy/extensions/filters/listener/tls_inspector/",
    "envoy/extensions/filters/network/http_connection_manager/",
    "envoy/extensions/filters/network/tcp_proxy/",
    "envoy/extensions/load_balancing_policies/",
    "envoy/extensions/retry/",
    "envoy/extensions/transport_sockets/",
    "envoy/extensions/upstreams/",
];

/// Leaves out the files that none of these imports.
fn keep_needed(set: &mut FileDescriptorSet) {
    let imports: BTreeMap<String, Vec<String>> = set
        .file
        .iter()
        .map(|file| (file.name().to_owned(), file.dependency.clone()))
        .collect();
    let needed = |name: &&String| NEEDED.iter().any(|prefix| name.starts_with(prefix));
    let mut left: Vec<String> = imports.keys().filter(needed).cloned().collect();
    let mut kept = BTreeSet::new();
    while let Some(name) = left.pop() {
        if kept.insert(name.clone()) {
            left.extend(imports.get(&name).into_iter().flatten().cloned());
        }
    }
    set.file.retain(|file| kept.contains(file.name()));
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=Cargo.lock");
    let bytes = std::fs::read(envoy_types()?.join("src/generated/types.bin"))?;
    let mut set = FileDescriptorSet::decode(&*bytes)?;
    for file in &mut set.file {
        file.source_code_info = None;
    }
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    std::fs::write(out.join("every.bin"), set.encode_to_vec())?;
    keep_needed(&mut set);
    std::fs::write(out.join("envoy.bin"), set.encode_to_vec())?;
    Ok(())
}

/// The folder of the envoy-types that this build links: where cargo unpacks registry
/// crates, or, for a vendored or patched one, where cargo says.
fn envoy_types() -> Result<PathBuf, Box<dyn Error>> {
    let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").ok_or("CARGO_MANIFEST_DIR is not set")?);
    let lock = std::fs::read_to_string(root.join("Cargo.lock"))?;
    let version = lock
        .split("[[package]]")
        .find(|package| package.contains("name = \"envoy-types\""))
        .and_then(|package| package.split("version = \"").nth(1)?.split('"').next())
        .ok_or("envoy-types is not in Cargo.lock")?;
    match unpacked(&format!("envoy-types-{version}")) {
        Some(folder) => Ok(folder),
        None => told_by_cargo(&root),
    }
}

/// `$CARGO_HOME/registry/src/*/NAME`
fn unpacked(name: &str) -> Option<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))?;
    let registries = std::fs::read_dir(home.join("registry/src")).ok()?;
    registries
        .flatten()
        .map(|registry| registry.path().join(name))
        .find(|folder| folder.is_dir())
}

/// Cargo wants every package for this answer, also those that only tests need: it may fetch some.
fn told_by_cargo(root: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let cargo = std::env::var_os("CARGO").ok_or("CARGO is not set")?;
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--manifest-path"])
        .arg(root.join("Cargo.toml"))
        .args(["--filter-platform", &std::env::var("TARGET")?])
        .output()?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"]
        .as_array()
        .ok_or("cargo metadata names no packages")?;
    let package = packages
        .iter()
        .find(|p| p["name"] == "envoy-types")
        .ok_or("envoy-types is not a dependency")?;
    let manifest = package["manifest_path"]
        .as_str()
        .ok_or("envoy-types has no folder")?;
    Ok(Path::new(manifest)
        .parent()
        .ok_or("envoy-types has no folder")?
        .to_owned())
}

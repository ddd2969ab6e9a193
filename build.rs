//! Takes the protobuf descriptors that envoy-types ships, without their comments
//! (3.4 MB → 0.6 MB), so that `dump` and `bootstrap` can print resources as Envoy does.
//! The crate does not export them, so its folder is asked of cargo.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

use prost::Message as _;
use prost_types::FileDescriptorSet;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=Cargo.lock");
    let bytes = std::fs::read(envoy_types()?.join("src/generated/types.bin"))?;
    let mut set = FileDescriptorSet::decode(&*bytes)?;
    for file in &mut set.file {
        file.source_code_info = None;
    }
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    std::fs::write(out.join("envoy.bin"), set.encode_to_vec())?;
    Ok(())
}

/// The folder of the envoy-types that this build links.
fn envoy_types() -> Result<PathBuf, Box<dyn Error>> {
    let cargo = std::env::var_os("CARGO").ok_or("CARGO is not set")?;
    let target = std::env::var("TARGET")?;
    let manifest = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("Cargo.toml");
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--offline", "--locked", "--manifest-path"])
        .arg(manifest)
        // Packages of other platforms need not be here, and are not asked for.
        .args(["--filter-platform", &target])
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

//! `adopt --verify`: two Envoys on loopback, the file as it was and what comes of it, are sent the same requests.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use super::ask::ask;
use super::children::{Folder, Program, ports};
use super::echo;
use crate::adopt::loopback::{Places, left_out, listeners, moved, servers};
use crate::adopt::probe::{Probe, difference, probes, shared};
use crate::adopt::{AdoptError, Adopted};
use crate::cli::Failure;
use crate::cli::output::{print, runtime};

/// Compares, and prints each difference and their number.
pub(super) fn verify(adopted: &Adopted, envoy: &Path) -> Result<(), Failure> {
    let (requests, differences) = runtime()?.block_on(compare(adopted, envoy))?;
    for part in left_out(&adopted.file) {
        print(&format!("not compared: {part}\n"))?;
    }
    print(&format!("{requests} requests, {differences} differences\n"))?;
    if differences > 0 {
        return Err("what comes of the file does not do what the file does".into());
    }
    Ok(())
}

/// What runs during a comparison.
struct Scene {
    old: BTreeMap<String, SocketAddr>,
    new: BTreeMap<String, SocketAddr>,
    /// Kept until the end; they stop in this order.
    _programs: Vec<Program>,
    _folder: Folder,
}

async fn compare(adopted: &Adopted, envoy: &Path) -> Result<(usize, usize), Failure> {
    let scene = start(adopted, envoy).await?;
    let (probes, shared) = (probes(&adopted.file), shared(&adopted.file));
    let (mut requests, mut differences) = (0, 0);
    for probe in &probes {
        let (Some(old), Some(new)) = (scene.old.get(&probe.listener), scene.new.get(&probe.listener)) else {
            continue;
        };
        requests += 1;
        let lines = match (ask(*old, probe).await, ask(*new, probe).await) {
            (Ok(before), Ok(after)) => difference(&before, &after, &shared),
            (Err(a), Err(b)) if a == b => Vec::new(),
            (before, after) => vec![format!("{before:?} becomes {after:?}")],
        };
        if !lines.is_empty() {
            differences += 1;
            print(&format!("{}\n  {}\n", shown(probe), lines.join("\n  ")))?;
        }
    }
    Ok((requests, differences))
}

fn shown(probe: &Probe) -> String {
    let headers = probe
        .headers
        .iter()
        .map(|(name, value)| format!(" {name}: {value}"));
    let headers: String = headers.collect();
    let Probe {
        method,
        host,
        path,
        listener,
        ..
    } = probe;
    format!("{method} {host}{path}{headers} at {listener}")
}

async fn start(adopted: &Adopted, envoy: &Path) -> Result<Scene, Failure> {
    let mut at_servers = BTreeMap::new();
    for cluster in servers(adopted) {
        let address = echo::start(cluster.clone()).await?;
        at_servers.insert(cluster, address);
    }
    let names = listeners(&adopted.file);
    let free = ports(names.len() * 2 + 4)?;
    let (of_old, rest) = free.split_at(names.len());
    let (of_new, rest) = rest.split_at(names.len());
    let [old_admin, new_admin, xds, bridge_admin] = *rest else {
        return Err("no free ports".into());
    };
    let placed = |ports: &[SocketAddr]| names.iter().cloned().zip(ports.iter().copied()).collect();
    let old = Places {
        servers: at_servers.clone(),
        listeners: placed(of_old),
        admin: Some(old_admin),
        bridge: None,
    };
    let new = Places {
        servers: at_servers,
        listeners: placed(of_new),
        admin: Some(new_admin),
        bridge: Some(xds),
    };
    let folder = Folder::new()?;
    let file = folder.write("old.yaml", &yaml(&moved(&adopted.file, &old))?)?;
    let [_, _, third] = adopted.bootstraps()?;
    let third = folder.write("new.yaml", &yaml(&moved(&third, &new))?)?;
    let after = adopted.on_loopback(&new);
    folder.write(
        "catalog/services.json",
        &serde_json::to_string(&after.catalog(&new))?,
    )?;
    let toml = after
        .bridge_toml_of("[sources.adopted]\nkind = \"file\"\npath = \"catalog\"\n")
        .replacen("127.0.0.1:18000", &xds.to_string(), 1)
        .replacen("127.0.0.1:18001", &bridge_admin.to_string(), 1);
    let toml = folder.write("bridge.toml", &toml)?;
    let mut bridge = Program::start(
        "bridge",
        &std::env::current_exe()?,
        &["run", "--config", &text(&toml)],
        &folder,
    )?;
    let mut before = start_envoy("envoy-of-the-file", envoy, &file, &folder)?;
    bridge.ready(bridge_admin, "/readyz").await?;
    let mut after = start_envoy("envoy-of-the-bridge", envoy, &third, &folder)?;
    before.ready(old_admin, "/ready").await?;
    after.ready(new_admin, "/ready").await?;
    Ok(Scene {
        old: old.listeners,
        new: new.listeners,
        _programs: vec![before, after, bridge],
        _folder: folder,
    })
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn yaml(value: &serde_json::Value) -> Result<String, AdoptError> {
    Ok(serde_yaml_ng::to_string(value)?)
}

fn start_envoy(name: &'static str, envoy: &Path, file: &Path, folder: &Folder) -> Result<Program, Failure> {
    let quiet = [
        "--concurrency",
        "1",
        "--disable-hot-restart",
        "--log-level",
        "warning",
    ];
    let file = text(file);
    let arguments: Vec<&str> = ["-c", &file].into_iter().chain(quiet).collect();
    Program::start(name, envoy, &arguments, folder)
}

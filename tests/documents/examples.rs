//! What stands in `examples/` is accepted: `bridge.toml` by `check`; Envoy's files are printed again (`UPDATE_DOCUMENTS=1`
//! writes them); the compose file and the unit name what is there. `integration/readme.rs` starts them.

use std::collections::BTreeSet;
use std::fs;

use serde_yaml_ng::Value;

use super::{program, read, root};

const CERTIFICATES: &[&str] = &[
    "--ca",
    "tls/ca.pem",
    "--cert",
    "tls/envoy.pem",
    "--key",
    "tls/envoy-key.pem",
];

const EXAMPLES: [(&str, &[&str]); 3] = [("consul", &[]), ("etcd", &[]), ("tls", CERTIFICATES)];

#[test]
fn each_bridge_toml_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    // `check` reads the certificates, which certificates.sh makes.
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let tls = folder.path().join("tls");
    fs::create_dir(&tls).unwrap();
    for (name, text) in [
        ("ca.pem", cert.pem()),
        ("bridge.pem", cert.pem()),
        ("bridge-key.pem", signing_key.serialize_pem()),
    ] {
        fs::write(tls.join(name), text).unwrap();
    }
    let file = folder.path().join("bridge.toml");
    for (name, _) in EXAMPLES {
        fs::write(&file, read(&format!("examples/{name}/bridge.toml"))).unwrap();
        let output = program(&["check", "--config", file.to_str().unwrap()]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {errors}");
    }
}

#[test]
fn each_envoy_yaml_is_what_bootstrap_prints() {
    for (name, more) in EXAMPLES {
        let (toml, yaml) = (
            format!("examples/{name}/bridge.toml"),
            format!("examples/{name}/envoy.yaml"),
        );
        let mut arguments = vec!["bootstrap", "--config", &toml];
        arguments.extend(more);
        let output = program(&arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {errors}");
        let printed = String::from_utf8(output.stdout).unwrap();
        if std::env::var_os("UPDATE_DOCUMENTS").is_some() {
            fs::write(root().join(&yaml), &printed).unwrap();
        }
        assert!(
            read(&yaml) == printed,
            "{yaml} is old: UPDATE_DOCUMENTS=1 cargo test --test documents"
        );
    }
}

#[test]
fn the_certificates_are_made_as_the_document_says() {
    let document = read("docs/tls.md");
    let (_, block) = document.split_once("```sh\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let script = read("examples/tls/certificates.sh");
    assert!(
        script.ends_with(block),
        "examples/tls/certificates.sh is not the block of docs/tls.md"
    );
}

#[test]
fn the_compose_file_names_what_is_there() {
    let compose: Value = serde_yaml_ng::from_str(&read("examples/consul/compose.yaml")).unwrap();
    let services = compose["services"].as_mapping().unwrap();
    assert!(services.len() > 3);
    let known: BTreeSet<&str> = [
        "build",
        "command",
        "depends_on",
        "environment",
        "image",
        "network_mode",
        "restart",
        "volumes",
    ]
    .into();
    for (name, service) in services {
        let name = name.as_str().unwrap();
        for key in service.as_mapping().unwrap().keys() {
            assert!(known.contains(key.as_str().unwrap()), "{name}: {key:?}");
        }
        let folder = root().join("examples/consul");
        match (service["image"].as_str(), service["build"].as_str()) {
            (Some(_), None) => {}
            (None, Some(build)) => assert!(folder.join(build).join("Dockerfile").exists(), "{name}: {build}"),
            other => panic!("{name}: {other:?}"),
        }
        for needed in service["depends_on"].as_sequence().into_iter().flatten() {
            assert!(services.contains_key(needed), "{name} depends on {needed:?}");
        }
        for volume in service["volumes"].as_sequence().into_iter().flatten() {
            let file = volume.as_str().unwrap().split(':').next().unwrap();
            assert!(folder.join(file).is_file(), "{name}: no file {file}");
        }
        for (variable, _) in service["environment"].as_mapping().into_iter().flatten() {
            let variable = variable.as_str().unwrap();
            assert!(read("Dockerfile").contains(variable), "{name}: {variable}");
        }
    }
}

#[test]
fn the_unit_starts_the_program() {
    let unit = read("examples/systemd/xds-bridge.service");
    let help = String::from_utf8(program(&["--help"]).stdout).unwrap();
    let (mut sections, mut starts) = (Vec::new(), 0);
    for line in unit
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        if let Some(section) = line.strip_prefix('[') {
            sections.push(section.strip_suffix(']').expect("the end of a section"));
            continue;
        }
        let (key, value) = line.split_once('=').expect("KEY=VALUE");
        assert!(key.bytes().all(|b| b.is_ascii_alphabetic()), "{key}");
        if key.starts_with("ExecStart") {
            starts += 1;
            let words: Vec<&str> = value.split(' ').collect();
            let [program, command, "--config", _] = words[..] else {
                panic!("{line}")
            };
            assert!(program.ends_with("/xds-bridge"), "{line}");
            assert!(help.contains(&format!("\n  {command} ")), "{line}");
        }
    }
    assert_eq!(sections, ["Unit", "Service", "Install"]);
    assert_eq!(starts, 2);
}

//! What stands in `examples/` is accepted: `bridge.toml` by `check`; Envoy's files are printed again (`UPDATE_DOCUMENTS=1`
//! writes them); the compose files and the unit name what is there. `integration/readme.rs` starts them.

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
fn the_compose_files_name_what_is_there() {
    for (registry, _) in EXAMPLES.iter().filter(|(name, _)| *name != "tls") {
        let folder = root().join("examples").join(registry);
        let compose: Value =
            serde_yaml_ng::from_str(&read(&format!("examples/{registry}/compose.yaml"))).unwrap();
        let services = compose["services"].as_mapping().unwrap();
        for name in [registry, "bridge", "envoy", "web", "declare"] {
            assert!(services.contains_key(name), "{registry}: no {name}");
        }
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
            match (service["image"].as_str(), service["build"].as_str()) {
                (Some(image), None) => assert!(image.contains(':'), "{name}: {image} has no version"),
                (None, Some(build)) => {
                    assert!(folder.join(build).join("Dockerfile").exists(), "{name}: {build}");
                }
                other => panic!("{name}: {other:?}"),
            }
            for needed in service["depends_on"].as_sequence().into_iter().flatten() {
                assert!(services.contains_key(needed), "{name} depends on {needed:?}");
            }
            for volume in service["volumes"].as_sequence().into_iter().flatten() {
                let mut parts = volume.as_str().unwrap().split(':');
                let (file, there) = (parts.next().unwrap(), parts.next().unwrap());
                assert!(folder.join(file).is_file(), "{name}: no file {file}");
                // It is mounted where the program looks for it.
                let said = service["command"].as_str().unwrap_or_default().contains(there);
                assert!(
                    said || read("Dockerfile").contains(there),
                    "{name}: nothing reads {there}"
                );
            }
            for (variable, value) in service["environment"].as_mapping().into_iter().flatten() {
                let (variable, value) = (variable.as_str().unwrap(), value.as_str().unwrap());
                assert!(read("Dockerfile").contains(variable), "{name}: {variable}");
                let toml = read(&format!("examples/{registry}/bridge.toml"));
                assert!(
                    toml.contains(value),
                    "{name}: {value} is not the port of bridge.toml"
                );
            }
        }
        // What is declared is what the document declares.
        let declared = &services["declare"]["command"];
        let json = declared.as_sequence().and_then(|words| words.last()?.as_str());
        if let Some(json) = json {
            assert!(read("examples/README.md").contains(json), "{json}");
        }
    }
}

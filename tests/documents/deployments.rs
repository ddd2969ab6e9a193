//! What stands in `examples/` for Kubernetes, Nomad and Prometheus is right: the configuration in it is accepted, what it names is
//! there, and rules and the dashboard ask only for metrics that the bridge has.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde::Deserialize as _;
use serde_json::Value as Json;
use serde_yaml_ng::Value;

use super::{code, program, read, rows};

/// `check` reads the files that a configuration names: they are put into a folder, and it names that.
fn accepted(text: &str, folders: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["bridge.example".to_owned()]).unwrap();
    for (name, content) in [
        ("bridge.pem", cert.pem()),
        ("bridge-key.pem", signing_key.serialize_pem()),
        ("client-ca.pem", cert.pem()),
        ("token", "secret".to_owned()),
    ] {
        fs::write(folder.path().join(name), content).unwrap();
    }
    let here = folder.path().display().to_string();
    let mut text = text.to_owned();
    for mounted in folders {
        assert!(text.contains(mounted), "nothing is below {mounted}");
        text = text.replace(mounted, &here);
    }
    let file = folder.path().join("bridge.toml");
    fs::write(&file, text).unwrap();
    let output = program(&["check", "--config", file.to_str().unwrap()]);
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn texts(value: &Value) -> BTreeSet<String> {
    let all = value.as_sequence().into_iter().flatten();
    all.filter_map(|one| one.as_str().map(str::to_owned)).collect()
}

#[test]
fn the_manifests_of_kubernetes_fit_together_and_their_configuration_is_accepted() {
    let text = read("examples/kubernetes/xds-bridge.yaml");
    let documents: Vec<Value> = serde_yaml_ng::Deserializer::from_str(&text)
        .map(|document| Value::deserialize(document).unwrap())
        .collect();
    let of = |kind: &str| {
        let mut found = documents.iter().filter(|document| document["kind"] == kind);
        found.next().unwrap_or_else(|| panic!("no {kind}"))
    };
    let (config, service, set) = (of("ConfigMap"), of("Service"), of("StatefulSet"));
    let toml = config["data"]["bridge.toml"].as_str().unwrap();
    let pod = &set["spec"]["template"];
    let container = &pod["spec"]["containers"][0];
    let mounts: BTreeMap<&str, &str> = container["volumeMounts"]
        .as_sequence()
        .unwrap()
        .iter()
        .map(|mount| {
            (
                mount["name"].as_str().unwrap(),
                mount["mountPath"].as_str().unwrap(),
            )
        })
        .collect();
    accepted(toml, &[mounts["tls"], mounts["consul"]]);
    assert!(
        toml.contains(&format!("folder = \"{}\"", mounts["state"])),
        "the cache is on a volume"
    );

    // Each volume is mounted, each label is the pod's, each port is one that the bridge listens on.
    let volumes = pod["spec"]["volumes"].as_sequence().unwrap().iter();
    let claims = set["spec"]["volumeClaimTemplates"].as_sequence().unwrap().iter();
    let named = volumes.map(|volume| volume["name"].as_str().unwrap());
    let named: BTreeSet<&str> = named
        .chain(claims.map(|claim| claim["metadata"]["name"].as_str().unwrap()))
        .collect();
    assert_eq!(named, mounts.keys().copied().collect());
    let labels = &pod["metadata"]["labels"];
    assert_eq!(&service["spec"]["selector"], labels);
    assert_eq!(&set["spec"]["selector"]["matchLabels"], labels);
    assert_eq!(
        &of("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        labels
    );
    assert_eq!(set["spec"]["serviceName"], service["metadata"]["name"]);
    for port in service["spec"]["ports"].as_sequence().unwrap() {
        let number = port["port"].as_u64().unwrap();
        assert!(toml.contains(&format!("0.0.0.0:{number}\"")), "{number}");
        let mut ports = container["ports"].as_sequence().unwrap().iter();
        assert!(ports.any(|of| of["name"] == port["name"] && of["containerPort"] == port["port"]));
    }
    for probe in ["readinessProbe", "livenessProbe"] {
        let path = container[probe]["httpGet"]["path"].as_str().unwrap();
        assert!(
            read("src/admin/mod.rs").contains(&format!(".route(\"{path}\"")),
            "{path}"
        );
    }
    assert!(texts(&container["args"]).contains(&format!("{}/bridge.toml", mounts["config"])));
    // The user of the image.
    let user = pod["spec"]["securityContext"]["runAsUser"].as_u64().unwrap();
    assert!(read("Dockerfile").contains(&format!("USER {user}:{user}")));
}

#[test]
fn the_job_of_nomad_is_whole_and_its_configuration_is_accepted() {
    let job = read("examples/nomad/xds-bridge.nomad.hcl");
    let (before, rest) = job.split_once("<<-BRIDGE\n").expect("a template");
    let (toml, after) = rest.split_once("\n        BRIDGE\n").expect("its end");
    accepted(toml, &[]);
    // Blocks and quotes outside of the template close.
    let code: String = format!("{before}{after}")
        .lines()
        .map(|line| line.split(" #").next().unwrap_or_default())
        .filter(|line| !line.trim_start().starts_with('#'))
        .fold(String::new(), |all, line| all + line + "\n");
    let mut open = 0_i32;
    for line in code.lines() {
        assert_eq!(line.matches('"').count() % 2, 0, "{line}");
        open += i32::try_from(line.matches('{').count()).unwrap()
            - i32::try_from(line.matches('}').count()).unwrap();
        assert!(open >= 0, "{line}");
    }
    assert_eq!(open, 0);
    for (name, port) in [("xds", 18000), ("admin", 18001)] {
        assert!(
            code.contains(&format!("port \"{name}\" {{ static = {port} }}")),
            "{name}"
        );
        assert!(toml.contains(&format!("0.0.0.0:{port}\"")), "{name}");
    }
    assert!(
        code.contains("destination   = \"local/bridge.toml\"")
            && code.contains("${NOMAD_TASK_DIR}/bridge.toml")
    );
}

/// Metrics as Prometheus names them, each with its labels.
fn metrics() -> BTreeMap<String, BTreeSet<String>> {
    let text = read("docs/operations.md");
    let (_, table) = text.split_once("\n## Metrics\n").expect("a part about metrics");
    let mut all = BTreeMap::new();
    for row in rows(table) {
        let labels: BTreeSet<String> = code(row[1]).into_iter().map(str::to_owned).collect();
        for name in code(row[0]) {
            let endings: &[&str] = if row[2].starts_with("histogram") {
                &["_bucket", "_sum", "_count"]
            } else {
                &[""]
            };
            for ending in endings {
                all.insert(format!("xds_bridge_{name}{ending}"), labels.clone());
            }
        }
    }
    all
}

/// Every metric that an expression names, and every label beside it, is there; rates are of what counts up.
fn holds(expression: &str, metrics: &BTreeMap<String, BTreeSet<String>>) -> usize {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let parts: Vec<&str> = expression.split("xds_bridge_").collect();
    for (at, part) in parts.iter().enumerate().skip(1) {
        let end = part.find(|c| !word(c)).unwrap_or(part.len());
        let name = format!("xds_bridge_{}", &part[..end]);
        let labels = metrics
            .get(&name)
            .unwrap_or_else(|| panic!("there is no {name}: {expression}"));
        if let Some(braced) = part[end..].strip_prefix('{') {
            let (braced, _) = braced.split_once('}').expect("the end of labels");
            for pair in braced.split(", ") {
                let label = pair.split(['=', '!']).next().unwrap();
                assert!(
                    label == "instance" || labels.contains(label),
                    "{name} has no {label}"
                );
            }
        }
        let before = parts[at - 1];
        if before.ends_with("rate(") || before.ends_with("increase(") {
            let counts = ["_total", "_bucket", "_cpu_seconds"]
                .iter()
                .any(|end| name.ends_with(end));
            assert!(counts, "{name} does not count up: {expression}");
        }
    }
    parts.len() - 1
}

#[test]
fn alerts_ask_for_metrics_that_there_are() {
    let (metrics, text) = (metrics(), read("examples/monitoring/alerts.yml"));
    let file: Value = serde_yaml_ng::from_str(&text).unwrap();
    let rules = file["groups"][0]["rules"].as_sequence().unwrap();
    assert!(rules.len() > 8);
    let commands = String::from_utf8(program(&["--help"]).stdout).unwrap();
    let mut names = BTreeSet::new();
    for rule in rules {
        let name = rule["alert"].as_str().unwrap();
        assert!(names.insert(name), "{name} twice");
        let expression = rule["expr"].as_str().unwrap();
        let known = holds(expression, &metrics);
        assert!(known > 0 || expression.starts_with("up{"), "{name}");
        assert!(
            ["page", "warning"].contains(&rule["labels"]["severity"].as_str().unwrap()),
            "{name}"
        );
        for (_, text) in rule["annotations"].as_mapping().unwrap() {
            for part in text.as_str().unwrap().split("`xds-bridge ").skip(1) {
                let command = part.split([' ', '`']).next().unwrap();
                assert!(commands.contains(&format!("\n  {command} ")), "{name}: {command}");
            }
        }
    }
    // Each alert that the test of the rules names is one.
    let tests: Value = serde_yaml_ng::from_str(&read("examples/monitoring/alerts_test.yml")).unwrap();
    for test in tests["tests"][0]["alert_rule_test"].as_sequence().unwrap() {
        assert!(names.contains(test["alertname"].as_str().unwrap()), "{test:?}");
    }
}

#[test]
fn the_dashboard_asks_for_metrics_that_there_are() {
    let metrics = metrics();
    let board: Json = serde_json::from_str(&read("examples/monitoring/dashboard.json")).unwrap();
    let (mut ids, mut named) = (BTreeSet::new(), 0);
    for panel in board["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            assert_eq!(
                expression.matches('(').count(),
                expression.matches(')').count(),
                "{expression}"
            );
            named += holds(expression, &metrics);
        }
    }
    assert!(named > 20, "{named}");
    let variables = board["templating"]["list"].as_array().unwrap();
    for variable in ["datasource", "instance"] {
        assert!(variables.iter().any(|one| one["name"] == variable), "{variable}");
    }
}

//! A static Envoy file is taken over: Envoy accepts each of the three bootstraps, and two Envoys answer alike, before and
//! after; where they do not, it is found.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::support::bridge::{Bridge, Step, binary};
use crate::support::raw::{self, RawServer};
use crate::support::{process, wait};

/// The program with these arguments, at the top of the repository.
fn adopt(arguments: &[&str]) -> Output {
    let output = Command::new(binary())
        .arg("adopt")
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    output.expect("the program")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn text_of(output: &Output) -> String {
    text(&output.stdout) + &text(&output.stderr)
}

fn envoy() -> String {
    process::tool("ENVOY_BIN", "envoy").display().to_string()
}

/// The example, with certificates that are there.
fn example(dir: &TempDir) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/adopt/envoy.yaml");
    let file = std::fs::read_to_string(path).expect("the example");
    let tls = dir.path().join("tls");
    std::fs::create_dir_all(&tls).expect("a folder");
    let names = ["shop.example.com".to_owned()];
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(names).expect("a certificate");
    for (name, content) in [
        ("edge.pem", cert.pem()),
        ("edge-key.pem", signing_key.serialize_pem()),
        ("ca.pem", cert.pem()),
    ] {
        std::fs::write(tls.join(name), content).expect("writing a certificate");
    }
    let file = file
        .replace("/etc/envoy/tls", &tls.display().to_string())
        .replace(
            "/etc/ssl/certs/ca-certificates.crt",
            &tls.join("ca.pem").display().to_string(),
        );
    let path = dir.path().join("envoy.yaml");
    std::fs::write(&path, file).expect("writing a file");
    path
}

/// Envoy takes what `adopt` wrote into this folder.
fn each_step_is_accepted(out: &Path) {
    for step in ["envoy-1.yaml", "envoy-2.yaml", "envoy-3.yaml"] {
        let file = out.join(step);
        let output = Command::new(envoy())
            .args(["--mode", "validate", "-c"])
            .arg(&file)
            .output()
            .expect("envoy");
        assert!(
            output.status.success(),
            "{}: {}",
            file.display(),
            text(&output.stderr)
        );
    }
}

#[test]
fn envoy_accepts_each_step_of_the_example() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = example(&dir).display().to_string();
    for listeners in ["move", "keep"] {
        let out = dir.path().join(listeners);
        let shown = out.display().to_string();
        let output = adopt(&[&file, "--out", &shown, "--listeners", listeners]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(
            text(&output.stdout).starts_with("118 of 118 routes"),
            "{}",
            text(&output.stdout)
        );
        each_step_is_accepted(&out);
    }
}

#[test]
fn the_example_answers_as_before() {
    for listeners in ["move", "keep"] {
        let file = "examples/adopt/envoy.yaml";
        let output = adopt(&["--verify", file, "--envoy", &envoy(), "--listeners", listeners]);
        let stdout = text(&output.stdout);
        assert!(output.status.success(), "{stdout}{}", text(&output.stderr));
        let last = stdout.lines().last().unwrap_or_default();
        let requests = last
            .strip_suffix(" requests, 0 differences")
            .and_then(|n| n.parse::<usize>().ok());
        assert!(requests.is_some_and(|n| n > 1_000), "{stdout}");
    }
}

/// One listener with these routes, each on one line, for a host.
fn small(domain: &str, routes: &[&str]) -> String {
    let routes = routes.iter().fold(String::new(), |text, route| {
        text + "              - " + route + "\n"
    });
    let cluster = |name: &str, ip: &str| {
        format!(
            "  - {{ name: {name}, type: STATIC, load_assignment: {{ cluster_name: {name}, endpoints: [ {{ lb_endpoints: \
             [ {{ endpoint: {{ address: {{ socket_address: {{ address: {ip}, port_value: 80 }} }} }} }} ] }} ] }} }}\n"
        )
    };
    format!(
        "static_resources:\n  listeners:\n  - name: edge\n    address: {{ socket_address: {{ address: 127.0.0.1, \
         port_value: 10000 }} }}\n    filter_chains:\n    - filters:\n      - name: http\n        typed_config:\n          \
         '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager\n\
         \x20         stat_prefix: edge\n          use_remote_address: true\n          route_config:\n            \
         virtual_hosts:\n            - name: one\n              domains: ['{domain}']\n              \
         response_headers_to_add: [ {{ header: {{ key: x-host, value: one }} }} ]\n              routes:\n{routes}          \
         http_filters:\n          - name: router\n            typed_config: {{ '@type': \
         type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}\n  clusters:\n{}{}",
        cluster("web", "10.0.0.1"),
        cluster("api", "10.0.0.2")
    )
}

fn verified(file: &str) -> (bool, String) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("envoy.yaml");
    std::fs::write(&path, file).expect("writing a file");
    let output = adopt(&["--verify", &path.display().to_string(), "--envoy", &envoy()]);
    (
        output.status.success(),
        text(&output.stdout) + &text(&output.stderr),
    )
}

#[test]
fn routes_that_stay_and_routes_that_move_answer_as_before() {
    let stays = "runtime_fraction: { default_value: { numerator: 100 } }";
    let routes = [
        "{ match: { prefix: /a }, route: { cluster: web } }",
        &format!("{{ match: {{ prefix: /b, {stays} }}, route: {{ cluster: web, timeout: 7s }} }}"),
        "{ match: { prefix: /bc }, route: { cluster: api, prefix_rewrite: /x } }",
        &format!("{{ match: {{ prefix: /ac, {stays} }}, route: {{ cluster: web }} }}"),
        "{ match: { prefix: /c }, redirect: { https_redirect: true } }",
        "{ match: { prefix: / }, route: { cluster: api, timeout: 3s } }",
    ];
    let (alike, shown) = verified(&small("*", &routes));
    assert!(alike, "{shown}");
}

/// A listener of TCP answers with the same cluster as before, also beside one of requests.
#[test]
fn connections_go_where_they_went() {
    let routes = ["{ match: { prefix: / }, route: { cluster: api, timeout: 3s } }"];
    let url = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
    let listener = |port: u16, names: &str, cluster: &str| {
        format!(
            "  - name: tcp-{port}\n    address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}\n    \
             filter_chains:\n    - {{ {names} filters: [ {{ name: tcp, typed_config: {{ '@type': {url}, stat_prefix: tcp, \
             {cluster} }} }} ] }}\n"
        )
    };
    let weighted = "weighted_clusters: { clusters: [ { name: web, weight: 1 }, { name: api, weight: 1 } ] }";
    let by_name = "filter_chain_match: { server_names: [ db.test ] },";
    let all = listener(5432, "", "cluster: web")
        + &listener(5433, "", weighted)
        + &listener(5434, by_name, "cluster: web");
    let file = small("*", &routes).replacen("  clusters:\n", &format!("{all}  clusters:\n"), 1);
    let (alike, shown) = verified(&file);
    assert!(alike, "{shown}");
    assert!(
        shown.contains("not compared: connections by names of TLS"),
        "{shown}"
    );
    assert!(!shown.contains("not compared: listeners of TCP"), "{shown}");
    // What comes of it is accepted, at each step.
    let dir = tempfile::tempdir().expect("a folder");
    let (path, out) = (dir.path().join("envoy.yaml"), dir.path().join("out"));
    std::fs::write(&path, file).expect("writing a file");
    let output = adopt(&[&path.display().to_string(), "--out", &out.display().to_string()]);
    assert!(
        text(&output.stdout)
            .starts_with("1 of 1 routes, 3 of 3 TCP routes, 2 of 2 clusters, 4 of 4 listeners"),
        "{}",
        text_of(&output)
    );
    each_step_is_accepted(&out);
}

/// The commands of `examples/adopt/README.md`, pasted.
#[test]
fn the_commands_of_the_example_work() {
    let dir = tempfile::tempdir().expect("a folder");
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/adopt/README.md");
    let text = std::fs::read_to_string(readme).expect("a document");
    let (_, block) = text.split_once("```sh\n").expect("commands");
    let (block, _) = block.split_once("```").expect("their end");
    assert_eq!(block.lines().count(), 3);
    let out = dir.path().join("adopted").display().to_string();
    let commands = block
        .replace("target/debug/xds-bridge", &binary().display().to_string())
        .replace("--out adopted", &format!("--out {out}"))
        .replace("adopted/bridge.toml", &format!("{out}/bridge.toml"));
    let envoy = process::tool("ENVOY_BIN", "envoy");
    let folder = envoy.parent().expect("its folder").display().to_string();
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("/bin/sh")
        .args(["-e", "-c", &commands])
        .env("PATH", format!("{folder}:{path}"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("a shell");
    let shown = text_of(&output);
    assert!(output.status.success(), "{shown}");
    assert!(shown.contains(" requests, 0 differences"), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_registry_knows_is_reached_by_its_name() {
    let server = RawServer::start("outside").await;
    let folder = tempfile::tempdir().expect("a folder");
    let port = server.address.port();
    let sections = format!(
        "[sources.none]\nkind = \"file\"\npath = \"{}\"\n[external.outside]\naddresses = [\"localhost:{port}\"]\n\
         route = \"host=shop.test path=/outside\"\n[external.gone]\nroute = \"host=shop.test path=/gone respond=410\"\n",
        folder.path().display()
    );
    let bridge = Bridge::start(&sections).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    for (host, path, wanted) in [
        ("shop.test", "/outside/x", (200, "outside")),
        ("outside", "/", (200, "outside")),
        ("shop.test", "/gone", (410, "")),
        ("shop.test", "/", (404, "")),
        ("gone", "/", (404, "")),
    ] {
        wait::until(wait::PATIENCE, &format!("{host}{path}"), async || {
            let (status, body) = raw::get(envoy.listener(), host, path).await?;
            wait::holds((status, body.as_str()) == wanted, || format!("{status} {body}"))
        })
        .await;
    }
    bridge.assert_no_nacks().await;
}

/// The port of a host is not compared any more, as the report says.
#[test]
fn what_differs_is_found() {
    let (alike, shown) = verified(&small(
        "shop.test:81",
        &["{ match: { prefix: / }, route: { cluster: web } }"],
    ));
    assert!(!alike, "{shown}");
    assert!(shown.contains("status 404 becomes 200"), "{shown}");
    assert!(shown.contains("Envoy itself becomes web"), "{shown}");
}

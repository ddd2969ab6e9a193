//! Packages: what `make dist` puts into them is whole, and the program runs from where a Debian package puts it. Made of the
//! program under test, so that nothing has to be built for it.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::bridge::binary;
use crate::support::folder::Folder;
use crate::support::http::Http;
use crate::support::process::{self, Program, Start};
use crate::support::servers::Server;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What a command prints.
fn done(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

/// The folder that all packages are made of.
fn files(dir: &Path) -> PathBuf {
    let folder = dir.join("dist");
    done(
        Command::new(root().join("packaging/files.sh"))
            .arg(binary())
            .arg(&folder),
    );
    folder
}

/// The path of a Debian package, unpacked: its files, and its control files.
fn unpacked(dir: &Path) -> (PathBuf, PathBuf) {
    let folder = files(dir);
    let built = done(
        Command::new(root().join("packaging/deb.sh"))
            .arg(&folder)
            .arg(dir.join("out"))
            .env("COMPRESSION", "none"),
    );
    let package = Path::new(built.trim());
    let (tree, control) = (dir.join("tree"), dir.join("control"));
    done(Command::new("dpkg-deb").arg("-x").arg(package).arg(&tree));
    done(Command::new("dpkg-deb").arg("-e").arg(package).arg(&control));
    (tree, control)
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn mode(path: &Path) -> u32 {
    let about = std::fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    about.permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_debian_package_is_whole_and_its_program_serves_from_where_it_is_put() {
    if !process::is_on_path("dpkg-deb") {
        eprintln!("NOT TESTED: there is no dpkg-deb on this machine");
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let (tree, control) = unpacked(dir.path());

    // What it says of itself.
    let fields = read(&control.join("control"));
    for line in [
        "Package: xds-bridge",
        &format!("Version: {}", env!("CARGO_PKG_VERSION")),
        "Depends: passwd",
    ] {
        assert!(fields.contains(line), "{line}: {fields}");
    }
    assert_eq!(read(&control.join("conffiles")), "/etc/xds-bridge/bridge.toml\n");
    for script in ["postinst", "prerm", "postrm"] {
        let script = control.join(script);
        assert_eq!(mode(&script), 0o755, "{}", script.display());
        done(Command::new("sh").arg("-n").arg(&script));
    }
    done(
        Command::new("md5sum")
            .arg("--check")
            .arg("--quiet")
            .arg(control.join("md5sums"))
            .current_dir(&tree),
    );

    // What is in it.
    for file in [
        "usr/bin/xds-bridge",
        "usr/lib/systemd/system/xds-bridge.service",
        "usr/share/man/man1/xds-bridge.1.gz",
        "usr/share/man/man1/xds-bridge-why.1.gz",
        "usr/share/bash-completion/completions/xds-bridge",
        "usr/share/zsh/vendor-completions/_xds-bridge",
        "usr/share/fish/vendor_completions.d/xds-bridge.fish",
        "usr/share/doc/xds-bridge/copyright",
        "usr/share/doc/xds-bridge/changelog.gz",
        "usr/share/doc/xds-bridge/xds-bridge.cdx.json.gz",
        "usr/share/doc/xds-bridge/docs/operations.md",
        "usr/share/doc/xds-bridge/examples/etcd/bridge.toml",
    ] {
        assert!(tree.join(file).is_file(), "no {file}");
    }
    // Tokens and addresses are nobody's business.
    assert_eq!(mode(&tree.join("etc/xds-bridge")), 0o750);
    assert_eq!(mode(&tree.join("etc/xds-bridge/bridge.toml")), 0o640);

    // The unit is that of the examples, with the package's own program and user.
    let unit = read(&tree.join("usr/lib/systemd/system/xds-bridge.service"));
    let example = read(&root().join("examples/systemd/xds-bridge.service"));
    let lines = |text: &str| -> BTreeSet<String> { text.lines().map(str::to_owned).collect() };
    let new: Vec<String> = lines(&unit).difference(&lines(&example)).cloned().collect();
    assert_eq!(
        new,
        [
            "ExecStart=/usr/bin/xds-bridge run --config /etc/xds-bridge/bridge.toml",
            "ExecStartPre=/usr/bin/xds-bridge check --config /etc/xds-bridge/bridge.toml",
            "Group=xds-bridge",
            "User=xds-bridge",
        ]
    );
    assert!(
        !unit.contains("DynamicUser") && unit.starts_with("[Unit]"),
        "{unit}"
    );

    // The program, from there, with the configuration of there and a source, as somebody who installs it writes it.
    let server = Server::http("web-1").await;
    let folder = Folder::of(&[("web", server.address, &[])]);
    let config = tree.join("etc/xds-bridge/bridge.toml");
    let [xds, admin, edge, internal] = process::ports();
    let mut text = read(&config);
    for (port, free) in [(18000, xds), (18001, admin), (10000, edge), (10001, internal)] {
        text = text.replace(&format!(":{port}\""), &format!(":{free}\""));
    }
    std::fs::write(&config, format!("{text}\n{}", folder.section())).expect("bridge.toml");
    let program = tree.join("usr/bin/xds-bridge");
    let said = done(Command::new(&program).arg("--version"));
    assert_eq!(said, format!("xds-bridge {}\n", env!("CARGO_PKG_VERSION")));
    done(Command::new(&program).arg("check").arg("--config").arg(&config));
    let args = ["run", "--config", &config.display().to_string()].map(str::to_owned);
    let mut running = Program::start("xds-bridge", &program, args, dir.path());
    let http = Http::fresh();
    let url = format!("http://127.0.0.1:{admin}/readyz");
    let ready = running.ready(async || http.text(&url).await.map(drop)).await;
    assert!(ready == Start::Ready, "{}", running.log());
    let why = done(
        Command::new(&program)
            .args(["why", "web", "--config"])
            .arg(&config),
    );
    assert!(why.contains("web: 1 of 1 instances get requests"), "{why}");
    assert!(running.terminate().await.success());
}

#[test]
fn the_package_makes_its_user_once_and_starts_nothing_that_nobody_started() {
    let dir = tempfile::tempdir().expect("a folder");
    // In the place of the machine's own programs: each writes down that it was called.
    let (stubs, calls) = (dir.path().join("bin"), dir.path().join("calls"));
    std::fs::create_dir(&stubs).expect("a folder");
    for name in [
        "getent",
        "groupadd",
        "useradd",
        "userdel",
        "chown",
        "systemctl",
        "rm",
        "rmdir",
    ] {
        let known = dir.path().join("known");
        let text = match name {
            "getent" => format!("#!/bin/sh\n[ -e {} ]\n", known.display()),
            _ => format!("#!/bin/sh\necho {name} \"$@\" >>{}\n", calls.display()),
        };
        let file = stubs.join(name);
        std::fs::write(&file, text).expect("a program");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("a program");
    }
    let run = |script: &str, args: &[&str]| -> Vec<String> {
        let _ = std::fs::write(&calls, "");
        done(
            Command::new("/bin/sh")
                .arg(root().join("packaging/debian").join(script))
                .args(args)
                .env("PATH", &stubs),
        );
        read(&calls).lines().map(str::to_owned).collect()
    };
    let of = |calls: &[String], name: &str| calls.iter().filter(|line| line.starts_with(name)).count();
    let fresh = run("postinst", &["configure", ""]);
    assert_eq!(
        (of(&fresh, "groupadd"), of(&fresh, "useradd")),
        (1, 1),
        "{fresh:?}"
    );
    assert!(
        fresh
            .iter()
            .any(|line| line.starts_with("useradd --system --gid xds-bridge")),
        "{fresh:?}"
    );
    assert!(
        !fresh
            .iter()
            .any(|line| line.contains(" start") || line.contains("enable")),
        "{fresh:?}"
    );
    std::fs::write(dir.path().join("known"), "").expect("a user");
    let upgraded = run("postinst", &["configure", "0.0.9"]);
    assert_eq!(
        (of(&upgraded, "groupadd"), of(&upgraded, "useradd")),
        (0, 0),
        "{upgraded:?}"
    );
    assert_eq!(of(&run("postrm", &["remove"]), "userdel"), 0);
    assert_eq!(of(&run("postrm", &["purge"]), "userdel xds-bridge"), 1);
}

#[test]
fn the_list_of_crates_is_what_cargo_links_and_the_same_each_time() {
    if !process::is_on_path("python3") {
        eprintln!("NOT TESTED: there is no python3 on this machine");
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let text = read(&files(dir.path()).join("xds-bridge.cdx.json"));
    assert_eq!(text, read(&files(dir.path()).join("xds-bridge.cdx.json")));
    let bom: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (&bom["bomFormat"], &bom["specVersion"]),
        (&"CycloneDX".into(), &"1.5".into())
    );
    assert_eq!(bom["metadata"]["component"]["name"], "xds-bridge");
    assert_eq!(bom["metadata"]["component"]["version"], env!("CARGO_PKG_VERSION"));

    // Each crate is in Cargo.lock with this version and hash, and says its licence.
    let lock: toml::Table = read(&root().join("Cargo.lock")).parse().expect("TOML");
    let locked: BTreeMap<(&str, &str), &str> = lock["package"]
        .as_array()
        .expect("packages")
        .iter()
        .filter_map(|package| {
            let text = |key: &str| package.get(key)?.as_str();
            Some(((text("name")?, text("version")?), text("checksum")?))
        })
        .collect();
    let components = bom["components"].as_array().expect("a list");
    let mut names = BTreeSet::new();
    let mut refs = BTreeSet::from([bom["metadata"]["component"]["bom-ref"]
        .as_str()
        .expect("a reference")]);
    for component in components {
        let text = |key: &str| component[key].as_str().unwrap_or_default();
        let (name, version) = (text("name"), text("version"));
        assert_eq!(
            component["hashes"][0]["content"].as_str(),
            locked.get(&(name, version)).copied(),
            "{component}"
        );
        assert!(component["licenses"][0]["expression"].is_string(), "{component}");
        assert_eq!(text("purl"), format!("pkg:cargo/{name}@{version}"));
        names.insert(name);
        refs.insert(text("bom-ref"));
    }
    for linked in [
        "tonic",
        "rustls",
        "etcd-client",
        "tikv-jemalloc-sys",
        "serde_derive",
    ] {
        assert!(names.contains(linked), "{linked} is linked");
    }
    for tests_only in ["proptest", "rcgen", "expect-test", "tempfile"] {
        assert!(!names.contains(tests_only), "{tests_only} is for tests only");
    }
    // Whatever needs something names what is there.
    for one in bom["dependencies"].as_array().expect("a list") {
        let needed = one["dependsOn"].as_array().into_iter().flatten();
        for name in needed.chain([&one["ref"]]) {
            assert!(refs.contains(name.as_str().unwrap_or_default()), "{name}");
        }
    }
}

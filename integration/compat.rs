//! `make compat`: the integration tests against every version of Consul, etcd and Envoy that `integration/tools.sh`
//! knows, an upgrade of etcd through all of them, a fleet of all Envoys, and gRPC's client for Java. What varies in a run is one program; the rest are the
//! tests' defaults, and only the tests that the program can make a difference to are run.
//!
//! Prints the tables, and writes them between two markers of docs/compatibility.md. Ends with an error when a test
//! failed or something could not be run. Arguments are names of runs (`consul-1.8.7`); without any, all are run.
#![allow(clippy::print_stdout, reason = "its tables go to a person, or into a file")]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "what fails here ends the program, with a sentence"
)]

#[path = "compat/groups.rs"]
mod groups;
#[path = "compat/page.rs"]
mod page;
#[path = "compat/results.rs"]
mod results;
#[path = "compat/runs.rs"]
mod runs;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use groups::Part;
use page::Row;
use runs::Run;

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let releases = stdout(
        Command::new("bash")
            .arg(root.join("integration/tools.sh"))
            .arg("releases"),
    );
    let all = runs::all(&releases, &root.join("target/tools"));
    let chosen = choose(&all);
    let tests = results::listed(&stdout(cargo(root).args(["--", "--list"])));
    let nowhere: Vec<&String> = tests.iter().filter(|test| groups::of(test).is_none()).collect();
    assert!(
        nowhere.is_empty(),
        "integration/compat/groups.rs has no group for {nowhere:?}"
    );
    let logs = root.join("target/compat");
    fs::create_dir_all(&logs).expect("a folder for the logs");
    let date = stdout(Command::new("date").arg("+%F")).trim().to_owned();

    let mut rows = BTreeMap::new();
    for run in chosen {
        let mut row = try_one(root, run, &tests, &logs.join(format!("{}.log", run.name)));
        row.date.clone_from(&date);
        for note in &row.notes {
            println!("compat: {}: {note}", run.name);
        }
        rows.insert(run.name.clone(), row);
        // After each: a run that is interrupted keeps what it found.
        write(&root.join("docs/compatibility.md"), &all, &rows);
    }
    println!("{}", page::tables(&all, &rows));
    if rows.values().all(|row| row.passed) {
        println!("compat: everything passed");
        ExitCode::SUCCESS
    } else {
        println!("compat: NOT everything passed; the logs are in target/compat");
        ExitCode::FAILURE
    }
}

fn choose(all: &[Run]) -> Vec<&Run> {
    let names: Vec<String> = std::env::args().skip(1).collect();
    for name in &names {
        let known: Vec<&str> = all.iter().map(|run| run.name.as_str()).collect();
        assert!(
            known.contains(&name.as_str()),
            "no run {name}; there are {}",
            known.join(" ")
        );
    }
    all.iter()
        .filter(|run| names.is_empty() || names.contains(&run.name))
        .collect()
}

fn try_one(root: &Path, run: &Run, tests: &[String], log: &Path) -> Row {
    let wanted: Vec<String> = tests
        .iter()
        .filter(|test| groups::of(test).is_some_and(|group| group.depends_on(run.part)))
        .cloned()
        .collect();
    let ready = if wanted.is_empty() {
        Err("there is no test for it".to_owned()) // without a name, all tests would be run
    } else {
        fetch(root, run)
    };
    if let Err(why) = ready {
        return Row {
            notes: vec![format!("NOT RUN: {why}")],
            ..Row::default()
        };
    }
    println!(
        "compat: {}: {} tests, log in {}",
        run.name,
        wanted.len(),
        log.display()
    );
    let output = File::create(log).expect("a log file");
    let errors = output.try_clone().expect("a second handle of a log file");
    cargo(root)
        // Those that `make test` leaves out want what only this program gives them.
        .args(["--", "--exact", "--include-ignored", "--test-threads=2"])
        .args(&wanted)
        .envs(run.environment.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .status()
        .expect("starting cargo");
    let text = fs::read(log).expect("the log that was written");
    let results = results::read(&String::from_utf8_lossy(&text), &wanted);
    let failed = results.values().flat_map(|result| &result.failed);
    let lacking = results.values().flat_map(|result| &result.lacking);
    let failures: Vec<String> = failed.map(|test| format!("`{test}` fails")).collect();
    Row {
        date: String::new(),
        cells: results
            .iter()
            .map(|(name, result)| ((*name).to_owned(), result.cell()))
            .collect(),
        passed: failures.is_empty(),
        notes: failures.into_iter().chain(lacking.cloned()).collect(),
    }
}

fn fetch(root: &Path, run: &Run) -> Result<(), String> {
    if run.part == Part::Java && !has_java(root) {
        return Err("mvn and java are not both on the PATH, and GRPC_JAVA_BIN is not set".to_owned());
    }
    if run.releases.is_empty() {
        return Ok(());
    }
    let status = Command::new("bash")
        .arg(root.join("integration/tools.sh"))
        .arg("release")
        .args(&run.releases)
        .status()
        .expect("starting bash");
    if status.success() {
        Ok(())
    } else {
        Err(format!(
            "{} cannot be had on this machine",
            run.releases.join(", ")
        ))
    }
}

fn has_java(root: &Path) -> bool {
    let fetched = root.join("target/tools/bin/grpc-java");
    std::env::var_os("GRPC_JAVA_BIN")
        .map_or(fetched, PathBuf::from)
        .is_file()
}

/// The suite, with what cargo needs.
fn cargo(root: &Path) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    // What the outer cargo says of this program; build scripts of dependencies would run again for it.
    let of_this_program = |key: &str| key.starts_with("CARGO_PKG_") || key.starts_with("CARGO_MANIFEST_");
    for (key, _) in std::env::vars_os().filter(|(key, _)| key.to_str().is_some_and(of_this_program)) {
        command.env_remove(key);
    }
    command
        .current_dir(root)
        .args(["test", "--locked", "--test", "integration"]);
    command
}

fn stdout(command: &mut Command) -> String {
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.status.success(), "{command:?}: {}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn write(file: &Path, runs: &[Run], rows: &BTreeMap<String, Row>) {
    let page = fs::read_to_string(file).expect("docs/compatibility.md");
    let page = page::write(&page, runs, rows).expect("the two markers of docs/compatibility.md");
    fs::write(file, page).expect("writing docs/compatibility.md");
}

//! gRPC's own xDS clients as programs that call without end, and what their lines say.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::process::{Program, tool};
use super::wait;

/// So many answers in a row show who takes part.
const SAMPLE: usize = 24;

/// Whose implementation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    /// `grpcio`: gRPC's C core.
    Python,
    /// `@grpc/grpc-js-xds`
    Node,
    /// `tonic-xds`, an alpha.
    Rust,
}

/// A client that calls one method of one target.
pub(crate) struct Caller {
    program: Program,
    _dir: TempDir,
}

/// What became of the calls.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calls {
    /// The instance that answered each successful call.
    pub(crate) answers: Vec<String>,
    /// Code and words of each failed call.
    pub(crate) failures: Vec<String>,
}

impl Language {
    /// What is started, before its arguments.
    fn command(self) -> (PathBuf, Option<PathBuf>) {
        let script = |path: &str| {
            let root = Path::new(env!("CARGO_MANIFEST_DIR"));
            Some(root.join("integration/grpc").join(path))
        };
        match self {
            Self::Python => (tool("GRPC_PYTHON_BIN", "grpc-python"), script("python/client.py")),
            Self::Node => (tool("GRPC_NODE_BIN", "grpc-node"), script("node/client.js")),
            Self::Rust => (tool("GRPC_RUST_BIN", "grpc-rust"), None),
        }
    }
}

impl Caller {
    /// Starts calling: `target` is `xds:///orders`, `method` `/shop.Orders/Get`.
    pub(crate) fn start(language: Language, bootstrap: &str, target: &str, method: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("grpc.json");
        std::fs::write(&file, bootstrap).expect("writing a bootstrap");
        let (binary, script) = language.command();
        // By `env`, as a person would set it.
        let mut args = vec![
            format!("GRPC_XDS_BOOTSTRAP={}", file.display()),
            binary.display().to_string(),
        ];
        args.extend(script.map(|path| path.display().to_string()));
        args.extend([target.to_owned(), method.to_owned()]);
        let name = format!("grpc-client-{language:?}");
        let program = Program::start(&name, Path::new("env"), args, dir.path());
        Self { program, _dir: dir }
    }

    /// Whole lines only: the last one may be half written.
    fn lines(&self) -> Vec<String> {
        let log = self.program.log();
        let end = log.rfind('\n').map_or(0, |at| at + 1);
        log[..end].lines().map(str::to_owned).collect()
    }

    /// All calls so far.
    pub(crate) fn calls(&self) -> Calls {
        let mut calls = Calls::default();
        for line in self.lines() {
            // Other lines are words of the library.
            match line.split_once(' ') {
                Some(("ok", name)) => calls.answers.push(name.to_owned()),
                Some(("failed", why)) => calls.failures.push(why.to_owned()),
                _ => {}
            }
        }
        calls
    }

    /// Waits until exactly these instances answer, over a row of calls.
    pub(crate) async fn reaches(&self, wanted: &[&str]) {
        let wanted: BTreeSet<&str> = wanted.iter().copied().collect();
        let what = format!("the client is answered by {wanted:?} and nobody else");
        wait::until(wait::PATIENCE, &what, async || {
            let calls = self.calls();
            let last = &calls.answers[calls.answers.len().saturating_sub(SAMPLE)..];
            let names: BTreeSet<&str> = last.iter().map(String::as_str).collect();
            wait::holds(names == wanted && last.len() == SAMPLE, || {
                format!("{names:?}, the last failure {:?}", calls.failures.last())
            })
        })
        .await;
    }

    /// Waits until so many more calls were answered.
    pub(crate) async fn goes_on(&self, calls: usize) {
        let target = self.calls().answers.len() + calls;
        wait::until(wait::PATIENCE, "the client goes on calling", async || {
            let answered = self.calls().answers.len();
            wait::holds(answered >= target, || format!("{answered} of {target}"))
        })
        .await;
    }

    /// Waits until a call fails, and says how.
    pub(crate) async fn fails(&self, within: Duration) -> String {
        wait::until(within, "a call fails", async || {
            let calls = self.calls();
            let answers = calls.answers.len();
            calls
                .failures
                .into_iter()
                .next_back()
                .ok_or_else(|| format!("{answers} answers and no failure"))
        })
        .await
    }

    /// Fails when a single call failed.
    pub(crate) fn assert_clean(&self) {
        let calls = self.calls();
        let first: Vec<String> = calls.failures.iter().take(8).cloned().collect();
        assert!(
            first.is_empty(),
            "{} of {} calls failed:\n{}",
            calls.failures.len(),
            calls.failures.len() + calls.answers.len(),
            first.join("\n")
        );
    }
}

//! gRPC's own xDS clients as programs that call without end, and what their lines say.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::process::{self, Program, tool};
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
    /// `google.golang.org/grpc`
    Go,
    /// `io.grpc:grpc-xds`
    Java,
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
            Self::Go => (tool("GRPC_GO_BIN", "grpc-go"), None),
            Self::Java => (tool("GRPC_JAVA_BIN", "grpc-java"), None),
        }
    }

    /// Whether it can be tested: Java's client is built only where Maven is. The last lines of
    /// `make test` say so as well. Where it could have been built, its absence is a failure.
    pub(crate) fn is_here(self) -> bool {
        let built = || process::is_there("GRPC_JAVA_BIN", "grpc-java");
        let buildable = || ["mvn", "java"].into_iter().all(process::is_on_path);
        let here = self != Self::Java || built() || buildable();
        if !here {
            eprintln!("NOT TESTED: gRPC's client for Java: mvn and java are not both on the PATH");
        }
        here
    }
}

impl Caller {
    /// Starts calling: `target` is `xds:///orders`, `method` `/shop.Orders/Get`.
    pub(crate) fn start(language: Language, bootstrap: &str, target: &str, method: &str) -> Self {
        Self::start_by(&[], language, bootstrap, target, method)
    }

    /// The same with xDS credentials: it connects by TLS where the cluster says so.
    pub(crate) fn start_secure(language: Language, bootstrap: &str, target: &str, method: &str) -> Self {
        Self::launch(&[], language, bootstrap, &[target, method, "xds"])
    }

    /// The same; its command line begins with `before`: variables (`A=b`), then a program that starts the next.
    pub(crate) fn start_by(
        before: &[String],
        language: Language,
        bootstrap: &str,
        target: &str,
        method: &str,
    ) -> Self {
        Self::launch(before, language, bootstrap, &[target, method])
    }

    fn launch(before: &[String], language: Language, bootstrap: &str, rest: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("grpc.json");
        let mut bootstrap = bootstrap.to_owned();
        if language == Language::Rust && bootstrap.contains("insecure") {
            // This alpha takes an address without a scheme for a wrong one when credentials are insecure.
            bootstrap = bootstrap.replace("\"server_uri\": \"", "\"server_uri\": \"http://");
            bootstrap = bootstrap.replace("http://dns:///", "http://");
        }
        std::fs::write(&file, bootstrap).expect("writing a bootstrap");
        let (binary, script) = language.command();
        // By `env`, as a person would set it.
        let mut args = vec![format!("GRPC_XDS_BOOTSTRAP={}", file.display())];
        args.extend_from_slice(before);
        args.push(binary.display().to_string());
        args.extend(script.map(|path| path.display().to_string()));
        args.extend(rest.iter().map(|arg| (*arg).to_owned()));
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

    /// Waits until so many more calls have failed.
    pub(crate) async fn fails_on(&self, calls: usize) {
        let target = self.calls().failures.len() + calls;
        wait::until(wait::PATIENCE, "the client's calls fail", async || {
            let failed = self.calls().failures.len();
            wait::holds(failed >= target, || format!("{failed} of {target}"))
        })
        .await;
    }

    /// Fails when a single call failed.
    pub(crate) fn assert_clean(&self) {
        self.assert_failed(0, "");
    }

    /// Fails when more than so many calls failed, or one in other words.
    pub(crate) fn assert_failed(&self, most: usize, words: &str) {
        let calls = self.calls();
        let first: Vec<String> = calls.failures.iter().take(8).cloned().collect();
        let expected = calls.failures.iter().all(|why| why.contains(words));
        assert!(
            expected && calls.failures.len() <= most,
            "{} of {} calls failed:\n{}",
            calls.failures.len(),
            calls.failures.len() + calls.answers.len(),
            first.join("\n")
        );
    }
}

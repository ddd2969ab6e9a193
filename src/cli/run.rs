//! `run`: the bridge itself, with its logs and signals.

use std::path::Path;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::Failure;
use super::output::runtime;
use crate::admin::{Reload, Reloaded};
use crate::app::{self, Another, Reloads};
use crate::config::{self, Config, Log, LogFormat};
use crate::text::chain;

/// The same number on Linux (but for MIPS and PA-RISC) and macOS.
const SIGXFSZ: i32 = 25;

pub(super) fn run(config: Config, file: &Path) -> Result<(), Failure> {
    let file = file.to_owned();
    set_up_logs(&config.log)?;
    let runtime = runtime()?;
    let outcome = runtime.block_on(async {
        let stop = CancellationToken::new();
        let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let mut hangup = signal(SignalKind::hangup())?;
        // A file that may not grow (`ulimit -f`) is a write that fails, not the end of the program.
        let _file_size = signal(SignalKind::from_raw(SIGXFSZ))?;
        let ((configs, read), (asked, mut asking)) = (mpsc::channel(1), mpsc::channel::<Reload>(1));
        let again = file.clone();
        let hangups = tokio::spawn(async move {
            loop {
                let (by, reply) = tokio::select! {
                    Some(()) = hangup.recv() => ("SIGHUP", None),
                    Some(reply) = asking.recv() => ("an operator", Some(reply)),
                    else => return,
                };
                tracing::info!(by, file = %again.display(), "the configuration is read again");
                let done = match read_again(&again).await {
                    Ok(config) => apply(config, &configs).await,
                    Err(mistakes) => Some(Err(mistakes)),
                };
                if let Some((reply, done)) = reply.zip(done) {
                    let _ = reply.send(done); // it may not wait any more
                }
            }
        });
        let reloads = Reloads { read, asked };
        let on_signal = stop.clone();
        let signals = tokio::spawn(async move {
            let name = tokio::select! {
                _ = term.recv() => "SIGTERM",
                _ = int.recv() => "SIGINT",
            };
            tracing::info!(signal = name, "stopping: streams end, tasks finish");
            on_signal.cancel();
        });
        let outcome = app::run(config, reloads, stop, move |config| greet(config, &file)).await;
        signals.abort();
        hangups.abort();
        tracing::info!("stopped");
        Ok(outcome?)
    });
    // A dump that is being printed, or a folder that is being read, would hold the process for as long as it takes.
    runtime.shutdown_background();
    outcome
}

/// The configuration as it is now; `Err`: it has mistakes, each of which is logged, and what is in force stays.
async fn read_again(file: &Path) -> Result<Config, String> {
    let path = file.to_owned();
    let loaded = tokio::task::spawn_blocking(move || config::load(&path)).await;
    let mistakes = match loaded {
        Ok(Ok(config)) => return Ok(config),
        Ok(Err(error)) => chain(&error),
        Err(error) => error.to_string(),
    };
    for line in mistakes.lines() {
        tracing::error!("{line}");
    }
    tracing::error!("the configuration in force stays: the new one has mistakes");
    Err(mistakes)
}

/// `None`: the bridge is stopping.
async fn apply(config: Config, configs: &mpsc::Sender<Another>) -> Option<Result<Reloaded, String>> {
    let (done, changes) = oneshot::channel();
    configs.send((config, done)).await.ok()?;
    let changes = changes.await.ok()?;
    Some(Ok(Reloaded {
        now: changes.now,
        with_restart: changes.with_restart,
    }))
}

fn set_up_logs(log: &Log) -> Result<(), Failure> {
    let filter: tracing_subscriber::EnvFilter = log.filter.parse()?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => builder
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .try_init(),
        LogFormat::Json => builder.json().try_init(),
    }
}

/// Prints what to do next, once there is something to see; not with JSON logs, which no person reads.
fn greet(config: &Config, file: &Path) {
    if config.log.format == LogFormat::Json {
        return;
    }
    let program = std::env::args().next().unwrap_or_else(|| "xds-bridge".to_owned());
    let (xds, admin) = (config.xds.listen, config.admin.listen);
    // What is shown is to work when pasted, also with another file than the default one.
    let other = if file == Path::new("bridge.toml") {
        String::new()
    } else {
        format!(" --config {}", file.display())
    };
    let bootstrap = match &config.xds.tls {
        None => format!("{program} bootstrap{other} > envoy.yaml && envoy -c envoy.yaml"),
        Some(_) => format!(
            "{program} bootstrap{other} --ca CA.pem, and --cert and --key with client_ca (docs/tls.md)"
        ),
    };
    eprintln!(
        "\n\
         xds-bridge is ready: Envoys connect to {xds}, operators to http://{admin}\n\
         Next, in another terminal:\n  \
           what is served      {program} dump{other}\n  \
           how it is           curl http://{admin}/readyz\n  \
           an Envoy for it     {bootstrap}\n  \
           your own registry   edit [sources] in {}, then {program} check{other}\n",
        file.display()
    );
}

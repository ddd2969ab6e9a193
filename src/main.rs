//! The program: reads the command line, sets up logs and signals, says what went wrong.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use xds_bridge::bootstrap::{self, BridgeAddress, For, Step, TlsWish, Wish};
use xds_bridge::cli::{BootstrapArgs, Cli, Command, DumpArgs, listing};
use xds_bridge::config::{self, Config, Log, LogFormat, SourceConfig};
use xds_bridge::source::consul::ConsulWatcher;
use xds_bridge::source::etcd::EtcdWatcher;
use xds_bridge::{app, client, render};

/// Gives back what a burst of clients took: glibc keeps it (docs/performance.md, "What comes back").
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The same number on Linux (but for MIPS and PA-RISC) and macOS.
const SIGXFSZ: i32 = 25;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match perform(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xds-bridge: {}", render::chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn perform(cli: Cli) -> Result<(), Failure> {
    // Before anything speaks TLS: one provider in the process, never two.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let file = cli.config;
    let command = cli.command.unwrap_or(Command::Run);
    if matches!(command, Command::Keys) {
        return say(&listing()); // they are the same in any configuration
    }
    let config = config::load(&file)?;
    match command {
        Command::Keys => Ok(()),
        Command::Run => run(config, &file),
        Command::Check => {
            app::port(&config.xds)?; // its TLS files can be used
            for (name, source) in &config.sources {
                if let Err(reason) = runtime()?.block_on(look_at_files(source)) {
                    eprintln!("xds-bridge: sources.{name}: {reason}; `run` waits until that is mended");
                }
            }
            let counts = [
                (config.sources.len(), "source"),
                (config.exposures.len(), "exposure"),
                (config.listeners.len(), "listener"),
            ];
            let words = counts.map(|(n, word)| format!("{n} {word}{}", if n == 1 { "" } else { "s" }));
            say(&format!("{} is right: {}\n", file.display(), words.join(", ")))
        }
        Command::Bootstrap(args) => print_bootstrap(&config, *args),
        Command::Dump(args) => dump(&config, &args),
        Command::Accept(args) => {
            let path = format!("/accept?source={}", encode(&args.source));
            let body = ask(&config, http::Method::POST, &path)?;
            say(&String::from_utf8_lossy(&body))
        }
        Command::Forget(args) => {
            let path = format!("/forget?service={}", encode(&args.service));
            let body = ask(&config, http::Method::POST, &path)?;
            say(&String::from_utf8_lossy(&body))
        }
        Command::Health => ask(&config, http::Method::GET, "/healthz").map(drop),
    }
}

/// Files of a source are not there at each time and on each machine, so nothing of this is a mistake.
async fn look_at_files(source: &SourceConfig) -> Result<(), String> {
    match source {
        SourceConfig::File(folder) if folder.path.is_dir() => Ok(()),
        SourceConfig::File(folder) => Err(format!("path: {} is not there", folder.path.display())),
        SourceConfig::Etcd(etcd) => EtcdWatcher::new(etcd).look_at_files().await,
        SourceConfig::Consul(consul) => ConsulWatcher::new(consul).look_at_files().await,
    }
}

/// What the running bridge of this configuration answers.
fn ask(config: &Config, method: http::Method, path: &str) -> Result<bytes::Bytes, Failure> {
    Ok(runtime()?.block_on(client::ask(method, config.admin.listen, path))?)
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

fn run(config: Config, file: &Path) -> Result<(), Failure> {
    let file = file.to_owned();
    set_up_logs(&config.log)?;
    let runtime = runtime()?;
    let outcome = runtime.block_on(async {
        let stop = CancellationToken::new();
        let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let mut hangup = signal(SignalKind::hangup())?;
        // A file that may not grow (`ulimit -f`) is a write that fails, not the end of the program.
        let _file_size = signal(SignalKind::from_raw(SIGXFSZ))?;
        let hangups = tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                tracing::info!(
                    signal = "SIGHUP",
                    "ignored: bridge.toml is read at the start only; restart the bridge for a change of it"
                );
            }
        });
        let on_signal = stop.clone();
        let signals = tokio::spawn(async move {
            let name = tokio::select! {
                _ = term.recv() => "SIGTERM",
                _ = int.recv() => "SIGINT",
            };
            tracing::info!(signal = name, "stopping: streams end, tasks finish");
            on_signal.cancel();
        });
        let outcome = app::run(config, stop, move |config| greet(config, &file)).await;
        signals.abort();
        hangups.abort();
        tracing::info!("stopped");
        Ok(outcome?)
    });
    // A dump that is being printed, or a folder that is being read, would hold the process for as long as it takes.
    runtime.shutdown_background();
    outcome
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

/// What to do next, once there is something to see; with JSON logs nobody reads along.
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

fn print_bootstrap(config: &Config, args: BootstrapArgs) -> Result<(), Failure> {
    let id = match args.whose {
        For::Envoy => "envoy-1",
        For::Grpc => "grpc-1",
    };
    let wish = Wish {
        step: args.step,
        node_id: args.node_id.unwrap_or_else(|| id.to_owned()),
        fleet: args.node_cluster,
        region: args.region,
        zone: args.zone,
        admin: args.admin,
        bridges: if args.bridges.is_empty() {
            vec![BridgeAddress::Ip(config.xds.listen)]
        } else {
            args.bridges
        },
        services: args.services,
        tls: TlsWish {
            ca: args.ca,
            certificate: args.cert,
            key: args.key,
            sni: args.sni,
        },
    };
    match args.whose {
        For::Envoy => say(&bootstrap::yaml(config, &wish)?),
        For::Grpc if !wish.services.is_empty() || wish.step != Step::Listeners => Err(
            "--for grpc knows neither --step nor --service: gRPC clients get everything from the bridge"
                .into(),
        ),
        For::Grpc => {
            let made = bootstrap::grpc::bootstrap(config.xds.tls.as_ref(), &wish)?;
            for note in made.notes {
                eprintln!("xds-bridge: note: {note}");
            }
            say(&made.json)
        }
    }
}

fn dump(config: &Config, args: &DumpArgs) -> Result<(), Failure> {
    let mut query = Vec::new();
    query.extend(args.r#type.as_ref().map(|kind| format!("type={kind}")));
    query.extend(args.name.as_ref().map(|name| format!("name={}", encode(name))));
    let body = ask(
        config,
        http::Method::GET,
        &format!("/config_dump?{}", query.join("&")),
    )?;
    if let Some(name) = &args.name
        && !String::from_utf8_lossy(&body).contains("\"version_info\"")
    {
        return Err(
            format!("nothing that is served is called `{name}`; `dump` without --name shows all").into(),
        );
    }
    say(&String::from_utf8_lossy(&body))
}

/// To standard output; a reader that has seen enough (`| head`) is no error.
fn say(text: &str) -> Result<(), Failure> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

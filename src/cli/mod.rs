//! The command line: what can be asked of the program. Each command has its file.

mod adopt;
mod analyze;
mod bootstrap;
mod check;
mod client;
mod doctor;
mod drain;
mod dump;
mod events;
mod hide;
mod keys;
mod lists;
mod order;
mod output;
mod plan;
mod reload;
mod rollout;
mod run;
mod shell;
mod status;
mod support;
mod wait;
mod why;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::config;
use adopt::AdoptArgs;
use bootstrap::BootstrapArgs;
use dump::DumpArgs;
use order::{AcceptArgs, ForgetArgs};

/// Why a command failed.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What was waited for did not come in time: its own exit code, for scripts.
#[derive(Debug, thiserror::Error)]
#[error("{reason}\n{lines}")]
pub struct Unfinished {
    /// The exit code.
    pub code: u8,
    reason: &'static str,
    lines: String,
}

impl Unfinished {
    fn new(code: u8, reason: &'static str, lines: &str) -> Self {
        Self {
            code,
            reason,
            lines: lines.trim_end().to_owned(),
        }
    }
}

/// Serves the services of Consul, etcd or files to Envoy by xDS.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Cli {
    /// What to do; `run` when left out.
    #[command(subcommand)]
    command: Option<Command>,
    /// The configuration; for `dump`, `accept`, `forget`, `plan`, `reload`, `drain`, `wait`, `rollout`, `data`, `why`, `events`, `services`, `routes`, `analyze`, `status`, `support-dump` and `health`: that of the running bridge
    #[arg(
        long,
        short,
        global = true,
        value_name = "FILE",
        default_value = "bridge.toml"
    )]
    config: PathBuf,
}

/// The commands.
#[derive(Debug, Subcommand)]
enum Command {
    /// Watch the sources and serve xDS, until SIGTERM or SIGINT (the default)
    Run,
    /// Print the keys that a service can declare, and the words of a route
    Keys,
    /// Check a configuration: all mistakes at once, each with its line
    Check,
    /// Print an Envoy bootstrap for one of the three adoption steps, or one for gRPC's own xDS clients
    #[command(after_help = bootstrap::EXAMPLES)]
    Bootstrap(Box<BootstrapArgs>),
    /// Take over a static Envoy file: what moves, what stays and why, and the bootstraps of the three steps
    #[command(after_help = adopt::EXAMPLES)]
    Adopt(Box<AdoptArgs>),
    /// Print what a running bridge serves, as Envoy prints it in `/config_dump`
    Dump(DumpArgs),
    /// Let removals go that the mass-removal guard of a source withholds
    Accept(AcceptArgs),
    /// End the routes that are kept of a service whose last instance left
    Forget(ForgetArgs),
    /// Show what a declaration or another configuration would change, before it is written
    #[command(after_help = plan::EXAMPLES)]
    Plan(plan::PlanArgs),
    /// Have a running bridge read its configuration again
    #[command(after_help = reload::EXAMPLES)]
    Reload,
    /// Let an instance, a node or a zone go: no new requests, on all bridges
    #[command(after_help = drain::EXAMPLES)]
    Drain(drain::DrainArgs),
    /// End a drain
    Undrain(drain::UndrainArgs),
    /// What is rolled out and how it stands; start, pause, promote or abort it
    #[command(after_help = rollout::EXAMPLES)]
    Rollout(rollout::RolloutArgs),
    /// Print, or set, the number of the schema that a service's versions find stored
    Data(rollout::DataArgs),
    /// Wait until an instance serves in each client, or until nobody calls it any more
    #[command(after_help = wait::EXAMPLES)]
    Wait(wait::WaitArgs),
    /// Say why a service or an instance is served as it is, or what becomes of a request
    #[command(after_help = why::EXAMPLES)]
    Why(why::WhyArgs),
    /// List services with their instances, versions, routes and warnings
    Services(lists::ServicesArgs),
    /// List routes in the order in which they are tried
    Routes(lists::RoutesArgs),
    /// Look for what is wrong with what is registered, declared and served
    #[command(after_help = analyze::EXAMPLES)]
    Analyze(analyze::AnalyzeArgs),
    /// Show what changed, when, and by whose word
    #[command(after_help = events::EXAMPLES)]
    Events(events::EventsArgs),
    /// Show how far each client is with what is published, those that are behind first
    #[command(after_help = status::EXAMPLES)]
    Status(status::StatusArgs),
    /// On the machine of an Envoy: try the way to its bridge step by step, and say what fixes it
    #[command(after_help = doctor::EXAMPLES)]
    Doctor(doctor::DoctorArgs),
    /// Keep what a running bridge says of itself in a folder, without secrets, to send it to somebody
    #[command(after_help = support::EXAMPLES)]
    SupportDump(support::SupportArgs),
    /// Print completions for a shell
    Completions(shell::CompletionsArgs),
    /// Write man pages, one for each command
    Man(shell::ManArgs),
    /// Exit with 0 when a running bridge answers (for container health checks)
    Health,
}

impl Cli {
    /// Reads the configuration and does what the command says.
    ///
    /// # Errors
    /// What the command ran into; the program prints it and ends with 1.
    pub fn perform(self) -> Result<(), Failure> {
        // Before anything speaks TLS: one provider in the process, never two.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let file = self.config;
        let command = self.command.unwrap_or(Command::Run);
        if matches!(command, Command::Keys) {
            return output::print(&keys::listing()); // they are the same in any configuration
        }
        let command = match command {
            Command::Adopt(args) => return adopt::adopt(*args), // there is no configuration yet
            Command::Doctor(args) => return doctor::doctor(&args), // and none on the machine of an Envoy
            Command::Completions(args) => return shell::completions(&args),
            Command::Man(args) => return shell::man(&args),
            command => command,
        };
        let config = config::load(&file)?;
        match command {
            Command::Keys
            | Command::Adopt(_)
            | Command::Doctor(_)
            | Command::Completions(_)
            | Command::Man(_) => Ok(()),
            Command::Run => run::run(config, &file),
            Command::Check => check::check(&config, &file),
            Command::Bootstrap(args) => bootstrap::print(&config, *args),
            Command::Dump(args) => dump::dump(&config, &args),
            Command::Accept(args) => order::accept(&config, &args),
            Command::Forget(args) => order::forget(&config, &args),
            Command::Plan(args) => plan::plan(&config, &file, args),
            Command::Reload => reload::reload(&config),
            Command::Drain(args) => drain::drain(&config, &args),
            Command::Undrain(args) => drain::undrain(&config, &args),
            Command::Rollout(args) => rollout::rollout(&config, args),
            Command::Data(args) => rollout::data(&config, args),
            Command::Wait(args) => wait::wait(&config, &args),
            Command::Why(args) => why::why(&config, &args),
            Command::Services(args) => lists::services(&config, &args),
            Command::Routes(args) => lists::routes(&config, &args),
            Command::Analyze(args) => analyze::analyze(&config, &args),
            Command::Events(args) => events::events(&config, &args),
            Command::Status(args) => status::status(&config, &args),
            Command::SupportDump(args) => support::dump(&config, &file, &args),
            Command::Health => order::health(&config),
        }
    }
}

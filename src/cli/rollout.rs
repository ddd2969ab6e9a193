//! `rollout`: what is rolled out, how it stands, and what a person decides of it; `data`: the number of the schema that a
//! service's versions find.

use clap::{Args, Subcommand};
use http::Method;

use super::Failure;
use super::output::{encode, print, request};
use crate::config::Config;

pub(super) const EXAMPLES: &str = "Examples:
  xds-bridge rollout list                       every service that is rolled out, and how it stands
  xds-bridge rollout show orders                verdict, shares, counts, errors
  xds-bridge rollout start orders --dry-run     judge only: no share changes
  xds-bridge rollout promote orders             open the gate `person`, or go to the next step
  xds-bridge rollout promote orders --all       all requests to the new version now
  xds-bridge rollout abort orders               all requests back to the version before; the new one is rejected
  xds-bridge rollout retry orders               try a version again that was taken back

The exit code is 0 when it is done, and 1 when it is not: the message says why. Any bridge takes these commands; the one
that leads acts on them within a second.";

/// What to do with rollouts.
#[derive(Debug, Args)]
pub(super) struct RolloutArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print every service that is rolled out, and how it stands
    List {
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
    /// Print how one service stands: verdict, shares, counts, errors
    Show {
        #[command(flatten)]
        whose: Whose,
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
    /// Begin to roll a version out
    Start {
        #[command(flatten)]
        whose: Whose,
        #[command(flatten)]
        who: Who,
        #[command(flatten)]
        why: Why,
        /// Which one, where there are several new ones
        #[arg(long, value_name = "VERSION")]
        version: Option<String>,
        /// Judge, and say what would be done, but change no share
        #[arg(long)]
        dry_run: bool,
    },
    /// Stay at the present share; a bad version is still taken back
    Pause {
        #[command(flatten)]
        whose: Whose,
        #[command(flatten)]
        who: Who,
        #[command(flatten)]
        why: Why,
    },
    /// Go on after `pause`, or after a hold that a person has to end
    Resume {
        #[command(flatten)]
        whose: Whose,
        #[command(flatten)]
        who: Who,
        #[command(flatten)]
        why: Why,
    },
    /// Go to the next step, also where a gate waits for a person
    Promote {
        #[command(flatten)]
        whose: Whose,
        #[command(flatten)]
        who: Who,
        #[command(flatten)]
        why: Why,
        /// All requests to the new version now, without the steps that are left
        #[arg(long)]
        all: bool,
    },
    /// All requests back to the version before; the new one is rejected
    Abort {
        #[command(flatten)]
        whose: Whose,
        #[command(flatten)]
        who: Who,
        #[command(flatten)]
        why: Why,
    },
    /// Try a rejected version again
    Retry {
        #[command(flatten)]
        whose: Whose,
        #[command(flatten)]
        who: Who,
        #[command(flatten)]
        why: Why,
        /// Which one, where there are several
        #[arg(long, value_name = "VERSION")]
        version: Option<String>,
    },
    /// Print what happened to a service, the last of it last
    History(Whose),
}

/// Which service.
#[derive(Debug, Args)]
struct Whose {
    /// Its registered name
    service: String,
}

/// Who gives the order.
#[derive(Debug, Args)]
struct Who {
    /// Whose order it is, for those who look later [default: who is logged in]
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

/// What for.
#[derive(Debug, Args)]
struct Why {
    /// The reason, for those who look later
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// The number of the stored schema.
#[derive(Debug, Args)]
pub(super) struct DataArgs {
    /// The service's registered name
    service: String,
    /// The number that is stored from now on; without it the present one is printed
    number: Option<u64>,
    /// Also when no version of the service can read that, so that nobody gets its requests
    #[arg(long, requires = "number")]
    force: bool,
    #[command(flatten)]
    who: Who,
}

pub(super) fn rollout(config: &Config, args: RolloutArgs) -> Result<(), Failure> {
    match args.what {
        What::List { json } => get(config, "/rollouts", json),
        What::Show { whose, json } => get(config, &whose.path(), json),
        What::History(whose) => get(config, &format!("{}/history", whose.path()), false),
        What::Start {
            whose,
            who,
            why,
            version,
            dry_run,
        } => {
            let dry_run = dry_run.then(|| "true".to_owned());
            let words = [("version", version), ("dry-run", dry_run), why.word()];
            order(config, &whose, who, "start", &words)
        }
        What::Pause { whose, who, why } => order(config, &whose, who, "pause", &[why.word()]),
        What::Resume { whose, who, why } => order(config, &whose, who, "resume", &[why.word()]),
        What::Promote { whose, who, why, all } => {
            let all = all.then(|| "true".to_owned());
            order(config, &whose, who, "promote", &[("all", all), why.word()])
        }
        What::Abort { whose, who, why } => order(config, &whose, who, "abort", &[why.word()]),
        What::Retry {
            whose,
            who,
            why,
            version,
        } => order(config, &whose, who, "retry", &[("version", version), why.word()]),
    }
}

pub(super) fn data(config: &Config, args: DataArgs) -> Result<(), Failure> {
    let path = format!("/data/{}", encode(&args.service));
    let body = match args.number {
        None => request(config, Method::GET, &path)?,
        Some(number) => {
            let query = query(
                args.who,
                &[
                    ("number", Some(number.to_string())),
                    ("force", args.force.then(|| "true".to_owned())),
                ],
            );
            request(config, Method::PUT, &format!("{path}?{query}"))?
        }
    };
    print(&String::from_utf8_lossy(&body))
}

impl Why {
    fn word(self) -> (&'static str, Option<String>) {
        ("reason", self.reason)
    }
}

impl Whose {
    fn path(&self) -> String {
        format!("/rollouts/{}", encode(&self.service))
    }
}

fn get(config: &Config, path: &str, json: bool) -> Result<(), Failure> {
    let format = if json { "json" } else { "text" };
    let body = request(config, Method::GET, &format!("{path}?format={format}"))?;
    print(&String::from_utf8_lossy(&body))
}

fn order(
    config: &Config,
    whose: &Whose,
    who: Who,
    verb: &str,
    words: &[(&str, Option<String>)],
) -> Result<(), Failure> {
    let path = format!("{}/{verb}?{}", whose.path(), query(who, words));
    print(&String::from_utf8_lossy(&request(config, Method::POST, &path)?))
}

/// With who asks for it.
fn query(who: Who, words: &[(&str, Option<String>)]) -> String {
    let by = who.by.or_else(|| std::env::var("USER").ok());
    let all = words.iter().cloned().chain([("by", by)]);
    let pairs = all.filter_map(|(key, value)| Some(format!("{key}={}", encode(&value?))));
    pairs.collect::<Vec<_>>().join("&")
}

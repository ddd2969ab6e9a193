//! `completions` and `man`: what packages of the program bring beside it, made of the command line itself.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::output::print;
use super::{Cli, Failure};

const NAME: &str = "xds-bridge";

/// For which shell.
#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Where to.
#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// The folder for the pages, one for each command; it is made if it is not there
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
}

pub(super) fn completions(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), NAME, &mut script);
    print(&String::from_utf8_lossy(&script))
}

pub(super) fn man(args: &ManArgs) -> Result<(), Failure> {
    let made = std::fs::create_dir_all(&args.to);
    let written = made.and_then(|()| clap_mangen::generate_to(Cli::command(), &args.to));
    Ok(written.map_err(|error| format!("writing to {}: {error}", args.to.display()))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_a_page_and_completions() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("man");
        man(&ManArgs { to: to.clone() }).unwrap();
        let mut script = Vec::new();
        clap_complete::generate(Shell::Bash, &mut Cli::command(), NAME, &mut script);
        let script = String::from_utf8(script).unwrap();
        for command in Cli::command().get_subcommands() {
            let page = to.join(format!("{NAME}-{}.1", command.get_name()));
            let text = std::fs::read_to_string(&page).unwrap_or_default();
            assert!(text.contains(".SH NAME"), "{}", page.display());
            assert!(script.contains(command.get_name()), "{}", command.get_name());
        }
        let first = std::fs::read_to_string(to.join("xds-bridge.1")).unwrap();
        assert!(first.replace('\\', "").contains("xds-bridge-run"), "{first}");
    }
}

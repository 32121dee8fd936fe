//! The commands and their flags.

use std::ffi::OsString;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;
use domain::{APPLICATION, Order, OrdersView};
use runtime::settings;
use runtime::telemetry::TelemetrySettings;

#[cfg(feature = "servers")]
use crate::import_seed::ImportSeedArgs;
use crate::load::LoadArgs;
use crate::relay::RelayArgs;
use crate::republish::RepublishArgs;
use crate::serve::ServeArgs;
use host::held::HeldArgs;
use host::migrate::MigrateArgs;
use host::names;
use host::rebuild::RebuildArgs;
use host::reminders::RemindersArgs;
use host::verify::VerifyArgs;

/// Orders: event-sourced, on serverless functions
///
/// Without a command, `serve` is meant. Every flag can also be set by the variable that its help names. Exit codes: 0 done, 1
/// something is wrong or failed, 2 the command could not begin.
#[derive(Parser, Debug)]
#[command(name = "orders", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// The log.
    #[command(flatten)]
    pub telemetry: TelemetrySettings,
}

/// What to do.
#[derive(Subcommand, Debug)]
#[expect(missing_docs, reason = "the arguments of a command say it")]
pub enum Command {
    /// Run the whole system: the HTTP API, the triggers and the relay
    Serve(ServeArgs),
    /// Publish what the event store holds unpublished, and end
    Relay(RelayArgs),
    /// Publish again what the event store has, for when the channel has lost it; without an option, everything
    Republish(RepublishArgs),
    Reminders(RemindersArgs),
    Rebuild(RebuildArgs),
    Verify(VerifyArgs),
    Held(HeldArgs),
    /// Drive a running system with orders, measure it, and check what it acknowledged
    Load(LoadArgs),
    Migrate(MigrateArgs),
    /// Import the commands that the original Go program left in MongoDB, as events
    ///
    /// They are taken in the order of their `_id`, and each becomes the events that it would have become over HTTP, with `import-seed`
    /// as the actor. It can be ended at any moment and run again: what was imported is not imported twice. A document that can't be
    /// taken is reported with its `_id` and the reason, and the others go on.
    ///
    /// Where the channel is Kafka, the events are published on the way. On the embedded default nothing is published here: `orders
    /// serve` does that, whether it runs meanwhile or is started later, or `orders relay`.
    ///
    /// Exit codes: 0 all were taken, 1 some were refused or the import ended early, 2 it could not begin.
    #[cfg(feature = "servers")]
    ImportSeed(ImportSeedArgs),
    /// Print a shell's completions
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// The command line with the words of the application.
#[must_use]
pub fn command() -> clap::Command {
    names::of::<Order, OrdersView>(Cli::command())
}

/// Reads the command line and the variables; ends the process where they can't be used, or help is asked for.
pub fn parse(args: impl Iterator<Item = OsString>) -> Cli {
    let matches = settings::matches(APPLICATION, command(), with_default_command(args));
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// The arguments with `serve` put in where they begin with a flag of its own, or where there are none.
fn with_default_command(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.collect();
    let meant_for_the_top = ["-h", "--help", "-V", "--version", "help"];
    let names_a_command = args.iter().skip(1).any(|arg| {
        let known = |text: &str| {
            meant_for_the_top.contains(&text)
                || Cli::command().get_subcommands().any(|command| command.get_name() == text)
        };
        arg.to_str().is_some_and(known)
    });
    if !names_a_command && !args.is_empty() {
        args.insert(1, "serve".into());
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(args: &[&str]) -> Vec<OsString> {
        with_default_command(args.iter().map(OsString::from))
    }

    #[test]
    fn the_command_line_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn without_a_command_serve_is_meant() {
        assert_eq!(completed(&["orders"]), ["orders", "serve"]);
        assert_eq!(completed(&["orders", "--data", "x"]), ["orders", "serve", "--data", "x"]);
    }

    #[test]
    fn a_command_or_a_question_for_help_stays_as_it_is() {
        for args in [
            &["orders", "verify"][..],
            &["orders", "--help"],
            &["orders", "-V"],
            &["orders", "--log", "debug", "held"],
        ] {
            assert_eq!(completed(args), args);
        }
    }
}

//! An application: what it has of its own, and the command line that runs it.

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{ArgMatches, Args, Command, FromArgMatches};
use clap_complete::Shell;
use command_handler::ReminderSettings;
use event_sourcing::{Aggregate, View};
use futures_util::future::BoxFuture;
use http::HeaderName;
use runtime::signals::Signals;
use runtime::telemetry::{LostLines, TelemetrySettings};
use runtime::{Routes, settings};
use tokio::sync::watch;

use crate::held::HeldArgs;
use crate::migrate::MigrateArgs;
use crate::rebuild::RebuildArgs;
use crate::relay::RelayArgs;
use crate::reminders::RemindersArgs;
use crate::republish::RepublishArgs;
use crate::serve::{ListenSettings, ServerSettings};
use crate::stores::{AllStores, Stores};
use crate::triggers::Trigger;
use crate::verify::VerifyArgs;
use crate::{
    CannotStart, held, migrate, name_application, names, output, rebuild, relay, reminders, republish, serve,
    verify,
};

/// Exit code of a command that could not begin.
const CANNOT_START: u8 = 2;

type Flags = fn(Command) -> Command;
type Open<T> = Result<T, CannotStart>;
type MakeRoutes<A, V> = fn(&Stores<A, V>) -> Routes;
type MakeTrigger<A, V> = dyn Fn(&Stores<A, V>, &ArgMatches) -> Open<Trigger> + Send + Sync;
type MakeTask<A, V> =
    dyn Fn(&Stores<A, V>, &ArgMatches, watch::Receiver<bool>) -> Open<BoxFuture<'static, ()>> + Send + Sync;
type Measure<A, V> = dyn Fn(Stores<A, V>) -> BoxFuture<'static, ()> + Send + Sync;
type Run = dyn Fn(&ArgMatches) -> Open<BoxFuture<'static, anyhow::Result<ExitCode>>> + Send + Sync;

/// An application, as a server and the commands around it run it.
///
/// ```no_run
/// use event_sourcing::testing::{Task, TasksView};
/// use runtime::{Routes, Store};
///
/// host::Application::<Task, TasksView>::new("tasks", "Tasks: event-sourced")
///     .http(|_| Routes::of("greeter", Store::Views).get("/", async || "hello").with_state(()))
///     .run();
/// ```
pub struct Application<A: Aggregate, V: View> {
    name: &'static str,
    about: &'static str,
    pub(crate) example: &'static str,
    pub(crate) headers: Vec<HeaderName>,
    routes: Vec<MakeRoutes<A, V>>,
    triggers: Vec<(Flags, Box<MakeTrigger<A, V>>)>,
    tasks: Vec<(Flags, Box<MakeTask<A, V>>)>,
    measures: Vec<Box<Measure<A, V>>>,
    commands: Vec<(Command, Box<Run>)>,
}

impl<A: Aggregate, V: View> Application<A, V> {
    /// An application with the commands that all have. Its name is the program's; its variables, metrics and locks begin with it.
    #[must_use]
    pub fn new(name: &'static str, about: &'static str) -> Self
    where
        V: View<Event = A::Event>,
    {
        Self {
            name,
            about,
            example: "",
            headers: Vec::new(),
            routes: Vec::new(),
            triggers: Vec::new(),
            tasks: Vec::new(),
            measures: Vec::new(),
            commands: Vec::new(),
        }
        .command("reminders", |args: RemindersArgs| until_signal(reminders::run::<A>(args)))
        .command("rebuild", |args: RebuildArgs| until_signal(rebuild::run::<V>(args)))
        .command("verify", |args: VerifyArgs| until_signal(verify::run::<A, V>(args)))
        .command("held", |args: HeldArgs| until_signal(held::run::<A, V>(args)))
        .command("migrate", |args: MigrateArgs| until_signal(migrate::run::<A, V>(args)))
    }

    /// A function that answers HTTP.
    #[must_use]
    pub fn http(mut self, routes: MakeRoutes<A, V>) -> Self {
        self.routes.push(routes);
        self
    }

    /// A function that takes batches from the channel, and its flags, which are `()` where it has none. It is made at the start of
    /// whatever receives.
    #[must_use]
    pub fn trigger<S: Args + 'static>(
        mut self,
        make: fn(&Stores<A, V>, S) -> anyhow::Result<Trigger>,
    ) -> Self {
        let make = move |stores: &Stores<A, V>, matches: &ArgMatches| {
            make(stores, settings_of(matches)?).map_err(|error| CannotStart(error.to_string()))
        };
        self.triggers.push((S::augment_args, Box::new(make)));
        self
    }

    /// Work beside the API, until it is told to stop, and its flags. It ends no sooner.
    #[must_use]
    pub fn task<S: Args + 'static, F: Future<Output = ()> + Send + 'static>(
        mut self,
        task: fn(&Stores<A, V>, S, watch::Receiver<bool>) -> F,
    ) -> Self {
        let make = move |stores: &Stores<A, V>, matches: &ArgMatches, stopped| {
            Ok(Box::pin(task(stores, settings_of(matches)?, stopped)) as BoxFuture<_>)
        };
        self.tasks.push((S::augment_args, Box::new(make)));
        self
    }

    /// A measurement for `/metrics` that is made when somebody asks.
    #[must_use]
    pub fn measure<F: Future<Output = ()> + Send + 'static>(
        mut self,
        measure: fn(Stores<A, V>) -> F,
    ) -> Self {
        self.measures.push(Box::new(move |stores| Box::pin(measure(stores))));
        self
    }

    /// A command beside those that all applications have. The documentation of its arguments is its help.
    #[must_use]
    pub fn command<S: Args + 'static, F>(mut self, name: &'static str, run: fn(S) -> F) -> Self
    where
        F: Future<Output = anyhow::Result<ExitCode>> + Send + 'static,
    {
        let run = move |matches: &ArgMatches| Ok(Box::pin(run(settings_of(matches)?)) as BoxFuture<_>);
        self.commands.push((S::augment_args(Command::new(name)), Box::new(run)));
        self
    }

    /// A header of answers that is the application's own, for pages of other origins.
    #[must_use]
    pub fn header(mut self, name: HeaderName) -> Self {
        self.headers.push(name);
        self
    }

    /// Arguments of `curl`, behind the address, for a first call. A server prints it.
    #[must_use]
    pub const fn example(mut self, arguments: &'static str) -> Self {
        self.example = arguments;
        self
    }

    /// All routes.
    #[must_use]
    pub fn routes(&self, stores: &Stores<A, V>) -> Routes {
        self.routes.iter().fold(Routes::default(), |all, routes| all.merge(routes(stores)))
    }

    /// All triggers, with the flags that they were given.
    ///
    /// # Errors
    /// [`CannotStart`] when a function can't be made.
    pub fn triggers(&self, stores: &Stores<A, V>, matches: &ArgMatches) -> Result<Vec<Trigger>, CannotStart> {
        self.triggers.iter().map(|(_, make)| make(stores, matches)).collect()
    }

    pub(crate) fn tasks(
        &self,
        stores: &Stores<A, V>,
        matches: &ArgMatches,
        stopped: &watch::Receiver<bool>,
    ) -> Result<Vec<BoxFuture<'static, ()>>, CannotStart> {
        self.tasks.iter().map(|(_, make)| make(stores, matches, stopped.clone())).collect()
    }

    pub(crate) async fn measure_all(&self, stores: &Stores<A, V>) {
        futures_util::future::join_all(self.measures.iter().map(|measure| measure(stores.clone()))).await;
    }

    /// The command line. The names of variables are without the application's until they are parsed.
    #[must_use]
    pub fn command_line(&self) -> Command {
        let serve = ServerSettings::augment_args(
            self.publishing(ListenSettings::augment_args(Command::new("serve"))),
        );
        let serve = self.tasks.iter().fold(serve, |command, (flags, _)| flags(command));
        let relay = RelayArgs::augment_args(self.publishing(Command::new("relay")));
        let republish = RepublishArgs::augment_args(self.publishing(Command::new("republish")));
        let completions = CompletionsArgs::augment_args(Command::new("completions"));
        let command = Command::new(self.name)
            .version(env!("CARGO_PKG_VERSION"))
            .max_term_width(100)
            .subcommand_required(true)
            .arg_required_else_help(true)
            .subcommand(serve.about("Run the whole system: the HTTP API, the triggers and the relay"))
            .subcommands([relay, republish])
            .subcommands(self.commands.iter().map(|(command, _)| command.clone()))
            .subcommand(completions);
        let help = format!(
            "{}\n\nWithout a command, `serve` runs. Every flag can also be set by the variable that its help names. \
             Exit codes: 0 done, 1 something is wrong or failed, 2 the command could not begin.",
            self.about
        );
        let command = TelemetrySettings::augment_args(command).about(self.about).long_about(help);
        names::of::<A, V>(command)
    }

    /// The flags of whatever publishes: on the in-memory channel it receives too.
    fn publishing(&self, command: Command) -> Command {
        let command = AllStores::augment_args(command);
        let command = self.triggers.iter().fold(command, |command, (flags, _)| flags(command));
        ReminderSettings::augment_args(command)
    }

    /// Runs the command that the arguments ask for, to its end. Exit code 0: done; 1: it found something wrong, or failed; 2: it could
    /// not begin.
    #[must_use]
    pub fn run(self) -> ExitCode {
        name_application(self.name);
        let command = self.command_line();
        let args = with_default_command(&command, env::args_os().collect());
        let matches = settings::matches(self.name, command, args);
        self.run_command(&matches).unwrap_or_else(|error| {
            complain!("{error:#}");
            if error.is::<CannotStart>() { ExitCode::from(CANNOT_START) } else { ExitCode::FAILURE }
        })
    }

    fn run_command(self, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
        // Clap lets none through without.
        let Some((name, flags)) = matches.subcommand() else { return Ok(ExitCode::FAILURE) };
        if name == "completions" {
            let CompletionsArgs { shell } = settings_of(flags)?;
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut self.command_line(), self.name, &mut script);
            output::line(format_args!("{}", String::from_utf8_lossy(&script).trim_end()))?;
            return Ok(ExitCode::SUCCESS);
        }
        let telemetry: TelemetrySettings = settings_of(matches)?;
        let log = telemetry.start_in_background().map_err(|error| CannotStart(error.to_string()))?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let code = runtime.block_on(self.dispatch(name, flags, log.lost_lines()));
        // What still blocks on a thread, such as a start that was given up, keeps nobody waiting.
        runtime.shutdown_background();
        code
    }

    async fn dispatch(
        self,
        name: &str,
        flags: &ArgMatches,
        lost_lines: LostLines,
    ) -> anyhow::Result<ExitCode> {
        match name {
            "serve" => serve::run(Arc::new(self), flags.clone(), lost_lines).await,
            "relay" => until_signal(relay::run(&self, flags)).await,
            "republish" => until_signal(republish::run(&self, flags)).await,
            name => match self.commands.iter().find(|(command, _)| command.get_name() == name) {
                Some((_, run)) => run(flags)?.await,
                None => Ok(ExitCode::FAILURE),
            },
        }
    }
}

/// Print the completions for a shell
#[derive(Args)]
struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Settings of one kind, of all that were parsed.
pub(crate) fn settings_of<S: FromArgMatches>(matches: &ArgMatches) -> Result<S, CannotStart> {
    S::from_arg_matches(matches).map_err(|error| CannotStart(error.to_string()))
}

/// Runs a tool. The first process of a container has no default action for signals, so the tool ends there by its own hand. It may be
/// killed at any moment as well.
///
/// # Errors
/// As the tool, and when a signal ends it.
pub async fn until_signal(tool: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    if std::process::id() != 1 {
        return tool.await;
    }
    let mut signals = Signals::new()?;
    tokio::select! {
        code = tool => code,
        () = signals.next() => anyhow::bail!("stopped by a signal"),
    }
}

/// The arguments with `serve` put in where they begin with a flag of its own, or where there are none.
fn with_default_command(command: &Command, mut args: Vec<OsString>) -> Vec<OsString> {
    let meant_for_the_top = ["-h", "--help", "-V", "--version", "help"];
    let names_a_command = args.iter().skip(1).any(|arg| {
        let known = |text: &str| {
            meant_for_the_top.contains(&text)
                || command.get_subcommands().any(|command| command.get_name() == text)
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
    use event_sourcing::testing::{Task, TasksView};

    use super::*;

    fn command_line() -> Command {
        Application::<Task, TasksView>::new("tasks", "Tasks").command_line()
    }

    fn completed(args: &[&str]) -> Vec<OsString> {
        with_default_command(&command_line(), args.iter().map(OsString::from).collect())
    }

    #[test]
    fn the_command_line_is_well_formed() {
        command_line().debug_assert();
    }

    #[test]
    fn the_aggregates_kind_and_the_view_name_flags_and_help() {
        let command = command_line();
        let republish = command.find_subcommand("republish").unwrap();
        let flag = republish.get_arguments().find(|flag| flag.get_long() == Some("task")).unwrap();
        assert_eq!(flag.get_help().unwrap().to_string(), "Only the events of this task");
        let help = command.clone().render_long_help().to_string();
        assert!(help.contains("Build the tasks view anew") && !help.contains('{'), "{help}");
    }

    #[test]
    fn without_a_command_serve_is_meant() {
        assert_eq!(completed(&["tasks"]), ["tasks", "serve"]);
        assert_eq!(completed(&["tasks", "--data", "x"]), ["tasks", "serve", "--data", "x"]);
    }

    #[test]
    fn a_command_or_a_question_for_help_stays_as_it_is() {
        for args in [
            &["tasks", "verify"][..],
            &["tasks", "--help"],
            &["tasks", "-V"],
            &["tasks", "--log", "debug", "held"],
        ] {
            assert_eq!(completed(args), args);
        }
    }
}

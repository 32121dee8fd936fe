//! An application: what it has of its own, and the command line that runs it.

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{ArgMatches, Args, Command};
use clap_complete::Shell;
use command_handler::ReminderSettings;
use event_source_mapping::Mapping;
use event_sourcing::{Aggregate, View};
use futures_util::future::BoxFuture;
use http::HeaderName;
use runtime::signals::Signals;
use runtime::telemetry::{LostLines, TelemetrySettings};
use runtime::{Route, Routes, settings};
use tokio::sync::watch;

use crate::aggregates::AggregateType;
use crate::copy::CopyArgs;
use crate::functions::{Function, Functions, IntoTrigger, Parts, settings_of};
use crate::held::HeldArgs;
use crate::migrate::MigrateArgs;
use crate::registry::Registry;
use crate::relay::RelayArgs;
use crate::reminders::RemindersArgs;
use crate::republish::RepublishArgs;
use crate::serve::{ListenSettings, ServerParts, ServerSettings};
use crate::stores::{AllStores, PublishingStores};
use crate::view_commands::{RebuildArgs, VerifyArgs};
use crate::views::ViewType;
use crate::{
    CannotStart, copy, held, migrate, name_application, names, output, relay, reminders, republish, serve,
    view_commands,
};

/// Exit code of a command that could not begin.
const CANNOT_START: u8 = 2;

type Run =
    dyn Fn(&ArgMatches) -> Result<BoxFuture<'static, anyhow::Result<ExitCode>>, CannotStart> + Send + Sync;

/// An application, as a server and the commands around it run it.
///
/// ```
/// use command_handler::CommandHandler;
/// use event_sourcing::testing::{LabelSet, LabelsView, Task, TasksView};
/// use read_store::ReadStore;
/// use runtime::{Routes, Store};
///
/// fn commands(tasks: CommandHandler<Task>, labels: CommandHandler<LabelSet>) -> Routes {
///     Routes::of("commands", Store::Events).post("/", async || "done").with_state((tasks, labels))
/// }
///
/// fn queries(tasks: ReadStore<TasksView>, labels: ReadStore<LabelsView>) -> Routes {
///     Routes::of("queries", Store::Views).get("/", async || "hello").with_state((tasks, labels))
/// }
///
/// let tasks = host::Application::new("tasks", "Tasks and their labels")
///     .aggregate::<Task>()
///     .aggregate::<LabelSet>()
///     .view::<TasksView>()
///     .view::<LabelsView>()
///     .http(commands)
///     .http(queries);
///
/// // `tasks.run()` runs the command that the process's arguments ask for.
/// let names: Vec<String> =
///     tasks.command_line().get_subcommands().map(|command| command.get_name().to_owned()).collect();
/// assert!(names.starts_with(&["serve".to_owned(), "relay".to_owned()]));
/// ```
///
/// `examples/tasks.rs` is this application in full.
pub struct Application {
    name: &'static str,
    about: &'static str,
    example: &'static str,
    headers: Vec<HeaderName>,
    registry: Registry,
    functions: Functions,
    commands: Vec<(Command, Box<Run>)>,
}

impl Application {
    /// An application with the commands that all have. Its name is the program's; its variables, metrics and locks begin with it.
    #[must_use]
    pub fn new(name: &'static str, about: &'static str) -> Self {
        Self {
            name,
            about,
            example: "",
            headers: Vec::new(),
            registry: Registry { application: name, aggregates: Vec::new(), views: Vec::new() },
            functions: Functions::default(),
            commands: Vec::new(),
        }
    }

    /// Adds an aggregate: its event store, its topic and its relay.
    ///
    /// One aggregate has the topic that the channel's URL names. Of several, each has a topic of its own: the URL's, a dot and the
    /// aggregate's name. The URL of a function that runs as a Lambda names its aggregate's topic itself.
    #[must_use]
    pub fn aggregate<A: Aggregate>(mut self) -> Self {
        self.registry.aggregates.push(AggregateType::of::<A>());
        self
    }

    /// Adds a view: its tables. The aggregate with the view's events has to be there too.
    #[must_use]
    pub fn view<V: View>(mut self) -> Self {
        self.registry.views.push(ViewType::of::<V>());
        self
    }

    /// Adds a function that answers HTTP. It takes any arguments that implement [`FromApplication`](crate::FromApplication).
    #[must_use]
    pub fn http<Arguments>(mut self, function: impl Function<Arguments, Output = Routes>) -> Self {
        self.functions.add_http(function);
        self
    }

    /// Adds a function that takes batches from the channel. It is made at the start of whatever receives.
    #[must_use]
    pub fn trigger<Arguments, F>(mut self, function: F) -> Self
    where
        F: Function<Arguments, Output: IntoTrigger + 'static>,
    {
        self.functions.add_trigger(function);
        self
    }

    /// Adds work beside the API, until it is told to stop. It ends no sooner.
    #[must_use]
    pub fn task<Arguments, F>(mut self, function: F) -> Self
    where
        F: Function<Arguments, Output: Future<Output = ()> + Send + 'static>,
    {
        self.functions.add_task(function);
        self
    }

    /// Adds a measurement for `/metrics` that is made when somebody asks. Where it fails, the last figures stand.
    #[must_use]
    pub fn measure<Arguments, F>(mut self, function: F) -> Self
    where
        F: Function<Arguments, Output: Future + Send + 'static>,
    {
        self.functions.add_measure(function);
        self
    }

    /// Adds a command beside those that all applications have. The documentation of its arguments is its help.
    #[must_use]
    pub fn command<S: Args + 'static, F>(mut self, name: &'static str, run: fn(S) -> F) -> Self
    where
        F: Future<Output = anyhow::Result<ExitCode>> + Send + 'static,
    {
        let run = move |matches: &ArgMatches| Ok(Box::pin(run(settings_of(matches)?)) as BoxFuture<_>);
        self.commands.push((S::augment_args(Command::new(name)), Box::new(run)));
        self
    }

    /// Adds a header of answers that is the application's own, for pages of other origins.
    #[must_use]
    pub fn header(mut self, name: HeaderName) -> Self {
        self.headers.push(name);
        self
    }

    /// Sets the arguments of `curl`, behind the address, for a first call. A server prints it.
    #[must_use]
    pub const fn example(mut self, arguments: &'static str) -> Self {
        self.example = arguments;
        self
    }

    /// Returns the routes and the mappings that the functions declare, with the flags of a command that publishes.
    ///
    /// # Errors
    /// [`CannotStart`] when a store can't be opened, or a function can't be made.
    pub async fn declarations(&self, flags: &ArgMatches) -> Result<(Vec<Route>, Vec<Mapping>), CannotStart> {
        let settings: PublishingStores = settings_of(flags)?;
        let (stores, (_, stop)) = (settings.open(&self.registry).await?, watch::channel(false));
        let parts = Parts { application: self.name, stores: &stores, flags, stop: &stop };
        let triggers = self.functions.triggers(&parts)?;
        let mappings = triggers.into_iter().map(|trigger| trigger.mapping).collect();
        Ok((self.functions.routes(&parts)?.list().to_vec(), mappings))
    }

    /// The command line. The names of variables are without the application's until they are parsed.
    #[must_use]
    pub fn command_line(&self) -> Command {
        let serve = self.publishing(ListenSettings::augment_args(Command::new("serve")));
        let serve = self.functions.server_flags(ServerSettings::augment_args(serve));
        let relay = RelayArgs::augment_args(self.publishing(Command::new("relay")));
        let republish = RepublishArgs::augment_args(self.publishing(Command::new("republish")));
        let tools = [
            RemindersArgs::augment_args(Command::new("reminders")),
            RebuildArgs::augment_args(Command::new("rebuild")),
            VerifyArgs::augment_args(Command::new("verify")),
            HeldArgs::augment_args(Command::new("held")),
            MigrateArgs::augment_args(Command::new("migrate")),
            CopyArgs::augment_args(Command::new("copy")),
        ];
        let completions = CompletionsArgs::augment_args(Command::new("completions"));
        let command = Command::new(self.name)
            .version(env!("CARGO_PKG_VERSION"))
            .max_term_width(100)
            .subcommand_required(true)
            .arg_required_else_help(true)
            .subcommand(serve.about("Run the whole system: the HTTP API, the triggers and the relay"))
            .subcommands([relay, republish])
            .subcommands(tools)
            .subcommands(self.commands.iter().map(|(command, _)| command.clone()))
            .subcommand(completions);
        let help = format!(
            "{}\n\nWithout a command, `serve` runs. Every flag can also be set by the variable that its help names. \
             Exit codes: 0 done, 1 something is wrong or failed, 2 the command could not begin.",
            self.about
        );
        let command = TelemetrySettings::augment_args(command).about(self.about).long_about(help);
        names::of(command, &self.registry)
    }

    /// The flags of whatever publishes: on the in-memory channel it receives too.
    fn publishing(&self, command: Command) -> Command {
        let command = self.functions.trigger_flags(AllStores::augment_args(command));
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
        self.registry.check()?;
        let registry = self.registry;
        match name {
            "serve" => {
                let (functions, headers) = (Arc::new(self.functions), self.headers);
                let own = ServerParts { registry, functions, headers, example: self.example };
                serve::run(own, flags.clone(), lost_lines).await
            }
            "relay" => until_signal(relay::run(&registry, &self.functions, flags)).await,
            "republish" => until_signal(republish::run(&registry, &self.functions, flags)).await,
            "reminders" => until_signal(reminders::run(settings_of(flags)?, &registry)).await,
            "rebuild" => until_signal(view_commands::rebuild(settings_of(flags)?, &registry)).await,
            "verify" => until_signal(view_commands::verify(settings_of(flags)?, &registry)).await,
            "held" => until_signal(held::run(settings_of(flags)?, &registry)).await,
            "migrate" => until_signal(migrate::run(settings_of(flags)?, &registry)).await,
            "copy" => until_signal(copy::run(settings_of(flags)?, &registry)).await,
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
        Application::new("tasks", "Tasks").aggregate::<Task>().view::<TasksView>().command_line()
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

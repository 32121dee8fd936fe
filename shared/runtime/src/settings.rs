//! Settings that more than one binary has, declared once: each is a flag, and a variable of the same name behind the application's, such
//! as `ORDERS_DATA`. A server reads both; a function as a Lambda has only the variables. An empty variable is as none.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process;
use std::time::Duration;

use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::{Args, Command, Parser};

use crate::secret_url::SecretUrl;
use crate::secrets::{self, SecretError};
use crate::telemetry::TelemetrySettings;

/// A function's variable with the namespace in CloudWatch that it reports metrics to. Without it nothing is reported.
pub const METRICS_NAMESPACE: &str = "METRICS_NAMESPACE";

/// A function's variable with the names that it reports, parted by commas. They begin with the application's name.
pub const METRICS: &str = "METRICS";

/// The one dimension of these metrics. Its value is the application, the same for all functions, so that they add to the same metrics.
pub const METRICS_DIMENSION: &str = "service";

/// The settings of this process, whose variables begin with the application's name; ends it with 2 where they can't be used, and with 0
/// where help was asked for and printed.
#[must_use]
pub fn parse<P: Parser>(application: &str) -> P {
    parse_from(application, env::args_os())
}

/// [`parse`], from these arguments.
#[must_use]
pub fn parse_from<P: Parser>(application: &str, args: impl IntoIterator<Item = OsString>) -> P {
    let args: Vec<OsString> = args.into_iter().collect();
    let parsed = of_application(application, P::command()).try_get_matches_from(&args);
    parsed.and_then(|matches| P::from_arg_matches(&matches)).unwrap_or_else(|error| {
        let printed = print(&error, &args).and_then(|()| io::stdout().flush());
        process::exit(if printed.is_ok() { error.exit_code() } else { error.exit_code().max(1) })
    })
}

/// Clap repeats a word that it does not expect, and such a word may be a URL whose flag was mistyped; one that is the value of another
/// flag may be so too.
fn print(error: &clap::Error, args: &[OsString]) -> io::Result<()> {
    let is_value = matches!(error.kind(), ErrorKind::InvalidValue | ErrorKind::ValueValidation);
    let may_be_url = |word: &&str| word.contains('@') || !is_value && word.contains([':', '?']);
    let said = error.render().to_string();
    let words = args.iter().filter_map(|arg| arg.to_str()).filter(may_be_url);
    let told = words.fold(said.clone(), |said, word| {
        let url = word.split_once('=').filter(|_| word.starts_with('-')).map_or(word, |(_, value)| value);
        said.replace(url, &SecretUrl::from(url).to_string())
    });
    if told == said { error.print() } else { write!(io::stderr(), "{told}") }
}

/// The name of an application's variable: `ORDERS_DATA` of `orders` and `DATA`.
#[must_use]
pub fn variable(application: &str, name: &str) -> String {
    format!("{}_{name}", application.to_uppercase().replace('-', "_"))
}

/// The command with the application's name in its variables and, for `{application}`, in its defaults. An empty variable (`${X:-}`) is
/// none, and help shows no variable's value: it may be a secret.
#[must_use]
pub fn of_application(application: &str, command: Command) -> Command {
    // Leaked once an argument of a process.
    let command = command.mut_args(|arg| {
        let named = |text: &OsStr| text.to_string_lossy().replace("{application}", application);
        let defaults: Vec<&'static str> =
            arg.get_default_values().iter().map(|text| &*named(text).leak()).collect();
        let arg = if defaults.is_empty() { arg } else { arg.default_values(defaults) };
        let Some(name) = arg.get_env().map(|name| variable(application, &name.to_string_lossy())) else {
            return arg;
        };
        let is_empty = env::var_os(&name).is_some_and(|value| value.is_empty());
        let arg = if is_empty { arg.env(Resettable::Reset) } else { arg.env(&*name.leak()) };
        arg.hide_env_values(true)
    });
    command.mut_subcommands(|command| of_application(application, command))
}

/// Where state is kept when no URL says otherwise.
#[derive(Args, Clone, Debug)]
pub struct DataSettings {
    /// Folder of the embedded default's files
    #[arg(long, env = "DATA", value_name = "FOLDER", default_value = "data", value_parser = folder)]
    pub data: PathBuf,
}

/// Which event store.
#[derive(Args, Clone, Debug)]
pub struct EventStoreSettings {
    /// The event store [default: sqlite:FOLDER/events.db, in the --data folder]
    #[arg(long, env = "EVENT_STORE", value_name = "URL")]
    pub event_store: Option<SecretUrl>,
}

/// Which channel.
#[derive(Args, Clone, Debug)]
pub struct ChannelSettings {
    /// The event channel
    #[arg(long, env = "CHANNEL", value_name = "URL", default_value = "memory:?topic={application}.events")]
    pub channel: SecretUrl,
}

/// Which read store.
#[derive(Args, Clone, Debug)]
pub struct ReadStoreSettings {
    /// The read store [default: sqlite:FOLDER/views.db, in the --data folder]
    #[arg(long, env = "READ_STORE", value_name = "URL")]
    pub read_store: Option<SecretUrl>,
}

impl EventStoreSettings {
    /// The event store's URL.
    #[must_use]
    pub fn url(&self, data: &DataSettings) -> SecretUrl {
        self.event_store.clone().unwrap_or_else(|| data.sqlite("events.db"))
    }
}

impl ReadStoreSettings {
    /// The read store's URL.
    #[must_use]
    pub fn url(&self, data: &DataSettings) -> SecretUrl {
        self.read_store.clone().unwrap_or_else(|| data.sqlite("views.db"))
    }
}

impl DataSettings {
    fn sqlite(&self, file: &str) -> SecretUrl {
        format!("sqlite:{}", self.data.join(file).display()).into()
    }
}

/// A folder, for `value_parser`. URLs of files are text, so a path that is no UTF-8 is refused by clap before it comes here.
///
/// # Errors
/// When the text names none.
fn folder(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("it names no folder".to_owned()) } else { Ok(PathBuf::from(text)) }
}

/// A whole number of milliseconds, for `value_parser`.
///
/// # Errors
/// When the text is not one.
pub fn milliseconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .map(Duration::from_millis)
        .map_err(|_| format!("{text:?} is not a whole number of milliseconds"))
}

/// A number of seconds, whole or not, for `value_parser`.
///
/// # Errors
/// When the text is not one, or it is negative or beyond a day.
pub fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=86_400.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!("{text:?} is not a number of seconds from 0 to 86400")),
    }
}

/// Settings of a function that reads or writes the view, as a Lambda.
#[derive(Parser, Clone, Debug)]
pub struct ViewFunctionSettings {
    #[command(flatten)]
    data: DataSettings,
    #[command(flatten)]
    read_store: ReadStoreSettings,
    /// The log.
    #[command(flatten)]
    pub telemetry: TelemetrySettings,
}

impl ViewFunctionSettings {
    /// Where the embedded default keeps its files.
    #[must_use]
    pub const fn data(&self) -> &DataSettings {
        &self.data
    }

    /// The read store's URL, looked up where the setting stands for a secret.
    ///
    /// # Errors
    /// As [`secrets::resolve`].
    pub async fn url(&self) -> Result<SecretUrl, SecretError> {
        secrets::resolve(&self.read_store.url(&self.data)).await
    }
}

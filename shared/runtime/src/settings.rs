//! Settings that more than one binary has, declared once. Each is a flag, and a variable of the same name with the application's
//! prefix, such as `ORDERS_DATA`. A server reads both; a function as a Lambda has only the variables. An empty variable counts as
//! none.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process;
use std::time::Duration;

use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::{ArgMatches, Args, Command, Parser};

use crate::secret_url::SecretUrl;
use crate::secrets::{self, SecretError};
use crate::telemetry::TelemetrySettings;

/// The variable with the CloudWatch namespace of a function's metrics. Without it nothing is reported.
pub const METRICS_NAMESPACE: &str = "METRICS_NAMESPACE";

/// The variable with the names of the metrics that a function reports, separated by commas. They begin with the application's name.
pub const METRICS: &str = "METRICS";

/// The one dimension of these metrics. Its value is the application, the same for all functions, so that they add to the same metrics.
pub const METRICS_DIMENSION: &str = "service";

/// Returns the settings of this process, whose variables begin with the application's name. If they can't be used, it ends the
/// process with 2. If help was asked for and printed, it ends the process with 0.
#[must_use]
pub fn parse<P: Parser>(application: &str) -> P {
    let matches = matches(application, P::command(), env::args_os());
    P::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// As [`parse`], of any command and from these arguments, before they are taken into a type.
#[must_use]
pub fn matches(application: &str, command: Command, args: impl IntoIterator<Item = OsString>) -> ArgMatches {
    let args: Vec<OsString> = args.into_iter().collect();
    of_application(application, command).try_get_matches_from(&args).unwrap_or_else(|error| {
        let printed = print(&error, &args).and_then(|()| io::stdout().flush());
        process::exit(if printed.is_ok() { error.exit_code() } else { error.exit_code().max(1) })
    })
}

/// Prints an error of clap without its secrets. Clap repeats a word that it does not expect, and such a word may be a URL whose
/// flag was mistyped. The value of another flag may be a URL too.
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

/// Returns whether any variable of the application stands for a secret.
#[must_use]
pub fn have_secrets(application: &str) -> bool {
    let prefix = variable(application, "");
    env::vars_os().any(|(name, value)| {
        name.to_str().is_some_and(|name| name.starts_with(&prefix))
            && value.to_str().is_some_and(secrets::is_secret)
    })
}

/// Puts the application's name into the command's variables and, for `{application}`, into its defaults. An empty variable
/// (`${X:-}`) counts as none. The help shows no variable's value, because it may be a secret.
#[must_use]
pub fn of_application(application: &str, command: Command) -> Command {
    // These texts are leaked once for each argument of a process.
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

/// The place of the stores that no URL of their own names.
#[derive(Args, Clone, Debug)]
pub struct DataSettings {
    /// The folder of the embedded stores' files
    #[arg(long, env = "DATA", value_name = "FOLDER", default_value = "data", value_parser = folder)]
    pub data: PathBuf,
    /// The URL of a PostgreSQL database that is event store and read store at once
    #[arg(long, env = "POSTGRES", value_name = "URL", value_parser = postgres)]
    pub postgres: Option<SecretUrl>,
}

/// The choice of the event store.
#[derive(Args, Clone, Debug)]
pub struct EventStoreSettings {
    /// The URL of the event store [default: that of --postgres, else sqlite:FOLDER/events.db, in the --data folder]
    #[arg(long, env = "EVENT_STORE", value_name = "URL", conflicts_with = "postgres")]
    pub event_store: Option<SecretUrl>,
}

/// The choice of the channel.
#[derive(Args, Clone, Debug)]
pub struct ChannelSettings {
    /// The URL of the event channel
    #[arg(long, env = "CHANNEL", value_name = "URL", default_value = "memory:?topic={application}.events")]
    pub channel: SecretUrl,
}

/// The choice of the read store.
#[derive(Args, Clone, Debug)]
pub struct ReadStoreSettings {
    /// The URL of the read store [default: that of --postgres, else sqlite:FOLDER/views.db, in the --data folder]
    #[arg(long, env = "READ_STORE", value_name = "URL", conflicts_with = "postgres")]
    pub read_store: Option<SecretUrl>,
}

impl EventStoreSettings {
    /// The event store's URL.
    #[must_use]
    pub fn url(&self, data: &DataSettings) -> SecretUrl {
        self.event_store.clone().unwrap_or_else(|| data.store("events.db"))
    }
}

impl ReadStoreSettings {
    /// The read store's URL.
    #[must_use]
    pub fn url(&self, data: &DataSettings) -> SecretUrl {
        self.read_store.clone().unwrap_or_else(|| data.store("views.db"))
    }
}

impl DataSettings {
    /// The URL of a store: the database if there is one, else this file in the folder.
    fn store(&self, file: &str) -> SecretUrl {
        let in_file = || format!("sqlite:{}", self.data.join(file).display()).into();
        self.postgres.clone().unwrap_or_else(in_file)
    }
}

/// Parses a folder, for `value_parser`. URLs of files are text, so clap refuses a path that is not UTF-8 before this is called.
///
/// # Errors
/// When the text is empty.
fn folder(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("it names no folder".to_owned()) } else { Ok(PathBuf::from(text)) }
}

/// Parses the URL of a database that is all stores at once, for `value_parser`.
///
/// # Errors
/// When it is no URL of PostgreSQL, and no secret that may be one.
fn postgres(text: &str) -> Result<SecretUrl, String> {
    let url = SecretUrl::from(text);
    if ["postgres", "postgresql"].contains(&url.scheme()) || secrets::is_secret(text) {
        return Ok(url);
    }
    Err("it is not the URL of a PostgreSQL database; allowed: postgres://USER:PASSWORD@HOST:PORT/DATABASE"
        .to_owned())
}

/// Parses a whole number of milliseconds, for `value_parser`.
///
/// # Errors
/// When the text is not such a number.
pub fn milliseconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .map(Duration::from_millis)
        .map_err(|_| format!("{text:?} is not a whole number of milliseconds"))
}

/// Parses a number of seconds, whole or not, for `value_parser`.
///
/// # Errors
/// When the text is not such a number, or it is negative or beyond a day.
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
    /// The folder of the embedded default's files.
    #[must_use]
    pub const fn data(&self) -> &DataSettings {
        &self.data
    }

    /// Returns the read store's URL. It is looked up if the setting stands for a secret.
    ///
    /// # Errors
    /// As [`secrets::resolve`].
    pub async fn url(&self) -> Result<SecretUrl, SecretError> {
        secrets::resolve(&self.read_store.url(&self.data)).await
    }
}

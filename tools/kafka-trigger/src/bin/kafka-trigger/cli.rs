//! The flags. Each is also an environment variable.

// `--help` prints these comments as they are: brackets are not links.
#![allow(rustdoc::broken_intra_doc_links)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use kafka_trigger::failure_destination::{BaseUrl, InvalidBaseUrl};
use runtime::SecretUrl;

/// Run the Kafka event source mappings of a SAM or CloudFormation template on this machine
///
/// Reads records from Kafka and invokes Lambda functions with them, by the rules of Lambda's own event source mapping: batch
/// size and window, 6 MB, order per partition, filters, partial batch responses, bisect, retries, record age, failure
/// destination. Prints a line for each invocation.
///
/// Every flag can also be set by the variable that its help names. Exit codes: 0 stopped as asked, 1 a mapping ended by
/// itself, 2 it could not begin, 130 stopped at once by a second signal.
#[derive(Parser, Clone, Debug)]
#[command(name = "kafka-trigger", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// The SAM or CloudFormation template, YAML or JSON
    #[arg(long, env = "KAFKA_TRIGGER_TEMPLATE", value_name = "FILE", default_value = "template.yaml")]
    pub(crate) template: PathBuf,

    /// The endpoint that invokes functions: the URL of a Lambda Invoke API, or aws
    ///
    /// The default is the endpoint of `cargo lambda watch`. The Runtime Interface Emulator, `sam local start-lambda` and LocalStack
    /// have one, too. With aws, functions run on AWS; the environment gives AWS_REGION, AWS_ACCESS_KEY_ID,
    /// AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN.
    #[arg(
        long,
        env = "KAFKA_TRIGGER_INVOKE",
        value_name = "URL|aws",
        default_value = "http://127.0.0.1:9000"
    )]
    pub(crate) invoke: String,

    /// The brokers, instead of the template's: host:port[,host:port], or
    /// kafka://[user:password@]host:port[,host:port][?option=value&…]
    ///
    /// Options: security=plaintext|tls|sasl_plaintext|sasl_tls, mechanism=PLAIN|SCRAM-SHA-256|SCRAM-SHA-512|AWS_MSK_IAM,
    /// ca=FILE, region=REGION, client_id=TEXT, session_timeout_ms=N, and create=true, which creates missing topics with
    /// partitions=N. A topic in the URL has no effect: each mapping names its own.
    #[arg(long, env = "KAFKA_TRIGGER_KAFKA", value_name = "URL", hide_env_values = true)]
    pub(crate) kafka: Option<String>,

    /// The schema registry, instead of the template's: http://[user:password@]host[:port][/path]
    ///
    /// If the template's SchemaRegistryURI is a URL, the registry must have Confluent's API (Apicurio has it under
    /// /apis/ccompat/v7). If it is an ARN, the registry must have the API of AWS Glue. Without this flag, the template's URL is
    /// used, or AWS for an ARN; the environment gives AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN.
    #[arg(long, env = "KAFKA_TRIGGER_REGISTRY", value_name = "URL", hide_env_values = true)]
    pub(crate) registry: Option<SecretUrl>,

    /// Print the plan and end: each mapping's settings, the source of each, and the keys without effect
    ///
    /// This connects to nothing. With --json, the plan is one JSON object.
    #[arg(long, env = "KAFKA_TRIGGER_PLAN")]
    pub(crate) plan: bool,

    /// A parameter of the template, or a pseudo parameter such as AWS::Region; may be repeated (in the variable: one a line)
    #[arg(
        long = "parameter",
        env = "KAFKA_TRIGGER_PARAMETER",
        value_name = "NAME=VALUE",
        value_parser = pair,
        value_delimiter = '\n',
        hide_env_values = true
    )]
    pub(crate) parameters: Vec<(String, String)>,

    /// Do not read the parameter_overrides of the samconfig.toml beside the template
    ///
    /// Otherwise those of [default.global.parameters] and [default.deploy.parameters] count. A --parameter overrides them.
    #[arg(long, env = "KAFKA_TRIGGER_NO_SAMCONFIG")]
    pub(crate) no_samconfig: bool,

    /// Run only this mapping, named by its logical id or its function's; may be repeated. The logical id of a disabled mapping
    /// runs it, too
    #[arg(long = "mapping", env = "KAFKA_TRIGGER_MAPPING", value_name = "NAME", value_delimiter = ',')]
    pub(crate) mappings: Vec<String>,

    /// The name under which the endpoint knows a function; may be repeated
    ///
    /// Without this flag, kafka-trigger tries the name of the function's binary, then its FunctionName, then its logical id. The
    /// Runtime Interface Emulator calls its function `function`.
    #[arg(
        long = "function-name",
        env = "KAFKA_TRIGGER_FUNCTION_NAME",
        value_name = "LOGICAL_ID=NAME",
        value_parser = pair,
        value_delimiter = ','
    )]
    pub(crate) function_names: Vec<(String, String)>,

    /// The endpoint of a failure destination: the base URL of LocalStack, say; may be repeated
    ///
    /// ARN is that of an SQS queue, an SNS topic or an S3 bucket, or the logical id of one in the template. The keys
    /// AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of the environment sign requests, or else test and test. A record that the
    /// endpoint does not accept stays in its partition and is sent again. Without a URL, the record is printed. Kafka topics
    /// need no URL.
    #[arg(
        long = "destination",
        env = "KAFKA_TRIGGER_DESTINATION",
        value_name = "ARN=URL",
        value_parser = destination,
        value_delimiter = ','
    )]
    pub(crate) destinations: Vec<(String, BaseUrl)>,

    /// The batch window of every mapping, in milliseconds; 0 waits for no more records. Default: the template's, else 500
    #[arg(long, env = "KAFKA_TRIGGER_WINDOW", value_name = "MS", value_parser = milliseconds)]
    pub(crate) window: Option<Duration>,

    /// The timeout of every function, in seconds. Default: the function's Timeout
    #[arg(long, env = "KAFKA_TRIGGER_TIMEOUT", value_name = "SECONDS", value_parser = seconds)]
    pub(crate) timeout: Option<Duration>,

    /// The timeout of a function's first answer, in seconds: the endpoint may have to compile the function first
    ///
    /// If the answer does not come, this counts as no attempt for the records. Later answers must come within Timeout, also
    /// while the endpoint compiles a change.
    #[arg(
        long,
        env = "KAFKA_TRIGGER_FIRST_ANSWER",
        value_name = "SECONDS",
        value_parser = seconds,
        default_value = "600"
    )]
    pub(crate) first_answer: Duration,

    /// The most invocations of one mapping at once; a partition is in at most one of them. All mappings together run at most 64,
    /// the limit of `cargo lambda watch`, and a function at most --function-concurrency
    #[arg(
        long,
        env = "KAFKA_TRIGGER_CONCURRENCY",
        value_name = "N",
        default_value_t = 4,
        value_parser = clap::value_parser!(u16).range(1..=64)
    )]
    pub(crate) concurrency: u16,

    /// The most calls of one function that the endpoint runs at once. Default: 1; with aws there is no limit
    ///
    /// Further calls wait here, so that their wait does not count as the function's time. `cargo lambda watch` (without a
    /// --concurrency of its own) and the Runtime Interface Emulator run one call; `sam local start-lambda`, LocalStack and others
    /// can run more.
    #[arg(
        long,
        env = "KAFKA_TRIGGER_FUNCTION_CONCURRENCY",
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..=1000)
    )]
    pub(crate) function_concurrency: Option<u16>,

    /// A prefix for the name of every consumer group
    ///
    /// A mapping's group is its ConsumerGroupId, else kafka-trigger.LOGICAL_ID.
    #[arg(long, env = "KAFKA_TRIGGER_GROUP_PREFIX", value_name = "TEXT", default_value = "")]
    pub(crate) group_prefix: String,

    /// The longest wait for running invocations at the end, in seconds
    #[arg(
        long,
        env = "KAFKA_TRIGGER_DRAIN",
        value_name = "SECONDS",
        value_parser = seconds,
        default_value = "10"
    )]
    pub(crate) drain: Duration,

    /// Print invocations, or the plan, as JSON, one object a line
    #[arg(long, env = "KAFKA_TRIGGER_JSON")]
    pub(crate) json: bool,

    /// Serve metrics for Prometheus here, at /metrics
    #[arg(long, env = "KAFKA_TRIGGER_METRICS_LISTEN", value_name = "ADDRESS:PORT")]
    pub(crate) metrics_listen: Option<SocketAddr>,

    /// The level of the log on standard error (error, warn, info, debug, trace), or levels by module
    #[arg(long, env = "KAFKA_TRIGGER_LOG", value_name = "FILTER", default_value = "warn,librdkafka=error")]
    pub(crate) log: String,
}

impl Cli {
    /// The most calls of one function that its endpoint gets at once. `None` means no limit.
    pub(crate) fn calls_at_once(&self) -> Option<usize> {
        let default = (self.invoke != "aws").then_some(1);
        self.function_concurrency.map(usize::from).or(default)
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("it must be NAME=VALUE".to_owned()),
    }
}

fn destination(text: &str) -> Result<(String, BaseUrl), String> {
    let (name, url) = pair(text).map_err(|_| "it must be ARN=URL".to_owned())?;
    Ok((name, url.parse().map_err(|error: InvalidBaseUrl| error.to_string())?))
}

/// Parses a batch window. Lambda's own limit is 300 s.
fn milliseconds(text: &str) -> Result<Duration, String> {
    number(text, 300_000.0)
        .map(|number| Duration::from_secs_f64(number / 1e3))
        .ok_or_else(|| "it must be a number of milliseconds from 0 to 300000".to_owned())
}

fn seconds(text: &str) -> Result<Duration, String> {
    number(text, 86_400.0)
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "it must be a number of seconds from 0 to 86400".to_owned())
}

fn number(text: &str, most: f64) -> Option<f64> {
    text.parse().ok().filter(|number| (0.0..=most).contains(number))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(arguments: &[&str]) -> Result<Cli, String> {
        let arguments = ["kafka-trigger"].iter().chain(arguments);
        Cli::try_parse_from(arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn the_flags_are_well_formed_and_every_one_is_a_variable() {
        Cli::command().debug_assert();
        for flag in Cli::command().get_arguments().filter(|flag| flag.get_id() != "help") {
            let long = flag.get_long().unwrap();
            if long != "version" {
                let variable = format!("KAFKA_TRIGGER_{}", long.to_uppercase().replace('-', "_"));
                assert_eq!(flag.get_env().unwrap().to_str(), Some(variable.as_str()));
            }
        }
    }

    #[test]
    fn parameters_are_all_that_stands_after_the_first_equals_sign() {
        let cli = parse(&["--parameter", "A=b=c,d", "--parameter", "E="]).unwrap();
        let expected = [("A", "b=c,d"), ("E", "")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(cli.parameters, expected);
    }

    #[test]
    fn times_are_in_their_unit() {
        let cli = parse(&["--window", "20", "--timeout", "1.5"]).unwrap();
        assert_eq!(
            (cli.window, cli.timeout),
            (Some(Duration::from_millis(20)), Some(Duration::from_millis(1500)))
        );
        assert_eq!(parse(&["--window", "0"]).unwrap().window, Some(Duration::ZERO));
    }

    #[test]
    fn what_is_wrong_is_said_with_what_is_allowed() {
        for (arguments, said) in [
            (["--window", "-1"], "milliseconds from 0 to 300000"),
            (["--window", "300001"], "milliseconds from 0 to 300000"),
            (["--timeout", "NaN"], "seconds from 0 to 86400"),
            (["--parameter", "=x"], "it must be NAME=VALUE"),
            (["--concurrency", "65"], "1..=64"),
            (["--function-concurrency", "0"], "1..=1000"),
            (["--function-name", "x"], "it must be NAME=VALUE"),
            (["--destination", "arn:aws:sqs:x"], "it must be ARN=URL"),
            (["--destination", "Dead=localhost:4566"], "must be http://HOST:PORT or https://HOST"),
        ] {
            let arguments = [format!("{}={}", arguments[0], arguments[1])];
            let error = parse(&[&arguments[0]]).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}

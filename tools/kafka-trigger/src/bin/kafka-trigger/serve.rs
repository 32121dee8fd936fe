//! Runs the plans, with one task a mapping. They run until a signal stops them, or until one fails.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::process::{self, ExitCode};

use anyhow::Context as _;
use event_channel::{ConsumerSettings, EventChannel};
use event_source_mapping::{ChannelSource, InvalidMapping, Mapping, Observer};
use kafka_trigger::invoke::{Endpoint, InvalidEndpoint, InvokeApiTarget};
use kafka_trigger::template::{self, Options};
use runtime::signals::Signals;
use runtime::telemetry::{self, LogFormat};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cli::Cli;
use crate::connection::UnreachableBrokers;
use crate::explanation;
use crate::failures;
use crate::lines::{LineFormat, Lines};
use crate::metrics::Metrics;
use crate::plan::{Destination, Plan, Plans, window};
use crate::registry::Registries;
use crate::samconfig;

/// The exit code after a second signal: 128 and the number of SIGINT.
const STOPPED_AT_ONCE: i32 = 130;

pub(crate) async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let _log = telemetry::start_in_background(&cli.log, LogFormat::Text)?;
    let signals = Signals::new().context("signals can't be heard")?;
    if cli.plan {
        let plans = plan(&cli)?;
        explanation::print(&plans, &cli);
        return Ok(ExitCode::SUCCESS);
    }
    let endpoint = endpoint(&cli)?;
    let mut plans = plan(&cli)?;
    for plan in &plans {
        plan.url(&plan.template.topic)?;
    }
    let mut registries = Registries::default();
    for plan in &mut plans {
        plan.mapping.decoder = registries.decoder(plan.registry.as_ref())?;
    }
    // The recorder must be installed first: a series that is looked up before is never counted.
    let metrics = match cli.metrics_listen {
        Some(address) => Some(Metrics::listen(address).await?),
        None => None,
    };
    let (stop, stopped) = watch::channel(false);
    let mut mappings = JoinSet::new();
    let unreachable = UnreachableBrokers::default();
    let mut channels = Vec::new();
    for plan in plans {
        eprintln!("{}", announcement(&plan, &endpoint));
        let channel = start(&mut mappings, &plan, &endpoint, &cli, &unreachable, stopped.clone())
            .with_context(|| plan.template.logical_id.clone())?;
        channels.push((plan.template.logical_id, channel));
    }
    if let Some(metrics) = metrics {
        tokio::spawn(metrics.serve(channels));
    }
    Ok(supervise(mappings, signals, &stop).await)
}

fn endpoint(cli: &Cli) -> Result<Endpoint, InvalidEndpoint> {
    let endpoint = Endpoint::open(&cli.invoke, |name| env::var(name).ok())?;
    Ok(match cli.calls_at_once() {
        Some(calls) => endpoint.with_calls_at_once(calls),
        None => endpoint,
    })
}

/// Returns the plans. Prints the notes first, also when it returns an error.
fn plan(cli: &Cli) -> anyhow::Result<Vec<Plan>> {
    let mut notes = Vec::new();
    let planned = read(cli, &mut notes).and_then(|template| Plans::of(template, cli, &mut notes));
    for note in notes {
        eprintln!("note: {note}");
    }
    Ok(planned?.plans)
}

fn read(cli: &Cli, notes: &mut Vec<String>) -> anyhow::Result<template::Template> {
    let name = cli.template.display();
    let text = fs::read_to_string(&cli.template).with_context(|| format!("--template {name}"))?;
    let defaults =
        if cli.no_samconfig { BTreeMap::new() } else { samconfig::parameters(&cli.template, notes)? };
    let parameters = cli.parameters.iter().cloned().collect();
    let options = Options { parameters, defaults, timeout: cli.timeout };
    template::read(&text, &options).with_context(|| name.to_string())
}

fn announcement(plan: &Plan, endpoint: &Endpoint) -> String {
    let Plan { template, mapping, function, destination, .. } = plan;
    let destination = match destination {
        Destination::Topic(name) => format!(", failures to kafka://{name}"),
        Destination::At(resource, url) => format!(", failures to {resource} at {url}"),
        Destination::OutOfReach(_) => ", failures are printed".to_owned(),
        Destination::None => String::new(),
    };
    format!(
        "{}: {} (group {}) → {} at {endpoint}, batches of {}, {}{destination}",
        template.logical_id,
        template.topic,
        mapping.group,
        function.names.join(" or "),
        mapping.batch_size,
        window(mapping.window)
    )
}

/// Starts a mapping. It waits for Kafka and then joins its consumer group.
fn start(
    mappings: &mut JoinSet<Result<(), InvalidMapping>>,
    plan: &Plan,
    endpoint: &Endpoint,
    cli: &Cli,
    unreachable: &UnreachableBrokers,
    stopped: watch::Receiver<bool>,
) -> anyhow::Result<EventChannel> {
    let channel = EventChannel::open(&plan.url(&plan.template.topic)?)?;
    // The mapping filters, and not the channel. So the metrics count filtered records too.
    let settings = ConsumerSettings { beginning: plan.beginning, ..ConsumerSettings::default() };
    let source = ChannelSource::new(channel.subscribe_with(&plan.mapping.group, settings, |_| true)?);
    let target = InvokeApiTarget::new(endpoint.clone(), plan.function.clone());
    let lines =
        Lines::new(&plan.template.logical_id, if cli.json { LineFormat::Json } else { LineFormat::Text });
    let told = lines.clone();
    let mapping = Mapping {
        invocation_timeout: InvokeApiTarget::INVOCATION_TIMEOUT,
        on_failure: failures::on_failure(plan, lines)?,
        observer: Observer::new(move |invocation| told.invocation(&invocation)),
        ..plan.mapping.clone()
    };
    let servers = plan.brokers.as_ref().map(|brokers| brokers.servers().to_owned()).unwrap_or_default();
    let (unreachable, waiting) = (unreachable.clone(), channel.clone());
    mappings.spawn(async move {
        if !unreachable.wait_for(&servers, &waiting, stopped.clone()).await {
            return Ok(());
        }
        event_source_mapping::run(mapping, source, target, stopped).await
    });
    Ok(channel)
}

/// Waits until all mappings have ended, and returns the exit code. After the first signal they finish what they have begun. The
/// second signal ends the process.
async fn supervise(
    mut mappings: JoinSet<Result<(), InvalidMapping>>,
    mut signals: Signals,
    stop: &watch::Sender<bool>,
) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    loop {
        tokio::select! {
            ended = mappings.join_next() => {
                let problem = match ended {
                    None => return code,
                    Some(Ok(Ok(()))) => continue,
                    Some(Ok(Err(problem))) => problem.to_string(),
                    Some(Err(problem)) => problem.to_string(),
                };
                eprintln!("kafka-trigger: a mapping has ended: {problem}");
                code = ExitCode::from(1);
                stop.send_replace(true);
            }
            () = signals.next() => {
                if stop.send_replace(true) {
                    process::exit(STOPPED_AT_ONCE);
                }
                eprintln!("kafka-trigger: stopping; once more stops at once");
            }
        }
    }
}

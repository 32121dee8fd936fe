//! What follows from a template and the flags: which mappings are run, and how. Pure; whatever can be refused is refused here.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::bail;
use event_channel::Beginning;
use event_source_mapping::Mapping;
use event_source_mapping::invoke::FunctionAddress;
use event_source_mapping::template::{Function, KafkaMapping, Refused, StartingPosition, Template};

use crate::brokers::Brokers;
use crate::cli::Cli;

/// How many invocations run at once, of all mappings: beyond about a hundred `cargo lambda watch` stops to answer.
const MOST_INVOCATIONS: usize = 64;

/// A mapping that is run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) logical_id: String,
    /// The topic's channel.
    pub(crate) url: String,
    pub(crate) topic: String,
    pub(crate) group: String,
    pub(crate) beginning: Beginning,
    /// Everything but who is told and what becomes of failures.
    pub(crate) mapping: Mapping,
    pub(crate) function: FunctionAddress,
    pub(crate) function_arn: String,
    pub(crate) destination: Destination,
}

/// Where records go that are given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    None,
    Topic {
        name: String,
        url: String,
    },
    /// An ARN, which is not reached from here.
    OutOfReach(String),
}

/// What is run, and what the user should know before.
#[derive(Debug, Default)]
pub(crate) struct Plans {
    pub(crate) plans: Vec<Plan>,
    pub(crate) notes: Vec<String>,
}

impl Plans {
    pub(crate) fn of(template: Template, cli: &Cli) -> anyhow::Result<Self> {
        let mut chosen = template.mappings;
        known(&cli.mappings, &names(&chosen, &template.refused), "--mapping")?;
        chosen.retain(|mapping| is_chosen(&cli.mappings, ids(mapping)));
        refuse(template.refused, !chosen.is_empty(), cli)?;
        if chosen.is_empty() {
            let disabled = template.disabled.join(", ");
            let disabled =
                if disabled.is_empty() { String::new() } else { format!("; disabled are: {disabled}") };
            bail!("the template has no Kafka event source mapping that is enabled{disabled}");
        }
        let overridden: Vec<String> = cli.function_names.iter().map(|(id, _)| id.clone()).collect();
        let functions: Vec<String> =
            chosen.iter().map(|mapping| mapping.function.logical_id.clone()).collect();
        known(&overridden, &functions, "--function-name")?;

        let mut plans = Self { plans: Vec::new(), notes: template.warnings };
        plans.notes.extend(template.disabled.iter().map(|id| format!("{id} is disabled and not run")));
        let brokers = cli.kafka.as_deref().map(Brokers::of_url).transpose()?;
        let share = (MOST_INVOCATIONS / chosen.len()).max(1);
        // What would only wait for its turn is not taken yet: so it still grows, and stays in its partition's order.
        let concurrency = usize::from(cli.concurrency).min(share).min(cli.calls_at_once().unwrap_or(share));
        for mapping in chosen {
            let plan = Plan::of(mapping, cli, brokers.as_ref(), concurrency, &mut plans.notes)?;
            plans.plans.push(plan);
        }
        Ok(plans)
    }
}

/// Of what `--mapping` may choose by.
fn ids(mapping: &KafkaMapping) -> Vec<String> {
    vec![mapping.logical_id.clone(), mapping.function.logical_id.clone()]
}

fn ids_of_refused(refused: &Refused) -> Vec<String> {
    [Some(refused.logical_id.clone()), refused.function.clone()].into_iter().flatten().collect()
}

fn names(mappings: &[KafkaMapping], refused: &[Refused]) -> Vec<String> {
    mappings.iter().flat_map(ids).chain(refused.iter().flat_map(ids_of_refused)).collect()
}

/// All are chosen where none is.
fn is_chosen(chosen: &[String], ids: Vec<String>) -> bool {
    chosen.is_empty() || ids.iter().any(|id| chosen.contains(id))
}

/// Says what is wrong with all that should be run and can't be; the rest need not be right.
fn refuse(refused: Vec<Refused>, others_can: bool, cli: &Cli) -> anyhow::Result<()> {
    let chosen = refused.into_iter().filter(|refused| is_chosen(&cli.mappings, ids_of_refused(refused)));
    let problems: Vec<String> = chosen.map(|refused| refused.error.to_string()).collect();
    if problems.is_empty() {
        return Ok(());
    }
    let others = if others_can { "\n--mapping NAME runs others without it" } else { "" };
    bail!("{}: {}{others}", cli.template.display(), problems.join("\n"))
}

fn known(given: &[String], there: &[String], flag: &str) -> anyhow::Result<()> {
    let Some(unknown) = given.iter().find(|name| !there.contains(name)) else { return Ok(()) };
    let mut there: Vec<&str> = there.iter().map(String::as_str).collect();
    there.sort_unstable();
    there.dedup();
    bail!("{flag} names {unknown}, which the template does not run; it has {}", there.join(", "))
}

impl Plan {
    fn of(
        mapping: KafkaMapping,
        cli: &Cli,
        brokers: Option<&Brokers>,
        concurrency: usize,
        notes: &mut Vec<String>,
    ) -> anyhow::Result<Self> {
        let logical_id = &mapping.logical_id;
        let brokers = match brokers {
            Some(brokers) => brokers.clone(),
            None => templates_brokers(&mapping)?,
        };
        let destination = destination(&mapping, &brokers, notes);
        let timeout = cli.timeout.unwrap_or(mapping.function.timeout);
        let function = FunctionAddress {
            names: invoke_names(&mapping.function, cli),
            qualifier: mapping.function.qualifier.clone(),
            timeout,
            first_answer: cli.first_answer,
            report_batch_item_failures: mapping.mapping.report_batch_item_failures,
        };
        let group = match &mapping.consumer_group {
            Some(group) => format!("{}{group}", cli.group_prefix),
            None => format!("{}kafka-trigger.{logical_id}", cli.group_prefix),
        };
        let mut event_source = mapping.mapping.event_source.clone();
        event_source.bootstrap_servers.get_or_insert_with(|| brokers.servers().to_owned());
        Ok(Self {
            url: brokers.url(&mapping.topic),
            group,
            beginning: beginning(mapping.starting_position),
            function_arn: function_arn(&mapping.function, &cli.parameters),
            function,
            destination,
            mapping: Mapping {
                event_source,
                window: cli.window.unwrap_or(mapping.mapping.window),
                concurrency,
                drain: cli.drain,
                ..mapping.mapping
            },
            topic: mapping.topic,
            logical_id: mapping.logical_id,
        })
    }
}

/// Brokers that need no login can be taken from the template; a login is kept where no template shows it.
fn templates_brokers(mapping: &KafkaMapping) -> anyhow::Result<Brokers> {
    let KafkaMapping { logical_id, bootstrap_servers, cluster_arn, access, .. } = mapping;
    let login = access.iter().find(|(kind, _)| !kind.starts_with("VPC_"));
    match (bootstrap_servers, login) {
        (Some(servers), None) => Ok(Brokers::of_servers(servers)),
        (Some(servers), Some((kind, uri))) => bail!(
            "{logical_id} shows itself to its brokers by {kind} ({uri}), which is not read from here; give them with \
             --kafka 'kafka://user:password@{servers}'"
        ),
        (None, _) => {
            let cluster = cluster_arn.as_ref().map(|arn| format!(" ({arn})")).unwrap_or_default();
            bail!(
                "the template does not say where the brokers of {logical_id}{cluster} are; give them with --kafka kafka://host:port"
            )
        }
    }
}

fn destination(mapping: &KafkaMapping, brokers: &Brokers, notes: &mut Vec<String>) -> Destination {
    let logical_id = &mapping.logical_id;
    let Some(said) = &mapping.on_failure else { return Destination::None };
    let Some(topic) = said.strip_prefix("kafka://") else {
        notes.push(format!(
            "{logical_id} has the failure destination {said}, which is not reached from here: records that are given up are printed"
        ));
        return Destination::OutOfReach(said.clone());
    };
    Destination::Topic { name: topic.to_owned(), url: brokers.url(topic) }
}

fn invoke_names(function: &Function, cli: &Cli) -> Vec<String> {
    let given: BTreeMap<&str, &str> =
        cli.function_names.iter().map(|(id, name)| (id.as_str(), name.as_str())).collect();
    if let Some(name) = given.get(function.logical_id.as_str()) {
        return vec![(*name).to_owned()];
    }
    let binary = function.binary.as_deref().filter(|_| cli.invoke != "aws");
    let mut names: Vec<String> = Vec::new();
    for name in [binary, function.name.as_deref(), Some(&function.logical_id)].into_iter().flatten() {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

fn beginning(position: StartingPosition) -> Beginning {
    match position {
        StartingPosition::TrimHorizon => Beginning::Oldest,
        StartingPosition::Latest => Beginning::Newest,
        StartingPosition::AtTimestamp(milliseconds) => Beginning::At(milliseconds),
    }
}

fn function_arn(function: &Function, parameters: &[(String, String)]) -> String {
    let parameter = |name: &str, default: &'static str| {
        let given = parameters.iter().rev().find(|(known, _)| known == name);
        given.map_or(default, |(_, value)| value).to_owned()
    };
    let (region, account) =
        (parameter("AWS::Region", "us-east-1"), parameter("AWS::AccountId", "123456789012"));
    let version = function.qualifier.as_deref().unwrap_or("$LATEST");
    format!("arn:aws:lambda:{region}:{account}:function:{}:{version}", function.invoke_name())
}

/// For a line that says what is run.
pub(crate) fn window(window: Duration) -> String {
    if window.is_zero() { "no window".to_owned() } else { format!("a window of {} ms", window.as_millis()) }
}

#[cfg(test)]
mod tests;

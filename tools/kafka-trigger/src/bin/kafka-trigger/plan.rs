//! Turns a template and the flags into plans: the mappings to run, and their settings. Pure. It refuses what it can. `serve`
//! opens the endpoint, the registries and the channels, and refuses those that can't be used.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use event_channel::Beginning;
use event_source_mapping::Mapping;
use kafka_trigger::failure_destination::{AwsResource, BaseUrl};
use kafka_trigger::invoke::FunctionAddress;
use kafka_trigger::template::{
    DisabledMapping, ExcludedMapping, Function, KafkaMapping, RefusedMapping, StartingPosition, Template,
};

use crate::brokers::Brokers;
use crate::cli::Cli;
use crate::registry::PlannedRegistry;

/// The most invocations at once, for all mappings together. With more than about a hundred, `cargo lambda watch` stops answering.
const MOST_INVOCATIONS: usize = 64;

/// A mapping to run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) beginning: Beginning,
    /// All settings but the decoder, the invocation timeout, the observer and the handler of failures. `serve` adds those.
    pub(crate) mapping: Mapping,
    pub(crate) function: FunctionAddress,
    pub(crate) function_arn: String,
    /// `AWS::Region`.
    pub(crate) region: String,
    pub(crate) destination: Destination,
    /// The brokers, or a message that says how to give them.
    pub(crate) brokers: Result<Brokers, String>,
    /// The schema registry, if the mapping has one.
    pub(crate) registry: Option<PlannedRegistry>,
    /// The mapping as the template declares it.
    pub(crate) template: KafkaMapping,
}

/// The failure destination of a mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    None,
    /// A topic of the mapping's brokers.
    Topic(String),
    /// A queue, an SNS topic or a bucket, and its address.
    At(AwsResource, BaseUrl),
    /// An ARN without a URL.
    OutOfReach(String),
}

/// The mappings to run.
#[derive(Debug)]
pub(crate) struct Plans {
    pub(crate) plans: Vec<Plan>,
}

impl Plans {
    /// Plans the mappings of a template. Writes messages for the user into `notes`, also when it returns an error.
    pub(crate) fn of(template: Template, cli: &Cli, notes: &mut Vec<String>) -> anyhow::Result<Self> {
        let Template { mappings: mut chosen, mut refused, disabled, excluded, warnings } = template;
        notes.extend(warnings);
        if let Some(excluded) = excluded.iter().find(|excluded| cli.mappings.contains(&excluded.logical_id)) {
            let ExcludedMapping { logical_id, condition } = excluded;
            bail!(
                "--mapping names {logical_id}, which is not there: its condition {condition} does not hold"
            );
        }
        let names = names(&chosen, &refused).chain(disabled.iter().map(|one| one.logical_id.clone()));
        known(&cli.mappings, &names.collect::<Vec<_>>(), "--mapping")?;
        let reasons = reasons(&disabled, &excluded);
        for DisabledMapping { logical_id, function, mapping } in disabled {
            if !cli.mappings.contains(&logical_id) {
                notes.push(format!("{logical_id} is disabled and not run; --mapping {logical_id} runs it"));
                continue;
            }
            notes.push(format!(
                "{logical_id} is disabled in the template; it runs because --mapping names it"
            ));
            match mapping {
                Ok(mapping) => chosen.push(mapping),
                Err(error) => refused.push(RefusedMapping { logical_id, function, error }),
            }
        }
        let is_absent = |ExcludedMapping { logical_id, condition }: &ExcludedMapping| {
            format!("{logical_id} is not run: its condition {condition} does not hold")
        };
        notes.extend(excluded.iter().map(is_absent));
        chosen.retain(|mapping| is_chosen(&cli.mappings, ids(mapping)));
        refuse(refused, !chosen.is_empty(), cli)?;
        if chosen.is_empty() {
            let why =
                if notes.is_empty() { "" } else { "; the notes say what of it is not followed or not run" };
            bail!(
                "nothing to run: the template has no Kafka event source mapping that is enabled{reasons}{why}"
            );
        }
        let overridden: Vec<String> = cli.function_names.iter().map(|(id, _)| id.clone()).collect();
        let functions: Vec<String> =
            chosen.iter().map(|mapping| mapping.function.logical_id.clone()).collect();
        known(&overridden, &functions, "--function-name")?;
        check_destinations(&chosen, cli)?;

        let brokers = cli.kafka.as_deref().map(Brokers::of_url).transpose()?;
        let share = (MOST_INVOCATIONS / chosen.len()).max(1);
        // A batch that would only wait for its turn is not taken yet. So it still grows, and stays in its partition's order.
        let concurrency = usize::from(cli.concurrency).min(share).min(cli.calls_at_once().unwrap_or(share));
        let plan = |mapping| Plan::of(mapping, cli, brokers.as_ref(), concurrency, notes);
        let plans = chosen.into_iter().map(plan).collect::<anyhow::Result<Vec<Plan>>>()?;
        notes.extend(shared_groups(&plans));
        if cli.registry.is_some() && plans.iter().all(|plan| plan.registry.is_none()) {
            notes
                .push("--registry has no effect: no mapping that runs has a SchemaRegistryConfig".to_owned());
        }
        Ok(Self { plans })
    }
}

/// Returns the reasons why nothing is run, as far as the template's mappings explain it.
fn reasons(disabled: &[DisabledMapping], excluded: &[ExcludedMapping]) -> String {
    let mut reasons = String::new();
    if !disabled.is_empty() {
        let names: Vec<&str> = disabled.iter().map(|one| one.logical_id.as_str()).collect();
        reasons.push_str(&format!("; disabled, and run with --mapping NAME: {}", names.join(", ")));
    }
    if !excluded.is_empty() {
        let names: Vec<String> =
            excluded.iter().map(|one| format!("{} ({})", one.logical_id, one.condition)).collect();
        reasons.push_str(&format!("; not there, because their conditions do not hold: {}", names.join(", ")));
    }
    reasons
}

/// Returns a note for each set of mappings that read a topic as one group, because they share its records.
fn shared_groups(plans: &[Plan]) -> Vec<String> {
    let mut by_place: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for Plan { template, mapping, .. } in plans {
        by_place.entry((&template.topic, &mapping.group)).or_default().push(&template.logical_id);
    }
    let shared = by_place.into_iter().filter(|(_, mappings)| mappings.len() > 1);
    shared
        .map(|((topic, group), mappings)| {
            let mappings = mappings.join(" and ");
            format!(
                "{mappings} read the topic {topic} as one group, {group}: each record goes to one of them alone; \
                 give each a ConsumerGroupId of its own"
            )
        })
        .collect()
}

/// The names by which `--mapping` selects a mapping.
fn ids(mapping: &KafkaMapping) -> Vec<String> {
    vec![mapping.logical_id.clone(), mapping.function.logical_id.clone()]
}

fn ids_of_refused(refused: &RefusedMapping) -> Vec<String> {
    [Some(refused.logical_id.clone()), refused.function.clone()].into_iter().flatten().collect()
}

fn names<'a>(
    mappings: &'a [KafkaMapping],
    refused: &'a [RefusedMapping],
) -> impl Iterator<Item = String> + use<'a> {
    mappings.iter().flat_map(ids).chain(refused.iter().flat_map(ids_of_refused))
}

/// Is a mapping with these names selected? If `--mapping` is not given, every mapping is.
fn is_chosen(chosen: &[String], ids: Vec<String>) -> bool {
    chosen.is_empty() || ids.iter().any(|id| chosen.contains(id))
}

/// Refuses to run if a selected mapping can't be followed, and reports the problems of all of those. The other mappings need not
/// be right.
fn refuse(refused: Vec<RefusedMapping>, others_can: bool, cli: &Cli) -> anyhow::Result<()> {
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
    bail!("{flag} names {unknown}, which the template does not run; it has {}", listed(there))
}

/// Each name once, in order.
fn listed(names: &[String]) -> String {
    let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}

/// Refuses a URL for a destination that no mapping has: most likely the name is misspelt.
fn check_destinations(chosen: &[KafkaMapping], cli: &Cli) -> anyhow::Result<()> {
    let is_of_aws = |name: &&String| !name.starts_with("kafka://");
    let of = |mapping: &KafkaMapping| -> Vec<String> {
        let arn = mapping.on_failure.iter().filter(is_of_aws);
        arn.chain(&mapping.on_failure_resource).cloned().collect()
    };
    let there: Vec<String> = chosen.iter().flat_map(of).collect();
    let Some((name, _)) = cli.destinations.iter().find(|(name, _)| !there.contains(name)) else {
        return Ok(());
    };
    let there = if there.is_empty() { "none that needs a URL".to_owned() } else { listed(&there) };
    bail!("--destination names {name}, which is not a failure destination of what is run; there is {there}")
}

impl Plan {
    fn of(
        template: KafkaMapping,
        cli: &Cli,
        brokers: Option<&Brokers>,
        concurrency: usize,
        notes: &mut Vec<String>,
    ) -> anyhow::Result<Self> {
        notes.extend(template.notes.iter().cloned());
        let brokers = brokers.map_or_else(|| templates_brokers(&template), |brokers| Ok(brokers.clone()));
        let destination = destination(&template, cli, notes)?;
        let registry = PlannedRegistry::of(&template, cli, notes);
        let function = FunctionAddress {
            names: invoke_names(&template.function, cli),
            qualifier: template.function.qualifier.clone(),
            timeout: template.function.timeout,
            first_answer: cli.first_answer,
            report_batch_item_failures: template.mapping.report_batch_item_failures,
        };
        let group = match &template.consumer_group {
            Some(group) => format!("{}{group}", cli.group_prefix),
            None => format!("{}kafka-trigger.{}", cli.group_prefix, template.logical_id),
        };
        let mut event_source = template.mapping.event_source.clone();
        if let Ok(brokers) = &brokers {
            event_source.bootstrap_servers.get_or_insert_with(|| brokers.servers().to_owned());
        }
        Ok(Self {
            brokers,
            beginning: beginning(template.starting_position),
            function_arn: function_arn(&template.function, &cli.parameters),
            region: pseudo_parameter("AWS::Region", &cli.parameters),
            function,
            destination,
            registry,
            mapping: Mapping {
                group,
                event_source,
                window: cli.window.unwrap_or(template.mapping.window),
                concurrency,
                drain: cli.drain,
                ..template.mapping.clone()
            },
            template,
        })
    }

    /// Returns the URL of a topic on the mapping's brokers.
    ///
    /// # Errors
    /// When the brokers are not known.
    pub(crate) fn url(&self, topic: &str) -> anyhow::Result<String> {
        self.brokers.as_ref().map(|brokers| brokers.url(topic)).map_err(|problem| anyhow!("{problem}"))
    }
}

/// Returns the template's brokers, if they need no login. A template names only the place where a login is stored.
///
/// # Errors
/// When the brokers need a login, or are not in the template. The error says how to give them.
fn templates_brokers(mapping: &KafkaMapping) -> Result<Brokers, String> {
    let KafkaMapping { logical_id, bootstrap_servers, cluster_arn, access, .. } = mapping;
    let login = access.iter().find(|(kind, _)| !kind.starts_with("VPC_"));
    match (bootstrap_servers, login) {
        (Some(servers), None) => Ok(Brokers::of_servers(servers)),
        (Some(servers), Some((kind, uri))) => Err(format!(
            "{logical_id} logs in to its brokers by {kind} ({uri}), which is not read from here; give the login with \
             --kafka 'kafka://user:password@{servers}'"
        )),
        (None, _) => {
            let cluster = cluster_arn.as_ref().map(|arn| format!(" ({arn})")).unwrap_or_default();
            Err(format!(
                "the template does not say where the brokers of {logical_id}{cluster} are; give them with --kafka host:port"
            ))
        }
    }
}

fn destination(mapping: &KafkaMapping, cli: &Cli, notes: &mut Vec<String>) -> anyhow::Result<Destination> {
    let KafkaMapping { logical_id, on_failure, on_failure_resource, .. } = mapping;
    let Some(name) = on_failure else { return Ok(Destination::None) };
    if let Some(topic) = name.strip_prefix("kafka://") {
        return Ok(Destination::Topic(topic.to_owned()));
    }
    let is_it = |given: &str| given == name || on_failure_resource.as_deref() == Some(given);
    // If the flag is given twice for a destination, the last one counts.
    let url = cli.destinations.iter().rev().find(|(given, _)| is_it(given)).map(|(_, url)| url);
    if let Some(url) = url {
        let resource = name.parse().with_context(|| logical_id.clone())?;
        return Ok(Destination::At(resource, url.clone()));
    }
    let remedy = match (on_failure_resource, name.starts_with("arn:")) {
        (Some(id), _) => format!("--destination {id}=URL gives it one"),
        (None, true) => format!("--destination {name}=URL gives it one"),
        (None, false) => {
            "its ARN is not known here; --parameter gives it, and --destination ARN=URL where that is"
                .to_owned()
        }
    };
    notes.push(format!(
        "{logical_id} has the failure destination {name}, which has no URL: records that are given up are printed, with where they \
         were; {remedy}"
    ));
    Ok(Destination::OutOfReach(name.clone()))
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
    let (region, account) =
        (pseudo_parameter("AWS::Region", parameters), pseudo_parameter("AWS::AccountId", parameters));
    let version = function.qualifier.as_deref().unwrap_or("$LATEST");
    format!("arn:aws:lambda:{region}:{account}:function:{}:{version}", function.invoke_name())
}

fn pseudo_parameter(name: &str, parameters: &[(String, String)]) -> String {
    let given = parameters.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let default = if name == "AWS::Region" { "us-east-1" } else { "123456789012" };
    given.unwrap_or(default).to_owned()
}

/// The batch window, for the line that announces a mapping.
pub(crate) fn window(window: Duration) -> String {
    if window.is_zero() { "no window".to_owned() } else { format!("a window of {} ms", window.as_millis()) }
}

#[cfg(test)]
mod tests;

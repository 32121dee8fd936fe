//! Finds the Kafka event sources of a template, in the two ways that they are written: as `Events` of a SAM function, and as
//! resources of their own.

use super::error::TemplateError;
use super::evaluate::{Evaluated, Evaluator};
use super::field::{Field, trouble};
use super::functions::{self, SERVERLESS};
use super::kafka;
use super::node::{Map, Node};
use super::{Function, KafkaMapping, Refused, Template};

const MAPPING: &str = "AWS::Lambda::EventSourceMapping";

/// An event source, with what SAM and CloudFormation call differently under one name each.
pub(super) struct Source<'a> {
    /// The logical id that the mapping has in the stack.
    pub(super) id: String,
    pub(super) function: Function,
    pub(super) is_msk: bool,
    pub(super) properties: &'a Map,
    /// The cluster's ARN: what the property is called, and what stands there.
    pub(super) cluster: Field,
    pub(super) servers: Field,
    pub(super) group: Field,
    /// The names of its properties that only this way of writing has.
    pub(super) own_names: &'static [&'static str],
}

/// Reads every Kafka event source into `found`: those that can't be followed, with why.
pub(super) fn read(evaluator: &Evaluator<'_>, found: &mut Template) {
    for (id, resource) in functions::resources(evaluator) {
        match resource.get("Type").and_then(Node::text) {
            Some(SERVERLESS) => serverless(evaluator, id, resource, found),
            Some(MAPPING) => {
                let function = || function_of(evaluator, id, resource);
                or_refuse(plain(evaluator, id, resource, found), id.clone(), function, found);
            }
            Some(kind @ ("AWS::CloudFormation::Stack" | "AWS::Serverless::Application")) => {
                found.warnings.push(format!("{id}: templates of a nested {kind} are not read; give theirs"));
            }
            None if id.starts_with("Fn::") => {
                found.warnings.push(format!("{id}: resources that a macro makes are not read"));
            }
            _ => {}
        }
    }
}

fn or_refuse(
    read: Result<Option<KafkaMapping>, TemplateError>,
    logical_id: String,
    function: impl FnOnce() -> Option<String>,
    found: &mut Template,
) {
    match read {
        Ok(mapping) => found.mappings.extend(mapping),
        Err(error) => found.refused.push(Refused { logical_id, function: function(), error }),
    }
}

fn serverless(evaluator: &Evaluator<'_>, id: &str, resource: &Node, found: &mut Template) {
    for (name, event) in resource.at(&["Properties", "Events"]).and_then(Node::map).into_iter().flatten() {
        let read = serverless_event(evaluator, (id, resource), (name, event), found);
        or_refuse(read, format!("{id}{name}"), || Some(id.to_owned()), found);
    }
}

/// A mapping, if it is one and to be run.
fn serverless_event(
    evaluator: &Evaluator<'_>,
    (id, resource): (&str, &Node),
    (name, event): (&str, &Node),
    found: &mut Template,
) -> Result<Option<KafkaMapping>, TemplateError> {
    let place = || format!("Events.{name}");
    let chosen = chosen(evaluator, event).map_err(|problem| trouble(id, &place(), problem))?;
    let Some(event) = chosen else { return Ok(None) };
    let kind = event.get("Type").and_then(Node::text);
    let Some(kind) = kind.filter(|kind| matches!(*kind, "MSK" | "SelfManagedKafka")) else { return Ok(None) };
    if !functions::holds(evaluator, resource).map_err(|problem| trouble(id, "Condition", problem))? {
        return Ok(None);
    }
    let id_of_mapping = format!("{id}{name}");
    let properties = match event.get("Properties") {
        Some(node) => chosen_map(evaluator, &id_of_mapping, node)?,
        None => None,
    };
    let Some(properties) = properties else {
        let field = Field::read(evaluator, &id_of_mapping, "Properties", None)?;
        return Err(field.missing("a map"));
    };
    if is_disabled(evaluator, &id_of_mapping, properties)? {
        found.disabled.push(id_of_mapping);
        return Ok(None);
    }
    let field = |name: &str| Field::read(evaluator, &id_of_mapping, name, properties.get(name));
    let source = Source {
        function: functions::read(evaluator, id, resource)?,
        is_msk: kind == "MSK",
        properties,
        cluster: field("Stream")?,
        servers: field("KafkaBootstrapServers")?,
        group: field("ConsumerGroupId")?,
        own_names: &["Stream", "KafkaBootstrapServers", "ConsumerGroupId"],
        id: id_of_mapping,
    };
    kafka::mapping(evaluator, source, &mut found.warnings).map(Some)
}

fn plain(
    evaluator: &Evaluator<'_>,
    id: &str,
    resource: &Node,
    found: &mut Template,
) -> Result<Option<KafkaMapping>, TemplateError> {
    let Some(properties) = resource.get("Properties") else { return Ok(None) };
    let Some(properties) = chosen_map(evaluator, id, properties)? else { return Ok(None) };
    if !is_kafka(properties)
        || !functions::holds(evaluator, resource).map_err(|problem| trouble(id, "Condition", problem))?
    {
        return Ok(None);
    }
    if is_disabled(evaluator, id, properties)? {
        found.disabled.push(id.to_owned());
        return Ok(None);
    }
    let field = |name: &str| Field::read(evaluator, id, name, properties.get(name));
    let self_managed = field("SelfManagedEventSource")?;
    let is_msk = self_managed.is_absent();
    let config = match is_msk {
        true => field("AmazonManagedKafkaEventSourceConfig")?,
        false => field("SelfManagedKafkaEventSourceConfig")?,
    };
    let source = Source {
        id: id.to_owned(),
        function: named_function(evaluator, id, properties)?,
        is_msk,
        properties,
        cluster: field("EventSourceArn")?,
        servers: self_managed.get("Endpoints")?.get("KafkaBootstrapServers")?,
        group: config.get("ConsumerGroupId")?,
        own_names: &[
            "AmazonManagedKafkaEventSourceConfig",
            "EventSourceArn",
            "FunctionName",
            "SelfManagedEventSource",
            "SelfManagedKafkaEventSourceConfig",
        ],
    };
    kafka::mapping(evaluator, source, &mut found.warnings).map(Some)
}

fn named_function(evaluator: &Evaluator<'_>, id: &str, properties: &Map) -> Result<Function, TemplateError> {
    let function = Field::read(evaluator, id, "FunctionName", properties.get("FunctionName"))?;
    let allowed = "the name or ARN of a function, or a Ref to it";
    match function.text(allowed)?.filter(|name| !name.is_empty()) {
        Some(name) => functions::named(evaluator, name)?.ok_or_else(|| function.not_allowed(allowed)),
        None => Err(function.missing(allowed)),
    }
}

/// The logical id of the function of a mapping of which something else may be wrong.
fn function_of(evaluator: &Evaluator<'_>, id: &str, resource: &Node) -> Option<String> {
    let properties = chosen_map(evaluator, id, resource.get("Properties")?).ok()??;
    named_function(evaluator, id, properties).ok().map(|function| function.logical_id)
}

/// Only Kafka has these; of a cluster's ARN alone too little is known before it is deployed.
fn is_kafka(properties: &Map) -> bool {
    let of_kafka = [
        "AmazonManagedKafkaEventSourceConfig",
        "SelfManagedEventSource",
        "SelfManagedKafkaEventSourceConfig",
        "Topics",
    ];
    let arn = properties.get("EventSourceArn").and_then(Node::text);
    of_kafka.iter().any(|name| properties.contains_key(*name))
        || arn.is_some_and(|arn| arn.contains(":kafka:"))
}

fn is_disabled(evaluator: &Evaluator<'_>, id: &str, properties: &Map) -> Result<bool, TemplateError> {
    let enabled = Field::read(evaluator, id, "Enabled", properties.get("Enabled"))?.boolean()?;
    Ok(enabled == Some(false))
}

/// The part that is there once the `Fn::If`s around it are decided; none when that is `AWS::NoValue`.
fn chosen<'n>(evaluator: &Evaluator<'_>, mut node: &'n Node) -> Evaluated<Option<&'n Node>> {
    while let Some(("Fn::If", given)) = node.intrinsic() {
        let [condition, yes, no] = evaluator.arguments(given, node, "a condition and two values")?;
        node = if evaluator.condition(condition.text().unwrap_or_default())? { yes } else { no };
    }
    let nothing = node.get("Ref").and_then(Node::text) == Some("AWS::NoValue");
    Ok(Some(node).filter(|node| !nothing && **node != Node::Null))
}

fn chosen_map<'n>(
    evaluator: &Evaluator<'_>,
    id: &str,
    node: &'n Node,
) -> Result<Option<&'n Map>, TemplateError> {
    let chosen = chosen(evaluator, node).map_err(|problem| trouble(id, "Properties", problem))?;
    match chosen.map(|chosen| (chosen, chosen.map())) {
        None => Ok(None),
        Some((_, Some(map))) => Ok(Some(map)),
        Some((other, None)) => Err(TemplateError::Value {
            resource: id.to_owned(),
            property: "Properties".to_owned(),
            found: other.to_string(),
            allowed: "a map".to_owned(),
        }),
    }
}

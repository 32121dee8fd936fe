//! Finds the Kafka event sources of a template, in the two ways that they are written: as `Events` of a SAM function, and as
//! resources of their own.

use super::error::TemplateError;
use super::evaluate::{Evaluated, Evaluator};
use super::field::{Field, trouble};
use super::functions::{self, SERVERLESS};
use super::kafka;
use super::node::{Map, Node};
use super::{Function, Template};

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

/// Reads every Kafka event source into `found`.
pub(super) fn read(evaluator: &Evaluator<'_>, found: &mut Template) -> Result<(), TemplateError> {
    for (id, resource) in functions::resources(evaluator) {
        match resource.get("Type").and_then(Node::text) {
            Some(SERVERLESS) => serverless(evaluator, id, resource, found)?,
            Some(MAPPING) => plain(evaluator, id, resource, found)?,
            Some(kind @ ("AWS::CloudFormation::Stack" | "AWS::Serverless::Application")) => {
                found.warnings.push(format!("{id}: templates of a nested {kind} are not read; give theirs"));
            }
            None if id.starts_with("Fn::") => {
                found.warnings.push(format!("{id}: resources that a macro makes are not read"));
            }
            _ => {}
        }
    }
    Ok(())
}

fn serverless(
    evaluator: &Evaluator<'_>,
    id: &str,
    resource: &Node,
    found: &mut Template,
) -> Result<(), TemplateError> {
    let place = |property: &str| format!("Events.{property}");
    for (name, event) in resource.at(&["Properties", "Events"]).and_then(Node::map).into_iter().flatten() {
        let chosen = chosen(evaluator, event).map_err(|problem| trouble(id, &place(name), problem))?;
        let Some(event) = chosen else { continue };
        let kind = event.get("Type").and_then(Node::text);
        let Some(kind) = kind.filter(|kind| matches!(*kind, "MSK" | "SelfManagedKafka")) else { continue };
        if !functions::holds(evaluator, resource).map_err(|problem| trouble(id, "Condition", problem))? {
            return Ok(());
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
            continue;
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
        found.mappings.push(kafka::mapping(evaluator, source, &mut found.warnings)?);
    }
    Ok(())
}

fn plain(
    evaluator: &Evaluator<'_>,
    id: &str,
    resource: &Node,
    found: &mut Template,
) -> Result<(), TemplateError> {
    let Some(properties) = resource.get("Properties") else { return Ok(()) };
    let Some(properties) = chosen_map(evaluator, id, properties)? else { return Ok(()) };
    if !is_kafka(properties)
        || !functions::holds(evaluator, resource).map_err(|problem| trouble(id, "Condition", problem))?
    {
        return Ok(());
    }
    if is_disabled(evaluator, id, properties)? {
        found.disabled.push(id.to_owned());
        return Ok(());
    }
    let field = |name: &str| Field::read(evaluator, id, name, properties.get(name));
    let function = field("FunctionName")?;
    let allowed = "the name or ARN of a function, or a Ref to it";
    let Some(name) = function.text(allowed)?.filter(|name| !name.is_empty()) else {
        return Err(function.missing(allowed));
    };
    let self_managed = field("SelfManagedEventSource")?;
    let is_msk = self_managed.is_absent();
    let config = match is_msk {
        true => field("AmazonManagedKafkaEventSourceConfig")?,
        false => field("SelfManagedKafkaEventSourceConfig")?,
    };
    let source = Source {
        id: id.to_owned(),
        function: functions::named(evaluator, name)?,
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
    found.mappings.push(kafka::mapping(evaluator, source, &mut found.warnings)?);
    Ok(())
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

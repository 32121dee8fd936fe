//! Finds the Kafka event sources of a template. They are written in two ways: as `Events` of a SAM function, and as resources of
//! their own.

use super::error::TemplateError;
use super::evaluate::{EvalResult, Evaluator};
use super::field::{Field, trouble};
use super::functions::{self, SERVERLESS};
use super::kafka::{self, Source};
use super::keys;
use super::node::{Map, Node};
use super::value::shorten;
use super::{DisabledMapping, ExcludedMapping, Function, KafkaMapping, RefusedMapping, Template};

const MAPPING: &str = "AWS::Lambda::EventSourceMapping";

/// Reads every Kafka event source into `found`. A source that can't be followed is there with the reason.
pub(super) fn read(evaluator: &Evaluator<'_>, found: &mut Template) {
    for (id, resource) in functions::resources(evaluator) {
        match resource.get("Type").and_then(Node::text) {
            Some(SERVERLESS) => serverless(evaluator, id, resource, found),
            Some(MAPPING) => plain(evaluator, id, resource, found),
            Some(kind @ ("AWS::CloudFormation::Stack" | "AWS::Serverless::Application")) => {
                let mut place = ["TemplateURL", "Location"].iter();
                let place = place.find_map(|name| resource.at(&["Properties", name]).and_then(Node::text));
                let place = place.map_or_else(|| "its template".to_owned(), shorten);
                found.warnings.push(format!(
                    "{id}: a nested stack ({kind}) is not followed; to run its mappings, give {place} with --template"
                ));
            }
            Some(kind) if kind.ends_with("::MODULE") => {
                found.warnings.push(format!("{id}: what the module {} makes is not read", shorten(kind)));
            }
            None if id == "Fn::Transform" => {
                found.warnings.push(format!("Resources.{id}: what an include or a macro adds is not read"));
            }
            _ => {}
        }
    }
}

/// A mapping's logical id, its function's logical id if that is known, and whether the mapping is enabled.
struct MappingPlace {
    logical_id: String,
    function: Option<String>,
    is_enabled: bool,
}

impl Template {
    fn put(&mut self, place: MappingPlace, read: Result<KafkaMapping, TemplateError>) {
        let MappingPlace { logical_id, function, is_enabled } = place;
        match (read, is_enabled) {
            (Ok(mapping), true) => self.mappings.push(mapping),
            (Err(error), true) => self.refused.push(RefusedMapping { logical_id, function, error }),
            (mapping, false) => self.disabled.push(DisabledMapping { logical_id, function, mapping }),
        }
    }

    fn refuse(&mut self, logical_id: String, function: Option<String>, error: TemplateError) {
        self.refused.push(RefusedMapping { logical_id, function, error });
    }
}

fn serverless(evaluator: &Evaluator<'_>, id: &str, resource: &Node, found: &mut Template) {
    let Some(events) = resource.at(&["Properties", "Events"]) else { return };
    let are_kafka = |events: &Node| {
        let events = events.map().into_iter().flatten();
        events.flat_map(|(_, event)| branches(event)).any(is_kafka_event)
    };
    if !branches(events).into_iter().any(are_kafka) {
        return;
    }
    let events = match chosen(evaluator, events) {
        Ok(events) => events.and_then(Node::map),
        Err(problem) => {
            return found.refuse(id.to_owned(), Some(id.to_owned()), trouble(id, "Events", problem));
        }
    };
    for (name, event) in events.into_iter().flatten() {
        if name.starts_with("Fn::") {
            found.warnings.push(format!("{id}: what Events.{} makes is not read", shorten(name)));
        }
        if !branches(event).into_iter().any(is_kafka_event) {
            continue;
        }
        let logical_id = format!("{id}{name}");
        if let Err(error) = serverless_event(evaluator, (id, resource), (name, event), found) {
            found.refuse(logical_id, Some(id.to_owned()), error);
        }
    }
}

fn is_kafka_event(event: &Node) -> bool {
    matches!(event.get("Type").and_then(Node::text), Some("MSK" | "SelfManagedKafka"))
}

/// Adds the mapping of an event, if the event is of Kafka and exists. An error is about the parts that decide this, such as a
/// condition, `Properties` or `Enabled`. An error in another property is added with the mapping.
fn serverless_event(
    evaluator: &Evaluator<'_>,
    (id, resource): (&str, &Node),
    (name, event): (&str, &Node),
    found: &mut Template,
) -> Result<(), TemplateError> {
    let place = || format!("Events.{name}");
    let chosen = chosen(evaluator, event).map_err(|problem| trouble(id, &place(), problem))?;
    let Some(event) = chosen.filter(|event| is_kafka_event(event)) else { return Ok(()) };
    let id_of_mapping = format!("{id}{name}");
    if !is_there(evaluator, &id_of_mapping, (id, resource), found)? {
        return Ok(());
    }
    let around = keys::check(evaluator, &id_of_mapping, event.map().unwrap_or(&Map::new()), &[keys::EVENT])?;
    let properties = match event.get("Properties") {
        Some(node) => chosen_map(evaluator, &id_of_mapping, node)?,
        None => None,
    };
    let Some(properties) = properties else {
        let field = Field::read(evaluator, &id_of_mapping, "Properties", None)?;
        return Err(field.missing("a map"));
    };
    let read = || {
        let field = |name: &str| Field::read(evaluator, &id_of_mapping, name, properties.get(name));
        let source = Source {
            function: functions::read(evaluator, id, resource)?,
            is_msk: event.get("Type").and_then(Node::text) == Some("MSK"),
            properties,
            cluster: field("Stream")?,
            servers: field("KafkaBootstrapServers")?,
            group: field("ConsumerGroupId")?,
            registry: field("SchemaRegistryConfig")?,
            own_keys: keys::OF_SAM,
            id: id_of_mapping.clone(),
        };
        kafka::mapping(evaluator, source, around)
    };
    let is_enabled = is_enabled(evaluator, &id_of_mapping, properties)?;
    let place = MappingPlace { logical_id: id_of_mapping.clone(), function: Some(id.to_owned()), is_enabled };
    found.put(place, read());
    Ok(())
}

fn plain(evaluator: &Evaluator<'_>, id: &str, resource: &Node, found: &mut Template) {
    if let Err(error) = plain_mapping(evaluator, id, resource, found) {
        found.refuse(id.to_owned(), function_of(evaluator, id, resource), error);
    }
}

/// Adds a mapping, if it is of Kafka and exists. An error is about the parts that decide this, such as a condition, `Properties`
/// or `Enabled`. An error in another property is added with the mapping.
fn plain_mapping(
    evaluator: &Evaluator<'_>,
    id: &str,
    resource: &Node,
    found: &mut Template,
) -> Result<(), TemplateError> {
    let Some(properties) = resource.get("Properties") else { return Ok(()) };
    let is_one = |properties: &Node| properties.map().is_some_and(|map| is_kafka(evaluator, map));
    if !branches(properties).into_iter().any(is_one) || !is_there(evaluator, id, (id, resource), found)? {
        return Ok(());
    }
    let Some(properties) = chosen_map(evaluator, id, properties)?.filter(|map| is_kafka(evaluator, map))
    else {
        return Ok(());
    };
    let around = keys::check(evaluator, id, resource.map().unwrap_or(&Map::new()), &[keys::RESOURCE])?;
    let is_enabled = is_enabled(evaluator, id, properties)?;
    let place = MappingPlace {
        logical_id: id.to_owned(),
        function: function_of(evaluator, id, resource),
        is_enabled,
    };
    found.put(
        place,
        plain_source(evaluator, id, properties).and_then(|source| kafka::mapping(evaluator, source, around)),
    );
    Ok(())
}

fn plain_source<'a>(
    evaluator: &Evaluator<'_>,
    id: &str,
    properties: &'a Map,
) -> Result<Source<'a>, TemplateError> {
    let field = |name: &str| Field::read(evaluator, id, name, properties.get(name));
    let self_managed = field("SelfManagedEventSource")?;
    let is_msk = self_managed.is_absent();
    let config = match is_msk {
        true => field("AmazonManagedKafkaEventSourceConfig")?,
        false => field("SelfManagedKafkaEventSourceConfig")?,
    };
    Ok(Source {
        id: id.to_owned(),
        function: named_function(evaluator, id, properties)?,
        is_msk,
        properties,
        cluster: field("EventSourceArn")?,
        servers: self_managed.get("Endpoints")?.get("KafkaBootstrapServers")?,
        group: config.get("ConsumerGroupId")?,
        registry: config.get("SchemaRegistryConfig")?,
        own_keys: keys::OF_RESOURCE,
    })
}

/// Does the resource's condition hold? If it does not, the mapping is added to the excluded ones.
fn is_there(
    evaluator: &Evaluator<'_>,
    mapping: &str,
    (id, resource): (&str, &Node),
    found: &mut Template,
) -> Result<bool, TemplateError> {
    let holds = functions::holds(evaluator, resource).map_err(|problem| trouble(id, "Condition", problem))?;
    if !holds {
        let condition = resource.get("Condition").map(ToString::to_string).unwrap_or_default();
        found.excluded.push(ExcludedMapping { logical_id: mapping.to_owned(), condition });
    }
    Ok(holds)
}

fn named_function(evaluator: &Evaluator<'_>, id: &str, properties: &Map) -> Result<Function, TemplateError> {
    let function = Field::read(evaluator, id, "FunctionName", properties.get("FunctionName"))?;
    let allowed = "the name or ARN of a function, or a Ref to it";
    match function.text(allowed)?.filter(|name| !name.is_empty()) {
        Some(name) => functions::named(evaluator, name)?.ok_or_else(|| function.not_allowed(allowed)),
        None => Err(function.missing(allowed)),
    }
}

/// Returns the logical id of a mapping's function, also if another part of the mapping is wrong.
fn function_of(evaluator: &Evaluator<'_>, id: &str, resource: &Node) -> Option<String> {
    let properties = chosen_map(evaluator, id, resource.get("Properties")?).ok()??;
    named_function(evaluator, id, properties).ok().map(|function| function.logical_id)
}

/// Is this a mapping of Kafka? Only Kafka has these properties, or the ARN of a cluster.
fn is_kafka(evaluator: &Evaluator<'_>, properties: &Map) -> bool {
    let of_kafka = [
        "AmazonManagedKafkaEventSourceConfig",
        "SelfManagedEventSource",
        "SelfManagedKafkaEventSourceConfig",
        "Topics",
    ];
    let has_cluster = || {
        let arn = properties.get("EventSourceArn").map(|arn| evaluator.text(arn));
        matches!(arn, Some(Ok(arn)) if arn.contains(":kafka:"))
    };
    of_kafka.iter().any(|name| properties.contains_key(*name)) || has_cluster()
}

fn is_enabled(evaluator: &Evaluator<'_>, id: &str, properties: &Map) -> Result<bool, TemplateError> {
    let enabled = Field::read(evaluator, id, "Enabled", properties.get("Enabled"))?.boolean()?;
    Ok(enabled != Some(false))
}

/// Returns all the values that a part may have, for any conditions of the `Fn::If`s around it.
fn branches(node: &Node) -> Vec<&Node> {
    let mut branches = vec![node];
    let mut place = 0;
    while let Some(node) = branches.get(place) {
        match node.intrinsic() {
            Some(("Fn::If", Node::List(given))) => {
                branches.swap_remove(place);
                branches.extend(given.iter().skip(1));
            }
            _ => place += 1,
        }
    }
    branches
}

/// Returns the part that the conditions of the `Fn::If`s around it select. Returns `None` if that is `AWS::NoValue` or null.
fn chosen<'n>(evaluator: &Evaluator<'_>, mut node: &'n Node) -> EvalResult<Option<&'n Node>> {
    while let Some(("Fn::If", given)) = node.intrinsic() {
        let [condition, yes, no] = evaluator.arguments(given, node, "a condition and two values")?;
        node = if evaluator.condition(condition.text().unwrap_or_default())? { yes } else { no };
    }
    Ok(Some(node).filter(|node| !node.is_no_value() && **node != Node::Null))
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

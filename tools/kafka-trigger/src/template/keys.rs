//! The keys that a mapping's properties may have, at every depth. No key is ignored in silence. It is followed, or reported as
//! without effect here, or refused with the nearest right spelling.

use super::error::TemplateError;
use super::evaluate::Evaluator;
use super::node::{Map, Node};
use super::value::{Value, names, shorten};
use event_source_mapping::message::message;

/// The content that a key may have.
pub(super) enum Keys {
    /// A value that is followed.
    Value,
    Map(&'static [(&'static str, Keys)]),
    List(&'static Keys),
    /// Content without effect here. The keys within it are checked all the same.
    WithoutEffect(&'static Keys),
    /// Any content. It is not checked.
    Anything,
}

const IGNORED: Keys = Keys::WithoutEffect(&Keys::Anything);

/// The properties that both ways of writing a mapping have, as the AWS pages "AWS::Lambda::EventSourceMapping", "MSK" and
/// "SelfManagedKafka" list them. Properties of other sources have no effect, because Kafka does not take them.
pub(super) const COMMON: &[(&str, Keys)] = &[
    ("BatchSize", Keys::Value),
    ("BisectBatchOnFunctionError", Keys::Value),
    (
        "DestinationConfig",
        Keys::Map(&[
            ("OnFailure", Keys::Map(&[("Destination", Keys::Value), ("Type", IGNORED)])),
            ("OnSuccess", IGNORED),
        ]),
    ),
    ("DocumentDBEventSourceConfig", IGNORED),
    ("Enabled", Keys::Value),
    ("FilterCriteria", Keys::Map(&[("Filters", Keys::List(&Keys::Map(&[("Pattern", Keys::Value)])))])),
    ("FunctionResponseTypes", Keys::Value),
    ("KmsKeyArn", IGNORED),
    ("LoggingConfig", IGNORED),
    ("MaximumBatchingWindowInSeconds", Keys::Value),
    ("MaximumRecordAgeInSeconds", Keys::Value),
    ("MaximumRetryAttempts", Keys::Value),
    ("MetricsConfig", IGNORED),
    ("ParallelizationFactor", IGNORED),
    (
        "ProvisionedPollerConfig",
        Keys::Map(&[
            ("MaximumPollers", Keys::Value),
            ("MinimumPollers", Keys::Value),
            ("PollerGroupName", IGNORED),
        ]),
    ),
    ("Queues", IGNORED),
    ("ScalingConfig", IGNORED),
    ("SourceAccessConfigurations", Keys::List(&Keys::Map(&[("Type", Keys::Value), ("URI", Keys::Value)]))),
    ("StartingPosition", Keys::Value),
    ("StartingPositionTimestamp", Keys::Value),
    ("Tags", IGNORED),
    ("Topics", Keys::Value),
    ("TumblingWindowInSeconds", IGNORED),
];

const SCHEMA_REGISTRY: Keys = Keys::Map(&[
    ("AccessConfigs", Keys::List(&Keys::Map(&[("Type", Keys::Value), ("URI", Keys::Value)]))),
    ("EventRecordFormat", Keys::Value),
    ("SchemaRegistryURI", Keys::Value),
    ("SchemaValidationConfigs", Keys::List(&Keys::Map(&[("Attribute", Keys::Value)]))),
]);
const SOURCE_CONFIG: Keys =
    Keys::Map(&[("ConsumerGroupId", Keys::Value), ("SchemaRegistryConfig", SCHEMA_REGISTRY)]);

/// The properties of an event of a SAM function. SAM takes `SecretsManagerKmsKeyId` on Kafka's events too, for the function's
/// role.
pub(super) const OF_SAM: &[(&str, Keys)] = &[
    ("ConsumerGroupId", Keys::Value),
    ("KafkaBootstrapServers", Keys::Value),
    ("SchemaRegistryConfig", SCHEMA_REGISTRY),
    ("SecretsManagerKmsKeyId", IGNORED),
    ("Stream", Keys::Value),
];
/// The properties of a mapping that is a resource of its own.
pub(super) const OF_RESOURCE: &[(&str, Keys)] = &[
    ("AmazonManagedKafkaEventSourceConfig", SOURCE_CONFIG),
    ("EventSourceArn", Keys::Value),
    ("FunctionName", Keys::Value),
    (
        "SelfManagedEventSource",
        Keys::Map(&[("Endpoints", Keys::Map(&[("KafkaBootstrapServers", Keys::Value)]))]),
    ),
    ("SelfManagedKafkaEventSourceConfig", SOURCE_CONFIG),
];
/// The keys beside the properties of an event.
pub(super) const EVENT: &[(&str, Keys)] = &[("Properties", Keys::Anything), ("Type", Keys::Anything)];
/// The keys beside the properties of a resource.
pub(super) const RESOURCE: &[(&str, Keys)] = &[
    ("Condition", Keys::Anything),
    ("CreationPolicy", Keys::Anything),
    ("DeletionPolicy", Keys::Anything),
    ("DependsOn", Keys::Anything),
    ("Metadata", Keys::Anything),
    ("Properties", Keys::Anything),
    ("Type", Keys::Anything),
    ("UpdatePolicy", Keys::Anything),
    ("UpdateReplacePolicy", Keys::Anything),
];

/// Checks the keys, and returns the paths of those without effect.
///
/// # Errors
/// [`TemplateError::UnknownKeys`] when there are unknown keys. It names all of them.
pub(super) fn check(
    evaluator: &Evaluator<'_>,
    resource: &str,
    properties: &Map,
    known: &[&'static [(&'static str, Keys)]],
) -> Result<Vec<String>, TemplateError> {
    let mut found = KeyFindings::default();
    for (name, node) in properties.iter().filter(|(_, node)| **node != Node::Null) {
        if let Some(keys) = found.keys_of("", name, known) {
            found.look(evaluator, name, node, keys);
        }
    }
    if found.unknown.is_empty() {
        return Ok(found.without_effect);
    }
    let mut problem = found.unknown.join("; ");
    if !found.without_effect.is_empty() {
        problem.push_str(&format!("; without effect here: {}", found.without_effect.join(", ")));
    }
    Err(TemplateError::UnknownKeys { resource: resource.to_owned(), problem: message(&problem) })
}

#[derive(Default)]
struct KeyFindings {
    unknown: Vec<String>,
    without_effect: Vec<String>,
}

impl KeyFindings {
    /// Returns the content that a key may have. If the key is not known, records a problem. `Fn::…` is recorded as without
    /// effect.
    fn keys_of(
        &mut self,
        path: &str,
        name: &str,
        known: &[&'static [(&'static str, Keys)]],
    ) -> Option<&'static Keys> {
        let known = || known.iter().flat_map(|keys| keys.iter());
        if let Some((_, keys)) = known().find(|(known, _)| *known == name) {
            return Some(keys);
        }
        if name.starts_with("Fn::") {
            self.without_effect.push(format!("{path}{} (it is not followed)", shorten(name)));
            return None;
        }
        let known = known().map(|(known, _)| *known);
        let hint = match nearest(name, known.clone()) {
            Some(nearest) => format!("did you mean {path}{nearest}?"),
            None => format!("known are: {}", names(known)),
        };
        self.unknown.push(format!("{path}{} is not a known key; {hint}", shorten(name)));
        None
    }

    fn look(&mut self, evaluator: &Evaluator<'_>, path: &str, node: &Node, keys: &Keys) {
        match keys {
            Keys::Value | Keys::Anything => {}
            Keys::WithoutEffect(within) => {
                self.without_effect.push(path.to_owned());
                self.look(evaluator, path, node, within);
            }
            Keys::Map(_) | Keys::List(_) => {
                // A value that can't be evaluated is an error where it is needed, and not here.
                if let Ok(value) = evaluator.value(node) {
                    self.look_into(path, &value, keys);
                }
            }
        }
    }

    fn look_into(&mut self, path: &str, value: &Value, keys: &Keys) {
        match (keys, value) {
            (Keys::WithoutEffect(within), value) => {
                self.without_effect.push(path.to_owned());
                self.look_into(path, value, within);
            }
            (Keys::Map(known), Value::Map(map)) => {
                for (name, value) in map {
                    if let Some(keys) = self.keys_of(&format!("{path}."), name, &[known]) {
                        self.look_into(&format!("{path}.{name}"), value, keys);
                    }
                }
            }
            (Keys::List(element), Value::List(list)) => {
                for (place, value) in list.iter().enumerate() {
                    self.look_into(&format!("{path}[{place}]"), value, element);
                }
            }
            _ => {}
        }
    }
}

/// Returns the known name that is most similar to a misspelt one.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    /// The least similarity of a suggestion, from 0 to 1. Names that are less similar are not suggested.
    const LIKE: f64 = 0.6;
    let name = name.to_ascii_lowercase();
    let likeness = |known: &str| strsim::normalized_damerau_levenshtein(&name, &known.to_ascii_lowercase());
    let nearest =
        known.map(|known| (known, likeness(known))).max_by(|(_, one), (_, other)| one.total_cmp(other));
    nearest.filter(|(_, likeness)| *likeness >= LIKE).map(|(known, _)| known)
}

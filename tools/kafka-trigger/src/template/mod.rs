//! Reads the Kafka event source mappings of a SAM or CloudFormation template, so that another program can run them as AWS would.
//! Pure: it takes a text and parameters, and returns mappings. It uses no files, no clock and no environment.
//!
//! | module | task |
//! |---|---|
//! | `yaml`, `scalars`, `json`, `node` | parse the text into a tree, with limits on its depth and size |
//! | `loops` | unrolls `Fn::ForEach` in the tree |
//! | `parameters` | reads and checks the values of `Parameters` |
//! | `evaluate`, `intrinsics`, `references`, `resources`, `substitute`, `conditions` | turn parts of the tree into values |
//! | `functions` | finds the names, timeouts and binaries of functions |
//! | `sources`, `kafka`, `registry`, `keys`, `field`, `formats` | turn event sources into mappings |
//!
//! Only the parts that a Kafka mapping needs are evaluated, because a template may be full of values that only AWS knows. If a
//! needed value is not known, the error names it and says how to give it a value. Macros, includes and nested stacks are not
//! followed, and a warning says so.

mod conditions;
mod error;
mod evaluate;
mod field;
mod formats;
mod functions;
mod intrinsics;
mod json;
mod kafka;
mod keys;
mod loops;
mod node;
mod parameters;
mod references;
mod registry;
mod resources;
mod scalars;
mod sources;
mod substitute;
mod value;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use self::error::TemplateError;
use self::evaluate::Evaluator;
use self::node::Node;
pub use self::registry::{SchemaAttributes, SchemaRegistryConfig, SchemaRegistryUri};
use event_source_mapping::Mapping;

/// The options with which a template is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Values by name. A name is one of these:
    ///
    /// - a parameter
    /// - a pseudo parameter (`AWS::Region`)
    /// - a resource, for the value of its `Ref`
    /// - `Resource.Attribute`, for the value of its `Fn::GetAtt`
    /// - `ImportValue.NAME`
    /// - a dynamic reference as it is written (`{{resolve:ssm:/brokers}}`)
    pub parameters: BTreeMap<String, String>,
    /// Values of `Parameters` that replace their defaults. A name that the template does not have is not an error.
    pub defaults: BTreeMap<String, String>,
    /// The timeout of every function, in place of its `Timeout`. Then `Timeout` need not be known.
    pub timeout: Option<Duration>,
}

/// The Kafka event source mappings of a template.
#[derive(Clone, Debug, Default)]
pub struct Template {
    /// The mappings that are enabled and whose conditions hold, by logical id.
    pub mappings: Vec<KafkaMapping>,
    /// The mappings that can't be followed. They are a problem only for a caller who needs them.
    pub refused: Vec<RefusedMapping>,
    /// The mappings that are not enabled.
    pub disabled: Vec<DisabledMapping>,
    /// The mappings whose condition does not hold.
    pub excluded: Vec<ExcludedMapping>,
    /// The parts of the template that are not followed, or not as AWS would follow them: a sentence each.
    pub warnings: Vec<String>,
}

/// A Kafka event source mapping that is not enabled.
#[derive(Clone, Debug)]
pub struct DisabledMapping {
    /// Its logical id.
    pub logical_id: String,
    /// The logical id of its function, if it is known.
    pub function: Option<String>,
    /// The mapping as it would be if it were enabled, or the reason why it can't be followed.
    pub mapping: Result<KafkaMapping, TemplateError>,
}

/// A Kafka event source mapping that does not exist, because a condition does not hold.
#[derive(Clone, Debug)]
pub struct ExcludedMapping {
    /// Its logical id.
    pub logical_id: String,
    /// The condition's name.
    pub condition: String,
}

/// A Kafka event source mapping that can't be followed, because a part of it is wrong, or is needed and not known.
#[derive(Clone, Debug)]
pub struct RefusedMapping {
    /// Its logical id.
    pub logical_id: String,
    /// The logical id of its function, if it is known.
    pub function: Option<String>,
    /// The reason.
    pub error: TemplateError,
}

/// A Kafka event source mapping.
#[derive(Clone, Debug)]
pub struct KafkaMapping {
    /// Its logical id. For a SAM event it is the function's logical id, followed by the event's name.
    pub logical_id: String,
    /// The function that it invokes.
    pub function: Function,
    /// The topic that it reads.
    pub topic: String,
    /// `ConsumerGroupId`, if it is set.
    pub consumer_group: Option<String>,
    /// The position at which it begins to read partitions for which the consumer group has no offset.
    pub starting_position: StartingPosition,
    /// The failure destination: `kafka://topic` or an ARN. If only the deployed stack knows it, this is the text in the template,
    /// such as `!GetAtt Queue.Arn`.
    pub on_failure: Option<String>,
    /// The logical id of the resource whose ARN is `on_failure`, if the template has that resource.
    pub on_failure_resource: Option<String>,
    /// The brokers, comma separated. `None` for Amazon MSK, and if only the deployed stack knows them.
    pub bootstrap_servers: Option<String>,
    /// The cluster's ARN, for Amazon MSK. `None` if only the deployed stack knows it.
    pub cluster_arn: Option<String>,
    /// `SourceAccessConfigurations`: types and URIs, such as `SASL_SCRAM_512_AUTH` and the ARN of a secret. If only the deployed
    /// stack knows a URI, this is the text in the template.
    pub access: Vec<(String, String)>,
    /// `SchemaRegistryConfig`.
    pub schema_registry: Option<SchemaRegistryConfig>,
    /// `ProvisionedPollerConfig`.
    pub pollers: Option<Pollers>,
    /// `FilterCriteria`: the patterns, as they are written.
    pub filters: Vec<String>,
    /// The properties that are not followed as on AWS: a sentence each.
    pub notes: Vec<String>,
    /// The paths of properties that have no effect here.
    pub without_effect: Vec<String>,
    /// The names of the properties that the template sets. `ConsumerGroupId` and the function's `Timeout` are among them.
    pub set: BTreeSet<String>,
    /// The rest of its properties. Its concurrency, backoff, drain and failure handler have their defaults.
    pub mapping: Mapping,
}

/// A function, and the place of its code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its logical id. For a function that is not in the template, its name.
    pub logical_id: String,
    /// `FunctionName`, if it is set, known, and different from the logical id.
    pub name: Option<String>,
    /// The alias or version that is invoked.
    pub qualifier: Option<String>,
    /// The name of its binary, for cargo-lambda. It is `Metadata.BuildProperties.Binary`, or follows from the path in `CodeUri`.
    pub binary: Option<String>,
    /// `Metadata.BuildMethod`.
    pub build_method: Option<String>,
    /// `CodeUri`, if it is a path.
    pub code_uri: Option<String>,
    /// `Handler`.
    pub handler: Option<String>,
    /// `Timeout`, unless the caller gave a timeout. Without `Timeout` it is Lambda's default of 3 s. For a function that is not
    /// in the template it is Lambda's longest, 900 s.
    pub timeout: Duration,
    /// Does the template set the timeout?
    pub sets_timeout: bool,
}

impl Function {
    /// Returns the name for an invocation, without the qualifier: the function's name, or else its logical id.
    #[must_use]
    pub fn invoke_name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.logical_id)
    }
}

/// `StartingPosition`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartingPosition {
    /// The oldest record there is.
    TrimHorizon,
    /// The first record from now on.
    Latest,
    /// The first record from this time on, in milliseconds since 1970.
    AtTimestamp(i64),
}

/// `ProvisionedPollerConfig`: the number of event pollers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pollers {
    /// The minimum: 1 to 200.
    pub minimum: u32,
    /// The maximum: 1 to 2000.
    pub maximum: u32,
}

/// Reads the Kafka event source mappings of a template, in YAML or JSON.
///
/// # Errors
/// [`TemplateError`] when the template as a whole is wrong. It names the first problem. [`Template::refused`] has the mappings
/// that are wrong, and those that need a value that is not known. Parts that no Kafka mapping needs are not checked.
pub fn read(text: &str, options: &Options) -> Result<Template, TemplateError> {
    let mut found = Template::default();
    let template = yaml::parse(text, &mut found.warnings)?;
    if template.get("Resources").and_then(Node::map).is_none() {
        return Err(TemplateError::Structure { problem: no_resources(&template) });
    }
    check_names(&template, options)?;
    let parameters = parameters::read(&template, options)?;
    let evaluator = Evaluator::new(&template, options, parameters);
    match loops::unrolled(&evaluator) {
        None => read_sources(&evaluator, &mut found),
        Some(unrolled) => {
            found.warnings.extend(evaluator.take_notes());
            read_sources(&Evaluator::new(&unrolled, options, evaluator.parameters), &mut found);
        }
    }
    Ok(found)
}

fn read_sources(evaluator: &Evaluator<'_>, found: &mut Template) {
    let macros = loops::transforms(evaluator.template).filter(|name| !name.starts_with("AWS::"));
    let not_followed =
        |name: &str| format!("the macro {} is not followed: what it makes is not read", value::shorten(name));
    found.warnings.extend(macros.map(not_followed));
    if loops::transforms(evaluator.template).any(|name| name == "AWS::Include") {
        found
            .warnings
            .push("the transform AWS::Include is not followed: what it includes is not read".to_owned());
    }
    sources::read(evaluator, found);
    found.warnings.extend(evaluator.take_notes());
}

/// Describes the problem of a document that has no resources.
fn no_resources(document: &Node) -> String {
    let problem = "it must have a map Resources at the top";
    if document.get("service").is_some() && document.get("provider").is_some() {
        return format!(
            "{problem}, and this is a configuration of the Serverless Framework; `serverless package` compiles it to \
             .serverless/cloudformation-template-update-stack.json, which can be given"
        );
    }
    problem.to_owned()
}

/// Refuses a value for a name that the template does not have: most likely the name is misspelt.
fn check_names(template: &Node, options: &Options) -> Result<(), TemplateError> {
    let is_known = |name: &str| {
        let resource = name.split('.').next().unwrap_or(name);
        template.at(&["Parameters", name]).is_some()
            || template.at(&["Resources", resource]).is_some()
            || name.starts_with("AWS::")
            || name.starts_with("ImportValue.")
            || name.starts_with("{{resolve:")
    };
    let Some(name) = options.parameters.keys().find(|name| !is_known(name)) else { return Ok(()) };
    let known = template.get("Parameters").and_then(Node::map);
    let known = value::names(known.into_iter().flat_map(|map| map.keys()).map(String::as_str));
    Err(TemplateError::UnknownParameter { name: name.clone(), known })
}

//! Reads the Kafka event source mappings of a SAM or CloudFormation template, so that what AWS would do with it can be done
//! elsewhere. Pure: text and parameters in, mappings out; no files, no clock, no environment.
//!
//! | module | what it does |
//! |---|---|
//! | `yaml`, `scalars`, `json`, `node` | the text to a tree, with bounds on its depth and size |
//! | `loops` | the tree with its `Fn::ForEach` unrolled |
//! | `parameters` | the values of `Parameters`, checked |
//! | `evaluate`, `intrinsics`, `references`, `resources`, `substitute`, `conditions` | parts of the tree to values |
//! | `functions` | names, timeouts and binaries of functions |
//! | `sources`, `kafka`, `registry`, `keys`, `field`, `formats` | event sources to mappings |
//!
//! Only what a Kafka mapping needs is evaluated: a template may be full of what only AWS knows. What is needed and can't be
//! known is named, with how to give it a value. Macros, includes and nested stacks are not followed, and a note says so.

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

/// What a template is read with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Values by name. A name is that of a parameter, of a pseudo parameter (`AWS::Region`), of a resource (what `Ref` to it
    /// gives), `Resource.Attribute` (what `Fn::GetAtt` gives), `ImportValue.NAME`, or a dynamic reference as it is written
    /// (`{{resolve:ssm:/brokers}}`).
    pub parameters: BTreeMap<String, String>,
    /// Values of `Parameters` that go before their defaults. One that the template does not have is no error.
    pub defaults: BTreeMap<String, String>,
    /// Every function's timeout, in place of its `Timeout`, which need not be known then.
    pub timeout: Option<Duration>,
}

/// The Kafka event source mappings of a template.
#[derive(Clone, Debug, Default)]
pub struct Template {
    /// Those that are enabled and whose conditions hold, by logical id.
    pub mappings: Vec<KafkaMapping>,
    /// Those that can't be followed. They trouble nobody who does not need them.
    pub refused: Vec<Refused>,
    /// Those that are not enabled.
    pub disabled: Vec<Disabled>,
    /// Those whose condition does not hold.
    pub excluded: Vec<Excluded>,
    /// What of the template is not followed, or not as AWS would: a sentence each.
    pub warnings: Vec<String>,
}

/// A Kafka event source mapping that is not enabled.
#[derive(Clone, Debug)]
pub struct Disabled {
    /// Its logical id.
    pub logical_id: String,
    /// The logical id of its function, where that is known.
    pub function: Option<String>,
    /// What it would be, or why it can't be followed.
    pub mapping: Result<KafkaMapping, TemplateError>,
}

/// A Kafka event source mapping that is not there, because a condition does not hold.
#[derive(Clone, Debug)]
pub struct Excluded {
    /// Its logical id.
    pub logical_id: String,
    /// The condition's name.
    pub condition: String,
}

/// A Kafka event source mapping that can't be followed, because something in it is wrong, or needed and not known.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Its logical id.
    pub logical_id: String,
    /// The logical id of its function, where that is known.
    pub function: Option<String>,
    /// Why.
    pub error: TemplateError,
}

/// A Kafka event source mapping.
#[derive(Clone, Debug)]
pub struct KafkaMapping {
    /// Its logical id. That of a SAM event is its function's with the event's name behind it.
    pub logical_id: String,
    /// What is invoked.
    pub function: Function,
    /// What is read.
    pub topic: String,
    /// `ConsumerGroupId`, where there is one.
    pub consumer_group: Option<String>,
    /// Where partitions are read from that the consumer group has no offset for.
    pub starting_position: StartingPosition,
    /// Where records go that are given up: `kafka://topic`, an ARN, or what stood there when only the deployed stack knows it,
    /// as `!GetAtt Queue.Arn`.
    pub on_failure: Option<String>,
    /// The logical id of the resource that `on_failure` is the ARN of, when that is one of the template.
    pub on_failure_resource: Option<String>,
    /// The brokers, comma separated; none for Amazon MSK, and when only the deployed stack knows them.
    pub bootstrap_servers: Option<String>,
    /// The cluster's ARN, for Amazon MSK; none when only the deployed stack knows it.
    pub cluster_arn: Option<String>,
    /// `SourceAccessConfigurations`: types and URIs, as `SASL_SCRAM_512_AUTH` and the ARN of a secret. A URI that only the
    /// deployed stack knows is what stood there.
    pub access: Vec<(String, String)>,
    /// `SchemaRegistryConfig`.
    pub schema_registry: Option<SchemaRegistryConfig>,
    /// `ProvisionedPollerConfig`.
    pub pollers: Option<Pollers>,
    /// `FilterCriteria`: the patterns, as they are written.
    pub filters: Vec<String>,
    /// What is not followed as on AWS: a sentence each.
    pub notes: Vec<String>,
    /// The paths of properties that have no effect here.
    pub without_effect: Vec<String>,
    /// The names of the properties that the template sets, among them `ConsumerGroupId` and the function's `Timeout`.
    pub set: BTreeSet<String>,
    /// The rest of its properties. Its concurrency, backoff, drain and failure destination are left at their defaults.
    pub mapping: Mapping,
}

/// A function, and where its code is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its logical id; of a function that is not in the template, its name.
    pub logical_id: String,
    /// `FunctionName`, where it is set, known, and not the logical id.
    pub name: Option<String>,
    /// The alias or version that is invoked.
    pub qualifier: Option<String>,
    /// The binary that it is, for cargo-lambda: `Metadata.BuildProperties.Binary`, or where `CodeUri` points.
    pub binary: Option<String>,
    /// `Metadata.BuildMethod`.
    pub build_method: Option<String>,
    /// `CodeUri`, where it is a path.
    pub code_uri: Option<String>,
    /// `Handler`.
    pub handler: Option<String>,
    /// `Timeout`: Lambda's default of 3 s where there is none, its longest (900 s) for a function that is not in the template.
    pub timeout: Duration,
    /// Does the template say so?
    pub sets_timeout: bool,
}

impl Function {
    /// What it is called to be invoked, without the qualifier: its name, or else its logical id.
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

/// `ProvisionedPollerConfig`: how many event pollers there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pollers {
    /// At least: 1 to 200.
    pub minimum: u32,
    /// At most: 1 to 2000.
    pub maximum: u32,
}

/// Reads the Kafka event source mappings of a template, YAML or JSON.
///
/// # Errors
/// [`TemplateError`] on the first thing that is wrong with the template as a whole. What is wrong with one mapping, or needed there
/// and can't be known, is in [`Template::refused`]; what no Kafka mapping needs is not looked at.
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

/// What is wrong with a document that has no resources.
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

/// Refuses a value for something that the template does not have: most likely it is misspelt.
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

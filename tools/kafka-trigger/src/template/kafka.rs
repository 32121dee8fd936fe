//! Reads the properties of a Kafka event source, as the AWS pages "All Kafka event source configuration parameters" and
//! "AWS::Lambda::EventSourceMapping" describe them.

use std::collections::BTreeSet;
use std::time::Duration;

use super::error::TemplateError;
use super::evaluate::Evaluator;
use super::field::Field;
use super::formats::{
    BROKER, DESTINATION, GROUP, TIMESTAMP, TOPIC, is_broker, is_group, is_topic, milliseconds,
};
use super::keys::{self, Keys};
use super::node::Map;
use super::registry::SchemaAttributes;
use super::{Function, KafkaMapping, Pollers, StartingPosition, registry};
use event_source_mapping::filter::FilterCriteria;
use event_source_mapping::message::message;
use event_source_mapping::{EventSource, Mapping};

/// The properties that Lambda accepts only in provisioned mode.
const PROVISIONED: [&str; 5] = [
    "BisectBatchOnFunctionError",
    "FunctionResponseTypes",
    "MaximumRecordAgeInSeconds",
    "MaximumRetryAttempts",
    "SchemaRegistryConfig",
];
/// Lambda's retries if there is a failure destination of any kind, and the template does not set the retries.
const RETRIES_WITH_DESTINATION: u32 = 10;

/// An event source. SAM and CloudFormation use different names for some properties; here they have one name each.
pub(super) struct Source<'a> {
    /// The logical id that the mapping has in the stack.
    pub(super) id: String,
    pub(super) function: Function,
    pub(super) is_msk: bool,
    pub(super) properties: &'a Map,
    /// The cluster's ARN: the name of the property, and its value.
    pub(super) cluster: Field,
    pub(super) servers: Field,
    pub(super) group: Field,
    /// `SchemaRegistryConfig`.
    pub(super) registry: Field,
    /// The keys that only this way of writing a mapping has.
    pub(super) own_keys: &'static [(&'static str, Keys)],
}

/// Reads a Kafka event source.
pub(super) fn mapping(
    evaluator: &Evaluator<'_>,
    source: Source<'_>,
    mut without_effect: Vec<String>,
) -> Result<KafkaMapping, TemplateError> {
    let reader = Reader { evaluator, source: &source };
    let warnings = &mut Vec::new();
    let own = keys::check(evaluator, &source.id, source.properties, &[keys::COMMON, source.own_keys])?;
    without_effect.extend(own);
    let topic = reader.topic()?;
    let (bootstrap_servers, cluster_arn) = reader.cluster(warnings)?;
    let on_failure = reader.on_failure(&topic)?;
    let pollers = reader.pollers()?;
    let schema_registry = registry::read(&source.registry)?;
    if schema_registry.as_ref().is_some_and(|config| config.attributes == SchemaAttributes::default()) {
        let id = &source.id;
        warnings.push(format!(
            "{id}: SchemaRegistryConfig has no SchemaValidationConfigs: the function gets keys and values as they are in Kafka"
        ));
    }
    let mut mapping = reader.mapping()?;
    let (filters, filter) = reader.filters()?;
    mapping.filter = filter;
    mapping.event_source = EventSource {
        name: if source.is_msk { "aws:kafka" } else { "SelfManagedKafka" }.to_owned(),
        arn: cluster_arn.clone(),
        bootstrap_servers: bootstrap_servers.clone(),
    };
    if on_failure.is_some() && mapping.maximum_retry_attempts.is_none() {
        mapping.maximum_retry_attempts = Some(RETRIES_WITH_DESTINATION);
        let id = &source.id;
        warnings.push(format!(
            "{id}: with OnFailure and no MaximumRetryAttempts, there are {RETRIES_WITH_DESTINATION} retries, as on Lambda"
        ));
    }
    reader.warn(&mapping, pollers, &without_effect, warnings);
    Ok(KafkaMapping {
        set: reader.set_properties(),
        filters,
        without_effect,
        consumer_group: reader.consumer_group()?,
        starting_position: reader.starting_position(warnings)?,
        access: reader.access()?,
        notes: {
            warnings.extend(evaluator.take_notes());
            std::mem::take(warnings)
        },
        logical_id: source.id,
        function: source.function,
        topic,
        on_failure_resource: on_failure.as_deref().and_then(|arn| evaluator.resource_of_arn(arn)),
        on_failure,
        bootstrap_servers,
        cluster_arn,
        schema_registry,
        pollers,
        mapping,
    })
}

struct Reader<'a> {
    evaluator: &'a Evaluator<'a>,
    source: &'a Source<'a>,
}

impl Reader<'_> {
    fn field(&self, name: &str) -> Result<Field, TemplateError> {
        Field::read(self.evaluator, &self.source.id, name, self.source.properties.get(name))
    }

    fn topic(&self) -> Result<String, TemplateError> {
        let topics = self.field("Topics")?;
        let allowed = "a list with exactly one topic";
        let elements = topics.elements(allowed)?;
        match elements.as_slice() {
            [topic] => match topic.text(TOPIC)? {
                Some(text) if is_topic(text) => Ok(text.to_owned()),
                _ => Err(topic.not_allowed(TOPIC)),
            },
            [] if topics.is_absent() => Err(topics.missing(allowed)),
            _ => Err(topics.not_allowed(allowed)),
        }
    }

    /// Returns the brokers and the cluster's ARN. Both may be unknown, because the user can name the brokers when the mapping is
    /// run.
    fn cluster(&self, warnings: &mut Vec<String>) -> Result<(Option<String>, Option<String>), TemplateError> {
        let Source { id, cluster, servers, is_msk, .. } = self.source;
        if let Some(unknown) = cluster.unknown().filter(|_| *is_msk) {
            let (written, why) = (&unknown.written, &unknown.why);
            warnings.push(format!(
                "{id}: events have no eventSourceArn, because the cluster is {written}, {why}"
            ));
            return Ok((None, None));
        }
        if let Some(unknown) = servers.unknown().filter(|_| !*is_msk) {
            let (written, why) = (&unknown.written, &unknown.why);
            warnings
                .push(format!("{id}: the brokers are {written}, {why}, or say where Kafka is with --kafka"));
            return Ok((None, None));
        }
        if *is_msk {
            let allowed = "the ARN of an MSK cluster";
            return match cluster.text(allowed)? {
                Some(arn) => Ok((None, Some(arn.to_owned()))),
                None => Err(cluster.missing(allowed)),
            };
        }
        let allowed = "a list of brokers, each host:port";
        let brokers = servers.elements(allowed)?;
        if brokers.is_empty() {
            return Err(servers.missing(allowed));
        }
        let broker = |broker: &Field| match broker.text(BROKER)? {
            Some(text) if is_broker(text) => Ok(text.to_owned()),
            _ => Err(broker.not_allowed(BROKER)),
        };
        let brokers: Vec<String> = brokers.iter().map(broker).collect::<Result<_, _>>()?;
        Ok((Some(brokers.join(",")), None))
    }

    fn mapping(&self) -> Result<Mapping, TemplateError> {
        let function = &self.source.function;
        let mut mapping = Mapping::new(function.invoke_name());
        mapping.invocation_timeout = function.timeout;
        if let Some(size) = self.field("BatchSize")?.integer(1..=10_000, "1 to 10,000")? {
            mapping.batch_size = usize::try_from(size).unwrap_or(mapping.batch_size);
        }
        let window = self.field("MaximumBatchingWindowInSeconds")?.integer(0..=300, "0 to 300 seconds")?;
        if let Some(seconds) = window {
            mapping.window = Duration::from_secs(seconds.unsigned_abs());
        }
        let retries = self.field("MaximumRetryAttempts")?;
        let retries = retries.integer(-1..=10_000, "0 to 10,000, or -1 for retries without end")?;
        mapping.maximum_retry_attempts = retries.and_then(|retries| u32::try_from(retries).ok());
        let age = self.field("MaximumRecordAgeInSeconds")?;
        let allowed = "60 to 604,800 seconds, or -1 for any age";
        mapping.maximum_record_age = match age.integer(-1..=604_800, allowed)? {
            Some(0..60) => return Err(age.not_allowed(allowed)),
            Some(seconds @ 60..) => Some(Duration::from_secs(seconds.unsigned_abs())),
            _ => None,
        };
        let bisect = self.field("BisectBatchOnFunctionError")?.boolean()?;
        mapping.bisect_on_function_error = bisect.unwrap_or(false);
        let allowed = "ReportBatchItemFailures, in a list";
        for answer in self.field("FunctionResponseTypes")?.elements(allowed)? {
            match answer.text(allowed)? {
                Some("ReportBatchItemFailures") => mapping.report_batch_item_failures = true,
                _ => return Err(answer.not_allowed(allowed)),
            }
        }
        Ok(mapping)
    }

    /// Returns the filters, first as they are written and then as they are applied.
    fn filters(&self) -> Result<(Vec<String>, FilterCriteria), TemplateError> {
        let criteria = self.field("FilterCriteria")?;
        let filters = criteria.get("Filters")?.elements("a list of filters, each with a Pattern")?;
        let mut patterns = Vec::new();
        for filter in &filters {
            let pattern = filter.get("Pattern")?;
            let allowed = "JSON, as a text";
            let text = pattern.text(allowed)?.ok_or_else(|| pattern.missing(allowed))?;
            patterns.push(text.to_owned());
        }
        let filter = FilterCriteria::parse(&patterns).map_err(|error| criteria.invalid(error.to_string()))?;
        Ok((patterns, filter))
    }

    fn on_failure(&self, topic: &str) -> Result<Option<String>, TemplateError> {
        let destination = self.field("DestinationConfig")?.get("OnFailure")?.get("Destination")?;
        let text = destination.as_written(DESTINATION)?;
        let is_known = destination.unknown().is_none();
        match text.as_deref().map(|text| (text, text.strip_prefix("kafka://"))) {
            Some((_, Some(name))) if name == topic => {
                Err(destination.not_allowed("another topic than the one that is read"))
            }
            Some((_, Some(name))) if !is_topic(name) => Err(destination.not_allowed(DESTINATION)),
            Some((text, None)) if is_known && !text.starts_with("arn:") => {
                Err(destination.not_allowed(DESTINATION))
            }
            _ => Ok(text),
        }
    }

    fn pollers(&self) -> Result<Option<Pollers>, TemplateError> {
        let config = self.field("ProvisionedPollerConfig")?;
        if config.is_absent() {
            return Ok(None);
        }
        let number = |name, most: i64, default| {
            let field = config.get(name)?;
            let number = field.integer(1..=most, &format!("1 to {most}"))?;
            Ok(number.and_then(|number| u32::try_from(number).ok()).unwrap_or(default))
        };
        let minimum = number("MinimumPollers", 200, 1)?;
        let maximum = number("MaximumPollers", 2000, 200.max(minimum))?;
        if maximum < minimum {
            let field = config.get("MaximumPollers")?;
            return Err(field.not_allowed(&format!("at least MinimumPollers, {minimum}")));
        }
        Ok(Some(Pollers { minimum, maximum }))
    }

    fn consumer_group(&self) -> Result<Option<String>, TemplateError> {
        let group = &self.source.group;
        match group.text(GROUP)? {
            Some(text) if !is_group(text) => Err(group.not_allowed(GROUP)),
            text => Ok(text.map(str::to_owned)),
        }
    }

    fn starting_position(&self, warnings: &mut Vec<String>) -> Result<StartingPosition, TemplateError> {
        let (position, timestamp) =
            (self.field("StartingPosition")?, self.field("StartingPositionTimestamp")?);
        let allowed = "TRIM_HORIZON, LATEST or AT_TIMESTAMP";
        let id = &self.source.id;
        let text = position.text(allowed)?;
        if text != Some("AT_TIMESTAMP") && !timestamp.is_absent() {
            warnings.push(format!(
                "{id}: StartingPositionTimestamp is passed over; it goes with StartingPosition AT_TIMESTAMP"
            ));
        }
        match text {
            None => {
                warnings.push(format!("{id}: StartingPosition is missing; TRIM_HORIZON is taken"));
                Ok(StartingPosition::TrimHorizon)
            }
            Some("TRIM_HORIZON") => Ok(StartingPosition::TrimHorizon),
            Some("LATEST") => Ok(StartingPosition::Latest),
            Some("AT_TIMESTAMP") => {
                let seconds = timestamp.text(TIMESTAMP)?.ok_or_else(|| timestamp.missing(TIMESTAMP))?;
                let time = milliseconds(seconds).ok_or_else(|| timestamp.not_allowed(TIMESTAMP))?;
                Ok(StartingPosition::AtTimestamp(time))
            }
            Some(_) => Err(position.not_allowed(allowed)),
        }
    }

    fn access(&self) -> Result<Vec<(String, String)>, TemplateError> {
        let elements =
            self.field("SourceAccessConfigurations")?.elements("a list, each with Type and URI")?;
        let mut access = Vec::new();
        for element in &elements {
            let (kind, uri) = (element.get("Type")?, element.get("URI")?);
            let allowed = "a text, such as SASL_SCRAM_512_AUTH";
            let kind = kind.text(allowed)?.ok_or_else(|| kind.missing(allowed))?;
            access.push((kind.to_owned(), uri.as_written("a text")?.unwrap_or_default()));
        }
        Ok(access)
    }

    /// Returns the names of the properties that the template sets.
    fn set_properties(&self) -> BTreeSet<String> {
        let mut set: BTreeSet<String> = self.source.properties.keys().cloned().collect();
        if !self.source.group.is_absent() {
            set.insert("ConsumerGroupId".to_owned());
        }
        if !self.source.registry.is_absent() {
            set.insert("SchemaRegistryConfig".to_owned());
        }
        if self.source.function.sets_timeout {
            set.insert("Timeout".to_owned());
        }
        set
    }

    fn warn(
        &self,
        mapping: &Mapping,
        pollers: Option<Pollers>,
        without_effect: &[String],
        warnings: &mut Vec<String>,
    ) {
        let Source { id, properties, registry, .. } = self.source;
        let set = [
            mapping.bisect_on_function_error,
            mapping.report_batch_item_failures,
            mapping.maximum_record_age.is_some(),
            mapping.maximum_retry_attempts.is_some() && properties.contains_key("MaximumRetryAttempts"),
            !registry.is_absent(),
        ];
        let set: Vec<&str> =
            PROVISIONED.iter().zip(set).filter(|(_, set)| *set).map(|(name, _)| *name).collect();
        if pollers.is_none() && !set.is_empty() {
            let set = set.join(", ");
            warnings.push(format!(
                "{id}: Lambda takes {set} only with ProvisionedPollerConfig; here it is followed"
            ));
        }
        if !without_effect.is_empty() {
            let without_effect = message(&without_effect.join(", "));
            warnings.push(format!("{id}: without effect here: {without_effect}"));
        }
    }
}

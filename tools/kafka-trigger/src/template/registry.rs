//! Reads `SchemaRegistryConfig`, as the AWS pages "Using schema registries with Kafka event sources in Lambda" and
//! "AWS::Lambda::EventSourceMapping SchemaRegistryConfig" describe it.

use super::error::TemplateError;
use super::field::Field;
use event_source_mapping::RecordFormat;

/// `SchemaRegistryConfig`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaRegistryConfig {
    /// `SchemaRegistryURI`.
    pub uri: SchemaRegistryUri,
    /// `EventRecordFormat`.
    pub format: RecordFormat,
    /// `SchemaValidationConfigs`: the parts of a record that are checked and decoded.
    pub attributes: SchemaAttributes,
    /// `AccessConfigs`: types and URIs, such as `BASIC_AUTH` and the ARN of a secret. If only the deployed stack knows a URI,
    /// this is the text in the template.
    pub access: Vec<(String, String)>,
}

/// The parts of a record that have a schema.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchemaAttributes {
    /// `KEY`.
    pub key: bool,
    /// `VALUE`.
    pub value: bool,
}

/// `SchemaRegistryURI`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SchemaRegistryUri {
    /// The URL of a registry with Confluent's API.
    Confluent(String),
    /// The ARN of a registry of AWS Glue.
    Glue(String),
    /// Only the deployed stack knows it. This is the text in the template, and the way to give it a value.
    Unknown(String),
}

const URI: &str = "the URL of a registry with Confluent's API, https://…, or the ARN of an AWS Glue registry, \
                   arn:aws:glue:REGION:ACCOUNT:registry/NAME";

/// Reads the configuration. Returns `None` if there is none.
pub(super) fn read(config: &Field) -> Result<Option<SchemaRegistryConfig>, TemplateError> {
    if config.is_absent() {
        return Ok(None);
    }
    let format = config.get("EventRecordFormat")?;
    let allowed = "JSON or SOURCE";
    let format = match format.text(allowed)? {
        Some("JSON") => RecordFormat::Json,
        Some("SOURCE") => RecordFormat::Source,
        Some(_) => return Err(format.not_allowed(allowed)),
        None => return Err(format.missing(allowed)),
    };
    Ok(Some(SchemaRegistryConfig {
        uri: uri(&config.get("SchemaRegistryURI")?)?,
        format,
        attributes: attributes(&config.get("SchemaValidationConfigs")?)?,
        access: access(&config.get("AccessConfigs")?)?,
    }))
}

fn uri(field: &Field) -> Result<SchemaRegistryUri, TemplateError> {
    if let Some(unknown) = field.unknown() {
        return Ok(SchemaRegistryUri::Unknown(format!("{}, {}", unknown.written, unknown.why)));
    }
    let text = field.text(URI)?.ok_or_else(|| field.missing(URI))?;
    match text {
        _ if text.starts_with("http://") || text.starts_with("https://") => {
            Ok(SchemaRegistryUri::Confluent(text.to_owned()))
        }
        _ if is_glue_registry(text) => Ok(SchemaRegistryUri::Glue(text.to_owned())),
        _ => Err(field.not_allowed(URI)),
    }
}

fn is_glue_registry(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    matches!(parts[..], ["arn", _, "glue", region, _, resource] if !region.is_empty() && resource.starts_with("registry/"))
}

fn attributes(field: &Field) -> Result<SchemaAttributes, TemplateError> {
    let mut attributes = SchemaAttributes::default();
    for element in field.elements("a list, each with an Attribute, KEY or VALUE")? {
        let (attribute, allowed) = (element.get("Attribute")?, "KEY or VALUE");
        match attribute.text(allowed)? {
            Some("KEY") => attributes.key = true,
            Some("VALUE") => attributes.value = true,
            Some(_) => return Err(attribute.not_allowed(allowed)),
            None => return Err(attribute.missing(allowed)),
        }
    }
    Ok(attributes)
}

fn access(field: &Field) -> Result<Vec<(String, String)>, TemplateError> {
    let allowed = "BASIC_AUTH, CLIENT_CERTIFICATE_TLS_AUTH or SERVER_ROOT_CA_CERTIFICATE";
    let mut access = Vec::new();
    for element in field.elements("a list, each with Type and URI")? {
        let kind = element.get("Type")?;
        match kind.text(allowed)? {
            Some(known @ ("BASIC_AUTH" | "CLIENT_CERTIFICATE_TLS_AUTH" | "SERVER_ROOT_CA_CERTIFICATE")) => {
                let uri = element.get("URI")?.as_written("the ARN of a secret")?.unwrap_or_default();
                access.push((known.to_owned(), uri));
            }
            Some(_) => return Err(kind.not_allowed(allowed)),
            None => return Err(kind.missing(allowed)),
        }
    }
    Ok(access)
}

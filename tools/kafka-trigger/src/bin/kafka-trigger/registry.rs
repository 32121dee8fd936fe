//! Schema registries: their addresses, from the template and `--registry`, and the registries themselves. Mappings that name the
//! same registry share one.

use std::collections::HashMap;
use std::env;
use std::fmt;

use anyhow::{anyhow, bail};
use event_source_mapping::Decoder;
use kafka_trigger::schema_registry::{Availability, DecoderOptions, SchemaRegistry};
use kafka_trigger::template::{KafkaMapping, SchemaRegistryUri};
use runtime::SecretUrl;

use crate::cli::Cli;

/// The schema registry of a mapping.
#[derive(Clone, Debug)]
pub(crate) struct PlannedRegistry {
    /// The registry's address, or a message that says how to give it.
    pub(crate) place: Result<RegistryAddress, String>,
    decoding: DecoderOptions,
}

/// The address of a schema registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RegistryAddress {
    /// One with Confluent's API.
    Confluent(SecretUrl),
    /// The registry of AWS Glue, by its ARN: at AWS, or at a server that stands in for it.
    Glue { arn: String, url: Option<SecretUrl> },
}

impl PlannedRegistry {
    /// Returns the mapping's registry, or `None` if it has none. Writes messages for the user into `notes`.
    pub(crate) fn of(template: &KafkaMapping, cli: &Cli, notes: &mut Vec<String>) -> Option<Self> {
        let config = template.schema_registry.as_ref()?;
        let id = &template.logical_id;
        let given = cli.registry.clone();
        let place = match (&config.uri, given) {
            (SchemaRegistryUri::Glue(arn), url) => Ok(RegistryAddress::Glue { arn: arn.clone(), url }),
            (SchemaRegistryUri::Confluent(_), Some(url)) => Ok(RegistryAddress::Confluent(url)),
            (SchemaRegistryUri::Unknown(_), Some(url)) => {
                notes.push(format!(
                    "{id}: the template does not say of which kind its schema registry is; --registry is taken for one with Confluent's API"
                ));
                Ok(RegistryAddress::Confluent(url))
            }
            (SchemaRegistryUri::Unknown(written), None) => Err(format!(
                "{id}: SchemaRegistryConfig.SchemaRegistryURI depends on {written}, or give the registry with --registry URL"
            )),
            (SchemaRegistryUri::Confluent(url), None) => match login(&config.access) {
                None => Ok(RegistryAddress::Confluent(url.as_str().into())),
                Some((kind, secret)) => Err(format!(
                    "{id} logs in to its schema registry by {kind} ({secret}), which is not read from here; give the login with \
                     --registry 'https://user:password@host'"
                )),
            },
        };
        if cli.registry.is_none() && config.access.iter().any(|(kind, _)| kind == AUTHORITY) {
            notes.push(format!(
                "{id}: {AUTHORITY} of its schema registry is not read from here: its certificate must be known to this machine \
                 (SSL_CERT_FILE names a file of authorities)"
            ));
        }
        let decoding = DecoderOptions {
            format: config.format,
            key: config.attributes.key,
            value: config.attributes.value,
            is_filtered: !template.filters.is_empty(),
        };
        Some(Self { place, decoding })
    }
}

const AUTHORITY: &str = "SERVER_ROOT_CA_CERTIFICATE";

/// Returns the kind of login that the registry needs, and the place where the login is stored. `None` means that it needs none.
fn login(access: &[(String, String)]) -> Option<&(String, String)> {
    access.iter().find(|(kind, _)| kind != AUTHORITY)
}

/// Shows the address to people, without a password.
impl fmt::Display for RegistryAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Confluent(url) => url.fmt(formatter),
            Self::Glue { arn, url: None } => arn.fmt(formatter),
            Self::Glue { arn, url: Some(url) } => write!(formatter, "{arn} at {url}"),
        }
    }
}

/// The registries of all mappings.
#[derive(Default)]
pub(crate) struct Registries(HashMap<String, SchemaRegistry>);

impl Registries {
    /// Returns the decoder of a mapping's records.
    pub(crate) fn decoder(&mut self, registry: Option<&PlannedRegistry>) -> anyhow::Result<Decoder> {
        let Some(PlannedRegistry { place, decoding }) = registry else { return Ok(Decoder::None) };
        let place = place.as_ref().map_err(|problem| anyhow!("{problem}"))?;
        let key = match place {
            RegistryAddress::Confluent(url) => url.expose().to_owned(),
            RegistryAddress::Glue { arn, url } => {
                format!("{} {}", region(arn)?, url.as_ref().map(SecretUrl::expose).unwrap_or_default())
            }
        };
        let registry = match self.0.get(&key) {
            Some(registry) => registry.clone(),
            None => open(place)?,
        };
        let decoder = registry.decoder(*decoding);
        self.0.insert(key, registry);
        Ok(decoder)
    }
}

fn open(place: &RegistryAddress) -> anyhow::Result<SchemaRegistry> {
    let name = place.to_string();
    let tell = move |availability: Availability<'_>| match availability {
        Availability::Silent(problem) => {
            eprintln!(
                "kafka-trigger: the schema registry {name} is not available: {problem}; records wait, trying again"
            );
        }
        Availability::Answers => eprintln!("kafka-trigger: the schema registry {name} is available now"),
    };
    let opened = match place {
        RegistryAddress::Confluent(url) => SchemaRegistry::confluent(url.expose(), tell),
        RegistryAddress::Glue { arn, url } => {
            let url = url.as_ref().map(SecretUrl::expose);
            SchemaRegistry::glue(region(arn)?, url, |name| env::var(name).ok(), tell)
        }
    };
    opened.map_err(|problem| anyhow!("the schema registry {place}: {problem}"))
}

/// The region of an ARN.
fn region(arn: &str) -> anyhow::Result<&str> {
    match arn.split(':').nth(3) {
        Some(region) if !region.is_empty() => Ok(region),
        _ => bail!("{arn} has no region"),
    }
}

//! Templates for tests, and ways to read them.

use kafka_trigger::template::{KafkaMapping, Options, Template, TemplateError, read};

/// Reads a template with parameters such as `("Stage", "prod")`. All of its mappings must be right.
pub(crate) fn read_with(text: &str, parameters: &[(&str, &str)]) -> Result<Template, TemplateError> {
    let parameters = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    read_whole(text, &Options { parameters: parameters.collect(), ..Options::default() })
}

pub(crate) fn read_whole(text: &str, options: &Options) -> Result<Template, TemplateError> {
    let mut found = read(text, options)?;
    if found.refused.is_empty() { Ok(found) } else { Err(found.refused.remove(0).error) }
}

/// Reads a template that must be right.
pub(crate) fn template(text: &str) -> Template {
    read_with(text, &[]).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The reason why a template is refused.
pub(crate) fn error(text: &str) -> String {
    match read_with(text, &[]) {
        Err(error) => error.to_string(),
        Ok(found) => panic!("it was read, as {found:?}\n{text}"),
    }
}

/// A template with one mapping, `Orders`. The mapping has `properties` (lines of YAML, not indented) beside those that it must
/// have. `sections` (such as Parameters) are at the top.
pub(crate) fn with(sections: &str, properties: &str) -> String {
    let has = |name: &str| properties.lines().any(|line| line.starts_with(&format!("{name}:")));
    let defaults = [
        ("FunctionName", "consumer"),
        ("SelfManagedEventSource", "{ Endpoints: { KafkaBootstrapServers: ['localhost:9092'] } }"),
        ("StartingPosition", "LATEST"),
        ("Topics", "[orders]"),
    ];
    let defaults = defaults.iter().filter(|(name, _)| !has(name));
    let defaults: String = defaults.map(|(name, value)| format!("      {name}: {value}\n")).collect();
    let properties: String = properties.lines().map(|line| format!("      {line}\n")).collect();
    format!(
        "{sections}\nResources:\n  Orders:\n    Type: AWS::Lambda::EventSourceMapping\n    Properties:\n{defaults}{properties}"
    )
}

/// The only mapping of a template.
pub(crate) fn only(text: &str) -> KafkaMapping {
    let mut found = template(text);
    assert_eq!(found.mappings.len(), 1, "{text}");
    found.mappings.remove(0)
}

/// The mapping with these properties.
pub(crate) fn mapping(properties: &str) -> KafkaMapping {
    only(&with("", properties))
}

/// The value of a topic.
pub(crate) fn topic(sections: &str, topic: &str) -> String {
    only(&with(sections, &format!("Topics:\n  - {topic}"))).topic
}

/// The error of a topic that can't be evaluated.
pub(crate) fn topic_error(sections: &str, topic: &str) -> String {
    error(&with(sections, &format!("Topics:\n  - {topic}")))
}

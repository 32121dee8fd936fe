//! Prints the plan for `--plan`: the values in force for each mapping, their origin, and the properties without effect.

use std::io::{Write as _, stdout};

use event_source_mapping::RecordFormat;
use jiff::Timestamp;
use kafka_trigger::template::StartingPosition;
use serde_json::{Map, Value, json};

use crate::cli::Cli;
use crate::plan::{Destination, Plan};

/// One value that is in force.
struct SettingRow {
    name: &'static str,
    value: Value,
    /// The value, for people.
    text: String,
    /// The origin of the value.
    from: String,
}

const DEFAULT: &str = "default";

pub(crate) fn print(plans: &[Plan], cli: &Cli) {
    let text = if cli.json { as_json(plans, cli) } else { as_text(plans, cli) };
    // The reader may have closed the output. That is no reason to fail.
    let _ = writeln!(stdout().lock(), "{text}");
}

fn as_json(plans: &[Plan], cli: &Cli) -> String {
    let mapping = |plan: &Plan| {
        let row = |row: SettingRow| (row.name.to_owned(), json!({"value": row.value, "from": row.from}));
        let mut mapping: Map<String, Value> = rows(plan, cli).into_iter().map(row).collect();
        mapping.insert("mapping".to_owned(), json!(plan.template.logical_id));
        mapping.insert("without_effect".to_owned(), json!(plan.template.without_effect));
        mapping.insert("notes".to_owned(), json!(plan.template.notes));
        Value::Object(mapping)
    };
    json!({"mappings": plans.iter().map(mapping).collect::<Vec<_>>()}).to_string()
}

fn as_text(plans: &[Plan], cli: &Cli) -> String {
    let mut tables = Vec::new();
    for plan in plans {
        let rows = rows(plan, cli);
        let widest = rows.iter().map(|row| row.text.chars().count().min(60)).max().unwrap_or_default();
        let mut table = plan.template.logical_id.clone();
        for SettingRow { name, text, from, .. } in rows {
            let name = name.replace('_', " ");
            table.push_str(&format!("\n  {name:<17}  {text:<widest$}  {from}"));
        }
        let without_effect = &plan.template.without_effect;
        if !without_effect.is_empty() {
            table.push_str(&format!("\n  {:<17}  {}", "without effect", without_effect.join(", ")));
        }
        tables.push(table);
    }
    tables.join("\n\n")
}

fn rows(plan: &Plan, cli: &Cli) -> Vec<SettingRow> {
    let mut rows = places(plan, cli);
    rows.extend(schemas(plan, cli));
    rows.extend(batches(plan, cli));
    rows.extend(failures(plan));
    rows.extend(calls(plan, cli));
    rows
}

/// The origin of a property: the template, or else Lambda's default.
fn property(plan: &Plan, name: &str) -> String {
    if plan.template.set.contains(name) { format!("template: {name}") } else { DEFAULT.to_owned() }
}

fn row(name: &'static str, value: impl Into<Value>, from: impl Into<String>) -> SettingRow {
    let value = value.into();
    let text = match &value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    SettingRow { name, value, text, from: from.into() }
}

impl SettingRow {
    fn shown(self, text: impl Into<String>) -> Self {
        Self { text: text.into(), ..self }
    }
}

fn on_or_off(name: &'static str, is_on: bool, from: String) -> SettingRow {
    row(name, is_on, from).shown(if is_on { "yes" } else { "no" })
}

fn seconds(name: &'static str, seconds: f64, from: String) -> SettingRow {
    row(name, seconds, from).shown(format!("{seconds} s"))
}

/// The rows about the function, the topic, the group, the brokers, the event source and the starting position.
fn places(plan: &Plan, cli: &Cli) -> Vec<SettingRow> {
    let Plan { template, mapping, function, brokers, .. } = plan;
    let from_cli =
        |is_set: bool, flag: &str, other: &str| if is_set { flag.to_owned() } else { other.to_owned() };
    let is_named = cli.function_names.iter().any(|(id, _)| *id == template.function.logical_id);
    let qualifier = function.qualifier.as_ref().map(|qualifier| format!(":{qualifier}")).unwrap_or_default();
    let names = function.names.iter().map(|name| format!("{name}{qualifier}")).collect::<Vec<_>>();
    let group_from = match (cli.group_prefix.is_empty(), property(plan, "ConsumerGroupId")) {
        (true, from) => from,
        (false, from) => format!("{from}, --group-prefix"),
    };
    let position_from = match template.set.contains("StartingPosition") {
        true => property(plan, "StartingPosition"),
        false => "missing in the template".to_owned(),
    };
    let brokers_row = match brokers {
        Ok(brokers) => {
            row("brokers", brokers.servers(), from_cli(cli.kafka.is_some(), "--kafka", "template"))
        }
        Err(_) => row("brokers", Value::Null, "give them with --kafka").shown("not known"),
    };
    let arn = template.mapping.event_source.arn.clone();
    vec![
        row("function", json!(names), from_cli(is_named, "--function-name", "template"))
            .shown(names.join(" or ")),
        row("topic", template.topic.as_str(), "template: Topics"),
        row("group", mapping.group.as_str(), group_from),
        brokers_row,
        row("event_source", template.mapping.event_source.name.as_str(), "template"),
        row("event_source_arn", json!(arn), "template")
            .shown(arn.clone().unwrap_or_else(|| "none".to_owned())),
        row("starting_position", position(template.starting_position), position_from),
    ]
}

/// The rows about the schema registry and the decoding of keys and values.
fn schemas(plan: &Plan, cli: &Cli) -> Vec<SettingRow> {
    let from = || property(plan, "SchemaRegistryConfig");
    let (Some(registry), Some(config)) = (&plan.registry, &plan.template.schema_registry) else {
        return vec![row("schema_registry", Value::Null, from()).shown("none")];
    };
    let place_from = if cli.registry.is_some() { "--registry".to_owned() } else { from() };
    let place = match &registry.place {
        Ok(place) => row("schema_registry", place.to_string(), place_from),
        Err(_) => row("schema_registry", Value::Null, "give it with --registry").shown("not known"),
    };
    let format = match config.format {
        RecordFormat::Json => "JSON",
        RecordFormat::Source => "SOURCE",
    };
    let attributes = [("KEY", config.attributes.key), ("VALUE", config.attributes.value)];
    let attributes: Vec<&str> =
        attributes.iter().filter(|(_, is_set)| *is_set).map(|(name, _)| *name).collect();
    let shown = if attributes.is_empty() { "none".to_owned() } else { attributes.join(", ") };
    vec![
        place,
        row("record_format", format, from()),
        row("schema_validation", json!(attributes), from()).shown(shown),
    ]
}

fn position(position: StartingPosition) -> String {
    match position {
        StartingPosition::TrimHorizon => "TRIM_HORIZON".to_owned(),
        StartingPosition::Latest => "LATEST".to_owned(),
        StartingPosition::AtTimestamp(milliseconds) => {
            let time = Timestamp::from_millisecond(milliseconds).unwrap_or_default();
            format!("AT_TIMESTAMP {time}")
        }
    }
}

fn batches(plan: &Plan, cli: &Cli) -> Vec<SettingRow> {
    let (mapping, filters) = (&plan.mapping, &plan.template.filters);
    let window_from = match cli.window {
        Some(_) => "--window".to_owned(),
        None => property(plan, "MaximumBatchingWindowInSeconds"),
    };
    let shown = if filters.is_empty() { "none: every record".to_owned() } else { filters.join(" or ") };
    let one_line = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    vec![
        row("batch_size", mapping.batch_size, property(plan, "BatchSize")),
        seconds("window", mapping.window.as_secs_f64(), window_from),
        row("filters", json!(filters), property(plan, "FilterCriteria")).shown(one_line),
    ]
}

fn failures(plan: &Plan) -> Vec<SettingRow> {
    let Plan { mapping, destination, template, .. } = plan;
    let is_set = template.set.contains("MaximumRetryAttempts");
    let retries_from = match (is_set, destination) {
        (false, Destination::None) | (true, _) => property(plan, "MaximumRetryAttempts"),
        (false, _) => "default with OnFailure".to_owned(),
    };
    let retries = row("retries", json!(mapping.maximum_retry_attempts), retries_from);
    let retries = match mapping.maximum_retry_attempts {
        None => retries.shown("without end"),
        Some(_) => retries,
    };
    let age = mapping.maximum_record_age.map(|age| age.as_secs());
    let age_row = row("record_age", json!(age), property(plan, "MaximumRecordAgeInSeconds"));
    let to = match destination {
        Destination::None => None,
        Destination::Topic(name) => Some(format!("kafka://{name}")),
        Destination::At(resource, _) => Some(resource.to_string()),
        Destination::OutOfReach(arn) => Some(arn.clone()),
    };
    let to_text = to.clone().unwrap_or_else(|| "none".to_owned());
    let mut rows = vec![
        retries,
        age_row.shown(age.map_or_else(|| "any".to_owned(), |age| format!("{age} s"))),
        on_or_off("bisect", mapping.bisect_on_function_error, property(plan, "BisectBatchOnFunctionError")),
        on_or_off(
            "partial_responses",
            mapping.report_batch_item_failures,
            property(plan, "FunctionResponseTypes"),
        ),
        row("on_failure", json!(to), property(plan, "DestinationConfig")).shown(to_text),
    ];
    rows.extend(failures_at(plan));
    rows
}

/// The address of the failure destination, if there is one.
fn failures_at(plan: &Plan) -> Option<SettingRow> {
    const NAME: &str = "failures_at";
    match &plan.destination {
        Destination::None => None,
        Destination::Topic(_) => Some(match &plan.brokers {
            Ok(brokers) => row(NAME, brokers.servers(), "the mapping's brokers"),
            Err(_) => row(NAME, Value::Null, "the mapping's brokers").shown("not known"),
        }),
        Destination::At(_, url) => Some(row(NAME, url.to_string(), "--destination")),
        Destination::OutOfReach(_) => {
            Some(row(NAME, Value::Null, "give it a URL with --destination").shown("nowhere: printed"))
        }
    }
}

fn calls(plan: &Plan, cli: &Cli) -> Vec<SettingRow> {
    let timeout_from = match cli.timeout {
        Some(_) => "--timeout".to_owned(),
        None => property(plan, "Timeout"),
    };
    let at_once = cli.calls_at_once();
    let shown = at_once.map_or_else(|| "without bound".to_owned(), |calls| calls.to_string());
    vec![
        seconds("timeout", plan.function.timeout.as_secs_f64(), timeout_from),
        seconds("first_answer", cli.first_answer.as_secs_f64(), "--first-answer".to_owned()),
        row("concurrency", plan.mapping.concurrency, "--concurrency, bounded by --function-concurrency"),
        row("calls_at_once", json!(at_once), "--function-concurrency").shown(shown),
        row("invoke", cli.invoke.as_str(), "--invoke"),
    ]
}

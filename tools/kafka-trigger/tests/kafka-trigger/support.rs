//! The binary as a process, and the observations of the tests.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use event_channel::{EventChannel, Record};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time;

use crate::broker::Topic;
use crate::function::{Function, Note};

const PATIENCE: Duration = Duration::from_secs(90);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The common parts of the tests: a folder, a function, and a topic. The template in the folder maps the topic to the function.
pub(crate) struct Place {
    pub(crate) folder: TempDir,
    pub(crate) function: Function,
    pub(crate) topic: Topic,
}

impl Place {
    pub(crate) async fn new(topic: Topic, partitions: i32) -> Self {
        topic.create(partitions, &[]).await;
        // A broker that has just started creates a topic before it announces it.
        let channel = topic.open("create=false");
        until(async || channel.publish(vec![]).await.ok()).await;
        let folder = tempfile::tempdir().unwrap();
        Self { function: Function::start(folder.path()), folder, topic }
    }

    pub(crate) fn channel(&self) -> EventChannel {
        self.topic.open("create=false")
    }

    /// Publishes these values. Together, their keys cover every partition.
    pub(crate) async fn publish(&self, values: std::ops::Range<usize>) {
        let record = |value: usize| text_record(&format!("key-{}", value % 16), &value.to_string());
        self.channel().publish(values.map(record).collect()).await.unwrap();
    }

    /// Starts the binary with a template whose mapping has these further properties.
    pub(crate) fn start(&self, function_name: &str, properties: &str, flags: &[&str]) -> Trigger {
        let url = self.function.url();
        let flags = [&["--invoke", &url], flags].concat();
        let template = template_of(self.topic.name(), function_name, "", properties);
        Trigger::start(self.folder.path(), &template, &flags, &[])
    }

    /// Starts the binary with a mapping to `shows-schemas`. The mapping's `SchemaRegistryConfig` has the properties in `config`.
    pub(crate) fn start_with_schemas(
        &self,
        config: &str,
        properties: &str,
        flags: &[&str],
        environment: &[(&str, &str)],
    ) -> Trigger {
        let url = self.function.url();
        let flags = [&["--invoke", &url], flags].concat();
        let config = format!(", SchemaRegistryConfig: {{{config}}}");
        let properties = format!("StartingPosition: TRIM_HORIZON\n{properties}");
        let template = template_of(self.topic.name(), "shows-schemas", &config, &properties);
        Trigger::start(self.folder.path(), &template, &flags, environment)
    }

    /// Starts the binary with `--invoke aws`.
    pub(crate) fn start_on_aws(
        &self,
        function_name: &str,
        properties: &str,
        environment: &[(&str, &str)],
    ) -> Trigger {
        let template = template_of(self.topic.name(), function_name, "", properties);
        Trigger::start(self.folder.path(), &template, &["--invoke", "aws"], environment)
    }

    /// Waits until the function's notes satisfy `is_enough`, and returns them.
    pub(crate) async fn until(&self, is_enough: impl Fn(&[Note]) -> bool) -> Vec<Note> {
        until(async || Some(self.function.notes()).filter(|notes| is_enough(notes))).await
    }
}

fn template_of(topic: &str, function_name: &str, source_config: &str, properties: &str) -> String {
    format!(
        "Resources:
  Function:
    Type: AWS::Lambda::Function
    Properties: {{FunctionName: {function_name}, Timeout: 20, Code: {{ZipFile: ''}}}}
  Mapping:
    Type: AWS::Lambda::EventSourceMapping
    Properties:
      FunctionName: !Ref Function
      SelfManagedEventSource: {{Endpoints: {{KafkaBootstrapServers: [{}]}}}}
      SelfManagedKafkaEventSourceConfig: {{ConsumerGroupId: {topic}.group{source_config}}}
      Topics: [{topic}]
      {}
",
        brokers(),
        properties.replace('\n', "\n      ")
    )
}

/// The brokers, as `host:port`.
pub(crate) fn brokers() -> String {
    let url = std::env::var("TEST_KAFKA").unwrap();
    url.trim_start_matches("kafka://").split('/').next().unwrap().to_owned()
}

pub(crate) fn text_record(key: &str, value: &str) -> Record {
    let [key, value] = [key, value].map(|text| Some(text.to_owned().into()));
    Record { key, value, headers: Vec::new() }
}

/// The binary's process. It ends when this is dropped.
pub(crate) struct Trigger {
    process: Child,
    output: PathBuf,
    errors: PathBuf,
}

impl Trigger {
    fn start(folder: &Path, template: &str, flags: &[&str], environment: &[(&str, &str)]) -> Self {
        let file = folder.join("template.yaml");
        fs::write(&file, template).unwrap();
        let (output, errors) = (folder.join("output"), folder.join("errors"));
        let log = |path: &PathBuf| File::options().create(true).append(true).open(path).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_kafka-trigger"))
            .args(["--json", "--window", "0", "--template"])
            .arg(file)
            .args(flags)
            .envs(environment.iter().copied())
            .stdout(log(&output))
            .stderr(log(&errors))
            .spawn()
            .unwrap();
        Self { process, output, errors }
    }

    /// Kills the process, as `kill -9` does.
    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        until(async || self.process.try_wait().unwrap()).await
    }

    /// Asks the process to stop, and waits until it has ended.
    pub(crate) async fn stop(mut self) {
        self.signal("-TERM");
        let status = self.ended().await;
        assert_eq!(status.code(), Some(0), "{}", self.errors());
    }

    /// Returns the lines that the process has printed.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.output).unwrap();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub(crate) async fn until_line(&self, is_it: impl Fn(&Value) -> bool) -> Value {
        until(async || self.lines().into_iter().find(|line| is_it(line))).await
    }

    pub(crate) fn errors(&self) -> String {
        fs::read_to_string(&self.errors).unwrap()
    }
}

impl Drop for Trigger {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Polls until there is a value, and returns it.
pub(crate) async fn until<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            time::sleep(LOOK_AGAIN).await;
        }
    };
    time::timeout(PATIENCE, found).await.expect("in time")
}

/// Returns the offsets of each partition, in the order in which the function was given them.
pub(crate) fn by_partition(notes: &[Note]) -> BTreeMap<i32, Vec<i64>> {
    let mut offsets: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
    for note in notes {
        offsets.entry(note.partition).or_default().push(note.offset);
    }
    offsets
}

/// Returns the number of different records that the function was given.
pub(crate) fn different(notes: &[Note]) -> usize {
    let mut places: Vec<_> = notes.iter().map(|note| (note.partition, note.offset)).collect();
    places.sort_unstable();
    places.dedup();
    places.len()
}

//! The topic: checks that it is there, creates it, or says who must create it and how.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use tokio::{task, time};
use tracing::{debug, info};

use super::client::{self, QUESTION};
#[cfg(feature = "msk-admin")]
use super::msk_admin::create as create_on_msk;
use super::options::Options;
use super::producer::Producer;

/// The longest time until every partition of a new topic has a leader.
const LEADERS: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Creates the topic if it is not there and the URL allows it. Returns its number of partitions.
///
/// # Errors
/// When the brokers can't be reached, or the topic is not there and can't be created. The message is one line, and says how to
/// create the topic.
pub(super) async fn ensure(options: &Options, producer: &Producer) -> Result<usize, String> {
    match partitions(options, &producer.metadata(QUESTION.into()).await?)? {
        Some(partitions) => Ok(partitions),
        None if !options.create => Err(format!(
            "the topic {:?} is not there; create it, or let ?create=true in the URL create it",
            options.topic
        )),
        None => {
            create(options).await?;
            leaders(options, producer).await
        }
    }
}

/// The topic's number of partitions; `None` when the topic is not there.
pub(super) fn partitions(options: &Options, metadata: &Metadata) -> Result<Option<usize>, String> {
    let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == options.topic) else {
        return Ok(None);
    };
    match topic.error().map(RDKafkaErrorCode::from) {
        None | Some(RDKafkaErrorCode::LeaderNotAvailable) if !topic.partitions().is_empty() => {
            Ok(Some(topic.partitions().len()))
        }
        Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
            Err(format!("the topic {:?} may not be described with these credentials", options.topic))
        }
        Some(RDKafkaErrorCode::InvalidTopic) => {
            Err(format!("the brokers refuse the name {:?}", options.topic))
        }
        _ => Ok(None),
    }
}

/// Returns whether every partition has a leader, so that producers can write to the topic.
pub(super) fn is_led(options: &Options, metadata: &Metadata) -> bool {
    metadata.topics().iter().any(|topic| {
        let mut partitions = topic.partitions().iter();
        topic.name() == options.topic
            && !topic.partitions().is_empty()
            && partitions.all(|partition| partition.leader() >= 0)
    })
}

async fn leaders(options: &Options, producer: &Producer) -> Result<usize, String> {
    let until = time::Instant::now() + LEADERS;
    loop {
        let metadata = producer.metadata(QUESTION.into()).await?;
        if is_led(options, &metadata)
            && let Some(partitions) = partitions(options, &metadata)?
        {
            return Ok(partitions);
        }
        if time::Instant::now() > until {
            return Err(format!("the topic {:?} was created and has no leaders yet", options.topic));
        }
        time::sleep(LOOK_AGAIN).await;
    }
}

async fn create(options: &Options) -> Result<(), String> {
    if let Some(region) = options.security.aws_region() {
        create_on_msk(options, region).await.map_err(|problem| advice(options, &problem))?;
        info!(topic = options.topic, partitions = options.partitions, "created the topic");
        return Ok(());
    }
    let admin = Admin::start(options).map_err(|error| error.to_string())?;
    let topic =
        NewTopic::new(&options.topic, options.partitions, TopicReplication::Fixed(options.replication));
    let created = admin.client.create_topics([&topic], &Admin::patience()).await;
    admin.stop();
    let result = created.map_err(|error| error.to_string())?.into_iter().next();
    match result {
        // Another process created it first.
        None | Some(Ok(_)) | Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => {
            info!(topic = options.topic, partitions = options.partitions, "created the topic");
            Ok(())
        }
        Some(Err((_, code))) => Err(advice(options, &code.to_string())),
    }
}

/// Fails, because this program creates no topic with AWS IAM. Functions may write to the topic, and none has the permission to
/// create one.
#[cfg(not(feature = "msk-admin"))]
#[allow(clippy::unused_async)]
async fn create_on_msk(_: &Options, _: &str) -> Result<(), String> {
    Err("this program creates none with mechanism=AWS_MSK_IAM; the command migrate does".to_owned())
}

/// The advice for a topic that is not there and that this process can't create.
fn advice(options: &Options, problem: &str) -> String {
    let Options { topic, partitions, replication, brokers, .. } = options;
    let replication =
        if *replication > 0 { format!(" --replication-factor {replication}") } else { String::new() };
    let (first, login) = if options.security.aws_region().is_some() { IAM_COMMAND } else { ("", "") };
    format!(
        "the topic {topic:?} is not there and can't be created from here ({problem}); whoever may has to: \
         {first}kafka-topics --bootstrap-server {brokers}{login} --create --topic {topic} --partitions {partitions}{replication}"
    )
}

/// Two parts of the command `kafka-topics` for a login by AWS IAM with the credentials at hand. The first comes before the
/// command, the second among its options ("Step 4: Create a topic", Amazon MSK Developer Guide). The jar aws-msk-iam-auth must be
/// on its class path.
const IAM_COMMAND: (&str, &str) = (
    "printf '%s\\n' security.protocol=SASL_SSL sasl.mechanism=AWS_MSK_IAM \
     'sasl.jaas.config=software.amazon.msk.auth.iam.IAMLoginModule required;' \
     sasl.client.callback.handler.class=software.amazon.msk.auth.iam.IAMClientCallbackHandler > iam.properties && \
     CLASSPATH=aws-msk-iam-auth-all.jar ",
    " --command-config iam.properties",
);

/// The topic's own limit; `None` when it is not known. A client that may write to a topic may not always ask for its limit. Then
/// the setting in the URL alone counts.
pub(super) async fn limit(options: &Options) -> Option<usize> {
    if options.security.aws_region().is_some() {
        return None;
    }
    let admin = Admin::start(options).ok()?;
    let asked = [ResourceSpecifier::Topic(&options.topic)];
    let described = admin.client.describe_configs(&asked, &Admin::patience()).await;
    admin.stop();
    let limit = described.and_then(|mut resources| match resources.pop() {
        Some(Ok(resource)) => Ok(resource.get("max.message.bytes").and_then(|entry| entry.value.clone())),
        Some(Err(code)) => Err(KafkaError::AdminOp(code)),
        None => Ok(None),
    });
    match limit {
        Ok(limit) => limit?.parse().ok(),
        Err(error) => {
            debug!(topic = options.topic, %error, "the topic's own limit is not known");
            None
        }
    }
}

/// A client for questions that producers can't ask. There is none with AWS IAM, because rdkafka's admin client never asks for a
/// token.
struct Admin {
    client: AdminClient<DefaultClientContext>,
}

impl Admin {
    fn start(options: &Options) -> Result<Self, KafkaError> {
        Ok(Self { client: client::settings(options).create()? })
    }

    fn patience() -> AdminOptions {
        AdminOptions::new().request_timeout(Some(QUESTION)).operation_timeout(Some(QUESTION))
    }

    /// Drops the client on a blocking thread. The drop waits a tenth of a second for the client's own thread, and no task should
    /// wait with it.
    fn stop(self) {
        task::spawn_blocking(move || drop(self.client));
    }
}

#[cfg(all(test, feature = "kafka-tls"))]
mod tests {
    use super::*;

    #[test]
    fn where_a_topic_cant_be_created_the_command_says_how_it_can() {
        let advice = |options: &str| advice(&Options::parse(options).unwrap(), "no");
        assert_eq!(
            advice(
                "//b-1:9098,b-2:9098/shop.events?partitions=4&replication=3&mechanism=AWS_MSK_IAM&region=eu-west-1"
            ),
            "the topic \"shop.events\" is not there and can't be created from here (no); whoever may has to: \
             printf '%s\\n' security.protocol=SASL_SSL sasl.mechanism=AWS_MSK_IAM \
             'sasl.jaas.config=software.amazon.msk.auth.iam.IAMLoginModule required;' \
             sasl.client.callback.handler.class=software.amazon.msk.auth.iam.IAMClientCallbackHandler > iam.properties && \
             CLASSPATH=aws-msk-iam-auth-all.jar kafka-topics --bootstrap-server b-1:9098,b-2:9098 --command-config iam.properties \
             --create --topic shop.events --partitions 4 --replication-factor 3"
        );
        assert!(advice("//one:1/t").ends_with(
            "whoever may has to: kafka-topics --bootstrap-server one:1 --create --topic t --partitions 8"
        ));
    }
}

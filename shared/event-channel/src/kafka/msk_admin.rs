//! Amazon MSK for tools: signs with the credentials of a role, wherever this process runs, and creates a topic with them. No
//! function needs this.
//!
//! rskafka creates the topic. librdkafka asks for a token only where its main queue is polled, and rdkafka's admin client never
//! polls that queue.

use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use rskafka::BackoffConfig;
use rskafka::client::error::{Error as KafkaError, ProtocolError};
use rskafka::client::{ClientBuilder, OauthBearerCredentials, OauthCallback, SaslConfig};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::runtime;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::msk_iam::{self, BoxError};
use super::options::Options;

/// The longest time that the creation of a topic may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// The longest time in milliseconds that the brokers may work on it.
const BROKERS: i32 = 5_000;

/// The credentials of this process: from its environment or profile, its ECS task or EKS pod, or its EC2 instance. Blocks until
/// they are there.
pub(super) fn credentials() -> Result<Credentials, BoxError> {
    // The caller may be a thread of a runtime, and such a thread may not block on another runtime.
    let asked = thread::spawn(|| {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(chain())
    });
    asked.join().unwrap_or_else(|_| Err("the look-up of credentials has ended".into()))
}

async fn chain() -> Result<Credentials, BoxError> {
    let http = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let config = ProviderConfig::default().with_http_client(http);
    let chain = DefaultCredentialsChain::builder().configure(config).build().await;
    let found = chain.provide_credentials().await;
    found.map_err(|error| aws_smithy_types::error::display::DisplayErrorContext(&error).to_string().into())
}

/// Creates the topic. A topic that is there already is no error.
///
/// # Errors
/// When these credentials may not create a topic, or no broker answers. The message is one line.
pub(super) async fn create(options: &Options, region: &str) -> Result<(), String> {
    let login = SaslConfig::Oauthbearer(OauthBearerCredentials {
        callback: token(region.to_owned()),
        authz_id: None,
        bearer_kvs: vec![],
    });
    let tls = tls(options.security.ca()).map_err(|error| error.to_string())?;
    let client = client(options).sasl_config(login).tls_config(Arc::new(tls));
    create_by(client, options).await
}

fn client(options: &Options) -> ClientBuilder {
    let brokers = options.brokers.split(',').map(str::to_owned).collect();
    let backoff = BackoffConfig { deadline: Some(PATIENCE), ..BackoffConfig::default() };
    ClientBuilder::new(brokers).client_id(options.client_id.as_str()).backoff_config(backoff)
}

async fn create_by(client: ClientBuilder, options: &Options) -> Result<(), String> {
    let replication = i16::try_from(options.replication).unwrap_or(-1);
    let asked = async {
        let controller = client.build().await?.controller_client()?;
        controller.create_topic(&options.topic, options.partitions, replication, BROKERS).await
    };
    match timeout(PATIENCE, asked).await {
        Ok(Ok(())) => Ok(()),
        // Another process created it first.
        Ok(Err(KafkaError::ServerError { protocol_error: ProtocolError::TopicAlreadyExists, .. })) => Ok(()),
        Ok(Err(error)) => Err(error.to_string().replace('\n', " ")),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

fn token(region: String) -> OauthCallback {
    Arc::new(move || {
        let region = region.clone();
        Box::pin(async move {
            let signed = spawn_blocking(move || {
                let token = credentials().and_then(|found| msk_iam::token(&region, found, SystemTime::now()));
                token.map(|token| token.token)
            });
            signed.await?
        })
    })
}

/// The TLS settings: with the certificate authorities in the file, or else with the public ones.
fn tls(ca: Option<&str>) -> Result<ClientConfig, BoxError> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(file) => {
            for certificate in CertificateDer::pem_slice_iter(&fs::read(file)?) {
                roots.add(certificate?)?;
            }
        }
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
    }
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(ring).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::process::Command;

    use super::*;

    const ENDPOINT: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";

    /// The answer in the form that "Amazon ECS task IAM role" documents.
    const ANSWER: &str = r#"{"AccessKeyId":"AKIDTASK","SecretAccessKey":"secret","Token":"session","Expiration":"2099-01-01T00:00:00Z"}"#;

    /// Serves `ANSWER` to every request, like the endpoint of an ECS task, until the test ends.
    fn endpoint() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 4096]);
                let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
                let _ = write!(stream, "{head}\r\ncontent-length: {}\r\n\r\n{ANSWER}", ANSWER.len());
            }
        });
        format!("http://{address}/role")
    }

    /// A process can't change its own variables safely. So the test starts itself again, with the variables of a task.
    #[test]
    fn a_task_signs_with_its_role() {
        if env::var_os(ENDPOINT).is_some() {
            let token = msk_iam::token("eu-west-1", credentials().unwrap(), SystemTime::now()).unwrap();
            println!("signed: {}", token.token);
            return;
        }
        let mut task = Command::new(env::current_exe().unwrap());
        task.args(["--exact", "kafka::msk_admin::tests::a_task_signs_with_its_role", "--nocapture"]);
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_")) {
            task.env_remove(name);
        }
        let nowhere = "/nowhere";
        task.env("AWS_CONFIG_FILE", nowhere).env("AWS_SHARED_CREDENTIALS_FILE", nowhere);
        let output = task.env(ENDPOINT, endpoint()).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let token = said.split("signed: ").nth(1).unwrap_or_else(|| panic!("{said}")).lines().next().unwrap();
        let url = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, token).unwrap();
        let url = String::from_utf8(url).unwrap();
        assert!(
            url.contains("X-Amz-Credential=AKIDTASK%2F") && url.contains("X-Amz-Security-Token=session"),
            "{url}"
        );
    }

    /// This runs without the login, which only MSK's brokers accept.
    #[tokio::test]
    async fn a_topic_is_created_once_and_then_it_is_there() {
        let Ok(kafka) = env::var("TEST_KAFKA") else {
            // Written past the test harness, which hides the output of tests that pass.
            let _ = std::io::stderr()
                .write_all(b"NOT RUN: a topic created by rskafka; set TEST_KAFKA=kafka://host:port\n");
            return;
        };
        let brokers = kafka.trim_start_matches("kafka://").split('/').next().unwrap();
        let topic = format!("msk-admin-{}", std::process::id());
        let options = Options::parse(&format!("//{brokers}/{topic}?partitions=3")).unwrap();
        for _ in 0..2 {
            create_by(client(&options), &options).await.unwrap();
        }
        let topics = client(&options).build().await.unwrap().list_topics().await.unwrap();
        let created = topics.iter().find(|found| found.name == topic).unwrap();
        assert_eq!(created.partitions.len(), 3);
        let controller = client(&options).build().await.unwrap().controller_client().unwrap();
        controller.delete_topic(&topic, BROKERS).await.unwrap();
    }

    #[tokio::test]
    async fn brokers_that_are_not_there_are_given_up_in_one_line() {
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let options =
            Options::parse(&format!("//{nobody}/t?mechanism=AWS_MSK_IAM&region=eu-west-1")).unwrap();
        let problem = create(&options, "eu-west-1").await.unwrap_err();
        assert!(!problem.is_empty() && !problem.contains('\n'), "{problem}");
    }
}

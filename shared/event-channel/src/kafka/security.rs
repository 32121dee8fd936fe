//! The connection's security: the protocol to the brokers, and how this process proves who it is.

use std::fmt;

use rdkafka::ClientConfig;

use crate::OpenError;

/// The error for a URL that can't be used, with the reason.
pub(super) fn refused(problem: String) -> OpenError {
    OpenError::Refused(format!("kafka: {problem}"))
}

/// The protocol, the certificates and the identity that a connection uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Security {
    protocol: Protocol,
    /// A file of certificates. Without it, the system's certificates are used.
    ca: Option<String>,
    identity: Identity,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Protocol {
    #[default]
    Plaintext,
    Tls,
    SaslPlaintext,
    SaslTls,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Identity {
    #[default]
    None,
    Login(Mechanism, Login),
    /// AWS IAM: tokens are signed with the credentials of the environment or, with the feature `msk-admin`, of the process's
    /// role.
    Aws {
        region: String,
    },
}

#[derive(Clone, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: String,
}

/// Shows neither the user nor the password.
impl fmt::Debug for Login {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Login")
    }
}

/// The method by which a process proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mechanism {
    Plain,
    ScramSha256,
    ScramSha512,
    AwsMskIam,
}

impl Mechanism {
    pub(super) fn parse(text: &str) -> Result<Self, OpenError> {
        Ok(match text {
            "PLAIN" => Self::Plain,
            "SCRAM-SHA-256" => Self::ScramSha256,
            "SCRAM-SHA-512" => Self::ScramSha512,
            "AWS_MSK_IAM" => Self::AwsMskIam,
            _ => {
                return Err(refused(format!(
                    "mechanism is {text:?}; it may be PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or AWS_MSK_IAM"
                )));
            }
        })
    }

    /// The mechanism's name in the protocol.
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::AwsMskIam => "OAUTHBEARER",
        }
    }
}

impl Protocol {
    fn parse(text: &str) -> Result<Self, OpenError> {
        Ok(match text {
            "plaintext" => Self::Plaintext,
            "tls" => Self::Tls,
            "sasl_plaintext" => Self::SaslPlaintext,
            "sasl_tls" => Self::SaslTls,
            _ => {
                return Err(refused(format!(
                    "security is {text:?}; it may be plaintext, tls, sasl_plaintext or sasl_tls"
                )));
            }
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Tls => "ssl",
            Self::SaslPlaintext => "sasl_plaintext",
            Self::SaslTls => "sasl_ssl",
        }
    }

    fn is_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslTls)
    }

    fn is_tls(self) -> bool {
        matches!(self, Self::Tls | Self::SaslTls)
    }
}

/// The security options of a URL, before they are checked together.
#[derive(Default)]
pub(super) struct SecurityOptions {
    pub(super) security: Option<String>,
    pub(super) mechanism: Option<Mechanism>,
    pub(super) ca: Option<String>,
    pub(super) region: Option<String>,
}

impl SecurityOptions {
    /// Checks the options together. With a user or AWS IAM, the default is TLS, so that no password is sent in clear text by
    /// mistake.
    pub(super) fn security(self, login: Option<Login>) -> Result<Security, OpenError> {
        let identity = identity(self.mechanism, login, self.region)?;
        let protocol = match &self.security {
            Some(text) => Protocol::parse(text)?,
            None if identity != Identity::None => Protocol::SaslTls,
            None if self.ca.is_some() => Protocol::Tls,
            None => Protocol::Plaintext,
        };
        let problem = match (&identity, protocol) {
            (Identity::None, protocol) if protocol.is_sasl() => {
                "security=sasl_… needs user:password@ before the brokers, or mechanism=AWS_MSK_IAM"
            }
            (Identity::Login(..) | Identity::Aws { .. }, protocol) if !protocol.is_sasl() => {
                "a user or a mechanism needs security=sasl_tls or security=sasl_plaintext"
            }
            (Identity::Aws { .. }, Protocol::SaslPlaintext) => {
                "mechanism=AWS_MSK_IAM needs security=sasl_tls"
            }
            (_, protocol) if self.ca.is_some() && !protocol.is_tls() => {
                "ca=… needs security=tls or security=sasl_tls"
            }
            _ if needs_tls_build(&identity, protocol) && !cfg!(feature = "kafka-tls") => {
                "TLS, SCRAM and AWS_MSK_IAM are not in this build; build it with --features kafka-tls"
            }
            _ => return Ok(Security { protocol, ca: self.ca, identity }),
        };
        Err(refused(problem.to_owned()))
    }
}

/// Returns whether this needs OpenSSL. Signed tokens and SCRAM do, as TLS itself does.
fn needs_tls_build(identity: &Identity, protocol: Protocol) -> bool {
    let hashes = match identity {
        Identity::None => false,
        Identity::Login(mechanism, _) => *mechanism != Mechanism::Plain,
        Identity::Aws { .. } => true,
    };
    hashes || protocol.is_tls()
}

fn identity(
    mechanism: Option<Mechanism>,
    login: Option<Login>,
    region: Option<String>,
) -> Result<Identity, OpenError> {
    match (mechanism, login, region) {
        (Some(Mechanism::AwsMskIam), None, Some(region)) => Ok(Identity::Aws { region }),
        (Some(Mechanism::AwsMskIam), ..) => Err(refused(
            "mechanism=AWS_MSK_IAM needs region=… and no user: it signs with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and \
             AWS_SESSION_TOKEN"
                .to_owned(),
        )),
        (_, _, Some(_)) => Err(refused("region=… goes with mechanism=AWS_MSK_IAM".to_owned())),
        (Some(_), None, None) => Err(refused("a mechanism needs user:password@ before the brokers".to_owned())),
        (mechanism, Some(login), None) => Ok(Identity::Login(mechanism.unwrap_or(Mechanism::ScramSha512), login)),
        (None, None, None) => Ok(Identity::None),
    }
}

impl Security {
    /// Sets the options of librdkafka.
    pub(super) fn apply(&self, config: &mut ClientConfig) {
        config.set("security.protocol", self.protocol.name());
        if self.protocol.is_tls() {
            // OpenSSL is linked statically. So librdkafka must search for the place where this system keeps its certificates.
            config.set("ssl.ca.location", self.ca.as_deref().unwrap_or("probe"));
        }
        match &self.identity {
            Identity::None => {}
            Identity::Login(mechanism, login) => {
                config.set("sasl.mechanism", mechanism.name());
                config.set("sasl.username", &login.user).set("sasl.password", &login.password);
            }
            Identity::Aws { .. } => {
                config.set("sasl.mechanism", Mechanism::AwsMskIam.name());
                // With IAM, a broker accepts few new connections a second, and the others fail. "Amazon MSK quota" asks for at
                // least one second between them.
                config.set("reconnect.backoff.ms", "1000").set("reconnect.backoff.max.ms", "10000");
            }
        }
    }

    /// The file with the brokers' certificate authorities, when the URL names one.
    #[cfg(feature = "msk-admin")]
    pub(super) fn ca(&self) -> Option<&str> {
        self.ca.as_deref()
    }

    /// The region of the brokers for which tokens are signed; `None` without AWS IAM.
    pub(super) fn aws_region(&self) -> Option<&str> {
        match &self.identity {
            Identity::Aws { region } => Some(region),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::Options;
    use super::*;

    /// The settings that librdkafka gets for a URL: protocol, mechanism, user, password.
    fn told(login: &str, options: &str) -> [Option<String>; 4] {
        let options = Options::parse(&format!("//{login}one:1/t?{options}")).unwrap();
        let mut config = ClientConfig::new();
        options.security.apply(&mut config);
        ["security.protocol", "sasl.mechanism", "sasl.username", "sasl.password"]
            .map(|name| config.get(name).map(str::to_owned))
    }

    fn refusal(login: &str, options: &str) -> String {
        Options::parse(&format!("//{login}one:1/t?{options}")).unwrap_err().to_string()
    }

    #[test]
    fn only_what_needs_no_openssl_goes_without_the_feature() {
        let plain = Identity::Login(Mechanism::Plain, Login { user: String::new(), password: String::new() });
        assert!(!needs_tls_build(&Identity::None, Protocol::Plaintext));
        assert!(!needs_tls_build(&plain, Protocol::SaslPlaintext));
        let scram =
            Identity::Login(Mechanism::ScramSha256, Login { user: String::new(), password: String::new() });
        assert!(needs_tls_build(&scram, Protocol::SaslPlaintext));
        assert!(needs_tls_build(&plain, Protocol::SaslTls));
        assert!(needs_tls_build(&Identity::None, Protocol::Tls));
        if !cfg!(feature = "kafka-tls") {
            assert!(refusal("", "security=tls").contains("--features kafka-tls"));
        }
    }

    #[cfg(feature = "kafka-tls")]
    #[test]
    fn brokers_that_count_connections_are_not_asked_again_within_a_second() {
        let backoff = |options: &str| {
            let options = Options::parse(&format!("//one:1/t?{options}")).unwrap();
            let config = super::super::client::settings(&options);
            ["reconnect.backoff.ms", "reconnect.backoff.max.ms"]
                .map(|name| config.get(name).unwrap().to_owned())
        };
        assert_eq!(backoff("mechanism=AWS_MSK_IAM&region=r"), ["1000", "10000"]);
        assert_eq!(backoff(""), ["5", "1000"]);
    }

    #[cfg(feature = "kafka-tls")]
    #[test]
    fn without_a_user_brokers_are_reached_as_the_url_says() {
        let protocol = |options| told("", options)[0].clone().unwrap();
        assert_eq!(protocol(""), "plaintext");
        assert_eq!(protocol("security=tls"), "ssl");
        assert_eq!(protocol("ca=/dev/null"), "ssl");
    }

    #[cfg(feature = "kafka-tls")]
    #[test]
    fn a_user_is_sent_over_tls_and_by_scram_unless_the_url_says_otherwise() {
        let said = |said: [&str; 4]| said.map(|said| Some(said.to_owned()));
        assert_eq!(told("ann:p%40%3a%2Bss+@", ""), said(["sasl_ssl", "SCRAM-SHA-512", "ann", "p@:+ss+"]));
        assert_eq!(
            told("ann:pw@", "security=sasl_plaintext&mechanism=PLAIN"),
            said(["sasl_plaintext", "PLAIN", "ann", "pw"])
        );
        assert_eq!(
            told("ann:pw@", "mechanism=SCRAM-SHA-256"),
            said(["sasl_ssl", "SCRAM-SHA-256", "ann", "pw"])
        );
    }

    #[cfg(feature = "kafka-tls")]
    #[test]
    fn aws_iam_is_a_bearer_token_over_tls() {
        let told = told("", "mechanism=AWS_MSK_IAM&region=eu-west-1");
        assert_eq!(told, [Some("sasl_ssl".to_owned()), Some("OAUTHBEARER".to_owned()), None, None]);
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for (login, options, said) in [
            ("", "security=sasl_tls", "needs user:password@"),
            ("", "mechanism=PLAIN", "needs user:password@"),
            ("ann:pw@", "security=tls", "needs security=sasl_tls"),
            ("ann:pw@", "mechanism=AWS_MSK_IAM&region=r", "needs region=… and no user"),
            ("", "mechanism=AWS_MSK_IAM", "needs region=… and no user"),
            ("", "mechanism=AWS_MSK_IAM&region=r&security=sasl_plaintext", "needs security=sasl_tls"),
            ("", "region=r", "goes with mechanism=AWS_MSK_IAM"),
            ("", "security=plaintext&ca=/dev/null", "needs security=tls"),
        ] {
            let refusal = refusal(login, options);
            assert!(refusal.contains(said), "{login}{options}: {refusal}");
        }
    }

    #[cfg(feature = "kafka-tls")]
    #[test]
    fn librdkafka_knows_every_setting_of_this_build() {
        for (login, options) in [
            ("", "security=tls"),
            ("ann:pw@", "mechanism=PLAIN"),
            ("ann:pw@", "mechanism=SCRAM-SHA-256"),
            ("ann:pw@", "mechanism=SCRAM-SHA-512"),
            ("", "mechanism=AWS_MSK_IAM&region=r"),
        ] {
            let options = Options::parse(&format!("//{login}127.0.0.1:9/t?{options}")).unwrap();
            let mut config = ClientConfig::new();
            options.security.apply(&mut config);
            let client: Result<rdkafka::producer::BaseProducer, _> = config.create();
            assert!(client.is_ok(), "{:?}", client.err());
        }
    }
}

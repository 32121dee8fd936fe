//! Tokens for Amazon MSK's IAM access control. A token is a presigned URL, as `aws-msk-iam-sasl-signer` makes it ("Amazon MSK
//! Library in Python for SASL/OAUTHBEARER Auth"). The caller brings the credentials.

use std::borrow::Cow;
use std::error::Error;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use form_urlencoded::Serializer;
use rdkafka::client::OAuthToken;

/// The time for which brokers accept a token. librdkafka asks for the next one when four fifths of it have passed.
const LIFETIME: Duration = Duration::from_secs(900);

/// The name of this client in the brokers' logs.
const USER_AGENT: &str = concat!("event-channel/", env!("CARGO_PKG_VERSION"));

pub(super) type BoxError = Box<dyn Error + Send + Sync>;

/// The credentials in this process's environment, as Lambda gives them. With the feature `msk-admin`, `msk_admin` also looks for
/// those of roles.
#[cfg(not(feature = "msk-admin"))]
pub(super) fn credentials() -> Result<Credentials, BoxError> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let needed =
        |name: &str| variable(name).ok_or_else(|| format!("the environment variable {name} is not set"));
    let (id, secret) = (needed("AWS_ACCESS_KEY_ID")?, needed("AWS_SECRET_ACCESS_KEY")?);
    Ok(Credentials::new(id, secret, variable("AWS_SESSION_TOKEN"), None, "environment"))
}

/// Returns a token that proves to the brokers of a region who this process is, valid from `now` on.
pub(super) fn token(region: &str, credentials: Credentials, now: SystemTime) -> Result<OAuthToken, BoxError> {
    // A signature's time has no fractions of a second.
    let since_1970 = Duration::from_secs(now.duration_since(UNIX_EPOCH)?.as_secs());
    let url = format!("https://kafka.{region}.amazonaws.com/?Action=kafka-cluster%3AConnect");
    let signature = signature(&url, region, credentials, UNIX_EPOCH + since_1970)?;
    let mut query = Serializer::new(format!("{url}&"));
    query.extend_pairs(signature);
    // This parameter is not signed, because it is only for the brokers' logs.
    query.append_pair("User-Agent", USER_AGENT);
    Ok(OAuthToken {
        token: URL_SAFE_NO_PAD.encode(query.finish()),
        principal_name: "aws-msk-iam".to_owned(),
        lifetime_ms: i64::try_from((since_1970 + LIFETIME).as_millis())?,
    })
}

fn signature(
    url: &str,
    region: &str,
    credentials: Credentials,
    now: SystemTime,
) -> Result<Vec<(&'static str, Cow<'static, str>)>, BoxError> {
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(LIFETIME);
    let identity = credentials.into();
    let params = SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("kafka-cluster")
        .time(now)
        .settings(settings)
        .build()?
        .into();
    let request = SignableRequest::new("GET", url, std::iter::empty(), SignableBody::Bytes(&[]))?;
    let (_, query) = sign(request, &params)?.into_parts().0.into_parts();
    Ok(query)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// 2023-11-14 22:13:20.9 UTC.
    fn then() -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(1_700_000_000_900)
    }

    fn credentials(session: Option<&str>) -> Credentials {
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        Credentials::new("AKIDEXAMPLE", secret, session.map(str::to_owned), None, "test")
    }

    /// Takes a token apart: the URL without its query, and the query's parameters.
    fn read(token: &OAuthToken) -> (String, BTreeMap<String, String>) {
        let url = String::from_utf8(URL_SAFE_NO_PAD.decode(&token.token).unwrap()).unwrap();
        let (place, query) = url.split_once('?').unwrap();
        (place.to_owned(), form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    #[test]
    fn a_token_is_the_url_that_the_signer_of_aws_would_make() {
        let token = token("eu-west-1", credentials(None), then()).unwrap();
        let (place, query) = read(&token);
        assert_eq!(place, "https://kafka.eu-west-1.amazonaws.com/");
        // The signature was calculated separately, by "Create a signed AWS API request" of the AWS IAM User Guide.
        let expected = [
            ("Action", "kafka-cluster:Connect"),
            ("User-Agent", USER_AGENT),
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
            ("X-Amz-Credential", "AKIDEXAMPLE/20231114/eu-west-1/kafka-cluster/aws4_request"),
            ("X-Amz-Date", "20231114T221320Z"),
            ("X-Amz-Expires", "900"),
            ("X-Amz-Signature", "26794ad200e10e2e7b4c6228b6953ca4aaa8dfc38515ae16882689fcb5f066a9"),
            ("X-Amz-SignedHeaders", "host"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(query, BTreeMap::from(expected));
    }

    #[test]
    fn the_token_of_a_session_is_signed_with_it() {
        let token = token("eu-west-1", credentials(Some("session+token/=")), then()).unwrap();
        let (_, query) = read(&token);
        assert_eq!(query["X-Amz-Security-Token"], "session+token/=");
        assert_eq!(
            query["X-Amz-Signature"],
            "0628bc0d356b9eacde8fc24974aa1dcfb8a44a27cbfa6f99eb340e39fb14301c"
        );
    }

    #[test]
    fn a_token_ends_when_its_signature_does() {
        let token = token("eu-west-1", credentials(None), then()).unwrap();
        assert_eq!(token.lifetime_ms, (1_700_000_000 + 900) * 1_000);
    }

    #[test]
    fn a_token_has_no_characters_that_end_a_bearer_token() {
        let token = token("eu-west-1", credentials(Some("a?b=c&d")), then()).unwrap().token;
        assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')));
    }
}

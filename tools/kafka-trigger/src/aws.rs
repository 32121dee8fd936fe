//! The shared parts of requests to AWS, and to servers that stand in for AWS: base URLs, clients and signatures of version 4.

use std::error::Error;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4::SigningParams;
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Body, Client, ClientBuilder, Request, Url};

/// An AWS service, by the name that signatures use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    Glue,
    Lambda,
    S3,
    Sns,
    Sqs,
}

impl Service {
    fn name(self) -> &'static str {
        match self {
            Self::Glue => "glue",
            Self::Lambda => "lambda",
            Self::S3 => "s3",
            Self::Sns => "sns",
            Self::Sqs => "sqs",
        }
    }

    /// Returns the settings of the service's signatures. S3 takes paths as they are, and wants the body's checksum in a header.
    fn settings(self) -> SigningSettings {
        let mut settings = SigningSettings::default();
        if self == Self::S3 {
            settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
            settings.percent_encoding_mode = PercentEncodingMode::Single;
            settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        }
        settings
    }
}

/// Signs requests to one service in one region.
pub(crate) struct Signer {
    pub(crate) service: Service,
    pub(crate) region: String,
    pub(crate) credentials: Credentials,
}

/// The request can't be signed.
#[derive(Debug, thiserror::Error)]
#[error("the request can't be signed: {0}")]
pub(crate) struct SigningError(String);

impl Signer {
    /// Adds the headers of Signature Version 4. The signature covers the method, the URL, the headers and the body.
    pub(crate) fn sign(&self, request: &mut Request, now: SystemTime) -> Result<(), SigningError> {
        let headers = self.headers(request, now)?;
        request.headers_mut().extend(headers);
        Ok(())
    }

    fn headers(
        &self,
        request: &Request,
        now: SystemTime,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, SigningError> {
        let identity = self.credentials.clone().into();
        let params = SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(self.service.name())
            .time(now)
            .settings(self.service.settings())
            .build()
            .map_err(unsigned)?
            .into();
        let headers = request.headers().iter();
        let headers = headers.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let body = request.body().and_then(Body::as_bytes).unwrap_or_default();
        let (method, url) = (request.method().as_str(), request.url().as_str());
        let signable = SignableRequest::new(method, url, headers, SignableBody::Bytes(body));
        let signed = sign(signable.map_err(unsigned)?, &params).map_err(unsigned)?;
        let mut added = Vec::new();
        for header in signed.into_parts().0.into_parts().0 {
            let value = HeaderValue::from_str(header.value()).map_err(unsigned)?;
            added.push((HeaderName::from_static(header.name()), value));
        }
        Ok(added)
    }
}

fn unsigned(error: impl fmt::Display) -> SigningError {
    SigningError(error.to_string())
}

/// Reads the credentials from the environment: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and, if it is set,
/// `AWS_SESSION_TOKEN`.
///
/// # Errors
/// When a required variable is missing or empty. The error is the name of the first such variable.
pub(crate) fn credentials(
    variable: impl Fn(&'static str) -> Option<String>,
) -> Result<Credentials, &'static str> {
    let variable = |name| variable(name).filter(|value| !value.is_empty());
    let needed = |name| variable(name).ok_or(name);
    let (id, secret) = (needed("AWS_ACCESS_KEY_ID")?, needed("AWS_SECRET_ACCESS_KEY")?);
    Ok(Credentials::new(id, secret, variable("AWS_SESSION_TOKEN"), None, "environment"))
}

/// Returns credentials for a server that stands in for AWS. Such a server accepts any credentials.
pub(crate) fn made_up_credentials() -> Credentials {
    Credentials::new("test", "test", None, None, "made up")
}

/// The environment of the examples in AWS's documentation.
#[cfg(test)]
pub(crate) fn example_variables(name: &str) -> Option<String> {
    let value = match name {
        "AWS_ACCESS_KEY_ID" => "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY" => "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        _ => return None,
    };
    Some(value.to_owned())
}

/// The network in which a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// This machine or its own network. Requests use no proxy.
    Local,
    /// The internet. Requests use the environment's proxy, if it has one.
    Internet,
}

/// Returns a client that follows no redirects.
pub(crate) fn client(reach: Network) -> Result<Client, reqwest::Error> {
    builder(reach).build()
}

/// Returns a client that follows no redirects. Its requests take no longer than `patience`.
pub(crate) fn patient_client(reach: Network, patience: Duration) -> Result<Client, reqwest::Error> {
    builder(reach).timeout(patience).build()
}

fn builder(reach: Network) -> ClientBuilder {
    // This fails only if another part of the process has installed a provider. That provider serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = Client::builder().redirect(reqwest::redirect::Policy::none());
    match reach {
        Network::Local => builder.no_proxy(),
        Network::Internet => builder,
    }
}

/// A URL to which paths are appended. It has no slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl(Arc<str>);

/// The text is not a base URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} must be http://HOST:PORT or https://HOST")]
pub struct InvalidBaseUrl(String);

impl FromStr for BaseUrl {
    type Err = InvalidBaseUrl;

    fn from_str(text: &str) -> Result<Self, InvalidBaseUrl> {
        let is_one = |url: Url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.query().is_none()
                && url.fragment().is_none()
        };
        if !Url::parse(text).is_ok_and(is_one) {
            return Err(InvalidBaseUrl(text.to_owned()));
        }
        Ok(Self(text.trim_end_matches('/').into()))
    }
}

impl BaseUrl {
    /// Returns the server's network. A server without TLS is on this machine or in its network.
    pub(crate) fn reach(&self) -> Network {
        let is_plain = self.0.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http:"));
        if is_plain { Network::Local } else { Network::Internet }
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Returns the innermost cause of an error. It names the problem, such as a refused connection. The outer error says only that
/// the request could not be sent.
pub(crate) fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

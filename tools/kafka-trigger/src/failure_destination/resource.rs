//! Reads the ARN of a failure destination.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::aws::Service;
use event_source_mapping::message::cut;

/// A standard queue of SQS, a standard topic of SNS, or a bucket of S3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsResource {
    arn: String,
    pub(super) kind: ResourceKind,
    /// The region; `None` for a bucket, because its ARN has no region.
    region: Option<String>,
    account: String,
    name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ResourceKind {
    Bucket,
    Queue,
    Topic,
}

impl ResourceKind {
    pub(super) fn service(self) -> Service {
        match self {
            Self::Bucket => Service::S3,
            Self::Queue => Service::Sqs,
            Self::Topic => Service::Sns,
        }
    }
}

/// The text does not name a resource that can be a failure destination.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{0} is not a failure destination; it must be the ARN of a standard queue of SQS, a standard topic of SNS or a bucket of S3"
)]
pub struct InvalidResource(String);

impl FromStr for AwsResource {
    type Err = InvalidResource;

    fn from_str(arn: &str) -> Result<Self, InvalidResource> {
        parse(arn).ok_or_else(|| InvalidResource(cut(arn, 200)))
    }
}

fn parse(arn: &str) -> Option<AwsResource> {
    let parts: Vec<&str> = arn.split(':').collect();
    let (kind, region, account, name) = match parts[..] {
        ["arn", _, "sqs", region, account, name] => (ResourceKind::Queue, Some(region), account, name),
        ["arn", _, "sns", region, account, name] => (ResourceKind::Topic, Some(region), account, name),
        ["arn", _, "s3", "", "", name] => (ResourceKind::Bucket, None, "", name),
        _ => return None,
    };
    let is_allowed = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || byte == b'-'
            || byte == if kind == ResourceKind::Bucket { b'.' } else { b'_' }
    };
    let is_account = kind == ResourceKind::Bucket
        || !account.is_empty() && account.bytes().all(|byte| byte.is_ascii_digit());
    let is_one = is_account && region != Some("") && !name.is_empty() && name.bytes().all(is_allowed);
    is_one.then(|| AwsResource {
        arn: arn.to_owned(),
        kind,
        region: region.map(str::to_owned),
        account: account.to_owned(),
        name: name.to_owned(),
    })
}

impl AwsResource {
    /// The resource's ARN.
    #[must_use]
    pub fn arn(&self) -> &str {
        &self.arn
    }

    pub(super) fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    pub(super) fn account(&self) -> &str {
        &self.account
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for AwsResource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.arn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_topics_and_buckets_are_known_by_their_arns() {
        for (arn, kind, region, account, name) in [
            (
                "arn:aws:sqs:eu-west-1:123456789012:dead",
                ResourceKind::Queue,
                Some("eu-west-1"),
                "123456789012",
                "dead",
            ),
            ("arn:aws:sns:us-east-1:1:given_up", ResourceKind::Topic, Some("us-east-1"), "1", "given_up"),
            ("arn:aws-cn:s3:::a.bucket", ResourceKind::Bucket, None, "", "a.bucket"),
        ] {
            let resource: AwsResource = arn.parse().unwrap();
            assert_eq!((resource.kind, resource.region()), (kind, region));
            assert_eq!((resource.account(), resource.name(), resource.arn()), (account, name, arn));
        }
    }

    #[test]
    fn what_takes_nothing_is_refused_with_what_does() {
        for text in [
            "",
            "dead",
            "kafka://dead",
            "arn:aws:sqs:eu-west-1:1:dead.fifo",
            "arn:aws:sns:eu-west-1:1:dead.fifo",
            "arn:aws:sns:eu-west-1:1:topic:0f1e2d3c",
            "arn:aws:sqs:eu-west-1::dead",
            "arn:aws:sqs::1:dead",
            "arn:aws:sqs:eu-west-1:1:",
            "arn:aws:s3:::bucket/prefix",
            "arn:aws:lambda:eu-west-1:1:function:f",
        ] {
            let said = text.parse::<AwsResource>().unwrap_err().to_string();
            assert!(said.starts_with(text) && said.contains("a standard queue of SQS"), "{said}");
        }
    }
}

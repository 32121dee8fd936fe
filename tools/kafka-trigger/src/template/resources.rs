//! The values of `Ref` and `Fn::GetAtt` for resources whose ARN follows from their name. They are those under "Return values" on
//! the pages of the resource types in the CloudFormation "Template reference". The region and the account are those of the pseudo
//! parameters. If a deployment makes up a part, such as the end of a cluster's ARN, it is made up here.

use super::evaluate::Evaluator;
use super::functions::{self, LATEST, SERVERLESS};
use super::node::Node;

/// The names of resources of some types, and their references. The patterns may contain `{name}`, `{arn}`, `{partition}`,
/// `{region}`, `{account}` and `{suffix}`.
pub(super) struct ResourceType {
    types: &'static [&'static str],
    name: NameSource,
    arn: &'static str,
    /// The pattern for the value of `Ref`.
    reference: &'static str,
    /// The attributes of `Fn::GetAtt`, and the patterns for their values.
    attributes: &'static [(&'static str, &'static str)],
}

enum NameSource {
    /// A property, or else the logical id.
    Property(&'static str),
    /// The function's name and the alias's own name.
    Alias,
    /// The function's name and the version before any deployment.
    Version,
}

const FUNCTION_ARN: &str = "arn:{partition}:lambda:{region}:{account}:function:{name}";

const ALIAS: ResourceType = ResourceType {
    types: &["AWS::Lambda::Alias"],
    name: NameSource::Alias,
    arn: FUNCTION_ARN,
    reference: "{arn}",
    attributes: &[("AliasArn", "{arn}"), ("Arn", "{arn}")],
};
const VERSION: ResourceType = ResourceType {
    types: &["AWS::Lambda::Version"],
    name: NameSource::Version,
    arn: FUNCTION_ARN,
    reference: "{arn}",
    attributes: &[("FunctionArn", "{arn}"), ("Arn", "{arn}"), ("Version", LATEST)],
};
const ROLE: ResourceType = ResourceType {
    types: &["AWS::IAM::Role"],
    name: NameSource::Property("RoleName"),
    arn: "arn:{partition}:iam::{account}:role/{name}",
    reference: "{name}",
    attributes: &[("Arn", "{arn}")],
};

static KINDS: &[ResourceType] = &[
    ResourceType {
        types: &["AWS::Lambda::Function", SERVERLESS],
        name: NameSource::Property("FunctionName"),
        arn: FUNCTION_ARN,
        reference: "{name}",
        attributes: &[("Arn", "{arn}")],
    },
    ALIAS,
    VERSION,
    ROLE,
    ResourceType {
        types: &["AWS::MSK::Cluster", "AWS::MSK::ServerlessCluster"],
        name: NameSource::Property("ClusterName"),
        arn: "arn:{partition}:kafka:{region}:{account}:cluster/{name}/00000000-0000-0000-0000-000000000000-1",
        reference: "{arn}",
        attributes: &[("Arn", "{arn}")],
    },
    ResourceType {
        types: &["AWS::SQS::Queue"],
        name: NameSource::Property("QueueName"),
        arn: "arn:{partition}:sqs:{region}:{account}:{name}",
        reference: "https://sqs.{region}.{suffix}/{account}/{name}",
        attributes: &[
            ("Arn", "{arn}"),
            ("QueueName", "{name}"),
            ("QueueUrl", "https://sqs.{region}.{suffix}/{account}/{name}"),
        ],
    },
    ResourceType {
        types: &["AWS::SNS::Topic"],
        name: NameSource::Property("TopicName"),
        arn: "arn:{partition}:sns:{region}:{account}:{name}",
        reference: "{arn}",
        attributes: &[("TopicArn", "{arn}"), ("TopicName", "{name}")],
    },
    ResourceType {
        types: &["AWS::S3::Bucket"],
        name: NameSource::Property("BucketName"),
        arn: "arn:{partition}:s3:::{name}",
        reference: "{name}",
        attributes: &[("Arn", "{arn}")],
    },
    ResourceType {
        types: &["AWS::Kinesis::Stream"],
        name: NameSource::Property("Name"),
        arn: "arn:{partition}:kinesis:{region}:{account}:stream/{name}",
        reference: "{name}",
        attributes: &[("Arn", "{arn}")],
    },
    ResourceType {
        types: &["AWS::DynamoDB::Table"],
        name: NameSource::Property("TableName"),
        arn: "arn:{partition}:dynamodb:{region}:{account}:table/{name}",
        reference: "{name}",
        attributes: &[("Arn", "{arn}"), ("StreamArn", "{arn}/stream/2015-05-11T21:21:33.291")],
    },
    ResourceType {
        types: &["AWS::SecretsManager::Secret"],
        name: NameSource::Property("Name"),
        arn: "arn:{partition}:secretsmanager:{region}:{account}:secret:{name}-000000",
        reference: "{arn}",
        attributes: &[("Id", "{arn}")],
    },
    ResourceType {
        types: &["AWS::Glue::Registry"],
        name: NameSource::Property("Name"),
        arn: "arn:{partition}:glue:{region}:{account}:registry/{name}",
        reference: "{arn}",
        attributes: &[("Arn", "{arn}")],
    },
];

impl Evaluator<'_> {
    /// Returns the value of a `Ref` to a resource, if it follows from the resource's name.
    pub(super) fn resource_reference(&self, id: &str) -> Option<String> {
        let (kind, name) = self.kind_and_name(id)?;
        Some(self.fill(kind.reference, kind, &name))
    }

    /// Returns the value of `Fn::GetAtt` of a resource, if it follows from the resource's name.
    pub(super) fn resource_attribute(&self, id: &str, attribute: &str) -> Option<String> {
        let (kind, name) = self.kind_and_name(id)?;
        let (_, pattern) = kind.attributes.iter().find(|(name, _)| *name == attribute)?;
        Some(self.fill(pattern, kind, &name))
    }

    /// Returns the logical id of the resource with this ARN, if the ARN ends with the resource's name. It evaluates the names of
    /// no other kinds of resources.
    pub(super) fn resource_of_arn(&self, arn: &str) -> Option<String> {
        let is_it = |(id, resource): (&String, &Node)| {
            let name = arn.strip_prefix(&self.fill("{arn}", kind_of(resource)?, ""))?;
            (self.kind_and_name(id)?.1 == name).then(|| id.clone())
        };
        functions::resources(self).find_map(is_it)
    }

    /// Returns the name of a resource, if its kind is known here. If the name depends on itself, it is the logical id.
    pub(super) fn resource_name(&self, id: &str) -> Option<String> {
        let resource = self.template.at(&["Resources", id])?;
        let kind = kind_of(resource)?;
        if let Some(known) = self.names.borrow().get(id) {
            return Some(known.clone().unwrap_or_else(|| id.to_owned()));
        }
        self.names.borrow_mut().insert(id.to_owned(), None);
        let default = matches!(kind.name, NameSource::Property(_)).then(|| id.to_owned());
        let name = self.name_by(kind, id, resource).or(default);
        match &name {
            Some(name) => self.names.borrow_mut().insert(id.to_owned(), Some(name.clone())),
            None => self.names.borrow_mut().remove(id),
        };
        name
    }

    fn name_by(&self, kind: &ResourceType, id: &str, resource: &Node) -> Option<String> {
        let text = |name| self.text(resource.at(&["Properties", name])?).ok();
        let of_function = |qualifier: &str| {
            let function = text("FunctionName")?;
            Some(format!("{}:{qualifier}", functions::parts(&function).0))
        };
        match kind.name {
            NameSource::Property(property) => {
                let given = self.given.get(id).filter(|_| kind.reference == "{name}").cloned();
                given.or_else(|| text(property))
            }
            NameSource::Alias => of_function(&text("Name")?),
            NameSource::Version => of_function(LATEST),
        }
    }

    fn kind_and_name(&self, id: &str) -> Option<(&'static ResourceType, String)> {
        let Some(resource) = self.template.at(&["Resources", id]) else { return self.of_sam(id) };
        let kind = kind_of(resource).filter(|_| !matches!(functions::holds(self, resource), Ok(false)))?;
        Some((kind, self.resource_name(id)?))
    }

    /// Returns a resource that SAM makes of a function. A template refers to it as `Function.Alias` or `Function.Version`. In the
    /// stack it is `FunctionAliasNAME` or `FunctionRole`.
    fn of_sam(&self, id: &str) -> Option<(&'static ResourceType, String)> {
        let published = |function: &str| {
            let alias = functions::auto_published(self, self.serverless(function)?)?;
            Some((self.resource_name(function)?, alias))
        };
        if let Some((name, _)) = id.strip_suffix(".Version").and_then(published) {
            return Some((&VERSION, format!("{name}:{LATEST}")));
        }
        if let Some((name, alias)) = id.strip_suffix(".Alias").and_then(published) {
            return Some((&ALIAS, format!("{name}:{alias}")));
        }
        if let Some(function) = id.strip_suffix("Role").and_then(|function| self.serverless(function)) {
            let has_role = functions::property(self, function, "Role").is_some();
            return (!has_role).then(|| (&ROLE, id.to_owned()));
        }
        id.match_indices("Alias").find_map(|(place, separator)| {
            let (name, alias) = published(&id[..place])?;
            (alias == id[place + separator.len()..]).then(|| (&ALIAS, format!("{name}:{alias}")))
        })
    }

    /// Returns a SAM function, if it exists.
    fn serverless(&self, id: &str) -> Option<&Node> {
        let resource = self.template.at(&["Resources", id])?;
        let is_one = resource.get("Type").and_then(Node::text) == Some(SERVERLESS);
        (is_one && !matches!(functions::holds(self, resource), Ok(false))).then_some(resource)
    }

    fn fill(&self, pattern: &str, kind: &ResourceType, name: &str) -> String {
        let pseudo = |name: &str| self.pseudo_parameter(name).unwrap_or_default();
        pattern
            .replace("{arn}", kind.arn)
            .replace("{partition}", &pseudo("AWS::Partition"))
            .replace("{region}", &pseudo("AWS::Region"))
            .replace("{account}", &pseudo("AWS::AccountId"))
            .replace("{suffix}", &pseudo("AWS::URLSuffix"))
            .replace("{name}", name)
    }
}

fn kind_of(resource: &Node) -> Option<&'static ResourceType> {
    let wanted = resource.get("Type")?.text()?;
    KINDS.iter().find(|kind| kind.types.contains(&wanted))
}

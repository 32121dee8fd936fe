//! Two stacks fit into one account and region, and the settings of a stack fit together.

use serde_json::{Value, json};

use super::{consumers, function_name, resources, template, text};

/// The properties that are names. Without them AWS would make a name by itself ("Physical resource names").
const NAMES: [&str; 13] = [
    "AlarmName",
    "DashboardName",
    "DestinationName",
    "FunctionName",
    "GroupName",
    "LogGroupName",
    "ManagedPolicyName",
    "Name",
    "PolicyName",
    "PollerGroupName",
    "QueueName",
    "RoleName",
    "TopicName",
];

/// Returns `true` if a name differs from stack to stack. It then has the stack's name in it, or is CloudFormation's own name of a
/// resource, also where a condition chooses one.
fn is_of_the_stack(template: &Value, name: &Value) -> bool {
    let id = name["Ref"].as_str().or_else(|| name["Fn::GetAtt"].as_str()).and_then(|id| id.split('.').next());
    let branches = name["Fn::If"].as_array();
    id.is_some_and(|id| template["Resources"].get(id).is_some())
        || branches
            .is_some_and(|branches| branches[1..].iter().all(|branch| is_of_the_stack(template, branch)))
        || *name == json!({"Ref": "AWS::StackName"})
        || name["Fn::Sub"].as_str().is_some_and(|text| text.contains("${AWS::StackName}"))
}

#[test]
fn no_resource_has_a_literal_name() {
    let template = template();
    let all = template["Resources"].as_object().unwrap();
    let mut found = 0;
    for (id, resource) in all {
        for name in NAMES {
            let Some(value) = resource["Properties"].get(name) else { continue };
            // An authorizer's name is only a label within its API, and a domain's record has the name that a parameter gives.
            if resource["Type"] == "AWS::ApiGatewayV2::Authorizer" || *value == json!({"Ref": "DomainName"}) {
                continue;
            }
            assert!(is_of_the_stack(&template, value), "{name} of {id} is {value} in every stack");
            found += 1;
        }
    }
    assert!(found >= 10, "the names are no longer found: {found}");
    // SAM names the resource that it makes for an event by its logical id, unless `OmitName` is set.
    for (id, function) in resources(&template, "AWS::Serverless::Function") {
        for event in
            function["Properties"]["Events"].as_object().into_iter().flat_map(serde_json::Map::values)
        {
            assert_eq!(event["Properties"]["OmitName"], true, "{id} has a schedule of a literal name");
        }
    }
}

/// A function that is not in the list would be missing from what the query finds.
#[test]
fn every_query_reads_the_logs_of_all_functions() {
    let template = template();
    for (id, query) in resources(&template, "AWS::Logs::QueryDefinition") {
        let read = query["Properties"]["LogGroupNames"].as_array().unwrap();
        for function in resources(&template, "AWS::Serverless::Function").into_values() {
            let log = &function["Properties"]["LoggingConfig"]["LogGroup"];
            assert!(read.contains(log), "{id} does not read {log}");
        }
    }
}

/// Without the prefix, two stacks on one cluster would share each other's partitions.
#[test]
fn consumer_groups_have_the_prefix_in_mappings_and_policies() {
    let template = template();
    for (id, mapping) in resources(&template, "AWS::Lambda::EventSourceMapping") {
        let groups = ["AmazonManagedKafkaEventSourceConfig", "SelfManagedKafkaEventSourceConfig"];
        let group = groups
            .iter()
            .find_map(|config| mapping["Properties"][config]["ConsumerGroupId"]["Fn::Sub"].as_str());
        assert!(group.is_some_and(|group| group.starts_with("${GroupPrefix}")), "{id}: {group:?}");
        // The output names them for whoever sets a group back by hand.
        let told = text(&template["Outputs"]["ConsumerGroups"]["Value"]["Fn::Sub"]);
        assert!(told.split(',').any(|told| Some(told) == group), "{id}: {group:?} is not among {told}");
    }
    let consumers = consumers(&template);
    for id in resources(&template, "AWS::Serverless::Function").into_keys() {
        if !consumers.contains(&function_name(&template, &id)) {
            continue;
        }
        let policy = template["Resources"][format!("JoinAs{id}")].to_string();
        assert!(policy.contains("${Groups}/${GroupPrefix}orders-"), "{policy}");
    }
}

/// A parameter names brokers, topic and mechanism once, for mappings and functions.
#[test]
fn mappings_and_functions_log_in_alike() {
    let template = template();
    let channel =
        &template["Globals"]["Function"]["Environment"]["Variables"]["ORDERS_CHANNEL"]["Fn::If"][2]["Fn::If"];
    assert_eq!(channel[0], "HasKafkaSecret");
    let url = text(&channel[1]["Fn::Sub"][0]);
    assert_eq!(
        url,
        "kafka://{secret:${KafkaSecretArn}}@${KafkaBootstrapServers}/${KafkaTopic}?mechanism=${Mechanism}${Ca}"
    );
    let mechanism = json!({"Fn::If": ["LogsInBySha512", "SCRAM-SHA-512", {"Fn::If": ["LogsInBySha256", "SCRAM-SHA-256", "PLAIN"]}]});
    assert_eq!(channel[1]["Fn::Sub"][1]["Mechanism"], mechanism);
    assert_eq!(
        template["Conditions"]["LogsInBySha512"]["Fn::Equals"],
        json!([{"Ref": "KafkaAuthentication"}, "SASL_SCRAM_512_AUTH"])
    );
    assert_eq!(
        template["Conditions"]["LogsInBySha256"]["Fn::Equals"],
        json!([{"Ref": "KafkaAuthentication"}, "SASL_SCRAM_256_AUTH"])
    );
    let allowed = json!(["SASL_SCRAM_512_AUTH", "SASL_SCRAM_256_AUTH", "BASIC_AUTH"]);
    assert_eq!(template["Parameters"]["KafkaAuthentication"]["AllowedValues"], allowed);
    for (id, mapping) in resources(&template, "AWS::Lambda::EventSourceMapping") {
        if mapping["Condition"] == "UsesSelfManagedKafka" {
            let login =
                json!({"Type": {"Ref": "KafkaAuthentication"}, "URI": {"Ref": "KafkaSecretArn"}}).to_string();
            assert!(mapping["Properties"]["SourceAccessConfigurations"].to_string().contains(&login), "{id}");
        }
    }
}

/// The dispatcher does the same: it does not start on a public address without a token.
#[test]
fn nobody_opens_the_api_without_saying_so() {
    let template = template();
    assert_eq!(template["Parameters"]["AllowUnauthenticated"]["Default"], "false");
    assert_eq!(template["Parameters"]["JwtIssuer"]["Default"], "");
    let rule = &template["Rules"]["AnOpenApiIsAskedFor"];
    assert_eq!(rule["RuleCondition"], Value::Null);
    let assertion = json!({"Fn::Or": [
        {"Fn::Not": [{"Fn::Equals": [{"Ref": "JwtIssuer"}, ""]}]},
        {"Fn::Equals": [{"Ref": "AllowUnauthenticated"}, "true"]},
    ]});
    assert_eq!(rule["Assertions"][0]["Assert"], assertion);
}

/// A policy that may read a secret or send to a queue may also use the key that encrypts it.
#[test]
fn every_policy_that_reads_a_secret_may_use_its_key() {
    let template = template();
    for (id, policy) in resources(&template, "AWS::IAM::ManagedPolicy") {
        let policy = policy["Properties"]["PolicyDocument"].to_string();
        if policy.contains("secretsmanager:GetSecretValue") {
            let key = json!({"Ref": "SecretsKeyArn"}).to_string();
            assert!(
                policy.contains("kms:Decrypt") && policy.contains(&key),
                "{id} may not decrypt what it reads"
            );
        }
        if policy.contains("sqs:SendMessage") {
            let key = json!({"Ref": "FailureDestinationKeyArn"}).to_string();
            assert!(
                policy.contains("kms:GenerateDataKey") && policy.contains(&key),
                "{id} may not encrypt what it sends"
            );
        }
    }
}

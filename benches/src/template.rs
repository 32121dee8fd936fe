//! The time for reading a template: a part of `benches mapping`.

use std::fmt::Write as _;
use std::time::Instant;

use anyhow::ensure;
use kafka_trigger::template::{Options, read};

use crate::table::median;

const RESOURCES: usize = 500;
/// Every fifth resource is a mapping, the others are functions and large policies.
const MAPPINGS: usize = RESOURCES / 5;
const BYTES: usize = 2_000_000;
const ROUNDS: usize = 5;

/// Returns the median of some readings, in milliseconds.
pub(crate) fn measure() -> anyhow::Result<f64> {
    let text = template()?;
    ensure!(text.len() >= BYTES, "the template has {} bytes", text.len());
    let mut took = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let found = read(&text, &Options::default())?;
        took.push(began.elapsed().as_secs_f64() * 1e3);
        ensure!(
            found.mappings.len() == MAPPINGS,
            "{} mappings were read: {:?}",
            found.mappings.len(),
            found.refused
        );
    }
    Ok(median(took))
}

fn template() -> anyhow::Result<String> {
    let mut text = String::from("Parameters:\n  Stage: { Type: String, Default: dev }\nResources:\n");
    for number in 0..RESOURCES {
        match number % 5 {
            0 => write!(
                text,
                "  Mapping{number}:\n    Type: AWS::Lambda::EventSourceMapping\n    Properties:\n      \
                 FunctionName: !Ref Function{}\n      EventSourceArn: !GetAtt Cluster.Arn\n      \
                 Topics: [!Sub '${{Stage}}.topic{number}']\n      StartingPosition: LATEST\n",
                number + 1
            )?,
            1 => write!(
                text,
                "  Function{number}:\n    Type: AWS::Lambda::Function\n    Properties:\n      Handler: h.h\n      \
                 FunctionName: !Sub '${{Stage}}-{number}'\n      Timeout: 30\n"
            )?,
            _ => {
                write!(text, "  Role{number}:\n    Type: AWS::IAM::Role\n    Properties:\n      Policies:\n")?
            }
        }
        if number % 5 > 1 {
            let share = BYTES / (RESOURCES * 3 / 5);
            let end = text.len() + share;
            while text.len() < end {
                write!(
                    text,
                    "        - PolicyName: !Sub '${{AWS::StackName}}-{number}'\n          PolicyDocument:\n            \
                     Version: 2012-10-17\n            Statement: [{{ Effect: Allow, Action: 's3:*', Resource: \"*\" }}]\n"
                )?;
            }
        }
    }
    text.push_str("  Cluster: { Type: AWS::MSK::Cluster, Properties: { ClusterName: c } }\n");
    Ok(text)
}

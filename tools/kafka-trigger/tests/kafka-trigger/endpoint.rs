//! The endpoint for invocations, and the mistakes that keep the binary from beginning.

use std::process::Command;

use crate::broker::with_topic;
use crate::support::Place;

#[tokio::test]
async fn on_aws_every_request_is_signed() {
    with_topic(|topic| async move {
        let place = Place::new(topic, 1).await;
        place.publish(0..1).await;
        let url = place.function.url();
        let environment = [
            ("AWS_REGION", "eu-west-1"),
            ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_ENDPOINT_URL_LAMBDA", &*url),
        ];
        let trigger =
            place.start_on_aws("shows-authorization", "StartingPosition: TRIM_HORIZON", &environment);
        let notes = place.until(|notes| notes.len() == 1).await;
        let shown = &notes[0].value;
        assert!(shown.starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"), "{shown}");
        assert!(shown.contains("/eu-west-1/lambda/aws4_request"), "{shown}");
        assert!(shown.ends_with("|RequestResponse"), "{shown}");
        trigger.stop().await;
    })
    .await;
}

/// The message of a binary that can't begin.
fn refusal(template: &str, flags: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("template.yaml");
    std::fs::write(&file, template).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_kafka-trigger"))
        .arg("--template")
        .arg(&file)
        .args(flags)
        .env_remove("AWS_REGION")
        .env_remove("AWS_DEFAULT_REGION")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn what_keeps_it_from_beginning_is_said() {
    for (template, flags, said) in [
        ("Resources: {}", &[][..], "has no Kafka event source mapping that is enabled"),
        ("Resources: [", &[], "template.yaml"),
        ("Resources: {}", &["--invoke", "localhost"], "it must be http://HOST:PORT, https://HOST or aws"),
        ("Resources: {}", &["--invoke", "aws"], "needs the environment variable AWS_REGION"),
        ("Resources: {}", &["--log", "a=b=c"], "--log"),
        ("Resources: {}", &["--mapping", "A"], "--mapping names A"),
    ] {
        let refusal = refusal(template, flags);
        assert!(refusal.starts_with("kafka-trigger: ") && refusal.contains(said), "{flags:?}: {refusal}");
    }
    let missing = Command::new(env!("CARGO_BIN_EXE_kafka-trigger"))
        .args(["--template", "/nowhere/template.yaml"])
        .output()
        .unwrap();
    assert!(String::from_utf8(missing.stderr).unwrap().contains("/nowhere/template.yaml: No such file"));
}

#[test]
fn the_readme_has_the_help_as_it_is() {
    let help = Command::new(env!("CARGO_BIN_EXE_kafka-trigger")).arg("--help").env_clear().output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let help = help.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
    let expected = format!("```text\n{}\n```\n", help.trim_end());
    let readme = include_str!("../../README.md");
    assert!(readme.contains(&expected), "README.md must have, under Flags:\n\n{expected}");
}

//! Reads the parameters that a `samconfig.toml` sets, as the page "AWS SAM CLI configuration file" describes it.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context as _, bail};
use toml::{Table, Value};

/// Returns the values by name, from the `samconfig.toml` beside a template. There are none if the file does not exist.
pub(crate) fn parameters(
    template: &Path,
    notes: &mut Vec<String>,
) -> anyhow::Result<BTreeMap<String, String>> {
    let file = template.with_file_name("samconfig.toml");
    let text = match fs::read_to_string(&file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
        text => text.with_context(|| file.display().to_string())?,
    };
    let hint = || format!("{} can't be read; --no-samconfig passes over it", file.display());
    let parameters = overrides(&text).with_context(hint)?;
    if !parameters.is_empty() {
        // The note has no values, because they may be secret.
        let names: Vec<&str> = parameters.keys().map(String::as_str).collect();
        notes.push(format!("{} sets the parameters {}", file.display(), names.join(", ")));
    }
    Ok(parameters)
}

fn overrides(text: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let config: Table = text.parse()?;
    let mut parameters = BTreeMap::new();
    for command in ["global", "deploy"] {
        let place = ["default", command, "parameters", "parameter_overrides"];
        let (first, rest) = (place[0], &place[1..]);
        let found = rest.iter().try_fold(config.get(first), |value, key| Some(value?.get(key)));
        match found.flatten() {
            None => {}
            Some(Value::String(text)) => parameters.extend(pairs(text)?),
            Some(Value::Array(texts)) => {
                for text in texts {
                    let text = text.as_str().context("parameter_overrides must be texts, each Name=Value")?;
                    parameters.extend(pairs(text)?);
                }
            }
            Some(_) => bail!("parameter_overrides must be a text or a list of texts, each Name=Value"),
        }
    }
    Ok(parameters)
}

/// Parses `Name=Value Other="a b"`, or `ParameterKey=Name,ParameterValue=Value`.
fn pairs(text: &str) -> anyhow::Result<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    for word in words(text) {
        let pair = match word.strip_prefix("ParameterKey=") {
            Some(rest) => rest.split_once(",ParameterValue="),
            None => word.split_once('='),
        };
        // The message does not repeat the word, because it may contain a secret.
        let (name, value) =
            pair.context("parameter_overrides must be Name=Value, with blanks between them")?;
        pairs.push((name.to_owned(), value.to_owned()));
    }
    Ok(pairs)
}

/// Splits a text at blanks. Blanks within quotes belong to the word, and a backslash escapes the next character.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quote) = (None::<String>, None);
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, quote) {
            ('\\', _) => word.get_or_insert_default().extend(characters.next()),
            (mark @ ('"' | '\''), None) => {
                quote = Some(mark);
                word.get_or_insert_default();
            }
            (mark, Some(open)) if mark == open => quote = None,
            (blank, None) if blank.is_whitespace() => words.extend(word.take()),
            (other, _) => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        overrides(text).unwrap().into_iter().collect()
    }

    fn expected(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn overrides_are_read_in_every_form_that_sam_writes() {
        let pairs = expected(&[("Stage", "dev"), ("Topic", "a b")]);
        for overrides in [
            r#""Stage=dev Topic=\"a b\"""#,
            r#"'Stage="dev" Topic="a b"'"#,
            r#"["Stage=dev", "Topic='a b'"]"#,
            r#""ParameterKey=Stage,ParameterValue=dev ParameterKey=Topic,ParameterValue='a b'""#,
            r#""ParameterKey=\"Stage\",ParameterValue=\"dev\" Topic='a b'""#,
        ] {
            let text =
                format!("version = 0.1\n[default.deploy.parameters]\nparameter_overrides = {overrides}");
            assert_eq!(read(&text), pairs, "{overrides}");
        }
    }

    #[test]
    fn what_is_deployed_goes_before_what_holds_for_every_command() {
        let text = "[default.global.parameters]\nparameter_overrides = 'A=1 B=1'\n\
            [default.deploy.parameters]\nparameter_overrides = 'B=2'\nstack_name = 's'\n\
            [prod.deploy.parameters]\nparameter_overrides = 'A=3'";
        assert_eq!(read(text), expected(&[("A", "1"), ("B", "2")]));
        assert!(read("version = 0.1").is_empty());
    }

    #[test]
    fn what_is_wrong_is_said_and_no_value_repeated() {
        for overrides in ["5", "'s3cret'", "[5]", "'A=b s3cret'"] {
            let text = format!("[default.deploy.parameters]\nparameter_overrides = {overrides}");
            let said = super::overrides(&text).unwrap_err().to_string();
            assert!(said.contains("Name=Value") && !said.contains("s3cret"), "{said}");
        }
    }
}

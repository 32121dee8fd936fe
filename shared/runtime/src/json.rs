//! Reads JSON. A refusal names the field.

use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::Problem;

/// Reads a body. Text that is not JSON is a 400. JSON of another shape is a 422 that names the field. Unknown fields are refused if
/// `T` says `deny_unknown_fields`, repeated ones always.
///
/// # Errors
/// A [`Problem`] that says what was wrong.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    // Serde would accept an array as an object whose fields come without their names.
    if body.trim_ascii_start().first() == Some(&b'[') {
        return Err(Problem::invalid("body", "the body is an array; allowed: a JSON object"));
    }
    // Tracking the path costs as much as the reading, so only refused bodies are read with it.
    if let Ok(value) = serde_json::from_slice(body) {
        return Ok(value);
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        refused(path, error.inner())
    })?;
    json.end().map_err(|error| refused(String::new(), &error))?;
    Ok(value)
}

fn refused(path: String, error: &serde_json::Error) -> Problem {
    match error.classify() {
        Category::Data => {
            let detail = error.to_string();
            Problem::invalid(field_named(&detail).unwrap_or(path), detail)
        }
        Category::Eof if error.column() == 0 => {
            Problem::malformed("the body is empty; allowed: a JSON object")
        }
        _ => Problem::malformed(format!("the body is not JSON: {error}")),
    }
}

/// Returns the field in serde's "missing field `x`", "unknown field `x`" and "duplicate field `x`". In these errors the path is
/// that of the object and not the field's.
pub(crate) fn field_named(detail: &str) -> Option<String> {
    let rest = ["missing field `", "unknown field `", "duplicate field `"]
        .iter()
        .find_map(|prefix| detail.split_once(prefix))
        .map(|(_, rest)| rest)?;
    rest.split_once('`').map(|(field, _)| field.to_owned())
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        name: String,
        #[allow(dead_code)]
        size: Option<u8>,
    }

    fn problem(body: &str) -> (u16, String) {
        let problem = parse::<Body>(body.as_bytes()).unwrap_err();
        let text = format!("{problem:?}");
        (problem.into_response().status().as_u16(), text)
    }

    #[test]
    fn what_has_the_shape_is_read() {
        assert_eq!(parse::<Body>(br#" {"name":"a lamp"} "#).unwrap().name, "a lamp");
    }

    #[test]
    fn what_is_not_json_is_malformed() {
        for body in ["", "{", "nonsense", "{\"name\":\"a\"} x", "{\"name\":\"\u{1}\"}", "\u{feff}{}"] {
            assert_eq!(problem(body).0, 400, "{body:?}");
        }
    }

    #[test]
    fn json_of_another_shape_names_the_field() {
        for (body, field) in [
            (r#"{"size":1}"#, "name"),
            (r#"{"name":"a","colour":1}"#, "colour"),
            (r#"{"name":"a","name":"b"}"#, "name"),
            (r#"{"name":7}"#, "name"),
            (r#"{"name":"a","size":-1}"#, "size"),
        ] {
            let (status, text) = problem(body);
            assert_eq!(status, 422, "{body}");
            assert!(text.contains(&format!("field: Some({field:?})")), "{body}: {text}");
        }
    }

    #[test]
    fn an_array_is_no_object_whose_fields_have_no_names() {
        for body in [r#"["a lamp",1]"#, " [\"a lamp\", 1]", "[]"] {
            assert_eq!(problem(body).0, 422, "{body}");
        }
    }

    #[test]
    fn json_too_deep_is_refused_and_not_followed() {
        assert_eq!(problem(&format!("{}{}", "[".repeat(50_000), "]".repeat(50_000))).0, 422);
    }
}

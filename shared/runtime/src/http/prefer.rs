//! The preferences of a client (RFC 7240).

use http::HeaderMap;

/// Returns the value of a preference, unquoted. It is empty if the preference has no value. Of several the first counts, whatever
/// line it is in.
#[must_use]
pub fn preference(headers: &HeaderMap, name: &str) -> Option<String> {
    let lines = headers.get_all("prefer").iter().filter_map(|line| line.to_str().ok());
    let mut preferences = lines.flat_map(|line| split(line, ',')).filter_map(|preference| {
        // Parameters stand behind semicolons.
        let wish = split(preference, ';').next().unwrap_or_default();
        let (wished, value) = wish.split_once('=').unwrap_or((wish, ""));
        wished.trim().eq_ignore_ascii_case(name).then(|| unquoted(value.trim()))
    });
    preferences.next()
}

/// The parts of a text between separators that are not within quotes.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |character| {
        let separates = character == separator && !is_quoted;
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = is_quoted,
            '"' => is_quoted = !is_quoted,
            _ => {}
        }
        separates
    })
}

fn unquoted(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return value.to_owned();
    };
    let mut is_escaped = false;
    let is_kept = |character: &char| {
        is_escaped = *character == '\\' && !is_escaped;
        !is_escaped
    };
    inner.chars().filter(is_kept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(lines: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("prefer", line.parse().unwrap());
        }
        preference(&headers, "wait")
    }

    #[test]
    fn a_preference_is_found_however_it_is_written() {
        for lines in [
            &["wait=5"][..],
            &["respond-async, wait=5"],
            &["respond-async", "wait=5"],
            &["WAIT = 5"],
            &["wait=\"5\""],
            &["wait=\"\\5\""],
            &["return=minimal; foo=\"a, wait=9\" , wait=5; x=1"],
            &["wait=5", "wait=7"],
            &["foo=\"\\\", wait=9\", wait=5"],
        ] {
            assert_eq!(wait(lines).as_deref(), Some("5"), "{lines:?}");
        }
    }

    #[test]
    fn what_only_looks_like_it_is_none() {
        for lines in [&["waiting=5"][..], &["foo; wait=5"], &["foo=\"wait=5\""], &[]] {
            assert_eq!(wait(lines), None, "{lines:?}");
        }
        assert_eq!(wait(&["wait"]).as_deref(), Some(""));
    }
}

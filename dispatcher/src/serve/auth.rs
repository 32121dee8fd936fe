//! Bearer tokens with names (RFC 6750), read once from a file.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use runtime::Problem;
use runtime::http::Actor;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::CannotStart;

/// The shortest token: 128 bits take 22 characters of base64.
const SHORTEST: usize = 16;

/// The tokens that are let in.
#[derive(Clone)]
pub struct Tokens {
    tokens: Arc<Vec<Token>>,
}

struct Token {
    actor: Actor,
    secret: String,
}

impl Tokens {
    /// Reads a file with a name and a token a line, separated by white space. Empty lines and lines that begin with `#` say
    /// nothing.
    ///
    /// # Errors
    /// When the file can't be read, has no token, or has a line of another form; the line's number is told, its text is not.
    pub fn read(file: &Path) -> Result<Self, CannotStart> {
        let refuse =
            |problem: String| CannotStart(format!("--auth-token-file {}: {problem}", file.display()));
        let text = fs::read_to_string(file).map_err(|error| refuse(error.to_string()))?;
        let mut tokens = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut words = line.split_whitespace();
            match (words.next(), words.next(), words.next()) {
                (Some(name), Some(secret), None) if secret.len() >= SHORTEST => {
                    tokens.push(Token { actor: Actor(name.to_owned()), secret: secret.to_owned() });
                }
                _ => {
                    let form = format!("a name and a token of at least {SHORTEST} characters");
                    return Err(refuse(format!("line {} is not {form}", number + 1)));
                }
            }
        }
        if tokens.is_empty() {
            return Err(refuse("has no token".to_owned()));
        }
        Ok(Self { tokens: Arc::new(tokens) })
    }

    /// Whose token this is. Every token is compared, each in constant time, so that the time tells nothing about them.
    fn actor(&self, sent: &str) -> Option<&Actor> {
        let mut found = self.tokens.len() as u64;
        for (index, token) in (0_u64..).zip(self.tokens.iter()) {
            let same: Choice = token.secret.as_bytes().ct_eq(sent.as_bytes());
            found = u64::conditional_select(&found, &index, same);
        }
        self.tokens.get(usize::try_from(found).ok()?).map(|token| &token.actor)
    }
}

/// Lets a request through if it has a token, and notes whose.
pub async fn authenticate(State(tokens): State<Tokens>, mut request: Request, next: Next) -> Response {
    match bearer(request.headers()).and_then(|sent| tokens.actor(sent)).cloned() {
        Some(actor) => {
            request.extensions_mut().insert(actor);
            next.run(request).await
        }
        None => unauthorized(request.headers().contains_key(AUTHORIZATION)).into_response(),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn unauthorized(sent_something: bool) -> Problem {
    let (challenge, detail) = if sent_something {
        ("Bearer realm=\"orders\", error=\"invalid_token\"", "The token is not one that is let in.")
    } else {
        ("Bearer realm=\"orders\"", "Send a token: Authorization: Bearer …")
    };
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "A token is needed", detail)
        .with(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Result<Tokens, CannotStart> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        Tokens::read(file.path())
    }

    #[test]
    fn a_token_is_its_owners() {
        let tokens = tokens("# who\nada 0123456789abcdef\n\nbob  fedcba9876543210\n").unwrap();
        assert_eq!(tokens.actor("0123456789abcdef"), Some(&Actor("ada".into())));
        assert_eq!(tokens.actor("fedcba9876543210"), Some(&Actor("bob".into())));
        for other in ["", "0123456789abcde", "0123456789abcdef0", "0123456789ABCDEF"] {
            assert_eq!(tokens.actor(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_bad_line_is_refused_by_its_number_and_without_its_text() {
        for text in ["ada short", "ada", "ada 0123456789abcdef extra"] {
            let problem = tokens(text).err().unwrap().to_string();
            assert!(problem.contains("line 1") && !problem.contains("ada"), "{problem}");
        }
        assert!(tokens("# nobody\n").err().unwrap().to_string().contains("has no token"));
    }
}

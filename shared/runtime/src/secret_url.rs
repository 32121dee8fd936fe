//! URLs that may hold secrets. Nothing prints one whole: not `Display`, not `Debug`, and no error of the code that opens it.
//!
//! A URL that was mistyped holds its secret where nobody expects it: `postgres:/u:PASSWORD@h`, a `/` or a `?` in a password that
//! was not encoded, a value of an option. So only those parts are shown that certainly are no secret: the scheme, hosts that look
//! like hosts, and the name of a database or a topic. A driver's message about a URL is scrubbed of the URL's secrets, or replaced
//! if the URL is malformed.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A URL that may hold a secret, such as that of a store. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(Arc<str>);

/// Schemes whose URLs hold no secret: paths, options of a store in memory or of a mock, names of secrets that are kept elsewhere.
const WITHOUT_SECRETS: [&str; 5] = ["sqlite", "memory", "mock", "secret", "parameter"];

/// Schemes whose path is the name of a database or a topic. With other schemes it may be a key.
const WITH_NAMES: [&str; 5] = ["mongodb", "mongodb+srv", "postgres", "postgresql", "kafka"];

/// Options whose values are paths of files.
const FILES: [&str; 4] = ["ca", "sslrootcert", "tlscafile", "tlscertificatekeyfile"];

/// The sign that stands for a hidden part.
const HIDDEN: char = '…';

/// The message about a URL of the wrong form.
pub const MALFORMED: &str = "it is not of the form SCHEME://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]][/NAME][?OPTION=VALUE]; \
     in user and password, what is no letter or digit must be percent-encoded";

/// The parts of a well-formed URL with hosts.
struct Parts<'a> {
    login: Option<&'a str>,
    hosts: &'a str,
    path: &'a str,
    options: &'a str,
}

impl SecretUrl {
    /// The whole URL, for the code that opens what it names.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The part before the first colon.
    #[must_use]
    pub fn scheme(&self) -> &str {
        self.0.split_once(':').map_or("", |(scheme, _)| scheme)
    }

    /// Returns the part behind the scheme, if this is the URL's scheme.
    #[must_use]
    pub fn after(&self, scheme: &str) -> Option<&str> {
        self.0.strip_prefix(scheme)?.strip_prefix(':')
    }

    /// Checks that this has the form of a URL with hosts, so that the meaning of its parts is certain.
    ///
    /// # Errors
    /// [`MALFORMED`] when it does not have that form.
    pub fn check(&self) -> Result<(), &'static str> {
        self.parts().map(drop).ok_or(MALFORMED)
    }

    /// Returns somebody else's message about this URL, without the parts that may be secret.
    #[must_use]
    pub fn scrub(&self, text: &str) -> String {
        let text = text.replace('\n', " ");
        if self.is_without_secrets() {
            return text;
        }
        let Some(parts) = self.parts() else { return MALFORMED.to_owned() };
        let mut secrets = vec![self.expose()];
        if let Some(login) = parts.login {
            secrets.extend(login.split_once(':').map(|(_, password)| password));
            secrets.push(login);
        }
        if !self.names(parts.path) {
            secrets.push(parts.path.trim_start_matches('/'));
        }
        for option in parts.options.split('&') {
            match option.split_once('=') {
                Some((name, value)) if is_file(name, value) => {}
                Some((_, value)) => secrets.push(value),
                None => secrets.push(option),
            }
        }
        // Each secret is removed in its own form and decoded. The longest comes first, so that no part of one is left.
        let decoded = |secret: &&str| {
            let mut both = vec![(*secret).to_owned()];
            both.extend(form_urlencoded::parse(secret.as_bytes()).map(|(text, _)| text.into_owned()));
            both
        };
        // A text of fewer characters is no secret, and it may be a part of any word.
        let is_long = |text: &String| text.chars().count() > 3;
        let mut secrets: Vec<String> = secrets.iter().flat_map(decoded).filter(is_long).collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.iter().fold(text, |text, secret| text.replace(secret.as_str(), "…"))
    }

    /// Returns whether this path is the name of a database or a topic.
    fn names(&self, path: &str) -> bool {
        WITH_NAMES.contains(&self.scheme()) && path.bytes().skip(1).all(is_plain)
    }

    fn is_without_secrets(&self) -> bool {
        let no_scheme = !self.0.contains([':', '@', '?', '#', '&']);
        no_scheme || WITHOUT_SECRETS.contains(&self.scheme()) && !self.0.contains('@')
    }

    /// Splits the URL. Returns `None` if a part might be something else than it seems: an `@` or a `/` in the wrong place may
    /// belong to a password.
    fn parts(&self) -> Option<Parts<'_>> {
        let (_, rest) = self.0.split_once("://").filter(|(scheme, _)| is_scheme(scheme))?;
        let (rest, options) = rest.split_once(['?', '#']).unwrap_or((rest, ""));
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (login, hosts) = match authority.split_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None => (None, authority),
        };
        let is_certain = !hosts.contains('@') && !path.contains('@') && !options.contains(['@', '?', '#']);
        (is_certain && (hosts.is_empty() || hosts.split(',').all(is_host))).then_some(Parts {
            login,
            hosts,
            path,
            options,
        })
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// `name`, `name:port` or `[address]:port`.
fn is_host(text: &str) -> bool {
    let is_port = |port: &str| port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    if let Some((address, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        let is_address = address.bytes().all(|byte| byte.is_ascii_hexdigit() || b":.".contains(&byte));
        return is_address && (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port));
    }
    let (name, port) = text.split_once(':').unwrap_or((text, ""));
    // A host may be the encoded path of a socket.
    is_port(port) && !name.is_empty() && name.bytes().all(|byte| is_plain(byte) || byte == b'%')
}

fn is_file(option: &str, value: &str) -> bool {
    FILES.contains(&&*option.to_ascii_lowercase()) && value.bytes().all(|byte| is_plain(byte) || byte == b'/')
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._".contains(&byte)
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_without_secrets() {
            return formatter.write_str(&self.0);
        }
        let scheme = self.scheme();
        let Some(Parts { login, hosts, path, .. }) = self.parts() else {
            let is_known = WITH_NAMES.contains(&scheme) || self.0.contains("://") && is_scheme(scheme);
            return if is_known {
                write!(formatter, "{scheme}:{HIDDEN}")
            } else {
                write!(formatter, "{HIDDEN}")
            };
        };
        write!(formatter, "{scheme}://")?;
        if login.is_some() {
            write!(formatter, "{HIDDEN}@")?;
        }
        formatter.write_str(hosts)?;
        if path.is_empty() || self.names(path) {
            return formatter.write_str(path);
        }
        write!(formatter, "/{HIDDEN}")
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.to_string())
    }
}

impl FromStr for SecretUrl {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(text.into())
    }
}

impl From<&str> for SecretUrl {
    fn from(url: &str) -> Self {
        Self(url.into())
    }
}

impl From<String> for SecretUrl {
    fn from(url: String) -> Self {
        Self(url.into())
    }
}

impl From<&String> for SecretUrl {
    fn from(url: &String) -> Self {
        url.as_str().into()
    }
}

impl From<&Self> for SecretUrl {
    fn from(url: &Self) -> Self {
        url.clone()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(url: &str) -> String {
        SecretUrl::from(url).to_string()
    }

    #[test]
    fn what_is_no_secret_is_shown() {
        for (url, expected) in [
            ("postgres://u:p@host:1/db?password=x", "postgres://…@host:1/db"),
            ("mongodb://u:p%40x@a,b:2/db", "mongodb://…@a,b:2/db"),
            ("kafka://[::1]:9092/shop.events?ca=/a", "kafka://[::1]:9092/shop.events"),
            ("https://u:p@host/hooks/key", "https://…@host/…"),
            ("https://host:8443", "https://host:8443"),
            ("nosql://me:hunter2@localhost/shop?key=hunter3", "nosql://…@localhost/…"),
            ("sqlite:data/events.db", "sqlite:data/events.db"),
            ("memory:?partitions=4", "memory:?partitions=4"),
            ("mock:?failure_rate=2", "mock:?failure_rate=2"),
            (
                "secret:arn:aws:secretsmanager:eu:1:secret:a#url",
                "secret:arn:aws:secretsmanager:eu:1:secret:a#url",
            ),
            ("events.db", "events.db"),
        ] {
            assert_eq!(shown(url), expected);
            assert_eq!(format!("{:?}", SecretUrl::from(url)), format!("{expected:?}"));
        }
    }

    #[test]
    fn of_what_is_malformed_no_more_than_the_scheme_is_shown() {
        for (url, expected) in [
            ("postgres:/u:hunter2@h", "postgres:…"),
            ("postgres:u:hunter2@h", "postgres:…"),
            ("kafka://u:hun/ter2@h:1/t", "kafka:…"),
            ("mongodb://u:hun?ter2@h/d", "mongodb:…"),
            ("postgres://u:hun@ter2@h/d", "postgres:…"),
            ("postgres://u:hunter2", "postgres:…"),
            ("u:hunter2@h", "…"),
            ("hunter2@h", "…"),
            ("mock:/u:hunter2@h", "…"),
        ] {
            assert_eq!(shown(url), expected);
        }
    }

    #[test]
    fn what_others_say_is_told_without_what_is_secret() {
        let url = SecretUrl::from("mongodb://u:hun%2Fter2@h/d?tlsCAFile=/a.pem&key=hunter3&hunter4");
        let said = "hun/ter2 and hun%2Fter2, hunter3\nor hunter4: /a.pem at h/d";
        assert_eq!(url.scrub(said), "… and …, … or …: /a.pem at h/d");
        assert_eq!(SecretUrl::from("mongodb:/u:hunter2@h").scrub("hunter2?"), MALFORMED);
        assert_eq!(SecretUrl::from("sqlite:a/b.db").scrub("a/b.db is not there"), "a/b.db is not there");
    }

    /// URLs with a secret in them that were mistyped in one place or several.
    fn mistyped() -> impl Strategy<Value = String> {
        let piece = |texts: &'static [&'static str]| prop::sample::select(texts);
        let scheme =
            piece(&["postgres", "postgresql", "mongodb", "mongodb+srv", "kafka", "https", "htp", "kafak"]);
        let behind_scheme = piece(&["://", ":/", ":", ":///", "//", ""]);
        let password = prop::collection::vec(
            piece(&["a", "/", "?", "#", "@", ":", "%", "&", "=", ",", " ", "[", "é"]),
            0..4,
        );
        // No text begins with its secret, because nobody can tell such a secret from a scheme.
        let place = (0..5_usize, piece(&["", "/d", "/d/e", "?", "/d?ssl=x", "/d#f", ":1/t", ":x/t"]));
        (scheme, behind_scheme, password, place).prop_map(|(scheme, behind, noise, (place, rest))| {
            let noise = noise.concat();
            match place {
                0 => format!("{scheme}{behind}u:{noise}MARKER@h{rest}"),
                1 => format!("{scheme}{behind}u:MARKER{noise}@h{rest}"),
                2 => format!("{scheme}{behind}u:MARKER{noise}"),
                3 => format!("{scheme}{behind}h/d?sslpassword=MARKER{noise}"),
                _ => format!("{scheme}:{behind}MARKER{noise}:p@h{rest}"),
            }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn however_a_url_is_mistyped_nothing_of_its_secret_is_shown(text in mistyped()) {
            let url = SecretUrl::from(text.as_str());
            prop_assert!(!url.to_string().contains("MARKER"), "{} of {}", url, text);
            prop_assert!(!format!("{url:?} {:?}", Some(&url)).contains("MARKER"), "{:?} of {}", url, text);
            let said = url.scrub(&format!("bad: {text}, MARKER"));
            prop_assert!(url.check().is_ok() || !said.contains("MARKER"), "{} of {}", said, text);
        }
    }
}

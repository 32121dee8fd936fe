//! Secrets in a setting are never printed, however the setting is mistyped.

use std::fmt::Write;

use futures_util::{StreamExt, stream};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tests::process::{Finished, Invocation};

/// It is in every URL below, and must be in no output.
const SECRET: &str = "Hunter2Secret";

/// The settings that take URLs: the command, the flag and its variable.
const SETTINGS: [(&str, &str, &str); 4] = [
    ("migrate", "--event-store", "ORDERS_EVENT_STORE"),
    ("migrate", "--channel", "ORDERS_CHANNEL"),
    ("migrate", "--read-store", "ORDERS_READ_STORE"),
    ("relay", "--fulfilment", "ORDERS_FULFILMENT"),
];

/// The number of mistyped URLs for each setting.
const URLS: usize = 24;

/// Returns a URL with the secret in it, mistyped in one place or several. Nobody listens at its address.
fn mistyped(random: &mut StdRng) -> String {
    let mut one_of = |texts: &[&str]| (*texts.choose(random).unwrap()).to_owned();
    let scheme = one_of(&["postgres", "mongodb", "kafka", "http", "https", "mongo", "kafak"]);
    let behind = one_of(&["://", "://", ":/", ":", ":///", "//"]);
    let noise = |one_of: &mut dyn FnMut(&[&str]) -> String| {
        let mut noise = String::new();
        for _ in 0..2 {
            write!(noise, "{}", one_of(&["", "", "/", "?", "#", "@", ":", "%", "&", "=", " ", "["])).unwrap();
        }
        noise
    };
    let (before, after) = (noise(&mut one_of), noise(&mut one_of));
    let place = one_of(&["127.0.0.1:9", "127.0.0.1", "127.0.0.1:x", ""]);
    let rest = one_of(&["", "/d", "/d/e", "/d?ssl=1", "/d?sslmode=x", "/d?partitions=none", "/d?"]);
    match random.random_range(0..5) {
        0 => format!("{scheme}{behind}u:{before}{SECRET}{after}@{place}{rest}"),
        1 => format!("{scheme}{behind}u:{SECRET}{after}"),
        2 => format!("{scheme}{behind}127.0.0.1:9/d?sslpassword={SECRET}{after}"),
        3 => format!("{scheme}{behind}127.0.0.1:9/d?password={before}{SECRET}&sslmode={SECRET}"),
        _ => format!("{scheme}{behind}u:{SECRET}@{place}/d?{SECRET}={after}"),
    }
}

fn expect_hidden(url: &str, finished: &Finished) {
    for printed in [&finished.stdout, &finished.stderr] {
        assert!(!printed.contains(SECRET), "{url}: {finished:?}");
    }
    assert!(!finished.stderr.contains("panicked"), "{url}: {finished:?}");
}

#[tokio::test]
async fn no_secret_is_printed_however_its_url_is_mistyped() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let calls = SETTINGS.iter().flat_map(|setting| (0..URLS).map(move |_| *setting));
    let calls: Vec<_> = calls.map(|setting| (setting, mistyped(&mut random))).collect();
    let tried = stream::iter(calls).map(async |((command, flag, variable), url)| {
        let data = tempfile::tempdir().unwrap();
        // If the URL can be used after all, the command must not wait long for the server that it names.
        let call = if command == "relay" {
            Invocation::new(&[command, flag, &url, "--within", "0"])
        } else {
            Invocation::new(&[command, "--log", "trace"]).env(variable, &url)
        };
        let finished = call.env("ORDERS_DATA", data.path().to_str().unwrap()).run().await;
        expect_hidden(&url, &finished);
    });
    tried.buffer_unordered(8).collect::<Vec<()>>().await;
}

#[tokio::test]
async fn no_secret_is_printed_where_its_flag_is_mistyped() {
    for url in ["postgres://u:SECRET@h/d", "postgres:/u:SECRET@h", "kafka://u:S/SECRET@h:1/t", "u:SECRET@h"] {
        let url = url.replace("SECRET", SECRET);
        let glued = format!("--event-stor={url}");
        for words in [&["serve", &url][..], &["verify", "--event-stor", &url], &["verify", &glued]] {
            expect_hidden(&url, &Invocation::new(words).run().await.with_code(2));
        }
    }
}

#[tokio::test]
async fn help_shows_no_value_of_a_variable() {
    for command in ["serve", "relay", "verify", "migrate", "import-seed"] {
        let url = format!("mongodb://u:{SECRET}@host/orders");
        let variables =
            ["ORDERS_EVENT_STORE", "ORDERS_CHANNEL", "ORDERS_READ_STORE", "ORDERS_FULFILMENT", "ORDERS_SEED"];
        let call =
            variables.iter().fold(Invocation::new(&[command, "--help"]), |call, name| call.env(name, &url));
        let finished = call.run().await.with_code(0);
        assert!(finished.stdout.contains("[env: ORDERS_"), "{finished:?}");
        expect_hidden(&url, &finished);
    }
}

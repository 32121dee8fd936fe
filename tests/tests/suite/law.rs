//! The law: only `domain`, `functions`, `dispatcher` with its commands (`tools/load`, `tools/import-seed`) and the template know what
//! an order is.

use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The crates that must keep the law, in every line of their sources and tests.
const HELD: [&str; 8] = [
    "command-handler",
    "event-channel",
    "event-source-mapping",
    "event-sourcing",
    "event-store",
    "host",
    "read-store",
    "runtime",
];

/// The setting `--kept-orders` keeps its name.
const MAY_STAY: [&str; 3] = ["\"KEPT_ORDERS\"", "\"ORDERS\"", "kept_orders"];

/// Collects the identifiers and literals of a source, with their lines. Comments and documentation are left out, because they are
/// for people.
fn words(tokens: TokenStream, found: &mut Vec<(usize, String)>) {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '#' => {
                if let Some(TokenTree::Punct(inner)) = tokens.peek()
                    && inner.as_char() == '!'
                {
                    tokens.next();
                }
                if let Some(TokenTree::Group(group)) = tokens.peek()
                    && group.delimiter() == Delimiter::Bracket
                    && group.stream().into_iter().next().is_some_and(|first| first.to_string() == "doc")
                {
                    tokens.next();
                }
            }
            TokenTree::Group(group) => words(group.stream(), found),
            TokenTree::Ident(ident) => found.push((ident.span().start().line, ident.to_string())),
            TokenTree::Literal(literal) => found.push((literal.span().start().line, literal.to_string())),
            TokenTree::Punct(_) => {}
        }
    }
}

/// Returns whether one of the words in a text is `order` or `orders`, in any case. `Ordering` and `unordered` are other words,
/// and `ORDER BY` is SQL's.
fn names_an_order(text: &str) -> bool {
    if MAY_STAY.contains(&text) {
        return false;
    }
    let text = text.replace("ORDER BY", " ");
    let mut words = vec![String::new()];
    let mut before = ' ';
    for character in text.chars() {
        if !character.is_ascii_alphabetic() || (character.is_ascii_uppercase() && before.is_ascii_lowercase())
        {
            words.push(String::new());
        }
        if let (true, Some(word)) = (character.is_ascii_alphabetic(), words.last_mut()) {
            word.push(character.to_ascii_lowercase());
        }
        before = character;
    }
    words.iter().any(|word| word == "order" || word == "orders")
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn the_machinery_names_no_order() {
    let shared = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared"));
    let mut breaches = Vec::new();
    for package in HELD {
        let mut files = Vec::new();
        sources(&shared.join(package), &mut files);
        assert!(!files.is_empty(), "{package} has no sources");
        for file in files {
            let tokens: TokenStream = fs::read_to_string(&file).unwrap().parse().unwrap();
            let mut found = Vec::new();
            words(tokens, &mut found);
            let name = file.strip_prefix(shared).unwrap().display().to_string();
            let breach = |(line, word): &(usize, String)| format!("{name}:{line}: {word}");
            breaches.extend(found.iter().filter(|(_, word)| names_an_order(word)).map(breach));
        }
    }
    assert!(breaches.is_empty(), "{} breaches:\n{}", breaches.len(), breaches.join("\n"));
}

#[test]
fn a_breach_is_told_from_what_only_reads_like_one() {
    for breach in ["order", "OrderId", "orders_test", "an_order_of", "\"/orders\"", "reOrder", "TEST_ORDERS"]
    {
        assert!(names_an_order(breach), "{breach}");
    }
    for fine in ["Ordering", "buffer_unordered", "border", "ordered", "\"ORDER BY stream\"", "kept_orders"] {
        assert!(!names_an_order(fine), "{fine}");
    }
    let mut found = Vec::new();
    words("/// An order.\n#[doc = \"order\"] fn taken(task: u8) { \"said\"; }".parse().unwrap(), &mut found);
    let found: Vec<_> = found.iter().map(|(_, word)| word.as_str()).collect();
    assert_eq!(found, ["fn", "taken", "task", "u8", "\"said\""]);
}

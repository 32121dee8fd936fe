use std::fs;
use std::sync::LazyLock;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Map, Value};

use super::*;

/// Documents, and the trees that PyYAML makes of them, one a line. `tests/yaml/documents.py` writes them. The variable may name a
/// file with other documents. `deploy/checks/yaml` uses it for documents that it has just generated.
fn documents() -> String {
    match std::env::var_os("YAML_DOCUMENTS") {
        Some(file) => fs::read_to_string(file).unwrap(),
        None => include_str!("../../../tests/yaml/documents.jsonl").to_owned(),
    }
}

fn as_json(node: &Node) -> Value {
    match node {
        Node::Null => Value::Null,
        Node::Text(text) | Node::Bare(text) => Value::String(text.clone()),
        Node::List(list) => list.iter().map(as_json).collect(),
        Node::Map(map) => {
            let entries = map.iter().map(|(name, node)| (name.clone(), as_json(node)));
            Value::Object(entries.collect::<Map<_, _>>())
        }
    }
}

/// Documents and their trees.
static TREES: LazyLock<Vec<(String, Value)>> = LazyLock::new(|| {
    let tree = |line: &str| {
        let mut document: Value = serde_json::from_str(line).unwrap();
        let text = document["yaml"].as_str().unwrap().trim_start_matches('\u{feff}').to_owned();
        (text, document["tree"].take())
    };
    documents().lines().map(tree).collect()
});

#[test]
fn trees_are_those_that_pyyaml_composes() {
    assert!(TREES.len() >= 300, "there are {} documents", TREES.len());
    for (text, tree) in &*TREES {
        let read = yaml(text, &mut Vec::new()).unwrap_or_else(|error| panic!("{error}:\n{text}\n{text:?}"));
        assert_eq!(as_json(&read), *tree, "{text:?}");
        let (read, _) = parsed(text).unwrap_or_else(|error| panic!("{error}:\n{text}\n{text:?}"));
        assert_eq!(as_json(&read), *tree, "by the parser: {text:?}");
    }
}

/// Asserts that the fast reader reads a text as the parser does, if it reads the text at all.
fn assert_as_the_parser(text: &str) -> Result<(), TestCaseError> {
    if let Some(read) = everyday::read(text) {
        prop_assert_eq!(Ok(read), parsed(text), "{:?}", text);
    }
    Ok(())
}

/// Lines of templates, and lines that only look like them.
#[rustfmt::skip]
const LINES: &[&str] = &[
    "", " ", "   ", "a:", "b: c", "b: c d", "a b: c", "a : b", "a:b", "a: b:c", "a: b: c", "a: b # c", "a: b#c", "a: b #", "a: #b",
    "a: -b", "a: - b", "a: ?", "a: ,b", "a: b, c", "a: [", "a: [b", "a: [b, c]", "a: [b, c,]", "a: [b: c]", "a: [-b, - c]", "a: [b?]",
    "a: [-]", "a: [-, b]", "a: [b, -]", "a: [ - ]", "a: [-[b]]", "a: [-: b]", "a: [!Ref -]", "a: {b: -}", "a: {-: b}", "a: {-}", "-,",
    "a: []", "a: [] b", "a: [[b], {c: d}]", "a: {b: c}", "a: {b: c, d}", "a: {b: , c: }", "a: {\"b\": c}", "a: {\"b\":c}", "a: {b:c}",
    "a: {", "{a: b}", "[a]", "[a]: b", "b: c}", "b, c]", "]", "}", "],", ",", "b", "b,", "b: c,", "- a", "-", "- ", "-a", "- a: b", "- a:",
    "- - a", "- - a: b", "-  a", "- 'a': b", "- [a, b]", "- {a: b}", "- # a", "- |", "- >-", "- !If", "- !Ref a", "- !Sub 'a'", "!Sub",
    "!Sub a", "! a", "!!str a", "!<a> b", "a: !Sub", "a: !Ref b", "a: !Ref 'b'", "a: !GetAtt b.c.d", "a: !If [b, !Ref c, d]", "a: !b!c d",
    "a: !Sub |", "a: !Sub b: c", "a: !Ref [", "a: |", "a: |-", "a: |+", "a: |2", "a: | # b", "a: |#b", "a: |b", "a: >", "a: >-", "a: >+",
    "a: > b", "|", ">", "a: 'b'", "a: 'b", "b'", "a: ''", "a: 'it''s'", "a: 'b' c", "a: 'b'# c", "a: 'b' # c", "'a': b", "'a' : b",
    "'a':b", "\"a\": b", "a: \"b", "b\"", "a: \"b\\n\\\"\"", "a: \"\\x41\"", "a: \"b\\", "a: 'b ", " 'b", "a: \"\"", "?", "? a", ": a",
    "a: &b c", "a: *b", "*b", "&b", "<<: a", "'<<': a", "a: ~", "~: a", "a: yes", "yes: a", "a: 0144", "a: 1.50", "---", "--- a", "...",
    "---a", "%YAML 1.1", "# a", "#", " # a", "\ta: b", "a:\tb", "a: @b", "a: `b`", "a: %b", "a: \u{e9}", "\u{e9}: a", "a: \u{feff}b",
    "a: \u{85}b", "a: \u{2028}b", "a: \u{7f}b", "a: b\r", "a: b\rc", "a: http://b:80/?c=d&e", "a: ${b}", "a: '${b}'", "a: {{b}}",
    "a: \"{\\\"b\\\": [\\\"c\\\"]}\"", "a: '{\"b\": [\"c\"]}'", "- b c", "b #c", "a: b\\", "A: B", "Resources:", "Type: AWS::SQS::Queue",
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4_000) })]

    #[test]
    fn lines_are_read_as_the_parser_reads_them(
        lines in vec((0..5_usize, select(LINES)), 1..9),
        ends in any::<bool>(),
    ) {
        let line = |(indent, line): &(usize, &str)| format!("{}{line}", " ".repeat(*indent));
        let text = lines.iter().map(line).collect::<Vec<_>>().join("\n");
        assert_as_the_parser(&if ends { text + "\n" } else { text })?;
    }

    #[test]
    fn documents_that_were_changed_are_read_as_the_parser_reads_them(
        document in any::<Index>(),
        changes in vec((any::<Index>(), 0..4_usize, select(&["", "", "", " ", "\n", ":", "- ", "#", "'", "\"", "a", "[", "}", ",", "!"][..])), 1..4),
    ) {
        let mut text = document.get(&TREES).0.clone();
        for (place, length, inserted) in changes {
            let places: Vec<usize> = text.char_indices().map(|(place, _)| place).chain([text.len()]).collect();
            let first = place.index(places.len());
            let last = (first + length).min(places.len() - 1);
            text.replace_range(places[first]..places[last], inserted);
        }
        assert_as_the_parser(&text)?;
    }
}

#[test]
fn most_documents_need_no_parser() {
    let everyday = TREES.iter().filter(|(text, _)| everyday::read(text).is_some()).count();
    assert!(everyday * 2 > TREES.len(), "{everyday} of {}", TREES.len());
    let template = include_str!("../../../../../template.yaml");
    assert_eq!(everyday::read(template), parsed(template).ok());
    assert!(everyday::read(template).is_some());
}

#[test]
fn what_the_parser_stops_at_is_repaired_however_often_it_stands_there() {
    let text = format!("a: &b [{}'c'# d\n ]\n", "-, ".repeat(100));
    let list = [vec!["-"; 100], vec!["c"]].concat();
    assert_eq!(parsed(&text).map(|(read, _)| as_json(&read)), Ok(serde_json::json!({ "a": list })));
}

#[test]
fn what_is_too_deep_or_too_large_is_left_to_the_parser() {
    assert_eq!(everyday::read(&format!("a: {}{}", "[".repeat(50), "]".repeat(50))), None);
    assert_eq!(everyday::read(&"- ".repeat(50)), None);
    assert_eq!(everyday::read(&format!("a: [{}]", "b,".repeat(1 << 20))), None);
}

//! Hostile templates. None of them makes the reader panic, overflow its stack, hang, or fill the memory.

use std::collections::BTreeMap;
use std::fmt::Write;

use kafka_trigger::template::{Options, read};
use proptest::prelude::*;

use crate::support::{error, only, read_whole, topic_error, with};

/// Reads a template on a small stack, as a worker thread may have it.
fn on_a_small_stack(text: String) -> String {
    let reading = move || match read(&text, &Options::default()) {
        Ok(found) => format!("{found:?}"),
        Err(error) => error.to_string(),
    };
    std::thread::Builder::new().stack_size(1 << 20).spawn(reading).unwrap().join().unwrap()
}

#[test]
fn deep_nesting_is_refused() {
    for (open, close) in
        [("[", "]"), ("{a: ", "}"), ("!Sub [", "]"), ("- ", ""), ("? ", ""), ("[{\"a\":", "}]")]
    {
        for depth in [150, 100_000] {
            let text = format!("Resources: {}\n  {}x{}", "", open.repeat(depth), close.repeat(depth));
            let error = on_a_small_stack(text);
            assert!(error.contains("can't be read at line"), "{open} {depth}: {error}");
        }
    }
    let json = format!("{{\"Resources\": {}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(on_a_small_stack(json).contains("can't be read at line 1"));
    let tags = format!("Resources: {}x", "!Sub ".repeat(100_000));
    assert!(on_a_small_stack(tags).contains("can't be read at line 1"));
}

#[test]
fn nesting_to_the_bound_is_read() {
    let deep = format!("{}x{}", "[".repeat(90), "]".repeat(90));
    let text = with(&format!("Metadata: {deep}"), "BatchSize: 1");
    assert_eq!(only(&text).topic, "orders");
    // This part is evaluated, on a small stack.
    let joined = format!("{}orders{}", "!Join ['', [".repeat(40), "]]".repeat(40));
    let found = on_a_small_stack(with("", &format!("Topics: [{joined}]")));
    assert!(found.contains("topic: \"orders\""), "{found}");
}

#[test]
fn aliases_that_grow_without_end_are_refused() {
    let mut wide = String::from("Metadata:\n  a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    let mut deep = String::from("Metadata:\n  a0: &a0 [x]\n");
    for level in 1..30 {
        let before = level - 1;
        let ten = vec![format!("*a{before}"); 10].join(", ");
        writeln!(wide, "  a{level}: &a{level} [{ten}]").unwrap();
        let (open, close) = ("[".repeat(20), "]".repeat(20));
        writeln!(deep, "  a{level}: &a{level} {open}*a{before}{close}").unwrap();
    }
    assert!(on_a_small_stack(wide).contains("grows beyond 64 MiB"));
    assert!(on_a_small_stack(deep).contains("nest deeper than 100"));
    let long = "x".repeat(1 << 20);
    let text = format!("Metadata:\n  - &a {long}\n  - [{}]", vec!["*a"; 1000].join(", "));
    assert!(on_a_small_stack(text).contains("grows beyond 64 MiB"));
    assert!(error("Resources: &a { A: *a }").contains("can't be read at line 1"));
}

#[test]
fn conditions_that_multiply_are_evaluated_once_each() {
    let mut sections = String::from("Conditions:\n  C0: !Equals [a, a]\n");
    for level in 1..60 {
        let before = level - 1;
        writeln!(
            sections,
            "  C{level}: !And [!Condition C{before}, !Condition C{before}, !Condition C{before}]"
        )
        .unwrap();
    }
    assert_eq!(only(&with(&sections, "Topics: [!If [C59, a, b]]")).topic, "a");
}

#[test]
fn conditions_that_lead_too_far_are_refused() {
    let mut sections = String::from("Conditions:\n  C0: !Equals [a, a]\n");
    for level in 1..10_000 {
        writeln!(sections, "  C{level}: !Not [!Not [!Condition C{}]]", level - 1).unwrap();
    }
    let error = on_a_small_stack(with(&sections, "Topics: [!If [C9999, a, b]]"));
    assert!(error.contains("refer to each other more than 250 deep"), "{error}");
}

#[test]
fn texts_that_multiply_are_refused() {
    let sections = format!("Parameters:\n  P: {{ Type: String, Default: {} }}", "x".repeat(4096));
    let error = topic_error(&sections, &format!("!Sub '{}'", "${P}".repeat(100_000)));
    assert!(error.contains("evaluates to more than 64 MiB"), "{error}");
    let lists = format!("Parameters:\n  P: {{ Type: CommaDelimitedList, Default: '{}' }}", ",".repeat(4000));
    let many = vec!["!Ref P"; 10_000].join(", ");
    let error = topic_error(&lists, &format!("!Select [0, [{many}]]"));
    assert!(error.contains("evaluates to more than 64 MiB"), "{error}");
    let parameters = BTreeMap::from([("{{resolve:a}}".to_owned(), "{{resolve:a}}{{resolve:a}}".to_owned())]);
    let error =
        read_whole(&with("", "Topics: ['{{resolve:a}}']"), &Options { parameters, ..Options::default() })
            .unwrap_err()
            .to_string();
    assert!(error.contains("depends on {{resolve:a}}"), "{error}");
}

#[test]
fn messages_stay_short() {
    let long = "x".repeat(100_000);
    for text in [
        with("", &format!("BatchSize: {long}")),
        with("", &format!("Topics: [!Sub '${{{long}}}']")),
        with("", &format!("Topics: [!FindInMap [{long}, a, b]]")),
        with("", &format!("DestinationConfig: {{ OnFailure: {{ Destination: {long} }} }}")),
    ] {
        let error = error(&text);
        assert!(error.len() < 1500, "{} bytes", error.len());
    }
    assert!(error(&"a".repeat(5 << 20)).contains("at most 4194304 are read"));
}

/// Pieces of templates, and pieces that break templates.
#[rustfmt::skip]
const PIECES: &[&str] = &[
    "Resources:", "Parameters:", "Conditions:", "Mappings:", "Globals:", "\n", "\n  ", "\n    ",
    "\n      ", "A:", "B:", " ", "Type: AWS::Lambda::EventSourceMapping",
    "Type: AWS::Serverless::Function", "Type: AWS::Lambda::Alias", "Type: String", "Properties:",
    "Topics: [t]", "Topics:", "FunctionName: !Ref A", "Events:", "Type: MSK", "Stream: x",
    "Condition: A", "!Ref ", "!Sub ", "!If ", "!GetAtt ", "!Join ", "!Select ", "!Split ", "!FindInMap ",
    "!Equals ", "!Not ", "!Condition ", "!Transform ", "AWS::NoValue", "AWS::Region", "${A}", "${!A}",
    "${A.B}", "${", "}", "{", "[", "]", ",", ", ", ":", "- ", "? ", "|\n", ">-\n", "'", "\"", "&a ",
    "*a", "<<: ", "#", "%", "@", "`", "---\n", "...\n", "!!str ", "!", "\\", "\t", "é", "\u{0}",
    "\u{85}", "\u{2028}", "\u{feff}", "{{resolve:x}}", "-1", "0", "1e999", "true", "~", "null",
    "Enabled: no", "SelfManagedEventSource: {Endpoints: {KafkaBootstrapServers: [a:1]}}", "Default: a",
    "AllowedPattern: '('", "Fn::If:", "Ref:", "Fn::GetAtt:", "Fn::Sub:", "BatchSize: 1",
    "FilterCriteria: {Filters: [{Pattern: '{}'}]}",
];

fn piece() -> impl Strategy<Value = &'static str> {
    prop::sample::select(PIECES)
}

proptest! {
    #[test]
    fn no_mixture_of_pieces_makes_it_panic(pieces in prop::collection::vec(piece(), 0..60)) {
        let _ = read(&pieces.concat(), &Options::default());
    }

    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        let _ = read(&text, &Options::default());
    }

    #[test]
    fn no_property_makes_it_panic(pieces in prop::collection::vec(piece(), 0..12), value in any::<String>()) {
        let text = with(&format!("Parameters:\n  A: {{ Type: String }}\nConditions:\n  B: {}", pieces.concat()), "BatchSize: 1");
        let _ = read(&text, &Options::default());
        for property in ["Topics", "FunctionName", "BatchSize", "FilterCriteria", "SelfManagedEventSource", "Enabled"] {
            let _ = read(&with("", &format!("{property}: {}", pieces.concat())), &Options::default());
        }
        let parameters = BTreeMap::from([("A".to_owned(), value)]);
        let text = with("Parameters:\n  A: { Type: String, AllowedPattern: '.*' }", "Topics: [!Sub 'x${A}']");
        let _ = read(&text, &Options { parameters, ..Options::default() });
    }

    /// The template is cut off anywhere, as by an editor that saves it.
    #[test]
    fn no_cut_makes_it_panic(end in 0_usize..4000) {
        let text = include_str!("../templates/shop.yaml");
        let end = (0..=end.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        let _ = read(&text[..end], &Options::default());
    }
}

//! `template.yaml` as a JSON value, with CloudFormation's short tags written out: `!Ref X` is `{"Ref": "X"}`, `!Sub X` is
//! `{"Fn::Sub": "X"}`. Anchors are refused: CloudFormation has none.

use saphyr_parser::{Event, Parser, ScalarStyle, StrInput, Tag};
use serde_json::{Map, Value, json};

pub(super) fn parse(text: &str) -> Value {
    let mut parser = Parser::new_from_str(text);
    loop {
        match next(&mut parser) {
            Event::StreamStart | Event::DocumentStart(_) => {}
            event => return value(event, &mut parser),
        }
    }
}

fn next<'a>(parser: &mut Parser<'a, StrInput<'a>>) -> Event<'a> {
    parser.next_event().expect("more").expect("YAML").0
}

fn value<'a>(event: Event<'a>, parser: &mut Parser<'a, StrInput<'a>>) -> Value {
    match event {
        Event::Scalar(text, style, 0, tag) => {
            let plain = style == ScalarStyle::Plain && tag.is_none();
            let read = plain.then(|| serde_json::from_str(&text).ok()).flatten();
            tagged(tag.as_deref(), read.unwrap_or_else(|| json!(text)))
        }
        Event::SequenceStart(0, tag) => {
            let mut items = vec![];
            loop {
                match next(parser) {
                    Event::SequenceEnd => return tagged(tag.as_deref(), Value::Array(items)),
                    event => items.push(value(event, parser)),
                }
            }
        }
        Event::MappingStart(0, tag) => {
            let mut members = Map::new();
            loop {
                match next(parser) {
                    Event::MappingEnd => return tagged(tag.as_deref(), Value::Object(members)),
                    Event::Scalar(name, ..) => {
                        let event = next(parser);
                        let before = members.insert(name.to_string(), value(event, parser));
                        assert_eq!(before, None, "{name} stands twice");
                    }
                    event => panic!("{event:?} where a name should be"),
                }
            }
        }
        event => panic!("{event:?} is not for a template"),
    }
}

fn tagged(tag: Option<&Tag>, value: Value) -> Value {
    match tag.map(|tag| tag.suffix.as_str()) {
        None => value,
        Some(name @ ("Ref" | "Condition")) => json!({ name: value }),
        Some(name) => json!({ format!("Fn::{name}"): value }),
    }
}

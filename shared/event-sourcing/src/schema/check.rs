//! The gate: what today's events may change of those that were released.

use schemars::JsonSchema;
use serde_json::Value;
use serde_json::value::to_raw_value;
use thiserror::Error;

use super::compare::differences;
use super::{EventSchema, of_events};
use crate::event::{self, EventType};

/// A change that stored events, or programs that are not updated yet, could not survive. Its text says the remedy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Breach {
    /// Nothing describes a type's events.
    #[error(
        "no sample is a {kind}; add one, because it becomes the example by which later programs are tested"
    )]
    NoSample {
        /// The type's name.
        kind: String,
    },
    /// A type is gone.
    #[error(
        "events of type {kind} were released, and this program can't read them; keep the variant, also when no decision returns it \
         any more (a new name is a new type beside it)"
    )]
    Removed {
        /// The type's name.
        kind: String,
    },
    /// A version that was released has another shape.
    #[error(
        "schema {version} of {kind} was released, and its data has changed: {difference}; leave schema {version} as it was, and add \
         an upcaster from {version} to the events' UPCASTERS, which makes today's data schema {next}",
        next = version + 1
    )]
    Changed {
        /// The type's name.
        kind: String,
        /// The released version.
        version: u32,
        /// The part that differs.
        difference: String,
    },
    /// Data of a version that was released can't be read.
    #[error(
        "an example of {kind} schema {version}, which was released, can't be read any more: {problem}; mend the upcaster from \
         {version}, or add it to the events' UPCASTERS"
    )]
    NotRead {
        /// The type's name.
        kind: String,
        /// The released version.
        version: u32,
        /// The fault.
        problem: String,
    },
    /// A version was released, and this program has an older one.
    #[error(
        "schema {version} of {kind} was released, and this program knows {kind} up to schema {today}; keep all upcasters"
    )]
    Newer {
        /// The type's name.
        kind: String,
        /// The released version.
        version: u32,
        /// This program's version.
        today: u32,
    },
}

/// Compares today's events with the schemas that were released. Returns the schemas to keep from now on: of new types, of new
/// versions, and of those that have changed as they may. A schema keeps the examples that it was released with.
///
/// # Errors
/// All breaches of the contract.
pub fn check<E: EventType + JsonSchema>(
    released: &[EventSchema],
    samples: &[E],
) -> Result<Vec<EventSchema>, Vec<Breach>> {
    let today = of_events(samples);
    let silent = today.iter().filter(|schema| schema.examples().is_empty());
    let mut breaches: Vec<Breach> =
        silent.map(|schema| Breach::NoSample { kind: schema.kind.clone() }).collect();
    for schema in released {
        match today.iter().find(|new| new.kind == schema.kind) {
            None => breaches.push(Breach::Removed { kind: schema.kind.clone() }),
            Some(new) => breaches.extend(breaches_of::<E>(schema, new)),
        }
    }
    breaches.dedup();
    if !breaches.is_empty() {
        return Err(breaches);
    }
    Ok(today.into_iter().filter_map(|new| to_keep(released, new)).collect())
}

/// Returns the schema with its released examples, unless it is just what was released.
fn to_keep(released: &[EventSchema], mut today: EventSchema) -> Option<EventSchema> {
    let Some(old) = released.iter().find(|old| (&old.kind, old.version) == (&today.kind, today.version))
    else {
        return Some(today);
    };
    let added = today.examples().iter().filter(|example| !old.examples().contains(example));
    let examples: Vec<Value> = old.examples().iter().chain(added).cloned().collect();
    today.data["examples"] = examples.into();
    (today != *old).then_some(today)
}

fn breaches_of<E: EventType>(released: &EventSchema, today: &EventSchema) -> Vec<Breach> {
    let (kind, version) = (released.kind.clone(), released.version);
    if version > today.version {
        return vec![Breach::Newer { kind, version, today: today.version }];
    }
    let changes =
        if version == today.version { differences(&released.data, &today.data) } else { Vec::new() };
    let changed =
        changes.into_iter().map(|difference| Breach::Changed { kind: kind.clone(), version, difference });
    let mut breaches: Vec<Breach> = changed.collect();
    for example in released.examples() {
        let read = to_raw_value(example).map_err(|error| error.to_string()).and_then(|data| {
            event::decode::<E>(&kind, version, &data).map_err(|problem| problem.to_string())
        });
        if let Err(problem) = read {
            breaches.push(Breach::NotRead { kind: kind.clone(), version, problem });
        }
    }
    breaches
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};
    use serde_json::json;

    use super::*;
    use crate::event::Upcaster;

    /// The events as they were released.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
    enum Released {
        Opened { owner: String, plan: Plan },
        Closed,
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
    enum Plan {
        Free,
        Paid,
    }

    impl EventType for Released {}

    fn released() -> Vec<EventSchema> {
        let opened = Released::Opened { owner: "Ada".to_owned(), plan: Plan::Paid };
        check(&[], &[opened, Released::Closed]).unwrap()
    }

    /// Declares the events of a later program.
    macro_rules! later {
        ($upcasters:expr, $($variants:tt)+) => {
            #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
            enum Later { $($variants)+ }

            impl EventType for Later {
                const UPCASTERS: &'static [Upcaster] = $upcasters;
            }
        };
    }

    fn breaches<E: EventType + JsonSchema>(samples: &[E]) -> Vec<String> {
        let breaches = check(&released(), samples).unwrap_err();
        breaches.iter().map(ToString::to_string).collect()
    }

    fn new_files<E: EventType + JsonSchema>(samples: &[E]) -> Vec<String> {
        check(&released(), samples).unwrap().iter().map(EventSchema::file_name).collect()
    }

    fn ada() -> String {
        "Ada".to_owned()
    }

    #[test]
    fn what_did_not_change_is_right_and_leaves_nothing_to_keep() {
        let opened = Released::Opened { owner: ada(), plan: Plan::Paid };
        assert_eq!(new_files(&[opened, Released::Closed]), [""; 0]);
    }

    // ── Wrong ────────────────────────────────────────────────────────────────────────────────────────

    #[test]
    fn wrong_a_field_that_old_data_lacks() {
        later!(&[], Opened { owner: String, plan: Plan, country: String }, Closed);
        let opened = Later::Opened { owner: ada(), plan: Plan::Free, country: "SE".to_owned() };
        let breaches = breaches(&[opened, Later::Closed]);
        assert!(breaches[0].contains("data.country is new and required"), "{breaches:?}");
        assert!(breaches[0].contains("add an upcaster from 1"), "{breaches:?}");
        assert!(
            breaches[1].contains("an example of Opened schema 1, which was released, can't be read"),
            "{breaches:?}"
        );
    }

    #[test]
    fn wrong_a_field_that_old_programs_need_is_gone() {
        later!(&[], Opened { plan: Plan }, Closed);
        let breaches = breaches(&[Later::Opened { plan: Plan::Free }, Later::Closed]);
        assert_eq!(breaches.len(), 1, "{breaches:?}");
        assert!(breaches[0].contains("data.owner is gone"), "{breaches:?}");
    }

    #[test]
    fn wrong_a_field_has_another_type() {
        later!(&[], Opened { owner: u64, plan: Plan }, Closed);
        let breaches = breaches(&[Later::Opened { owner: 7, plan: Plan::Free }, Later::Closed]);
        assert!(breaches[0].contains(r#"type of data.owner was "string" and is "integer""#), "{breaches:?}");
    }

    #[test]
    fn wrong_a_field_has_a_value_that_old_programs_do_not_know() {
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
        enum Plan {
            Free,
            Paid,
            Gold,
        }
        later!(&[], Opened { owner: String, plan: Plan }, Closed);
        let breaches = breaches(&[Later::Opened { owner: ada(), plan: Plan::Gold }, Later::Closed]);
        assert_eq!(
            breaches[0].split("; ").next().unwrap(),
            r#"schema 1 of Opened was released, and its data has changed: enum of data.plan was ["Free","Paid"] and is ["Free","Paid","Gold"]"#
        );
    }

    #[test]
    fn wrong_a_type_has_another_name() {
        later!(&[], Begun { owner: String, plan: Plan }, Closed);
        let breaches = breaches(&[Later::Begun { owner: ada(), plan: Plan::Free }, Later::Closed]);
        assert!(breaches[0].contains("events of type Opened were released"), "{breaches:?}");
        assert!(breaches[0].contains("keep the variant"), "{breaches:?}");
    }

    #[test]
    fn wrong_an_upcaster_does_not_read_what_was_released() {
        later!(
            &[Upcaster { kind: "Opened", from: 1, step: |data| Ok(json!({ "holder": data["name"] })) }],
            Opened { holder: String },
            Closed
        );
        let breaches = breaches(&[Later::Opened { holder: ada() }, Later::Closed]);
        assert!(breaches[0].contains("mend the upcaster from 1"), "{breaches:?}");
    }

    #[test]
    fn wrong_a_type_has_no_sample() {
        let breaches = breaches(&[Released::Closed]);
        assert_eq!(
            breaches,
            [
                "no sample is a Opened; add one, because it becomes the example by which later programs are tested"
            ]
        );
    }

    // ── Right ────────────────────────────────────────────────────────────────────────────────────────

    #[test]
    fn right_a_field_that_need_not_be_there_and_it_is_kept_from_then_on() {
        later!(&[], Opened { owner: String, plan: Plan, country: Option<String> }, Closed);
        let opened = Later::Opened { owner: ada(), plan: Plan::Free, country: None };
        let kept = check(&released(), &[opened, Later::Closed]).unwrap();
        assert_eq!(kept.iter().map(EventSchema::file_name).collect::<Vec<_>>(), ["Opened.1.json"]);
        assert_eq!(kept[0].data["properties"]["country"]["type"], json!(["string", "null"]));
        assert_eq!(kept[0].data["examples"].as_array().unwrap().len(), 2, "that of the release stays");
    }

    #[test]
    fn right_a_new_type() {
        later!(&[], Opened { owner: String, plan: Plan }, Closed, Frozen { reason: String });
        let opened = Later::Opened { owner: ada(), plan: Plan::Paid };
        let frozen = Later::Frozen { reason: "asked".to_owned() };
        assert_eq!(new_files(&[opened, Later::Closed, frozen]), ["Frozen.1.json"]);
    }

    #[test]
    fn right_a_new_version_with_an_upcaster() {
        later!(
            &[Upcaster { kind: "Opened", from: 1, step: |data| Ok(json!({ "holder": data["owner"] })) }],
            Opened { holder: String },
            Closed
        );
        assert_eq!(new_files(&[Later::Opened { holder: ada() }, Later::Closed]), ["Opened.2.json"]);
    }

    #[test]
    fn a_program_from_before_a_release_is_told_apart() {
        let mut schemas = released();
        schemas.iter_mut().find(|schema| schema.kind == "Opened").unwrap().version = 2;
        let samples = [Released::Opened { owner: ada(), plan: Plan::Free }, Released::Closed];
        let breaches = check(&schemas, &samples).unwrap_err();
        assert_eq!(breaches, [Breach::Newer { kind: "Opened".to_owned(), version: 2, today: 1 }]);
    }

    #[test]
    fn right_another_documentation() {
        let mut schemas = released();
        schemas[0].data["description"] = Value::from("Another text.");
        let samples = [Released::Opened { owner: ada(), plan: Plan::Paid }, Released::Closed];
        let kept = check(&schemas, &samples).unwrap();
        assert_eq!(kept, released()[..1]);
    }
}

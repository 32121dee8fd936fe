//! Records that are decoded before filters and the function see them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use event_source_mapping::event::{KafkaEvent, KafkaRecord};
use event_source_mapping::{
    DeadLetter, DecodeError, DecodeOutcome, Decoder, DiscardReason, FilterCriteria, InProcessTarget, Mapping,
    OnFailure, Target,
};
use tokio::sync::watch;

use crate::support::{Calls, Topic, mapping, ok, start};

/// A registry that decodes by the key. `unknown` waits until the schema is there, and `poison` can't be decoded. The value of every
/// other record becomes JSON with an id.
#[derive(Clone)]
struct Registry {
    has_schema: watch::Sender<bool>,
    lookups: Arc<Mutex<usize>>,
}

impl Registry {
    fn new() -> Self {
        Self { has_schema: watch::Sender::new(false), lookups: Arc::default() }
    }

    fn decoder(&self) -> Decoder {
        let registry = self.clone();
        Decoder::new(move |record| registry.decode(record))
    }

    fn decode(&self, mut record: KafkaRecord) -> DecodeOutcome {
        match record.key.as_deref() {
            Some(b"poison") => {
                let undecodable =
                    DecodeError { reason: DiscardReason::Undecodable, error: "on purpose".to_owned() };
                return DecodeOutcome::Undecodable { record, undecodable };
            }
            Some(b"unknown") if !*self.has_schema.borrow() => {
                *self.lookups.lock().unwrap() += 1;
                let mut has_schema = self.has_schema.subscribe();
                let lookup = Box::pin(async move {
                    let _ = has_schema.wait_for(|there| *there).await;
                });
                return DecodeOutcome::Later { record, lookup };
            }
            _ => {}
        }
        let json = format!("{{\"id\":{}}}", record.offset);
        record.value = Some(format!("decoded {}", record.offset).into());
        DecodeOutcome::Record { record, json: Some(json.into()) }
    }
}

fn with_key(key: &'static str) -> impl FnOnce(&mut KafkaRecord) {
    move |record| record.key = Some(key.into())
}

/// A function that notes its calls, and the values of each.
fn function(calls: &Calls, values: &Arc<Mutex<Vec<String>>>) -> impl Target {
    let (calls, values) = (calls.clone(), Arc::clone(values));
    InProcessTarget::new(move |event: KafkaEvent, _| {
        calls.note(&event);
        let text = |record: &KafkaRecord| String::from_utf8(record.value.clone().unwrap().to_vec()).unwrap();
        values.lock().unwrap().extend(event.records.values().flatten().map(text));
        async { ok() }
    })
}

fn letters() -> (OnFailure, Arc<Mutex<Vec<DeadLetter>>>) {
    let letters: Arc<Mutex<Vec<DeadLetter>>> = Arc::default();
    let into = Arc::clone(&letters);
    let destination = OnFailure::hand_over(move |discarded| {
        into.lock().unwrap().push(discarded);
        async { Ok(()) }
    });
    (destination, letters)
}

#[tokio::test(start_paused = true)]
async fn a_record_without_a_known_schema_holds_up_its_partition_and_no_other() {
    let (topic, calls, values, registry) =
        (Topic::with(&[(0, 1)]), Calls::default(), Arc::default(), Registry::new());
    topic.write_record(with_key("unknown"), 0);
    topic.write(0, 1);
    topic.write(1, 2);
    let mapping = Mapping { decoder: registry.decoder(), ..mapping() };
    let running = start(mapping, &topic, function(&calls, &values));
    topic.until_committed(0, 1).await;
    topic.until_committed(1, 2).await;
    // A record behind it waits with it, and nothing is looked up again.
    topic.write_record(with_key("unknown"), 0);
    topic.write(1, 1);
    topic.until_committed(1, 3).await;
    assert_eq!((topic.committed(0), *registry.lookups.lock().unwrap()), (1, 1));
    registry.has_schema.send_replace(true);
    topic.until_committed(0, 4).await;
    assert_eq!(calls.of(0).concat(), [0, 1, 2, 3]);
    assert!(values.lock().unwrap().contains(&"decoded 1".to_owned()));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn filters_see_what_was_decoded() {
    let (topic, calls, values) = (Topic::with(&[(0, 6)]), Calls::default(), Arc::default());
    let filter = FilterCriteria::parse([r#"{"value":{"id":[2,4]}}"#]).unwrap();
    let mapping = Mapping { decoder: Registry::new().decoder(), filter, ..mapping() };
    let running = start(mapping, &topic, function(&calls, &values));
    topic.until_committed(0, 6).await;
    assert_eq!(*values.lock().unwrap(), ["decoded 2", "decoded 4"]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_decoded_is_given_up_in_its_turn_without_an_invocation() {
    let (topic, calls, values) = (Topic::with(&[(0, 1)]), Calls::default(), Arc::default());
    for _ in 0..2 {
        topic.write_record(with_key("poison"), 0);
    }
    topic.write(0, 1);
    topic.write_record(with_key("poison"), 0);
    let (on_failure, letters) = letters();
    let mapping = Mapping { decoder: Registry::new().decoder(), on_failure, batch_size: 10, ..mapping() };
    let running = start(mapping, &topic, function(&calls, &values));
    topic.until_committed(0, 5).await;
    assert_eq!(calls.of(0), [[0], [3]]);
    let letters = letters.lock().unwrap().clone();
    let offsets: Vec<Vec<i64>> =
        letters.iter().map(|letter| letter.records.iter().map(|record| record.offset).collect()).collect();
    assert_eq!(offsets, [vec![1, 2], vec![4]]);
    assert!(letters.iter().all(|letter| letter.reason == DiscardReason::Undecodable
        && letter.attempts == 0
        && letter.error == "on purpose"));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_destination_gets_records_as_they_are_in_kafka() {
    let (topic, calls) = (Topic::with(&[(0, 1)]), Calls::default());
    let (on_failure, letters) = letters();
    let mapping = Mapping {
        decoder: Registry::new().decoder(),
        on_failure,
        maximum_retry_attempts: Some(1),
        ..mapping()
    };
    let noted = calls.clone();
    let target = InProcessTarget::new(move |event: KafkaEvent, _| {
        noted.note(&event);
        async { Err("always") as Result<_, &'static str> }
    });
    let running = start(mapping, &topic, target);
    topic.until_committed(0, 1).await;
    let letter = letters.lock().unwrap()[0].clone();
    assert_eq!((letter.reason, letter.attempts), (DiscardReason::RetriesExhausted, 2));
    assert_eq!(letter.records[0].value.as_deref(), Some(b"0/0".as_slice()));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_schema_is_bounded_and_goes_with_its_partition() {
    let (topic, calls, values, registry) =
        (Topic::default(), Calls::default(), Arc::default(), Registry::new());
    topic.write_record(with_key("unknown"), 0);
    topic.write(0, 1_000);
    let mapping = Mapping { decoder: registry.decoder(), batch_size: 10, ..mapping() };
    let running = start(mapping, &topic, function(&calls, &values));
    while topic.paused() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(topic.position(0) < 100, "{}", topic.position(0));
    // Another process has it now, and goes on from its own commits.
    topic.revoke(0);
    topic.write(1, 1);
    topic.until_committed(1, 1).await;
    registry.has_schema.send_replace(true);
    topic.write(1, 1);
    topic.until_committed(1, 2).await;
    assert_eq!(calls.all().iter().flat_map(BTreeMap::keys).copied().collect::<Vec<_>>(), [1, 1]);
    assert_eq!(topic.committed(0), 0);
    running.stop().await;
}

//! Input: a BSON document of the original program's MongoDB. If the bytes are no BSON, they are a document's name and data, one a
//! line.

// Only the decoder, without the driver and the stores that are built with the rest of its crate.
#[path = "../../../tools/import-seed/src/document.rs"]
mod document;

use bson::oid::ObjectId;
use bson::{RawDocument, RawDocumentBuf, doc};
use domain::Command;

use crate::values::{assert_is_id, assert_is_line};

/// Checks that an accepted document is a valid command, under the same id each time. A refusal is one line.
pub fn check(bytes: &[u8]) {
    if let Ok(document) = RawDocument::from_bytes(bytes) {
        check_document(document);
    } else if let Some((name, data)) = std::str::from_utf8(bytes).ok().and_then(|text| text.split_once('\n'))
    {
        let document = doc! { "_id": ObjectId::from_bytes([7; 12]), "name": name, "data": data };
        check_document(&RawDocumentBuf::try_from(&document).expect("a document is BSON"));
    }
}

fn check_document(document: &RawDocument) {
    let translated = document::translate(document);
    assert_eq!(translated, document::translate(document));
    match translated {
        Ok(taken) => {
            assert_is_id(taken.order.as_str());
            let id = taken.command_id.id();
            assert!(id.starts_with("import-seed:") && id.bytes().all(|byte| byte.is_ascii_graphic()), "{id}");
            match &taken.command {
                Command::Create { name } => assert_is_line(name.as_str()),
                Command::Process => {}
                other => panic!("the original program had no {other:?}"),
            }
        }
        Err(refusal) => {
            for said in [&refusal.id, &refusal.reason] {
                assert!((1..1_000).contains(&said.len()) && !said.contains(char::is_control), "{refusal:?}");
            }
        }
    }
}

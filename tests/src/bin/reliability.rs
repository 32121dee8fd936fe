//! Prints the table of guarantees: `reliability ABOUT REPORT [MUTATIONS]`. ABOUT is the line above the table. REPORT is a file
//! with a line of JSON for each test, MUTATIONS is one with a line for each mutation.

// A tool of the tests fails loudly, as they do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::env;
use std::fs;

use tests::reliability::{lines, table};

fn main() {
    let mut words = env::args().skip(1);
    let about = words.next().expect("a line above the table");
    let mut read =
        || words.next().map_or_else(Vec::new, |path| lines(&fs::read_to_string(path).expect("a report")));
    let (reported, mutated) = (read(), read());
    print!("{}", table(&about, &reported, &mutated));
}

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_properties::http_request::check(bytes));

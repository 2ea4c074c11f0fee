//! Templates of manifests, in our own engine.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| weir_engine::airbyte::render(text));

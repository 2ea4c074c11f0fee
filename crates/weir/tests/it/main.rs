//! The binary as people and programs use it.
#![expect(clippy::unwrap_used, reason = "a test stops where its set-up fails")]

mod bad_input;
mod harness;
mod help;
mod path;
mod secrets;

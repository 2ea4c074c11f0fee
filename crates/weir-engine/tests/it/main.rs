//! The engine from outside: only what other crates can reach.
#![expect(clippy::unwrap_used, reason = "a test stops where its set-up fails")]

mod connectors;
mod slack;
mod stripe;
mod tls;

//! The engine from outside: only what other crates can reach.

mod connectors;

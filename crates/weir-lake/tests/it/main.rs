//! The lake as its callers see it.

mod gold;
mod harness;

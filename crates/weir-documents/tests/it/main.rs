//! What the rules find, measured against labels made by hand.

#![expect(clippy::print_stdout, reason = "a measurement is there to be read")]

mod bad;
mod clauses;
mod forms;
mod measure;
mod own;
mod recorded;

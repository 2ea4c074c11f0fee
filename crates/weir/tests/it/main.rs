//! The binary as people and programs use it.

mod bad_input;
mod harness;
mod help;
mod path;

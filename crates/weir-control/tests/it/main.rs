//! The pump, the control store and the lake together.

#![cfg(test)]

#[cfg(feature = "failpoints")]
mod simulation;

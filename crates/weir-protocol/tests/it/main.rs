//! Tests that guard the repository, not only the code.

mod house;
mod schema;

//! The lake as its callers see it.

#![cfg(test)]

#[cfg(feature = "failpoints")]
mod child_faults;
mod children;
mod conformance;
mod damage;
mod drift;
#[cfg(feature = "failpoints")]
mod faults;
mod gold;
mod harness;
mod identity;
mod maintenance;
#[cfg(feature = "failpoints")]
mod maintenance_faults;
mod marks;
mod mend;
mod model;
mod modes;
mod promises;
mod rebuild;
mod release;
#[cfg(feature = "failpoints")]
mod release_faults;
mod resume;
mod rounding;
mod schema;
mod tidying;

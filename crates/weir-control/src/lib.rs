//! Decides and remembers: connections, runs with their books, states, leases and schema changes in
//! one store, and the pump that moves a connection's streams from a source into a destination.
//!
//! One folder a noun: `mod.rs` holds the types and the use cases, `sql.rs` its queries, `rules.rs`
//! the decisions that need no I/O.

pub mod alerts;
pub mod approvals;
pub mod audit;
pub mod backfills;
pub mod bundles;
pub mod calls;
pub mod clocks;
pub mod connections;
pub mod connectors;
pub mod deliveries;
pub mod event_schemas;
pub mod events;
mod failpoint;
pub mod fitness;
pub mod hooks;
pub mod idempotency;
pub mod leases;
pub mod ledger;
pub mod lifecycle;
pub mod maintenance;
pub mod oauth;
pub mod permits;
pub mod policies;
pub mod principals;
pub mod projects;
pub mod questions;
pub mod reconcile;
pub mod rpc;
pub mod runs;
pub mod schedules;
pub mod schemas;
pub mod secrets;
pub mod sessions;
pub mod slices;
pub mod states;
pub mod store;
pub mod sync;
pub mod tenants;
pub mod upstreams;
pub mod webhooks;
pub mod worker;
pub mod workers;

#[cfg(test)]
mod deaths;
#[cfg(test)]
mod twins;

pub use audit::Acting;
pub use connections::{Connection, DEFAULT_TENANT};
pub use leases::Owner;
pub use principals::{Access, Permission, Role};
pub use runs::{Run, RunStatus, StreamRun};
pub use store::{Expected, Place, Scope, Store};
pub use sync::{Observer, StreamOutcome, SyncOptions, SyncOutcome, SyncPlan, sync, sync_over};

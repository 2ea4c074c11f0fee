//! The parts that a manifest's streams are read in, and how far each is read: windows of a cursor,
//! partitions of a router, their products, and states in the reference's formats.

mod clamp;
mod migrate;
mod partitioned;
mod plan;
mod router;
mod slice;
mod substream;
mod windows;

pub(crate) use migrate::{NO_CURSOR, migrations};
pub(crate) use partitioned::Partitioned;
pub(crate) use plan::CursorPlan;
pub(crate) use router::{Router, Routing};
pub(crate) use slice::{CHILD_RESPONSE, CHILD_TEXT, Slice, canonical};
pub(crate) use windows::Windows;

//! The lake: Bronze objects, Silver and Gold Delta tables, and the checkpoint that ties a stream's
//! state to the data it covers.
//!
//! Layout under the lake's location:
//!
//! - `bronze/raw_<source>_<stream>/`: records as received, zstd JSON Lines
//! - `silver/<source>_<entity>/`: Delta tables, one a stream, and
//!   `silver/<source>_<entity>_<field>/` for each list that the stream explodes
//! - `gold/<model>/`: Delta tables, one a model
//! - `quarantine/<source>_<stream>/`: records that broke their contract
//! - `spools/<connection>/<stream>/`: what other workers read of slices, until the run takes it in

mod bronze;
mod children;
mod failpoint;
mod gold;
mod held;
mod lake;
mod maintenance;
pub mod quarantine;
mod spools;
mod storage;
mod streams;
mod table;
pub mod typed;
mod upsert;
mod writer;

pub use gold::{GoldBuild, GoldMode};
pub use lake::{Lake, LakeConfig, Layer, TableInfo, TableSnapshot};
pub use maintenance::{
    Archived, BronzeRetention, Compacted, Compared, NextRead, RawBatch, Rebuilt, Restored, SilverRetention,
    Usage, Vacuumed,
};
pub use spools::SPOOL_BYTES_MAX;
pub use storage::Storage;
pub use table::{AsOf, DataFile};

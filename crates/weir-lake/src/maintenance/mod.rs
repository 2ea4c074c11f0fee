//! What keeps the lake fast and small: compaction, vacuum, retention, restore, rebuild.

mod archive;
mod compact;
mod compare;
mod exchange;
mod guard;
mod orphan;
mod probe;
mod rebuild;
mod replay;
mod restore;
mod retention;
mod scratch;
pub(crate) mod tidy;
mod usage;
mod vacuum;

pub use archive::Archived;
pub use compact::Compacted;
pub use compare::Compared;
pub(crate) use rebuild::{Admission, decision};
pub use rebuild::{RawBatch, Rebuilt};
pub use restore::{NextRead, Restored};
pub(crate) use restore::{check_files, difference};
pub use retention::{BronzeRetention, SilverRetention};
pub use usage::Usage;
pub use vacuum::Vacuumed;

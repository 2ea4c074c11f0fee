use super::{Health, Record};

/// So many failures in a row are no passing trouble.
const FAILURES_ERROR: u64 = 3;

pub(super) fn health(record: &Record) -> Health {
    match record.failures {
        0 => Health::Ok,
        1.. if record.last_success_at_ms.is_none() => Health::Error,
        FAILURES_ERROR.. => Health::Error,
        _ => Health::Degraded,
    }
}

/// Of all connections together.
pub fn overall(all: impl Iterator<Item = Health> + Clone) -> Health {
    let are_well = all.clone().filter(|health| *health == Health::Ok).count();
    match (are_well, all.count()) {
        (well, whole) if well == whole => Health::Ok,
        (0, _) => Health::Error,
        _ => Health::Degraded,
    }
}

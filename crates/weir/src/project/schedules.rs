//! The `schedule:` of a connection's file, judged as the store will judge it.

use std::path::Path;

use weir_control::schedules::Timing;
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::{Result, yaml};

/// Refuses a schedule that cannot be kept, and names its place in the file.
pub(crate) fn check_schedule(connection: &ConnectionSpec, file: &Path, text: &str) -> Result<()> {
    let fault = connection.schedule.as_ref().and_then(Timing::fault);
    fault.map_or(Ok(()), |(field, error)| {
        Err(yaml::misplaced(file, text, ("schedule", field), &error))
    })
}

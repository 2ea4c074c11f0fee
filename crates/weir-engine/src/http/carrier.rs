//! What takes a signed request to the other side. All that is decided about requests (rate, breaker, tries, what an
//! answer means) is decided above it, and so is the same whatever a connector speaks.

use async_trait::async_trait;
use weir_protocol::Result;

use super::transport::Transport;
use super::{Answer, Outgoing};

/// Brings the answer to one request, within time and size limits.
///
/// Whoever sends what may have an effect says so before, by `out.delivery.begins()`; a failure before that is marked
/// by [`super::before_sending`] where trying again may help. An answer's status means what it means in HTTP.
#[async_trait]
pub(crate) trait Carrier: Send + Sync {
    async fn carry(&self, out: &Outgoing) -> Result<Answer>;
}

#[async_trait]
impl Carrier for Transport {
    async fn carry(&self, out: &Outgoing) -> Result<Answer> {
        self.refuse(out)?;
        out.delivery.begins();
        self.send(out).await
    }
}

//! Which tools a caller sees. The order is always the same: weir's own first, then bundles and
//! actions by name.

use rmcp::model::Tool;
use weir_control::bundles as control_bundles;
use weir_control::calls::Offer;
use weir_protocol::Result;

use super::caller::Caller;
use super::tools::{self, Own};
use super::{actions, bundles};

/// With more tools than this, a model is better off searching: actions are not listed then.
pub(super) const LISTED_MAX: usize = 50;

/// What a caller may use.
pub(super) struct Listing {
    pub(super) own: Vec<Own>,
    pub(super) bundles: Vec<control_bundles::Offer>,
    pub(super) offers: Vec<Offer>,
    /// Whether actions are found by searching.
    pub(super) is_long: bool,
}

/// Actions that may be called and have a tool's name.
pub(super) async fn offers(caller: &Caller) -> Result<Vec<Offer>> {
    if caller.state.calls.is_none() {
        return Ok(Vec::new());
    }
    let mut offers = caller.desk()?.permitted(&caller.access, super::VIA).await?;
    offers.retain(|offer| actions::name(&offer.connection, &offer.action).is_some());
    Ok(offers)
}

pub(super) async fn listing(caller: &Caller) -> Result<Listing> {
    let (bundles, offers) = (bundles::offers(caller).await?, offers(caller).await?);
    let mut own: Vec<Own> = tools::all()
        .into_iter()
        .filter(|tool| tool.is_for(caller))
        .collect();
    let searching = own.iter().filter(|tool| tool.is_for_searching).count();
    let is_long = own.len() - searching + bundles.len() + offers.len() > LISTED_MAX;
    own.retain(|tool| is_long || !tool.is_for_searching);
    Ok(Listing {
        own,
        bundles,
        offers,
        is_long,
    })
}

impl Listing {
    pub(super) fn tools(&self) -> Vec<Tool> {
        let own = self.own.iter().map(Own::tool);
        let shown = if self.is_long { &[][..] } else { &self.offers[..] };
        let bundles = self.bundles.iter().map(bundles::tool);
        own.chain(bundles)
            .chain(shown.iter().filter_map(actions::tool))
            .collect()
    }
}

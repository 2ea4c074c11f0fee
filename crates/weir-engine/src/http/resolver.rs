//! Name resolution that hands out only allowed addresses. Checking here, where the connection is
//! made from the answer, leaves no gap in which a name could change its address.

use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use weir_protocol::Error;

use super::hosts::HostRules;

pub(super) struct GuardedResolver {
    pub(super) rules: HostRules,
    /// Whether it serves plain HTTP, which private addresses alone may have.
    pub(super) plain: bool,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (rules, plain) = (self.rules.clone(), self.plain);
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let mut refused: Option<Error> = None;
            let mut allowed: Vec<SocketAddr> = Vec::new();
            for address in found {
                match rules.check_address(name.as_str(), address.ip(), plain) {
                    Ok(()) => allowed.push(address),
                    Err(error) => refused = Some(error),
                }
            }
            match refused {
                Some(error) if allowed.is_empty() => {
                    Err(Box::new(error) as Box<dyn std::error::Error + Send + Sync>)
                }
                _ => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}

//! A manifest's own rate limits: requests that match a policy wait until its rates let them go.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use regex::Regex;
use weir_protocol::Result;

use super::super::node::Node;
use super::super::template::Scope;
use super::super::time::parse_duration;
use crate::http::Outgoing;

struct Rate {
    most: usize,
    per: Duration,
    sent: VecDeque<Instant>,
}

struct Matcher {
    method: Option<String>,
    base: Option<String>,
    path: Option<Regex>,
    params: Vec<(String, String)>,
    headers: Vec<(String, String)>,
}

struct Policy {
    matchers: Vec<Matcher>,
    rates: Mutex<Vec<Rate>>,
}

pub(crate) struct Budget {
    policies: Vec<Policy>,
}

impl Budget {
    pub(crate) fn new(scope: &Scope<'_>, node: &Node<'_>) -> Result<Arc<Self>> {
        if node.kind() != "HTTPAPIBudget" {
            return Err(node.unknown("an API budget"));
        }
        let policies = node.list("policies");
        let policies = policies
            .iter()
            .map(|policy| Policy::new(scope, policy))
            .collect::<Result<_>>()?;
        Ok(Arc::new(Self { policies }))
    }

    /// Returns when the first policy that matches lets the request go.
    pub(crate) async fn wait(&self, out: &Outgoing) {
        let Some(policy) = self.policies.iter().find(|policy| policy.matches(out)) else {
            return;
        };
        while let Some(wait) = policy.take() {
            tokio::time::sleep(wait).await;
        }
    }
}

impl Policy {
    fn new(scope: &Scope<'_>, node: &Node<'_>) -> Result<Self> {
        let rate = |most: &Node<'_>, per: &Node<'_>| -> Result<Rate> {
            let read = |node: &Node<'_>| node.as_text(node.parameters())?.eval_text(scope);
            let number = read(most)?
                .trim()
                .parse::<usize>()
                .map_err(|error| most.error("a limit must be a whole number").caused_by(error))?;
            let per_text = read(per)?;
            let span = parse_duration(&per_text)
                .ok_or_else(|| per.error(format!("'{per_text}' is no duration such as PT1M")))?;
            Ok(Rate {
                most: number.max(1),
                per: Duration::from_micros(u64::try_from(span.micros).unwrap_or(0)),
                sent: VecDeque::new(),
            })
        };
        let rates = match node.kind() {
            "MovingWindowCallRatePolicy" => {
                let rates = node.list("rates");
                rates
                    .iter()
                    .map(|one| rate(&one.need("limit")?, &one.need("interval")?))
                    .collect::<Result<_>>()?
            }
            "FixedWindowCallRatePolicy" => vec![rate(&node.need("call_limit")?, &node.need("period")?)?],
            "UnlimitedCallRatePolicy" => Vec::new(),
            _ => return Err(node.unknown("a call rate policy")),
        };
        let matchers = node.list("matchers");
        Ok(Self {
            matchers: matchers.iter().map(Matcher::new).collect::<Result<_>>()?,
            rates: Mutex::new(rates),
        })
    }

    fn matches(&self, out: &Outgoing) -> bool {
        self.matchers.is_empty() || self.matchers.iter().any(|matcher| matcher.matches(out))
    }

    /// Counts a request, or says how long to wait before asking again.
    fn take(&self) -> Option<Duration> {
        let now = Instant::now();
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        let mut wait = None;
        for rate in rates.iter_mut() {
            while rate
                .sent
                .front()
                .is_some_and(|at| now.duration_since(*at) >= rate.per)
            {
                rate.sent.pop_front();
            }
            if rate.sent.len() >= rate.most
                && let Some(first) = rate.sent.front()
            {
                let left = rate.per.saturating_sub(now.duration_since(*first));
                wait = wait.max(Some(left));
            }
        }
        if wait.is_none() {
            rates.iter_mut().for_each(|rate| rate.sent.push_back(now));
        }
        wait
    }
}

impl Matcher {
    fn new(node: &Node<'_>) -> Result<Self> {
        let pairs = |field: &str| {
            let members = node.get(field).map(|node| node.members()).unwrap_or_default();
            let pair = |(name, value): (&str, Node<'_>)| {
                (name.to_owned(), super::super::template::py_text(value.value))
            };
            members.into_iter().map(pair).collect()
        };
        let path = node.str("url_path_pattern").map(Regex::new).transpose();
        Ok(Self {
            method: node.str("method").map(str::to_owned),
            base: node
                .str("url_base")
                .map(|base| base.trim_end_matches('/').to_owned()),
            path: path.map_err(|error| node.error("url_path_pattern is no regex").caused_by(error))?,
            params: pairs("params"),
            headers: pairs("headers"),
        })
    }

    fn matches(&self, out: &Outgoing) -> bool {
        let has_param = |(name, value): &(String, String)| {
            out.url
                .query_pairs()
                .any(|(known, there)| known == *name && there == *value)
        };
        let has_header = |(name, value): &(String, String)| {
            out.headers
                .iter()
                .any(|(known, there)| known.eq_ignore_ascii_case(name) && there == value)
        };
        self.method
            .as_ref()
            .is_none_or(|method| out.method.as_str() == method)
            && self
                .base
                .as_ref()
                .is_none_or(|base| out.url.as_str().starts_with(base.as_str()))
            && self
                .path
                .as_ref()
                .is_none_or(|path| path.is_match(out.url.path()))
            && self.params.iter().all(has_param)
            && self.headers.iter().all(has_header)
    }
}

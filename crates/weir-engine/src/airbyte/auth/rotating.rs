//! Several interchangeable tokens, each with quotas that the source tells of: one is used until its
//! quota is spent, then the next.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use url::Url;
use weir_protocol::{Error, ErrorKind, Result};

use super::super::env::Env;
use super::super::env::Timeouts;
use super::super::node::Node;
use super::super::records::path;
use super::super::request::Matcher;
use super::super::template::{Text, py_text};
use super::super::time::{Moment, isoparse, parse_duration};
use super::pools::{Next, Pool, Pools, Reserve, Told};
use crate::http::{Answer, Method, Outgoing, Sent, Verdict};

pub(crate) struct Rotating {
    tokens: Vec<String>,
    scheme: String,
    header: String,
    quotas: Vec<Quota>,
    status: Status,
    /// The longest time that one request waits for quotas.
    longest: Duration,
    reserve: Reserve,
    pools: Mutex<Option<Pools>>,
    /// Held while quotas are asked for, so that they are asked for once.
    asking: tokio::sync::Mutex<()>,
}

/// One pool of calls, and which requests it pays for.
struct Quota {
    name: String,
    matchers: Vec<Matcher>,
    remaining: Vec<String>,
    resets: Vec<String>,
    limit: Option<Vec<String>>,
    remaining_header: Option<String>,
    reset_header: Option<String>,
    limit_header: Option<String>,
    exhausted_codes: Vec<u64>,
}

/// Where quotas are asked for.
struct Status {
    url: Text,
    method: Method,
    headers: Vec<(String, Text)>,
    unavailable: Vec<u64>,
}

impl Rotating {
    pub(super) fn new(env: &Arc<Env>, node: &Node<'_>) -> Result<Self> {
        let scope = env.scope();
        let tokens = tokens(env, node)?;
        if tokens.is_empty() {
            return Err(node
                .error("the settings give no token")
                .hint("set at least one token in the connection's settings"));
        }
        let quotas = node.list("quotas");
        let quotas = quotas
            .iter()
            .map(|quota| Quota::new(env, quota))
            .collect::<Result<Vec<_>>>()?;
        if quotas.is_empty() {
            return Err(node.error("a RateLimitedMultipleTokenAuthenticator needs at least one quota"));
        }
        let longest = node.text_or("max_wait_time", "PT2H")?.eval_text(&scope)?;
        let span = parse_duration(&longest).filter(|span| span.months == 0 && span.micros >= 0);
        let span = span.ok_or_else(|| node.error(format!("max_wait_time is '{longest}', no duration")))?;
        let number = |field: &str, usual: f64| node.value.get(field).and_then(Value::as_f64).unwrap_or(usual);
        let text = |field: &str, usual: &str| {
            let given = node.str(field).filter(|text| !text.is_empty());
            given.unwrap_or(usual).to_owned()
        };
        Ok(Self {
            tokens,
            scheme: text("auth_method", "Bearer"),
            header: text("header", "Authorization"),
            quotas,
            status: Status::new(&node.need("quota_status_source")?)?,
            longest: Duration::from_micros(span.micros.unsigned_abs()).min(env.longest_wait()),
            reserve: Reserve {
                fraction: number("budget_reserve_fraction", 0.1),
                least: number("budget_min_reserve", 50.0),
            },
            pools: Mutex::new(None),
            asking: tokio::sync::Mutex::new(()),
        })
    }

    fn pools(&self) -> MutexGuard<'_, Option<Pools>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first pool whose matchers match; else the first without matchers; else the first.
    fn pool(&self, out: &Outgoing) -> usize {
        let matching = |quota: &Quota| quota.matchers.iter().any(|matcher| matcher.matches(out));
        let found = self.quotas.iter().position(matching);
        let found = found.or_else(|| self.quotas.iter().position(|quota| quota.matchers.is_empty()));
        found.unwrap_or_else(|| {
            tracing::warn!("a request belongs to no quota; the first one pays for it");
            0
        })
    }

    fn signature(&self, token: &str) -> String {
        format!("{} {token}", self.scheme).trim().to_owned()
    }

    /// Which token a request was signed with.
    fn signer(&self, out: &Outgoing) -> Option<usize> {
        let is_ours = |(name, _): &&(String, String)| name.eq_ignore_ascii_case(&self.header);
        let (_, value) = out.headers.iter().rev().find(is_ours)?;
        self.tokens
            .iter()
            .position(|token| self.signature(token) == *value)
    }

    /// Waits for a token that may send this request, and signs with it.
    pub(super) async fn sign(&self, env: &Env, out: &mut Outgoing) -> Result<()> {
        if self.pools().is_none() {
            let _turn = self.asking.lock().await;
            if self.pools().is_none() {
                self.ask(env).await?;
            }
        }
        let pool = self.pool(out);
        let until = env.timer().elapsed() + self.longest;
        loop {
            let now = seconds(env);
            let next = match &mut *self.pools() {
                Some(pools) => pools.take(pool, now, self.reserve),
                None => Next::Wait(0.0),
            };
            match next {
                Next::Token(token, delay) => {
                    if let Some(delay) = delay {
                        env.timer().sleep(delay).await;
                    }
                    let token = self.tokens.get(token).map(String::as_str).unwrap_or_default();
                    out.set_header(&self.header, self.signature(token));
                    return Ok(());
                }
                Next::Wait(wait) => self.wait(env, pool, wait, until).await?,
            }
        }
    }

    /// All tokens are spent.
    async fn wait(&self, env: &Env, pool: usize, wait: f64, until: Duration) -> Result<()> {
        let left = until.saturating_sub(env.timer().elapsed());
        if wait >= left.as_secs_f64() {
            let name = self.quotas.get(pool).map_or("", |quota| quota.name.as_str());
            return Err(Error::new(
                ErrorKind::RateLimited,
                format!(
                    "all {} tokens have spent their quota '{name}'; the next reset is {wait:.0} seconds away",
                    self.tokens.len()
                ),
            )
            .with("longest wait", format!("{} s", self.longest.as_secs()))
            .hint("run again after the reset, add a token, or raise max_wait_time and reliability.retry.max; what was read is kept"));
        }
        tracing::info!(
            seconds = wait,
            "all tokens have spent their quota; waiting for its reset"
        );
        env.timer().sleep(Duration::from_secs_f64(wait)).await;
        let _turn = self.asking.lock().await;
        let is_spent = self.pools().as_ref().is_some_and(|pools| pools.all_spent(pool));
        if is_spent {
            self.ask(env).await?;
        }
        Ok(())
    }

    /// Asks the source what each token has left.
    async fn ask(&self, env: &Env) -> Result<()> {
        let mut of = Vec::with_capacity(self.tokens.len());
        for token in &self.tokens {
            of.push(self.quotas_of(env, token).await?);
        }
        let mut pools = self.pools();
        let active = pools.as_ref().map_or(0, |pools| pools.active);
        *pools = Some(Pools { of, active });
        Ok(())
    }

    async fn quotas_of(&self, env: &Env, token: &str) -> Result<Vec<Pool>> {
        let scope = env.scope();
        let url = self.status.url.eval_text(&scope)?;
        let url = Url::parse(&url).map_err(|error| {
            Error::spec(format!("the url of the quota_status_source is '{url}', no URL"))
                .caused_by(error)
                .hint("mend it in the manifest, or the setting it is made from")
        })?;
        let mut out = Outgoing::new(self.status.method.clone(), url);
        for (name, value) in &self.status.headers {
            out.headers.push((name.clone(), value.eval_text(&scope)?));
        }
        out.set_header(&self.header, self.signature(token));
        let unavailable = |answer: &Answer| self.status.unavailable.contains(&u64::from(answer.status));
        let classify = |answer: &Answer| Ok(unavailable(answer).then_some(Verdict::Ignore));
        let client = env.client(None, Timeouts::NONE)?;
        let (Sent::Answer(answer) | Sent::Ignored(answer) | Sent::NotModified(answer)) =
            client.send(out, &classify).await?;
        if unavailable(&answer) {
            tracing::info!("the source tells of no quotas; tokens take turns");
            return Ok(vec![Pool::untracked(); self.quotas.len()]);
        }
        let body: Value = serde_json::from_slice(&answer.body).map_err(|error| {
            Error::decode("the answer about token quotas is not JSON")
                .caused_by(error)
                .hint("check url of the quota_status_source")
        })?;
        self.quotas.iter().map(|quota| quota.read(&body)).collect()
    }

    /// Heeds what an answer says about the quota that paid for it.
    pub(super) fn note(&self, out: &Outgoing, answer: &Answer) {
        let pool = self.pool(out);
        let (Some(token), Some(quota)) = (self.signer(out), self.quotas.get(pool)) else {
            return;
        };
        let header = |name: &Option<String>| name.as_ref().and_then(|name| answer.header(name));
        let whole = |name| header(name).and_then(|text| text.trim().parse().ok());
        let told = Told {
            remaining: whole(&quota.remaining_header),
            limit: whole(&quota.limit_header),
            resets_at: header(&quota.reset_header).and_then(moment),
            is_exhausted: quota.exhausted_codes.contains(&u64::from(answer.status)),
        };
        if let Some(pools) = &mut *self.pools() {
            pools.heed(token, pool, told);
        }
    }

    /// Whether signing the same request anew would use another token that has calls left.
    pub(super) fn has_other(&self, out: &Outgoing) -> bool {
        let pool = self.pool(out);
        let token = self.signer(out);
        let pools = self.pools();
        matches!((token, &*pools), (Some(token), Some(pools)) if pools.has_other(token, pool))
    }
}

/// A list, or one text with several in it.
fn tokens(env: &Arc<Env>, node: &Node<'_>) -> Result<Vec<String>> {
    let given = node.need("tokens")?;
    let scope = env.scope();
    let given: Vec<String> = if given.value.is_array() {
        let texts = node.texts("tokens")?;
        texts
            .iter()
            .map(|text| text.eval_text(&scope))
            .collect::<Result<_>>()?
    } else {
        let all = given.as_text(node.parameters())?.eval_text(&scope)?;
        let between = node
            .str("token_delimiter")
            .filter(|text| !text.is_empty())
            .unwrap_or(",");
        all.split(between).map(str::to_owned).collect()
    };
    let given = given.iter().map(|token| token.trim().to_owned());
    let given: Vec<String> = given.filter(|token| !token.is_empty()).collect();
    given.iter().for_each(|token| env.hide(token));
    Ok(given)
}

impl Status {
    fn new(node: &Node<'_>) -> Result<Self> {
        let method = match node.str("http_method") {
            None | Some("GET") => Method::GET,
            Some("POST") => Method::POST,
            Some(other) => return Err(node.error(format!("http_method is '{other}'; it may be GET or POST"))),
        };
        let headers = node
            .get("request_headers")
            .map(|node| node.members())
            .unwrap_or_default();
        let headers = headers.into_iter();
        let headers = headers
            .map(|(name, value)| Ok((name.to_owned(), value.as_text(node.parameters())?)))
            .collect::<Result<_>>()?;
        let codes = node.list("unavailable_status_codes");
        Ok(Self {
            url: node.need_text("url")?,
            method,
            headers,
            unavailable: codes.iter().filter_map(|code| code.value.as_u64()).collect(),
        })
    }
}

impl Quota {
    fn new(env: &Arc<Env>, node: &Node<'_>) -> Result<Self> {
        let steps =
            |node: Node<'_>| -> Vec<String> { node.items().iter().map(|step| py_text(step.value)).collect() };
        let codes = node.list("exhaustion_status_codes");
        let header = |field: &str| node.str(field).map(str::to_owned);
        Ok(Self {
            name: py_text(node.need("name")?.value),
            matchers: Matcher::all(&env.scope(), node)?,
            remaining: steps(node.need("remaining_path")?),
            resets: steps(node.need("reset_path")?),
            limit: node.get("limit_path").map(steps),
            remaining_header: header("remaining_header"),
            reset_header: header("reset_header"),
            limit_header: header("limit_header"),
            exhausted_codes: codes.iter().filter_map(|code| code.value.as_u64()).collect(),
        })
    }

    fn read(&self, body: &Value) -> Result<Pool> {
        let missing = |steps: &[String]| {
            Error::decode(format!(
                "the answer about token quotas has no usable '{}' for the quota '{}'",
                steps.join("."),
                self.name
            ))
            .hint("mend remaining_path, reset_path or limit_path of the quota")
        };
        let count = |steps: &[String]| {
            let found = path::get(body, steps).and_then(|value| py_text(value).trim().parse::<f64>().ok());
            #[expect(clippy::cast_possible_truncation, reason = "counts of calls are small")]
            found.map(|number| number as i64).ok_or_else(|| missing(steps))
        };
        let remaining = count(&self.remaining)?;
        let resets_at = path::get(body, &self.resets).and_then(|value| moment(&py_text(value)));
        Ok(Pool {
            remaining,
            resets_at: resets_at.ok_or_else(|| missing(&self.resets))?,
            limit: self.limit.as_ref().map_or(Ok(remaining), |limit| count(limit))?,
            is_tracked: true,
        })
    }
}

/// Seconds since 1970, or a date-time.
fn moment(text: &str) -> Option<f64> {
    let number = text.trim().parse::<f64>().ok();
    number.or_else(|| isoparse(text.trim()).map(|at| at.or_utc().seconds()))
}

fn seconds(env: &Env) -> f64 {
    Moment::of(env.timer().now()).seconds()
}

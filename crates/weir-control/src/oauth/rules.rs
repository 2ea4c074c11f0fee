//! Decisions that need no I/O.

use std::time::Duration;

use sha2::{Digest as _, Sha256};
use weir_protocol::oauth::{AccessToken, OauthClient};
use weir_protocol::{Error, Result, Secret};

use super::sql::Row;
use super::stored::Held;

/// A token is replaced this long before its end, or a tenth of its life where that is less.
const EARLY_MAX_MS: i64 = 60_000;
/// So long before its end it is not used any more: it has to arrive, too.
const LAST_MS: i64 = 5_000;
/// A server replaces it so much earlier, at most, so that no run has to wait for it.
const AHEAD_MAX_MS: i64 = 300_000;
/// Providers end refresh tokens that nobody uses.
const IDLE_MAX_MS: i64 = 24 * 3_600_000;
/// A failure stands for so long before the provider is asked again.
const FAILED_FOR_MS: i64 = 5_000;
/// The same for who asks ahead of time.
const AHEAD_FAILED_FOR_MS: i64 = 60_000;
/// What ends within this time is told.
const WARN_MS: i64 = 24 * 3_600_000;

/// What somebody wants of a grant.
#[derive(Debug, Clone, Copy)]
pub(super) enum Want<'a> {
    Any,
    /// The vendor refused this one.
    Other(&'a Secret),
    /// Newer tokens than those of this version, ahead of time.
    Newer(i64),
}

/// What there is to do.
#[derive(Debug)]
pub(super) enum Verdict {
    Use(AccessToken),
    /// It can still be used, and should be replaced.
    Due(AccessToken),
    Refresh,
    /// Nothing but a person helps.
    Reconnect(&'static str),
    /// The provider failed just now; it is not asked by everybody again.
    Failed(String),
}

/// Of whom a grant's tokens are: they are shown to nobody else.
pub(super) fn client(client: &OauthClient) -> String {
    format!("{} at {}", client.client_id, client.token_url)
}

/// Tells whether the connection's file has another refresh token than it had.
pub(super) fn seed(client: &OauthClient) -> Option<String> {
    client.seed.as_ref().map(|seed| hash(seed.expose()))
}

pub(super) fn hash(text: &str) -> String {
    let digest = Sha256::digest(text);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn access(token: &Secret, use_for_ms: Option<i64>) -> AccessToken {
    AccessToken {
        token: token.clone(),
        use_for: use_for_ms.map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0))),
    }
}

pub(super) fn judge(row: &Row, held: &Held, want: Want<'_>) -> Verdict {
    match row.state.as_str() {
        "connected" => {}
        "revoked" => return Verdict::Reconnect("it was disconnected"),
        _ => return Verdict::Reconnect("its provider takes its tokens no more"),
    }
    let is_wanted = |token: &&Secret| match want {
        Want::Any => true,
        Want::Other(refused) => *token != refused,
        Want::Newer(version) => row.version > version,
    };
    let left = row.access_expires_at_ms.map(|end| end - row.now_ms);
    let life = row
        .access_expires_at_ms
        .map_or(i64::MAX, |end| end - row.refreshed_at_ms);
    let early = (life / 10).min(EARLY_MAX_MS);
    let due = match held.access.as_ref().filter(is_wanted) {
        Some(token) => match left {
            None => return Verdict::Use(access(token, None)),
            Some(left) if left > early => return Verdict::Use(access(token, Some(left - early))),
            Some(left) if left > LAST_MS.min(early) => Some(access(token, Some(left.min(LAST_MS)))),
            Some(_) => None,
        },
        None => None,
    };
    if held.refresh.is_none() {
        return match due {
            Some(token) => Verdict::Use(token),
            None => {
                Verdict::Reconnect("its access token has ended, and the provider gave none to go on with")
            }
        };
    }
    let failed_for = match want {
        Want::Newer(_) => AHEAD_FAILED_FOR_MS,
        Want::Any | Want::Other(_) => FAILED_FOR_MS,
    };
    let has_failed = row
        .error_at_ms
        .is_some_and(|at| row.now_ms - at < failed_for && at <= row.now_ms);
    match due {
        Some(token) if has_failed => Verdict::Use(token),
        Some(token) => Verdict::Due(token),
        None if has_failed => Verdict::Failed(row.error.clone().unwrap_or_default()),
        None => Verdict::Refresh,
    }
}

/// Whether a server asks for the next tokens before anybody needs them. `draw`, from 0 to 1, spreads
/// the servers and the connections.
pub(super) fn is_due(row: &Row, draw: f64) -> bool {
    let has_failed = row
        .error_at_ms
        .is_some_and(|at| row.now_ms - at < AHEAD_FAILED_FOR_MS);
    if row.state != "connected" || row.can_refresh != 1 || row.is_held() || has_failed {
        return false;
    }
    let age = row.now_ms - row.refreshed_at_ms;
    let part = |whole: i64, share: f64| -> i64 {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            reason = "a rough share of a time"
        )]
        let part = (whole as f64 * share) as i64;
        part
    };
    if age > part(IDLE_MAX_MS, 0.8 + 0.2 * draw) {
        return true;
    }
    row.access_expires_at_ms.is_some_and(|end| {
        let ahead = ((end - row.refreshed_at_ms) / 4).min(AHEAD_MAX_MS);
        end - row.now_ms < part(ahead, 0.5 + 0.5 * draw)
    })
}

/// Whether it is to be told now that a person will have to consent again.
pub(super) fn is_ending(row: &Row) -> Option<i64> {
    let ends = match (row.can_refresh, row.refresh_expires_at_ms) {
        (1, Some(ends)) => ends,
        (1, None) => return None,
        _ => row.access_expires_at_ms?,
    };
    let is_soon = ends - row.now_ms < WARN_MS;
    (row.state == "connected" && is_soon && row.warned_at_ms.is_none()).then_some(ends)
}

/// What was asked for and not granted.
pub(super) fn missing(asked: &[String], granted: &[String]) -> Vec<String> {
    let missing = asked.iter().filter(|scope| !granted.contains(scope));
    missing.cloned().collect()
}

pub(super) fn reconnect(connection: &str, why: &str) -> Error {
    Error::auth(format!(
        "connection '{connection}' has to be connected again: {why}"
    ))
    .with("connection", connection)
    .hint(format!(
        "`weir auth login {connection}`; until then nothing is read or done through it"
    ))
}

/// What is put into a secret's place where no lifetime fits the database's numbers.
pub(super) fn life_ms(life: Duration) -> i64 {
    i64::try_from(life.as_millis())
        .unwrap_or(i64::MAX / 4)
        .min(i64::MAX / 4)
}

pub(super) fn json(words: &[String]) -> Result<String> {
    serde_json::to_string(words).map_err(|error| {
        Error::internal("cannot write a list of scopes")
            .caused_by(error)
            .hint("report it")
    })
}

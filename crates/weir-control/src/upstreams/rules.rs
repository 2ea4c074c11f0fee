//! What changed, and what may be accepted. No I/O.

use sha2::{Digest as _, Sha256};
use weir_protocol::tools::{SeenTool, told};
use weir_protocol::{Error, ErrorKind, Result};

use super::{Chosen, State, Tool, no_such_tool, other_digest};
use crate::projects::{self, Line};

/// What a server has that is not what it had.
#[derive(Debug, Default, PartialEq)]
pub(super) struct News<'a> {
    pub(super) added: Vec<&'a SeenTool>,
    pub(super) changed: Vec<&'a SeenTool>,
    pub(super) gone: Vec<String>,
}

impl<'a> News<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.gone.is_empty()
    }

    pub(super) fn put(&self) -> impl Iterator<Item = &'a SeenTool> {
        self.added.iter().chain(&self.changed).copied()
    }
}

pub(super) fn news<'a>(known: &[Tool], tools: &'a [SeenTool]) -> News<'a> {
    let mut news = News::default();
    for tool in tools {
        let before = known.iter().find(|known| known.tool == tool.definition.name);
        match before.and_then(|before| before.seen.as_ref()) {
            None => news.added.push(tool),
            // What is judged anew is news, too.
            Some(seen) if seen.digest != tool.digest || seen.problem != tool.problem => {
                news.changed.push(tool);
            }
            Some(_) => {}
        }
    }
    let is_there = |name: &str| tools.iter().any(|tool| tool.definition.name == name);
    let gone = known
        .iter()
        .filter(|known| known.seen.is_some() && !is_there(&known.tool));
    news.gone = gone.map(|known| known.tool.clone()).collect();
    news
}

pub(super) fn state(seen: Option<&SeenTool>, accepted: Option<&SeenTool>) -> State {
    match (seen, accepted) {
        (None, _) => State::Gone,
        (Some(seen), _) if seen.problem.is_some() => State::Refused,
        (Some(_), None) => State::New,
        (Some(seen), Some(accepted)) if seen.digest == accepted.digest => State::Accepted,
        (Some(_), Some(_)) => State::Changed,
    }
}

/// How many tools are in each state that is there.
pub fn states(tools: &[Tool]) -> Vec<(State, usize)> {
    let all = [
        State::Accepted,
        State::New,
        State::Changed,
        State::Gone,
        State::Refused,
    ];
    let count = |state: State| tools.iter().filter(|tool| tool.state == state).count();
    all.into_iter()
        .map(|state| (state, count(state)))
        .filter(|(_, count)| *count > 0)
        .collect()
}

/// Names what these tools are now: of one, its own digest; of more, one over theirs.
pub fn digest_of(tools: &[&Tool]) -> String {
    let own = |tool: &Tool| {
        tool.seen
            .as_ref()
            .map_or("gone", |seen| seen.digest.as_str())
            .to_owned()
    };
    if let [tool] = tools {
        return own(tool);
    }
    let mut lines: Vec<String> = tools
        .iter()
        .map(|tool| format!("{} {}\n", tool.tool, own(tool)))
        .collect();
    lines.sort();
    format!("{:x}", Sha256::digest(lines.concat()))
}

/// The tools that are meant, if they are what was looked at.
pub(super) fn wanted<'a>(known: &'a [Tool], chosen: &Chosen, digest: &str) -> Result<Vec<&'a Tool>> {
    let tools: Vec<&Tool> = match chosen {
        Chosen::All => known.iter().collect(),
        Chosen::Named(names) => {
            let mut named = Vec::new();
            for name in names {
                let found = known.iter().find(|tool| tool.tool == *name);
                let connection = known.first().map_or("", |tool| tool.connection.as_str());
                named.push(found.ok_or_else(|| no_such_tool(connection, name))?);
            }
            named
        }
    };
    if tools.is_empty() {
        return Err(Error::not_found("there is no tool to accept")
            .hint("`weir tool refresh` asks the connection's server for its tools"));
    }
    let now = digest_of(&tools);
    if now != digest {
        return Err(other_digest(&now));
    }
    let refused = tools.iter().find(|tool| tool.state == State::Refused);
    match (chosen, refused) {
        (Chosen::Named(_), Some(tool)) => {
            let problem = tool.seen.as_ref().and_then(|seen| seen.problem.clone());
            Err(Error::new(ErrorKind::Gate, "the tool can never be offered")
                .with("tool", &tool.tool)
                .with("problem", problem.unwrap_or_default())
                .hint("tell whoever keeps the server"))
        }
        _ => Ok(tools
            .into_iter()
            .filter(|tool| tool.state != State::Refused)
            .collect()),
    }
}

pub(super) fn difference(accepted: Option<&SeenTool>, seen: Option<&SeenTool>) -> Vec<Line> {
    projects::lines(&shown(accepted), &shown(seen))
}

/// A definition as people compare it: one line a value, whatever the order of its keys.
fn shown(tool: Option<&SeenTool>) -> String {
    let Some(tool) = tool else { return String::new() };
    let mut value = serde_json::json!(tool.definition);
    value.sort_all_objects();
    told(&format!("{value:#}\n"))
}

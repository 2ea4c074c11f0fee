//! Records as the vendor's documentation shows them, written as JSON text without a tree of values.

use std::fmt::Write as _;

use super::dataset::{Bad, Comment, Issue};
use super::dice::{below, pick};
use super::words;

/// The repository that the demo's server has.
pub(crate) const REPOSITORY: &str = "weir-demo/shop";

const LOGINS: &[&str] = &[
    "amina-k", "jorge", "li-wei", "fatima-z", "noor", "oskar", "priya", "samir", "tove", "yusuf", "chiara",
    "dmitri", "eun-ji", "farah", "gustav", "hana",
];
const LABELS: &[(&str, &str)] = &[
    ("bug", "d73a4a"),
    ("enhancement", "a2eeef"),
    ("documentation", "0075ca"),
    ("performance", "fbca04"),
    ("good first issue", "7057ff"),
    ("security", "b60205"),
];
const ASSOCIATIONS: &[&str] = &["NONE", "CONTRIBUTOR", "MEMBER", "COLLABORATOR"];
const PRIORITIES: &[&str] = &["low", "medium", "high", "urgent"];

/// A moment as the vendor writes it.
pub(crate) fn stamp(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| String::new(), |at| at.to_string())
}

pub(crate) fn user(out: &mut String, salt: u64, n: u64) {
    let login = pick(salt, n, LOGINS);
    let id = 1_000 + below(salt, n, LOGINS.len() as u64);
    // Writing to a string cannot fail.
    let _ok = write!(
        out,
        concat!(
            r#"{{"login":"{l}","id":{i},"node_id":"U_{i}","avatar_url":"https://avatars.example/u/{i}?v=4","gravatar_id":"","#,
            r#""url":"https://api.github.com/users/{l}","html_url":"https://github.com/{l}","#,
            r#""followers_url":"https://api.github.com/users/{l}/followers","repos_url":"https://api.github.com/users/{l}/repos","#,
            r#""events_url":"https://api.github.com/users/{l}/events{{/privacy}}","type":"User","user_view_type":"public","site_admin":false}}"#
        ),
        l = login,
        i = id
    );
}

fn reactions(out: &mut String, url: &str, n: u64) {
    let (plus, heart) = (below(40, n, 5), below(41, n, 3));
    let _ok = write!(
        out,
        r#"{{"url":"{url}/reactions","total_count":{},"+1":{plus},"-1":0,"laugh":0,"hooray":0,"confused":0,"heart":{heart},"rocket":0,"eyes":0}}"#,
        plus + heart
    );
}

pub(crate) fn issue(out: &mut String, issue: &Issue) {
    let n = issue.number;
    let url = format!("https://api.github.com/repos/{REPOSITORY}/issues/{n}");
    out.push('{');
    match issue.bad {
        Some(Bad::NoId) => {}
        Some(Bad::TextId) => write_all(out, format_args!(r#""id":"issue-{n}","#)),
        _ => write_all(out, format_args!(r#""id":{},"#, id(n))),
    }
    head(out, issue, &url);
    user(out, 50, n);
    labels(out, n);
    assignee(out, n);
    match issue.bad {
        Some(Bad::TextCount) => out.push_str(r#""comments":"a few","#),
        _ => write_all(out, format_args!(r#""comments":{},"#, issue.comments)),
    }
    times(out, issue);
    if issue.is_pull {
        write_all(
            out,
            format_args!(
                r#""pull_request":{{"url":"https://api.github.com/repos/{REPOSITORY}/pulls/{n}","html_url":"https://github.com/{REPOSITORY}/pull/{n}"}},"#
            ),
        );
    }
    if issue.has_priority {
        let rank = below(53, n, PRIORITIES.len() as u64);
        let name = pick(53, n, PRIORITIES);
        write_all(
            out,
            format_args!(r#""priority":{{"rank":{rank},"name":"{name}"}},"#),
        );
    }
    out.push_str(r#""reactions":"#);
    reactions(out, &url, n);
    out.push('}');
}

/// From the node id to the author's field name.
fn head(out: &mut String, issue: &Issue, url: &str) {
    let (state, reason) = match issue.closed_s {
        Some(_) => ("closed", "\"completed\""),
        None => ("open", "null"),
    };
    write_all(
        out,
        format_args!(
            concat!(
                r#""node_id":"I_{n}","url":"{u}","repository_url":"https://api.github.com/repos/{r}","#,
                r#""labels_url":"{u}/labels{{/name}}","comments_url":"{u}/comments","events_url":"{u}/events","#,
                r#""html_url":"https://github.com/{r}/{k}/{n}","number":{n},"state":"{s}","state_reason":{sr},"#,
                r#""title":"{t}","body":"{b}","user":"#
            ),
            n = issue.number,
            u = url,
            r = REPOSITORY,
            k = if issue.is_pull { "pull" } else { "issues" },
            s = state,
            sr = reason,
            t = words::title(issue.number),
            b = words::body(60, issue.number, false),
        ),
    );
}

fn times(out: &mut String, issue: &Issue) {
    let created = match issue.bad {
        Some(Bad::BrokenTime) => "2026-13-45T99:00:00Z".to_owned(),
        _ => stamp(issue.created_s),
    };
    write_all(
        out,
        format_args!(
            r#""milestone":null,"locked":false,"active_lock_reason":null,"author_association":"{}","created_at":"{created}","updated_at":"{}","closed_at":{},"#,
            pick(52, issue.number, ASSOCIATIONS),
            stamp(issue.updated_s),
            issue
                .closed_s
                .map_or_else(|| "null".to_owned(), |at| format!("\"{}\"", stamp(at))),
        ),
    );
}

/// The id of the issue with this number.
pub(crate) fn id(number: u64) -> u64 {
    2_000_000_000 + number * 13
}

fn labels(out: &mut String, n: u64) {
    out.push_str(r#","labels":["#);
    let most = LABELS.len() as u64;
    // Two draws, of which the lower counts: some labels are more frequent than others.
    let first = below(54, n, most).min(below(55, n, most));
    let second = first + 1 + below(56, n, 2);
    let count = below(57, n, 3);
    for (nth, at) in [first, second]
        .into_iter()
        .take(usize::try_from(count).unwrap_or(0))
        .enumerate()
    {
        let at = usize::try_from(at % most).unwrap_or(0);
        let (name, color) = LABELS[at];
        let comma = if nth == 0 { "" } else { "," };
        write_all(
            out,
            format_args!(
                r#"{comma}{{"id":{},"node_id":"LA_{at}","url":"https://api.github.com/repos/{REPOSITORY}/labels/{}","name":"{name}","color":"{color}","default":{},"description":null}}"#,
                900 + at,
                name.replace(' ', "%20"),
                at < 3
            ),
        );
    }
    out.push_str("],");
}

fn assignee(out: &mut String, n: u64) {
    if below(58, n, 3) == 0 {
        out.push_str(r#""assignee":"#);
        user(out, 59, n);
        out.push_str(r#","assignees":["#);
        user(out, 59, n);
        out.push_str("],");
    } else {
        out.push_str(r#""assignee":null,"assignees":[],"#);
    }
}

pub(crate) fn comment(out: &mut String, comment: &Comment) {
    let Comment { id, issue, .. } = comment;
    let url = format!("https://api.github.com/repos/{REPOSITORY}/issues/comments/{id}");
    write_all(
        out,
        format_args!(
            concat!(
                r#"{{"id":{id},"node_id":"IC_{id}","url":"{u}","#,
                r#""html_url":"https://github.com/{r}/issues/{n}#issuecomment-{id}","#,
                r#""issue_url":"https://api.github.com/repos/{r}/issues/{n}","body":"{b}","user":"#
            ),
            id = id,
            u = url,
            r = REPOSITORY,
            n = issue,
            b = words::body(80, *id, true),
        ),
    );
    user(out, 90, *id);
    write_all(
        out,
        format_args!(
            r#","created_at":"{}","updated_at":"{}","author_association":"{}","performed_via_github_app":null,"reactions":"#,
            stamp(comment.created_s),
            stamp(comment.updated_s),
            pick(91, *id, ASSOCIATIONS)
        ),
    );
    reactions(out, &url, *id);
    out.push('}');
}

pub(crate) fn write_all(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ok = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::dataset::{BAD, Dataset, Epoch};
    use super::*;

    fn parsed(render: impl FnOnce(&mut String)) -> Value {
        let mut out = String::new();
        render(&mut out);
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    }

    #[test]
    fn every_record_is_json() {
        let data = Dataset::new(Epoch::Second);
        for one in &data.issues {
            let value = parsed(|out| issue(out, one));
            assert_eq!(value["number"], one.number);
            assert_eq!(value.get("pull_request").is_some(), one.is_pull);
        }
        for one in data.comments.iter().step_by(97) {
            assert_eq!(parsed(|out| comment(out, one))["id"], one.id);
        }
    }

    #[test]
    fn bad_records_are_bad_in_their_own_way() {
        let data = Dataset::new(Epoch::Second);
        for (number, bad) in BAD {
            let value = parsed(|out| issue(out, &data.issues[usize::try_from(number - 1).unwrap()]));
            match bad {
                Bad::TextId => assert!(value["id"].is_string()),
                Bad::NoId => assert!(value.get("id").is_none()),
                Bad::BrokenTime => assert_eq!(value["created_at"], "2026-13-45T99:00:00Z"),
                Bad::TextCount => assert!(value["comments"].is_string()),
            }
        }
    }
}

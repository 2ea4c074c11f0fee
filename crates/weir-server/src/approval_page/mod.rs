//! `/approvals/{id}`: a page on which people who are logged in decide about a call that waits. Its address gives
//! nobody any right, and opening it changes nothing. `docs/guides/approvals.md`

mod texts;

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use weir_control::Access;
use weir_control::approvals::{self, Approval, Decision, Status, Verdict};
use weir_control::calls::Desk;
use weir_control::policies::Target;
use weir_control::principals::{Permission, may};
use weir_protocol::{Error, Result};

use crate::html::{self, Language, escaped};
use crate::input::Named;
use crate::{ServerState, login};
use texts::Texts;

/// As policies see whoever comes by a page: it does what the API does.
const VIA: &str = "api";
/// Of a decision as a browser sends it.
const FORM_BYTES_MAX: usize = 32 << 10;

/// What a person decided, as the form sends it.
#[derive(Deserialize)]
struct Decided {
    verdict: Verdict,
    digest: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    break_glass: Option<String>,
}

/// The page.
pub(crate) async fn show(
    State(state): State<ServerState>,
    uri: Uri,
    headers: HeaderMap,
    Named(id): Named<String>,
) -> Response {
    let language = Language::of(&uri, &headers);
    match shown(&state, &headers, &id, language).await {
        Ok(response) => response,
        Err(error) => html::failure(&error),
    }
}

async fn shown(state: &ServerState, headers: &HeaderMap, id: &str, language: Language) -> Result<Response> {
    let Some(access) = login::access_if_any(state, headers).await? else {
        return log_in_first(state, id, language);
    };
    allow(state, &access, Permission::ActionsRead, id).await?;
    let approval = approvals::get(&state.store, &access, id).await?;
    let texts = Texts::of(language);
    let may_decide = may(&access, Permission::ApprovalsWrite).is_ok();
    let mut body = described(&approval, texts);
    body.push_str(&match (approval.status, may_decide) {
        (Status::Pending, true) => form(&approval, texts),
        (Status::Pending, false) => paragraph(texts.may_not),
        _ => String::new(),
    });
    Ok(html::document(
        StatusCode::OK,
        language,
        texts.status(approval.status),
        &body,
    ))
}

/// The form: decides, and shows the page anew.
pub(crate) async fn decide(
    State(state): State<ServerState>,
    uri: Uri,
    headers: HeaderMap,
    Named(id): Named<String>,
    body: Bytes,
) -> Response {
    let language = Language::of(&uri, &headers);
    match decided(&state, &headers, (&id, &body), language).await {
        Ok(response) => response,
        Err(error) => html::failure(&error),
    }
}

async fn decided(
    state: &ServerState,
    headers: &HeaderMap,
    (id, body): (&str, &[u8]),
    language: Language,
) -> Result<Response> {
    let Some(access) = login::access_if_any(state, headers).await? else {
        return log_in_first(state, id, language);
    };
    if let Some(login) = &state.login {
        login.check_origin(headers)?;
    }
    allow(state, &access, Permission::ApprovalsWrite, id).await?;
    let sent = read(body)?;
    let reason = sent.reason.trim();
    let decision = Decision {
        verdict: sent.verdict,
        reason: (!reason.is_empty()).then(|| reason.to_owned()),
        break_glass: sent.break_glass.is_some(),
        digest: Some(sent.digest),
    };
    desk(state, &access)?.decide(&access, id, &decision).await?;
    let place = format!("/approvals/{id}?lang={}", language.as_str());
    let place = HeaderValue::try_from(place).map_err(|error| {
        Error::usage("the approval's id is none")
            .caused_by(error)
            .hint("open the page by the link that you were sent")
    })?;
    let mut response = StatusCode::SEE_OTHER.into_response();
    response.headers_mut().insert(header::LOCATION, place);
    Ok(response)
}

fn read(body: &[u8]) -> Result<Decided> {
    let unreadable = || Error::usage("the form cannot be read").hint("go back, and decide once more");
    if body.len() > FORM_BYTES_MAX {
        return Err(unreadable());
    }
    let text = std::str::from_utf8(body).map_err(|_| unreadable())?;
    let query: Uri = format!("/?{text}").parse().map_err(|_| unreadable())?;
    let Query(sent) = Query::try_from_uri(&query).map_err(|_| unreadable())?;
    Ok(sent)
}

fn desk(state: &ServerState, access: &Access) -> Result<Desk> {
    let desk = state.calls.as_ref().ok_or_else(|| {
        Error::not_found("this server makes no calls").hint("use `weir approval` where the project is")
    })?;
    Ok(desk.acting_as(access.acting(None)))
}

/// As the API asks roles, scopes and policies.
async fn allow(state: &ServerState, access: &Access, permission: Permission, id: &str) -> Result<()> {
    may(access, permission)?;
    let store = state.store.acting_as(access.acting(None));
    let target = Target::Call(id.to_owned());
    state
        .policies
        .check(&store, access, permission, &target, VIA)
        .await
}

fn log_in_first(state: &ServerState, id: &str, language: Language) -> Result<Response> {
    let texts = Texts::of(language);
    let Some(login) = &state.login else {
        let body = format!(
            "{}<pre dir=\"ltr\">weir approval show {id}</pre>\n",
            paragraph(texts.no_login),
            id = escaped(id)
        );
        return Ok(html::document(
            StatusCode::FORBIDDEN,
            language,
            texts.log_in_first,
            &body,
        ));
    };
    let link = format!(
        "<p><a class=\"button\" href=\"/login\">{}</a></p>\n",
        texts.log_in
    );
    let body = format!("{}{link}", paragraph(texts.log_in_why));
    let mut page = html::document(StatusCode::UNAUTHORIZED, language, texts.log_in_first, &body);
    if is_id(id) {
        let cookie = login.remember(&format!("/approvals/{id}"))?;
        page.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(page)
}

/// Ids of calls have these letters alone.
fn is_id(id: &str) -> bool {
    (1..=64).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn paragraph(text: &str) -> String {
    format!("<p>{}</p>\n", escaped(text))
}

/// All that a person has to know before they decide.
fn described(approval: &Approval, texts: &Texts) -> String {
    let call = &approval.call;
    let approved = approval
        .votes
        .iter()
        .filter(|vote| vote.verdict == Verdict::Approve);
    let rows = [
        (texts.action, call.action.clone()),
        (texts.effect, texts.effect_of(call.effect).to_owned()),
        (
            texts.connection,
            format!("{} ({} {})", call.connection, call.connector, call.version),
        ),
        (texts.requester, call.principal.clone()),
        (texts.asked_at, time(approval.created_at_ms)),
        (texts.expires_at, time(approval.expires_at_ms)),
        (
            texts.approvals,
            format!("{} / {}", approved.count(), approval.needed),
        ),
        (texts.rules, approval.rules.join(", ")),
        (texts.digest, call.digest.clone()),
    ];
    let mut out = String::from("<dl>\n");
    for (name, value) in rows.iter().filter(|(_, value)| !value.is_empty()) {
        out.push_str(&format!(
            "<dt>{name}</dt><dd><bdi>{}</bdi></dd>\n",
            escaped(value)
        ));
    }
    out.push_str("</dl>\n");
    for vote in &approval.votes {
        let said = format!(
            "{} – {} – {} – {}",
            vote.principal,
            texts.verdict(vote.verdict),
            time(vote.at_ms),
            vote.reason.as_deref().unwrap_or("–")
        );
        out.push_str(&paragraph(&said));
    }
    out.push_str(&block(texts.arguments, &json!(call.input)));
    out.push_str(&block(texts.request, &json!(approval.request)));
    out
}

/// A value as it is, from left to right in any language.
fn block(heading: &str, value: &Value) -> String {
    let text = weir_protocol::tools::told(&format!("{value:#}"));
    format!(
        "<h2>{heading}</h2>\n<pre dir=\"ltr\" tabindex=\"0\">{}</pre>\n",
        escaped(&text)
    )
}

fn form(approval: &Approval, texts: &Texts) -> String {
    let glass = if approval.allows_break_glass {
        format!(
            "<p><label><input type=\"checkbox\" name=\"break_glass\" value=\"yes\"> {}</label></p>\n",
            texts.break_glass
        )
    } else {
        String::new()
    };
    format!(
        "<h2>{decide}</h2>\n<form method=\"post\">\n<input type=\"hidden\" name=\"digest\" value=\"{digest}\">\n\
         <p><label for=\"reason\">{reason}</label><br><textarea id=\"reason\" name=\"reason\" rows=\"3\" maxlength=\"1000\"></textarea></p>\n\
         {glass}<p><button name=\"verdict\" value=\"approve\">{approve}</button>\n\
         <button name=\"verdict\" value=\"reject\" class=\"no\">{reject}</button></p>\n</form>\n",
        decide = texts.decide,
        digest = escaped(&approval.call.digest),
        reason = texts.reason,
        approve = texts.approve,
        reject = texts.reject,
    )
}

fn time(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| "–".to_owned(), |at| format!("{at:.0}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_is_read_as_a_browser_sends_it() {
        let sent =
            read("verdict=approve&digest=abc&reason=%D9%86%D8%B9%D9%85+yes&break_glass=yes".as_bytes())
                .unwrap();
        assert_eq!(sent.verdict, Verdict::Approve);
        assert_eq!((sent.digest.as_str(), sent.reason.as_str()), ("abc", "نعم yes"));
        assert!(sent.break_glass.is_some());
        for wrong in [
            "",
            "verdict=maybe&digest=x",
            "verdict=approve",
            "verdict=approve&digest=\n",
        ] {
            assert!(read(wrong.as_bytes()).is_err(), "{wrong}");
        }
        assert!(read(&[b'a'; FORM_BYTES_MAX + 1]).is_err());
    }

    #[test]
    fn only_an_id_is_remembered() {
        assert!(is_id("019af1c2-0000-7000-8000-000000000000"));
        for wrong in ["", "a/b", "../x", "a;b", "a b", &"a".repeat(65)] {
            assert!(!is_id(wrong), "{wrong}");
        }
    }
}

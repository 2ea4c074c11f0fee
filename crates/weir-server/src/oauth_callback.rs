//! Where providers send browsers back to.

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use weir_control::Access;
use weir_control::oauth::{Callback, Desk};
use weir_protocol::Error;

use crate::{ServerState, html, login};

pub(crate) async fn answered(
    State(state): State<ServerState>,
    headers: HeaderMap,
    Query(callback): Query<Callback>,
) -> Response {
    let Some(desk) = &state.oauth else {
        let error = Error::not_found("this server connects nothing").hint("use `weir auth login`");
        return html::failure(&error);
    };
    let session = login::access(&state, &headers).await.and_then(Result::ok);
    match ended(desk, session, &callback).await {
        Ok(page) => page,
        Err(error) => html::failure(&error),
    }
}

/// Who began it in this browser's session has ended it now.
async fn ended(desk: &Desk, session: Option<Access>, callback: &Callback) -> weir_protocol::Result<Response> {
    let begun_with = desk.pending(callback).await?.begun_with;
    let Some(access) = session.filter(|access| access.token.as_ref() == Some(&begun_with)) else {
        return waits_for_token(desk, callback).await;
    };
    let grant = desk.finish(&access, callback).await?;
    let text = format!("weir may use '{}' now.", grant.connection);
    Ok(html::page(StatusCode::OK, "Connected", &[&text], ""))
}

/// A login that a token began: the browser cannot show that it is theirs, so the token has to end it.
async fn waits_for_token(desk: &Desk, callback: &Callback) -> weir_protocol::Result<Response> {
    let pending = desk.pending(callback).await?;
    let text = format!(
        "The provider answered for connection '{}'. Whoever began this login ends it with the same token: \
         copy the address of this page, and send it as {{\"callback\": \"…\"}} to \
         POST /api/v1/connections/{}/oauth/finish within ten minutes.",
        pending.connection, pending.connection
    );
    let warning = "If it was not you who began it, close this page: nothing is connected.";
    Ok(html::page(
        StatusCode::OK,
        "One step is left",
        &[&text, warning],
        "",
    ))
}

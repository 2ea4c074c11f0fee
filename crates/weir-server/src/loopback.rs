//! Waits on this machine for the browser to come back from a provider (RFC 8252).

use std::net::Ipv4Addr;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use weir_control::oauth::Callback;
use weir_protocol::{Error, ErrorKind, Result};

use crate::html;

/// What the browser is told.
type Told = std::result::Result<String, Error>;
type Waiting = mpsc::Sender<(Callback, oneshot::Sender<Told>)>;

/// Opens a port of this machine that no other one reaches; 0: any that is free.
pub async fn bind(port: u16) -> Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .map_err(|error| {
            Error::unavailable("cannot listen on the loopback address")
                .with("port", port)
                .caused_by(error)
                .hint("choose another port, or end the program that has it")
        })
}

/// Takes answers until one of them ends the login. One that does not belong to it is refused, and the
/// right one still waited for.
pub async fn wait<T>(
    listener: TcpListener,
    mut finish: impl AsyncFnMut(Callback) -> Result<(String, T)>,
) -> Result<T> {
    let (sender, mut answers) = mpsc::channel(1);
    let router = Router::new()
        .route("/oauth/callback", get(answered))
        .with_state(sender);
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(async move {
        axum::serve(listener, router)
            .with_graceful_shutdown(async {
                // Also where the other end is dropped.
                stopped.await.unwrap_or_default();
            })
            .await
    });
    let broke_off = || Error::internal("the loopback address broke off").hint("begin the login anew");
    let outcome = loop {
        let Some((callback, reply)) = answers.recv().await else {
            break Err(broke_off());
        };
        let (told, ended) = match finish(callback).await {
            Ok((text, value)) => (Ok(text), Some(Ok(value))),
            Err(error) if error.kind() == ErrorKind::Denied => (Err(error), None),
            Err(error) => {
                let copy = Error::new(error.kind(), error.message());
                let copy = copy.hint(error.next_step().unwrap_or_default());
                (Err(copy), Some(Err(error)))
            }
        };
        // Whoever closed the browser is told in the terminal.
        reply.send(told).unwrap_or_default();
        if let Some(outcome) = ended {
            break outcome;
        }
    };
    drop(stop);
    match serving.await {
        Ok(Ok(())) => outcome,
        Ok(Err(error)) => outcome.map_err(|first| first.caused_by(error)),
        Err(panic) => Err(broke_off().caused_by(panic)),
    }
}

async fn answered(State(waiting): State<Waiting>, Query(callback): Query<Callback>) -> Response {
    let (reply, told) = oneshot::channel();
    let over = || Error::denied("no login waits here any more").hint("begin it anew: `weir auth login`");
    if waiting.send((callback, reply)).await.is_err() {
        return html::failure(&over());
    }
    match told.await {
        Ok(Ok(text)) => html::page(
            StatusCode::OK,
            "Connected",
            &[&text, "You can close this window."],
            "",
        ),
        Ok(Err(error)) => html::failure(&error),
        Err(_) => html::failure(&over()),
    }
}

//! `/login`, `/login/callback`, `/logout`: people with a browser. `docs/guides/login.md`.

use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use weir_control::oauth::Callback;
use weir_control::sessions::{self, LIFE_MAX, LoginDesk};
use weir_control::{Access, Role};
use weir_protocol::{Error, ErrorKind, Result, Secret};

use crate::{ServerState, html};

/// How long a person may take to log in.
const LOGIN_LIFE_S: u64 = 600;
const LOGIN_COOKIE: &str = "weir_login";
const SESSION_COOKIE: &str = "weir_session";
/// The page that somebody had to log in for.
const NEXT_COOKIE: &str = "weir_next";
/// A cookie of this name is taken from this host alone, over TLS alone.
const HOST_PREFIX: &str = "__Host-";

/// Who logs people in, and where their browsers find the server.
#[derive(Clone)]
pub struct Login {
    desk: LoginDesk,
    site: Site,
}

impl Login {
    pub fn new(desk: LoginDesk, base: &str) -> Self {
        Self {
            desk,
            site: Site::new(base),
        }
    }

    /// Takes away from sessions what the rules of logging in give no more.
    pub async fn narrow(&self) -> Result<usize> {
        self.desk.narrow().await
    }

    /// Who takes access tokens of the identity provider, where they are taken.
    pub(crate) fn access_tokens(&self) -> Option<&LoginDesk> {
        self.desk.audience().map(|_| &self.desk)
    }

    /// A cookie by which whoever logs in finds back to this page of the server.
    pub(crate) fn remember(&self, path: &str) -> Result<HeaderValue> {
        self.site.set(NEXT_COOKIE, &Secret::new(path), LOGIN_LIFE_S)
    }

    /// Refuses what another site had a browser send: a browser says where a change comes from.
    pub(crate) fn check_origin(&self, headers: &HeaderMap) -> Result<()> {
        self.site.check_origin(headers)
    }
}

/// Where browsers find the server.
#[derive(Clone)]
struct Site {
    /// Scheme, host and port, as browsers send it in `Origin`.
    origin: String,
    is_secure: bool,
}

impl Site {
    fn new(base: &str) -> Self {
        let base = base.trim_end_matches('/');
        let (scheme, rest) = base.split_once("://").unwrap_or(("http", base));
        let host = rest.split('/').next().unwrap_or_default();
        Self {
            origin: format!("{scheme}://{host}").to_ascii_lowercase(),
            is_secure: scheme.eq_ignore_ascii_case("https"),
        }
    }

    fn name(&self, cookie: &str) -> String {
        let prefix = if self.is_secure { HOST_PREFIX } else { "" };
        format!("{prefix}{cookie}")
    }

    fn set(&self, cookie: &str, value: &Secret, life_s: u64) -> Result<HeaderValue> {
        let secure = if self.is_secure { "; Secure" } else { "" };
        let text = format!(
            "{}={}; Path=/; HttpOnly; SameSite=Lax; Max-Age={life_s}{secure}",
            self.name(cookie),
            value.expose()
        );
        let mut header = HeaderValue::try_from(text).map_err(|error| {
            Error::internal("the cookie cannot be written")
                .caused_by(error)
                .hint("report it")
        })?;
        header.set_sensitive(true);
        Ok(header)
    }

    fn read(&self, headers: &HeaderMap, cookie: &str) -> Option<String> {
        let name = self.name(cookie);
        let all = headers.get_all(header::COOKIE).iter();
        let pairs = all
            .filter_map(|cookies| cookies.to_str().ok())
            .flat_map(|cookies| cookies.split(';'));
        pairs
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(found, _)| *found == name)
            .map(|(_, value)| value.to_owned())
    }

    fn check_origin(&self, headers: &HeaderMap) -> Result<()> {
        let given = headers
            .get(header::ORIGIN)
            .and_then(|origin| origin.to_str().ok());
        if given.is_some_and(|given| given.eq_ignore_ascii_case(&self.origin)) {
            return Ok(());
        }
        Err(Error::denied("this change does not come from weir's own pages")
            .with("origin", given.unwrap_or("none"))
            .with("expected", &self.origin)
            .hint("send it from there, or with a token instead of a session; WEIR_PUBLIC_URL says where browsers find weir"))
    }
}

/// Who a browser's session acts for.
pub(crate) async fn access(state: &ServerState, headers: &HeaderMap) -> Option<Result<Access>> {
    let session = state.login.as_ref()?.site.read(headers, SESSION_COOKIE)?;
    Some(sessions::authenticate(&state.store, &session).await)
}

/// The same; none where no session is shown, or one that is over. An error where nobody can say now.
pub(crate) async fn access_if_any(state: &ServerState, headers: &HeaderMap) -> Result<Option<Access>> {
    match access(state, headers).await {
        None => Ok(None),
        Some(Ok(access)) => Ok(Some(access)),
        Some(Err(error)) if error.kind() == ErrorKind::Auth => Ok(None),
        Some(Err(error)) => Err(error),
    }
}

fn configured(state: &ServerState) -> Result<&Login> {
    state.login.as_ref().ok_or_else(|| {
        Error::not_found("nobody logs in here with a browser")
            .hint("use a token; docs/guides/login.md says how logins are set up")
    })
}

/// Whether a path that a browser kept is one of ours, and leads nowhere else.
fn is_own_page(path: &str) -> bool {
    path.starts_with("/approvals/")
        && path
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-'))
}

/// Sends the browser to the identity provider.
pub(crate) async fn begin(State(state): State<ServerState>) -> Response {
    let begun = async {
        let login = configured(&state)?;
        let begun = login.desk.begin().await?;
        let cookie = login.site.set(LOGIN_COOKIE, &begun.kept, LOGIN_LIFE_S)?;
        Ok::<_, Error>((begun.authorize_url, cookie))
    };
    match begun.await {
        Ok((url, cookie)) => redirect(&url, cookie),
        Err(error) => html::failure(&error),
    }
}

fn redirect(url: &str, cookie: HeaderValue) -> Response {
    let Ok(location) = HeaderValue::try_from(url) else {
        return html::failure(&Error::internal("the provider's address is no header").hint("report it"));
    };
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, location);
    headers.insert(header::SET_COOKIE, cookie);
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// Takes the provider's answer.
pub(crate) async fn finish(
    State(state): State<ServerState>,
    headers: HeaderMap,
    Query(callback): Query<Callback>,
) -> Response {
    let finished = async {
        let login = configured(&state)?;
        let kept = login.site.read(&headers, LOGIN_COOKIE).unwrap_or_default();
        let session = login.desk.finish(&callback, &kept).await?;
        let cookie = login
            .site
            .set(SESSION_COOKIE, &session.cookie, LIFE_MAX.as_secs())?;
        let over = login.site.set(LOGIN_COOKIE, &Secret::new("over"), 0)?;
        let been = login.site.set(NEXT_COOKIE, &Secret::new("over"), 0)?;
        let next = login
            .site
            .read(&headers, NEXT_COOKIE)
            .filter(|path| is_own_page(path));
        Ok::<_, Error>((session, [cookie, over, been], next))
    };
    let (session, cookies, next) = match finished.await {
        Ok(finished) => finished,
        Err(error) => return html::failure(&error),
    };
    let roles: Vec<&str> = session.roles.iter().copied().map(Role::as_str).collect();
    let who = format!("You are logged in as {}.", session.access.principal);
    let what = format!("Your roles here: {}.", roles.join(", "));
    let button = "<form method=\"post\" action=\"/logout\"><button>Log out</button></form>\n";
    let link = next.map_or_else(String::new, |path| {
        format!(
            "<p><a href=\"{}\">Go on to the page that you came for</a></p>\n",
            html::escaped(&path)
        )
    });
    let mut page = html::form(
        StatusCode::OK,
        "Logged in",
        &[&who, &what],
        &format!("{link}{button}"),
    );
    for cookie in cookies {
        page.headers_mut().append(header::SET_COOKIE, cookie);
    }
    page
}

/// Ends the session here, and says where the provider's ends.
pub(crate) async fn end(State(state): State<ServerState>, headers: HeaderMap) -> Response {
    let ended = async {
        let login = configured(&state)?;
        login.check_origin(&headers)?;
        if let Some(access) = access_if_any(&state, &headers).await? {
            sessions::end(&state.store, &access).await?;
        }
        login.site.set(SESSION_COOKIE, &Secret::new("over"), 0)
    };
    let over = match ended.await {
        Ok(over) => over,
        Err(error) => return html::failure(&error),
    };
    // That the provider is away keeps nobody from logging out here.
    let url = match &state.login {
        Some(login) => login.desk.logout_url().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot say where the identity provider logs out");
            None
        }),
        None => None,
    };
    let link = url.map_or_else(String::new, |url| {
        format!(
            "<p><a href=\"{}\">Log out at the identity provider, too</a></p>\n",
            html::escaped(&url)
        )
    });
    let mut page = html::page(
        StatusCode::OK,
        "Logged out",
        &["Your session here is over."],
        &link,
    );
    page.headers_mut().append(header::SET_COOKIE, over);
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            (
                header::HeaderName::try_from(*name).unwrap(),
                HeaderValue::try_from(*value).unwrap(),
            )
        });
        pairs.collect()
    }

    #[test]
    fn a_change_comes_from_here_or_is_refused() {
        let site = Site::new("https://Weir.example.com:8443/");
        site.check_origin(&headers(&[("origin", "https://weir.example.com:8443")]))
            .unwrap();
        for origin in [
            "https://evil.example.com",
            "http://weir.example.com:8443",
            "https://weir.example.com",
            "null",
            "",
        ] {
            site.check_origin(&headers(&[("origin", origin)])).unwrap_err();
        }
        site.check_origin(&HeaderMap::new()).unwrap_err();
    }

    #[test]
    fn a_page_to_come_back_to_is_one_of_ours() {
        assert!(is_own_page("/approvals/019a-f"));
        for wrong in [
            "//evil.example.com",
            "/approvals/..%2f",
            "/approvals/a\"b",
            "https://evil.example.com",
            "/login",
        ] {
            assert!(!is_own_page(wrong), "{wrong}");
        }
    }

    #[test]
    fn cookies_are_for_this_host_alone() {
        let secure = Site::new("https://weir.example.com");
        let set = secure.set(SESSION_COOKIE, &Secret::new("x"), 9).unwrap();
        assert_eq!(
            set.to_str().unwrap(),
            "__Host-weir_session=x; Path=/; HttpOnly; SameSite=Lax; Max-Age=9; Secure"
        );
        assert!(set.is_sensitive());
        let sent = headers(&[("cookie", "a=b; __Host-weir_session=y.z; weir_session=evil")]);
        assert_eq!(secure.read(&sent, SESSION_COOKIE).as_deref(), Some("y.z"));
        assert_eq!(
            secure.read(&headers(&[("cookie", "weir_session=evil")]), SESSION_COOKIE),
            None
        );
        let here = Site::new("http://127.0.0.1:7373");
        let set = here.set(SESSION_COOKIE, &Secret::new("x"), 9).unwrap();
        assert_eq!(
            set.to_str().unwrap(),
            "weir_session=x; Path=/; HttpOnly; SameSite=Lax; Max-Age=9"
        );
    }
}

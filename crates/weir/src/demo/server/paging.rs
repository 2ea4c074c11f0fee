//! Pages and the Link header that leads from one to the next.

use std::collections::BTreeMap;

use axum::http::Uri;
use url::form_urlencoded;

const SIZE_DEFAULT: usize = 30;
const SIZE_MAX: usize = 100;

/// Query parameters by name.
pub(crate) type Params = BTreeMap<String, String>;

/// One page of a list.
pub(crate) struct Page<'a, T> {
    pub(crate) items: &'a [T],
    pub(crate) link: Option<String>,
}

/// Cuts the page out that the parameters ask for.
pub(crate) fn cut<'a, T>(base_url: &str, uri: &Uri, params: &Params, all: &'a [T]) -> Page<'a, T> {
    let number = |name: &str| params.get(name).and_then(|text| text.parse::<usize>().ok());
    let size = number("per_page").unwrap_or(SIZE_DEFAULT).clamp(1, SIZE_MAX);
    let page = number("page").unwrap_or(1).max(1);
    let last = all.len().div_ceil(size).max(1);
    let start = (page - 1).saturating_mul(size).min(all.len());
    let end = (start + size).min(all.len());
    Page {
        items: &all[start..end],
        link: link(base_url, uri, params, page, last),
    }
}

fn link(base_url: &str, uri: &Uri, params: &Params, page: usize, last: usize) -> Option<String> {
    let to = |page: usize, rel: &str| {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in params.iter().filter(|(name, _)| *name != "page") {
            query.append_pair(name, value);
        }
        query.append_pair("page", &page.to_string());
        format!("<{base_url}{}?{}>; rel=\"{rel}\"", uri.path(), query.finish())
    };
    let mut links = Vec::new();
    if page > 1 {
        links.push(to(page - 1, "prev"));
    }
    if page < last {
        links.push(to(page + 1, "next"));
        links.push(to(last, "last"));
    }
    if page > 1 {
        links.push(to(1, "first"));
    }
    (!links.is_empty()).then(|| links.join(", "))
}

/// Renders a JSON array.
pub(crate) fn array<T>(items: &[T], mut render: impl FnMut(&mut String, &T)) -> String {
    let mut out = String::with_capacity(items.len() * 3_000 + 2);
    out.push('[');
    for (place, item) in items.iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        render(&mut out, item);
    }
    out.push(']');
    out
}

/// `since` in seconds; one that is no time is as if it were not there.
pub(crate) fn since(params: &Params) -> Option<i64> {
    let at: jiff::Timestamp = params.get("since")?.parse().ok()?;
    Some(at.as_second())
}

//! Issues and comments.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;

use super::super::dataset::Dataset;
use super::super::render;
use super::World;
use super::guard::{json, refusal};
use super::paging::{Params, array, cut, since};

/// `GET /repos/{owner}/{repo}/issues`: by default the open ones, newest first.
pub(crate) async fn issues(
    State(world): State<Arc<World>>,
    Query(params): Query<Params>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let data = world.data();
    let places = chosen_issues(&data, &params);
    let page = cut(&world.base_url, &uri, &params, &places);
    let body = array(page.items, |out, place| render::issue(out, &data.issues[*place]));
    world.pages.send_modify(|pages| *pages += 1);
    json(&headers, body, page.link)
}

fn chosen_issues(data: &Dataset, params: &Params) -> Vec<usize> {
    let is = |name: &str, value: &str| params.get(name).is_some_and(|found| found == value);
    let mut places: Vec<usize> = if is("sort", "updated") {
        data.issues_by_update.clone()
    } else {
        (0..data.issues.len()).collect()
    };
    if !is("direction", "asc") {
        places.reverse();
    }
    let since = since(params);
    let state = params.get("state").map_or("open", String::as_str);
    places.retain(|place| {
        let issue = &data.issues[*place];
        since.is_none_or(|since| issue.updated_s >= since)
            && match state {
                "all" => true,
                "closed" => issue.closed_s.is_some(),
                _ => issue.closed_s.is_none(),
            }
    });
    places
}

/// `GET /repos/{owner}/{repo}/issues/comments`: by default in the order they were made.
pub(crate) async fn comments(
    State(world): State<Arc<World>>,
    Query(params): Query<Params>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let data = world.data();
    let by_update = params.get("sort").is_some_and(|sort| sort == "updated");
    let mut places = if by_update {
        data.comments_by_update.clone()
    } else {
        (0..data.comments.len()).collect()
    };
    if params
        .get("direction")
        .is_some_and(|direction| direction == "desc")
    {
        places.reverse();
    }
    if let Some(since) = since(&params) {
        places.retain(|place| data.comments[*place].updated_s >= since);
    }
    let page = cut(&world.base_url, &uri, &params, &places);
    let body = array(page.items, |out, place| {
        render::comment(out, &data.comments[*place]);
    });
    world.pages.send_modify(|pages| *pages += 1);
    json(&headers, body, page.link)
}

/// `GET /repos/{owner}/{repo}/issues/{number}/comments`
pub(crate) async fn comments_of_issue(
    State(world): State<Arc<World>>,
    Path((_, _, number)): Path<(String, String, u64)>,
    Query(params): Query<Params>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let data = world.data();
    let place = usize::try_from(number)
        .ok()
        .and_then(|number| number.checked_sub(1));
    let Some(places) = place.and_then(|place| data.comments_of.get(place)) else {
        return refusal(StatusCode::NOT_FOUND, "Not Found");
    };
    let mut places = places.clone();
    if let Some(since) = since(&params) {
        places.retain(|place| data.comments[*place].updated_s >= since);
    }
    let page = cut(&world.base_url, &uri, &params, &places);
    let body = array(page.items, |out, place| {
        render::comment(out, &data.comments[*place]);
    });
    json(&headers, body, page.link)
}

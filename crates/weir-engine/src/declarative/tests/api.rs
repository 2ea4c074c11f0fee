//! A small API: records in a list, five ways to page, a lower bound, and a log of requests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

pub(super) struct Api {
    server: MockServer,
    pub(super) data: Arc<Mutex<Data>>,
}

#[derive(Default)]
pub(super) struct Data {
    /// By path.
    pub(super) lists: BTreeMap<String, Vec<Value>>,
    pub(super) log: Vec<String>,
    pub(super) size: usize,
    /// Tokens that are refused with 400.
    pub(super) refused: Vec<String>,
    /// Whether paging parameters are ignored.
    pub(super) is_stuck: bool,
    pub(super) etag: Option<String>,
}

impl Api {
    pub(super) async fn start(lists: Value, size: usize) -> Self {
        let server = MockServer::start().await;
        let data = Data {
            lists: serde_json::from_value(lists).unwrap(),
            size,
            ..Data::default()
        };
        let data = Arc::new(Mutex::new(data));
        let answers = Answers(data.clone());
        Mock::given(any()).respond_with(answers).mount(&server).await;
        Self { server, data }
    }

    pub(super) fn uri(&self) -> String {
        self.server.uri()
    }

    /// The requests since the last look.
    pub(super) fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.data.lock().unwrap().log)
    }
}

/// Records with ids from 1, a day apart.
pub(super) fn records(count: i64) -> Vec<Value> {
    (1..=count).map(|id| record(id, id)).collect()
}

pub(super) fn record(id: i64, day: i64) -> Value {
    let day = jiff::civil::date(2024, 1, 1)
        .checked_add(jiff::Span::new().days(day - 1))
        .unwrap();
    json!({ "id": id, "at": format!("{day}T00:00:00Z") })
}

struct Answers(Arc<Mutex<Data>>);

impl Respond for Answers {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let mut data = self.0.lock().unwrap();
        let query: BTreeMap<String, String> = request.url.query_pairs().into_owned().collect();
        let path = request.url.path().to_owned();
        data.log.push(match request.url.query() {
            Some(query) => format!("{path}?{query}"),
            None => path.clone(),
        });
        if let Some(etag) = &data.etag
            && request
                .headers
                .get("if-none-match")
                .is_some_and(|sent| sent == etag.as_str())
        {
            return ResponseTemplate::new(304);
        }
        let Some(list) = data.lists.get(&path) else {
            return ResponseTemplate::new(404).set_body_string("nothing here");
        };
        if query
            .get("token")
            .is_some_and(|token| data.refused.contains(token))
        {
            return ResponseTemplate::new(400).set_body_string("token expired");
        }
        let list: Vec<&Value> = list.iter().filter(|record| within(record, &query)).collect();
        let number = |name: &str| query.get(name).and_then(|text| text.parse::<usize>().ok());
        // `t` before the number: a mark of the source's own, unlike a count, is good for reading on.
        let mark = query.get("token").map(|token| token.trim_start_matches('t'));
        let mark = mark.and_then(|token| token.parse::<usize>().ok());
        let start = match (number("page"), number("offset"), mark) {
            _ if data.is_stuck => 0,
            (Some(page), _, _) => (page - 1) * data.size,
            (_, Some(offset), _) => offset,
            (_, _, token) => token.unwrap_or(0),
        };
        let end = (start + data.size).min(list.len());
        let page: Vec<&Value> = list.get(start..end).unwrap_or_default().to_vec();
        let more = end < list.len() || data.is_stuck;
        let mut next = request.url.clone();
        next.query_pairs_mut()
            .clear()
            .extend_pairs(query.iter().filter(|(name, _)| *name != "token"));
        next.query_pairs_mut().append_pair("token", &end.to_string());
        let mark = format!("t{end}");
        let relative = format!("{path}?{}", next.query().unwrap_or_default());
        let body = json!({
            "items": page, "total": list.len(), "pages": list.len().div_ceil(data.size.max(1)),
            "next": more.then(|| mark.clone()), "next_url": more.then(|| relative.clone()),
        });
        let mut answer = ResponseTemplate::new(200).set_body_json(body);
        if more {
            answer = answer
                .insert_header("Link", format!("<https://x.example/a,b>; title=\"a, b\"; rel=\"first\", <{relative}>; rel=\"next last\""))
                .insert_header("X-Next", mark);
        }
        match &data.etag {
            Some(etag) => answer.insert_header("ETag", etag.as_str()),
            None => answer,
        }
    }
}

fn within(record: &Value, query: &BTreeMap<String, String>) -> bool {
    let at = record["at"].as_str().unwrap_or_default();
    query.get("since").is_none_or(|since| at >= since.as_str())
        && query.get("until").is_none_or(|until| at <= until.as_str())
}

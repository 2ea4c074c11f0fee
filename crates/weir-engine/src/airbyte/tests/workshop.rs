//! Answers that are too large, lists within records, tokens that can be used only once. What is
//! expected here is what the reference did with the same manifest and the same answers.

use std::sync::{Arc, Mutex};

use wiremock::Request;

use super::*;

const WORKSHOP: &str = include_str!("../../../tests/manifests/workshop.yaml");

fn param(request: &Request, name: &str) -> Option<String> {
    let mut pairs = request.url.query_pairs();
    pairs
        .find(|(known, _)| known == name)
        .map(|(_, value)| value.into_owned())
}

fn number(request: &Request, name: &str) -> i64 {
    param(request, name).map_or(0, |text| text.parse().unwrap())
}

fn day_of(date: &str) -> i64 {
    date.rsplit('-').next().unwrap().parse().unwrap()
}

fn given(body: Value) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(body)
}

async fn asked(server: &MockServer) -> Vec<String> {
    let requests = server.received_requests().await.unwrap();
    let query = |request: &Request| request.url.query().unwrap_or_default().to_owned();
    requests.iter().map(query).collect()
}

#[tokio::test]
async fn pages_shrink_until_the_source_gives_them_and_no_record_is_skipped() {
    let server = MockServer::start().await;
    let page = |request: &Request| {
        let (limit, offset) = (number(request, "limit"), number(request, "offset"));
        if limit > 3 {
            return ResponseTemplate::new(413);
        }
        let records = (offset..(offset + limit).min(5)).map(|id| json!({ "id": id }));
        given(json!({ "data": records.collect::<Vec<_>>() }))
    };
    Mock::given(path("/parts"))
        .respond_with(page)
        .mount(&server)
        .await;
    let source = open(&server, WORKSHOP, config()).unwrap();
    let (records, _) = read(&source, "parts", None).await.unwrap();
    assert_eq!(records, (0..5).map(|id| json!({ "id": id })).collect::<Vec<_>>());
    assert_eq!(
        asked(&server).await,
        [
            "limit=8",
            "limit=4",
            "limit=2",
            "offset=2&limit=2",
            "offset=4&limit=2"
        ]
    );
    let stricter = WORKSHOP.replace(
        "backoff_seconds: 0",
        "backoff_seconds: 0\n        minimum_page_size: 4",
    );
    let source = open(&server, &stricter, config()).unwrap();
    let error = read(&source, "parts", None).await.unwrap_err();
    assert_eq!(
        error.message(),
        "the source refuses pages of every size, down to 4 records"
    );
}

#[tokio::test]
async fn windows_are_halved_until_the_source_takes_them() {
    let server = MockServer::start().await;
    let day = |text: Option<String>| day_of(&text.unwrap());
    let page = move |request: &Request| {
        let (from, to) = (day(param(request, "from")), day(param(request, "to")));
        if to - from > 2 {
            return ResponseTemplate::new(422);
        }
        let records = (from..=to).map(|day| json!({ "id": day, "at": format!("2025-06-{day:02}") }));
        given(json!({ "data": records.collect::<Vec<_>>() }))
    };
    Mock::given(path("/visits"))
        .respond_with(page)
        .mount(&server)
        .await;
    let source = open(&server, WORKSHOP, config()).unwrap();
    let (records, state) = read(&source, "visits", None).await.unwrap();
    let days: Vec<i64> = records
        .iter()
        .filter_map(|record| record["id"].as_i64())
        .collect();
    assert_eq!(days, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(state, json!({ "at": "2025-06-08" }));
    server.reset().await;
    Mock::given(path("/visits"))
        .respond_with(ResponseTemplate::new(422))
        .mount(&server)
        .await;
    let error = read(&source, "visits", None).await.unwrap_err();
    insta::assert_snapshot!(format!("{error:?}"), @r#"[source] the source refuses the slice's window, and it cannot be made any narrower (window: {"start_time":"2025-06-01","end_time":"2025-06-01"}, answer: the source fails) -> ask the workshop for a higher limit"#);
}

#[tokio::test]
async fn elements_of_lists_become_records_with_what_they_take_along() {
    let server = MockServer::start().await;
    let invoices = json!({
        "open": [
            { "id": 1, "to": "a", "lines": { "data": [{ "n": 1 }, { "n": 2, "to": "b" }], "more": false } },
            { "id": 2, "to": "c", "lines": { "data": [{ "n": 3 }], "more": true } },
        ],
        "single": [null, { "n": 9 }],
    });
    answer(&server, Mock::given(path("/invoices")), invoices).await;
    let rest = json!({ "data": [{ "n": 3 }, { "n": 4 }] });
    answer(&server, Mock::given(path("/invoices/2/lines")), rest).await;
    let source = open(&server, WORKSHOP, config()).unwrap();
    let (records, _) = read(&source, "lines", None).await.unwrap();
    let line = |id: i64, to: &str, n: i64, more: bool| json!({ "id": id, "to": to, "lines": { "more": more }, "n": n, "invoice": { "id": id } });
    assert_eq!(
        records,
        [
            line(1, "a", 1, false),
            line(1, "b", 2, false),
            line(2, "c", 3, true),
            line(2, "c", 4, true),
            json!({ "n": 9 }),
        ]
    );
}

#[tokio::test]
async fn pages_begin_anew_at_the_newest_record_where_only_so_many_can_be_paged_through() {
    let server = MockServer::start().await;
    let page = |request: &Request| {
        let from: i64 = day_of(&param(request, "from").unwrap());
        let begin = from + number(request, "page") * 2;
        let days = (begin..begin + 2).filter(|day| *day <= 7);
        let records = days.map(|day| json!({ "at": format!("2025-06-{day:02}") }));
        given(json!({ "data": records.collect::<Vec<_>>() }))
    };
    Mock::given(path("/readings"))
        .respond_with(page)
        .mount(&server)
        .await;
    let source = open(&server, WORKSHOP, config()).unwrap();
    let (records, _) = read(&source, "readings", None).await.unwrap();
    let days: Vec<&str> = records
        .iter()
        .filter_map(|record| record["at"].as_str())
        .collect();
    // The newest record comes again with each beginning, as it does with any window's edge.
    let expected = ["01", "02", "03", "04", "04", "05", "06", "07"].map(|day| format!("2025-06-{day}"));
    assert_eq!(days[..8], expected);
    assert!(asked(&server).await.contains(&"from=2025-06-04".to_owned()));
}

#[tokio::test]
async fn a_token_used_only_once_is_replaced_in_the_settings_and_fields_follow_the_catalog() {
    let server = MockServer::start().await;
    let token = json!({ "access_token": "first-token", "refresh_token": "second-use", "expires_in": 600 });
    answer(&server, Mock::given(path("/token")), token).await;
    let people = Mock::given(path("/people")).and(header("Authorization", "Bearer first-token"));
    let people = people.and(query_param("fields", "id,mail"));
    answer(&server, people, json!({ "data": [{ "id": 1, "mail": "x" }] })).await;
    let manifest = WORKSHOP.replace("https://api.shop.example", &server.uri());
    let manifest = Manifest::parse("manifest.yaml", &manifest).unwrap();
    let told: Arc<Mutex<Vec<Value>>> = Arc::default();
    let heard = told.clone();
    let schema = json!({ "properties": { "mail": {}, "other": {} } });
    let chosen = Configured {
        schema,
        ..Configured::default()
    };
    let settings = SourceSettings {
        engine: EngineSettings {
            clock: Clock::fixed("2025-06-15T12:00:00Z".parse().unwrap()),
            ..EngineSettings::default()
        },
        allow_private_hosts: true,
        catalog: [("people".to_owned(), chosen)].into(),
        on_settings: Some(Arc::new(move |settings| {
            heard.lock().unwrap().push(settings.clone());
        })),
        ..SourceSettings::default()
    };
    let config = json!({ "secret": "s3cret", "credentials": { "refresh_token": "first-use" } });
    let source = AirbyteSource::new(&manifest, config, &settings).unwrap();
    let (records, _) = read(&source, "people", None).await.unwrap();
    assert_eq!(records, [json!({ "id": 1, "mail": "x" })]);
    assert_eq!(
        *told.lock().unwrap(),
        [json!({
            "secret": "s3cret",
            "credentials": {
                "refresh_token": "second-use",
                "access_token": "first-token",
                "token_expiry_date": "2025-06-15T12:10:00+00:00",
            },
        })]
    );
}

#[tokio::test]
async fn what_would_lose_or_double_records_is_refused_before_anything_is_asked() {
    let server = MockServer::start().await;
    let cases = [
        (
            "parts",
            "type: OffsetIncrement, page_size: 8",
            "type: PageIncrement, page_size: 8",
        ),
        (
            "parts",
            "type: OffsetIncrement, page_size: 8",
            "type: OffsetIncrement",
        ),
        ("parts", "page_size_reduction:", "unused:"),
        ("visits", "      step: P30D\n      cursor_granularity: P1D\n", ""),
        ("visits", "request_window_splitting:", "unused:"),
        ("lines", "mode: union", "mode: all"),
        ("lines", "[lines, more]", "[lines, '*']"),
        ("readings", "SPLIT_USING_CURSOR", "HALVES"),
    ];
    let mut shown = Vec::new();
    for (stream, from, to) in cases {
        let text = WORKSHOP.replace(from, to);
        assert_ne!(text, WORKSHOP);
        let error = match open(&server, &text, config()) {
            Ok(source) => read(&source, stream, None).await.unwrap_err(),
            Err(error) => error,
        };
        assert!(error.next_step().is_some());
        shown.push(error.to_string());
    }
    insta::assert_snapshot!(shown.join("\n"), @r#"
    page_size_reduction is not possible here: a smaller page would shift the numbers of all that follow (at: manifest.yaml:34, component: streams[0].retriever.page_size_reduction, stream: parts)
    page_size_reduction is not possible here: the pagination strategy needs page_size (at: manifest.yaml:34, component: streams[0].retriever.page_size_reduction, stream: parts)
    a response filter has the action REDUCE_PAGE_SIZE, but the retriever has no page_size_reduction (at: manifest.yaml:18, component: streams[0].retriever, stream: parts)
    request_window_splitting is not possible here: the cursor needs cursor_granularity (at: manifest.yaml:56, component: streams[1].retriever, stream: visits)
    a response filter has the action SPLIT_REQUEST_WINDOW, but the retriever has no request_window_splitting (at: manifest.yaml:58, component: streams[1].retriever, stream: visits)
    the mode 'all' is none of union, first_match (at: manifest.yaml:86, component: streams[2].retriever.record_selector.extractor, stream: lines)
    truncation_indicator_path must lead to one place; '*' may lead to several (at: manifest.yaml:93, component: streams[2].retriever.record_selector.extractor.extractors[0].record_expander, stream: lines)
    action is 'HALVES'; it may be RESET or SPLIT_USING_CURSOR (at: manifest.yaml:130, component: streams[3].retriever.pagination_reset, stream: readings)
    "#);
    assert!(server.received_requests().await.unwrap().is_empty());
}

use proptest::prelude::*;

use super::*;
use crate::clock::Clock;

fn pagination(spec: Value) -> Pagination {
    let spec: Paginate = serde_json::from_value(spec).unwrap();
    Pagination::new(&Templates::new(&Clock::system()), "stream x", &spec).unwrap()
}

#[test]
fn reads_link_headers() {
    let links = parse_links(
        r#"<https://a.example/x?a=1,2>; rel="next last"; title="a \"b\", c", </rel>;REL=prev , <y>; rel = first; rel=next"#,
    );
    assert_eq!(links.len(), 3);
    assert_eq!(links[0].target, "https://a.example/x?a=1,2");
    assert!(links[0].has_rel("NEXT") && links[0].has_rel("last") && !links[0].has_rel("prev"));
    assert_eq!(links[0].params[1].1, "a \"b\", c");
    assert!(links[1].has_rel("prev"));
    assert!(
        links[2].has_rel("first") && !links[2].has_rel("next"),
        "only the first rel counts"
    );
    assert!(parse_links("nonsense").is_empty());
    assert_eq!(
        parse_links("<a>; x; rel=next")
            .first()
            .map(|link| link.has_rel("next")),
        Some(true)
    );
}

#[test]
fn page_tokens_need_one_origin() {
    let spec = serde_json::from_value(json!({ "by": "page_token", "request": { "param": "t" } })).unwrap();
    let error = Pagination::new(&Templates::new(&Clock::system()), "stream x", &spec).unwrap_err();
    assert_eq!(error.kind(), weir_protocol::ErrorKind::Spec);
}

/// Walks a list of so many records with pages of at most `page`; gives the offsets asked for.
fn walk(pagination: &Pagination, total: u64, page: u64) -> Vec<u64> {
    let (scope, url, headers) = (
        Scope::new(),
        Url::parse("https://a.example").unwrap(),
        HeaderMap::new(),
    );
    let mut state = pagination.rule().first(&scope).unwrap();
    let mut asked = Vec::new();
    loop {
        let offset = match &state {
            PageState::Offset(offset) => *offset,
            PageState::Number(number) => (number - 1) * page,
            other => panic!("{other:?}"),
        };
        asked.push(offset);
        assert!(asked.len() as u64 <= total + 2, "it never ends");
        let document = json!({ "total": total, "pages": total.div_ceil(page) }).to_string();
        let document = Document {
            body: document.into(),
            list: None,
        };
        let facts = PageFacts {
            records: total.saturating_sub(offset).min(page),
            document: Some(&document),
            headers: &headers,
            url: &url,
            last_record: None,
            scope: &scope,
        };
        match pagination.rule().next(&facts, &state).unwrap() {
            Some(next) => state = next,
            None => return asked,
        }
    }
}

proptest! {
    #[test]
    fn counting_rules_end_and_leave_nothing_out(total in 0_u64..60, page in 1_u64..12, rule in 0..5) {
        let size = json!({ "value": page });
        let pagination = pagination(match rule {
            0 => json!({ "by": "offset", "request": { "param": "o" }, "size": size }),
            1 => json!({ "by": "offset", "request": { "param": "o" }, "size": { "value": page + 3 }, "stop": "empty" }),
            2 => json!({ "by": "offset", "request": { "param": "o" }, "size": { "value": page + 3 }, "total_path": "total" }),
            3 => json!({ "by": "page_number", "request": { "param": "p" }, "size": size }),
            _ => json!({ "by": "page_number", "request": { "param": "p" }, "pages_path": "pages" }),
        });
        let asked = walk(&pagination, total, page);
        let needed: Vec<u64> = (0..total.div_ceil(page)).map(|index| index * page).collect();
        prop_assert!(needed.iter().all(|offset| asked.contains(offset)), "{:?} of {:?}", asked, needed);
        prop_assert!(asked.len() <= needed.len() + 1);
    }

    #[test]
    fn links_are_found_among_noise(targets in prop::collection::vec("[a-z/?=&,;]{1,12}", 1..5), title in "[ -~]{0,12}", noise in ".{0,40}") {
        let quoted = title.replace('\\', "\\\\").replace('"', "\\\"");
        let header: Vec<String> = targets.iter().enumerate()
            .map(|(index, target)| format!("<{target}>; title=\"{quoted}\"; rel=\"r{index}\""))
            .collect();
        let links = parse_links(&header.join(", "));
        prop_assert_eq!(links.len(), targets.len());
        for (index, target) in targets.iter().enumerate() {
            prop_assert_eq!(&links[index].target, target);
            prop_assert_eq!(&links[index].params[0].1, &title);
            let rel = format!("r{index}");
            prop_assert!(links[index].has_rel(&rel));
        }
        parse_links(&noise);
        parse_links(&format!("<a>{noise}"));
    }

    #[test]
    fn page_states_survive_storage(number in any::<u64>(), text in ".*") {
        for state in [PageState::First, PageState::Number(number), PageState::Offset(number),
            PageState::Token(json!({ "t": text.clone() })), PageState::Url(text)] {
            let stored = serde_json::to_value(&state).unwrap();
            prop_assert_eq!(serde_json::from_value::<PageState>(stored).unwrap(), state);
        }
    }
}

//! Hosts, redirects, sizes, and answers that break off.

use std::io::Write;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir_protocol::spec::{Reliability, Retry};
use weir_protocol::{Error, ErrorKind};
use wiremock::matchers::path;
use wiremock::{Mock, MockServer};

use super::*;

#[tokio::test]
async fn undeclared_hosts_and_metadata_are_refused_also_by_redirect() {
    let rig = rig_with(
        Reliability::default(),
        &["127.0.0.1", "169.254.169.254"],
        Counter::default(),
    );
    for (target, word) in [
        (
            "http://169.254.169.254/latest/meta-data",
            "link-local or metadata",
        ),
        ("https://evil.example.com/", "not among the connector's hosts"),
    ] {
        let server = server(vec![status(302).insert_header("location", target)]).await;
        for url in [target, &server.uri()] {
            let error = rig.fails(url).await;
            assert_eq!(error.kind(), ErrorKind::Denied);
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}

#[tokio::test]
async fn names_that_resolve_to_private_addresses_are_refused() {
    let server = server(vec![status(200)]).await;
    let port = server.address().port();
    let patience = |_| {
        Patience::resolve(
            &Reliability::default(),
            &Reliability::default(),
            &ReliabilityDefaults::default(),
        )
    };
    let settings = ClientSettings::new(
        HostRules::new(&["localhost"], true).unwrap(),
        patience(()).unwrap(),
    );
    let transport = Transport::new(&settings).unwrap();
    let client = Client::new(&settings, transport, Arc::new(Counter::default()));
    let url = Url::parse(&format!("http://localhost:{port}/")).unwrap();
    client.send(Outgoing::get(url), &|_| Ok(None)).await.unwrap();
    // The resolver itself, as a rebinding name would meet it.
    let strict = resolver::GuardedResolver {
        rules: HostRules::new(&["localhost"], false).unwrap(),
        plain: false,
    };
    let refused = reqwest::dns::Resolve::resolve(&strict, "localhost".parse().unwrap()).await;
    let error = refused.err().unwrap();
    assert_eq!(error.downcast_ref::<Error>().unwrap().kind(), ErrorKind::Denied);
}

#[tokio::test]
async fn redirects_keep_the_credential_only_at_home() {
    let away = MockServer::start().await;
    Mock::given(path("/there"))
        .respond_with(status(200))
        .mount(&away)
        .await;
    let home = server(vec![
        status(303).insert_header("location", "/again"),
        status(307).insert_header("location", format!("{}/there", away.uri()).as_str()),
    ])
    .await;
    let rig = rig(Reliability::default());
    let mut out = Outgoing::new(Method::POST, Url::parse(&home.uri()).unwrap());
    out.body = Body::Json(Bytes::from_static(b"{}"));
    out.set_header("x-api-key", "token-0");
    rig.client.send(out, &|_| Ok(None)).await.unwrap();
    let at_home = home.received_requests().await.unwrap();
    assert_eq!(
        at_home
            .iter()
            .map(|request| request.method.as_str())
            .collect::<Vec<_>>(),
        ["POST", "GET"]
    );
    assert!(
        at_home
            .iter()
            .all(|request| request.headers.contains_key("authorization"))
    );
    let there = away.received_requests().await.unwrap();
    assert!(!there[0].headers.contains_key("authorization") && !there[0].headers.contains_key("x-api-key"));
}

#[tokio::test]
async fn redirect_circles_end() {
    let server = server(vec![status(301).insert_header("location", "/")]).await;
    let rig = rig(Reliability::default());
    assert!(
        rig.fails(&server.uri())
            .await
            .to_string()
            .contains("more than 10 redirects")
    );
    assert_eq!(rig.client.stats().requests, 11);
}

#[tokio::test]
async fn large_and_bomb_answers_stop_at_the_limit() {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(&vec![b' '; 4 << 20]).unwrap();
    let bomb = status(200)
        .insert_header("content-encoding", "gzip")
        .set_body_bytes(packed.finish().unwrap());
    for answer in [bomb, status(200).set_body_bytes(vec![b' '; 4 << 20])] {
        let server = server(vec![answer]).await;
        let rig = rig(Reliability {
            response_max: Some("1MiB".parse().unwrap()),
            ..Reliability::default()
        });
        assert_eq!(rig.fails(&server.uri()).await.kind(), ErrorKind::Limit);
        assert_eq!(rig.client.stats().requests, 1, "not tried again");
    }
}

#[tokio::test]
async fn a_body_of_several_gzip_members_is_read_to_its_end() {
    let member = |text: &[u8]| {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(text).unwrap();
        packed.finish().unwrap()
    };
    let packed = status(200).insert_header("content-encoding", "gzip");
    let whole = packed
        .clone()
        .set_body_bytes([member(b"{\"id\":1}\n"), member(b""), member(b"{\"id\":2}\n")].concat());
    let server = server(vec![whole]).await;
    let rig = rig(Reliability::default());
    let answer = rig.get(&server.uri()).await.unwrap();
    assert_eq!(body(&answer), b"{\"id\":1}\n{\"id\":2}\n");
    let asked = server.received_requests().await.unwrap();
    assert_eq!(asked[0].headers["accept-encoding"], content::ACCEPTED);

    let cut = packed.set_body_bytes([member(b"{}"), member(b"{}")[..12].to_vec()].concat());
    let server = self::server(vec![cut]).await;
    let error = rig.get(&server.uri()).await.unwrap_err();
    assert!(error.to_string().contains("body is damaged"), "{error:?}");
}

/// Answers raw text per connection, the last one for ever; `None` keeps silent.
async fn raw_server(answers: Vec<Option<&'static str>>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut kept = Vec::new();
        for index in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let read = stream.read(&mut request).await.unwrap();
            assert!(read > 0);
            match answers[index.min(answers.len() - 1)] {
                Some(text) => stream.write_all(text.as_bytes()).await.unwrap(),
                None => kept.push(stream),
            }
        }
    });
    url
}

#[tokio::test]
async fn cut_answers_are_tried_again() {
    let url = raw_server(vec![
        Some("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n[1,2"),
        Some("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n[1,2]"),
    ])
    .await;
    let rig = rig(Reliability::default());
    assert_eq!(body(&rig.get(&url).await.unwrap()), b"[1,2]");
    assert_eq!(rig.client.stats().requests, 2);
}

#[tokio::test]
async fn a_damaged_compressed_body_is_told_from_a_cut_one() {
    let url = raw_server(vec![Some(
        "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 12\r\n\r\nno gzip here",
    )])
    .await;
    let rig = rig(Reliability::default());
    let error = rig.get(&url).await.unwrap_err();
    assert!(
        error.to_string().contains("compressed body is damaged"),
        "{error:?}"
    );
}

#[tokio::test]
async fn what_must_not_happen_twice_is_not_sent_twice() {
    let url = raw_server(vec![Some("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n[1,2")]).await;
    let rig = rig(Reliability::default());
    let mut out = Outgoing::get(Url::parse(&url).unwrap());
    out.repeatable = false;
    assert!(rig.client.send(out, &|_| Ok(None)).await.is_err());
    assert_eq!(rig.client.stats().requests, 1);
}

#[tokio::test]
async fn silence_is_a_timeout() {
    let url = raw_server(vec![None]).await;
    let retry = Retry {
        attempts: 2,
        ..Retry::default()
    };
    let timeout = Some("60ms".parse().unwrap());
    let rig = rig(Reliability {
        timeout,
        retry: Some(retry),
        ..Reliability::default()
    });
    assert_eq!(rig.fails(&url).await.kind(), ErrorKind::Timeout);
    assert_eq!(rig.client.stats().requests, 2);
}

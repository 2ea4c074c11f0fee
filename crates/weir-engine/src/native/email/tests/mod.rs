//! Messages that go out and come in, against servers that behave and servers that do not.

mod imap;
mod smtp;

use std::sync::atomic::Ordering;

use base64::Engine as _;
use futures::StreamExt as _;
use proptest::prelude::*;
use serde_json::{Value, json};
use weir_protocol::action::{Actions as _, Call, Performed};
use weir_protocol::{ErrorKind, ReadMode, StateChange, StreamState, conformance};

use super::imap::Facts;
use super::letter::Letter;
use super::link::Dialer;
use super::settings::{Security, Server as Place};
use super::trouble::{Refusal, Stage};
use super::*;
use crate::action::HttpActions;
use crate::catalog::Catalog;
use crate::http::{HostRules, Patience, ReliabilityDefaults};
use smtp::Mood;

const KEY: &str = "weir-0198";

fn connection(config: &Value, password: &str) -> ConnectionSpec {
    serde_json::from_value(json!({
        "connection": "office", "connector": "email", "config": config,
        "credential": { "method": "basic", "username": "ada@acme.example", "password": password },
        "allow_private_hosts": true,
        "reliability": { "timeout": "400ms", "retry": { "attempts": 2, "base": "1ms", "max": "1ms", "budget": "100%" } },
    }))
    .unwrap()
}

fn reading(server: &imap::Server, more: &Value) -> Value {
    let mut imap = json!({ "host": "127.0.0.1", "port": server.port, "tls": "none" });
    imap.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    json!({ "imap": imap })
}

fn sending(server: &smtp::Server) -> Value {
    json!({ "from": "Acme <billing@acme.example>", "smtp": { "host": "127.0.0.1", "port": server.port, "tls": "none" } })
}

fn source(connection: &ConnectionSpec) -> Arc<dyn Source> {
    let catalog = Catalog::embedded();
    crate::connect(
        catalog.get("email").unwrap(),
        connection,
        &EngineSettings::default(),
    )
    .unwrap()
}

fn actions(connection: &ConnectionSpec) -> HttpActions {
    let catalog = Catalog::embedded();
    HttpActions::connect(
        catalog.get("email").unwrap(),
        connection,
        &EngineSettings::default(),
    )
    .unwrap()
}

fn call(actions: &HttpActions, input: &Value) -> Call {
    Call {
        action: "send".to_owned(),
        input: actions.check("send", input.as_object().unwrap()).unwrap(),
        idempotency_key: KEY.to_owned(),
        correlation_id: "run-1".to_owned(),
        began_at_ms: Some(1_700_000_000_000),
    }
}

fn letter() -> Value {
    json!({ "to": ["Ada <ada@example.com>"], "subject": "Invoice 7", "text": "It is attached." })
}

async fn outcome(server: &smtp::Server, mood: Mood) -> Performed {
    server.mood(mood);
    let actions = actions(&connection(&sending(server), "secret"));
    actions.perform(&call(&actions, &letter())).await
}

fn mail(number: usize) -> String {
    format!(
        "From: a@example.com\r\nTo: b@example.com\r\nSubject: {number}\r\nMessage-ID: <m{number}@example.com>\r\n\
         Date: Sun, 22 Nov 2026 12:00:00 +0200\r\n\r\nText {number}\r\n"
    )
}

#[derive(Default)]
struct Read {
    records: Vec<Value>,
    notices: Vec<String>,
    state: StreamState,
    error: Option<Error>,
}

async fn read(source: &dyn Source, state: Option<StreamState>) -> Read {
    let mut done = Read {
        state: state.clone().unwrap_or_default(),
        ..Read::default()
    };
    let mut events = source.read(ReadRequest {
        mode: ReadMode::Incremental,
        state,
        ..ReadRequest::full("messages")
    });
    while let Some(event) = events.next().await {
        match event {
            Ok(ReadEvent::Batch(batch)) => {
                let json = |record| serde_json::from_slice(batch.json(record)).unwrap();
                done.records.extend(batch.records.iter().map(json));
            }
            Ok(ReadEvent::Advance(change)) => done.state.apply(change),
            Ok(ReadEvent::Notice(notice)) => done.notices.push(notice.message),
            Ok(ReadEvent::Progress(_)) => {}
            Err(error) => done.error = Some(error),
        }
    }
    done
}

fn subjects(read: &Read) -> Vec<&str> {
    read.records
        .iter()
        .map(|record| record["subject"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_message_is_sent_with_an_id_of_its_call() {
    let server = smtp::Server::start().await;
    let mut input = letter();
    input["bcc"] = json!(["boss@example.com"]);
    input["in_reply_to"] = json!("first@example.com");
    input["attachments"] =
        json!([{ "filename": "invoice.pdf", "content_type": "application/pdf", "base64": "JVBERg==" }]);
    let actions = actions(&connection(&sending(&server), "secret"));
    let call = call(&actions, &input);
    let shown = actions.show(&call).unwrap();
    assert_eq!(shown.url, "mail://127.0.0.1/send");
    assert_eq!(shown.body.unwrap()["message_id"], format!("{KEY}@acme.example"));
    assert_eq!(
        server.taken.lock().unwrap().connections,
        0,
        "showing sends nothing"
    );
    let Performed::Done(reply) = actions.perform(&call).await else {
        panic!("not sent");
    };
    assert_eq!(reply.remote_id.unwrap(), format!("{KEY}@acme.example"));
    assert_eq!(reply.output["accepted"], 2);
    assert_eq!(reply.output["reply"], "2.0.0 queued as 1");
    let taken = server.taken.lock().unwrap();
    assert_eq!(taken.recipients.len(), 2);
    let [message] = &taken.messages[..] else {
        panic!("{} messages", taken.messages.len());
    };
    for part in [
        &format!("Message-ID: <{KEY}@acme.example>"),
        "In-Reply-To: <first@example.com>",
        "References: <first@example.com>",
        // Also what is text: a line end of a file's own could end the message.
        "JVBERg==",
        "invoice.pdf",
    ] {
        assert!(message.contains(part), "{part} in {message}");
    }
    assert!(!message.contains("boss@example.com"), "{message}");
}

#[tokio::test]
async fn a_refusal_is_no_effect_and_says_what_to_do() {
    let server = smtp::Server::start().await;
    for (mood, kind, contains) in [
        (
            Mood::Says("RCPT", "550 5.1.1 no such user"),
            ErrorKind::Usage,
            "ada@example.com",
        ),
        (
            Mood::Says("RCPT", "550 5.7.1 relaying denied"),
            ErrorKind::Denied,
            "relaying denied",
        ),
        (
            Mood::Says("AUTH", "535 5.7.8 wrong password"),
            ErrorKind::Auth,
            "535",
        ),
        (
            Mood::Says("MAIL", "530 5.7.0 log in first"),
            ErrorKind::Auth,
            "530",
        ),
        (
            Mood::Says("RCPT", "450 4.2.1 greylisted"),
            ErrorKind::Unavailable,
            "greylisted",
        ),
        (Mood::Says("EHLO", "421 busy"), ErrorKind::Unavailable, "421"),
        (
            Mood::Says(".", "451 4.3.0 out of disk"),
            ErrorKind::Unavailable,
            "out of disk",
        ),
        (
            Mood::Says(".", "552 5.3.4 too big"),
            ErrorKind::Usage,
            "too large",
        ),
        (Mood::Says(".", "554 5.7.1 spam"), ErrorKind::Denied, "spam"),
        (Mood::Says("EHLO", "250 mail.test"), ErrorKind::Spec, "PLAIN"),
        (Mood::Breaks("DATA"), ErrorKind::Unavailable, "broke"),
        (Mood::Hangs("RCPT"), ErrorKind::Timeout, "recipients"),
        (Mood::Hangs("EHLO"), ErrorKind::Timeout, "logging in"),
    ] {
        match outcome(&server, mood).await {
            Performed::Failed(error) => {
                assert_eq!(error.kind(), kind, "{mood:?}: {error:?}");
                assert!(format!("{error:?}").contains(contains), "{mood:?}: {error:?}");
                assert!(error.next_step().is_some(), "{mood:?}: {error:?}");
                assert!(!format!("{error:?}").contains("secret"), "{mood:?}: {error:?}");
            }
            other => panic!("{mood:?}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn what_is_lost_after_the_message_is_uncertain_and_not_sent_again() {
    let server = smtp::Server::start().await;
    for mood in [Mood::Breaks("."), Mood::Hangs(".")] {
        let before = server.taken.lock().unwrap().messages.len();
        let performed = outcome(&server, mood).await;
        assert!(
            matches!(performed, Performed::Uncertain(_)),
            "{mood:?}: {performed:?}"
        );
        assert_eq!(
            server.taken.lock().unwrap().messages.len(),
            before + 1,
            "{mood:?}"
        );
    }
}

#[tokio::test]
async fn an_outage_before_the_message_is_tried_again() {
    let server = smtp::Server::start().await;
    let performed = outcome(&server, Mood::Breaks("MAIL")).await;
    assert!(matches!(performed, Performed::Failed(_)), "{performed:?}");
    assert_eq!(server.taken.lock().unwrap().connections, 2);
}

#[tokio::test]
async fn only_a_folder_that_keeps_what_is_sent_proves_that_nothing_was() {
    let (out, mailbox) = (smtp::Server::start().await, imap::Server::start().await);
    mailbox.folder("INBOX", |_| {});
    mailbox.folder("Gesendet", |folder| folder.attributes = "\\Sent");
    let config = |keeps: bool| {
        let mut config = sending(&out);
        config["imap"] = reading(&mailbox, &json!({ "server_keeps_sent": keeps }))["imap"].clone();
        config
    };
    let keeping = actions(&connection(&config(true), "secret"));
    let mut asked = call(&keeping, &letter());
    asked.began_at_ms = Some(jiff::Timestamp::now().as_millisecond());
    assert!(keeping.look_up(&asked).await.is_err(), "it may be on its way");
    asked.began_at_ms = Some(1);
    assert!(keeping.look_up(&asked).await.unwrap().is_none());
    let other = actions(&connection(&config(false), "secret"));
    assert!(
        other.look_up(&asked).await.is_err(),
        "it may have been sent all the same"
    );
    let unread = actions(&connection(&sending(&out), "secret"));
    assert!(unread.look_up(&asked).await.is_err());
    mailbox.folder("Gesendet", |folder| {
        folder.put(format!("Message-ID: <{KEY}@acme.example>\r\n\r\nx"));
    });
    for actions in [keeping, other] {
        let found = actions.look_up(&asked).await.unwrap().unwrap();
        assert_eq!(found.remote_id.unwrap(), format!("{KEY}@acme.example"));
    }
}

#[tokio::test]
async fn a_files_own_line_ends_end_no_message() {
    let server = smtp::Server::start().await;
    let mut input = letter();
    let content = b"a\n.\nMAIL FROM:<evil@example.com>\n";
    let base64 = base64::engine::general_purpose::STANDARD.encode(content);
    input["text"] = json!("one\rtwo\r\nthree\nfour");
    input["attachments"] = json!([{ "filename": "a.txt", "content_type": "text/plain", "base64": base64 }]);
    let actions = actions(&connection(&sending(&server), "secret"));
    let call = call(&actions, &input);
    assert!(matches!(actions.perform(&call).await, Performed::Done(_)));
    let taken = server.taken.lock().unwrap();
    let [message] = &taken.messages[..] else {
        panic!("{} messages", taken.messages.len());
    };
    assert!(
        message.contains(&base64) && !message.contains("evil"),
        "{message}"
    );
    let lines = message
        .lines()
        .filter(|line| ["one", "two", "three", "four"].contains(line));
    assert_eq!(lines.count(), 4, "{message}");
}

#[test]
fn an_input_adds_no_header_and_names_what_is_wrong() {
    let actions = actions(&connection(
        &json!({ "from": "a@acme.example", "smtp": { "host": "127.0.0.1" } }),
        "secret",
    ));
    for (field, value) in [
        ("to", json!(["ada@example.com\r\nBcc: evil@example.com"])),
        ("to", json!(["nobody"])),
        ("to", json!([])),
        ("subject", json!("x\r\nBcc: evil@example.com")),
        ("in_reply_to", json!("<a@b>\r\nX: y")),
        ("attachments", json!([{ "filename": "a\r\nb", "base64": "" }])),
    ] {
        let mut input = letter();
        input[field] = value;
        let error = actions.check("send", input.as_object().unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{error:?}");
        assert!(error.message().contains(field), "{error:?}");
    }
    let mut silent = letter();
    silent.as_object_mut().unwrap().remove("text");
    assert!(actions.check("send", silent.as_object().unwrap()).is_err());
}

#[tokio::test]
async fn the_suite_of_sources_holds_for_folders() {
    let server = imap::Server::start().await;
    server.folder("INBOX", |folder| {
        (0..205).for_each(|number| folder.put(mail(number)));
    });
    server.folder("Work/&BkUGMQYzBkQ-", |folder| {
        (300..303).for_each(|number| folder.put(mail(number)));
    });
    server.folder("Empty", |_| {});
    server.folder("Junk", |folder| {
        folder.attributes = "\\Junk";
        folder.put(mail(999));
    });
    let source = source(&connection(&reading(&server, &json!({})), "secret"));
    let modes = [ReadMode::FullRefresh, ReadMode::Incremental];
    conformance::source(source.as_ref(), "messages", &modes, 208)
        .await
        .unwrap();
    let folders = &[ReadMode::FullRefresh];
    conformance::source(source.as_ref(), "folders", folders, 4)
        .await
        .unwrap();
    let asked = server.state.asked.lock().unwrap();
    assert!(
        !asked
            .iter()
            .any(|command| command.starts_with("SELECT") || command.contains(" BODY["))
    );
}

#[tokio::test]
async fn a_folder_with_another_validity_is_read_again_and_it_is_said() {
    let server = imap::Server::start().await;
    server.folder("INBOX", |folder| {
        (0..3).for_each(|number| folder.put(mail(number)));
    });
    let source = source(&connection(&reading(&server, &json!({})), "secret"));
    let first = read(source.as_ref(), None).await;
    assert_eq!(subjects(&first), ["0", "1", "2"]);
    server.folder("INBOX", |folder| folder.put(mail(3)));
    let second = read(source.as_ref(), Some(first.state)).await;
    assert_eq!(subjects(&second), ["3"]);
    assert!(second.notices.is_empty());
    server.folder("INBOX", |folder| {
        *folder = imap::Folder::new(8);
        (10..12).for_each(|number| folder.put(mail(number)));
    });
    let third = read(source.as_ref(), Some(second.state)).await;
    assert_eq!(subjects(&third), ["10", "11"]);
    assert!(
        third.notices[0].contains("UIDVALIDITY 7 is now 8"),
        "{:?}",
        third.notices
    );
    let again = read(source.as_ref(), Some(third.state)).await;
    assert!(again.records.is_empty() && again.notices.is_empty() && again.error.is_none());
}

#[tokio::test]
async fn a_broken_connection_is_made_again_in_the_middle_of_a_folder() {
    let server = imap::Server::start().await;
    server.folder("INBOX", |folder| {
        (0..450).for_each(|number| folder.put(mail(number)));
    });
    // In the second page.
    server.state.cut_after.store(300, Ordering::SeqCst);
    let source = source(&connection(&reading(&server, &json!({})), "secret"));
    let done = read(source.as_ref(), None).await;
    assert!(done.error.is_none(), "{:?}", done.error);
    assert_eq!(done.records.len(), 450);
    assert_eq!(server.state.logins.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn what_is_refused_is_not_taken_for_empty() {
    let server = imap::Server::start().await;
    server.folder("INBOX", |folder| {
        (0..3).for_each(|number| folder.put(mail(number)));
    });
    let source = source(&connection(&reading(&server, &json!({})), "secret"));
    for command in ["LIST", "EXAMINE", "UID SEARCH", "UID FETCH"] {
        *server.state.refuses_at.lock().unwrap() = Some(command);
        let cut = read(source.as_ref(), None).await;
        assert!(cut.error.is_some() && cut.records.is_empty(), "{command}");
        assert!(cut.state.slices.is_empty(), "{command}: {:?}", cut.state);
    }
    *server.state.refuses_at.lock().unwrap() = None;
    assert_eq!(read(source.as_ref(), None).await.records.len(), 3);
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up() {
    let server = imap::Server::start().await;
    server.folder("INBOX", |folder| folder.put(mail(1)));
    for command in ["LOGIN", "LIST", "EXAMINE", "UID SEARCH", "UID FETCH"] {
        *server.state.hangs_at.lock().unwrap() = Some(command);
        let source = source(&connection(&reading(&server, &json!({})), "secret"));
        let error = read(source.as_ref(), None).await.error.unwrap();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{command}: {error:?}");
    }
}

#[tokio::test]
async fn a_check_says_what_is_wrong() {
    let server = imap::Server::start().await;
    server.folder("INBOX", |_| {});
    let checked = async |config: &Value, password: &str| source(&connection(config, password)).check().await;
    checked(&reading(&server, &json!({})), "secret").await.unwrap();
    let error = checked(&reading(&server, &json!({})), "wr0ng-one")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth, "{error:?}");
    assert!(!format!("{error:?}").contains("wr0ng-one"), "{error:?}");
    let error = checked(&reading(&server, &json!({ "folders": ["Inbocks"] })), "secret")
        .await
        .unwrap_err();
    assert!(format!("{error:?}").contains("INBOX"), "{error:?}");
    for (tls, contains) in [("tls", "does not speak TLS"), ("starttls", "no STARTTLS")] {
        let error = checked(&reading(&server, &json!({ "tls": tls })), "secret")
            .await
            .unwrap_err();
        assert!(format!("{error:?}").contains(contains), "{tls}: {error:?}");
    }
    let nobody = json!({ "imap": { "host": "127.0.0.1", "port": 1, "tls": "none" } });
    let error = checked(&nobody, "secret").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(format!("{error:?}").contains("port"), "{error:?}");
}

#[tokio::test]
async fn mail_leaves_this_machine_encrypted() {
    let patience = Patience::resolve(
        &Default::default(),
        &Default::default(),
        &ReliabilityDefaults::default(),
    );
    let settings = ClientSettings::new(HostRules::open(true), patience.unwrap());
    let dialer = Dialer::new(&settings);
    let place = Place {
        host: "10.11.12.13".to_owned(),
        port: 25,
        tls: Security::None,
        unencrypted: false,
    };
    let error = dialer.open(&place).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
    let metadata = Place {
        host: "169.254.169.254".to_owned(),
        tls: Security::Tls,
        ..place
    };
    assert_eq!(
        dialer.open(&metadata).await.unwrap_err().kind(),
        ErrorKind::Denied
    );
}

#[test]
fn a_refusals_status_is_that_of_http() {
    let status = |code, words: &str, stage| {
        Refusal {
            code,
            words: words.to_owned(),
            stage,
            server: "smtp",
        }
        .status()
    };
    assert_eq!(status(535, "", Stage::Sender), 401);
    assert_eq!(status(550, "", Stage::Login), 401);
    assert_eq!(status(550, "5.1.1 unknown", Stage::Recipient(String::new())), 422);
    assert_eq!(status(550, "5.7.1 no", Stage::Content), 403);
    assert_eq!(status(554, "5.3.4 big", Stage::Content), 413);
    assert_eq!(status(450, "", Stage::Content), 425);
}

fn record_of(raw: &[u8], is_partial: bool) -> Value {
    let facts = Facts {
        uid: 3,
        size: u32::try_from(raw.len()).unwrap(),
        flags: vec!["seen".to_owned()],
        received_at: Some(1_795_000_000),
    };
    let source = record::Source {
        folder: "INBOX",
        validity: 7,
        facts: &facts,
        is_partial,
        attachment_bytes_max: 10,
    };
    serde_json::from_slice(&record::json(&source, raw).unwrap()).unwrap()
}

#[test]
fn a_message_is_read_with_its_parts() {
    let raw = "From: =?UTF-8?B?2LPYp9ix2Kk=?= <sara@example.com>\r\nTo: b@example.com, \"C, D\" <c@example.com>\r\n\
        Subject: =?windows-1256?Q?=E3=D1=CD=C8=C7?=\r\nMessage-ID: <1@x>\r\nIn-Reply-To: <0@x>\r\nReferences: <r@x> <0@x>\r\n\
        Date: Sun, 22 Nov 2026 12:00:00 +0200\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
        --b\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nGr=FC=DFe\r\n\
        --b\r\nContent-Type: application/pdf; name=\"a.pdf\"\r\nContent-Disposition: attachment\r\nContent-Transfer-Encoding: base64\r\n\r\nJVBERg==\r\n\
        --b\r\nContent-Type: text/csv\r\nContent-Disposition: attachment; filename=big.csv\r\n\r\na,b,c,d,e,f,g,h\r\n--b--\r\n";
    let record = record_of(raw.as_bytes(), false);
    assert_eq!(
        record["from"],
        json!([{ "name": "سارة", "address": "sara@example.com" }])
    );
    assert_eq!(
        record["to"][1],
        json!({ "name": "C, D", "address": "c@example.com" })
    );
    assert_eq!(record["subject"], "مرحبا");
    assert_eq!(record["date"], "2026-11-22T10:00:00Z");
    assert_eq!(
        (
            &record["message_id"],
            &record["in_reply_to"],
            &record["references"]
        ),
        (&json!("1@x"), &json!("0@x"), &json!(["r@x", "0@x"]))
    );
    assert_eq!(record["text"].as_str().unwrap().trim_end(), "Grüße");
    assert_eq!(record["html"], Value::Null);
    let [pdf, csv] = &record["attachments"].as_array().unwrap()[..] else {
        panic!("{record:#}");
    };
    assert_eq!(
        (&pdf["name"], &pdf["size"], &pdf["base64"]),
        (&json!("a.pdf"), &json!(4), &json!("JVBERg=="))
    );
    assert_eq!(
        pdf["sha256"],
        "315d429b7714cedb6ad04ac31240145257692630457f3c88253c5beceac76027"
    );
    assert_eq!((&csv["name"], &csv["base64"]), (&json!("big.csv"), &Value::Null));
    let header = record_of(raw.as_bytes(), true);
    assert_eq!(
        (&header["is_partial"], &header["text"], &header["subject"]),
        (&json!(true), &Value::Null, &json!("مرحبا"))
    );
}

#[test]
fn broken_messages_are_records_all_the_same() {
    for raw in [
        &b""[..],
        b"\r\n\r\n",
        b"no header at all",
        b"Date: yesterday, more or less\r\nSubject: =?klingon?B?!!!?=\r\n\r\n\xff\xfe\x00",
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n--x\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x",
        b"Content-Type: text/plain; charset=utf-7\r\nContent-Transfer-Encoding: base64\r\n\r\n$$$$",
        b"Date: Sun, 32 Foo 99999 99:99:99 +9999\r\nFrom: <<<>>>,,,;:\r\n\r\nx",
    ] {
        let record = record_of(raw, false);
        assert_eq!(record["uid"], 3);
        assert_eq!(record["received_at"], "2026-11-18T11:06:40Z");
    }
}

proptest! {
    #[test]
    fn no_bytes_stop_a_sync(raw in prop::collection::vec(any::<u8>(), 0..2_000), is_partial in any::<bool>()) {
        prop_assert_eq!(&record_of(&raw, is_partial)["folder"], "INBOX");
    }

    #[test]
    fn no_part_of_a_message_stops_a_sync(
        headers in prop::collection::vec(prop::sample::select(vec![
            "Content-Type: multipart/mixed; boundary=b", "Content-Type: message/rfc822", "Content-Transfer-Encoding: base64",
            "Content-Transfer-Encoding: quoted-printable", "Subject: =?utf-8?Q?=", "From: \"", "Date: Mon, 1 Jan", "--b", "--b--", "",
            "Content-Type: text/html; charset=utf-16", "Content-Disposition: attachment; filename*0*=utf-8''%ff",
        ]), 0..30),
        noise in ".{0,100}",
    ) {
        let raw = format!("{}\r\n\r\n{noise}", headers.join("\r\n"));
        prop_assert_eq!(&record_of(raw.as_bytes(), false)["uidvalidity"], 7);
    }

    #[test]
    fn no_text_adds_a_header(subject in "[\\PC\\r\\n]{0,60}", name in "[\\PC\\r\\n]{0,40}") {
        let json = json!({
            "from": format!("{name} <a@example.com>"), "to": ["b@example.com"], "subject": subject, "text": "x", "message_id": "1@x",
        });
        let letter = Letter::parse(json.to_string().as_bytes()).unwrap();
        if let Ok(message) = letter.message() {
            let bytes = message.formatted();
            let text = String::from_utf8_lossy(&bytes);
            let head = text.split("\r\n\r\n").next().unwrap();
            let allowed = ["from", "to", "subject", "date", "message-id", "content-type", "content-transfer-encoding", "mime-version"];
            for line in head.split("\r\n").filter(|line| !line.starts_with([' ', '\t'])) {
                let field = line.split(':').next().unwrap().to_ascii_lowercase();
                prop_assert!(allowed.contains(&field.as_str()), "{line}");
            }
        }
    }
}

#[test]
fn a_state_change_is_one_mark_a_folder() {
    let mut state = StreamState::default();
    for uid in 0..1_000 {
        let mark = marks::Mark { validity: 1, uid };
        state.apply(StateChange::Slice {
            key: Arc::from("a"),
            state: weir_protocol::SliceState {
                cursor: Some(mark.cursor()),
                ..Default::default()
            },
        });
    }
    assert!(serde_json::to_string(&state).unwrap().len() < 200);
}

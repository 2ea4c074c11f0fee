use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use weir_protocol::hook::Message;

use super::*;
use crate::DEFAULT_TENANT;
use crate::events::{self, EventFilter, Family};
use crate::store::testing;

/// Takes everything; the body's first word is the id.
struct Trusting;

impl Receiver for Trusting {
    fn take(&self, arrived: &Arrived) -> Result<Taken> {
        if arrived.method == "GET" {
            return Ok(Taken::Answer("here".to_owned()));
        }
        let body = String::from_utf8(arrived.body.to_vec()).unwrap();
        let messages = body.split_whitespace().map(|id| Message {
            id: id.to_owned(),
            kind: Some("made".to_owned()),
            body: format!("{{\"n\":\"{id}\"}}"),
            tells_body: id != "c",
        });
        Ok(Taken::Messages(messages.collect()))
    }
}

#[async_trait]
impl Receivers for Trusting {
    async fn receiver(&self, _tenant: &str, connection: &str) -> Result<Arc<dyn Receiver>> {
        match connection {
            "shop" | "till" => Ok(Arc::new(Self)),
            "broken" => Err(Error::spec("connections/broken.yaml: secret stuff").hint("mend it")),
            _ => Err(Error::not_found("no such connection; there are shop, till").hint("use shop")),
        }
    }
}

fn post(body: &str) -> Arrived {
    Arrived {
        method: "POST".to_owned(),
        url: String::new(),
        headers: Vec::new(),
        body: Bytes::copy_from_slice(body.as_bytes()),
        at: Timestamp::from_second(1_800_000_000).unwrap(),
    }
}

struct World {
    _folder: tempfile::TempDir,
    store: Store,
    desk: Desk,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = testing::store(folder.path()).await;
        Self {
            desk: Desk::new(&store, Arc::new(Trusting)),
            _folder: folder,
            store,
        }
    }

    async fn send(&self, connection: &str, body: &str) {
        let answer = self.desk.take(DEFAULT_TENANT, connection, &post(body)).await;
        assert_eq!(answer.unwrap(), None);
    }

    fn inbox(&self, connection: &str) -> StoredInbox {
        StoredInbox::new(&self.store, DEFAULT_TENANT, connection)
    }

    async fn ids(&self, connection: &str) -> Vec<String> {
        let all = self.inbox(connection).after(0, READ_MAX).await.unwrap();
        assert!(all.is_sorted_by(|one, other| one.place < other.place));
        all.into_iter().map(|message| message.id).collect()
    }
}

#[tokio::test]
async fn a_message_is_kept_once_and_told_once() {
    let world = World::new().await;
    world.send("shop", "a b").await;
    world.send("shop", "b c").await;
    world.send("till", "a").await;
    assert_eq!(world.ids("shop").await, ["a", "b", "c"]);
    assert_eq!(world.ids("till").await, ["a"]);
    let filter = EventFilter {
        family: Some(Family::HookReceived.as_str().to_owned()),
        limit: 100,
        ..EventFilter::default()
    };
    let told = events::list(&world.store, DEFAULT_TENANT, &filter).await.unwrap();
    let told: BTreeSet<String> = told
        .iter()
        .map(|event| {
            format!(
                "{} {} {} {}",
                event.subject,
                event.data["message"],
                event.data["type"],
                event.data.get("body").unwrap_or_default()
            )
        })
        .collect();
    insta::assert_snapshot!(told.into_iter().collect::<Vec<_>>().join("\n"), @r#"
    connection:shop "a" "made" {"n":"a"}
    connection:shop "b" "made" {"n":"b"}
    connection:shop "c" "made" null
    connection:till "a" "made" {"n":"a"}
    "#);
}

#[tokio::test]
async fn nobody_learns_what_else_there_is() {
    let world = World::new().await;
    let take = async |connection: &str| {
        let answer = world.desk.take(DEFAULT_TENANT, connection, &post("a")).await;
        answer.unwrap_err()
    };
    let unknown = take("safe").await;
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
    assert!(!format!("{unknown:?}").contains("till"));
    let broken = take("broken").await;
    assert_eq!(broken.kind(), ErrorKind::Unavailable);
    assert!(!format!("{broken:?}").contains("secret stuff"));
    let mut asked = post("");
    asked.method = "GET".to_owned();
    let answer = world.desk.take(DEFAULT_TENANT, "shop", &asked).await.unwrap();
    assert_eq!(answer.as_deref(), Some("here"));
    assert!(world.ids("shop").await.is_empty());
}

/// Whoever reads on from the newest place that it saw misses none, while several servers write.
#[tokio::test(flavor = "multi_thread")]
async fn a_burst_at_several_servers_is_read_on_without_a_gap() {
    const SERVERS: usize = 3;
    const MESSAGES: usize = 60;
    let world = World::new().await;
    let mut senders = tokio::task::JoinSet::new();
    for server in 0..SERVERS {
        let desk = Desk::new(&world.store, Arc::new(Trusting));
        for message in 0..MESSAGES {
            let desk = desk.clone();
            senders.spawn(async move {
                let body = format!("s{server}m{message} common{message}");
                desk.take(DEFAULT_TENANT, "shop", &post(&body)).await.unwrap();
            });
        }
    }
    let inbox = world.inbox("shop");
    let (mut place, mut seen) = (0, Vec::new());
    let mut read = async || {
        for message in inbox.after(place, 7).await.unwrap() {
            place = message.place;
            seen.push(message.id);
        }
        seen.len()
    };
    while !senders.is_empty() {
        read().await;
        while let Some(ended) = senders.try_join_next() {
            ended.unwrap();
        }
    }
    let whole = SERVERS * MESSAGES + MESSAGES;
    while read().await < whole {}
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), whole);
    assert_eq!(seen.len(), whole);
}

#[tokio::test]
async fn what_is_in_the_lake_is_removed_when_it_is_old() {
    let world = World::new().await;
    world.send("shop", "a b c").await;
    let inbox = world.inbox("shop");
    testing::execute(&world.store, "UPDATE received SET received_at_ms = 1").await;
    assert_eq!(prune(&world.store, 100).await.unwrap(), 0, "nothing has landed");
    let places: Vec<i64> = inbox
        .after(0, 9)
        .await
        .unwrap()
        .iter()
        .map(|message| message.place)
        .collect();
    inbox.landed(places[1]).await.unwrap();
    inbox.landed(places[0]).await.unwrap();
    // Further than anything that was received: a state of something else.
    inbox.landed(places[2] + 1).await.unwrap();
    testing::execute(
        &world.store,
        "UPDATE received SET received_at_ms = 9000000000000 WHERE id = 'a'",
    )
    .await;
    assert_eq!(prune(&world.store, 100).await.unwrap(), 1);
    assert_eq!(world.ids("shop").await, ["a", "c"]);
    // What is kept is known again; what is not any more is a new message.
    world.send("shop", "a d").await;
    assert_eq!(world.ids("shop").await, ["a", "c", "d"]);
}

/// The lake has read on to a place; what is received afterwards comes behind it.
#[tokio::test]
async fn a_store_that_was_made_anew_goes_on_behind_what_was_read() {
    let world = World::new().await;
    world.send("shop", "a b").await;
    let read_to = world.inbox("shop").after(0, 9).await.unwrap()[1].place;
    testing::execute(&world.store, "DELETE FROM received").await;
    testing::execute(&world.store, "DELETE FROM hooks").await;
    world.send("shop", "c").await;
    let later = world.inbox("shop").after(read_to, 9).await.unwrap();
    assert_eq!(later.len(), 1);
}

#[tokio::test]
async fn a_page_ends_where_it_is_large() {
    let world = World::new().await;
    let ids: Vec<String> = (0..40).map(|n| format!("m{n}")).collect();
    world.send("shop", &ids.join(" ")).await;
    let large = "x".repeat(1 << 20);
    testing::execute(&world.store, &format!("UPDATE received SET body = '{large}'")).await;
    let inbox = world.inbox("shop");
    let (mut place, mut seen) = (0, Vec::new());
    loop {
        let page = inbox.after(place, 500).await.unwrap();
        let Some(last) = page.last() else { break };
        place = last.place;
        assert!(page.len() <= 40);
        seen.extend(page.into_iter().map(|message| message.id));
    }
    assert_eq!(seen, ids);
}

#[tokio::test]
async fn what_no_sync_reads_is_given_up_after_a_time_and_the_trail_says_so() {
    let world = World::new().await;
    world.send("shop", "a b").await;
    world.send("till", "c").await;
    assert_eq!(give_up(&world.store, 100).await.unwrap(), 0, "it is young");
    testing::execute(
        &world.store,
        "UPDATE received SET received_at_ms = 1 WHERE id <> 'b'",
    )
    .await;
    let places = world.inbox("till").after(0, 9).await.unwrap();
    world.inbox("till").landed(places[0].place).await.unwrap();
    assert_eq!(give_up(&world.store, 100).await.unwrap(), 1);
    assert_eq!(world.ids("shop").await, ["b"]);
    assert_eq!(world.ids("till").await, ["c"], "it is in the lake");
    let filter = audit::EntryFilter {
        action: Some("hook.give_up".to_owned()),
        limit: 50,
        ..Default::default()
    };
    let noted = audit::list(&world.store, DEFAULT_TENANT, &filter).await.unwrap();
    assert_eq!(noted.len(), 1);
    assert!(noted[0].subject.contains("shop") && noted[0].details.contains("\"messages\":1"));
}

/// The store refuses one message; those beside it are stored, and it is held with its bytes.
#[tokio::test]
async fn a_message_that_cannot_be_stored_holds_up_nobody() {
    let world = World::new().await;
    if testing::server().is_some() {
        // There only a table's owner may make it refuse a row, which weir's own role is not.
        return;
    }
    let poison = "CREATE TRIGGER poison BEFORE INSERT ON received WHEN NEW.id = 'bad'
                  BEGIN SELECT RAISE(ABORT, 'not this one'); END";
    testing::execute(&world.store, poison).await;
    let sent = ["one", "bad", "two"].map(|id| {
        let desk = world.desk.clone();
        tokio::spawn(async move { desk.take(DEFAULT_TENANT, "shop", &post(id)).await })
    });
    for sent in sent {
        sent.await.unwrap().unwrap();
    }
    let mut all = world.inbox("shop").after(0, 9).await.unwrap();
    all.sort_by(|one, other| one.id.cmp(&other.id));
    assert_eq!(all.len(), 3);
    assert_eq!(all[0].kind.as_deref(), Some("weir.held"));
    assert!(all[0].body.contains("eyJuIjoiYmFkIn0="), "{}", all[0].body);
    assert_eq!((all[1].id.as_str(), all[2].id.as_str()), ("one", "two"));
    world.send("shop", "bad").await;
    assert_eq!(world.ids("shop").await.len(), 3, "sent again, it is the same");
}

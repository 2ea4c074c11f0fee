use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_protocol::ErrorKind;
use weir_protocol::permits::{BreakerTold, Rate, Spent, Use};

use super::*;
use crate::DEFAULT_TENANT;
use crate::events::{self, EventFilter};
use crate::store::testing;

const HOUR_MS: u64 = 3_600_000;

struct World {
    _folder: tempfile::TempDir,
    store: Store,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = testing::store(folder.path()).await;
        Self {
            _folder: folder,
            store,
        }
    }

    fn permits(&self, urgency: Urgency) -> ConnectionPermits {
        ConnectionPermits::new(&self.store, DEFAULT_TENANT, "shop", urgency)
    }
}

fn draw(client: &str, batch: &str, requests: u32, per_ms: u64, wanted: u32) -> Draw {
    Draw {
        rates: vec![Rate { requests, per_ms }],
        batch: batch.to_owned(),
        client: client.to_owned(),
        least: 1,
        wanted,
        ..Draw::default()
    }
}

fn permits(drawn: Drawn) -> u32 {
    match drawn {
        Drawn::Permits { permits, .. } => permits,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_drawn_twice_is_given_once_and_what_was_not_used_comes_back() {
    let world = World::new().await;
    let shop = world.permits(Urgency::Sync);
    let first = draw("a", "1", 80, HOUR_MS, 10);
    assert_eq!(permits(shop.draw(&first).await.unwrap()), 10);
    assert_eq!(
        permits(shop.draw(&first).await.unwrap()),
        10,
        "the answer was lost"
    );
    // 76 are for syncs; each draw takes ten at most.
    let mut left = 76 - 10;
    let mut names = 0;
    loop {
        let name = format!("b{names}");
        match shop.draw(&draw("b", &name, 80, HOUR_MS, 100)).await.unwrap() {
            Drawn::Permits { permits, .. } => left -= permits,
            Drawn::Wait { .. } => break,
            Drawn::Held { .. } | Drawn::Shut { .. } => panic!("held"),
        }
        names += 1;
    }
    assert_eq!(left, 0);
    let told = Draw {
        spent: Some(Spent {
            batch: "1".to_owned(),
            uses: vec![
                Use {
                    ago_ms: 0,
                    permits: 4,
                },
                Use {
                    ago_ms: 0,
                    permits: 3,
                },
            ],
        }),
        ..draw("a", "2", 80, HOUR_MS, 10)
    };
    // Told twice, three came back once.
    assert_eq!(permits(shop.draw(&told).await.unwrap()), 3);
    assert_eq!(permits(shop.draw(&told).await.unwrap()), 3);
    assert!(matches!(
        shop.draw(&draw("a", "3", 80, HOUR_MS, 1)).await.unwrap(),
        Drawn::Wait { .. }
    ));
    // Another connection, another limit and another tenant have their own.
    let other = ConnectionPermits::new(&world.store, DEFAULT_TENANT, "crm", Urgency::Sync);
    assert_eq!(
        permits(other.draw(&draw("a", "4", 80, HOUR_MS, 1)).await.unwrap()),
        1
    );
    let limit = Draw {
        limit: "api_budget/0".to_owned(),
        ..draw("a", "5", 80, HOUR_MS, 1)
    };
    assert_eq!(permits(shop.draw(&limit).await.unwrap()), 1);
}

#[tokio::test]
async fn a_wish_of_the_vendor_is_kept_by_all_and_the_longest_counts() {
    let world = World::new().await;
    let (one, other) = (world.permits(Urgency::Sync), world.permits(Urgency::Interactive));
    let unlimited = Draw {
        rates: Vec::new(),
        ..draw("b", "1", 1, 1, 1)
    };
    assert_eq!(permits(other.draw(&unlimited).await.unwrap()), u32::MAX);
    for hold_ms in [60_000, 5_000] {
        let told = Draw {
            hold_ms: Some(hold_ms),
            least: 0,
            ..draw("a", "", 80, HOUR_MS, 0)
        };
        one.draw(&told).await.unwrap();
    }
    for asked in [unlimited.clone(), draw("b", "2", 80, HOUR_MS, 1)] {
        let Drawn::Held { wait_ms } = other.draw(&asked).await.unwrap() else {
            panic!("not held")
        };
        assert!((50_000..=60_000).contains(&wait_ms), "{wait_ms}");
    }
    let wrong = Draw {
        hold_ms: Some(u64::MAX),
        least: 0,
        ..draw("a", "", 80, HOUR_MS, 0)
    };
    one.draw(&wrong).await.unwrap();
    let Drawn::Held { wait_ms } = other.draw(&unlimited).await.unwrap() else {
        panic!("not held")
    };
    assert!((3_590_000..=3_600_000).contains(&wait_ms), "{wait_ms}");
    testing::execute(&world.store, "UPDATE rate_limits SET held_until_ms = 1").await;
    assert_eq!(permits(other.draw(&unlimited).await.unwrap()), u32::MAX);
}

#[tokio::test]
async fn syncs_make_way_for_who_waits_for_an_answer() {
    let world = World::new().await;
    let (sync, person) = (world.permits(Urgency::Sync), world.permits(Urgency::Interactive));
    let per_ms = 5_000;
    assert_eq!(
        permits(sync.draw(&draw("a", "1", 8, per_ms, 8)).await.unwrap()),
        1
    );
    assert_eq!(
        permits(person.draw(&draw("p", "2", 8, per_ms, 1)).await.unwrap()),
        1
    );
    for name in ["3", "4", "5", "6", "7"] {
        assert_eq!(
            permits(sync.draw(&draw("a", name, 8, per_ms, 1)).await.unwrap()),
            1
        );
    }
    assert!(matches!(
        sync.draw(&draw("a", "8", 8, per_ms, 1)).await.unwrap(),
        Drawn::Wait { wait_ms: 2_001.. }
    ));
    assert_eq!(
        permits(person.draw(&draw("p", "9", 8, per_ms, 1)).await.unwrap()),
        1
    );
}

#[tokio::test]
async fn what_cannot_be_a_rate_is_refused() {
    let world = World::new().await;
    let shop = world.permits(Urgency::Sync);
    for bad in [
        draw("a", "1", 0, 1_000, 1),
        draw("a", "1", 1, 0, 1),
        draw("a", "1", 1, u64::MAX, 1),
        Draw {
            least: 2,
            ..draw("a", "1", 1, 1_000, 2)
        },
        draw("a", &"x".repeat(101), 1, 1_000, 1),
    ] {
        assert_eq!(shop.draw(&bad).await.unwrap_err().kind(), ErrorKind::Usage);
    }
}

#[tokio::test]
async fn a_clock_that_was_put_back_holds_nobody_up() {
    let world = World::new().await;
    let shop = world.permits(Urgency::Sync);
    assert_eq!(permits(shop.draw(&draw("a", "1", 1, 1_000, 1)).await.unwrap()), 1);
    let ahead = "UPDATE permits SET until_ms = until_ms + 3600000, gone_at_ms = gone_at_ms + 3600000";
    testing::execute(&world.store, ahead).await;
    assert_eq!(permits(shop.draw(&draw("b", "2", 1, 1_000, 1)).await.unwrap()), 1);
}

/// One process that sends as much as it may, as the engine's client does: when it sent.
async fn send(
    shop: ConnectionPermits,
    client: String,
    rate: (u32, u64),
    until: Instant,
) -> (Vec<Instant>, u32) {
    let (mut sent, mut draws) = (Vec::new(), 0);
    let mut spent: Option<Spent> = None;
    let mut number = 0;
    while Instant::now() < until {
        let batch = format!("{client}-{number}");
        number += 1;
        draws += 1;
        let asked = Draw {
            spent: spent.take(),
            ..draw(&client, &batch, rate.0, rate.1, 1_000)
        };
        match shop.draw(&asked).await.unwrap() {
            Drawn::Permits { permits, in_ms, .. } => {
                tokio::time::sleep(Duration::from_millis(in_ms)).await;
                sent.extend((0..permits).map(|_| Instant::now()));
                let uses = vec![Use { ago_ms: 0, permits }];
                spent = Some(Spent { batch, uses });
            }
            Drawn::Wait { wait_ms } => tokio::time::sleep(Duration::from_millis(wait_ms)).await,
            Drawn::Held { .. } | Drawn::Shut { .. } => panic!("held"),
        }
    }
    (sent, draws)
}

#[tokio::test(flavor = "multi_thread")]
async fn three_processes_together_reach_the_rate_and_never_pass_it() {
    let world = World::new().await;
    let (requests, per_ms, windows) = (40_u32, 500_u64, 4_u32);
    let began = Instant::now();
    let until = began + Duration::from_millis(per_ms) * windows;
    let tasks: Vec<_> = (0..3)
        .map(|index| {
            let shop = world.permits(Urgency::Sync);
            tokio::spawn(send(shop, format!("client{index}"), (requests, per_ms), until))
        })
        .collect();
    let (mut sent, mut draws) = (Vec::new(), 0);
    for task in tasks {
        let (times, drawn) = task.await.unwrap();
        sent.extend(times.into_iter().filter(|at| *at < until));
        draws += drawn;
    }
    sent.sort_unstable();
    let window = Duration::from_millis(per_ms);
    for (index, start) in sent.iter().enumerate() {
        let within = sent[index..]
            .iter()
            .take_while(|at| **at - *start < window)
            .count();
        assert!(within <= requests as usize, "{within} in a window");
    }
    let share = sent.len() as f64 / f64::from(requests * windows);
    println!(
        "{:.1} % of the rate, {draws} draws for {} requests",
        share * 100.0,
        sent.len()
    );
    // A slow machine loses some of it; a count that loses permits would lose most.
    assert!(share >= 0.6, "{share}");
    assert!((draws as usize) < sent.len() / 2, "{draws} draws");
}

#[tokio::test]
async fn a_window_of_a_day_holds_few_rows() {
    let world = World::new().await;
    let shop = Arc::new(world.permits(Urgency::Sync));
    let mut spent = None;
    for number in 0..50 {
        let batch = number.to_string();
        let asked = Draw {
            spent: spent.take(),
            ..draw("a", &batch, 10_000, 24 * HOUR_MS, 3)
        };
        assert_eq!(permits(shop.draw(&asked).await.unwrap()), 3);
        let uses = vec![Use {
            ago_ms: 0,
            permits: 3,
        }];
        spent = Some(Spent { batch, uses });
    }
    let rows: i64 = world
        .store
        .read(Scope::Tenant(DEFAULT_TENANT), "count", |db, _| {
            Box::pin(async move {
                let rows = sqlx::query_scalar("SELECT count(*) FROM permits");
                Ok(rows.fetch_one(db).await?)
            })
        })
        .await
        .unwrap();
    assert!(rows <= 3, "{rows} rows");
}

#[tokio::test]
async fn a_breaker_is_told_of_once_for_all_processes_and_ends_with_the_first_answer() {
    let world = World::new().await;
    let shop = world.permits(Urgency::Sync);
    let tell = async |client: &str, is_open: bool| {
        let told = Draw {
            client: client.to_owned(),
            breaker: Some(BreakerTold {
                is_open,
                for_ms: 30_000,
                reason: format!("the source answered 503 to {client}"),
            }),
            ..Draw::default()
        };
        shop.draw(&told).await.unwrap();
    };
    let events = async || -> Vec<String> {
        let filter = EventFilter {
            limit: 50,
            ..EventFilter::default()
        };
        let all = events::list(&world.store, DEFAULT_TENANT, &filter).await.unwrap();
        all.iter().rev().map(|event| event.family.clone()).collect()
    };
    tell("a", false).await;
    assert!(events().await.is_empty(), "none was open");
    tell("a", true).await;
    tell("b", true).await;
    tell("a", true).await;
    assert_eq!(events().await, ["breaker.opened"]);
    let asked_by = async |client: &str| {
        let asked = Draw {
            client: client.to_owned(),
            wanted: 1,
            least: 1,
            ..Draw::default()
        };
        shop.draw(&asked).await.unwrap()
    };
    let shut = asked_by("c").await;
    assert!(
        matches!(shut, Drawn::Shut { wait_ms } if (20_000..=30_000).contains(&wait_ms)),
        "{shut:?}"
    );
    let well = Draw {
        client: "d".to_owned(),
        is_well: true,
        ..Draw::default()
    };
    assert_eq!(permits(shop.draw(&well).await.unwrap()), u32::MAX);
    testing::execute(
        &world.store,
        "UPDATE breakers SET until_ms = 1 WHERE client = 'b'",
    )
    .await;
    // Its own probe is its own to make.
    assert_eq!(permits(asked_by("a").await), u32::MAX);
    tell("b", false).await;
    assert_eq!(permits(asked_by("c").await), u32::MAX);
    tell("a", false).await;
    assert_eq!(events().await, ["breaker.opened", "breaker.closed"]);
    // A process that died says nothing any more.
    tell("a", true).await;
    assert_eq!(sweep_breakers(&world.store).await.unwrap(), 0);
    testing::execute(&world.store, "UPDATE breakers SET until_ms = until_ms - 700000").await;
    assert_eq!(sweep_breakers(&world.store).await.unwrap(), 1);
    assert_eq!(sweep_breakers(&world.store).await.unwrap(), 0);
    assert_eq!(events().await.len(), 4);
}

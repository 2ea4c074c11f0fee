//! One project: what outlives the processes that work on it.

use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use object_store::memory::InMemory;
use serde_json::{Value, json};
use sqlx::{Connection as _, SqliteConnection};
use tokio::runtime::Runtime;
use weir_control::Store;
use weir_lake::Lake;
use weir_protocol::spec::{Contract, StreamPolicy};
use weir_protocol::{ReadMode, Secret, StreamDescriptor, SyncMode, WritePlan};

use super::desk::Desk;
use super::dice::Dice;
use super::flaw::Flaw;
use super::objects::Objects;
use super::shop::{Shared, Shop};

pub(super) const STREAM: &str = "items";
pub(super) const SOURCE: &str = "acme";
pub(super) const CONNECTION: &str = "shop";
pub(super) const TABLE: &str = "acme_items";
const START_MS: i64 = 1_800_000_000_000;

/// What a seed decides of the stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Conf {
    pub(super) mode: SyncMode,
    pub(super) is_keyed: bool,
    pub(super) is_partitioned: bool,
    pub(super) marks_rows: bool,
    pub(super) contract: Contract,
    /// A checkpoint is due after so many records.
    pub(super) rows: u64,
}

impl Conf {
    fn of(dice: &mut Dice) -> Self {
        let mode = dice.pick(&SyncMode::ALL);
        let needs_key = mode.needs_primary_key();
        Self {
            mode,
            is_keyed: needs_key || dice.percent(50),
            is_partitioned: dice.percent(25),
            marks_rows: dice.percent(30),
            contract: if dice.percent(40) {
                Contract::Quarantine
            } else {
                Contract::Evolve
            },
            rows: dice.between(2, 9),
        }
    }

    pub(super) fn stream(self) -> StreamDescriptor {
        StreamDescriptor {
            name: STREAM.to_owned(),
            entity: STREAM.to_owned(),
            schema: Some(schema(self.contract)),
            primary_key: if self.is_keyed {
                vec!["id".to_owned()]
            } else {
                Vec::new()
            },
            cursor_field: Some("at".to_owned()),
            mode: Some(self.mode),
            policy: StreamPolicy {
                contract: self.contract,
                partition_by: if self.is_partitioned {
                    vec!["part".to_owned()]
                } else {
                    Vec::new()
                },
                deletion_vectors: self.marks_rows,
                ..StreamPolicy::default()
            },
            ..StreamDescriptor::default()
        }
    }

    /// As a command that works on the table is given it.
    pub(super) fn plan(self) -> WritePlan {
        WritePlan {
            run: "maintenance".to_owned(),
            connection: CONNECTION.to_owned(),
            source: SOURCE.to_owned(),
            stream: self.stream(),
            mode: self.mode,
            restart: false,
            known_sequence: 0,
            memory_bytes: 64 << 20,
            started_at: jiff::Timestamp::UNIX_EPOCH,
        }
    }

    pub(super) fn reads_in_full(self) -> bool {
        self.mode.read() == ReadMode::FullRefresh
    }
}

/// Once the contract is mended, the schema names the field that it did not name before.
fn schema(contract: Contract) -> Value {
    let mut schema = json!({"type": "object", "properties": {
        "id": {"type": "integer"},
        "at": {"type": "integer"},
        "version": {"type": "integer"},
        "part": {"type": "string"},
        "total": {"type": "integer"},
    }});
    if contract == Contract::Evolve {
        schema["properties"]["note"] = json!({"type": "string"});
    }
    schema
}

/// What a process is given.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) shop: Shared,
    pub(super) objects: Objects,
    pub(super) store: PathBuf,
    pub(super) conf: Conf,
}

impl Place {
    pub(super) fn lake(&self) -> Lake {
        let key = Secret::new("a key for tests only, 32 bytes long");
        Lake::over(Arc::new(self.objects.clone()), key).unwrap()
    }
}

pub(super) struct World {
    pub(super) place: Place,
    pub(super) desk: Arc<Desk>,
    /// For what is done beside the processes.
    pub(super) runtime: Runtime,
    now_ms: i64,
    clock: SqliteConnection,
    _folder: tempfile::TempDir,
}

/// A store whose clock stands where it is put, as bytes: to be made once.
fn empty_store() -> &'static [u8] {
    static EMPTY: OnceLock<Vec<u8>> = OnceLock::new();
    EMPTY.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weir.db");
        let runtime = runtime();
        runtime.block_on(async {
            Store::open(&path).await.unwrap().close().await;
            let mut db = connect(&path).await;
            for statement in [
                "DROP VIEW clock",
                "CREATE TABLE sim_time (now_ms INTEGER NOT NULL) STRICT",
                "INSERT INTO sim_time VALUES (0)",
                "CREATE VIEW clock AS SELECT now_ms FROM sim_time",
                // Who took the stream, one after the other: a run may be made long before it has its turn.
                "CREATE TABLE sim_turns (turn INTEGER PRIMARY KEY, run TEXT NOT NULL) STRICT",
                "CREATE TRIGGER sim_first AFTER INSERT ON leases
                    BEGIN INSERT INTO sim_turns (run) VALUES (NEW.run); END",
                "CREATE TRIGGER sim_next AFTER UPDATE ON leases WHEN NEW.term > OLD.term
                    BEGIN INSERT INTO sim_turns (run) VALUES (NEW.run); END",
            ] {
                sqlx::query(statement).execute(&mut db).await.unwrap();
            }
            db.close().await.unwrap();
        });
        std::fs::read(&path).unwrap()
    })
}

fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

async fn connect(path: &FilePath) -> SqliteConnection {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    SqliteConnection::connect_with(&options).await.unwrap()
}

impl World {
    pub(super) fn new(dice: &mut Dice, flaw: Flaw) -> Self {
        let conf = Conf::of(dice);
        // Each whole read is appended: only of a shop that stands still can be said what comes of it.
        let is_still = conf.mode == SyncMode::FullRefreshAppend;
        let may_be_wrong = dice.percent(50);
        let shop = Shop::new(dice.fork(), !conf.is_keyed, is_still, may_be_wrong);
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("weir.db");
        std::fs::write(&store, empty_store()).unwrap();
        let runtime = runtime();
        let clock = runtime.block_on(connect(&store));
        let mut world = Self {
            place: Place {
                shop: Arc::new(Mutex::new(shop)),
                objects: Objects {
                    memory: Arc::new(InMemory::new()),
                    flaw,
                },
                store,
                conf,
            },
            desk: Arc::default(),
            runtime,
            now_ms: 0,
            clock,
            _folder: folder,
        };
        world.jump(START_MS);
        world
    }

    /// The run of each term of the stream's lease, in the order of the terms.
    pub(super) fn turns(&mut self) -> Vec<String> {
        let turns = sqlx::query_scalar("SELECT run FROM sim_turns ORDER BY turn");
        self.runtime.block_on(turns.fetch_all(&mut self.clock)).unwrap()
    }

    /// Moves the clock of the store, back too.
    pub(super) fn jump(&mut self, ms: i64) {
        self.now_ms += ms;
        let set = sqlx::query("UPDATE sim_time SET now_ms = $1").bind(self.now_ms);
        self.runtime.block_on(set.execute(&mut self.clock)).unwrap();
    }
}

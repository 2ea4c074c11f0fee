//! What only PostgreSQL is asked to do: keep tenants apart by itself, and come back.

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AnyConnection, Connection as _, Executor};
use weir_protocol::SyncMode;

use super::*;
use crate::runs::{self, Begin, Trigger};
use crate::{Connection, Owner, connections};

/// The store and a superuser beside it; None where no server is there.
async fn opened(folder: &Path) -> Option<(Store, PgConnection)> {
    testing::server()?;
    let place = testing::place(folder).await;
    let store = Store::connect(&place).await.unwrap();
    let Place::Postgres(url) = &place else {
        panic!("not PostgreSQL")
    };
    let options: PgConnectOptions = url.expose().parse().unwrap();
    let mut above = PgConnection::connect_with(&options).await.unwrap();
    above.execute("SET search_path = weir").await.unwrap();
    Some((store, above))
}

async fn begin_a_run(store: &Store, tenant: &str) -> String {
    let shop = Connection {
        tenant: tenant.to_owned(),
        ..Connection::new("shop", "http_json", "shop")
    };
    let streams = [("orders".to_owned(), SyncMode::IncrementalMerge)];
    let owner = Owner::this_process();
    let started = runs::start_sync(store, &shop, &streams, &Begin::Anew(Trigger::Person), &owner);
    started.await.unwrap().0
}

/// A table, and for each column a value that it takes.
struct Table {
    name: String,
    is_guarded: bool,
    values: Vec<(String, String)>,
}

impl Table {
    /// A row of the tenant.
    fn insertion(&self, tenant: &str) -> String {
        let whose = format!("'{tenant}'");
        let value = |(column, value): &(String, String)| match column.as_str() {
            "tenant" => whose.clone(),
            _ => value.clone(),
        };
        let columns: Vec<&str> = self.values.iter().map(|(column, _)| column.as_str()).collect();
        let values: Vec<String> = self.values.iter().map(value).collect();
        let (columns, values) = (columns.join(", "), values.join(", "));
        format!("INSERT INTO {} ({columns}) VALUES ({values})", self.name)
    }
}

/// All tables, as the catalogue has them: a new one is among them by itself.
async fn tables(above: &mut PgConnection) -> Vec<Table> {
    let columns: Vec<(String, bool, String, String, Option<String>)> = sqlx::query_as(
        "SELECT quote_ident(c.relname), c.relrowsecurity AND c.relforcerowsecurity
                AND EXISTS (SELECT 1 FROM pg_policy WHERE polrelid = c.oid),
             quote_ident(a.attname), format_type(a.atttypid, a.atttypmod),
             -- The first of the words that a column is bound to.
             (SELECT substring(pg_get_constraintdef(k.oid) FROM '''[^'']+''') FROM pg_constraint k
              WHERE k.conrelid = c.oid AND k.contype = 'c' AND k.conkey = ARRAY[a.attnum] LIMIT 1)
         FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
         WHERE c.relnamespace = 'weir'::regnamespace AND c.relkind IN ('r', 'p') AND c.relname <> '_sqlx_migrations'
         ORDER BY c.relname, a.attnum",
    )
    .fetch_all(above)
    .await
    .unwrap();
    let mut tables: Vec<Table> = Vec::new();
    for (name, is_guarded, column, kind, word) in columns {
        let value = match (kind.as_str(), word) {
            ("text", Some(word)) => word,
            ("text", None) => "'x'".to_owned(),
            ("bigint", _) => "1".to_owned(),
            (kind, _) => panic!("{name}.{column}: say here what a value of {kind} is"),
        };
        if tables.last().is_none_or(|last| last.name != name) {
            tables.push(Table {
                name,
                is_guarded,
                values: Vec::new(),
            });
        }
        let last = tables.last_mut().unwrap();
        last.values.push((column, value));
    }
    tables
}

/// How many rows a tenant reaches with a statement that names nobody.
async fn reached(store: &Store, tenant: &str, sql: &str) -> Result<u64> {
    let statement = store.statement(Scope::Tenant(tenant), "try", |db, _| {
        let sql = sql.to_owned();
        Box::pin(async move {
            let done = sqlx::query(sqlx::AssertSqlSafe(sql)).execute(db).await?;
            Ok(done.rows_affected())
        })
    });
    statement.await
}

#[tokio::test]
async fn every_table_hides_its_rows_from_other_tenants_and_takes_none_from_them() {
    let folder = tempfile::tempdir().unwrap();
    let Some((store, mut above)) = opened(folder.path()).await else {
        return;
    };
    // A row of a in each, whatever it would have to belong to.
    above
        .execute("SET session_replication_role = replica")
        .await
        .unwrap();
    let tables = tables(&mut above).await;
    assert!(tables.len() > 40, "{} tables", tables.len());
    for table in &tables {
        assert!(
            table.is_guarded,
            "{} has no forced row-level security",
            table.name
        );
        let row = table.insertion("a");
        let added = above.execute(sqlx::AssertSqlSafe(row)).await;
        added.unwrap_or_else(|error| panic!("{}: {error}", table.name));
    }
    for table in &tables {
        let name = table.name.as_str();
        let all = format!("SELECT * FROM {name}");
        let own = reached(&store, "a", &all).await.unwrap();
        assert_eq!(own, 1, "{name} hides a's row from a");
        let others = reached(&store, "b", &all).await.unwrap();
        assert_eq!(others, 0, "{name} shows b what a has");
        for change in [
            format!("UPDATE {name} SET tenant = tenant"),
            format!("DELETE FROM {name}"),
        ] {
            match reached(&store, "b", &change).await {
                Ok(rows) => assert_eq!(rows, 0, "b reached a's row: {change}"),
                // The audit trail is only added to.
                Err(error) => assert!(format!("{error:?}").contains("permission denied"), "{error:?}"),
            }
        }
        let planted = reached(&store, "b", &table.insertion("a")).await.unwrap_err();
        let why = format!("{planted:?}");
        assert!(why.contains("row-level security"), "{name}: {why}");
        let count = format!("SELECT count(*) FROM {name} WHERE tenant = 'a'");
        let rows: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(count))
            .fetch_one(&mut above)
            .await
            .unwrap();
        assert_eq!(rows, 1, "a has another row in {name}, or none, after b came by");
    }
}

#[tokio::test]
async fn what_a_tenant_began_is_there_for_it_alone() {
    let folder = tempfile::tempdir().unwrap();
    let Some((store, _above)) = opened(folder.path()).await else {
        return;
    };
    let run = begin_a_run(&store, "a").await;
    assert!(runs::get(&store, "b", &run).await.is_err());
    assert_eq!(runs::get(&store, "a", &run).await.unwrap().id, run);
    assert!(connections::list(&store, "b").await.unwrap().is_empty());
}

/// What one tenant's transaction does to another's rows with statements that forgot their WHERE.
#[tokio::test]
async fn a_statement_without_its_tenant_reaches_nobody_elses_rows() {
    let folder = tempfile::tempdir().unwrap();
    let Some((store, _above)) = opened(folder.path()).await else {
        return;
    };
    for tenant in ["a", "b"] {
        begin_a_run(&store, tenant).await;
    }
    let run_as_a = async |sql: &'static str| {
        let statement = store.statement(Scope::Tenant("a"), "try", |db, _| {
            Box::pin(async move { Ok(sqlx::query(sql).execute(db).await?.rows_affected()) })
        });
        statement.await
    };
    assert_eq!(run_as_a("UPDATE leases SET term = term + 1").await.unwrap(), 1);
    assert_eq!(run_as_a("DELETE FROM runs").await.unwrap(), 1);
    let theirs = run_as_a("UPDATE connections SET tenant = 'b', name = 'stolen'").await;
    assert!(theirs.is_err(), "a row was given to another tenant");
    run_as_a(
        "INSERT INTO connections (tenant, name, connector, source, created_at_ms, updated_at_ms)
         VALUES ('b', 'planted', 'x', 'x', 0, 0)",
    )
    .await
    .unwrap_err();
    assert_eq!(connections::list(&store, "b").await.unwrap().len(), 1);
}

#[tokio::test]
async fn statements_run_as_a_role_that_owns_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let Some((store, mut above)) = opened(folder.path()).await else {
        return;
    };
    let who = store.read(Scope::Tenant("a"), "ask", |db, _| {
        Box::pin(async move {
            let role = sqlx::query_scalar::<_, String>("SELECT current_user::text");
            Ok(role.fetch_one(db).await?)
        })
    });
    assert_eq!(who.await.unwrap(), "weir_app");
    let power: (bool, bool, i64) = sqlx::query_as(
        "SELECT rolsuper, rolbypassrls, (SELECT count(*) FROM pg_class WHERE relowner = r.oid)
         FROM pg_roles r WHERE rolname = 'weir_app'",
    )
    .fetch_one(&mut above)
    .await
    .unwrap();
    assert_eq!(power, (false, false, 0));
    // Outside of a use case nothing names a tenant, and nothing is seen.
    above.execute("SET ROLE weir_app").await.unwrap();
    above.execute("SELECT * FROM runs").await.unwrap_err();
}

#[tokio::test]
async fn an_odd_name_of_a_tenant_is_a_name_and_no_sql() {
    let folder = tempfile::tempdir().unwrap();
    let Some((store, _above)) = opened(folder.path()).await else {
        return;
    };
    for tenant in ["o'brien", "a\\'; DROP TABLE runs; --", "عميل"] {
        let run = begin_a_run(&store, tenant).await;
        assert_eq!(runs::get(&store, tenant, &run).await.unwrap().id, run);
    }
}

/// A process that was stopped in the middle of a use case holds what it locked, until its server breaks it off.
#[tokio::test]
async fn a_use_case_that_stood_still_is_broken_off_and_done_again() {
    let folder = tempfile::tempdir().unwrap();
    let Some((store, _above)) = opened(folder.path()).await else {
        return;
    };
    let tries = &std::sync::atomic::AtomicU32::new(0);
    let left = store.write(Scope::Tenant("a"), "stand still", |db, _| {
        Box::pin(async move {
            let left: String =
                sqlx::query_scalar("SELECT current_setting('idle_in_transaction_session_timeout')")
                    .fetch_one(&mut *db)
                    .await?;
            if tries.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0 {
                db.execute("SET LOCAL idle_in_transaction_session_timeout = 1")
                    .await?;
                let told = loop {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    if let Err(told) = db.execute("SELECT 1").await {
                        break told;
                    }
                };
                return Err(told.into());
            }
            Ok(left)
        })
    });
    assert_eq!(left.await.unwrap(), "30s");
    assert_eq!(tries.load(std::sync::atomic::Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_lost_connection_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let Some((store, mut above)) = opened(folder.path()).await else {
        return;
    };
    let mut lost = false;
    let name = sqlx::query_scalar::<_, String>("SELECT current_database()::text")
        .fetch_one(&mut above)
        .await
        .unwrap();
    let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                WHERE datname = $1 AND pid <> pg_backend_pid()";
    let above = &tokio::sync::Mutex::new(above);
    let (name, lost) = (&name, &mut lost);
    let counted = store.write(Scope::Tenant("a"), "count", |db: &mut AnyConnection, _| {
        let first = !std::mem::replace(lost, true);
        Box::pin(async move {
            if first {
                let mut above = above.lock().await;
                sqlx::query(kill).bind(name).execute(&mut *above).await?;
            }
            let count = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM runs");
            Ok(count.fetch_one(db).await?)
        })
    });
    assert_eq!(counted.await.unwrap(), 0);
}

/// Two processes want the same stream at the same moment: one gets it.
#[tokio::test]
async fn of_two_that_want_a_stream_one_gets_it() {
    let folder = tempfile::tempdir().unwrap();
    let Some((store, _above)) = opened(folder.path()).await else {
        return;
    };
    let shop = Connection::new("shop", "http_json", "shop");
    let streams = [("orders".to_owned(), SyncMode::IncrementalMerge)];
    let owner = Owner::this_process();
    let start = || runs::start_sync(&store, &shop, &streams, &Begin::Anew(Trigger::Person), &owner);
    let outcomes = futures::future::join_all((0..8).map(|_| start())).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
}

#[tokio::test]
async fn a_wrong_password_and_a_missing_database_are_told_apart() {
    let Some(server) = testing::server() else { return };
    let at = |change: &dyn Fn(&mut url::Url)| {
        let mut url = url::Url::parse(&server).unwrap();
        change(&mut url);
        Place::parse(url.as_str()).unwrap()
    };
    let missing = Store::connect(&at(&|url| url.set_path("/nowhere")))
        .await
        .unwrap_err();
    assert!(missing.next_step().unwrap().starts_with("create the database"));
    let nobody = at(&|url| url.set_username("nobody_here").unwrap());
    let nobody = Store::connect(&nobody).await.unwrap_err();
    assert_eq!(nobody.kind(), weir_protocol::ErrorKind::Auth);
}

/// A server's role may not migrate: it is told what is the matter, not what it lacks.
#[tokio::test]
async fn a_role_that_may_not_migrate_is_told_of_a_newer_schema() {
    let folder = tempfile::tempdir().unwrap();
    let Some((store, mut above)) = opened(folder.path()).await else {
        return;
    };
    let role = format!("server_{}", std::process::id());
    let Place::Postgres(url) = store.place().clone() else {
        panic!("not PostgreSQL")
    };
    let name: String = sqlx::query_scalar("SELECT current_database()::text")
        .fetch_one(&mut above)
        .await
        .unwrap();
    let prepare = format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'p'; GRANT weir_app TO {role}; GRANT CONNECT ON DATABASE \"{name}\" TO {role};
         INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'later', true, '\\x00', 0)"
    );
    above.execute(sqlx::AssertSqlSafe(prepare)).await.unwrap();
    let mut url = url::Url::parse(url.expose()).unwrap();
    url.set_username(&role).unwrap();
    url.set_password(Some("p")).unwrap();
    let error = Store::connect(&Place::parse(url.as_str()).unwrap())
        .await
        .unwrap_err();
    assert_eq!(error.message(), "the control store was made by a newer weir");
    let tidy = format!("DROP OWNED BY {role}; DROP ROLE {role}");
    above.execute(sqlx::AssertSqlSafe(tidy)).await.unwrap();
}

/// The server restarts while somebody opens the store: a port that nobody listens on yet.
#[tokio::test]
async fn a_server_that_is_not_there_yet_is_waited_for() {
    let Some(server) = testing::server() else { return };
    let folder = tempfile::tempdir().unwrap();
    let Place::Postgres(place) = testing::place(folder.path()).await else {
        panic!("not PostgreSQL")
    };
    let real = url::Url::parse(&server).unwrap();
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let mut late = url::Url::parse(place.expose()).unwrap();
    let target = (
        late.host_str().unwrap_or("127.0.0.1").to_owned(),
        real.port().unwrap_or(5432),
    );
    late.set_host(Some("127.0.0.1")).unwrap();
    late.set_port(Some(port)).unwrap();
    let late = Place::parse(late.as_str()).unwrap();
    let opening = tokio::spawn(async move { Store::connect(&late).await });
    // By now it was refused at least once, or is about to be: either way it opens.
    tokio::task::yield_now().await;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let forwarding = tokio::spawn(async move {
        loop {
            let (mut from, _) = listener.accept().await.unwrap();
            let mut to = tokio::net::TcpStream::connect(&target).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut from, &mut to).await });
        }
    });
    let store = opening.await.unwrap().unwrap();
    store.ping().await.unwrap();
    forwarding.abort();
}

use weir_protocol::{Error, ErrorKind};

use super::*;
use crate::DEFAULT_TENANT;
use crate::runs::{Begin, RunFilter, Trigger};
use crate::store::testing;

fn shop() -> Connection {
    Connection::new("shop", "http_json", "shop")
}

async fn sync_begins(store: &Store) -> Result<()> {
    let streams = [("items".to_owned(), weir_protocol::SyncMode::FullRefreshMerge)];
    let begin = Begin::Anew(Trigger::Person);
    runs::start_sync(store, &shop(), &streams, &begin, &Owner::this_process())
        .await
        .map(drop)
}

#[tokio::test]
async fn no_sync_begins_while_a_stream_is_worked_on_and_one_does_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    let shop = shop();
    let held = hold(&store, &shop, "items", Kind::Rebuild, async {
        let refused = sync_begins(&store).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");
        let other = hold(&store, &shop, "items", Kind::Maintenance, async { Ok(()) });
        assert_eq!(other.await.unwrap_err().kind(), ErrorKind::Conflict);
        hold(&store, &shop, "orders", Kind::Maintenance, async { Ok(()) }).await
    });
    held.await.unwrap();
    sync_begins(&store).await.unwrap();
    let filter = RunFilter {
        limit: 10,
        ..RunFilter::default()
    };
    let runs = runs::list(&store, DEFAULT_TENANT, &filter).await.unwrap();
    let kinds: Vec<_> = runs.iter().map(|run| (run.kind.as_str(), run.status)).collect();
    assert_eq!(
        kinds,
        [
            ("sync", RunStatus::Running),
            ("maintenance", RunStatus::Succeeded),
            ("rebuild", RunStatus::Succeeded),
        ]
    );
}

#[tokio::test]
async fn what_fails_is_a_failed_run_and_frees_the_stream() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    let work = async { Err::<(), _>(Error::state("broken").hint("mend it")) };
    let error = hold(&store, &shop(), "items", Kind::Rebuild, work)
        .await
        .unwrap_err();
    assert_eq!(error.message(), "broken");
    sync_begins(&store).await.unwrap();
}

//! Logs of tables as another program, or a broken disk, left them: read, or refused in words.
#![no_main]

use std::sync::{Arc, LazyLock};

use futures::StreamExt;
use libfuzzer_sys::fuzz_target;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::runtime::{Builder, Runtime};
use weir_lake::{AsOf, Lake};
use weir_protocol::Secret;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().expect("a runtime")
});

/// The commits stand one after the other with a NUL between; what comes after two is the pointer to a checkpoint.
async fn store(data: &[u8]) -> Arc<dyn ObjectStore> {
    let store = InMemory::new();
    let log = Path::from("silver/fuzz_things/_delta_log");
    let middle = data.windows(2).position(|two| two == b"\0\0");
    let (commits, pointer) = data.split_at(middle.unwrap_or(data.len()));
    for (version, commit) in commits.split(|byte| *byte == 0).enumerate() {
        let path = log.clone().join(format!("{version:020}.json"));
        store.put(&path, commit.to_vec().into()).await.expect("memory takes it");
    }
    if let Some(pointer) = pointer.get(2..) {
        let path = log.join("_last_checkpoint");
        store.put(&path, pointer.to_vec().into()).await.expect("memory takes it");
    }
    Arc::new(store)
}

async fn read(data: &[u8]) {
    let Ok(lake) = Lake::over(store(data).await, Secret::new("a key of the fuzzer, of 32 bytes")) else {
        return;
    };
    let _ = lake.tables().await;
    for as_of in [None, Some(AsOf::Version(0))] {
        if let Ok(snapshot) = lake.snapshot("fuzz_things", as_of).await {
            for file in &snapshot.files {
                let _ = snapshot.live_rows(file).await;
            }
        }
    }
    if let Ok(mut rows) = lake.rows("fuzz_things", None).await {
        while let Some(Ok(_)) = rows.next().await {}
    }
}

fuzz_target!(|data: &[u8]| RUNTIME.block_on(read(data)));

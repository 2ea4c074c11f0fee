//! An object store in memory whose every call is a step.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::desk::{Kind, Verdict, pass};
use super::flaw::Flaw;

#[derive(Debug, Clone)]
pub(super) struct Objects {
    pub(super) memory: Arc<InMemory>,
    pub(super) flaw: Flaw,
}

impl fmt::Display for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the simulated store")
    }
}

fn trouble() -> Error {
    Error::Generic {
        store: "simulated",
        source: "the connection broke off".into(),
    }
}

impl Objects {
    async fn put(&self, location: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        if self.flaw == Flaw::CommitsOverwrite && options.mode == PutMode::Create {
            options.mode = PutMode::Overwrite;
        }
        if self.flaw == Flaw::BronzeIsForgotten && location.as_ref().contains("0000000002-") {
            return self
                .memory
                .put_opts(&Path::from("forgotten"), payload, PutOptions::default())
                .await;
        }
        self.memory.put_opts(location, payload, options).await
    }
}

#[async_trait]
impl ObjectStore for Objects {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let mode = if options.mode == PutMode::Create {
            "create"
        } else {
            "put"
        };
        match pass(Kind::Put, || format!("{mode} {location}")) {
            Verdict::Fail => Err(trouble()),
            Verdict::LoseAnswer => {
                self.put(location, payload, options).await?;
                Err(trouble())
            }
            Verdict::Twice => {
                self.put(location, payload.clone(), options.clone()).await?;
                self.put(location, payload, options).await
            }
            Verdict::Go | Verdict::Die => self.put(location, payload, options).await,
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        pass(Kind::Put, || format!("begin {location}"));
        self.memory.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        match pass(Kind::Read, || format!("get {location}")) {
            Verdict::Fail => Err(trouble()),
            _ => self.memory.get_opts(location, options).await,
        }
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let memory = self.memory.clone();
        locations
            .then(move |location| {
                let memory = memory.clone();
                async move {
                    let location = location?;
                    let verdict = pass(Kind::Delete, || format!("delete {location}"));
                    if verdict == Verdict::Fail {
                        return Err(trouble());
                    }
                    memory.delete(&location).await?;
                    match verdict {
                        Verdict::LoseAnswer => Err(trouble()),
                        _ => Ok(location),
                    }
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (memory, prefix) = (self.memory.clone(), prefix.cloned());
        async move {
            let shown = prefix.as_ref().map(ToString::to_string).unwrap_or_default();
            match pass(Kind::Read, || format!("list {shown}")) {
                Verdict::Fail => futures::stream::once(async { Err(trouble()) }).boxed(),
                _ => memory.list(prefix.as_ref()),
            }
        }
        .flatten_stream()
        .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let shown = prefix.map(ToString::to_string).unwrap_or_default();
        match pass(Kind::Read, || format!("folders {shown}")) {
            Verdict::Fail => Err(trouble()),
            _ => self.memory.list_with_delimiter(prefix).await,
        }
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        match pass(Kind::Put, || format!("copy {from} to {to}")) {
            Verdict::Fail => Err(trouble()),
            _ => self.memory.copy_opts(from, to, options).await,
        }
    }
}

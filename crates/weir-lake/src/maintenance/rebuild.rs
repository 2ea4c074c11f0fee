//! Silver anew from Bronze: the same checkpoints and full refreshes once more, with the schema, mode
//! and key of today, in a scratch table; then one commit exchanges the rows.
//!
//! Every line of Bronze lands that fits and was not discarded. Held records whose lines land are
//! released by that, lines that no longer fit are held (`docs/decisions/20261121-rebuild-and-quarantine.md`).

use std::collections::{BTreeMap, BTreeSet};

use futures::FutureExt;
use futures::StreamExt;
use futures::stream::{BoxStream, TryStreamExt};
use jiff::Timestamp;
use object_store::ObjectMeta;
use weir_protocol::{Batch, Result, WritePlan};

use super::replay::Replay;
use crate::bronze::{self, ObjectName};
use crate::failpoint;
use crate::lake::Lake;
use crate::quarantine::{self, Decision, Verb};
use crate::storage::Storage;
use crate::table::Table;
use crate::writer::shape::Shape;

/// A batch as Bronze holds it.
#[derive(Debug, Clone)]
pub struct RawBatch {
    /// Number of the checkpoint that it belongs to.
    pub sequence: u64,
    pub run: String,
    pub batch: Batch,
}

/// What a rebuild made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rebuilt {
    pub rows: u64,
    /// Held records that landed.
    pub released: u64,
    /// Records that do not fit the schema; they wait in quarantine.
    pub rejected: u64,
    pub version: i64,
    /// The first checkpoint that was read.
    pub oldest_sequence: u64,
    /// There was no table: it was made from Bronze alone, and the stream has no state.
    pub is_new: bool,
}

/// Which held records a replay may land, who says so and why.
#[derive(Clone, Copy)]
pub(crate) struct Admission<'a> {
    /// None: all.
    pub(crate) only: Option<&'a BTreeSet<String>>,
    pub(crate) by: &'a str,
    pub(crate) why: &'a str,
}

/// Of a rebuild.
const ALL: Admission<'static> = Admission {
    only: None,
    by: "rebuild",
    why: "fits the schema of today",
};

impl Lake {
    /// Rebuilds a stream's Silver table from its Bronze objects. `plan` tells the stream's schema,
    /// mode and key as they are today. Where retention took Bronze away, rows that came from it would
    /// be lost: that is refused unless `accepts_loss`. An unfinished full refresh starts over.
    ///
    /// A table that is gone is made anew from all of Bronze. Its stream then has no state, because
    /// Bronze does not tell it: the next sync reads everything.
    pub async fn rebuild(&self, plan: &WritePlan, accepts_loss: bool) -> Result<Rebuilt> {
        self.rebuild_known(plan, accepts_loss, &BTreeMap::new()).await
    }

    /// As [`Self::rebuild`], where somebody knows how far runs came: what one of `reached` wrote beyond
    /// its newest checkpoint is no part of a table that is gone. It failed before the commit, and the
    /// next sync reads it again.
    pub async fn rebuild_known(
        &self,
        plan: &WritePlan,
        accepts_loss: bool,
        reached: &BTreeMap<String, u64>,
    ) -> Result<Rebuilt> {
        let replay = Replay::for_rebuild(self, plan, None, reached).boxed().await?;
        self.replay_bronze(plan, replay, ALL, accepts_loss).boxed().await
    }

    /// The runs of a stream's Bronze and quarantine, if its table is gone: nothing in the lake tells then how far each
    /// of them came.
    pub async fn orphaned_runs(&self, plan: &WritePlan) -> Result<BTreeSet<String>> {
        let shape = Shape::new(plan)?;
        if Table::find(&self.storage, &shape.folder).await?.is_some() {
            return Ok(BTreeSet::new());
        }
        let (source, stream) = (&plan.source, &plan.stream.name);
        let mut runs = BTreeSet::new();
        for folder in [bronze::folder(source, stream), quarantine::folder(source, stream)] {
            let objects = bronze::objects(&self.storage, &folder).await?;
            runs.extend(objects.into_iter().map(|(name, _)| name.run));
        }
        Ok(runs)
    }

    /// Rebuilds a stream's table from batches in the order of their checkpoints. `plan` tells its
    /// schema and mode as they are today. Fails, and changes nothing, if a sync committed meanwhile.
    pub async fn rebuild_from(
        &self,
        plan: &WritePlan,
        batches: BoxStream<'_, Result<RawBatch>>,
        accepts_loss: bool,
    ) -> Result<Rebuilt> {
        let replay = Replay::for_rebuild(self, plan, None, &BTreeMap::new())
            .boxed()
            .await?;
        self.finish_replay(plan, replay, batches, ALL, accepts_loss)
            .boxed()
            .await
    }

    /// As [`Self::rebuild`], where of the held records only those that are admitted land.
    pub(crate) async fn replay(
        &self,
        plan: &WritePlan,
        admission: Admission<'_>,
        accepts_loss: bool,
    ) -> Result<Rebuilt> {
        let replay = Replay::for_rebuild(self, plan, admission.only, &BTreeMap::new())
            .boxed()
            .await?;
        self.replay_bronze(plan, replay, admission, accepts_loss).await
    }

    async fn replay_bronze(
        &self,
        plan: &WritePlan,
        mut replay: Replay<'_>,
        admission: Admission<'_>,
        accepts_loss: bool,
    ) -> Result<Rebuilt> {
        let folder = bronze::folder(&plan.source, &plan.stream.name);
        let objects = bronze::objects(&self.storage, &folder).await?;
        if let Some((first, _)) = objects.first() {
            replay.begins_with(first.sequence, first.part);
        }
        let oldest = objects.first().map_or(0, |(name, _)| name.sequence);
        let batches = batches(&self.storage, objects);
        let mut rebuilt = self
            .finish_replay(plan, replay, batches, admission, accepts_loss)
            .await?;
        rebuilt.oldest_sequence = oldest;
        Ok(rebuilt)
    }

    /// The decision is written down before the commit that carries it out, and marked done after.
    async fn finish_replay(
        &self,
        plan: &WritePlan,
        replay: Replay<'_>,
        batches: BoxStream<'_, Result<RawBatch>>,
        admission: Admission<'_>,
        accepts_loss: bool,
    ) -> Result<Rebuilt> {
        let (source, stream) = (&plan.source, &plan.stream.name);
        let mut replayed = replay.run(batches, accepts_loss).boxed().await?;
        let released = replayed.released();
        let decision = (!released.is_empty()).then(|| decision(released, Verb::Released, admission));
        if let Some(decision) = &decision {
            quarantine::begin(&self.storage, source, stream, decision).await?;
        }
        let application = decision
            .as_ref()
            .map(|decision| quarantine::application(&decision.id));
        let mut rebuilt = replayed.exchange(application).boxed().await?;
        failpoint::reach("lake.after_rebuild")?;
        if let Some(decision) = decision {
            rebuilt.released = decision.ids.len() as u64;
            quarantine::finish(&self.storage, source, stream, decision).await?;
        }
        Ok(rebuilt)
    }
}

pub(crate) fn decision(ids: BTreeSet<String>, verb: Verb, admission: Admission<'_>) -> Decision {
    Decision {
        id: format!("decision{}", uuid::Uuid::now_v7().simple()),
        verb,
        ids,
        by: admission.by.to_owned(),
        why: admission.why.to_owned(),
        at: Timestamp::now(),
        done: false,
    }
}

pub(super) fn batches(
    storage: &Storage,
    objects: Vec<(ObjectName, ObjectMeta)>,
) -> BoxStream<'static, Result<RawBatch>> {
    let storage = storage.clone();
    futures::stream::iter(objects.into_iter().map(Ok))
        .and_then(move |(name, meta)| {
            let storage = storage.clone();
            async move {
                let body = storage.get(&meta.location).await?;
                let batches = bronze::batches(meta.location, body)?.map(move |batch| {
                    Ok(RawBatch {
                        sequence: name.sequence,
                        run: name.run.clone(),
                        batch: batch?,
                    })
                });
                Ok(futures::stream::iter(batches))
            }
        })
        .try_flatten()
        .boxed()
}

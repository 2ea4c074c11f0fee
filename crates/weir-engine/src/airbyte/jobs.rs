//! Exports: a job is created at the source, asked about until it is done, and its result downloaded.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use weir_protocol::{Error, ErrorKind, Result};

use super::env::Env;
use super::node::Node;
use super::page_reader::PageReader;
use super::records::{Around, Decoder, Extractor, Selector, Texts};
use super::request::{CREATION, Call, Outcome, POLLING, Paginator, Requester};
use super::retriever::{Keeps, Page, Retriever};
use super::slices::Slice;
use super::template::{Takes, Text, json_is_true, py_text};
use crate::http::Answer;

/// Between two questions about a job.
const POLL_EVERY: Duration = Duration::from_secs(5);
/// Jobs that are created for one slice when they fail.
const ATTEMPTS: u32 = 3;
const MINUTES: u64 = 60;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Running,
    Completed,
    Failed,
    TimedOut,
    Skipped,
}

/// How one try at an export ended.
enum Ended {
    Done(Box<Done>),
    NotCreated(Error),
    Failed,
    TimedOut,
    Skipped,
}

pub(crate) struct Jobs {
    creation: Requester,
    polling: Requester,
    download_target: Option<Requester>,
    abort: Option<Requester>,
    delete: Option<Requester>,
    download: Retriever,
    decoder: Decoder,
    status: Selector,
    statuses: Vec<(String, Status)>,
    targets: Option<Selector>,
    /// Filter, transformations and normalisation of what is downloaded.
    selector: Selector,
    timeout: Duration,
    failed_wait: Duration,
}

impl Jobs {
    pub(crate) fn new(
        env: &Arc<Env>,
        node: &Node<'_>,
        transforms: &[Node<'_>],
        client_side: bool,
    ) -> Result<Self> {
        let requester = |field: &str| -> Result<Option<Requester>> {
            node.get(field)
                .map(|node| Requester::beside(env, &node))
                .transpose()
        };
        let needed = |field: &str| Requester::beside(env, &node.need(field)?);
        let extractor =
            |node: &Node<'_>| -> Result<Selector> { Extractor::new(env, node).map(Selector::plain) };
        let mut decoder = Decoder::new(node.get("download_decoder").as_ref())?;
        let download_extractor = match node.get("download_extractor") {
            Some(node) if node.kind() == "ResponseToFileExtractor" => {
                // It reads the file by itself, whatever the decoder.
                decoder = Decoder::Rows {
                    keeps_words: node.flag("preserve_na_values"),
                };
                Selector::plain(Extractor::path(Vec::new()))
            }
            Some(node) => extractor(&node)?,
            None => Selector::plain(Extractor::path(Vec::new())),
        };
        let paginator = node.get("download_paginator");
        let paginator = paginator
            .map(|node| Paginator::new(env, &node))
            .transpose()?
            .flatten();
        let seconds = |text: Option<Text>, usual: u64, unit: u64| -> Result<Duration> {
            let Some(text) = text else {
                return Ok(Duration::from_secs(usual));
            };
            let value = text.eval(&env.scope(), Takes::Anything)?;
            let number = value
                .as_u64()
                .ok_or_else(|| node.error(format!("'{}' is no whole number", py_text(&value))))?;
            Ok(Duration::from_secs(number.saturating_mul(unit)))
        };
        Ok(Self {
            creation: needed("creation_requester")?,
            polling: needed("polling_requester")?,
            download_target: requester("download_target_requester")?,
            abort: requester("abort_requester")?,
            delete: requester("delete_requester")?,
            download: Retriever::of(
                needed("download_requester")?,
                paginator,
                download_extractor,
                decoder,
            ),
            decoder: Decoder::new(node.get("decoder").as_ref())?,
            status: extractor(&node.need("status_extractor")?)?,
            statuses: statuses(&node.need("status_mapping")?),
            targets: node
                .get("download_target_extractor")
                .map(|node| extractor(&node))
                .transpose()?,
            selector: Selector::new(env, &node.need("record_selector")?, transforms, client_side)?,
            timeout: seconds(node.text("polling_job_timeout")?, MINUTES * 60, 60)?,
            failed_wait: seconds(node.text("failed_retry_wait_time_in_seconds")?, 0, 1)?,
        })
    }

    pub(crate) fn normalises(&self) -> bool {
        self.selector.normalises()
    }

    async fn send(requester: &Requester, slice: &Slice, what: &str) -> Result<Box<Answer>> {
        let call = Call {
            slice: Some(slice),
            ..Call::default()
        };
        match requester.send(call).await? {
            Outcome::Answer(answer) => Ok(answer),
            _ => Err(
                Error::source_failed(format!("the {what} of an export gave no answer"))
                    .hint("check the error handler of that requester"),
            ),
        }
    }

    /// What a selector finds in an answer, as values.
    async fn found(
        &self,
        env: &Env,
        selector: &Selector,
        answer: &Answer,
        slice: &Slice,
    ) -> Result<Vec<Value>> {
        let around = Around::bare(env, slice);
        let parts = selector.select(&self.decoder, answer, &around).await?;
        let mut found = Vec::new();
        for part in parts {
            found.extend(part.values()?);
        }
        Ok(found)
    }

    /// Creates a job and waits for it; None where there is nothing to download.
    async fn run(&self, env: &Env, slice: &Slice) -> Result<Option<Done>> {
        let _turn = env.turns.job().await?;
        let mut failure = None;
        for attempt in 1..=ATTEMPTS {
            match self.attempt(env, slice).await? {
                Ended::Done(done) => return Ok(Some(*done)),
                Ended::Skipped => return Ok(None),
                Ended::NotCreated(error) => {
                    tracing::warn!(attempt, %error, "an export could not be created");
                    if attempt < ATTEMPTS {
                        env.timer().sleep(POLL_EVERY).await;
                    }
                    failure = Some(error);
                }
                Ended::Failed => {
                    tracing::warn!(attempt, "an export failed at the source");
                    if attempt < ATTEMPTS {
                        env.timer().sleep(self.failed_wait).await;
                    }
                }
                Ended::TimedOut => tracing::warn!(attempt, "an export took too long"),
            }
        }
        let error = Error::source_failed(format!("the source failed {ATTEMPTS} exports in a row"))
            .with("slice", &slice.key)
            .hint("try again later, or ask for narrower slices; a longer polling_job_timeout may help");
        Err(match failure {
            Some(failure) => error.caused_by(failure),
            None => error,
        })
    }

    async fn attempt(&self, env: &Env, slice: &Slice) -> Result<Ended> {
        let created = match Self::send(&self.creation, slice, "creation").await {
            Ok(created) => created,
            // What another try cannot mend.
            Err(error)
                if !matches!(
                    error.kind(),
                    ErrorKind::Source | ErrorKind::Unavailable | ErrorKind::Timeout
                ) =>
            {
                return Err(error);
            }
            Err(error) => return Ok(Ended::NotCreated(error)),
        };
        let slice = slice.with_extra(CREATION, context(&created, &self.creation));
        let began = env.timer().elapsed();
        loop {
            let answer = Self::send(&self.polling, &slice, "polling").await?;
            match self.status_of(env, &answer, &slice).await? {
                Status::Running if env.timer().elapsed().saturating_sub(began) < self.timeout => {
                    env.timer().sleep(POLL_EVERY).await;
                }
                Status::Running | Status::TimedOut => {
                    self.give_up(&slice).await;
                    return Ok(Ended::TimedOut);
                }
                Status::Completed => {
                    let slice = slice.with_extra(POLLING, context(&answer, &self.polling));
                    let done = self.done(env, answer, slice).await?;
                    return Ok(Ended::Done(Box::new(done)));
                }
                Status::Failed => return Ok(Ended::Failed),
                Status::Skipped => return Ok(Ended::Skipped),
            }
        }
    }

    /// Tells the source to stop. That it does not changes nothing for the read.
    async fn give_up(&self, slice: &Slice) {
        let Some(abort) = &self.abort else { return };
        if let Err(error) = Self::send(abort, slice, "abort").await {
            tracing::warn!(%error, "an export that took too long could not be aborted at the source");
        }
    }

    async fn status_of(&self, env: &Env, answer: &Answer, slice: &Slice) -> Result<Status> {
        let told = self.found(env, &self.status, answer, slice).await?;
        let told = told.first().map_or_else(|| "None".to_owned(), py_text);
        let known = self.statuses.iter().find(|(name, _)| *name == told);
        known.map(|(_, status)| *status).ok_or_else(|| {
            Error::source_failed(format!(
                "the export's status is '{told}', which status_mapping does not name"
            ))
            .hint("add it to status_mapping of the AsyncRetriever")
        })
    }

    async fn done(&self, env: &Env, polled: Box<Answer>, slice: Slice) -> Result<Done> {
        let Some(extractor) = &self.targets else {
            return Ok(Done {
                targets: VecDeque::from([Value::from("")]),
                slice,
            });
        };
        let answer = match &self.download_target {
            Some(requester) => Self::send(requester, &slice, "download target").await?,
            None => polled,
        };
        let targets = self.found(env, extractor, &answer, &slice).await?;
        Ok(Done {
            targets: targets.into(),
            slice,
        })
    }
}

/// A job that is done.
struct Done {
    targets: VecDeque<Value>,
    slice: Slice,
}

/// An answer as templates see it: its members, its headers, and what was asked.
fn context(answer: &Answer, requester: &Requester) -> Value {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let mut members = match body {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    members.entry("headers").or_insert_with(|| {
        let pairs = answer.headers.iter();
        let pairs = pairs.map(|(name, value)| {
            (
                name.as_str().to_owned(),
                Value::from(String::from_utf8_lossy(value.as_bytes()).into_owned()),
            )
        });
        Value::Object(pairs.collect())
    });
    members
        .entry("request")
        .or_insert_with(|| json!({ "method": requester.method(), "url": answer.url.as_str() }));
    Value::Object(members)
}

fn statuses(node: &Node<'_>) -> Vec<(String, Status)> {
    let groups = [
        ("running", Status::Running),
        ("completed", Status::Completed),
        ("failed", Status::Failed),
        ("timeout", Status::TimedOut),
        ("skipped", Status::Skipped),
    ];
    let named = groups.into_iter().flat_map(|(group, status)| {
        node.list(group)
            .into_iter()
            .map(move |name| (py_text(name.value), status))
    });
    named.collect()
}

/// The pages of an export.
pub(crate) struct JobPages {
    pub(crate) jobs: Arc<Jobs>,
    pub(crate) env: Arc<Env>,
    pub(crate) slice: Arc<Slice>,
    pub(crate) schema: Option<Arc<Value>>,
    pub(crate) keeps: Option<Keeps>,
    done: Option<Done>,
    reader: Option<PageReader>,
    is_begun: bool,
}

impl JobPages {
    pub(crate) fn new(jobs: Arc<Jobs>, env: Arc<Env>, slice: Arc<Slice>) -> Self {
        Self {
            jobs,
            env,
            slice,
            schema: None,
            keeps: None,
            done: None,
            reader: None,
            is_begun: false,
        }
    }

    pub(crate) async fn next(&mut self) -> Result<Option<Page>> {
        if !std::mem::replace(&mut self.is_begun, true) {
            self.done = Box::pin(self.jobs.run(&self.env, &self.slice)).await?;
        }
        loop {
            if let Some(reader) = &mut self.reader {
                match reader.next(&self.jobs.download).await? {
                    Some(page) => return self.changed(&page).map(Some),
                    None => self.reader = None,
                }
            }
            let Some(done) = &mut self.done else {
                return Ok(None);
            };
            match done.targets.pop_front() {
                Some(target) => {
                    let slice = done.slice.with_extra("download_target", target);
                    self.reader = Some(PageReader::new(self.env.clone(), Arc::new(slice)));
                }
                None => {
                    if let (Some(delete), Some(done)) = (&self.jobs.delete, self.done.take()) {
                        Jobs::send(delete, &done.slice, "deletion").await?;
                    }
                    return Ok(None);
                }
            }
        }
    }

    fn changed(&self, page: &Page) -> Result<Page> {
        let keeps = self.keeps.as_ref().map(|keeps| |record: &Value| keeps(record));
        let around = Around {
            schema: self.schema.as_deref(),
            keeps: keeps
                .as_ref()
                .map(|keeps| keeps as &(dyn Fn(&Value) -> bool + Sync)),
            ..Around::bare(&self.env, &self.slice)
        };
        let mut kept = Texts::default();
        for (record, exact) in page.values()? {
            if !json_is_true(&record) {
                continue;
            }
            if let Some(record) = self.jobs.selector.change(record, &around, &exact)? {
                kept.push(&record, &exact)?;
            }
        }
        let (body, records) = kept.finish();
        Ok(Page {
            filtered: (page.records.len() as u64).saturating_sub(records.len() as u64) + page.filtered,
            body,
            records,
            received_at: page.received_at,
            bytes: page.bytes,
        })
    }
}

//! One slice's pages: asked for, selected, and paged on.

use std::hash::BuildHasher;
use std::sync::Arc;

use serde_json::{Value, json};
use weir_protocol::{Error, Result};

use super::assemble::{by_key, joined};
use super::env::Env;
use super::patience::{PageSize, Seen};
use super::records::{Around, Selected};
use super::request::{Call, Options, Outcome, PageEnd, Paginator, Properties};
use super::retriever::{Keeps, Page, Retriever, value_of};
use super::slices::{CHILD_RESPONSE, CHILD_TEXT, CursorPlan, Slice};
use super::template::json_is_true;
use super::time::Moment;
use crate::http::Answer;
use crate::pagination::Rounds;

/// Pages of one slice.
const PAGES_MAX: u64 = 1_000_000;
/// How often pages may come round with the very same records: a hundredth time is no accident.
const ROUNDS_MAX: usize = 99;

/// How far the pages of a slice are read.
pub(crate) struct PageReader {
    env: Arc<Env>,
    slice: Arc<Slice>,
    pub(crate) schema: Option<Arc<Value>>,
    pub(crate) keeps: Option<Keeps>,
    /// A data feed: reading stops at the first record that is not wanted, which is left out.
    pub(crate) feed: Option<Keeps>,
    token: Option<Value>,
    pages: u64,
    is_begun: bool,
    is_done: bool,
    /// The slice as it was given; its parts are read in its place.
    whole: Arc<Slice>,
    /// Narrower slices that are still to read, and how often they were halved; the next one last.
    waiting: Vec<(Arc<Slice>, u32)>,
    depth: u32,
    size: PageSize,
    seen: Seen,
    emitted: u64,
    rounds: Rounds,
}

/// What the requests of one page gave.
enum Fetched {
    Page(Box<Answer>, Vec<Selected>),
    Nothing,
    Reset,
    Reduce(Option<String>),
    Split(Option<String>),
}

impl Fetched {
    fn without_page(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Reset => Self::Reset,
            Outcome::Reduce(said) => Self::Reduce(said),
            Outcome::Split(said) => Self::Split(said),
            Outcome::Answer(_) | Outcome::Nothing | Outcome::Refresh | Outcome::Rotate => Self::Nothing,
        }
    }
}

impl PageReader {
    pub(crate) fn new(env: Arc<Env>, slice: Arc<Slice>) -> Self {
        Self {
            env,
            whole: slice.clone(),
            slice,
            schema: None,
            keeps: None,
            feed: None,
            token: None,
            pages: 0,
            is_begun: false,
            is_done: false,
            waiting: Vec::new(),
            depth: 0,
            size: PageSize::default(),
            seen: Seen::default(),
            emitted: 0,
            rounds: Rounds::default(),
        }
    }

    pub(crate) async fn next(&mut self, retriever: &Retriever) -> Result<Option<Page>> {
        while !self.is_done || self.next_part() {
            if !self.is_begun {
                self.is_begun = true;
                self.token = retriever.paginator.as_ref().and_then(Paginator::first);
            }
            self.pages += 1;
            if self.pages > PAGES_MAX {
                return Err(Error::limit(format!("a slice has more than {PAGES_MAX} pages"))
                    .with("slice", &self.slice.key)
                    .hint("check when the paginator should stop"));
            }
            match Box::pin(self.fetch(retriever)).await? {
                Fetched::Page(answer, parts) => {
                    if let Some(rules) = &retriever.reduction {
                        self.size.came(rules);
                    }
                    let page = self.turn(retriever, &answer, parts)?;
                    self.emitted += page.records.len() as u64;
                    return Ok(Some(page));
                }
                Fetched::Nothing => self.is_done = true,
                Fetched::Reset => self.restart(retriever)?,
                Fetched::Reduce(said) => self.reduce(retriever, said).await?,
                Fetched::Split(said) => self.split(retriever, said)?,
            }
        }
        Ok(None)
    }

    /// Goes on to the next part of a slice that was too wide; false where there is none.
    fn next_part(&mut self) -> bool {
        let Some((slice, depth)) = self.waiting.pop() else {
            return false;
        };
        (self.slice, self.depth) = (slice.clone(), depth);
        self.whole = slice;
        (self.is_begun, self.is_done) = (false, false);
        (self.size, self.seen) = (PageSize::default(), Seen::default());
        true
    }

    fn split(&mut self, retriever: &Retriever, said: Option<String>) -> Result<()> {
        let Some(rules) = &retriever.splitting else {
            return Err(
                Error::internal("a window is to be split without rules").hint("report this as a bug of weir")
            );
        };
        let [first, second] = rules.halves(retriever.cursor.as_ref(), &self.slice, self.depth, said)?;
        if self.emitted > 0 {
            tracing::warn!("a window is read again in parts after some of its records came; they come twice");
        }
        let depth = self.depth + 1;
        self.waiting.extend([(second, depth), (first, depth)]);
        self.is_done = true;
        Ok(())
    }

    async fn reduce(&mut self, retriever: &Retriever, said: Option<String>) -> Result<()> {
        let Some(rules) = &retriever.reduction else {
            return Err(
                Error::internal("pages are to shrink without rules").hint("report this as a bug of weir")
            );
        };
        let paginator = retriever.paginator.as_ref();
        let declared = paginator.map(|paginator| paginator.page_size(&self.env));
        let wait = self.size.reduce(rules, declared.transpose()?.flatten(), said)?;
        self.env.timer().sleep(wait).await;
        Ok(())
    }

    /// Begins the slice's pages anew, where its cursor has got to if the manifest wants that.
    fn restart(&mut self, retriever: &Retriever) -> Result<()> {
        let cursor = retriever.cursor.as_ref();
        let slices = (&self.whole, &self.slice);
        self.slice = self.seen.restart(retriever.reset.as_ref(), cursor, slices)?;
        self.is_begun = false;
        self.is_done = false;
        Ok(())
    }

    async fn fetch(&self, retriever: &Retriever) -> Result<Fetched> {
        if retriever.reads_lazily
            && self.pages == 1
            && let Some(response) = self
                .slice
                .view
                .extra
                .get(CHILD_RESPONSE)
                .filter(|response| json_is_true(response))
        {
            let text = self.slice.view.extra.get(CHILD_TEXT).and_then(Value::as_str);
            let text = text.map_or_else(|| response.to_string(), str::to_owned);
            return self.lazily(retriever, text).await;
        }
        let Some(properties) = &retriever.properties else {
            return Ok(match self.send(retriever, &self.slice, None).await? {
                Outcome::Answer(answer) => {
                    let parts = self.select(retriever, &answer, &self.slice).await?;
                    Fetched::Page(answer, parts)
                }
                other => Fetched::without_page(other),
            });
        };
        self.by_properties(retriever, properties).await
    }

    /// A page that came with the parent's record.
    async fn lazily(&self, retriever: &Retriever, response: String) -> Result<Fetched> {
        let url = "http://localhost/".parse().map_err(|error: url::ParseError| {
            Error::internal("a fixed URL cannot be read")
                .caused_by(error)
                .hint("report this as a bug of weir")
        })?;
        let answer = Answer {
            status: 200,
            headers: crate::http::HeaderMap::new(),
            body: response.into(),
            url,
            received_at: self.env.clock.now(),
        };
        let parts = self.select(retriever, &answer, &self.slice).await?;
        Ok(Fetched::Page(Box::new(answer), parts))
    }

    async fn send(
        &self,
        retriever: &Retriever,
        slice: &Slice,
        properties: Option<&[String]>,
    ) -> Result<Outcome> {
        let token = self
            .token
            .as_ref()
            .map(|token| json!({ "next_page_token": token }));
        let mut options = Options::default();
        let mut path = None;
        if let Some(paginator) = &retriever.paginator {
            options.merge(paginator.options(&self.env, self.token.as_ref(), self.size.now)?)?;
            path = paginator.path(self.token.as_ref());
        }
        if token.is_none() || !retriever.first_page_only_options {
            let mut of_slice = Options::default();
            for option in &retriever.options {
                let mut one = Options::default();
                option.put(&self.env, slice, &mut one)?;
                of_slice.merge(one)?;
            }
            options.merge(of_slice)?;
        }
        let call = Call {
            slice: Some(slice),
            token: token.as_ref(),
            path,
            options,
            properties,
        };
        retriever.requester.send(call).await
    }

    async fn select(&self, retriever: &Retriever, answer: &Answer, slice: &Slice) -> Result<Vec<Selected>> {
        let token = self
            .token
            .as_ref()
            .map(|token| json!({ "next_page_token": token }));
        let keeps = self.keeps.as_ref().map(|keeps| |record: &Value| keeps(record));
        let keeps = keeps
            .as_ref()
            .map(|keeps| keeps as &(dyn Fn(&Value) -> bool + Sync));
        let around = Around {
            env: &self.env,
            slice,
            token: token.as_ref(),
            schema: self.schema.as_deref(),
            keeps,
        };
        retriever
            .selector
            .select(&retriever.decoder, answer, &around)
            .await
    }

    /// The same page once for each part of the properties; parts of a record are put together.
    async fn by_properties(&self, retriever: &Retriever, properties: &Properties) -> Result<Fetched> {
        let mut answers = Vec::new();
        let mut last = None;
        let mut extracted = 0;
        for part in properties.parts(&self.env).await? {
            let slice = self
                .slice
                .with_extra("query_properties", Value::from(part.clone()));
            let answer = match self.send(retriever, &slice, Some(&part)).await? {
                Outcome::Answer(answer) => answer,
                Outcome::Nothing | Outcome::Refresh | Outcome::Rotate => {
                    last = None;
                    continue;
                }
                other => return Ok(Fetched::without_page(other)),
            };
            let parts = self.select(retriever, &answer, &slice).await?;
            extracted = parts.iter().map(|part| part.extracted).sum();
            let document = parts.first().and_then(|part| part.document.clone());
            last = Some((answer, document));
            answers.push(parts);
        }
        let Some((answer, document)) = last else {
            return Ok(Fetched::Nothing);
        };
        let mut selected = by_key(properties, &answers)?;
        selected.document = document;
        selected.extracted = extracted;
        Ok(Fetched::Page(answer, vec![selected]))
    }

    /// What the page gives, and whether another follows.
    fn turn(&mut self, retriever: &Retriever, answer: &Answer, parts: Vec<Selected>) -> Result<Page> {
        let extracted = parts.iter().map(|part| part.extracted).sum();
        let kept: u64 = parts.iter().map(|part| part.records.len() as u64).sum();
        let document = parts.first().and_then(|part| part.document.clone());
        let selected = joined(parts)?;
        let wants_record =
            retriever.paginator.as_ref().is_some_and(Paginator::wants_record) || self.feed.is_some();
        let last = selected.records.last().filter(|_| wants_record);
        let last_record = last.map(|span| value_of(&selected.body, span)).transpose()?;
        let ends_feed = match (&self.feed, &last_record) {
            (Some(feed), Some(record)) => !feed(record),
            _ => false,
        };
        let newest = self.newest(retriever, &selected)?;
        self.seen.observe(selected.records.len() as u64, newest);
        let is_full = self.seen.is_full(retriever.reset.as_ref());
        let next = match &retriever.paginator {
            Some(paginator) if !ends_feed && !is_full => paginator.next(
                &self.env,
                &PageEnd {
                    answer,
                    document: document.as_ref(),
                    extracted,
                    kept,
                    last_record,
                    slice: &self.slice,
                    token: self.token.as_ref(),
                    size: self.size.now,
                },
            )?,
            _ => None,
        };
        if next.is_some() && next == self.token {
            return Err(
                Error::source_failed(format!("the source repeats page {}", self.pages))
                    .with("slice", &self.slice.key)
                    .hint(
                        "the paginator is given the same token again; check cursor_value and stop_condition",
                    ),
            );
        }
        self.is_done = next.is_none();
        self.check_progress(&selected)?;
        self.token = next;
        if is_full {
            self.restart(retriever)?;
        }
        let records = match &self.feed {
            None => selected.records,
            Some(feed) => {
                let mut wanted = Vec::with_capacity(selected.records.len());
                for span in selected.records {
                    if feed(&value_of(&selected.body, &span)?) {
                        wanted.push(span);
                    }
                }
                wanted
            }
        };
        Ok(Page {
            filtered: extracted.saturating_sub(records.len() as u64),
            records,
            body: selected.body,
            received_at: answer.received_at,
            bytes: answer.body.len() as u64,
        })
    }

    /// A source that takes no heed of the page token answers the same for ever.
    fn check_progress(&mut self, selected: &Selected) -> Result<()> {
        if self.is_done {
            self.rounds = Rounds::default();
            return Ok(());
        }
        let has_records = !selected.records.is_empty();
        let digest = has_records.then(|| foldhash::fast::FixedState::default().hash_one(&selected.body));
        let Some(period) = self.rounds.goes_round(digest, ROUNDS_MAX) else {
            return Ok(());
        };
        let what = match period {
            1 => "the same records in page after page".to_owned(),
            pages => format!("the same {pages} pages again and again"),
        };
        Err(Error::source_failed(format!("the source answers {what}"))
            .with("slice", &self.slice.key)
            .with("pages", self.pages)
            .hint("the source takes no heed of what the paginator sends; check page_token_option and the names of the parameters"))
    }

    /// The newest cursor of a page, where it decides how pages go on.
    fn newest(&self, retriever: &Retriever, selected: &Selected) -> Result<Option<Moment>> {
        let Some(cursor) = retriever
            .cursor
            .as_ref()
            .filter(|_| Seen::wants_cursor(retriever.reset.as_ref()))
        else {
            return Ok(None);
        };
        let mut newest = None;
        for span in &selected.records {
            let record = value_of(&selected.body, span)?;
            newest = newest.max(of_record(cursor, &record));
        }
        Ok(newest)
    }
}

fn of_record(cursor: &CursorPlan, record: &Value) -> Option<Moment> {
    let value = record.get(&cursor.field).filter(|value| !value.is_null())?;
    cursor.parse(value)
}

//! Reads one slice, page after page.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::Value;
use sha2::{Digest, Sha256};
use url::Url;
use weir_protocol::spec::{CursorOrder, Placed};
use weir_protocol::state::WHOLE;
use weir_protocol::{Error, ErrorKind, ReadEvent, Result, SliceState, StateChange};

use super::context::{Events, Oddity, ReadContext};
use super::job::JOB;
use super::page::{PageOut, PageReader};
use super::tracker::Tracker;
use super::turn::Outlet;
use crate::cursor::Bounds;
use crate::http::{Answer, HeaderMap, Outgoing, Sent, show_url};
use crate::interpolate::{Scope, hex};
use crate::pagination::{Carried, PageFacts, PageState, Rounds};
use crate::request::Injection;
use crate::slicing::Slice;

pub(super) struct SliceReader {
    context: Arc<ReadContext>,
    slice: Slice,
    bounds: Bounds,
    scope: Scope,
    tracker: Tracker,
    /// Stored ETag of the slice's first page, with the digest of its URL before it.
    etag: Option<String>,
    /// The last read of the slice came to its end, as far as is known.
    is_whole_before: bool,
    pages: u64,
    seen: HashSet<u64>,
    rounds: Rounds,
    outlet: Outlet,
}

enum Next {
    Page(PageState),
    End,
}

impl SliceReader {
    pub(super) fn new(context: Arc<ReadContext>, slice: Slice) -> Result<Self> {
        let bounds = match &slice.window {
            Some(bounds) => bounds.clone(),
            None => context.bounds(&slice.base)?,
        };
        let mut scope = context.scope.clone().with("slice", &slice.fields);
        let cursor = context.plan.cursor.as_ref();
        if let Some(cursor) = cursor {
            scope.set("cursor", cursor.scope_value(&bounds)?);
        }
        let stored = context.begins_with(&slice);
        let tracking = context.tracking(slice.window.is_some());
        Ok(Self {
            etag: stored.etag.clone(),
            is_whole_before: stored.page.is_none() && stored.pending.is_none(),
            tracker: Tracker::new(tracking, cursor, stored),
            context,
            slice,
            bounds,
            scope,
            pages: 0,
            seen: HashSet::new(),
            rounds: Rounds::default(),
            outlet: Outlet::default(),
        })
    }

    pub(super) async fn read(mut self) -> Result<()> {
        let context = self.context.clone();
        if let Some(job) = &context.plan.job {
            let made = job
                .run(&context.source.client, &context.plan.rules, &self.scope)
                .await;
            let made = made.map_err(|error| self.name_slice(error))?;
            self.scope.set(JOB, made);
        }
        let first = context.plan.pagination.rule().first(&self.scope)?;
        let mut page = self.resumed_page()?.unwrap_or_else(|| first.clone());
        let mut may_fall_back = page != first;
        loop {
            match self.page(&page, !may_fall_back && self.pages == 0).await {
                Ok(Next::Page(next)) => page = next,
                Ok(Next::End) => return Ok(()),
                Err(error) if may_fall_back && error.kind() == ErrorKind::Source => {
                    context
                        .notices
                        .note(Oddity::PageRefused, error.message().as_bytes());
                    page = first.clone();
                    self.seen.clear();
                    self.rounds = Rounds::default();
                }
                Err(error) => return Err(error),
            }
            may_fall_back = false;
            if context.records_left() == Some(0) {
                return Ok(());
            }
        }
    }

    /// The page that an interrupted read would have read next.
    fn resumed_page(&self) -> Result<Option<PageState>> {
        let Some(stored) = self.context.stored(&self.slice.key).page else {
            return Ok(None);
        };
        let page: PageState = serde_json::from_value(stored.clone()).map_err(|error| {
            Error::state(format!("the stored page {stored} cannot be read"))
                .with("slice", &self.slice.key)
                .caused_by(error)
                .hint("reset the stream's state with `weir state reset`")
        })?;
        // Other records may stand there by now: the slice is read from its beginning again. A new job knows nothing
        // of the pages of another one.
        Ok((!page.is_position() && self.context.plan.job.is_none()).then_some(page))
    }

    async fn page(&mut self, page: &PageState, is_first: bool) -> Result<Next> {
        self.guard(page)?;
        let scope = self
            .scope
            .clone()
            .with("page", self.context.plan.pagination.scope_value(page));
        let mut outgoing = self.request(page, &scope)?;
        let url_digest = short_digest(outgoing.url.as_str());
        // An interrupted read is not made whole by an answer that only says that its first page is the same.
        let asks_etag = is_first
            && self.is_whole_before
            && self.context.plan.etag
            && self.context.is_incremental()
            && self.slice.window.is_none();
        if asks_etag
            && let Some(etag) = self
                .etag
                .as_deref()
                .and_then(|etag| etag.strip_prefix(&format!("{url_digest} ")))
        {
            outgoing.set_header("If-None-Match", etag);
        }
        let context = self.context.clone();
        let url = show_url(&outgoing.url);
        let classify = |answer: &Answer| context.plan.rules.classify(answer, &scope);
        let sent = context.source.client.send(outgoing, &classify).await;
        let sent = sent.map_err(|error| self.name_slice(error))?;
        let answer = match sent {
            Sent::Answer(answer) => answer,
            Sent::NotModified(_) | Sent::Ignored(_) => return self.end(Vec::new()).await,
        };
        self.count(&answer);
        let out = self
            .extract(&answer, &scope)
            .map_err(|error| error.with("url", &url))?;
        self.guard_records(&answer, &out)?;
        self.advance(page, &answer, out, asks_etag.then_some(url_digest), &scope)
            .await
    }

    fn extract(&mut self, answer: &Answer, scope: &Scope) -> Result<PageOut> {
        let context = self.context.clone();
        let filters = context.is_incremental() && !context.plan.asks_for_changes();
        let starts_late = !filters && context.start.is_some() && !context.plan.asks_for_changes();
        let mut reader = PageReader {
            context: &context,
            slice: &self.slice.key,
            scope,
            lower: self.bounds.lower.as_ref().filter(|_| filters || starts_late),
            upper: context
                .end
                .as_ref()
                .filter(|_| context.request.to.is_some() || !context.plan.asks_for_changes()),
            tracker: &mut self.tracker,
        };
        reader.read(answer)
    }

    async fn advance(
        &mut self,
        page: &PageState,
        answer: &Answer,
        out: PageOut,
        etag_of: Option<String>,
        scope: &Scope,
    ) -> Result<Next> {
        let context = self.context.clone();
        let rule = context.plan.pagination.rule();
        let facts = PageFacts {
            records: out.records,
            document: out.document.as_ref(),
            headers: &answer.headers,
            url: &answer.url,
            last_record: out.last_record.as_deref(),
            scope,
        };
        if context.plan.slicing.is_whole()
            && let Some(total) = rule.total(&facts)?
        {
            context.counts.records_total.store(total, Ordering::Relaxed);
        }
        let is_past = context.is_incremental()
            && match context.plan.order() {
                CursorOrder::Descending => out.is_all_old,
                CursorOrder::Ascending => out.is_all_beyond && context.request.to.is_some(),
                _ => false,
            };
        let next = if is_past { None } else { rule.next(&facts, page)? };
        let next = next.map(|next| self.without_secrets(next));
        if let Some(url_digest) = etag_of {
            let is_telling = next.is_none() || context.plan.order() == CursorOrder::Descending;
            self.keep_etag(&answer.headers, &url_digest, is_telling);
        }
        let mut events = self.cap(out);
        let Some(next) = next else {
            return self.end(events).await;
        };
        let tracking = context.tracking(self.slice.window.is_some());
        let starts_over = next.is_position() || context.plan.job.is_some();
        if starts_over && context.gives_whole_slices() && !tracking.per_page {
            self.outlet.keep_whole();
        }
        if !self.outlet.is_whole() {
            events.push(self.advance_after(&next)?);
        }
        events.push(ReadEvent::Progress(context.progress()));
        self.outlet.page(&context, events).await?;
        Ok(Next::Page(next))
    }

    /// The state after a page that leads to another one.
    fn advance_after(&mut self, next: &PageState) -> Result<ReadEvent> {
        let stored = serde_json::to_value(next).map_err(|error| {
            Error::internal("a page's state cannot be written")
                .caused_by(error)
                .hint("report this as a bug of weir")
        })?;
        let state = self.tracker.after_page(stored);
        Ok(self.advance_event(state))
    }

    /// A vendor may echo the credential in the next page's URL; it is signed anew, and must not get
    /// into the state.
    fn without_secrets(&self, page: PageState) -> PageState {
        let PageState::Url(text) = &page else {
            return page;
        };
        let redactor = self.context.source.client.redactor();
        let Some(mut url) = Url::parse(text).ok().filter(|_| redactor.finds(text)) else {
            return page;
        };
        let pairs = url.query_pairs().into_owned();
        let kept: Vec<(String, String)> = pairs.filter(|(_, value)| !redactor.finds(value)).collect();
        url.query_pairs_mut().clear().extend_pairs(kept);
        PageState::Url(url.into())
    }

    /// The page's batches, cut where a preview has enough.
    fn cap(&self, out: PageOut) -> Events {
        let mut events = Vec::with_capacity(out.batches.len() + 2);
        for mut batch in out.batches {
            if let Some(left) = self.context.records_left() {
                batch
                    .records
                    .truncate(usize::try_from(left).unwrap_or(usize::MAX));
            }
            let records = batch.records.len() as u64;
            self.context.counts.records.fetch_add(records, Ordering::Relaxed);
            if batch.read() > 0 {
                events.push(ReadEvent::Batch(batch));
            }
        }
        events
    }

    async fn end(&mut self, mut events: Events) -> Result<Next> {
        let context = self.context.clone();
        let tracking = context.tracking(self.slice.window.is_some());
        let empty = Tracker::new(tracking, None, SliceState::default());
        let state = std::mem::replace(&mut self.tracker, empty).finish();
        let state = self.beyond_base(state);
        context
            .ends
            .add(&self.slice.base, context.plan.cursor.as_ref(), state.clone());
        context.counts.slices_done.fetch_add(1, Ordering::Relaxed);
        events.push(self.advance_event(state));
        events.push(ReadEvent::Progress(context.progress()));
        self.outlet.end(&context, events).await?;
        if let Some(job) = &context.plan.job {
            job.forget(&context.source.client, &context.plan.rules, &self.scope)
                .await;
        }
        Ok(Next::End)
    }

    /// A window that brought nothing new does not repeat what is known of the slice that it is one of: a read may have
    /// many such windows, and the digests of a thousand records each.
    fn beyond_base(&self, state: SliceState) -> SliceState {
        let context = &self.context;
        let is_window = self.slice.window.is_some() && context.is_incremental();
        match context.state.slices.get(&self.slice.base) {
            Some(base) if is_window && (&base.cursor, &base.edge) == (&state.cursor, &state.edge) => {
                SliceState {
                    cursor: None,
                    edge: Vec::new(),
                    ..state
                }
            }
            _ => state,
        }
    }

    fn advance_event(&self, state: SliceState) -> ReadEvent {
        ReadEvent::Advance(StateChange::Slice {
            key: self.slice.key.clone(),
            state,
        })
    }

    fn count(&mut self, answer: &Answer) {
        self.pages += 1;
        self.context.counts.pages.fetch_add(1, Ordering::Relaxed);
        let bytes = answer.body.len() as u64;
        self.context.counts.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// An unchanged first page says that nothing changed only where it is the only page, or the one
    /// on which changes appear.
    fn keep_etag(&mut self, headers: &HeaderMap, url_digest: &str, is_telling: bool) {
        let etag = headers.get("etag").and_then(|etag| etag.to_str().ok());
        let kept = etag.filter(|_| is_telling);
        self.tracker
            .set_etag(kept.map(|etag| format!("{url_digest} {etag}")));
    }

    fn request(&self, page: &PageState, scope: &Scope) -> Result<Outgoing> {
        let plan = &self.context.plan;
        let mut injections = Vec::new();
        for (name, value) in &self.slice.params {
            injections.push(inject(Placed::Param(name.clone()), value.clone()));
        }
        self.inject_bounds(&mut injections)?;
        for (at, value) in plan.pagination.size() {
            injections.push(inject(at, value));
        }
        let url = match plan.pagination.rule().carry(page) {
            Carried::Nothing => None,
            Carried::Put(at, value) => {
                injections.push(inject(at, value));
                None
            }
            Carried::Url(url) => Some(url),
        };
        plan.request.build(scope, &injections, url.as_deref())
    }

    fn inject_bounds(&self, injections: &mut Vec<Injection>) -> Result<()> {
        let Some(cursor) = &self.context.plan.cursor else {
            return Ok(());
        };
        let Some(request) = &cursor.request else {
            return Ok(());
        };
        let mut put = |at: Option<Placed>, bound: &Option<crate::cursor::Point>| -> Result<()> {
            if let (Some(at), Some(point)) = (at, bound) {
                injections.push(inject(at, cursor.write(point)?));
            }
            Ok(())
        };
        put(request.param.clone().map(Placed::Param), &self.bounds.lower)?;
        put(request.header.clone().map(Placed::Header), &self.bounds.lower)?;
        put(request.body.clone().map(Placed::Body), &self.bounds.lower)?;
        put(request.end_param.clone().map(Placed::Param), &self.bounds.upper)?;
        put(request.end_body.clone().map(Placed::Body), &self.bounds.upper)
    }

    /// The page limit, and pages that lead back to themselves.
    fn guard(&mut self, page: &PageState) -> Result<()> {
        let most = self.context.plan.pages_max;
        if self.pages >= most {
            let error = Error::limit(format!("a slice has more than {most} pages"));
            return Err(self.name_slice(error).hint(
                "raise reliability.pages_max if that is right; otherwise check when paginate should stop",
            ));
        }
        let text = serde_json::to_string(page).unwrap_or_default();
        if self.seen.insert(hash_of(text.as_bytes())) {
            return Ok(());
        }
        Err(self.repeats(text))
    }

    /// The same pages once more, though others were asked for.
    fn guard_records(&mut self, answer: &Answer, out: &PageOut) -> Result<()> {
        match self.rounds.goes_round(out.digest, 1) {
            None => Ok(()),
            Some(1) => Err(self.repeats(show_url(&answer.url))),
            Some(period) => {
                let error = self.repeats(show_url(&answer.url));
                Err(error.with("pages come round after", period))
            }
        }
    }

    fn name_slice(&self, error: Error) -> Error {
        match &*self.slice.key {
            WHOLE => error,
            key => error.with("slice", key),
        }
    }

    fn repeats(&self, page: String) -> Error {
        let error = Error::source_failed(format!("the source repeats page {}", self.pages + 1));
        self.name_slice(error)
            .with("page", page)
            .hint("check paginate: the vendor may ignore the parameter that is sent, or stop in another way")
    }
}

fn inject(at: Placed, value: Value) -> Injection {
    Injection { at, value }
}

fn hash_of(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

fn short_digest(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    hex(digest.get(..8).unwrap_or_default())
}

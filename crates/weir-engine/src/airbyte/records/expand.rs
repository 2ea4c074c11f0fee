//! Lists within records, whose elements become records of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::BoxFuture;
use serde_json::{Map, Value, json};
use weir_protocol::{Error, Result};

use super::super::env::Env;
use super::super::node::Node;
use super::super::retriever::{Page, Retriever};
use super::super::slices::Slice;
use super::super::template::json_is_true;
use super::extractor::Found;
use super::path;
use super::texts::{Texts, parsed};
use crate::extract::Exact;

pub(crate) struct Expander {
    env: Arc<Env>,
    path: Vec<String>,
    /// From where in the record to where in its elements.
    parent_fields: Vec<(Vec<String>, Vec<String>)>,
    embeds_parent: bool,
    merges_parent: bool,
    emits_parent: bool,
    /// Says of a record that its list is only a beginning.
    truncated: Vec<String>,
    /// Reads the whole list of such a record.
    retriever: Option<Box<Retriever>>,
    has_warned: AtomicBool,
}

impl Expander {
    pub(super) fn new(env: &Arc<Env>, node: &Node<'_>) -> Result<Self> {
        if node.kind() != "RecordExpander" {
            return Err(node.unknown("a part of an extractor"));
        }
        let path = steps(env, node, "expand_records_from_field")?;
        let truncated = steps(env, node, "truncation_indicator_path")?;
        plain(node, "truncation_indicator_path", &truncated)?;
        let retriever = node.get("truncated_list_retriever");
        if let Some(retriever) = &retriever {
            if truncated.is_empty() {
                return Err(node.error("truncated_list_retriever needs truncation_indicator_path"));
            }
            plain(node, "expand_records_from_field", &path)?;
            for field in ["partition_router", "pagination_reset"] {
                if let Some(there) = retriever.get(field) {
                    return Err(there.error(format!("truncated_list_retriever takes no {field}")));
                }
            }
        }
        let fields = node.list("parent_fields");
        let fields = fields.iter().map(|field| parent_field(env, field));
        let emits_parent = match node.str("on_no_records") {
            None | Some("skip") => false,
            Some("emit_parent") => true,
            Some(other) => {
                return Err(node.error(format!(
                    "on_no_records is '{other}'; it may be skip or emit_parent"
                )));
            }
        };
        Ok(Self {
            path,
            parent_fields: fields.collect::<Result<_>>()?,
            embeds_parent: node.flag("remain_original_record"),
            merges_parent: node.flag("merge_parent"),
            emits_parent,
            truncated,
            retriever: retriever
                .map(|retriever| Retriever::simple(env, &retriever).map(Box::new))
                .transpose()?,
            has_warned: AtomicBool::new(false),
            env: env.clone(),
        })
    }

    /// The elements of all records' lists.
    pub(super) async fn expand(&self, found: &Found) -> Result<Found> {
        let mut all = Texts::default();
        for span in &found.spans {
            let text = &found.text[span.start as usize..span.end as usize];
            let exact = Exact::of(&[text]);
            let record = parsed(text, &exact)?;
            if record.is_object() && !self.path.is_empty() {
                self.one(text, &record, &exact, &mut all).await?;
            } else {
                all.push(&record, &exact)?;
            }
        }
        Ok(all.into())
    }

    async fn one(&self, text: &[u8], record: &Value, exact: &Exact, all: &mut Texts) -> Result<()> {
        let is_truncated =
            !self.truncated.is_empty() && path::get(record, &self.truncated).is_some_and(json_is_true);
        if let Some(retriever) = self.retriever.as_ref().filter(|_| is_truncated) {
            let pages = self.whole_list(retriever, record).await?;
            let whole: Vec<&[u8]> = pages.iter().flat_map(Page::texts).collect();
            self.warn_of_less(record, whole.len());
            if !whole.is_empty() {
                return self.all_of(text, &whole, all);
            }
        }
        let base = self.base(record);
        let lists: Vec<&Vec<Value>> = path::values(record, &self.path)
            .into_iter()
            .filter_map(Value::as_array)
            .collect();
        let count: usize = lists.iter().map(|list| list.len()).sum();
        if is_truncated && self.retriever.is_none() && !self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                list = self.path.join("."),
                elements = count,
                "the source says that a record's list is only a beginning; the rest is not read, a truncated_list_retriever would"
            );
        }
        for item in lists.into_iter().flatten() {
            all.push(&self.element(record, base.as_ref(), item.clone())?, exact)?;
        }
        if count == 0 && self.emits_parent {
            all.push(record, exact)?;
        }
        Ok(())
    }

    /// The elements of a list that came in answers of its own. What they take along comes from another text: the record
    /// is parsed once more, together with them.
    fn all_of(&self, record: &[u8], list: &[&[u8]], all: &mut Texts) -> Result<()> {
        let texts: Vec<&[u8]> = list.iter().copied().chain([record]).collect();
        let exact = Exact::of(&texts);
        let record = parsed(record, &exact)?;
        let base = self.base(&record);
        for item in list {
            let item = parsed(item, &exact)?;
            all.push(&self.element(&record, base.as_ref(), item)?, &exact)?;
        }
        Ok(())
    }

    /// What all elements of a record begin with.
    fn base(&self, record: &Value) -> Option<Value> {
        self.merges_parent.then(|| {
            let mut base = record.clone();
            strip(&mut base, &self.path);
            base
        })
    }

    fn whole_list<'e>(
        &'e self,
        retriever: &'e Retriever,
        record: &Value,
    ) -> BoxFuture<'e, Result<Vec<Page>>> {
        let slice = Slice::new(json!({ "parent_record": record }), json!({}), json!({}));
        Box::pin(retriever.pages_of(&self.env, Arc::new(slice)))
    }

    /// Where the record says how many there are, and fewer came.
    fn warn_of_less(&self, record: &Value, came: usize) {
        let Some((_, beside)) = self.truncated.split_last() else {
            return;
        };
        let holder = path::get(record, beside);
        let total = holder
            .and_then(|holder| holder.get("total_count"))
            .and_then(Value::as_u64);
        if total.is_some_and(|total| (came as u64) < total) && !self.has_warned.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                came,
                total,
                "the list of a record is shorter than the source says; check the paginator of truncated_list_retriever"
            );
        }
    }

    /// An element with what it takes along from its record.
    fn element(&self, parent: &Value, base: Option<&Value>, item: Value) -> Result<Value> {
        let carries = self.embeds_parent || self.merges_parent || !self.parent_fields.is_empty();
        let mut element = match item {
            Value::Object(members) => members,
            other if !carries => return Ok(other),
            other => Map::from_iter([("value".to_owned(), other)]),
        };
        if let Some(Value::Object(base)) = base {
            let mut merged = base.clone();
            merged.extend(element);
            element = merged;
        }
        let mut element = Value::Object(element);
        for (from, to) in &self.parent_fields {
            let value = path::get(parent, from).cloned().unwrap_or(Value::Null);
            if blocked(&element, to) {
                return Err(Error::decode(format!(
                    "a parent's field cannot be written to '{}': something else than an object is on the way",
                    to.join(".")
                ))
                .hint("choose another record_path for the RecordExpander"));
            }
            path::create(&mut element, to, value);
        }
        if let (true, Value::Object(members)) = (self.embeds_parent, &mut element) {
            members.insert("original_record".to_owned(), parent.clone());
        }
        Ok(element)
    }
}

fn parent_field(env: &Arc<Env>, node: &Node<'_>) -> Result<(Vec<String>, Vec<String>)> {
    let path = |field: &str| -> Result<Vec<String>> {
        let steps = steps(env, node, field)?;
        if steps.is_empty() {
            return Err(node.error(format!("{field} is empty")));
        }
        plain(node, field, &steps)?;
        Ok(steps)
    };
    Ok((path("parent_path")?, path("record_path")?))
}

fn steps(env: &Arc<Env>, node: &Node<'_>, field: &str) -> Result<Vec<String>> {
    let scope = env.scope();
    node.texts(field)?
        .iter()
        .map(|step| step.eval_text(&scope))
        .collect()
}

/// A path that leads to one place.
fn plain(node: &Node<'_>, field: &str, steps: &[String]) -> Result<()> {
    match steps.iter().find(|step| step.contains(['*', '?', '['])) {
        None => Ok(()),
        Some(step) => Err(node.error(format!(
            "{field} must lead to one place; '{step}' may lead to several"
        ))),
    }
}

/// Whether something that has no members stands on the way.
fn blocked(value: &Value, to: &[String]) -> bool {
    let Some((_, way)) = to.split_last() else {
        return false;
    };
    let mut at = value;
    for step in way {
        match at.get(step) {
            None => return false,
            Some(below) if below.is_object() => at = below,
            Some(_) => return true,
        }
    }
    false
}

/// Takes away the lists that the path leads to, and nothing else.
fn strip(value: &mut Value, steps: &[String]) {
    let Some((first, rest)) = steps.split_first() else {
        return;
    };
    if rest.is_empty() {
        path::remove(value, std::slice::from_ref(first), &mut |found| found.is_array());
        return;
    }
    path::each(value, first, |below| {
        strip(below, rest);
        1
    });
}

//! Partition routers: what a stream is divided by besides time.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use weir_protocol::{Error, Result};

use super::super::env::Env;
use super::super::node::Node;
use super::super::request::{Injection, SliceOption};
use super::super::template::{Takes, Text, py_text};
use super::substream::{Parent, Substream};
use super::{Slice, canonical};

/// Partitions, one after the other.
#[async_trait]
pub(crate) trait Routing: Send {
    async fn next(&mut self) -> Result<Option<Slice>>;
    /// The parents' states; None where the reference keeps none.
    fn state(&self) -> Option<Value>;
}

/// A declared router.
pub(crate) enum Router {
    List {
        field: String,
        values: Vec<Value>,
        options: Vec<SliceOption>,
    },
    Substream {
        parents: Vec<Arc<Parent>>,
        options: Vec<SliceOption>,
    },
    Product(Vec<Self>),
    Grouping {
        below: Box<Self>,
        size: usize,
        deduplicates: bool,
    },
    Union {
        routers: Vec<Self>,
        field: String,
    },
}

impl Router {
    /// `state` is the stream's own, for parents that are read on.
    pub(crate) fn new(env: &Arc<Env>, node: &Node<'_>, state: &Value) -> Result<Self> {
        if node.value.is_array() {
            let routers = node.items();
            return Ok(Self::Product(
                routers
                    .iter()
                    .map(|node| Self::new(env, node, state))
                    .collect::<Result<_>>()?,
            ));
        }
        let scope = env.scope();
        Ok(match node.kind() {
            "ListPartitionRouter" => Self::list(env, node)?,
            "SubstreamPartitionRouter" => {
                let mut parents = Vec::new();
                let mut options = Vec::new();
                for parent in node.list("parent_stream_configs") {
                    if let Some(option) = parent.get("request_option") {
                        options.push(SliceOption {
                            injection: Injection::new(&option)?,
                            field: parent.need_text("partition_field")?,
                            always: false,
                        });
                    }
                    parents.push(Arc::new(Parent::new(env, &parent, state)?));
                }
                if parents.is_empty() {
                    return Err(node.error("a SubstreamPartitionRouter needs a parent stream"));
                }
                Self::Substream { parents, options }
            }
            "CartesianProductStreamSlicer" => {
                let routers = node.list("stream_slicers");
                Self::Product(
                    routers
                        .iter()
                        .map(|node| Self::new(env, node, state))
                        .collect::<Result<_>>()?,
                )
            }
            "GroupingPartitionRouter" => Self::grouping(env, node, state)?,
            "UnionPartitionRouter" => {
                let routers = node.list("partition_routers");
                let routers = routers.iter().map(|below| {
                    let router = Self::new(env, below, state)?;
                    router.puts_nothing(node)?;
                    Ok(router)
                });
                Self::Union {
                    routers: routers.collect::<Result<_>>()?,
                    field: node.need_text("partition_field")?.eval_text(&scope)?,
                }
            }
            _ => return Err(node.unknown("a partition router")),
        })
    }

    fn grouping(env: &Arc<Env>, node: &Node<'_>, state: &Value) -> Result<Self> {
        let size = node.int("group_size").and_then(|size| usize::try_from(size).ok());
        let size = size
            .filter(|size| *size > 0)
            .ok_or_else(|| node.error("group_size must be at least 1"))?;
        let deduplicates = node
            .value
            .get("deduplicate")
            .and_then(Value::as_bool)
            .unwrap_or(true);
        let below = Self::new(env, &node.need("underlying_partition_router")?, state)?;
        below.puts_nothing(node)?;
        Ok(Self::Grouping {
            below: Box::new(below),
            size,
            deduplicates,
        })
    }

    /// A router of routers gives partitions of its own: what those below put into requests would be lost.
    fn puts_nothing(&self, above: &Node<'_>) -> Result<()> {
        if self.options().is_empty() {
            return Ok(());
        }
        Err(above.error(format!(
            "routers within a {} take no request_option; name the partition in the requester instead",
            above.kind()
        )))
    }

    fn list(env: &Arc<Env>, node: &Node<'_>) -> Result<Self> {
        let scope = env.scope();
        let field: Text = node.need_text("cursor_field")?;
        let declared = node.need("values")?;
        let values = match declared.value {
            Value::Array(values) => values.clone(),
            _ => match declared
                .as_text(node.parameters())?
                .eval(&scope, Takes::Anything)?
            {
                Value::Array(values) => values,
                // A setting that was not given: no partitions, as in the reference.
                Value::String(text) if text.is_empty() => Vec::new(),
                other => return Err(declared.error(format!("values gives '{}', no list", py_text(&other)))),
            },
        };
        let option = node.get("request_option");
        let option = option.map(|option| -> Result<SliceOption> {
            Ok(SliceOption {
                injection: Injection::new(&option)?,
                field: field.clone(),
                always: false,
            })
        });
        Ok(Self::List {
            field: field.eval_text(&scope)?,
            values,
            options: option.transpose()?.into_iter().collect(),
        })
    }

    /// What its partitions put into requests.
    pub(crate) fn options(&self) -> Vec<SliceOption> {
        match self {
            Self::List { options, .. } | Self::Substream { options, .. } => options.clone(),
            Self::Product(routers) => routers.iter().flat_map(Self::options).collect(),
            Self::Grouping { .. } | Self::Union { .. } => Vec::new(),
        }
    }

    pub(crate) fn is_grouping(&self) -> bool {
        matches!(self, Self::Grouping { .. })
    }

    /// Whether parents are read as part of their own records (`lazy_read_pointer`).
    pub(crate) fn is_lazy(&self) -> bool {
        matches!(self, Self::Substream { parents, .. } if parents.iter().any(|parent| parent.is_lazy()))
    }

    pub(crate) fn begin(&self) -> Result<Box<dyn Routing>> {
        Ok(match self {
            Self::List { field, values, .. } => {
                let slices = values
                    .iter()
                    .map(|value| Slice::new(json!({ field: value }), json!({}), json!({})));
                Box::new(Listed {
                    slices: slices.collect::<Vec<_>>().into_iter(),
                })
            }
            Self::Substream { parents, .. } => Box::new(Substream::new(parents)?),
            Self::Product(routers) => Box::new(Product {
                routers: routers.iter().map(Self::begin).collect::<Result<_>>()?,
                made: None,
            }),
            Self::Grouping {
                below,
                size,
                deduplicates,
            } => Box::new(Grouped {
                below: below.begin()?,
                size: *size,
                seen: deduplicates.then(HashSet::new),
                state: None,
            }),
            Self::Union { routers, field } => Box::new(United {
                routers: routers.iter().map(Self::begin).collect::<Result<_>>()?,
                at: 0,
                field: field.clone(),
                seen: HashSet::new(),
            }),
        })
    }
}

struct Listed {
    slices: std::vec::IntoIter<Slice>,
}

#[async_trait]
impl Routing for Listed {
    async fn next(&mut self) -> Result<Option<Slice>> {
        Ok(self.slices.next())
    }

    fn state(&self) -> Option<Value> {
        None
    }
}

/// Every partition of each router with every one of the others; the first one's change slowest.
struct Product {
    routers: Vec<Box<dyn Routing>>,
    made: Option<std::vec::IntoIter<Slice>>,
}

#[async_trait]
impl Routing for Product {
    async fn next(&mut self) -> Result<Option<Slice>> {
        if self.made.is_none() {
            let mut made = vec![Slice::whole()];
            for router in &mut self.routers {
                let mut factors = Vec::new();
                while let Some(slice) = router.next().await? {
                    factors.push(slice);
                }
                let pairs = made
                    .iter()
                    .flat_map(|left| factors.iter().map(move |right| joined(left, right)));
                made = pairs.collect();
            }
            self.made = Some(made.into_iter());
        }
        Ok(self.made.as_mut().and_then(Iterator::next))
    }

    fn state(&self) -> Option<Value> {
        None
    }
}

/// What the left one has wins.
fn joined(left: &Slice, right: &Slice) -> Slice {
    let both = |left: &Value, right: &Value| {
        let mut both = left.as_object().cloned().unwrap_or_default();
        for (name, value) in right.as_object().into_iter().flatten() {
            both.entry(name.clone()).or_insert_with(|| value.clone());
        }
        Value::Object(both)
    };
    Slice::new(
        both(&left.view.partition, &right.view.partition),
        both(&left.view.cursor, &right.view.cursor),
        both(&left.view.extra, &right.view.extra),
    )
}

struct Grouped {
    below: Box<dyn Routing>,
    size: usize,
    seen: Option<HashSet<String>>,
    state: Option<Value>,
}

#[async_trait]
impl Routing for Grouped {
    async fn next(&mut self) -> Result<Option<Slice>> {
        let mut group = Vec::new();
        while group.len() < self.size {
            let Some(slice) = self.below.next().await? else {
                break;
            };
            let names = slice.view.partition.as_object();
            let key = names.and_then(|names| names.iter().find(|(name, _)| *name != "parent_slice"));
            let key = key.map(|(_, value)| canonical(value)).unwrap_or_default();
            if self.seen.as_mut().is_none_or(|seen| seen.insert(key)) {
                group.push(slice);
            }
        }
        self.state = self.below.state();
        let Some(first) = group.first() else {
            return Ok(None);
        };
        let lists = |names: Vec<String>, pick: &dyn Fn(&Slice) -> &Value| {
            let lists = names.into_iter().map(|name| {
                let values = group
                    .iter()
                    .map(|slice| pick(slice).get(&name).cloned().unwrap_or(Value::Null));
                let values: Vec<Value> = values.collect();
                (name, Value::Array(values))
            });
            Value::Object(lists.collect::<Map<_, _>>())
        };
        let names = |value: &Value| {
            value
                .as_object()
                .map(|members| members.keys().cloned().collect())
                .unwrap_or_default()
        };
        let partition = lists(names(&first.view.partition), &|slice| &slice.view.partition);
        let extra = lists(names(&first.view.extra), &|slice| &slice.view.extra);
        Ok(Some(Slice::new(partition, json!({}), extra)))
    }

    fn state(&self) -> Option<Value> {
        self.state.clone()
    }
}

struct United {
    routers: Vec<Box<dyn Routing>>,
    at: usize,
    field: String,
    seen: HashSet<String>,
}

#[async_trait]
impl Routing for United {
    async fn next(&mut self) -> Result<Option<Slice>> {
        while let Some(router) = self.routers.get_mut(self.at) {
            let Some(slice) = router.next().await? else {
                self.at += 1;
                continue;
            };
            let value = slice.view.partition.get(&self.field).cloned().ok_or_else(|| {
                Error::spec(format!("a router of the union gives no '{}'", self.field))
                    .hint("all routers of a UnionPartitionRouter give its partition_field")
            })?;
            if !self.seen.insert(canonical(&value)) {
                continue;
            }
            let mut extra = slice.view.extra.as_object().cloned().unwrap_or_default();
            for (name, other) in slice.view.partition.as_object().into_iter().flatten() {
                if *name != self.field {
                    extra.insert(name.clone(), other.clone());
                }
            }
            return Ok(Some(Slice::new(
                json!({ &self.field: value }),
                json!({}),
                Value::Object(extra),
            )));
        }
        Ok(None)
    }

    fn state(&self) -> Option<Value> {
        let mut all = Map::new();
        for router in &self.routers {
            if let Some(Value::Object(state)) = router.state() {
                all.extend(state);
            }
        }
        Some(Value::Object(all))
    }
}

//! weir's own tools: one file each.

mod call_action;
mod call_status;
mod list_streams;
mod preview;
mod query;
mod run_status;
mod run_sync;
mod search_tools;

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use weir_control::principals::Permission;
use weir_protocol::{Error, Result};

use super::caller::Caller;

pub(super) use call_action::named_action;

type Run = Arc<dyn Fn(Caller, JsonObject) -> BoxFuture<'static, Result<Value>> + Send + Sync>;

/// What a tool is, for people and models.
pub(super) struct About {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) description: &'static str,
    /// Who has not got this sees no such tool.
    pub(super) permission: Permission,
}

/// One of weir's own tools.
pub(super) struct Own {
    pub(super) name: &'static str,
    /// Listed only where actions are not.
    pub(super) is_for_searching: bool,
    permission: Permission,
    wants_data: bool,
    tool: Tool,
    /// None where the server goes another way with it.
    run: Option<Run>,
}

/// In the order in which they are listed.
pub(super) fn all() -> Vec<Own> {
    vec![
        query::tool(),
        list_streams::tool(),
        preview::tool(),
        run_sync::tool(),
        run_status::tool(),
        call_status::tool(),
        search_tools::tool(),
        call_action::tool(),
    ]
}

/// What whoever calls a tool of this name has to be allowed: an action's or a bundle's, where it is none of weir's own.
pub(super) fn permission(name: &str) -> Permission {
    let own = all().into_iter().find(|tool| tool.name == name);
    own.map_or(Permission::ActionsWrite, |tool| tool.permission)
}

impl Own {
    /// A tool that only looks.
    fn new<I, O, F>(about: &About, run: fn(Caller, I) -> F) -> Self
    where
        I: DeserializeOwned + JsonSchema + Send + 'static,
        O: Serialize + JsonSchema,
        F: Future<Output = Result<O>> + Send + 'static,
    {
        let run: Run = Arc::new(move |caller, arguments| {
            async move {
                let input = serde_json::from_value(Value::Object(arguments)).map_err(|error| {
                    Error::usage(format!("the arguments do not fit: {error}"))
                        .hint("tools/list shows what the tool takes")
                })?;
                let output = run(caller, input).await?;
                serde_json::to_value(output).map_err(|error| {
                    Error::internal("an answer cannot be written as JSON")
                        .caused_by(error)
                        .hint("report it")
                })
            }
            .boxed()
        });
        Self {
            run: Some(run),
            ..Self::described::<I, O>(about)
        }
    }

    fn described<I: JsonSchema, O: JsonSchema>(about: &About) -> Self {
        let hints = ToolAnnotations::with_title(about.title)
            .read_only(true)
            .destructive(false)
            .idempotent(true)
            .open_world(false);
        let tool = Tool::new(about.name, about.description, Arc::new(schema::<I>()))
            .with_title(about.title)
            .with_raw_output_schema(Arc::new(schema::<O>()))
            .with_annotations(hints);
        Self {
            name: about.name,
            is_for_searching: false,
            permission: about.permission,
            wants_data: false,
            tool,
            run: None,
        }
    }

    /// Where the server has the tenant's files only.
    fn of_data(mut self) -> Self {
        self.wants_data = true;
        self
    }

    fn for_searching(mut self) -> Self {
        self.is_for_searching = true;
        self
    }

    fn hints(mut self, change: impl FnOnce(ToolAnnotations) -> ToolAnnotations) -> Self {
        self.tool.annotations = self.tool.annotations.take().map(change);
        self
    }

    /// Whether a caller may use it at all.
    pub(super) fn is_for(&self, caller: &Caller) -> bool {
        caller.may(self.permission).is_ok() && (!self.wants_data || caller.data().is_ok())
    }

    pub(super) fn tool(&self) -> Tool {
        self.tool.clone()
    }

    pub(super) async fn call(&self, caller: Caller, arguments: JsonObject) -> Result<Value> {
        match &self.run {
            Some(run) => run(caller, arguments).await,
            None => Err(Error::internal("the tool does nothing by itself").hint("report it")),
        }
    }

    /// Whether calling it is calling an action.
    pub(super) fn is_an_action(&self) -> bool {
        self.run.is_none()
    }
}

/// A schema that stands alone, as plain as clients want it.
fn schema<T: JsonSchema>() -> JsonObject {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    settings.meta_schema = None;
    let mut schema = Value::from(settings.into_generator().into_root_schema_for::<T>());
    make_portable(&mut schema);
    match schema {
        Value::Object(mut object) => {
            object.remove("title");
            object
        }
        _ => JsonObject::new(),
    }
}

/// The same in words that more clients know: no schema that is a bare `true`, and no list of types.
fn make_portable(schema: &mut Value) {
    if *schema == Value::Bool(true) {
        *schema = json!({ "description": "Any JSON value." });
    }
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    for within in ["properties", "items", "anyOf", "oneOf", "allOf"] {
        match object.get_mut(within) {
            Some(Value::Object(fields)) if within == "properties" => {
                fields.values_mut().for_each(make_portable);
            }
            Some(Value::Array(branches)) => branches.iter_mut().for_each(make_portable),
            Some(one) => make_portable(one),
            None => {}
        }
    }
    if let Some(Value::Array(types)) = object.get("type").cloned() {
        let about = object.remove("description");
        let plain = std::mem::take(object);
        let branches = types.into_iter().map(|kind| {
            let mut branch = if kind == "null" {
                JsonObject::new()
            } else {
                plain.clone()
            };
            branch.insert("type".to_owned(), kind);
            Value::Object(branch)
        });
        let branches: Vec<Value> = branches.collect();
        object.insert("anyOf".to_owned(), branches.into());
        object.extend(about.map(|about| ("description".to_owned(), about)));
    }
}

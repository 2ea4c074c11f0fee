//! What names mean in a query: tables of the lake by bare name or `layer.name`, and models that are views.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, SchemaProvider, TableProvider};
use datafusion::common::TableReference;
use datafusion::datasource::ViewTable;
use datafusion::error::Result as DfResult;
use datafusion::execution::context::SessionContext;
use datafusion::execution::object_store::ObjectStoreUrl;

use weir_protocol::yaml::closest;
use weir_protocol::{Error, Result};

use crate::bronze;
use crate::failure::{explain, wrap};
use crate::scan::LakeTable;
use crate::tables::{AsOf, Layer, Snapshot, TableName, Tables};

/// The catalog's name in `catalog.schema.table`.
pub(crate) const CATALOG: &str = "weir";
/// The schema that bare names are looked up in: all layers at once.
pub(crate) const ALL_LAYERS: &str = "lake";

/// Names of one session, and what was read under them.
pub(crate) struct Names {
    pub tables: Arc<dyn Tables>,
    pub listed: BTreeSet<TableName>,
    /// SQL of the models that are views, by name.
    pub views: Arc<BTreeMap<String, String>>,
    /// Stands in for the published table: a model that waits for its checks.
    pub staged: Option<Snapshot>,
    pub as_of: Option<AsOf>,
    /// A session without these names, which knows functions and stores: views are planned in it.
    pub context: SessionContext,
    pub read: Mutex<BTreeSet<TableName>>,
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Names({} tables, {} views)",
            self.listed.len(),
            self.views.len()
        )
    }
}

impl Names {
    /// The table meant by a reference in SQL, if there is one.
    pub(crate) fn resolve(&self, reference: &TableReference) -> Option<TableName> {
        match reference.schema() {
            None | Some(ALL_LAYERS) => Layer::ALL
                .into_iter()
                .map(|layer| TableName::new(layer, reference.table()))
                .find(|name| self.knows(name)),
            Some(schema) => {
                let layer = Layer::ALL.into_iter().find(|layer| layer.as_str() == schema)?;
                Some(TableName::new(layer, reference.table())).filter(|name| self.knows(name))
            }
        }
    }

    fn knows(&self, name: &TableName) -> bool {
        self.listed.contains(name)
            || (name.layer == Layer::Gold && self.views.contains_key(&name.name))
            || self.staged.as_ref().is_some_and(|staged| staged.table == *name)
    }

    fn of_layer(&self, layer: Layer) -> Vec<String> {
        let views = self.views.keys().filter(|_| layer == Layer::Gold).cloned();
        let tables = self
            .listed
            .iter()
            .filter(|name| name.layer == layer)
            .map(|name| name.name.clone());
        tables.chain(views).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Refuses a reference that leads nowhere, with the nearest name.
    pub(crate) fn check(&self, reference: &TableReference) -> Result<()> {
        if reference.schema() == Some("information_schema")
            || crate::functions::makes_rows(reference.table())
            || self.resolve(reference).is_some()
        {
            return Ok(());
        }
        let error = Error::not_found(format!("there is no table '{reference}'"));
        let all = Layer::ALL.map(|layer| self.of_layer(layer)).concat();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        Err(match closest(reference.table(), &all) {
            Some(name) => error.hint(format!("did you mean '{name}'?")),
            None if all.is_empty() => error.hint("the lake is empty: `weir sync <connection>` fills it"),
            None => {
                error.hint("SHOW TABLES lists what is there; models appear once `weir model run` built them")
            }
        })
    }

    /// A version means one table's version, so it cannot be asked of two.
    pub(crate) fn check_version_is_of_one_table(&self) -> Result<()> {
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        match self.as_of {
            Some(AsOf::Version(version)) if read.len() > 1 => {
                let names: Vec<String> = read.iter().map(ToString::to_string).collect();
                Err(Error::usage(format!(
                    "version {version} could be of any of {} tables",
                    read.len()
                ))
                .with("tables", names.join(", "))
                .hint("ask with a timestamp when a query reads several tables"))
            }
            _ => Ok(()),
        }
    }

    async fn open(self: &Arc<Self>, name: &TableName) -> Result<Arc<dyn TableProvider>> {
        if let Some(staged) = self.staged.as_ref().filter(|staged| staged.table == *name) {
            return self.lake_table(staged.clone());
        }
        if name.layer == Layer::Gold
            && let Some(sql) = self.views.get(&name.name)
        {
            return self.view(sql).await;
        }
        self.read
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.clone());
        if name.layer == Layer::Bronze {
            return self.bronze_table(name).await;
        }
        match self.tables.snapshot(name, self.as_of).await? {
            Some(snapshot) => self.lake_table(snapshot),
            None => Err(self.missing(name)),
        }
    }

    fn missing(&self, name: &TableName) -> Error {
        match self.as_of {
            Some(as_of) => Error::not_found(format!("table '{name}' was not there at {as_of}"))
                .hint("ask a later time, or leave out --as-of"),
            None => {
                Error::not_found(format!("table '{name}' is gone")).hint("SHOW TABLES lists what is there")
            }
        }
    }

    fn lake_table(&self, snapshot: Snapshot) -> Result<Arc<dyn TableProvider>> {
        // A store each, so that equal paths of two tables can never meet.
        let url = format!("weir-{}://{}", snapshot.table.layer.as_str(), snapshot.table.name);
        let url = ObjectStoreUrl::parse(url).map_err(explain)?;
        self.context
            .runtime_env()
            .register_object_store(url.as_ref(), Arc::clone(&snapshot.store));
        Ok(Arc::new(LakeTable::new(snapshot, url)?))
    }

    async fn bronze_table(&self, name: &TableName) -> Result<Arc<dyn TableProvider>> {
        let until = match self.as_of {
            None => None,
            Some(AsOf::Timestamp(timestamp)) => Some(timestamp),
            Some(AsOf::Version(_)) => {
                return Err(Error::usage(format!("table '{name}' has no versions"))
                    .hint("ask Bronze with a timestamp: it then leaves out what was received later"));
            }
        };
        let found = self
            .tables
            .bronze(&name.name)
            .await?
            .ok_or_else(|| self.missing(name))?;
        let partitions = self.context.copied_config().target_partitions();
        Ok(Arc::new(bronze::table(found, until, partitions)?))
    }

    async fn view(self: &Arc<Self>, sql: &str) -> Result<Arc<dyn TableProvider>> {
        let statement = crate::guard::query_only(sql)?;
        let plan = crate::session::plan(&self.context, self, statement).await?;
        Ok(Arc::new(ViewTable::new(plan, Some(sql.to_owned()))))
    }
}

/// The catalog as DataFusion sees it.
#[derive(Debug)]
pub(crate) struct Catalog(pub Arc<Names>);

impl CatalogProvider for Catalog {
    fn schema_names(&self) -> Vec<String> {
        Layer::ALL.map(|layer| layer.as_str().to_owned()).to_vec()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let layer = Layer::ALL.into_iter().find(|layer| layer.as_str() == name);
        (name == ALL_LAYERS || layer.is_some()).then(|| {
            Arc::new(LayerSchema {
                names: Arc::clone(&self.0),
                layer,
            }) as Arc<dyn SchemaProvider>
        })
    }
}

/// One layer; or all of them, for bare names.
#[derive(Debug)]
struct LayerSchema {
    names: Arc<Names>,
    layer: Option<Layer>,
}

impl LayerSchema {
    fn resolve(&self, name: &str) -> Option<TableName> {
        let schema = self.layer.map_or(ALL_LAYERS, Layer::as_str);
        self.names.resolve(&TableReference::partial(schema, name))
    }
}

#[async_trait]
impl SchemaProvider for LayerSchema {
    fn table_names(&self) -> Vec<String> {
        // Nothing for bare names: SHOW TABLES would print each table twice.
        self.layer
            .map(|layer| self.names.of_layer(layer))
            .unwrap_or_default()
    }

    async fn table(&self, name: &str) -> DfResult<Option<Arc<dyn TableProvider>>> {
        match self.resolve(name) {
            Some(name) => self.names.open(&name).await.map(Some).map_err(wrap),
            None => Ok(None),
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        self.resolve(name).is_some()
    }
}

//! One session a question: its names, its memory, its temporary files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use datafusion::execution::SessionStateBuilder;
use datafusion::execution::context::{SQLOptions, SessionContext};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::Statement;
use weir_protocol::Result;

use crate::catalog::{ALL_LAYERS, CATALOG, Catalog, Names};
use crate::failure::explain;
use crate::functions::{self, LastValues};
use crate::guard;
use crate::tables::{AsOf, Snapshot, Tables};

/// What all sessions of an engine share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub tables: Arc<dyn Tables>,
    pub views: Arc<BTreeMap<String, String>>,
    /// Where sorts and joins spill to; the system's temporary folder if none.
    pub spill: Option<PathBuf>,
    pub spill_bytes_max: u64,
}

#[derive(Default)]
pub(crate) struct Asked {
    pub as_of: Option<AsOf>,
    pub memory_bytes: usize,
    /// A model that waits for its checks, in the place of the published one.
    pub staged: Option<Snapshot>,
    /// What `weir_last` gives; none where the function makes no sense.
    pub last: Option<LastValues>,
}

pub(crate) struct Session {
    pub context: SessionContext,
    pub names: Arc<Names>,
}

impl Session {
    pub(crate) async fn open(shared: &Shared, asked: Asked) -> Result<Self> {
        let mut runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(asked.memory_bytes)))
            .with_max_temp_directory_size(shared.spill_bytes_max);
        if let Some(spill) = &shared.spill {
            runtime = runtime.with_temp_file_path(spill);
        }
        let config = SessionConfig::new()
            .with_default_catalog_and_schema(CATALOG, ALL_LAYERS)
            .with_create_default_catalog_and_schema(false)
            .with_information_schema(true);
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(runtime.build_arc().map_err(explain)?)
            .with_default_features()
            .build();
        let context = SessionContext::new_with_state(state);
        functions::all()
            .into_iter()
            .for_each(|function| context.register_udf(function));
        if let Some(values) = asked.last {
            context.register_udf(functions::last(values));
        }
        let listed: BTreeSet<_> = shared.tables.list().await?.into_iter().collect();
        let names = Arc::new(Names {
            tables: Arc::clone(&shared.tables),
            listed,
            views: Arc::clone(&shared.views),
            staged: asked.staged,
            as_of: asked.as_of,
            context: bare(&context),
            read: Default::default(),
        });
        context.register_catalog(CATALOG, Arc::new(Catalog(Arc::clone(&names))));
        Ok(Self { context, names })
    }

    /// Plans a statement that passed the guard.
    pub(crate) async fn plan(&self, statement: Statement) -> Result<LogicalPlan> {
        let plan = plan(&self.context, &self.names, statement).await?;
        self.names.check_version_is_of_one_table()?;
        // The guard read the text; this reads the plan.
        SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false)
            .verify_plan(&plan)
            .map_err(explain)?;
        Ok(plan)
    }

    pub(crate) async fn plan_query(&self, sql: &str) -> Result<LogicalPlan> {
        self.plan(guard::query_only(sql)?).await
    }
}

/// A context with the same functions and stores but a catalog list of its own: the names hold it, so
/// it must not hold the names.
fn bare(context: &SessionContext) -> SessionContext {
    let state = SessionStateBuilder::new_from_existing(context.state())
        .with_catalog_list(Arc::new(datafusion::catalog::MemoryCatalogProviderList::new()))
        .build();
    SessionContext::new_with_state(state)
}

/// Plans a statement with tables from `names`, in a context that may not know them.
pub(crate) async fn plan(
    context: &SessionContext,
    names: &Arc<Names>,
    statement: Statement,
) -> Result<LogicalPlan> {
    let (references, _) =
        datafusion::sql::resolve::resolve_table_references(&statement, true).map_err(explain)?;
    references
        .iter()
        .try_for_each(|reference| names.check(reference))?;
    let state = if context.catalog(CATALOG).is_some() {
        context.state()
    } else {
        let catalogs = datafusion::catalog::MemoryCatalogProviderList::new();
        use datafusion::catalog::CatalogProviderList;
        catalogs.register_catalog(CATALOG.to_owned(), Arc::new(Catalog(Arc::clone(names))));
        SessionStateBuilder::new_from_existing(context.state())
            .with_catalog_list(Arc::new(catalogs))
            .build()
    };
    state.statement_to_plan(statement).await.map_err(explain)
}

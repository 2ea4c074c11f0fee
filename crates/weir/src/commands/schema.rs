use clap::{Args, ValueEnum};
use schemars::{Schema, schema_for};
use weir_protocol::Result;
use weir_protocol::bundle::BundleSpec;
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::spec::ConnectorSpec;

use crate::output;
use crate::project::ProjectFile;

/// Print the JSON Schema of a file, for editors
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  weir schema connector > connector.schema.json")]
pub(crate) struct SchemaArgs {
    /// Which file
    #[arg(value_enum)]
    of: Of,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Of {
    /// connectors/<key>/connector.yaml
    Connector,
    /// connections/<name>.yaml
    Connection,
    /// bundles/<name>.yaml
    Bundle,
    /// weir.yaml
    Project,
}

#[expect(clippy::unnecessary_wraps, reason = "all commands answer alike")]
pub(crate) fn run(args: &SchemaArgs) -> Result<()> {
    let schema: Schema = match args.of {
        Of::Connector => schema_for!(ConnectorSpec),
        Of::Connection => schema_for!(ConnectionSpec),
        Of::Bundle => schema_for!(BundleSpec),
        Of::Project => schema_for!(ProjectFile),
    };
    output::raw(&format!("{:#}\n", schema.to_value()));
    Ok(())
}

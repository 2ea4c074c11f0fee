use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use weir_engine::catalog::Catalog;
use weir_protocol::{Error, Result, name};

use super::Context;
use crate::config::variable;
use crate::errors;
use crate::output::line;
use crate::project::{OWN_FOLDER, PROJECT_FILE, Project, draft_connection};

/// Make a project folder
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir init shop\n  weir init shop --connector github --set repository=apache/datafusion"
)]
pub(crate) struct InitArgs {
    /// Folder of the project
    #[arg(default_value = ".", value_name = "DIR")]
    folder: PathBuf,
    /// Also write a connection of this connector
    #[arg(long, value_name = "KEY")]
    connector: Option<String>,
    /// A setting of that connection; may be given several times
    #[arg(long = "set", value_name = "NAME=VALUE", requires = "connector")]
    settings: Vec<String>,
}

const SAMPLE: &str = include_str!("init/sample.yaml");
const README: &str = include_str!("init/README.md");

pub(crate) fn run(args: &InitArgs, context: &Context) -> Result<()> {
    let project_file = args.folder.join(PROJECT_FILE);
    if project_file.exists() {
        return Err(
            Error::usage(format!("{} is a project already", args.folder.display()))
                .with("file", project_file.display())
                .hint("choose another folder, or add files to connections/ there"),
        );
    }
    let connection = args
        .connector
        .as_deref()
        .map(|key| {
            let catalog = Catalog::open(&[args.folder.join("connectors")])?;
            draft_connection(catalog.get(key)?, &args.settings).map(|text| (key, text))
        })
        .transpose()?;
    for folder in ["connections", "connectors", "models", OWN_FOLDER] {
        let path = args.folder.join(folder);
        fs::create_dir_all(&path).map_err(|error| errors::file("make", &path, error))?;
    }
    let project = project_name(&args.folder);
    let settings = format!(
        "# `weir schema project` says what else may stand here.\nproject: {project}\nlake:\n  location: ./lake\n"
    );
    write(&args.folder, PROJECT_FILE, &settings)?;
    write(&args.folder, ".gitignore", &format!("/{OWN_FOLDER}/\n/lake/\n"))?;
    write(&args.folder, "README.md", &README.replace("{project}", &project))?;
    match &connection {
        Some((key, text)) => write(&args.folder, &format!("connections/{key}.yaml"), text)?,
        None => write(&args.folder, "connections/sample.yaml", SAMPLE)?,
    }
    Project::find(&args.folder, &variable)?.pii_key(context.settings.pii_key.as_deref())?;
    say(args, connection.map(|(key, _)| key));
    Ok(())
}

fn say(args: &InitArgs, connection: Option<&str>) {
    let folder = args.folder.display();
    line(format!("Made the project in {folder}."));
    let cd = if args.folder == Path::new(".") {
        String::new()
    } else {
        format!("cd {folder} && ")
    };
    match connection {
        Some(key) => line(format!("next: {cd}weir check {key} && weir sync {key}")),
        None => line(format!(
            "next: {cd}edit connections/sample.yaml, then `weir validate`; `weir connector list` shows what there is"
        )),
    }
}

/// The folder's own name as far as it can be a project's.
fn project_name(folder: &Path) -> String {
    let own = std::path::absolute(folder).ok();
    let own = own
        .as_deref()
        .and_then(Path::file_name)
        .and_then(|name| name.to_str());
    let name = name::sanitize(own.unwrap_or_default());
    if name.is_empty() {
        "project".to_owned()
    } else {
        name
    }
}

/// Writes a file that is not there yet; one that is there is the user's.
fn write(folder: &Path, file: &str, text: &str) -> Result<()> {
    let path = folder.join(file);
    match OpenOptions::new().write(true).create_new(true).open(&path) {
        Ok(mut file) => file
            .write_all(text.as_bytes())
            .map_err(|error| errors::file("write", &path, error)),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(errors::file("write", &path, error)),
    }
}

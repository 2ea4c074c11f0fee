use clap::{Args, CommandFactory as _};
use clap_complete::Shell;
use weir_protocol::{Error, Result};

use super::Cli;

/// Print a shell's completion script
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  weir completions bash > ~/.local/share/bash-completion/completions/weir")]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(args: &CompletionsArgs) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "weir", &mut script);
    let script = String::from_utf8(script)
        .map_err(|error| Error::internal("the completion script is not UTF-8").caused_by(error))?;
    crate::output::raw(&script);
    Ok(())
}

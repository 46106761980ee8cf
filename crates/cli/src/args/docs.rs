//! What nixoci says of itself: `explain`, `schema`, `man`, `completions`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// An error code, an exit code, or a topic. Lists everything if absent.
    #[arg(value_name = "CODE|TOPIC")]
    pub(crate) subject: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SchemaArgs {
    /// Of which output. Lists them if absent.
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// The directory for them, which is made if need be.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

//! Images that there are already: `inspect`, `validate`, `convert`, `merge`, `load`, `cache`.

use clap::{Args, Subcommand, ValueHint};

use super::DockerArgs;

#[derive(Debug, Args)]
pub(crate) struct SourceArgs {
    /// The image: a file, ./result, a store path, - for standard input, or docker-archive:FILE, oci-archive:FILE,
    /// oci:DIR, dir:DIR; of several images in it, :NAME at the end takes one.
    #[arg(value_name = "SRC", value_hint = ValueHint::FilePath)]
    pub(crate) source: String,
}

#[derive(Debug, Args)]
pub(crate) struct ConvertArgs {
    /// The image: a file, ./result, a store path, - for standard input, or docker-archive:FILE, oci-archive:FILE,
    /// oci:DIR, dir:DIR; of several images in it, :NAME at the end takes one.
    #[arg(value_name = "SRC", value_hint = ValueHint::FilePath)]
    pub(crate) source: String,
    /// Where to: archive:FILE (every runtime loads it), docker-archive:FILE, oci:DIR, oci-archive:FILE.
    #[arg(value_name = "DEST", value_hint = ValueHint::FilePath)]
    pub(crate) destination: String,
    #[command(flatten)]
    pub(crate) how: RewriteArgs,
}

#[derive(Debug, Args)]
pub(crate) struct MergeArgs {
    /// The images, one for each platform, and where to, last: archive:FILE, oci:DIR, oci-archive:FILE,
    /// docker-archive:FILE.
    #[arg(value_name = "SRC... DEST", num_args = 2.., required = true, value_hint = ValueHint::FilePath)]
    pub(crate) places: Vec<String>,
    #[command(flatten)]
    pub(crate) how: RewriteArgs,
}

/// How an image is written anew.
#[derive(Debug, Args)]
pub(crate) struct RewriteArgs {
    /// The image's name; repeat for several. `:dev` replaces only the tag.
    #[arg(short, long, value_name = "REF")]
    pub(crate) tag: Vec<String>,
    /// Of an image for several platforms, take only these.
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    pub(crate) platform: Vec<String>,
    /// Compress layers: gzip, zstd or none, with a level as in zstd:9. In layouts gzip is the default, and layers
    /// that are compressed already stay as they are.
    #[arg(long, value_name = "CODEC[:LEVEL]")]
    pub(crate) compression: Option<String>,
    /// The date of the image: keep, now, commit (of the Git repository here), or one like 2026-01-31T12:00:00Z.
    #[arg(long, value_name = "DATE")]
    pub(crate) created: Option<String>,
    /// Take an image whose programs are for another platform than it says, with a warning.
    #[arg(long)]
    pub(crate) allow_mismatch: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// The platform the image has to be for; the one it claims if absent.
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// The runtime: docker, podman, containerd, apple, kind, k3d, minikube, or auto for the first of the first four
    /// that runs.
    #[arg(long, value_name = "RUNTIME", default_value = "auto")]
    pub(crate) runtime: String,
    /// The image's name; repeat for several. `:dev` replaces only the tag.
    #[arg(short, long, value_name = "REF")]
    pub(crate) tag: Vec<String>,
    /// Of an image for several platforms, load only these.
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    pub(crate) platform: Vec<String>,
    /// Take an image whose programs are for another platform than it says, with a warning.
    #[arg(long)]
    pub(crate) allow_mismatch: bool,
    #[command(flatten)]
    pub(crate) docker: DockerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CacheArgs {
    #[command(subcommand)]
    pub(crate) command: CacheCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// List the images: size, last use, and which links keep them.
    Show,
    /// Delete the images that were not used for longest. What a link keeps, or somebody works with, stays.
    Gc(GcArgs),
}

#[derive(Debug, Args)]
pub(crate) struct GcArgs {
    /// Keep at most so much, such as 5G; the limit that `cache show` names if absent.
    #[arg(long, value_name = "SIZE", value_parser = crate::commands::cache::size)]
    pub(crate) max_size: Option<u64>,
    /// Delete everything that may go.
    #[arg(long, conflicts_with = "max_size")]
    pub(crate) all: bool,
}

//! containerd, through `ctr`, which comes with it; containers through nerdctl, which does not.
//!
//! Sources: containerd `cmd/ctr/commands/images/import.go`, `cmd/ctr/app/main.go` (CONTAINERD_ADDRESS,
//! CONTAINERD_NAMESPACE); nerdctl `docs/command-reference.md`, `docs/rootless.md`.

use nixoci_core::backend::Cx;
use nixoci_core::config::Runtime;
use nixoci_core::host::Host;
use nixoci_core::platform::OciPlatform;
use nixoci_core::runner::Command;
use nixoci_core::{Error, Remedy, Result, shell};

use super::docker::Loaded;
use super::{About, LoadedImage, Start, diagnose, digest, loaded, mismatch, named, tool};
use crate::cache::CachedImage;
use crate::codes;
use crate::summary::Image;

const CONTAINERD: Runtime = Runtime::Containerd;
pub(super) const NERDCTL: &str = "nerdctl";
const ADDRESS: &str = "/run/containerd/containerd.sock";

/// containerd, which answered.
#[derive(Clone, Debug)]
pub struct Containerd {
    namespace: String,
    about: About,
}

impl Containerd {
    /// Asks containerd who it is.
    pub(super) async fn ask(cx: &Cx<'_>) -> Result<Self> {
        let namespace = namespace(cx.host).to_owned();
        // Without a limit, ctr 1.6 waits for ten seconds for a socket that is not there.
        let version = Command::new("ctr").args(["--connect-timeout", "5s", "version"]);
        let said = tool::soon(cx, CONTAINERD, tool::ok(cx, CONTAINERD, version)).await?.stdout_text();
        let Some(version) = server_version(&said) else {
            return Err(diagnose::failed(CONTAINERD, cx.host, &said));
        };
        let address = cx.host.var("CONTAINERD_ADDRESS").unwrap_or(ADDRESS);
        let about = About {
            version: version.to_owned(),
            place: format!("at {address}, namespace {namespace}"),
            // The socket is a file: it is on this machine.
            platform: cx.host.system.to_linux().to_oci(),
        };
        Ok(Containerd { namespace, about })
    }

    /// What it says about itself.
    pub fn about(&self) -> &About {
        &self.about
    }

    fn images(&self, args: &[&str]) -> Command {
        Command::new("ctr").args(["--namespace", &self.namespace, "images"]).args(args)
    }

    pub(super) async fn load(&self, cx: &Cx<'_>, image: &CachedImage) -> Result<Loaded> {
        let images = named(CONTAINERD, image.images())?;
        // Without it ctr takes the host's platform only.
        let import = match platform(image) {
            Some(platform) => self.images(&["import", "--platform", &platform.to_string()]),
            None => self.images(&["import", "--all-platforms"]),
        };
        tool::taken(cx, CONTAINERD, import.arg(&image.archive)).await?;
        let mut loaded_images = Vec::new();
        for (one, names) in images {
            for (index, name) in names.iter().enumerate() {
                if index > 0 {
                    tool::ok(cx, CONTAINERD, self.images(&["tag", "--force", &names[0], name])).await?;
                }
                self.verify(cx, name, one).await?;
            }
            loaded_images.extend(digest(one).map(|id| LoadedImage { references: names, id }));
        }
        loaded(CONTAINERD, loaded_images)
    }

    /// Asks what a name stands for: a table of REF TYPE DIGEST ….
    async fn verify(&self, cx: &Cx<'_>, name: &str, image: &Image) -> Result<()> {
        let list = self.images(&["ls", &format!("name=={name}")]);
        let said = tool::ok(cx, CONTAINERD, list).await?.stdout_text();
        let found = digest_of(&said, name);
        if found.is_some() && found == digest(image).map(|digest| digest.to_string()).as_deref() {
            return Ok(());
        }
        Err(mismatch(CONTAINERD, name, found.unwrap_or("that it has no such image"), image))
    }
}

/// The platform, if everything is for the same.
fn platform(image: &CachedImage) -> Option<&OciPlatform> {
    let mut platforms = image.platforms().map(|one| &one.platform);
    let first = platforms.next()?;
    platforms.all(|other| other == first).then_some(first)
}

/// The namespace, as ctr finds it.
fn namespace(host: &Host) -> &str {
    host.var("CONTAINERD_NAMESPACE").unwrap_or("default")
}

/// The version below `Server:`.
fn server_version(said: &str) -> Option<&str> {
    let (_, server) = said.split_once("Server:")?;
    server.lines().find_map(|line| line.trim().strip_prefix("Version:")).map(str::trim)
}

fn digest_of<'a>(table: &'a str, name: &str) -> Option<&'a str> {
    let mut rows = table.lines().map(|line| line.split_whitespace());
    rows.find_map(|mut row| (row.next() == Some(name)).then(|| row.nth(1)).flatten())
}

/// `nerdctl run --rm`: nerdctl knows Docker's flags.
pub(super) fn run_command(host: &Host, start: &Start<'_>) -> Command {
    let program = Command::new(NERDCTL).args(["--namespace", namespace(host)]);
    match start.platform.map(ToString::to_string) {
        Some(platform) => start.command(program, &["--pull=never", "--platform", &platform]),
        None => start.command(program, &["--pull=never"]),
    }
}

/// `ctr run` has neither Docker's flags nor a network of its own.
pub(super) fn no_nerdctl(host: &Host) -> Error {
    let namespace = namespace(host);
    Error::new(&codes::RUNTIME_CANNOT_RUN, "containerd takes the image, but nixoci cannot run it there")
        .because("nerdctl, which knows Docker's flags, was not found on PATH")
        .remedy(Remedy::command(
            "load it, and start it by hand, without ports",
            shell!(
                "image=$(nixoci build --load=containerd) && ctr --namespace {} run --rm --tty $image app",
                namespace
            ),
        ))
        .remedy(Remedy::command("or install nerdctl", "nix profile install nixpkgs#nerdctl"))
}

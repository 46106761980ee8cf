//! Apple's `container`, for Macs with Apple silicon.
//!
//! Source: apple/container, `docs/command-reference.md`; apple/containerization, `LocalOCILayoutClient` (what is read of an archive).

use nixoci_core::Result;
use nixoci_core::backend::Cx;
use nixoci_core::config::Runtime;
use nixoci_core::runner::Command;

use super::docker::Loaded;
use super::{About, LoadedImage, Start, diagnose, digest, loaded, mismatch, named, tool};
use crate::cache::CachedImage;
use crate::summary::Image;

const APPLE: Runtime = Runtime::Apple;

/// Apple's `container`, which answered.
#[derive(Clone, Debug)]
pub struct Apple {
    about: About,
}

impl Apple {
    /// Asks whether its system service runs.
    pub(super) async fn ask(cx: &Cx<'_>) -> Result<Self> {
        let (version, status) = (container(["--version"]), container(["system", "status"]));
        let asking =
            async { tokio::join!(tool::output(cx, APPLE, version), tool::output(cx, APPLE, status)) };
        let (version, status) = tool::soon(cx, APPLE, async { Ok(asking.await) }).await?;
        let (version, status) = (version?, status?);
        if !status.exit.success() {
            // Whatever the words are: `status` fails when the service does not run.
            let error = diagnose::failed(APPLE, cx.host, &tool::words(&status));
            return Err(if error.is(&crate::codes::RUNTIME_FAILED) {
                diagnose::down(APPLE, cx.host, "Apple's container does not answer".to_owned())
            } else {
                error
            });
        }
        let about = About {
            version: parse_version(&version.stdout_text()),
            place: "on this machine".to_owned(),
            platform: cx.host.system.to_linux().to_oci(),
        };
        Ok(Apple { about })
    }

    /// What it says about itself.
    pub fn about(&self) -> &About {
        &self.about
    }

    pub(super) async fn load(&self, cx: &Cx<'_>, image: &CachedImage) -> Result<Loaded> {
        let images = named(APPLE, image.images())?;
        let load = container(["image", "load", "--input"]).arg(&image.archive);
        tool::taken(cx, APPLE, load).await?;
        let mut loaded_images = Vec::new();
        for (one, names) in images {
            for (index, name) in names.iter().enumerate() {
                if index > 0 {
                    tool::ok(cx, APPLE, container(["image", "tag", &names[0], name])).await?;
                }
                verify(cx, name, one).await?;
            }
            loaded_images.extend(digest(one).map(|id| LoadedImage { references: names, id }));
        }
        loaded(APPLE, loaded_images)
    }
}

/// The form of `image inspect` differs from release to release; all of them name the digest of what was imported.
async fn verify(cx: &Cx<'_>, name: &str, image: &Image) -> Result<()> {
    let said = tool::ok(cx, APPLE, container(["image", "inspect", name])).await?.stdout_text();
    if digest(image).is_some_and(|digest| said.contains(&digest.to_string())) {
        return Ok(());
    }
    Err(mismatch(APPLE, name, &said, image))
}

/// `container run --rm`. It looks for its own platform unless it is told.
pub(super) fn run_command(start: &Start<'_>) -> Command {
    let program = Command::new("container");
    match start.platform.map(ToString::to_string) {
        Some(platform) => start.command(program, &["--platform", &platform]),
        None => start.command(program, &[]),
    }
}

fn container<'a>(args: impl IntoIterator<Item = &'a str>) -> Command {
    Command::new("container").args(args)
}

/// `container CLI version 1.0.0 (build: release, commit: 0000000)`.
fn parse_version(said: &str) -> String {
    let version = said.split_once("version ").and_then(|(_, rest)| rest.split_whitespace().next());
    version.unwrap_or("of an unknown version").to_owned()
}

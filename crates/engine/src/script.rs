//! Scripts that write an image (`streamLayeredImage`), run where that is possible: on this host, from its Nix store.

use std::path::Path;

use nixoci_core::artifact::PathInfo;
use nixoci_core::runner::{Command, GRACE, Process, Stream};
use nixoci_core::{Error, Remedy, Result};
use nixoci_image::{CachedImage, Shape, describe};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio_util::io::SyncIoBridge;

use crate::Engine;
use crate::bring::{Reading, Source};
use crate::codes::SCRIPT_FAILED;

/// How many of its last lines an error repeats, and how long a line may be.
const LINES: usize = 20;
const LINE: u64 = 4096;

/// Whether a path is such a script.
pub(crate) fn is_one(path: &Path) -> bool {
    matches!(describe(path), Ok(Shape::StreamScript { .. }))
}

/// Runs a script, if it is for this host, and reads what it writes.
pub(crate) async fn run(
    engine: &Engine<'_>,
    path: &Path,
    info: &PathInfo,
    reading: Reading,
    runs: bool,
) -> Result<CachedImage> {
    if !runs {
        return Err(failed(path, "it is a Linux program, and this machine runs none").remedy(buildable()));
    }
    let mut process = engine
        .cx
        .runner
        .spawn(&Command::new(path))
        .await
        .map_err(|error| failed(path, "it could not be started").because(error).remedy(buildable()))?;
    let stdout: Stream = process.take_stdout().unwrap_or_else(|| Box::new(tokio::io::empty()));
    let source = Source::Output(Box::new(SyncIoBridge::new(stdout)), info.path.name().to_owned());
    let said = said(engine, process.take_stderr());
    let (read, tail) = tokio::join!(reading.run(engine, info.path.name(), source), said);
    finish(path, process, read, tail).await
}

/// What a script that failed says explains more than the half archive it left.
async fn finish(
    path: &Path,
    mut process: Box<dyn Process>,
    read: Result<CachedImage>,
    tail: Vec<String>,
) -> Result<CachedImage> {
    let exit = match &read {
        Ok(_) => process.wait().await?,
        Err(error) if error.is(&nixoci_core::codes::CANCELLED) => process.stop(GRACE).await?,
        // It may still be writing to nobody.
        Err(_) => match tokio::time::timeout(GRACE, process.wait()).await {
            Ok(exit) => exit?,
            Err(_) => process.stop(GRACE).await?,
        },
    };
    match read {
        Err(error) if error.is(&nixoci_core::codes::CANCELLED) || exit.success() => Err(error),
        Ok(image) if exit.success() => Ok(image),
        _ => Err(failed(path, &format!("it ended with {exit}")).log(tail).remedy(buildable())),
    }
}

fn failed(path: &Path, why: &str) -> Error {
    Error::new(&SCRIPT_FAILED, format!("the script {} wrote no image", path.display())).because(why)
}

fn buildable() -> Remedy {
    Remedy::advice(
        "or use `dockerTools.buildLayeredImage`, which takes the same arguments as `streamLayeredImage`",
    )
}

/// Tells what the script says, and keeps the end of it.
async fn said(engine: &Engine<'_>, stderr: Option<Stream>) -> Vec<String> {
    use tokio::io::AsyncReadExt;
    let mut tail = Vec::new();
    let Some(stderr) = stderr else { return tail };
    let mut lines = BufReader::new(stderr);
    loop {
        let mut line = Vec::new();
        match (&mut lines).take(LINE).read_until(b'\n', &mut line).await {
            Ok(1..) => {}
            _ => return tail,
        }
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        engine.cx.observer.debug(line.clone());
        if tail.len() == LINES {
            tail.remove(0);
        }
        tail.push(line);
    }
}

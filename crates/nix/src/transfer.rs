//! Reading the store: what it knows about paths, and their contents.

use std::collections::BTreeMap;

use nixoci_core::artifact::{PathInfo, StorePath};
use nixoci_core::backend::Cx;
use nixoci_core::runner::{GRACE, Process, Stream};
use nixoci_core::{Error, Remedy, Result, ResultExt, codes as core_codes};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::diagnose::{Subject, diagnose};
use crate::driver::Nix;
use crate::lines::{LINE_LIMIT, Lines};
use crate::place::Place;
use crate::record::Record;
use crate::store::parse_path_info;
use crate::{cli, codes};

/// So many paths fit an argument list everywhere.
const PATHS_AT_ONCE: usize = 500;

impl Nix {
    /// What the store knows about `paths`, in their order; with `closure`, about everything they refer to as
    /// well, ordered by path.
    ///
    /// # Errors
    /// [`codes::GONE`] for a path that is not valid.
    pub async fn path_info(&self, cx: &Cx<'_>, paths: &[StorePath], closure: bool) -> Result<Vec<PathInfo>> {
        let mut found = BTreeMap::new();
        for paths in paths.chunks(PATHS_AT_ONCE) {
            for info in self.path_info_at_once(cx, paths, closure).await? {
                found.insert(info.path.clone(), info);
            }
        }
        if closure {
            return Ok(found.into_values().collect());
        }
        let ordered = paths.iter().map(|path| found.get(path).cloned().ok_or_else(|| gone(path.as_str())));
        ordered.collect()
    }

    async fn path_info_at_once(
        &self,
        cx: &Cx<'_>,
        paths: &[StorePath],
        closure: bool,
    ) -> Result<Vec<PathInfo>> {
        let command = cli::path_info(self, paths, closure);
        let text = self.ask(cx, &command, "the store could not be asked about a path").await?;
        let infos = parse_path_info(&text).map_err(|why| self.unexpected(&command, &why))?;
        let mut infos = infos.map_err(|invalid| gone(&invalid.join(", ")))?;
        for info in &mut infos {
            let path = info.path.as_path();
            info.local = path.symlink_metadata().is_ok().then(|| path.to_owned());
        }
        Ok(infos)
    }

    /// Writes the NAR of a path to `out`; returns its length, which is what `info` says. What was written is tentative until `Ok`: Nix
    /// writes garbage for a path that is not valid, before it fails. Its hash is the reader's to check.
    ///
    /// # Errors
    /// [`codes::GONE`], [`codes::TRANSFER`], [`codes::DAMAGED`], all of them transfer errors.
    pub async fn dump(
        &self,
        cx: &Cx<'_>,
        info: &PathInfo,
        out: &mut (dyn AsyncWrite + Send + Unpin),
    ) -> Result<u64> {
        let command = cli::dump_path(self, &info.path);
        let mut process = cx.runner.spawn(&command).await?;
        let (stdout, stderr) = (process.take_stdout(), process.take_stderr());
        let copied = tokio::select! {
            copied = async { tokio::join!(copy(stdout, info, out), remember(stderr)) } => copied,
            () = cx.cancel.cancelled() => {
                process.stop(GRACE).await?;
                return Err(Error::new(&core_codes::CANCELLED, "reading from the store was stopped"));
            }
        };
        let (copied, record) = copied;
        if let Err(error) = copied {
            process.stop(GRACE).await?;
            return Err(error);
        }
        finish(cx, process.as_mut(), info, copied?, &record, self.place()).await
    }
}

async fn finish(
    cx: &Cx<'_>,
    process: &mut dyn Process,
    info: &PathInfo,
    size: u64,
    record: &Record,
    place: &Place,
) -> Result<u64> {
    let exit = process.wait().await?;
    if !exit.success() {
        let error = diagnose(record, &Subject::command(cx.host, "reading from the store failed").at(place));
        if error.is(&codes::COMMAND_FAILED) {
            let message = format!("{} could not be read", info.path);
            return Err(error
                .report()
                .causes
                .iter()
                .fold(Error::new(&codes::TRANSFER, message), |error, cause| error.because(cause)));
        }
        return Err(error);
    }
    if size < info.nar_size {
        let message = format!("{} ended after {size} of {} bytes", info.path, info.nar_size);
        return Err(Error::new(&codes::TRANSFER, message));
    }
    Ok(size)
}

async fn copy(
    stdout: Option<Stream>,
    info: &PathInfo,
    out: &mut (dyn AsyncWrite + Send + Unpin),
) -> Result<u64> {
    let mut size = 0;
    let mut buffer = vec![0; 256 << 10];
    let Some(mut stdout) = stdout else {
        return Err(Error::new(&codes::TRANSFER, "Nix has no standard output"));
    };
    loop {
        let count = fill(&mut stdout, &mut buffer)
            .await
            .or_error(&codes::TRANSFER, || format!("{} could not be read", info.path))?;
        if count == 0 {
            break;
        }
        size += count as u64;
        if size > info.nar_size {
            let why = format!("it is longer than {} bytes", info.nar_size);
            return Err(crate::nar::damaged(&info.path).because(why));
        }
        out.write_all(&buffer[..count])
            .await
            .or_error(&codes::TRANSFER, || format!("{} could not be written on", info.path))?;
    }
    out.flush().await.or_error(&codes::TRANSFER, || format!("{} could not be written on", info.path))?;
    Ok(size)
}

/// Reads until the buffer is full, or there is no more: pipes hand out little at once, and whoever is written to would wake up for each.
async fn fill(from: &mut Stream, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]).await? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

/// Reads standard error to its end, so that the process never waits for a reader.
async fn remember(stderr: Option<Stream>) -> Record {
    let mut text = String::new();
    if let Some(stderr) = stderr {
        let mut lines = Lines::new(stderr, LINE_LIMIT);
        while let Ok(Some(line)) = lines.next().await {
            if text.len() < LINE_LIMIT {
                text.push_str(&String::from_utf8_lossy(line));
                text.push('\n');
            }
        }
    }
    Record::of_text(&text)
}

fn gone(path: &str) -> Error {
    Error::new(&codes::GONE, format!("the store has no {path}"))
        .because("it was never built there, or a garbage collection removed it")
        .remedy(Remedy::advice("build again"))
}

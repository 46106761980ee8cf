//! `nixoci cache`: the images that are kept between runs.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nixoci_core::Result;
use nixoci_core::text::{ago, bytes, count};
use nixoci_image::{Cache, CacheEntry, Collected};
use nixoci_nix::private_store;
use schemars::JsonSchema;
use serde::Serialize;

use crate::app::App;
use crate::args::{CacheArgs, CacheCommand, GcArgs};

/// What is in the cache.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CacheReport {
    /// The version of this document.
    version: u32,
    /// Where it is.
    directory: PathBuf,
    /// Bytes of all images.
    size: u64,
    /// Bytes beyond which the longest unused images are deleted.
    limit: u64,
    /// The images, the last used first.
    images: Vec<CachedReport>,
    /// Bytes of the store that remote machines build into.
    store_size: u64,
}

/// An image in the cache.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CachedReport {
    /// Its names.
    names: Vec<String>,
    /// Its platform; absent for an entry that this nixoci cannot read.
    platform: Option<String>,
    /// The bytes it takes.
    size: u64,
    /// When it was made or found the last time, in UTC (RFC 3339).
    last_used: String,
    /// The links that keep it.
    links: Vec<PathBuf>,
    /// Whether a nixoci works with it right now.
    in_use: bool,
    /// The archive.
    archive: PathBuf,
}

/// What was let go of.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GcReport {
    /// The version of this document.
    version: u32,
    /// Images that were deleted.
    removed: usize,
    /// Bytes that are free now.
    freed_bytes: u64,
    /// Images that stay beyond the limit, because a link keeps them or a nixoci works with them.
    held: usize,
    /// Bytes of all images that stay.
    left_bytes: u64,
    /// Bytes that were freed in the store that remote machines build into; with `--all` only.
    store_freed_bytes: u64,
}

pub(crate) async fn run(app: &App, args: &CacheArgs) -> Result<u8> {
    let cache = app.cache()?;
    match &args.command {
        CacheCommand::Show => show(app, &cache)?,
        CacheCommand::Gc(args) => gc(app, &cache, args).await?,
    }
    Ok(0)
}

fn show(app: &App, cache: &Cache) -> Result<()> {
    let entries = cache.entries()?;
    let (size, limit) = (entries.iter().map(|entry| entry.size).sum(), cache.limit());
    let mut text = table(&entries, &app.cwd);
    let _ = writeln!(
        text,
        "{}, {} in {}; beyond {} the longest unused go",
        count(entries.len(), "image"),
        bytes(size),
        cache.dir().display(),
        bytes(limit)
    );
    let store_size = private_store::size(&app.dirs.cache);
    if store_size > 0 {
        let dir = private_store::dirs(&app.dirs.cache);
        let _ = writeln!(
            text,
            "{} of store paths in {}, which remote machines build into; nixoci cache gc --all empties it",
            bytes(store_size),
            dir.display()
        );
    }
    let images = entries.into_iter().map(CachedReport::from).collect();
    let report =
        CacheReport { version: 1, directory: cache.dir().to_owned(), size, limit, images, store_size };
    app.ui.finish();
    app.printer.result(&report, &text)
}

impl From<CacheEntry> for CachedReport {
    fn from(entry: CacheEntry) -> Self {
        CachedReport {
            names: entry.names,
            platform: entry.platform,
            size: entry.size,
            last_used: humantime::format_rfc3339_seconds(entry.last_used).to_string(),
            links: entry.links,
            in_use: entry.in_use,
            archive: entry.archive,
        }
    }
}

fn table(entries: &[CacheEntry], cwd: &Path) -> String {
    if entries.is_empty() {
        return String::new();
    }
    let head = ["IMAGE", "PLATFORM", "SIZE", "LAST USED", "KEPT BY"].map(str::to_owned);
    let rows: Vec<[String; 5]> =
        std::iter::once(head).chain(entries.iter().map(|entry| row(entry, cwd))).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 4] = [width(0), width(1), width(2), width(3)];
    let line = |row: &[String; 5]| {
        let [image, platform, size, used, kept] = row;
        let [a, b, c, d] = widths;
        let line = format!("{image:a$}  {platform:b$}  {size:>c$}  {used:d$}  {kept}");
        line.trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

fn row(entry: &CacheEntry, cwd: &Path) -> [String; 5] {
    let name = match (entry.names.first(), &entry.platform) {
        (Some(name), _) => name.clone(),
        (None, Some(_)) => "(no name)".to_owned(),
        (None, None) => "(of another version)".to_owned(),
    };
    let age = SystemTime::now().duration_since(entry.last_used).unwrap_or_default();
    // An archive without a record has no time: it was never used.
    let used = if entry.last_used == SystemTime::UNIX_EPOCH { "never".to_owned() } else { ago(age) };
    let links = entry.links.iter().map(|link| match link.strip_prefix(cwd) {
        Ok(below) => format!("./{}", below.display()),
        Err(_) => link.display().to_string(),
    });
    let kept: Vec<String> = links.chain(entry.in_use.then(|| "in use now".to_owned())).collect();
    let platform = entry.platform.clone().unwrap_or_else(|| "?".to_owned());
    [name, platform, bytes(entry.size), used, kept.join(", ")]
}

async fn gc(app: &App, cache: &Cache, args: &GcArgs) -> Result<()> {
    let limit = if args.all { 0 } else { args.max_size.unwrap_or(cache.limit()) };
    let Collected { removed, freed, held, left } = cache.collect(limit)?;
    let mut text =
        format!("{} deleted, {} freed, {} left\n", count(removed, "image"), bytes(freed), bytes(left));
    let store_freed_bytes = if args.all { private_store::collect(&app.cx()).await? } else { 0 };
    if store_freed_bytes > 0 {
        let _ = writeln!(text, "{} of store paths of remote builds deleted", bytes(store_freed_bytes));
    }
    if held > 0 {
        let _ = writeln!(text, "{} kept by a link, or in use: nixoci cache show", count(held, "image"));
    }
    app.ui.finish();
    let report =
        GcReport { version: 1, removed, freed_bytes: freed, held, left_bytes: left, store_freed_bytes };
    app.printer.result(&report, &text)
}

/// `5G`, `500MB`, `2GiB`: decimal units as everywhere in nixoci, powers of two with an `i`.
pub(crate) fn size(text: &str) -> std::result::Result<u64, &'static str> {
    const WRONG: &str = "a size is a number with a unit, such as 500M, 5G or 2GiB";
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| WRONG)?;
    let unit = unit.trim_start().to_lowercase();
    let unit = unit.strip_suffix('b').unwrap_or(&unit);
    let (letter, base) = unit.strip_suffix('i').map_or((unit, 1000_f64), |letter| (letter, 1024.0));
    let power = ["", "k", "m", "g", "t"].iter().position(|known| *known == letter).ok_or(WRONG)?;
    let size = number * (0..power).fold(1.0, |size, _| size * base);
    // 2^53 bytes are nine petabytes: whatever is larger is a slip.
    if size <= 9_007_199_254_740_992.0 { Ok(size as u64) } else { Err(WRONG) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("5G", 5_000_000_000),
            ("1.5 GB", 1_500_000_000),
            ("2GiB", 2 << 30),
            ("10k", 10_000),
            ("10KiB", 10 << 10),
            ("3b", 3),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "G", "-1", "5X", "1e9G", "99999999T", "1.2.3"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}

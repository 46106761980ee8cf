//! What a plugin costs: `cargo xtask bench plugins` runs it.
//!
//! Arguments: nixoci's program, and the directory with the libraries of the tests. Prints three lines: the start of an isolated library and its first answer
//! in microseconds, a call in nanoseconds, and NAR bytes a second through the socket and through a pipe.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nixoci_core::backend::{Backend, Cx};
use nixoci_core::config::BackendTable;
use nixoci_core::factory::Factory;
use nixoci_plugin::host::{Host, Library, PluginFactory, Source, describe, verify};
use nixoci_testkit::{World, store_path};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const ROUNDS: usize = 21;
const CALLS: u32 = 2000;
/// Bytes of the NAR: enough that the start of a process is nothing beside it.
const SIZE: usize = 128 << 20;

async fn factory(cx: &Cx<'_>, nixoci: &Path, dir: &Path, name: &str) -> Result<PluginFactory> {
    let path = dir.join(format!("libnixoci_backend_{}.so", name.replace('-', "_"))).canonicalize()?;
    let sha256 = verify(&path, None, cx.host, cx.dirs)?.sha256;
    let host = Host { exe: nixoci.to_owned(), watchdog: vec!["__watchdog".into()] };
    let source = Source::Isolated(host, Library { name: name.to_owned(), path, sha256 });
    let description = describe(cx, name, &source).await?;
    Ok(PluginFactory::new(source, description)?)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// A consumer that costs as little as there is.
async fn through_socket(cx: &Cx<'_>, backend: &dyn Backend) -> Result<Duration> {
    let begin = Instant::now();
    let count = backend.fetch(cx, &[store_path("image.tar")], &mut tokio::io::sink()).await?;
    assert!(count > SIZE as u64, "{count}");
    Ok(begin.elapsed())
}

/// The same number of bytes from a process, by its standard output, read and handed on in the same pieces.
async fn through_pipe() -> Result<Duration> {
    let begin = Instant::now();
    let mut child = tokio::process::Command::new("head")
        .args(["-c", &SIZE.to_string(), "/dev/zero"])
        .stdout(std::process::Stdio::piped())
        .spawn()?;
    let mut stdout = child.stdout.take().ok_or("no pipe")?;
    let (mut buffer, mut out) = (vec![0; 256 << 10], tokio::io::sink());
    loop {
        match stdout.read(&mut buffer).await? {
            0 => break,
            count => out.write_all(&buffer[..count]).await?,
        }
    }
    child.wait().await?;
    Ok(begin.elapsed())
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "that is what it is for")]
async fn main() -> Result<()> {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let (nixoci, dir) = (args.next().ok_or("nixoci?")?, args.next().ok_or("libraries?")?);
    let mut world = World::new("x86_64-linux", Box::new(nixoci_nix::HostRunner::default()))?;
    world.host.uid = 0;
    let cx = world.cx();
    let example = factory(&cx, &nixoci, &dir, "c-example").await?;
    let mut starts = Vec::new();
    for _ in 0..ROUNDS {
        let backend = example.create(&[])?;
        let begin = Instant::now();
        backend.offers(&cx, None).await?;
        starts.push(begin.elapsed());
    }
    println!("{}", median(starts).as_micros());

    let backend = example.create(&[])?;
    backend.offers(&cx, None).await?;
    let begin = Instant::now();
    for _ in 0..CALLS {
        backend.offers(&cx, None).await?;
    }
    println!("{}", (begin.elapsed() / CALLS).as_nanos());

    let fake = factory(&cx, &nixoci, &dir, "fake").await?;
    let source = format!("[backend.fake]\nsize = {SIZE}\n").into();
    let table = BackendTable { file: "settings".into(), name: "fake".to_owned(), source };
    let backend = fake.create(&[table])?;
    backend.offers(&cx, None).await?;
    let (mut socket, mut pipe) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        socket.push(through_socket(&cx, backend.as_ref()).await?);
        pipe.push(through_pipe().await?);
    }
    let rate = |time: Duration| (SIZE as f64 / time.as_secs_f64()) as u64;
    println!("{} {}", rate(median(socket)), rate(median(pipe)));
    Ok(())
}

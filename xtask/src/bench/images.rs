//! `cargo xtask bench images`: converting and loading an image of 1 GB.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::paired::{self, Shown};
use super::{median_of, shell, workload};

/// One comparison. In commands, `$W` is the directory with the images, and `$OUT` an empty one.
struct Case {
    name: &'static str,
    docker: &'static str,
    /// Runs once.
    setup: &'static str,
    /// Runs before every timed command.
    prepare: &'static str,
    ours: &'static str,
    peer: &'static str,
    /// The most that ours may take of the peer's time.
    goal: f64,
    /// Whether ours may be no larger.
    smaller: bool,
}

const ROUNDS: usize = 5;
const OUT: &str = "/tmp/bench-images";
/// The most memory for ours.
const MEMORY: u64 = 128 << 20;

fn cases() -> Vec<Case> {
    let convert = |name, ours, peer, goal, smaller| Case {
        name,
        docker: "28",
        setup: "",
        prepare: "rm -rf ~/.cache/nixoci/images",
        ours,
        peer,
        goal,
        smaller,
    };
    let load = |name, docker, goal| Case {
        name,
        docker,
        // As after a build: the new image is in nixoci's cache, and Docker has the one before it.
        setup: "docker rmi -f bench:1 bench:2; nixoci load -q --runtime docker $W/one.tar && touch /tmp/before \
                && nixoci load -q --runtime docker $W/two.tar \
                && ln -sf $(find ~/.cache/nixoci/images -name '*.tar' -newer /tmp/before) /tmp/result",
        prepare: "docker rmi -f bench:2; cat $W/two.tar /tmp/result > /dev/null",
        ours: "exec nixoci load -q --runtime docker /tmp/result",
        peer: "exec docker load -q -i $W/two.tar",
        goal,
        smaller: false,
    };
    vec![
        convert(
            "docker-archive.tar to an OCI layout, gzip",
            "exec nixoci convert -q $W/one.tar oci:$OUT/x --compression gzip",
            "exec skopeo --insecure-policy copy -q docker-archive:$W/one.tar oci:$OUT/x:1",
            0.85,
            true,
        ),
        convert(
            "docker-archive.tar to an OCI layout, zstd",
            "exec nixoci convert -q $W/one.tar oci:$OUT/x --compression zstd",
            "exec skopeo --insecure-policy copy -q --dest-compress-format zstd docker-archive:$W/one.tar oci:$OUT/x:1",
            0.6,
            true,
        ),
        convert(
            "docker-archive.tar to a hybrid archive, beside skopeo's layout with gzip",
            "exec nixoci convert -q $W/one.tar archive:$OUT/x.tar",
            "exec skopeo --insecure-policy copy -q docker-archive:$W/one.tar oci:$OUT/x:1",
            0.3,
            false,
        ),
        convert(
            "docker-archive.tar.gz to a hybrid archive, beside `gzip -dc` alone",
            "exec nixoci convert -q $W/one.tar.gz archive:$OUT/x.tar",
            "exec gzip -dc $W/one.tar.gz > /dev/null",
            1.3,
            false,
        ),
        load("load into Docker's classic store, one small layer changed", "20.10", 0.15),
        load("load into Docker's containerd store, one small layer changed", "28", 0.05),
    ]
}

/// What one run cost.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Run {
    seconds: f64,
    /// The largest resident set, in bytes.
    memory: u64,
    /// The most there was in files outside the output.
    temporary: u64,
    output: u64,
}

const HEAD: &str = "| work | nixoci | peer | ratio | goal | output | peak memory | temporary files | |\n|---|---|---|---|---|---|---|---|---|\n";

/// Runs the comparisons whose names contain the word. All of them also go into docs/benchmarks.md.
pub(crate) fn run(word: Option<&str>) -> Result<i32> {
    let images = workload::ensure()?;
    let cases = cases();
    let lines =
        cases.iter().map(|case| Shown { name: case.name, ours: shown(case.ours), peer: shown(case.peer) });
    paired::report("images", HEAD, word, &lines.collect::<Vec<_>>(), |number| {
        let case = &cases[number];
        let runs: Vec<(Run, Run)> =
            paired::on_host(&["--docker", case.docker], &[number.to_string().as_ref(), images.as_os_str()])?;
        Ok(row(case, &runs))
    })
}

fn shown(command: &str) -> String {
    command.trim_start_matches("exec ").replace("$W/", "").replace("$OUT/", "out/")
}

type Pick = fn(&(Run, Run)) -> u64;

/// The largest figure of either side.
fn pair(runs: &[(Run, Run)], ours: Pick, peer: Pick) -> String {
    let most = |pick: Pick| runs.iter().map(pick).max().unwrap_or_default() as f64 / 1e6;
    format!("{:.1} / {:.1} MB", most(ours), most(peer))
}

fn row(case: &Case, runs: &[(Run, Run)]) -> (String, bool) {
    let of = |pick: fn(&(Run, Run)) -> f64| median_of(&runs.iter().map(pick).collect::<Vec<_>>());
    let most = |pick: Pick| runs.iter().map(pick).max().unwrap_or_default();
    let (ours, peer) = (of(|(ours, _)| ours.seconds), of(|(_, peer)| peer.seconds));
    let ratios: Vec<f64> = runs.iter().map(|(ours, peer)| ours.seconds / peer.seconds).collect();
    let ratio = median_of(&ratios);
    let (low, high) = ratios.iter().fold((f64::MAX, 0.0_f64), |(low, high), r| (low.min(*r), high.max(*r)));
    let sizes = match most(|(_, peer)| peer.output) {
        0 => String::new(),
        _ => pair(runs, |(ours, _)| ours.output, |(_, peer)| peer.output),
    };
    let met = ratio <= case.goal
        && (!case.smaller || most(|(ours, _)| ours.output) <= most(|(_, peer)| peer.output))
        && most(|(ours, _)| ours.memory) <= MEMORY;
    let line = format!(
        "| {} | {ours:.2} s | {peer:.2} s | {ratio:.3} ({low:.3} to {high:.3}) | {} | {sizes} | {} | {} | {} |\n",
        case.name,
        case.goal,
        pair(runs, |(ours, _)| ours.memory, |(_, peer)| peer.memory),
        pair(runs, |(ours, _)| ours.temporary, |(_, peer)| peer.temporary),
        if met { "met" } else { "**missed**" },
    );
    (line, met)
}

/// The part that runs on the emulated host: prints what every round cost on both sides.
pub(crate) fn run_inside(number: usize, images: &Path) -> Result<i32> {
    let all = cases();
    let case = all.get(number).context("no such comparison")?;
    let images = images.to_str().context("a path that is no text")?;
    let fill = |script: &str| script.replace("$W", images).replace("$OUT", OUT);
    if !case.setup.is_empty() {
        shell(&fill(case.setup))?;
    }
    let runs = paired::pairs(ROUNDS, |side| {
        let prepare = if case.prepare.is_empty() { "true" } else { case.prepare };
        shell(&fill(&format!("{{ {prepare}; }} ; rm -rf $OUT && mkdir $OUT && sync")))?;
        measure(&fill([case.ours, case.peer][side]))
    })?;
    shell(&fill("rm -rf $OUT; docker rmi -f bench:1 bench:2 || true"))?;
    println!("{}", serde_json::to_string(&runs)?);
    Ok(0)
}

/// Runs a command that becomes one program, and watches it.
fn measure(script: &str) -> Result<Run> {
    let begin = Instant::now();
    let mut child = Command::new("/bin/sh")
        .args(["-c", script])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let proc = Path::new("/proc").join(child.id().to_string());
    let (done, ended) = std::sync::mpsc::channel::<()>();
    let watcher = thread::spawn(move || {
        let mut run = Run::default();
        while ended
            .recv_timeout(Duration::from_millis(10))
            .is_err_and(|error| error == std::sync::mpsc::RecvTimeoutError::Timeout)
        {
            // The kernel keeps the largest resident set itself.
            run.memory = peak(&proc).unwrap_or_default().max(run.memory);
            run.temporary = temporary(&proc).unwrap_or_default().max(run.temporary);
        }
        run
    });
    let status = child.wait()?;
    let seconds = begin.elapsed().as_secs_f64();
    drop(done);
    if !status.success() {
        bail!("`{script}` failed");
    }
    let run = watcher.join().unwrap_or_default();
    Ok(Run { seconds, output: size(Path::new(OUT))?, ..run })
}

fn peak(proc: &Path) -> Option<u64> {
    let status = std::fs::read_to_string(proc.join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? << 10)
}

/// The bytes in files that a process has open for writing somewhere else than in the output.
fn temporary(proc: &Path) -> Option<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(proc.join("fd")).ok()?.flatten() {
        let Ok(target) = std::fs::read_link(entry.path()) else { continue };
        let writes = entry.metadata().is_ok_and(|link| link.mode() & 0o200 != 0);
        if let Ok(file) = std::fs::metadata(entry.path())
            && file.is_file()
            && writes
            && !target.starts_with(OUT)
        {
            sum += file.len();
        }
    }
    Some(sum)
}

fn size(path: &Path) -> Result<u64> {
    let metadata = std::fs::symlink_metadata(path)?;
    if !metadata.is_dir() {
        return Ok(metadata.len());
    }
    std::fs::read_dir(path)?.map(|entry| size(&entry?.path())).sum()
}

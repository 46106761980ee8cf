//! `cargo xtask bench builders`: an emulated Mac and the machines that build for it, beside the command of the article that
//! people follow (`nix build --builders …`), and `gzip -dc` of what it leaves, which is the least that a runtime does to load it.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};

use super::paired::{self, Shown};
use super::{NIX, median_of, shell};

/// One comparison. In commands, `$D` is the directory with the projects, `$NONCE` a text that was never there before, and
/// `$BUILDER` the Mac's builder for `--builders`.
struct Case {
    name: &'static str,
    /// What the host has.
    host: &'static [&'static str],
    /// Makes the projects.
    prepare: &'static str,
    /// Cleans up.
    after: &'static str,
    rounds: usize,
    ours: &'static str,
    peer: &'static str,
    goal: &'static str,
    /// The most that ours may take, given the peer's seconds.
    limit: fn(f64) -> f64,
}

const DIR: &str = "/tmp/bench-builders";
const LINUX: &[&str] = &["--as", "mac", "--with", "linux-builder"];
const SLOW: &[&str] = &["--as", "mac", "--with", "trouble"];
const GUEST: &[&str] = &["--as", "mac", "--without", "nix", "--with", "multipass"];
const ROSETTA: &[&str] = &["--as", "mac", "--with", "rosetta-builder"];

/// The peer of an unchanged image, after what precedes it; the same for both machines but for the builder.
macro_rules! unchanged {
    ($builder:literal) => {
        concat!(
            "cd $D/nix && $NIX build --builders '",
            $builder,
            "' path:$D/cowsay#packages.x86_64-linux.container && gzip -dc result > /dev/null"
        )
    };
}

macro_rules! changed {
    ($builder:literal) => {
        concat!(
            "cd $D/nix && $NIX build --builders '",
            $builder,
            "' -f $D/changed --argstr system x86_64-linux --argstr nonce $NONCE && gzip -dc result > /dev/null"
        )
    };
}

macro_rules! ours {
    ($dir:literal, unchanged) => {
        concat!("cd $D/", $dir, " && nixoci build -q --platform linux/amd64 path:$D/cowsay#container")
    };
    ($dir:literal, changed) => {
        concat!(
            "cd $D/",
            $dir,
            " && nixoci build -q --platform linux/amd64 -f $D/changed --argstr nonce $NONCE"
        )
    };
}

fn cases() -> Vec<Case> {
    let near = |name, ours, peer, rounds| Case {
        name,
        host: LINUX,
        prepare: PROJECTS,
        after: "",
        rounds,
        ours,
        peer,
        goal: "1.1 x + 100 ms",
        limit: |peer| 1.1 * peer + 0.1,
    };
    let far = |name, ours, peer, rounds| Case {
        name,
        host: SLOW,
        prepare: PROJECTS,
        after: "",
        rounds,
        ours,
        peer,
        goal: "1 x",
        limit: |peer| peer,
    };
    vec![
        near(
            "linux-builder, transport daemon, unchanged",
            ours!("daemon", unchanged),
            unchanged!("$BUILDER"),
            21,
        ),
        near(
            "linux-builder, transport store, unchanged",
            ours!("store", unchanged),
            unchanged!("$BUILDER"),
            21,
        ),
        near(
            "linux-builder, transport builders, unchanged",
            ours!("builders", unchanged),
            unchanged!("$BUILDER"),
            21,
        ),
        near(
            "linux-builder, transport daemon, one changed path",
            ours!("daemon", changed),
            changed!("$BUILDER"),
            7,
        ),
        near(
            "linux-builder, transport store, one changed path",
            ours!("store", changed),
            changed!("$BUILDER"),
            7,
        ),
        near(
            "linux-builder, transport builders, one changed path",
            ours!("builders", changed),
            changed!("$BUILDER"),
            7,
        ),
        far(
            "a machine 100 ms away, unchanged",
            ours!("slow", unchanged),
            unchanged!("ssh-ng://slow x86_64-linux"),
            21,
        ),
        far(
            "a machine 100 ms away, one changed path",
            ours!("slow", changed),
            changed!("ssh-ng://slow x86_64-linux"),
            3,
        ),
        Case {
            name: "two builds of 10 s for two platforms at once, beside arm64 alone",
            host: ROSETTA,
            prepare: PROJECTS,
            after: "",
            rounds: 3,
            ours: "cd $D/nix && nixoci build -q --platform linux/amd64,linux/arm64 -f $D/sleeps --argstr nonce $NONCE",
            peer: "cd $D/nix && nixoci build -q --platform linux/arm64 -f $D/sleeps --argstr nonce $NONCE",
            goal: "1.3 x",
            limit: |peer| 1.3 * peer,
        },
        guest(
            "multipass, nothing changed, beside the guest's own nix-build",
            "cd $D && nixoci build -q --backend multipass -f layered",
            "$D/vm nix-build --no-out-link --argstr system aarch64-linux layered",
            "1 x + 1 s",
            |peer| peer + 1.0,
            11,
        ),
        guest(
            "multipass, one changed file of 2,000, beside sending all and nix-build",
            "cd $D && echo $NONCE > many/f7 && nixoci build -q --backend multipass -f many",
            "cd $D && echo $NONCE > many/f7 && tar c many | $D/vm tar x && $D/vm nix-build --no-out-link --argstr system aarch64-linux many",
            "1 x + 0.5 s",
            |peer| peer + 0.5,
            7,
        ),
        guest(
            "multipass, an image of 400 MB that is built and was never read, beside a pipe that keeps what it hashes",
            "cd $D && rm -rf ~/.cache/nixoci/images && nixoci build -q --backend multipass -f big",
            "$D/vm cat $(cat $D/big/path) | tee $D/kept | sha256sum && rm $D/kept",
            "1.2 x",
            |peer| peer * 1.2,
            7,
        ),
    ]
}

/// The article's way by hand, in a virtual machine that is there and has everything.
fn guest(
    name: &'static str,
    ours: &'static str,
    peer: &'static str,
    goal: &'static str,
    limit: fn(f64) -> f64,
    rounds: usize,
) -> Case {
    Case { name, host: GUEST, prepare: GUEST_PROJECTS, after: REMOVE, rounds, ours, peer, goal, limit }
}

const REMOVE: &str = "cd $D && nixoci provision --backend multipass --remove -y -q";

/// A guest with the projects in it, and `vm`, which runs a command there by ssh.
const GUEST_PROJECTS: &str = r#"
rm -rf $D ~/.cache/nixoci && mkdir -p $D/layered $D/many $D/big && cp examples/layered/default.nix $D/layered || exit
cd $D; printf '[backend.multipass]\ninstance = "bench"\nmemory = "4G"\ndisk = "12G"\n' > nixoci.toml
for i in $(seq 2000); do head -c 500 /dev/urandom | base64 > many/f$i; done
cat > many/default.nix <<'END'
{ system }:
let pkgs = import <nixpkgs> { inherit system; }; in
pkgs.dockerTools.buildLayeredImage { name = "many"; contents = [ (pkgs.writeTextDir "etc/f7" (builtins.readFile ./f7)) ]; }
END
{ printf '{ system }: (\n'; cat $OLDPWD/lab/big-image.nix; echo ') { inherit system; bytes = 400000000; architecture = "arm64"; from = "urandom"; }'; } > big/default.nix
nixoci provision --backend multipass -y -q >/dev/null && nixoci build -q --backend multipass -f big >/dev/null && nixoci build -q --backend multipass -f layered > /dev/null || exit
state=~/.local/state/nixoci/multipass/bench
printf '%s "$@"\n' "exec ssh -F none -i $state/id_ed25519 -o UserKnownHostsFile=$state/known_hosts -o HostKeyAlias=nixoci-vm-bench ubuntu@$(multipass info bench --format json | jq -r '.info.bench.ipv4[0]')" > vm; chmod 755 vm
./vm 'ls -d /nix/store/*-big.tar | tail -n 1' > big/path; tar c layered | ./vm tar x
"#;

/// The projects; the example has the article's image.
const PROJECTS: &str = r#"
rm -rf $D ~/.cache/nixoci && mkdir -p $D/nix $D/changed $D/sleeps && cp -r examples/cowsay $D || exit
cat > $D/changed/default.nix <<'END'
{ system, nonce }:
let pkgs = import <nixpkgs> { inherit system; }; in
pkgs.dockerTools.buildLayeredImage {
  name = "changed"; tag = "1";
  contents = [ pkgs.cowsay (pkgs.writeTextDir "etc/nonce" nonce) ];
  config.Cmd = [ "cowsay" "hello" "world" ];
}
END
cat > $D/sleeps/default.nix <<'END'
{ system, nonce }:
let pkgs = import <nixpkgs> { inherit system; }; in
pkgs.dockerTools.buildLayeredImage {
  name = "sleeps"; tag = "1";
  contents = [ pkgs.pkgsStatic.hello (pkgs.runCommand "slept" { } "sleep 10; mkdir $out; echo ${nonce} > $out/nonce") ];
  config.Cmd = [ "hello" ];
}
END
for transport in daemon store builders; do
  mkdir $D/$transport && printf '[backend.darwin-builder]\ntransport = "%s"\n' $transport > $D/$transport/nixoci.toml
done
mkdir $D/slow && printf '[backend.remote]\nbuilders = [{ host = "slow", systems = ["x86_64-linux"] }]\n' > $D/slow/nixoci.toml
"#;

/// Nobody has told the lab's root the builder's host key; the article's Mac knows it from nix-darwin.
const BUILDER: &str = "ssh-ng://builder@linux-builder x86_64-linux /etc/nix/builder_ed25519";

const HEAD: &str =
    "| what | nixoci, median | peer, median | ratio of the pairs | goal | |\n|---|---|---|---|---|---|\n";

/// Runs the comparisons whose names contain the word. All of them also go into docs/benchmarks.md.
pub(crate) fn run(word: Option<&str>) -> Result<i32> {
    let cases = cases();
    let lines =
        cases.iter().map(|case| Shown { name: case.name, ours: shown(case.ours), peer: shown(case.peer) });
    paired::report("builders", HEAD, word, &lines.collect::<Vec<_>>(), |number| {
        // As root: the article's command reads root's key.
        let case = &cases[number];
        let number = number.to_string();
        let pairs = paired::on_host(case.host, &["--builders".as_ref(), number.as_ref()])?;
        Ok(row(case, &pairs))
    })
}

fn shown(command: &str) -> String {
    command.replace("$BUILDER", BUILDER).replace("$NIX", "nix")
}

type Pairs = Vec<(f64, f64)>;

fn row(case: &Case, pairs: &Pairs) -> (String, bool) {
    let of = |pick: fn(&(f64, f64)) -> f64| median_of(&pairs.iter().map(pick).collect::<Vec<_>>());
    let (ours, peer) = (of(|pair| pair.0), of(|pair| pair.1));
    let ratios: Vec<f64> = pairs.iter().map(|(ours, peer)| ours / peer).collect();
    let (low, high) = ratios.iter().fold((f64::MAX, 0.0_f64), |(low, high), r| (low.min(*r), high.max(*r)));
    let met = ours <= (case.limit)(peer);
    let line = format!(
        "| {} | {ours:.2} s | {peer:.2} s | {:.2} ({low:.2} to {high:.2}) | {} | {} |\n",
        case.name,
        median_of(&ratios),
        case.goal,
        if met { "met" } else { "**missed**" },
    );
    (line, met)
}

/// The part that runs on the emulated Mac: prints the seconds of every round on both sides.
pub(crate) fn run_inside(number: usize) -> Result<i32> {
    let all = cases();
    let case = all.get(number).context("no such comparison")?;
    shell(&case.prepare.replace("$D", DIR))?;
    let pairs = paired::pairs(case.rounds, |side| {
        let command = filled([case.ours, case.peer][side])?;
        let begin = Instant::now();
        shell(&command)?;
        Ok(begin.elapsed().as_secs_f64())
    })?;
    if !case.after.is_empty() {
        shell(&case.after.replace("$D", DIR))?;
    }
    println!("{}", serde_json::to_string(&pairs)?);
    Ok(0)
}

fn filled(command: &str) -> Result<String> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let builder = if command.contains("$BUILDER") {
        let machines = std::fs::read_to_string("/etc/nix/machines")?;
        let key = machines.split_whitespace().last().context("no host key")?;
        format!("{BUILDER} 2 1 - - {key}")
    } else {
        String::new()
    };
    Ok(command
        .replace("$BUILDER", &builder)
        .replace("$D", DIR)
        .replace("$NONCE", &now.as_nanos().to_string())
        .replace("$NIX", NIX))
}

//! What the machine must be, and what it must have: checked before anything is made, installed where apt can.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::sh;

/// The oldest Debian that this was run on.
const OLDEST: u32 = 12;

/// Refuses machines the lab cannot work on, in words that say what it needs.
pub(crate) fn check() -> Result<()> {
    let mut needs = Vec::new();
    if !rustix::process::geteuid().is_root() {
        needs.push("root: it makes namespaces, mounts and container daemons (try `sudo -E`)".to_owned());
    }
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    // Debian's testing and unstable have no version, and are newer.
    let version = value(&release, "VERSION_ID").and_then(|version| version.parse().ok()).unwrap_or(OLDEST);
    let debian = value(&release, "ID") == Some("debian") && version >= OLDEST;
    if !debian || !Path::new("/usr/bin/apt-get").exists() {
        let name = value(&release, "PRETTY_NAME").unwrap_or(std::env::consts::OS);
        needs.push(format!(
            "a Debian machine ({OLDEST} or newer), because it installs with apt: this is {name}"
        ));
    }
    if std::env::consts::ARCH != "x86_64" {
        needs.push(format!("an x86_64 machine: this is {}", std::env::consts::ARCH));
    }
    if needs.is_empty() {
        return Ok(());
    }
    bail!("this runs in the lab, which needs\n  - {}", needs.join("\n  - "))
}

/// Installs what making roots takes.
pub(crate) fn ensure_tools(log: &Path) -> Result<()> {
    // util-linux and mount are essential on Debian; a slim container image may still lack one.
    let wanted = [
        ("debootstrap", "debootstrap"),
        ("unshare", "util-linux"),
        ("setpriv", "util-linux"),
        ("mount", "mount"),
        ("gpgv", "gpgv"),
        ("openssl", "openssl"),
    ];
    ensure_programs(&wanted, log)
}

/// Installs the packages whose program is not there: (program, package).
pub(crate) fn ensure_programs(wanted: &[(&str, &str)], log: &Path) -> Result<()> {
    let mut packages: Vec<&str> =
        wanted.iter().filter(|(program, _)| !on_path(program)).map(|(_, package)| *package).collect();
    if packages.is_empty() {
        return Ok(());
    }
    packages.dedup();
    sh::step(&format!("installing {}", packages.join(", ")), || {
        let install = |log: &Path| {
            let mut apt = Command::new("apt-get");
            apt.env("DEBIAN_FRONTEND", "noninteractive");
            apt.args(["-q", "-y", "install", "--no-install-recommends"]).args(&packages);
            sh::logged(&mut apt, log)
        };
        if install(log).is_ok() {
            return Ok(());
        }
        // A new machine has no package lists yet, an old one has stale ones.
        sh::logged(Command::new("apt-get").args(["-q", "update"]), log)?;
        install(log)
    })
}

/// Where this machine gets Debian from: the lab's roots come from the same place.
pub(crate) fn mirror() -> Result<String> {
    let release = std::fs::read_to_string("/etc/os-release")?;
    let codename = value(&release, "VERSION_CODENAME").context("/etc/os-release names no release")?;
    // Without the release files' own information: a new machine has none yet.
    let targets = sh::quiet(Command::new("apt-get").args([
        "indextargets",
        "--no-release-info",
        "Created-By: Packages",
        "--format",
        "$(COMPONENT) $(RELEASE) $(REPO_URI)",
    ]))?;
    let found = main_archive(&targets, codename);
    let uri = found.with_context(|| {
        format!("apt has no sources for {codename} main: the lab takes Debian from where this machine does")
    })?;
    // Cloud images name a file with mirrors, which debootstrap does not understand.
    match uri.strip_prefix("mirror+file:") {
        None => Ok(uri),
        Some(list) => std::fs::read_to_string(list)?
            .lines()
            .map(|line| line.split_whitespace().next().unwrap_or_default().trim_end_matches('/').to_owned())
            .find(|line| line.starts_with("http"))
            .with_context(|| format!("{list} names no mirror")),
    }
}

/// The archive of a release among lines of `COMPONENT RELEASE URI`; sources may also call it `stable`.
fn main_archive(targets: &str, codename: &str) -> Option<String> {
    let archives: Vec<(&str, &str)> = targets
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (component, release, uri) = (words.next()?, words.next()?, words.next()?);
            // Updates, security and backports are beside the archive, not the archive.
            (component == "main" && !release.contains(['-', '/'])).then_some((release, uri))
        })
        .collect();
    let named = archives.iter().find(|(release, _)| *release == codename);
    named.or(archives.first()).map(|(_, uri)| uri.trim_end_matches('/').to_owned())
}

pub(crate) fn on_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
        || ["/usr/sbin", "/sbin"].iter().any(|dir| Path::new(dir).join(program).is_file())
}

fn value<'a>(release: &'a str, key: &str) -> Option<&'a str> {
    release.lines().find_map(|line| Some(line.strip_prefix(key)?.strip_prefix('=')?.trim_matches('"')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_among_apts_sources() {
        let targets = "main bookworm-updates http://mirror.example/debian/\n\
                       contrib bookworm http://other.example/debian/\n\
                       main bookworm http://mirror.example/debian/\n\
                       main bookworm-security http://mirror.example/debian-security/\n";
        assert_eq!(main_archive(targets, "bookworm").as_deref(), Some("http://mirror.example/debian"));
        assert_eq!(
            main_archive("main stable http://a.example/d\n", "trixie").as_deref(),
            Some("http://a.example/d")
        );
        assert_eq!(main_archive("main trixie-security http://a.example/d\n", "trixie"), None);
    }

    #[test]
    fn os_release_values() {
        let text = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_ID=\"12\"\n";
        assert_eq!(value(text, "ID"), Some("debian"));
        assert_eq!(value(text, "PRETTY_NAME"), Some("Debian GNU/Linux 12 (bookworm)"));
        assert_eq!(value(text, "VERSION_CODENAME"), None);
    }
}

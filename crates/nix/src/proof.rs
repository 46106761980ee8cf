//! Proof that a builder builds: something tiny is really built, and read back.
//!
//! What is built is never there already, in no cache and no store: a random word goes in, and has to come out. Its builder
//! is a program that nixoci carries for the CPU that is asked for, so that the build proves that such programs run (by
//! Rosetta, by qemu); it needs nothing of nixpkgs and nothing of the network.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nixoci_core::artifact::{ArtifactId, PathInfo, StorePath};
use nixoci_core::backend::{Backend, Check, Cx, Depth, Forecast};
use nixoci_core::platform::NixSystem;
use nixoci_core::release::release_artifact;
use nixoci_core::request::{BuildRequest, Installable, NixArg, NixFlags};
use nixoci_core::text::hex;
use nixoci_core::{Error, Result, ResultExt, codes as core_codes};
use sha2::{Digest, Sha256};

use crate::codes::PROOF;
use crate::driver::Nix;
use crate::guest::sources::Sources;
use crate::place::Place;
use crate::{nar, roots};

/// The programs that nixoci carries, by CPU. Their source lies beside them and says how they were made.
const PROGRAMS: [(&str, &[u8]); 2] = [
    ("x86_64-linux", include_bytes!("proof/x86_64-linux.elf")),
    ("aarch64-linux", include_bytes!("proof/aarch64-linux.elf")),
];

/// More than a word in a NAR is not what was to be built.
const NAR_LIMIT: u64 = 4096;

/// A builder that sleeps needs a minute to wake up; one that takes longer than this for a word has stopped answering.
const LIMIT: Duration = Duration::from_secs(300);

/// Something was built, and read back as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// How long that took.
    pub seconds: Duration,
    /// What was built. Nothing keeps it in the store any more.
    pub path: StorePath,
    /// Whether a program for the wanted CPU built it. Where nixoci carries none, the builder's own shell did.
    pub own_program: bool,
}

/// Builds something tiny for `system` with this Nix, wherever that has it built, and reads it back.
///
/// # Errors
/// As [`Nix::build`], [`Nix::path_info`] and [`Nix::dump`]; [`PROOF`] if something else comes out, or nothing within five
/// minutes.
pub async fn prove(cx: &Cx<'_>, nix: &Nix, system: &NixSystem) -> Result<Proof> {
    timed(system, build_and_read(cx, nix, system)).await
}

async fn timed(system: &NixSystem, build: impl Future<Output = Result<StorePath>>) -> Result<Proof> {
    let begin = Instant::now();
    // What is dropped at an await leaves nothing running and nothing half done.
    let built = tokio::time::timeout(LIMIT, build).await;
    match built.unwrap_or_else(|_| Err(no_answer())) {
        Ok(path) => Ok(Proof { seconds: begin.elapsed(), path, own_program: program(system).is_some() }),
        Err(error) if error.is(&core_codes::CANCELLED) => Err(error),
        Err(error) => Err(error.context(format!("a tiny build for {system} failed"))),
    }
}

/// As [`prove`] for one system after the other, as what a backend found: a builder that fails is a finding.
///
/// # Errors
/// [`nixoci_core::codes::CANCELLED`].
pub async fn checks(cx: &Cx<'_>, nix: &Nix, want: &[NixSystem]) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for system in want {
        checks.push(check(system, prove(cx, nix, system).await)?);
    }
    Ok(checks)
}

/// As [`checks`], through the methods of any backend.
///
/// # Errors
/// [`nixoci_core::codes::CANCELLED`].
pub async fn checks_of(cx: &Cx<'_>, backend: &dyn Backend, want: &[NixSystem]) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for system in want {
        checks.push(check(system, timed(system, build_and_read_by(cx, backend, system)).await)?);
    }
    Ok(checks)
}

fn check(system: &NixSystem, proof: Result<Proof>) -> Result<Check> {
    match proof {
        Ok(proof) => Ok(good(system, &proof)),
        Err(error) if error.is(&core_codes::CANCELLED) => Err(error),
        Err(error) => Ok(Check::failed(system.as_str(), &error)),
    }
}

fn good(system: &NixSystem, proof: &Proof) -> Check {
    let by = if proof.own_program { "" } else { " by the builder's shell" };
    let detail = format!("built{by} and read back in {:.1} s", proof.seconds.as_secs_f64());
    Check::good(system.as_str(), detail)
}

async fn build_and_read(cx: &Cx<'_>, nix: &Nix, system: &NixSystem) -> Result<StorePath> {
    let file = expression_file(cx, system)?;
    let nonce = nonce();
    let root = Root::new(cx, nix.place()).await?;
    let built = nix.build(cx, &request(file, system, &nonce), &Forecast::unknown(), &root.path).await?;
    let infos = nix.path_info(cx, std::slice::from_ref(&built.path), false).await?;
    let info = small(&infos, &built.path)?;
    let mut bytes = Vec::new();
    nix.dump(cx, info, &mut bytes).await?;
    read_back(&bytes, &built.path, &nonce)?;
    roots::end(cx, nix.place(), &ArtifactId(root.path.to_string_lossy().into_owned())).await?;
    Ok(built.path)
}

async fn build_and_read_by(cx: &Cx<'_>, backend: &dyn Backend, system: &NixSystem) -> Result<StorePath> {
    let file = expression_file(cx, system)?;
    let nonce = nonce();
    let request = request(file, system, &nonce);
    let forecast = backend.forecast(cx, &request, Depth::Verdict).await?;
    let built = backend.build(cx, &request, &forecast).await?;
    let paths = std::slice::from_ref(&built.path);
    let infos = backend.query(cx, paths, false).await?;
    small(&infos, &built.path)?;
    let mut bytes = Vec::new();
    backend.fetch(cx, paths, &mut bytes).await?;
    read_back(&bytes, &built.path, &nonce)?;
    release_artifact(backend, cx, built.id).await?;
    Ok(built.path)
}

fn small<'a>(infos: &'a [PathInfo], path: &StorePath) -> Result<&'a PathInfo> {
    let info = infos.iter().find(|info| info.path == *path && info.nar_size <= NAR_LIMIT);
    info.ok_or_else(|| something_else(path))
}

fn read_back(nar: &[u8], path: &StorePath, nonce: &str) -> Result<()> {
    let mut text = Vec::new();
    nar::single_file(nar)?.read_to_end(&mut text).or_error(&PROOF, || format!("{path} cannot be read"))?;
    if text == nonce.as_bytes() { Ok(()) } else { Err(something_else(path)) }
}

fn expression_file(cx: &Cx<'_>, system: &NixSystem) -> Result<PathBuf> {
    let dir = cx.dirs.cache.join("proof");
    write(&dir, system).or_error(&PROOF, || format!("{} cannot be written", dir.display()))
}

/// What a guest has to see for [`checks`].
///
/// # Errors
/// [`PROOF`].
pub fn sources(cx: &Cx<'_>, want: &[NixSystem]) -> Result<Sources> {
    let mut dir = cx.dirs.cache.join("proof");
    for system in want {
        if let Some(parent) = expression_file(cx, system)?.parent() {
            parent.clone_into(&mut dir);
        }
    }
    Sources::directory(&dir)
}

fn no_answer() -> Error {
    Error::new(&PROOF, format!("nothing came back within {} s", LIMIT.as_secs()))
}

fn something_else(path: &StorePath) -> Error {
    Error::new(&PROOF, format!("{path} is not what was to be built"))
}

/// A garbage collector root for as long as it lives.
struct Root {
    path: PathBuf,
    _guard: Box<dyn Send + Sync>,
}

impl Root {
    async fn new(cx: &Cx<'_>, place: &Place) -> Result<Root> {
        let (path, _guard) = roots::begin(cx, place).await?;
        Ok(Root { path, _guard })
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        // One that stays is swept later.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn request(file: PathBuf, system: &NixSystem, nonce: &str) -> BuildRequest {
    let args = BTreeMap::from([("nonce".to_owned(), NixArg::Str(nonce.to_owned()))]);
    BuildRequest {
        installable: Installable::File { path: file, attribute: None, args },
        system: system.clone(),
        prefer: Vec::new(),
        flags: NixFlags::default(),
    }
}

/// A word that nobody has built before.
fn nonce() -> String {
    let random = || RandomState::new().hash_one(std::process::id());
    let time = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
    format!("{:016x}{time:032x}", random())
}

fn program(system: &NixSystem) -> Option<&'static [u8]> {
    PROGRAMS.iter().find(|(name, _)| *name == system.as_str()).map(|(_, bytes)| *bytes)
}

/// What is built: the expression, for a builder that lies beside it or for the builder's shell.
fn expression(builder: Option<&str>) -> String {
    let (builder, args) = match builder {
        Some(name) => (
            format!("builtins.path {{ name = \"nixoci-proof-builder\"; path = ./{name}; }}"),
            r#"[ (placeholder "out") nonce ]"#,
        ),
        None => ("\"/bin/sh\"".to_owned(), r#"[ "-c" "printf %s \"$nonce\" > \"$out\"" ]"#),
    };
    format!(
        "{{ system, nonce }}:\nderivation {{\n  name = \"nixoci-proof\";\n  inherit system nonce;\n  builder = {builder};\n  \
         args = {args};\n  allowSubstitutes = false;\n  preferLocalBuild = false;\n}}\n"
    )
}

/// Writes the expression and its builder, each under a name by its contents, and says where the expression is.
fn write(place: &Path, system: &NixSystem) -> std::io::Result<PathBuf> {
    std::fs::create_dir_all(place)?;
    // Nix follows no link on the way to a file that it copies into the store.
    let place = place.canonicalize()?;
    let builder =
        program(system).map(|bytes| put(&place, &format!("-{system}"), bytes, 0o755)).transpose()?;
    let text = expression(builder.as_deref());
    Ok(place.join(put(&place, ".nix", text.as_bytes(), 0o644)?))
}

/// Written anew each time, and whole at any time: what somebody damaged mends.
fn put(place: &Path, suffix: &str, bytes: &[u8], mode: u32) -> std::io::Result<String> {
    let hash = Sha256::digest(bytes);
    let name = format!("{}{suffix}", hex(&hash[..8]));
    let mut file = tempfile::NamedTempFile::new_in(place)?;
    file.write_all(bytes)?;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(mode))?;
    file.persist(place.join(&name))?;
    Ok(name)
}

#[cfg(test)]
mod tests;

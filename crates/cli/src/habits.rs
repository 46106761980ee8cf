//! What people bring from `docker build`, and what to do here instead.

use std::path::Path;

use nixoci_core::{Error, Remedy, Result};

use crate::codes::DOCKERFILE;

/// Flags of `docker build` and `docker buildx build`, and the way here.
const FLAGS: &[(&[&str], &str)] = &[
    (
        &["--no-cache", "--no-cache-filter"],
        "Nix knows by itself what is out of date, and --refresh looks for new versions of the inputs",
    ),
    (
        &["--pull"],
        "a base image is pinned by its digest in the expression (dockerTools.pullImage), and other inputs by flake.lock",
    ),
    (&["--build-arg"], "a Nix file's function takes arguments, with --argstr NAME VALUE beside --file"),
    (
        &["--target"],
        "stages are attributes in Nix: name the one to build, as in `nixoci build .#debug-image`",
    ),
    (
        &["--secret"],
        "a Nix build sees no secrets, and what it needs at run time goes in when the container starts",
    ),
    (
        &["--cache-from", "--cache-to"],
        "Nix takes finished store paths from its binary caches, with --option extra-substituters URL for one more",
    ),
    (
        &["--network", "--add-host", "--allow"],
        "a Nix build has no network, and what it downloads is declared with its hash (fetchurl, fetchgit)",
    ),
    (&["--build-context"], "other directories are inputs of the flake, with --override-input INPUT PATH"),
    (
        &["--label", "--annotation"],
        "labels stand in the expression, as in config.Labels.\"org.opencontainers.image.source\" = \"…\"",
    ),
    (&["--builder"], "where to build is chosen with --backend, and `nixoci backends` lists what there is"),
    (
        &["--attest", "--provenance", "--sbom"],
        "store paths and the derivation say what is in the image, and --format json prints them",
    ),
    (
        &["--squash", "--rm", "--force-rm"],
        "there are no intermediate containers, and layers are what the expression says",
    ),
    (
        &[
            "--cpu-shares",
            "--cpuset-cpus",
            "--memory",
            "--memory-swap",
            "--shm-size",
            "--ulimit",
            "--isolation",
            "--cgroup-parent",
        ],
        "--cores and --max-jobs say how much of the machine a Nix build may use",
    ),
];

/// Flags that `docker run` has as well: after `nixoci run` they are meant for the container.
const OF_RUN_TOO: &[&str] = &[
    "--pull",
    "--network",
    "--add-host",
    "--label",
    "--annotation",
    "--rm",
    "--cpu-shares",
    "--cpuset-cpus",
    "--memory",
    "--memory-swap",
    "--shm-size",
    "--ulimit",
    "--isolation",
    "--cgroup-parent",
];

/// The sentence for a flag that this command line does not know.
pub(crate) fn sentence(flag: &str, typed: &[String]) -> Option<String> {
    let command = typed.iter().skip(1).find(|word| ["build", "plan", "run"].contains(&word.as_str()))?;
    if command == "run" && OF_RUN_TOO.contains(&flag) {
        return None;
    }
    let (_, instead) = FLAGS.iter().find(|(flags, _)| flags.contains(&flag))?;
    Some(format!("{flag} is not needed here: {instead}"))
}

/// A Dockerfile in place of a Nix file.
///
/// # Errors
/// [`DOCKERFILE`].
pub(crate) fn no_dockerfile(file: &Path) -> Result<()> {
    let name = file.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let is = |base: &str| {
        name == base || name.starts_with(&format!("{base}.")) || name.ends_with(&format!(".{base}"))
    };
    if name.ends_with(".nix") || !(is("dockerfile") || is("containerfile")) {
        return Ok(());
    }
    let text =
        format!("`{}` is for `docker build`: nixoci builds images from Nix expressions", file.display());
    Err(Error::new(&DOCKERFILE, text)
        .remedy(Remedy::command("begin with a flake that makes an image", "nixoci init"))
        .remedy(Remedy::command("build a Nix file", "nixoci build -f default.nix")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_its_name() {
        for name in ["Dockerfile", "dir/Dockerfile.dev", "web.dockerfile", "Containerfile"] {
            assert!(no_dockerfile(Path::new(name)).is_err(), "{name}");
        }
        for name in ["default.nix", "dockerfile.nix", ".", "docker"] {
            assert!(no_dockerfile(Path::new(name)).is_ok(), "{name}");
        }
    }

    #[test]
    fn the_container_s_flags_are_docker_run_s() {
        let typed = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert!(sentence("--network", &typed("nixoci -q build --network host")).is_some());
        assert!(sentence("--memory", &typed("nixoci run .#x --memory 1g")).is_none());
        assert!(sentence("--no-cache", &typed("nixoci run --no-cache")).is_some());
        assert!(sentence("--target", &typed("nixoci inspect --target")).is_none());
    }
}

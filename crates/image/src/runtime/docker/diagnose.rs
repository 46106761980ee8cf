//! What the docker command says when it fails, and what to do then.
//!
//! Source of the texts: docker/cli and moby/client of 20.10 to 29, `client/errors.go`, `opts/hosts.go`.

use std::time::Duration;

use nixoci_core::host::Host;
use nixoci_core::{Code, Error, Remedy, pattern};

use crate::codes;

fn is_mac(host: &Host) -> bool {
    host.system.kernel() == "darwin"
}

/// There is no docker command.
pub(super) fn not_installed(host: &Host) -> Error {
    let error = Error::new(&codes::DOCKER_MISSING, "docker is not installed")
        .because("the docker command was not found on PATH");
    if is_mac(host) {
        error
            .remedy(Remedy::command("install Docker Desktop", "brew install --cask docker"))
            .remedy(Remedy::command("or Colima", "brew install colima docker && colima start"))
    } else {
        error.remedy(Remedy::command("install Docker", "sudo apt-get install docker.io"))
    }
    .remedy(Remedy::advice("or leave out --load: the image is kept as ./result"))
}

fn start(error: Error, host: &Host) -> Error {
    if is_mac(host) {
        error
            .remedy(Remedy::command("start Docker Desktop", "open -a Docker"))
            .remedy(Remedy::command("or Colima", "colima start"))
    } else {
        error.remedy(Remedy::command("start Docker", "sudo systemctl start docker"))
    }
    .remedy(Remedy::command("see which engine is meant", "docker context ls"))
}

/// The engine did not answer in time.
pub(super) fn silent(host: &Host, patience: Duration) -> Error {
    let text = format!("the Docker engine did not answer within {} seconds", patience.as_secs());
    start(Error::new(&codes::DOCKER_DOWN, text), host)
}

/// The command answered something that cannot be understood.
pub(super) fn odd_answer(error: &Error) -> Error {
    Error::new(&codes::DOCKER_FAILED, "Docker's answer cannot be understood").because(error)
}

/// The docker command is another program.
pub(super) fn podman() -> Error {
    Error::new(&codes::DOCKER_IS_PODMAN, "the `docker` command here is Podman's")
        .because("`docker --version` says so, and its answers are not Docker's")
        .remedy(Remedy::command("use Podman, with `nixoci load` or `nixoci run`", "--runtime podman"))
        .remedy(Remedy::command("or with `nixoci build`", "--load=podman"))
}

/// How much of a line of Docker's is repeated.
const LINE: usize = 1000;

/// Messages of the docker command, in lower case, and their meaning; the first match counts. See [`pattern`].
const RULES: &[(&Code, &[&str])] = &[
    (&codes::DOCKER_PERMISSION, &["permission denied"]),
    (&codes::DISK_FULL, &["no space left on device"]),
    (
        &codes::DOCKER_ENDPOINT,
        &[
            "context not found",
            "unable to resolve docker endpoint",
            "unable to parse docker host",
            "invalid bind address",
        ],
    ),
    (
        &codes::DOCKER_DOWN,
        &[
            "cannot connect to the docker daemon",
            "failed to connect to the docker api",
            "error during connect",
            "is the docker daemon running",
            "connection refused",
            "no such host",
        ],
    ),
];

/// The docker command failed, and said this.
pub(super) fn failed(host: &Host, stderr: &str) -> Error {
    let text = stderr.to_lowercase();
    let code = pattern::first(RULES, |(_, words)| words, &text)
        .map_or(&codes::DOCKER_FAILED, |((code, _), _)| *code);
    let lines = stderr.lines().map(str::trim).filter(|line| !line.is_empty());
    let error =
        Error::new(code, code.title).log(lines.map(|line| crate::text::show_up_to(line.as_bytes(), LINE)));
    if std::ptr::eq(code, &codes::DOCKER_DOWN) {
        // Nothing that can be started here helps an engine elsewhere.
        let elsewhere = ["ssh", "tcp://", "https://"].iter().any(|scheme| text.contains(scheme));
        return if elsewhere {
            error
                .remedy(Remedy::advice("see whether the address is right and the engine runs there"))
                .remedy(Remedy::command("see which engine is meant", "docker context ls"))
        } else {
            start(error, host)
        };
    }
    if std::ptr::eq(code, &codes::DOCKER_PERMISSION) {
        return error
            .remedy(Remedy::command(
                "join the group docker, then log in again",
                "sudo usermod -aG docker $USER",
            ))
            .remedy(Remedy::command("or, in this shell only", "newgrp docker"));
    }
    if std::ptr::eq(code, &codes::DOCKER_ENDPOINT) {
        return error.remedy(Remedy::command("see which engines are known", "docker context ls"));
    }
    if std::ptr::eq(code, &codes::DISK_FULL) {
        return error.remedy(Remedy::command("free room in the engine", "docker system prune"));
    }
    if text.contains("is too new") || text.contains("is too old") {
        return error
            .remedy(Remedy::advice("the docker command and the engine are too far apart: update the older"));
    }
    error
}

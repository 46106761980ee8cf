//! What the commands of runtimes other than Docker say when they fail, and what to do then.
//!
//! Source of the texts: containers/podman 5 (`pkg/bindings/connection.go`), containerd 1.6 and 2 (`cmd/ctr`), apple/container 1
//! (`ClientXPC`), kind 0.33, k3d 5, minikube 1.37; those of Podman, ctr and kind as the lab's real ones write them.

use std::time::Duration;

use nixoci_core::config::Runtime;
use nixoci_core::host::Host;
use nixoci_core::{Code, Error, Remedy, pattern, shell};

use crate::codes;
use crate::text::show_up_to;

/// How much of a line of a runtime's is repeated.
const LINE: usize = 1000;

pub(super) fn is_mac(host: &Host) -> bool {
    host.system.kernel() == "darwin"
}

/// What a sentence calls the runtime.
pub(super) fn label(runtime: Runtime) -> &'static str {
    match runtime {
        Runtime::Docker => "Docker",
        Runtime::Podman => "Podman",
        Runtime::Apple => "Apple's container",
        other => other.name(),
    }
}

/// Its command.
fn program(runtime: Runtime) -> &'static str {
    match runtime {
        Runtime::Containerd => "ctr",
        Runtime::Apple => "container",
        other => other.name(),
    }
}

/// The command is not there.
pub(super) fn missing(runtime: Runtime, host: &Host) -> Error {
    let error = Error::new(&codes::RUNTIME_MISSING, format!("{} is not installed", label(runtime)))
        .because(format!("the {} command was not found on PATH", program(runtime)));
    match (runtime, is_mac(host)) {
        (Runtime::Containerd, true) => error.remedy(Remedy::advice(
            "on a Mac containerd runs in a virtual machine: write the image with -o archive:image.tar, and load it there",
        )),
        (Runtime::Apple, false) => error.because("it is for macOS"),
        _ => error.remedy(Remedy::command(format!("install {}", label(runtime)), install(runtime, host))),
    }
    .remedy(Remedy::advice("or leave out --load: the image is kept as ./result"))
}

fn install(runtime: Runtime, host: &Host) -> String {
    match (runtime, is_mac(host)) {
        (Runtime::Podman, true) => {
            "brew install podman && podman machine init && podman machine start".to_owned()
        }
        (Runtime::Podman | Runtime::Containerd, false) => {
            shell!("sudo apt-get install {}", runtime.name())
        }
        (Runtime::Apple, _) => "brew install container && container system start".to_owned(),
        (runtime, true) => shell!("brew install {}", runtime.name()),
        (runtime, false) => shell!("nix profile install {}", format!("nixpkgs#{}", runtime.name())),
    }
}

fn start(error: Error, runtime: Runtime, host: &Host) -> Error {
    match (runtime, is_mac(host)) {
        (Runtime::Podman, true) => error
            .remedy(Remedy::command("start Podman's machine", "podman machine start"))
            .remedy(Remedy::command("or make one first", "podman machine init")),
        (Runtime::Podman, false) => error
            .remedy(Remedy::command("start Podman's service", "systemctl --user start podman.socket"))
            .remedy(Remedy::command("see which connection is meant", "podman system connection list")),
        (Runtime::Containerd, _) => error
            .remedy(Remedy::command("start containerd", "sudo systemctl start containerd"))
            .remedy(Remedy::advice("CONTAINERD_ADDRESS names a socket elsewhere"))
            .remedy(rootless()),
        (Runtime::Apple, _) => error.remedy(Remedy::command("start it", "container system start")),
        (Runtime::Kind, _) => error
            .remedy(Remedy::command(
                "see whether its nodes run",
                "docker ps --all --filter label=io.x-k8s.kind.cluster",
            ))
            .remedy(Remedy::command("or make a new cluster", "kind create cluster")),
        (Runtime::K3d, _) => error.remedy(Remedy::command("see its clusters", "k3d cluster list")),
        (Runtime::Minikube, _) => error.remedy(Remedy::command("start it", "minikube start")),
        _ => error,
    }
}

fn rootless() -> Remedy {
    Remedy::command(
        "a rootless containerd is reached from within its namespaces",
        "containerd-rootless-setuptool.sh nsenter -- nixoci load ./result --runtime containerd",
    )
}

/// It is there, and does not run.
pub(super) fn down(runtime: Runtime, host: &Host, text: String) -> Error {
    start(Error::new(&codes::RUNTIME_DOWN, text), runtime, host)
}

/// It did not answer in time.
pub(super) fn silent(runtime: Runtime, host: &Host, patience: Duration) -> Error {
    let text = format!("{} did not answer within {} seconds", label(runtime), patience.as_secs());
    down(runtime, host, text)
}

/// The command answered something that cannot be understood.
pub(super) fn odd_answer(runtime: Runtime, error: &serde_json::Error, said: &str) -> Error {
    Error::new(&codes::RUNTIME_FAILED, format!("the answer of {} cannot be understood", label(runtime)))
        .caused_by(error)
        .log(said.lines().take(1).map(|line| show_up_to(line.as_bytes(), LINE)))
}

/// Messages of the commands, in lower case, and their meaning; the first match counts. See [`pattern`].
const RULES: &[(&Code, &[&str])] = &[
    (&codes::RUNTIME_PERMISSION, &["permission denied"]),
    (&codes::DISK_FULL, &["no space left on device"]),
    (
        &codes::RUNTIME_DOWN,
        &[
            "cannot connect to podman",
            "unable to connect to podman",
            "cannot access socket",
            "failed to dial",
            "xpc connection error",
            "container system start",
            "apiserver is not running",
            "cannot connect to the docker daemon",
            "failed to connect to the docker api",
            "connection refused",
            "is not running",
            "no such host",
        ],
    ),
];

/// The command failed, and said this.
pub(super) fn failed(runtime: Runtime, host: &Host, said: &str) -> Error {
    let text = said.to_lowercase();
    let code = pattern::first(RULES, |(_, words)| words, &text)
        .map_or(&codes::RUNTIME_FAILED, |((code, _), _)| *code);
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let error =
        Error::new(code, sentence(runtime, code)).log(lines.map(|line| show_up_to(line.as_bytes(), LINE)));
    if std::ptr::eq(code, &codes::RUNTIME_DOWN) {
        return if text.contains("docker") && runtime.is_cluster() {
            start_docker(error, host)
        } else {
            start(error, runtime, host)
        };
    }
    if std::ptr::eq(code, &codes::RUNTIME_PERMISSION) {
        return permission(error, runtime);
    }
    if std::ptr::eq(code, &codes::DISK_FULL) && runtime == Runtime::Podman {
        return error.remedy(Remedy::command("free room in Podman", "podman system prune"));
    }
    error
}

fn sentence(runtime: Runtime, code: &'static Code) -> String {
    let label = label(runtime);
    if std::ptr::eq(code, &codes::RUNTIME_DOWN) {
        format!("{label} does not answer")
    } else if std::ptr::eq(code, &codes::RUNTIME_PERMISSION) {
        format!("no permission to talk to {label}")
    } else if std::ptr::eq(code, &codes::RUNTIME_FAILED) {
        format!("{label} could not take the image")
    } else {
        code.title.to_owned()
    }
}

/// The nodes of kind, k3d and minikube are Docker's containers.
fn start_docker(error: Error, host: &Host) -> Error {
    let command = if is_mac(host) { "open -a Docker" } else { "sudo systemctl start docker" };
    error.remedy(Remedy::command("start Docker, whose containers the nodes are", command))
}

fn permission(error: Error, runtime: Runtime) -> Error {
    match runtime {
        Runtime::Containerd => error
            .remedy(Remedy::command(
                "write the image to a file, and import it as root",
                "nixoci build -o archive:image.tar && sudo ctr images import image.tar",
            ))
            .remedy(rootless()),
        runtime if runtime.is_cluster() => error.remedy(Remedy::command(
            "join the group docker, then log in again",
            "sudo usermod -aG docker $USER",
        )),
        _ => error,
    }
}

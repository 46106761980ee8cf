//! Why a project cannot be crossed, in one paragraph, and who builds it instead.

use nixoci_core::backend::Cx;
use nixoci_core::request::BuildRequest;
use nixoci_core::{Error, ErrorKind, Remedy};
use nixoci_nix::{Nix, codes as nix_codes};

use crate::error::{ASSERTS, NEEDS_LINUX, NO_NIXPKGS};

/// Says what an error of the wrapped project's means.
pub(crate) async fn explained(cx: &Cx<'_>, nix: &Nix, request: &BuildRequest, error: Error) -> Error {
    let said = |text: &str| {
        error.report().message.contains(text)
            || error.report().causes.iter().any(|cause| cause.contains(text))
    };
    if said("nixoci-cross: no attribute") || error.is(&nix_codes::UNTRACKED) {
        // What there is instead, Nix says of the project as it is.
        return match nix.forecast(cx, request).await {
            Err(error) => error,
            Ok(_) => error,
        };
    }
    if said("nixoci-cross: no nixpkgs") {
        return elsewhere(
            Error::new(&NO_NIXPKGS, NO_NIXPKGS.title).because("none of its inputs is nixpkgs, nor takes one"),
        );
    }
    for what in ["runAsRoot", "enableFakechroot"] {
        if said(&format!("nixoci-cross: {what}")) {
            return elsewhere(
                Error::new(&NEEDS_LINUX, format!("the image cannot be crossed: it uses `{what}`"))
                    .because(format!("{what} runs Linux programs while the image is made"))
                    .remedy(Remedy::advice(
                        "`extraCommands` and `fakeRootCommands` do without, for files and their owners",
                    )),
            );
        }
    }
    if error.is(&nix_codes::PLATFORM) {
        return elsewhere(told(
            Error::new(
                &NEEDS_LINUX,
                "a part of the project is still for Linux itself, and has to be built there",
            ),
            &error,
        ));
    }
    let refuses = said("assertion") || said("is not supported") || said("unsupported system");
    if error.kind() == ErrorKind::Evaluation && refuses {
        return elsewhere(told(Error::new(&ASSERTS, ASSERTS.title), &error));
    }
    error
}

/// The same causes, and where they are.
fn told(told: Error, error: &Error) -> Error {
    let report = error.report();
    let told = report.causes.iter().fold(told.because(&report.message), Error::because);
    match (&report.excerpt, &report.log_path) {
        (Some(excerpt), _) => told.at(excerpt.clone()),
        (None, Some(path)) => told.log_at(path),
        (None, None) => told,
    }
}

fn elsewhere(error: Error) -> Error {
    error
        .remedy(Remedy::command(
            "build it on Linux: a builder on this Mac, for both CPUs",
            "nixoci build --backend rosetta",
        ))
        .remedy(Remedy::command(
            "or a virtual machine that needs no Nix here",
            "nixoci build --backend multipass",
        ))
}

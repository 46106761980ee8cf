//! Why a project cannot be crossed, in one paragraph, and who builds it instead.

use nixoci_core::backend::Cx;
use nixoci_core::request::{BuildRequest, Installable};
use nixoci_core::{Error, ErrorKind, Remedy, codes as core_codes, shell};
use nixoci_nix::{Nix, codes as nix_codes};

use crate::elsewhere;
use crate::error::{ASSERTS, ATTR, NEEDS_LINUX, NIXPKGS_PATH, NO_NIXPKGS, RUNS_IT};
use crate::settings::Settings;
use crate::wrap;

/// Says what an error of the wrapped project's means.
pub(crate) async fn explained(
    cx: &Cx<'_>,
    nix: &Nix,
    settings: &Settings,
    request: &BuildRequest,
    error: Error,
) -> Error {
    let error = placed(cx, error);
    let elsewhere =
        |error: Error| elsewhere::remedies(cx.host, &request.system).into_iter().fold(error, Error::remedy);
    let said = |text: &str| {
        error.report().message.contains(text)
            || error.report().causes.iter().any(|cause| cause.contains(text))
    };
    if said("nixoci-cross: not what is named") {
        return not_there(cx, settings, request);
    }
    if said("nixoci-cross: no attribute") {
        // What there is instead, Nix says of the project as it is.
        return nix.forecast(cx, request).await.err().unwrap_or(error);
    }
    if said("nixoci-cross: no nixpkgs") {
        return elsewhere(
            Error::new(&NO_NIXPKGS, NO_NIXPKGS.title).because("none of its inputs is nixpkgs, nor takes one"),
        );
    }
    for what in ["runAsRoot", "enableFakechroot", "exportImage"] {
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
    if error.is(&nix_codes::EXEC_FORMAT) || error.is(&nix_codes::LINUX_ON_MAC) {
        return elsewhere(told(Error::new(&RUNS_IT, RUNS_IT.title), &error));
    }
    if error.is(&nix_codes::BUILD_FAILED) {
        return elsewhere(error.because("it was cross compiled: not everything can be"));
    }
    if error.kind() != ErrorKind::Evaluation {
        return error;
    }
    // What is wrong with the project as it is, is told of that: with its own files, and without ours.
    match nix.forecast(cx, request).await {
        Err(own) if own.kind() == ErrorKind::Evaluation || own.is(&core_codes::CANCELLED) => return own,
        _ => {}
    }
    if let Some(path) = below_nixpkgs(&error) {
        return elsewhere(
            Error::new(&NIXPKGS_PATH, NIXPKGS_PATH.title)
                .because(format!("the expression reads `nixpkgs{path}`")),
        );
    }
    // Nix 2.25 and later say what is unlike of an assertion with `==`.
    const REFUSALS: [&str; 5] = [
        "assertion",
        "is not equal to",
        "is not supported",
        "unsupported system",
        "is not available on the requested",
    ];
    if REFUSALS.into_iter().any(said) {
        return elsewhere(told(Error::new(&ASSERTS, ASSERTS.title), &error));
    }
    elsewhere(error.because("the project can be evaluated as it is, and not when it is crossed"))
}

/// The path that an expression reads below the file that stands in for nixpkgs (see `nixpkgs` in cross.nix).
fn below_nixpkgs(error: &Error) -> Option<String> {
    const STAND_IN: &str = "-nixpkgs.nix/";
    let report = error.report();
    let texts = std::iter::once(report.message.as_str()).chain(report.causes.iter().map(String::as_str));
    let rest = texts.filter_map(|text| text.split_once(STAND_IN)).map(|(_, rest)| rest).next()?;
    let end = rest.find(['\'', '`', '"', ' ', ':']).unwrap_or(rest.len());
    Some(format!("/{}", &rest[..end]))
}

/// Without a place in files of ours: nobody has written those.
fn placed(cx: &Cx<'_>, error: Error) -> Error {
    let mut report = error.into_report();
    report.excerpt.take_if(|excerpt| excerpt.file.starts_with(wrap::directory(cx)));
    Error::from(report)
}

/// The settings name an attribute that the flake does not have.
fn not_there(cx: &Cx<'_>, settings: &Settings, request: &BuildRequest) -> Error {
    let error = Error::new(&ATTR, ATTR.title);
    let Installable::Flake { reference, attribute } = &request.installable else { return error };
    let paths = settings.explicit(cx.host, &request.system, attribute);
    let error =
        paths.iter().fold(error, |error, path| error.because(format!("it has no `{}`", path.join("."))));
    error.remedy(Remedy::command("see what it has", shell!("nix flake show {}", reference)))
}

/// The same causes, and where they are.
fn told(told: Error, error: &Error) -> Error {
    let report = error.report();
    let told = report.causes.iter().fold(told.because(&report.message), Error::because);
    let told = told.log(report.log_tail.clone());
    match (&report.excerpt, &report.log_path) {
        (Some(excerpt), _) => told.at(excerpt.clone()),
        (None, Some(path)) => told.log_at(path),
        (None, None) => told,
    }
}

//! Where an attribute is looked for, and what to say when it is nowhere.

use std::collections::BTreeMap;
use std::path::Path;

use nixoci_core::artifact::StorePath;
use nixoci_core::backend::Cx;
use nixoci_core::host::Host;
use nixoci_core::registry::nearest;
use nixoci_core::request::{Attribute, BuildRequest, Installable, NixFlags, attribute_name, split_attribute};
use nixoci_core::runner::output;
use nixoci_core::{Error, Remedy, Result, ResultExt, codes as core_codes, shell};

use crate::cli::{self, Target};
use crate::driver::Nix;
use crate::record::Record;
use crate::reference::as_typed;
use crate::{canonical_reference, codes};

/// One place to look.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) target: Target,
    /// The suffix of [`BuildRequest::prefer`] that it ends in.
    pub(crate) preferred: Option<String>,
    /// The derivation that it is, where that is known.
    pub(crate) evaluated: Option<StorePath>,
}

/// Every place to look, best first.
pub(crate) fn candidates(request: &BuildRequest, host: &Host) -> Result<Vec<Candidate>> {
    let base =
        || std::env::current_dir().or_error(&core_codes::PROCESS, || "the current directory is not known");
    request.installable.check()?;
    let bases = match &request.installable {
        Installable::Flake { reference, attribute } => {
            let reference = canonical_reference(reference, &base()?)?;
            let flake = |attribute| Target::Flake { reference: reference.clone(), attribute };
            attributes(attribute, request, host).into_iter().map(flake).collect()
        }
        Installable::File { path, attribute, args } => {
            let file = if path.is_absolute() { path.clone() } else { base()?.join(path) };
            vec![Target::File {
                file: existing(file)?,
                attribute: attribute.clone(),
                args: args.clone(),
                system: request.system.clone(),
            }]
        }
        Installable::StorePath { path } => vec![Target::Store(path.clone())],
        other => {
            return Err(Error::new(&core_codes::BAD_INSTALLABLE, format!("{other:?} is not understood")));
        }
    };
    Ok(bases.into_iter().flat_map(|target| with_preferred(target, &request.prefer)).collect())
}

/// The wanted system's sets, a Mac's own (some projects keep their Linux images there, for whoever types the
/// name on a Mac), the name as it stands. Another Linux system's images would be for the wrong CPU.
fn attributes(attribute: &Attribute, request: &BuildRequest, host: &Host) -> Vec<String> {
    let name = match attribute {
        Attribute::Full(path) => return vec![path.clone()],
        Attribute::Name(name) => name,
    };
    let system = &request.system;
    let mut places = vec![format!("packages.{system}.{name}"), format!("legacyPackages.{system}.{name}")];
    if name == "default" {
        places.push(format!("defaultPackage.{system}"));
    }
    if !host.system.is_linux() {
        places.push(format!("packages.{}.{name}", host.system));
    }
    places.push(name.clone());
    places
}

fn existing(file: std::path::PathBuf) -> Result<std::path::PathBuf> {
    let wanted = if file.is_dir() { file.join("default.nix") } else { file.clone() };
    if wanted.exists() {
        return Ok(file);
    }
    let mut error = Error::new(&codes::NO_FILE, format!("`{}` does not exist", wanted.display()));
    if let Some(near) = nix_files(wanted.parent()).first() {
        error = error.remedy(Remedy::command("did you mean this one", shell!("nixoci build -f {}", near)));
    }
    if wanted.parent().is_some_and(|dir| dir.join("flake.nix").exists()) {
        error = error.remedy(Remedy::command(
            "the directory holds a flake: name its attribute",
            "nixoci build .#default",
        ));
    }
    Err(error)
}

fn nix_files(dir: Option<&Path>) -> Vec<String> {
    let entries = dir.and_then(|dir| std::fs::read_dir(dir).ok()).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| name.ends_with(".nix") && name != "flake.nix" && !name.starts_with('.'));
    names.sort_by_key(|name| (name != "default.nix", name.clone()));
    names
}

fn with_preferred(target: Target, prefer: &[String]) -> Vec<Candidate> {
    let longer = |suffix: &String| -> Option<Candidate> {
        let join = |attribute: &str| format!("{attribute}.{suffix}");
        let target = match target.clone() {
            Target::Flake { reference, attribute } => {
                Target::Flake { reference, attribute: join(&attribute) }
            }
            Target::File { file, attribute, args, system } => {
                let attribute = Some(attribute.map_or(suffix.clone(), |attribute| join(&attribute)));
                Target::File { file, attribute, args, system }
            }
            Target::Store(_) => return None,
        };
        Some(Candidate { target, preferred: Some(suffix.clone()), evaluated: None })
    };
    let mut all: Vec<Candidate> = prefer.iter().filter_map(longer).collect();
    all.push(Candidate { target, preferred: None, evaluated: None });
    all
}

/// Whether Nix failed because this attribute is not there, and for no other reason.
pub(crate) fn is_missing(record: &Record, target: &Target) -> bool {
    let Some(attribute) = target.attribute() else { return false };
    record.errors.iter().any(|error| match target {
        Target::Flake { .. } => {
            error.contains("does not provide attribute") && error.contains(&format!("'{attribute}'"))
        }
        _ => error.contains(&format!("in selection path '{attribute}' not found")),
    })
}

impl Nix {
    /// Says of an attribute that is nowhere which systems the flake has, and what was probably meant.
    pub(crate) async fn explain_missing(&self, cx: &Cx<'_>, request: &BuildRequest, error: Error) -> Error {
        let Installable::Flake { reference, attribute } = &request.installable else {
            return without_flakes(error);
        };
        let Ok(base) = std::env::current_dir() else { return error };
        let Ok(canonical) = canonical_reference(reference, &base) else { return error };
        let parts = split_attribute(attribute.as_str());
        let (system, name) = match attribute {
            Attribute::Full(_) if parts.len() >= 3 => (parts[1].clone(), attribute_path(&parts[2..])),
            Attribute::Full(_) => return error,
            Attribute::Name(name) => (request.system.to_string(), name.clone()),
        };
        let outputs = self.outputs(cx, &canonical, &request.flags).await;
        explain(&as_typed(reference, &base), &system, &name, &outputs)
    }

    /// The names of all packages of a flake by system; without names where they are not enumerated.
    async fn outputs(&self, cx: &Cx<'_>, reference: &str, flags: &NixFlags) -> Outputs {
        const NAMES: &str = "builtins.mapAttrs (_: builtins.attrNames)";
        // Enumerating legacyPackages may evaluate all of nixpkgs.
        const SYSTEMS: &str = "builtins.mapAttrs (_: _: [ ])";
        for (set, apply) in [("packages", NAMES), ("packages", SYSTEMS), ("legacyPackages", SYSTEMS)] {
            let target = Target::Flake { reference: reference.to_owned(), attribute: set.to_owned() };
            let command = cli::eval(self, &target, flags, apply);
            let Ok(answer) = output(cx.runner, &command, cx.cancel).await else { break };
            if let (true, Ok(found)) = (answer.exit.success(), serde_json::from_slice(&answer.stdout)) {
                return found;
            }
        }
        Outputs::new()
    }
}

/// A file has no outputs to show.
fn without_flakes(error: Error) -> Error {
    let shows = |command: &&str| command.starts_with("nix flake show");
    let command = error.report().remedies.iter().filter_map(|remedy| remedy.command.as_deref()).find(shows);
    match command.map(str::to_owned) {
        Some(command) => error.without_remedy(&command),
        None => error,
    }
}

type Outputs = BTreeMap<String, Vec<String>>;

fn attribute_path(names: &[String]) -> String {
    names.iter().map(|name| attribute_name(name)).collect::<Vec<_>>().join(".")
}

/// The name that an attribute path consists of, without quotation marks. A path of several names stays as it is: it may be one name
/// in the flake, typed without its quotation marks.
fn one_name(path: &str) -> String {
    match <[String; 1]>::try_from(split_attribute(path)) {
        Ok([name]) => name,
        Err(_) => path.to_owned(),
    }
}

fn explain(reference: &str, system: &str, name: &str, outputs: &Outputs) -> Error {
    let here = outputs.get(system);
    let one = one_name(name);
    let elsewhere: Vec<&str> = outputs
        .iter()
        .filter(|(other, names)| *other != system && names.contains(&one))
        .map(|(other, _)| other.as_str())
        .collect();
    let near = here.and_then(|names| nearest(&one, names.iter().map(String::as_str)));
    match (near, here) {
        (Some(near), _) => no_attribute(reference, system, name, outputs)
            .remedy(Remedy::command("did you mean this one", build_output(reference, near))),
        (None, _) if !elsewhere.is_empty() => no_system(reference, system, name, &elsewhere),
        (None, None) if !outputs.is_empty() => {
            let systems: Vec<&str> = outputs.keys().map(String::as_str).collect();
            no_system(reference, system, name, &systems)
        }
        (None, Some(names)) if name == "default" && !names.is_empty() => {
            no_attribute(reference, system, name, outputs)
                .remedy(Remedy::command("name the one you want", build_output(reference, &names[0])))
        }
        _ => no_attribute(reference, system, name, outputs).remedy(add_line(
            "add the image to the outputs of flake.nix",
            system,
            name,
        )),
    }
}

/// The command that builds an output of a flake. `name` is one name, not a path.
fn build_output(reference: &str, name: &str) -> String {
    shell!("nixoci build {}", format!("{reference}#{}", attribute_name(name)))
}

fn no_attribute(reference: &str, system: &str, name: &str, outputs: &Outputs) -> Error {
    let message = format!("the flake `{reference}` has no `{name}`");
    let error = Error::new(&codes::NO_ATTRIBUTE, message);
    match outputs.get(system) {
        Some(names) if !names.is_empty() => {
            const SHOWN: usize = 20;
            let mut shown: Vec<&str> = names.iter().take(SHOWN).map(String::as_str).collect();
            if names.len() > SHOWN {
                shown.push("…");
            }
            error.because(format!("for {system} it has: {}", shown.join(", ")))
        }
        _ => error.because(format!("neither packages.{system} nor legacyPackages.{system} has it")),
    }
}

fn no_system(reference: &str, system: &str, name: &str, systems: &[&str]) -> Error {
    let message = format!("the flake `{reference}` has no `{name}` for {system}");
    Error::new(&codes::NO_SYSTEM, message)
        .because(format!("it is written for {}", systems.join(", ")))
        .remedy(Remedy::advice(format!(
            "if flake.nix lists its systems (`eachSystem`, `genAttrs`, `systems = [ … ]`), add \"{system}\" to the list"
        )))
        .remedy(add_line("or add the image to the outputs of flake.nix", system, name))
}

fn add_line(text: &str, system: &str, name: &str) -> Remedy {
    let system = attribute_name(system);
    let image = one_name(name).replace('\\', r"\\").replace('"', "\\\"").replace("${", r"\${");
    Remedy::lines(
        text,
        format!(
            "packages.{system}.{name} = nixpkgs.legacyPackages.{system}.dockerTools.buildLayeredImage {{ name = \"{image}\"; }};"
        ),
    )
}

#[cfg(test)]
#[path = "lookup_tests.rs"]
mod tests;

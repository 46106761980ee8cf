//! What a project has of images: asked of Nix, so that nobody needs to type it.

use nixoci_core::backend::Cx;
use nixoci_core::platform::NixSystem;
use nixoci_core::request::{Attribute, BuildRequest, Installable, NixFlags};
use nixoci_core::{Result, ResultExt, codes as core_codes};
use serde::Deserialize;

use crate::cli::{self, Target};
use crate::diagnose::{Subject, diagnose};
use crate::driver::Nix;
use crate::{canonical_reference, lookup};

/// What a flake or a file yields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Images {
    /// The Linux system whose packages were looked at: the wanted one, or another one if there are none for that. `None` for a file, and where only
    /// a Mac's own set has packages.
    #[serde(default)]
    pub system: Option<NixSystem>,
    /// Whether the file's value is the image itself.
    #[serde(default)]
    pub itself: bool,
    /// The images: the names that lead to each, as they are typed behind `#` or `-f FILE`.
    #[serde(default)]
    pub images: Vec<Vec<String>>,
    /// All attributes of the set that was looked at first.
    #[serde(default)]
    pub names: Vec<String>,
}

/// A function of `images.nix`, as an argument of `nix eval --apply`.
fn question(name: &str, system: &NixSystem, host: &NixSystem, deep: bool) -> String {
    let text = include_str!("images.nix");
    format!("(({text}) {{ system = \"{system}\"; host = \"{host}\"; deep = {deep}; }}).{name}")
}

impl Nix {
    /// Finds the images of a flake or a file. Evaluates, and builds nothing. Of a flake its packages are looked at, and where they have no image,
    /// every other set that has a Linux system in it, and sets called `images` and the like among its `legacyPackages`.
    ///
    /// # Errors
    /// What keeps Nix from evaluating, as for [`Nix::build`]. A flake without packages has no images, and that is
    /// no error.
    pub async fn images(&self, cx: &Cx<'_>, installable: &Installable, system: &NixSystem) -> Result<Images> {
        let Installable::Flake { reference, .. } = installable else {
            return self.ask_for_images(cx, installable.clone(), system, "value").await;
        };
        let set = |path: &str| Installable::Flake {
            reference: reference.clone(),
            attribute: Attribute::Full(path.to_owned()),
        };
        let packages = self.ask_for_images(cx, set("packages"), system, "packages").await?;
        if !packages.images.is_empty() {
            return Ok(packages);
        }
        // What is wrong with a set that is none of a flake's usual ones is no reason to fail.
        match self.ask_for_images(cx, set(""), system, "outputs").await {
            Ok(others) => Ok(Images { images: others.images, system: None, ..packages }),
            Err(error) if error.is(&core_codes::CANCELLED) => Err(error),
            Err(_) => Ok(packages),
        }
    }

    /// Asks, also for what is one level down; if that cannot be evaluated, without it.
    async fn ask_for_images(
        &self,
        cx: &Cx<'_>,
        installable: Installable,
        system: &NixSystem,
        function: &str,
    ) -> Result<Images> {
        match self.ask_at(cx, installable.clone(), system, function, true).await {
            Err(error) if !error.is(&core_codes::CANCELLED) => {
                self.ask_at(cx, installable, system, function, false).await
            }
            found => found,
        }
    }

    async fn ask_at(
        &self,
        cx: &Cx<'_>,
        installable: Installable,
        system: &NixSystem,
        function: &str,
        deep: bool,
    ) -> Result<Images> {
        let target = match &installable {
            // All of a flake has no name that could be looked up.
            Installable::Flake { reference, attribute } => {
                let here = std::env::current_dir()
                    .or_error(&core_codes::PROCESS, || "the current directory is not known")?;
                let reference = canonical_reference(reference, &here)?;
                Some(Target::Flake { reference, attribute: attribute.as_str().to_owned() })
            }
            _ => None,
        };
        let (system, flags) = (system.clone(), NixFlags::default());
        let request = BuildRequest { installable, system, prefer: Vec::new(), flags };
        let target = match target {
            Some(target) => target,
            None => match lookup::candidates(&request, cx.host)?.into_iter().next() {
                Some(candidate) => candidate.target,
                None => return Ok(Images::default()),
            },
        };
        let apply = question(function, &request.system, &cx.host.system, deep);
        let command = cli::logged(cli::eval(self, &target, &request.flags, &apply));
        let run = self.run(cx, &command).await?;
        if run.exit.success() {
            return serde_json::from_str(&run.stdout)
                .map_err(|error| self.unexpected(&command, &error.to_string()));
        }
        if lookup::is_missing(&run.record, &target) {
            return Ok(Images::default());
        }
        Err(diagnose(&run.record, &Subject::build(cx.host, &request, &target).at(self.place())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_every_kind_are_understood() {
        let parse = |text: &str| serde_json::from_str::<Images>(text).unwrap();
        let flake = parse(r#"{"system":"x86_64-linux","images":[["a"],["set","b"]],"names":["a","b"]}"#);
        assert_eq!((flake.images.len(), flake.itself), (2, false));
        assert_eq!(flake.system.unwrap().as_str(), "x86_64-linux");
        assert!(parse(r#"{"itself":true}"#).itself && parse(r#"{"system":null}"#).system.is_none());
    }
}

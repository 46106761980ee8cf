//! What a project has of images: asked of Nix, so that nobody needs to type it.

use nixoci_core::Result;
use nixoci_core::backend::Cx;
use nixoci_core::platform::NixSystem;
use nixoci_core::request::{Attribute, BuildRequest, Installable, NixFlags};
use serde::Deserialize;

use crate::cli::{self, Target};
use crate::diagnose::{Subject, diagnose};
use crate::driver::Nix;
use crate::lookup;

/// What a flake or a file yields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Images {
    /// The Linux systems there are packages for; empty for a file.
    #[serde(default)]
    pub systems: Vec<String>,
    /// Whether the file's value is the image itself.
    #[serde(default)]
    pub itself: bool,
    /// The attributes that are images.
    #[serde(default)]
    pub images: Vec<String>,
    /// All attributes.
    #[serde(default)]
    pub names: Vec<String>,
}

/// What makes an image of nixpkgs' dockerTools and of nix2container known without building it: they say the name
/// that it will have. What cannot be evaluated is none. (nixpkgs, pkgs/build-support/docker/default.nix.)
const IS_IMAGE: &str = "image = p: let t = builtins.tryEval (builtins.isAttrs p && (p ? imageName || p ? imageTag)); \
    in t.success && t.value; of = set: builtins.filter (n: image set.${n}) (builtins.attrNames set);";

/// The packages for one system: the wanted one, or else the first Linux that there is. Some projects keep their Linux
/// images in a Mac's own set, as [`lookup`] knows, too. `Images` as JSON.
fn of_packages(system: &NixSystem, host: &NixSystem) -> String {
    format!(
        "packages: let {IS_IMAGE} \
         systems = builtins.filter (s: builtins.match \".*-linux\" s != null) (builtins.attrNames packages); \
         set = packages.\"{system}\" or (if systems != [ ] then packages.${{builtins.head systems}} \
           else packages.\"{host}\" or {{ }}); \
         in {{ inherit systems; images = of set; names = builtins.attrNames set; }}"
    )
}

/// The value of a file; a function gets `system`, if it takes one, as for a build.
fn of_value(system: &NixSystem) -> String {
    format!(
        "file: let {IS_IMAGE} \
         value = if !builtins.isFunction file then file \
           else file (builtins.intersectAttrs (builtins.functionArgs file) {{ system = \"{system}\"; }}); \
         in if builtins.isAttrs value && !(value ? type && value.type == \"derivation\") \
         then {{ images = of value; names = builtins.attrNames value; }} else {{ itself = image value; }}"
    )
}

impl Nix {
    /// Finds the images of a flake or a file. Evaluates, and builds nothing.
    ///
    /// # Errors
    /// What keeps Nix from evaluating, as for [`Nix::build`]. A flake without packages has no images, and that is
    /// no error.
    pub async fn images(&self, cx: &Cx<'_>, installable: &Installable, system: &NixSystem) -> Result<Images> {
        let (installable, system) = (whole(installable), system.clone());
        let request = BuildRequest { installable, system, prefer: Vec::new(), flags: NixFlags::default() };
        let Some(target) = lookup::candidates(&request, cx.host)?.into_iter().next().map(|c| c.target) else {
            return Ok(Images::default());
        };
        let apply = match target {
            Target::Flake { .. } => of_packages(&request.system, &cx.host.system),
            _ => of_value(&request.system),
        };
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

/// All packages of a flake, or the value of a file.
fn whole(installable: &Installable) -> Installable {
    match installable {
        Installable::Flake { reference, .. } => Installable::Flake {
            reference: reference.clone(),
            attribute: Attribute::Full("packages".to_owned()),
        },
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_every_kind_are_understood() {
        let parse = |text: &str| serde_json::from_str::<Images>(text).unwrap();
        let flake = parse(r#"{"systems":["x86_64-linux"],"images":["a"],"names":["a","b"]}"#);
        assert_eq!((flake.systems.len(), flake.images.len(), flake.itself), (1, 1, false));
        assert!(parse(r#"{"itself":true}"#).itself);
    }

    #[test]
    fn a_mac_s_own_set_is_the_last_place_to_look() {
        let question = of_packages(&"aarch64-linux".parse().unwrap(), &"aarch64-darwin".parse().unwrap());
        let places =
            ["packages.\"aarch64-linux\" or", "builtins.head systems", "packages.\"aarch64-darwin\" or { }"];
        let found: Vec<usize> = places.iter().map(|place| question.find(place).unwrap()).collect();
        assert!(found.is_sorted(), "{question}");
    }
}

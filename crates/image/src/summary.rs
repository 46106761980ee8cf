//! What is known about an image once it was read.

use std::collections::BTreeMap;

use nixoci_core::digest::Digest;
use nixoci_core::platform::OciPlatform;
use nixoci_core::{Code, Error, Remedy, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::codes;
use crate::machine::Machine;

/// An image, for one platform or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// The digest of its manifest, or of its index where there are several platforms, in the hybrid archive.
    pub digest: Option<Digest>,
    /// What that is the digest of.
    pub media_type: String,
    /// One for each platform; there is at least one.
    pub platforms: Vec<ImageSummary>,
}

impl Image {
    /// Its names, in the form people type.
    pub fn names(&self) -> &[String] {
        self.platforms.first().map_or(&[], |platform| &platform.names)
    }

    /// Bytes of all layers of all platforms, uncompressed.
    pub fn size(&self) -> u64 {
        self.platforms.iter().map(|platform| platform.size).sum()
    }

    /// The one for this platform; the first where there is none.
    pub fn native(&self, platform: &OciPlatform) -> Option<&ImageSummary> {
        let fits = |one: &&ImageSummary| platform.matches(&one.platform);
        self.platforms.iter().find(fits).or(self.platforms.first())
    }

    /// Its platforms, for people: `linux/amd64, linux/arm64`.
    pub fn platform_names(&self) -> String {
        let names: Vec<String> = self.platforms.iter().map(|one| one.platform.to_string()).collect();
        names.join(", ")
    }
}

/// An image for one platform that was read to its end, and whose every digest was right.
///
/// It says nothing about what was asked for: whoever takes an image, fresh or from the cache, calls
/// [`accept`](ImageSummary::accept) with that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageSummary {
    /// What the configuration says it is for.
    pub platform: OciPlatform,
    /// SHA-256 of the configuration as written into the hybrid archive. Docker's classic store shows it.
    pub image_id: Digest,
    /// SHA-256 of the configuration as it came.
    pub source_config_digest: Digest,
    /// The configuration as it came, where the one written differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_config: Option<String>,
    /// SHA-256 of the manifest in the hybrid archive. Docker's containerd store shows it.
    pub manifest_digest: Digest,
    /// Length of that manifest in bytes.
    pub manifest_size: u64,
    /// Its names, in the form people type, tag included: `cowsay-hello-world:latest`.
    pub names: Vec<String>,
    /// Its layers, the lowest first.
    pub layers: Vec<LayerSummary>,
    /// When it says it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// `Entrypoint`.
    #[serde(default)]
    pub entrypoint: Vec<String>,
    /// `Cmd`.
    #[serde(default)]
    pub cmd: Vec<String>,
    /// `Env`.
    #[serde(default)]
    pub env: Vec<String>,
    /// `WorkingDir`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// `User`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// `ExposedPorts`.
    #[serde(default)]
    pub exposed_ports: Vec<String>,
    /// `Labels`.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The programs whose machine was looked at: what the container would start comes first.
    #[serde(default)]
    pub executables: Vec<Executable>,
    /// What the user should know.
    #[serde(default)]
    pub warnings: Vec<Warning>,
    /// Bytes of all layers, uncompressed.
    pub size: u64,
    /// What the programs in it say about the platform.
    pub verdict: Verdict,
}

/// One layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LayerSummary {
    /// SHA-256 of the uncompressed tar archive.
    pub diff_id: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// How many entries it has.
    pub entries: u64,
    /// The store paths in it, where the image's history says so.
    #[serde(default)]
    pub store_paths: Vec<String>,
}

/// A program in the image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Executable {
    /// Where it is, links resolved.
    pub path: String,
    /// In which layer, counted from the lowest.
    pub layer: usize,
    /// What it is made for; absent for a script.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<Machine>,
}

/// What the programs in an image say about its platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Verdict {
    /// What the container would start, and every interpreter on the way, is for the platform.
    Runs,
    /// Nothing contradicts the platform, but what would be started could not be followed to its end.
    Unproven,
    /// A program is for another machine.
    Mismatch {
        /// Which program.
        program: Executable,
    },
}

/// Something the user should know about an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Warning {
    /// A stable code that `nixoci explain` knows.
    pub code: String,
    /// A lower-case sentence.
    pub text: String,
}

impl Warning {
    pub(crate) fn new(code: &'static Code, text: impl Into<String>) -> Self {
        Warning { code: code.id.to_owned(), text: text.into() }
    }

    fn from_error(error: &Error) -> Self {
        Warning { code: error.code().to_owned(), text: error.to_string() }
    }
}

/// The treatment of an image that is for another platform than expected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mismatch {
    /// It is refused: its platform was asked for.
    #[default]
    Refused,
    /// Nobody asked for a platform: the image's own counts, with a warning. Programs for another machine are still an error.
    Followed,
    /// It is taken as it is, also with programs for another machine (`--allow-mismatch`).
    Allowed,
}

impl Mismatch {
    /// As `--allow-mismatch` says.
    pub fn allowed(allow: bool) -> Mismatch {
        if allow { Mismatch::Allowed } else { Mismatch::Refused }
    }
}

impl ImageSummary {
    /// Whether the image is what was asked for: for one of these platforms, if any are named, and with programs that run there.
    /// Returns all warnings that the user should see.
    ///
    /// [`import`](crate::import) and [`check`](crate::check) have asked this already; an image from the cache
    /// must be asked again, because the question may be another one today.
    pub fn accept(&self, expect: &[OciPlatform], mismatch: Mismatch) -> Result<Vec<Warning>> {
        let mut warnings = self.warnings.clone();
        for error in self.contradictions(expect) {
            match (mismatch, expect.first()) {
                (Mismatch::Allowed, _) => warnings.push(Warning::from_error(&error)),
                (Mismatch::Followed, Some(expected)) if error.is(&codes::PLATFORM_MISMATCH) => {
                    let found = &self.platform;
                    let text = format!(
                        "the image is for {found}, not for {expected}; --platform {found} asks for that"
                    );
                    warnings.push(Warning { code: error.code().to_owned(), text });
                }
                _ => return Err(error),
            }
        }
        Ok(warnings)
    }

    /// The most telling first: macOS programs explain more than the wrong CPU that comes with them.
    fn contradictions(&self, expect: &[OciPlatform]) -> Vec<Error> {
        let asked = expect.iter().any(|expected| expected.matches(&self.platform));
        let platform =
            expect.first().filter(|_| !asked).map(|expected| platform_mismatch(expected, &self.platform));
        match &self.verdict {
            Verdict::Mismatch { program } => {
                let darwin = program.machine.as_ref().is_some_and(Machine::is_darwin);
                let machine = Some(wrong_machine(program, &self.platform));
                let both = if darwin { [machine, platform] } else { [platform, machine] };
                both.into_iter().flatten().collect()
            }
            Verdict::Runs | Verdict::Unproven => platform.into_iter().collect(),
        }
    }

    /// Where the layers' store paths are known: all of them, without duplicates, in order of first mention.
    pub fn store_paths(&self) -> Vec<&str> {
        let mut seen = std::collections::HashSet::new();
        let all = self.layers.iter().flat_map(|layer| &layer.store_paths);
        all.map(String::as_str).filter(|path| seen.insert(*path)).collect()
    }
}

fn platform_mismatch(expected: &OciPlatform, found: &OciPlatform) -> Error {
    let message = format!("the image is for {found}, and {expected} was asked for");
    let mut error = Error::new(&codes::PLATFORM_MISMATCH, message);
    if let Some(system) = expected.to_nix() {
        error = error.remedy(Remedy::lines(
            format!("take the packages for {expected} in the expression"),
            format!("pkgs = import nixpkgs {{ system = \"{system}\"; }};"),
        ));
    }
    error
        .remedy(Remedy::advice(
            "or take it for what it is: leave out --platform, and `platforms` in nixoci.toml",
        ))
        .remedy(Remedy::command("take it as it is", "--allow-mismatch"))
}

fn wrong_machine(program: &Executable, platform: &OciPlatform) -> Error {
    let machine = program.machine.as_ref().map(Machine::to_string).unwrap_or_default();
    let what = if program.machine.as_ref().is_some_and(Machine::is_darwin) {
        format!("the image says {platform}, but holds macOS programs")
    } else {
        format!("the image says {platform}, but holds programs for another CPU")
    };
    let mut error = Error::new(&codes::WRONG_MACHINE, what)
        .because(format!("{} is for {machine}", program.path))
        .because("a container of it would end with `exec format error`");
    if let Some(system) = platform.to_nix() {
        error = error.remedy(Remedy::lines(
            format!("take the image's contents from packages for {platform}"),
            format!("pkgs = import nixpkgs {{ system = \"{system}\"; }};"),
        ));
    }
    error.remedy(Remedy::command("take it as it is", "--allow-mismatch"))
}

/// An image without anything in it, for tests.
#[cfg(test)]
pub(crate) fn sample(verdict: Verdict) -> ImageSummary {
    let digest = Digest::from_bytes([1; 32]);
    ImageSummary {
        platform: "linux/amd64".parse().unwrap(),
        image_id: digest,
        source_config_digest: digest,
        source_config: None,
        manifest_digest: digest,
        manifest_size: 1,
        names: Vec::new(),
        layers: Vec::new(),
        created: None,
        entrypoint: Vec::new(),
        cmd: Vec::new(),
        env: Vec::new(),
        working_dir: None,
        user: None,
        exposed_ports: Vec::new(),
        labels: BTreeMap::new(),
        executables: Vec::new(),
        warnings: Vec::new(),
        size: 0,
        verdict,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mach() -> Verdict {
        let machine = Some(Machine::MachO { cpu: "arm64".into() });
        Verdict::Mismatch { program: Executable { path: "/bin/hello".into(), layer: 0, machine } }
    }

    #[test]
    fn the_wrong_platform_is_an_error_or_a_warning() {
        let arm64: OciPlatform = "linux/arm64".parse().unwrap();
        let image = sample(Verdict::Runs);
        assert!(
            image
                .accept(std::slice::from_ref(&arm64), Mismatch::Refused)
                .unwrap_err()
                .is(&codes::PLATFORM_MISMATCH)
        );
        assert_eq!(
            image.accept(std::slice::from_ref(&arm64), Mismatch::Allowed).unwrap()[0].code,
            codes::PLATFORM_MISMATCH.id
        );
        assert!(image.accept(&[], Mismatch::Refused).unwrap().is_empty());
        let followed = image.accept(std::slice::from_ref(&arm64), Mismatch::Followed).unwrap();
        assert!(followed[0].text.contains("for linux/amd64, not for linux/arm64"), "{followed:?}");
        // Programs for another machine are no question of what was asked for.
        let mac = sample(mach()).accept(&[arm64], Mismatch::Followed).unwrap_err();
        assert!(mac.is(&codes::WRONG_MACHINE));
    }

    #[test]
    fn macos_programs_are_named_before_the_platform() {
        let arm64: OciPlatform = "linux/arm64".parse().unwrap();
        let image = sample(mach());
        let error = image.accept(std::slice::from_ref(&arm64), Mismatch::Refused).unwrap_err();
        assert!(error.is(&codes::WRONG_MACHINE));
        assert_eq!(error.report().causes[0], "/bin/hello is for darwin/arm64 (Mach-O)");
        assert_eq!(image.accept(std::slice::from_ref(&arm64), Mismatch::Allowed).unwrap().len(), 2);
    }

    #[test]
    fn a_summary_survives_the_cache() {
        let image = sample(mach());
        let text = serde_json::to_string(&image).unwrap();
        assert_eq!(serde_json::from_str::<ImageSummary>(&text).unwrap(), image);
    }
}

//! What crosses the [ABI](crate::abi): the types of [`nixoci_core`], as JSON.
//!
//! # Rules
//! - A member that a reader does not know is ignored; one that a newer writer leaves out has a default.
//! - A word that a reader does not know (a kind of task, of error, a state) becomes the nearest that says less. An event that
//!   cannot be read is left out, an offer or a step of which the state cannot be is shown as one that is not known; everything else fails
//!   its call.
//! - Bytes of images are never here: [`Request::Fetch`] names a socket.
//! - `minor` says which optional abilities there are, `features` names them.
//!
//! The golden files in `tests/v1` are what version 1 looks like for ever.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use nixoci_core::artifact::{PathInfo, StorePath};
use nixoci_core::backend::{Amendment, Depth, Descriptor, Forecast, Release};
use nixoci_core::credentials::Credentials;
use nixoci_core::error::{Code, Error, ErrorKind};
use nixoci_core::host::{Dirs, Host};
use nixoci_core::plan::{ProvisionPlan, Step};
use nixoci_core::platform::NixSystem;
use nixoci_core::request::BuildRequest;
use nixoci_core::runner::Command;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// No message is longer, in bytes: the closure of a whole desktop, queried, is a tenth of it.
pub const MESSAGE_LIMIT: usize = 64 << 20;

/// What a plugin says of itself: the answer of `describe`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Description {
    /// What is known about the backend. Its name is the one in the name of the library's file.
    pub descriptor: Descriptor,
    /// The version of the plugin.
    #[serde(default)]
    pub version: String,
    /// With what it was made: `nixoci-plugin 0.1.0`.
    #[serde(default)]
    pub sdk: String,
    /// The JSON Schema of its `[backend.<name>]` table. An object with `additionalProperties: false`, so that a misspelt key
    /// is an error.
    pub schema: Value,
    /// The error codes of its own, for `nixoci explain`.
    #[serde(default)]
    pub codes: Vec<CodeDescription>,
    /// Optional abilities that it has.
    #[serde(default)]
    pub features: Vec<String>,
}

/// A documented error code of a plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CodeDescription {
    /// `<plugin>::<what>`.
    pub id: String,
    /// The class, and through it the exit code.
    pub kind: ErrorKind,
    /// One line: what it means.
    pub title: String,
    /// Why it happens and what to do.
    pub help: String,
}

impl From<&Code> for CodeDescription {
    fn from(code: &Code) -> Self {
        let [id, title, help] = [code.id, code.title, code.help].map(str::to_owned);
        CodeDescription { id, kind: code.kind, title, help }
    }
}

/// The world that a backend is made in.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// The version of nixoci, for people.
    pub nixoci: String,
    /// Optional abilities that this nixoci has.
    #[serde(default)]
    pub features: Vec<String>,
    /// The settings: what all files and the command line say, merged. It fits the schema.
    #[serde(default = "empty")]
    pub settings: Value,
    /// This machine.
    pub host: Host,
    /// Where nixoci keeps things.
    pub dirs: Dirs,
    /// What opens private sources, for a Nix that is not this host's.
    #[serde(default)]
    pub credentials: Credentials,
    /// How long nothing may move in a transfer before it is given up, in seconds; 0 for ever.
    #[serde(default = "stall_timeout")]
    pub stall_timeout: u64,
    /// The command of a process that ends what a killed process has left behind: program and arguments. Its standard
    /// input is told what there is to end. Empty where there is none.
    #[serde(default)]
    pub watchdog: Vec<String>,
}

fn stall_timeout() -> u64 {
    nixoci_core::stall::DEFAULT_LIMIT.as_secs()
}

fn empty() -> Value {
    Value::Object(serde_json::Map::new())
}

/// A call: a method of [`Backend`](nixoci_core::backend::Backend) and its arguments.
///
/// What each answers is the type that its method returns there, as JSON, unless it is said here.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "method", content = "params", rename_all = "kebab-case", rename_all_fields = "camelCase")]
#[non_exhaustive]
#[expect(clippy::large_enum_variant, reason = "one is made for a call, and calls are processes' work")]
pub enum Request {
    /// What it could build right now.
    Offers {
        /// Only the answer for this system is needed.
        #[serde(default)]
        want: Option<NixSystem>,
    },
    /// Everything that could stand in the way.
    Probe {},
    /// What it takes to build. Answers [`Planned`].
    Plan {
        /// For these systems.
        want: Vec<NixSystem>,
    },
    /// Carries out a plan. Answers `null`.
    Provision {
        /// Which.
        plan: ProvisionPlan,
    },
    /// What would be undone. May be unsupported.
    Removable {},
    /// What a person adds to a machine's configuration. May be unsupported.
    Configuration {},
    /// Builds something tiny. If it is unsupported, nixoci does that itself, with the methods below.
    Prove {
        /// For these systems.
        want: Vec<NixSystem>,
    },
    /// What a build would do. Answers [`Foreseen`].
    Forecast {
        /// What is to be built.
        request: BuildRequest,
        /// How much has to be found out.
        depth: Depth,
    },
    /// Builds.
    Build {
        /// What is to be built.
        request: BuildRequest,
        /// What was foreseen.
        forecast: Foreseen,
    },
    /// What would let a failed build end well. Answers [`Amended`] or `null`. May be unsupported.
    Amend {
        /// How it failed.
        error: Error,
    },
    /// What the store knows.
    Query {
        /// About these.
        roots: Vec<StorePath>,
        /// And about everything they refer to.
        closure: bool,
    },
    /// Writes NARs. Answers the number of bytes.
    Fetch {
        /// Of these, back to back and in order.
        paths: Vec<StorePath>,
        /// To this unix socket: the plugin connects, writes, and closes.
        socket: PathBuf,
    },
    /// Lets go of an artifact, or puts the backend away. Answers `null`.
    Release {
        /// Of what.
        how: Release,
    },
    /// The command that opens a shell. Answers [`ShellCommand`].
    Shell {
        /// Where it builds for this system.
        system: NixSystem,
        /// What runs there instead of a shell; empty for none.
        command: Vec<String>,
    },
}

impl Request {
    /// Every method of this version.
    pub const METHODS: &'static [&'static str] = &[
        "offers",
        "probe",
        "plan",
        "provision",
        "removable",
        "configuration",
        "prove",
        "forecast",
        "build",
        "amend",
        "query",
        "fetch",
        "release",
        "shell",
    ];

    /// The method's name.
    pub fn method(&self) -> &'static str {
        match self {
            Request::Offers { .. } => "offers",
            Request::Probe {} => "probe",
            Request::Plan { .. } => "plan",
            Request::Provision { .. } => "provision",
            Request::Removable {} => "removable",
            Request::Configuration {} => "configuration",
            Request::Prove { .. } => "prove",
            Request::Forecast { .. } => "forecast",
            Request::Build { .. } => "build",
            Request::Amend { .. } => "amend",
            Request::Query { .. } => "query",
            Request::Fetch { .. } => "fetch",
            Request::Release { .. } => "release",
            Request::Shell { .. } => "shell",
        }
    }
}

/// A plan, and which of its steps the backend carries out.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Planned {
    /// The plan.
    pub plan: ProvisionPlan,
    /// The steps that are the administrator's to do, by id.
    #[serde(default)]
    pub by_hand: Vec<String>,
}

impl Planned {
    /// A plan of which these are not carried out.
    pub fn new(plan: ProvisionPlan, carries_out: impl Fn(&Step) -> bool) -> Self {
        let by_hand = plan.steps.iter().filter(|step| !carries_out(step)).map(|step| step.id.clone());
        Planned { by_hand: by_hand.collect(), plan }
    }
}

/// A forecast, with what only its backend may make use of.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Foreseen {
    /// The forecast.
    pub forecast: Forecast,
    /// What the same derivation was built to before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<PathInfo>,
}

impl From<Forecast> for Foreseen {
    fn from(mut forecast: Forecast) -> Self {
        Foreseen { known: forecast.known.take(), forecast }
    }
}

impl From<Foreseen> for Forecast {
    fn from(Foreseen { forecast, known }: Foreseen) -> Self {
        Forecast { known, ..forecast }
    }
}

/// What would let a build that failed end well.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Amended {
    /// What is to be done.
    pub planned: Planned,
    /// Whether the backend's settings agree to it already.
    #[serde(default)]
    pub agreed: bool,
}

impl From<Amended> for Amendment {
    fn from(Amended { planned, agreed }: Amended) -> Self {
        Amendment { plan: planned.plan, agreed }
    }
}

/// A command that takes the terminal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShellCommand {
    /// The program: a path, or a name to look up on PATH.
    pub program: String,
    /// Its arguments.
    #[serde(default)]
    pub args: Vec<String>,
    /// Variables on top of nixoci's environment; `null` removes one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Option<String>>,
    /// The working directory, if it is not nixoci's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<PathBuf>,
}

#[cfg(feature = "host")]
impl ShellCommand {
    /// Whether a part of it has a NUL character, which ends a text for the system.
    pub(crate) fn has_nul(&self) -> bool {
        let texts = std::iter::once(&self.program).chain(&self.args).chain(self.env.keys());
        let mut texts = texts.chain(self.env.values().flatten()).map(String::as_str);
        let dir = self.cwd.as_ref().is_some_and(|dir| dir.as_os_str().as_encoded_bytes().contains(&0));
        dir || texts.any(|text| text.contains('\0'))
    }
}

impl TryFrom<&Command> for ShellCommand {
    type Error = OsString;

    /// # Errors
    /// The word that is no UTF-8: it could not be said.
    fn try_from(command: &Command) -> Result<Self, OsString> {
        let text = |word: &OsString| word.clone().into_string();
        let env =
            command.env.iter().map(|(name, value)| Ok((text(name)?, value.as_ref().map(text).transpose()?)));
        Ok(ShellCommand {
            program: text(&command.program)?,
            args: command.args.iter().map(text).collect::<Result<_, _>>()?,
            env: env.collect::<Result<_, OsString>>()?,
            cwd: command.cwd.clone(),
        })
    }
}

impl From<ShellCommand> for Command {
    fn from(said: ShellCommand) -> Self {
        let env = said.env.into_iter().map(|(name, value)| (name.into(), value.map(Into::into)));
        let mut command = Command::new(said.program).args(said.args).interactive();
        command.env = env.collect();
        command.cwd = said.cwd;
        command
    }
}

/// A message that no JSON could be made of: only text that is no UTF-8 is.
pub(crate) fn unsayable(what: &str, error: &serde_json::Error) -> Error {
    Error::new(&nixoci_core::codes::BUG, format!("{what} cannot be written as JSON")).caused_by(error)
}

/// The name of this crate and its version.
pub(crate) const SDK: Cow<'static, str> =
    Cow::Borrowed(concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")));

#[cfg(all(test, feature = "host"))]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_a_nul_is_noticed_wherever_it_is() {
        let fine =
            ShellCommand { program: "sh".into(), args: vec!["-c".into()], env: BTreeMap::new(), cwd: None };
        assert!(!fine.has_nul());
        let env = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), Some(value.to_owned()))]);
        for odd in [
            ShellCommand { program: "s\0h".into(), ..fine.clone() },
            ShellCommand { args: vec!["a\0".into()], ..fine.clone() },
            ShellCommand { env: env("A\0", "b"), ..fine.clone() },
            ShellCommand { env: env("A", "\0"), ..fine.clone() },
            ShellCommand { cwd: Some("/a\0b".into()), ..fine },
        ] {
            assert!(odd.has_nul(), "{odd:?}");
        }
    }
}

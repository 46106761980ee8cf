//! A plugin as a backend like any other: each method is a call.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use nixoci_core::artifact::{Artifact, PathInfo, StorePath};
use nixoci_core::backend::{
    Amendment, Backend, Check, Cx, Depth, Forecast, Offer, Readiness, Release, Verdict,
};
use nixoci_core::credentials::Credentials;
use nixoci_core::plan::{Configuration, ProvisionPlan, Step, StepState};
use nixoci_core::platform::NixSystem;
use nixoci_core::request::BuildRequest;
use nixoci_core::runner::{Command, GRACE};
use nixoci_core::{Error, ErrorKind, Result, ResultExt, codes as core_codes};
use nixoci_nix::log_line;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::io::AsyncWrite;
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

use super::clean::{self, LooseAmended, LoosePlanned};
use super::client::{Client, Source};
use super::codes::{DESCRIPTION, DIED, GARBLED, NO_ANSWER, PANICKED, TRANSFER, UNSUPPORTED};
use super::ears::Ears;
use super::frames::{FromPlugin, ToPlugin};
use super::raw::to_raw;
use super::transfer::{Copied, copy, rest};
use crate::abi;
use crate::wire::{Foreseen, Hello, Request, ShellCommand};

/// How long a plugin may be silent when it is asked what needs no work. (Selection stops waiting for offers after ten seconds, the
/// start of the plugin's process included, and does not know for whom.)
const QUESTION: Duration = Duration::from_secs(5);
/// The same for what may ask another machine.
const ERRAND: Duration = Duration::from_secs(120);

const NOT_ASKED: &str = "it stopped, and nobody had asked it to";

/// Whether what answers this is for people to see. Of the others, `query` may answer much, and `shell` anything.
fn is_shown(request: &Request) -> bool {
    !matches!(request, Request::Query { .. } | Request::Fetch { .. } | Request::Shell { .. })
}

/// Whether an error says that nixoci was told to stop.
fn is_stop(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::Terminated)
        || [&core_codes::CANCELLED, &core_codes::TERMINATED].into_iter().any(|code| error.is(code))
}

/// A backend in a library. It is loaded with the first call, and again should it have died.
pub(super) struct PluginBackend {
    name: String,
    /// Whether its descriptor asks for the user's credentials.
    credentials: bool,
    source: Source,
    settings: Value,
    client: tokio::sync::Mutex<Option<Arc<Client>>>,
    by_hand: Mutex<HashSet<String>>,
    transfers: AtomicU64,
}

impl fmt::Debug for PluginBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginBackend").field("name", &self.name).finish_non_exhaustive()
    }
}

impl PluginBackend {
    pub(super) fn new(name: String, credentials: bool, source: Source, settings: Value) -> Self {
        PluginBackend {
            name,
            credentials,
            source,
            settings,
            client: tokio::sync::Mutex::default(),
            by_hand: Mutex::default(),
            transfers: AtomicU64::new(0),
        }
    }

    /// The library's process, with a backend in it.
    async fn client(&self, cx: &Cx<'_>) -> Result<Arc<Client>> {
        let mut held = self.client.lock().await;
        if let Some(client) = held.as_ref().filter(|client| !client.is_dead()) {
            return Ok(Arc::clone(client));
        }
        let (client, mut control) = Client::load(cx, &self.name, &self.source).await?;
        let hello = to_raw(&self.hello(cx)).map_err(|why| {
            Error::new(
                &core_codes::PROCESS,
                "a path of this machine is no UTF-8, and a plugin cannot be told",
            )
            .because(why)
        })?;
        match client.ask(cx, &mut control, &ToPlugin::Create { hello }).await? {
            FromPlugin::Created => {}
            FromPlugin::Refused { error } => return Err(self.refused(error.as_deref())),
            other => return Err(client.garbled(&format!("{other:?} instead of a backend"))),
        }
        Ok(Arc::clone(held.insert(Arc::new(client))))
    }

    fn hello(&self, cx: &Cx<'_>) -> Hello {
        let watchdog = match &self.source {
            Source::Isolated(host, _) => {
                let exe = std::iter::once(host.exe.clone().into_os_string());
                exe.chain(host.watchdog.clone()).filter_map(|word| word.into_string().ok()).collect()
            }
            Source::Here(..) => Vec::new(),
        };
        Hello {
            nixoci: env!("CARGO_PKG_VERSION").to_owned(),
            features: Vec::new(),
            settings: self.settings.clone(),
            host: cx.host.clone(),
            dirs: cx.dirs.clone(),
            credentials: if self.credentials { cx.credentials.clone() } else { Credentials::default() },
            // 0 is for ever.
            stall_timeout: cx.stall_timeout.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX),
            watchdog,
        }
    }

    fn refused(&self, said: Option<&RawValue>) -> Error {
        match said.map(|said| serde_json::from_str::<Error>(said.get())) {
            Some(Ok(error)) => self.theirs(error),
            _ => Error::new(
                &DESCRIPTION,
                format!("the plugin `{}` makes no backend, and does not say why", self.name),
            ),
        }
    }

    /// Makes a call. None if the plugin does not know the method.
    async fn call<T: DeserializeOwned>(
        &self,
        cx: &Cx<'_>,
        request: &Request,
        patience: Option<Duration>,
    ) -> Result<Option<T>> {
        if cx.cancel.is_cancelled() {
            return Err(Error::new(&core_codes::CANCELLED, "stopped"));
        }
        let client = self.client(cx).await?;
        let mut ears = Ears::new(&self.name, cx.observer);
        let (status, answer) = client.call(cx, request, patience, &mut ears).await?;
        drop(ears);
        let garbled = |why: String| client.garbled(&format!("its answer to `{}`: {why}", request.method()));
        match status {
            abi::STATUS_OK if is_shown(request) => clean::parse(answer.get()).map(Some).map_err(garbled),
            abi::STATUS_OK => {
                serde_json::from_str(answer.get()).map(Some).map_err(|error| garbled(error.to_string()))
            }
            abi::STATUS_FAILED => match clean::parse::<Error>(answer.get()).map_err(garbled)? {
                // Who stops because of us says so by another status.
                error if is_stop(&error) => Err(garbled(NOT_ASKED.to_owned())),
                error => Err(self.theirs(error)),
            },
            abi::STATUS_CANCELLED if cx.cancel.is_cancelled() => {
                Err(Error::new(&core_codes::CANCELLED, "stopped"))
            }
            abi::STATUS_CANCELLED => Err(garbled(NOT_ASKED.to_owned())),
            abi::STATUS_PANICKED => {
                client.kill();
                let text = serde_json::from_str::<String>(answer.get()).unwrap_or_default();
                Err(Error::new(&PANICKED, format!("the plugin `{}` panicked", self.name))
                    .because(log_line(&text)))
            }
            abi::STATUS_UNSUPPORTED => Ok(None),
            other => Err(garbled(format!("status {other}"))),
        }
    }

    /// As [`call`](Self::call), for what every backend has to know.
    async fn require<T: DeserializeOwned>(
        &self,
        cx: &Cx<'_>,
        request: &Request,
        patience: Option<Duration>,
    ) -> Result<T> {
        self.call(cx, request, patience).await?.ok_or_else(|| {
            let message = format!("the plugin `{}` does not know `{}`", self.name, request.method());
            Error::new(&UNSUPPORTED, message)
        })
    }

    /// An error of the plugin's, made harmless, and never taken for a bug of nixoci's.
    fn theirs(&self, error: Error) -> Error {
        const MANY: usize = 64;
        let text = |text: &mut String| *text = nixoci_nix::plain(text);
        let mut report = error.into_report();
        text(&mut report.message);
        report.causes.truncate(MANY);
        report.causes.iter_mut().for_each(text);
        report.remedies.truncate(MANY);
        for remedy in &mut report.remedies {
            text(&mut remedy.text);
            remedy.command.iter_mut().for_each(text);
        }
        report.log_tail.truncate(nixoci_core::LOG_TAIL_LINES);
        report.log_tail.iter_mut().for_each(|line| *line = log_line(line));
        report.code = log_line(&report.code).into();
        report.log_path.take_if(|path| !path.is_absolute());
        // A place in a file is for files that nixoci reads.
        report.excerpt = None;
        if report.kind == ErrorKind::Unexpected {
            report.kind = ErrorKind::Plugin;
            return Error::from(report).context(format!("the plugin `{}` failed", self.name));
        }
        Error::from(report)
    }

    fn by_hand(&self) -> MutexGuard<'_, HashSet<String>> {
        self.by_hand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn planned(&self, planned: LoosePlanned) -> Result<ProvisionPlan> {
        let planned = planned.known().map_err(|why| {
            let message = format!("the plugin `{}` makes a plan that this nixoci does not know", self.name);
            Error::new(&GARBLED, message).because(why)
        })?;
        self.by_hand().extend(planned.by_hand);
        let mut plan = planned.plan;
        for step in &mut plan.steps {
            if let StepState::Blocked { error } = &mut step.state {
                *error = self.theirs(error.clone());
            }
        }
        Ok(plan)
    }

    /// Offers that can be understood; of the others those that say for which system.
    fn offer(&self, offer: &Value) -> Option<Offer> {
        match serde_json::from_value::<Offer>(offer.clone()) {
            Ok(mut offer) => {
                if let Readiness::No { error } = &mut offer.readiness {
                    *error = self.theirs(error.clone());
                }
                Some(offer)
            }
            Err(why) => {
                let error = Error::new(
                    &GARBLED,
                    format!("the plugin `{}` makes an offer that this nixoci does not know", self.name),
                );
                let no = Readiness::No { error: error.because(why.to_string()) };
                let mut known = offer.as_object()?.clone();
                known.insert("readiness".to_owned(), serde_json::to_value(no).ok()?);
                known.insert("how".to_owned(), "native".into());
                known.entry("builder").or_insert_with(|| self.name.clone().into());
                serde_json::from_value(Value::Object(known)).ok()
            }
        }
    }

    async fn amendment(&self, cx: &Cx<'_>, error: &Error) -> Result<Option<Amendment>> {
        let request = Request::Amend { error: error.clone() };
        let said: Option<LooseAmended> = self.call(cx, &request, Some(ERRAND)).await?.flatten();
        let amendment =
            |LooseAmended { planned, agreed }| Ok(Amendment { plan: self.planned(planned)?, agreed });
        said.map(amendment).transpose()
    }

    async fn transfer(
        &self,
        cx: &Cx<'_>,
        paths: &[StorePath],
        out: &mut (dyn AsyncWrite + Send + Unpin),
    ) -> Result<u64> {
        let failed = || "a socket for the plugin cannot be made in /tmp";
        // Sockets have short names: 104 bytes on macOS.
        let dir = tempfile::Builder::new()
            .prefix("nixoci-plugin-")
            .tempdir_in("/tmp")
            .or_error(&core_codes::PROCESS, failed)?;
        let _guard = cx.temporary.guard(dir.path());
        let socket = dir.path().join(self.transfers.fetch_add(1, Ordering::Relaxed).to_string());
        let listener = UnixListener::bind(&socket).or_error(&core_codes::PROCESS, failed)?;
        let request = Request::Fetch { paths: paths.to_vec(), socket };
        let copied = Copied::default();
        let call = self.require::<u64>(cx, &request, None);
        let copy = copy(&listener, out, &copied);
        tokio::pin!(call, copy);
        let count = tokio::select! {
            count = &mut call => count?,
            // All is here, or the reader is gone: the plugin hears of that as its end of the socket does.
            result = &mut copy => {
                // Dropped, the call is asked to end.
                let count = tokio::time::timeout(ERRAND, call).await;
                result.map_err(|error| self.broken(&error))?;
                return self.whole(count.unwrap_or_else(|_| Err(self.unsaid()))?, &copied);
            }
        };
        rest(copy, &copied).await.map_err(|error| self.broken(&error))?;
        self.whole(count, &copied)
    }

    fn whole(&self, said: u64, copied: &Copied) -> Result<u64> {
        let came = copied.bytes();
        if said == came {
            return Ok(said);
        }
        let message = format!("the plugin `{}` did not hand over what was built", self.name);
        Err(Error::new(&TRANSFER, message)
            .because(format!("it says that it wrote {said} bytes, and {came} came")))
    }

    fn unsaid(&self) -> Error {
        let why = format!(
            "it closed what it wrote to, and did not say within {} s that it is done",
            ERRAND.as_secs()
        );
        Error::new(&NO_ANSWER, format!("the plugin `{}` does not answer", self.name)).because(why)
    }

    fn broken(&self, error: &std::io::Error) -> Error {
        Error::new(&TRANSFER, format!("the transfer from the plugin `{}` broke", self.name)).caused_by(error)
    }
}

#[async_trait]
impl Backend for PluginBackend {
    async fn offers(&self, cx: &Cx<'_>, want: Option<&NixSystem>) -> Result<Vec<Offer>> {
        let request = Request::Offers { want: want.cloned() };
        let offers: Vec<Value> = self.require(cx, &request, Some(QUESTION)).await?;
        Ok(offers.iter().filter_map(|offer| self.offer(offer)).collect())
    }

    async fn probe(&self, cx: &Cx<'_>) -> Result<Vec<Check>> {
        let mut checks: Vec<Check> = self.require(cx, &Request::Probe {}, Some(ERRAND)).await?;
        for check in &mut checks {
            check.title = log_line(&check.title);
            check.detail = log_line(&check.detail);
        }
        Ok(checks)
    }

    async fn plan(&self, cx: &Cx<'_>, want: &[NixSystem]) -> Result<ProvisionPlan> {
        self.planned(self.require(cx, &Request::Plan { want: want.to_vec() }, Some(ERRAND)).await?)
    }

    async fn provision(&self, cx: &Cx<'_>, plan: &ProvisionPlan) -> Result<()> {
        self.require(cx, &Request::Provision { plan: plan.clone() }, None).await
    }

    fn carries_out(&self, step: &Step) -> bool {
        !self.by_hand().contains(&step.id)
    }

    async fn removable(&self, cx: &Cx<'_>) -> Vec<String> {
        match self.call::<Vec<String>>(cx, &Request::Removable {}, Some(ERRAND)).await {
            Ok(Some(what)) => what.iter().map(|line| log_line(line)).collect(),
            // Whoever does not say what it would undo has to be asked about all of it.
            _ => vec![format!(
                "whatever the plugin {} has set up, with everything that was built in it",
                self.name
            )],
        }
    }

    async fn configuration(&self, cx: &Cx<'_>) -> Result<Option<Configuration>> {
        Ok(self.call(cx, &Request::Configuration {}, Some(ERRAND)).await?.flatten())
    }

    async fn prove(&self, cx: &Cx<'_>, want: &[NixSystem]) -> Result<Vec<Check>> {
        match self.call(cx, &Request::Prove { want: want.to_vec() }, None).await? {
            Some(checks) => Ok(checks),
            None => nixoci_nix::proof::checks_of(cx, self, want).await,
        }
    }

    async fn forecast(&self, cx: &Cx<'_>, request: &BuildRequest, depth: Depth) -> Result<Forecast> {
        let request = Request::Forecast { request: request.clone(), depth };
        let foreseen: Foreseen = self.require(cx, &request, None).await?;
        let mut forecast = Forecast::from(foreseen);
        if let Verdict::Decline { error } = &mut forecast.verdict {
            *error = self.theirs(error.clone());
        }
        Ok(forecast)
    }

    async fn build(&self, cx: &Cx<'_>, request: &BuildRequest, forecast: &Forecast) -> Result<Artifact> {
        let forecast = Foreseen::from(forecast.clone());
        let artifact: Artifact =
            self.require(cx, &Request::Build { request: request.clone(), forecast }, None).await?;
        if artifact.system != request.system {
            let message = format!("the plugin `{}` has built something else", self.name);
            let why = format!(
                "it was asked for {}, and says that it has built for {}",
                request.system, artifact.system
            );
            return Err(Error::new(&GARBLED, message).because(why));
        }
        Ok(artifact)
    }

    async fn amend(&self, cx: &Cx<'_>, error: &Error) -> Result<Option<Amendment>> {
        // Of a plugin that has died or cannot be understood nothing is to be had.
        if error.kind() == ErrorKind::Plugin || error.is(&DIED) {
            return Ok(None);
        }
        match self.amendment(cx, error).await {
            Err(failure) if !failure.is(&core_codes::CANCELLED) => {
                // Why the build has failed is what somebody wants to know.
                cx.observer.warn(format!("whether something would help is not known: {failure}"), Vec::new());
                Ok(None)
            }
            other => other,
        }
    }

    async fn query(&self, cx: &Cx<'_>, roots: &[StorePath], closure: bool) -> Result<Vec<PathInfo>> {
        self.require(cx, &Request::Query { roots: roots.to_vec(), closure }, Some(ERRAND)).await
    }

    async fn fetch(
        &self,
        cx: &Cx<'_>,
        paths: &[StorePath],
        out: &mut (dyn AsyncWrite + Send + Unpin),
    ) -> Result<u64> {
        self.transfer(cx, paths, out).await
    }

    async fn release(&self, cx: &Cx<'_>, how: Release) -> Result<()> {
        let Release::Artifact { .. } = how else {
            return self.require(cx, &Request::Release { how }, None).await;
        };
        // What was built is let go of after Ctrl-C, too, and then quickly.
        let patience = if cx.cancel.is_cancelled() { GRACE } else { ERRAND };
        let calm = CancellationToken::new();
        self.require(&Cx { cancel: &calm, ..*cx }, &Request::Release { how }, Some(patience)).await
    }

    async fn shell(&self, cx: &Cx<'_>, system: &NixSystem, command: &[OsString]) -> Result<Command> {
        let text = |word: &OsString| {
            word.clone().into_string().map_err(|word| {
                let why = format!("{} is no UTF-8", word.display());
                Error::new(&core_codes::PROCESS, "a plugin cannot be told that command").because(why)
            })
        };
        let command = command.iter().map(text).collect::<Result<_>>()?;
        let request = Request::Shell { system: system.clone(), command };
        let said: ShellCommand = self.require(cx, &request, Some(ERRAND)).await?;
        if said.has_nul() {
            let message = format!("the plugin `{}` names a command that cannot be started", self.name);
            return Err(Error::new(&GARBLED, message).because("it has a NUL character in it"));
        }
        Ok(said.into())
    }
}

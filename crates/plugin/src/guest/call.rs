//! One call: a request, the method that it names, and the answer.

use std::ffi::OsString;
use std::path::Path;

use nixoci_core::artifact::StorePath;
use nixoci_core::backend::{Cx, Forecast};
use nixoci_core::codes;
use nixoci_core::error::{Error, Result, ResultExt};
use nixoci_core::event::{Event, Observer};
use nixoci_nix::codes::TRANSFER;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use super::instance::{Shared, failed};
use super::link::Link;
use crate::wire::{Amended, Foreseen, Planned, Request, ShellCommand, unsayable};

/// How a call ended, with what is to be said about it as JSON.
pub(super) enum Answer {
    Ok(Vec<u8>),
    Failed(Vec<u8>),
    Panicked(Vec<u8>),
    Cancelled,
    Unsupported,
}

/// The request, or the answer to one that is none.
pub(super) fn parse(request: &[u8]) -> Result<Request, Answer> {
    /// What of a request every version has.
    #[derive(Deserialize)]
    struct Named {
        method: String,
    }
    let garbled = |error: &serde_json::Error| {
        failed(&Error::new(&codes::BUG, "the plugin does not understand a request").caused_by(error))
    };
    let named: Named = serde_json::from_slice(request).map_err(|error| garbled(&error))?;
    if !Request::METHODS.contains(&named.method.as_str()) {
        // One of a later version.
        return Err(Answer::Unsupported);
    }
    serde_json::from_slice(request).map_err(|error| garbled(&error))
}

/// Tells nixoci what happens in a call.
struct ToHost<'a> {
    link: &'a Link,
    call: u64,
}

impl Observer for ToHost<'_> {
    fn observe(&self, event: Event) {
        self.link.event(self.call, &event);
    }
}

/// Runs a call to its end.
pub(super) async fn run(shared: &Shared, call: u64, cancel: &CancellationToken, request: Request) -> Answer {
    let observer = ToHost { link: &shared.link, call };
    let cx = Cx {
        cancel,
        observer: &observer,
        runner: &shared.runner,
        host: &shared.host,
        dirs: &shared.dirs,
        temporary: &shared.temporary,
        credentials: &shared.credentials,
        stall_timeout: shared.stall_timeout,
    };
    match dispatch(shared, &cx, request).await {
        Ok(json) => Answer::Ok(json),
        Err(error) => failed(&error),
    }
}

fn said<T: Serialize>(what: &str, answer: Result<T>) -> Result<Vec<u8>> {
    serde_json::to_vec(&answer?).map_err(|error| unsayable(what, &error))
}

async fn dispatch(shared: &Shared, cx: &Cx<'_>, request: Request) -> Result<Vec<u8>> {
    let backend = shared.backend.as_ref();
    let method = request.method();
    let planned = |plan| Planned::new(plan, |step| backend.carries_out(step));
    match request {
        Request::Offers { want } => said(method, backend.offers(cx, want.as_ref()).await),
        Request::Probe {} => said(method, backend.probe(cx).await),
        Request::Plan { want } => said(method, backend.plan(cx, &want).await.map(planned)),
        Request::Provision { plan } => said(method, backend.provision(cx, &plan).await),
        Request::Removable {} => said(method, Ok(backend.removable(cx).await)),
        Request::Configuration {} => said(method, backend.configuration(cx).await),
        Request::Prove { want } => said(method, backend.prove(cx, &want).await),
        Request::Forecast { request, depth } => {
            said(method, backend.forecast(cx, &request, depth).await.map(Foreseen::from))
        }
        Request::Build { request, forecast } => {
            said(method, backend.build(cx, &request, &Forecast::from(forecast)).await)
        }
        Request::Amend { error } => {
            let amendment = backend.amend(cx, &error).await?;
            let amended =
                amendment.map(|found| Amended { planned: planned(found.plan), agreed: found.agreed });
            said(method, Ok(amended))
        }
        Request::Query { roots, closure } => said(method, backend.query(cx, &roots, closure).await),
        Request::Fetch { paths, socket } => said(method, fetch(shared, cx, &paths, &socket).await),
        Request::Release { how } => said(method, backend.release(cx, how).await),
        Request::Shell { system, command } => {
            let command: Vec<OsString> = command.into_iter().map(Into::into).collect();
            let shell = backend.shell(cx, &system, &command).await?;
            let shell = ShellCommand::try_from(&shell).map_err(|word| {
                let text = format!("{} is no UTF-8", word.display());
                Error::new(&codes::PROCESS, "the command of a shell cannot be told").because(text)
            });
            said(method, shell)
        }
    }
}

async fn fetch(shared: &Shared, cx: &Cx<'_>, paths: &[StorePath], socket: &Path) -> Result<u64> {
    let failed = || "what was built cannot be handed to nixoci";
    let mut out = UnixStream::connect(socket).await.or_error(&TRANSFER, failed)?;
    let count = shared.backend.fetch(cx, paths, &mut out).await?;
    out.shutdown().await.or_error(&TRANSFER, failed)?;
    Ok(count)
}

//! A backend in a library, with a runtime of its own.

use std::any::Any;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use nixoci_core::backend::Backend;
use nixoci_core::codes;
use nixoci_core::credentials::Credentials;
use nixoci_core::error::{Error, Result, ResultExt};
use nixoci_core::host::{Dirs, Host};
use nixoci_core::runner::GRACE;
use nixoci_core::temporary::{TemporaryFiles, Unguarded};
use nixoci_nix::{HostRunner, Watchdog};
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use super::call::{self, Answer};
use super::link::Link;
use super::log::panic_text;
use crate::abi;
use crate::wire::Hello;

/// Enough for a backend: what blocks goes to threads of its own (`spawn_blocking`).
const WORKERS: usize = 2;

/// What `create` makes.
pub(super) struct Instance {
    runtime: Runtime,
    shared: Arc<Shared>,
}

/// What calls work with.
pub(super) struct Shared {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) runner: HostRunner,
    pub(super) temporary: Arc<dyn TemporaryFiles>,
    pub(super) host: Host,
    pub(super) dirs: Dirs,
    pub(super) credentials: Credentials,
    pub(super) stall_timeout: Duration,
    pub(super) link: Link,
    calls: Mutex<HashMap<u64, CancellationToken>>,
    fewer: Condvar,
}

impl Instance {
    /// # Errors
    /// If threads cannot be started.
    pub(super) fn new(backend: Arc<dyn Backend>, hello: Hello, link: Link) -> Result<Instance> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .thread_name("nixoci-plugin")
            .enable_all()
            .build()
            .or_error(&codes::PROCESS, || "threads cannot be started")?;
        let watchdog = hello
            .watchdog
            .split_first()
            .map(|(exe, args)| Watchdog::new(PathBuf::from(exe), args.iter().map(Into::into).collect()));
        let temporary: Arc<dyn TemporaryFiles> = match &watchdog {
            Some(watchdog) => Arc::new(watchdog.clone()),
            None => Arc::new(Unguarded),
        };
        let shared = Shared {
            backend,
            runner: HostRunner::new(watchdog),
            temporary,
            host: hello.host,
            dirs: hello.dirs,
            credentials: hello.credentials,
            stall_timeout: Duration::from_secs(hello.stall_timeout),
            link,
            calls: Mutex::default(),
            fewer: Condvar::new(),
        };
        Ok(Instance { runtime, shared: Arc::new(shared) })
    }

    /// Begins a call: returns at once.
    pub(super) fn start(&self, call: u64, request: &[u8]) {
        let cancel = CancellationToken::new();
        self.shared.calls().insert(call, cancel.clone());
        let shared = Arc::clone(&self.shared);
        match call::parse(request) {
            Ok(request) => drop(self.runtime.spawn(async move {
                let work = AssertUnwindSafe(call::run(&shared, call, &cancel, request)).catch_unwind();
                let answer = work.await.unwrap_or_else(panicked);
                shared.end(call, &answer);
            })),
            Err(answer) => drop(self.runtime.spawn(async move { shared.end(call, &answer) })),
        }
    }

    /// Asks a call to end.
    pub(super) fn cancel(&self, call: u64) {
        if let Some(cancel) = self.shared.calls().get(&call) {
            cancel.cancel();
        }
    }

    /// Ends every call, and then the runtime.
    pub(super) fn end(self) {
        let mut calls = self.shared.calls();
        calls.values().for_each(CancellationToken::cancel);
        let waited = self.shared.fewer.wait_timeout_while(calls, GRACE, |calls| !calls.is_empty());
        calls = waited.map(|(calls, _)| calls).unwrap_or_else(|poisoned| poisoned.into_inner().0);
        let late: Vec<u64> = calls.drain().map(|(call, _)| call).collect();
        drop(calls);
        late.into_iter().for_each(|call| self.shared.link.done(call, abi::STATUS_CANCELLED, b"null"));
        self.shared.link.cut();
        self.runtime.shutdown_timeout(GRACE / 4);
    }
}

impl Shared {
    fn calls(&self) -> MutexGuard<'_, HashMap<u64, CancellationToken>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells nixoci how a call ended, unless it was given up meanwhile.
    fn end(&self, call: u64, answer: &Answer) {
        if self.calls().contains_key(&call) {
            let none = b"null".as_slice();
            let (status, json) = match answer {
                Answer::Ok(json) => (abi::STATUS_OK, json.as_slice()),
                Answer::Failed(json) => (abi::STATUS_FAILED, json.as_slice()),
                Answer::Panicked(json) => (abi::STATUS_PANICKED, json.as_slice()),
                Answer::Cancelled => (abi::STATUS_CANCELLED, none),
                Answer::Unsupported => (abi::STATUS_UNSUPPORTED, none),
            };
            self.link.done(call, status, json);
        }
        self.calls().remove(&call);
        self.fewer.notify_all();
    }
}

fn panicked(payload: Box<dyn Any + Send>) -> Answer {
    let json = serde_json::to_vec(&panic_text(payload.as_ref())).unwrap_or_else(|_| b"null".to_vec());
    Answer::Panicked(json)
}

/// An error, as an answer.
pub(super) fn failed(error: &Error) -> Answer {
    if error.is(&codes::CANCELLED) {
        return Answer::Cancelled;
    }
    Answer::Failed(serde_json::to_vec(error).unwrap_or_else(|_| b"null".to_vec()))
}

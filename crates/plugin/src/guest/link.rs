//! nixoci, as a plugin sees it.

use std::ffi::c_void;
use std::sync::{Arc, PoisonError, RwLock};

use serde::Serialize;

use crate::abi::{HostV1, Slice};

/// The way to nixoci, until it is cut. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Link(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    host: Host,
    /// Whether anything may be said still. Whoever says something holds it for reading.
    open: RwLock<bool>,
}

#[derive(Debug)]
struct Host(HostV1);

// SAFETY: the ABI says that the host's functions may be called from any thread with its `ctx`, which nothing here looks into.
unsafe impl Send for Host {}
// SAFETY: as above.
unsafe impl Sync for Host {}

impl Link {
    /// None if the table is smaller than the first version's.
    ///
    /// # Safety
    /// `host` must be valid until the link is cut.
    pub(crate) unsafe fn new(host: *const HostV1) -> Option<Link> {
        // SAFETY: valid by the caller's promise; the first field says how much of it there is.
        let size = unsafe { (&raw const (*host).size).read() };
        if (size as usize) < size_of::<HostV1>() {
            return None;
        }
        // SAFETY: the table is at least as large as what is read.
        let host = Host(unsafe { host.read() });
        Some(Link(Arc::new(Inner { host, open: RwLock::new(true) })))
    }

    fn say(&self, say: impl FnOnce(&HostV1, *mut c_void)) {
        let open = self.0.open.read().unwrap_or_else(PoisonError::into_inner);
        if *open {
            say(&self.0.host.0, self.0.host.0.ctx);
        }
    }

    /// A line for people who want details.
    pub(crate) fn log(&self, level: u32, text: &str) {
        // SAFETY: the link is open, so the table is valid; the slice lives until the function returns.
        self.say(|host, ctx| unsafe { (host.log)(ctx, level, Slice::of(text.as_bytes())) });
    }

    /// Something happened in a call.
    pub(crate) fn event(&self, call: u64, event: &impl Serialize) {
        let Ok(json) = serde_json::to_vec(event) else { return };
        // SAFETY: as in `log`.
        self.say(|host, ctx| unsafe { (host.event)(ctx, call, Slice::of(&json)) });
    }

    /// A call has ended.
    pub(crate) fn done(&self, call: u64, status: u32, answer: &[u8]) {
        // SAFETY: as in `log`.
        self.say(|host, ctx| unsafe { (host.done)(ctx, call, status, Slice::of(answer)) });
    }

    /// Nothing is said after this has returned.
    pub(crate) fn cut(&self) {
        *self.0.open.write().unwrap_or_else(PoisonError::into_inner) = false;
    }
}

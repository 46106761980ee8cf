//! A loaded library, and its functions with their rules kept.

use std::ffi::c_void;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

use libloading::os::unix::{Library as Dynamic, RTLD_LOCAL, RTLD_NOW};
use nixoci_core::runner::Command;
use nixoci_core::{Error, Remedy, Result};

use super::codes::{ABI, LIBRARY};
use crate::abi::{Entry, HostV1, MINOR, PluginV1, SYMBOL, Slice};

/// Which nixoci a plugin finds: tests load libraries as older and newer ones do.
#[derive(Clone, Copy, Debug)]
pub struct HostVersion {
    /// The minor version.
    pub minor: u32,
    /// The size that the host's table says it has.
    pub size: u32,
}

impl Default for HostVersion {
    fn default() -> Self {
        HostVersion { minor: MINOR, size: size_of::<HostV1>() as u32 }
    }
}

/// What a plugin tells its host. Called from any thread.
pub(super) trait Listener: Send + Sync {
    fn log(&self, level: u32, text: &[u8]);
    fn event(&self, call: u64, event: &[u8]);
    fn done(&self, call: u64, status: u32, answer: &[u8]);
    /// A slice that is none.
    fn impossible(&self, call: Option<u64>);
}

/// A library that speaks our version. It is never unloaded: threads of its own may run in it, and thread-local values may have
/// destructors in it.
#[derive(Clone, Copy)]
pub(super) struct Loaded {
    table: &'static PluginV1,
    version: HostVersion,
}

impl Loaded {
    /// Loads a library, and runs its initialisers: this is where somebody else's program begins to run.
    ///
    /// # Errors
    /// [`LIBRARY`], [`ABI`].
    pub(super) fn open(path: &Path, version: HostVersion) -> Result<Loaded> {
        // NOW: what is missing is said here, and not in the middle of a build. LOCAL: its symbols are nobody else's.
        // SAFETY: running the library's initialisers is what the user has agreed to; nixoci does it in a process that does nothing else.
        let library = unsafe { Dynamic::open(Some(path), RTLD_NOW | RTLD_LOCAL | libc::RTLD_NODELETE) };
        let lists = match std::env::consts::OS {
            "macos" => Command::new("otool").arg("-L"),
            _ => Command::new("ldd"),
        };
        let library = library.map_err(|error| {
            Error::new(&LIBRARY, "the plugin cannot be loaded")
                .because(error.to_string())
                .remedy(Remedy::command("see which libraries it needs", lists.arg(path).to_string()))
        })?;
        // SAFETY: a function of this name has this type: that is what the name promises, as the ABI says.
        let entry = unsafe { library.get::<Entry>(SYMBOL.as_bytes()) }
            .map(|entry| *entry)
            .map_err(|error| Error::new(&ABI, "the plugin has no entry").because(error.to_string()))?;
        std::mem::forget(library);
        // SAFETY: the entry takes nothing and may be called any time.
        let table = NonNull::new(unsafe { entry() }.cast_mut())
            .ok_or_else(|| Error::new(&ABI, "the plugin hands out no table"))?;
        // SAFETY: not null, valid for ever by the ABI, and the first field says how much of it there is.
        let size = unsafe { (&raw const (*table.as_ptr()).size).read() };
        if (size as usize) < size_of::<PluginV1>() {
            return Err(Error::new(&ABI, "the plugin's table is smaller than version 1's")
                .because(format!("it has {size} bytes, and version 1 has {}", size_of::<PluginV1>())));
        }
        // What is missing in a table of C's is null, and there is no function at null.
        let words = size_of::<PluginV1>() / size_of::<usize>();
        let functions = std::mem::offset_of!(PluginV1, describe) / size_of::<usize>()..words;
        // SAFETY: as above, large enough, and a pointer has the size and the alignment of a word.
        let is_null = |word: usize| unsafe { table.cast::<usize>().add(word).read() } == 0;
        if functions.into_iter().any(is_null) {
            return Err(Error::new(&ABI, "the plugin's table has a function that is not there"));
        }
        // SAFETY: as above, and every function is one; nobody changes it, by the ABI.
        let table: &'static PluginV1 = unsafe { table.as_ref() };
        if table.minor > version.minor {
            return Err(Error::new(&ABI, "the plugin needs a newer nixoci")
                .because(format!(
                    "it needs version 1.{}, and this nixoci speaks 1.{}",
                    table.minor, version.minor
                ))
                .remedy(Remedy::advice("update nixoci, or use an older version of the plugin")));
        }
        Ok(Loaded { table, version })
    }

    /// The status and what the plugin says it is, if it says it.
    pub(super) fn describe(self) -> (u32, Option<Vec<u8>>) {
        let answer = Answer::default();
        // SAFETY: `emit` is given what it was made for, which lives until after the call.
        let status = unsafe { (self.table.describe)(answer.out(), emit) };
        (status, answer.take())
    }

    /// Makes a backend that talks to `listener`, which stays for ever: a late word then finds somebody. The error is what the plugin said.
    pub(super) fn create(self, hello: &[u8], listener: Box<dyn Listener>) -> Result<Made, Option<Vec<u8>>> {
        let context: &'static Context = Box::leak(Box::new(Context { listener }));
        let host: &'static HostV1 = Box::leak(Box::new(HostV1 {
            size: self.version.size,
            minor: self.version.minor,
            ctx: std::ptr::from_ref(context).cast_mut().cast(),
            log,
            event,
            done,
        }));
        let answer = Answer::default();
        // SAFETY: the table is valid for ever, the bytes until the call returns, and `emit` gets its own.
        let instance = unsafe { (self.table.create)(host, Slice::of(hello), answer.out(), emit) };
        match NonNull::new(instance) {
            Some(instance) => Ok(Made { table: self.table, instance }),
            None => Err(answer.take()),
        }
    }
}

/// A backend in a library.
pub(super) struct Made {
    table: &'static PluginV1,
    instance: NonNull<c_void>,
}

// SAFETY: the ABI says that the functions may be called from any thread; the pointer is only handed back to them.
unsafe impl Send for Made {}
// SAFETY: as above.
unsafe impl Sync for Made {}

impl Made {
    /// Begins a call; whether it has begun.
    pub(super) fn start(&self, call: u64, request: &[u8]) -> bool {
        // SAFETY: an instance that is not destroyed, since that takes `self`; the bytes live until the call returns.
        unsafe { (self.table.start)(self.instance.as_ptr(), call, Slice::of(request)) == 0 }
    }

    pub(super) fn cancel(&self, call: u64) {
        // SAFETY: as in `start`.
        unsafe { (self.table.cancel)(self.instance.as_ptr(), call) }
    }

    pub(super) fn destroy(self) {
        // SAFETY: as in `start`, and once, since it takes `self`.
        unsafe { (self.table.destroy)(self.instance.as_ptr()) }
    }
}

/// What is behind `ctx`.
struct Context {
    listener: Box<dyn Listener>,
}

/// # Safety
/// `ctx` must be that of a [`HostV1`] of ours.
unsafe fn listener<'a>(ctx: *mut c_void) -> Option<&'a dyn Listener> {
    // SAFETY: it points to a `Context` that is never freed: the caller's promise. A null pointer is refused.
    unsafe { ctx.cast::<Context>().as_ref() }.map(|context| context.listener.as_ref())
}

unsafe extern "C" fn log(ctx: *mut c_void, level: u32, text: Slice) {
    // SAFETY: the plugin hands back the `ctx` it was given, and bytes that stay until this returns.
    if let (Some(listener), Some(text)) = unsafe { (listener(ctx), text.bytes()) } {
        listener.log(level, text);
    }
}

unsafe extern "C" fn event(ctx: *mut c_void, call: u64, event: Slice) {
    // SAFETY: as in `log`.
    match unsafe { (listener(ctx), event.bytes()) } {
        (Some(listener), Some(event)) => listener.event(call, event),
        (Some(listener), None) => listener.impossible(Some(call)),
        _ => {}
    }
}

unsafe extern "C" fn done(ctx: *mut c_void, call: u64, status: u32, answer: Slice) {
    // SAFETY: as in `log`.
    match unsafe { (listener(ctx), answer.bytes()) } {
        (Some(listener), Some(answer)) => listener.done(call, status, answer),
        (Some(listener), None) => listener.impossible(Some(call)),
        _ => {}
    }
}

/// Takes what is emitted. Behind a lock, should a plugin emit from several threads.
#[derive(Default)]
struct Answer(Mutex<Option<Vec<u8>>>);

impl Answer {
    fn out(&self) -> *mut c_void {
        std::ptr::from_ref(self).cast_mut().cast()
    }

    fn take(&self) -> Option<Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

unsafe extern "C" fn emit(out: *mut c_void, answer: Slice) {
    // SAFETY: the plugin hands back the `out` it was given, which lives until its function returns, and bytes that stay until this returns.
    if let (Some(out), Some(answer)) = unsafe { (out.cast::<Answer>().as_ref(), answer.bytes()) } {
        *out.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer.to_vec());
    }
}

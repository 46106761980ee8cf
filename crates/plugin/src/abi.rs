//! The binary interface between nixoci and a backend in a dynamic library, version 1.
//!
//! A library exports one function, [`SYMBOL`], that returns a [`PluginV1`]: a table of functions that never changes
//! while the library is loaded. What the functions are told and what they answer is JSON, described in [`crate::wire`].
//!
//! # Rules
//! - **Append-only.** Fields are never removed, reordered, or put under a `cfg`. A field after the first version is read
//!   only where the other side's `size` covers it. Another major version is another symbol.
//! - **No memory changes hands.** A [`Slice`] is borrowed for the duration of the call that passes it.
//! - **Numbers, no enumerations**: a value that Rust's type does not know would be undefined behaviour.
//! - **Nothing unwinds** across it: whoever implements a function keeps panics and exceptions in.
//!
//! `include/nixoci_backend.h` says the same in C; a test keeps the two together.

use std::ffi::c_void;

/// The name of the function that a library exports. The major version is in the name, so that one library can speak
/// several.
pub const SYMBOL: &str = "nixoci_backend_v1";

/// What begins the name of every version's function.
pub const SYMBOL_FAMILY: &str = "nixoci_backend_v";

/// The minor version that this crate implements: which optional abilities there are.
pub const MINOR: u32 = 0;

/// Bytes of somebody else's, until the call returns. Text is UTF-8.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Slice {
    /// Where they begin. May be null if `len` is 0.
    pub ptr: *const u8,
    /// How many there are.
    pub len: usize,
}

/// Takes an answer. Called at most once, before the function it was handed to returns.
pub type Emit = unsafe extern "C" fn(out: *mut c_void, answer: Slice);

/// What nixoci offers a plugin. The pointer is valid, and its functions may be called from any thread, until `destroy` returns.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct HostV1 {
    /// The size of this table, in bytes.
    pub size: u32,
    /// The minor version of this nixoci.
    pub minor: u32,
    /// Belongs to every function below, as its first argument.
    pub ctx: *mut c_void,
    /// A line for people who want details. The level is one of `LEVEL_…`.
    pub log: unsafe extern "C" fn(ctx: *mut c_void, level: u32, text: Slice),
    /// Something happened in a call: an event, as JSON.
    pub event: unsafe extern "C" fn(ctx: *mut c_void, call: u64, event: Slice),
    /// A call has ended. Exactly once a call; the status is one of `STATUS_…`.
    pub done: unsafe extern "C" fn(ctx: *mut c_void, call: u64, status: u32, answer: Slice),
}

/// What a plugin offers nixoci.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct PluginV1 {
    /// The size of this table, in bytes.
    pub size: u32,
    /// The minor version that nixoci must have at least. Not the one that the plugin was built with.
    pub minor: u32,
    /// Says what the plugin is: a [description](crate::wire::Description), through `emit`. Returns 0. Looks at nothing and
    /// starts nothing.
    pub describe: unsafe extern "C" fn(out: *mut c_void, emit: Emit) -> u32,
    /// Makes a backend, told by a [hello](crate::wire::Hello). Null if it refuses: then an
    /// [error](nixoci_core::error::Report) went through `emit`. Starts nothing.
    pub create:
        unsafe extern "C" fn(host: *const HostV1, hello: Slice, out: *mut c_void, emit: Emit) -> *mut c_void,
    /// Begins a call, told by a [request](crate::wire::Request). Returns 0 at once; what is to be done is done elsewhere, and ends
    /// with `done`. Any other number: the call has not begun, and `done` does not come.
    pub start: unsafe extern "C" fn(instance: *mut c_void, call: u64, request: Slice) -> u32,
    /// Asks a call to end soon. Returns at once. `done` still comes, unless it has come already.
    pub cancel: unsafe extern "C" fn(instance: *mut c_void, call: u64),
    /// Ends every call, and then the backend. No function of the host is called after it has returned.
    pub destroy: unsafe extern "C" fn(instance: *mut c_void),
}

/// The function that a library exports. It returns the same pointer every time, never null.
pub type Entry = unsafe extern "C" fn() -> *const PluginV1;

/// A call ended well: the answer is that of its method.
pub const STATUS_OK: u32 = 0;
/// A call ended with an error: the answer is a [report](nixoci_core::error::Report).
pub const STATUS_FAILED: u32 = 1;
/// A call was asked to end, and did. There is no answer.
pub const STATUS_CANCELLED: u32 = 2;
/// A panic was caught: the answer is its text, as a JSON string. Nothing else is asked of this instance.
pub const STATUS_PANICKED: u32 = 3;
/// The plugin does not know the method. nixoci does without, where it can. There is no answer.
pub const STATUS_UNSUPPORTED: u32 = 4;

/// A line of a log: something failed.
pub const LEVEL_ERROR: u32 = 1;
/// A line of a log: worth a look.
pub const LEVEL_WARN: u32 = 2;
/// A line of a log: good to know.
pub const LEVEL_INFO: u32 = 3;
/// A line of a log: detail.
pub const LEVEL_DEBUG: u32 = 4;
/// A line of a log: more detail.
pub const LEVEL_TRACE: u32 = 5;

impl Slice {
    /// These bytes. They must stay for as long as the slice is used.
    pub fn of(bytes: &[u8]) -> Slice {
        Slice { ptr: bytes.as_ptr(), len: bytes.len() }
    }

    /// The bytes, if the slice is one: a null pointer and an impossible length are refused.
    ///
    /// # Safety
    /// `ptr` must be null or point to `len` bytes that nobody changes while `'a` lasts.
    pub unsafe fn bytes<'a>(self) -> Option<&'a [u8]> {
        if self.len == 0 {
            return Some(&[]);
        }
        let possible = !self.ptr.is_null() && isize::try_from(self.len).is_ok();
        // SAFETY: not null, and not longer than an object can be; that it points to that many bytes is the caller's promise.
        possible.then(|| unsafe { std::slice::from_raw_parts(self.ptr, self.len) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::{offset_of, size_of};

    /// A table that changed would break every library that is out there: this test is never edited, only added to.
    #[test]
    #[cfg(target_pointer_width = "64")]
    fn version_1_is_laid_out_as_it_always_was() {
        assert_eq!((size_of::<Slice>(), offset_of!(Slice, ptr), offset_of!(Slice, len)), (16, 0, 8));
        assert_eq!((offset_of!(HostV1, size), offset_of!(HostV1, minor)), (0, 4));
        let host = [offset_of!(HostV1, ctx), offset_of!(HostV1, log), offset_of!(HostV1, event)];
        assert_eq!((host, offset_of!(HostV1, done), size_of::<HostV1>()), ([8, 16, 24], 32, 40));
        assert_eq!((offset_of!(PluginV1, size), offset_of!(PluginV1, minor)), (0, 4));
        let plugin =
            [offset_of!(PluginV1, describe), offset_of!(PluginV1, create), offset_of!(PluginV1, start)];
        assert_eq!((plugin, offset_of!(PluginV1, cancel)), ([8, 16, 24], 32));
        assert_eq!((offset_of!(PluginV1, destroy), size_of::<PluginV1>()), (40, 48));
        assert_eq!(SYMBOL, "nixoci_backend_v1");
        let statuses = [STATUS_OK, STATUS_FAILED, STATUS_CANCELLED, STATUS_PANICKED, STATUS_UNSUPPORTED];
        assert_eq!(statuses, [0, 1, 2, 3, 4]);
        assert_eq!([LEVEL_ERROR, LEVEL_WARN, LEVEL_INFO, LEVEL_DEBUG, LEVEL_TRACE], [1, 2, 3, 4, 5]);
    }

    #[test]
    fn an_impossible_slice_is_none() {
        let slice = |ptr, len| Slice { ptr, len };
        // SAFETY: nothing is read of any of them but the one that points to a byte.
        let bytes = |slice: Slice| unsafe { slice.bytes() };
        assert_eq!(bytes(slice(std::ptr::null(), 0)), Some(&[][..]));
        assert_eq!(bytes(slice(std::ptr::null(), 1)), None);
        assert_eq!(bytes(slice(&7, usize::MAX)), None);
        assert_eq!(bytes(Slice::of(&[7])), Some(&[7][..]));
    }
}

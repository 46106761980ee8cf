//! The table's functions, for one factory.

use std::ffi::c_void;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};

use nixoci_core::codes;
use nixoci_core::error::{Code, Error, Result, ResultExt};
use nixoci_core::factory::{Factory, TypedFactory};

use super::instance::Instance;
use super::link::Link;
use super::log;
use crate::abi::{Emit, HostV1, PluginV1, Slice};
use crate::wire::{Description, Hello, SDK};

/// What [`export_backend!`](crate::export_backend) says of a library.
pub trait Exported: 'static {
    /// Makes its backends.
    type Factory: TypedFactory + Default;
    /// Its version.
    const VERSION: &'static str;
    /// Its error codes.
    fn codes() -> &'static [&'static Code];
}

/// The functions of an exported backend.
#[derive(Debug)]
pub struct Export<E>(PhantomData<E>);

impl<E: Exported> Export<E> {
    /// The table that a library hands out.
    pub const TABLE: PluginV1 = PluginV1 {
        size: size_of::<PluginV1>() as u32,
        minor: 0,
        describe: describe::<E>,
        create: create::<E>,
        start,
        cancel,
        destroy,
    };
}

/// Tells an answer to whoever asked.
///
/// # Safety
/// `emit` and `out` must be those of the call that is being answered.
unsafe fn answer(out: *mut c_void, emit: Emit, json: &[u8]) {
    // SAFETY: the slice is of bytes that live until the function returns; the rest is the caller's promise.
    unsafe { emit(out, Slice::of(json)) }
}

unsafe extern "C" fn describe<E: Exported>(out: *mut c_void, emit: Emit) -> u32 {
    let Ok(Ok(json)) = catch_unwind(|| serde_json::to_vec(&description::<E>())) else { return 1 };
    // SAFETY: both are this call's.
    unsafe { answer(out, emit, &json) };
    0
}

fn description<E: Exported>() -> Description {
    let factory = E::Factory::default();
    Description {
        descriptor: Factory::descriptor(&factory),
        version: E::VERSION.to_owned(),
        sdk: SDK.into_owned(),
        schema: Factory::schema(&factory),
        codes: E::codes().iter().map(|code| (*code).into()).collect(),
        features: Vec::new(),
    }
}

unsafe extern "C" fn create<E: Exported>(
    host: *const HostV1,
    hello: Slice,
    out: *mut c_void,
    emit: Emit,
) -> *mut c_void {
    // SAFETY: the host promises a table that is valid until `destroy`, and bytes that stay until this returns.
    let made = catch_unwind(AssertUnwindSafe(|| unsafe { make::<E>(host, hello) }));
    let error = match made {
        Ok(Ok(instance)) => return Box::into_raw(Box::new(instance)).cast(),
        Ok(Err(error)) => error,
        Err(payload) => {
            let text = log::panic_text(payload.as_ref());
            Error::new(&codes::BUG, "the backend panicked while it was made").because(text)
        }
    };
    if let Ok(json) = serde_json::to_vec(&error) {
        // SAFETY: both are this call's.
        unsafe { answer(out, emit, &json) };
    }
    std::ptr::null_mut()
}

/// # Safety
/// As [`PluginV1::create`].
unsafe fn make<E: Exported>(host: *const HostV1, hello: Slice) -> Result<Instance> {
    let unreadable = || "the plugin does not understand nixoci's greeting";
    // SAFETY: the caller's promise.
    let (link, hello) = unsafe { (Link::new(host), hello.bytes()) };
    let link = link.ok_or_else(|| Error::new(&codes::BUG, "nixoci's table is smaller than version 1's"))?;
    let hello: Hello = serde_json::from_slice(hello.unwrap_or_default()).or_error(&codes::BUG, unreadable)?;
    let settings = serde_json::from_value(hello.settings.clone())
        .or_error(&codes::CONFIG_VALUE, || format!("in [backend.{}]", E::Factory::DESCRIPTOR.name))?;
    let backend = TypedFactory::create(&E::Factory::default(), settings)?;
    log::forward(&link);
    Instance::new(std::sync::Arc::new(backend), hello, link)
}

/// # Safety
/// `instance` must be what `create` returned, before `destroy`.
unsafe fn instance<'a>(instance: *mut c_void) -> &'a Instance {
    // SAFETY: `create` returned a pointer to one, and it lives until `destroy`: the caller's promise.
    unsafe { &*instance.cast::<Instance>() }
}

unsafe extern "C" fn start(pointer: *mut c_void, call: u64, request: Slice) -> u32 {
    let begin = AssertUnwindSafe(|| {
        // SAFETY: the host's promises: an instance of ours, and bytes that stay until this returns.
        let (instance, request) = unsafe { (instance(pointer), request.bytes()) };
        instance.start(call, request.unwrap_or_default());
    });
    u32::from(catch_unwind(begin).is_err())
}

unsafe extern "C" fn cancel(pointer: *mut c_void, call: u64) {
    // SAFETY: the host's promise.
    let _ = catch_unwind(AssertUnwindSafe(|| unsafe { instance(pointer) }.cancel(call)));
}

unsafe extern "C" fn destroy(pointer: *mut c_void) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: `create` made a box of it, and the host asks for this once.
        unsafe { Box::from_raw(pointer.cast::<Instance>()) }.end();
    }));
}

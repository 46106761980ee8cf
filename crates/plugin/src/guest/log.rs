//! What a plugin logs reaches nixoci: its own standard library's panics, and what crates log by `tracing`.
//!
//! Both are kept by globals of the library's own copy of those crates: nixoci's never hear of them by themselves.

use std::any::Any;
use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::sync::{Mutex, Once, PoisonError};

use tracing_core::field::{Field, Visit};
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::{Dispatch, Event, Level, Metadata, Subscriber};

use super::link::Link;
use crate::abi;

/// Where it goes: the link of the instance that was made last.
static LINK: Mutex<Option<Link>> = Mutex::new(None);

thread_local! {
    /// Where the panic happened that this thread caught last, and its text.
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Sends panics and traces there from now on.
pub(super) fn forward(link: &Link) {
    static ONCE: Once = Once::new();
    *LINK.lock().unwrap_or_else(PoisonError::into_inner) = Some(link.clone());
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            let text = panic.to_string().replace('\n', " ");
            say(abi::LEVEL_ERROR, &text);
            LAST_PANIC.with(|last| last.replace(Some(text)));
        }));
        // A plugin that has a subscriber of its own keeps it.
        let _ = tracing_core::dispatcher::set_global_default(Dispatch::new(Forward));
    });
}

/// What there is to say about a panic that was just caught on this thread.
pub(super) fn panic_text(payload: &(dyn Any + Send)) -> String {
    let hooked = LAST_PANIC.with(RefCell::take);
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    hooked.or(text).unwrap_or_else(|| "it does not say why".to_owned())
}

fn say(level: u32, text: &str) {
    let link = LINK.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(link) = link {
        link.log(level, text);
    }
}

/// Passes events on. Spans are not followed.
struct Forward;

impl Subscriber for Forward {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::DEBUG
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let level = match *event.metadata().level() {
            Level::ERROR => abi::LEVEL_ERROR,
            Level::WARN => abi::LEVEL_WARN,
            Level::INFO => abi::LEVEL_INFO,
            Level::DEBUG => abi::LEVEL_DEBUG,
            _ => abi::LEVEL_TRACE,
        };
        let mut line = Line(format!("{}:", event.metadata().target()));
        event.record(&mut line);
        say(level, &line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

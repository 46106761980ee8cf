//! The JSON Schema of everything that nixoci prints as JSON, and of nixoci.toml.
//!
//! They are made from the types that are printed. A member that is always there is required; readers have to take
//! members that they do not know, because later versions may add some.

use nixoci_core::event::Event;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value, json};

use crate::commands::{backends, cache, config, explain, init, man, schema, shell};
use crate::frame::Hello;
use crate::report::ErrorReport;

/// A documented form of JSON.
pub(crate) struct Form {
    /// As `nixoci schema` takes it.
    pub(crate) name: &'static str,
    /// What has this form.
    pub(crate) title: &'static str,
    make: fn(SchemaGenerator) -> Value,
}

/// Every form there is. That of nixoci.toml is `nixoci config schema`.
pub(crate) const FORMS: &[Form] = &[
    Form { name: "backends", title: "nixoci backends --format json", make: of::<backends::BackendsReport> },
    Form {
        name: "backends-show",
        title: "nixoci backends show NAME --format json",
        make: of::<backends::BackendReport>,
    },
    Form { name: "cache-gc", title: "nixoci cache gc --format json", make: of::<cache::GcReport> },
    Form { name: "cache-show", title: "nixoci cache show --format json", make: of::<cache::CacheReport> },
    Form {
        name: "config-check",
        title: "nixoci config check --format json",
        make: of::<config::CheckReport>,
    },
    Form {
        name: "config-show",
        title: "nixoci config show --format json",
        make: of::<config::SettingsReport>,
    },
    Form { name: "doctor", title: "nixoci doctor --format json", make: of::<nixoci_engine::Doctor> },
    Form {
        name: "error",
        title: "standard error of a command that failed, with --format json",
        make: of::<ErrorReport<'_>>,
    },
    Form { name: "explain", title: "nixoci explain --format json", make: of::<explain::ExplainReport> },
    Form { name: "init", title: "nixoci init --format json", make: of::<init::InitReport> },
    Form { name: "line", title: "a line of --format jsonl, or of --progress-fd", make: line },
    Form { name: "man", title: "nixoci man --format json", make: of::<man::ManReport> },
    Form {
        name: "schema",
        title: "nixoci schema --format json, without a name",
        make: of::<schema::SchemasReport>,
    },
    Form {
        name: "shell",
        title: "the result of nixoci shell, for --progress-fd",
        make: of::<shell::ShellReport>,
    },
];

impl Form {
    /// The schema.
    pub(crate) fn schema(&self) -> Value {
        let mut schema = (self.make)(SchemaSettings::draft2020_12().for_serialize().into_generator());
        if let Some(members) = schema.as_object_mut() {
            members.insert("title".to_owned(), self.title.into());
        }
        schema
    }
}

fn of<T: JsonSchema>(generator: SchemaGenerator) -> Value {
    generator.into_root_schema_for::<T>().to_value()
}

/// `hello`, then events, then one `result` or `error`.
fn line(mut generator: SchemaGenerator) -> Value {
    let typed = |kind: &str| json!({ "properties": { "type": { "const": kind } }, "required": ["type"] });
    let hello = generator.subschema_for::<Hello>();
    let event = generator.subschema_for::<Event>();
    let error = generator.subschema_for::<ErrorReport<'_>>();
    let result = json!({ "description": "What the command prints with --format json, and its type.", "type": "object" });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "oneOf": [
            { "allOf": [hello, typed("hello")] },
            event,
            { "allOf": [result, typed("result")] },
            error,
        ],
        "$defs": generator.take_definitions(true),
    })
}

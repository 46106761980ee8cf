//! The JSON Schema of everything that nixoci prints as JSON, and of nixoci.toml.
//!
//! They are made from the types that are printed. A member that is always there is required; readers have to take
//! members that they do not know, because later versions may add some.

use nixoci_core::event::Event;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value, json};

use crate::commands::{
    backends, cache, config, convert, explain, image, init, load, man, plugin, provision, schema, shell,
};
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
    form("backends", "nixoci backends --format json", of::<backends::BackendsReport>),
    form("backends-show", "nixoci backends show NAME --format json", of::<backends::BackendReport>),
    form("build", "nixoci build --format json, and --metadata-file", of::<nixoci_engine::BuildReport>),
    form("cache-gc", "nixoci cache gc --format json", of::<cache::GcReport>),
    form("cache-show", "nixoci cache show --format json", of::<cache::CacheReport>),
    form("config-check", "nixoci config check --format json", of::<config::CheckReport>),
    form("config-show", "nixoci config show --format json", of::<config::SettingsReport>),
    form(
        "config-trust",
        "nixoci config trust --format json, and config untrust",
        of::<config::ProjectReport>,
    ),
    form("convert", "nixoci convert --format json, and nixoci merge", of::<convert::ConvertReport>),
    form("doctor", "nixoci doctor --format json", of::<nixoci_engine::Doctor>),
    form("error", "standard error of a command that failed, with --format json", of::<ErrorReport<'_>>),
    form("explain", "nixoci explain --format json", of::<explain::ExplainReport>),
    form("init", "nixoci init --format json", of::<init::InitReport>),
    form("inspect", "nixoci inspect --format json", of::<image::InspectReport>),
    form("line", "a line of --format jsonl, or of --progress-fd", line),
    form("load", "nixoci load --format json", of::<load::LoadReport>),
    form("man", "nixoci man --format json", of::<man::ManReport>),
    form("plan", "nixoci plan --format json", of::<nixoci_engine::PlanReport>),
    form("plugin-check", "nixoci plugin check FILE --format json", of::<plugin::CheckReport>),
    form("plugin-list", "nixoci plugin list --format json", of::<plugin::PluginsReport>),
    form("plugin-new", "nixoci plugin new NAME --format json", of::<plugin::NewReport>),
    form("plugin-show", "nixoci plugin show NAME --format json", of::<plugin::PluginReport>),
    form("plugin-trust", "nixoci plugin trust NAME --format json", of::<plugin::TrustReport>),
    form("plugin-untrust", "nixoci plugin untrust NAME --format json", of::<plugin::UntrustReport>),
    form("provision", "nixoci provision --format json", of::<nixoci_engine::ProvisionReport>),
    form(
        "provision-away",
        "nixoci provision --stop --format json, and --remove",
        of::<nixoci_engine::PutAwayReport>,
    ),
    form("provision-write", "nixoci provision --write FILE --format json", of::<provision::WriteReport>),
    form("schema", "nixoci schema --format json, without a name", of::<schema::SchemasReport>),
    form("shell", "the result of nixoci shell, for --progress-fd", of::<shell::ShellReport>),
    form("validate", "nixoci validate --format json", of::<image::ValidateReport>),
];

const fn form(name: &'static str, title: &'static str, make: fn(SchemaGenerator) -> Value) -> Form {
    Form { name, title, make }
}

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

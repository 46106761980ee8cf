//! `nixoci schema`: the form of what nixoci prints as JSON.

use nixoci_core::registry::nearest;
use nixoci_core::{Error, Remedy, Result, shell};
use schemars::JsonSchema;
use serde::Serialize;

use crate::args::SchemaArgs;
use crate::codes::USAGE;
use crate::output::Printer;
use crate::schemas::FORMS;

/// The schemas there are.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SchemasReport {
    /// The version of this document.
    version: u32,
    /// What each is for, by name.
    schemas: std::collections::BTreeMap<&'static str, &'static str>,
}

pub(crate) fn run(printer: &Printer, args: &SchemaArgs) -> Result<u8> {
    let Some(name) = &args.name else {
        let text: String = FORMS.iter().map(|form| format!("{:<16}{}\n", form.name, form.title)).collect();
        let schemas = FORMS.iter().map(|form| (form.name, form.title)).collect();
        printer.result(&SchemasReport { version: 1, schemas }, &text)?;
        return Ok(0);
    };
    let form = FORMS.iter().find(|form| form.name == name).ok_or_else(|| {
        let error = Error::new(&USAGE, format!("there is no schema called `{name}`"));
        let near = nearest(name, FORMS.iter().map(|form| form.name));
        let near =
            near.map(|near| Remedy::command("did you mean this one", shell!("nixoci schema {}", near)));
        near.into_iter().fold(error, Error::remedy).remedy(Remedy::command("list them", "nixoci schema"))
    })?;
    let schema = form.schema();
    printer.result(&schema, &format!("{schema:#}\n"))?;
    Ok(0)
}

//! What a plugin answers, made harmless for terminals: every text of it, in one pass.

use nixoci_core::error::Remedy;
use nixoci_core::plan::{ProvisionPlan, Step};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::wire::Planned;

/// What is shown to people is never longer, in bytes.
const LIMIT: usize = 4 << 20;

/// Reads an answer whose texts people will see. The error says why it cannot be read.
pub(super) fn parse<T: DeserializeOwned>(json: &str) -> Result<T, String> {
    if json.len() > LIMIT {
        return Err(format!("it is longer than {} MiB", LIMIT >> 20));
    }
    if !is_odd(json) {
        return serde_json::from_str(json).map_err(|error| error.to_string());
    }
    let value = serde_json::from_str(json).map_err(|error| error.to_string())?;
    serde_json::from_value(clean(value)).map_err(|error| error.to_string())
}

/// Whether there may be a character in it that no text needs: JSON writes the first 32 as escapes, and the others stand for themselves.
fn is_odd(json: &str) -> bool {
    json.contains("\\u")
        || json.contains("\\b")
        || json.contains("\\f")
        || json.contains("\\r")
        || json.chars().any(|character| ('\u{7f}'..='\u{9f}').contains(&character))
}

fn clean(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(nixoci_nix::plain(&text)),
        Value::Array(values) => Value::Array(values.into_iter().map(clean).collect()),
        Value::Object(members) => {
            let member = |(key, value): (String, Value)| (nixoci_nix::plain(&key), clean(value));
            Value::Object(members.into_iter().map(member).collect::<Map<_, _>>())
        }
        other => other,
    }
}

/// [`Planned`], whose steps a newer plugin may describe in words that this nixoci does not know.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LoosePlanned {
    plan: LoosePlan,
    #[serde(default)]
    by_hand: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LoosePlan {
    steps: Vec<Value>,
    #[serde(default)]
    instead: Vec<Remedy>,
}

impl LoosePlanned {
    /// A step whose state is in words that we do not know is shown as one of which nothing is known.
    ///
    /// # Errors
    /// Why a step cannot be read.
    pub(super) fn known(self) -> Result<Planned, String> {
        let steps = self.plan.steps.into_iter().map(step).collect::<Result<_, _>>()?;
        Ok(Planned { plan: ProvisionPlan { steps, instead: self.plan.instead }, by_hand: self.by_hand })
    }
}

fn step(mut value: Value) -> Result<Step, String> {
    if let Ok(step) = serde_json::from_value(value.clone()) {
        return Ok(step);
    }
    if let Some(members) = value.as_object_mut() {
        let state = serde_json::json!({ "state": "unknown", "would_need": "a newer nixoci" });
        members.insert("state".to_owned(), state);
    }
    serde_json::from_value(value).map_err(|error| format!("a step: {error}"))
}

/// [`crate::wire::Amended`], likewise.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LooseAmended {
    pub(super) planned: LoosePlanned,
    #[serde(default)]
    pub(super) agreed: bool,
}

#[cfg(test)]
mod tests {
    use nixoci_core::plan::StepState;

    use super::*;

    #[test]
    fn no_text_of_an_answer_moves_a_terminal() {
        let json = r#"[{"title":"a\u001b[8mb","\u009bk":["c\u0007\r\nd", 1]}, "C12J", "fine\n"]"#;
        let cleaned: Value = parse(&json.replace("C1", "\u{9b}")).unwrap();
        assert_eq!(cleaned, serde_json::json!([{ "title": "ab", "k": ["c\nd", 1] }, "2J", "fine\n"]));
        assert!(parse::<Value>(&format!("\"{}\"", "x".repeat(LIMIT))).unwrap_err().contains("4 MiB"));
    }

    #[test]
    fn a_step_in_a_later_version_s_words_is_one_of_which_nothing_is_known() {
        let planned = |state: &str| {
            let step = serde_json::json!({
                "id": "a", "title": "t", "why": "w", "needsRoot": true, "state": { "state": state }
            });
            let planned = serde_json::json!({ "plan": { "steps": [step] } });
            serde_json::from_value::<LoosePlanned>(planned).unwrap().known().unwrap()
        };
        assert!(matches!(planned("pending").plan.steps[0].state, StepState::Pending));
        assert!(matches!(planned("dreaming").plan.steps[0].state, StepState::Unknown { .. }));
        let none: LoosePlanned = serde_json::from_str(r#"{"plan":{"steps":[{"id":"a"}]}}"#).unwrap();
        assert!(none.known().unwrap_err().contains("title"));
    }
}

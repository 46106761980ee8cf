//! What it takes to make a backend ready, as data: shown before anything happens, checked after.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Remedy};

/// The steps that make a backend ready, in order. A plan changes nothing by itself, and making one wakes
/// nothing up.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProvisionPlan {
    /// In the order they are carried out.
    pub steps: Vec<Step>,
    /// Other ways to get there, which are not nixoci's to go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub instead: Vec<Remedy>,
}

/// What is to stand in a file of Nix's language that configures a whole machine, such as nix-darwin's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Configuration {
    /// The option, as a path: `nix.linux-builder`.
    pub option: String,
    /// How people misspell its last part: `linux_builder`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub misspelt: Vec<String>,
    /// What is to be added.
    pub text: String,
    /// What may replace it once that was applied, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub later: Option<String>,
    /// The command that applies it, without naming a flake.
    pub apply: String,
}

/// One step of a plan.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Stable, unique within the plan.
    pub id: String,
    /// What it does: `start the builder`.
    pub title: String,
    /// What it is for.
    pub why: String,
    /// How things stand.
    pub state: StepState,
    /// What it changes on this machine, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub effects: Vec<String>,
    /// Whether it needs root.
    pub needs_root: bool,
    /// The exact commands.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<String>,
}

impl Step {
    /// A step without effects and commands, which does not need root.
    pub fn new(
        id: impl Into<String>,
        title: impl Into<String>,
        why: impl Into<String>,
        state: StepState,
    ) -> Self {
        Step {
            id: id.into(),
            title: title.into(),
            why: why.into(),
            state,
            effects: Vec::new(),
            needs_root: false,
            commands: Vec::new(),
        }
    }
}

/// How things stand with a step.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum StepState {
    /// Nothing to do.
    Satisfied,
    /// It has to be done.
    Pending,
    /// Cannot be known without waking something up.
    Unknown {
        /// What would have to be woken or asked.
        would_need: String,
    },
    /// It cannot be done.
    Blocked {
        /// Why, and what to do about it.
        error: Error,
    },
}

impl ProvisionPlan {
    /// Whether nothing has to be done, as far as can be known.
    pub fn is_satisfied(&self) -> bool {
        self.steps.iter().all(|step| matches!(step.state, StepState::Satisfied | StepState::Unknown { .. }))
    }

    /// The first step that cannot be done.
    pub fn blocked(&self) -> Option<(&Step, &Error)> {
        self.steps.iter().find_map(|step| match &step.state {
            StepState::Blocked { error } => Some((step, error)),
            _ => None,
        })
    }

    /// The steps that have to be done.
    pub fn pending(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| matches!(step.state, StepState::Pending))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(state: StepState) -> Step {
        Step {
            id: "s".into(),
            title: "t".into(),
            why: "w".into(),
            state,
            effects: vec![],
            needs_root: false,
            commands: vec![],
        }
    }

    #[test]
    fn a_sleeping_machine_does_not_make_a_plan_unsatisfied() {
        let unknown = StepState::Unknown { would_need: "the VM".into() };
        let mut plan =
            ProvisionPlan { steps: vec![step(StepState::Satisfied), step(unknown)], ..Default::default() };
        assert!(plan.is_satisfied());
        plan.steps.push(step(StepState::Pending));
        assert!(!plan.is_satisfied());
        assert_eq!(plan.pending().count(), 1);
    }
}

//! The steps that make a backend ready: as a list, and as a script.

use std::fmt::Write as _;

use nixoci_core::plan::{ProvisionPlan, Step, StepState};
use nixoci_core::text::printable;

/// Every step with its state, what it changes, and its exact commands.
pub(crate) fn list(plan: &ProvisionPlan) -> String {
    let mut text = String::new();
    for step in &plan.steps {
        let state = match &step.state {
            StepState::Satisfied => "done".to_owned(),
            StepState::Pending => "to do".to_owned(),
            StepState::Unknown { would_need } => format!("unknown without {would_need}"),
            StepState::Blocked { error } => format!("not possible: {error}"),
            _ => "unknown".to_owned(),
        };
        let _ = writeln!(text, "provision {}{}: {}", printable(&step.title), root(step), printable(&state));
        for effect in &step.effects {
            let _ = writeln!(text, "            changes: {}", printable(effect));
        }
        for line in step.commands.iter().flat_map(|command| command.lines()) {
            let _ = writeln!(text, "            $ {line}");
        }
    }
    text
}

/// What is to be done, for a POSIX shell.
pub(crate) fn script(backend: &str, plan: &ProvisionPlan) -> String {
    let mut text = format!("#!/bin/sh\n# Makes nixoci's backend {backend} ready.\nset -e\n");
    for step in plan.pending() {
        let _ = writeln!(text, "\n# {}{}", printable(&step.title), root(step));
        for command in &step.commands {
            let _ = writeln!(text, "{command}");
        }
    }
    text
}

fn root(step: &Step) -> &'static str {
    if step.needs_root { " (needs root)" } else { "" }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Three steps: one is done, one needs root.
    pub(in crate::output) fn plan() -> ProvisionPlan {
        let step = |title: &str, state, needs_root, commands: &[&str]| Step {
            effects: if needs_root { vec!["ssh's configuration".to_owned()] } else { Vec::new() },
            needs_root,
            commands: commands.iter().map(|command| (*command).to_owned()).collect(),
            ..Step::new(title, title, "", state)
        };
        ProvisionPlan {
            steps: vec![
                step("install the tool", StepState::Satisfied, false, &["brew install tool"]),
                step("start the VM", StepState::Pending, false, &["tool start \\\n  nixoci"]),
                step("tell ssh", StepState::Pending, true, &["sudo tee /etc/ssh/x", "sudo true"]),
            ],
            instead: Vec::new(),
        }
    }

    #[test]
    fn the_list_has_every_step_and_the_script_what_is_to_be_done() {
        insta::assert_snapshot!(list(&plan()), @r"
        provision install the tool: done
                    $ brew install tool
        provision start the VM: to do
                    $ tool start \
                    $   nixoci
        provision tell ssh (needs root): to do
                    changes: ssh's configuration
                    $ sudo tee /etc/ssh/x
                    $ sudo true
        ");
        insta::assert_snapshot!(script("vm", &plan()), @r"
        #!/bin/sh
        # Makes nixoci's backend vm ready.
        set -e

        # start the VM
        tool start \
          nixoci

        # tell ssh (needs root)
        sudo tee /etc/ssh/x
        sudo true
        ");
    }
}

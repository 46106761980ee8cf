//! The words of commands that answer a question and build nothing.

use super::*;
use crate::harness::shows;
use crate::mac::ROSETTA;

/// Of something that nobody has built before.
const PLAN: &str = r#"cd $(mktemp -d); cat > default.nix <<END
{ system }: derivation { name = "fresh"; inherit system; builder = "/bin/sh"; args = [ "-c" "$tag" ]; }
END
nixoci plan -f default.nix"#;
const NO_DOCKER: &[&str] = &["--without", "docker-daemon"];

each!(
    a_question_is_answered_in_words:
    plan(NIX_2_34, PLAN, "plan"),
    backends_on_linux(NIX_2_34, "cd $(mktemp -d); nixoci backends", "backends_linux"),
    backends_on_a_mac(NIX_2_34.with(ROSETTA), "cd $(mktemp -d); nixoci backends", "backends_mac"),
    doctor_without_docker(NIX_2_34.with(NO_DOCKER), "nixoci doctor | grep -A1 '^runtime docker'", "doctor_without_docker"),
);
fn a_question_is_answered_in_words(host: Host, script: &str, name: &str) {
    shows(&format!("answers_{name}"), &host.sh(script).code(0).out);
}

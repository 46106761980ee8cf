//! `nixoci provision` where nobody can be asked, and where there is neither Nix nor a Mac.

use crate::conforms::conforms;
use crate::{err, fails, nixoci, out, project, shows};

#[test]
fn what_cannot_be_meant_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (args, code) in [
        (&["--stop", "--remove"][..], 2),
        (&["--write", "x.nix", "--stop"], 2),
        (&["--write", "x.nix"], 20),
        (&["--platform", "windows/amd64"], 2),
        (&["--platform", "linux/pdp11"], 2),
        (&["container"], 2),
        (&["--backend", "nosuch"], 10),
        (&["--stop", "--backend", "nosuch"], 10),
        (&["--backend", "darwin-builder"], 20),
        (&[], 20),
    ] {
        let output = nixoci(dir.path(), &[&["provision"], args].concat());
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", err(&output));
        assert!(out(&output).is_empty(), "{args:?}");
    }
}

#[test]
fn where_nothing_can_be_put_away_that_is_said_and_nobody_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    for flag in ["--stop", "--remove"] {
        for backend in ["local", "linux-builder"] {
            let output = nixoci(dir.path(), &["provision", flag, "--backend", backend]);
            assert_eq!(output.status.code(), Some(0), "{}", err(&output));
            shows(dir.path(), &format!("nothing_to_put_away_{backend}"), &err(&output));
            assert!(out(&output).is_empty());
        }
        let output = nixoci(dir.path(), &["provision", flag, "--backend", "local", "--format", "json"]);
        let document: serde_json::Value = serde_json::from_str(&out(&output)).unwrap();
        conforms("provision-away", &document);
        assert_eq!((&document["how"], &document["backends"][0]), (&flag[2..].into(), &"local".into()));
    }
}

#[test]
fn a_profile_s_order_of_preference_is_no_list_of_what_to_put_away() {
    // Somebody who names a backend means it; a profile's second choice is not to be removed with the first.
    let dir = project("[profile.default]\nbackend = [\"local\", \"darwin-builder\"]\n");
    let output = nixoci(dir.path(), &["provision", "--stop"]);
    // There is no Nix, and so none to choose.
    fails(&output, 20, "nixoci::backend::none");
}

#[test]
fn build_run_and_shell_take_what_is_agreed_to_beforehand() {
    let dir = tempfile::tempdir().unwrap();
    for args in [
        &["build", ".#x", "-y", "--allow-root"][..],
        &["run", ".#x", "--yes", "--allow-root"],
        &["plan", ".#x", "-y"],
        &["shell", "-y", "--allow-root"],
        &["build", ".#x", "-y", "--no-provision"],
    ] {
        let output = nixoci(dir.path(), args);
        assert_ne!(output.status.code(), Some(2), "{args:?}: {}", err(&output));
    }
}

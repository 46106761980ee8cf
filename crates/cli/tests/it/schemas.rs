//! What nixoci prints as JSON has the form that docs/reference/schema says.

use std::path::Path;

use serde_json::Value;

use crate::conforms::conforms;
use crate::{err, nixoci, out, project};

#[test]
fn results_have_the_form_that_is_documented() {
    let dir = project("[image]\ninstallable = \".#x\"\n[profile.default]\nload = true\n");
    for (name, args) in [
        ("backends", &["backends"][..]),
        ("backends-show", &["backends", "show", "local"]),
        ("cache-gc", &["cache", "gc"]),
        ("cache-show", &["cache", "show"]),
        ("plugin-list", &["plugin", "list"]),
        ("plugin-new", &["plugin", "new", "my-vm"]),
        ("config-check", &["config", "check"]),
        ("config-show", &["config", "show"]),
        ("doctor", &["doctor"]),
        ("explain", &["explain", "42"]),
        ("init", &["init"]),
        ("man", &["man", "--out", "man"]),
        ("schema", &["schema"]),
    ] {
        let output = nixoci(dir.path(), &[args, &["--format", "json"]].concat());
        let document =
            serde_json::from_str(&out(&output)).unwrap_or_else(|_| panic!("{args:?}: {}", err(&output)));
        conforms(name, &document);
        let lines = nixoci(dir.path(), &[args, &["--format", "jsonl"]].concat());
        for line in out(&lines).lines() {
            conforms("line", &serde_json::from_str(line).unwrap());
        }
    }
}

#[test]
fn what_is_said_of_an_image_has_it() {
    let dir = tempfile::tempdir().unwrap();
    crate::memory::small_image(dir.path());
    for name in ["inspect", "validate"] {
        let output = nixoci(dir.path(), &[name, "image.tar", "--format", "json"]);
        assert!(output.status.success(), "{}", err(&output));
        conforms(name, &serde_json::from_str(&out(&output)).unwrap());
        let lines = nixoci(dir.path(), &[name, "image.tar", "--format", "jsonl"]);
        let lines: Vec<Value> = out(&lines).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(lines.len() > 2, "there are events: {lines:?}");
        lines.iter().for_each(|line| conforms("line", line));
    }
}

#[test]
fn errors_have_it_too_wherever_they_come_from() {
    let dir = project("[image]\nplatform = []\n");
    for args in [
        &["build"][..],
        &["build", "--nosuch"],
        &["bild"],
        &["build", "--no-cache"],
        &["explain", "nonsense"],
    ] {
        let output = nixoci(dir.path(), &[args, &["--format", "json"]].concat());
        conforms("error", &serde_json::from_str(&err(&output)).unwrap());
        let lines = nixoci(dir.path(), &[args, &["--format", "jsonl"]].concat());
        let lines: Vec<Value> = out(&lines).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        lines.iter().for_each(|line| conforms("line", line));
    }
}

#[test]
fn a_document_that_is_wrong_does_not_conform() {
    let schema: Value = serde_json::from_str(&out(&nixoci(Path::new("/"), &["schema", "error"]))).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let error = |code: Value| {
        serde_json::json!({
        "type": "error", "exitCode": 2, "error": { "kind": "usage", "code": code, "message": "x" } })
    };
    assert!(validator.is_valid(&error("nixoci::usage".into())));
    assert!(!validator.is_valid(&error(2.into())));
    assert!(!validator.is_valid(&serde_json::json!({ "type": "error" })));
}

#[test]
fn documents_stay_as_they_are() {
    let dir = project("[image]\ninstallable = \".#x\"\ntags = [\"app:1\"]\n");
    let place = dir.path().canonicalize().unwrap().display().to_string();
    let document = |args: &[&str]| out(&nixoci(dir.path(), args)).replace(&place, "[dir]");
    insta::assert_snapshot!("config_show", document(&["config", "show", "--format", "json"]));
    insta::assert_snapshot!("config_check", document(&["config", "check", "--format", "json"]));
    insta::assert_snapshot!("cache_show", document(&["cache", "show", "--format", "json"]));
    insta::assert_snapshot!("cache_gc", document(&["cache", "gc", "--format", "json"]));
    insta::assert_snapshot!("init", document(&["init", "--format", "json"]));
    insta::assert_snapshot!("error", err(&nixoci(dir.path(), &["build", "container", "--format", "json"])));
    insta::assert_snapshot!("lines", document(&["config", "check", "--format", "jsonl"]));
}

#[test]
fn schemas_are_listed_and_a_misspelt_one_is_told() {
    let dir = tempfile::tempdir().unwrap();
    crate::shows(dir.path(), "schema_list", &out(&nixoci(dir.path(), &["schema"])));
    let output = nixoci(dir.path(), &["schema", "docter"]);
    assert_eq!(output.status.code(), Some(2));
    crate::shows(dir.path(), "schema_misspelt", &err(&output));
}

#[test]
fn the_schema_of_the_project_s_file_takes_what_init_writes() {
    let dir = tempfile::tempdir().unwrap();
    let schema: Value = serde_json::from_str(&out(&nixoci(dir.path(), &["config", "schema"]))).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let valid = serde_json::json!({
        "required-version": ">=0.1",
        "image": { "installable": ".#container", "platforms": ["linux/amd64"] },
        "profile": { "ci": { "backend": ["local"], "load": "docker", "output": ["archive:x.tar"] } },
        "backend": { "local": { "extra-platforms": true } },
    });
    assert!(validator.is_valid(&valid), "{:?}", validator.iter_errors(&valid).collect::<Vec<_>>());
    assert!(!validator.is_valid(&serde_json::json!({ "image": { "platform": [] } })), "a misspelt key");
}

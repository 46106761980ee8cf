use crate::{err, nixoci, out, project};

const TOML: &str = r#"[image]
installable = ".#container"
tags = ["app:1"]

[profile.default]
load = true

[profile.ci]
load = false
output = ["archive:app.tar"]
"#;

#[test]
fn show_says_where_every_value_comes_from() {
    let dir = project(TOML);
    let output = nixoci(dir.path(), &["config", "show", "--origin", "--profile", "ci"]);
    assert!(output.status.success(), "{}", err(&output));
    let place = dir.path().canonicalize().unwrap().display().to_string();
    insta::assert_snapshot!(out(&output).replace(&place, "[dir]"));
}

#[test]
fn a_project_file_is_found_from_below_and_not_beyond_the_repository() {
    let dir = project(TOML);
    let below = dir.path().join("a/b");
    std::fs::create_dir_all(&below).unwrap();
    assert!(out(&nixoci(&below, &["config", "show"])).contains("app:1"));
    let other = below.join("other");
    std::fs::create_dir_all(other.join(".git")).unwrap();
    assert!(!out(&nixoci(&other, &["config", "show"])).contains("app:1"));
    assert!(!out(&nixoci(&below, &["config", "show", "--no-config"])).contains("app:1"));
}

#[test]
fn every_configuration_error_has_its_place() {
    for (toml, code, marked) in [
        ("[image\n", "config::syntax", "[image"),
        ("[image]\nplatform = []\n", "config::unknown_key", "platform = []"),
        ("[image]\nplatforms = [\"linux/nope\"]\n", "config::value", "linux/nope"),
        ("[profile.ci]\nload = 3\n", "config::value", "load = 3"),
        ("[profile.default]\ninherits = \"nope\"\n", "config::no_profile", "nope"),
        ("[profile.default]\ninherits = \"default\"\n", "config::cycle", "inherits"),
        ("[profile.default]\nbackend = [\"locl\"]\n", "backend::unknown", "locl"),
        ("[backend.nope]\n", "backend::unknown", "nope"),
        ("[backend.local]\nextra_platforms = true\n", "config::unknown_key", "extra_platforms"),
        ("[backend.local]\nextra-platforms = \"yes\"\n", "config::value", "extra-platforms = \"yes\""),
        ("required-version = \">=99\"\n", "config::version", ">=99"),
        ("[image]\ninstallable = \".#x\"\nfile = \"y.nix\"\n", "config::value", "y.nix"),
        ("[profile.a]\ninherits = \"b\"\n[profile.b]\ninherits = \"a\"\n", "config::cycle", "b"),
        ("[profile.a]\noutput = [\"image\"]\n", "config::value", "nixoci.toml:2 [profile.a]"),
        ("[images.web]\ntags = [\"Web\"]\ninstallable = \".#x\"\n", "config::value", "nixoci.toml:2"),
        ("[images.web]\nplatforms = [\"linux/amd64\"]\n", "config::value", "installable = \".#web\""),
    ] {
        let dir = project(toml);
        let output = nixoci(dir.path(), &["config", "check"]);
        assert_eq!(output.status.code(), Some(10), "{toml}: {}", err(&output));
        assert!(err(&output).contains(&format!("nixoci explain nixoci::{code}")), "{toml}: {}", err(&output));
        assert!(err(&output).contains(marked), "{toml}: {}", err(&output));
    }
    let dir = project(TOML);
    assert_eq!(nixoci(dir.path(), &["build", "--profile", "cii"]).status.code(), Some(10));
    assert_eq!(nixoci(dir.path(), &["--config-file", "no.toml", "config", "check"]).status.code(), Some(10));
}

#[test]
fn the_schema_describes_the_backends_too() {
    let dir = tempfile::tempdir().unwrap();
    let schema: serde_json::Value =
        serde_json::from_str(&out(&nixoci(dir.path(), &["config", "schema"]))).unwrap();
    assert!(
        schema.pointer("/properties/backend/properties/local/properties/extra-platforms").is_some(),
        "{schema:#}"
    );
    assert!(schema.pointer("/properties/image").is_some());
}

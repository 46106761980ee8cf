use super::*;

fn host(system: &str) -> Host {
    Host { system: system.parse().unwrap(), home: None, uid: 1000, env: BTreeMap::new(), cpus: 1 }
}

fn request(text: &str, prefer: &[&str]) -> BuildRequest {
    BuildRequest {
        installable: Installable::parse(text).unwrap(),
        system: "aarch64-linux".parse().unwrap(),
        prefer: prefer.iter().map(ToString::to_string).collect(),
        flags: NixFlags::default(),
    }
}

fn places(text: &str, host_system: &str, prefer: &[&str]) -> Vec<String> {
    let found = candidates(&request(text, prefer), &host(host_system)).unwrap();
    found.into_iter().map(|candidate| candidate.target.attribute().unwrap().to_owned()).collect()
}

#[test]
fn a_name_is_looked_up_for_the_wanted_system_then_for_the_host() {
    assert_eq!(
        places("github:o/r#container", "aarch64-darwin", &[]),
        [
            "packages.aarch64-linux.container",
            "legacyPackages.aarch64-linux.container",
            "packages.aarch64-darwin.container",
            "container"
        ]
    );
    assert_eq!(
        places("github:o/r", "aarch64-linux", &[]),
        [
            "packages.aarch64-linux.default",
            "legacyPackages.aarch64-linux.default",
            "defaultPackage.aarch64-linux",
            "default"
        ]
    );
}

#[test]
fn a_full_attribute_is_taken_as_it_is_and_preferences_come_first() {
    assert_eq!(
        places("github:o/r#packages.x86_64-linux.c", "aarch64-darwin", &[]),
        ["packages.x86_64-linux.c"]
    );
    assert_eq!(
        places("github:o/r#.images.web", "aarch64-darwin", &["stream.conf"]),
        ["images.web.stream.conf", "images.web"]
    );
}

#[test]
fn a_file_that_does_not_exist_names_its_neighbours() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("image.nix"), "{}").unwrap();
    let error = existing(dir.path().to_owned()).unwrap_err();
    assert!(
        error.is(&codes::NO_FILE) && error.to_string().ends_with("default.nix` does not exist"),
        "{error}"
    );
    assert_eq!(error.report().remedies[0].command.as_deref(), Some("nixoci build -f image.nix"));
    assert_eq!(existing(dir.path().join("image.nix")).unwrap(), dir.path().join("image.nix"));
}

fn outputs(text: &str) -> Outputs {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_misspelt_name_gets_a_suggestion() {
    let known = outputs(r#"{"aarch64-linux":["container","default"],"x86_64-linux":["container"]}"#);
    let error = explain(".", "aarch64-linux", "contaner", &known);
    assert!(error.is(&codes::NO_ATTRIBUTE));
    assert_eq!(error.report().remedies[0].command.as_deref(), Some("nixoci build .#container"));
    assert_eq!(error.report().causes, ["for aarch64-linux it has: container, default"]);
}

#[test]
fn a_name_that_needs_quotation_marks_is_offered_with_them() {
    let known = outputs(r#"{"aarch64-linux":["my.image"]}"#);
    // Without the marks it is another attribute, and with one letter wrong it is none.
    for typed in ["my.image", "\"my.imag\""] {
        let error = explain("./a b", "aarch64-linux", typed, &known);
        let command = error.report().remedies[0].command.as_deref();
        assert_eq!(command, Some(r#"nixoci build './a b#"my.image"'"#), "{typed}");
    }
    let only = outputs(r#"{"aarch64-linux":["$(x).y"]}"#);
    let error = explain(".", "aarch64-linux", "default", &only);
    assert_eq!(error.report().remedies[0].command.as_deref(), Some(r#"nixoci build '.#"$(x).y"'"#));
    // Of another system, and to be added.
    let error = explain(".", "x86_64-linux", "\"my.image\"", &known);
    assert!(error.is(&codes::NO_SYSTEM), "{error:?}");
    let line = error.report().remedies[1].command.clone().unwrap();
    assert!(line.starts_with(r#"packages.x86_64-linux."my.image" = "#), "{line}");
    assert!(line.ends_with(r#"{ name = "my.image"; };"#), "{line}");
}

#[test]
fn a_flake_without_the_system_says_which_it_has_and_which_line_to_add() {
    let known = outputs(r#"{"aarch64-darwin":["container"],"x86_64-darwin":["container"]}"#);
    let error = explain(".", "aarch64-linux", "container", &known);
    assert!(error.is(&codes::NO_SYSTEM));
    assert_eq!(error.to_string(), "the flake `.` has no `container` for aarch64-linux");
    assert_eq!(error.report().causes, ["it is written for aarch64-darwin, x86_64-darwin"]);
    let line = error.report().remedies[1].command.clone().unwrap();
    assert!(line.starts_with("packages.aarch64-linux.container = "), "{line}");
    // The name exists for another system, and the wanted system has other names.
    let known = outputs(r#"{"aarch64-darwin":["container"],"aarch64-linux":["shell"]}"#);
    assert!(explain(".", "aarch64-linux", "container", &known).is(&codes::NO_SYSTEM));
}

#[test]
fn a_flake_without_packages_is_told_what_was_looked_for() {
    let error = explain(".", "aarch64-linux", "container", &Outputs::new());
    assert!(error.is(&codes::NO_ATTRIBUTE));
    assert_eq!(
        error.report().causes,
        ["neither packages.aarch64-linux nor legacyPackages.aarch64-linux has it"]
    );
}

#[test]
fn only_the_attribute_itself_counts_as_missing() {
    let target = |attribute: &str| Target::Flake { reference: "x".into(), attribute: attribute.into() };
    let mut record = Record::default();
    record.error("error: flake 'path:/tmp/g' does not provide attribute 'packages.x.image'".into());
    assert!(is_missing(&record, &target("packages.x.image")));
    assert!(!is_missing(&record, &target("packages.x.other")));
    let file = Target::File {
        file: "/x".into(),
        attribute: Some("img.conf".into()),
        args: BTreeMap::new(),
        system: "x86_64-linux".parse().unwrap(),
    };
    assert!(!is_missing(&record, &file));
    record.error("error: attribute 'conf' in selection path 'img.conf' not found".into());
    assert!(is_missing(&record, &file));
}

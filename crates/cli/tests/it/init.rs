//! `nixoci init`, where Nix is not needed.

use crate::{err, nixoci, out, shows};

fn read(dir: &std::path::Path, name: &str) -> String {
    std::fs::read_to_string(dir.join(name)).unwrap_or_default()
}

#[test]
fn an_empty_directory_gets_both_files_and_a_second_run_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("My App");
    std::fs::create_dir(&place).unwrap();
    let first = nixoci(&place, &["init"]);
    assert!(first.status.success(), "{}", err(&first));
    assert_eq!(out(&first), "wrote flake.nix\nwrote nixoci.toml\nnext: nixoci build --load\n");
    let (flake, config) = (read(&place, "flake.nix"), read(&place, "nixoci.toml"));
    assert!(flake.contains("name = \"my-app\""), "{flake}");
    insta::assert_snapshot!("nixoci.toml", config);
    assert!(nixoci(&place, &["config", "check"]).status.success());
    let second = nixoci(&place, &["init", "--format", "json"]);
    assert!(second.status.success(), "{}", err(&second));
    let document: serde_json::Value = serde_json::from_str(&out(&second)).unwrap();
    assert_eq!(document["written"], serde_json::json!([]));
    assert_eq!(document["kept"], serde_json::json!(["flake.nix", "nixoci.toml"]));
    assert_eq!((read(&place, "flake.nix"), read(&place, "nixoci.toml")), (flake, config));
}

#[test]
fn git_is_told_of_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let git = |args: &[&str]| {
        let output = std::process::Command::new("git")
            .args(args)
            .current_dir(dir.path())
            .env("HOME", dir.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    git(&["init", "-q"]);
    let output = nixoci(dir.path(), &["init"]);
    shows(dir.path(), "init_in_a_repository", &out(&output));
    assert_eq!(git(&["ls-files"]), "flake.nix\nnixoci.toml\n");
    assert_eq!(git(&["diff", "--cached", "--name-only"]), "", "nothing is staged");
}

#[test]
fn what_git_ignores_is_said() {
    let dir = crate::project("");
    std::fs::remove_file(dir.path().join("nixoci.toml")).unwrap();
    let output = nixoci(dir.path(), &["init"]);
    assert!(output.status.success(), "files that Git does not take are there all the same");
    shows(dir.path(), "init_where_git_takes_nothing", &err(&output));
}

#[test]
fn what_is_named_is_taken_as_it_is() {
    for (args, written) in [
        (&["init", ".#web"][..], "installable = \".#web\"\n"),
        (&["init", "github:o/r#web"], "installable = \"github:o/r#web\"\n"),
        (&["init", "-f", "image.nix", "web"], "file = \"image.nix\"\nattr = \"web\"\n"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("flake.nix"), "{ }").unwrap();
        let output = nixoci(dir.path(), args);
        assert!(output.status.success(), "{args:?}: {}", err(&output));
        let config = read(dir.path(), "nixoci.toml");
        assert!(config.contains(written), "{args:?}: {config}");
        assert_eq!(read(dir.path(), "flake.nix"), "{ }");
    }
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(nixoci(dir.path(), &["init", ".#a^b"]).status.code(), Some(2));
    assert_eq!(read(dir.path(), "nixoci.toml"), "", "nothing is written when something is wrong");
}

#[test]
fn without_nix_the_usual_name_is_taken_with_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("default.nix"), "{ }").unwrap();
    let output = nixoci(dir.path(), &["init"]);
    assert!(output.status.success(), "{}", err(&output));
    shows(dir.path(), "init_without_nix", &err(&output));
    assert!(read(dir.path(), "nixoci.toml").contains("file = \"default.nix\"\n"));
}

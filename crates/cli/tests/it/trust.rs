//! A project's file does nothing beyond the image until it is trusted.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::{err, fails, nixoci, out, project};

const NOT_TRUSTED: &str = "nixoci::project::not_trusted";

/// A project that names everything there is to ask for.
const WANTS: &str = "[image]\ninstallable = \"github:evil/x#image\"\n[profile.default]\nload = \"kind\"\n\
    [backend.remote]\nbuilders = [{ host = \"bee\", systems = [\"x86_64-linux\"] }]\n[backend.multipass]\nmemory = \"64G\"\n";

fn schema(dir: &Path) -> Value {
    serde_json::from_str(&out(&nixoci(dir, &["config", "schema"]))).unwrap()
}

/// The keys without a class, where nothing in them has one either.
fn without_class(root: &Value, schema: &Value, path: &str, found: &mut Vec<String>) {
    if let Some(class) = schema["x-trust"].as_str() {
        assert!(["safe", "inside", "path", "asks", "forbidden"].contains(&class), "{path}: {class}");
        return;
    }
    let target = match schema["$ref"].as_str() {
        Some(reference) => root.pointer(&reference[1..]).unwrap(),
        None => schema["anyOf"].as_array().map_or(schema, |choices| &choices[0]),
    };
    if target != schema {
        return without_class(root, target, path, found);
    }
    let properties = schema["properties"].as_object().into_iter().flatten();
    let children: Vec<(String, &Value)> = properties
        .map(|(name, child)| (format!("{path}.{name}"), child))
        .chain(
            schema
                .get("additionalProperties")
                .filter(|more| more.is_object())
                .map(|more| (format!("{path}.*"), more)),
        )
        .collect();
    // A backend without settings has nothing to classify.
    if children.is_empty() && schema["type"] != "object" {
        found.push(path.to_owned());
    }
    for (path, child) in children {
        without_class(root, child, &path, found);
    }
}

#[test]
fn every_key_has_a_class() {
    let dir = tempfile::tempdir().unwrap();
    let mut schema = schema(dir.path());
    let mut found = Vec::new();
    without_class(&schema, &schema, "", &mut found);
    assert!(found.is_empty(), "declare #[schemars(extend(\"x-trust\" = ...))] for {found:?}");
    // The test would notice.
    schema["properties"]["backend"]["properties"]["remote"]["properties"]["new"] =
        serde_json::json!({ "type": "string" });
    without_class(&schema, &schema, "", &mut found);
    assert_eq!(found, [".backend.remote.new"]);
}

#[test]
fn an_untrusted_project_ends_what_would_do_as_it_says() {
    let dir = project(WANTS);
    for command in [
        &["build"][..],
        &["run"],
        &["shell"],
        &["provision", "--backend", "multipass", "-y"],
        &["load", "x.tar"],
    ] {
        let output = nixoci(dir.path(), command);
        fails(&output, 11, NOT_TRUSTED);
        let said = err(&output);
        for wish in [
            "image.installable = \"github:evil/x#image\"",
            "profile.default.load = \"kind\"",
            "backend.remote.builders = [{ host = \"bee\", systems = [\"x86_64-linux\"] }]",
            "backend.multipass.memory = \"64G\"",
        ] {
            assert!(said.contains(wish), "{command:?}: {said}");
        }
    }
    // An image from elsewhere is not looked at either.
    fails(&nixoci(dir.path(), &["plan"]), 11, NOT_TRUSTED);
    fails(&nixoci(dir.path(), &["build", "--dry-run"]), 11, NOT_TRUSTED);
    assert_eq!(nixoci(dir.path(), &["backends"]).status.code(), Some(0));
    assert_ne!(nixoci(dir.path(), &["doctor"]).status.code(), Some(11));
    assert!(nixoci(dir.path(), &["config", "show"]).status.success());
    assert!(nixoci(dir.path(), &["config", "check"]).status.success());
}

#[test]
fn a_command_that_looks_leaves_an_untrusted_table_out() {
    let dir = project("[backend.remote]\nbuilders = [{ host = \"bee\" }]\n");
    for command in [&["backends"][..], &["doctor"]] {
        let said = err(&nixoci(dir.path(), command));
        assert!(said.contains("are left out: backend.remote.builders = [{ host = \"bee\" }]"), "{said}");
        let rest = said.replace("builders = [{ host = \"bee\" }]", "");
        assert!(!rest.contains("bee"), "{said}");
    }
}

#[test]
fn trust_is_for_a_path_and_a_content() {
    let dir = project(WANTS);
    let is_trusted = |dir: &Path| err(&nixoci(dir, &["build"])).contains(NOT_TRUSTED);
    let trust = nixoci(dir.path(), &["config", "trust"]);
    assert!(trust.status.success(), "{}", err(&trust));
    assert!(
        out(&trust)
            .contains("is trusted until it changes, with\n  image.installable = \"github:evil/x#image\"\n")
    );
    assert!(!is_trusted(dir.path()));
    // By whatever name.
    let other = tempfile::tempdir().unwrap();
    symlink(dir.path(), other.path().join("link")).unwrap();
    let by_link = Command::new(env!("CARGO_BIN_EXE_nixoci"))
        .args(["build", "--config-file", "link/nixoci.toml"])
        .current_dir(other.path())
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", dir.path())
        .output()
        .unwrap();
    assert!(!err(&by_link).contains(NOT_TRUSTED), "{}", err(&by_link));
    // A copy elsewhere, and any other content, is not trusted.
    std::fs::copy(dir.path().join("nixoci.toml"), dir.path().join("copy.toml")).unwrap();
    fails(&nixoci(dir.path(), &["build", "--config-file", "copy.toml"]), 11, NOT_TRUSTED);
    std::fs::write(dir.path().join("nixoci.toml"), format!("{WANTS}# more\n")).unwrap();
    assert!(is_trusted(dir.path()));
    std::fs::write(dir.path().join("nixoci.toml"), WANTS).unwrap();
    assert!(!is_trusted(dir.path()));
    assert!(out(&nixoci(dir.path(), &["config", "untrust"])).contains("is no longer trusted"));
    assert!(is_trusted(dir.path()));
}

#[test]
fn a_project_says_what_of_the_user_s_settings_it_replaces() {
    let dir = project("[backend.local]\nextra-platforms = true\n");
    let user = dir.path().join(".config/nixoci");
    std::fs::create_dir_all(&user).unwrap();
    let said = |own: &str| {
        std::fs::write(user.join("config.toml"), own).unwrap();
        err(&nixoci(dir.path(), &["backends"]))
    };
    let told = said("[backend.local]\nextra-platforms = false\n");
    assert!(told.contains("sets backend.local.extra-platforms in place of your own configuration"), "{told}");
    assert!(!said("[backend.multipass]\nmemory = \"4G\"\n").contains("in place of"));
}

#[test]
fn trust_for_one_command_is_not_remembered() {
    let dir = project(WANTS);
    let with = |value: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_nixoci"))
            .arg("build")
            .current_dir(dir.path())
            .env_clear()
            .envs([("PATH", "/usr/bin:/bin"), ("NIXOCI_TRUST_PROJECT", value)])
            .env("HOME", dir.path())
            .output()
            .unwrap();
        err(&output).contains(NOT_TRUSTED)
    };
    assert!(!err(&nixoci(dir.path(), &["build", "--trust-project"])).contains(NOT_TRUSTED));
    assert!(!with("true") && !with("1"));
    assert!(with("false") && with("0") && with(""));
    fails(&nixoci(dir.path(), &["build"]), 11, NOT_TRUSTED);
}

#[test]
fn what_describes_the_image_asks_nothing() {
    let dir = project(
        "required-version = \">=0.1\"\n[image]\ninstallable = \".#container\"\nplatforms = [\"linux/amd64\"]\n\
         tags = [\"registry.example/app:dev\"]\n[images.debug]\nfile = \"default.nix\"\nattr = \"image\"\nargstr = { channel = \"24.05\" }\n\
         [profile.default]\nload = true\n[profile.ci]\nbackend = [\"local\"]\nload = false\noutput = [\"archive:app.tar\"]\n\
         [backend.local]\nextra-platforms = true\n[backend.multipass]\nsources = \"stream\"\non-oom = \"fail\"\n",
    );
    assert!(
        !err(&nixoci(dir.path(), &["build"])).contains("trust"),
        "{}",
        err(&nixoci(dir.path(), &["build"]))
    );
    let trust = nixoci(dir.path(), &["config", "trust"]);
    assert!(out(&trust).ends_with("wants nothing that it has to be trusted for\n"), "{}", err(&trust));
}

/// On a terminal: one question, with every value whole, whatever is in it.
fn on_a_terminal(dir: &Path, answer: &str) -> (Output, String) {
    let command = format!("{} build", env!("CARGO_BIN_EXE_nixoci"));
    let mut child = Command::new("/usr/bin/script")
        .args(["-qefc", &command, "/dev/null"])
        .current_dir(dir)
        .env_clear()
        .envs([("PATH", "/usr/bin:/bin"), ("TERM", "xterm")])
        .env("HOME", dir)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), answer.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let screen = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, screen)
}

#[test]
fn the_question_cannot_be_forged() {
    let hostile = "[backend.multipass]\ninstaller = \"https://evil.example/x\\u001b[2K\\u001b[1G  harmless\\r\\n  more\\u202E\"\n\
        [backend.remote]\nbuilders = [{ host = \"alice@evil.example:2222\", key = \"login\" }]\n";
    let dir = project(hostile);
    let (output, screen) = on_a_terminal(dir.path(), "n\n");
    assert_eq!(output.status.code(), Some(11), "{screen}");
    assert!(screen.contains("Trust this file, until it changes? [y/N]"), "{screen}");
    assert!(
        screen
            .contains("backend.remote.builders = [{ host = \"alice@evil.example:2222\", key = \"login\" }]")
    );
    let wishes: Vec<&str> = screen.lines().filter(|line| line.starts_with("  backend.")).collect();
    assert_eq!(wishes.len(), 2, "{screen:?}");
    assert!(wishes[0].contains("https://evil.example/x") && wishes[0].contains("harmless"), "{screen:?}");
    assert!(
        !screen.contains("\x1b[2K") && !screen.contains("\x1b[1G") && !screen.contains('\u{202e}'),
        "{screen:?}"
    );
    // The name of an unknown key can hold such characters as well.
    let dir = project("\"\\u001b]0;PWNED\\u0007\\u001b[2J\" = 1\n");
    let (_, screen) = on_a_terminal(dir.path(), "");
    assert!(
        screen.contains("unknown key") && !screen.contains("\x1b]0") && !screen.contains("\x1b[2J"),
        "{screen:?}"
    );
}

#[test]
fn a_yes_is_remembered() {
    let dir = project("[backend.multipass]\nmemory = \"4G\"\n");
    let (_, screen) = on_a_terminal(dir.path(), "y\n");
    assert!(screen.contains("Trust this file"), "{screen}");
    assert!(!err(&nixoci(dir.path(), &["build"])).contains(NOT_TRUSTED));
    let (_, screen) = on_a_terminal(dir.path(), "");
    assert!(!screen.contains("Trust this file"), "{screen}");
}

#[test]
fn the_file_of_another_user_is_not_read() {
    let dir = project("[profile.default]\ntags = [\"from-mallory:1\"]\n");
    let file = dir.path().join("nixoci.toml");
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&file, Some(12_345), None).unwrap();
        fails(&nixoci(dir.path(), &["config", "show"]), 11, "nixoci::config::owner");
        let named = nixoci(dir.path(), &["config", "show", "--config-file", "nixoci.toml"]);
        assert!(out(&named).contains("from-mallory"), "{}", err(&named));
        assert!(nixoci(dir.path(), &["config", "show", "--no-config"]).status.success());
        // With sudo, the owner is the one who typed it.
        let sudo = Command::new(env!("CARGO_BIN_EXE_nixoci"))
            .args(["config", "show"])
            .current_dir(dir.path())
            .env_clear()
            .envs([("PATH", "/usr/bin:/bin"), ("SUDO_UID", "12345")])
            .env("HOME", dir.path())
            .output()
            .unwrap();
        assert!(out(&sudo).contains("from-mallory"), "{}", err(&sudo));
    }
}

#[test]
fn an_output_of_a_file_stays_below_it() {
    let dir = project("[image]\ninstallable = \".#x\"\n[profile.default]\noutput = [\"archive:../x.tar\"]\n");
    fails(&nixoci(dir.path(), &["build"]), 10, "nixoci::destination::outside");
    fails(&nixoci(dir.path(), &["build", "--trust-project"]), 10, "nixoci::destination::outside");
    fails(&nixoci(dir.path(), &["config", "check"]), 10, "nixoci::destination::outside");
    std::fs::write(dir.path().join("notes.tar"), "no image").unwrap();
    std::fs::write(
        dir.path().join("nixoci.toml"),
        "[image]\ninstallable = \".#x\"\n[profile.default]\noutput = [\"notes.tar\"]\n",
    )
    .unwrap();
    fails(&nixoci(dir.path(), &["build"]), 10, "nixoci::destination::in_the_way");
    assert_eq!(std::fs::read_to_string(dir.path().join("notes.tar")).unwrap(), "no image");
}

#[test]
fn an_attribute_is_never_a_flag() {
    for attribute in ["--impure", "--allow-unsafe-native-code-during-evaluation", "-x"] {
        let dir = project(&format!("[image]\nfile = \"default.nix\"\nattr = {attribute:?}\n"));
        std::fs::write(dir.path().join("default.nix"), "{ }").unwrap();
        for command in [&["build"][..], &["plan"]] {
            fails(&nixoci(dir.path(), command), 2, "nixoci::installable");
        }
    }
}

use crate::{err, nixoci, out, project};

#[test]
fn version_and_help() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(out(&nixoci(dir.path(), &["--version"])), concat!("nixoci ", env!("CARGO_PKG_VERSION"), "\n"));
    insta::assert_snapshot!(out(&nixoci(dir.path(), &["help"])));
    insta::assert_snapshot!("build", out(&nixoci(dir.path(), &["build", "--help"])));
}

#[test]
fn usage_errors_exit_with_2() {
    let dir = tempfile::tempdir().unwrap();
    for args in [
        &["frobnicate"][..],
        &["build", "--no-such-flag"],
        &["build", "--platform", "linux/pdp11"],
        &["build", "container"],
        &["build", ""],
        &["build", "--load=wishful"],
        &["build", "--arg", "x", "1"],
        &["build", "--timeout", "soon"],
        &["build", "--compression", "lzma", "-o", "x.tar"],
        &["build", "--created", "yesterday"],
        &["merge", "x.tar"],
        &["-C", "/no/such/dir", "backends"],
        &["inspect", "docker://x"],
        &["shell", "ls"],
        &["shell", "--platform", "windows/amd64"],
    ] {
        let output = nixoci(dir.path(), args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", err(&output));
        assert!(out(&output).is_empty(), "{args:?}");
    }
}

#[test]
fn a_bare_word_is_probably_an_attribute() {
    let dir = tempfile::tempdir().unwrap();
    assert!(err(&nixoci(dir.path(), &["build", "container"])).contains("nixoci build .#container"));
}

#[test]
fn habits_of_docker_build_get_an_answer() {
    let dir = tempfile::tempdir().unwrap();
    for (flag, word) in [
        ("--no-cache", "--refresh"),
        ("--build-arg=x=1", "--argstr"),
        ("--target", ".#debug-image"),
        ("--secret", "no secrets"),
        ("--pull", "pullImage"),
        ("--cache-from", "extra-substituters"),
        ("--cache-to=type=inline", "extra-substituters"),
        ("--network=host", "no network"),
        ("--label", "config.Labels"),
        ("--builder", "--backend"),
        ("--provenance=false", "--format json"),
    ] {
        for command in ["build", "plan"] {
            let output = nixoci(dir.path(), &[command, ".", flag]);
            assert_eq!(output.status.code(), Some(2));
            assert!(err(&output).contains("is not needed here"), "{}", err(&output));
            assert!(err(&output).contains(word), "{}", err(&output));
            assert_eq!(err(&output).lines().count(), 1, "one sentence: {}", err(&output));
        }
    }
    for args in [
        &["build", "-f", "Dockerfile", "."][..],
        &["build", ".", "-f", "docker/Dockerfile.dev"],
        &["run", "./Dockerfile"],
        &["build", ".", "Dockerfile"],
    ] {
        let output = nixoci(dir.path(), args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(err(&output).contains("is for `docker build`"), "{args:?}: {}", err(&output));
    }
}

#[test]
fn slips_on_the_command_line_get_a_hint() {
    let dir = project("[images.debug]\ninstallable = \".#x\"\n");
    for (args, hint) in [
        (&["run", ".#x", "echo"][..], "-- echo"),
        (&["run", "--gpus", "all"], "docker run FLAGS"),
        (&["build", "--load", "docker"], "--load=docker"),
        (&["build", ".", "--load", "docker"], "--load=docker"),
        (&["build", "debgu"], "nixoci build debug"),
        (&["build", "-j", "many"], "a number, or auto"),
    ] {
        let output = nixoci(dir.path(), args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", err(&output));
        assert!(err(&output).contains(hint), "{args:?}: {}", err(&output));
    }
}

#[test]
fn a_file_in_place_of_a_flake_gets_the_command_for_files() {
    let dir = project("");
    std::fs::write(dir.path().join("image.nix"), "{ }").unwrap();
    for (typed, hint) in
        [("nixoci.toml", "nixoci load nixoci.toml"), ("./image.nix", "nixoci build -f ./image.nix")]
    {
        let output = nixoci(dir.path(), &["build", typed]);
        assert_eq!(output.status.code(), Some(41), "{typed}: {}", err(&output));
        assert!(err(&output).contains(hint), "{typed}: {}", err(&output));
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error_and_a_full_disk_is_one() {
    let dir = tempfile::tempdir().unwrap();
    for args in [&["completions", "bash"][..], &["explain"], &["config", "schema"], &["build", "--help"]] {
        let start = |stdout: std::process::Stdio| {
            std::process::Command::new(env!("CARGO_BIN_EXE_nixoci"))
                .args(args)
                .current_dir(dir.path())
                .env("HOME", dir.path())
                .stdout(stdout)
                .output()
                .unwrap()
        };
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = start(writer.into());
        assert_eq!((output.status.code(), err(&output).as_str()), (Some(0), ""), "{args:?}");
        if args == ["build", "--help"] {
            continue;
        }
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = start(full.into());
        assert_eq!(output.status.code(), Some(60), "{args:?}");
        assert!(err(&output).contains("nixoci::no_output"), "{args:?}: {}", err(&output));
    }
}

#[test]
fn a_link_to_an_image_that_is_gone_is_said_as_such() {
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/no/such/image.tar", dir.path().join("result")).unwrap();
    for command in ["inspect", "validate", "load"] {
        let output = nixoci(dir.path(), &[command, "./result"]);
        assert_eq!(output.status.code(), Some(42), "{command}: {}", err(&output));
        assert!(err(&output).contains("is a link to an image that is gone"), "{}", err(&output));
    }
}

#[test]
fn a_pipe_that_nobody_writes_to_is_waited_for_until_a_signal_comes() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for command in ["inspect", "load"] {
        let output = std::process::Command::new("timeout")
            .args(["--signal=TERM", "--kill-after=10", "0.3", env!("CARGO_BIN_EXE_nixoci"), command, "pipe"])
            .current_dir(dir.path())
            .env("HOME", dir.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(124), "it ended before it was killed: {}", err(&output));
    }
}

#[test]
fn without_nix_the_error_says_how_to_get_it() {
    let dir = tempfile::tempdir().unwrap();
    let output = nixoci(dir.path(), &["build", ".#x"]);
    assert_eq!(output.status.code(), Some(20), "{}", err(&output));
    assert!(err(&output).contains("Nix is not installed"), "{}", err(&output));
}

#[test]
fn errors_are_json_when_json_was_asked_for() {
    let dir = project("[image]\nplatform = []\n");
    let output = nixoci(dir.path(), &["build", "--format", "json"]);
    assert_eq!(output.status.code(), Some(10));
    let error: serde_json::Value = serde_json::from_str(&err(&output)).unwrap();
    assert_eq!(error["exitCode"], 10);
    assert_eq!(error["error"]["code"], "nixoci::config::unknown_key");
    assert_eq!(error["error"]["excerpt"]["line"], 2);
    let lines = nixoci(dir.path(), &["build", "--format", "jsonl"]);
    let kinds: Vec<String> = out(&lines)
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["type"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(kinds, ["hello", "error"]);
    for args in [&["bild", "--format", "json"][..], &["build", "--nosuch", "--format=json"]] {
        let error: serde_json::Value = serde_json::from_str(&err(&nixoci(dir.path(), args))).unwrap();
        assert_eq!((&error["exitCode"], &error["error"]["code"]), (&2.into(), &"nixoci::usage".into()));
    }
}

#[test]
fn every_shell_gets_completions() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = nixoci(dir.path(), &["completions", shell]);
        assert!(output.status.success() && out(&output).contains("nixoci"), "{shell}");
        assert!(!out(&output).contains("__watchdog') "), "hidden commands stay hidden");
    }
}

#[test]
fn files_about_a_build_are_asked_for_before_anything_else() {
    let dir = tempfile::tempdir().unwrap();
    for flag in ["--metadata-file", "--iidfile", "--digestfile"] {
        let output = nixoci(dir.path(), &["build", ".#x", flag, "no/such/dir/file"]);
        assert_eq!(output.status.code(), Some(60), "{flag}: {}", err(&output));
        assert!(err(&output).contains("mkdir -p"), "{flag}: {}", err(&output));
    }
    let output = nixoci(dir.path(), &["build", ".#x", "--no-link", "--digestfile", "d"]);
    assert_eq!(output.status.code(), Some(2), "{}", err(&output));
}

#[test]
fn packages_get_manual_pages() {
    let dir = tempfile::tempdir().unwrap();
    let output = nixoci(dir.path(), &["man", "--out", "share/man/man1"]);
    assert!(output.status.success(), "{}", err(&output));
    let page = |name: &str| std::fs::read_to_string(dir.path().join("share/man/man1").join(name)).unwrap();
    assert!(page("nixoci.1").contains("nixoci\\-build"), "{}", page("nixoci.1"));
    assert!(page("nixoci-build.1").contains("\\-\\-platform"));
    assert!(page("nixoci-cache-gc.1").contains("\\-\\-max\\-size"));
    assert!(!out(&output).contains("watchdog") && !out(&nixoci(dir.path(), &["help"])).contains(" man "));
}

#[test]
fn explain_knows_codes_and_exit_codes() {
    let dir = tempfile::tempdir().unwrap();
    assert!(out(&nixoci(dir.path(), &["explain", "backend::none"])).contains("exit code 20"));
    assert!(out(&nixoci(dir.path(), &["explain", "42"])).contains("nixoci::image::"));
    assert!(out(&nixoci(dir.path(), &["explain", "exit-codes"])).contains("143"));
    assert!(out(&nixoci(dir.path(), &["explain", "why-not-darwin"])).contains("fakeroot"));
    assert_eq!(nixoci(dir.path(), &["explain", "nonsense"]).status.code(), Some(2));
}

use crate::{err, fails, nixoci, out, project, shows};

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
    let output = nixoci(dir.path(), &["build", "container"]);
    fails(&output, 2, "nixoci::installable");
    shows(dir.path(), "a_bare_word", &err(&output));
}

#[test]
fn habits_of_docker_build_get_an_answer() {
    let dir = tempfile::tempdir().unwrap();
    let mut said = String::new();
    for flag in [
        "--no-cache",
        "--build-arg=x=1",
        "--target",
        "--secret",
        "--pull",
        "--cache-from",
        "--cache-to=type=inline",
        "--network=host",
        "--label",
        "--builder",
        "--provenance=false",
    ] {
        let answers = ["build", "plan"].map(|command| nixoci(dir.path(), &[command, ".", flag]));
        for answer in &answers {
            assert_eq!(answer.status.code(), Some(2));
            assert_eq!(err(answer).lines().count(), 1, "one sentence: {}", err(answer));
        }
        assert_eq!(err(&answers[0]), err(&answers[1]));
        said.push_str(&err(&answers[0]));
    }
    shows(dir.path(), "flags_of_docker_build", &said);
    let mut said = String::new();
    for args in [
        &["build", "-f", "Dockerfile", "."][..],
        &["build", ".", "-f", "docker/Dockerfile.dev"],
        &["run", "./Dockerfile"],
        &["build", ".", "Dockerfile"],
    ] {
        let output = nixoci(dir.path(), args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", err(&output));
        said += &format!("$ nixoci {}\n{}\n", args.join(" "), err(&output));
    }
    shows(dir.path(), "a_dockerfile", &said);
}

#[test]
fn slips_on_the_command_line_get_a_hint() {
    let dir = project("[images.debug]\ninstallable = \".#x\"\n");
    let mut said = String::new();
    for args in [
        &["run", ".#x", "echo"][..],
        &["run", "--gpus", "all"],
        &["build", "--load", "docker"],
        &["build", ".", "--load", "docker"],
        &["build", "debgu"],
        &["build", "-j", "many"],
    ] {
        let output = nixoci(dir.path(), args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", err(&output));
        said += &format!("$ nixoci {}\n{}\n", args.join(" "), err(&output));
    }
    shows(dir.path(), "slips", &said);
}

#[test]
fn a_file_in_place_of_a_flake_gets_the_command_for_files() {
    let dir = project("");
    std::fs::write(dir.path().join("image.nix"), "{ }").unwrap();
    for (typed, name) in [("nixoci.toml", "a_file_for_a_flake"), ("./image.nix", "a_nix_file_for_a_flake")] {
        let output = nixoci(dir.path(), &["build", typed]);
        assert_eq!(output.status.code(), Some(41), "{typed}: {}", err(&output));
        shows(dir.path(), name, &err(&output));
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
        fails(&start(full.into()), 60, "nixoci::no_output");
    }
}

#[test]
fn a_link_to_an_image_that_is_gone_is_said_as_such() {
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/no/such/image.tar", dir.path().join("result")).unwrap();
    for command in ["inspect", "validate", "load"] {
        let output = nixoci(dir.path(), &[command, "./result"]);
        fails(&output, 42, "nixoci::image::not_found");
        shows(dir.path(), "a_link_to_an_image_that_is_gone", &err(&output));
    }
}

#[test]
fn a_pipe_that_nobody_writes_to_is_waited_for_until_a_signal_comes() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for command in ["inspect", "load"] {
        let nixoci = std::process::Command::new(env!("CARGO_BIN_EXE_nixoci"))
            .args([command, "pipe"])
            .current_dir(dir.path())
            .env("HOME", dir.path())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        // It has opened the pipe when this returns, and reads.
        let writer = std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();
        let pid = rustix::process::Pid::from_raw(i32::try_from(nixoci.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let output = nixoci.wait_with_output().unwrap();
        drop(writer);
        assert_eq!(output.status.code(), Some(143), "{}", err(&output));
    }
}

#[test]
fn without_nix_the_error_says_how_to_get_it() {
    let dir = tempfile::tempdir().unwrap();
    let output = nixoci(dir.path(), &["build", ".#x"]);
    fails(&output, 20, "nixoci::backend::none");
    shows(dir.path(), "without_nix", &err(&output));
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
        fails(&output, 60, "nixoci::destination::unusable");
        shows(dir.path(), "a_file_in_no_directory", &err(&output));
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

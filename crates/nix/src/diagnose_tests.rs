use super::*;
use crate::log::Log;
use nixoci_core::event::Silent;
use std::collections::BTreeMap;

fn host() -> Host {
    Host {
        system: "x86_64-linux".parse().unwrap(),
        home: None,
        uid: 1000,
        env: BTreeMap::from([("USER".into(), "ann".into())]),
        cpus: 1,
    }
}

/// The error that a recorded standard error leads to, for a flake that is not on this machine unless `reference` is.
fn outcome(log: &str, reference: &str) -> Error {
    outcome_at(log, reference, &host(), &Place::Own)
}

/// The same, where Nix worked somewhere else.
fn outcome_at(log: &str, reference: &str, host: &Host, place: &Place) -> Error {
    let mut reader = Log::new(&Silent, Record::default());
    log.lines().for_each(|line| reader.hear(line.as_bytes()));
    let record = reader.finish(false);
    let request = BuildRequest {
        installable: Installable::parse(&format!("{reference}#image")).unwrap(),
        system: "x86_64-linux".parse().unwrap(),
        prefer: Vec::new(),
        flags: Default::default(),
    };
    let target =
        Target::Flake { reference: reference.to_owned(), attribute: "packages.x86_64-linux.image".into() };
    diagnose(&record, &Subject::build(host, &request, &target).at(place))
}

macro_rules! recorded {
    ($name:literal) => {
        [
            ("2.26", include_str!(concat!("../tests/fixtures/2.26/", $name, ".log"))),
            ("2.34", include_str!(concat!("../tests/fixtures/2.34/", $name, ".log"))),
        ]
    };
}

/// Both versions' recorded texts give this code and this message.
macro_rules! says {
    ($name:literal, $code:ident, $message:literal) => {
        for (version, log) in recorded!($name) {
            let error = outcome(log, "github:o/r");
            assert!(error.is(&codes::$code), "{version} {}: {error:?}", $name);
            assert_eq!(error.to_string(), $message, "{version}");
        }
    };
}

/// Recorded with Nix 2.34.
#[test]
fn what_is_wrong_on_this_machine_gets_no_advice_about_the_network() {
    let repository = "error:\n       … while fetching the input 'git+file:///tmp/x y/app'\n\n       error: opening Git repository \
        \"/tmp/x y/app\": could not find repository at '/tmp/x y'\n";
    let error = outcome(repository, "/tmp/x y/app");
    assert!(error.is(&codes::NO_REPOSITORY), "{error:?}");
    let commands: Vec<_> =
        error.report().remedies.iter().filter_map(|help| help.command.as_deref()).collect();
    assert_eq!(commands, ["nixoci build 'path:/tmp/x y/app'", "git init -- '/tmp/x y/app'"]);
    for input in ["path:/gone", "git+file:///gone", "file:///gone.tar"] {
        let log =
            format!("error:\n       … while fetching the input '{input}'\n\n       error: it is not there\n");
        let error = outcome(&log, "/p");
        assert!(error.is(&codes::FETCH), "{error:?}");
        assert!(!format!("{:?}", error.report().remedies).contains("proxy"), "{error:?}");
    }
}

#[test]
fn an_expression_that_asks_for_the_current_system_is_impure() {
    let error = outcome("error: attribute 'currentSystem' missing\n       at /p/flake.nix:3:14:\n", "/p");
    assert!(error.is(&codes::IMPURE), "{error:?}");
    assert_eq!(error.report().remedies[0].command.as_deref(), Some("nixoci build --impure"));
}

#[test]
fn builds_that_fail() {
    says!("fail", BUILD_FAILED, "building t failed with exit code 3");
    says!("dep", BUILD_FAILED, "building t failed with exit code 4");
    says!("noout", NO_OUTPUT, "t was built without an error, but left no output");
    says!("fod", HASH_MISMATCH, "t is not what the expression expects");
    says!("ifd", IFD, "evaluation needs t, and building it failed");
    says!("timeout", BUILD_TIMEOUT, "the build ran into Nix's own time limit of 1 seconds");
    for (version, log) in recorded!("fail") {
        assert_eq!(outcome(log, "github:o/r").report().log_tail, ["line1", "oops"], "{version}");
    }
    for (_, log) in recorded!("dep") {
        assert_eq!(outcome(log, "github:o/r").report().log_tail, ["indep"]);
    }
    for (_, log) in recorded!("fod") {
        let hash = "sha256-c8s4WKaHqElMozIwUwFigvPa051Cz2LKTnndoqrH2aw=";
        assert_eq!(outcome(log, "github:o/r").report().remedies[0].command.as_deref(), Some(hash));
    }
}

#[test]
fn machines_that_cannot() {
    says!("foreign", PLATFORM, "this machine (x86_64-linux) does not build for aarch64-linux");
    says!("kvm", SYSTEM_FEATURES, "building t needs system features that this machine does not offer");
    says!("maxjobs0", NO_JOBS, "local builds are switched off, and no remote builder takes the build");
    says!("nogroup", NO_BUILD_USERS, "Nix has no build users: the group nosuchgroup is missing or empty");
    says!("nodaemon", DAEMON_DOWN, "the Nix daemon does not run");
    says!(
        "storeperm",
        STORE_PERMISSION,
        "your user may not write the Nix store, and no daemon does it for you"
    );
    says!("builder", BUILDER, "no build could be sent to nobody@linux-builder");
    for (version, log) in recorded!("builder") {
        let error = outcome(log, "github:o/r");
        let report = error.report();
        assert!(report.causes[0].contains("failed to start SSH connection"), "{version}: {report:?}");
        assert_eq!(report.remedies[0].command.as_deref(), Some("sudo ssh nobody@linux-builder true"));
    }
    for (version, log) in recorded!("foreign") {
        let error = outcome(log, "github:o/r");
        assert_eq!(error.kind().exit_code(), 20, "{version}");
        let commands: Vec<_> = error.report().remedies.iter().filter_map(|r| r.command.as_deref()).collect();
        assert!(commands.contains(&"extra-platforms = aarch64-linux"), "{commands:?}");
    }
}

#[test]
fn of_several_near_names_the_first_is_typed() {
    for (said, near) in [("b?", "b"), ("one of b or c?", "b"), ("one of b, c or d?", "b")] {
        let log = format!(
            r#"@nix {{"action":"msg","level":0,"msg":"error: attribute 'a' in selection path 'a' not found\n       Did you mean {said}","raw_msg":""}}"#
        );
        let error = outcome(&log, "github:o/r");
        assert!(error.is(&codes::NO_ATTRIBUTE), "{error:?}");
        let command = error.report().remedies[0].command.clone().unwrap();
        assert!(command.ends_with(near) && !command.contains('?'), "{command}");
    }
}

#[test]
fn expressions_that_are_wrong() {
    says!("throws", EVALUATION, "evaluation failed: no good");
    says!("typo", EVALUATION, "evaluation failed: attribute 'bar' missing; Did you mean a?");
    says!("syntax", SYNTAX, "syntax error: unexpected ';'");
    says!("notdrv", NOT_A_DERIVATION, "`packages.x86_64-linux.notdrv` cannot be built: it is an integer");
    says!("foo", NOT_A_DERIVATION, "`packages.x86_64-linux.foo` cannot be built: it is a set");
    says!("fnum", NOT_A_DERIVATION, "`github:o/r` does not yield something that can be built");
    says!("farg", MISSING_ARGUMENT, "`github:o/r` is a function that needs the argument `system`");
    says!("missing", NO_ATTRIBUTE, "`github:o/r` has no `packages.x86_64-linux.image`");
    says!("fmiss", NO_ATTRIBUTE, "`github:o/r` has no `imgx`");
    says!("badflag", BAD_FLAG, "this version of Nix does not know --nosuch");
    for (version, log) in recorded!("typo") {
        let excerpt = outcome(log, "github:o/r").report().excerpt.clone().unwrap();
        assert_eq!((excerpt.line, excerpt.column), (6, 40), "{version}");
        assert_eq!(&excerpt.text[39..46], "foo.bar", "{version}");
    }
}

#[test]
fn sources_that_are_not_there() {
    says!("notflake", NOT_A_FLAKE, "`github:o/r` is not a flake");
    says!("isfile", NOT_A_FLAKE, "`github:o/r` is not a flake");
    says!(
        "fifo",
        UNSUPPORTED_FILE,
        "`/root/sock/fifo` is a socket, pipe or device, which cannot be copied to the store"
    );
    says!("owner", NOT_OWNED, "the Git repository /root/own belongs to another user");
    says!("fnofile", MISSING_SOURCE, "the expression names `/root/g/nope.nix`, which does not exist");
    for (version, log) in recorded!("pure") {
        assert!(outcome(log, "github:o/r").is(&codes::IMPURE), "{version}");
    }
}

#[test]
fn inputs_that_cannot_be_fetched() {
    let why = "Could not resolve hostname (6) Could not resolve host";
    for name in ["fetch", "registry", "noregistry"] {
        for version in ["2.26", "2.34"] {
            let path = format!("{}/tests/fixtures/{version}/{name}.log", env!("CARGO_MANIFEST_DIR"));
            let error = outcome(&std::fs::read_to_string(path).unwrap(), "github:o/r");
            assert!(error.is(&codes::FETCH), "{version} {name}: {error:?}");
            assert!(error.to_string().contains(why), "{version} {name}: {error}");
        }
    }
    for (version, log) in recorded!("gitssh") {
        let error = outcome(log, "github:o/r");
        assert!(error.is(&codes::FETCH), "{version}: {error:?}");
        assert!(error.to_string().starts_with("the input git+ssh://git@127.0.0.1:9/x.git cannot be fetched"));
    }
}

#[test]
fn an_interrupted_build_was_stopped_and_did_not_fail() {
    for (version, log) in recorded!("sigint") {
        assert!(outcome(log, "github:o/r").is(&nixoci_core::codes::CANCELLED), "{version}");
    }
}

/// The user's repository on this machine, as it was when the texts were recorded in /root/g.
fn repository(files: &[&str], submodule: bool) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join(".git")).unwrap();
    for file in files {
        std::fs::create_dir_all(dir.path().join(file).parent().unwrap()).unwrap();
        std::fs::write(dir.path().join(file), "{ }").unwrap();
    }
    if submodule {
        let text = "[submodule \"sub\"]\n\tpath = sub\n\turl = /root/sub\n";
        std::fs::write(dir.path().join(".gitmodules"), text).unwrap();
    }
    dir
}

fn in_repository(log: &str, dir: &tempfile::TempDir) -> Error {
    let dir = dir.path().display().to_string();
    outcome(&log.replace("/root/g", &dir), &dir)
}

#[test]
fn an_untracked_file_is_named_with_the_command_that_adds_it() {
    let dir = repository(&["flake.nix", "image.nix"], false);
    for (version, log) in recorded!("untracked").into_iter().chain(recorded!("untracked_flake")) {
        let error = in_repository(log, &dir);
        assert!(error.is(&codes::UNTRACKED), "{version}: {error:?}");
        let command = error.report().remedies[0].command.clone().unwrap();
        let prefix = format!("git -C {} add -- ", dir.path().display());
        assert!(command.starts_with(&prefix) && command.ends_with(".nix"), "{version}: {command}");
    }
}

#[test]
fn a_file_in_a_submodule_and_a_file_that_does_not_exist_are_something_else() {
    let dir = repository(&["flake.nix", "sub/image.nix"], true);
    for (version, log) in recorded!("submodule") {
        let error = in_repository(log, &dir);
        assert!(error.is(&codes::SUBMODULE), "{version}: {error:?}");
        let command = error.report().remedies[0].command.clone().unwrap();
        assert!(command.contains("?submodules=1#image"), "{version}: {command}");
    }
    for (version, log) in recorded!("missingfile") {
        let error = in_repository(log, &dir);
        assert!(error.is(&codes::MISSING_SOURCE), "{version}: {error:?}");
    }
}

#[test]
fn a_directory_with_a_default_nix_is_built_from_that() {
    let dir = repository(&["default.nix"], false);
    for (version, log) in recorded!("notflake").into_iter().chain(recorded!("untracked_flake")) {
        let error = in_repository(log, &dir);
        assert!(error.is(&codes::NOT_A_FLAKE), "{version}: {error:?}");
        let command = error.report().remedies[0].command.clone().unwrap();
        assert_eq!(command, format!("nixoci build -f {}/default.nix", dir.path().display()), "{version}");
    }
}

/// Texts that were not recorded, from nix.md section 4 and Nix's sources.
#[test]
fn other_texts_are_known_too() {
    for (text, code) in [
        (
            "error: cannot connect to socket at '/nix/var/nix/daemon-socket/socket': Permission denied",
            &codes::DAEMON_PERMISSION,
        ),
        (
            "error: cannot connect to socket at '/nix/var/nix/daemon-socket/socket': Connection refused",
            &codes::DAEMON_DOWN,
        ),
        (
            "error: this system does not support the kernel namespaces that are required for sandboxing; use '--no-sandbox' to disable sandboxing",
            &codes::NO_SANDBOX,
        ),
        ("error: writing to file: No space left on device", &codes::DISK_FULL),
        ("error: write of 57344 bytes: No space left on device", &codes::DISK_FULL),
        (
            "error: builder for '/nix/store/0mixbwv945yr64jsc6jla0384mdn9l4z-k.drv' failed due to signal 9 (Killed)",
            &codes::BUILD_KILLED,
        ),
        (
            "error: Cannot build '/nix/store/0mixbwv945yr64jsc6jla0384mdn9l4z-k.drv'.\n Reason: builder failed due to signal 9 (Killed).",
            &codes::BUILD_KILLED,
        ),
        (
            "error: build of '/nix/store/0mixbwv945yr64jsc6jla0384mdn9l4z-k.drv' on 'ssh-ng://x' failed: error: Cannot build '/nix/store/0mixbwv945yr64jsc6jla0384mdn9l4z-k.drv'.\n Reason: builder failed with exit code 3.",
            &codes::BUILD_FAILED,
        ),
        (
            "error: 1 dependencies of derivation '/nix/store/0mixbwv945yr64jsc6jla0384mdn9l4z-k.drv' failed to build",
            &codes::BUILD_FAILED,
        ),
        (
            "error: cannot add path '/nix/store/0mixbwv945yr64jsc6jla0384mdn9l4z-k' because it lacks a signature by a trusted key",
            &codes::UNSIGNED,
        ),
        (
            "error: cannot open connection to remote store 'ssh-ng://': error: Nix daemon disconnected unexpectedly (maybe it crashed?)",
            &codes::CONNECTION_LOST,
        ),
        (
            "error: experimental Nix feature 'ca-derivations' is disabled; add '--extra-experimental-features ca-derivations' to enable it",
            &codes::FEATURE_DISABLED,
        ),
        (
            "error: experimental Nix feature 'flakes' is disabled; use '--extra-experimental-features flakes' to override",
            &codes::FEATURE_DISABLED,
        ),
        (
            "error: flake 'git+file:///x' requires lock file changes but they're not allowed due to '--no-update-lock-file'",
            &codes::LOCK,
        ),
        (
            "error: unable to download 'https://api.github.com/repos/o/r/commits/HEAD': HTTP error 404",
            &codes::FETCH_DENIED,
        ),
        ("error: executing 'git': No such file or directory", &nixoci_core::codes::TOOL_MISSING),
        (
            "git@github.com: Permission denied (publickey).\nfatal: Could not read from remote repository.",
            &codes::FETCH_DENIED,
        ),
        ("error: syntax error in configuration line 'x y' in '/etc/nix/nix.conf'", &codes::BAD_CONFIG),
        ("error: unable to download 'https://x/y': HTTP error 503", &codes::FETCH),
        ("error: cannot find flake 'flake:nosuch' in the flake registries", &codes::NOT_A_FLAKE),
        (
            "error: Unable to start any build;\n either increase '--max-jobs' or enable remote builds.",
            &codes::NO_JOBS,
        ),
        (
            "error: cannot build '/nix/store/0mixbwv945yr64jsc6jla0384mdn9l4z-k.drv' during evaluation because the option 'allow-import-from-derivation' is disabled",
            &codes::IFD,
        ),
        (
            "error: path '/nix/store/0mixbwv945yr64jsc6jla0384mdn9l4z-x' is required, but there is no substituter that can build it",
            &codes::GONE,
        ),
        (
            "error: opening lock file \"/nix/var/nix/db/big-lock\": Permission denied",
            &codes::STORE_PERMISSION,
        ),
    ] {
        let error = outcome(text, "github:o/r");
        assert!(error.is(code), "{text}\n{error:?}");
        assert!(!error.to_string().contains(['{', '}']), "{error}");
    }
}

#[test]
fn a_builders_own_words_can_be_the_reason() {
    let drv = "/nix/store/0mixbwv945yr64jsc6jla0384mdn9l4z-k.drv";
    for (said, code) in [
        ("tar: out: Cannot write: No space left on device", &codes::DISK_FULL),
        (
            "/nix/store/x/bin/sh: /nix/store/y/bin/z: cannot execute binary file: Exec format error",
            &codes::EXEC_FORMAT,
        ),
    ] {
        let mut record = Record::default();
        record.build_line(Some(drv), said);
        record.error(format!("error: builder for '{drv}' failed with exit code 1"));
        let error = diagnose(&record, &Subject::command(&host(), "x"));
        assert!(error.is(code), "{said}\n{error:?}");
    }
}

#[test]
fn certificates_that_are_not_believed_are_told_from_a_network_that_is_down() {
    // curl with OpenSSL, with GnuTLS (Debian's), and without the file with the authorities (a builder after a long sleep).
    for said in [
        "error: unable to download 'https://x/y': SSL peer certificate or SSH remote key was not OK (60) SSL certificate problem: certificate has expired",
        "error: unable to download 'https://x/y': SSL peer certificate or SSH remote key was not OK (60) server certificate verification failed. CAfile: /etc/ssl/certs/ca-certificates.crt CRLfile: none",
        "error: unable to download 'https://x/y': Problem with the SSL CA cert (path? access rights?) (77)",
    ] {
        let error = diagnose(&Record::of_text(said), &Subject::command(&host(), "x"));
        assert!(error.is(&codes::CERTIFICATE), "{said}: {error:?}");
    }
}

#[test]
fn a_mac_that_runs_linux_programs_itself_is_told_so() {
    let mac = Host { system: "aarch64-darwin".parse().unwrap(), ..host() };
    for (said, host, code) in [
        ("error: executing '/nix/store/x/bin/bash': Undefined error: 0", &mac, &codes::LINUX_ON_MAC),
        ("error: executing '/nix/store/x/bin/bash': Exec format error", &mac, &codes::LINUX_ON_MAC),
        ("/nix/store/x/bin/bash: cannot execute binary file", &mac, &codes::LINUX_ON_MAC),
        ("error: executing '/nix/store/x/bin/bash': Exec format error", &host(), &codes::EXEC_FORMAT),
    ] {
        let error = diagnose(&Record::of_text(said), &Subject::command(host, "x"));
        assert!(error.is(code), "{said}: {error:?}");
    }
}

#[test]
fn every_rule_can_be_filled_in() {
    const TEXTS: &[&str] = &["user", "reference", "attribute", "system", "here", "backend"];
    const COMMANDS: &[&str] = &["build", "on"];
    let check = |rule: &Rule, template: &str, in_command: bool| {
        for name in template.split('{').skip(1).filter_map(|part| part.split(['}', '|']).next()) {
            let in_text = |pattern: &&str| pattern.contains(&format!("{{{name}}}"));
            let text = TEXTS.contains(&name) || rule.patterns.iter().any(in_text);
            assert!(text || in_command && COMMANDS.contains(&name), "{{{name}}} in `{template}`");
        }
    };
    for rule in RULES {
        assert!(!rule.patterns.is_empty());
        check(rule, rule.message, false);
        for help in rule.remedies.iter().chain(rule.guest.unwrap_or_default()) {
            check(rule, help.sentence(), false);
            check(rule, help.copied().unwrap_or_default(), matches!(help, Help::Command(..)));
        }
        let says = !rule.message.is_empty() || matches!(rule.then, Then::Source | Then::NoFlake);
        assert!(says, "{}", rule.code.id);
    }
}

/// The texts to copy after Nix said this, about a flake, or about a file with this name.
fn copied(said: &str, file: Option<&str>) -> Vec<String> {
    let installable = match file {
        None => Installable::parse("github:o/r#image").unwrap(),
        Some(file) => Installable::File { path: file.into(), attribute: None, args: BTreeMap::new() },
    };
    let system: NixSystem = "x86_64-linux".parse().unwrap();
    let target = match file {
        None => Target::Flake { reference: "github:o/r".into(), attribute: "image".into() },
        Some(file) => {
            Target::File { file: file.into(), attribute: None, args: BTreeMap::new(), system: system.clone() }
        }
    };
    let request = BuildRequest { installable, system, prefer: Vec::new(), flags: Default::default() };
    let mut record = Record::default();
    record.error(said.to_owned());
    let error = diagnose(&record, &Subject::build(&host(), &request, &target));
    error.report().remedies.iter().filter_map(|remedy| remedy.command.clone()).collect()
}

#[test]
fn what_nix_says_is_quoted_in_a_command() {
    let fifo = "error: file '/p/-a b;$(x)' has an unsupported type";
    assert_eq!(copied(fifo, None), ["rm -- '/p/-a b;$(x)'"]);
    let owner = "error: repository path '/p/my repo' is not owned by current user";
    assert_eq!(
        copied(owner, None),
        ["git config --global --add safe.directory '/p/my repo'", "nixoci build 'path:/p/my repo#ATTRIBUTE'"]
    );
    let group = "error: the group 'a b' specified in 'build-users-group' does not exist";
    assert!(copied(group, None)[1].ends_with(" 'a b1'"), "{:?}", copied(group, None));
    let escape = "error: experimental Nix feature 'a\u{202e}b' is disabled";
    assert_eq!(
        copied(escape, None),
        [
            r"nixoci build --option extra-experimental-features $'a\u202eb'",
            "extra-experimental-features = a\u{202e}b"
        ]
    );
}

#[test]
fn the_attribute_that_was_meant_is_one_word() {
    let missing = |near: &str| {
        format!("error: attribute 'x' in selection path 'x' not found\n       Did you mean {near}?")
    };
    assert_eq!(copied(&missing("b"), None), ["nixoci build github:o/r#b"]);
    assert_eq!(copied(&missing("my.image"), None), ["nixoci build 'github:o/r#\"my.image\"'"]);
    let file = Some("/p/my images.nix");
    assert_eq!(copied(&missing("b"), file), ["nixoci build -f '/p/my images.nix' b"]);
    assert_eq!(copied(&missing("a;b"), file), ["nixoci build -f '/p/my images.nix' '\"a;b\"'"]);
    let argument = "error: cannot evaluate a function that has an argument without a value ('system')";
    assert_eq!(copied(argument, file)[0], "nixoci build -f '/p/my images.nix' --argstr system VALUE");
}

#[test]
fn an_unknown_failure_of_a_command_keeps_nixs_words() {
    let record = Record::of_text("warning: x\nerror: \u{1b}[31msomething new\u{1b}[0m\n");
    let error = diagnose(&record, &Subject::command(&host(), "the store could not be reached"));
    assert!(error.is(&codes::COMMAND_FAILED));
    assert_eq!(error.to_string(), "the store could not be reached");
    assert_eq!(error.report().causes, ["something new"]);
}

#[test]
fn codes_are_unique_and_explained() {
    let mut ids: Vec<&str> = codes::CODES.iter().map(|code| code.id).collect();
    assert!(codes::CODES.iter().all(|code| code.help.len() > 60 && code.id.starts_with("nixoci::nix::")));
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), codes::CODES.len());
}

#[test]
fn a_text_made_to_take_long_does_not() {
    let mut record = Record::default();
    // With the words that let the patterns be tried at all.
    let realising = "while realising the context of ".repeat(100_000);
    record.error(format!("error: builder for 'failed Cannot build {realising}"));
    let features = "a 'x' with features ".repeat(100_000);
    record.error(format!("error: is required to build but I am {features}"));
    // The time limit of every test is the assertion: what backtracks here takes hours.
    diagnose(&record, &Subject::command(&host(), "x"));
}

#[test]
fn what_helps_a_guest_is_not_what_helps_a_mac() {
    let mac = Host { system: "aarch64-darwin".parse().unwrap(), ..host() };
    let called = crate::guest::Called {
        name: "the virtual machine vm".into(),
        enter: "multipass exec -n vm --".into(),
        user: "ubuntu".into(),
        backend: "multipass",
    };
    let guest =
        Place::Guest(std::sync::Arc::new(crate::place::GuestNix { called, sources: Default::default() }));
    let token = "error: unable to download 'https://api.github.com/x': HTTP error 403";
    let socket = "error: cannot connect to socket at '/x': Connection refused";
    let foreign = "error: a 'x86_64-linux' with features {} is required to build '/nix/store/0-t.drv', but I am a 'aarch64-linux' with features {}";
    for (log, code, wanted) in [
        (token, &codes::FETCH_DENIED, "github = \"gh\""),
        (
            "error: unable to download 'https://x': HTTP error 429",
            &codes::FETCH_DENIED,
            "netrc = \"~/.netrc\"",
        ),
        (foreign, &codes::PLATFORM, "[backend.multipass]\nemulate = true"),
        ("error: executing '/x': Exec format error", &codes::EXEC_FORMAT, "emulate = true"),
        (socket, &codes::DAEMON_DOWN, "multipass exec -n vm -- sudo systemctl restart nix-daemon.socket"),
        (
            "error: Nix daemon disconnected unexpectedly",
            &codes::CONNECTION_LOST,
            "multipass exec -n vm -- sudo systemctl",
        ),
        (
            "error: getting status of '/nix/var/nix/daemon-socket/socket': Permission denied",
            &codes::DAEMON_PERMISSION,
            "multipass exec -n vm -- sudo usermod -aG nix-users ubuntu",
        ),
        ("error: SSL certificate problem: self-signed", &codes::CERTIFICATE, "export NIX_SSL_CERT_FILE="),
        ("error: SSL certificate problem: self-signed", &codes::CERTIFICATE, "multipass exec -n vm -- date"),
        (
            "error: mismatch in field 'narHash' of input '{}', got '{}'",
            &codes::LOCK,
            "--override-input NAME path:/DIRECTORY",
        ),
        (
            "error: cannot update unlocked flake input 'x' in pure mode",
            &codes::LOCK,
            "multipass exec -n vm -- sh -c 'cd $(mktemp -d) && tar x && nix flake lock",
        ),
    ] {
        let error = outcome_at(log, "github:o/r", &mac, &guest);
        assert!(error.is(code), "{log}: {error:?}");
        let remedies = &error.report().remedies;
        let all: Vec<_> =
            remedies.iter().map(|remedy| remedy.command.as_deref().unwrap_or(&remedy.text)).collect();
        assert!(all.iter().any(|command| command.contains(wanted)), "{log}: {all:#?}");
        for of_the_mac in ["launchctl", "nix.conf", "/etc/ssl", "ssh vm"] {
            assert!(!all.iter().any(|command| command.contains(of_the_mac)), "{log}: {all:#?}");
        }
        let alone = all.iter().any(|command| command.starts_with("sudo ") || *command == "date");
        assert!(!alone, "{log}: {all:#?}");
        let text = format!("{error}{:?}", error.report().causes);
        assert!(!text.contains("this machine") && !text.contains("the Mac"), "{text}");
        let leads = all.iter().any(|command| command.contains("multipass exec"));
        assert!(!leads || text.contains("the virtual machine vm"), "{text}");
    }
}

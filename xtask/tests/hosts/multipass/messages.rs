//! Error messages of the client.

use super::*;

fn list(flags: &[&str]) -> Said {
    run(flags, &["multipass", "list"])
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn without_its_daemon_there_is_no_socket() {
    let gone = list(&["--with", OLD, "--without", "multipass-daemon"]);
    assert_eq!(gone.code, 2);
    assert_eq!(
        gone.err,
        "list failed: cannot connect to the multipass socket\n\
         Please ensure multipassd is running and '/var/run/multipass_socket' is accessible\n"
    );
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn its_socket_may_be_roots_alone() {
    let denied = list(&["--with", OLD, "--with", "multipass-denied"]);
    assert_eq!(
        (denied.code, denied.err.lines().next()),
        (2, Some("list failed: multipass socket access denied"))
    );
}

each!(its_daemon_may_not_know_the_user: old(OLD, "client"), new(NEW, "user"));
fn its_daemon_may_not_know_the_user(with: &str, user: &str) {
    let unknown = list(&["--with", with, "--with", "multipass-unauthenticated"]);
    assert_eq!(unknown.code, 2);
    let text = format!("list failed: The {user} is not authenticated with the Multipass service.\n");
    assert!(unknown.err.starts_with(&text), "{unknown:?}");
}

each!(version_has_the_daemons_where_it_answers:
    granted(&[], serde_json::json!({"multipass": "1.16.3+mac", "multipassd": "1.16.3+mac"})),
    without_daemon(&["--without", "multipass-daemon"], serde_json::json!({"multipass": "1.16.3+mac"})),
    unauthenticated(&["--with", "multipass-unauthenticated"], serde_json::json!({"multipass": "1.16.3+mac"})),
);
fn version_has_the_daemons_where_it_answers(flags: &[&str], versions: Value) {
    let said = run(&[&["--with", OLD], flags].concat(), &["multipass", "version", "--format", "json"]);
    assert_eq!(said.code, 0);
    assert_eq!(serde_json::from_str::<Value>(&said.out).expect("JSON"), versions);
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn without_the_flag_there_is_no_multipass() {
    assert_ne!(run(&[], &["sh", "-c", "command -v multipass"]).code, 0);
}

/// Exit code, standard output and standard error.
fn wrong(words: &[&str]) -> (i32, String, String) {
    let said = run(&["--with", OLD], &[&["multipass"], words].concat());
    (said.code, said.out, said.err)
}

fn refused(words: &[&str]) -> (i32, String) {
    let (code, _, err) = wrong(words);
    (code, err)
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn commands_that_a_version_does_not_have_are_unknown() {
    let (code, out, _) = wrong(&[]);
    assert!(code == 2 && out.starts_with("Usage: multipass [options] <command>\n"));
    let unknown = "Error: Unknown command or alias 'wait-ready' (try \"multipass help\")\n".to_owned();
    assert_eq!(wrong(&["wait-ready"]), (1, unknown, String::new()));
    for zones in ["zones", "enable-zones", "disable-zones"] {
        assert_eq!(wrong(&[zones]).0, 1, "{zones}");
    }
    assert_eq!(run(&["--with", NEW], &["multipass", "wait-ready", "--timeout", "1"]).code, 5);
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn arguments_of_exec_are_checked_in_its_words() {
    let (code, err) = refused(&["exec", "x", "ls", "-l"]);
    assert!(code == 1 && err.contains("Options to the inner command should come after \"--\""), "{err}");
    let (code, err) = refused(&["exec", "-n", "-d", "/x", "x", "--", "ls"]);
    assert_eq!((code, &*err), (1, "Options --working-directory and --no-map-working-directory clash\n"));
}

each!(arguments_of_launch_are_checked_in_its_words:
    memory(&["--memory", "100M"], "Invalid memory size value supplied: 100M."),
    disk(&["--disk", "10M"], "Invalid disk size value supplied: 10M."),
    name(&["--name", "a_b"], "Invalid instance name supplied: a_b"),
);
fn arguments_of_launch_are_checked_in_its_words(words: &[&str], why: &str) {
    let text = format!("launch failed: Invalid arguments supplied\n{why}\n");
    assert_eq!(refused(&[&["launch"], words].concat()), (2, text));
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn what_launch_cannot_read_is_refused_before_the_daemon_is_asked() {
    let (code, err) = refused(&["launch", "--cloud-init", "/nowhere"]);
    let unreadable = "Could not load cloud-init configuration: bad file: /nowhere\nPlease ensure that Multipass can read it.\n";
    assert_eq!((code, &*err), (1, unreadable));
    let (code, err) = refused(&["launch", "--timeout", "x"]);
    assert_eq!((code, &*err), (1, "error: --timeout value has to be a positive integer\n"));
}

each!(a_text_that_is_no_size_is_an_exception_of_the_client:
    a_word(&["--memory", "foo"], "foo"), two_units(&["--memory", "1CiG"], "1CiG"), disk(&["--disk", "6CiG"], "6CiG"),
    a_fraction_of_a_byte(&["--disk", "1.5"], "1.5"), old_option(&["--mem", "1T"], "1T"));
fn a_text_that_is_no_size_is_an_exception_of_the_client(words: &[&str], size: &str) {
    let (code, err) = refused(&[&["launch"], words].concat());
    let why = format!(
        "[error] [client] Caught an unhandled exception: {size} is not a valid memory size - need a non-negative integer (in base \
         10) or a decimal followed by K, M, or G (e.g. 1234B, 42MiB, 0.5G)\n"
    );
    assert!(code == 1 && err.ends_with(&why), "{code} {err}");
}

each!(sizes_have_a_minimum:
    old_memory(OLD, &["--memory", "127M"], "memory", "127M"), new_memory(NEW, &["--memory", "511M"], "memory", "511M"),
    old_disk(OLD, &["--disk", "511M"], "disk", "511M"), new_disk(NEW, &["--disk", "1023M"], "disk", "1023M"));
fn sizes_have_a_minimum(with: &'static str, words: &[&str], what: &str, size: &str) {
    let said = run(&["--with", with], &[&["multipass", "launch"], words].concat());
    let why =
        format!("launch failed: Invalid arguments supplied\nInvalid {what} size value supplied: {size}.\n");
    assert_eq!((said.code, said.err), (2, why));
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn an_image_that_is_not_there_is_not_found() {
    let (code, err) = refused(&["launch", "zz"]);
    assert_eq!(
        (code, &*err),
        (2, "launch failed: Unable to find an image matching \"zz\" in remote \"\".\n")
    );
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn find_lists_releases_and_the_custom_image() {
    let said = run(&["--with", OLD], &["multipass", "find", "--format", "json"]);
    let found: Value = serde_json::from_str(&said.out).expect("JSON");
    let names: Vec<&String> = found["images"].as_object().expect("a map").keys().collect();
    assert_eq!(names, ["22.04", "24.04", "26.04", "nix"]);
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn find_takes_a_name_an_alias_or_a_hash() {
    let (code, out, err) = wrong(&["find", "--format", "json", "noble"]);
    assert_eq!((code, &*err), (0, ""));
    let found: Value = serde_json::from_str(&out).expect("JSON");
    let noble = &found["images"]["noble"];
    assert_eq!((&noble["release"], &noble["aliases"]), (&"24.04 LTS".into(), &serde_json::json!([])));
    assert_eq!(found["images"].as_object().expect("a map").len(), 1);
    assert!(wrong(&["find", "7a2d9c"]).1.contains("\n7a2d9c4e6f8b  "), "the hash is its name then");
    assert!(wrong(&["find", "release:24.04"]).1.contains("\nrelease:24.04  "));
    // Upstream only logs that there is none.
    assert_eq!(wrong(&["find", "zz"]), (0, "No images or blueprints found.\n".to_owned(), String::new()));
    let new = run(&["--with", NEW], &["multipass", "find", "zz"]);
    assert_eq!((new.code, &*new.out), (0, "No images found.\n"));
    let unknown = "find failed: Remote \"zz\" is unknown or unreachable.\n";
    assert_eq!(refused(&["find", "zz:24.04"]), (2, unknown.to_owned()));
    assert_eq!(refused(&["find", "a:b:c"]), (1, "Invalid remote and search string supplied\n".to_owned()));
    assert_eq!(refused(&["find", "a", "b"]), (1, "Wrong number of arguments\n".to_owned()));
}

each!(there_are_no_snapshots:
    table("table", "No snapshots found.\n"), csv("csv", "Instance,Snapshot,Parent,Comment\n"), yaml("yaml", "\n"),
    json("json", "{\n    \"errors\": [\n    ],\n    \"info\": {\n    }\n}\n"));
fn there_are_no_snapshots(format: &str, text: &str) {
    assert_eq!(wrong(&["list", "--snapshots", "--format", format]), (0, text.to_owned(), String::new()));
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn an_unknown_format_is_refused() {
    for command in ["list", "info", "find", "version"] {
        assert_eq!(
            refused(&[command, "--format", "xml"]),
            (1, "Invalid format type given.\n".to_owned()),
            "{command}"
        );
    }
}

each!(find_and_version_have_every_format: old(OLD, "1.16.3+mac", true), new(NEW, "1.17.0+mac", false));
fn find_and_version_have_every_format(with: &'static str, version: &str, blueprints: bool) {
    let out = |words: &[&str]| run(&["--with", with], &[&["multipass"], words].concat()).out;
    assert_eq!(
        out(&["version", "--format", "yaml"]),
        format!("multipass: {version}\nmultipassd: {version}\n")
    );
    let csv = format!("Multipass,Multipassd,Title,Description,URL\n{version},{version},,,\n");
    assert_eq!(out(&["version", "--format", "csv"]), csv);
    let yaml = format!(
        "errors:\n  []\n{}images:\n  24.04:\n    aliases:\n      []\n    os: Ubuntu\n    release: 24.04 LTS\n    \
         version: 20260307\n    remote: \"\"\n",
        if blueprints { "blueprints (deprecated):\n  {}\n" } else { "" }
    );
    assert_eq!(out(&["find", "24.04", "--format", "yaml"]), yaml);
    let all = out(&["find", "--format", "csv"]);
    assert!(all.starts_with("Image,Remote,Aliases,OS,Release,Version,Type\n"), "{all}");
    assert!(all.ends_with("\n26.04,,resolute;lts,Ubuntu,26.04 LTS,20260423,Cloud Image\n"), "{all}");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn an_instance_that_is_not_there_is_named() {
    let vm = Vm::named(OLD);
    let missing = format!("The following errors occurred:\ninstance \"{}\" does not exist\n", vm.name);
    assert_eq!(refused(&["info", &vm.name]), (2, format!("info failed: {missing}")));
    // The client first asks for the directories that are mapped, so that the message comes twice.
    let twice = format!("exec failed: {missing}exec failed: {missing}");
    assert_eq!(refused(&["exec", &vm.name, "--", "true"]), (2, twice));
    let absent = format!("start failed: instance(s) missing\nInstance '{}' does not exist.\n", vm.name);
    assert_eq!(refused(&["start", &vm.name]), (2, absent));
    let (code, err) = refused(&["get", &format!("local.{}.cpus", vm.name)]);
    assert!(code == 2 && err.contains("reason: No such instance"), "{err}");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn settings_are_known_or_not() {
    assert_eq!(wrong(&["get", "foo.bar"]).0, 1);
    assert_eq!(wrong(&["get", "local.driver"]), (0, "qemu\n".to_owned(), String::new()));
    let keys = wrong(&["get", "--keys"]).1;
    assert!(keys.starts_with("client.primary-name\nlocal.bridged-network\nlocal.driver\n"), "{keys}");
    assert_eq!(wrong(&["get", "--keys", "local.driver"]).1, "local.driver\n");
    assert_eq!(
        wrong(&["get", "--keys", "zz"]),
        (1, String::new(), "Unrecognized settings key: 'zz'\n".to_owned())
    );
    assert_eq!(wrong(&["get"]).0, 1);
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn the_name_of_the_primary_instance_is_remembered() {
    let home = run(&[], &["mktemp", "-d"]).out.trim().to_owned();
    let home = format!("HOME={home}");
    let multipass = |words: &[&str]| run(&["--with", OLD, "--env", &home], &[&["multipass"], words].concat());
    assert_eq!(multipass(&["get", "client.primary-name"]).out, "primary\n");
    assert_eq!(multipass(&["set", "client.primary-name=a-b"]).code, 0);
    assert_eq!(multipass(&["get", "client.primary-name"]).out, "a-b\n");
    let start = multipass(&["start"]);
    assert_eq!(start.err, "start failed: instance(s) missing\nInstance 'a-b' does not exist.\n");
    let bad = multipass(&["set", "client.primary-name=a_b"]);
    assert_eq!((bad.code, &*bad.err), (1, "Invalid setting 'client.primary-name=a_b': Invalid hostname\n"));
    assert_eq!(multipass(&["set", "client.primary-name="]).code, 0);
    assert_eq!(multipass(&["get", "client.primary-name"]).out, "<empty>\n");
    assert_eq!(multipass(&["get", "--raw", "client.primary-name"]).out, "\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn what_is_not_imitated_says_so() {
    let (code, err) = refused(&["transfer", "a", "b:"]);
    assert!(code == 2 && err.contains("the lab's multipass does not know it"), "{err}");
}

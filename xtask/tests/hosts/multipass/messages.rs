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
    assert_eq!(refused(&["launch", "--memory", "foo"]).0, 1);
    let (code, err) = refused(&["launch", "--cloud-init", "/nowhere"]);
    let unreadable = "Could not load cloud-init configuration: bad file: /nowhere\nPlease ensure that Multipass can read it.\n";
    assert_eq!((code, &*err), (1, unreadable));
    let (code, err) = refused(&["launch", "--timeout", "x"]);
    assert_eq!((code, &*err), (1, "error: --timeout value has to be a positive integer\n"));
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
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn what_is_not_imitated_says_so() {
    let (code, err) = refused(&["transfer", "a", "b:"]);
    assert!(code == 2 && err.contains("the lab's multipass does not know it"), "{err}");
}

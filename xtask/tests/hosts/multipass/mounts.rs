//! Mounts.

use super::*;

/// A directory of alice's with a directory `p`, in which there is a file.
fn project() -> (String, String) {
    let made = run(&["--with", OLD], &["sh", "-c", "cd $(mktemp -d); mkdir p; echo hi > p/f; pwd"]);
    let dir = made.out.trim().to_owned();
    let source = format!("{dir}/p");
    (dir, source)
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_directory_is_mounted_in_the_home_directory_and_both_sides_write() {
    let (vm, (_, source)) = (Vm::launch(OLD), project());
    assert_eq!(vm.run(&["mount", &source, &vm.name]).code, 0);
    assert_eq!(vm.sh("cat p/f; echo back > p/g"), "hi\n");
    assert_eq!(run(&[], &["cat", &format!("{source}/g")]).out, "back\n");
    let info = vm.info(&[]);
    assert_eq!(info["mounts"]["/home/ubuntu/p"]["source_path"], source.as_str());
    assert_eq!(info["mounts"]["/home/ubuntu/p"]["uid_mappings"], serde_json::json!(["1000:default"]));
    // The directory one is in, where the guest has it.
    let mapped = run(&["--with", OLD, "--cwd", &source], &["multipass", "exec", &vm.name, "--", "pwd"]);
    assert_eq!(mapped.out, "/home/ubuntu/p\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn mounts_go_where_they_may_go() {
    let (vm, (_, source)) = (Vm::launch(OLD), project());
    assert_eq!(vm.run(&["mount", &source, &vm.name]).code, 0);
    let twice = vm.run(&["mount", &source, &vm.name]);
    let already = format!(
        "mount failed: The following errors occurred:\n\"/home/ubuntu/p\" is already mounted in '{}'\n",
        vm.name
    );
    assert_eq!((twice.code, twice.err), (2, already));
    let root = vm.run(&["mount", &source, &format!("{}:/home/ubuntu", vm.name)]);
    assert!(root.code == 2 && root.err.ends_with("unable to mount to \"/home/ubuntu\"\n"), "{root:?}");
    let nothing = vm.run(&["mount", "/no/where", &vm.name]);
    assert_eq!((nothing.code, &*nothing.err), (1, "Source path \"/no/where\" does not exist\n"));
    // At its own path, and away again.
    let same = format!("{}:{source}", vm.name);
    assert_eq!(vm.run(&["mount", &source, &same]).code, 0);
    assert_eq!(vm.sh(&format!("cat {source}/f")), "hi\n");
    assert_eq!(vm.run(&["umount", &same]).code, 0);
    let unknown = vm.run(&["umount", &same]);
    let text = format!("path \"{source}\" is not mounted in '{}'\n", vm.name);
    assert!(unknown.err.ends_with(&text), "{unknown:?}");
    assert_eq!(vm.run(&["umount", &vm.name]).code, 0);
    assert_eq!(vm.sh("ls p"), "");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn mounts_are_there_again_after_a_start() {
    let (vm, (dir, source)) = (Vm::launch(OLD), project());
    assert_eq!(vm.run(&["mount", &source, &vm.name]).code, 0);
    assert_eq!(vm.run(&["stop", &vm.name]).code, 0);
    // One that is off is told of a mount all the same.
    assert_eq!(vm.run(&["mount", &source, &format!("{}:/mnt/x", vm.name)]).code, 0);
    assert_eq!(vm.run(&["start", &vm.name]).code, 0);
    assert_eq!(vm.sh("cat p/f /mnt/x/f"), "hi\nhi\n");
    assert_eq!(vm.run(&["umount", &format!("{}:/mnt/x", vm.name)]).code, 0);
    // A source that has gone is dropped at the next start, with a warning.
    assert_eq!(run(&[], &["mv", &source, &format!("{dir}/q")]).code, 0);
    assert_eq!(vm.run(&["stop", &vm.name]).code, 0);
    let warned = vm.run(&["start", &vm.name]);
    assert!(warned.code == 0 && warned.err.contains("Removing mount \"/home/ubuntu/p\" from "), "{warned:?}");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn what_is_the_callers_is_the_guests_users() {
    let vm = Vm::launch(OLD);
    let root = ["--with", OLD, "--user", "root"];
    let made = run(&root, &["sh", "-c", "cd $(mktemp -d); echo hi > f; pwd"]).out;
    let at = format!("{}:/mnt/root", vm.name);
    assert_eq!(run(&root, &["multipass", "mount", made.trim(), &at]).code, 0);
    assert_eq!(vm.sh("stat -c %U /mnt/root/f; echo new > /mnt/root/g"), "ubuntu\n");
    assert_eq!(run(&root, &["stat", "-c", "%U", &format!("{}/g", made.trim())]).out, "root\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_mount_may_be_lost_at_a_start() {
    let (vm, (_, source)) = (Vm::launch(OLD), project());
    assert_eq!(vm.run(&["mount", &source, &vm.name]).code, 0);
    vm.fault("mount-lost", "on");
    assert_eq!(vm.run(&["restart", &vm.name]).code, 0);
    assert_eq!(vm.sh("ls p"), "");
    assert!(vm.info(&[])["mounts"]["/home/ubuntu/p"].is_object(), "it is still said to be there");
    vm.fault("mount-lost", "off");
    assert_eq!(vm.run(&["umount", &format!("{}:p", vm.name)]).code, 0);
    assert_eq!(vm.run(&["mount", &source, &vm.name]).code, 0);
    assert_eq!(vm.sh("cat p/f"), "hi\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn mounting_may_fail_or_show_nothing() {
    let (vm, (dir, source)) = (Vm::launch(OLD), project());
    vm.fault("sshfs-missing", "on");
    let refused = vm.run(&["mount", &source, &vm.name]);
    assert!(refused.code == 2 && refused.err.contains("Error enabling mount support in"), "{refused:?}");
    vm.fault("sshfs-missing", "off");
    vm.fault("mount-empty", "on");
    assert_eq!(vm.run(&["mount", &source, &vm.name]).code, 0);
    assert_eq!(vm.sh("ls p"), "");
    vm.fault("mounts-disabled", "on");
    let disabled = vm.run(&["mount", &dir, &vm.name]).err;
    assert!(
        disabled.starts_with("mount failed: Mounts are disabled on this installation of Multipass.\n"),
        "{disabled}"
    );
}

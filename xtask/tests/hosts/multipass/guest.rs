//! Properties of a guest.

use super::*;

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_guest_is_a_machine_of_its_own() {
    let vm = Vm::named(OLD);
    let user_data = "# lost\nssh_authorized_keys: [ssh-ed25519 AAAA test]\nswap: {filename: /swap.img, size: 4G}\n\
                     package_update: false\nwrite_files:\n  - path: /etc/nixoci/vm.json\n    content: |\n      {\"a\":1}\n";
    let words = [
        "launch",
        "lts",
        "-n",
        &vm.name,
        "-c",
        "3",
        "-m",
        "768M",
        "-d",
        "6G",
        "--timeout",
        "60",
        "--cloud-init",
        "-",
    ];
    let said = run_with_input(&["--with", OLD], &[&["multipass"], &words[..]].concat(), user_data.as_bytes());
    assert_eq!(said.code, 0, "{said:?}");
    assert!(
        said.out.starts_with("\u{1b}[2K\u{1b}[0A\u{1b}[0E")
            && said.out.contains("Waiting for initialization")
    );
    assert!(said.out.ends_with(&format!("Launched: {}\n", vm.name)), "{said:?}");
    assert_eq!(
        vm.sh("id -un; id -u; sudo -n id -u; hostname; cat /etc/nixoci/vm.json; ps -p 1 -o pid="),
        format!("ubuntu\n1000\n0\n{}\n{{\"a\":1}}\n      1\n", vm.name)
    );
    assert_eq!(vm.sh("cat ~/.ssh/authorized_keys | grep -c '^ssh-ed25519'"), "2\n");
    assert_eq!(
        vm.sh("cloud-init status --wait | tr -d .; sudo head -n 1 /var/lib/cloud/seed/nocloud/user-data"),
        "status: done\n#cloud-config\n"
    );
    assert_eq!(
        vm.sh(". /etc/os-release; echo $VERSION; echo $VERSION_CODENAME"),
        "26.04 LTS (Resolute Raccoon)\nresolute\n"
    );
    assert_ne!(vm.exec(&["sh", "-c", "command -v nix"]).code, 0);
    assert!(vm.sh("test $(df -B1 --output=size / | tail -n 1) -lt 7000000000; awk '/MemTotal/ {print $2}' /proc/meminfo").starts_with("786432"));
    let full = vm.exec(&["fallocate", "-l", "20G", "/var/tmp/x"]);
    assert!(full.code == 1 && full.err.contains("No space left on device"), "{full:?}");
    // A program that wants more than there is gets killed; nobody else minds.
    let greedy = vm.exec(&["python3", "-c", "x = bytearray(2 << 30); print(len(x))"]);
    assert!(greedy.code == 255 || greedy.code == 137, "{greedy:?}");

    let info = vm.info(&[]);
    assert_eq!((&info["cpu_count"], &info["state"]), (&"3".into(), &"Running".into()));
    assert_eq!(info["release"], "Ubuntu 26.04 LTS");
    assert!(info["memory"]["total"].is_u64() && info["disks"]["sda1"]["total"].is_string(), "{info}");
    assert!(info["ipv4"][0].as_str().is_some_and(|ip| ip.starts_with("10.232.")), "{info}");
    let bare = vm.info(&["--no-runtime-information"]);
    assert_eq!((&bare["cpu_count"], &bare["ipv4"]), (&"".into(), &serde_json::json!([])));
    let raw = vm.run(&["info", "--format", "json", &vm.name]).out;
    assert!(raw.starts_with("{\n    \"errors\": [\n    ],\n    \"info\": {\n"), "{raw}");
    // Another user of the host, and of the same guest, with a key of root's.
    let root =
        run(&["--with", OLD, "--user", "root"], &["multipass", "exec", "-n", &vm.name, "--", "whoami"]);
    assert_eq!((root.code, &*root.out), (0, "ubuntu\n"));
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn the_kernels_log_names_whom_memory_killed() {
    let vm = Vm::named(OLD);
    let said = vm.run(&["launch", "-n", &vm.name, "-m", "512M"]);
    assert_eq!(said.code, 0, "{said:?}");
    let log = |words: &str| vm.exec(&["sh", "-c", &format!("sudo journalctl -k --no-pager {words}")]);
    assert_eq!(log("").out, "-- No entries --\n");
    assert_eq!((log("-q").out, log("-g Killed").code), (String::new(), 1));
    let before = vm.sh("date +%s");
    let before = before.trim();
    let greedy = vm.exec(&["sh", "-c", "head -c 900M /dev/zero | tail"]);
    assert!(greedy.code == 255 || greedy.code == 137, "{greedy:?}");
    let exact = log(&format!("-b -g 'Killed process' -o short-unix --since=@{before}")).out;
    let (stamp, line) = exact.split_once(' ').expect("two words");
    let (seconds, micros) = stamp.split_once('.').expect("a fraction");
    assert!(seconds.parse::<u64>().ok() >= before.parse().ok() && micros.len() == 6, "{exact}");
    let killed = format!("{} kernel: Memory cgroup out of memory: Killed process ", vm.name);
    assert!(line.starts_with(&killed) && line.contains(" (tail) total-vm:"), "{exact}");
    assert!(line.contains("kB, anon-rss:") && exact.lines().count() == 1, "{exact}");
    let short = log("--dmesg --grep='killed process'").out;
    assert!(!short.starts_with(stamp) && short.contains(&killed), "small letters mean others, too: {short}");
    assert_eq!(log("--since \"@$(($(date +%s) + 60))\"").out, "-- No entries --\n");
    assert_eq!(log("--frob").err, "journalctl: unrecognized option '--frob'\n");
    // This boot's alone.
    assert_eq!(vm.run(&["restart", &vm.name]).code, 0);
    assert_eq!(log("").out, "-- No entries --\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn host_keys_of_user_data_are_the_only_ones() {
    let vm = Vm::named(OLD);
    let keys = Keys::new();
    let private = run(&[], &["sed", "s/^/    /", &format!("{}/id", keys.dir)]).out;
    vm.launched_with(&format!(
        "ssh_keys:\n  ed25519_private: |\n{private}  ed25519_public: {}\n",
        keys.public
    ));
    let there = vm.sh("cd /etc/ssh; stat -c '%a %n' ssh_host_*; cat ssh_host_ed25519_key.pub");
    let expected = "600 ssh_host_ed25519_key\n644 ssh_host_ed25519_key.pub\n";
    assert_eq!(there, format!("{expected}{}", keys.public));
    assert_eq!(vm.sh("cloud-init status"), "status: done\n");
    let scan = |vm: &Vm| {
        let address = vm.login().replace("ubuntu@", "");
        let mut lines: Vec<String> =
            run(&[], &["ssh-keyscan", "-q", &address]).out.lines().map(str::to_owned).collect();
        lines.iter_mut().for_each(|line| *line = line.replacen(&format!("{address} "), "", 1));
        lines
    };
    let key = keys.public.trim_end_matches(" nixoci").to_owned();
    assert_eq!(scan(&vm), std::slice::from_ref(&key));
    assert_eq!(vm.run(&["restart", &vm.name]).code, 0);
    assert_eq!(scan(&vm), [key], "a later boot adds none");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_public_half_that_is_not_given_is_made() {
    let vm = Vm::named(OLD);
    let keys = Keys::new();
    let private = run(&[], &["sed", "s/^/    /", &format!("{}/id", keys.dir)]).out;
    vm.launched_with(&format!("ssh_keys:\n  frob: x\n  ed25519_private: |\n{private}"));
    let public = vm.sh("cat /etc/ssh/ssh_host_ed25519_key.pub");
    let expected = keys.public.replace(" nixoci", "");
    assert!(public.starts_with(&expected) && public.ends_with(" root@localhost\n"), "{public}");
    let status = vm.exec(&["cloud-init", "status", "--long"]);
    assert!(status.code == 2 && status.out.contains("Skipping unrecognized ssh_keys entry"), "{status:?}");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn an_authorized_key_keeps_its_options() {
    let vm = Vm::named(OLD);
    let keys = Keys::new();
    vm.launched_with(&format!("ssh_authorized_keys:\n- restrict,pty {}\n", keys.public));
    let login = vm.login();
    let ssh = |words: &[&str]| keys.run_ssh(&[&ANY_HOST_KEY[..], words].concat());
    assert_eq!(ssh(&[&login, "id -un"]).out, "ubuntu\n");
    let terminal = ssh(&["-tt", &login, "tty"]);
    assert!(terminal.code == 0 && terminal.out.starts_with("/dev/pts/"), "{terminal:?}");
    let forwarded = ssh(&["-W", "127.0.0.1:22", &login]);
    assert!(forwarded.code != 0 && forwarded.err.contains("stdio forwarding failed"), "{forwarded:?}");
}

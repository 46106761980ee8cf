//! Nix in a guest.

use super::*;

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn nix_comes_from_apt_without_a_network_and_builds() {
    let vm = Vm::named(OLD);
    vm.launched("26.04");
    vm.sh(
        "{ sudo apt-get -q update; sudo apt-get -q install -y nix-bin nix-setup-systemd; } > /tmp/log 2>&1; \
         sudo usermod -aG nix-users ubuntu; sudo systemctl enable --now nix-daemon.socket; sudo systemctl restart nix-daemon",
    );
    assert_eq!(
        vm.sh("systemctl is-active nix-daemon.socket; systemctl is-enabled nix-daemon"),
        "active\nenabled\n"
    );
    // 1.16 would run this command forever.
    assert_eq!(vm.exec(&["sh", "-c", "systemctl is-active no-such-unit || echo $?"]).out, "inactive\n4\n");
    let built = vm.sh(
        "cd $(mktemp -d); echo '(import <nixpkgs> {}).runCommand \"x\" {} \"echo built > $out\"' > x.nix; \
         cat $(NIX_REMOTE=daemon nix-build --no-out-link x.nix)",
    );
    assert_eq!(built, "built\n");
    let hello = vm.sh(
        "nix --extra-experimental-features 'nix-command flakes' build --no-link --print-out-paths nixpkgs#hello",
    );
    assert!(hello.starts_with("/nix/store/"), "{hello}");
    assert_eq!(vm.run(&["restart", &vm.name]).code, 0);
    assert_eq!(vm.sh("systemctl is-active nix-daemon.socket; cat /nix/store/*-x"), "active\nbuilt\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_hosts_nix_reaches_a_guest_over_ssh() {
    let vm = Vm::named(OLD);
    let script = format!(
        "set -e; cd $(mktemp -d); ssh-keygen -q -t ed25519 -N '' -f k; n={}\n\
         echo \"ssh_authorized_keys: ['$(cat k.pub)']\" | multipass launch -n $n --cloud-init - > log\n\
         multipass exec -n $n -- sudo sh -c '{{ apt-get -q update && apt-get -q -y install nix-bin nix-setup-systemd && \
           usermod -aG nix-users ubuntu; }} > /tmp/log 2>&1' > log 2>&1 < /dev/null\n\
         ip=$(multipass info --format json $n | jq -r .info[].ipv4[0])\n\
         export NIX_SSHOPTS=\"-i $PWD/k -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR\"\n\
         echo 'derivation {{ name = \"z\"; system = \"x86_64-linux\"; builder = \"/bin/sh\"; args = [ \"-c\" \"echo there > $out\" ]; }}' > z.nix\n\
         out=$(nix --extra-experimental-features nix-command build --no-link --print-out-paths --eval-store auto \
           --store ssh-ng://ubuntu@$ip -f z.nix 2> log)\n\
         multipass exec -n $n -- cat $out",
        vm.name
    );
    let linux = ["--with", OLD, "--user", "alice", "--cwd", "/tmp"];
    let mut lab = xtask();
    lab.args(["lab", "exec"]).args(linux).args(["--", "bash", "-c", &script]).stdin(Stdio::null());
    let said = Said::from(lab.output().expect("the lab's program runs"));
    assert_eq!((said.code, &*said.out), (0, "there\n"), "{said:?}");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn without_a_network_there_are_no_packages() {
    let vm = Vm::named(OLD);
    vm.fault("no-network", "on");
    let said = vm.run(&["launch", "26.04", "-n", &vm.name]);
    assert_eq!(said.code, 0, "{said:?}");
    let update = vm.exec(&["sudo", "apt-get", "-q", "update"]);
    let failed = |line: &str| {
        line.starts_with("W: Failed to fetch http://archive.ubuntu.")
            && line.contains("/ubuntu/dists/resolute/InRelease  Temporary failure resolving 'archive.ubuntu.")
    };
    assert!(update.code == 0 && update.err.lines().any(failed), "{update:?}");
    let install = || vm.exec(&["sudo", "apt-get", "-q", "-y", "install", "nix-bin"]);
    let said = install();
    assert!(said.code == 100 && said.err.contains("E: Unable to locate package nix-bin\n"), "{said:?}");
    vm.fault("no-network", "off");
    assert_eq!(vm.run(&["restart", &vm.name]).code, 0);
    vm.sh("{ sudo apt-get -q update; sudo apt-get -q -y install nix-bin; } > /tmp/log 2>&1");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn older_releases_have_an_older_package_of_nix() {
    for (image, version) in [("22.04", "2.6.0"), ("24.04", "2.18.1")] {
        let vm = Vm::named(OLD);
        vm.launched(image);
        let policy = vm.sh("sudo apt-get -q update >/dev/null; apt-cache policy nix-bin | grep Candidate");
        assert!(policy.contains(version), "{policy}");
    }
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn repositories_of_ones_own_stay() {
    let vm = Vm::launch(OLD);
    vm.sh("echo '# mine' | sudo tee /etc/apt/sources.list");
    vm.fault("no-network", "on");
    assert_eq!(vm.run(&["restart", &vm.name]).code, 0);
    assert_eq!(vm.sh("cat /etc/apt/sources.list"), "# mine\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn nix_comes_from_its_installer_and_builds() {
    let vm = Vm::launch(OLD);
    let carry = format!(
        "multipass exec -n {} -- sh -c 'cat > /var/tmp/nix-installer' < /lab/multipass/nix-installer",
        vm.name
    );
    assert_eq!(run(&["--with", OLD], &["sh", "-c", &carry]).code, 0);
    vm.sh("chmod +x /var/tmp/nix-installer");
    let install = |more: &[&str]| {
        let words = ["env", "sudo", "/var/tmp/nix-installer", "install", "linux"];
        vm.exec(&[&words, more].concat())
    };
    let (who, cores) = ("trusted-users = root ubuntu", "cores = 2");
    let same = ["--no-confirm", "--extra-conf", who, "--extra-conf", cores];
    let unknown = install(&["--no-confirm", "--frob"]);
    assert!(unknown.code == 2 && unknown.err.starts_with("error: unexpected argument '--frob' found\n"));
    let unsure = install(&[]);
    assert!(unsure.code == 1 && unsure.err.contains("no lines found from stdin"), "{unsure:?}");
    assert_ne!(vm.exec(&["test", "-e", "/nix/receipt.json"]).code, 0, "nothing was done yet");
    let done = install(&same);
    assert!(done.code == 0 && done.out.contains("Nix was installed successfully!"), "{done:?}");
    assert_eq!(
        vm.sh("getent passwd nixbld1 nixbld32 | cut -d: -f1,3,4; ls /usr/bin/nix* 2> /dev/null || echo none"),
        "nixbld1:30001:30000\nnixbld32:30032:30000\nnone\n"
    );
    assert_eq!(
        vm.sh("tail -n 1 /etc/nix/nix.conf; grep = /etc/nix/nix.custom.conf"),
        format!("!include nix.custom.conf\n{who}\n{cores}\n")
    );
    let works = || {
        assert_eq!(
            vm.sh("systemctl is-active nix-daemon.socket; systemctl is-enabled nix-daemon.socket"),
            "active\nenabled\n"
        );
        vm.sh(
            "PATH=$PATH:/nix/var/nix/profiles/default/bin; export NIX_REMOTE=daemon; nix config show cores\n\
             echo \"derivation { name = \\\"z$(date +%N)\\\"; system = builtins.currentSystem; builder = \\\"/bin/sh\\\"; \
               args = [ \\\"-c\\\" \\\"echo built > \\$out\\\" ]; }\" > ~/z.nix\n\
             cat $(nix-build --no-out-link ~/z.nix)",
        )
    };
    assert_eq!(works(), "2\nbuilt\n");
    // The shell reads this file before it tests whether it is interactive.
    assert_eq!(vm.exec(&["which", "nix"]).out, "/nix/var/nix/profiles/default/bin/nix\n");
    let again = install(&same);
    assert!(again.code == 0 && again.err.contains("with the same settings, already completed."), "{again:?}");
    let other = install(&["--no-confirm"]);
    assert!(other.code == 1 && other.err.contains("which used different planner settings"), "{other:?}");
    assert_eq!(vm.run(&["restart", &vm.name]).code, 0);
    assert_eq!(works(), "2\nbuilt\n");
}

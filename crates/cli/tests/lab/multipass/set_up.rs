//! How Nix gets into a guest.

use super::*;

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn an_installation_that_was_interrupted_goes_on() {
    // Half of it is there, as when the machine was switched off.
    let script = r#"provision >/dev/null 2>&1; guest 'sudo rm /var/lib/nixoci/stamp; sudo dpkg --unpack --force-all /lab/apt/nix-bin_*.deb >/dev/null 2>&1'
        rm -r $XDG_STATE_HOME/nixoci; guest 'dpkg -s nix-bin | grep ^Status'; tiny; code=$?; guest 'dpkg -s nix-bin | grep ^Status'; exit $code"#;
    let run = NIX_2_34.with(RELEASE).sh(&on_plain_image("", script)).fails(42, NOT_AN_IMAGE);
    run.out("unpacked\n").out("ok installed\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn an_image_that_has_nix_is_set_up_and_its_packages_stay() {
    let script = "multipass find | grep -c '^nix '; tiny; code=$?; guest 'grep -c . /var/log/apt/history.log 2>/dev/null'; guest 'nix --version'; exit $code";
    let run = NIX_2_34.with(RELEASE).sh(&alone("", script)).fails(42, NOT_AN_IMAGE);
    assert!(run.out.starts_with("1\n") && run.out.contains("2.26"), "{run:#?}");
}

const INSTALLER: &str = "/lab/multipass/nix-installer";

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn an_installer_with_another_hash_is_not_run() {
    let script = "provision; code=$?; guest 'ls /nix/receipt.json' 2>/dev/null || exit $code";
    let zeros = "0".repeat(64);
    let settings = format!("installer = '{INSTALLER}'\ninstaller-sha256 = '{zeros}'\nimage = '24.04'");
    let run = NIX_2_34.with(RELEASE).sh(&on_plain_image(&settings, script));
    run.fails(30, "nixoci::guest::installer").says("multipass_installer_hash");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn an_installer_with_its_hash_installs_nix() {
    let script = format!(
        r#"echo "installer-sha256 = '$(sha256sum {INSTALLER} | cut -d' ' -f1)'" >> nixoci.toml; tiny; code=$?
        guest 'ls /usr/bin/nix; readlink -f $(command -v nix)'; exit $code"#
    );
    let settings = format!("image = '24.04'\ninstaller = '{INSTALLER}'\n");
    let run = NIX_2_34.with(RELEASE).sh(&on_plain_image(&settings, &script)).fails(42, NOT_AN_IMAGE);
    assert!(run.out.starts_with("/nix/store/"), "{run:#?}");
}

each!(every_supported_ubuntu_builds_without_settings:
    jammy("22.04", "2.35.2/nix-installer-aarch64-linux (32.5 MB, SHA-256 a1b35e56", "/nix/store/"),
    noble("24.04", "2.35.2/nix-installer-aarch64-linux (32.5 MB, SHA-256 a1b35e56", "/nix/store/"),
    resolute("26.04", "install Nix there, from Ubuntu's package", "/usr/bin/nix"));
fn every_supported_ubuntu_builds_without_settings(image: &str, planned: &str, installed: &str) {
    let script = r#"cp $here/examples/layered/default.nix .; nixoci plan --backend multipass -f default.nix
        build -f default.nix --load=docker -t ubuntu:$tag 2>$log || { cat $log; exit 1; }
        docker run --rm ubuntu:$tag; docker rmi -f ubuntu:$tag >/dev/null; guest 'readlink -f $(command -v nix)'"#;
    let settings = format!("image = '{image}'");
    let run = NIX_2_34.with(RELEASE).sh(&on_plain_image(&settings, script)).code(0);
    run.out(planned).out(&format!("Hello, world!\n{installed}"));
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn an_installer_that_is_not_the_release_s_is_not_run() {
    // A proxy that changes what is downloaded.
    let script = r#"shim "$(cat <<'END'
[ "$1" != launch ] || { { cat; echo 'bootcmd:'; echo "- sed -i s/a1b35e56/00000000/ /usr/local/bin/curl"; } | multipass "$@"; exit; }
END
)"
        PATH=$shimmed provision; code=$?; guest 'ls /nix/receipt.json' 2>/dev/null || exit $code"#;
    let run = NIX_2_34.with(NEXT).sh(&on_plain_image("image = '24.04'", script));
    run.fails(30, "nixoci::guest::installer").says("multipass_pinned_installer_hash");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn programs_for_the_other_cpu_are_emulated_where_that_is_wanted() {
    // An Intel Mac, so that it is arm64's programs that really run.
    const INTEL: &[&str] =
        &["--as", "mac", "--without", "nix", "--user", "alice", "--with", "multipass", "--intel"];
    let script = r#"cp $here/examples/layered/default.nix .
        nixoci plan --backend multipass --platform linux/arm64 -f default.nix
        provision --platform linux/arm64,linux/amd64
        build -f default.nix --platform linux/arm64 --load=docker -t emulated:$tag 2>$log || { cat $log; exit 1; }
        nixoci backends | grep -A2 ^multipass
        docker run --rm --platform linux/arm64 emulated:$tag; docker rmi -f emulated:$tag >/dev/null"#;
    let run = NIX_2_34.with(INTEL).sh(&alone("emulate = true", script)).code(0);
    let run = run.out("qemu for the other CPU's programs: to do").out("by emulation").out("Hello, world!");
    run.out("ready, emulated, on multipass").out("aarch64-linux: built and").out("x86_64-linux: built and");
}

/// A timer of Ubuntu's updates the lists of packages after a boot, and holds a lock that apt itself does not wait for.
#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn lists_of_packages_that_are_locked_are_waited_for() {
    let script = r#"provision >/dev/null 2>&1; guest 'sudo rm /var/lib/nixoci/stamp; sudo apt-get -q -y purge nix-bin nix-setup-systemd >/dev/null 2>&1'
        rm -r $XDG_STATE_HOME/nixoci; gate $vm
        guest "sudo python3 -c 'import fcntl
lock = open(\"/var/lib/apt/lists/lock\", \"w\"); fcntl.lockf(lock, fcntl.LOCK_EX)
open(\"$events/$vm.begun\", \"w\").write(\"locked\\n\"); open(\"$events/$vm.go\").read()'" & holder=$!
        begun $vm $holder; nixoci -vv provision --backend multipass -y >$log 2>&1 & pid=$!
        line $log 'another program updates the lists' $pid && echo waits; go_on $vm; wait $pid; echo code $?; wait $holder"#;
    let run = NIX_2_34.with(RELEASE).sh(&on_plain_image("", script)).code(0);
    assert_eq!(run.out, "waits\ncode 0\n", "{run:#?}");
}

/// As a shell under Rosetta has it written, or another Mac whose files came here.
#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn what_is_remembered_of_another_cpu_is_looked_at_again() {
    let script = r#"provision >/dev/null 2>&1; receipt=$XDG_STATE_HOME/nixoci/multipass/$vm/receipt.json
        sed -i s/aarch64-linux/x86_64-linux/ $receipt; tiny >$log 2>&1; echo code $?; grep -o aarch64-linux $receipt
        sed -i s/aarch64-linux/x86_64-linux/ $receipt; tiny --platform linux/amd64 2>&1 | grep -o 'nixoci explain .*'"#;
    let run = NIX_2_34.with(RELEASE).sh(&alone("", script)).code(0);
    assert_eq!(run.out, "code 42\naarch64-linux\nnixoci explain nixoci::multipass::cpu\n", "{run:#?}");
}

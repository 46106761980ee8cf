//! A project's own files: clean, changed, committed, without Git.

use super::*;

each!(a_clean_project_is_what_it_is_here: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn a_clean_project_is_what_it_is_here(host: Host) {
    let script = r#"for r in . ./sub '.?dir=sub' path:. "git+file://$PWD?ref=side" "git+file://$PWD?rev=$(git rev-parse HEAD~1)"; do flake "$r" "$r"; done"#;
    compared(host, script, 6);
}

each!(a_changed_project_is_what_it_is_here: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn a_changed_project_is_what_it_is_here(host: Host) {
    let script = r#"flake clean .; echo dirt >> 'f 2'; echo new > f4; git add -N f4; rm 'f 3'; echo staged > f5; git add f5; git mv run run2; echo untracked > u
        for r in . ./sub '.?dir=sub' path:.; do flake "$r" "$r"; done
        echo more >> 'f 2'; flake dirtier ."#;
    compared(host, script, 6);
}

each!(a_project_is_what_it_is_here_after_each_step_of_its_history: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn a_project_is_what_it_is_here_after_each_step_of_its_history(host: Host) {
    let script = r#"flake clean .; echo dirt >> 'f 2'; rm 'f 3'; git mv run run2; flake dirty .
        git add -A; git commit -qm c; flake committed .; git checkout -q HEAD~1; flake older .
        rm -rf .git; flake plain .; git init -q -b main; git add .; flake unborn ."#;
    compared(host, script, 6);
}

/// `b` builds, and says what was sent: how many files, and whether that was less than 64 KiB.
const SENT: &str = r#"b() {
    nixoci --config-file $conf build --backend multipass "$@" --no-link --progress-fd 3 3>$log.events >$log 2>&1
    jq -r 'select(.text // "" | startswith("sent")) | .text' $log.events | sed -E 's/^sent ([0-9]+) files? .*/sent \1/'
    grep -oE 'nixoci explain .*' $log
}
"#;

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn one_changed_file_is_what_crosses() {
    let script = format!(
        r#"{SENT} git config --global user.email a@b; git config --global user.name a; provision >/dev/null 2>&1
        conf=$PWD/nixoci.toml; mkdir p; cd p; git init -q; printf '%s' '{{ outputs = {{ self }}: {{ packages.aarch64-linux.x = builtins.derivation {{
            name = "x"; system = "aarch64-linux"; builder = "/bin/sh"; args = [ "-c" "read x < ${{self}}/a/7; echo $x > $out" ]; }}; }}; }}' > flake.nix
        mkdir a b; for d in a b; do for i in $(seq 200); do head -c 2000 /dev/urandom | base64 > $d/$i; done; done; git add .; git commit -qm a
        size() {{ jq -r 'select(.text // "" | startswith("sent")) | .text' $log.events | grep -oE '[kM]B'; }}
        b .#x; size; echo again; b .#x; echo changed > a/7; echo changed; b .#x; size; git commit -qam b; echo committed; b .#x; rm -r b; git add -A; echo removed; b .#x"#
    );
    let run = NIX_2_34.with(RELEASE).sh(&alone("", &script)).code(0);
    // All of it; nothing; the changed file; the commit, which has nothing new.
    let lines: Vec<&str> = run.out.lines().filter(|line| !line.contains("explain")).collect();
    let wanted = ["sent 401", "MB", "again", "changed", "sent 1", "kB", "committed", "removed"];
    assert_eq!(lines, wanted, "{run:#?}");
    assert_eq!(run.out.matches(&format!("nixoci explain {NOT_AN_IMAGE}")).count(), 5, "{run:#?}");
}

/// The article's way: Multipass mounts the project, and nothing is sent.
const MOUNT: &str = "sources = 'mount'";

each!(a_project_that_is_mounted_is_what_it_is_here: alice(BOTH), root(ROOTS_BOTH));
fn a_project_that_is_mounted_is_what_it_is_here(options: &'static [&'static str]) {
    let flake = flake_without_quotes();
    let script = format!(
        r#"{COMPARE} provision >/dev/null 2>&1; mkdir p; cd p; git init -q; printf '%s' '{flake}' > flake.nix; git add .; git commit -qm a
        printf '%s' '{{ system }}: derivation {{ name = "x"; inherit system; builder = "/bin/sh"; src = ./flake.nix; args = [ (toString ./.) ]; }}' > default.nix
        flake clean .; echo >> flake.nix; flake dirty .; file plain default.nix; ls -A
        multipass stop $vm >/dev/null; multipass start $vm >/dev/null; flake restarted .
        grep -h sent $log; git status --porcelain; multipass info $vm --format json | grep source_path; guest ls /var/lib/nixoci/mounts"#
    );
    let run = NIX_2_26.with(options).sh(&alone(MOUNT, &script)).code(0);
    assert_eq!(run.out.matches(": same\n").count(), 4, "{run:#?}");
    assert!(!run.out.contains("sent ") && !run.out.contains(".nixoci-"), "{run:#?}");
    assert!(!run.out.contains("source_path") && !run.out.contains('-'), "nothing stays mounted: {run:#?}");
}

/// A build that stands still, with an input outside of the project, and whose nixoci is killed.
#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_mount_is_read_only_and_only_of_the_project_and_a_later_build_removes_one_that_was_left() {
    let script = r#"provision >/dev/null 2>&1; conf=$PWD/nixoci.toml; mkdir p other; echo there > other/f; cd p
        cat > flake.nix <<END
{ inputs.other = { url = "path:$OLDPWD/other"; flake = false; };
  outputs = { self, other }: { packages.aarch64-linux.x = derivation { name = "x"; system = "aarch64-linux"; builder = "/bin/sh";
    args = [ "-c" (builtins.readFile ./command + " # \${other}") ]; }; }; }
END
        held $vm > command; gate $vm
        mounts() { multipass info $vm --format json | jq -r '.info[].mounts // {} | to_entries[] | "\(.value.source_path) at \(.key)"'; }
        b() { nixoci --config-file $conf build --backend multipass path:.#x --no-link; }
        nixoci --config-file $conf build --backend multipass path:.#x --no-link >$log 2>&1 & pid=$!; begun $vm $pid || { cat $log >&2; exit 1; }
        mounts; at=$(mounts | sed 's/.* at //'); guest "touch $at/pwned; sudo touch $at/pwned" 2>&1 | grep -o 'Read-only file system'
        kill -9 $pid; wait $pid 2>/dev/null; echo killed; mounts
        echo 'echo hi > $out' > command; b 2>&1 | grep -o 'nixoci explain .*'; echo built; mounts; ls"#;
    let run = NIX_2_34.with(BOTH).sh(&alone(MOUNT, script)).code(0);
    let lines: Vec<&str> = run.out.lines().collect();
    let mount = lines.first().filter(|line| line.contains("/p at /var/lib/nixoci/mounts/"));
    let mount = mount.unwrap_or_else(|| panic!("{run:#?}"));
    let explain = format!("nixoci explain {NOT_AN_IMAGE}");
    let wanted = [
        mount,
        "Read-only file system",
        "Read-only file system",
        "killed",
        mount,
        &explain,
        "built",
        "command",
        "flake.nix",
    ];
    assert_eq!(lines, wanted, "{run:#?}");
}

each!(a_mount_that_cannot_be_used_has_its_own_code:
    mounts_are_disabled(ROOTS, "mounts-disabled", 20, "nixoci::multipass::mounts"),
    it_looks_empty(ROOTS, "mount-empty", 30, "nixoci::multipass::mount"),
    sshfs_is_missing(ROOTS_NEXT, "sshfs-missing", 30, "nixoci::multipass::mount"),
);
fn a_mount_that_cannot_be_used_has_its_own_code(
    options: &'static [&'static str],
    knob: &str,
    code: i32,
    id: &str,
) {
    let run = struck(NIX_2_34.with(options), MOUNT, "strike; tiny", knob).fails(code, id);
    run.says(&format!("multipass_{}", knob.replace('-', "_")));
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_mac_without_git_sends_everything_where_that_is_wanted() {
    let flake = flake_without_quotes();
    let script = format!(
        r#"{COMPARE} provision >/dev/null 2>&1; mkdir p $log.bin; cd p; git init -q -b main; printf '%s' '{flake}' > flake.nix; git add .; git commit -qm a; echo ignored > .gitignore; git add .; git commit -qm b
        echo x > ignored; printf '%s' '{{ system }}: derivation {{ name = "x"; inherit system; builder = "/bin/sh"; src = ./flake.nix; has = builtins.readFile ./ignored; }}' > default.nix
        printf '#!/bin/sh\necho "xcode-select: note: No developer tools were found, requesting install." >&2; exit 1\n' > $log.bin/git; chmod +x $log.bin/git
        nixoci() {{ PATH=$log.bin:$PATH command nixoci "$@"; }}
        nixoci --config-file $conf build --backend multipass .#x; code=$?
        echo 'sources = "path"' >> $conf; flake clean .; echo >> flake.nix; flake dirty .; file plain default.nix; exit $code"#
    );
    let run = NIX_2_26.with(BOTH).sh(&alone("", &script)).fails(21, "nixoci::guest::git");
    assert_eq!(run.out.matches(": same\n").count(), 3, "{run:#?}");
    run.says("multipass_without_git");
}

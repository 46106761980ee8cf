//! Inputs of flakes that lie on this host, and what is no flake.

use super::*;

fn same(host: Host, script: &str, count: usize) -> Run {
    let script = format!("{COMPARE} provision >/dev/null 2>&1\n{script}");
    let run = host.with(BOTH).sh(&alone("", &script));
    assert_eq!(run.out.matches(": same\n").count(), count, "{run:#?}");
    run
}

each!(submodules_are_what_they_are_here: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn submodules_are_what_they_are_here(host: Host) {
    let flake = flake_without_quotes();
    let script = format!(
        r#"mkdir inner m sub; cd inner; git init -q; echo in > in; git add .; git commit -qm i
        cd ../m; git init -q; git submodule --quiet add ../inner nested 2>/dev/null; echo m > m; git add .; git commit -qm m
        cd ../sub; git init -q; git submodule --quiet add ../m mod 2>/dev/null; git submodule --quiet update --init --recursive; printf '%s' '{flake}' > flake.nix; git add .; git commit -qm s
        flake modules "git+file://$PWD?submodules=1"; flake without-modules ."#
    );
    same(host, &script, 2).code(0);
}

each!(inputs_on_this_host_are_what_they_are_here: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn inputs_on_this_host_are_what_they_are_here(host: Host) {
    let flake = flake_without_quotes();
    let script = format!(
        r#"printf '%s' '{flake}' > $log.flake; mkdir lib inputs; cd lib; echo '{{ outputs = _: {{ text = "from lib"; }}; }}' > flake.nix; echo x > x
        cd ../inputs; sed "s,outputs = {{ self }},inputs.lib.url = \"path:$(dirname $PWD)/lib\"; outputs = {{ self\, lib }},; s,\"no\",lib.text,g" $log.flake > flake.nix; flake unlocked .
        nix --extra-experimental-features 'nix-command flakes' flake lock 2>/dev/null; ls flake.lock; flake locked ."#
    );
    same(host, &script, 2).code(0).out("flake.lock\n");
}

each!(files_are_what_they_are_here: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn files_are_what_they_are_here(host: Host) {
    let script = r#"mkdir my-project; cd my-project; printf '%s' '{ system }: derivation { name = "x"; inherit system; builder = "/bin/sh"; src = ./.; args = [ (toString ./.) ]; }' > default.nix; mkdir empty; echo a > a
        file plain default.nix; file directory .
        git init -q; echo b > b; echo ignored > ignored; echo ignored > .gitignore; nixoci --config-file $conf plan --backend multipass -f . --format json | grep -o 'x.drv' | sort -u"#;
    same(host, script, 2).code(0).out("x.drv\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_locked_input_on_this_host_alone_has_its_own_code() {
    let script = r#"mkdir p; cd p; printf '{ outputs = _: { }; }' > flake.nix
        printf '{"nodes":{"lib":{"locked":{"type":"git","url":"file:///x","rev":"1"}}}}' > flake.lock; nixoci --config-file $conf build --backend multipass .#x"#;
    same(NIX_2_34, script, 0).fails(41, "nixoci::guest::local_input").says("multipass_local_input");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_home_directory_is_not_sent() {
    let run = same(NIX_2_34, "cd; nixoci --config-file $conf build --backend multipass -f $HOME", 0);
    run.fails(10, "nixoci::guest::too_much").says("multipass_home");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn what_a_flake_without_a_lock_quotes_is_an_input_only_where_it_can_be_one() {
    // The programs of the guest are the guest's, whatever a flake says of an image.
    let script = r#"provision >/dev/null 2>&1; conf=$PWD/nixoci.toml; mkdir lib p; echo '{ outputs = _: { text = "from lib"; }; }' > lib/flake.nix; cd p
        b() { nixoci --config-file $conf build --backend multipass .#x --no-link -o archive:$log.out "$@"; }
        flake() { printf '{ inputs.lib.url = "%s"; outputs = { self, lib }: { packages.aarch64-linux.x = builtins.derivation {
            name = "x"; system = "aarch64-linux"; builder = "/bin/sh"; args = [ "-c" "echo ${lib.text} > $out" ];
            config = [ "/" "/bin" "/etc" "/tmp" "/usr/bin" ]; }; }; }' "$1" > flake.nix; }
        flake "path:$(dirname $PWD)/lib"; b --progress-fd 3 3>$log 2>/dev/null; echo code $?; jq -r '.text // empty | select(startswith("sent 2 files")) | .[:12]' $log
        flake path:../lib; b"#;
    let run = NIX_2_34.with(RELEASE).sh(&alone("", script)).fails(41, "nixoci::guest::local_input");
    run.out("code 42\nsent 2 files\n").says("multipass_relative_input");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn an_input_within_the_project_that_git_does_not_track_is_seen_where_it_is_named() {
    let flake = flake_without_quotes()
        .replace("{ outputs = { self }:", "{ inputs.lib.url = \"github:o/r\"; outputs = { self, lib }:");
    let script = format!(
        r#"mkdir -p p/vendor/lib p/vendor/repo; cd p; git init -q -b main
        printf '%s' '{flake}' | sed "s,\"no\",lib.text,g" > flake.nix; echo vendor > .gitignore; git add .; git commit -qm a
        echo '{{ outputs = {{ self }}: {{ text = "${{self}}"; }}; }}' | tee vendor/lib/flake.nix > vendor/repo/flake.nix
        (cd vendor/repo; git init -q -b main; git add .; git commit -qm b)
        with() {{ compare "$1" ".#x" --override-input lib "$1" -- --no-write-lock-file ".#packages.aarch64-linux.x.drvPath" --override-input lib "$1"; }}
        with path:./vendor/lib; with ./vendor/repo; echo >> vendor/repo/flake.nix; with ./vendor/repo; echo >> flake.nix; with path:./vendor/lib
        sed -i "s,github:o/r,path:$PWD/vendor/lib," flake.nix; nixoci --config-file $conf build --backend multipass .#x; code=$?; with path:./vendor/lib; exit $code"#
    );
    same(NIX_2_26, &script, 5).fails(41, "nixoci::guest::local_input").says("multipass_untracked_input");
}

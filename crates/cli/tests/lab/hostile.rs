//! A project that was written by an attacker, trusted or not: none of its words, files and settings runs a program.

use super::*;

const MAC: &[&str] = &["--as", "mac", "--user", "alice", "--with", "fleet"];
const GUEST: &[&str] = &["--as", "mac", "--without", "nix", "--user", "alice", "--with", "multipass"];

/// An attribute that is a flag of Nix, and an expression that runs a program where that flag is set.
const FLAG: &str = r#"cd $(mktemp -d); printf '[image]\nfile = "default.nix"\nattr = "--allow-unsafe-native-code-during-evaluation"\n' > nixoci.toml
printf '{ system ? "" }: if builtins ? exec then builtins.exec [ "/bin/sh" "-c" "touch %s/owned; echo null" ] else null' $PWD > default.nix
for command in "build" "plan" "build --backend multipass -y"; do nixoci $command 2>log; echo $?; grep -o 'nixoci explain .*' log; done; ls"#;

each!(an_attribute_is_never_a_flag_of_nix: linux(&[]), mac(MAC), guest(GUEST));
fn an_attribute_is_never_a_flag_of_nix(options: &'static [&'static str]) {
    let refused = "2\nnixoci explain nixoci::installable\n";
    let run = NIX_2_34.with(options).sh(FLAG).code(0);
    assert_eq!(run.out, format!("{refused}{refused}{refused}default.nix\nlog\nnixoci.toml\n"), "{run:#?}");
}

/// A program of the machine that a list of machines names is one program, whoever wrote the list.
#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_list_of_machines_runs_nothing_on_them() {
    let script = r#"cd $(mktemp -d); mark=/tmp/owned-$tag
        printf 'ssh-ng://bee?remote-program=sh%%20-c%%20%%27id%%3E%s%%27 x86_64-linux\n' $mark > machines
        printf '[profile.default]\nbackend = ["remote"]\n[backend.remote]\nfrom = "machines"\n' > nixoci.toml
        for command in "build $OLDPWD/examples/hello#container" "plan $OLDPWD/examples/hello#container" doctor backends; do nixoci $command >/dev/null 2>&1; done
        ssh bee test -e $mark; echo $?"#;
    let run = NIX_2_34.with(MAC).sh(script).code(0);
    assert_eq!(run.out, "1\n", "{run:#?}");
}

/// An archive brings a repository with its configuration, as a clone does not.
#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn git_runs_nothing_that_a_repository_names() {
    let vm = crate::harness::unique("t");
    let script = format!(
        r#"dir=$(mktemp -d); cd $dir; export XDG_STATE_HOME=$(mktemp -d) HOME=$dir
        trap 'multipass delete -p {vm} >/dev/null 2>&1; rm -rf $XDG_STATE_HOME; chmod -R u+w $XDG_CACHE_HOME; rm -rf $XDG_CACHE_HOME' EXIT
        printf '[backend.multipass]\ninstance = "{vm}"\nimage = "nix"\nmemory = "2G"\ndisk = "10G"\n' > vm.toml
        printf '#!/bin/sh\necho "$0 $*" >> %s/owned\nexec cat\n' $dir > evil; chmod 755 evil
        mkdir p; cd p; git init -q; printf '%s' '{{ outputs = {{ self }}: {{ packages.aarch64-linux.x = builtins.derivation {{
            name = "x"; system = "aarch64-linux"; builder = "/bin/sh"; args = [ "-c" "read x < ${{self}}/f; echo $x > $out" ]; }}; }}; }}' > flake.nix
        echo one > f; printf '* filter=evil diff=evil\n' > .gitattributes; git add .; git -c user.email=a@b -c user.name=n commit -qm a
        for hook in post-index-change pre-auto-gc reference-transaction; do cp ../evil .git/hooks/$hook; done
        for key in core.fsmonitor filter.evil.clean filter.evil.smudge filter.evil.process diff.evil.textconv diff.external gpg.program core.alternateRefsCommand; do git config $key $dir/evil; done
        git config log.showSignature true; rm -f ../owned
        for text in one two; do
            echo $text > f; touch -d 2001-01-01 f
            for command in "plan .#x" "build .#x -y --no-link" "build .#x -y --no-link --created commit"; do
                nixoci --config-file ../vm.toml $command --backend multipass >../log 2>&1; grep -o 'nixoci explain .*' ../log
            done
        done
        nixoci --no-config init .#x >/dev/null 2>&1; echo $?
        cat ../owned 2>/dev/null"#
    );
    let run = NIX_2_34.with(GUEST).sh(&script);
    // The derivation makes no image; it is built all the same.
    assert_eq!(
        run.out,
        format!("{}0\n", "nixoci explain nixoci::image::not_an_image\n".repeat(4)),
        "{run:#?}"
    );
}

// `load = true` of a project under the names of somebody else's images: nothing is replaced unless it was typed, or nixoci loaded it.
each!(a_project_takes_no_name_of_an_image_that_nixoci_did_not_load:
    docker(NIX_2_34, "docker"), docker_20(NIX_2_34_DOCKER_20, "docker"), podman(NIX_2_34, "podman"),
);
fn a_project_takes_no_name_of_an_image_that_nixoci_did_not_load(host: Host, runtime: &str) {
    let script = format!(
        r#"r={runtime}; unset NIXOCI_TRUST_PROJECT; dir=$PWD; cd $(mktemp -d); export XDG_STATE_HOME=$(mktemp -d)
        nixoci build path:$dir/examples/cowsay#container -o docker-archive:other.tar -t $tag:db --no-link --created 2020-01-01T00:00:00Z >/dev/null 2>&1 || exit
        full=docker.io/library/$tag; $r load -q -i other.tar >/dev/null; [ $r = docker ] || podman tag localhost/$tag:db $full:db
        id() {{ $r image inspect --format '{{{{.Id}}}}' $full:db; }}; other=$(id)
        printf '[profile.default]\nload = "%s"\ntags = ["%s:db", "%s:own"]\n' $r $tag $tag > nixoci.toml
        b() {{ nixoci --config-file nixoci.toml build path:$dir/examples/cowsay#container --no-link "$@" 2>$XDG_STATE_HOME/log; echo $?; }}
        b; cat $XDG_STATE_HOME/log >&2; [ "$(id)" = "$other" ] && echo kept; $r image inspect $full:own >/dev/null 2>&1 || echo 'nothing loaded'
        b -t $tag:mine; b --load=$r; [ "$(id)" != "$other" ] && echo replaced; b; b --created 2021-01-01T00:00:00Z"#
    );
    let run = host.sh(&script).code(0);
    // An image that nixoci loaded may be replaced by a later build.
    let names = |line: &&str| line.ends_with(":mine") || line.ends_with(":db");
    let lines: Vec<&str> = run.out.lines().filter(|line| !names(line)).collect();
    assert_eq!(lines, ["11", "kept", "nothing loaded", "0", "0", "replaced", "0", "0"], "{run:#?}");
    run.says(&format!("project_takes_a_name_in_{runtime}"));
}

/// Nix repeats the URLs that it fails to fetch.
#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_password_in_a_url_is_printed_and_logged_nowhere() {
    let script = r#"cd $(mktemp -d); export XDG_STATE_HOME=$(mktemp -d); url='git+https://user:SECRETurl999@127.0.0.1:9/x.git#a'
        for format in human json jsonl; do nixoci --format $format -vv build "$url" --progress-fd 3 >out.$format 2>err.$format 3>events.$format; echo $?; done
        printf '{ inputs.x.url = "git+https://user:SECRETurl999@127.0.0.1:9/y.git"; outputs = _: { }; }' > flake.nix; nixoci build >out 2>err; echo $?
        grep -rl SECRETurl999 --exclude flake.nix . $XDG_STATE_HOME; grep -o 'user:[*]*@127' err.human | head -1"#;
    let run = NIX_2_34.sh(script).code(0);
    assert_eq!(run.out, "41\n41\n41\n41\nuser:***@127\n", "{run:#?}");
}

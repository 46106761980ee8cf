//! Backends from elsewhere: trusted, refused, used, and survived.

use std::path::Path;

use super::*;

/// A home and a configuration of its own, and a project; `$plugins` has the libraries.
fn alone(script: &str) -> String {
    let entry = std::env::var("NIXOCI_LAB_PLUGINS").expect("NIXOCI_LAB_PLUGINS: run `cargo xtask test`");
    let entry = Path::new(&entry).file_name().unwrap().to_str().unwrap();
    format!(
        r#"here=$PWD plugins=/lab/produced/{entry}; own=$(mktemp -d -p $HOME); cd $own
export HOME=$own/home XDG_CONFIG_HOME=$own/config CARGO_HOME=$own/cargo; mkdir -p home config cargo project; cd project
trap 'chmod -R u+w $own $XDG_CACHE_HOME; rm -rf $own $XDG_CACHE_HOME' EXIT
cat > fine.nix <<'END'
{{ system, n ? "fine" }}: derivation {{ name = "plugin-${{n}}"; inherit system; builder = "/bin/sh"; args = [ "-c" "echo $name > $out" ]; }}
END
trust() {{ nixoci plugin trust "$1" >trust.log 2>&1 || {{ cat trust.log; exit 97; }}; }}
config() {{ printf '%s\n' "$@" > nixoci.toml; }}
{script}"#
    )
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn libraries_of_every_sort_keep_the_contract() {
    // Other people's compilers, C, and nixoci's own backend, as root and as an ordinary user.
    let script = "for library in libnixoci_backend_echo.so second/libnixoci_backend_echo.so libnixoci_backend_c_example.so libnixoci_backend_as_local.so; do
        nixoci plugin check $plugins/$library 2>&1 | tail -n1 & done; wait";
    for host in [NIX_2_34.with(&["--user", "alice"]), NIX_2_26] {
        let run = host.sh(&alone(script)).code(0);
        assert_eq!(
            run.out.matches("19 rules kept, 0 broken, 0 left out").count(),
            4,
            "{}: {run:#?}",
            host.name()
        );
    }
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn the_suite_catches_what_is_broken() {
    let script = r#"nixoci plugin check $plugins/libnixoci_backend_fake.so | tail -n1
        for fault in no-offer build-fails vanishes breaks-after40 lies-after40 flips100 proof-fails panics; do
            config '[backend.fake]' "fault = '$fault'"; nixoci plugin check $plugins/libnixoci_backend_fake.so >log 2>err; echo $fault $?
            grep BROKEN log | sed 's/  */ /g' | cut -c1-90; grep -o 'explain nixoci::plugin::contract' err; done
        for fault in garbage other-type other-status cancelled segv; do
            mkdir $fault; printf "[backend.mutant]\nfault = '$fault'\nat = 'query'\n" > $fault/nixoci.toml
            { nixoci -C $fault plugin check $plugins/libnixoci_backend_mutant.so >/dev/null 2>&1; echo mutant $fault $?; } & done; wait"#;
    let run = NIX_2_34.with(&["--user", "alice"]).sh(&alone(script)).code(0);
    let run = run.out("19 rules kept, 0 broken, 0 left out\n");
    for fault in
        ["build-fails", "vanishes", "breaks-after40", "lies-after40", "flips100", "proof-fails", "panics"]
    {
        assert!(run.out.contains(&format!("{fault} 70\n BROKEN ")), "{fault}: {run:#?}");
    }
    for fault in ["garbage", "other-type", "other-status", "cancelled", "segv"] {
        assert!(run.out.contains(&format!("mutant {fault} 70\n")), "{fault}: {run:#?}");
    }
}

/// What nixoci says of a build by the mutant, with this fault in this method.
fn mutant(fault: &str, at: &str) -> String {
    format!(
        r#"mkdir {fault}; cd {fault}; cp ../fine.nix .; config '[backend.mutant]' "fault = '{fault}'" "at = '{at}'"
        began=$SECONDS; timeout 60 nixoci build --backend mutant --no-link -f fine.nix --argstr n $RANDOM >out 2>err; code=$?
        echo "{fault} $code" $([ $((SECONDS - began)) -lt 30 ] && echo soon); grep -vE "^x86_64-linux is built|^building|^fine.nix" err | sed 's/  */ /g; s/^/  /' | cut -c1-200 | head -n 12; cd .."#
    )
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn whatever_a_plugin_does_nixoci_says_whose_fault_it_is() {
    let faults = [
        // Fault, method, exit code, and words of what is said.
        ("segv", "build", 70, "a signal ended it: SIGSEGV"),
        ("null", "build", 70, "a signal ended it: SIGSEGV"),
        ("abort", "build", 70, "a signal ended it: SIGABRT"),
        ("exit", "build", 70, "it has ended itself, with exit code 0"),
        ("leaks-a-child", "build", 70, "it has ended itself, with exit code 3"),
        ("flood-log", "build", 40, "that was 1 GiB"),
        ("flood-stdout", "build", 40, "that was much"),
        ("twice", "build", 40, "once"),
        ("silent", "offers", 70, "it was asked for `offers`, and was silent for 8 s"),
        ("loops-in-start", "offers", 70, "it was asked for `offers`, and was silent for 8 s"),
        ("does-not-begin", "build", 70, "it does not begin a call"),
        ("garbage", "build", 70, "an answer: key must be a string"),
        ("other-type", "build", 70, "its answer to `build`"),
        ("other-status", "build", 70, "status 77"),
        ("cancelled", "build", 70, "nobody had asked it to"),
        ("poses", "build", 70, "nobody had asked it to"),
        ("long-event", "build", 70, "an event: it is longer than 256 KiB"),
        ("garbage-event", "build", 70, "an event: it is no UTF-8"),
        ("new-event", "build", 42, "is a text, not an image"),
        ("no-bytes", "build", 70, "bytes at no address"),
        ("huge", "build", 70, "it is longer than 64 MiB"),
        ("closes-all", "build", 70, "the plugin `mutant`"),
        ("short-nar", "fetch", 50, "it says that it wrote 1000 bytes, and 0 came"),
        ("refuses", "none", 22, "the mutant does not want to"),
        ("refuses-silently", "none", 70, "makes no backend, and does not say why"),
    ];
    let scripts: Vec<String> = faults.iter().map(|(fault, at, ..)| mutant(fault, at)).collect();
    let script = format!(
        "trust $plugins/libnixoci_backend_mutant.so\n{}\nthere() {{ pgrep -af \"nixoci __plugin-hos[t] $XDG_CACHE_HOME\"; }}; gone there",
        scripts.join("\n")
    );
    let run = NIX_2_34.with(&["--user", "alice"]).sh(&alone(&script)).code(0);
    let run = run.out("left:\nend\n");
    for (fault, _, code, words) in faults {
        let all = format!("\n{}", run.out);
        let (_, said) = all.split_once(&format!("\n{fault} ")).unwrap_or_else(|| panic!("{fault}: {run:#?}"));
        let said = said.split("\n  more:").next().unwrap_or(said);
        assert!(
            said.starts_with(&format!("{code} soon\n")) && said.contains(words),
            "{fault}: {said}\n{run:#?}"
        );
        let named = code == 42 || code == 40 || said.contains("mutant");
        assert!(named && !said.contains("panicked"), "{fault}: {said}");
    }
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn what_a_plugin_says_moves_no_terminal_and_fills_no_memory() {
    let script = r#"trust $plugins/libnixoci_backend_mutant.so; fault() { config '[backend.mutant]' "fault = '$1'" "at = '$2'"; }
        fault escapes plan; script -qec "nixoci provision --backend mutant --color always </dev/null" typescript >/dev/null; nixoci plan --backend mutant -f fine.nix >plan 2>&1
        cat typescript plan | grep -c -e $'\[8m' -e $'\[1A' -e $'\[2K' -e $'Â'; grep -c 'rm -rf /true' typescript plan; grep -A1 later plan | grep -c 'a newer nixoci'
        echo '{ system, n }: derivation { name = "bad-${n}"; inherit system; builder = "/bin/sh"; args = [ "-c" "echo hopeless; exit 1" ]; }' >bad.nix
        fault segv amend; nixoci build --backend mutant --no-link -f bad.nix --argstr n $RANDOM >/dev/null 2>err; echo $?; grep -c -e hopeless -e 'would help is not known: the process of the plugin' err
        fault flood-events build; nixoci build --backend mutant --no-link -f fine.nix >/dev/null 2>err & pid=$!
        until grep -q 'remark 0*5000$' err; do kill -0 $pid || exit 98; sleep 0.1; done; sleep 3
        grep VmHWM /proc/$pid/status | awk '{ print ($2 < 150000 ? "small" : $0) }'; began=$SECONDS; kill -INT $pid; wait $pid
        echo $? $([ $((SECONDS - began)) -lt 8 ] && echo soon)"#;
    let run = NIX_2_34.with(&["--user", "alice"]).sh(&alone(script));
    assert_eq!(run.out, "0\ntypescript:1\nplan:1\n1\n40\n3\nsmall\n130 soon\n", "{run:#?}");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_plugin_that_does_not_stop_is_stopped_and_nothing_of_any_is_left() {
    let script = r#"trust $plugins/libnixoci_backend_mutant.so; trust $plugins/libnixoci_backend_echo.so
        cat > slow.nix <<'END'
{ system, n }: derivation { name = "slow-${n}"; inherit system; builder = "/bin/sh"; args = [ "-c" "while :; do : ${n}; done" ]; }
END
        for fault in silent spins after-cancel; do
            config '[backend.mutant]' "fault = '$fault'"
            nixoci build --backend mutant --no-link -f fine.nix --argstr n $RANDOM >/dev/null 2>err & pid=$!
            until grep -q 'is built by' err; do sleep 0.1; done; sleep 1; began=$SECONDS; kill -INT $pid; wait $pid
            echo "$fault $?" $([ $((SECONDS - began)) -lt 8 ] && echo soon); grep -o 'did not stop when asked' err; done
        rm nixoci.toml
        begin() { mark=$RANDOM$RANDOM; nixoci build --backend echo --no-link -f slow.nix --argstr n $mark >/dev/null 2>err & pid=$!
            for n in $(seq 100); do pgrep -f "^/bin/sh -c while :; do : $mark" >/dev/null && break; sleep 0.1; done; }
        there() { pgrep -af "nixoci __plugin-hos[t] $XDG_CACHE_HOME"; pgrep -aP $pid; pgrep -af "[n]ix build.*$XDG_CACHE_HOME"; }
        host() { pgrep -P $pid -f plugin-host; }
        begin; kill -SEGV $(host); wait $pid; echo segv $?; grep -o 'a signal ended it: SIGSEGV' err; gone there
        begin; kill -9 $(host); wait $pid; echo kill $?; grep -o 'a signal ended it: SIGKILL' err; gone there
        begin; kill -STOP $(host); kill -INT $pid; wait $pid; echo stopped $?; gone there
        begin; kill -INT $pid; wait $pid; echo int $?; grep -c 'did not stop' err; gone there
        begin; kill -9 $pid; wait $pid 2>/dev/null; echo nine $?; gone there"#;
    let run = NIX_2_34.with(&["--user", "alice"]).sh(&alone(&format!("{script}"))).code(0);
    let asked = "did not stop when asked\n";
    let left = "left:\nend\n";
    assert_eq!(
        run.out,
        format!(
            "silent 130 soon\n{asked}spins 130 soon\n{asked}after-cancel 130 soon\n{asked}\
             segv 70\na signal ended it: SIGSEGV\n{left}kill 70\na signal ended it: SIGKILL\n{left}\
             stopped 130\n{left}int 130\n0\n{left}nine 137\n{left}"
        ),
        "{run:#?}"
    );
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn what_is_no_plugin_is_refused_and_nothing_of_it_runs() {
    let script = r#"refused() { what=$1; shift; "$@" >out 2>err; code=$?; echo "$what $code $(grep -o 'explain [a-z:_]*' err | tail -n1 | cut -d' ' -f2)"; }
        c=libnixoci_backend_c_example.so; p=$own/p; mkdir $p; cp $plugins/$c $p/$c
        for bad in no_json says_nothing lies open_schema small_table newer_minor version_2 no_entry no_table no_cancel unresolved; do
            refused $bad nixoci plugin trust $plugins/bad/libnixoci_backend_$bad.so; done
        test -e /tmp/nixoci-mutant-ran && echo it ran
        odd=$own/odd/$c; mkdir $own/odd; echo '#!/bin/sh' >$odd; chmod +x $odd; refused text nixoci plugin trust $odd
        cp $plugins/$c $odd; printf '\xb7' | dd of=$odd bs=1 seek=18 conv=notrunc 2>/dev/null; refused arm nixoci plugin trust $odd; grep -o 'it is for aarch64, and nixoci runs on x86_64' err
        head -c 3000 $plugins/$c >$odd; refused cut nixoci plugin trust $odd
        cp /bin/true $odd; refused program nixoci plugin trust $odd
        cp $plugins/$c $p/other.so; refused name nixoci plugin trust $p/other.so; cp $plugins/$c $p/libnixoci_backend_local.so; refused shadow nixoci plugin trust $p/libnixoci_backend_local.so
        refused absent nixoci plugin trust nobody; refused absent-file nixoci plugin trust ./nobody
        chmod o+w $p/$c; refused file nixoci plugin trust $p/$c; chmod o-w $p/$c; chmod g+w $p; refused dir nixoci plugin trust $p/$c; chmod g-w $p
        cp $plugins/$c /tmp/$c; refused tmp nixoci plugin trust /tmp/$c; rm /tmp/$c
        refused hash nixoci plugin trust $p/$c --sha256 $(printf 0%.0s $(seq 64)); grep -c 'nixoci plugin trust' err; ls $XDG_CACHE_HOME/nixoci/plugins 2>/dev/null | grep -c $(sha256sum $p/$c | cut -d' ' -f1)
        chmod g+w $p $p/$c $own; refused several nixoci plugin trust $p/$c; eval "$(grep -o 'chmod go-w.*' err)"; nixoci plugin show $p/$c | grep -o '^not trusted'
        build() { nixoci build --backend c-example --no-link -f fine.nix; }
        mkdir $own/q; cp $p/$c $own/q; NIXOCI_PLUGIN_PATH=$p:$own/q refused two build; rm -r $own/q; touch c-example; NIXOCI_PLUGIN_PATH=$p nixoci plugin show c-example | grep -o '^not trusted'; rm c-example
        refused unknown build; NIXOCI_PLUGIN_PATH=$p refused untrusted build
        trust $p/$c; refused trusted build
        config '[backend.c-example]' 'colour = 1'; refused setting build; grep -o 'nixoci.toml:2:1' err; rm nixoci.toml
        printf '[plugins.x]\npath = "/x"\nsha256 = "0"\n' >nixoci.toml; refused project build; rm nixoci.toml
        mv $p/$c $p/real; ln -s real $p/$c; refused link build; rm $p/$c; mkfifo $p/$c; refused fifo build; rm $p/$c; mv $p/real $p/$c
        cp $p/$c $p/new; echo >>$p/new; mv $p/new $p/$c; refused changed build; cp $plugins/$c $p/$c
        chmod g+w $p/$c; refused later build; chmod g-w $p/$c
        copy=$(ls $XDG_CACHE_HOME/nixoci/plugins/$(sha256sum $p/$c | cut -d' ' -f1)); chmod u+w $copy; printf x | dd of=$copy bs=1 seek=5000 conv=notrunc 2>/dev/null; refused copy build; rm $copy; refused mended build
        rm $p/$c; refused gone build; nixoci plugin list; nixoci plugin untrust c-example; refused again nixoci plugin untrust c-example; cat $XDG_CONFIG_HOME/nixoci/config.toml"#;
    let run = NIX_2_34.with(&["--user", "alice"]).sh(&alone(script)).code(0);
    let wanted = "no_json 70 nixoci::plugin::garbled\nsays_nothing 70 nixoci::plugin::description\nlies 70 nixoci::plugin::description\n\
        open_schema 70 nixoci::plugin::description\nsmall_table 70 nixoci::plugin::abi\nnewer_minor 70 nixoci::plugin::abi\n\
        version_2 70 nixoci::plugin::abi\nno_entry 70 nixoci::plugin::abi\nno_table 70 nixoci::plugin::abi\nno_cancel 70 nixoci::plugin::abi\nunresolved 70 nixoci::plugin::library\n\
        text 70 nixoci::plugin::library\narm 70 nixoci::plugin::library\nit is for aarch64, and nixoci runs on x86_64\ncut 70 nixoci::plugin::library\nprogram 70 nixoci::plugin::abi\n\
        name 10 nixoci::plugin::name\nshadow 10 nixoci::plugin::name\nabsent 10 nixoci::plugin::not_found\nabsent-file 10 nixoci::plugin::not_found\n\
        file 11 nixoci::plugin::writable\ndir 11 nixoci::plugin::writable\ntmp 11 nixoci::plugin::writable\nhash 11 nixoci::plugin::changed\n0\n0\nseveral 11 nixoci::plugin::writable\nnot trusted\ntwo 10 nixoci::plugin::ambiguous\nnot trusted\n\
        unknown 10 nixoci::backend::unknown\nuntrusted 11 nixoci::plugin::not_trusted\ntrusted 42 nixoci::image::not_an_image\n\
        setting 10 nixoci::config::unknown_key\nnixoci.toml:2:1\nproject 11 nixoci::config::plugins\nlink 11 nixoci::plugin::link\nfifo 70 nixoci::plugin::library\n\
        changed 11 nixoci::plugin::changed\nlater 11 nixoci::plugin::writable\ncopy 11 nixoci::plugin::changed\nmended 42 nixoci::image::not_an_image\n\
        gone 10 nixoci::plugin::not_found\nc-example       refused";
    assert!(run.out.starts_with(wanted), "{}", run.out);
    run.out("c-example is no longer trusted\nagain 10 nixoci::plugin::not_found\n");
    // Root runs nobody's but its own.
    let script = r#"mkdir /home/alice/p 2>/dev/null; p=/home/alice/p/libnixoci_backend_c_example.so; cp $plugins/libnixoci_backend_c_example.so $p; chown -R 1000 /home/alice/p
        nixoci plugin trust $p; code=$?; rm -r /home/alice/p; exit $code"#;
    NIX_2_34.sh(&alone(script)).fails(11, "nixoci::plugin::as_root");
    // A Mac knows what a browser has fetched; `xattr` is its own program.
    let script = r#"mkdir bin; printf '#!/bin/sh\ntest "$2" = com.apple.quarantine && echo 0081\n' >bin/xattr; chmod +x bin/xattr
        PATH=$PWD/bin:$PATH nixoci plugin trust $plugins/libnixoci_backend_c_example.so"#;
    let run = NIX_2_34.with(&["--as", "mac", "--user", "alice"]).sh(&alone(script));
    run.fails(11, "nixoci::plugin::quarantined").err("xattr -d com.apple.quarantine /lab/");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_trusted_plugin_is_trusted_again_by_its_name_and_leaves_no_copies() {
    let script = r#"p=$own/p; mkdir $p; cp $plugins/libnixoci_backend_c_example.so $p; cp $plugins/libnixoci_backend_echo.so $p
        trust $p/libnixoci_backend_c_example.so; trust $p/libnixoci_backend_echo.so; ls $XDG_CACHE_HOME/nixoci/plugins | wc -l
        cp $p/libnixoci_backend_c_example.so $p/new; echo >>$p/new; mv $p/new $p/libnixoci_backend_c_example.so; trust c-example
        ls $XDG_CACHE_HOME/nixoci/plugins | wc -l; nixoci plugin check c-example --no-build | tail -n2 | head -n1; nixoci plugin untrust echo; ls $XDG_CACHE_HOME/nixoci/plugins | wc -l"#;
    let run = NIX_2_34.with(&["--user", "alice"]).sh(&alone(script)).code(0);
    assert_eq!(
        run.out, "4\n4\n7 rules kept, 0 broken, 12 left out\necho is no longer trusted\n2\n",
        "{run:#?}"
    );
}

/// Nobody can change what is there: it is loaded as it is, and asked once what it is.
#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_plugin_in_the_nix_store_is_asked_once_what_it_is() {
    let script = r#"mkdir p; cp $plugins/libnixoci_backend_c_example.so p; file=$(nix-store --add p)/libnixoci_backend_c_example.so
        trust $file; ls $XDG_CACHE_HOME/nixoci/plugins | grep -c -v json; nixoci explain c-example::build | head -n1
        nixoci -v build --backend c-example --no-link -f fine.nix; ls $XDG_CACHE_HOME/nixoci/plugins | sed 's/.*\././'"#;
    let run = NIX_2_34.with(&["--user", "alice"]).sh(&alone(script));
    assert_eq!(run.out, "0\nc-example::build: nix did not build it\n.json\n", "{run:#?}");
}

/// The commands of a page of the documentation: its `console` blocks.
fn commands(page: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/plugins").join(page);
    let text = std::fs::read_to_string(path).unwrap();
    let blocks = text.split("```console\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap()).collect()
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_backend_is_written_as_the_documentation_says() {
    let commands = commands("write.md");
    assert!(commands.contains("plugin new demo") && commands.contains("--load"), "{commands}");
    // Another compiler than nixoci's builds it. What is not published yet is patched in; what was built before is kept elsewhere.
    let script = format!(
        "cp $plugins/cargo.toml $CARGO_HOME/config.toml; cp -r $here/examples .; export CARGO_PROFILE_DEV_DEBUG=0 CARGO_INCREMENTAL=0\n\
         nixoci() {{ command nixoci \"$@\" || exit; [ \"$1 $2\" != 'plugin new' ] || cp -a /lab/produced/plugins-second $3/target; }}\n\
         {commands}\ndocker run --rm cowsay-hello-world; cd demo; wc -l <src/lib.rs; cargo test -q --tests 2>&1 | grep 'test result'"
    );
    let host = NIX_2_34.with(&["--user", "alice", "--with", "rust"]);
    let run = host.sh(&alone(&script)).code(0).out("19 rules kept, 0 broken, 0 left out");
    run.out("93\n")
        .out("test result: ok. 1 passed")
        .out("< hello world >")
        .err("is built by the backend demo");
}

/// The suite over one of nixoci's own backends as a library, on the host that it is for.
fn as_library(host: Host, name: &str, script: &str) {
    let script = format!(
        r#"check() {{ nixoci plugin check $plugins/libnixoci_backend_{name}.so "$@" | tail -n1; }}
        echo '{{ system, name }}: (import <nixpkgs> {{ inherit system; }}).runCommand name {{ }} "sleep 1.5; echo $name > $out"' > slow.nix
        {script}"#
    );
    host.sh(&alone(&script)).out("19 rules kept, 0 broken, 0 left out\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn nixoci_s_own_backends_keep_the_contract_as_libraries() {
    const MAC: &[&str] = &["--as", "mac", "--user", "alice"];
    const BUILDER: &[&str] = &["--as", "mac", "--user", "alice", "--with", "linux-builder"];
    const BOTH: &[&str] = &["--as", "mac", "--user", "alice", "--with", "rosetta-builder"];
    const FLEET: &[&str] = &["--user", "alice", "--with", "fleet"];
    const VM: &[&str] = &["--as", "mac", "--user", "alice", "--without", "nix", "--with", "multipass"];
    let vm = r#"config '[backend.as-multipass]' 'instance = "as-library"' 'memory = "2G"' 'disk = "10G"'; export XDG_STATE_HOME=$own/state
        trust $plugins/libnixoci_backend_as_multipass.so; nixoci provision --backend as-multipass -y >log 2>&1 || cat log
        check --system aarch64-linux; nixoci provision --backend as-multipass -y --remove >log 2>&1 || cat log"#;
    let remote =
        r#"export HOME=/home/alice; config '[backend.as-remote]' 'builders = [{ host = "ant" }]'; check"#;
    std::thread::scope(|scope| {
        for (host, name, script) in [
            (NIX_2_34.with(BUILDER), "as_darwin_builder", "check --system x86_64-linux"),
            (NIX_2_26.with(BOTH), "as_rosetta", "check --system x86_64-linux"),
            (NIX_2_34.with(FLEET), "as_remote", remote),
            (NIX_2_34.with(MAC), "as_cross", "check --system aarch64-linux --file slow.nix"),
            (NIX_2_34.with(VM), "as_multipass", vm),
        ] {
            scope.spawn(move || as_library(host, name, script));
        }
    });
}

/// Whoever trusts one that is a candidate by itself need not name it, and nixoci's own are taken where they are as near.
#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_plugin_builds_unnamed_where_nothing_of_nixoci_s_is_as_near() {
    let script = r#"export HOME=/home/alice; config '[backend.as-remote]' 'builders = [{ host = "ant" }]'
        trust $plugins/libnixoci_backend_as_remote.so
        nixoci plan -f fine.nix --platform linux/amd64 2>&1 | grep -e "^backend" -e could"#;
    for (flags, plan) in [
        (&["--user", "alice", "--with", "fleet"][..], "local, natively\n          as-remote could too\n"),
        (&["--as", "mac", "--user", "alice", "--with", "fleet"], "as-remote, natively\n"),
    ] {
        let run = NIX_2_34.with(flags).sh(&alone(script)).code(0);
        // On a Mac others could be made to.
        assert!(run.out.starts_with(&format!("backend   {plan}")), "{run:#?}");
    }
}

/// The library that the first SDK made: what it was built from has long been something else.
#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn the_first_library_of_version_1_still_works() {
    let script = "mkdir $own/p; gunzip <$here/crates/plugin/tests/v1/libnixoci_backend_echo.so.gz >$own/p/libnixoci_backend_echo.so
        nixoci plugin check $own/p/libnixoci_backend_echo.so | tail -n1; trust $own/p/libnixoci_backend_echo.so
        nixoci -v build --backend echo --no-link -f fine.nix; nixoci explain echo::no_voice";
    let run = NIX_2_34.with(&["--user", "alice"]).sh(&alone(script)).code(0);
    run.out("19 rules kept, 0 broken, 0 left out\n")
        .err("echo: a build of File")
        .out("`voice` in [backend.echo]");
}

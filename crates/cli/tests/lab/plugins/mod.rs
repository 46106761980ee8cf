//! Backends from elsewhere: trusted, refused, used, and survived.

mod ending;
mod faults;
mod kept;
mod refused;

use std::path::Path;

use super::*;

const ALICE: &[&str] = &["--user", "alice"];

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
# The processes of this cache's plugins.
hosts() {{ pgrep -af "nixoci __plugin-hos[t] $XDG_CACHE_HOME"; }}
# How many rules a plugin keeps, breaks, and was not asked for.
check() {{ nixoci plugin check "$@" --format json | jq -c '[.passed, .failed, .skipped | length]'; return ${{PIPESTATUS[0]}}; }}
{script}"#
    )
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_trusted_plugin_is_trusted_again_by_its_name_and_leaves_no_copies() {
    let script = r#"p=$own/p; mkdir $p; cp $plugins/libnixoci_backend_c_example.so $p; cp $plugins/libnixoci_backend_echo.so $p
        trust $p/libnixoci_backend_c_example.so; trust $p/libnixoci_backend_echo.so; ls $XDG_CACHE_HOME/nixoci/plugins | wc -l
        cp $p/libnixoci_backend_c_example.so $p/new; echo >>$p/new; mv $p/new $p/libnixoci_backend_c_example.so; trust c-example
        ls $XDG_CACHE_HOME/nixoci/plugins | wc -l; check c-example --no-build; nixoci plugin untrust echo >&2; ls $XDG_CACHE_HOME/nixoci/plugins | wc -l"#;
    let run = NIX_2_34.with(ALICE).sh(&alone(script)).code(0);
    assert_eq!(run.out, "4\n4\n[7,0,12]\n2\n", "{run:#?}");
}

/// The store is read-only: a plugin there is loaded as it is, and asked once what it is.
#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_plugin_in_the_nix_store_is_asked_once_what_it_is() {
    let script = r#"mkdir p; cp $plugins/libnixoci_backend_c_example.so p; file=$(nix-store --add p)/libnixoci_backend_c_example.so
        trust $file; ls $XDG_CACHE_HOME/nixoci/plugins | grep -c -v json; nixoci explain c-example::build | head -n1
        nixoci -v build --backend c-example --no-link -f fine.nix; ls $XDG_CACHE_HOME/nixoci/plugins | sed 's/.*\././'"#;
    let run = NIX_2_34.with(ALICE).sh(&alone(script));
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
    // Another compiler than nixoci's builds it. Crates that are not published yet are patched in; earlier build results are kept elsewhere.
    let script = format!(
        "cp $plugins/cargo.toml $CARGO_HOME/config.toml; cp -r $here/examples .; export CARGO_PROFILE_DEV_DEBUG=0 CARGO_INCREMENTAL=0\n\
         nixoci() {{ command nixoci \"$@\" || exit; [ \"$1 $2\" != 'plugin new' ] || cp -a /lab/produced/plugins-second $3/target; }}\n\
         {commands}\ndocker run --rm cowsay-hello-world; cd demo; wc -l <src/lib.rs; cargo test -q --tests 2>&1 | grep 'test result'"
    );
    let host = NIX_2_34.with(&["--user", "alice", "--with", "rust"]);
    let run = host.sh(&alone(&script)).code(0).out("19 rules kept, 0 broken, 0 left out");
    run.out("94\n")
        .out("test result: ok. 1 passed")
        .out("< hello world >")
        .err("is built by the backend demo");
}

const FLEET: &[&str] = &["--user", "alice", "--with", "fleet"];
const MAC_WITH_A_FLEET: &[&str] = &["--as", "mac", "--user", "alice", "--with", "fleet"];

// nixoci's own backends are taken where they are as near. On a Mac others could be made to build.
each!(
    a_plugin_builds_unnamed_where_no_backend_of_nixoci_s_is_as_near:
    after_the_local_one(FLEET, "local native [\"as-remote\"]"),
    before_all_others(MAC_WITH_A_FLEET, "as-remote native ["),
);
fn a_plugin_builds_unnamed_where_no_backend_of_nixoci_s_is_as_near(
    flags: &'static [&'static str],
    plan: &str,
) {
    let script = r#"export HOME=/home/alice; config '[backend.as-remote]' 'builders = [{ host = "ant" }]'
        trust $plugins/libnixoci_backend_as_remote.so
        nixoci plan -f fine.nix --platform linux/amd64 --format json | jq -r '.platforms[] | "\(.backend) \(.how) \(.alternatives)"'"#;
    let run = NIX_2_34.with(flags).sh(&alone(script)).code(0);
    assert!(run.out.starts_with(plan), "{run:#?}");
}

/// The library that the first SDK made: what it was built from has long been something else.
#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn the_first_library_of_version_1_still_works() {
    let script = "mkdir $own/p; gunzip <$here/crates/plugin/tests/v1/libnixoci_backend_echo.so.gz >$own/p/libnixoci_backend_echo.so
        check $own/p/libnixoci_backend_echo.so; trust $own/p/libnixoci_backend_echo.so
        nixoci -v build --backend echo --no-link -f fine.nix; nixoci explain echo::no_voice";
    let run = NIX_2_34.with(ALICE).sh(&alone(script)).code(0);
    // The plugin's own message.
    run.out("[19,0,0]\n").err("echo: a build of File").out("`voice` in [backend.echo]");
}

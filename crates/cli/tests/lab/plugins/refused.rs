//! A file that is not a plugin, or not the trusted one, is refused before any of its code runs.

use super::{ALICE, NIX_2_34, Run, alone};

/// A library in a directory of its own, `$p/$c`; `build` builds with it.
const OWN: &str = "c=libnixoci_backend_c_example.so; p=$own/p; mkdir $p; cp $plugins/$c $p/$c
    build() { nixoci build --backend c-example --no-link -f fine.nix; }
    copies() { ls $XDG_CACHE_HOME/nixoci/plugins 2>/dev/null | grep $(sha256sum $p/$c | cut -d' ' -f1); }";

fn run(script: &str) -> Run {
    NIX_2_34.with(ALICE).sh(&alone(&format!("{OWN}\n{script}")))
}

each!(
    a_library_that_is_no_plugin_is_refused:
    no_json("no_json", "garbled"),
    says_nothing("says_nothing", "description"),
    lies("lies", "description"),
    open_schema("open_schema", "description"),
    small_table("small_table", "abi"),
    newer_minor("newer_minor", "abi"),
    version_2("version_2", "abi"),
    no_entry("no_entry", "abi"),
    no_table("no_table", "abi"),
    no_cancel("no_cancel", "abi"),
    unresolved("unresolved", "library"),
);
fn a_library_that_is_no_plugin_is_refused(library: &str, code: &str) {
    let script = format!("nixoci plugin trust $plugins/bad/libnixoci_backend_{library}.so");
    run(&script).fails(70, &format!("nixoci::plugin::{code}")).says(&format!("plugin_bad_{library}"));
    // The one that has a constructor would write it.
    run("test ! -e /tmp/nixoci-mutant-ran").code(0);
}

each!(
    what_is_no_plugin_is_not_trusted:
    a_text("echo '#!/bin/sh' >$p/$c; chmod +x $p/$c", "$p/$c", 70, "library"),
    for_another_cpu(r"printf '\xb7' | dd of=$p/$c bs=1 seek=18 conv=notrunc 2>/dev/null", "$p/$c", 70, "library"),
    cut_off("head -c 3000 $plugins/$c >$p/$c", "$p/$c", 70, "library"),
    a_program("cp /bin/true $p/$c", "$p/$c", 70, "abi"),
    another_name_for_the_file("mv $p/$c $p/other.so", "$p/other.so", 10, "name"),
    a_name_of_nixoci_s_own("mv $p/$c $p/libnixoci_backend_local.so", "$p/libnixoci_backend_local.so", 10, "name"),
    absent("", "nobody", 10, "not_found"),
    an_absent_file("", "./nobody", 10, "not_found"),
    a_file_that_others_may_write("chmod o+w $p/$c", "$p/$c", 11, "writable"),
    a_directory_that_others_may_write("chmod g+w $p", "$p/$c", 11, "writable"),
    a_file_in_tmp("t=$(mktemp -d /tmp/XXXXXX); chmod 777 $t; cp $p/$c $t", "$t/$c", 11, "writable"),
    another_hash("", "$p/$c --sha256 $(printf 0%.0s $(seq 64))", 11, "changed"),
);
fn what_is_no_plugin_is_not_trusted(before: &str, plugin: &str, exit: i32, code: &str) {
    let script = format!("{before}\nnixoci plugin trust {plugin}; code=$?; copies; exit $code");
    let run = run(&script).fails(exit, &format!("nixoci::plugin::{code}"));
    assert_eq!(run.out, "", "no copy is made: {run:#?}");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn the_cpu_of_a_library_is_named() {
    let script =
        r"printf '\xb7' | dd of=$p/$c bs=1 seek=18 conv=notrunc 2>/dev/null; nixoci plugin trust $p/$c";
    run(script).fails(70, "nixoci::plugin::library").says("plugin_for_another_cpu");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_hash_that_is_not_the_file_s_is_not_helped_by_trusting_it() {
    let script = "nixoci plugin trust $p/$c --sha256 $(printf 0%.0s $(seq 64))";
    run(script).fails(11, "nixoci::plugin::changed").says("plugin_with_another_hash");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn the_command_that_is_named_takes_other_people_s_rights() {
    let script = "chmod g+w $p $p/$c $own; nixoci plugin trust $p/$c 2>err; echo $?
        eval \"$(grep -o 'chmod go-w.*' err)\"; trust $p/$c && echo trusted";
    run(script).code(0).out("11\ntrusted\n");
}

each!(
    a_plugin_is_shown_as_not_trusted:
    a_file("nixoci plugin show $p/$c --format json"),
    // A file of that name in the project is not meant.
    a_name("touch c-example; NIXOCI_PLUGIN_PATH=$p nixoci plugin show c-example --format json"),
);
fn a_plugin_is_shown_as_not_trusted(script: &str) {
    let run = run(script).code(0);
    let about: serde_json::Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(about["trusted"], false, "{about}");
}

each!(
    a_backend_that_is_no_trusted_plugin_does_not_build:
    one_of_two("mkdir $own/q; cp $p/$c $own/q; export NIXOCI_PLUGIN_PATH=$p:$own/q", 10, "plugin::ambiguous"),
    an_unknown_one("", 10, "backend::unknown"),
    an_untrusted_one("export NIXOCI_PLUGIN_PATH=$p", 11, "plugin::not_trusted"),
    a_trusted_one("trust $p/$c", 42, "image::not_an_image"),
    one_with_an_unknown_setting("trust $p/$c; config '[backend.c-example]' 'colour = 1'", 10, "config::unknown_key"),
    one_that_the_project_names("config '[plugins.x]' 'path = \"/x\"' 'sha256 = \"0\"'", 11, "config::plugins"),
    one_that_became_a_link("trust $p/$c; mv $p/$c $p/real; ln -s real $p/$c", 11, "plugin::link"),
    one_that_became_a_pipe("trust $p/$c; rm $p/$c; mkfifo $p/$c", 70, "plugin::library"),
    one_that_was_changed("trust $p/$c; cp $p/$c $p/new; echo >>$p/new; mv $p/new $p/$c", 11, "plugin::changed"),
    one_that_others_may_write("trust $p/$c; chmod g+w $p/$c", 11, "plugin::writable"),
    one_whose_copy_was_changed(CHANGED_COPY, 11, "plugin::changed"),
    one_whose_copy_is_gone("trust $p/$c; rm -f $(copy)", 42, "image::not_an_image"),
    one_that_is_gone("trust $p/$c; rm $p/$c", 10, "plugin::not_found"),
);
fn a_backend_that_is_no_trusted_plugin_does_not_build(before: &str, exit: i32, code: &str) {
    let script = format!(
        "copy() {{ echo $XDG_CACHE_HOME/nixoci/plugins/$(copies | grep -v json); }}\n{before}\nbuild"
    );
    run(&script).fails(exit, &format!("nixoci::{code}"));
}

const CHANGED_COPY: &str = "trust $p/$c; copy=$(copy); test -f $copy || exit 98
    chmod u+w $copy; printf x | dd of=$copy bs=1 seek=5000 conv=notrunc 2>/dev/null";

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn an_unknown_setting_is_named_with_its_place() {
    let script = "trust $p/$c; config '[backend.c-example]' 'colour = 1'; build";
    run(script)
        .fails(10, "nixoci::config::unknown_key")
        .err("nixoci.toml:2:1")
        .says("plugin_unknown_setting");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_plugin_that_is_gone_is_listed_and_can_be_untrusted_once() {
    let script = "trust $p/$c; rm $p/$c; nixoci plugin list --format json | jq -c '.plugins[] | [.name, .state, .error.code]'; nixoci plugin untrust c-example >&2 || exit 98
        cat $XDG_CONFIG_HOME/nixoci/config.toml; nixoci plugin untrust c-example";
    let run = run(script).fails(10, "nixoci::plugin::not_found");
    assert_eq!(run.out, "[\"c-example\",\"refused\",\"nixoci::plugin::not_found\"]\n", "{run:#?}");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn root_trusts_no_plugin_of_another_user() {
    let script =
        "p=$(mktemp -d -p /home/alice); cp $plugins/libnixoci_backend_c_example.so $p; chown -R 1000 $p
        nixoci plugin trust $p/libnixoci_backend_c_example.so; code=$?; rm -r $p; exit $code";
    NIX_2_34.sh(&alone(script)).fails(11, "nixoci::plugin::as_root");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_plugin_that_a_browser_has_fetched_is_refused_on_a_mac() {
    // `xattr` is a Mac's own program.
    let script = r#"mkdir bin; printf '#!/bin/sh\ntest "$2" = com.apple.quarantine && echo 0081\n' >bin/xattr; chmod +x bin/xattr
        PATH=$PWD/bin:$PATH nixoci plugin trust $plugins/libnixoci_backend_c_example.so"#;
    let run = NIX_2_34.with(&["--as", "mac", "--user", "alice"]).sh(&alone(script));
    run.fails(11, "nixoci::plugin::quarantined").says("plugin_quarantined");
}

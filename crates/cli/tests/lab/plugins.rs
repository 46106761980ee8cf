//! Backends from elsewhere: trusted, refused, used, and survived.

use std::path::Path;

use super::*;

/// A home and a configuration of its own, and a project; `$plugins` has the libraries.
fn alone(script: &str) -> String {
    let entry = std::env::var("NIXOCI_LAB_PLUGINS").expect("NIXOCI_LAB_PLUGINS: run `cargo xtask test`");
    let entry = Path::new(&entry).file_name().unwrap().to_str().unwrap();
    format!(
        r#"here=$PWD plugins=/lab/produced/{entry}; own=$(mktemp -d); chmod 755 $own; cd $own
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
    for host in [NEW.with(&["--user", "alice"]), OLD] {
        let run = host.sh(&alone(script)).code(0);
        assert_eq!(run.out.matches("19 rules kept, 0 broken, 0 left out").count(), 4, "{}: {run:#?}", host.name());
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
            config '[backend.mutant]' "fault = '$fault'" "at = 'query'"; nixoci plugin check $plugins/libnixoci_backend_mutant.so >log 2>err; echo mutant $fault $?; done"#;
    let run = NEW.with(&["--user", "alice"]).sh(&alone(script)).code(0);
    println!("{}", run.out);
    let run = run.out("19 rules kept, 0 broken, 0 left out\n");
    for fault in ["build-fails", "vanishes", "breaks-after40", "lies-after40", "flips100", "proof-fails", "panics"] {
        assert!(run.out.contains(&format!("{fault} 70\n BROKEN ")), "{fault}: {run:#?}");
    }
    for fault in ["garbage", "other-type", "other-status", "cancelled", "segv"] {
        assert!(run.out.contains(&format!("mutant {fault} 70\n")), "{fault}: {run:#?}");
    }
}

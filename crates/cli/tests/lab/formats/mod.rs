//! Every image that people's tools make goes in, and comes out in every form: the same image each time.
//!
//! docs/formats.md records the results: one line for each file, and one test for each line.

mod page;
mod produced;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use self::produced::{Produced, named};
use super::*;

/// The forms that are written: a name for the page, what is typed, the flags.
const FORMS: [(&str, &str, &str); 5] = [
    ("`archive:`", "archive", ""),
    ("`docker-archive:`", "docker-archive", ""),
    ("`oci-archive:`", "oci-archive", ""),
    ("`oci:`", "oci", ""),
    ("`oci:`, zstd", "oci", "--compression zstd"),
];

/// The parts by which an image is identified: platform, digest of the configuration, digests of the layers' contents.
fn identity(document: &str) -> BTreeSet<String> {
    let document: serde_json::Value = serde_json::from_str(document).expect(document);
    let platforms = document["images"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|image| image["platforms"].as_array().unwrap());
    let one = |platform: &serde_json::Value| {
        let layers: Vec<&str> = platform["layers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|layer| layer["diffId"].as_str().unwrap())
            .collect();
        assert!(!layers.is_empty(), "{platform}");
        format!("{} {} {}", platform["platform"], platform["imageId"], layers.join(" "))
    };
    platforms.map(one).collect()
}

/// The script for one file: converts it to every form and back. Messages of other tools go to standard error; values that are compared go to
/// standard output, each behind a line with `== `.
fn round_trips(file: &Produced) -> String {
    let mut script = format!(
        "set -e; d=$XDG_CACHE_HOME; f={0}
         refs() {{ grep -o '\"org.opencontainers.image.ref.name\":\"[^\"]*\"' | cut -d'\"' -f4 | sort -u; }}
         tree() {{ (cd $1; find . -printf '%P %y %m %l\\n' | sort; find . -type f -print0 | sort -z | xargs -r0 sha256sum) | sha256sum; }}
         nixoci validate $f >&2; echo '== source'; nixoci inspect $f --format json\n",
        file.path.display()
    );
    for (place, (_, form, flags)) in FORMS.iter().enumerate() {
        let _ = writeln!(
            script,
            "o=$d/{place}.tar; nixoci convert $f {form}:$o {flags} >&2; nixoci validate $o >&2
             echo '== {place} there'; nixoci inspect $o --format json
             nixoci convert {form}:$o docker-archive:$d/back.tar >&2; rm -f $d/again.tar
             echo '== {place} back'; nixoci inspect $d/back.tar --format json"
        );
        let index = match *form {
            "oci" => "cat $o/index.json",
            "oci-archive" => "tar -xOf $o index.json",
            // Docker's own form: skopeo counts the images in it.
            _ => {
                let _ = writeln!(script, "skopeo inspect docker-archive:$o:@0 >/dev/null");
                continue;
            }
        };
        let _ = writeln!(
            script,
            "names=$({index} | refs); [ -n \"$names\" ] || skopeo inspect {form}:$o >/dev/null
             for name in $names; do skopeo inspect {form}:$o:$name >/dev/null; done"
        );
    }
    // The files of the first image, as others unpack them: of the source, and of what was written.
    let _ = writeln!(
        script,
        "if skopeo copy -q {source} oci:$d/source:x >&2; then
           umoci unpack --rootless --image $d/source:x $d/unpacked >&2
           echo '== tree'; tree $d/unpacked/rootfs; chmod -R u+w $d/unpacked; rm -rf $d/unpacked
         else echo '== only nixoci reads it'; fi
         grep -rqs 'image.layer.v1.tar+zstd' $d/4.tar/blobs
         for place in 3 4; do
           name=$(refs <$d/$place.tar/index.json | grep -Fx '{first}' || refs <$d/$place.tar/index.json | head -1)
           image=$d/$place.tar:$name
           # umoci does not choose from several platforms, and finds nothing without a plain tag.
           if {indirect} || [ -z \"$name\" ] || [[ $name = *[:/]* ]]; then
             skopeo copy -q oci:$d/$place.tar${{name:+:$name}} oci:$d/to-umoci-$place:x >&2; image=$d/to-umoci-$place:x
           fi
           umoci unpack --rootless --image $image $d/unpacked >&2
           echo '== tree'; tree $d/unpacked/rootfs; chmod -R u+w $d/unpacked; rm -rf $d/unpacked
         done; echo '== end'",
        source = file.for_skopeo(),
        indirect = file.platforms.len() > 1,
        first = file.images.first().map(|name| name.rsplit(':').next().unwrap_or(name)).unwrap_or("-"),
    );
    script
}

/// Tries everything with one file.
fn goes_everywhere(file: &Produced) {
    let run = NIX_2_34.sh(&round_trips(file));
    assert_eq!(run.code, 0, "{}: {run:#?}", file.file);
    let sections: Vec<(&str, &str)> = run.out.split("== ").filter_map(|part| part.split_once('\n')).collect();
    let section = |name: &str| {
        let found = sections.iter().find(|(title, _)| *title == name);
        assert!(found.is_some(), "{}: no `{name}`: {run:#?}", file.file);
        found.map(|(_, text)| *text).unwrap_or_default()
    };
    let source = identity(section("source"));
    assert!(!source.is_empty(), "{}", file.file);
    for platform in &file.platforms {
        assert!(
            source.iter().any(|one| one.starts_with(&format!("\"{platform}"))),
            "{platform}: {source:#?}"
        );
    }
    for (place, (name, ..)) in FORMS.iter().enumerate() {
        for way in ["there", "back"] {
            let now = identity(section(&format!("{place} {way}")));
            assert_eq!(now, source, "{}, {name} {way}", file.file);
        }
    }
    let trees: BTreeSet<&str> =
        sections.iter().filter(|(title, _)| *title == "tree").map(|(_, hash)| *hash).collect();
    assert_eq!(trees.len(), 1, "{}: files differ: {run:#?}", file.file);
    let skopeo_reads = !sections.iter().any(|(title, _)| title.starts_with("only"));
    // Known of the one, and nothing else.
    assert_eq!(skopeo_reads, file.is_read_by_skopeo(), "{run:#?}");
}

/// Makes a test of each file that is an image, and the list of them.
macro_rules! produced {
    ($($case:ident($file:literal)),+ $(,)?) => {
        const CASES: &[&str] = &[$($file),+];
        each!(a_producer_s_image_in_every_form_and_back: $($case($file)),+);
    };
}

produced!(
    nix_build_tar("nix-build.tar"),
    nix_build_tar_gz("nix-build.tar.gz"),
    nix_build_tar_zst("nix-build.tar.zst"),
    nix_layered_tar("nix-layered.tar"),
    nix_layered_tar_gz("nix-layered.tar.gz"),
    nix_layered_tar_zst("nix-layered.tar.zst"),
    nix_build_on_base_tar("nix-build-on-base.tar"),
    nix_layered_arm64_tar("nix-layered-arm64.tar"),
    nix_layered_tar_xz("nix-layered.tar.xz"),
    merge_docker_images("merge-docker-images"),
    stream_hello_tar("stream-hello.tar"),
    skopeo_docker_tar("skopeo-docker.tar"),
    skopeo_old_docker_tar("skopeo-old-docker.tar"),
    hard_links_tar("hard-links.tar"),
    skopeo_oci_gzip("skopeo-oci-gzip"),
    skopeo_oci_gzip_tar("skopeo-oci-gzip.tar"),
    skopeo_dir_gzip("skopeo-dir-gzip"),
    skopeo_oci_zstd("skopeo-oci-zstd"),
    skopeo_oci_zstd_tar("skopeo-oci-zstd.tar"),
    skopeo_dir_zstd("skopeo-dir-zstd"),
    skopeo_oci_plain("skopeo-oci-plain"),
    skopeo_dir("skopeo-dir"),
    skopeo_oci_unnamed("skopeo-oci-unnamed"),
    skopeo_oci_two("skopeo-oci-two"),
    podman_docker_tar("podman-docker.tar"),
    podman_docker_two_tar("podman-docker-two.tar"),
    podman_oci_tar("podman-oci.tar"),
    podman_oci("podman-oci"),
    podman_dir("podman-dir"),
    podman_oci_nested("podman-oci-nested"),
    podman_oci_nested_tar("podman-oci-nested.tar"),
    docker_20_10_tar("docker-20.10.tar"),
    docker_20_10_two_tar("docker-20.10-two.tar"),
    docker_28_tar("docker-28.tar"),
    docker_28_two_tar("docker-28-two.tar"),
    docker_28_platforms_tar("docker-28-platforms.tar"),
    docker_28_arm64_tar("docker-28-arm64.tar"),
    containerd_1_6_tar("containerd-1.6.tar"),
    containerd_1_6_platforms_tar("containerd-1.6-platforms.tar"),
    containerd_1_6_oci_tar("containerd-1.6-oci.tar"),
    containerd_2_tar("containerd-2.tar"),
    containerd_2_platforms_tar("containerd-2-platforms.tar"),
    containerd_2_oci_tar("containerd-2-oci.tar"),
    umoci("umoci"),
    umoci_tar("umoci.tar"),
);
fn a_producer_s_image_in_every_form_and_back(file: &str) {
    let file = named(file);
    goes_everywhere(&file);
    page::has_line_for(&file);
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_stream_script_outside_a_build_is_refused_with_the_command_that_runs_it() {
    let run = NIX_2_34.sh(
        "script=$(nix-build --no-out-link examples/stream/default.nix) || exit 1
         nixoci load $script 2>$XDG_CACHE_HOME/err; echo code $?; cat $XDG_CACHE_HOME/err >&2
         eval \"$(grep -o '/nix/store/.* | nixoci load -' $XDG_CACHE_HOME/err)\" && docker run --rm hello-stream:latest",
    );
    run.code(0).out("code 42\n").out("Hello, world!").says("formats_stream_script");
}

each!(
    a_layout_that_needs_no_change_keeps_its_blobs_and_its_labels:
    skopeo_gzip("skopeo-oci-gzip"),
    skopeo_zstd("skopeo-oci-zstd"),
    skopeo_two_labels("skopeo-oci-two"),
    podman("podman-oci"),
    umoci("umoci"),
);
fn a_layout_that_needs_no_change_keeps_its_blobs_and_its_labels(file: &str) {
    let file = named(file);
    let from = file.path.display();
    NIX_2_34.sh(&format!(
        "cd $XDG_CACHE_HOME; nixoci convert {from} oci:to && diff <(ls {from}/blobs/sha256) <(ls to/blobs/sha256) || exit
         labels() {{ grep -o 'image.ref.name\":\"[^\"]*' | grep -o '[a-z0-9]*$' | sort; }}
         diff <(labels <{from}/index.json) <(labels <to/index.json)"
    ))
    .code(0);
}

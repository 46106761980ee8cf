//! Every image that people's tools make goes in, and comes out in every form: the same image each time.
//!
//! docs/formats.md records the results: one line for each file, and one test for each line.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::*;

/// The forms that are written: a name for the page, what is typed, the flags.
const FORMS: [(&str, &str, &str); 5] = [
    ("`archive:`", "archive", ""),
    ("`docker-archive:`", "docker-archive", ""),
    ("`oci-archive:`", "oci-archive", ""),
    ("`oci:`", "oci", ""),
    ("`oci:`, zstd", "oci", "--compression zstd"),
];

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/formats.md");
/// With this variable, the page is written anew.
const UPDATE: &str = "NIXOCI_UPDATE_FORMATS";

/// A line of the manifest of what the lab's producers made.
#[derive(Clone)]
struct Produced {
    path: PathBuf,
    file: String,
    producer: String,
    shape: String,
    images: Vec<String>,
    platforms: Vec<String>,
}

fn produced() -> Vec<Produced> {
    let dir = PathBuf::from(
        std::env::var_os("NIXOCI_LAB_PRODUCED").expect("NIXOCI_LAB_PRODUCED: run `cargo xtask test`"),
    );
    let text = std::fs::read_to_string(dir.join("manifest.tsv")).unwrap();
    let list = |text: &str| text.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect();
    let line = |line: &str| {
        let fields: Vec<&str> = line.split('\t').collect();
        let [file, producer, shape, images, platforms] = fields.try_into().expect("five columns");
        Produced {
            path: dir.join(file),
            file: file.to_owned(),
            producer: ability(file, producer),
            shape: shape.to_owned(),
            images: list(images.trim_matches('-')),
            platforms: list(platforms),
        }
    };
    text.lines().skip(1).map(line).collect()
}

/// A producer by what it does, not by the version that a distribution has today.
fn ability(file: &str, producer: &str) -> String {
    let words: Vec<&str> = producer
        .split(' ')
        .take_while(|word| !word.starts_with(|first: char| first.is_ascii_digit()))
        .collect();
    let known = [
        ("docker-20.10", "Docker, classic store"),
        ("docker-28", "Docker, containerd store"),
        ("containerd-1.6", "containerd 1"),
        ("containerd-2", "containerd 2"),
        ("skopeo-old", "skopeo, an old one"),
        ("skopeo-oci-gzip", "skopeo, gzip layers"),
        ("skopeo-dir-gzip", "skopeo, gzip layers"),
        ("skopeo-oci-zstd", "skopeo, zstd layers"),
        ("skopeo-dir-zstd", "skopeo, zstd layers"),
        ("skopeo-oci-plain", "skopeo, plain layers"),
        ("skopeo-dir", "skopeo, plain layers"),
        ("skopeo-oci-unnamed", "skopeo, without a name"),
        ("skopeo-oci-two", "skopeo, two labels"),
        ("podman-oci-nested", "podman manifest"),
    ];
    let known = known.iter().find(|(prefix, _)| file.starts_with(prefix));
    known.map_or_else(|| words.join(" "), |(_, ability)| (*ability).to_owned())
}

impl Produced {
    fn is_image(&self) -> bool {
        !self.platforms.is_empty() && self.shape != "stream-script"
    }

    fn is_read_by_skopeo(&self) -> bool {
        self.file != "hard-links.tar"
    }

    /// As skopeo calls the first image in it.
    fn for_skopeo(&self) -> String {
        let transport = match self.shape.as_str() {
            "oci-dir" => "oci",
            "oci-archive" => "oci-archive",
            "dir" => "dir",
            _ => "docker-archive",
        };
        let first = match (self.shape.as_str(), self.images.first()) {
            // By name: Docker 20.10 saves several images in any order.
            (_, Some(name)) if self.images.len() > 1 => format!(":{name}"),
            (shape, _) if shape.starts_with("docker") || shape == "hybrid" => ":@0".to_owned(),
            _ => String::new(),
        };
        format!("{transport}:{}{first}", self.path.display())
    }
}

/// What makes an image this image: platform, digest of the configuration, digests of the layers' contents.
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

/// The script for one file: converts it to every form and back. What other tools say of what was written goes to standard
/// error, what is compared to standard output, behind a line with `== ` each.
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

/// A producer's line in the page, if everything is as it should be.
fn row(file: &Produced) -> String {
    let mut line = format!(
        "| {} | {} | {} | {} | {} |",
        file.producer,
        file.shape,
        file.images.len().max(1),
        file.platforms.join(", "),
        if file.is_read_by_skopeo() { "read" } else { "read (by skopeo: not)" }
    );
    for _ in FORMS {
        line.push_str(" same |");
    }
    line
}

/// What is no image is refused: with what it is, and with what to do.
fn refused(file: &Produced) -> String {
    let run = NIX_2_34.sh(&format!(
        "nixoci validate {0}; echo $?; nixoci convert {0} $XDG_CACHE_HOME/x.tar",
        file.path.display()
    ));
    let run = run.code(42).out("42\n").err("nixoci explain nixoci::image::").err("help: ");
    let code = run.err.split("nixoci explain ").nth(1).and_then(|rest| rest.split_whitespace().next());
    format!("| {} | {} | `{}` |", file.producer, file.shape, code.unwrap_or_default())
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
    let all = produced();
    let file = all.iter().find(|one| one.file == file).unwrap_or_else(|| panic!("no {file} is produced"));
    goes_everywhere(file);
    let page = std::fs::read_to_string(Path::new(PAGE)).unwrap_or_default();
    let row = row(file);
    assert!(
        page.lines().any(|line| line == row) || std::env::var_os(UPDATE).is_some(),
        "no line in docs/formats.md is\n{row}"
    );
}

/// A file that is not an image is refused, with a remedy; its line in the page shows the error code.
#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn the_page_has_a_line_for_everything_that_is_produced_and_everything_has_a_test() {
    let all = produced();
    let images: Vec<&Produced> = all.iter().filter(|file| file.is_image()).collect();
    let others: Vec<&Produced> = all.iter().filter(|file| file.platforms.is_empty()).collect();
    let names: Vec<&str> = images.iter().map(|file| file.file.as_str()).collect();
    assert_eq!(names, CASES, "the cases of this file are not what the lab's producers made");
    assert!(others.len() > 3, "{}", others.len());
    let rows: Vec<String> = images.iter().map(|file| row(file)).collect();
    let refused: Vec<String> = others.iter().map(|file| refused(file)).collect();
    let page = page(&rows, &refused);
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(PAGE, &page).unwrap();
    }
    let there = std::fs::read_to_string(Path::new(PAGE)).unwrap_or_default();
    assert_eq!(
        there, page,
        "docs/formats.md is not what happens; {UPDATE}=1 writes it anew: look at the difference before it is committed"
    );
}

/// The page.
fn page(images: &[String], others: &[String]) -> String {
    let forms: Vec<&str> = FORMS.iter().map(|(name, ..)| *name).collect();
    let unique = |lines: &[String]| {
        let mut seen = BTreeSet::new();
        lines.iter().filter(|line| seen.insert((*line).clone())).cloned().collect::<Vec<_>>().join("\n")
    };
    format!(
        "# Every producer, every form

<!-- Written by the test `the_page_has_a_line_for_everything_that_is_produced_and_everything_has_a_test`; each line has a test of its own. -->

Each line is an image that the named tool itself made. It was read and checked, written in each of the forms, read again and
written back as a docker-archive. *same* means: platforms, digests of the configurations and of the layers' contents are those of
the source, there and back; skopeo reads what was written; and umoci unpacks the same files (the first image's, for
one platform) from the source and from the `oci:` outputs.

| made by | form | images | platforms | | {} |
|---|---|---|---|---|{}
{}

The script of `streamLayeredImage` is a program. A build runs it; elsewhere it is refused with the command that does:
`SCRIPT | nixoci load -`.

What is no image is refused with exit code 42, what it is, and what to do:

| made by | what it is | |
|---|---|---|
{}

How the forms differ, and which runtime takes which: [Image files](images.md).
",
        forms.join(" | "),
        "---|".repeat(forms.len()),
        unique(images),
        unique(others)
    )
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
    let all = produced();
    let from = all.iter().find(|one| one.file == file).unwrap_or_else(|| panic!("no {file}")).path.display();
    NIX_2_34.sh(&format!(
        "cd $XDG_CACHE_HOME; nixoci convert {from} oci:to && diff <(ls {from}/blobs/sha256) <(ls to/blobs/sha256) || exit
         labels() {{ grep -o 'image.ref.name\":\"[^\"]*' | grep -o '[a-z0-9]*$' | sort; }}
         diff <(labels <{from}/index.json) <(labels <to/index.json)"
    ))
    .code(0);
}

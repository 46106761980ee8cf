use super::super::capture::Capture;
use super::super::index::{Budget, LayerIndex};
use super::*;
use crate::content::dynamic::tests::program;
use crate::tar::{Entry, Kind};

const ELF_AMD64: &[u8] = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0";
const ELF_ARM64: &[u8] = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0";
const MACH_ARM64: &[u8] = b"\xcf\xfa\xed\xfe\x0c\x00\x00\x01\0\0\0\0";

/// An image of layers; each entry is a path and what is there.
struct Image {
    budget: Budget,
    layers: Vec<LayerIndex>,
}

enum What {
    Run(&'static [u8]),
    Plain,
    Text(&'static [u8]),
    Link(&'static str),
    Hard(&'static str),
    Dir,
}
use What::*;

fn image(layers: &[&[(&str, What)]]) -> Image {
    let mut image = Image { budget: Budget::new(), layers: Vec::new() };
    for layer in layers {
        let mut index = LayerIndex::default();
        for (path, what) in *layer {
            let (kind, mode, link, head): (Kind, u32, &str, &[u8]) = match what {
                Run(head) => (Kind::File, 0o555, "", head),
                Plain => (Kind::File, 0o444, "", b""),
                Text(text) => (Kind::File, 0o444, "", text),
                Link(target) => (Kind::Symlink, 0o777, target, b""),
                Hard(target) => (Kind::HardLink, 0o444, target, b""),
                Dir => (Kind::Directory, 0o755, "", b""),
            };
            let entry = Entry { kind, name: Vec::new(), link: link.into(), size: 0, mode };
            let mut capture = Capture::of(path.as_bytes(), &entry);
            capture.feed(head);
            index.add(&mut image.budget, path.as_bytes(), &entry, capture.end());
        }
        index.seal();
        image.layers.push(index);
    }
    image
}

impl Image {
    fn judge(&self, argv: &[&str], env: &[&str]) -> Sample {
        self.start(argv, env, "/work", None)
    }

    fn start(&self, argv: &[&str], env: &[&str], working_dir: &str, user: Option<&str>) -> Sample {
        let tree = Tree { layers: self.layers.iter().collect(), key: self.budget.key() };
        let env: Vec<String> = env.iter().map(|text| text.to_string()).collect();
        let launch = Launch { argv: argv.to_vec(), env: &env, working_dir: Some(working_dir), user };
        judge(&tree, &launch, &"linux/amd64".parse().unwrap())
    }
}

fn complaint(sample: &Sample) -> &str {
    assert_eq!(sample.verdict, Verdict::Unproven);
    &sample.warnings[0].text
}

fn paths(sample: &Sample) -> Vec<&str> {
    sample.executables.iter().map(|one| one.path.as_str()).collect()
}

#[test]
fn links_lead_through_the_store_as_in_a_nix_image() {
    let image = image(&[
        &[("nix/store/h-bash/bin/bash", Run(ELF_AMD64)), ("nix/store/h-bash/bin/sh", Link("bash"))],
        &[
            ("nix/store/h-cowsay/bin/cowsay", Run(b"#!/nix/store/h-bash/bin/sh -e\n")),
            ("bin", Link("/nix/store/h-env/bin")),
            ("nix/store/h-env/bin/cowsay", Link("../../h-cowsay/bin/cowsay")),
        ],
    ]);
    let sample = image.judge(&["cowsay", "hello"], &[]);
    assert_eq!(sample.verdict, Verdict::Runs);
    assert_eq!(paths(&sample), ["/nix/store/h-cowsay/bin/cowsay", "/nix/store/h-bash/bin/bash"]);
    assert!(sample.warnings.is_empty());
}

#[test]
fn env_is_followed_to_the_program_it_starts() {
    let image = image(&[&[
        ("usr/bin/env", Run(ELF_AMD64)),
        ("opt/python", Run(ELF_ARM64)),
        ("app", Run(b"#!/usr/bin/env -S A=b python -u")),
    ]]);
    let sample = image.judge(&["/app"], &["PATH=/x:/opt"]);
    assert!(matches!(&sample.verdict, Verdict::Mismatch { program } if program.path == "/opt/python"));
    assert_eq!(paths(&sample), ["/app", "/usr/bin/env", "/opt/python"]);
}

#[test]
fn a_macos_program_behind_a_script_is_found() {
    let image = image(&[&[("sh", Run(MACH_ARM64)), ("bin/run", Run(b"#!/sh\n"))]]);
    let sample = image.judge(&["run"], &[]);
    let Verdict::Mismatch { program } = sample.verdict else { panic!() };
    assert_eq!(program.machine.unwrap().to_string(), "darwin/arm64 (Mach-O)");
}

#[test]
fn what_upper_layers_hide_is_not_found() {
    let image = image(&[
        &[("bin/tool", Run(ELF_AMD64)), ("opt/a/tool", Run(ELF_AMD64)), ("usr/tool", Run(ELF_AMD64))],
        &[("bin/.wh.tool", Plain), ("opt/.wh..wh..opq", Plain), ("usr", Link("bin"))],
    ]);
    for path in ["/bin/tool", "/opt/a/tool", "/usr/tool"] {
        assert_eq!(
            complaint(&image.judge(&[path], &[])),
            format!("the command `{path}` is not in the image")
        );
    }
}

#[test]
fn an_upper_layer_replaces_a_program() {
    let image = image(&[&[("bin/tool", Run(ELF_ARM64))], &[("bin/tool", Run(ELF_AMD64))]]);
    assert_eq!(image.judge(&["/bin/tool"], &[]).verdict, Verdict::Runs);
}

#[test]
fn hard_links_and_relative_commands() {
    let image = image(&[&[
        ("work", Dir),
        ("work/real", Run(ELF_AMD64)),
        ("work/also", Hard("work/real")),
        ("work/up", Link("../../../work/./also")),
    ]]);
    assert_eq!(image.judge(&["./also"], &[]).verdict, Verdict::Runs);
    assert_eq!(image.judge(&["/work/up"], &[]).verdict, Verdict::Runs);
}

#[test]
fn what_is_wrong_is_said() {
    let image = image(&[&[
        ("a", Link("b")),
        ("b", Link("/a")),
        ("bin/data", Plain),
        ("bin/empty", Run(b"")),
        ("bin/bare", Run(b"#!\n")),
        ("bin/lost", Run(b"#!/bin/nothing\n")),
        ("bin/self", Run(b"#!/bin/self\n")),
        ("bin/noenv", Run(b"#!/usr/bin/env sh\n")),
    ]]);
    let say = |command: &str| complaint(&image.judge(&[command], &["PATH=/bin"])).to_owned();
    assert_eq!(say("hello"), "the command `hello` is nowhere on the image's PATH (/bin)");
    assert_eq!(say("/a"), "the command `/a` is a link that leads in a circle");
    assert_eq!(say("data"), "the command `data` may not be executed");
    assert_eq!(say("empty"), "/bin/empty is neither a compiled program nor a script with `#!`");
    assert_eq!(say("bare"), "/bin/bare names no interpreter after `#!`");
    assert_eq!(say("lost"), "`/bin/nothing`, which /bin/lost is interpreted by, is not in the image");
    assert_eq!(say("self"), "self is a script whose interpreters never end");
    assert_eq!(say("noenv"), "`/usr/bin/env`, which /bin/noenv is interpreted by, is not in the image");
}

#[test]
fn without_a_command_the_programs_decide() {
    let wrong = image(&[&[("bin/a", Run(MACH_ARM64)), ("bin/b", Run(MACH_ARM64))]]);
    assert!(matches!(wrong.judge(&[], &[]).verdict, Verdict::Mismatch { .. }));
    let mixed = image(&[&[("bin/a", Run(ELF_AMD64)), ("bin/b", Run(ELF_ARM64))]]);
    let sample = mixed.judge(&[], &[]);
    assert_eq!(sample.verdict, Verdict::Unproven);
    assert_eq!(sample.warnings[0].text, "/bin/b is for linux/arm64 (ELF)");
    let empty = image(&[&[]]);
    assert_eq!(empty.judge(&[], &[]).verdict, Verdict::Unproven);
}

/// A program for amd64 whose loader is `/lib/ld.so`: one program header, and the name behind it.
const DYNAMIC: &[u8] = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0\
    \0\0\0\0\0\0\0\0\x40\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x40\0\x38\0\x01\0\0\0\0\0\0\0\
    \x03\0\0\0\x04\0\0\0\x78\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
    \x0b\0\0\0\0\0\0\0\x0b\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0/lib/ld.so\0";

#[test]
fn a_program_starts_only_with_its_loader() {
    let there = image(&[&[("app", Run(DYNAMIC)), ("lib64/ld.so", Run(ELF_AMD64)), ("lib", Link("lib64"))]]);
    let sample = there.judge(&["/app"], &[]);
    assert_eq!(sample.verdict, Verdict::Runs);
    assert_eq!(paths(&sample), ["/app", "/lib64/ld.so"]);
    let cases: [(&[(&str, What)], &str); 3] = [
        (&[], "is not in the image"),
        (&[("lib/ld.so", Plain)], "may not be executed"),
        (&[("lib/ld.so", Link("ld.so"))], "is a link that leads in a circle"),
    ];
    for (lib, why) in cases {
        let layers: [&[(&str, What)]; 2] = [&[("app", Run(DYNAMIC))], lib];
        let expected = format!("`/lib/ld.so`, which loads /app, {why}");
        assert_eq!(complaint(&image(&layers).judge(&["/app"], &[])), expected);
    }
    let foreign = image(&[&[("app", Run(DYNAMIC)), ("lib/ld.so", Run(ELF_ARM64))]]);
    assert!(matches!(foreign.judge(&["/app"], &[]).verdict, Verdict::Mismatch { .. }));
}

#[test]
fn a_program_starts_only_with_its_libraries() {
    let app: &'static [u8] = program(b"/lib/ld.so", &[b"libc.so.6", b"liby.so.1"], 0x600, 0x400).leak();
    let say = |lib: (&'static str, What)| {
        let base = [("app", Run(app)), ("lib/ld.so", Run(ELF_AMD64)), ("nix/store/c/lib/libc.so.6", Plain)];
        let sample = image(&[&base, &[lib]]).judge(&["/app"], &[]);
        let text = sample.warnings.first().map(|warning| warning.text.clone());
        (sample.verdict == Verdict::Runs, text)
    };
    let missing = (false, Some("`liby.so.1`, a library of /app, is not in the image".to_owned()));
    assert_eq!(say(("else", Plain)), missing);
    // Where the loader looks is the affair of search paths.
    for there in
        [("lib/liby.so.1", Plain), ("opt/x/liby.so.1", Link("liby.so.1.2")), ("y/liby.so.1", Hard("else"))]
    {
        assert_eq!(say(there), (true, None));
    }
    let absolute: &'static [u8] = program(b"/lib/ld.so", &[b"/opt/libx.so"], 0x600, 0x400).leak();
    let layers = |place| image(&[&[("app", Run(absolute)), ("lib/ld.so", Run(ELF_AMD64)), (place, Plain)]]);
    assert_eq!(layers("opt/libx.so").judge(&["/app"], &[]).verdict, Verdict::Runs);
    assert_eq!(layers("lib/libx.so").judge(&["/app"], &[]).verdict, Verdict::Unproven);
}

#[test]
fn interpreter_lines_are_read_as_the_kernel_reads_them() {
    let say = |line: &'static [u8]| {
        let image =
            image(&[&[("app", Run(line)), ("bin/sh", Run(ELF_AMD64)), ("usr/bin/env", Run(ELF_AMD64))]]);
        let sample = image.judge(&["/app"], &["PATH=/bin"]);
        sample.warnings.first().map(|warning| warning.text.clone())
    };
    for right in
        [&b"#!/bin/sh"[..], b"#! \t/bin/sh\t-e x y", b"#!/usr/bin/env sh", b"#!/usr/bin/env -S  -i A=b sh -e"]
    {
        assert_eq!(say(right), None, "{}", String::from_utf8_lossy(right));
    }
    let wrong: [(&[u8], &str); 3] = [
        (b"#!/bin/sh\r\n", "`/bin/sh\\r`, which /app is interpreted by, is not in the image"),
        (
            b"#!/usr/bin/env sh -e\n",
            "`sh -e`, which /app is interpreted by, is nowhere on the image's PATH (/bin)",
        ),
        (
            b"#!/usr/bin/env sh\r\n",
            "`sh\\r`, which /app is interpreted by, is nowhere on the image's PATH (/bin)",
        ),
    ];
    for (line, expected) in wrong {
        assert_eq!(say(line).as_deref(), Some(expected));
    }
}

#[test]
fn a_user_by_name_has_to_be_in_the_image() {
    const PASSWD: &[u8] = b"root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/:/bin/sh\n";
    let image = image(&[&[
        ("app", Run(ELF_AMD64)),
        ("nix/store/h-nss/etc/passwd", Text(PASSWD)),
        ("nix/store/h-nss/etc/group", Text(b"app:x:1000:\n")),
        ("etc", Link("/nix/store/h-nss/etc")),
    ]]);
    let say = |user: &str| {
        let sample = image.start(&["/app"], &[], "/", Some(user));
        let expected = if sample.warnings.is_empty() { Verdict::Runs } else { Verdict::Unproven };
        assert_eq!(sample.verdict, expected);
        sample.warnings.first().map(|warning| warning.text.clone()).unwrap_or_default()
    };
    for known in ["app", "app:app", "1234", "0:7", "app:7", "1234:app"] {
        assert_eq!(say(known), "", "{known}");
    }
    assert!(say("ap").starts_with("the image starts as the user `ap`, which /etc/passwd does not have"));
    assert!(
        say("app:wheel").starts_with("the image starts as the group `wheel`, which /etc/group does not have")
    );
    let bare = self::image(&[&[("app", Run(ELF_AMD64))]]);
    let sample = bare.start(&["/app"], &[], "/", Some("app"));
    assert!(complaint(&sample).starts_with("the image starts as the user `app`, and has no /etc/passwd"));
}

#[test]
fn the_working_directory_is_made_unless_something_is_in_its_place() {
    let image =
        image(&[&[("app", Run(ELF_AMD64)), ("file", Plain), ("srv/a", Plain), ("link", Link("srv"))]]);
    for fine in ["/", "/new", "/srv", "/link", "/link/b"] {
        assert_eq!(image.start(&["/app"], &[], fine, None).verdict, Verdict::Runs, "{fine}");
    }
    let sample = image.start(&["/app"], &[], "/file", None);
    assert_eq!(complaint(&sample), "the image's WorkingDir `/file` is not a directory");
}

#[test]
fn a_directory_that_is_not_listed_hides_a_link_below_it() {
    let image = image(&[
        &[("usr/bin/app", Run(ELF_AMD64)), ("bin", Link("usr/bin"))],
        &[("bin/other", Run(ELF_AMD64))],
    ]);
    assert_eq!(complaint(&image.judge(&["/bin/app"], &[])), "the command `/bin/app` is not in the image");
    assert_eq!(image.judge(&["/bin/other"], &[]).verdict, Verdict::Runs);
    assert_eq!(image.judge(&["/usr/bin/app"], &[]).verdict, Verdict::Runs);
}

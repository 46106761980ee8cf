use super::super::index::{Budget, LayerIndex};
use super::*;
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
                Link(target) => (Kind::Symlink, 0o777, target, b""),
                Hard(target) => (Kind::HardLink, 0o444, target, b""),
                Dir => (Kind::Directory, 0o755, "", b""),
            };
            let entry = Entry { kind, name: Vec::new(), link: link.into(), size: 0, mode };
            index.add(&mut image.budget, path.as_bytes(), &entry, head);
        }
        index.seal();
        image.layers.push(index);
    }
    image
}

impl Image {
    fn judge(&self, argv: &[&str], env: &[&str]) -> Sample {
        let tree = Tree { layers: self.layers.iter().collect(), key: self.budget.key() };
        let env: Vec<String> = env.iter().map(|text| text.to_string()).collect();
        let launch = Launch { argv: argv.to_vec(), env: &env, working_dir: Some("/work") };
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

//! From a command to the machine it needs, as the kernel and the runtime would go: `argv[0]` through PATH,
//! through links, through the interpreters of scripts, down to a compiled program.
//!
//! Sources: moby `pkg/user/user.go` (`GetExecUser`) for who a container starts as; runc `libcontainer`, which looks `argv[0]` up in the container's own PATH; moby
//! `daemon/pkg/oci/defaults.go` for the PATH of an image without one; Linux `fs/binfmt_script.c`, `fs/exec.c`.

mod user;

use nixoci_core::platform::OciPlatform;

use super::dynamic::is_provided;
use super::tree::{Found, Tree};
use crate::codes;
use crate::machine::{Head, is_blank};
use crate::summary::{Executable, Verdict, Warning};
use crate::text::show;

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How many interpreters may interpret each other; Linux allows five rewrites.
const SCRIPT_DEPTH: usize = 5;
/// How many programs of the upper layers are looked at beside the command.
const SAMPLE_LIMIT: usize = 64;

/// What a container would start, and where from.
pub(crate) struct Launch<'a> {
    pub(crate) argv: Vec<&'a str>,
    pub(crate) env: &'a [String],
    pub(crate) working_dir: Option<&'a str>,
    pub(crate) user: Option<&'a str>,
}

/// What the contents of an image say about its platform.
pub(crate) struct Sample {
    pub(crate) executables: Vec<Executable>,
    pub(crate) verdict: Verdict,
    pub(crate) warnings: Vec<Warning>,
}

/// How following a command ended.
enum End {
    Compiled,
    Broken(String),
}

/// Judges the contents of an image by what it would start, and by a sample of its programs.
pub(crate) fn judge(tree: &Tree<'_>, launch: &Launch<'_>, platform: &OciPlatform) -> Sample {
    let mut chain = Vec::new();
    let mut warnings = Vec::new();
    let mut proven = false;
    let place: Vec<Warning> =
        directory(tree, launch).into_iter().chain(user::missing(tree, launch)).collect();
    if let Some(&command) = launch.argv.first() {
        match follow(tree, launch, command, &mut chain) {
            End::Compiled => proven = place.is_empty(),
            End::Broken(why) => warnings.push(Warning::new(&codes::COMMAND_MISSING, why)),
        }
    }
    warnings.extend(place);
    let sampled: Vec<Executable> = sample(tree).filter(|one| !chain.contains(one)).collect();
    let verdict = decide(&chain, &sampled, proven, platform);
    if !matches!(verdict, Verdict::Mismatch { .. }) {
        warnings.extend(foreign(&sampled, platform));
    }
    chain.extend(sampled);
    Sample { executables: chain, verdict, warnings }
}

fn is_foreign(program: &Executable, platform: &OciPlatform) -> bool {
    program.machine.as_ref().is_some_and(|machine| !machine.runs_on(platform))
}

fn decide(chain: &[Executable], sampled: &[Executable], proven: bool, platform: &OciPlatform) -> Verdict {
    if let Some(program) = chain.iter().find(|program| is_foreign(program, platform)) {
        return Verdict::Mismatch { program: program.clone() };
    }
    if proven {
        return Verdict::Runs;
    }
    // Without a command to follow, an image in which no program at all runs is a wrong one.
    match sampled.first() {
        Some(program) if sampled.iter().all(|one| is_foreign(one, platform)) => {
            Verdict::Mismatch { program: program.clone() }
        }
        _ => Verdict::Unproven,
    }
}

fn foreign(sampled: &[Executable], platform: &OciPlatform) -> Option<Warning> {
    let foreign: Vec<&Executable> = sampled.iter().filter(|one| is_foreign(one, platform)).collect();
    let first = *foreign.first()?;
    let machine = first.machine.as_ref().map(ToString::to_string).unwrap_or_default();
    let others = match foreign.len() - 1 {
        0 => String::new(),
        count => format!(", and {count} more of {} looked at", sampled.len()),
    };
    let text = format!("{} is for {machine}{others}", first.path);
    Some(Warning::new(&codes::FOREIGN_PROGRAMS, text))
}

fn sample<'a>(tree: &'a Tree<'_>) -> impl Iterator<Item = Executable> + 'a {
    let programs = |(layer, index): (usize, &'a &super::LayerIndex)| {
        index.programs().map(move |(path, head)| executable(path, layer, head))
    };
    tree.layers.iter().enumerate().rev().flat_map(programs).take(SAMPLE_LIMIT)
}

fn executable(path: &[u8], layer: usize, head: &Head) -> Executable {
    Executable { path: show(&[b"/", path].concat()), layer, machine: head.machine() }
}

fn follow(tree: &Tree<'_>, launch: &Launch<'_>, command: &str, chain: &mut Vec<Executable>) -> End {
    let mut wanted = command.as_bytes().to_vec();
    let mut wanted_by = None;
    for _ in 0..=SCRIPT_DEPTH {
        let (path, layer, head) = match find(tree, launch, &wanted) {
            Found::Program { path, layer, head } => (path, layer, head),
            other => return End::Broken(complain(&other, &wanted, wanted_by.as_deref(), launch)),
        };
        chain.push(executable(&path, layer, &head));
        let line = match head {
            Head::MachO(_) => return End::Compiled,
            Head::Elf { loader: None, .. } => return End::Compiled,
            Head::Elf { loader: Some(loader), libraries, .. } => {
                return loaded(tree, &path, &loader, &libraries, chain);
            }
            Head::Unknown => {
                let shown = show(&path);
                return End::Broken(format!("/{shown} is neither a compiled program nor a script with `#!`"));
            }
            Head::Script(line) => line,
        };
        let (interpreter, argument) = match line.iter().position(|byte| is_blank(*byte)) {
            Some(end) => (&line[..end], &line[end..]),
            None => (&line[..], &[][..]),
        };
        if interpreter.is_empty() {
            return End::Broken(format!("/{} names no interpreter after `#!`", show(&path)));
        }
        wanted_by = Some(path);
        wanted = match env_program(interpreter, argument) {
            Some(program) => {
                // env itself must be there, too.
                match find(tree, launch, interpreter) {
                    Found::Program { path, layer, head } => chain.push(executable(&path, layer, &head)),
                    other => {
                        return End::Broken(complain(&other, interpreter, wanted_by.as_deref(), launch));
                    }
                }
                program
            }
            // The kernel searches no PATH: a bare name is a file in the working directory.
            None if !interpreter.contains(&b'/') => [b"./", interpreter].concat(),
            None => interpreter.to_vec(),
        };
    }
    End::Broken(format!("{} is a script whose interpreters never end", show(command.as_bytes())))
}

/// The kernel starts the loader, which then looks for the program's libraries.
fn loaded(
    tree: &Tree<'_>,
    program: &[u8],
    loader: &[u8],
    libraries: &[Box<[u8]>],
    chain: &mut Vec<Executable>,
) -> End {
    let why = match tree.follow(loader) {
        Found::Program { path, layer, head } => {
            chain.push(executable(&path, layer, &head));
            let missing =
                libraries.iter().find(|name| !is_provided(loader, name) && !has_library(tree, name));
            return match missing {
                None => End::Compiled,
                Some(name) => End::Broken(format!(
                    "`{}`, a library of /{}, is not in the image",
                    show(name),
                    show(program)
                )),
            };
        }
        Found::NotExecutable => "may not be executed",
        Found::Loop => "is a link that leads in a circle",
        Found::Nothing => "is not in the image",
    };
    End::Broken(format!("`{}`, which loads /{}, {why}", show(loader), show(program)))
}

/// Whether a library can be anywhere that a loader finds: in which directories it looks is the affair of search paths,
/// caches and variables.
fn has_library(tree: &Tree<'_>, name: &[u8]) -> bool {
    // A loader puts directories in place of `$ORIGIN` and the like; libraries of other names are not remembered.
    if name.contains(&b'$') || !name.windows(3).any(|part| part == b".so") {
        return true;
    }
    if name.contains(&b'/') {
        return !matches!(tree.follow(name), Found::Nothing | Found::Loop);
    }
    tree.layers.iter().any(|layer| layer.has_library(tree.key, name))
}

/// A working directory that is not there is made; anything else in its place is in the way.
fn directory(tree: &Tree<'_>, launch: &Launch<'_>) -> Option<Warning> {
    let path = launch.working_dir?;
    let text = format!("the image's WorkingDir `{}` is not a directory", show(path.as_bytes()));
    (tree.is_directory(path.as_bytes()) == Some(false)).then(|| Warning::new(&codes::WORKING_DIR, text))
}

/// The program that `#!/usr/bin/env [-S [-i] [NAME=value]] program` starts. The kernel hands all that follows the interpreter over as
/// one argument, which env takes apart with `-S` alone.
fn env_program(interpreter: &[u8], argument: &[u8]) -> Option<Vec<u8>> {
    let is_env = interpreter == b"env" || interpreter.ends_with(b"/env");
    let blanks = argument.iter().take_while(|byte| is_blank(**byte)).count();
    let argument = &argument[blanks..];
    if !is_env || argument.is_empty() {
        return None;
    }
    let Some(split) = argument.strip_prefix(b"-S").or_else(|| argument.strip_prefix(b"-vS")) else {
        return Some(argument.to_vec());
    };
    let option = |word: &&[u8]| word.is_empty() || word.starts_with(b"-") || word.contains(&b'=');
    split.split(u8::is_ascii_whitespace).find(|word| !option(word)).map(<[u8]>::to_vec)
}

/// Looks a program up as `execvp` does, in the container's PATH.
fn find(tree: &Tree<'_>, launch: &Launch<'_>, program: &[u8]) -> Found {
    let working_dir = launch.working_dir.unwrap_or("/").as_bytes();
    if program.starts_with(b"/") {
        return tree.follow(program);
    }
    if program.contains(&b'/') {
        return tree.follow(&[working_dir, b"/", program].concat());
    }
    let mut best = Found::Nothing;
    for dir in search_path(launch).split(':') {
        let dir = if dir.is_empty() { working_dir } else { dir.as_bytes() };
        match tree.follow(&[dir, b"/", program].concat()) {
            found @ Found::Program { .. } => return found,
            Found::Nothing => {}
            other => best = other,
        }
    }
    best
}

fn search_path<'a>(launch: &Launch<'a>) -> &'a str {
    let set = launch.env.iter().rev().find_map(|variable| variable.strip_prefix("PATH="));
    set.filter(|path| !path.is_empty()).unwrap_or(DEFAULT_PATH)
}

fn complain(found: &Found, wanted: &[u8], wanted_by: Option<&[u8]>, launch: &Launch<'_>) -> String {
    let what = show(wanted);
    let why = match found {
        Found::NotExecutable => "may not be executed".to_owned(),
        Found::Loop => "is a link that leads in a circle".to_owned(),
        _ if wanted.contains(&b'/') => "is not in the image".to_owned(),
        _ => format!("is nowhere on the image's PATH ({})", show(search_path(launch).as_bytes())),
    };
    match wanted_by {
        Some(script) => format!("`{what}`, which /{} is interpreted by, {why}", show(script)),
        None => format!("the command `{what}` {why}"),
    }
}

#[cfg(test)]
mod tests;

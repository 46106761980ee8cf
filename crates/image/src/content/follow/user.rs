//! The user that a container starts as: a name has to be in the image's own lists, a number need not.

use super::super::tree::Tree;
use super::Launch;
use crate::codes;
use crate::summary::Warning;
use crate::text::show;

/// A user or a group of `User` that the image does not know.
pub(super) fn missing(tree: &Tree<'_>, launch: &Launch<'_>) -> Option<Warning> {
    let user = launch.user?;
    let (name, group) = user.split_once(':').map_or((user, None), |(name, group)| (name, Some(group)));
    let lists = [("user", Some(name), "/etc/passwd"), ("group", group, "/etc/group")];
    let (kind, name, file, list) = lists.into_iter().find_map(|(kind, name, file)| {
        let name = name.filter(|name| !is_number(name) && !name.is_empty())?;
        let list = tree.list(file.as_bytes());
        let known = list.as_deref().is_some_and(|list| has(list, name));
        (!known).then_some((kind, name, file, list))
    })?;
    let why = match list {
        Some(_) => format!("which {file} does not have"),
        None => format!("and has no {file}"),
    };
    let shown = show(name.as_bytes());
    let add = match kind {
        "user" => format!("extraPasswdLines = [ \"{shown}:x:1000:1000::/:/bin/false\" ];"),
        _ => format!("extraGroupLines = [ \"{shown}:x:1000:\" ];"),
    };
    Some(Warning::new(
        &codes::USER_MISSING,
        format!(
            "the image starts as the {kind} `{shown}`, {why}: write `User = \"1000:1000\";`, or add \
             `(pkgs.dockerTools.fakeNss.override {{ {add} }})` to its contents"
        ),
    ))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a line of the list begins with the name.
fn has(list: &[u8], name: &str) -> bool {
    list.split(|byte| *byte == b'\n')
        .any(|line| line.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b":")))
}

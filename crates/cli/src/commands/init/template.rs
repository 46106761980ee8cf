//! The text of the files that `init` writes.

use std::collections::HashSet;
use std::fmt::Write as _;

use nixoci_core::request::split_attribute;

/// A small flake with an image of this name.
pub(super) fn flake(name: &str) -> String {
    include_str!("flake.nix").replace("@NAME@", name)
}

/// How nixoci.toml names an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// `installable = ".#container"`.
    Flake(String),
    /// `file = "default.nix"`, and the attribute if there is one.
    File(String, Option<String>),
}

impl Source {
    /// The plain word that `nixoci build WORD` gets: the last name of the path.
    fn name(&self) -> String {
        let path = match self {
            Source::Flake(installable) => installable.split_once('#').map_or("", |(_, path)| path),
            Source::File(_, attribute) => attribute.as_deref().unwrap_or_default(),
        };
        let last = split_attribute(path).pop().unwrap_or_default();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        let word: String = last.chars().map(|c| if is_plain(c) { c } else { '-' }).collect();
        if word.is_empty() || word.starts_with('-') { format!("image{word}") } else { word }
    }

    fn lines(&self) -> String {
        match self {
            Source::Flake(installable) => format!("installable = {}\n", string(installable)),
            Source::File(file, attribute) => {
                let attribute = attribute.iter().map(|name| format!("attr = {}\n", string(name)));
                format!("file = {}\n{}", string(file), attribute.collect::<String>())
            }
        }
    }
}

/// A TOML string: JSON's escapes are TOML's, too.
fn string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The images of a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sources {
    /// The one that is built when none is named.
    pub(super) first: Source,
    /// The others.
    pub(super) others: Vec<Source>,
    /// Their platform, where it is not this machine's.
    pub(super) platform: Option<String>,
}

impl Sources {
    /// One image, for this machine's platform.
    pub(super) fn one(first: Source) -> Sources {
        Sources { first, others: Vec::new(), platform: None }
    }
}

/// nixoci.toml for these images.
pub(super) fn config(sources: &Sources) -> String {
    let Sources { first, others, platform } = sources;
    let only = platform.as_ref().map(|platform| format!("platforms = [{}]\n", string(platform)));
    let mut text = String::from(
        "# What `nixoci build` makes here. `nixoci config schema` prints everything that can be said.\n\n[image]\n",
    );
    text += &first.lines();
    text += only.as_deref().unwrap_or(
        "# platforms = [\"linux/amd64\"]            # Linux on this machine's CPU, if nothing is said\n",
    );
    text += "# tags = [\"registry.example/app:dev\"]    # the image's own name, if nothing is said\n";
    let mut taken = HashSet::new();
    for other in others {
        let word = other.name();
        let numbered = (2..).map(|number| format!("{word}-{number}"));
        let name = std::iter::once(word.clone()).chain(numbered).find(|name| taken.insert(name.clone()));
        let name = name.unwrap_or(word);
        let only = only.as_deref().unwrap_or_default();
        let _ = write!(text, "\n[images.{name}]    # nixoci build {name}\n{}{only}", other.lines());
    }
    text += "\n# [profile.default]\n# load = true    # load the image also without --load\n";
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use nixoci_core::config::ConfigFile;

    fn parse(text: &str) -> ConfigFile {
        ConfigFile::parse("nixoci.toml".as_ref(), text.to_owned(), crate::app::VERSION).unwrap()
    }

    #[test]
    fn what_is_written_can_be_read() {
        let flake = |name: &str| Source::Flake(format!(".#{name}"));
        let several = |first: Source, others: Vec<Source>| Sources { others, ..Sources::one(first) };
        let file = parse(&config(&several(flake("container"), vec![flake("debug")])));
        let installable = |image: &nixoci_core::config::ImageTable| {
            image.installable.as_ref().map(|text| text.get_ref().clone())
        };
        assert_eq!(file.image.as_ref().and_then(installable).unwrap(), ".#container");
        assert_eq!(installable(&file.images["debug"]).unwrap(), ".#debug");
        let file = parse(&config(&Sources::one(Source::File("a \"b\".nix".into(), Some("image".into())))));
        let image = file.image.unwrap();
        assert_eq!(image.file.unwrap().get_ref().to_str(), Some("a \"b\".nix"));
        assert_eq!(image.attr.as_deref(), Some("image"));
    }

    #[test]
    fn every_image_has_a_plain_word_of_its_own_and_the_platform_that_it_is_for() {
        let flake = |path: &str| Source::Flake(format!(".#{path}"));
        let others =
            ["set.web", "other.web", "\"my.image\"", "dockerImages.x86_64-linux.web"].map(flake).to_vec();
        let sources = Sources { others, platform: Some("linux/arm64".into()), ..Sources::one(flake("a")) };
        let file = parse(&config(&sources));
        let words: Vec<&str> = file.images.keys().map(String::as_str).collect();
        assert_eq!(words, ["my-image", "web", "web-2", "web-3"]);
        assert!(file.images.values().chain(&file.image).all(|image| image.platforms.is_some()));
    }

    #[test]
    fn what_is_commented_out_can_be_read_once_it_is_not() {
        let text = config(&Sources::one(Source::Flake(".#x".into())));
        let switched = text.replace("\n# platforms", "\nplatforms").replace("\n# tags", "\ntags");
        let switched = switched.replace("\n# [profile", "\n[profile").replace("\n# load", "\nload");
        assert_ne!(switched, text);
        assert!(parse(&switched).image.unwrap().tags.is_some());
    }

    #[test]
    fn the_flake_has_the_name() {
        assert!(flake("my-app").contains("name = \"my-app\";") && !flake("x").contains('@'));
    }
}

//! The text of the files that `init` writes.

use std::fmt::Write as _;

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
    /// The name that `nixoci build NAME` gets.
    fn name(&self) -> &str {
        match self {
            Source::Flake(installable) => installable.rsplit('#').next().unwrap_or_default(),
            Source::File(_, attribute) => attribute.as_deref().unwrap_or_default(),
        }
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

/// nixoci.toml for these images: the first is built when none is named.
pub(super) fn config(first: &Source, others: &[Source]) -> String {
    let mut text = String::from(
        "# What `nixoci build` makes here. `nixoci config schema` prints everything that can be said.\n\n[image]\n",
    );
    text += &first.lines();
    text += "# platforms = [\"linux/amd64\"]            # Linux on this machine's CPU, if nothing is said\n\
             # tags = [\"registry.example/app:dev\"]    # the image's own name, if nothing is said\n";
    for other in others {
        let name = other.name();
        let _ = write!(text, "\n[images.{name}]    # nixoci build {name}\n{}", other.lines());
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
        let file = parse(&config(&flake("container"), &[flake("debug")]));
        let installable = |image: &nixoci_core::config::ImageTable| {
            image.installable.as_ref().map(|text| text.get_ref().clone())
        };
        assert_eq!(file.image.as_ref().and_then(installable).unwrap(), ".#container");
        assert_eq!(installable(&file.images["debug"]).unwrap(), ".#debug");
        let file = parse(&config(&Source::File("a \"b\".nix".into(), Some("image".into())), &[]));
        let image = file.image.unwrap();
        assert_eq!(image.file.unwrap().get_ref().to_str(), Some("a \"b\".nix"));
        assert_eq!(image.attr.as_deref(), Some("image"));
    }

    #[test]
    fn what_is_commented_out_can_be_read_once_it_is_not() {
        let text = config(&Source::Flake(".#x".into()), &[]);
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

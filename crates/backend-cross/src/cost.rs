//! What building would cost, from the names of what would be built.

use std::collections::BTreeMap;

use nixoci_core::artifact::StorePath;
use nixoci_core::backend::Forecast;
use nixoci_core::host::Host;
use nixoci_core::platform::NixSystem;
use nixoci_core::text::count;
use nixoci_core::{Error, Remedy, shell};

use crate::elsewhere;
use crate::error::TOO_MUCH;
use crate::settings::Settings;

/// What takes long to compile, with rough minutes on a laptop. No measurement stands behind a single figure, but the order does:
/// a compiler takes longer than a library, and LLVM longer than GCC.
const EXPENSIVE: &[(&str, u32)] = &[
    ("binutils", 4),
    ("boost", 15),
    ("clang", 45),
    ("cmake", 8),
    ("erlang", 15),
    ("gcc", 30),
    ("gdb", 8),
    ("ghc", 120),
    ("glib", 4),
    ("glibc", 10),
    ("go", 6),
    ("icu4c", 6),
    ("linux", 30),
    ("llvm", 60),
    ("mesa", 20),
    ("musl", 1),
    ("nodejs", 45),
    ("openjdk", 45),
    ("openssl", 6),
    ("perl", 5),
    ("php", 10),
    ("postgresql", 10),
    ("python3", 10),
    ("qtbase", 60),
    ("ruby", 6),
    ("rustc", 90),
    ("systemd", 10),
    ("webkitgtk", 240),
];
/// What is behind these is a text or a link.
const CHEAP: &[&str] = &["wrapper", "headers", "hook", "source"];

/// What building would cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cost {
    /// How many derivations.
    pub(crate) builds: usize,
    /// What is expensive among them, and how often.
    pub(crate) expensive: Vec<(String, usize)>,
    minutes: u64,
}

impl Cost {
    pub(crate) fn of(will_build: &[StorePath], settings: &Settings) -> Cost {
        let mut found: BTreeMap<&str, (u64, usize)> = BTreeMap::new();
        for path in will_build {
            let name = without_platform(path.name());
            let words: Vec<&str> = name.split('-').collect();
            if words.iter().any(|word| CHEAP.contains(word)) {
                continue;
            }
            // A person means a word, wherever it stands; our own list means what is called that.
            let theirs = settings.weights.iter().find(|(known, _)| words.contains(&known.as_str()));
            let theirs = theirs.map(|(known, minutes)| (known.as_str(), *minutes));
            let ours = || EXPENSIVE.iter().copied().find(|(known, _)| is(&name, known));
            if let Some((known, minutes)) = theirs.or_else(ours) {
                let (sum, number) = found.entry(known).or_default();
                *sum += u64::from(minutes);
                *number += 1;
            }
        }
        let minutes = found.values().map(|(minutes, _)| minutes).sum();
        let mut expensive: Vec<_> = found.into_iter().collect();
        expensive.sort_by_key(|(_, (minutes, _))| std::cmp::Reverse(*minutes));
        let expensive = expensive.into_iter().map(|(name, (_, number))| (name.to_owned(), number)).collect();
        Cost { builds: will_build.len(), expensive, minutes }
    }

    /// In words: how many, what is expensive, and how long that takes people.
    pub(crate) fn words(&self, forecast: &Forecast) -> String {
        let fetched = match forecast.will_fetch.len() {
            0 => String::new(),
            number => format!(", {} fetched", count(number, "path")),
        };
        let among = match self.expensive.as_slice() {
            [] => "nothing that takes long among them".to_owned(),
            expensive => {
                let name = |(name, number): &(String, usize)| match number {
                    1 => name.clone(),
                    number => format!("{number} x {name}"),
                };
                format!("{} among them", expensive.iter().map(name).collect::<Vec<_>>().join(", "))
            }
        };
        match self.builds {
            0 => format!("nothing to build{fetched}"),
            builds => format!(
                "{} to build on this machine{fetched}, {among}: {}",
                count(builds, "derivation"),
                self.time()
            ),
        }
    }

    fn time(&self) -> &'static str {
        match self.minutes + self.builds as u64 / 10 {
            0..=2 => "a minute or two",
            3..=15 => "some minutes",
            16..=60 => "up to an hour",
            61..=240 => "some hours",
            _ => "most of a day",
        }
    }

    /// Why it is too much, if it is.
    pub(crate) fn refusal(
        &self,
        host: &Host,
        target: &NixSystem,
        forecast: &Forecast,
        settings: &Settings,
    ) -> Option<Error> {
        let limit = settings.max_local_builds;
        (self.builds > limit).then(|| {
            let text = format!(
                "cross compilation would build {} on this machine, and {limit} are allowed",
                count(self.builds, "derivation")
            );
            let error = Error::new(&TOO_MUCH, text).because(self.words(forecast)).because(
                "what is crossed is in hardly any binary cache; a Linux machine takes nearly all from there",
            );
            let error = elsewhere::remedies(host, target).into_iter().fold(error, Error::remedy);
            error.remedy(Remedy::command(
                "or allow it",
                shell!("nixoci build --max-local-builds {}", self.builds.to_string()),
            ))
        })
    }
}

/// Whether that is what is called so: `perl-5.40.1`, not `perl5.40.1-JSON`; `linux-6.12`, not `util-linux-2.41`; `go-1.24`, not `app-1.0-go-modules`.
fn is(name: &str, known: &str) -> bool {
    const BEFORE: [&str; 4] = ["stage-static-", "nolibc-", "stage-final-", "bootstrap-"];
    const AFTER: [&str; 5] = ["-unwrapped", "-minimal", "-headless", "-static", "-bootstrap"];
    let name = BEFORE.into_iter().find_map(|stage| name.strip_prefix(stage)).unwrap_or(name);
    let Some(rest) = name.strip_prefix(known) else { return false };
    let rest = AFTER.into_iter().find_map(|variant| rest.strip_prefix(variant)).unwrap_or(rest);
    rest.is_empty()
        || rest.strip_prefix('-').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// A name without the platform that nixpkgs writes into it, which would be taken for a kernel.
fn without_platform(name: &str) -> String {
    let platform = |name: &str| {
        let at = name.find("-unknown-linux-")?;
        let begin = name[..at].rfind('-').map_or(0, |dash| dash + 1);
        let rest = &name[at + "-unknown-linux-".len()..];
        Some(format!("{}{}", &name[..begin], rest.split_once('-').map_or("", |(_, rest)| rest)))
    };
    platform(name).unwrap_or_else(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(names: &[&str]) -> Cost {
        let path =
            |name: &&str| format!("/nix/store/0mixbwv945yr64jsc6jla0384mdn9l4z-{name}.drv").parse().unwrap();
        Cost::of(&names.iter().map(path).collect::<Vec<_>>(), &Settings::default())
    }

    #[test]
    fn compilers_are_expensive_and_what_wraps_them_is_not() {
        let cost = cost(&[
            "aarch64-unknown-linux-gnu-stage-static-gcc-14.2.0",
            "aarch64-unknown-linux-gnu-gcc-14.2.0",
            "aarch64-unknown-linux-gnu-gcc-wrapper-14.2.0",
            "linux-headers-static-aarch64-unknown-linux-gnu-6.12",
            "perl-aarch64-unknown-linux-gnu-5.40.1",
            "perl5.40.1-JSON-aarch64-unknown-linux-gnu-4.10",
            "util-linux-aarch64-unknown-linux-gnu-2.41",
            "app-1.0-go-modules",
            "bash-aarch64-unknown-linux-gnu-5.2",
            "image.tar.gz",
        ]);
        assert_eq!(cost.builds, 10);
        assert_eq!(cost.expensive, [("gcc".to_owned(), 2), ("perl".to_owned(), 1)]);
        assert_eq!(
            cost.words(&Forecast::unknown()),
            "10 derivations to build on this machine, 2 x gcc, perl among them: some hours"
        );
    }

    #[test]
    fn beyond_the_limit_it_is_refused_with_the_figures() {
        let cost = cost(&["a", "b"]);
        let limit = |max_local_builds| Settings { max_local_builds, ..Settings::default() };
        let host =
            Host { system: "aarch64-darwin".parse().unwrap(), home: None, uid: 501, env: [].into(), cpus: 1 };
        let target = "aarch64-linux".parse().unwrap();
        let refusal = |max| cost.refusal(&host, &target, &Forecast::unknown(), &limit(max));
        assert!(refusal(2).is_none());
        let error = refusal(1).unwrap();
        assert!(error.is(&TOO_MUCH) && error.to_string().contains("2 derivations"), "{error}");
        assert_eq!(self::cost(&[]).words(&Forecast::unknown()), "nothing to build");
    }
}

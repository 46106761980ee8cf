//! Arguments as Qt reads them, which multipass does: options anywhere before `--`, short ones together.

use std::collections::BTreeMap;

/// An option: its names, and whether it takes a value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opt {
    pub(super) short: &'static str,
    pub(super) long: &'static str,
    pub(super) value: bool,
}

pub(super) const fn flag(short: &'static str, long: &'static str) -> Opt {
    Opt { short, long, value: false }
}

pub(super) const fn value(short: &'static str, long: &'static str) -> Opt {
    Opt { short, long, value: true }
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Args {
    pub(super) words: Vec<String>,
    options: BTreeMap<&'static str, Vec<String>>,
    /// Whether `--` was there.
    pub(super) dashes: bool,
}

/// What every command has.
const COMMON: [Opt; 2] = [flag("h", "help"), flag("v", "verbose")];

impl Args {
    /// The error is what multipass says on stderr.
    pub(super) fn parse(words: &[String], known: &[Opt]) -> Result<Self, (String, Self)> {
        let mut args = Self::default();
        let mut rest = words.iter();
        while let Some(word) = rest.next() {
            if word == "--" {
                args.dashes = true;
                args.words.extend(rest.by_ref().cloned());
            } else if let Some(long) = word.strip_prefix("--") {
                let (name, given) = match long.split_once('=') {
                    Some((name, given)) => (name, Some(given.to_owned())),
                    None => (long, None),
                };
                if let Err(why) = args.take(name, given, known, &mut rest) {
                    args.dashes |= rest.any(|word| word == "--");
                    return Err((why, args));
                }
            } else if let Some(short) = word.strip_prefix('-').filter(|short| !short.is_empty()) {
                if let Err(why) = args.take_short(short, known, &mut rest) {
                    args.dashes |= rest.any(|word| word == "--");
                    return Err((why, args));
                }
            } else {
                args.words.push(word.clone());
            }
        }
        Ok(args)
    }

    fn take<'a>(
        &mut self,
        name: &str,
        given: Option<String>,
        known: &[Opt],
        rest: &mut impl Iterator<Item = &'a String>,
    ) -> Result<(), String> {
        let option = known.iter().chain(&COMMON).find(|option| option.long == name || option.short == name);
        let option = option.ok_or_else(|| format!("Unknown option '{name}'."))?;
        let key = if option.long.is_empty() { option.short } else { option.long };
        let got = match (option.value, given) {
            (false, None) => String::new(),
            (false, Some(_)) => return Err(format!("Unexpected value after '--{name}'.")),
            (true, Some(given)) => given,
            (true, None) => {
                let dashes = if name.len() == 1 { "-" } else { "--" };
                rest.next().cloned().ok_or_else(|| format!("Missing value after '{dashes}{name}'."))?
            }
        };
        self.options.entry(key).or_default().push(got);
        Ok(())
    }

    /// `-abc`, or `-aVALUE`.
    fn take_short<'a>(
        &mut self,
        letters: &str,
        known: &[Opt],
        rest: &mut impl Iterator<Item = &'a String>,
    ) -> Result<(), String> {
        let mut left = letters;
        while let Some(letter) = left.chars().next() {
            let (name, after) = left.split_at(letter.len_utf8());
            let takes = known.iter().any(|option| option.short == name && option.value);
            if takes && !after.is_empty() {
                let given = after.strip_prefix('=').unwrap_or(after).to_owned();
                return self.take(name, Some(given), known, rest);
            }
            self.take(name, None, known, rest)?;
            left = after;
        }
        Ok(())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.options.contains_key(name)
    }

    /// The last one given.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.options.get(name)?.last().map(String::as_str)
    }

    pub(super) fn all(&self, name: &str) -> &[String] {
        self.options.get(name).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [Opt; 3] = [flag("n", "no-map"), value("d", "dir"), value("", "timeout")];

    fn parse(line: &str) -> Result<Args, String> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        Args::parse(&words, &KNOWN).map_err(|(why, _)| why)
    }

    #[test]
    fn options_anywhere_before_the_dashes() {
        let args = parse("vm -n --timeout=3 -d /x -- ls -l --").expect("right");
        assert_eq!(args.words, ["vm", "ls", "-l", "--"]);
        assert!(args.has("no-map") && args.dashes);
        assert_eq!((args.get("timeout"), args.get("dir")), (Some("3"), Some("/x")));
        assert_eq!(parse("vm -nd/x").expect("right").get("dir"), Some("/x"));
        assert_eq!(parse("vm ls -l"), Err("Unknown option 'l'.".to_owned()));
        assert_eq!(parse("vm --timeout"), Err("Missing value after '--timeout'.".to_owned()));
        assert_eq!(parse("vm -").expect("right").words, ["vm", "-"]);
    }
}

//! Remedies in tables: sentences and commands with placeholders, which are filled in when something fails.

use crate::error::Remedy;
use crate::pattern::{self, Captures};
use crate::runner::quote;

/// A row of such a table: a sentence, and the text to copy. Placeholders are written as in [`pattern::fill`].
#[derive(Clone, Copy, Debug)]
pub enum Help {
    /// A sentence alone.
    Advice(&'static str),
    /// A sentence and a command. A word with a placeholder in it is quoted as a whole, so that a value cannot end the word.
    Command(&'static str, &'static str),
    /// A sentence and lines of a configuration file, or of an expression. They are filled without quotation marks, which are only for
    /// a shell.
    Lines(&'static str, &'static str),
}

/// The values of the placeholders.
#[derive(Clone, Debug, Default)]
pub struct Values {
    /// Unquoted texts.
    pub texts: Captures,
    /// Parts of commands, made of words that are quoted already: `ssh host `. They are only for commands, where they are used before
    /// the texts, and only for a placeholder at the beginning of a word.
    pub commands: Captures,
}

impl Help {
    /// The sentence.
    pub fn sentence(self) -> &'static str {
        match self {
            Help::Advice(sentence) | Help::Command(sentence, _) | Help::Lines(sentence, _) => sentence,
        }
    }

    /// The text to copy.
    pub fn copied(self) -> Option<&'static str> {
        match self {
            Help::Advice(_) => None,
            Help::Command(_, copied) | Help::Lines(_, copied) => Some(copied),
        }
    }

    /// The remedy with these values; `filter` as in [`pattern::fill`].
    pub fn remedy(self, values: &Values, filter: impl Fn(&str, &str) -> String) -> Remedy {
        let fill = |template: &str| pattern::fill(template, &values.texts, &filter);
        match self {
            Help::Advice(sentence) => Remedy::advice(fill(sentence)),
            Help::Command(sentence, command) => {
                let words = words(command).into_iter();
                let filled: String = words.map(|word| fill_word(word, values, &fill)).collect();
                Remedy::command(fill(sentence), filled)
            }
            Help::Lines(sentence, lines) => Remedy::lines(fill(sentence), fill(lines)),
        }
    }
}

fn fill_word(word: &str, values: &Values, fill: &impl Fn(&str) -> String) -> String {
    let (command, rest) = beginning(word, &values.commands);
    if rest.contains('{') {
        format!("{command}{}", quote(fill(rest).as_ref()))
    } else {
        format!("{command}{rest}")
    }
}

/// The part of a command at the beginning of a word, and the rest of the word.
fn beginning<'a>(word: &'a str, commands: &'a Captures) -> (&'a str, &'a str) {
    let named = word.strip_prefix('{').and_then(|word| word.split_once('}'));
    let found = named.and_then(|(name, rest)| Some((commands.get(name)?.as_str(), rest)));
    found.unwrap_or(("", word))
}

/// The words of a command, and the white space between them. A word may have quotation marks in it.
fn words(command: &str) -> Vec<&str> {
    let (mut words, mut start, mut open) = (Vec::new(), 0, None);
    for (place, character) in command.char_indices() {
        open = match open {
            None if matches!(character, '\'' | '"') => Some(character),
            Some(mark) if mark == character => None,
            open => open,
        };
        if open.is_none() && character.is_whitespace() {
            let end = place + character.len_utf8();
            words.extend([&command[start..place], &command[place..end]]);
            start = end;
        }
    }
    words.push(&command[start..]);
    words
}

#[cfg(test)]
#[path = "help_tests.rs"]
mod tests;

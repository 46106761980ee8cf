//! What is remembered of a run of Nix: errors, the ends of build logs, the plan, and the whole log in a file.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::{Path, PathBuf};

use nixoci_core::error::LOG_TAIL_LINES;

use crate::log::store_name;
use crate::log_file::LogFile;
use crate::plan::Plan;
use nixoci_core::pattern::find;

const MOST_BUILDERS: usize = 8;
const ERRORS_KEPT: usize = 50;
const PLAIN_KEPT: usize = 100;
const TAILS_KEPT: usize = 200;
const ERROR_LIMIT: usize = 16 << 10;
const TAIL_LINE_LIMIT: usize = 1 << 10;

/// What one run of Nix said that is needed after its end. Bounded, whatever it says.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// Messages that begin with `error:`, in order.
    pub(crate) errors: Vec<String>,
    /// Lines from whoever else writes to standard error: ssh, git, Nix before its logger is set up.
    pub(crate) plain: VecDeque<String>,
    /// Remote builders that did not take a build, by their URIs, and why.
    pub(crate) builders: BTreeMap<String, String>,
    /// Where derivations are built that were sent to another machine, by their paths.
    pub(crate) sent: HashMap<String, String>,
    /// The first derivation that Nix's scheduler found no machine for.
    pub(crate) unplaced: Option<Unplaced>,
    /// What would be built and fetched.
    pub(crate) plan: Plan,
    tails: HashMap<String, VecDeque<String>>,
    /// Derivations with a tail, the oldest first.
    order: VecDeque<String>,
    file: LogFile,
}

/// A derivation that none of the machines takes, in the words of Nix's `build-remote.cc`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Unplaced {
    pub(crate) drv: String,
    pub(crate) system: String,
    /// What it asks for.
    pub(crate) features: String,
    /// What the machines offer that build for the system.
    pub(crate) offered: Vec<String>,
}

impl Unplaced {
    fn parse(text: &str) -> Option<Unplaced> {
        let mut found =
            find("derivation: {drv} required (system, features): ({system}, [{features}])", text)?;
        let mut value = |name: &str| found.remove(name).unwrap_or_default();
        let (drv, system, features) = (value("drv"), value("system"), value("features"));
        let machine = |line: &str| {
            let mut parts = line.trim().strip_prefix("([")?.splitn(2, "], ");
            let serves = parts.next()?.split(',').any(|name| name.trim() == system);
            let offers = parts.next()?.split_once('[')?.1.split_once(']')?.0;
            serves.then(|| offers.trim().to_owned())
        };
        let offered = text.lines().filter_map(machine).collect();
        Some(Unplaced { drv, system, features, offered })
    }
}

impl Record {
    /// A record whose whole log goes to a new file in `dir`, once a build or another program writes to it.
    pub(crate) fn new(dir: PathBuf) -> Self {
        Record { file: LogFile::new(dir), ..Record::default() }
    }

    /// A record of what an ordinary command wrote to standard error.
    pub(crate) fn of_text(stderr: &str) -> Self {
        let mut record = Record::default();
        for line in stderr.lines().map(crate::lines::log_line) {
            record.plain(line);
        }
        record
    }

    /// Remembers a builder that was tried in vain, and a derivation that no builder takes. Nix goes on without it, and what it says at the end is about this machine.
    pub(crate) fn hear_builder(&mut self, text: &str) {
        if self.unplaced.is_none() && text.contains("required (system, features)") {
            self.unplaced = Unplaced::parse(text);
        }
        let Some(mut found) = find("cannot build on '{uri}': {why}", text) else { return };
        if let (Some(uri), Some(why)) = (found.remove("uri"), found.remove("why"))
            && self.builders.len() < MOST_BUILDERS
        {
            self.builders.entry(uri).or_insert_with(|| why.trim_start_matches("error:").trim().to_owned());
        }
    }

    pub(crate) fn error(&mut self, text: String) {
        self.file.mention(&text);
        let text = shortened(text, ERROR_LIMIT);
        if self.errors.len() < ERRORS_KEPT && !self.errors.contains(&text) {
            self.errors.push(text);
        }
    }

    pub(crate) fn plain(&mut self, line: String) {
        self.file.write(&line);
        keep(&mut self.plain, line, PLAIN_KEPT);
    }

    pub(crate) fn note(&mut self, text: &str) {
        self.file.mention(text);
    }

    pub(crate) fn build_line(&mut self, drv: Option<&str>, line: &str) {
        let Some(drv) = drv else { return self.file.write(line) };
        self.file.write(&format!("{}> {line}", store_name(drv)));
        if !self.tails.contains_key(drv) {
            self.order.push_back(drv.to_owned());
            if self.order.len() > TAILS_KEPT {
                self.order.pop_front().map(|oldest| self.tails.remove(&oldest));
            }
        }
        let line = shortened(line.to_owned(), TAIL_LINE_LIMIT);
        keep(self.tails.entry(drv.to_owned()).or_default(), line, LOG_TAIL_LINES);
    }

    /// The end of a derivation's log.
    pub(crate) fn tail(&self, drv: &str) -> Vec<String> {
        self.tails.get(drv).into_iter().flatten().cloned().collect()
    }

    /// All ends of logs, for looking for what a failing program said.
    pub(crate) fn tails(&self) -> impl Iterator<Item = &String> {
        self.tails.values().flatten()
    }

    /// Where the whole log is, if there was anything to write.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.file.path()
    }

    pub(crate) fn close(&mut self) {
        self.file.flush();
    }
}

fn keep(lines: &mut VecDeque<String>, line: String, limit: usize) {
    if lines.len() == limit {
        lines.pop_front();
    }
    lines.push_back(line);
}

/// Beginning and end of a text that is longer than anybody reads: where it comes from, and what it says.
fn shortened(text: String, limit: usize) -> String {
    if text.len() <= limit {
        return text;
    }
    let (mut head, mut tail) = (limit / 2, text.len() - limit / 2);
    while !text.is_char_boundary(head) {
        head -= 1;
    }
    while !text.is_char_boundary(tail) {
        tail += 1;
    }
    format!("{} … {}", &text[..head], &text[tail..])
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRV: &str = "/nix/store/0mixbwv945yr64jsc6jla0384mdn9l4z-hello-1.0.drv";

    #[test]
    fn a_log_is_whole_in_its_file_and_short_in_memory() {
        let dir = tempfile::tempdir().unwrap();
        let mut record = Record::new(dir.path().join("logs"));
        assert!(record.path().is_none() && !dir.path().join("logs").exists());
        for number in 0..1000 {
            record.build_line(Some(DRV), &format!("line {number}"));
        }
        record.close();
        assert_eq!(record.tail(DRV).len(), LOG_TAIL_LINES);
        assert_eq!(record.tail(DRV)[0], "line 980");
        let text = std::fs::read_to_string(record.path().unwrap()).unwrap();
        assert_eq!(text.lines().count(), 1000);
        assert!(text.starts_with("hello-1.0> line 0\n"));
    }

    #[test]
    fn thousands_of_derivations_and_errors_stay_bounded() {
        let mut record = Record::default();
        for number in 0..10_000 {
            record.build_line(Some(&format!("drv{number}")), "x");
            record.error(format!("error: {number}"));
            record.plain(number.to_string());
        }
        assert!(record.tails.len() <= TAILS_KEPT && record.order.len() <= TAILS_KEPT);
        assert_eq!(record.tail("drv9999"), ["x"]);
        assert_eq!((record.errors.len(), record.plain.len()), (ERRORS_KEPT, PLAIN_KEPT));
    }

    #[test]
    fn enormous_texts_keep_their_beginning_and_end() {
        let mut record = Record::default();
        let text = format!("error: begin{}end", "ü".repeat(1 << 20));
        record.error(text.clone());
        record.build_line(Some(DRV), &text);
        for kept in [&record.errors[0], &record.tail(DRV)[0]] {
            assert!(kept.len() < ERROR_LIMIT + 10, "{}", kept.len());
            assert!(kept.starts_with("error: begin") && kept.ends_with("end"));
        }
    }
}

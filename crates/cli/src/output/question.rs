//! Questions before something changes this machine, on the terminal.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use nixoci_core::codes::CANCELLED;
use nixoci_core::event::Observer;
use nixoci_core::plan::ProvisionPlan;
use nixoci_core::text::{count, printable};
use nixoci_core::{Error, Result};
use nixoci_engine::{Change, Consent};
use tokio_util::sync::CancellationToken;

use super::printer::Printer;
use super::progress::Ui;
use super::steps;
use crate::args::Format;
use crate::codes::NO_ANSWER;
use crate::trust;

/// The person at the terminal, if one is there.
pub(crate) struct Terminal {
    printer: Printer,
    ui: Arc<Ui>,
    cancel: CancellationToken,
    /// Where answers are kept that count for later commands.
    state: PathBuf,
}

/// What was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Yes,
    No,
    Print,
}

impl Terminal {
    pub(crate) fn new(printer: Printer, ui: Arc<Ui>, cancel: CancellationToken, state: PathBuf) -> Self {
        Terminal { printer, ui, cancel, state }
    }

    /// A question needs an answer from where it is asked; a program that reads JSON gives none.
    fn is_there(&self) -> bool {
        self.printer.format == Format::Human
            && std::io::stdin().is_terminal()
            && std::io::stderr().is_terminal()
    }

    /// Shows a text and asks; nothing where nobody is there to answer.
    pub(crate) async fn confirm(&self, text: &str, question: &str) -> Result<Option<bool>> {
        if !self.is_there() {
            return Ok(None);
        }
        let _pause = self.ui.pause();
        self.printer.err(&format!("{text}{question}"));
        Ok(Some(answer(&self.line().await?) == Answer::Yes))
    }

    /// A line from the terminal. Ctrl-C ends the waiting, not the reading: the thread that reads ends with nixoci.
    async fn line(&self) -> Result<String> {
        let read = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).map(|_| line)
        });
        tokio::select! {
            line = read => match line {
                Ok(Ok(line)) => Ok(line),
                Ok(Err(error)) => Err(no_answer(&error)),
                Err(error) => Err(no_answer(&error)),
            },
            () = self.cancel.cancelled() => {
                // What comes next does not belong on the line of the question.
                self.printer.err("\n");
                Err(Error::new(&CANCELLED, "stopped at a question"))
            }
        }
    }
}

fn no_answer(error: &(dyn std::error::Error + 'static)) -> Error {
    Error::new(&NO_ANSWER, "the answer could not be read").caused_by(error)
}

#[async_trait]
impl Consent for Terminal {
    fn show(&self, change: Change<'_>) {
        let observer: &dyn Observer = self.ui.as_ref();
        observer.info(shown(change).trim_end());
    }

    async fn ask(&self, change: Change<'_>) -> Result<Option<bool>> {
        if !self.is_there() {
            return Ok(None);
        }
        let _pause = self.ui.pause();
        self.printer.err(&shown(change));
        loop {
            self.printer.err(&question(change));
            match (answer(&self.line().await?), change) {
                (Answer::Yes, Change::Entrust(entrust)) => {
                    trust::entrust(&self.state, &entrust.source)?;
                    return Ok(Some(true));
                }
                (Answer::Yes, _) => return Ok(Some(true)),
                (Answer::Print, Change::Provision { backend, plan }) => {
                    self.printer.text(&steps::script(backend, plan))?;
                }
                _ => return Ok(Some(false)),
            }
        }
    }
}

/// What is about to be done.
fn shown(change: Change<'_>) -> String {
    match change {
        Change::Provision { plan, .. } => steps::list(plan),
        Change::Remove { backend, what } => {
            let lines = what.iter().map(|what| format!("  {}\n", printable(what)));
            std::iter::once(format!("this is removed ({}):\n", printable(backend))).chain(lines).collect()
        }
        Change::Entrust(entrust) => {
            let names = entrust.names.iter().map(|name| format!("  {}\n", printable(name)));
            let source = printable(&entrust.source).into_owned();
            std::iter::once(format!(
                "{source} is evaluated in a virtual machine with your credentials, and can read them:\n"
            ))
            .chain(names)
            .collect()
        }
        Change::Replace { runtime, names, file } => {
            let names = names.iter().map(|name| format!("  {}\n", printable(name)));
            let file = printable(&file.display().to_string()).into_owned();
            let first = format!(
                "{} has these images, which nixoci did not load, and {file} gives their names to its own:\n",
                runtime.name()
            );
            std::iter::once(first).chain(names).collect()
        }
        Change::Write { diff, .. } => diff.to_owned(),
    }
}

fn question(change: Change<'_>) -> String {
    match change {
        Change::Provision { plan, .. } => {
            let them = if plan.pending().count() == 1 { "it" } else { "them" };
            format!("{} Run {them}? [y/N/p=print] ", root(plan))
        }
        Change::Remove { .. } => "Remove it? [y/N] ".to_owned(),
        Change::Replace { .. } => "Replace them? [y/N] ".to_owned(),
        Change::Entrust(_) => "Give this project the credentials, now and later? [y/N] ".to_owned(),
        Change::Write { file, .. } => format!("Change {}? [y/N] ", printable(&file.display().to_string())),
    }
}

/// `1 of 2 steps needs root: tell ssh.`
fn root(plan: &ProvisionPlan) -> String {
    let all = plan.pending().count();
    let root: Vec<&str> =
        plan.pending().filter(|step| step.needs_root).map(|step| step.title.as_str()).collect();
    let titles = root.join(", ");
    let titles = printable(&titles);
    match (root.len(), all) {
        (0, 1) => "1 step, which needs no root.".to_owned(),
        (0, _) => format!("{}, none of which needs root.", count(all, "step")),
        (_, 1) => format!("1 step, which needs root: {titles}."),
        (some, _) => {
            let need = if some == 1 { "needs" } else { "need" };
            format!("{some} of {all} steps {need} root: {titles}.")
        }
    }
}

/// Anything but a clear yes is a no; so is the end of the input.
fn answer(line: &str) -> Answer {
    match line.trim().to_lowercase().as_str() {
        "y" | "yes" => Answer::Yes,
        "p" | "print" => Answer::Print,
        _ => Answer::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_says_which_steps_need_root() {
        let mut plan = super::steps::tests::plan();
        let ask = |plan: &ProvisionPlan| question(Change::Provision { backend: "vm", plan });
        assert_eq!(ask(&plan), "1 of 2 steps needs root: tell ssh. Run them? [y/N/p=print] ");
        plan.steps[1].needs_root = true;
        assert_eq!(ask(&plan), "2 of 2 steps need root: start the VM, tell ssh. Run them? [y/N/p=print] ");
        plan.steps.iter_mut().for_each(|step| step.needs_root = false);
        assert_eq!(ask(&plan), "2 steps, none of which needs root. Run them? [y/N/p=print] ");
        plan.steps.pop();
        assert_eq!(ask(&plan), "1 step, which needs no root. Run it? [y/N/p=print] ");
        plan.steps[1].needs_root = true;
        assert_eq!(ask(&plan), "1 step, which needs root: start the VM. Run it? [y/N/p=print] ");
        let write = Change::Write { file: std::path::Path::new("/a/mac.nix"), diff: "+x\n" };
        assert_eq!((question(write).as_str(), shown(write).as_str()), ("Change /a/mac.nix? [y/N] ", "+x\n"));
        let gone = [String::from("its disk")];
        let remove = Change::Remove { backend: "vm", what: &gone };
        assert_eq!(shown(remove), "this is removed (vm):\n  its disk\n");
        assert_eq!(question(Change::Remove { backend: "vm", what: &[] }), "Remove it? [y/N] ");
    }

    #[test]
    fn only_a_clear_yes_is_one() {
        for (line, wanted) in [
            ("y\n", Answer::Yes),
            (" YES \n", Answer::Yes),
            ("p\n", Answer::Print),
            ("\n", Answer::No),
            ("", Answer::No),
            ("n\n", Answer::No),
            ("yep\n", Answer::No),
        ] {
            assert_eq!(answer(line), wanted, "{line:?}");
        }
    }
}

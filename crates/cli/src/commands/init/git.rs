//! Making Git, and through it Nix, aware of new files.

use std::path::Path;

use nixoci_core::runner::{Command, output};
use nixoci_core::{Remedy, Result};

use nixoci_nix::git;

use crate::app::App;

/// In a Git repository Nix sees only what Git tracks. Tells Git that these files will be added, as it takes no more
/// for Nix; returns whether that was needed and done. A failure is worth a warning: the files are there.
pub(super) async fn track(app: &App, root: &Path, files: &[&str]) -> Result<bool> {
    if files.is_empty() || !root.ancestors().any(|dir| dir.join(".git").exists()) {
        return Ok(false);
    }
    let settings = nixoci_nix::git::without_filters(&app.cx(), root).await.unwrap_or_default();
    let command =
        settings.iter().fold(git::command(root), |command, setting| command.args(["-c", setting.as_str()]));
    let command = command.args(["add", "--intent-to-add", "--"]).args(files);
    let answer = match output(&app.runner, &command, app.signals.cancel()).await {
        Ok(answer) if answer.exit.success() => return Ok(true),
        Ok(answer) => answer.stderr_text().lines().next().unwrap_or_default().to_owned(),
        Err(error) if error.is(&nixoci_core::codes::CANCELLED) => return Err(error),
        Err(error) => error.to_string(),
    };
    let text = format!("Git could not be told of the new files, and Nix sees only what Git tracks: {answer}");
    let add = Command::new("git").arg("add").args(files);
    let fix = Remedy::command("add them yourself", add.to_string());
    app.cx().observer.warn(text, vec![fix]);
    Ok(false)
}

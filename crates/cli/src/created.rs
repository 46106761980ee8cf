//! `--created`: the date of an image.

use nixoci_core::runner::output;
use nixoci_core::{Error, Remedy, Result};

use crate::app::App;
use crate::codes::BAD_DATE;

/// The date in RFC 3339, or `None` to keep the image's own.
///
/// # Errors
/// [`BAD_DATE`].
pub(crate) async fn date(app: &App, text: Option<&str>) -> Result<Option<String>> {
    match text {
        None | Some("keep") => Ok(None),
        Some("now") => Ok(Some(seconds(std::time::SystemTime::now()))),
        Some("commit") => commit(app).await.map(Some),
        Some(text) => match humantime::parse_rfc3339_weak(text) {
            Ok(date) => Ok(Some(seconds(date))),
            Err(_) => Err(Error::new(&BAD_DATE, format!("`{text}` is not a date"))
                .remedy(Remedy::advice("write keep, now, commit, or a date such as 2026-01-31T12:00:00Z"))),
        },
    }
}

fn seconds(date: std::time::SystemTime) -> String {
    humantime::format_rfc3339_seconds(date).to_string()
}

/// When the commit was made that is checked out here.
async fn commit(app: &App) -> Result<String> {
    let fail = |why: &str| {
        Error::new(&BAD_DATE, "the date of the commit cannot be found out")
            .because(why)
            .remedy(Remedy::command("take today's", "--created now"))
    };
    let command = nixoci_nix::git::command(&app.cwd).args(["log", "-1", "--format=%ct"]);
    let said = output(&app.runner, &command, app.signals.cancel()).await.map_err(|error| {
        if error.is(&nixoci_core::codes::TOOL_MISSING) { fail("git is not installed") } else { error }
    })?;
    if !said.exit.success() {
        return Err(fail(said.stderr_text().trim()));
    }
    let epoch = said.stdout_text().trim().parse::<u64>().map_err(|_| fail("git answers something else"))?;
    rfc3339(epoch).ok_or_else(|| fail(&format!("{epoch} seconds after 1970 is beyond the year 9999")))
}

/// A date that a configuration can hold: RFC 3339 has four digits for the year.
fn rfc3339(epoch: u64) -> Option<String> {
    // 9999-12-31T23:59:59Z.
    const LAST: u64 = 253_402_300_799;
    let date = std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_secs(epoch))?;
    (epoch <= LAST).then(|| seconds(date))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_of_any_date_has_a_date_or_none() {
        assert_eq!(rfc3339(0).as_deref(), Some("1970-01-01T00:00:00Z"));
        assert_eq!(rfc3339(253_402_300_799).as_deref(), Some("9999-12-31T23:59:59Z"));
        for beyond in [253_402_300_800, 1 << 62, u64::MAX] {
            assert_eq!(rfc3339(beyond), None);
        }
    }
}

//! Remembers for a few minutes which machines answered.
//!
//! Every build asks the machines that it might use whether they are there, which takes one round trip or two, and an ssh that
//! only reads its configuration. Whoever answered a moment ago is taken to be there; if that is wrong, the connection's own error says
//! so, and the next build asks again.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nixoci_core::Error;
use nixoci_core::backend::Cx;
use nixoci_core::text::hex;
use sha2::{Digest, Sha256};

use super::SshHost;

const RECENT: Duration = Duration::from_secs(5 * 60);

impl SshHost {
    /// As [`SshHost::refusal`], but whoever answered in the last minutes is not asked.
    pub async fn refusal_lately(&self, cx: &Cx<'_>) -> Option<Error> {
        if self.answered(&cx.dirs.cache) {
            return None;
        }
        let refusal = self.refusal(cx).await;
        self.note(&cx.dirs.cache, refusal.is_none());
        refusal
    }

    fn answered(&self, cache: &Path) -> bool {
        let age = || self.file(cache).metadata().ok()?.modified().ok()?.elapsed().ok();
        age().is_some_and(|age| age < RECENT)
    }

    /// Remembers whether it answered. Not being able to costs a question more.
    pub(crate) fn note(&self, cache: &Path, answered: bool) {
        let file = self.file(cache);
        let _ = match (answered, file.parent()) {
            (true, Some(dir)) => std::fs::create_dir_all(dir).and_then(|()| File::create(&file).map(drop)),
            _ => std::fs::remove_file(&file),
        };
    }

    fn file(&self, cache: &Path) -> PathBuf {
        let hash = Sha256::digest(format!("{self:?}"));
        cache.join("answered").join(hex(&hash[..8]))
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn an_answer_counts_for_a_while_and_until_the_next_failure() {
        let cache = tempfile::tempdir().unwrap();
        let host = SshHost { name: "box".into(), ..SshHost::default() };
        let other = SshHost { port: Some(2222), ..host.clone() };
        host.note(cache.path(), false);
        assert!(!host.answered(cache.path()));
        host.note(cache.path(), true);
        assert!(host.answered(cache.path()) && !other.answered(cache.path()));
        let old = SystemTime::now() - 2 * RECENT;
        File::options().write(true).open(host.file(cache.path())).unwrap().set_modified(old).unwrap();
        assert!(!host.answered(cache.path()));
        host.note(cache.path(), true);
        assert!(host.answered(cache.path()));
        host.note(cache.path(), false);
        assert!(!host.answered(cache.path()));
        host.note(Path::new("/dev/null/x"), true);
    }
}

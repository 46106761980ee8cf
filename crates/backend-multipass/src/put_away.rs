//! Switching the virtual machine off when somebody says so, and deleting it. Only the one that nixoci made: what it is, it says
//! itself, while it runs.

use nixoci_core::Result;
use nixoci_core::backend::Cx;
use nixoci_nix::guest::Facts;

use crate::driver::State;
use crate::error::{FIRST_BOOT, HOST_KEY, KEY, NO_ROUTE, NOT_OURS, SSH};
use crate::machine::{CHANGING, Machine, pause};
use crate::receipt::Receipt;

impl Machine<'_> {
    /// Switches it off.
    ///
    /// # Errors
    /// [`NOT_OURS`]; [`crate::error::SLOW`] if it does not go off; Multipass's own.
    pub(crate) async fn switch_off_for_now(&self, cx: &Cx<'_>) -> Result<()> {
        let name = &self.settings.instance;
        match self.settled(cx).await? {
            Some(State::Running) => {
                self.may_be_stopped(cx).await?;
                self.connections.forget();
                self.multipass.stop(cx, name, false).await?;
            }
            Some(State::Unknown) => self.switch_off(cx).await?,
            _ => {}
        }
        cx.observer.info(match self.settled(cx).await? {
            None => format!("multipass: there is no virtual machine {name}"),
            Some(State::Deleted) => format!("multipass: the virtual machine {name} is deleted"),
            Some(State::Stopped | State::Suspended) => {
                format!("multipass: the virtual machine {name} is off; a build starts it")
            }
            Some(state) => return Err(self.undecided(&state)),
        });
        Ok(())
    }

    async fn may_be_stopped(&self, cx: &Cx<'_>) -> Result<()> {
        match self.identity(cx).await {
            Ok(facts) => self.is_the_same(cx, &facts),
            // Who is let in by nobody here was looked into before, and it is Multipass's daemon that stops it.
            Err(error) if error.is(&NO_ROUTE) => {
                let known = Receipt::read(cx, &self.settings.instance).is_some_and(|it| !it.stamp.is_empty());
                if known { Ok(()) } else { Err(error) }
            }
            Err(error) => Err(error),
        }
    }

    /// Deletes it, with everything in it. One that is off is started for a look.
    ///
    /// # Errors
    /// [`NOT_OURS`], [`FIRST_BOOT`], [`NO_ROUTE`] and whatever else keeps it from being looked into; Multipass's own.
    pub(crate) async fn remove(&self, cx: &Cx<'_>) -> Result<()> {
        let name = &self.settings.instance;
        if let Some(found) = self.settled(cx).await? {
            if let Err(error) = self.identified(cx, found).await {
                let told = error.is(&NOT_OURS) || error.is(&FIRST_BOOT);
                let by_hand = self.by_hand("if you know that it is the one that nixoci made, delete it");
                return Err(if told { error } else { error.remedy(by_hand) });
            }
            self.connections.forget();
            self.multipass.delete(cx, name).await?;
        }
        Receipt::forget(cx, name);
        cx.observer.info(format!("multipass: the virtual machine {name} is gone"));
        Ok(())
    }

    /// Whether it is the one that nixoci made.
    async fn identified(&self, cx: &Cx<'_>, found: State) -> Result<()> {
        if found == State::Deleted {
            self.multipass.recover(cx, &self.settings.instance).await?;
        }
        self.start(cx).await?;
        let looked = self.identity(cx).await;
        let facts = self.put_back_unless_ours(cx, Some(found.clone()), looked).await?;
        let same = self.is_the_same(cx, &facts);
        if same.is_err() {
            self.put_back(cx, Some(found)).await?;
        }
        same
    }

    /// Inspects it, through `multipass exec` if ssh does not get in: a machine whose key was lost can be removed, too.
    async fn identity(&self, cx: &Cx<'_>) -> Result<Facts> {
        let error = match self.look(cx).await {
            Err(error) if [&HOST_KEY, &KEY, &SSH].iter().any(|code| error.is(code)) => error,
            looked => return looked,
        };
        cx.observer.warn(format!("{error}: `multipass exec` is asked which machine it is"), Vec::new());
        self.look_by_exec(cx).await
    }

    /// Its state, when it is on its way to no other.
    async fn settled(&self, cx: &Cx<'_>) -> Result<Option<State>> {
        let begin = tokio::time::Instant::now();
        loop {
            match self.state(cx).await? {
                Some(State::Changing) if begin.elapsed() < CHANGING => pause(cx).await?,
                state => return Ok(state),
            }
        }
    }
}

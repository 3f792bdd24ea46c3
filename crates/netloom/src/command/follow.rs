//! Following an operation to its end: progress while it runs, what ctrl-C and a deadline mean.

use std::time::Duration;

use hyper::Method;
use netloom_agent::wire::Accepted;
use netloom_engine::{Event, OperationState, OperationView, What};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use crate::client::{Client, segment};
use crate::failure::{Exit, Failure, Result};
use crate::output;
use crate::render::{Display, Known, Progress, Verbosity};

/// How long something may take without that it is shown.
const MOMENT: Duration = Duration::from_secs(1);

/// How an operation is followed.
pub(crate) struct Following<'a> {
    /// The agent.
    pub(crate) client: &'a Client,
    /// What the progress bar says before the numbers.
    pub(crate) title: String,
    /// How it is shown.
    pub(crate) shown: Shown,
    /// How long to wait.
    pub(crate) timeout: Option<Duration>,
    /// What to say on how to go on when it was cancelled.
    pub(crate) go_on: String,
}

/// How an operation is shown while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Progress on standard error.
    Progress,
    /// Events on standard output, one per line, and the operation at the end.
    Json,
    /// Progress on standard error, if it takes longer than a moment.
    Late,
}

impl Following<'_> {
    /// Follows an operation until it ends; its view then.
    pub(crate) async fn to_the_end(&self, started: OperationView) -> Result<OperationView> {
        let verbosity = if self.shown == Shown::Progress { Verbosity::All } else { Verbosity::Nothing };
        let mut display = Display::new(&self.title, verbosity);
        let ended = self.watch(started, &mut display).await;
        display.end();
        let ended = ended?;
        if self.shown == Shown::Json {
            output::json_line(&ended)?;
        }
        Ok(ended)
    }

    async fn watch(&self, started: OperationView, display: &mut Display) -> Result<OperationView> {
        let path = format!("/operations/{}", segment(&started.id.0));
        let mut progress = Progress::default();
        if started.state.is_final() {
            return Ok(started);
        }
        let deadline = self.timeout.map(|timeout| Instant::now() + timeout);
        let mut events = self.client.events(&format!("{path}/watch")).await?;
        let mut interrupts = Interrupts::new()?;
        let late = tokio::time::sleep(MOMENT);
        tokio::pin!(late);
        let mut is_late = self.shown != Shown::Late;
        loop {
            let event = tokio::select! {
                event = events.next_until(deadline) => event,
                () = &mut late, if !is_late => {
                    is_late = true;
                    *display = Display::new(&self.title, Verbosity::All);
                    display.begin(&mut progress);
                    continue;
                }
                () = interrupts.next() => {
                    self.cancel(&path, &mut interrupts, display).await?;
                    continue;
                }
            };
            let Some(event) = event else {
                let now = self.client.get(&path).await.unwrap_or(started);
                return Err(not_done(&self.title, &now));
            };
            let Some(event) = event? else { break };
            if event.name == "snapshot" {
                if let Ok(view) = serde_json::from_str::<OperationView>(&event.data) {
                    progress.view(&view);
                    display.show(&mut progress);
                }
                continue;
            }
            let Ok(event) = serde_json::from_str::<Event>(&event.data) else { continue };
            if self.shown == Shown::Json {
                output::json_line(&event)?;
            }
            if let What::Step { step, progress: Some(far), .. } = &event.what {
                progress.far(step, far);
            } else if let What::Step { step, text, state, error, output, .. } = &event.what {
                if progress.step(step, text, *state, event.time) == Known::No {
                    // The plan is there now: its other steps are wanted for the count.
                    progress.view(&self.client.get(&path).await?);
                }
                if let Some(error) = error {
                    progress.because(step, error);
                }
                if let Some(output) = output {
                    progress.wrote(step, output);
                }
            }
            display.show(&mut progress);
        }
        let view: OperationView = self.client.get(&path).await?;
        progress.view(&view);
        display.show(&mut progress);
        if view.state.is_final() { Ok(view) } else { Err(Failure::no_agent("the agent stopped before it was done")) }
    }

    /// Asks the agent to end it. Whoever interrupts twice does not wait for that.
    async fn cancel(&self, path: &str, interrupts: &mut Interrupts, display: &Display) -> Result {
        if interrupts.count > 1 {
            return Err(Failure::ended("not waited for: the agent ends it"));
        }
        if self.shown != Shown::Json {
            display.line("cancelling; once more to not wait for it");
        }
        self.client.ask::<Accepted, ()>(&Method::DELETE, path, None).await?;
        Ok(())
    }

    /// Says how an operation ended; success is the only good end.
    pub(crate) fn judge(&self, view: &OperationView) -> Result {
        let message = view.message.clone().unwrap_or_default();
        if view.state != OperationState::Succeeded && self.shown != Shown::Json {
            for problem in &view.problems {
                output::say(&format!("error: {problem}"));
            }
        }
        match view.state {
            OperationState::Succeeded => Ok(()),
            OperationState::Failed | OperationState::Running => {
                let more = format!("`netloom operation show {}` shows every step", view.id);
                Err(Failure { exit: Exit::Failed, text: Some(format!("{} failed: {message}; {more}", self.title)) })
            }
            OperationState::Cancelled => {
                let left = left(view);
                Err(Failure::ended(format_args!("{} was cancelled: {message}{left}\n{}", self.title, self.go_on)))
            }
            OperationState::Deadline => {
                Err(Failure::ended(format_args!("{}: the deadline passed: {message}\n{}", self.title, self.go_on)))
            }
            OperationState::Superseded => {
                Err(Failure::ended(format_args!("{}: something else took its place: {message}", self.title)))
            }
        }
    }
}

/// That it was not waited for any longer, and what has failed of it so far.
fn not_done(title: &str, view: &OperationView) -> Failure {
    let failed: Vec<String> = view.problems.iter().map(|problem| format!("\nlast error: {problem}")).collect();
    let failed = failed.concat();
    Failure::ended(format_args!(
        "{title} is not done yet; the agent goes on: `netloom operation show {}` shows how far it is{failed}",
        view.id
    ))
}

/// What of a plan was not done.
fn left(view: &OperationView) -> String {
    let done = view.steps.iter().filter(|step| step.state == netloom_engine::StepState::Done).count();
    match view.steps.len() {
        0 => String::new(),
        all => format!("\n{done} of {} done; what was made stays as it is", crate::render::count(all, "step")),
    }
}

/// SIGINT and SIGTERM while an operation runs.
struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
    count: usize,
}

impl Interrupts {
    fn new() -> Result<Self> {
        let on =
            |kind| signal(kind).map_err(|error| Failure::failed(format_args!("cannot watch for signals: {error}")));
        Ok(Self { interrupt: on(SignalKind::interrupt())?, terminate: on(SignalKind::terminate())?, count: 0 })
    }

    /// The next one. Cancel-safe.
    async fn next(&mut self) {
        let next = async {
            tokio::select! {
                signal = self.interrupt.recv() => signal,
                signal = self.terminate.recv() => signal,
            }
        };
        match next.await {
            Some(()) => self.count += 1,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_wait_any_longer_is_told_what_has_failed_so_far() {
        let view = serde_json::from_value(serde_json::json!({
            "id": "7", "kind": "deploy", "lab": "x", "state": "running", "created": "2026-01-02T03:04:05Z",
            "steps": [], "message": null, "problems": ["cannot start node a (docker): it does not answer"],
        }));
        let failure = not_done("deploy of lab x", &view.unwrap());
        let text = failure.text.unwrap();
        assert_eq!(failure.exit, Exit::Ended);
        assert!(text.contains("is not done yet") && text.contains("operation show 7"), "{text}");
        assert!(text.ends_with("\nlast error: cannot start node a (docker): it does not answer"), "{text}");
    }
}

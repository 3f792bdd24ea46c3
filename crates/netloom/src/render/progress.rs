//! The progress of an operation while it runs: what a person reads on standard error.
//!
//! On a terminal a bar with the steps under way; finished steps scroll above it. Elsewhere one line per finished
//! step. Of a large operation one line per kind of step: `create node ×100`.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::time::{Duration, SystemTime};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use netloom_engine::{OperationView, PullProgress, StepState};

use super::operation::duration;
use crate::output;

/// More steps than this are told by kind.
const SINGLY: usize = 50;

/// How far an operation is.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    steps: Vec<Step>,
    index: HashMap<String, usize>,
}

#[derive(Debug)]
struct Step {
    text: String,
    kind: String,
    state: StepState,
    started: Option<SystemTime>,
    took: Option<Duration>,
    error: Option<String>,
    /// What the command wrote that it ran.
    output: Option<String>,
    /// How far it is, if it is a long one.
    far: Option<PullProgress>,
    /// How many layers of it were told of.
    layers_told: usize,
    told: bool,
}

/// Whether a step that is told of was known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// It was in the view that was taken.
    Yes,
    /// It was not: another view is due.
    No,
}

impl Progress {
    /// Takes a whole view: new steps, and states that no event has told.
    pub(crate) fn view(&mut self, view: &OperationView) {
        for record in &view.steps {
            let id = record.id.to_string();
            let at = match self.index.get(&id) {
                Some(at) => *at,
                None => self.add(id, &record.text),
            };
            let step = &mut self.steps[at];
            step.state = record.state;
            step.started = record.started;
            step.took = super::operation::between(record.started, record.ended);
            step.error.clone_from(&record.error);
            step.output.clone_from(&record.output);
            step.far.clone_from(&record.progress);
        }
    }

    /// Takes the news of one step.
    pub(crate) fn step(&mut self, id: &str, text: &str, state: StepState, time: SystemTime) -> Known {
        let (at, known) = match self.index.get(id) {
            Some(at) => (*at, Known::Yes),
            None => (self.add(id.to_owned(), text), Known::No),
        };
        let step = &mut self.steps[at];
        step.state = state;
        match state {
            StepState::Running => step.started = Some(time),
            StepState::Done | StepState::Failed => step.took = super::operation::between(step.started, Some(time)),
            StepState::Waiting | StepState::Skipped => {}
        }
        known
    }

    /// Takes what went wrong with a step that is known. It may be tried again, so this is said while the operation runs.
    pub(crate) fn because(&mut self, id: &str, error: &str) {
        if let Some(at) = self.index.get(id) {
            self.steps[*at].error = Some(error.to_owned());
        }
    }

    /// Takes what the command wrote that a known step ran.
    pub(crate) fn wrote(&mut self, id: &str, output: &str) {
        if let Some(at) = self.index.get(id) {
            self.steps[*at].output = Some(output.to_owned());
        }
    }

    /// Takes how far a step is that is known.
    pub(crate) fn far(&mut self, id: &str, far: &PullProgress) {
        if let Some(at) = self.index.get(id) {
            self.steps[*at].far = Some(far.clone());
        }
    }

    /// How far images have come, each time that another layer is there: for where no bar shows it.
    pub(crate) fn layers(&mut self) -> Vec<String> {
        let running = self.steps.iter_mut().filter(|step| step.state == StepState::Running);
        running.filter_map(Step::another_layer).collect()
    }

    fn add(&mut self, id: String, text: &str) -> usize {
        let at = self.steps.len();
        self.steps.push(Step {
            text: text.to_owned(),
            kind: kind(&id, text),
            state: StepState::Waiting,
            started: None,
            took: None,
            error: None,
            output: None,
            far: None,
            layers_told: 0,
            told: false,
        });
        self.index.insert(id, at);
        at
    }

    /// How many steps have ended, and how many there are.
    pub(crate) fn done(&self) -> (usize, usize) {
        (self.steps.iter().filter(|step| is_over(step.state)).count(), self.steps.len())
    }

    /// The steps under way.
    pub(crate) fn under_way(&self) -> Vec<String> {
        let running = self.steps.iter().filter(|step| step.state == StepState::Running);
        running.map(Step::so_far).collect()
    }

    /// What has come to its end since this was last asked.
    pub(crate) fn lines(&mut self) -> Vec<String> {
        if self.steps.len() <= SINGLY { self.singly() } else { self.by_kind() }
    }

    fn singly(&mut self) -> Vec<String> {
        let news = self.steps.iter_mut().filter(|step| !step.told && is_over(step.state));
        news.filter_map(|step| {
            step.told = true;
            step.line()
        })
        .collect()
    }

    fn by_kind(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut kinds: Vec<(String, usize, bool, bool)> = Vec::new();
        for step in &mut self.steps {
            let says_something = step.state == StepState::Failed || step.output.is_some();
            if says_something && is_over(step.state) && !step.told {
                step.told = true;
                lines.extend(step.line());
            }
            let over = is_over(step.state);
            match kinds.iter_mut().find(|(kind, ..)| *kind == step.kind) {
                Some((_, n, all, told)) => {
                    *n += 1;
                    *all &= over;
                    *told &= step.told;
                }
                None => kinds.push((step.kind.clone(), 1, over, step.told)),
            }
        }
        for (kind, n, all, told) in kinds {
            if !all || told {
                continue;
            }
            let mut of_kind = self.steps.iter_mut().filter(|step| step.kind == kind);
            let (mut first, mut last) = (None, None);
            for step in of_kind.by_ref() {
                step.told = true;
                first = first.into_iter().chain(step.started).min();
                last = last.into_iter().chain(step.ended()).max();
            }
            let took = super::operation::between(first, last).map(|took| format!(" ({})", duration(took)));
            lines.push(format!("  {kind} ×{n}{}", took.unwrap_or_default()));
        }
        lines
    }
}

impl Step {
    fn so_far(&self) -> String {
        match &self.far {
            Some(far) => format!("{}: {far}", self.text),
            None => self.text.clone(),
        }
    }

    fn another_layer(&mut self) -> Option<String> {
        let done = self.far.as_ref()?.layers.iter().filter(|layer| layer.is_done).count();
        if done <= self.layers_told {
            return None;
        }
        self.layers_told = done;
        Some(format!("  {}", self.so_far()))
    }

    fn ended(&self) -> Option<SystemTime> {
        self.started?.checked_add(self.took?)
    }

    /// One that was not tried says nothing: what it waited for does.
    fn line(&self) -> Option<String> {
        let took = self.took.map(|took| format!(" ({})", duration(took))).unwrap_or_default();
        match self.state {
            StepState::Done => {
                let mut line = format!("  {}{took}", self.text);
                for output in self.output.iter().flat_map(|output| output.lines()) {
                    line.push_str("\n    ");
                    line.push_str(output);
                }
                Some(line)
            }
            StepState::Failed => {
                let why = self.error.as_deref().and_then(|error| error.lines().next());
                let why = why.map(|why| format!(": {why}")).unwrap_or_default();
                Some(format!("  {}: failed{took}{why}", self.text))
            }
            StepState::Waiting | StepState::Running | StepState::Skipped => None,
        }
    }
}

fn is_over(state: StepState) -> bool {
    matches!(state, StepState::Done | StepState::Failed | StepState::Skipped)
}

/// What steps of one kind have in common: `node/r1/create` is a `create node`.
fn kind(id: &str, text: &str) -> String {
    let mut parts = id.split('/');
    match (parts.next(), id.rsplit('/').next()) {
        (Some(object @ ("node" | "link" | "bridge" | "image")), Some(verb)) => match verb {
            "up-a" | "up-b" | "down-a" | "down-b" => "set link".to_owned(),
            verb if verb.parse::<usize>().is_ok() => format!("exec on {object}"),
            verb => format!("{verb} {object}"),
        },
        _ => text.to_owned(),
    }
}

/// Where progress is shown.
pub(crate) struct Display {
    bar: Option<ProgressBar>,
    verbose: Verbosity,
}

/// What is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verbosity {
    /// Progress and its lines.
    All,
    /// Nothing: the wire type is wanted.
    Nothing,
}

impl Display {
    /// A display on standard error.
    pub(crate) fn new(title: &str, verbose: Verbosity) -> Self {
        let bar = (verbose == Verbosity::All && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
            let template = "{spinner} {prefix} {pos}/{len} {elapsed} {wide_msg}";
            bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_prefix(title.to_owned());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self { bar, verbose }
    }

    /// Shows how far it is now.
    pub(crate) fn show(&self, progress: &mut Progress) {
        if self.verbose == Verbosity::Nothing {
            return;
        }
        for line in progress.lines() {
            self.line(&line);
        }
        if self.bar.is_none() {
            progress.layers().iter().for_each(|line| self.line(line));
        }
        if let Some(bar) = &self.bar {
            let (done, all) = progress.done();
            bar.set_length(all as u64);
            bar.set_position(done as u64);
            bar.set_message(progress.under_way().join(", "));
        }
    }

    /// Shows how far it is when it has taken a while; without a bar also what it is at.
    pub(crate) fn begin(&self, progress: &mut Progress) {
        self.show(progress);
        if self.bar.is_none() {
            for step in progress.under_way() {
                self.line(&format!("  {step} …"));
            }
        }
    }

    /// Says a line without disturbing the bar.
    pub(crate) fn line(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None => output::say(line),
        }
    }

    /// Takes the bar away.
    pub(crate) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use netloom_engine::LayerProgress;

    use super::*;

    fn at(millis: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
    }

    #[test]
    fn a_few_steps_are_told_one_by_one_and_once() {
        let mut progress = Progress::default();
        assert_eq!(progress.step("node/a/create", "create node a", StepState::Running, at(0)), Known::No);
        assert!(progress.lines().is_empty());
        assert_eq!(progress.under_way(), ["create node a"]);
        assert_eq!(progress.step("node/a/create", "create node a", StepState::Done, at(12)), Known::Yes);
        assert_eq!(progress.lines(), ["  create node a (12 ms)"]);
        progress.step("node/a/start", "start node a", StepState::Running, at(20));
        progress.step("node/a/start", "start node a", StepState::Failed, at(21));
        progress.because("node/a/start", "no space left\nand more");
        assert_eq!(progress.lines(), ["  start node a: failed (1 ms): no space left"]);
        assert!(progress.lines().is_empty());
        progress.step("node/a/exec/0", "exec on a: cat /etc/motd", StepState::Running, at(30));
        progress.step("node/a/exec/0", "exec on a: cat /etc/motd", StepState::Done, at(32));
        progress.wrote("node/a/exec/0", "hello\nthere");
        assert_eq!(progress.lines(), ["  exec on a: cat /etc/motd (2 ms)\n    hello\n    there"]);
        progress.view(&super::super::operation::tests::sample());
        assert_eq!(progress.lines(), ["  create node r1 (12 ms)", "  start node r1: failed (12 ms)"]);
        assert_eq!(progress.done(), (6, 6));
    }

    #[test]
    fn many_steps_are_told_by_kind_when_the_last_of_the_kind_ends() {
        let mut progress = Progress::default();
        for n in 0..60_u64 {
            progress.step(&format!("node/n{n}/create"), "create node", StepState::Running, at(n));
            let link = format!("n{n}:eth1-x:e");
            progress.step(&format!("link/{link}/create"), &format!("create link {link}"), StepState::Running, at(n));
        }
        for n in 0..60_u64 {
            assert!(progress.lines().is_empty());
            progress.step(&format!("node/n{n}/create"), "create node", StepState::Done, at(100 + n));
        }
        assert_eq!(progress.lines(), ["  create node ×60 (159 ms)"]);
        progress.step("link/n7:eth1-x:e/create", "create link n7:eth1-x:e", StepState::Failed, at(200));
        assert_eq!(progress.lines(), ["  create link n7:eth1-x:e: failed (193 ms)"]);
    }

    #[test]
    fn an_image_is_told_of_with_each_layer() {
        let mut progress = Progress::default();
        progress.step("image/frr/pull", "pull image frr", StepState::Running, at(0));
        let layer = |is_done| LayerProgress { is_done, ..LayerProgress::default() };
        progress.far("image/frr/pull", &PullProgress { layers: vec![layer(false), layer(false)] });
        assert!(progress.layers().is_empty());
        assert_eq!(progress.under_way(), ["pull image frr: 0 of 2 layers"]);
        progress.far("image/frr/pull", &PullProgress { layers: vec![layer(true), layer(false)] });
        assert_eq!(progress.layers(), ["  pull image frr: 1 of 2 layers"]);
        assert!(progress.layers().is_empty());
    }

    #[test]
    fn kinds_are_verb_and_object() {
        let kinds =
            ["node/r1/create", "link/a:e1/1-b:e2/create", "node/r1/exec/3", "names/write"].map(|id| kind(id, "text"));
        assert_eq!(kinds, ["create node", "create link", "exec on node", "text"]);
    }
}

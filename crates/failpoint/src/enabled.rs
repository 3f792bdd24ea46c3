//! What a point does in a build that has them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

use crate::ALL;

const ORDERS: &str = "NETLOOM_FAILPOINT";
const LOG: &str = "NETLOOM_FAILPOINT_LOG";
const TRACE: &str = "NETLOOM_FAILPOINT_TRACE";
const ARMED: &str = "NETLOOM_FAILPOINT_ARMED";
/// How often a thread that is blocked looks whether it still is.
const LOOK: Duration = Duration::from_millis(2);

static PLAN: LazyLock<Plan> = LazyLock::new(|| Plan::of_environment().unwrap_or_else(|why| refuse(&why)));

/// Passes a point of this name.
pub fn pass(name: &'static str) {
    // One that may not fail has no use for it.
    let _ = fallible(name);
}

/// Passes a point of this name, which may be told to fail.
pub fn fallible(name: &'static str) -> io::Result<()> {
    PLAN.pass(name)
}

struct Plan {
    orders: BTreeMap<String, Order>,
    log: Option<File>,
    trace: Option<File>,
    /// Passages count only while it is there.
    armed: Option<PathBuf>,
}

#[derive(Debug)]
struct Order {
    first: u64,
    /// Whether it is for all passages from the first on.
    repeats: bool,
    action: Action,
    passed: AtomicU64,
}

#[derive(Debug, PartialEq, Eq)]
enum Action {
    Kill,
    Panic,
    Fail,
    Block(PathBuf),
}

impl Plan {
    fn of_environment() -> Result<Self, String> {
        let text = |name| std::env::var(name).unwrap_or_default();
        let open = |name| match text(name) {
            path if path.is_empty() => Ok(None),
            path => File::options().create(true).append(true).open(&path).map(Some).map_err(|e| format!("{path}: {e}")),
        };
        let orders = text(ORDERS).split(',').filter(|order| !order.is_empty()).map(parse).collect::<Result<_, _>>()?;
        let armed = Some(text(ARMED)).filter(|path| !path.is_empty()).map(PathBuf::from);
        Ok(Self { orders, log: open(LOG)?, trace: open(TRACE)?, armed })
    }

    fn pass(&self, name: &str) -> io::Result<()> {
        if self.armed.as_ref().is_some_and(|file| !file.exists()) {
            return Ok(());
        }
        if let Some(mut trace) = self.trace.as_ref() {
            // One write, so that lines of several threads stay whole.
            trace.write_all(format!("{name} {}\n", getpid().as_raw_nonzero()).as_bytes())?;
        }
        let Some(order) = self.orders.get(name) else { return Ok(()) };
        let passage = order.passed.fetch_add(1, Ordering::Relaxed) + 1;
        if passage < order.first || (passage > order.first && !order.repeats) {
            return Ok(());
        }
        if let Some(mut log) = self.log.as_ref() {
            log.write_all(format!("{name}\n").as_bytes())?;
        }
        match &order.action {
            Action::Kill => die(),
            Action::Panic => panic!("fail point {name}"),
            Action::Fail => Err(io::Error::other(format!("fail point {name}"))),
            Action::Block(file) => {
                while file.exists() {
                    #[expect(clippy::disallowed_methods, reason = "a thread is blocked here on purpose")]
                    std::thread::sleep(LOOK);
                }
                Ok(())
            }
        }
    }
}

fn parse(order: &str) -> Result<(String, Order), String> {
    let bad = |why: &str| format!("{ORDERS}: `{order}`: {why}");
    let (place, action) = order.split_once('=').unwrap_or((order, "kill"));
    let (name, passage) = place.split_once(':').unwrap_or((place, "1"));
    if !ALL.contains(&name) {
        return Err(bad("there is no such fail point"));
    }
    let (number, repeats) = passage.strip_suffix('+').map_or((passage, false), |number| (number, true));
    let first = number.parse().ok().filter(|first| *first > 0);
    let first = first.ok_or_else(|| bad("the passage is a number from 1, perhaps with a + behind it"))?;
    let action = match action.split_once(':') {
        None if action == "kill" => Action::Kill,
        None if action == "panic" => Action::Panic,
        None if action == "error" => Action::Fail,
        Some(("block", file)) => Action::Block(file.into()),
        _ => return Err(bad("the action is kill, panic, error or block:<file>")),
    };
    Ok((name.to_owned(), Order { first, repeats, action, passed: AtomicU64::new(0) }))
}

fn die() -> ! {
    let _ = kill_process(getpid(), Signal::KILL);
    // The signal is on its way to all threads; nothing more is to happen on this one.
    loop {
        std::thread::park();
    }
}

fn refuse(why: &str) -> ! {
    let _ = writeln!(io::stderr(), "netloom: {why}");
    std::process::exit(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(orders: &str) -> Plan {
        let orders = orders.split(',').map(|order| parse(order).unwrap()).collect();
        Plan { orders, log: None, trace: None, armed: None }
    }

    #[test]
    fn an_order_is_for_one_passage_or_for_all_from_one_on() {
        let once = plan("store.before-commit:2=error");
        let fails = |plan: &Plan| plan.pass("store.before-commit").is_err();
        assert_eq!([fails(&once), fails(&once), fails(&once)], [false, true, false]);
        let always = plan("store.before-commit:2+=error");
        assert_eq!([fails(&always), fails(&always), fails(&always)], [false, true, true]);
        assert!(always.pass("store.after-commit").is_ok());
    }

    #[test]
    fn a_panic_says_where_it_was_ordered() {
        let panics = plan("store.after-commit=panic");
        let passed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| panics.pass("store.after-commit")));
        assert_eq!(passed.unwrap_err().downcast_ref::<String>().unwrap(), "fail point store.after-commit");
    }

    #[test]
    fn a_blocked_thread_goes_on_when_the_file_is_gone() {
        let file = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let blocks = plan(&format!("store.after-commit=block:{}", file.display()));
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| blocks.pass("store.after-commit"));
            while blocks.orders["store.after-commit"].passed.load(Ordering::Relaxed) == 0 {
                std::thread::yield_now();
            }
            assert!(!thread.is_finished());
            file.close().unwrap();
            thread.join().unwrap().unwrap();
        });
    }

    #[test]
    fn what_is_passed_is_written_down_before_anything_happens() {
        let directory = tempfile::tempdir().unwrap();
        let open = |name| File::create_new(directory.path().join(name)).ok();
        let told = Plan { log: open("log"), trace: open("trace"), ..plan("store.before-commit=error") };
        told.pass("store.after-commit").unwrap();
        told.pass("store.before-commit").unwrap_err();
        let read = |name| std::fs::read_to_string(directory.path().join(name)).unwrap();
        assert_eq!(read("log"), "store.before-commit\n");
        let own = std::process::id();
        assert_eq!(read("trace"), format!("store.after-commit {own}\nstore.before-commit {own}\n"));
    }

    #[test]
    fn passages_count_only_while_the_points_are_armed() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("armed");
        let plan = Plan { armed: Some(file.clone()), ..plan("store.before-commit=error") };
        plan.pass("store.before-commit").unwrap();
        File::create_new(file).unwrap();
        plan.pass("store.before-commit").unwrap_err();
    }

    #[test]
    fn a_mistake_in_an_order_is_said() {
        for (order, why) in [
            ("store.nowhere", "no such fail point"),
            ("store.after-commit:0", "a number from 1"),
            ("store.after-commit:x", "a number from 1"),
            ("store.after-commit=explode", "the action is"),
        ] {
            let said = parse(order).unwrap_err();
            assert!(said.contains(why) && said.contains(order), "{said}");
        }
    }
}

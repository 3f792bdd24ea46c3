//! What the kernel says of threads of this process: where each of them waits. A thread in uninterruptible sleep takes no
//! signal and runs no code of ours, so nothing but `/proc/self/task` can tell.

use std::fs;
use std::path::Path;

use crate::wire::ThreadState;

/// As much of `/proc/self/task/<id>` as can be read; `None` for a thread that has ended.
pub(super) fn look_at(id: i32) -> Option<ThreadState> {
    let directory = Path::new("/proc/self/task").join(id.to_string());
    let read = |file: &str| fs::read_to_string(directory.join(file)).map(|text| text.trim().to_owned()).ok();
    // `id (name) state …`; a name may hold anything, also brackets.
    let stat = read("stat")?;
    let (before, after) = stat.rsplit_once(')')?;
    let name = before.split_once('(').map_or("", |(_, name)| name).to_owned();
    let state = after.trim_start().chars().next().map(String::from).unwrap_or_default();
    // `0`: it is not asleep, or the kernel does not say.
    let wchan = read("wchan").filter(|wchan| wchan != "0" && !wchan.is_empty());
    Some(ThreadState { id, name, state, wchan, syscall: read("syscall") })
}

/// The threads of the main runtime.
pub(super) fn of_main_runtime() -> Vec<i32> {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return Vec::new() };
    let ids = tasks.filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok());
    let is_worker = |id: &i32| {
        fs::read_to_string(format!("/proc/self/task/{id}/comm")).is_ok_and(|name| name.starts_with("tokio-rt-worker"))
    };
    ids.filter(is_worker).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;
    use std::thread;

    use super::*;

    #[test]
    fn a_thread_that_waits_is_seen_with_its_name_and_its_system_call() {
        let (tell, id) = sync_channel(0);
        let (end, may_end) = sync_channel::<()>(0);
        let waits = move || {
            tell.send(rustix::thread::gettid().as_raw_nonzero().get()).unwrap();
            let _ = may_end.recv();
        };
        let thread = thread::Builder::new().name("waits (here)".into()).spawn(waits).unwrap();
        let id = id.recv().unwrap();
        let state = std::iter::repeat_with(|| look_at(id).unwrap()).find(|state| state.state == "S").unwrap();
        assert_eq!(state.name, "waits (here)");
        assert!(state.syscall.is_some_and(|call| !call.is_empty()));
        drop(end);
        thread.join().unwrap();
    }

    #[test]
    fn a_thread_that_has_ended_is_none() {
        assert_eq!(look_at(i32::MAX), None);
    }
}

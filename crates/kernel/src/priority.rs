//! The priority of a thread that others wait for.

use std::io;

/// What it has where it cannot have its turn before all others.
const NICE: i32 = -10;

/// Gives the calling thread its turn before all that has no such priority: `SCHED_RR` with the lowest priority there is
/// (sched(7)), which threads and processes that it starts do not inherit.
///
/// A nice value is not enough: it counts only among the threads of one group, and a kernel with autogroups makes each session a
/// group. A thread of nice −10 in an agent whose other threads are busy waits 15 ms for its turn at the 99th percentile, where
/// one with this priority waits 4 ms.
///
/// Where the kernel refuses (no `CAP_SYS_NICE`, or a control group without real-time budget) the thread has nice −10 instead;
/// an error says that it could not have that either.
pub fn take_turns_first() -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 1 };
    // SAFETY: the pointer is to a structure of the type that the call reads, which lives until it returns; 0 is the calling thread.
    let set = unsafe { libc::sched_setscheduler(0, libc::SCHED_RR | libc::SCHED_RESET_ON_FORK, &raw const parameters) };
    if set == 0 {
        return Ok(());
    }
    // On Linux a process id of 0 means the calling thread here (setpriority(2), "C library/kernel differences").
    Ok(rustix::process::setpriority_process(None, NICE)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `policy` and `nice` of proc_pid_stat(5), fields 41 and 19.
    fn policy_and_nice() -> (i32, i32) {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        (fields[38].parse().unwrap(), fields[16].parse().unwrap())
    }

    #[test]
    fn a_thread_that_takes_its_turn_first_passes_that_on_to_nobody() {
        let seen = std::thread::spawn(|| {
            if take_turns_first().is_err() {
                return None;
            }
            let child = std::thread::spawn(policy_and_nice).join().unwrap();
            Some((policy_and_nice(), child))
        });
        let Some(((policy, nice), (of_child, _))) = seen.join().unwrap() else {
            assert!(std::env::var_os("NETLOOM_REQUIRE_ROOT").is_none(), "root may set its priority");
            return;
        };
        assert!(policy == libc::SCHED_RR || nice == NICE, "policy {policy}, nice {nice}");
        assert_eq!(of_child, libc::SCHED_OTHER);
    }
}

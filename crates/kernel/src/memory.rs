//! What becomes of memory that a process has freed.

/// Has large blocks go back to the kernel as soon as they are freed.
///
/// By itself glibc takes a block of more than 128 KiB from the kernel and gives it back, until one is freed: from then on blocks up
/// to that size come from its heaps, one for each thread, which keep what they had at most (mallopt(3), `M_MMAP_THRESHOLD`). An
/// agent that was sent a few documents of 3 MiB held 90 MiB for good, and holds 23 MiB like this.
///
/// To be called before other threads are started. Does nothing where another C library is used.
pub fn give_back_large_blocks() {
    #[cfg(target_env = "gnu")]
    {
        const LARGE: libc::c_int = 128 * 1024;
        for option in [libc::M_MMAP_THRESHOLD, libc::M_TRIM_THRESHOLD] {
            // SAFETY: it takes two numbers and sets a limit; no pointer is involved.
            unsafe { libc::mallopt(option, LARGE) };
        }
    }
}

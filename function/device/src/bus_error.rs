//! The last words of a process whose mapped memory is gone.
//!
//! A page of a mapped file that cannot be had, since the file was cut short or its disk fails, ends whoever touches it by
//! SIGBUS, in the middle of the arithmetic: there is no way back. What can be done is to say so before the end.
#![expect(unsafe_code, reason = "a signal's handler is known by its address")]

/// Has SIGBUS say on standard error what it means, before it ends the process as it always does.
pub fn explain() {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: of this structure of integers and a pointer that may be null, zeros are a value: no signals are masked.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = say as *const () as libc::sighandler_t;
        // Once, and then the default again.
        action.sa_flags = libc::SA_ONSTACK | libc::SA_RESETHAND;
        // SAFETY: the action is whole, and its handler does only what POSIX allows to one. Rust's own, which it replaces,
        // looks for overflown stacks, and those are SIGSEGV here.
        unsafe { libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut()) };
    }
}

/// Nothing here allocates, locks or panics: the thread may have stopped anywhere.
#[cfg(target_os = "linux")]
extern "C" fn say(_: libc::c_int) {
    // SAFETY: so many bytes are at that address, for ever; where nobody reads them, nothing is lost. Both calls are among
    // those that a handler may make; the signal that is raised waits until this one returns.
    unsafe {
        libc::write(libc::STDERR_FILENO, MESSAGE.as_ptr().cast(), MESSAGE.len());
        libc::raise(libc::SIGBUS);
    }
}

#[cfg(target_os = "linux")]
const MESSAGE: &str = "\
    SIGBUS: a mapped file is gone from memory: a model's file was cut short while it was in use, or its disk fails\n\
    hint: put a new version of a model into a new folder, or move each new file over the old one\n";

//! Names the kernel that touched a guard page. Without this the process would die of the signal and
//! leave the reader to guess which of a hundred kernels it was.

use std::cell::Cell;
use std::sync::Once;

thread_local! {
    /// The kernel that this thread is checking; empty for none.
    static CHECKING: Cell<&'static str> = const { Cell::new("") };
}

/// Runs `work` on behalf of `kernel`: a memory fault in it ends the process with exit status 1 and a
/// line that names the kernel.
pub fn watch<R>(kernel: &'static str, work: impl FnOnce() -> R) -> R {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(install);
    struct Reset;
    impl Drop for Reset {
        fn drop(&mut self) {
            CHECKING.set("");
        }
    }
    CHECKING.set(kernel);
    let _reset = Reset;
    work()
}

fn install() {
    for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL] {
        // SAFETY: an all-zero sigaction is a valid value of this plain C struct.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = fault as extern "C" fn(libc::c_int) as usize;
        action.sa_flags = libc::SA_ONSTACK;
        // SAFETY: the struct is complete, and `fault` calls only what a signal handler may call. If it
        // is refused, a fault ends the process by its signal, as without us.
        unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) };
    }
}

/// The handler: writes a line and ends the process, or lets the signal have its usual effect.
extern "C" fn fault(signal: libc::c_int) {
    let kernel = CHECKING.get();
    if kernel.is_empty() {
        // SAFETY: restoring the default disposition is allowed in a handler; the fault repeats on return.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
        return;
    }
    let what = match signal {
        libc::SIGILL => " executed an instruction that this CPU does not have\n",
        _ => " touched memory outside of its operands\n",
    };
    for part in ["kiln: ", kernel, what] {
        // SAFETY: write(2) may be called in a handler; pointer and length are those of a live string.
        unsafe { libc::write(2, part.as_ptr().cast(), part.len()) };
    }
    // SAFETY: _exit may be called in a handler and does not return.
    unsafe { libc::_exit(1) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_kernels::conformance::{Arena, Flush};

    /// Set for the child that is to fault.
    const CHILD: &str = "KILN_TEST_FAULT";

    #[test]
    fn a_fault_names_the_kernel_and_exits_with_1() {
        if std::env::var_os(CHILD).is_some() {
            watch("bad_kernel", || {
                let mut buffer = kiln_grid::Guarded::default().buffer(3, 0u32, Flush::End);
                let past = buffer.as_mut_ptr().wrapping_add(3);
                // SAFETY: not sound on purpose: this address is the guard page, and the fault is what is tested.
                unsafe { past.write_volatile(1) };
            });
        }
        let program = std::env::current_exe().expect("this test's program");
        let name = "guard::tests::a_fault_names_the_kernel_and_exits_with_1";
        let child = std::process::Command::new(program).args(["--exact", name, "--nocapture"]).env(CHILD, "1").output().expect("a child");
        let message = String::from_utf8_lossy(&child.stderr).into_owned();
        assert_eq!(child.status.code(), Some(1), "{message}");
        assert!(message.contains("kiln: bad_kernel touched memory outside of its operands"), "{message}");
    }
}

//! SIGTERM and SIGINT as readiness of a socket that the loop watches; SIGHUP, SIGPIPE and SIGXFSZ ignored. Mirrors
//! `setupSignalHandlers` and `sigShutdownHandler` of server.c.
//!
//! In: signals, at any moment. Out: one byte in a socket pair, so that a poll that sleeps wakes up, and a flag that says
//! which signal it was. The handler does nothing that is not async-signal-safe: atomics, one write to the log, one send.
//!
//! A second SIGINT while a shutdown is wanted ends the process at once, with code 1: whoever presses Ctrl-C twice does
//! not want to wait for a snapshot.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, Ordering};

use super::log::write_from_handler;

/// The signal that asked for a shutdown that has not been called off; 0 for none.
static SHUTDOWN: AtomicI32 = AtomicI32::new(0);
static LOADING: AtomicBool = AtomicBool::new(false);

/// Signals that ask for a shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ShutdownSignal {
    /// SIGTERM.
    Terminate = libc::SIGTERM as u8,
    /// SIGINT.
    Interrupt = libc::SIGINT as u8,
}

impl ShutdownSignal {
    /// The signal with this number, if it is one of them.
    pub fn from_number(number: u8) -> Option<ShutdownSignal> {
        [ShutdownSignal::Terminate, ShutdownSignal::Interrupt]
            .into_iter()
            .find(|signal| *signal as u8 == number)
    }
}

/// The reading side of the signals; register [`ShutdownSignals::source`] with the loop.
pub struct ShutdownSignals {
    source: mio::net::UnixStream,
}

impl ShutdownSignals {
    /// Installs the handlers. Call it once in a process.
    pub fn install() -> io::Result<ShutdownSignals> {
        let (reader, writer) = std::os::unix::net::UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        writer.set_nonblocking(true)?;
        for signal in [libc::SIGTERM, libc::SIGINT] {
            let writer = OwnedFd::from(writer.try_clone()?);
            // SAFETY: `on_shutdown_signal` does only what is async-signal-safe.
            unsafe {
                signal_hook::low_level::register(signal, move || {
                    on_shutdown_signal(signal, &writer)
                })
            }?;
        }
        // A file that is longer than the process may write is an error of the write, and no reason to end the server.
        for signal in [libc::SIGHUP, libc::SIGPIPE, libc::SIGXFSZ] {
            // SAFETY: ignoring a signal runs no code of ours.
            unsafe { libc::signal(signal, libc::SIG_IGN) };
        }
        Ok(ShutdownSignals {
            source: mio::net::UnixStream::from_std(reader),
        })
    }

    /// What the loop registers; it becomes readable when a signal came.
    pub fn source(&mut self) -> &mut mio::net::UnixStream {
        &mut self.source
    }

    /// Takes all bytes out (the source is edge-triggered) and answers which signal wants a shutdown, if one does.
    pub fn drain(&mut self) -> Option<ShutdownSignal> {
        let mut bytes = [0; 64];
        // Ends when the socket is empty; the writing side never closes.
        while matches!(self.source.read(&mut bytes), Ok(1..)) {}
        shutdown_requested()
    }
}

/// The signal that asked for a shutdown, if one did since the last [`call_off_shutdown`].
pub fn shutdown_requested() -> Option<ShutdownSignal> {
    match SHUTDOWN.load(Ordering::Acquire) {
        libc::SIGTERM => Some(ShutdownSignal::Terminate),
        libc::SIGINT => Some(ShutdownSignal::Interrupt),
        _ => None,
    }
}

/// Forgets the request: the shutdown failed or was aborted, the server goes on.
pub fn call_off_shutdown() {
    SHUTDOWN.store(0, Ordering::Release);
}

/// While a data set is loaded the handler says so in its log line.
pub fn set_loading(loading: bool) {
    LOADING.store(loading, Ordering::Relaxed);
}

/// A file beside the snapshot that a child is writing, as a C string that is never freed; null for none.
static TEMPORARY: AtomicPtr<libc::c_char> = AtomicPtr::new(std::ptr::null_mut());

/// Says what a child writes, once in its life: it is removed when a signal ends the child.
pub fn set_temporary_file(path: &Path) {
    if let Ok(path) = CString::new(path.as_os_str().as_bytes()) {
        TEMPORARY.store(path.into_raw(), Ordering::Release);
    }
}

/// Removes the files that this process is writing, if there are any: a snapshot in its working directory, or what
/// [`set_temporary_file`] named. Async-signal-safe.
pub(super) fn remove_temporary_files() {
    remove_temporary(b"temp-", b".rdb");
    remove_temporary(b"temp-", b".bg.rdb");
    let path = TEMPORARY.load(Ordering::Acquire);
    if !path.is_null() {
        // SAFETY: it is a C string that is never freed; unlink is async-signal-safe.
        unsafe { libc::unlink(path) };
    }
}

/// Removes the file with this process's number between `before` and `after`, which are short.
fn remove_temporary(before: &[u8], after: &[u8]) {
    const LEN: usize = 64;
    let mut name = [0_u8; LEN];
    // SAFETY: getpid has no conditions.
    let mut rest = unsafe { libc::getpid() }.unsigned_abs();
    let mut digits = [0_u8; 10];
    let mut first = digits.len();
    while rest > 0 {
        first -= 1;
        digits[first] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let parts = [before, &digits[first..], after];
    let mut len = 0;
    for part in parts {
        let Some(place) = name[..LEN - 1].get_mut(len..len + part.len()) else {
            return;
        };
        place.copy_from_slice(part);
        len += part.len();
    }
    // SAFETY: the name ends with the zeroes behind it; unlink is async-signal-safe.
    unsafe { libc::unlink(name.as_ptr().cast()) };
}

fn on_shutdown_signal(signal: i32, writer: &OwnedFd) {
    let wanted = SHUTDOWN.load(Ordering::Acquire) != 0;
    if wanted && signal == libc::SIGINT {
        write_from_handler("You insist... exiting now.");
        remove_temporary_files();
        // SAFETY: ends the process; no destructors, which is why it is safe here.
        unsafe { libc::_exit(1) };
    }
    write_from_handler(if LOADING.load(Ordering::Relaxed) {
        "Received shutdown signal during loading, scheduling shutdown."
    } else if signal == libc::SIGINT {
        "Received SIGINT scheduling shutdown..."
    } else {
        "Received SIGTERM scheduling shutdown..."
    });
    SHUTDOWN.store(signal, Ordering::Release);
    // SAFETY: one byte of a live value to an open descriptor. A full socket needs no further byte.
    unsafe {
        libc::send(
            writer.as_raw_fd(),
            [1u8].as_ptr().cast(),
            1,
            libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT,
        )
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Output, Stdio};

    /// Runs `signals_child` in a process of its own, because signals are for a whole process.
    fn run(what: &str) -> Output {
        Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "system::signals::tests::signals_child",
                "--nocapture",
                "--test-threads=1",
            ])
            .env("GYRE_SIGNALS_CHILD", what)
            .stdout(Stdio::piped())
            .output()
            .unwrap()
    }

    #[test]
    fn a_signal_wakes_the_poll() {
        let output = run("wake");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("woken by Terminate"), "{text}");
        assert!(
            text.contains("Received SIGTERM scheduling shutdown..."),
            "{text}"
        );
        assert_eq!(output.status.code(), Some(0), "{text}");
    }

    #[test]
    fn a_second_interrupt_ends_at_once() {
        let output = run("insist");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            text.contains("Received SIGINT scheduling shutdown..."),
            "{text}"
        );
        assert!(text.contains("You insist... exiting now."), "{text}");
        assert!(!text.contains("still here"), "{text}");
        assert_eq!(
            (output.status.code(), output.status.signal()),
            (Some(1), None)
        );
    }

    #[test]
    fn signals_child() {
        let Some(what) = std::env::var_os("GYRE_SIGNALS_CHILD") else {
            return;
        };
        let mut signals = ShutdownSignals::install().unwrap();
        let raise = |signal| signal_hook::low_level::raise(signal).unwrap();
        raise(libc::SIGHUP);
        raise(libc::SIGPIPE);
        raise(libc::SIGXFSZ);
        assert_eq!(signals.drain(), None);
        if what == "insist" {
            raise(libc::SIGINT);
            raise(libc::SIGINT);
            println!("still here");
            return;
        }
        let mut poll = mio::Poll::new().unwrap();
        poll.registry()
            .register(signals.source(), mio::Token(1), mio::Interest::READABLE)
            .unwrap();
        raise(libc::SIGTERM);
        let mut events = mio::Events::with_capacity(4);
        poll.poll(&mut events, Some(std::time::Duration::from_secs(5)))
            .unwrap();
        assert!(events.iter().any(|event| event.is_readable()));
        println!("woken by {:?}", signals.drain().unwrap());
        call_off_shutdown();
        assert_eq!(signals.drain(), None);
    }
}

//! The server's log: lines as Redis writes them, behind the `log` facade, of the modules that `env_logger` lets through.
//!
//! In: `log::info!` and its like, anywhere in this crate. Out: `1234:M 24 Nov 2026 15:00:58.123 * message`, appended
//! to a file that is opened anew for each line (so that it may be rotated by renaming), or written to the standard
//! output. Lines of other crates are not heeded. Mirrors `serverLog` in server.c.
//!
//! | `loglevel` | facade | mark |
//! | --- | --- | --- |
//! | debug | trace | `.` |
//! | verbose | debug | `-` |
//! | notice | info | `*` |
//! | warning | warn, error | `#` |
//!
//! The settings are atomics, so that a signal handler can log too ([`write_from_handler`]). No lock is taken: a line is
//! one write to the descriptor. Any thread may log, and so may a child that was forked while another thread did; a lock
//! that was held then (that of the standard output, say) would never be free again in the child. For the same reason
//! only the server's first thread asks the C library for the local time's offset; others take its last answer.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char};
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, Ordering};

use super::clock;

/// Lines with this target are written as they stand: no prefix, no line end (INFO in a bug report, the banner).
const RAW_TARGET: &str = "gyre::raw";

/// The directive `loglevel`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// All.
    Debug,
    /// Much, but not a mess.
    Verbose,
    /// What an operator wants to read.
    Notice,
    /// Only what matters.
    Warning,
    /// Nothing at all.
    Nothing,
}

impl LogLevel {
    fn filter(self) -> log::LevelFilter {
        match self {
            LogLevel::Debug => log::LevelFilter::Trace,
            LogLevel::Verbose => log::LevelFilter::Debug,
            LogLevel::Notice => log::LevelFilter::Info,
            LogLevel::Warning => log::LevelFilter::Warn,
            LogLevel::Nothing => log::LevelFilter::Off,
        }
    }
}

/// Where and how much to log.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// The file; none (or an empty path) is the standard output.
    pub file: Option<PathBuf>,
    /// What is written.
    pub level: LogLevel,
}

/// Who writes: the second field of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `X`
    Sentinel,
    /// `C`; also taken by itself in every process that is not the one that called [`init`].
    Child,
    /// `S`
    Replica,
    /// `M`
    Primary,
}

/// Path of the log file as a C string that is never freed; null for the standard output. A handler may read it at any
/// moment, so an old one is left behind: it changes at most a few times in a life.
static PATH: AtomicPtr<c_char> = AtomicPtr::new(std::ptr::null_mut());
static ROLE: AtomicU8 = AtomicU8::new(b'M');
static MAIN_PID: AtomicU32 = AtomicU32::new(0);

/// Takes the options over and starts logging. May be called again; then it only changes them.
pub fn init(options: LogOptions) {
    set_file(options.file.as_deref());
    set_main_process();
    // `env_logger` says what is logged; its own writing would take a lock.
    let filter = env_logger::Builder::new()
        .filter_level(log::LevelFilter::Off)
        .filter_module("gyre", log::LevelFilter::Trace)
        .build();
    // Fails only if another logger was there first: our own, or one that leaves us no say.
    let _ = log::set_boxed_logger(Box::new(Logger { filter }));
    set_level(options.level);
}

/// Changes `loglevel` while running.
pub fn set_level(level: LogLevel) {
    log::set_max_level(level.filter());
}

/// Changes the log file while running; none or an empty path is the standard output. A path with a NUL in it cannot
/// exist and counts as none.
fn set_file(path: Option<&Path>) {
    let path = path.filter(|path| !path.as_os_str().is_empty());
    let path = path.and_then(|path| CString::new(path.as_os_str().as_bytes()).ok());
    let pointer = path.map_or(std::ptr::null_mut(), CString::into_raw);
    PATH.store(pointer, Ordering::Release);
}

/// Changes the role in the lines that follow.
pub fn set_role(role: Role) {
    let mark = match role {
        Role::Sentinel => b'X',
        Role::Child => b'C',
        Role::Replica => b'S',
        Role::Primary => b'M',
    };
    ROLE.store(mark, Ordering::Relaxed);
}

/// Says that this process is the server and not a child of it: after the server has become a daemon.
pub fn set_main_process() {
    MAIN_PID.store(std::process::id(), Ordering::Relaxed);
}

/// Whether this process is the server itself and not a child of it. Async-signal-safe.
pub(super) fn is_main_process() -> bool {
    let main = MAIN_PID.load(Ordering::Relaxed);
    main == 0 || main == std::process::id()
}

/// Whether the calling thread is the first of the server's: no other thread, and none of a child.
fn is_first_thread() -> bool {
    // SAFETY: gettid has no conditions.
    let thread = unsafe { libc::gettid() };
    MAIN_PID.load(Ordering::Relaxed) == thread.unsigned_abs()
}

/// Writes bytes to the log as they stand, whatever the level. As in Redis, a log that cannot be written stops nothing.
fn write_raw(bytes: &[u8]) {
    HandlerLog::open().write(bytes);
}

/// What the facade hands its records to.
struct Logger {
    /// Which records are the server's.
    filter: env_logger::Logger,
}

impl log::Log for Logger {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        self.filter.enabled(metadata)
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.filter.matches(record) {
            return;
        }
        let mut line = String::new();
        // Writing to a String cannot fail.
        if record.target() == RAW_TARGET {
            let _ = write!(line, "{}", record.args());
        } else {
            let now = clock::unix_us();
            let offset_s = if is_first_thread() {
                clock::utc_offset_s((now / 1_000_000) as i64)
            } else {
                clock::last_utc_offset_s()
            };
            let _ = prefix(&mut line, now, offset_s, mark(record.level()));
            let _ = writeln!(line, "{}", record.args());
        }
        write_raw(line.as_bytes());
    }

    fn flush(&self) {}
}

/// Logs from a signal handler that the process survives: `1234:signal-handler (1795532458) message`. Async-signal-safe.
pub fn write_from_handler(message: &str) {
    let mut line = StackText::new();
    let _ = writeln!(
        line,
        "{}:signal-handler ({}) {message}",
        std::process::id(),
        clock::unix_us() / 1_000_000
    );
    let log = HandlerLog::open();
    log.write(line.as_bytes());
}

fn mark(level: log::Level) -> char {
    match level {
        log::Level::Trace => '.',
        log::Level::Debug => '-',
        log::Level::Info => '*',
        log::Level::Warn | log::Level::Error => '#',
    }
}

/// Spells what stands before the message. Neither locks nor allocates.
pub(super) fn prefix(
    out: &mut impl std::fmt::Write,
    unix_us: u64,
    offset_s: i64,
    mark: char,
) -> std::fmt::Result {
    let pid = std::process::id();
    let role = match is_main_process() {
        true => ROLE.load(Ordering::Relaxed),
        false => b'C',
    };
    write!(out, "{pid}:{} ", role as char)?;
    clock::log_time(out, unix_us, offset_s)?;
    write!(out, " {mark} ")
}

fn path() -> Option<&'static CStr> {
    let pointer = PATH.load(Ordering::Acquire);
    // SAFETY: a pointer stored there came from CString::into_raw and is never freed.
    (!pointer.is_null()).then(|| unsafe { CStr::from_ptr(pointer) })
}

/// Text on the stack, for handlers; what does not fit is cut off.
pub(super) struct StackText {
    bytes: [u8; 1024],
    len: usize,
}

impl StackText {
    pub(super) fn new() -> StackText {
        StackText {
            bytes: [0; 1024],
            len: 0,
        }
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl std::fmt::Write for StackText {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let taken = text.len().min(self.bytes.len() - self.len);
        self.bytes[self.len..self.len + taken].copy_from_slice(&text.as_bytes()[..taken]);
        self.len += taken;
        Ok(())
    }
}

/// The log as a bare descriptor, opened with system calls alone.
pub(super) struct HandlerLog {
    descriptor: i32,
    /// It was opened here and is closed with this.
    is_ours: bool,
}

impl HandlerLog {
    pub(super) fn open() -> HandlerLog {
        let descriptor = match path() {
            None => libc::STDOUT_FILENO,
            Some(path) => {
                let flags = libc::O_APPEND | libc::O_CREAT | libc::O_WRONLY | libc::O_CLOEXEC;
                // SAFETY: the path is a live C string; open is async-signal-safe.
                unsafe { libc::open(path.as_ptr(), flags, 0o644) }
            }
        };
        HandlerLog {
            descriptor,
            is_ours: path().is_some() && descriptor >= 0,
        }
    }

    pub(super) fn descriptor(&self) -> i32 {
        self.descriptor
    }

    /// Writes all of it, or as much as can be written.
    pub(super) fn write(&self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            // SAFETY: the pointer and the length describe a live slice; write is async-signal-safe.
            let written =
                unsafe { libc::write(self.descriptor, bytes.as_ptr().cast(), bytes.len()) };
            match usize::try_from(written) {
                Ok(written) if written > 0 => bytes = &bytes[written..],
                _ if was_interrupted() => {}
                _ => return,
            }
        }
    }

    /// Writes a line with the usual prefix.
    pub(super) fn line(&self, message: std::fmt::Arguments<'_>) {
        let mut line = StackText::new();
        let _ = prefix(&mut line, clock::unix_us(), clock::last_utc_offset_s(), '#');
        let _ = writeln!(line, "{message}");
        self.write(line.as_bytes());
    }
}

fn was_interrupted() -> bool {
    // SAFETY: the address of this thread's errno is always valid.
    unsafe { *libc::__errno_location() == libc::EINTR }
}

impl Drop for HandlerLog {
    fn drop(&mut self) {
        if self.is_ours {
            // SAFETY: `open` opened it and nobody else has it.
            unsafe { libc::close(self.descriptor) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test, because all of it is about one global logger.
    #[test]
    fn lines_levels_roles_and_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("log");
        let read = || std::fs::read_to_string(&file).unwrap_or_default();
        init(LogOptions {
            file: Some(file.clone()),
            level: LogLevel::Notice,
        });
        log::info!("Ready to accept connections");
        log::debug!("unseen");
        log::info!(target: "mio::poll", "of another crate");
        let pid = std::process::id();
        let text = read();
        // Other tests of this crate may log in the meantime.
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| line.contains("Ready to accept"))
            .collect();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(
            !text.contains("unseen") && !text.contains("another crate"),
            "{text}"
        );
        assert!(lines[0].starts_with(&format!("{pid}:M ")), "{lines:?}");
        assert!(
            lines[0].ends_with(" * Ready to accept connections"),
            "{lines:?}"
        );
        // pid:role, day, month, year, time, mark, message.
        assert_eq!(
            lines[0].split(' ').nth(4).map(str::len),
            Some("15:00:58.123".len())
        );

        // Renamed away: the next line makes a new file.
        std::fs::rename(&file, dir.path().join("log.1")).unwrap();
        set_level(LogLevel::Debug);
        set_role(Role::Replica);
        log::trace!("small");
        log::debug!("medium");
        log::warn!("large");
        log::warn!(target: RAW_TARGET, "bare\n");
        write_from_handler("from a handler");
        set_level(LogLevel::Nothing);
        log::error!("unheard");
        set_role(Role::Primary);
        let text = read();
        assert!(
            text.contains(":S ") && text.contains(" . small\n"),
            "{text}"
        );
        assert!(
            text.contains(" - medium\n") && text.contains(" # large\n"),
            "{text}"
        );
        assert!(text.contains("\nbare\n"), "{text}");
        assert!(text.contains(&format!("{pid}:signal-handler (")), "{text}");
        assert!(
            !text.contains("unheard") && !text.contains("Ready"),
            "{text}"
        );
        set_file(None);
    }

    /// A thread of ours held the lock of the standard output when the child was forked, and the child logs. It once
    /// waited for that lock for ever, and with it every later snapshot.
    #[test]
    fn a_child_logs_whatever_was_locked_at_its_birth() {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "system::log::tests::log_child", "--nocapture"])
            .env("GYRE_LOG_CHILD", "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{text}");
        assert!(
            text.contains(":C ") && text.contains(" * from the child\n"),
            "{text}"
        );
    }

    #[test]
    fn log_child() {
        use crate::system::child::{Exit, Forked, fork};
        if std::env::var_os("GYRE_LOG_CHILD").is_none() {
            return;
        }
        init(LogOptions {
            file: None,
            level: LogLevel::Notice,
        });
        let (locked, is_locked) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let _held = std::io::stdout().lock();
            locked.send(()).unwrap();
            loop {
                std::thread::park();
            }
        });
        is_locked.recv().unwrap();
        let child = match fork().unwrap() {
            Forked::Child(end) => {
                log::info!("from the child");
                end.exit(3)
            }
            Forked::Parent(child, _pipe) => child,
        };
        for _ in 0..1000 {
            match child.try_wait() {
                Some(exit) => {
                    crate::system::process::exit_now(i32::from(exit != Exit::Status(3)));
                }
                None => std::thread::sleep(std::time::Duration::from_millis(10)),
            }
        }
        child.kill();
        crate::system::process::exit_now(2);
    }
}

//! The report of a crash, and the software watchdog; mirrors `sigsegvHandler`, `bugReportStart`, `bugReportEnd` and the
//! watchdog of debug.c.
//!
//! In: fatal signals, panics, and what the loop leaves here while it is well: the number of its turn, the command it
//! runs, a text like INFO's. Out: a report in the log between two marks that operators know, then death by the same
//! signal. Or, when the watchdog's time runs out: a stack in the log, and life goes on.
//!
//! What a handler may do: memory may be corrupt and any lock may be held by the code that was interrupted.
//! - Everything up to and including the raw stack, the turn and the registered text uses atomics, buffers on the stack
//!   and system calls only. (`backtrace` loads a library when first called; [`install`] calls it once in good time.)
//! - The stack with names, last in the report of a crash, allocates and takes locks and may therefore hang. By then all
//!   else is written, and an alarm ends the report after some seconds. This is acceptable because the process dies
//!   anyway; the watchdog, which must be survived, never does it.
#![allow(unsafe_code)]

use std::ffi::{CString, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use super::log::{HandlerLog, StackText, is_main_process, write_from_handler};
use super::mapped_file;
use std::fmt::Write as _;

const START: &[u8] = b"\n\n=== REDIS BUG REPORT START: Cut & paste starting from here ===\n";
const END: &[u8] = b"\n=== REDIS BUG REPORT END. Make sure to include from START to END. ===\n\n";
const FATAL: [c_int; 5] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGABRT,
];
/// How long a report may take; finding the names of a stack can hang.
const REPORT_TIMEOUT_S: u32 = 5;
const FRAMES_MAX: usize = 100;
const STACK_DONE: &[u8] = b"\n------ STACK TRACE DONE ------\n";
/// Words of a command that a report shows, and bytes of each.
const ARGUMENTS_MAX: usize = 32;
const WORD_MAX: usize = 200;
/// The handler's own stack: enough for finding names, and there when the usual one has overflowed.
const HANDLER_STACK_LEN: usize = 512 * 1024;

static TURN: AtomicU64 = AtomicU64::new(0);
static COMMAND: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
static COMMAND_LEN: AtomicUsize = AtomicUsize::new(0);
static SNAPSHOT: AtomicPtr<Vec<u8>> = AtomicPtr::new(std::ptr::null_mut());
static SNAPSHOT_BEFORE: AtomicPtr<Vec<u8>> = AtomicPtr::new(std::ptr::null_mut());
static PID_FILE: AtomicPtr<libc::c_char> = AtomicPtr::new(std::ptr::null_mut());
/// An [`ArgumentList`] that lives as long as it stands here; null between commands.
static ARGUMENTS: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());
/// `hide-user-data-from-log`.
static HIDE_USER_DATA: AtomicBool = AtomicBool::new(false);
/// `use-exit-on-panic`.
static EXIT_ON_PANIC: AtomicBool = AtomicBool::new(false);
static STARTED: AtomicBool = AtomicBool::new(false);
/// The signal that is being reported, 0 for none: for what cuts a report short.
static REPORTED: AtomicUsize = AtomicUsize::new(0);

/// Says which turn the loop is in and which command it runs (empty: none). Three plain stores: cheap enough for every
/// command.
#[inline]
pub fn set_turn_context(turn: u64, command: &'static str) {
    TURN.store(turn, Ordering::Relaxed);
    set_command(command);
}

/// Says which command runs now; empty for none.
#[inline]
pub fn set_command(command: &'static str) {
    // Length 0 in between: a handler never sees one name's start with another's length.
    COMMAND_LEN.store(0, Ordering::Release);
    COMMAND.store(command.as_ptr().cast_mut(), Ordering::Release);
    COMMAND_LEN.store(command.len(), Ordering::Release);
}

/// The turn and the command that were set last.
fn turn_context() -> (u64, &'static str) {
    let len = COMMAND_LEN.load(Ordering::Acquire);
    let start = COMMAND.load(Ordering::Acquire);
    let command = if len == 0 || start.is_null() {
        ""
    } else {
        // SAFETY: both came from one `&'static str`: the writer is the loop's thread, which sets the length to 0 while
        // they do not belong together, and handlers run either on that thread or in a process that dies.
        unsafe { std::str::from_utf8_unchecked(std::slice::from_raw_parts(start, len)) }
    };
    (TURN.load(Ordering::Relaxed), command)
}

/// The words of a command, for a report.
pub struct ArgumentList<'a> {
    /// How many there are.
    pub len: usize,
    /// How many of the first are names of commands, and no data of a user.
    pub names: usize,
    /// The word with an index.
    pub word: &'a dyn Fn(usize) -> &'a [u8],
    /// True if the word with an index is a secret, which no report shows. Called in the handler of a signal.
    pub hides: &'a dyn Fn(usize) -> bool,
}

/// Runs something; a report that is written meanwhile shows these words.
#[inline]
pub fn with_arguments<R>(list: &ArgumentList<'_>, run: impl FnOnce() -> R) -> R {
    /// Puts back what stood there, also when `run` panics.
    struct Back(*mut c_void);
    impl Drop for Back {
        fn drop(&mut self) {
            ARGUMENTS.store(self.0, Ordering::Release);
        }
    }
    // Two plain moves and no exchange: only the loop's thread runs commands.
    let _back = Back(ARGUMENTS.load(Ordering::Relaxed));
    let list = std::ptr::from_ref(list).cast_mut().cast::<c_void>();
    ARGUMENTS.store(list, Ordering::Release);
    run()
}

/// Follows the directives `hide-user-data-from-log` and `use-exit-on-panic`.
pub fn set_options(hide_user_data: bool, exit_on_panic: bool) {
    HIDE_USER_DATA.store(hide_user_data, Ordering::Relaxed);
    EXIT_ON_PANIC.store(exit_on_panic, Ordering::Relaxed);
}

/// Leaves a text (INFO and CLIENT LIST, say) that a later report will show. From the loop's thread, now and then.
pub fn set_snapshot(text: Vec<u8>) {
    let fresh = Box::into_raw(Box::new(text));
    let old = SNAPSHOT.swap(fresh, Ordering::AcqRel);
    // The last but one is freed, not the last: a handler of another thread may be reading that one.
    let older = SNAPSHOT_BEFORE.swap(old, Ordering::AcqRel);
    if !older.is_null() {
        // SAFETY: it came from Box::into_raw and is in neither static any more.
        drop(unsafe { Box::from_raw(older) });
    }
}

/// The pid file that a crashing daemon takes along.
pub fn set_pid_file(path: Option<&Path>) {
    let path = path.and_then(|path| CString::new(path.as_os_str().as_bytes()).ok());
    // The old path is never freed, because a handler may be reading it.
    PID_FILE.store(
        path.map_or(std::ptr::null_mut(), CString::into_raw),
        Ordering::Release,
    );
}

/// Makes panics end in a report, and with `crash_log_enabled` fatal signals too. Call it from the loop's thread, at
/// the start and when the directive `crash-log-enabled` changes.
pub fn install(crash_log_enabled: bool) {
    std::panic::set_hook(Box::new(move |info| report_panic(info, crash_log_enabled)));
    if !crash_log_enabled {
        return remove_handlers();
    }
    let mut frames = [std::ptr::null_mut(); 1];
    // SAFETY: there is room for the one frame that is asked for.
    unsafe { libc::backtrace(frames.as_mut_ptr(), 1) };
    install_handler_stack();
    for signal in FATAL {
        set_handler(signal, on_fatal_signal, libc::SA_NODEFER | libc::SA_ONSTACK);
    }
    mapped_file::handled_by_report(true);
    set_handler(libc::SIGALRM, on_alarm, libc::SA_RESTART);
}

/// Lets fatal signals act as the system does by default again (children that want no report, and before `abort`).
pub fn remove_handlers() {
    for signal in FATAL {
        // SAFETY: the default action runs no code of ours.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    mapped_file::handled_by_report(false);
}

/// Arms the software watchdog: if [`feed_watchdog`] is not called for `period_ms`, a stack is logged. 0 turns it off.
///
/// The caller raises the period to twice the timer's, as Redis does. SIGALRM interrupts a poll that sleeps.
pub fn set_watchdog(period_ms: u64) {
    set_handler(libc::SIGALRM, on_alarm, libc::SA_RESTART);
    feed_watchdog(period_ms);
}

/// The loop is well: the watchdog's time starts anew.
pub fn feed_watchdog(period_ms: u64) {
    let timer = libc::itimerval {
        it_interval: libc::timeval {
            tv_sec: 0,
            tv_usec: 0,
        },
        it_value: libc::timeval {
            tv_sec: (period_ms / 1000) as libc::time_t,
            tv_usec: (period_ms % 1000 * 1000) as libc::suseconds_t,
        },
    };
    // SAFETY: `timer` is a live itimerval; nothing is asked back.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()) };
}

/// `DEBUG SEGFAULT`: writes where nothing may be written.
pub fn segfault() -> ! {
    // SAFETY: this is meant to crash: the page may only be read, and no other memory is touched.
    unsafe {
        let page = libc::mmap(
            std::ptr::null_mut(),
            4096,
            libc::PROT_READ,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        page.cast::<u8>().write_volatile(b'x');
    }
    // Only if mapping failed in such a way that the write did not.
    std::process::abort()
}

type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

fn set_handler(signal: c_int, handler: Handler, flags: c_int) {
    // SAFETY: all-zero bytes are a valid sigaction; the handler has the signature that SA_SIGINFO wants.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = flags | libc::SA_SIGINFO;
        libc::sigemptyset(&mut action.sa_mask);
        libc::sigaction(signal, &action, std::ptr::null_mut());
    }
}

fn install_handler_stack() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let stack = Box::leak(vec![0u8; HANDLER_STACK_LEN].into_boxed_slice());
        let description = libc::stack_t {
            ss_sp: stack.as_mut_ptr().cast(),
            ss_flags: 0,
            ss_size: stack.len(),
        };
        // SAFETY: the stack is never freed and nobody else uses it.
        unsafe { libc::sigaltstack(&description, std::ptr::null_mut()) };
    });
}

extern "C" fn on_fatal_signal(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel hands a valid siginfo to a handler installed with SA_SIGINFO.
    if signal == libc::SIGBUS && unsafe { mapped_file::mend(&*info) } {
        return;
    }
    limit_report();
    let log = HandlerLog::open();
    let first = REPORTED.swap(signal as usize, Ordering::AcqRel);
    if first != 0 {
        // The report itself crashed, or another thread did meanwhile: what is written has to do.
        REPORTED.store(first, Ordering::Release);
        log.write(b"\n(cut short by another crash)\n");
        end_report(&log, first as c_int);
    }
    start_report(&log);
    // SAFETY: the kernel hands a valid siginfo and ucontext to a handler installed with SA_SIGINFO.
    let (code, address, sender, uid, instruction) = unsafe {
        let info = &*info;
        (
            info.si_code,
            info.si_addr(),
            info.si_pid(),
            info.si_uid(),
            instruction_pointer(context),
        )
    };
    log.line(format_args!(
        "Redis {} crashed by signal: {signal}, si_code: {code}",
        crate::REDIS_VERSION
    ));
    if signal == libc::SIGSEGV || signal == libc::SIGBUS {
        log.line(format_args!("Accessing address: {address:p}"));
    }
    if code == libc::SI_USER && sender != -1 {
        log.line(format_args!("Killed by PID: {sender}, UID: {uid}"));
    }
    if !instruction.is_null() {
        log.line(format_args!(
            "Crashed running the instruction at: {instruction:p}"
        ));
    }
    write_stack(&log, instruction);
    write_context(&log);
    write_arguments(&log, "CURRENT", false);

    // From here on it may hang (see the head of the file).
    if has_room_for_names() {
        write_names(&log);
    }
    end_report(&log, signal)
}

/// From now on the report has some seconds.
fn limit_report() {
    set_handler(libc::SIGALRM, on_report_timeout, libc::SA_NODEFER);
    // SAFETY: no memory is involved. A watchdog would bark into the report.
    unsafe {
        libc::setitimer(libc::ITIMER_REAL, &std::mem::zeroed(), std::ptr::null_mut());
        libc::alarm(REPORT_TIMEOUT_S);
    }
}

/// Whether the stack that a handler runs on is large enough: the usual one, or ours. Threads that did not call
/// [`install`] have a small one from the standard library.
fn has_room_for_names() -> bool {
    // SAFETY: all-zero bytes are a valid stack_t, and it is a live one; nothing is changed.
    let stack = unsafe {
        let mut stack: libc::stack_t = std::mem::zeroed();
        libc::sigaltstack(std::ptr::null(), &mut stack);
        stack
    };
    stack.ss_flags & libc::SS_ONSTACK == 0 || stack.ss_size >= HANDLER_STACK_LEN
}

/// The report took too long: it ends as it is.
extern "C" fn on_report_timeout(_: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {
    let log = HandlerLog::open();
    log.write(b"(cut short)\n");
    end_report(&log, REPORTED.load(Ordering::Acquire) as c_int)
}

/// The watchdog's time is over, or somebody wants to know what the server does: both get a stack, and life goes on.
extern "C" fn on_alarm(_: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the interrupted code may look at errno afterwards, so it is put back at the end.
    let errno = unsafe { *libc::__errno_location() };
    // SAFETY: the kernel hands a valid siginfo to a handler installed with SA_SIGINFO.
    let sent = unsafe { (*info).si_code } <= 0;
    write_from_handler(match sent {
        true => "\nReceived SIGALRM",
        false => "\n--- WATCHDOG TIMER EXPIRED ---",
    });
    let log = HandlerLog::open();
    // SAFETY: the kernel hands a valid ucontext to a handler installed with SA_SIGINFO.
    write_stack(&log, unsafe { instruction_pointer(context) });
    let (turn, command) = turn_context();
    let mut text = StackText::new();
    // Named as Redis names the functions of commands, which is what one searches a stack for.
    let _ = match command {
        "" => writeln!(text, "\nIn turn {turn}, between commands"),
        _ => writeln!(text, "\nIn turn {turn}, in {command}Command"),
    };
    log.write(text.as_bytes());
    log.write(STACK_DONE);
    drop(log);
    write_from_handler("--------\n");
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

/// Where the interrupted code was; null on machines whose registers we do not know.
///
/// # Safety
///
/// `context` is null or what the kernel handed to a handler.
unsafe fn instruction_pointer(context: *mut c_void) -> *mut c_void {
    if context.is_null() {
        return std::ptr::null_mut();
    }
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller promises a valid ucontext.
    return unsafe {
        (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs[libc::REG_RIP as usize]
            as *mut c_void
    };
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the caller promises a valid ucontext.
    return unsafe { (*context.cast::<libc::ucontext_t>()).uc_mcontext.pc as *mut c_void };
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    std::ptr::null_mut()
}

fn start_report(log: &HandlerLog) {
    if !STARTED.swap(true, Ordering::AcqRel) {
        log.write(START);
    }
}

/// Writes the addresses of the stack; allocates nothing.
fn write_stack(log: &HandlerLog, instruction: *mut c_void) {
    let mut frames = [std::ptr::null_mut(); FRAMES_MAX];
    // SAFETY: there is room for as many frames as are asked for.
    let len = unsafe { libc::backtrace(frames.as_mut_ptr(), FRAMES_MAX as c_int) };
    log.write(b"\n------ STACK TRACE ------\n");
    if !instruction.is_null() {
        log.write(b"EIP:\n");
        // SAFETY: one address is handed over as one.
        unsafe { libc::backtrace_symbols_fd(&instruction, 1, log.descriptor()) };
    }
    log.write(b"\nBacktrace:\n");
    // SAFETY: backtrace filled the first `len` frames.
    unsafe { libc::backtrace_symbols_fd(frames.as_ptr(), len, log.descriptor()) };
}

/// Writes what the loop left.
fn write_context(log: &HandlerLog) {
    let (turn, command) = turn_context();
    let mut text = StackText::new();
    // Named as Redis names the functions of commands, which is what one searches a stack for.
    let _ = match command {
        "" => writeln!(text, "\nIn turn {turn}, between commands"),
        _ => writeln!(text, "\nIn turn {turn}, in {command}Command"),
    };
    log.write(text.as_bytes());
    log.write(STACK_DONE);
    text.clear();
    let _ = write!(
        text,
        "\n------ CURRENT TURN ------\nturn: {turn}\ncommand: {command}\n"
    );
    log.write(text.as_bytes());
    if HIDE_USER_DATA.load(Ordering::Relaxed) {
        log.line(format_args!(
            "hide-user-data-from-log is on, skip logging stack content to avoid spilling PII"
        ));
    }
    let snapshot = SNAPSHOT.load(Ordering::Acquire);
    if !snapshot.is_null() {
        log.write(b"\n------ INFO OUTPUT ------\n");
        // SAFETY: it came from Box::into_raw, and `set_snapshot` keeps the last two alive.
        log.write(unsafe { &*snapshot });
    }
}

/// Writes the words of the command that runs. `as_assertion`: in the form of a failed assertion of Redis.
fn write_arguments(log: &HandlerLog, title: &str, as_assertion: bool) {
    let list = ARGUMENTS.load(Ordering::Acquire);
    if list.is_null() {
        return;
    }
    // SAFETY: a list that is stored there lives on the stack of [`with_arguments`], which takes it away before it returns.
    // What it borrows is borrowed shared, so reading it beside the code that was interrupted is no conflict. (Another
    // thread that crashes reads what the loop's thread may be giving back; the process dies anyway, and the report of a
    // crash within the report is bounded.)
    let list = unsafe { &*list.cast::<ArgumentList<'_>>() };
    let mut text = StackText::new();
    let _ = match as_assertion {
        true => write!(
            text,
            "=== ASSERTION FAILED CLIENT CONTEXT ===\nclient->argc = {}\n",
            list.len
        ),
        false => write!(
            text,
            "\n------ {title} CLIENT INFO ------\nargc: '{}'\n",
            list.len
        ),
    };
    log.write(text.as_bytes());
    let hide = HIDE_USER_DATA.load(Ordering::Relaxed);
    for index in 0..list.len.min(ARGUMENTS_MAX) {
        let word = (list.word)(index);
        let hides = (hide && index >= list.names) || (list.hides)(index);
        text.clear();
        let _ = match (as_assertion, hides) {
            (true, true) => writeln!(text, "client->argv[{index}] = *redacted*"),
            (true, false) => writeln!(text, "client->argv[{index}] = \"{}\"", Escaped(word)),
            (false, true) => writeln!(text, "argv[{index}]: '*redacted*'"),
            (false, false) => writeln!(text, "argv[{index}]: '\"{}\"'", Escaped(word)),
        };
        log.write(text.as_bytes());
    }
}

/// The beginning of bytes, printable.
struct Escaped<'a>(&'a [u8]);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for byte in self.0.iter().take(WORD_MAX) {
            match byte {
                b'"' | b'\\' => write!(out, "\\{}", *byte as char)?,
                b' '..=b'~' => out.write_char(*byte as char)?,
                _ => write!(out, "\\x{byte:02x}")?,
            }
        }
        Ok(())
    }
}

/// Writes the stack with names. Not async-signal-safe.
fn write_names(log: &HandlerLog) {
    log.write(b"\n------ STACK TRACE WITH NAMES ------\n");
    log.write(
        std::backtrace::Backtrace::force_capture()
            .to_string()
            .as_bytes(),
    );
}

fn end_report(log: &HandlerLog, signal: c_int) -> ! {
    log.write(END);
    let pid_file = PID_FILE.load(Ordering::Acquire);
    // Sent to this thread and not to the process, so that it arrives before `raise` returns; `_exit` is for a signal that
    // does not end the process.
    // SAFETY: the path is a C string that is never freed, the mask is a live one; the rest involves no memory.
    unsafe {
        // That of a child is its parent's, who lives.
        if !pid_file.is_null() && is_main_process() {
            libc::unlink(pid_file);
        }
        libc::signal(signal, libc::SIG_DFL);
        let mut mask: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut mask);
        libc::sigaddset(&mut mask, signal);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &mask, std::ptr::null_mut());
        libc::raise(signal);
        libc::_exit(1)
    }
}

/// Whether a panic is one that unwinds to whom it concerns: a script called a function of the host with more values than
/// the binding to Lua has handles for. The binding drops what it holds, and the script fails.
fn is_caught(message: &str) -> bool {
    message.starts_with("cannot create a Lua reference")
}

/// A panic is a bug of ours: it is reported like a crash, and the process ends by SIGABRT, whichever thread it was.
fn report_panic(info: &std::panic::PanicHookInfo<'_>, crash_log_enabled: bool) {
    let payload = info.payload();
    let message = match (
        payload.downcast_ref::<&str>(),
        payload.downcast_ref::<String>(),
    ) {
        (Some(message), _) => message,
        (_, Some(message)) => message.as_str(),
        _ => "(no message)",
    };
    if is_caught(message) {
        return;
    }
    remove_handlers();
    REPORTED.store(libc::SIGABRT as usize, Ordering::Release);
    limit_report();
    let log = HandlerLog::open();
    start_report(&log);
    log.line(format_args!(
        "------------------------------------------------"
    ));
    log.line(format_args!(
        "!!! Software Failure. Press left mouse button to continue"
    ));
    match info.location() {
        Some(at) => log.line(format_args!(
            "Guru Meditation: {message} #{}:{}",
            at.file(),
            at.line()
        )),
        None => log.line(format_args!("Guru Meditation: {message}")),
    }
    write_arguments(&log, "", true);
    if crash_log_enabled {
        write_stack(&log, std::ptr::null_mut());
        write_context(&log);
        write_arguments(&log, "CURRENT", false);
        write_names(&log);
    }
    if EXIT_ON_PANIC.load(Ordering::Relaxed) {
        log.write(END);
        super::process::exit_now(1);
    }
    end_report(&log, libc::SIGABRT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    /// Runs `crash_child` in a process of its own and answers what it wrote and which signal ended it.
    fn run(what: &str) -> (String, Option<i32>) {
        let output = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "system::crash::tests::crash_child",
                "--nocapture",
                "--test-threads=1",
            ])
            .env("GYRE_CRASH_CHILD", what)
            .output()
            .unwrap();
        (
            String::from_utf8_lossy(&output.stdout).into_owned(),
            output.status.signal(),
        )
    }

    #[test]
    fn a_segmentation_fault_is_reported() {
        let (text, signal) = run("segfault");
        assert_eq!(signal, Some(libc::SIGSEGV), "{text}");
        assert!(
            text.contains("=== REDIS BUG REPORT START: Cut & paste starting from here ===\n"),
            "{text}"
        );
        assert!(
            text.contains(" # Redis 8.0.6 crashed by signal: 11, si_code: 2\n"),
            "{text}"
        );
        assert!(text.contains("Accessing address: 0x"), "{text}");
        assert!(text.contains("------ STACK TRACE ------\nEIP:\n"), "{text}");
        assert!(text.contains("turn: 17\ncommand: debug\n"), "{text}");
        assert!(text.contains("# Server\nsecond\n"), "{text}");
        // With less debug information the path before the name is not known.
        assert!(text.contains("segfault\n"), "{text}");
        assert!(
            text.contains("=== REDIS BUG REPORT END. Make sure"),
            "{text}"
        );
        assert!(
            !std::env::temp_dir()
                .join(format!("gyre-none-{}", std::process::id()))
                .exists()
        );
    }

    #[test]
    fn an_abort_from_outside_is_reported() {
        let (text, signal) = run("abort");
        assert_eq!(signal, Some(libc::SIGABRT), "{text}");
        assert!(
            text.contains("crashed by signal: 6, si_code: 0\n"),
            "{text}"
        );
        assert!(text.contains("Killed by PID: "), "{text}");
        assert!(
            text.contains("STACK TRACE") && text.contains("REPORT END"),
            "{text}"
        );
    }

    #[test]
    fn a_panic_is_reported() {
        let (text, signal) = run("panic");
        assert_eq!(signal, Some(libc::SIGABRT), "{text}");
        assert!(
            text.contains("Guru Meditation: the sky fell #src/system/crash.rs:"),
            "{text}"
        );
        assert!(
            text.contains("command: debug\n") && text.contains("REPORT END"),
            "{text}"
        );
        assert_eq!(text.matches("REPORT START").count(), 1, "{text}");
    }

    /// The process ends with the thread: whoever waits for a helper's job would wait for ever.
    #[test]
    fn a_panic_of_a_helper_is_reported_too() {
        let (text, signal) = run("helper");
        assert_eq!(signal, Some(libc::SIGABRT), "{text}");
        assert!(text.contains("Guru Meditation: job 7 #"), "{text}");
        assert!(!text.contains("alive"), "{text}");
    }

    #[test]
    fn the_watchdog_barks_and_life_goes_on() {
        let (text, signal) = run("watchdog");
        assert_eq!(signal, None, "{text}");
        assert!(text.contains("--- WATCHDOG TIMER EXPIRED ---"), "{text}");
        assert!(text.contains("in debugCommand"), "{text}");
        assert!(
            text.contains("alive") && !text.contains("REPORT START"),
            "{text}"
        );
        assert_eq!(text.matches("EXPIRED").count(), 1, "{text}");
    }

    /// The report reads what the loop left; here that is a dangling text, so that the report crashes too.
    #[test]
    fn a_report_that_crashes_still_ends() {
        let (text, signal) = run("twice");
        assert_eq!(signal, Some(libc::SIGSEGV), "{text}");
        assert!(text.contains("(cut short by another crash)"), "{text}");
        assert_eq!(text.matches("REPORT END").count(), 1, "{text}");
    }

    #[test]
    fn without_the_crash_log_a_crash_is_silent() {
        let (text, signal) = run("silent");
        assert_eq!(signal, Some(libc::SIGSEGV), "{text}");
        assert!(!text.contains("REPORT START"), "{text}");
    }

    #[test]
    fn crash_child() {
        let Some(what) = std::env::var_os("GYRE_CRASH_CHILD") else {
            return;
        };
        install(what != "silent");
        set_snapshot(b"first".to_vec());
        set_snapshot(b"# Server\nsecond\n".to_vec());
        set_turn_context(17, "debug");
        assert_eq!(turn_context(), (17, "debug"));
        match what.as_bytes() {
            b"abort" => {
                super::super::process::kill(std::process::id() as i32, libc::SIGABRT).unwrap()
            }
            b"panic" => panic!("the sky fell"),
            b"helper" => {
                let jobs = crate::system::helper::Jobs::default();
                let run = |job: u8| panic!("job {job}");
                let mut helper = crate::system::helper::Helper::new("gyre-test", &jobs, || (), run);
                helper.give(7);
                helper.drain();
                println!("alive");
            }
            b"twice" => {
                SNAPSHOT.store(std::ptr::dangling_mut(), Ordering::Release);
                segfault();
            }
            b"watchdog" => {
                set_watchdog(50);
                std::thread::sleep(std::time::Duration::from_millis(150));
                set_watchdog(0);
                println!("alive");
                return;
            }
            _ => segfault(),
        }
        std::thread::sleep(std::time::Duration::from_secs(5));
    }
}

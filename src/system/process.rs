//! What the server does to itself as a process: limits, title, becoming a daemon, pid file, systemd, children; and what
//! it can find out: memory, CPU time, the system's name, random bytes.
//!
//! In: plain values. Out: plain values; what belongs in the log is returned with its level, because this runs before
//! there is a log. Mirrors parts of server.c, setproctitle.c and zmalloc.c.
//!
//! Invariant: nothing here keeps state but the area of the process title, which is claimed once at the start.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// Descriptors that are kept for other things than clients (`CONFIG_MIN_RESERVED_FDS`).
const RESERVED_DESCRIPTORS: u64 = 32;

/// What came of the wish for `maxclients`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenFiles {
    /// How many clients there is room for; never more than was wished for.
    pub maxclients: u32,
    /// What Redis writes to its log about it.
    pub messages: Vec<(log::Level, String)>,
}

/// Raises the limit of open files so that `maxclients` fit beside what is reserved and `others` more, or lowers
/// `maxclients` to what is possible. An error is the text of why the server cannot start.
pub fn adjust_open_files(maxclients: u32, others: u32) -> Result<OpenFiles, String> {
    let reserved = RESERVED_DESCRIPTORS + u64::from(others);
    let wanted = u64::from(maxclients) + reserved;
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a live rlimit.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } == -1 {
        let error = os_error_text(&io::Error::last_os_error());
        let message = format!(
            "Unable to obtain the current NOFILE limit ({error}), assuming 1024 and setting the max clients \
             configuration accordingly."
        );
        return Ok(OpenFiles {
            maxclients: maxclients.min(1024_u32.saturating_sub(reserved as u32).max(1)),
            messages: vec![(log::Level::Warn, message)],
        });
    }
    let (old, hard) = (limit.rlim_cur, limit.rlim_max);
    if old >= wanted {
        return Ok(OpenFiles {
            maxclients,
            messages: Vec::new(),
        });
    }
    // Unlike Redis we leave a higher hard limit as it is.
    let try_limit = |files: u64| {
        let attempt = libc::rlimit {
            rlim_cur: files,
            rlim_max: files.max(hard),
        };
        // SAFETY: `attempt` is a live rlimit.
        match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &attempt) } {
            -1 => Err(os_error_text(&io::Error::last_os_error())),
            _ => Ok(()),
        }
    };
    let Err(error) = try_limit(wanted) else {
        return open_files_verdict(maxclients, reserved, old, wanted, "");
    };
    // Halving finds the highest possible limit in a few calls, however far from it the wish was.
    let (mut best, mut refused) = (old, wanted);
    while refused - best > 1 {
        let middle = best + (refused - best) / 2;
        match try_limit(middle) {
            Ok(()) => best = middle,
            Err(_) => refused = middle,
        }
    }
    open_files_verdict(maxclients, reserved, old, best, &error)
}

fn open_files_verdict(
    maxclients: u32,
    reserved: u64,
    old: u64,
    best: u64,
    error: &str,
) -> Result<OpenFiles, String> {
    let wanted = u64::from(maxclients) + reserved;
    if best >= wanted {
        let message = format!(
            "Increased maximum number of open files to {wanted} (it was originally set to {old})."
        );
        return Ok(OpenFiles {
            maxclients,
            messages: vec![(log::Level::Info, message)],
        });
    }
    if best <= reserved {
        return Err(format!(
            "Your current 'ulimit -n' of {old} is not enough for the server to start. Please increase your open file \
             limit to at least {wanted}. Exiting."
        ));
    }
    let possible = (best - reserved) as u32;
    let messages = [
        format!(
            "You requested maxclients of {maxclients} requiring at least {wanted} max file descriptors."
        ),
        format!("Server can't set maximum open files to {wanted} because of OS error: {error}."),
        format!(
            "Current maximum open files is {best}. maxclients has been reduced to {possible} to compensate for low \
             ulimit. If you need higher maxclients increase 'ulimit -n'."
        ),
    ];
    Ok(OpenFiles {
        maxclients: possible,
        messages: messages.map(|text| (log::Level::Warn, text)).to_vec(),
    })
}

/// The C library's text of an error, as Redis prints it: without Rust's `(os error 13)`.
pub fn os_error_text(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

/// The memory that `ps` shows as the command line, claimed by [`claim_title`]; null before.
static TITLE_AREA: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
static TITLE_AREA_LEN: AtomicUsize = AtomicUsize::new(0);

/// Claims the memory of the arguments and of the environment behind them for titles; the environment moves elsewhere.
/// Whether it worked: only while there is a single thread, so early in `main`. After this, `std::env::args` answers
/// nonsense (the environment stays right): take the arguments before.
pub fn claim_title() -> bool {
    let threads = std::fs::read_dir("/proc/self/task").map_or(0, |tasks| tasks.count());
    // SAFETY: there is no other thread, and safe Rust never hands out pointers into `argv` or `environ`.
    threads == 1 && unsafe { claim_title_area() }
}

/// # Safety
///
/// No other thread may use the environment or the arguments, and nobody may hold a pointer into either.
unsafe fn claim_title_area() -> bool {
    if !TITLE_AREA.load(Ordering::Acquire).is_null() {
        return true;
    }
    let Some(fields) = stat_fields() else {
        return false;
    };
    let field = |number: usize| {
        fields
            .get(number - 3)
            .and_then(|field| field.parse::<usize>().ok())
            .unwrap_or(0)
    };
    let (arg_start, arg_end, env_start, env_end) = (field(48), field(49), field(50), field(51));
    if arg_start == 0 || arg_end <= arg_start {
        return false;
    }
    let mut end = arg_end;
    if env_start == arg_end && env_end > env_start {
        // SAFETY: the caller promises that no other thread reads the environment. `environ` is an array of C strings
        // that ends with a null; each is replaced by a copy that is never freed.
        unsafe {
            let mut entry = libc::environ;
            while !entry.is_null() && !(*entry).is_null() {
                let address = *entry as usize;
                if (env_start..env_end).contains(&address) {
                    let copy: CString = CStr::from_ptr(*entry).to_owned();
                    *entry = copy.into_raw();
                }
                entry = entry.add(1);
            }
        }
        end = env_end;
    }
    TITLE_AREA_LEN.store(end - arg_start, Ordering::Release);
    TITLE_AREA.store(arg_start as *mut u8, Ordering::Release);
    true
}

/// Sets what `ps` shows as the command line, if [`claim_title`] was called. The process's name stays what it is: tools
/// look for `gyre` by it, as they look for `redis-server`.
pub fn set_title(title: &[u8]) {
    let area = TITLE_AREA.load(Ordering::Acquire);
    let len = TITLE_AREA_LEN.load(Ordering::Acquire);
    if area.is_null() || len == 0 {
        return;
    }
    let taken = title.len().min(len - 1);
    // SAFETY: the area is `len` bytes of this process's stack that `claim_title` emptied of all uses; the title's bytes
    // and the zeros behind them (at least one) stay inside it.
    unsafe {
        std::ptr::copy_nonoverlapping(title.as_ptr(), area, taken);
        std::ptr::write_bytes(area.add(taken), 0, len - taken);
    }
}

/// Goes on as a daemon: in a child, in a session of its own, with /dev/null for the three standard streams. The parent
/// ends here. Call it before there are threads.
pub fn daemonize() -> io::Result<()> {
    match fork()? {
        // SAFETY: _exit ends the process at once, which is what the parent is here for.
        Fork::Parent(_) => unsafe { libc::_exit(0) },
        Fork::Child => {}
    }
    // SAFETY: no memory is involved; a fresh child leads no group, so this cannot fail.
    unsafe { libc::setsid() };
    let null = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null");
    if let Ok(null) = null {
        use std::os::fd::AsRawFd;
        for stream in 0..3 {
            // SAFETY: both are descriptors; dup2 closes the old stream and touches no memory.
            unsafe { libc::dup2(null.as_raw_fd(), stream) };
        }
        if null.as_raw_fd() < 3 {
            // It has become one of the streams and must stay open.
            std::mem::forget(null);
        }
    }
    Ok(())
}

/// Which side of a fork one is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fork {
    /// In the parent, with the child's pid.
    Parent(i32),
    /// In the child, where only the thread that forked goes on.
    Child,
}

/// Forks. The child must take no lock that another thread may have held in this moment, and should end by
/// [`exit_now`]. (jemalloc and the C library's allocator look after their own locks.)
pub fn fork() -> io::Result<Fork> {
    // SAFETY: fork itself touches no memory of ours; what the child may do is said above.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(pid)),
    }
}

/// Ends the process at once: no destructors, no flushing, no handlers.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(code) }
}

/// Sends a signal to a process.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: no memory is involved.
    if unsafe { libc::kill(pid, signal) } == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Writes the pid and a newline to the file.
pub fn write_pid_file(path: &Path) -> io::Result<()> {
    std::fs::write(path, format!("{}\n", std::process::id()))
}

/// Removes the pid file; one that is gone is no error.
pub fn remove_pid_file(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Tells systemd (`READY=1`, `STATUS=...`, `STOPPING=1`); whether there is one that listens.
pub fn notify_systemd(state: &str) -> io::Result<bool> {
    match std::env::var_os("NOTIFY_SOCKET") {
        Some(socket) => notify_socket(socket.as_encoded_bytes(), state).map(|()| true),
        None => Ok(false),
    }
}

fn notify_socket(socket: &[u8], state: &str) -> io::Result<()> {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    let address = match socket {
        // An abstract name is written with an `@` for its NUL.
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path))?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address)?;
    Ok(())
}

/// Bytes of memory in the machine; 0 if unknown.
pub fn total_system_memory() -> u64 {
    let ask = |name| {
        // SAFETY: sysconf only answers a number.
        u64::try_from(unsafe { libc::sysconf(name) }).unwrap_or(0)
    };
    ask(libc::_SC_PHYS_PAGES).saturating_mul(ask(libc::_SC_PAGESIZE))
}

/// Bytes of this process that are in memory; 0 if unknown.
pub fn resident_memory() -> u64 {
    // SAFETY: sysconf only answers a number.
    let page = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
    // Field 24; the fields that are left begin with the third.
    let pages =
        stat_fields().and_then(|fields| fields.get(21).and_then(|field| field.parse::<u64>().ok()));
    pages.unwrap_or(0).saturating_mul(page)
}

/// Bytes of this process in transparent huge pages; 0 if unknown.
pub fn anonymous_huge_pages() -> u64 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("AnonHugePages:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
        .map_or(0, |kib| kib.saturating_mul(1024))
}

/// The fields of /proc/self/stat from the third on: the second is a name that may hold anything, so they are counted
/// from its closing parenthesis.
fn stat_fields() -> Option<Vec<String>> {
    let stat = std::fs::read("/proc/self/stat").ok()?;
    let after_name = stat.iter().rposition(|&byte| byte == b')')? + 1;
    let rest = String::from_utf8_lossy(&stat[after_name..]).into_owned();
    Some(rest.split_ascii_whitespace().map(str::to_owned).collect())
}

/// CPU time used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// Microseconds in the program.
    pub user_us: u64,
    /// Microseconds in the kernel.
    pub system_us: u64,
}

/// The process or thread whose CPU time is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CpuOf {
    /// This process with all its threads.
    Process,
    /// Children that were waited for.
    Children,
    /// The calling thread.
    Thread,
}

/// CPU time used so far.
pub fn cpu_time(of: CpuOf) -> CpuTime {
    let who = match of {
        CpuOf::Process => libc::RUSAGE_SELF,
        CpuOf::Children => libc::RUSAGE_CHILDREN,
        CpuOf::Thread => libc::RUSAGE_THREAD,
    };
    // SAFETY: all-zero bytes are a valid rusage (integers only).
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is a live rusage.
    unsafe { libc::getrusage(who, &mut usage) };
    let us = |time: libc::timeval| time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64;
    CpuTime {
        user_us: us(usage.ru_utime),
        system_us: us(usage.ru_stime),
    }
}

/// The system as `os` of INFO shows it: name, release, machine.
pub fn system_name() -> String {
    // SAFETY: all-zero bytes are a valid utsname (arrays of characters).
    let mut names: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: `names` is a live utsname.
    unsafe { libc::uname(&mut names) };
    let text = |field: &[c_char]| -> String {
        let bytes: Vec<u8> = field
            .iter()
            .map(|&byte| byte as u8)
            .take_while(|&byte| byte != 0)
            .collect();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    format!(
        "{} {} {}",
        text(&names.sysname),
        text(&names.release),
        text(&names.machine)
    )
}

/// From here on the calling thread runs only where no other thread of this machine wants to (the lowest priority).
pub fn yield_to_others() {
    // SAFETY: a plain system call; on Linux it concerns the calling thread alone. An error leaves all as it was.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 19) };
}

/// Whether the system knows a locale of this name for collation; the empty name stands for that of the environment.
pub fn is_locale(name: &[u8]) -> bool {
    if name.is_empty() {
        return true;
    }
    let Ok(name) = std::ffi::CString::new(name) else {
        return false;
    };
    // SAFETY: the name is a C string; without a base the call makes a new object or answers null.
    let locale =
        unsafe { libc::newlocale(libc::LC_COLLATE_MASK, name.as_ptr(), std::ptr::null_mut()) };
    if locale.is_null() {
        return false;
    }
    // SAFETY: the call above made it, and nobody else knows of it.
    unsafe { libc::freelocale(locale) };
    true
}

/// This process's id.
pub fn pid() -> u32 {
    std::process::id()
}

/// Whether there is a process with this number; `true` also where that cannot be known.
pub fn is_running(pid: i32) -> bool {
    // What is not above zero would ask for whole groups of processes.
    if pid <= 0 {
        return true;
    }
    // SAFETY: a plain system call; signal 0 is not sent, only asked for.
    let asked = unsafe { libc::kill(pid, 0) };
    asked == 0 || io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
}

/// Where the running program lies; empty if unknown.
pub fn executable_path() -> PathBuf {
    std::env::current_exe().unwrap_or_default()
}

/// Bytes that nobody can guess, from the kernel.
pub fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0u8; N];
    let mut filled = 0;
    while filled < N {
        // SAFETY: the pointer and the length describe the part of `bytes` that is still to be filled.
        let got = unsafe { libc::getrandom(bytes[filled..].as_mut_ptr().cast(), N - filled, 0) };
        match usize::try_from(got) {
            Ok(got) => filled += got,
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() == io::ErrorKind::Interrupted {
                    continue;
                }
                // A kernel without the call still has the device.
                use std::io::Read;
                std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes[filled..])?;
                break;
            }
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_wish_for_descriptors_is_granted() {
        let granted = adjust_open_files(16, 0).unwrap();
        assert_eq!(granted.maxclients, 16);
    }

    #[test]
    fn verdicts_on_open_files() {
        let raised = open_files_verdict(10_000, 32, 1024, 10_032, "").unwrap();
        assert_eq!(raised.maxclients, 10_000);
        assert_eq!(
            raised.messages[0].1,
            "Increased maximum number of open files to 10032 (it was originally set to 1024)."
        );
        let lowered =
            open_files_verdict(10_000, 32, 1024, 4096, "Operation not permitted").unwrap();
        assert_eq!(lowered.maxclients, 4064);
        assert_eq!(lowered.messages.len(), 3);
        assert_eq!(
            lowered.messages[1].1,
            "Server can't set maximum open files to 10032 because of OS error: Operation not permitted."
        );
        assert!(
            open_files_verdict(10_000, 32, 20, 32, "")
                .unwrap_err()
                .starts_with("Your current 'ulimit -n' of 20")
        );
    }

    #[test]
    fn errors_without_rusts_number() {
        assert_eq!(
            os_error_text(&io::Error::from_raw_os_error(libc::EACCES)),
            "Permission denied"
        );
        assert_eq!(os_error_text(&io::Error::other("x")), "x");
    }

    #[test]
    fn what_can_be_found_out() {
        assert!(total_system_memory() > 1 << 26);
        assert!(resident_memory() > 1 << 19 && resident_memory() < total_system_memory());
        assert!(system_name().starts_with("Linux "), "{}", system_name());
        assert!(executable_path().is_file());
        let before = cpu_time(CpuOf::Thread);
        let mut sum = 0u64;
        for i in 0..20_000_000u64 {
            sum = std::hint::black_box(sum.wrapping_add(i));
        }
        let after = cpu_time(CpuOf::Thread);
        assert!(after.user_us + after.system_us > before.user_us + before.system_us);
        assert!(cpu_time(CpuOf::Process).user_us >= after.user_us / 2);
    }

    #[test]
    fn random_bytes_differ() {
        assert_ne!(random_bytes::<32>().unwrap(), random_bytes::<32>().unwrap());
    }

    #[test]
    fn the_pid_file_comes_and_goes() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        write_pid_file(&file).unwrap();
        assert_eq!(
            std::fs::read_to_string(&file).unwrap(),
            format!("{}\n", pid())
        );
        remove_pid_file(&file).unwrap();
        remove_pid_file(&file).unwrap();
        assert!(!file.exists());
    }

    #[test]
    fn systemd_is_told() {
        use std::os::unix::ffi::OsStrExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let systemd = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        notify_socket(path.as_os_str().as_bytes(), "READY=1\n").unwrap();
        let mut buffer = [0; 16];
        let len = systemd.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], b"READY=1\n");
        assert!(notify_socket(b"/nowhere/at/all", "READY=1").is_err());
    }

    /// Runs the test `name` of this file alone in a process of its own.
    fn run_child(name: &str, variable: &str, value: &std::ffi::OsStr) -> std::process::Output {
        std::process::Command::new(executable_path())
            .args([
                "--exact",
                &format!("system::process::tests::{name}"),
                "--nocapture",
                "--test-threads=1",
            ])
            .env(variable, value)
            .output()
            .unwrap()
    }

    #[test]
    fn a_daemon_goes_on_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("daemon");
        // Ends when the parent does, though the daemon still lives: it has let go of the output.
        let output = run_child("daemon_child", "GYRE_DAEMON_CHILD", file.as_os_str());
        assert!(output.status.success());
        let mut text = String::new();
        for _ in 0..500 {
            text = std::fs::read_to_string(&file).unwrap_or_default();
            if text.ends_with("end\n") {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert!(
            text.starts_with("leads its session true, output /dev/null"),
            "{text}"
        );
    }

    #[test]
    fn daemon_child() {
        let Some(file) = std::env::var_os("GYRE_DAEMON_CHILD") else {
            return;
        };
        daemonize().unwrap();
        // SAFETY: no memory is involved.
        let leads = unsafe { libc::getsid(0) == libc::getpid() };
        let output = std::fs::read_link("/proc/self/fd/1").unwrap();
        let text = format!(
            "leads its session {leads}, output {}\nend\n",
            output.display()
        );
        std::fs::write(file, text).unwrap();
        exit_now(0);
    }

    /// In a child, because it takes the arguments of the process away.
    #[test]
    fn the_title_shows() {
        let value = std::ffi::OsStr::new("a value that must survive");
        let output = run_child("title_child", "GYRE_TITLE_CHILD", value);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            text.contains("title is right"),
            "{text} {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    #[test]
    fn title_child() {
        if std::env::var_os("GYRE_TITLE_CHILD").is_none() {
            return;
        }
        // SAFETY: the only other thread is the test harness's, which waits.
        assert!(unsafe { claim_title_area() });
        let long = "gyre 127.0.0.1:6379 with a longer title than the arguments that the process was started with, \
                    so that it reaches into what the environment once held";
        for title in [long, "gyre *:6379"] {
            set_title(title.as_bytes());
            let shown = std::fs::read("/proc/self/cmdline").unwrap();
            let shown = String::from_utf8_lossy(&shown)
                .trim_end_matches('\0')
                .to_owned();
            assert_eq!(shown, title);
        }
        assert_eq!(
            std::env::var("GYRE_TITLE_CHILD").unwrap(),
            "a value that must survive"
        );
        println!("title is right");
    }
}

//! A forked child that works on the process's memory as it was at the fork, and the pipe that it reports over.
//!
//! In: a job. Out: a [`Child`] with the reading end of the pipe; the job gets the child's own [`ChildEnd`]. The child
//! does its work in the thread that forked (no other exists there), reports, and ends without running anything that
//! belongs to the parent. Mirrors `redisFork` and childinfo.c of Redis.
//!
//! In simulations nothing is forked: [`SimulatedChildren`] do the job in place, and tell its reports and its end later.
//!
//! - The child holds no descriptor of the parent's but the standard streams: a connection that the parent closes, or
//!   loses by its death, ends for its peer too, however long the child works. (Redis closes its listeners only.)
//! - It ends with its parent, and leaves nothing behind: the kernel tells it by a signal, and [`parent_is_gone`] says so
//!   to whoever is about to put a file in the place of another.
#![allow(unsafe_code)]

use super::disk::Disk;
use super::log::write_from_handler;
use super::signals::remove_temporary_files;
use super::simulated_children::{SimulatedChildren, SimulatedEnd};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Instant;

/// A child reports at most this often, ns.
const REPORT_NS: u128 = 100_000_000;

/// In a child the process that forked it; 0 in the server itself.
static PARENT: AtomicI32 = AtomicI32::new(0);

/// Who runs the children of this process.
#[derive(Clone, Debug, Default)]
pub enum Children {
    /// The system: a child is a fork of this process.
    #[default]
    Forks,
    /// A simulation.
    Simulated(SimulatedChildren),
}

impl Children {
    /// Runs a job as a child, which sees the process's memory as it is now, whatever the process does meanwhile. What the job
    /// returns is the child's status.
    pub fn start(&self, job: impl FnOnce(&mut ChildEnd) -> i32) -> io::Result<(Child, Pipe)> {
        match self {
            Children::Simulated(children) => {
                let pid = children.start(|end| job(&mut ChildEnd::new(End::Simulated(end))))?;
                let child = Runs::Simulated(children.clone(), pid);
                Ok((Child(child), Pipe::Simulated(pid)))
            }
            Children::Forks => match fork()? {
                Forked::Child(mut end) => {
                    let status = job(&mut end);
                    end.exit(status)
                }
                Forked::Parent(child, pipe) => Ok((child, Pipe::System(pipe))),
            },
        }
    }
    /// The number of this process.
    pub fn own_pid(&self) -> i32 {
        match self {
            Children::Forks => std::process::id() as i32,
            Children::Simulated(children) => children.own_pid(),
        }
    }
    /// Whether there is a process with this number.
    pub fn is_running(&self, pid: i32) -> bool {
        match self {
            Children::Forks => super::process::is_running(pid),
            Children::Simulated(children) => children.is_running(pid),
        }
    }
}

/// The reading end of what a child reports over.
#[derive(Debug)]
pub enum Pipe {
    /// One of the system.
    System(OwnedFd),
    /// That of the simulated child with this number.
    Simulated(i32),
}

/// A running child, seen from its parent.
#[derive(Debug)]
pub struct Child(Runs);

#[derive(Debug)]
enum Runs {
    Forked(libc::pid_t),
    Simulated(SimulatedChildren, i32),
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The child ended by itself, with this status.
    Status(i32),
    /// The child was ended by this signal.
    Signal(i32),
}

impl Exit {
    const SIGNAL: u64 = 1 << 32;

    /// The same as a number.
    pub fn code(self) -> u64 {
        match self {
            Exit::Status(status) => u64::from(status.cast_unsigned()),
            Exit::Signal(signal) => Exit::SIGNAL | u64::from(signal.cast_unsigned()),
        }
    }
    /// What such a number says.
    pub fn from_code(code: u64) -> Exit {
        let low = (code as u32).cast_signed();
        match code & Exit::SIGNAL {
            0 => Exit::Status(low),
            _ => Exit::Signal(low),
        }
    }
}

/// The child's own end.
#[derive(Debug)]
pub struct ChildEnd<'a> {
    end: End<'a>,
    /// When it was made, or reported last: the child's own time, for there is no loop in it.
    reported: Instant,
}

#[derive(Debug)]
enum End<'a> {
    Pipe(File),
    Simulated(&'a mut SimulatedEnd),
}

/// Which of the two this process is.
pub(super) enum Forked {
    /// The parent, with the pipe to read from.
    Parent(Child, OwnedFd),
    /// The child.
    Child(ChildEnd<'static>),
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: the array has room for the two descriptors.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptors are new and nobody else's.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// Forks.
pub(super) fn fork() -> io::Result<Forked> {
    let (read, write) = pipe()?;
    // SAFETY: getpid has no conditions.
    let parent = unsafe { libc::getpid() };
    // SAFETY: the child goes on in this thread alone. It uses the allocator (jemalloc's fork handlers leave it
    // usable), its memory, files and the pipe, takes no lock that another thread may have held, and ends by `_exit`.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            drop(read);
            PARENT.store(parent, Ordering::Relaxed);
            end_by_signals();
            // Before the look at the parent: a death in between is told by the one or the other.
            // SAFETY: plain system calls that touch no memory.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGUSR1) };
            let pipe = write.as_raw_fd();
            let end = ChildEnd::new(End::Pipe(write.into()));
            if parent_is_gone() {
                end.exit(1);
            }
            close_all_but(pipe);
            Ok(Forked::Child(end))
        }
        pid => Ok(Forked::Parent(Child(Runs::Forked(pid)), read)),
    }
}

/// Whether this process is a child and its parent has ended: then it must not touch what a new server may have by now.
pub fn parent_is_gone() -> bool {
    let parent = PARENT.load(Ordering::Relaxed);
    // SAFETY: getppid has no conditions.
    parent != 0 && parent != unsafe { libc::getppid() }
}

/// A child ends by SIGUSR1, having removed the file that it was writing.
fn end_by_signals() {
    // SAFETY: the handler does only what is async-signal-safe, and has the signature that `signal` wants.
    unsafe { libc::signal(libc::SIGUSR1, on_end as *const () as libc::sighandler_t) };
    // Ctrl-C in a terminal and the SIGTERM of a supervisor go to the child too; what becomes of it is up to the parent,
    // which may refuse to end.
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: ignoring a signal runs no code of ours.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

extern "C" fn on_end(signal: i32) {
    write_from_handler("Received SIGUSR1 in child, exiting now.");
    remove_temporary_files();
    // SAFETY: the signal is blocked while its handler runs, so that it ends the process when this returns.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

/// Closes every descriptor but the standard streams and this one. Whoever owns them in the parent must not be used, nor
/// dropped, in this process.
fn close_all_but(kept: RawFd) {
    let last = RawFd::MAX.unsigned_abs();
    let kept = kept.unsigned_abs();
    let parts = [(3, kept.saturating_sub(1)), (kept.max(2) + 1, last)];
    for (first, last) in parts {
        if first <= last && !close_range(first, last) {
            return close_listed(kept);
        }
    }
}

/// Whether the kernel knows the call (since 5.9).
fn close_range(first: u32, last: u32) -> bool {
    // SAFETY: a plain system call; in this process nobody uses these descriptors any more.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) == 0 }
}

/// Closes all descriptors but the kept one, by the list of what is open.
fn close_listed(kept: u32) {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else {
        return;
    };
    // Gathered first, because the list itself is read by one of them, which is closed by then.
    let open: Vec<u32> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    for descriptor in open.into_iter().filter(|open| *open > 2 && *open != kept) {
        // SAFETY: as above; closing one that is closed already is an error without effect.
        unsafe { libc::close(descriptor as RawFd) };
    }
}

impl Child {
    /// Process number.
    pub fn pid(&self) -> i32 {
        match &self.0 {
            Runs::Forked(pid) | Runs::Simulated(_, pid) => *pid,
        }
    }
    /// Asks it to end at once, also if somebody has stopped it: whoever waits for it then would wait for that somebody.
    pub fn kill(&self) {
        let pid = match &self.0 {
            Runs::Forked(pid) => *pid,
            Runs::Simulated(children, pid) => return children.kill(*pid),
        };
        for signal in [libc::SIGUSR1, libc::SIGCONT] {
            // SAFETY: a plain system call; the child is ours and not yet waited for, so the number is its.
            unsafe { libc::kill(pid, signal) };
        }
    }
    /// Has it stand still, until [`Child::go_on`] or [`Child::kill`]: when this returns it does nothing any more, or it has
    /// ended by itself. (A simulated child has done all that it does at once.)
    pub fn stop(&self) {
        let Runs::Forked(pid) = &self.0 else {
            return;
        };
        // SAFETY: a plain system call; the child is ours and not yet waited for, so the number is its.
        if unsafe { libc::kill(*pid, libc::SIGSTOP) } != 0 {
            return;
        }
        // The call of the system in which the signal meets it comes to its end first. An end of the child itself stays to be
        // waited for.
        let options = libc::WSTOPPED | libc::WEXITED | libc::WNOWAIT;
        // SAFETY: all-zero bytes are a valid siginfo_t (numbers and pointers).
        let mut told: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: `told` is a live siginfo_t.
        while unsafe { libc::waitid(libc::P_PID, pid.unsigned_abs(), &mut told, options) } != 0
            && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
        {}
    }
    /// Has it go on after [`Child::stop`].
    pub fn go_on(&self) {
        if let Runs::Forked(pid) = &self.0 {
            // SAFETY: a plain system call; the child is ours and not yet waited for, so the number is its.
            unsafe { libc::kill(*pid, libc::SIGCONT) };
        }
    }
    /// How it ended, or `None` while it runs.
    #[cfg(test)]
    pub fn try_wait(&self) -> Option<Exit> {
        self.wait_with(libc::WNOHANG)
    }
    /// Waits for its end.
    pub fn wait(&self) -> Exit {
        self.wait_with(0).unwrap_or(Exit::Status(-1))
    }
    fn wait_with(&self, options: i32) -> Option<Exit> {
        let pid = match &self.0 {
            Runs::Forked(pid) => *pid,
            Runs::Simulated(children, pid) => return Some(children.wait(*pid)),
        };
        let mut status = 0;
        loop {
            // SAFETY: `status` is a place for an int.
            match unsafe { libc::waitpid(pid, &mut status, options) } {
                0 => return None,
                -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
                // Someone else has waited for it: how it ended is lost.
                -1 => return Some(Exit::Status(-1)),
                _ if libc::WIFSIGNALED(status) => {
                    return Some(Exit::Signal(libc::WTERMSIG(status)));
                }
                _ => return Some(Exit::Status(libc::WEXITSTATUS(status))),
            }
        }
    }
}

impl<'a> ChildEnd<'a> {
    fn new(end: End<'a>) -> ChildEnd<'a> {
        ChildEnd {
            end,
            reported: Instant::now(),
        }
    }
    /// The child's number.
    pub fn pid(&self) -> i32 {
        match &self.end {
            End::Pipe(_) => std::process::id() as i32,
            End::Simulated(end) => end.pid(),
        }
    }
    /// Whether the child is a process of its own, which may change itself.
    pub fn is_process(&self) -> bool {
        matches!(self.end, End::Pipe(_))
    }
    /// The disk as the child has it: what it does there ends with it.
    pub fn disk(&self, disk: &Disk) -> Disk {
        match &self.end {
            End::Pipe(_) => disk.clone(),
            End::Simulated(end) => end.disk(disk),
        }
    }
    /// Bytes that the child had to copy so far.
    pub fn copied_bytes(&self) -> u64 {
        match &self.end {
            End::Pipe(_) => private_dirty_bytes(),
            End::Simulated(_) => 0,
        }
    }
    /// Whether it is time to report again.
    pub fn may_report(&mut self) -> bool {
        let is_due = !self.is_process() || self.reported.elapsed().as_nanos() >= REPORT_NS;
        if is_due {
            self.reported = Instant::now();
        }
        is_due
    }
    /// Tells the parent something. One that is gone is no reason to stop.
    pub fn report(&mut self, bytes: &[u8]) {
        match &mut self.end {
            End::Pipe(pipe) => {
                let _ = pipe.write_all(bytes);
            }
            End::Simulated(end) => end.report(bytes),
        }
    }
    /// Ends the child without running the parent's exit handlers and destructors.
    pub(super) fn exit(self, status: i32) -> ! {
        drop(self.end);
        // SAFETY: ends the process.
        unsafe { libc::_exit(status) }
    }
}

/// Bytes of this process that it shares with nobody and has written: in a forked child, what copy-on-write has cost.
fn private_dirty_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Private_Dirty:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
        .map_or(0, |kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_child_reports_and_ends_with_its_status() {
        match fork().expect("a child") {
            Forked::Child(mut end) => {
                end.report(b"hello");
                end.exit(7);
            }
            Forked::Parent(child, pipe) => {
                let mut text = String::new();
                File::from(pipe)
                    .read_to_string(&mut text)
                    .expect("its words");
                assert_eq!(text, "hello");
                assert_eq!(child.wait(), Exit::Status(7));
            }
        }
    }

    /// Descriptors above the standard streams that are open here and lead to pipes or sockets.
    fn streams() -> usize {
        let entries = std::fs::read_dir("/proc/self/fd").expect("the list");
        let names = entries.flatten().filter_map(|entry| {
            let number: i32 = entry.file_name().to_str()?.parse().ok()?;
            let leads = std::fs::read_link(entry.path()).ok()?;
            let leads = leads.to_string_lossy().into_owned();
            let is_stream = leads.starts_with("socket:") || leads.starts_with("pipe:");
            (number > 2 && is_stream).then_some(leads)
        });
        names.count()
    }

    #[test]
    fn a_child_holds_no_descriptor_but_its_own() {
        let (mut ours, theirs) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a listener");
        match fork().expect("a child") {
            Forked::Child(mut end) => {
                let by_range = streams();
                // Again, by the list: something must be there to be closed.
                // SAFETY: a plain system call.
                let copy = unsafe { libc::dup(1) };
                let End::Pipe(pipe) = &end.end else { return };
                close_listed(pipe.as_raw_fd().unsigned_abs());
                // SAFETY: a plain system call.
                let is_open = unsafe { libc::fcntl(copy, libc::F_GETFD) } != -1;
                end.report(&[by_range as u8, u8::from(is_open)]);
                // Holds on, to show that the parent's peer does not wait for it.
                std::thread::sleep(std::time::Duration::from_secs(60));
                end.exit(0)
            }
            Forked::Parent(child, pipe) => {
                let mut told = [9; 2];
                File::from(pipe).read_exact(&mut told).expect("its words");
                assert_eq!(told, [1, 0], "its own pipe only");
                drop((theirs, listener));
                ours.set_read_timeout(Some(std::time::Duration::from_secs(10)))
                    .expect("a timeout");
                assert_eq!(ours.read(&mut [0; 1]).expect("the end"), 0);
                child.kill();
                assert_eq!(child.wait(), Exit::Signal(libc::SIGUSR1));
            }
        }
    }

    #[test]
    fn a_child_sees_that_its_parent_is_gone() {
        assert!(!parent_is_gone());
        match fork().expect("a child") {
            Forked::Child(mut end) => {
                let before = parent_is_gone();
                // As after the parent's death: somebody else has taken the child in.
                PARENT.store(-2, Ordering::Relaxed);
                end.report(&[u8::from(before), u8::from(parent_is_gone())]);
                end.exit(0)
            }
            Forked::Parent(child, pipe) => {
                let mut told = [9; 2];
                File::from(pipe).read_exact(&mut told).expect("its words");
                assert_eq!(told, [0, 1]);
                child.wait();
            }
        }
    }

    /// A supervisor that ends all of a group ended the child of a server that refused to end before the child was done.
    #[test]
    fn a_child_leaves_signals_to_the_whole_group_to_its_parent() {
        match fork().expect("a child") {
            Forked::Child(end) => {
                for signal in [libc::SIGTERM, libc::SIGINT] {
                    // SAFETY: a plain system call.
                    unsafe { libc::raise(signal) };
                }
                end.exit(7)
            }
            Forked::Parent(child, _pipe) => assert_eq!(child.wait(), Exit::Status(7)),
        }
    }

    #[test]
    fn a_child_stands_still_when_it_has_been_stopped_and_goes_on() {
        match fork().expect("a child") {
            Forked::Child(mut end) => loop {
                end.report(b".");
                std::thread::sleep(std::time::Duration::from_micros(100));
            },
            Forked::Parent(child, pipe) => {
                let state = || {
                    let path = format!("/proc/{}/stat", child.pid());
                    let stat = std::fs::read_to_string(path).expect("it lives");
                    let (_, rest) = stat.rsplit_once(") ").expect("its state");
                    rest.chars().next()
                };
                let mut pipe = File::from(pipe);
                for _ in 0..100 {
                    // It runs: what it reported before is read, and more comes.
                    pipe.read_exact(&mut [0; 3]).expect("its words");
                    child.stop();
                    assert_eq!(state(), Some('T'));
                    child.go_on();
                }
                child.stop();
                child.kill();
                assert_eq!(child.wait(), Exit::Signal(libc::SIGUSR1));
            }
        }
        match fork().expect("a child") {
            Forked::Child(end) => end.exit(7),
            Forked::Parent(child, pipe) => {
                // One that has ended by itself is not waited for in vain, and is still to be waited for.
                File::from(pipe)
                    .read_to_end(&mut Vec::new())
                    .expect("its end");
                child.stop();
                // It has closed its pipe, but may have been stopped before it ended.
                child.go_on();
                assert_eq!(child.wait(), Exit::Status(7));
            }
        }
    }

    #[test]
    fn a_child_can_be_killed() {
        match fork().expect("a child") {
            Forked::Child(_) => loop {
                std::thread::sleep(std::time::Duration::from_secs(1));
            },
            Forked::Parent(child, _pipe) => {
                assert_eq!(child.try_wait(), None);
                // SAFETY: a plain system call; the number is the child's, which is not waited for yet.
                unsafe { libc::kill(child.pid(), libc::SIGSTOP) };
                child.kill();
                assert_eq!(child.wait(), Exit::Signal(libc::SIGUSR1));
            }
        }
    }
}

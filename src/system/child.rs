//! A forked child that works on the process's memory as it was at the fork, and the pipe that it reports over.
//!
//! In: nothing. Out: in the parent a [`Child`] with the reading end of the pipe, in the child a [`ChildEnd`]. The child
//! does its work in the thread that forked (no other exists there), reports, and ends without running anything that
//! belongs to the parent. Mirrors `redisFork` and childinfo.c of Redis.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// A running child, seen from its parent.
#[derive(Debug)]
pub struct Child {
    pid: libc::pid_t,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With this status.
    Status(i32),
    /// By this signal.
    Signal(i32),
}

/// The child's own end.
#[derive(Debug)]
pub struct ChildEnd {
    pipe: File,
}

/// Which of the two this process is.
pub enum Forked {
    /// The parent, with the pipe to read from.
    Parent(Child, OwnedFd),
    /// The child.
    Child(ChildEnd),
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
pub fn fork() -> io::Result<Forked> {
    let (read, write) = pipe()?;
    // SAFETY: the child goes on in this thread alone. It uses the allocator (jemalloc's fork handlers leave it
    // usable), its memory, files and the pipe, takes no lock that another thread may have held, and ends by `_exit`.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            drop(read);
            // SAFETY: signal dispositions of the child only: it dies by them as a plain program does.
            unsafe {
                for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGUSR1] {
                    libc::signal(signal, libc::SIG_DFL);
                }
                libc::signal(libc::SIGINT, libc::SIG_IGN);
            }
            Ok(Forked::Child(ChildEnd { pipe: write.into() }))
        }
        pid => Ok(Forked::Parent(Child { pid }, read)),
    }
}

impl Child {
    /// Process number.
    pub fn pid(&self) -> i32 {
        self.pid
    }
    /// Asks it to end at once.
    pub fn kill(&self) {
        // SAFETY: a plain system call; the child is ours and not yet waited for, so the number is its.
        unsafe { libc::kill(self.pid, libc::SIGUSR1) };
    }
    /// How it ended, or `None` while it runs.
    pub fn try_wait(&self) -> Option<Exit> {
        self.wait_with(libc::WNOHANG)
    }
    /// Waits for its end.
    pub fn wait(&self) -> Option<Exit> {
        self.wait_with(0)
    }
    fn wait_with(&self, options: i32) -> Option<Exit> {
        let mut status = 0;
        loop {
            // SAFETY: `status` is a place for an int.
            match unsafe { libc::waitpid(self.pid, &mut status, options) } {
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

impl ChildEnd {
    /// Tells the parent something. One that is gone is no reason to stop.
    pub fn report(&mut self, bytes: &[u8]) {
        let _ = self.pipe.write_all(bytes);
    }
    /// Closes descriptors that the child has inherited and does not use. Whoever owns them in the parent must not be
    /// used, nor dropped, in the child.
    pub fn close_descriptors(&self, descriptors: &[RawFd]) {
        for descriptor in descriptors {
            // SAFETY: a plain system call; in this process nobody uses these descriptors any more.
            unsafe { libc::close(*descriptor) };
        }
    }
    /// Ends the child without running the parent's exit handlers and destructors.
    pub fn exit(self, status: i32) -> ! {
        drop(self.pipe);
        // SAFETY: ends the process.
        unsafe { libc::_exit(status) }
    }
}

/// Bytes of this process that it shares with nobody and has written: in a forked child, what copy-on-write has cost.
pub fn private_dirty_bytes() -> u64 {
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
                assert_eq!(child.wait(), Some(Exit::Status(7)));
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
                child.kill();
                assert_eq!(child.wait(), Some(Exit::Signal(libc::SIGUSR1)));
            }
        }
    }
}

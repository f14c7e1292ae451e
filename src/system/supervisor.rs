//! Who started this process and watches over it (`supervised`), and what the machine should be told to do better.
//!
//! In: the directive, the environment, files of the kernel. Out: messages to systemd, lines in the log. Mirrors
//! `redisIsSupervised` of server.c and syscheck.c.
#![allow(unsafe_code)]

use super::process::notify_systemd;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

/// Who may watch over the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Supervisor {
    /// Nobody.
    Nobody,
    /// Whoever the environment shows.
    Any,
    /// systemd, which is told by messages.
    Systemd,
    /// upstart, which is told by a stop signal.
    Upstart,
}

/// systemd watches over this process.
static BY_SYSTEMD: AtomicBool = AtomicBool::new(false);

/// Tells the supervisor that the server has begun; whether there is one. Then the server must not become a daemon.
pub fn begin(wanted: Supervisor) -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some();
    let found = match wanted {
        Supervisor::Any if is_set("UPSTART_JOB") => {
            log::debug!("Upstart supervision detected.");
            Supervisor::Upstart
        }
        Supervisor::Any if is_set("NOTIFY_SOCKET") => {
            log::debug!("Systemd supervision detected.");
            Supervisor::Systemd
        }
        wanted => wanted,
    };
    match found {
        Supervisor::Nobody | Supervisor::Any => false,
        Supervisor::Upstart if !is_set("UPSTART_JOB") => {
            log::warn!("upstart supervision requested, but UPSTART_JOB not found!");
            false
        }
        Supervisor::Upstart => {
            log::info!("supervised by upstart, will stop to signal readiness.");
            // SAFETY: no memory is involved; upstart lets the process go on.
            unsafe { libc::raise(libc::SIGSTOP) };
            true
        }
        Supervisor::Systemd => {
            let told = send("STATUS=Redis is loading...\n");
            if told {
                log::info!(
                    "Supervised by systemd. Please make sure you set appropriate values for TimeoutStartSec and \
                     TimeoutStopSec in your service unit."
                );
            }
            BY_SYSTEMD.store(told, Ordering::Relaxed);
            told
        }
    }
}

/// Tells systemd, if it watches over this process: `READY=1`, `STATUS=...`, `STOPPING=1`, a line each.
pub fn notify(state: &str) {
    if BY_SYSTEMD.load(Ordering::Relaxed) {
        send(state);
    }
}

/// Whether systemd was told; if not, the log says why.
fn send(state: &str) -> bool {
    match notify_systemd(state) {
        Ok(true) => return true,
        Ok(false) => log::warn!("systemd supervision error: NOTIFY_SOCKET not found!"),
        Err(error) => log::warn!(
            "systemd supervision error: sd_notify: {}",
            super::process::os_error_text(&error)
        ),
    }
    false
}

/// Logs what about memory the machine should do otherwise, and keeps huge pages away from this process if `disable_thp`.
pub fn check_memory_settings(disable_thp: bool) {
    if overcommit_is_off(&kernel_file("/proc/sys/vm/overcommit_memory")) {
        log::warn!(
            "WARNING Memory overcommit must be enabled! Without it, a background save or replication may fail under low \
             memory condition. Being disabled, it can also cause failures without low memory condition, see \
             https://github.com/jemalloc/jemalloc/issues/1328. To fix this issue add 'vm.overcommit_memory = 1' to \
             /etc/sysctl.conf and then reboot or run the command 'sysctl vm.overcommit_memory=1' for this to take effect."
        );
    }
    let thp = kernel_file("/sys/kernel/mm/transparent_hugepage/enabled");
    if thp.contains("[always]") && !(disable_thp && disable_huge_pages().is_ok()) {
        log::warn!(
            "WARNING You have Transparent Huge Pages (THP) support enabled in your kernel. This will create latency and \
             memory usage issues with Redis. To fix this issue run the command 'echo madvise > \
             /sys/kernel/mm/transparent_hugepage/enabled' as root, and add it to your /etc/rc.local in order to retain the \
             setting after a reboot. Redis must be restarted after THP is disabled (set to 'madvise' or 'never')."
        );
    }
}

/// Logs that the kernel keeps fewer connections waiting than `tcp-backlog` asks for.
pub fn check_backlog(backlog: u32) {
    let text = kernel_file("/proc/sys/net/core/somaxconn");
    if let Some(most) = text
        .trim()
        .parse::<u32>()
        .ok()
        .filter(|most| (1..backlog).contains(most))
    {
        log::warn!(
            "WARNING: The TCP backlog setting of {backlog} cannot be enforced because /proc/sys/net/core/somaxconn is set \
             to the lower value of {most}."
        );
    }
}

/// What a file of the kernel says; nothing where there is none.
fn kernel_file(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn overcommit_is_off(text: &str) -> bool {
    text.trim().parse::<i32>().is_ok_and(|mode| mode != 1)
}

fn disable_huge_pages() -> io::Result<()> {
    // SAFETY: no memory is involved.
    match unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mode_1_promises_memory_to_forks() {
        for (text, is_off) in [("0\n", true), ("1\n", false), ("2\n", true), ("", false)] {
            assert_eq!(overcommit_is_off(text), is_off, "{text:?}");
        }
    }
}

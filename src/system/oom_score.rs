//! How readily the kernel ends this process when memory runs out (`oom-score-adj`).
//!
//! In: the wish for a class of process. Out: a number in /proc. What stood there before is kept, so that it is put back
//! when the wish is withdrawn. Mirrors `setOOMScoreAdj` of server.c.

use std::io;
use std::sync::atomic::{AtomicI32, Ordering};

/// The directive `oom-score-adj`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OomScore {
    /// The number stays what it is.
    #[default]
    No,
    /// The wish is added to what was there before.
    Relative,
    /// The wish is what will be there.
    Absolute,
}

const FILE: &str = "/proc/self/oom_score_adj";
/// No number was changed.
const UNCHANGED: i32 = i32::MIN;

/// The number before it was changed, which a child inherits.
static BEFORE: AtomicI32 = AtomicI32::new(UNCHANGED);

/// Sets the number for this process. An error was logged.
pub fn adjust(how: OomScore, wish: i32) -> io::Result<()> {
    let before = BEFORE.load(Ordering::Relaxed);
    let number = match how {
        OomScore::No if before == UNCHANGED => return Ok(()),
        OomScore::No => {
            BEFORE.store(UNCHANGED, Ordering::Relaxed);
            before
        }
        OomScore::Relative | OomScore::Absolute => {
            let before = match before {
                UNCHANGED => read()?,
                before => before,
            };
            BEFORE.store(before, Ordering::Relaxed);
            match how {
                OomScore::Absolute => wish,
                _ => wish.saturating_add(before),
            }
        }
    };
    let text = format!("{}\n", number.clamp(-1000, 1000));
    std::fs::write(FILE, text).inspect_err(|error| {
        log::warn!(
            "Unable to write oom_score_adj: {}",
            super::process::os_error_text(error)
        );
    })
}

fn read() -> io::Result<i32> {
    let number = std::fs::read_to_string(FILE)
        .and_then(|text| text.trim().parse().map_err(io::Error::other));
    number.inspect_err(|error| {
        log::warn!(
            "Unable to read oom_score_adj: {}",
            super::process::os_error_text(error)
        );
    })
}

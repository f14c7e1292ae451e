//! How often what goes wrong in a simulation.

use crate::system::rng::Rng;

/// How often things go wrong, each in 1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// A change is not told in this poll but in a later one.
    pub hold_back: u32,
    /// A source is told although nothing has changed.
    pub spurious: u32,
    /// Poll is interrupted by a signal.
    pub interrupt: u32,
    /// Bytes in flight arrive in part, or not in this turn.
    pub cut: u32,
    /// A read says that there is more, whether there is or not, and no edge will tell of it.
    pub short_more: u32,
    /// A write takes only a part although there is room.
    pub short_write: u32,
    /// A write would block although there is room (which is told as an edge).
    pub write_block: u32,
    /// A write to another server resets the connection to it.
    pub link_reset: u32,
    /// How long bytes are on their way from one server to another at most, ms.
    pub longest_latency_ms: u64,
    /// Accepting fails: no descriptor, a connection that was aborted, a signal.
    pub accept_error: u32,
    /// The wall clock jumps, either way.
    pub clock_jump: u32,
    /// How far the wall clock jumps at most, ms.
    pub longest_jump_ms: u64,
}

impl Faults {
    /// Nothing goes wrong.
    pub const NONE: Faults = Faults {
        hold_back: 0,
        spurious: 0,
        interrupt: 0,
        cut: 0,
        short_more: 0,
        short_write: 0,
        write_block: 0,
        link_reset: 0,
        longest_latency_ms: 0,
        accept_error: 0,
        clock_jump: 0,
        longest_jump_ms: 0,
    };

    /// Some mixture; the wall clock is left alone.
    pub fn any(rng: &mut Rng) -> Faults {
        let mut often = |most: u64| {
            // Each fault is absent from a quarter of the runs, so that one does not always hide another.
            if rng.below(4) == 0 {
                0
            } else {
                rng.below(most) as u32
            }
        };
        Faults {
            hold_back: often(500),
            spurious: often(100),
            interrupt: often(50),
            cut: often(900),
            short_more: often(500),
            short_write: often(700),
            write_block: often(300),
            link_reset: often(20),
            longest_latency_ms: u64::from(often(200)),
            accept_error: often(500),
            clock_jump: 0,
            longest_jump_ms: 0,
        }
    }
}

//! What one turn of the loop was: its phases, their times, what was served in it.
//!
//! The loop itself tells five phases apart ([`Phase::Sleep`], [`Phase::Accept`], [`Phase::Read`], [`Phase::Timers`],
//! [`Phase::Rest`]) at the price of four looks at the clock. The others lie inside what the [`Service`](super::Service)
//! does, so only it can say where they end: it calls [`EventLoop::mark`](super::EventLoop::mark) there, which looks at
//! the clock only while the recorder runs. Time that nobody claims falls to the phase whose end is told next.

/// Phases of a turn, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Phase {
    /// Asleep in poll, and the call itself.
    Sleep,
    /// New connections.
    Accept,
    /// Reading from sockets. Without the recorder parsing and executing are in it.
    Read,
    /// Finding whole requests in what was read, and looking ahead.
    Parse,
    /// Running commands.
    Execute,
    /// Timers and wake-ups.
    Timers,
    /// Before sleeping: loading a slice of the data.
    Load,
    /// Before sleeping: removing what has expired.
    Expire,
    /// Before sleeping: evicting over `maxmemory`.
    Evict,
    /// Before sleeping: serving those who waited for a key or until a time.
    Unblock,
    /// Before sleeping: the append-only file.
    Journal,
    /// Before sleeping: writing replies to sockets.
    Write,
    /// Before sleeping: closing connections.
    Close,
    /// Before sleeping: a slice of a save that the loop does itself.
    Save,
    /// Before sleeping: what is none of these. Without the recorder all of them.
    Rest,
}

/// Number of phases.
pub const PHASES: usize = 15;

impl Phase {
    /// All of them, in their order.
    pub const ALL: [Phase; PHASES] = [
        Phase::Sleep,
        Phase::Accept,
        Phase::Read,
        Phase::Parse,
        Phase::Execute,
        Phase::Timers,
        Phase::Load,
        Phase::Expire,
        Phase::Evict,
        Phase::Unblock,
        Phase::Journal,
        Phase::Write,
        Phase::Close,
        Phase::Save,
        Phase::Rest,
    ];

    /// Its name, as commands and the page spell it.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Sleep => "sleep",
            Phase::Accept => "accept",
            Phase::Read => "read",
            Phase::Parse => "parse",
            Phase::Execute => "execute",
            Phase::Timers => "timers",
            Phase::Load => "load",
            Phase::Expire => "expire",
            Phase::Evict => "evict",
            Phase::Unblock => "unblock",
            Phase::Journal => "journal",
            Phase::Write => "write",
            Phase::Close => "close",
            Phase::Save => "save",
            Phase::Rest => "rest",
        }
    }

    /// The phase of a name, in any case of letters.
    pub fn by_name(name: &[u8]) -> Option<Phase> {
        let mut all = Phase::ALL.into_iter();
        all.find(|phase| name.eq_ignore_ascii_case(phase.name().as_bytes()))
    }
}

/// One piece of work that a turn did for somebody. The loop knows neither: both numbers are the service's own (a
/// client's id, a command's).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// The number of whom it was done for; 0: nobody.
    pub who: u64,
    /// What was done, as the service numbers it.
    pub what: u32,
    /// How long, ns.
    pub ns: u64,
}

/// What one turn did. Everything but the sums of bytes, connections and phases is zero while the recorder is off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TurnReport {
    /// Number of the turn, from 1.
    pub turn: u64,
    /// When poll returned, monotonic ns.
    pub woke_ns: u64,
    /// When poll returned, on the wall clock, Unix µs, if the service told it.
    pub woke_unix_us: i64,
    /// Time in each [`Phase`], ns.
    pub phase_ns: [u64; PHASES],
    /// Events that poll told.
    pub events: u32,
    /// Events that told of something to read (on listeners too).
    pub readable: u32,
    /// Events that told of a stream that takes bytes again.
    pub writable: u32,
    /// Connections accepted.
    pub accepted: u32,
    /// Timers that were due.
    pub timers: u32,
    /// Whether a helper thread or a signal rang.
    pub woken: bool,
    /// Sources that were carried over from the turn before.
    pub carried: u32,
    /// Pieces of work (commands) that the service did.
    pub works: u32,
    /// Looks at the clock that are due to the recorder alone.
    pub extra_looks: u32,
    /// Bytes read.
    pub bytes_in: u64,
    /// Bytes written.
    pub bytes_out: u64,
    /// The longest piece of work, and the longest of those done for somebody else.
    pub longest: [Work; 2],
}

impl TurnReport {
    /// Time awake, ns: all phases but sleep.
    pub fn awake_ns(&self) -> u64 {
        self.phase_ns[1..].iter().sum()
    }

    /// Time in a phase, ns.
    pub fn time_in(&self, phase: Phase) -> u64 {
        self.phase_ns[phase as usize]
    }

    /// The phases that took time, the longest first.
    #[cfg(test)]
    pub fn phases_by_time(&self) -> Vec<(Phase, u64)> {
        let all = Phase::ALL.into_iter();
        let mut taken: Vec<(Phase, u64)> = all
            .map(|phase| (phase, self.time_in(phase)))
            .filter(|(_, ns)| *ns > 0)
            .collect();
        taken.sort_by_key(|(_, ns)| std::cmp::Reverse(*ns));
        taken
    }

    /// The longest piece of work that was done for somebody else than `who`.
    pub fn longest_but_for(&self, who: u64) -> Option<Work> {
        let mut longest = self.longest.into_iter();
        longest.find(|work| work.who != 0 && work.who != who)
    }

    /// Takes note of pieces of work. The two that are kept are for two, so that whoever waited finds the longest work
    /// that was not its own.
    #[inline]
    pub(super) fn note(&mut self, works: u32, work: Work) {
        self.works += works;
        if work.ns > self.longest[1].ns {
            self.note_long(work);
        }
    }

    fn note_long(&mut self, work: Work) {
        let [first, _] = self.longest;
        if work.who == first.who {
            self.longest[0].ns = first.ns.max(work.ns);
            self.longest[0].what = if work.ns > first.ns {
                work.what
            } else {
                first.what
            };
        } else if work.ns > first.ns {
            self.longest = [work, first];
        } else {
            self.longest[1] = work;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_agree() {
        for (index, phase) in Phase::ALL.into_iter().enumerate() {
            assert_eq!(phase as usize, index);
            let upper = phase.name().to_ascii_uppercase();
            assert_eq!(Phase::by_name(upper.as_bytes()), Some(phase));
        }
        assert_eq!(Phase::by_name(b"dream"), None);
    }

    #[test]
    fn the_longest_work_of_another_is_known_to_everybody() {
        let mut report = TurnReport::default();
        assert_eq!(report.longest_but_for(1), None);
        let works = [(1, 5), (2, 3), (1, 9), (3, 4), (3, 2), (2, 7), (1, 1)];
        for (what, (who, ns)) in (0..).zip(works) {
            report.note(1, Work { who, what, ns });
        }
        assert_eq!(report.works, 7);
        let (what, ns) = (2, 9);
        assert_eq!(report.longest_but_for(2), Some(Work { who: 1, what, ns }));
        let (what, ns) = (5, 7);
        assert_eq!(report.longest_but_for(1), Some(Work { who: 2, what, ns }));
        assert_eq!(report.longest_but_for(9).map(|work| work.ns), Some(9));
    }

    #[test]
    fn phases_are_told_by_their_time() {
        let mut report = TurnReport::default();
        report.phase_ns[Phase::Sleep as usize] = 10;
        report.phase_ns[Phase::Write as usize] = 30;
        report.phase_ns[Phase::Execute as usize] = 20;
        let names: Vec<&str> = report
            .phases_by_time()
            .iter()
            .map(|(phase, _)| phase.name())
            .collect();
        assert_eq!(names, ["write", "execute", "sleep"]);
        assert_eq!(report.awake_ns(), 50);
    }
}

//! What a user may use up: time of the loop, commands, memory.

/// Limits on what all clients of a user together use. None is set for most users.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Milliseconds of the loop's time in each second (`cpu=`).
    pub cpu_ms_per_s: Option<u32>,
    /// Commands in each second (`rate=`).
    pub commands_per_s: Option<u64>,
    /// Bytes of the clients' buffers (`memory=`).
    pub memory_bytes: Option<u64>,
    /// True if a command beyond the limits is answered with an error, false if it waits (`throttle-error`).
    pub throttle_error: bool,
}

//! Recordings: everything that entered through the seam, as a file, and the seam that plays it.
//!
//! In: a live seam, wrapped by a [`RecordingSeam`], which passes every call on and writes its answer down. Out: a
//! [`PlayingSeam`], which gives the same answers in the same order without a socket or a clock. What stands above the
//! seam is a function of those answers, so the same turns happen again: the same commands in the same order at the
//! same times, the same replies. A playing seam knows when it is asked for something else than was asked for then
//! (*divergence*), and when other bytes are written than were written then.
//!
//! | file | what |
//! | --- | --- |
//! | `format` | the bytes of a recording |
//! | `recorder` | the seam that records |
//! | `player` | the seam that plays |

mod format;
mod player;
mod recorder;

pub use format::{Header, RecordedFile};
pub use player::{Divergence, Playback, Played, PlayingSeam};
pub use recorder::{Mask, Patch, RecordingSeam};

#[cfg(test)]
mod tests;

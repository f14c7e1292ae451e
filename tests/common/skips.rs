//! Tests that cannot run here, and how they are passed over: never in silence.
//!
//! An oracle is a program that says what is right (a Redis server, a parser of other people's). `make test` installs
//! them, so a test without its oracle fails and names it, unless `GYRE_SKIP_ORACLES` is set. What is passed over is said
//! on the terminal (past the test harness, which keeps what tests print) and counted by `count_skips.sh`.

use std::fs::OpenOptions;
use std::io::Write;

/// Fails the test for want of an oracle, or passes over it where `GYRE_SKIP_ORACLES` asks for that.
pub fn without_oracle(oracle: &str) {
    let is_allowed = std::env::var("GYRE_SKIP_ORACLES").is_ok_and(|it| !it.is_empty() && it != "0");
    assert!(
        is_allowed,
        "{oracle} is needed and not to be had: `make test` installs it, and GYRE_SKIP_ORACLES=1 passes over such tests"
    );
    pass_over("by GYRE_SKIP_ORACLES", oracle);
}

/// Says that a test is passed over: `cause` is what the count at the end names ("by GYRE_SKIP_ORACLES").
pub fn pass_over(cause: &str, wanted: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    // One write each, for tests run side by side.
    let _ = std::io::stderr().write_all(format!("skipped {cause}: {test}: {wanted}\n").as_bytes());
    if let Some(list) = std::env::var_os("GYRE_SKIPPED") {
        OpenOptions::new()
            .append(true)
            .open(list)
            .and_then(|mut list| list.write_all(format!("{cause}\n").as_bytes()))
            .expect("the list of GYRE_SKIPPED can be written");
    }
}

//! A test without its oracle fails by name, or is passed over on request and counted.

mod common;

use common::skips;
use std::process::{Command, Output};

#[test]
#[ignore = "run by the tests below, with and without GYRE_SKIP_ORACLES"]
fn wants_an_oracle() {
    skips::without_oracle("an oracle of Delphi");
}

/// Runs the test above under the script that counts.
fn run(skips: Option<&str>) -> Output {
    let mut command = Command::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/common/count_skips.sh"
    ));
    command
        .arg(std::env::current_exe().expect("this program"))
        .args(["--ignored", "--exact", "wants_an_oracle"])
        .env_remove("GYRE_SKIP_ORACLES")
        .env_remove("GYRE_SKIPPED");
    if let Some(skips) = skips {
        command.env("GYRE_SKIP_ORACLES", skips);
    }
    command.output().expect("a shell")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_test_without_its_oracle_fails_and_names_it() {
    for skips in [None, Some(""), Some("0")] {
        let output = run(skips);
        let printed = text(&output.stdout);
        assert!(!output.status.success(), "{printed}");
        assert!(
            printed.contains("an oracle of Delphi is needed"),
            "{printed}"
        );
        assert!(printed.ends_with("skipped: 0\n"), "{printed}");
    }
}

#[test]
fn a_deliberate_skip_is_said_and_counted() {
    let output = run(Some("1"));
    let (printed, said) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{printed}");
    assert!(
        said.contains("skipped by GYRE_SKIP_ORACLES: wants_an_oracle: an oracle of Delphi"),
        "{said}"
    );
    assert!(
        printed.ends_with("skipped: 1 by GYRE_SKIP_ORACLES\n"),
        "{printed}"
    );
}

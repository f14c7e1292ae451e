//! CLUSTER outside of a cluster, and in one of one node.

use crate::commands::testing::Harness;
use crate::resp::reader::Value;

#[test]
fn every_command_of_a_cluster_is_disabled() {
    let mut harness = Harness::new();
    let error = |text: &str| Value::Error(text.as_bytes().to_vec());
    let disabled = error("ERR This instance has cluster support disabled");
    for spec in super::SUBCOMMANDS {
        let mut words = vec!["CLUSTER", spec.name];
        words.resize(spec.arity.unsigned_abs() as usize, "1");
        assert_eq!(harness.run(&words), disabled, "{words:?}");
    }
    for line in ["READONLY", "READWRITE", "ASKING"] {
        assert_eq!(harness.line(line), disabled, "{line}");
    }
    assert_eq!(
        harness.line("CLUSTER"),
        error("ERR wrong number of arguments for 'cluster' command")
    );
    assert_eq!(
        harness.line("CLUSTER KEYSLOT"),
        error("ERR wrong number of arguments for 'cluster|keyslot' command")
    );
    assert_eq!(
        harness.line("CLUSTER NOSUCH"),
        error("ERR unknown subcommand 'NOSUCH'. Try CLUSTER HELP.")
    );
}

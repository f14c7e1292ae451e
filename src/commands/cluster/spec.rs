//! The rows of the group.

use super::{changes, reports, session};
use crate::engine::{Argument, CommandSpec, Group, Handler, acl, flags};

/// What the subcommands share.
const ROW: CommandSpec = CommandSpec {
    since: "3.0.0",
    group: Group::Cluster,
    ..CommandSpec::DEFAULT
};

/// The group's rows.
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "asking",
        summary: "Lets the next command of this connection through to a hash slot that is being moved.",
        flags: flags::FAST,
        acl: acl::CONNECTION,
        handler: Handler::Server(session::asking),
        ..ROW
    },
    CommandSpec::container(
        "cluster",
        "3.0.0",
        Group::Cluster,
        "Holds the commands on a cluster.",
        SUBCOMMANDS,
    ),
    CommandSpec {
        name: "readonly",
        summary: "Lets this connection read from a replica of a cluster.",
        flags: flags::FAST | flags::LOADING | flags::STALE,
        acl: acl::CONNECTION,
        handler: Handler::Server(session::read_only),
        ..ROW
    },
    CommandSpec {
        name: "readwrite",
        summary: "Ends READONLY.",
        flags: flags::FAST | flags::LOADING | flags::STALE,
        acl: acl::CONNECTION,
        handler: Handler::Server(session::read_write),
        ..ROW
    },
];

/// Those of CLUSTER.
pub(super) const SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "addslots",
        summary: "Assigns hash slots to this node.",
        complexity: "O(N)",
        arity: -3,
        flags: flags::NO_ASYNC_LOADING | flags::ADMIN | flags::STALE,
        arguments: &[Argument::integer("slot").multiple()],
        handler: Handler::Server(changes::addslots),
        ..ROW
    },
    CommandSpec {
        name: "addslotsrange",
        summary: "Assigns ranges of hash slots to this node.",
        since: "7.0.0",
        complexity: "O(N)",
        arity: -4,
        flags: flags::NO_ASYNC_LOADING | flags::ADMIN | flags::STALE,
        arguments: &[Argument::block(
            "range",
            &[
                Argument::integer("start-slot"),
                Argument::integer("end-slot"),
            ],
        )
        .multiple()],
        handler: Handler::Server(changes::addslotsrange),
        ..ROW
    },
    CommandSpec {
        name: "bumpepoch",
        summary: "Advances the cluster's configuration epoch.",
        arity: 2,
        flags: flags::NO_ASYNC_LOADING | flags::ADMIN | flags::STALE,
        tips: &["nondeterministic_output"],
        handler: Handler::Server(changes::bumpepoch),
        ..ROW
    },
    CommandSpec {
        name: "count-failure-reports",
        summary: "Answers how many nodes report a node as failing.",
        complexity: "O(N)",
        arity: 3,
        flags: flags::ADMIN | flags::STALE,
        tips: &["nondeterministic_output"],
        arguments: &[Argument::string("node-id")],
        handler: Handler::Server(reports::count_failure_reports),
        ..ROW
    },
    CommandSpec {
        name: "countkeysinslot",
        summary: "Answers the number of keys in a hash slot.",
        arity: 3,
        flags: flags::STALE,
        arguments: &[Argument::integer("slot")],
        handler: Handler::Server(reports::countkeysinslot),
        ..ROW
    },
    CommandSpec {
        name: "delslots",
        summary: "Makes hash slots unassigned in the eyes of this node.",
        complexity: "O(N)",
        arity: -3,
        flags: flags::NO_ASYNC_LOADING | flags::ADMIN | flags::STALE,
        arguments: &[Argument::integer("slot").multiple()],
        handler: Handler::Server(changes::delslots),
        ..ROW
    },
    CommandSpec {
        name: "delslotsrange",
        summary: "Makes ranges of hash slots unassigned in the eyes of this node.",
        since: "7.0.0",
        complexity: "O(N)",
        arity: -4,
        flags: flags::NO_ASYNC_LOADING | flags::ADMIN | flags::STALE,
        arguments: &[Argument::block(
            "range",
            &[
                Argument::integer("start-slot"),
                Argument::integer("end-slot"),
            ],
        )
        .multiple()],
        handler: Handler::Server(changes::delslotsrange),
        ..ROW
    },
    CommandSpec {
        name: "failover",
        summary: "Has a replica take the place of its primary.",
        arity: -2,
        flags: flags::NO_ASYNC_LOADING | flags::ADMIN | flags::STALE,
        arguments: &[Argument::one_of(
            "options",
            &[
                Argument::token("force", "FORCE"),
                Argument::token("takeover", "TAKEOVER"),
            ],
        )
        .optional()],
        handler: Handler::Server(changes::failover),
        ..ROW
    },
    CommandSpec {
        name: "flushslots",
        summary: "Takes all hash slots from this node.",
        arity: 2,
        flags: flags::NO_ASYNC_LOADING | flags::ADMIN | flags::STALE,
        handler: Handler::Server(changes::flushslots),
        ..ROW
    },
    CommandSpec {
        name: "forget",
        summary: "Removes a node from the table of nodes.",
        arity: 3,
        flags: flags::NO_ASYNC_LOADING | flags::ADMIN | flags::STALE,
        arguments: &[Argument::string("node-id")],
        handler: Handler::Server(changes::forget),
        ..ROW
    },
    CommandSpec {
        name: "getkeysinslot",
        summary: "Answers keys of a hash slot.",
        complexity: "O(N)",
        arity: 4,
        flags: flags::STALE,
        tips: &["nondeterministic_output"],
        arguments: &[Argument::integer("slot"), Argument::integer("count")],
        handler: Handler::Server(reports::getkeysinslot),
        ..ROW
    },
    CommandSpec {
        name: "help",
        summary: "Returns a text about the subcommands.",
        since: "5.0.0",
        arity: 2,
        flags: flags::LOADING | flags::STALE,
        handler: Handler::Server(reports::help),
        ..ROW
    },
    CommandSpec {
        name: "info",
        summary: "Answers figures of this node and the cluster.",
        arity: 2,
        flags: flags::STALE,
        tips: &["nondeterministic_output"],
        handler: Handler::Server(reports::info),
        ..ROW
    },
    CommandSpec {
        name: "keyslot",
        summary: "Answers the hash slot of a key.",
        complexity: "O(N)",
        arity: 3,
        flags: flags::STALE,
        arguments: &[Argument::string("key")],
        handler: Handler::Server(reports::keyslot),
        ..ROW
    },
    CommandSpec {
        name: "links",
        summary: "Answers the connections to the other nodes.",
        since: "7.0.0",
        complexity: "O(N)",
        arity: 2,
        flags: flags::STALE,
        tips: &["nondeterministic_output"],
        handler: Handler::Server(reports::links),
        ..ROW
    },
    CommandSpec {
        name: "meet",
        summary: "Has two nodes know each other.",
        arity: -4,
        flags: flags::NO_ASYNC_LOADING | flags::ADMIN | flags::STALE,
        history: &[("4.0.0", "Argument `cluster-bus-port`.")],
        arguments: &[
            Argument::string("ip"),
            Argument::integer("port"),
            Argument::integer("cluster-bus-port")
                .optional()
                .since("4.0.0"),
        ],
        handler: Handler::Server(changes::meet),
        ..ROW
    },
    CommandSpec {
        name: "myid",
        summary: "Answers this node's id.",
        arity: 2,
        flags: flags::STALE,
        handler: Handler::Server(reports::myid),
        ..ROW
    },
    CommandSpec {
        name: "myshardid",
        summary: "Answers the id of this node's shard.",
        since: "7.2.0",
        arity: 2,
        flags: flags::STALE,
        tips: &["nondeterministic_output"],
        handler: Handler::Server(reports::myshardid),
        ..ROW
    },
    CommandSpec {
        name: "nodes",
        summary: "Answers the nodes and their hash slots as a text.",
        complexity: "O(N)",
        arity: 2,
        flags: flags::STALE,
        tips: &["nondeterministic_output"],
        handler: Handler::Server(reports::nodes),
        ..ROW
    },
    CommandSpec {
        name: "replicas",
        summary: "Answers the replicas of a primary.",
        since: "5.0.0",
        complexity: "O(N)",
        arity: 3,
        flags: flags::ADMIN | flags::STALE,
        tips: &["nondeterministic_output"],
        arguments: &[Argument::string("node-id")],
        handler: Handler::Server(reports::replicas),
        ..ROW
    },
    CommandSpec {
        name: "replicate",
        summary: "Makes this node the replica of a primary.",
        arity: 3,
        flags: flags::NO_ASYNC_LOADING | flags::ADMIN | flags::STALE,
        arguments: &[Argument::string("node-id")],
        handler: Handler::Server(changes::replicate),
        ..ROW
    },
    CommandSpec {
        name: "reset",
        summary: "Brings this node back to the state of a new one.",
        complexity: "O(N)",
        arity: -2,
        flags: flags::ADMIN | flags::STALE | flags::NOSCRIPT,
        arguments: &[Argument::one_of(
            "reset-type",
            &[
                Argument::token("hard", "HARD"),
                Argument::token("soft", "SOFT"),
            ],
        )
        .optional()],
        handler: Handler::Server(changes::reset),
        ..ROW
    },
    CommandSpec {
        name: "saveconfig",
        summary: "Writes the configuration of the cluster to the disk.",
        arity: 2,
        flags: flags::NO_ASYNC_LOADING | flags::ADMIN | flags::STALE,
        handler: Handler::Server(changes::saveconfig),
        ..ROW
    },
    CommandSpec {
        name: "set-config-epoch",
        summary: "Sets the configuration epoch of a new node.",
        arity: 3,
        flags: flags::NO_ASYNC_LOADING | flags::ADMIN | flags::STALE,
        arguments: &[Argument::integer("config-epoch")],
        handler: Handler::Server(changes::set_config_epoch),
        ..ROW
    },
    CommandSpec {
        name: "setslot",
        summary: "Assigns a hash slot, or begins or ends its move.",
        arity: -4,
        flags: flags::NO_ASYNC_LOADING | flags::ADMIN | flags::STALE,
        arguments: &[
            Argument::integer("slot"),
            Argument::one_of(
                "subcommand",
                &[
                    Argument::string("importing")
                        .shown_as("node-id")
                        .after("IMPORTING"),
                    Argument::string("migrating")
                        .shown_as("node-id")
                        .after("MIGRATING"),
                    Argument::string("node").shown_as("node-id").after("NODE"),
                    Argument::token("stable", "STABLE"),
                ],
            ),
        ],
        handler: Handler::Server(changes::setslot),
        ..ROW
    },
    CommandSpec {
        name: "shards",
        summary: "Answers the hash slots and the nodes that hold them.",
        since: "7.0.0",
        complexity: "O(N)",
        arity: 2,
        flags: flags::LOADING | flags::STALE,
        tips: &["nondeterministic_output"],
        handler: Handler::Server(reports::shards),
        ..ROW
    },
    CommandSpec {
        name: "slaves",
        summary: "Answers the replicas of a primary.",
        complexity: "O(N)",
        arity: 3,
        flags: flags::ADMIN | flags::STALE,
        tips: &["nondeterministic_output"],
        deprecated_since: "5.0.0",
        replaced_by: "`CLUSTER REPLICAS`",
        arguments: &[Argument::string("node-id")],
        handler: Handler::Server(reports::replicas),
        ..ROW
    },
    CommandSpec {
        name: "slots",
        summary: "Answers which nodes hold which hash slots.",
        complexity: "O(N)",
        arity: 2,
        flags: flags::LOADING | flags::STALE,
        tips: &["nondeterministic_output"],
        history: &[
            ("4.0.0", "Ids of the nodes."),
            ("7.0.0", "Further details of the network."),
        ],
        deprecated_since: "7.0.0",
        replaced_by: "`CLUSTER SHARDS`",
        handler: Handler::Server(reports::slots),
        ..ROW
    },
];

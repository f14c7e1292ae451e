//! The rows of the Pub/Sub commands.

use crate::engine::{
    Argument, ArgumentType, Channels, CommandSpec, Group, Handler, KeySpec, ServerHandler, flags,
    key_flags,
};

const ROW: CommandSpec = CommandSpec {
    since: "2.0.0",
    group: Group::PubSub,
    ..CommandSpec::DEFAULT
};
const LISTEN: u32 = flags::PUBSUB | flags::NOSCRIPT | flags::LOADING | flags::STALE;
const PUBLISH: u32 =
    flags::PUBSUB | flags::LOADING | flags::STALE | flags::FAST | flags::MAY_REPLICATE;
const LOOK: u32 = flags::PUBSUB | flags::LOADING | flags::STALE;

const CHANNEL: Argument = Argument::string("channel");
const SHARD_CHANNEL: Argument = Argument::string("shardchannel");
const PATTERN: Argument = Argument::new("pattern", ArgumentType::Pattern);
/// Channels of the shard are routed as keys are.
const SHARD_KEYS: &[KeySpec] = &[KeySpec::range(key_flags::NOT_KEY, 1, -1, 1)];

/// The rows of this group.
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "subscribe",
        summary: "Listens to channels.",
        complexity: "O(N) where N is the number of channels to subscribe to.",
        arity: -2,
        flags: LISTEN,
        channels: Channels::All,
        arguments: &[CHANNEL.multiple()],
        handler: Handler::Server(super::subscribe_channels as ServerHandler),
        ..ROW
    },
    CommandSpec {
        name: "unsubscribe",
        summary: "Listens no more to some channels, or to any.",
        complexity: "O(N) where N is the number of channels to unsubscribe from.",
        arity: -1,
        flags: LISTEN,
        channels: Channels::Left,
        arguments: &[CHANNEL.optional().multiple()],
        handler: Handler::Server(super::unsubscribe_channels as ServerHandler),
        ..ROW
    },
    CommandSpec {
        name: "psubscribe",
        summary: "Listens to all channels whose names match a pattern.",
        complexity: "O(N) where N is the number of patterns to subscribe to.",
        arity: -2,
        flags: LISTEN,
        channels: Channels::Patterns,
        arguments: &[PATTERN.multiple()],
        handler: Handler::Server(super::subscribe_patterns as ServerHandler),
        ..ROW
    },
    CommandSpec {
        name: "punsubscribe",
        summary: "Listens no more to the channels of some patterns, or of any.",
        complexity: "O(N) where N is the number of patterns to unsubscribe from.",
        arity: -1,
        flags: LISTEN,
        channels: Channels::Left,
        arguments: &[PATTERN.optional().multiple()],
        handler: Handler::Server(super::unsubscribe_patterns as ServerHandler),
        ..ROW
    },
    CommandSpec {
        name: "ssubscribe",
        summary: "Listens to channels of the shard.",
        since: "7.0.0",
        complexity: "O(N) where N is the number of channels to subscribe to.",
        arity: -2,
        flags: LISTEN,
        channels: Channels::All,
        keys: SHARD_KEYS,
        arguments: &[SHARD_CHANNEL.multiple()],
        handler: Handler::Server(super::subscribe_shard as ServerHandler),
        ..ROW
    },
    CommandSpec {
        name: "sunsubscribe",
        summary: "Listens no more to some channels of the shard, or to any.",
        since: "7.0.0",
        complexity: "O(N) where N is the number of channels to unsubscribe from.",
        arity: -1,
        flags: LISTEN,
        channels: Channels::Left,
        keys: SHARD_KEYS,
        arguments: &[SHARD_CHANNEL.optional().multiple()],
        handler: Handler::Server(super::unsubscribe_shard as ServerHandler),
        ..ROW
    },
    CommandSpec {
        name: "publish",
        summary: "Sends a message to all who listen to a channel.",
        complexity: "O(N+M) where N is the number of clients that get it and M the number of patterns that begin as \
                     the channel does.",
        arity: 3,
        flags: PUBLISH,
        channels: Channels::First,
        arguments: &[CHANNEL, Argument::string("message")],
        handler: Handler::Server(super::publish_command as ServerHandler),
        ..ROW
    },
    CommandSpec {
        name: "spublish",
        summary: "Sends a message to all who listen to a channel of the shard.",
        since: "7.0.0",
        complexity: "O(N) where N is the number of clients that get it.",
        arity: 3,
        flags: PUBLISH,
        channels: Channels::First,
        keys: &[KeySpec::first(key_flags::NOT_KEY)],
        arguments: &[SHARD_CHANNEL, Argument::string("message")],
        handler: Handler::Server(super::publish_shard as ServerHandler),
        ..ROW
    },
    CommandSpec::container(
        "pubsub",
        "2.8.0",
        Group::PubSub,
        "Holds the commands that tell who listens to what.",
        SUBCOMMANDS,
    ),
];

const SUB: CommandSpec = CommandSpec {
    since: "2.8.0",
    arity: -2,
    flags: LOOK,
    ..ROW
};

pub(super) const SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "channels",
        summary: "Returns the channels that somebody listens to.",
        complexity: "O(N log N) where N is the number of channels.",
        arguments: &[PATTERN.optional()],
        handler: Handler::Server(super::list_channels as ServerHandler),
        ..SUB
    },
    CommandSpec {
        name: "help",
        summary: "Returns a text about the subcommands.",
        since: "6.2.0",
        arity: 2,
        flags: flags::LOADING | flags::STALE,
        handler: Handler::Database(super::print_help),
        ..SUB
    },
    CommandSpec {
        name: "numpat",
        summary: "Returns the number of distinct patterns that somebody listens to.",
        arity: 2,
        handler: Handler::Server(super::count_patterns as ServerHandler),
        ..SUB
    },
    CommandSpec {
        name: "numsub",
        summary: "Returns how many listen to each of some channels, patterns aside.",
        complexity: "O(N) where N is the number of channels asked for.",
        arguments: &[CHANNEL.optional().multiple()],
        handler: Handler::Server(super::count_channels as ServerHandler),
        ..SUB
    },
    CommandSpec {
        name: "shardchannels",
        summary: "Returns the channels of the shard that somebody listens to.",
        since: "7.0.0",
        complexity: "O(N log N) where N is the number of channels of the shard.",
        arguments: &[PATTERN.optional()],
        handler: Handler::Server(super::list_shard as ServerHandler),
        ..SUB
    },
    CommandSpec {
        name: "shardnumsub",
        summary: "Returns how many listen to each of some channels of the shard.",
        since: "7.0.0",
        complexity: "O(N) where N is the number of channels asked for.",
        arguments: &[SHARD_CHANNEL.optional().multiple()],
        handler: Handler::Server(super::count_shard as ServerHandler),
        ..SUB
    },
];

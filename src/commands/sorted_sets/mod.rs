//! Sorted sets: ZADD, ZRANGE and everything of Redis's sorted-set group.
//!
//! In: keys, scores and members from the arguments. Out: members written straight from the keyspace into the reply;
//! each change told once through [`Db::signal_modified`](crate::keyspace::Db::signal_modified). All arguments are
//! read before anything is looked up, and types are checked before anything is changed.
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`add`] | ZADD, ZINCRBY, ZREM |
//! | [`read`] | scores, ranks, counts, ZSCAN, ZRANDMEMBER |
//! | [`range`] | ZRANGE in all its spellings, ZRANGESTORE, ZREMRANGEBY… |
//! | [`pop`] | ZPOPMIN, ZMPOP and their like, blocking ones included |
//! | [`algebra`] | unions, intersections, differences |
//! | [`bounds`] | what `(1.5`, `[abc`, `-inf` and `+` mean |
//! | [`spec`] | the rows of the command table |
//!
//! Mirrors `t_zset.c` of Redis.

mod add;
mod algebra;
mod bounds;
mod pop;
mod range;
mod read;
mod spec;
#[cfg(test)]
mod tests;

pub use spec::COMMANDS;

use crate::config::Settings;
use crate::engine::Context;
use crate::keyspace::{EventClass, NewValue};
use crate::resp::Reply;
use crate::structures::Collection;
use crate::structures::listpack::Item;
use crate::structures::sorted_set::{Limits, SortedSet};

/// When a sorted set ceases to be a listpack.
#[inline]
pub(super) fn limits(settings: &Settings) -> Limits {
    Limits {
        max_entries: settings.zset_max_listpack_entries,
        max_value: settings.zset_max_listpack_value,
    }
}

/// Answers a member.
#[inline]
pub(super) fn reply_member(reply: &mut Reply, member: Item<'_>) {
    match member {
        Item::Bytes(bytes) => reply.bulk(bytes),
        Item::Int(number) => reply.bulk_i64(number),
    }
}

/// The header for `count` members, each with its score: pairs in RESP3, one flat array in RESP2.
fn begin_pairs(reply: &mut Reply, count: usize) {
    if reply.resp3() {
        reply.array(count);
    } else {
        reply.array(count.saturating_mul(2));
    }
}

/// One of them.
#[inline]
fn reply_pair(reply: &mut Reply, member: Item<'_>, score: f64) {
    if reply.resp3() {
        reply.array(2);
    }
    reply_member(reply, member);
    reply.double(score);
}

/// Puts a sorted set in the place of whatever is at the key; an empty one removes the key. Answers its size.
pub(super) fn store(context: &mut Context<'_>, key: &[u8], set: SortedSet, event: &'static str) {
    let len = set.len();
    context.reply.count(len);
    let value = (len > 0).then(|| NewValue::SortedSet(Box::new(set)));
    context.store(key, value, EventClass::SortedSet, event);
}

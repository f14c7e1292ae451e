//! Client-side caching: CLIENT TRACKING and its kin, and who is told that a key is invalid.
//!
//! In: the modes of a client, the keys that commands of tracking clients read, keyspace events. Out: invalidations,
//! pushed to RESP3 clients or sent as messages of a channel to a RESP2 subscriber that another client names. Who may
//! hold which key is kept in [`crate::messaging::tracking`]. Mirrors the half of `tracking.c` of Redis that knows
//! clients, and what of `clientCommand` belongs to it.
//!
//! Where gyre does otherwise than Redis 7.0, it tells more: a client with NOLOOP hears of its keys that expire, are
//! evicted or are given up while its own command runs; SWAPDB makes all keys invalid; a script makes its caller a
//! reader of the keys that it has read (as in 7.2), and of all that it declares (as in 7.0).
//!
//! | file | what |
//! | --- | --- |
//! | `spec` | the rows |

mod spec;
#[cfg(test)]
mod tests;

pub use spec::{CACHING, GET_REDIR, TRACKING, TRACKING_INFO};

use crate::clients::{CachingMode, ClientKey, Remembered};
use crate::engine::tracking::{disable, shown_redirect};
use crate::engine::{CommandError, ServerContext, State, parse, shown};
use crate::keyspace::interest;
use crate::resp::Args;
use crate::structures::dict::HashSeed;
use std::collections::{BTreeSet, HashSet};

// ---- the commands ------------------------------------------------------------------------------------------------

/// What CLIENT TRACKING was given.
#[derive(Default)]
struct Options<'a> {
    redirect: u64,
    broadcast: bool,
    opt_in: bool,
    opt_out: bool,
    no_loop: bool,
    prefixes: Vec<&'a [u8]>,
}

impl<'a> Options<'a> {
    fn parse(context: &ServerContext<'_>, args: Args<'a>) -> Result<Options<'a>, CommandError> {
        let mut options = Options::default();
        let mut rest = args;
        while let Some(option) = rest.get(0) {
            rest = rest.skip(1);
            match (option, rest.get(0)) {
                (option, Some(id)) if parse::is_word(option, "REDIRECT") => {
                    rest = rest.skip(1);
                    if options.redirect != 0 {
                        return Err(CommandError::fixed(
                            "ERR A client can only redirect to a single other client",
                        ));
                    }
                    let id = u64::try_from(parse::integer(id)?).ok();
                    options.redirect = id
                        .filter(|id| context.state.clients.by_id(*id).is_some())
                        .ok_or(CommandError::fixed(
                        "ERR The client ID you want redirect to does not exist",
                    ))?;
                }
                (option, Some(prefix)) if parse::is_word(option, "PREFIX") => {
                    rest = rest.skip(1);
                    options.prefixes.push(prefix);
                }
                (option, _) if parse::is_word(option, "BCAST") => options.broadcast = true,
                (option, _) if parse::is_word(option, "OPTIN") => options.opt_in = true,
                (option, _) if parse::is_word(option, "OPTOUT") => options.opt_out = true,
                (option, _) if parse::is_word(option, "NOLOOP") => options.no_loop = true,
                _ => return Err(CommandError::Syntax),
            }
        }
        Ok(options)
    }

    /// Whether the options go together, and with the modes that the client has.
    fn check(&self, now: Option<&CachingMode>) -> Result<(), CommandError> {
        let refuse = |text| Err(CommandError::fixed(text));
        if !self.broadcast && !self.prefixes.is_empty() {
            return refuse("ERR PREFIX option requires BCAST mode to be enabled");
        }
        if now.is_some_and(|now| now.broadcast != self.broadcast) {
            return refuse(
                "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then \
                 re-enabling it with a different mode.",
            );
        }
        if self.broadcast && (self.opt_in || self.opt_out) {
            return refuse("ERR OPTIN and OPTOUT are not compatible with BCAST");
        }
        if self.opt_in && self.opt_out {
            return refuse("ERR You can't specify both OPTIN mode and OPTOUT mode");
        }
        let remembered = now.map_or(Remembered::Every, |now| now.remembered);
        if (self.opt_in && remembered == Remembered::OptOut)
            || (self.opt_out && remembered == Remembered::OptIn)
        {
            return refuse(
                "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then \
                 re-enabling it with a different mode.",
            );
        }
        self.check_prefixes(now.map(|now| &now.prefixes))
    }

    /// No key may have two of a client's prefixes.
    fn check_prefixes(&self, held: Option<&BTreeSet<Vec<u8>>>) -> Result<(), CommandError> {
        // What begins with a prefix stands behind it in order, before anything else does: one pass finds all that overlap.
        let mut all: Vec<&[u8]> = self.prefixes.to_vec();
        all.extend(held.into_iter().flatten().map(Vec::as_slice));
        all.sort_unstable();
        let mut overlapping = HashSet::new();
        let mut first: Option<&[u8]> = None;
        for prefix in all {
            match first {
                Some(begin) if prefix.starts_with(begin) => {
                    overlapping.extend([begin, prefix]);
                }
                _ => first = Some(prefix),
            }
        }
        let overlap = |a: &[u8], b: &[u8]| a.starts_with(b) || b.starts_with(a);
        let refuse = |prefix: &[u8], what: &str, other: &[u8]| {
            Err(CommandError::of_parts(&[
                b"ERR Prefix '",
                shown(prefix),
                b"' overlaps with ",
                what.as_bytes(),
                b" prefix '",
                shown(other),
                b"'. Prefixes for a single client must not overlap.",
            ]))
        };
        for (at, prefix) in self.prefixes.iter().enumerate() {
            if !overlapping.contains(prefix) {
                continue;
            }
            let mut held = held.into_iter().flatten();
            if let Some(other) = held.find(|other| overlap(prefix, other)) {
                return refuse(prefix, "an existing", other);
            }
            let mut others = self.prefixes.iter().skip(at + 1);
            if let Some(other) = others.find(|other| overlap(prefix, other)) {
                return refuse(prefix, "another provided", other);
            }
        }
        Ok(())
    }

    fn remembered(&self) -> Remembered {
        match (self.opt_in, self.opt_out) {
            (true, _) => Remembered::OptIn,
            (_, true) => Remembered::OptOut,
            _ => Remembered::Every,
        }
    }
}

/// `CLIENT TRACKING ON|OFF [REDIRECT id] [PREFIX prefix]... [BCAST] [OPTIN] [OPTOUT] [NOLOOP]`.
fn tracking(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let options = Options::parse(context, args.skip(3))?;
    match () {
        () if parse::is_word(args.at(2), "ON") => {
            options.check(context.caller().caching.as_deref())?;
            enable(context.state, context.client, &options);
        }
        () if parse::is_word(args.at(2), "OFF") => disable(context.state, context.client),
        () => return Err(CommandError::Syntax),
    }
    context.reply().ok();
    Ok(())
}

/// `CLIENT CACHING YES|NO`: about the next command or transaction.
fn caching(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let Some(mode) = &mut context.caller().caching else {
        return Err(CommandError::fixed(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode \
             enabled",
        ));
    };
    match () {
        () if parse::is_word(args.at(2), "YES") => {
            if mode.remembered != Remembered::OptIn {
                return Err(CommandError::fixed(
                    "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.",
                ));
            }
        }
        () if parse::is_word(args.at(2), "NO") => {
            if mode.remembered != Remembered::OptOut {
                return Err(CommandError::fixed(
                    "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.",
                ));
            }
        }
        () => return Err(CommandError::Syntax),
    }
    mode.caching = true;
    context.reply().ok();
    Ok(())
}

fn get_redir(context: &mut ServerContext<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    let id = shown_redirect(context.caller().caching.as_deref());
    context.reply().integer(id);
    Ok(())
}

fn tracking_info(context: &mut ServerContext<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    let client = context.caller();
    let mode = client.caching.as_deref();
    let is = |what: fn(&CachingMode) -> bool| mode.is_some_and(what);
    let opt_in = is(|mode| mode.remembered == Remembered::OptIn);
    let opt_out = is(|mode| mode.remembered == Remembered::OptOut);
    let caching = is(|mode| mode.caching);
    let words = [
        ("off", mode.is_none()),
        ("on", mode.is_some()),
        ("bcast", is(|mode| mode.broadcast)),
        ("optin", opt_in),
        ("caching-yes", opt_in && caching),
        ("optout", opt_out),
        ("caching-no", opt_out && caching),
        ("noloop", is(|mode| mode.no_loop)),
        ("broken_redirect", is(|mode| mode.broken_redirect)),
    ];
    let words = words.iter().filter(|(_, holds)| *holds);
    let reply = &mut client.reply;
    reply.map(3);
    reply.bulk(b"flags");
    reply.set(words.clone().count());
    for (word, _) in words {
        reply.bulk(word.as_bytes());
    }
    reply.bulk(b"redirect");
    reply.integer(shown_redirect(mode));
    reply.bulk(b"prefixes");
    reply.array(mode.map_or(0, |mode| mode.prefixes.len()));
    for prefix in mode.into_iter().flat_map(|mode| &mode.prefixes) {
        reply.bulk(prefix);
    }
    Ok(())
}

/// Has a client's keys tracked, or changes how.
fn enable(state: &mut State, key: ClientKey, options: &Options<'_>) {
    let Some(client) = state.clients.get_mut(key) else {
        return;
    };
    let id = client.session.id;
    let begins = client.caching.is_none();
    let mode = client.caching.get_or_insert_default();
    mode.broadcast = options.broadcast;
    mode.remembered = options.remembered();
    mode.no_loop = options.no_loop;
    mode.redirect = options.redirect;
    mode.broken_redirect = false;
    let tracking = &mut state.messaging.tracking;
    if begins {
        tracking.begin(HashSeed(std::array::from_fn(|_| state.rng.next_u64())));
    }
    if options.broadcast {
        let every = [&b""[..]];
        let prefixes = match options.prefixes.as_slice() {
            [] => &every[..],
            prefixes => prefixes,
        };
        for prefix in prefixes {
            tracking.add_prefix(prefix, id);
            mode.prefixes.insert(prefix.to_vec());
        }
    }
    state.keyspace.set_interest(interest::TRACKING, true);
    state.messaging.note_listeners();
}

// ---- around commands ---------------------------------------------------------------------------------------------

// ---- invalidation ------------------------------------------------------------------------------------------------

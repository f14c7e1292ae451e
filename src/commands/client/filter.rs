//! The filters of CLIENT LIST and CLIENT KILL: which clients are meant.
//!
//! All filters that are given must match. LIST of Redis knows TYPE or ID alone; that both commands take all filters,
//! and several ids, is Valkey's.

use crate::acl::Users;
use crate::clients::{Client, ClientKind};
use crate::engine::{CommandError, parse};
use crate::keyspace::Clock;
use crate::resp::Args;
use crate::system::numbers;

/// Which clients are meant.
#[derive(Debug, Default)]
pub(super) struct Filter<'a> {
    /// Leave out who asks.
    pub(super) skip_me: bool,
    /// `CLIENT LIST ID ...` and nothing else.
    pub(super) only_ids: Option<Vec<u64>>,
    ids: Option<Vec<u64>>,
    kind: Option<ClientKind>,
    user: Option<&'a [u8]>,
    address: Option<&'a [u8]>,
    local_address: Option<&'a [u8]>,
    name: Option<&'a [u8]>,
    lib_name: Option<&'a [u8]>,
    lib_ver: Option<&'a [u8]>,
    db: Option<usize>,
    min_age_s: Option<u64>,
    min_idle_s: Option<u64>,
}

impl<'a> Filter<'a> {
    /// `CLIENT KILL ip:port`: may hit the caller.
    pub(super) fn of_address(address: &'a [u8]) -> Filter<'a> {
        Filter {
            address: Some(address),
            ..Filter::default()
        }
    }

    /// The options of CLIENT KILL, which leaves out the caller if not told otherwise.
    pub(super) fn of_kill(options: Args<'a>, users: &Users) -> Result<Filter<'a>, CommandError> {
        let mut filter = Filter {
            skip_me: true,
            ..Filter::default()
        };
        const BAD_ID: &str = "ERR client-id should be greater than 0";
        filter.parse(options, users, BAD_ID, |number| number > 0)?;
        Ok(filter)
    }

    /// The options of CLIENT LIST.
    pub(super) fn of_list(options: Args<'a>, users: &Users) -> Result<Filter<'a>, CommandError> {
        let mut filter = Filter::default();
        if options.len() > 1 && parse::is_word(options.at(0), "ID") {
            let numbers = options.skip(1);
            if let Some(ids) = numbers.iter().map(numbers::parse_i64).collect() {
                let ids: Vec<i64> = ids;
                // Numbers below zero are valid and nobody's.
                let ids = ids.into_iter().filter_map(|id| u64::try_from(id).ok());
                filter.only_ids = Some(ids.collect());
                return Ok(filter);
            }
        }
        filter.parse(options, users, "ERR Invalid client ID", |_| true)?;
        Ok(filter)
    }

    fn parse(
        &mut self,
        options: Args<'a>,
        users: &Users,
        bad_id: &'static str,
        is_id: fn(i64) -> bool,
    ) -> Result<(), CommandError> {
        let mut rest = options;
        while let Some(option) = rest.get(0) {
            let Some(value) = rest.get(1) else {
                return Err(CommandError::Syntax);
            };
            rest = rest.skip(2);
            if parse::is_word(option, "ID") {
                let id = |arg| numbers::parse_i64(arg).filter(|id| is_id(*id));
                let Some(first) = id(value) else {
                    return Err(CommandError::fixed(bad_id));
                };
                let ids = self.ids.get_or_insert_default();
                ids.extend(u64::try_from(first).ok());
                while let Some(next) = rest.get(0).and_then(id) {
                    ids.extend(u64::try_from(next).ok());
                    rest = rest.skip(1);
                }
                if bad_id.contains("Invalid") && rest.get(0).is_some_and(|arg| !is_filter(arg)) {
                    return Err(CommandError::fixed(bad_id));
                }
            } else {
                self.take(option, value, users)?;
            }
        }
        Ok(())
    }

    /// Takes one filter of one value.
    fn take(
        &mut self,
        option: &'a [u8],
        value: &'a [u8],
        users: &Users,
    ) -> Result<(), CommandError> {
        match () {
            () if parse::is_word(option, "TYPE") => self.kind = Some(kind(value)?),
            () if parse::is_word(option, "USER") => self.user = Some(user(value, users)?),
            () if parse::is_word(option, "ADDR") => self.address = Some(value),
            () if parse::is_word(option, "LADDR") => self.local_address = Some(value),
            () if parse::is_word(option, "NAME") => self.name = Some(value),
            () if parse::is_word(option, "LIB-NAME") => self.lib_name = Some(value),
            () if parse::is_word(option, "LIB-VER") => self.lib_ver = Some(value),
            () if parse::is_word(option, "DB") => {
                let db = usize::try_from(parse::integer(value)?);
                self.db = Some(db.map_err(|_| CommandError::DatabaseOutOfRange)?);
            }
            () if parse::is_word(option, "MAXAGE") => {
                self.min_age_s = Some(seconds(
                    value,
                    "ERR maxage is not an integer or out of range",
                    "ERR maxage should be greater than 0",
                )?);
            }
            () if parse::is_word(option, "IDLE") => {
                self.min_idle_s = Some(seconds(
                    value,
                    "ERR idle is not an integer or out of range",
                    "ERR idle should be greater than 0",
                )?);
            }
            () if parse::is_word(option, "SKIPME") => {
                self.skip_me = match () {
                    () if parse::is_word(value, "YES") => true,
                    () if parse::is_word(value, "NO") => false,
                    () => return Err(CommandError::Syntax),
                };
            }
            () => return Err(CommandError::Syntax),
        }
        Ok(())
    }

    /// Whether a client is meant (`skip_me` aside).
    pub(super) fn matches(&self, client: &Client, now: Clock) -> bool {
        let (session, connection) = (&client.session, client.connection());
        let seconds_since = |ns: u64| now.mono_ns.saturating_sub(ns) / 1_000_000_000;
        let is = |wanted: Option<&[u8]>, value: &[u8]| wanted.is_none_or(|wanted| wanted == value);
        let spelled = |wanted: Option<&[u8]>, address: &crate::clients::Address| {
            wanted.is_none_or(|wanted| wanted == address.to_string().as_bytes())
        };
        self.ids
            .as_ref()
            .is_none_or(|ids| ids.contains(&session.id))
            && self.kind.is_none_or(|kind| kind == session.kind)
            && self.db.is_none_or(|db| db == session.db)
            && is(self.user, session.identity.name())
            && is(self.name, &session.name)
            && is(self.lib_name, &session.lib_name)
            && is(self.lib_ver, &session.lib_ver)
            && self
                .min_age_s
                .is_none_or(|age| seconds_since(connection.created_ns()) >= age)
            && self
                .min_idle_s
                .is_none_or(|idle| seconds_since(connection.last_interaction_ns()) >= idle)
            && spelled(self.address, connection.address())
            && spelled(self.local_address, connection.local_address())
    }
}

fn is_filter(word: &[u8]) -> bool {
    const FILTERS: [&str; 12] = [
        "ID", "TYPE", "USER", "ADDR", "LADDR", "NAME", "LIB-NAME", "LIB-VER", "DB", "MAXAGE",
        "IDLE", "SKIPME",
    ];
    FILTERS.iter().any(|filter| parse::is_word(word, filter))
}

fn kind(name: &[u8]) -> Result<ClientKind, CommandError> {
    match () {
        () if parse::is_word(name, "normal") => Ok(ClientKind::Normal),
        () if parse::is_word(name, "slave") || parse::is_word(name, "replica") => {
            Ok(ClientKind::Replica)
        }
        () if parse::is_word(name, "pubsub") => Ok(ClientKind::PubSub),
        () if parse::is_word(name, "master") || parse::is_word(name, "primary") => {
            Ok(ClientKind::Primary)
        }
        () => Err(CommandError::showing(
            "ERR Unknown client type '",
            name,
            "'",
        )),
    }
}

fn user<'a>(name: &'a [u8], users: &Users) -> Result<&'a [u8], CommandError> {
    if users.find(name).is_some() {
        return Ok(name);
    }
    Err(CommandError::showing("ERR No such user '", name, "'"))
}

fn seconds(
    value: &[u8],
    not_integer: &'static str,
    not_positive: &'static str,
) -> Result<u64, CommandError> {
    match numbers::parse_i64(value) {
        None => Err(CommandError::fixed(not_integer)),
        Some(number) => match u64::try_from(number) {
            Ok(number) if number > 0 => Ok(number),
            _ => Err(CommandError::fixed(not_positive)),
        },
    }
}

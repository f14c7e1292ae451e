//! What command handlers see.

use super::{CommandId, CommandSpec, CommandTable};
use crate::clients::{AckWait, Client, ClientKey, Clients, Session};
use crate::cluster::Cluster;
use crate::config::{Config, ConfigError, Settings, StatementKind};
use crate::event_loop::{Recorder, Token};
use crate::journal::{Journal, Targets};
use crate::keyspace::{
    Clock, Db, EventClass, Expiry, Free, KeyEntry, Keyspace, KeyspaceSettings, NewValue, Type,
};
use crate::observe::Observe;
use crate::persistence::status::Persistence;
use crate::replication::{Link, Replication};
use crate::resp::{Args, Protocol, Reply};
use crate::system::child::{Child, Exit, Pipe};
use crate::system::machine::Machine;
use crate::system::oom_score::OomScore;
use crate::system::rng::Rng;

/// All that commands work on: every module but the loop and its sockets. `Server` owns one.
pub struct State {
    /// The databases.
    pub keyspace: Keyspace,
    /// The clients.
    pub clients: Clients,
    /// Who they may be.
    pub users: crate::acl::Users,
    /// What they were refused (ACL LOG).
    pub acl_log: crate::acl::Log,
    /// Wrong passwords by host.
    pub auth_failures: crate::clients::hosts::AuthFailures,
    /// Clients that wait for their users' budgets.
    pub budgets: super::budgets::Budgets,
    /// The directives.
    pub config: Config,
    /// Statistics, slow log, latency histograms.
    pub observe: Observe,
    /// The stream of write effects.
    pub journal: Journal,
    /// Pub/Sub, client-side caching, monitors.
    pub messaging: crate::messaging::Messaging,
    /// Lua.
    pub scripting: crate::scripting::Scripting,
    /// Saving and loading.
    pub persistence: Persistence,
    /// The snapshot of a primary that is being taken in.
    pub receive: super::persistence::receive::Receive,
    /// The stream for replicas, and the link to a primary.
    pub replication: Replication,
    /// What this node knows of its cluster; none: it is in none.
    pub cluster: Option<Box<Cluster>>,
    /// What is to be told of its connections to other nodes.
    pub cluster_links: super::cluster::Links,
    /// Keys with a time that are this replica's own.
    pub own_keys: super::replication::own_keys::OwnKeys,
    /// The command table with its renamings.
    pub table: CommandTable,
    /// Clients that wait for replicas, or for the append-only file to reach the disk, oldest first; some may have been answered
    /// already.
    pub waits_for_acks: Vec<ClientKey>,
    /// Keys on their way to other servers.
    pub migrations: super::migration::Migrations,
    /// What the loop is asked for.
    pub requests: Requests,
    /// The one source of randomness, seeded through the seam.
    pub rng: Rng,
    /// Time of the running command.
    pub now: Clock,
    /// The pause in force; of all of [`State::pauses`].
    pub pause: Option<Pause>,
    /// What pauses are for.
    pub pauses: Pauses,
    /// SHUTDOWN waits for replicas.
    pub ending: Option<Ending>,
    /// There was no room within `maxmemory` for the last command of a connection: what its script may do. Asked anew within
    /// a transaction, half of it would be refused, or its own keys evicted.
    pub lacks_memory: bool,
    /// Since when there has been nothing to evict, over `maxmemory`, while the free thread was at work, monotonic ns.
    pub(super) freeing_since_ns: Option<u64>,
    /// Keys expire by themselves, not only when they are looked at (DEBUG SET-ACTIVE-EXPIRE).
    pub active_expire: bool,
    /// Periodic work does nothing (DEBUG PAUSE-CRON).
    pub cron_paused: bool,
    /// RESTORE takes payloads whose checksum is wrong (DEBUG SET-SKIP-CHECKSUM-VALIDATION).
    pub skip_checksum_validation: bool,
}

impl State {
    /// An empty state: the commands of `groups` under the names that the configuration gives them, no data, no clients.
    /// `seed` is all its randomness, `now` the moment at which it begins. Fails where a command cannot be renamed.
    pub fn new(
        config: Config,
        groups: &[&'static [CommandSpec]],
        seed: [u64; 4],
        now: Clock,
    ) -> Result<State, ConfigError> {
        let mut table = CommandTable::new(groups);
        for statement in config.statements() {
            if let StatementKind::RenameCommand { from, to } = &statement.kind {
                table
                    .rename(from, to)
                    .map_err(|reason| ConfigError::at(&statement.place, reason))?;
            }
        }
        let mut rng = Rng::new(seed[3] ^ seed[0].rotate_left(17));
        let mut observe = Observe::new(table.len());
        observe.stats.start_unix_ms = now.unix_ms();
        observe.stats.start_ns = now.mono_ns;
        observe.stats.run_id = hex_id(&mut rng);
        let replication = Replication::new(hex_id(&mut rng));
        let mut replication = replication;
        if let Some((host, port)) = &config.settings().replica_of {
            replication.link = Some(Box::new(Link::to(host, *port)));
        }
        let mut state = State {
            keyspace: Keyspace::new(config.settings().databases, seed),
            clients: Clients::default(),
            users: crate::acl::Users::new(&table, config.settings().acl_pubsub_all_channels),
            acl_log: Default::default(),
            auth_failures: Default::default(),
            budgets: Default::default(),
            config,
            observe,
            journal: Journal::default(),
            messaging: Default::default(),
            scripting: Default::default(),
            persistence: Persistence::default(),
            receive: Default::default(),
            replication,
            cluster: None,
            cluster_links: Default::default(),
            own_keys: Default::default(),
            table,
            waits_for_acks: Vec::new(),
            migrations: Default::default(),
            requests: Requests::default(),
            rng,
            now,
            pause: None,
            pauses: Pauses::default(),
            ending: None,
            lacks_memory: false,
            freeing_since_ns: None,
            active_expire: true,
            cron_paused: false,
            skip_checksum_validation: false,
        };
        state.apply_settings();
        super::replication::apply_role(&mut state);
        Ok(state)
    }

    /// Sets the machine, before there is any data.
    pub fn set_machine(&mut self, machine: Machine) {
        self.keyspace.set_machine(&machine);
        self.persistence.aof.set_machine(&machine);
        self.receive = super::persistence::receive::Receive::new(&machine.jobs);
        self.persistence.set_machine(machine);
    }

    /// How often periodic work is done in a second: `hz`, raised with the number of clients when `dynamic-hz` says so.
    pub fn effective_hz(&self) -> u64 {
        let settings = self.config.settings();
        let mut hz = u64::from(settings.hz.max(1));
        if settings.dynamic_hz {
            while self.clients.connected as u64 / hz > 200 && hz < 500 {
                hz *= 2;
            }
        }
        hz.min(500)
    }

    /// Hands changed directives to the modules that keep their own copy of them.
    pub fn apply_settings(&mut self) {
        let settings = self.config.settings();
        self.keyspace.configure(KeyspaceSettings {
            lfu: settings.maxmemory_policy.is_lfu(),
            lfu_log_factor: settings.lfu_log_factor,
            lfu_decay_minutes: settings.lfu_decay_time_min,
            lazy_expire: settings.lazyfree_lazy_expire,
            lazy_eviction: settings.lazyfree_lazy_eviction,
            lazy_server_del: settings.lazyfree_lazy_server_del,
            active_expire: self.active_expire,
            list_packed_threshold: self.keyspace.settings().list_packed_threshold,
            times_removals: settings.latency_monitor_threshold_ms > 0,
        });
        self.observe.latency.threshold_ms = settings.latency_monitor_threshold_ms;
        self.observe.track_latency = settings.latency_tracking;
        let limits = &settings.client_output_buffer_limits;
        self.clients.hard_limits = std::array::from_fn(|class| limits[class].hard_bytes);
        if settings.auth_failures_per_address == 0 {
            self.auth_failures.forget();
        }
        super::notifications::follow_interest(self);
        super::replication::primary::refresh_good(self);
    }

    /// How the server runs, as INFO and HELLO call it.
    pub fn mode(&self) -> &'static str {
        match self.cluster {
            Some(_) => "cluster",
            None => "standalone",
        }
    }

    /// Has a node of a cluster be what the directives say now.
    pub fn follow_cluster_settings(&mut self) {
        if let Some(cluster) = &mut self.cluster {
            cluster.configure(super::cluster::settings(self.config.settings()));
        }
    }

    /// Brings [`State::pause`] up to date with what pauses are for. Who was held goes on when the loop finds that there is none.
    pub fn apply_pause(&mut self) {
        let own = self.pauses.by_client;
        self.pause =
            match self.pauses.for_failover || self.pauses.for_shutdown || self.pauses.for_cluster {
                true => Some(Pause {
                    until_ms: i64::MAX,
                    writes_only: own.is_none_or(|pause| pause.writes_only),
                }),
                false => own,
            };
        super::replication::apply_role(self);
    }

    /// Period of the watchdog, ms; 0: none. One shorter than two crons could never be kept.
    pub fn watchdog_ms(&self) -> u64 {
        match self.config.settings().watchdog_period_ms {
            0 => 0,
            wanted => wanted.max(2000 / self.effective_hz()),
        }
    }

    /// Sets the process title by `proc-title-template`, unless `set-proc-title` says no.
    pub fn set_process_title(&self) {
        if self.config.settings().set_proc_title {
            crate::system::process::set_title(&self.config.process_title());
        }
    }
}

/// 40 hex digits.
pub(super) fn hex_id(rng: &mut Rng) -> String {
    let mut bytes = [0; 20];
    rng.fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What pauses are for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pauses {
    /// CLIENT PAUSE.
    pub by_client: Option<Pause>,
    /// FAILOVER: the stream stands still until a replica has all of it.
    pub for_failover: bool,
    /// SHUTDOWN, for the same reason.
    pub for_shutdown: bool,
    /// CLUSTER FAILOVER of a replica of this server, for the same reason.
    pub for_cluster: bool,
}

/// SHUTDOWN that waits for replicas.
#[derive(Clone, Debug)]
pub struct Ending {
    /// How it is to be done.
    pub how: Shutdown,
    /// The clients that have asked for it, by their ids.
    pub clients: Vec<u64>,
    /// Until when it waits, monotonic ns.
    pub until_ns: u64,
    /// It is called off.
    pub is_aborted: bool,
}

/// CLIENT PAUSE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Unix ms at which it ends.
    pub until_ms: i64,
    /// Only writes (and what may replicate) wait.
    pub writes_only: bool,
}

/// What the loop is asked for by commands. It looks when commands have run: those of a connection, or those behind a
/// script that stood still; for `evict` before it sleeps.
#[derive(Debug, Default)]
pub struct Requests {
    /// SHUTDOWN was asked for and its arguments were right.
    pub shutdown: Option<Shutdown>,
    /// The client whose command has run is to be closed when its reply is written.
    pub close_caller: Option<ClientKey>,
    /// Clients whose paused commands may go on.
    pub unpaused: bool,
    /// A password was among the arguments: the bytes that they lie in are wiped when they have run.
    pub had_secret: bool,
    /// Used memory is over `maxmemory` by more than one command may evict: the loop goes on with it.
    pub evict: bool,
}

/// One call of a command: who asks, who is answered, what runs.
#[derive(Clone, Copy)]
pub struct Invocation<'a> {
    /// The client whose command it is, also where what runs is of its transaction or of its script: it has read what is
    /// read, and has changed what is changed.
    pub asker: ClientKey,
    /// The client whose session holds for it and whose buffer the answer goes to. Scripts have one of their own.
    pub client: ClientKey,
    /// The command.
    pub command: CommandId,
    /// Its arguments, the name first.
    pub args: Args<'a>,
    /// Whom its effects are for: all, unless a script says otherwise (`redis.set_repl`).
    pub targets: Targets,
}

impl<'a> Invocation<'a> {
    /// A command that a client calls for itself.
    pub fn of(client: ClientKey, command: CommandId, args: Args<'a>) -> Invocation<'a> {
        Invocation {
            asker: client,
            client,
            command,
            args,
            targets: Targets::ALL,
        }
    }
}

/// What the handler of one call wants to happen beyond its answer. Each call has its own: what a command asks for that
/// another one runs (EXEC, a script) is not mixed up with what that one asks for.
#[derive(Debug, Default)]
pub struct Effects {
    /// Close the caller when its reply is written (QUIT).
    pub close_caller: bool,
    /// The command is to be propagated even if it changed nothing.
    pub propagate: bool,
    /// It is for replicas alone: a message, which a file has no use for.
    pub for_replicas: bool,
    /// The command changed something but nothing of it is to be propagated.
    pub do_not_propagate: bool,
    /// Errors of this call have been counted already, where they arose (EXEC).
    pub errors_counted: bool,
    /// A script that the command runs stands still, or its password waits: it is counted and shown when it ends.
    pub stands: bool,
    /// What few commands ask for. Most calls make and drop nothing but this one empty word.
    details: Option<Box<EffectDetails>>,
}

/// The part of [`Effects`] that needs memory of its own.
#[derive(Debug, Default)]
pub struct EffectDetails {
    /// The command as the journal shall have it, instead of as it was given (set through `Context::rewrite`).
    pub propagated_as: Vec<Vec<Vec<u8>>>,
    /// The command waits (for keys: set through `Context::block`) and has not answered.
    pub block: Option<WaitFor>,
    /// How often this call has failed by the errors in the reply of its script.
    pub failures: u64,
}

impl Effects {
    /// Ends the call. Dropping does the same, but looks for details behind a call of its own.
    #[inline(always)]
    pub(super) fn end(self) {
        match self.details {
            None => std::mem::forget(self),
            Some(_) => drop_details(self),
        }
    }
    /// The details, to add to.
    pub fn details_mut(&mut self) -> &mut EffectDetails {
        self.details.get_or_insert_default()
    }
    /// The details, if there are any.
    #[inline]
    fn details(&self) -> Option<&EffectDetails> {
        self.details.as_deref()
    }
    /// What the command waits for, if it does; it is asked once.
    #[inline]
    pub(super) fn take_block(&mut self) -> Option<WaitFor> {
        self.details.as_mut()?.block.take()
    }
    /// The commands that the journal shall have instead of the one that was called.
    #[inline]
    pub fn propagated_as(&self) -> &[Vec<Vec<u8>>] {
        self.details().map_or(&[], |it| &it.propagated_as)
    }
    /// How often this call has failed by the errors in the reply of its script.
    #[inline]
    pub(super) fn failures(&self) -> u64 {
        self.details().map_or(0, |it| it.failures)
    }
}

#[cold]
fn drop_details(effects: Effects) {
    drop(effects);
}

/// What a command waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitFor {
    /// A change of a key.
    Key(Wait),
    /// Acknowledgements of the writes of its client, until this monotonic time, ns, if there is one.
    Acks(AckWait, Option<u64>),
    /// Its turn to try a password, at this monotonic time, ns.
    Turn(u64),
    /// The end of work that goes on without it. Who ends it answers OK, or an error, by `blocking::give_up`.
    Work,
}

/// What a blocking command waits for. When one of the keys gets a value of the type (or, with `on_removal`, loses it),
/// the command is run again from the beginning; it answers then, or blocks anew and keeps its place in the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// The keys, in the order in which the command asks for them; duplicates do no harm.
    pub keys: Vec<Vec<u8>>,
    /// Type of value that it waits for.
    pub kind: Type,
    /// Monotonic time at which it gives up, ns; `None`: never.
    pub deadline_ns: Option<u64>,
    /// Run it again also when a key goes or becomes one of another type (XREADGROUP).
    pub on_removal: bool,
    /// The request that is run again instead, for a command whose arguments mean another thing later (XREAD's `$`).
    pub again_as: Option<Vec<Vec<u8>>>,
}

/// Arguments of SHUTDOWN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shutdown {
    /// NOSAVE.
    pub nosave: bool,
    /// SAVE.
    pub save: bool,
    /// NOW: do not wait for lagging replicas.
    pub now: bool,
    /// FORCE: ignore errors.
    pub force: bool,
}

/// What only the server can do for a command: its sockets, its loop, its process.
/// The simulator and unit tests give a host of their own.
pub trait Host {
    /// Re-opens the listeners for changed `port`, `bind` or `unixsocket`; on error nothing has changed.
    fn rebind(&mut self, settings: &Settings) -> Result<(), String>;
    /// Has TLS connections from here on made as the settings say; whether that could be done. Why not was logged, and
    /// nothing has changed.
    fn configure_tls(&mut self, settings: &Settings) -> bool;
    /// Raises the file limit; the number of clients that are possible then.
    fn adjust_max_clients(&mut self, wanted: usize, settings: &Settings) -> usize;
    /// Memory that is held against `maxmemory`, bytes.
    fn used_memory(&mut self) -> u64;
    /// Memory that is held against `maxmemory`, bytes, taken anew from the allocator where the cheap figure may be
    /// behind (other threads have freed).
    fn fresh_used_memory(&mut self) -> u64;
    /// Frees the buffers that wait for the next clients that are answered.
    fn release_pooled(&mut self);
    /// Makes a directory the working one; on error the system's text. A replay stays where it is.
    fn change_directory(&mut self, path: &std::path::Path) -> Result<(), String>;
    /// Sets how readily the kernel ends the process; whether it could be (else the log says why). A replay changes
    /// nothing.
    fn adjust_oom_score(&mut self, how: OomScore, wish: i32) -> bool;
    /// Blocks the whole server (DEBUG SLEEP).
    fn sleep(&mut self, duration: std::time::Duration);
    /// Random bits from the system, for what nobody may guess.
    fn random_u64(&mut self) -> u64;
    /// Reads the monotonic clock again (for commands that measure themselves).
    fn monotonic_ns(&mut self) -> u64;
    /// Figures of the event loop: (name, value) for INFO and DEBUG.
    fn loop_figures(&self) -> LoopFigures;
    /// Makes a child's pipe a source of the loop.
    fn adopt_pipe(&mut self, pipe: Pipe) -> std::io::Result<Token>;
    /// Waits for the end of a child that has ended, or was told to; how it ended is recorded.
    fn wait_for_child(&mut self, child: &Child) -> Exit;
    /// Closes a source of the loop.
    fn close_source(&mut self, token: Token);
    /// Sets every loop statistic to zero (CONFIG RESETSTAT).
    fn reset_loop_figures(&mut self);
    /// Switches the loop's recorder on or off, and sets how many turns it keeps.
    fn record_loop(&mut self, is_on: bool, turns: usize);
    /// What the loop's recorder knows.
    fn recorder(&mut self) -> &mut Recorder;
}

/// What the event loop tells of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoopFigures {
    /// Turns so far.
    pub turns: u64,
    /// Time awake in all turns, µs (`eventloop_duration_sum`).
    pub awake_us: u64,
    /// Time for what is done periodically, µs (`eventloop_duration_cron_sum`).
    pub timers_us: u64,
    /// Time for the append-only file, µs (`eventloop_duration_aof_sum`).
    pub journal_us: u64,
    /// Time executing commands, µs (`eventloop_duration_cmd_sum`).
    pub command_us: u64,
    /// Longest turn, time awake, ns.
    pub longest_turn_ns: u64,
    /// Number of that turn.
    pub longest_turn: u64,
    /// Sources registered.
    pub sources: usize,
    /// Sources and timers that were closed or cancelled before they were served.
    pub ignored_events: u64,
    /// Bytes read from sockets.
    pub bytes_in: u64,
    /// Bytes written to sockets.
    pub bytes_out: u64,
}

/// Disjoint borrows for a database handler.
pub struct Context<'a> {
    /// The selected database.
    pub db: Db<'a>,
    /// Who asks.
    pub session: &'a mut Session,
    /// Where the answer goes.
    pub reply: &'a mut Reply,
    /// What shall happen to others.
    pub effects: &'a mut Effects,
    /// Typed directives.
    pub settings: &'a Settings,
    /// The time; fixed while the command runs.
    pub now: Clock,
    /// Randomness.
    pub rng: &'a mut Rng,
    /// Whether the journal has consumers: only then rewriting is worth its allocations.
    pub propagates: bool,
    /// Whether the command may wait: not in a transaction or a script, where it answers at once as if its time were
    /// over.
    pub may_block: bool,
}

impl Context<'_> {
    /// Switches the dialect, from the next value on.
    pub fn set_protocol(&mut self, protocol: Protocol) {
        self.session.set_protocol(protocol, self.reply);
    }
    /// Puts the result of a STORE in the place of whatever is at the key; without one the key is removed.
    pub fn store(
        &mut self,
        key: &[u8],
        value: Option<NewValue<'_>>,
        class: EventClass,
        event: &'static str,
    ) {
        let Some(value) = value else {
            let free = if self.settings.lazyfree_lazy_server_del {
                Free::Lazily
            } else {
                Free::Now
            };
            if self.db.remove_expired_or_not(key, free) {
                self.db.signal_modified(EventClass::Generic, "del", key);
            }
            return;
        };
        match self.db.entry(key) {
            KeyEntry::Occupied(mut held) => held.set(value, Expiry::Clear),
            KeyEntry::Vacant(place) => place.insert(value, Expiry::Clear),
        }
        self.db.signal_modified(class, event, key);
    }
    /// The longest string that this client may make, bytes: `proto-max-bulk-len`, but for those who are obeyed.
    pub fn longest_string(&self) -> usize {
        if self.session.is_obeyed() {
            return isize::MAX as usize / 2;
        }
        self.settings.proto_max_bulk_len
    }
    /// Has the command wait instead of answering: the handler returns without a reply. Where it may not wait
    /// ([`Context::may_block`]) the reply of the timeout is given at once.
    pub fn block(&mut self, wait: Wait) {
        if self.may_block {
            self.effects.details_mut().block = Some(WaitFor::Key(wait));
            return;
        }
        self.reply.null_array();
    }
    /// Gives the journal this command instead of the one that was called. Several calls add up to several commands.
    pub fn rewrite(&mut self, arguments: &[&[u8]]) {
        if self.propagates {
            self.effects
                .details_mut()
                .propagated_as
                .push(arguments.iter().map(|a| a.to_vec()).collect());
        }
    }
}

/// The whole state, for the few administrative commands.
pub struct ServerContext<'a> {
    /// Everything.
    pub state: &'a mut State,
    /// The server's sockets, loop and process.
    pub host: &'a mut dyn Host,
    /// Who is answered; always in the slab while its command runs.
    pub client: ClientKey,
    /// Whose command it is: see [`Invocation::asker`].
    pub asker: ClientKey,
    /// What shall happen beyond the answer.
    pub effects: &'a mut Effects,
}

impl ServerContext<'_> {
    /// The caller.
    #[allow(clippy::expect_used)]
    pub fn caller(&mut self) -> &mut Client {
        self.state
            .clients
            .get_mut(self.client)
            .expect("the caller stays in the slab while its command runs")
    }
    /// The caller's session.
    pub fn session(&mut self) -> &mut Session {
        &mut self.caller().session
    }
    /// The caller's reply buffer.
    pub fn reply(&mut self) -> &mut Reply {
        &mut self.caller().reply
    }
    /// The caller's database.
    pub fn db(&mut self) -> Db<'_> {
        let index = self.session().db;
        let (now, no_touch) = (self.state.now, self.session().no_touch);
        self.state.keyspace.db(index, now, no_touch)
    }
    /// Gives the journal this command instead of the one that was called; as [`Context::rewrite`].
    pub fn rewrite(&mut self, arguments: &[&[u8]]) {
        if self.state.journal.has_consumers() {
            let command = arguments.iter().map(|a| a.to_vec()).collect();
            self.effects.details_mut().propagated_as.push(command);
        }
    }
    /// The time; fixed while the command runs.
    pub fn now(&self) -> Clock {
        self.state.now
    }
}

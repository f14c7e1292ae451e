//! CONFIG: reading, changing and writing the directives while the server runs.
//!
//! In: names and values. Out: values, or changes that are in force when OK is answered. [`crate::config`] checks and
//! remembers; here the change is brought to whoever must hear of it, and if one of them cannot follow, everything
//! is as it was before. Mirrors the CONFIG command and the `update*` functions of Redis's config.c.

use super::help::help;
use crate::config::Fsync;
use crate::config::{Change, ConfigSetError, SetContext};
use crate::engine::{
    Argument, CommandError, CommandSpec, Group, Handler, ServerContext, flags, permissions,
};
use crate::journal::Targets;
use crate::resp::Args;
use crate::system::{crash, log as server_log, memory, process};
use zeroize::Zeroizing;

const FLAGS: u32 = flags::ADMIN | flags::NOSCRIPT | flags::LOADING | flags::STALE;

/// The group's rows.
pub const COMMANDS: &[CommandSpec] = &[CommandSpec {
    name: "config",
    summary: "Holds the commands on the server's configuration.",
    since: "2.0.0",
    complexity: "Depends on subcommand.",
    group: Group::Server,
    arity: -2,
    subcommands: &[
        CommandSpec {
            name: "get",
            summary: "Returns directives and their values.",
            since: "2.0.0",
            complexity: "O(N) when N is the number of configuration parameters provided",
            group: Group::Server,
            arity: -3,
            flags: FLAGS,
            history: &[("7.0.0", "Several patterns in one call.")],
            arguments: &[Argument::string("parameter").multiple()],
            handler: Handler::Server(get),
            ..CommandSpec::DEFAULT
        },
        CommandSpec {
            name: "help",
            summary: "Returns a text about the subcommands.",
            since: "5.0.0",
            group: Group::Server,
            arity: 2,
            flags: flags::LOADING | flags::STALE,
            handler: Handler::Server(print_help),
            ..CommandSpec::DEFAULT
        },
        CommandSpec {
            name: "resetstat",
            summary: "Sets the statistics of INFO to zero.",
            since: "2.0.0",
            group: Group::Server,
            arity: 2,
            flags: FLAGS,
            tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
            handler: Handler::Server(reset_statistics),
            ..CommandSpec::DEFAULT
        },
        CommandSpec {
            name: "rewrite",
            summary: "Writes the directives in force to the configuration file.",
            since: "2.8.0",
            group: Group::Server,
            arity: 2,
            flags: FLAGS,
            tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
            handler: Handler::Server(rewrite),
            ..CommandSpec::DEFAULT
        },
        CommandSpec {
            name: "set",
            summary: "Changes directives while the server runs.",
            since: "2.0.0",
            complexity: "O(N) when N is the number of configuration parameters provided",
            group: Group::Server,
            arity: -4,
            flags: FLAGS,
            tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
            history: &[("7.0.0", "Several directives in one call.")],
            arguments: &[Argument::block(
                "data",
                &[Argument::string("parameter"), Argument::string("value")],
            )
            .multiple()],
            handler: Handler::Server(set),
            ..CommandSpec::DEFAULT
        },
    ],
    ..CommandSpec::DEFAULT
}];

const HELP: &[&str] = &[
    "GET <pattern>",
    "    Return parameters matching the glob-like <pattern> and their values.",
    "SET <directive> <value>",
    "    Set the configuration <directive> to <value>.",
    "RESETSTAT",
    "    Reset statistics reported by the INFO command.",
    "REWRITE",
    "    Rewrite the configuration file.",
];

fn print_help(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    help(context.reply(), args, HELP);
    Ok(())
}

fn get(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let patterns: Vec<&[u8]> = args.iter().skip(2).collect();
    let found = context.state.config.get(&patterns);
    let reply = context.reply();
    reply.map(found.len());
    for (name, value) in found {
        reply.bulk(&name);
        reply.bulk(&value);
    }
    Ok(())
}

fn set(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if !args.len().is_multiple_of(2) {
        return Err(CommandError::Syntax);
    }
    let mut pairs: Vec<(&[u8], &[u8])> = Vec::new();
    for at in (2..args.len()).step_by(2) {
        let (name, value) = (args.at(at), args.at(at.saturating_add(1)));
        pairs.push((name, value));
    }
    let who = SetContext {
        is_local: context.caller().connection().is_local(),
        is_loading: context.state.persistence.loads_any(),
    };
    let policy = pairs
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(b"appendfsync"));
    if let Some(new) = policy.and_then(|(_, policy)| Fsync::from_name(policy)) {
        crate::engine::persistence::aof::before_policy_changes(context.state, new)
            .map_err(|reason| refusal(ConfigSetError::failed("appendfsync", reason)))?;
    }
    let before = context.state.config.snapshot();
    let mut changes = context
        .state
        .config
        .set_many(&pairs, who)
        .map_err(refusal)?;
    // First what connections are made with: sockets that listen for them are opened with the first change of a port.
    changes.sort_by_key(|change| !change.name.starts_with("tls-"));
    if let Err((at, reason)) = apply(context, &changes) {
        let called = changes.get(at).map_or("", |change| change.called);
        log::warn!(
            "Failed applying new configuration. Possibly related to new {called} setting. Restoring previous settings."
        );
        context.state.config.restore(before);
        // The one that failed too: it may have gone half the way.
        for done in changes.iter().take(at.saturating_add(1)) {
            if let Err((_, reason)) = apply(context, std::slice::from_ref(done)) {
                log::warn!("Failed applying restored failed CONFIG SET command: {reason}");
            }
        }
        return Err(refusal(ConfigSetError::failed(called, reason)));
    }
    for change in changes.iter().filter(|change| !change.has_effect) {
        log::warn!(
            "CONFIG SET {}: the value is kept but has no effect in gyre yet",
            change.name
        );
    }
    context.reply().ok();
    Ok(())
}

fn refusal(error: ConfigSetError) -> CommandError {
    match error.message() {
        Some(message) => CommandError::of_parts(&[b"ERR ", &message]),
        None => CommandError::Loading,
    }
}

/// Who has to hear of a change. What is only read from [`crate::config::Settings`] needs nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listener {
    Cluster,
    Tls,
    TlsPort,
    Sockets,
    FileLimit,
    WorkingDirectory,
    Log,
    Title,
    CrashHandlers,
    CrashOptions,
    AllocatorThread,
    Watchdog,
    Memory,
    Keyspace,
    Observations,
    Recorder,
    Password,
    Users,
    AppendOnly,
    OomScore,
}

fn listener(name: &str) -> Option<Listener> {
    Some(match name {
        "tls-port" | "http-tls" => Listener::TlsPort,
        "max-new-tls-connections-per-cycle" => Listener::Tls,
        "tls-auto-reload-interval" => return None,
        name if name.starts_with("tls-") => Listener::Tls,
        "port" | "bind" | "http-port" | "http-bind" => Listener::Sockets,
        "loop-trace" | "loop-trace-turns" => Listener::Recorder,
        "maxclients" => Listener::FileLimit,
        "dir" => Listener::WorkingDirectory,
        "loglevel" => Listener::Log,
        "proc-title-template" => Listener::Title,
        "crash-log-enabled" => Listener::CrashHandlers,
        "hide-user-data-from-log" | "use-exit-on-panic" => Listener::CrashOptions,
        "jemalloc-bg-thread" => Listener::AllocatorThread,
        "watchdog-period" => Listener::Watchdog,
        "maxmemory" => Listener::Memory,
        "maxmemory-policy"
        | "lfu-log-factor"
        | "lfu-decay-time"
        | "lazyfree-lazy-expire"
        | "lazyfree-lazy-eviction"
        | "lazyfree-lazy-server-del" => Listener::Keyspace,
        "latency-tracking"
        | "latency-monitor-threshold"
        | "notify-keyspace-events"
        | "client-output-buffer-limit"
        | "min-replicas-to-write"
        | "min-replicas-max-lag"
        | "auth-failures-per-address" => Listener::Observations,
        "requirepass" => Listener::Password,
        "acl-pubsub-default" => Listener::Users,
        "oom-score-adj" | "oom-score-adj-values" => Listener::OomScore,
        "appendonly" | "aof-timestamp-enabled" | "aof-disable-auto-gc" => Listener::AppendOnly,
        name if name.starts_with("cluster-") => Listener::Cluster,
        _ => return None,
    })
}

/// Brings changes to whoever must hear of them, each of whom hears once. On failure: which change, and why.
fn apply(context: &mut ServerContext<'_>, changes: &[Change]) -> Result<(), (usize, String)> {
    let mut told: Vec<Listener> = Vec::new();
    for (at, change) in changes.iter().enumerate() {
        let Some(listener) = listener(change.name).filter(|listener| !told.contains(listener))
        else {
            continue;
        };
        apply_one(context, listener, change).map_err(|reason| (at, reason))?;
        told.push(listener);
    }
    Ok(())
}

/// Logs why sockets could not be bound anew; the answer tells by the directive which ones.
fn cannot_bind(directive: &str, reason: &str) -> String {
    log::warn!("{reason}");
    match directive {
        "port" | "tls-port" | "http-port" | "http-tls" => {
            "Unable to listen on this port. Check server logs."
        }
        _ => "Failed to bind to specified addresses.",
    }
    .to_owned()
}

/// Listens where the directives say now.
fn rebind(context: &mut ServerContext<'_>, change: &Change) -> Result<(), String> {
    let bound = context.host.rebind(context.state.config.settings());
    bound.map_err(|reason| cannot_bind(change.name, &reason))?;
    context.state.set_process_title();
    // Its ports are told to the other nodes.
    context.state.follow_cluster_settings();
    Ok(())
}

/// Has new TLS connections made as the directives say, if there are any.
fn configure_tls(context: &mut ServerContext<'_>) -> Result<(), String> {
    let settings = context.state.config.settings();
    if settings.uses_tls() && !context.host.configure_tls(settings) {
        return Err("Unable to update TLS configuration. Check server logs.".to_owned());
    }
    Ok(())
}

/// Has a changed directive take effect.
fn apply_one(
    context: &mut ServerContext<'_>,
    listener: Listener,
    change: &Change,
) -> Result<(), String> {
    let settings = context.state.config.settings();
    match listener {
        Listener::Tls => configure_tls(context)?,
        Listener::TlsPort => {
            configure_tls(context)?;
            rebind(context, change)?;
        }
        Listener::Sockets => rebind(context, change)?,
        Listener::FileLimit => {
            let possible = context
                .host
                .adjust_max_clients(settings.maxclients as usize, settings);
            if possible < settings.maxclients as usize {
                return Err(format!(
                    "The operating system is not able to handle the specified number of clients, try with {possible}"
                ));
            }
        }
        Listener::WorkingDirectory => {
            crate::engine::persistence::aof::may_change_directory(context.state, &settings.dir)?;
            context.host.change_directory(&settings.dir)?;
        }
        Listener::Log => server_log::set_level(settings.loglevel),
        Listener::Title => context.state.set_process_title(),
        Listener::CrashHandlers if settings.crash_log_enabled => crash::install(true),
        Listener::CrashHandlers => crash::remove_handlers(),
        Listener::CrashOptions => {
            crash::set_options(settings.hide_user_data_from_log, settings.use_exit_on_panic)
        }
        // At once, and not at the next cron: the command after this one may be what it shall watch.
        Listener::Watchdog => crash::set_watchdog(context.state.watchdog_ms()),
        Listener::AllocatorThread => {
            // As in Redis, an allocator without such a thread is no error.
            memory::set_background_thread(settings.jemalloc_bg_thread);
        }
        Listener::Memory => {
            let (limit, used) = (settings.maxmemory, context.host.used_memory());
            if limit != 0 && limit < used {
                log::warn!(
                    "WARNING: the new maxmemory value set via CONFIG SET ({limit}) is smaller than the current memory \
                     usage ({used}). This will result in key eviction and/or the inability to accept new write \
                     commands depending on the maxmemory-policy."
                );
                context.state.requests.evict = true;
            }
        }
        Listener::Keyspace | Listener::Observations => context.state.apply_settings(),
        Listener::Cluster => context.state.follow_cluster_settings(),
        Listener::Recorder => {
            let (is_on, turns) = (settings.loop_trace, settings.loop_trace_turns);
            context.host.record_loop(is_on, turns);
        }
        Listener::Password => {
            let password = settings.requirepass.clone().map(Zeroizing::new);
            let changed = context
                .state
                .users
                .set_default_password(password.as_deref().map(Vec::as_slice));
            permissions::follow(context.state, &[changed], None);
        }
        Listener::Users => {
            let all = settings.acl_pubsub_all_channels;
            context.state.users.set_pubsub_default(all);
        }
        Listener::OomScore => {
            let is_replica = context.state.replication.is_replica();
            let value = settings.oom_score_adj_values[usize::from(is_replica)];
            if !context.host.adjust_oom_score(settings.oom_score_adj, value) {
                return Err("Failed to set current oom_score_adj. Check server logs.".to_owned());
            }
        }
        Listener::AppendOnly => {
            context
                .state
                .journal
                .set_timestamps(Targets::AOF, settings.aof_timestamp_enabled);
            crate::engine::persistence::aof::follow_setting(context.state, context.host)?;
        }
    }
    Ok(())
}

fn rewrite(context: &mut ServerContext<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    let users = crate::commands::users::kept_lines(context.state);
    match context.state.config.rewrite(&users, false) {
        Ok(()) => {
            log::warn!("CONFIG REWRITE executed with success.");
            context.reply().ok();
            Ok(())
        }
        Err(error) => {
            if let crate::config::RewriteError::Io(error) = &error {
                log::warn!("CONFIG REWRITE failed: {}", process::os_error_text(error));
            }
            Err(CommandError::text_owned(format!("ERR {error}")))
        }
    }
}

fn reset_statistics(context: &mut ServerContext<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    context.state.observe.reset();
    let replication = &mut context.state.replication;
    replication.full_syncs = 0;
    replication.partial_syncs = 0;
    replication.partial_syncs_refused = 0;
    context.state.keyspace.fold_stats();
    context.state.keyspace.stats = Default::default();
    context.host.reset_loop_figures();
    context.reply().ok();
    Ok(())
}

//! The server process: `Server` owns every module below and wires one turn of the loop.
//!
//! | file | what |
//! | --- | --- |
//! | `mod.rs` | start, the loop, shutdown |
//! | `service.rs` | [`Core`]: all that the server has but its loop |
//! | `turn.rs` | one turn: what each event leads to, and the order of what is done before the loop sleeps |
//! | `endpoints.rs` | whose each source and each timer of the loop is |
//! | `input.rs`, `output.rs` | from a socket's bytes to commands, from replies to a socket's bytes; their limits |
//! | `lifecycle.rs` | connections from accepting to closing |
//! | `loading.rs`, `saving.rs`, `shutdown.rs` | the data from the disk and to it, and the way to the end |
//! | `replication.rs` | the link to a primary, what is written to replicas |
//! | `cluster.rs` | the sockets of the cluster's bus, nodes.conf |
//! | `migration.rs` | the sockets on which keys go to other servers |
//! | `listeners.rs` | the sockets that the directives ask for |
//! | `cron.rs` | what is done by the clock: expiry, idle clients, samples |
//! | `local_cluster.rs` | `--cluster-local`: a cluster on one machine |
//! | `tools.rs`, `check_config.rs` | `--check-rdb`, `--check-aof`, `--check-config` |
//! | `timing.rs` | what the loop's recorder is told |
//! | `host.rs` | what commands may ask of the loop and the process |
//!
//! Mirrors `main`, `initServer`, `serverCron` and `beforeSleep` of Redis's server.c.

#[cfg(test)]
mod budget_tests;
mod check_config;
mod cluster;
mod cron;
mod endpoints;
mod host;
mod http;
mod input;
mod lifecycle;
#[cfg(test)]
mod link_tests;
mod listeners;
mod loading;
mod local_cluster;
mod migration;
mod output;
pub mod recording;
pub mod replay;
mod replication;
mod saving;
mod secrets;
mod service;
mod shutdown;
#[cfg(test)]
mod stranger_tests;
mod timing;
pub mod tools;
mod turn;

pub use host::MemoryGauge;
pub use service::Core;

use crate::config::{Config, ConfigError, Supervised};
use crate::engine::{State, acl_file};
use crate::event_loop::{EventLoop, Seam, TurnReport};
use crate::keyspace::Clock;
use crate::system::log::LogOptions;
use crate::system::signals::ShutdownSignal;
use crate::system::supervisor::{self, Supervisor};
use crate::system::{crash, memory, oom_score, process, signals};
use crate::{commands, engine};
use std::time::Duration;

/// What `--help` prints.
pub const USAGE: &str = "\
Usage: gyre [/path/to/redis.conf] [options] [-]
       gyre - (read config from stdin)
       gyre -v or --version
       gyre -h or --help
       gyre --check-config [/path/to/redis.conf] [options] (what is wrong or risky about it; starts nothing)
       gyre --check-rdb FILE
       gyre --check-aof [--fix|--truncate-to-timestamp $timestamp] FILE
       gyre [/path/to/redis.conf] [options] --record FILE (write all that enters the server to FILE)
       gyre --cluster-local PRIMARIES [--replicas N] [--port FIRST] [--dir FOLDER] (a cluster on this machine)
       gyre --replay FILE [--until TURN] [--step] (run the same turns again, without sockets)

Options are the directives of redis.conf after two dashes, and override the file. A configuration that asks for what gyre
does not have (modules) ends the start; --ignore-unsupported starts without it.

Examples:
       gyre (run the server with default conf)
       echo 'maxmemory 128mb' | gyre -
       gyre /etc/redis/6379.conf
       gyre --port 7777
       gyre /etc/myredis.conf --loglevel verbose -";

/// What `--version` prints: Redis's line, for the tools that read it, with our own version.
pub fn version_line() -> String {
    let allocator = memory::allocator_name();
    format!(
        "Redis server v={} sha=00000000:0 malloc={allocator} bits=64 build=gyre-{}",
        crate::REDIS_VERSION,
        crate::GYRE_VERSION
    )
}

/// How the server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was asked to end, and did so in order.
    Shutdown,
    /// It could not go on.
    Failed,
}

/// The whole server.
pub struct Server {
    events: EventLoop,
    core: Core,
}

impl Server {
    /// Builds a server over a seam; listens on nothing yet.
    pub fn new(config: Config, mut seam: Box<dyn Seam>) -> Result<Server, ConfigError> {
        // All that chance decides in the data comes of these numbers, so that a seed or a recording decides it.
        let seed = [
            seam.random_u64(),
            seam.random_u64(),
            seam.random_u64(),
            seam.random_u64(),
        ];
        let now = Clock {
            unix_us: seam.unix_us(),
            mono_ns: seam.monotonic_ns(),
            keeps_expired: false,
        };
        let mut state = State::new(config, commands::GROUPS, seed, now)?;
        state.set_machine(seam.machine());
        acl_file::begin(&mut state)?;
        engine::cluster::begin(&mut state).map_err(ConfigError::overall)?;
        if seam.tells_of_jobs() {
            state.keyspace.wake_with(seam.waker());
            state.persistence.waker = Some(seam.waker());
        }
        let mut core = Core::new(state);
        core.apply_settings();
        let mut events = EventLoop::new(seam);
        let settings = core.state.config.settings();
        events.record(settings.loop_trace, settings.loop_trace_turns);
        Ok(Server { events, core })
    }

    /// Opens the listeners and sets the first cron; on error the text for the log.
    pub fn start(&mut self) -> Result<(), String> {
        let settings = self.core.state.config.settings().clone();
        // Before the listeners, which need it.
        if settings.uses_tls() {
            let seam = self.events.seam();
            if let Err(reason) = seam.configure_tls(&settings.tls.options) {
                log::warn!("{reason}");
                return Err("Failed to configure TLS. Check logs for more info.".to_owned());
            }
        }
        let Core {
            listeners,
            endpoints,
            ..
        } = &mut self.core;
        listeners.open(&mut self.events, endpoints, &settings)?;
        // It would run and serve nobody.
        if self.core.listeners.is_empty() {
            return Err("Configured to not listen anywhere, exiting.".to_owned());
        }
        self.core.start_cluster(&mut self.events)?;
        self.core.start_cron(&mut self.events);
        self.core.state.observe.stats.startup_memory = memory::allocator_stats().in_use();
        Ok(())
    }

    /// Begins to load the data; whether the server can go on. What is wrong was logged. The turns that follow load it.
    pub fn load(&mut self) -> bool {
        if let Err(failure) = self.core.begin_loading(&mut self.events) {
            let settings = self.core.state.config.settings();
            let disk = &self.core.state.persistence.disk;
            engine::persistence::loading::log_fatal(disk, settings, &failure);
            return false;
        }
        // Nothing to load: it is ready now. Else the turns that follow load, and the last of them says that it is.
        if self.core.state.persistence.loading.is_none() {
            self.core.ready(&self.events);
        } else {
            self.events.stay_awake();
        }
        true
    }

    /// Runs one turn, for tests and simulations.
    pub fn turn(&mut self, max_sleep: Option<Duration>) -> std::io::Result<TurnReport> {
        self.events.turn(&mut self.core, max_sleep)
    }

    /// Turns until the server is shut down.
    pub fn run(&mut self) -> End {
        while self.core.ended.is_none() {
            // A report of a crash says in which turn it happened, which is where a replay stops.
            crash::set_turn_context(self.events.totals().turns + 1, "");
            if let Err(error) = self.turn(None) {
                log::error!("Polling for events failed: {error}");
                return End::Failed;
            }
            self.check_signals();
        }
        self.core.ended.unwrap_or(End::Failed)
    }

    fn check_signals(&mut self) {
        // While the periodic work rests so does this part of it, and SHUTDOWN ABORT can still call it off.
        // A script that stands still is waited for: half of its effects must not be saved. (SHUTDOWN NOSAVE does not.)
        let core = &self.core;
        if core.state.cron_paused || core.state.scripting.is_busy() || core.ended.is_some() {
            return;
        }
        let signal = signals::shutdown_requested().map(|signal| signal as u8);
        let signal = self.events.seam().signalled(signal);
        if let Some(signal) = signal.and_then(ShutdownSignal::from_number) {
            self.core.signalled(&mut self.events, signal);
        }
    }

    /// The state of the commands, for tests.
    pub fn state(&mut self) -> &mut State {
        &mut self.core.state
    }

    /// The loop, for tests.
    pub fn events(&mut self) -> &mut EventLoop {
        &mut self.events
    }

    /// How the server has ended; none: it runs.
    pub fn ended(&self) -> Option<End> {
        self.core.ended
    }
}

/// A server with these directives that listens in a simulation, and the other side of that.
#[cfg(test)]
fn simulated(directives: &[&str]) -> (Server, crate::event_loop::SimulatorHandle) {
    use crate::event_loop::{Faults, Simulator};
    let (seam, handle) = Simulator::new(1, Faults::NONE);
    let mut args: Vec<std::ffi::OsString> = ["--bind", "127.0.0.1"].map(Into::into).into();
    args.extend(directives.iter().map(Into::into));
    let config = Config::load_in(std::path::Path::new("/"), &args, &mut || Ok(Vec::new()));
    let config = config.unwrap_or_else(|error| panic!("{error}"));
    let mut server = Server::new(config, Box::new(seam)).unwrap_or_else(|error| panic!("{error}"));
    server.start().expect("a listener");
    (server, handle)
}

/// Starts the process with this configuration and serves until it is told to stop; the exit status.
pub fn serve(config: Config) -> i32 {
    let settings = config.settings().clone();
    // First: the paths that follow, that of the log among them, are relative to it.
    if let Err(error) = std::env::set_current_dir(&settings.dir) {
        eprintln!(
            "Can't chdir to '{}': {}",
            settings.dir.display(),
            process::os_error_text(&error)
        );
        return 1;
    }
    crate::system::log::init(LogOptions {
        file: settings.logfile.clone(),
        level: settings.loglevel,
    });
    supervisor::check_memory_settings(settings.disable_thp);
    let supervised = supervisor::begin(match settings.supervised {
        Supervised::No => Supervisor::Nobody,
        Supervised::Auto => Supervisor::Any,
        Supervised::Systemd => Supervisor::Systemd,
        Supervised::Upstart => Supervisor::Upstart,
    });
    if settings.daemonize && !supervised {
        // Before there are threads: the process that goes on would not have them.
        if let Err(error) = process::daemonize() {
            log::error!("Can't daemonize: {error}");
            return 1;
        }
        crate::system::log::set_main_process();
    }
    announce(&config);
    if let Err(error) = signals::ShutdownSignals::install() {
        log::error!("Can't install signal handlers: {error}");
        return 1;
    }
    crash::install(settings.crash_log_enabled);
    crash::set_options(settings.hide_user_data_from_log, settings.use_exit_on_panic);
    memory::set_background_thread(settings.jemalloc_bg_thread);
    let seam = match crate::event_loop::MioSeam::new() {
        Ok(seam) => seam,
        Err(error) => {
            log::error!("Failed creating the event loop. Error message: '{error}'");
            return 1;
        }
    };
    let seam = match recording::wrap(&config, Box::new(seam)) {
        Ok(seam) => seam,
        Err(text) => {
            log::error!("{text}");
            return 1;
        }
    };
    let mut server = match Server::new(config, seam) {
        Ok(server) => server,
        Err(error) => {
            eprintln!("{error}");
            return 1;
        }
    };
    // The limit of descriptors is raised before connections need them.
    if let Err(text) = server.core.limit_clients().and_then(|()| server.start()) {
        log::error!("{text}");
        return 1;
    }
    server.core.write_pid_file();
    server.core.leave_notes();
    server.core.set_title();
    supervisor::check_backlog(settings.tcp_backlog);
    let [primary, ..] = settings.oom_score_adj_values;
    // Why it could not be set was logged, and is no reason not to serve.
    let _ = oom_score::adjust(settings.oom_score_adj, primary);
    // Whoever waits for this line connects at once, so it stands behind the opening of the listeners.
    log::info!(
        "Running mode={}, port={}. PID: {}",
        server.core.state.mode(),
        settings.any_port(),
        process::pid()
    );
    log::info!("Server initialized");
    if let Some(warning) = server.core.state.config.warnings() {
        log::warn!("{warning}");
    }
    if !server.load() {
        leave(server, 1);
    }
    match server.run() {
        End::Shutdown => leave(server, 0),
        End::Failed => leave(server, 1),
    }
}

/// Ends the process of a server that has ended. Its data are not freed one by one, which takes as long as they are many: the
/// system takes the memory back as a whole.
fn leave(server: Server, status: i32) -> ! {
    let Server { events, mut core } = server;
    // Ends a recording, and closes what is still open.
    drop(events);
    // Files that were to be synced, or removed, are. Who frees memory is not waited for.
    core.state.persistence.end_helpers();
    std::process::exit(status)
}

fn announce(config: &Config) {
    let pid = process::pid();
    log::info!("oO0OoO0OoO0Oo Redis is starting oO0OoO0OoO0Oo");
    log::info!(
        "Redis version={}, bits=64, commit=00000000, modified=0, pid={pid}, just started (gyre {})",
        crate::REDIS_VERSION,
        crate::GYRE_VERSION
    );
    if config.file().is_none() {
        log::warn!(
            "Warning: no config file specified, using the default config. In order to specify a config file use gyre \
             /path/to/redis.conf"
        );
    } else {
        log::info!("Configuration loaded");
    }
}

//! `gyre --check-config`: what is wrong with a configuration, and what is risky about it.
//!
//! In: a command line as the server takes it. Out: what would end the start, or a list of risks with what to do about each.
//! Nothing is opened for writing, made, bound or connected to.
//!
//! The configuration is read by what the server reads it with: [`Config::load`], the command table for renamed commands, the
//! users from lines or their file. Files named by directives are only asked for.

use super::listeners;
use crate::acl::User;
use crate::config::{Config, ConfigError, Fsync, ProtectedAction, Settings, StatementKind};
use crate::engine::{State, acl_file};
use crate::keyspace::Clock;
use crate::system::process;
use crate::{acl, commands};
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Letters of a password below which it is short: one who may try it as fast as a server answers gets through it.
const SHORT_PASSWORD: usize = 16;

/// Something risky: the directive to look at, and why.
type Risk = (&'static str, String);

/// Checks the configuration that this command line asks for; the exit status.
pub fn run(args: &[OsString], out: &mut dyn Write) -> u8 {
    match check(args) {
        Err(error) => {
            let _ = writeln!(out, "{}", error.to_string().trim_start());
            1
        }
        Ok(risks) => {
            for (directive, text) in &risks {
                let _ = writeln!(out, "risk: {directive}: {text}");
            }
            let _ = match risks.len() {
                0 => writeln!(
                    out,
                    "The configuration is right, and nothing about it is known to be risky."
                ),
                1 => writeln!(out, "The configuration is right. 1 risk."),
                risks => writeln!(out, "The configuration is right. {risks} risks."),
            };
            0
        }
    }
}

fn check(args: &[OsString]) -> Result<Vec<Risk>, ConfigError> {
    let mut stdin = || {
        let mut text = Vec::new();
        io::stdin().read_to_end(&mut text).map(|_| text)
    };
    let config = Config::load(args, &mut stdin)?;
    let settings = config.settings().clone();
    // Paths that follow are relative to it. This process does nothing else.
    std::env::set_current_dir(&settings.dir).map_err(|error| {
        let reason = process::os_error_text(&error);
        let shown = settings.dir.display();
        ConfigError::overall(format!("Can't chdir to '{shown}': {reason}"))
    })?;
    check_files(&config)?;
    if settings.port == 0 && is(&config, "tls-port", "0") && settings.unixsocket.is_none() {
        return Err(ConfigError::overall(
            "Configured to not listen anywhere, exiting.",
        ));
    }
    check_addresses(&config)?;
    let now = Clock {
        unix_us: 0,
        mono_ns: 0,
        keeps_expired: false,
    };
    let mut state = State::new(config, commands::GROUPS, [0; 4], now)?;
    acl_file::begin(&mut state)?;
    let mut risks = Vec::new();
    risks_of_access(&state, &mut risks);
    risks_of_passwords(&state, args, &mut risks);
    risks_of_network(&state.config, &mut risks);
    risks_of_limits(&settings, &mut risks);
    risks_of_files(&state.config, &mut risks);
    risks_of_data(&settings, &mut risks);
    risks_of_commands(&state.config, &mut risks);
    Ok(risks)
}

/// Whether a directive has this value.
fn is(config: &Config, name: &str, value: &str) -> bool {
    config
        .get_one(name)
        .is_some_and(|it| it == value.as_bytes())
}

/// The file that a directive names, if it names one.
fn file_of(config: &Config, name: &str) -> Option<OsString> {
    let path = config.get_one(name).filter(|path| !path.is_empty())?;
    Some(OsStr::from_bytes(&path).to_owned())
}

/// Files that the server opens at its start: those that are read must be readable, those that are written must have a
/// directory.
fn check_files(config: &Config) -> Result<(), ConfigError> {
    for name in [
        "tls-cert-file",
        "tls-key-file",
        "tls-ca-cert-file",
        "tls-alt-cert-file",
        "tls-alt-key-file",
        "tls-client-cert-file",
        "tls-client-key-file",
    ] {
        if let Some(path) = file_of(config, name)
            && let Err(error) = std::fs::File::open(&path)
        {
            let reason = process::os_error_text(&error);
            let shown = Path::new(&path).display();
            return Err(ConfigError::overall(format!("{name} '{shown}': {reason}")));
        }
    }
    for name in ["logfile", "unixsocket", "pidfile"] {
        let Some(path) = file_of(config, name) else {
            continue;
        };
        let path = Path::new(&path);
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        // A pid file that cannot be written is no reason not to serve.
        if name != "pidfile" && !parent.is_dir() {
            let shown = path.display();
            return Err(ConfigError::overall(format!(
                "{name} '{shown}': there is no such directory"
            )));
        }
    }
    Ok(())
}

/// Addresses that cannot be listened on: names that nobody knows, and those that are asked for twice.
fn check_addresses(config: &Config) -> Result<(), ConfigError> {
    let settings = config.settings();
    let of_clients = settings
        .bind
        .iter()
        .map(|it| (it.host.as_str(), it.optional));
    let of_pages = settings.http_bind.split_ascii_whitespace();
    let of_pages = of_pages.map(|word| match word.strip_prefix('-') {
        Some(host) => (host, true),
        None => (word, false),
    });
    let mut taken: Vec<(&str, SocketAddr)> = Vec::new();
    let mut take = |name, bind: &str, port: u16, hosts: &mut dyn Iterator<Item = (&str, bool)>| {
        for (host, optional) in hosts.filter(|_| port != 0) {
            let found = listeners::addresses(host, port, optional);
            let unknown =
                |_| ConfigError::overall(format!("{bind} '{host}': no such address is known"));
            for address in found.map_err(unknown)? {
                let other = taken
                    .iter()
                    .find(|(_, other)| is_same_place(*other, address));
                if let Some((other, _)) = other.filter(|(other, _)| *other != name) {
                    let text = format!("{other} and {name} are both {port}, on the same address");
                    return Err(ConfigError::overall(text));
                }
                taken.push((name, address));
            }
        }
        Ok(())
    };
    take("port", "bind", settings.port, &mut of_clients.clone())?;
    take(
        "tls-port",
        "bind",
        settings.tls.port,
        &mut of_clients.clone(),
    )?;
    take(
        "http-port",
        "http-bind",
        settings.http_port,
        &mut of_pages.into_iter(),
    )
}

/// Whether two sockets cannot both be listened on: theirs is the same port of the same address, or of all.
fn is_same_place(a: SocketAddr, b: SocketAddr) -> bool {
    let is_for_all = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.is_ipv4() == b.is_ipv4() && (is_for_all || a.ip() == b.ip())
}

/// Whether one of the addresses that are listened on can be reached from another machine.
fn is_beyond_loopback<'a>(hosts: impl IntoIterator<Item = &'a str>) -> bool {
    hosts.into_iter().any(|host| {
        let host = host.trim_start_matches('-');
        let address: Option<IpAddr> = host.parse().ok();
        let is_loopback = address.is_some_and(|it| it.to_canonical().is_loopback());
        !host.is_empty() && !is_loopback && !host.eq_ignore_ascii_case("localhost")
    })
}

/// Whether clients can come from other machines.
fn is_reachable(config: &Config) -> bool {
    let settings = config.settings();
    let is_open = settings.port != 0 || !is(config, "tls-port", "0");
    is_open && is_beyond_loopback(settings.bind.iter().map(|it| it.host.as_str()))
}

fn is_open_to_all(user: &User) -> bool {
    user.is_on() && user.has_nopass()
}

/// Who comes in without a password.
fn risks_of_access(state: &State, risks: &mut Vec<Risk>) {
    let settings = state.config.settings();
    let default = state.users.default_user();
    let is_reachable = is_reachable(&state.config);
    let mut add = |directive, text: String| risks.push((directive, text));
    if is_open_to_all(default) && is_reachable {
        let text = match settings.protected_mode {
            false if !default.is_unrestricted() => {
                "whoever reaches the port needs no password for what the rules of default permit, and protected mode is \
                 off. Set one, or bind 127.0.0.1"
            }
            false => {
                "whoever reaches the port can do everything: there is no password, and protected mode is off. Set one, \
                 or bind 127.0.0.1"
            }
            true => {
                "there is no password, so protected mode refuses all who come from elsewhere. Set one, or bind 127.0.0.1"
            }
        };
        add("requirepass", text.to_owned());
    }
    let has_open_pages =
        settings.http_port != 0 && is_beyond_loopback(settings.http_bind.split(' '));
    if is_open_to_all(default) && has_open_pages && !settings.protected_mode {
        let text = "the pages are open to everybody who reaches their port: there is no password, and protected mode is off. \
                    Set one, or bind 127.0.0.1";
        add("http-bind", text.to_owned());
    }
    if !settings.protected_mode {
        add(
            "protected-mode",
            "it is off: a password that is taken away leaves the server open to everybody"
                .to_owned(),
        );
    }
    if is_open_to_all(default) && default.is_unrestricted() && state.users.iter().len() > 1 {
        let text = "there are users, but whoever does not say who he is may do everything: give default a password, or \
                    switch it off (user default off)";
        add("user", text.to_owned());
    }
    let others = state
        .users
        .iter()
        .filter(|user| user.name() != acl::DEFAULT_USER);
    for user in others.filter(|user| is_open_to_all(user)) {
        let name = String::from_utf8_lossy(user.name()).into_owned();
        add("user", format!("{name} needs no password (nopass)"));
    }
    if settings.requirepass.is_some() && default.has_nopass() {
        let text = "it does not hold: the users' rules let default in without a password";
        add("requirepass", text.to_owned());
    }
    if settings.acl_pubsub_all_channels {
        let text =
            "new users may use all channels; with resetchannels they get those that they are given";
        add("acl-pubsub-default", text.to_owned());
    }
    let is_anybodys = settings.unixsocketperm & 0o006 != 0;
    if settings.unixsocket.is_some() && is_anybodys && is_open_to_all(default) {
        let text = "every user of this machine can connect to the socket, and there is no password. 700 or 770 keep them out";
        add("unixsocketperm", text.to_owned());
    }
}

/// Passwords that can be guessed or read.
fn risks_of_passwords(state: &State, args: &[OsString], risks: &mut Vec<Risk>) {
    let settings = state.config.settings();
    let short = |password: &[u8]| {
        let len = password.len();
        (len < SHORT_PASSWORD).then(|| {
            format!("a password of {len} letters is guessed, fast as the server answers: ACL GENPASS makes a long one")
        })
    };
    if let Some(text) = settings.requirepass.as_deref().and_then(short) {
        risks.push(("requirepass", text));
    }
    let mut look = |directive, words: &[&[u8]]| {
        let Some((name, rules)) = words.split_first() else {
            return;
        };
        let passwords = rules.iter().filter_map(|rule| rule.strip_prefix(b">"));
        for text in passwords.filter_map(short) {
            let name = String::from_utf8_lossy(name);
            risks.push((directive, format!("{name}: {text}")));
        }
    };
    for statement in state.config.statements() {
        if let StatementKind::User(words) = &statement.kind {
            look("user", &words.iter().map(Vec::as_slice).collect::<Vec<_>>());
        }
    }
    // It was read a moment ago; who writes it by hand may write passwords and not their hashes.
    let file = file_of(&state.config, "aclfile").and_then(|path| std::fs::read(path).ok());
    for line in file.unwrap_or_default().split(|byte| *byte == b'\n') {
        let words: Vec<&[u8]> = line.trim_ascii().split(|byte| *byte == b' ').collect();
        if let Some((kind, words)) = words.split_first()
            && *kind == b"user"
        {
            look("aclfile", words);
        }
    }
    let names = args
        .iter()
        .filter_map(|arg| arg.as_bytes().strip_prefix(b"--"));
    for name in names {
        let name = name.split(|byte| *byte == b' ').next().unwrap_or_default();
        let is_password = Config::is_sensitive(name) && !name.eq_ignore_ascii_case(b"masteruser");
        if is_password || name.eq_ignore_ascii_case(b"user") {
            let name = String::from_utf8_lossy(name);
            let text = format!(
                "--{name} shows a password to all users of this machine until the server has started, and \
                 stays in the shell's history: write it into a file"
            );
            risks.push(("command line", text));
        }
    }
}

/// What can be read or changed on its way.
fn risks_of_network(config: &Config, risks: &mut Vec<Risk>) {
    let settings = config.settings();
    let mut add = |directive, text: &str| risks.push((directive, text.to_owned()));
    let has_tls = !is(config, "tls-port", "0");
    let is_beyond = is_beyond_loopback(settings.bind.iter().map(|it| it.host.as_str()));
    if is_beyond && settings.port != 0 && !has_tls {
        add(
            "tls-port",
            "passwords and data cross the network as they are: whoever sees them go by can use them",
        );
    }
    if is_beyond && settings.port != 0 && has_tls {
        add(
            "port",
            "it is open beside tls-port, and clients may still come without TLS. port 0 closes it",
        );
    }
    if has_tls && is(config, "tls-auth-clients", "no") {
        add(
            "tls-auth-clients",
            "clients need no certificate: what keeps strangers out is their password alone",
        );
    }
    let has_primary = settings.replica_of.as_ref();
    if has_primary.is_some_and(|(host, _)| is_beyond_loopback([host.as_str()]))
        && !is(config, "tls-replication", "yes")
    {
        add(
            "tls-replication",
            "the link to the primary is not encrypted: its password and all data can be read on it",
        );
    }
    let has_plain_pages = settings.http_port != 0 && !settings.http_tls;
    if has_plain_pages && is_beyond_loopback(settings.http_bind.split(' ')) {
        add(
            "http-bind",
            "the pages are not over TLS: the password that opens them can be read on its way. http-tls yes has them so",
        );
    }
}

/// Bounds for strangers.
fn risks_of_limits(settings: &Settings, risks: &mut Vec<Risk>) {
    let mut add = |directive, text: &str| risks.push((directive, text.to_owned()));
    let is_beyond = is_beyond_loopback(settings.bind.iter().map(|it| it.host.as_str()));
    if is_beyond && settings.auth_failures_per_address == 0 {
        add(
            "auth-failures-per-address",
            "passwords may be tried as fast as the server answers. 20 leaves room for mistakes",
        );
    }
    if is_beyond && settings.maxclients_per_address == 0 && settings.maxclients_reserved == 0 {
        add(
            "maxclients-per-address",
            "one address may take all connections, and nobody else gets in to repair it",
        );
    }
    if settings.maxclients_reserved > 0 && settings.priority_subnets.is_empty() {
        add(
            "maxclients-reserved",
            "it has no effect without priority-subnets",
        );
    }
    if !settings.priority_subnets.is_empty() && settings.maxclients_reserved == 0 {
        add(
            "priority-subnets",
            "it has no effect without maxclients-reserved",
        );
    }
    if !settings.priority_subnets.is_empty() && settings.maxclients_reserved >= settings.maxclients
    {
        add(
            "maxclients-reserved",
            "it is all of maxclients: only priority-subnets can connect",
        );
    }
    if settings.maxmemory == 0 {
        add(
            "maxmemory",
            "there is no bound: clients can fill the machine's memory until the system ends the server",
        );
    }
}

/// The permissions of a file or directory; none if it is not there.
fn mode(path: &Path) -> Option<u32> {
    Some(std::fs::metadata(path).ok()?.mode() & 0o7777)
}

/// Files that others can read or change.
fn risks_of_files(config: &Config, risks: &mut Vec<Risk>) {
    let settings = config.settings();
    let mut look = |directive: &'static str, path: &Path, is_secret: bool| {
        let Some(mode) = mode(path) else {
            return;
        };
        let shown = path.display();
        if is_secret && mode & 0o004 != 0 {
            let text = format!(
                "every user of this machine can read {shown}, which has passwords or keys: chmod 600"
            );
            risks.push((directive, text));
        }
        if mode & 0o002 != 0 {
            let text = format!(
                "every user of this machine can change {shown} (its permissions are {mode:o})"
            );
            risks.push((directive, text));
        }
    };
    for (path, has_secret) in config.files() {
        look("configuration", path, *has_secret);
    }
    for name in [
        "aclfile",
        "tls-key-file",
        "tls-alt-key-file",
        "tls-client-key-file",
    ] {
        if let Some(path) = file_of(config, name) {
            look(name, Path::new(&path), true);
        }
    }
    look("dir", &settings.dir, false);
    if settings.record.is_some() {
        let text = "all that clients send is written into a file, but for their passwords";
        risks.push(("record", text.to_owned()));
    }
}

/// Ways to lose data.
fn risks_of_data(settings: &Settings, risks: &mut Vec<Risk>) {
    let mut add = |directive, text: &str| risks.push((directive, text.to_owned()));
    if settings.save.is_empty() && !settings.appendonly {
        add(
            "save",
            "nothing is written to the disk (no save points, no appendonly): a restart begins empty",
        );
    }
    if settings.appendonly && settings.appendfsync == Fsync::No {
        add(
            "appendfsync",
            "no leaves it to the system when writes are on the disk: half a minute of them may be lost",
        );
    }
    if settings.min_replicas_to_write > 0 && settings.min_replicas_max_lag_s == 0 {
        add(
            "min-replicas-to-write",
            "it has no effect with min-replicas-max-lag 0",
        );
    }
    if settings.replica_of.is_some() && !settings.replica_read_only {
        add(
            "replica-read-only",
            "clients may write to this replica, and what they write is lost when it is synchronized",
        );
    }
}

/// Commands that are more than data, and directives that do not do what they say.
fn risks_of_commands(config: &Config, risks: &mut Vec<Risk>) {
    let settings = config.settings();
    for (directive, action, may) in [
        (
            "enable-debug-command",
            settings.enable_debug_command,
            "stop or crash the server (DEBUG)",
        ),
        (
            "enable-protected-configs",
            settings.enable_protected_configs,
            "have files written anywhere (CONFIG SET dir, dbfilename)",
        ),
        (
            "enable-module-command",
            settings.enable_module_command,
            "load code into the server (MODULE)",
        ),
    ] {
        if action == ProtectedAction::Yes {
            let text =
                format!("yes lets clients from everywhere {may}. local keeps it to this machine");
            risks.push((directive, text));
        }
    }
    for statement in config.statements() {
        if let StatementKind::RenameCommand { from, to } = &statement.kind {
            let name = String::from_utf8_lossy(from).into_owned();
            let text = match to.is_empty() {
                true => format!(
                    "{name} is taken from everybody, replicas and tools too: rules of users (-{name}) take it from some"
                ),
                false => format!(
                    "{name} is only hidden, and whoever learns the new name may use it: rules of users (-{name}) keep it \
                     from them"
                ),
            };
            risks.push(("rename-command", text));
        }
    }
    if let Some(text) = config.warnings() {
        risks.push(("without effect", text));
    }
}

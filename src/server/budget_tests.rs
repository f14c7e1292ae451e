//! Budgets of users, in a simulation, where time goes on as it is told to.

use super::stranger_tests::World;
use crate::acl::Usage;
use crate::engine::budgets;
use crate::event_loop::SimulatedPeer;
use std::time::Duration;

const SECOND_NS: u64 = 1_000_000_000;

/// A server whose user `u` has these rules beside all rights, and its administrator.
fn with_user(rules: &str) -> (World, SimulatedPeer) {
    let mut world = World::new(&["--enable-debug-command", "yes"]);
    let admin = world.handle.connect();
    let set = format!("ACL SETUSER u on nopass ~* &* +@all {rules}\r\n");
    assert_eq!(world.ask(admin, &set), "+OK\r\n");
    (world, admin)
}

fn client_of(world: &mut World, user: &str) -> SimulatedPeer {
    let peer = world.handle.connect();
    assert_eq!(world.ask(peer, &format!("AUTH {user} x\r\n")), "+OK\r\n");
    peer
}

fn usage<R>(world: &World, user: &str, ask: impl Fn(&Usage) -> R) -> R {
    let user = world.server.core.state.users.find(user.as_bytes());
    ask(user.expect("the user").usage())
}

fn cpu_ms(world: &World, user: &str) -> u64 {
    usage(world, user, Usage::cpu_ns) / 1_000_000
}

/// Waits in small steps, as the loop of a server sleeps.
fn wait_ms(world: &mut World, ms: u64) {
    for _ in 0..ms.div_ceil(10) {
        world.wait(Duration::from_millis(10));
    }
}

fn count(text: &str, line: &str) -> usize {
    text.lines().filter(|it| *it == line).count()
}

/// Who was somebody else at the end of what it sent, or nobody, paid nothing, and the other paid for it.
#[test]
fn who_runs_a_command_pays_for_it() {
    let (mut world, admin) = with_user("cpu=100/s");
    world.ask(admin, "ACL SETUSER v on nopass ~* +@all\r\n");
    let peer = client_of(&mut world, "u");
    world.ask(peer, "DEBUG SLEEP 0.2\r\nRESET\r\n");
    let of_u = cpu_ms(&world, "u");
    assert!((200..220).contains(&of_u), "{of_u}");
    world.ask(peer, "AUTH v x\r\nDEBUG SLEEP 0.3\r\nAUTH u x\r\n");
    let (of_u, of_v) = (cpu_ms(&world, "u"), cpu_ms(&world, "v"));
    assert!(of_u < 220 && (300..320).contains(&of_v), "{of_u} {of_v}");
    // Nor is it free to change one's own rules, or to have somebody do it.
    world.ask(
        peer,
        "AUTH v x\r\nDEBUG SLEEP 0.3\r\nACL SETUSER v reset on nopass +@all\r\nHELLO 2 AUTH u x\r\n",
    );
    let of_v = cpu_ms(&world, "v");
    assert!((600..630).contains(&of_v), "{of_v}");
}

/// Both the command and what was around it were counted.
#[test]
fn time_is_charged_once() {
    let (mut world, _) = with_user("");
    let peer = client_of(&mut world, "u");
    world.ask(peer, "MULTI\r\nDEBUG SLEEP 0.2\r\nEXEC\r\n");
    let ms = cpu_ms(&world, "u");
    assert!((200..220).contains(&ms), "{ms}");
    assert_eq!(usage(&world, "u", Usage::commands), 3);
}

/// A script that was long enough cost nothing: it ended where nobody charged.
#[test]
fn a_script_that_stands_still_is_paid_for_while_it_does() {
    let (mut world, admin) = with_user("");
    world.ask(admin, "CONFIG SET busy-reply-threshold 1\r\n");
    let peer = client_of(&mut world, "u");
    let before_ms = cpu_ms(&world, "u");
    world.send(peer, "EVAL \"while true do end\" 0\r\n");
    assert!(world.ask(admin, "GET k\r\n").starts_with("-BUSY"));
    world.turn();
    let ms = cpu_ms(&world, "u") - before_ms;
    assert!(ms >= 50, "{ms}");
    assert_eq!(world.ask(admin, "SCRIPT KILL\r\n"), "+OK\r\n");
    assert!(world.take(peer).starts_with("-ERR "));
    assert!(cpu_ms(&world, "default") < 50);
}

#[test]
fn who_waited_for_a_key_pays_for_its_own_command() {
    let (mut world, admin) = with_user("rate=1/s");
    let waiter = client_of(&mut world, "u");
    world.send(waiter, "BLPOP l 0\r\n");
    let before = usage(&world, "u", |it| (it.cpu_ns(), it.commands()));
    world.ask(admin, "RPUSH l 1\r\n");
    // It was counted, and asked whether there was room for it, when it came.
    assert_eq!(world.take(waiter), "*2\r\n$1\r\nl\r\n$1\r\n1\r\n");
    let after = usage(&world, "u", |it| (it.cpu_ns(), it.commands()));
    assert!(
        after.0 > before.0 && after.1 == before.1,
        "{before:?} {after:?}"
    );
}

/// The first of them, by their ids, had all there was.
#[test]
fn clients_of_one_user_go_on_in_turn() {
    let (mut world, _) = with_user("rate=10/s");
    let peers: Vec<_> = (0..5).map(|_| client_of(&mut world, "u")).collect();
    for peer in &peers {
        world.send(*peer, &"ECHO a\r\n".repeat(100));
    }
    wait_ms(&mut world, 10_000);
    let answered = peers.iter().map(|peer| count(&world.take(*peer), "a"));
    let answered: Vec<usize> = answered.collect();
    let sum: usize = answered.iter().sum();
    assert!((105..=115).contains(&sum), "{answered:?}");
    // The first found a full budget.
    assert!(answered.iter().all(|it| *it >= 18), "{answered:?}");
    assert!(usage(&world, "u", Usage::waits) <= 115);
}

/// Each token woke all who waited for one.
#[test]
fn no_more_are_woken_than_can_run() {
    let (mut world, _) = with_user("rate=10/s cpu=900/s");
    let peers: Vec<_> = (0..100).map(|_| client_of(&mut world, "u")).collect();
    for peer in &peers {
        world.send(*peer, "ECHO a\r\n");
    }
    let core = &mut world.server.core;
    assert_eq!(core.state.budgets.held_of(b"u"), 90);
    let now_ns = core.state.now.mono_ns;
    let mut woken = 0;
    for step in 1..=20 {
        let keys = budgets::take_due(&mut core.state, now_ns + step * SECOND_NS / 10);
        woken += keys.len();
        assert!(woken <= 2, "one token, and they are waited for");
    }
    assert!(woken >= 1);
}

/// A budget of time that is used up has room for all at once a moment later; small commands must not have a turn each.
#[test]
fn time_that_is_there_is_used() {
    let (mut world, _) = with_user("cpu=100/s");
    let peers: Vec<_> = (0..40).map(|_| client_of(&mut world, "u")).collect();
    world.send(peers[0], "DEBUG SLEEP 0.2\r\n");
    for peer in &peers {
        world.send(*peer, &"ECHO a\r\n".repeat(64));
    }
    wait_ms(&mut world, 500);
    assert!(peers[1..].iter().all(|it| world.take(*it).is_empty()));
    wait_ms(&mut world, 2000);
    let answered = peers.iter().map(|peer| count(&world.take(*peer), "a"));
    assert_eq!(answered.sum::<usize>(), 40 * 64);
    assert!(world.server.core.state.budgets.is_empty());
}

/// What was held could only shrink by being run, and it was not run for being there.
#[test]
fn memory_holds_nobody_for_ever() {
    let (mut world, _) = with_user("memory=64kb");
    let (queues, other, late) = (
        client_of(&mut world, "u"),
        client_of(&mut world, "u"),
        client_of(&mut world, "u"),
    );
    let set = format!("SET k {}\r\n", "x".repeat(20_000));
    let asked = world.ask(queues, &format!("MULTI\r\n{}", set.repeat(5)));
    assert_eq!(count(&asked, "+QUEUED"), 5);
    wait_ms(&mut world, 200);
    world.send(other, &format!("{}ECHO a\r\n", set.repeat(10)));
    assert_eq!(world.ask(queues, &set), "", "no more is queued");
    wait_ms(&mut world, 4000);
    world.send(late, "ECHO late\r\n");
    assert_eq!(world.take(other), "");
    wait_ms(&mut world, 1500);
    let told = "-THROTTLED The budget of this user is used up, try again later\r\n";
    assert_eq!(
        (world.take(other), world.take(queues)),
        (told.into(), told.into())
    );
    assert_eq!(world.take(late), "");
    // The queue is spoilt, and what ends it runs, whatever others hold.
    assert!(world.ask(queues, "EXEC\r\n").starts_with("-EXECABORT"));
    wait_ms(&mut world, 500);
    let answer = world.take(other);
    assert_eq!((count(&answer, "+OK"), count(&answer, "a")), (9, 1));
    assert_eq!(world.take(late), "$4\r\nlate\r\n");
    assert_eq!(usage(&world, "u", Usage::memory_bytes), 0);
}

#[test]
fn answers_that_nobody_reads_count() {
    let (mut world, admin) = with_user("memory=64kb");
    assert_eq!(world.ask(admin, "SETRANGE k 199999 x\r\n"), ":200000\r\n");
    let deaf = client_of(&mut world, "u");
    world.handle.set_capacity(deaf, 1000);
    world.send(deaf, "GET k\r\nGET k\r\n");
    wait_ms(&mut world, 200);
    let other = client_of(&mut world, "u");
    assert_eq!(world.ask(other, "ECHO a\r\n"), "");
    assert_eq!(world.ask(admin, "ECHO a\r\n"), "$1\r\na\r\n");
    while !world.take(deaf).is_empty() {}
    wait_ms(&mut world, 300);
    assert_eq!(world.take(other), "$1\r\na\r\n");
}

#[test]
fn what_scripts_call_counts_for_the_rate() {
    let (mut world, _) = with_user("rate=10/s");
    let peer = client_of(&mut world, "u");
    let eval = "EVAL \"for i = 1, 49 do redis.call('INCR', 'n') end\" 0\r\nECHO a\r\n";
    assert_eq!(world.ask(peer, eval), "$-1\r\n");
    wait_ms(&mut world, 3500);
    assert_eq!(world.take(peer), "");
    wait_ms(&mut world, 800);
    assert_eq!(world.take(peer), "$1\r\na\r\n");
}

#[test]
fn another_budget_lets_those_go_on_whom_it_does_not_hold() {
    let (mut world, admin) = with_user("rate=1/s");
    let peer = client_of(&mut world, "u");
    let eval = "EVAL \"for i = 1, 99 do redis.call('INCR', 'n') end\" 0\r\nECHO a\r\n";
    world.ask(peer, eval);
    // What is owed stays owed, whoever the user is by its rules.
    for rules in ["rate=2/s", "reset on nopass ~* +@all rate=2/s"] {
        world.ask(admin, &format!("ACL SETUSER u {rules}\r\n"));
        wait_ms(&mut world, 1000);
        assert_eq!(world.take(peer), "", "{rules}");
    }
    world.ask(admin, "ACL SETUSER u nobudget\r\n");
    assert_eq!(world.take(peer), "$1\r\na\r\n");
    world.ask(peer, eval);
    world.ask(admin, "ACL SETUSER u rate=1/s\r\n");
    world.ask(peer, eval);
    world.ask(peer, "ECHO b\r\n");
    world.ask(admin, "ACL SETUSER u throttle-error\r\n");
    assert!(world.take(peer).starts_with("-THROTTLED"));
    // A user that is made anew is another one.
    world.ask(
        admin,
        "ACL DELUSER u\r\nACL SETUSER u on nopass ~* +@all rate=1/s\r\n",
    );
    assert!(world.handle.is_closed(peer));
    let peer = client_of(&mut world, "u");
    assert_eq!(world.ask(peer, "ECHO c\r\n"), "$1\r\nc\r\n");
}

/// Nothing is left of who goes, and those behind it go on.
#[test]
fn clients_may_go_while_they_are_held() {
    let (mut world, admin) = with_user("rate=1/s");
    let peers: Vec<_> = (0..5).map(|_| client_of(&mut world, "u")).collect();
    for peer in &peers {
        world.send(*peer, "INCR n\r\nINCR n\r\n");
    }
    let held = |world: &World| world.server.core.state.budgets.held_of(b"u");
    assert_eq!(held(&world), 5);
    world.close(peers[0]);
    world.handle.finish(peers[1]);
    world.turn();
    let list = world.ask(admin, "CLIENT LIST\r\n");
    let ids = list.lines().filter(|line| line.contains("user=u"));
    let mut id = ids.filter_map(|line| line.strip_prefix("id=")?.split(' ').next());
    let id = id.next_back().expect("one of them").to_owned();
    assert_eq!(
        world.ask(admin, &format!("CLIENT KILL ID {id}\r\n")),
        ":1\r\n"
    );
    assert_eq!(held(&world), 2);
    wait_ms(&mut world, 1100);
    assert_eq!(world.take(peers[2]), ":2\r\n");
    world.ask(admin, "ACL DELUSER u\r\n");
    assert!(world.server.core.state.budgets.is_empty());
    assert!(world.handle.is_closed(peers[3]));
    assert_eq!(world.server.core.state.budgets.next_ns(), None);
}

#[test]
fn a_pause_and_a_budget_do_not_forget_whom_they_hold() {
    let (mut world, admin) = with_user("rate=1/s");
    let peer = client_of(&mut world, "u");
    assert_eq!(world.ask(peer, "INCR n\r\nINCR n\r\n"), ":1\r\n");
    world.ask(admin, "CLIENT PAUSE 5000 WRITE\r\n");
    wait_ms(&mut world, 2000);
    assert_eq!(world.take(peer), "");
    // Who only reads is not held behind it.
    let other = client_of(&mut world, "u");
    assert_eq!(world.ask(other, "GET n\r\n"), "$1\r\n1\r\n");
    wait_ms(&mut world, 2000);
    world.ask(admin, "CLIENT UNPAUSE\r\n");
    assert_eq!(world.take(peer), ":2\r\n");
    assert!(world.server.core.state.budgets.is_empty());
}

/// As who sends something then. What is held longer than the script runs is run.
#[test]
fn whose_turn_comes_while_a_script_stands_still_is_told_so() {
    let (mut world, admin) = with_user("rate=10/s");
    world.ask(admin, "CONFIG SET busy-reply-threshold 1\r\n");
    let (peer, runs) = (client_of(&mut world, "u"), world.handle.connect());
    let asked = "ECHO a\r\n".repeat(11);
    assert_eq!(count(&world.ask(peer, &asked), "a"), 10);
    world.send(runs, "EVAL \"while true do end\" 0\r\n");
    world.wait(Duration::from_secs(1));
    let told = world.take(peer);
    assert!(
        told.starts_with("-BUSY Redis is busy running a script."),
        "{told}"
    );
    assert_eq!(world.ask(admin, "SCRIPT KILL\r\n"), "+OK\r\n");
    // It has cost nothing.
    assert_eq!(world.ask(peer, "ECHO b\r\n"), "$1\r\nb\r\n");
    assert!(world.server.core.state.budgets.is_empty());
}

#[test]
fn a_queue_is_counted_when_it_is_run() {
    let (mut world, _) = with_user("rate=2/s");
    let peer = client_of(&mut world, "u");
    let queue = format!("MULTI\r\n{}EXEC\r\nECHO a\r\n", "INCR n\r\n".repeat(9));
    let answer = world.ask(peer, &queue);
    assert_eq!(count(&answer, "+QUEUED"), 9);
    assert!(answer.ends_with(":9\r\n"), "{answer}");
    wait_ms(&mut world, 4000);
    assert_eq!(world.take(peer), "");
    wait_ms(&mut world, 1000);
    assert_eq!(world.take(peer), "$1\r\na\r\n");
}

#[test]
fn what_users_have_used_is_told() {
    let (mut world, admin) = with_user("rate=1/s");
    world.ask(admin, "ACL SETUSER quiet on\r\n");
    let peer = client_of(&mut world, "u");
    world.ask(peer, "DEBUG SLEEP 0.1\r\nECHO a\r\n");
    let told = world.ask(admin, "LOOP USERS\r\n");
    let of_u = told.split("$1\r\nu\r\n").nth(1).expect("the user");
    assert!(!told.contains("quiet"), "{told}");
    for wanted in [
        "$8\r\ntotal-us\r\n",
        "$8\r\ncommands\r\n:1\r\n",
        "$5\r\nwaits\r\n:1\r\n",
        "$8\r\nrefusals\r\n:0\r\n",
        "$12\r\nclients-held\r\n:1\r\n",
    ] {
        assert!(of_u.contains(wanted), "{wanted} in {of_u}");
    }
    let info = world.ask(admin, "INFO users\r\n");
    let is_line = |line: &&str| line.starts_with("user_u:commands=1,cpu_usec=10");
    assert_eq!(info.lines().filter(is_line).count(), 1, "{info}");
    assert!(info.contains("user_default:"), "{info}");
    // What is shown is forgotten; who is held is still held, and for as long.
    assert_eq!(world.ask(admin, "LOOP RESET\r\n"), "+OK\r\n");
    let told = world.ask(admin, "LOOP USERS\r\n");
    let of_u = told.split("$1\r\nu\r\n").nth(1).expect("the user");
    for wanted in ["$8\r\ncommands\r\n:0\r\n", "$12\r\nclients-held\r\n:1\r\n"] {
        assert!(of_u.contains(wanted), "{wanted} in {of_u}");
    }
    let info = world.ask(admin, "INFO users\r\n");
    assert!(!info.contains("user_u:"), "{info}");
    wait_ms(&mut world, 1500);
    assert_eq!(world.take(peer), "$1\r\na\r\n");
}

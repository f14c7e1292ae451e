//! The live page in a real browser: it loads, the ring moves under load, a turn can be opened, slow motion explains it,
//! and the console stays silent.
//!
//! Needs a Chromium: the program that `GYRE_BROWSER` names, else `chromium`. It is large, so `make test` does not install it
//! and passes over this test where there is none; `make page` does. `GYRE_SCREENSHOTS=1` writes the pictures of docs/images
//! anew.

mod common;

use base64::Engine;
use common::{Server, skips};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A browser that is spoken to over its debugging pipe: JSON messages, each ended by a zero byte.
struct Browser {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    next: u64,
    session: Option<String>,
    /// What the console and the log of the page said.
    complaints: Vec<String>,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts the one that `GYRE_BROWSER` names, else Debian's; none where that is not installed.
    fn start() -> Option<Browser> {
        let named = std::env::var("GYRE_BROWSER")
            .ok()
            .filter(|it| !it.is_empty());
        let program = named.as_deref().unwrap_or("chromium");
        let found = Command::new(program).arg("--version").output();
        if !found.is_ok_and(|found| found.status.success()) {
            assert!(
                named.is_none(),
                "GYRE_BROWSER is {program}, which does not run"
            );
            return None;
        }
        let profile = tempfile::tempdir().expect("a folder");
        let line = format!(
            "exec {program} --headless=new --no-sandbox --disable-gpu --no-first-run --hide-scrollbars \
             --user-data-dir={} --remote-debugging-pipe about:blank 3<&0 4>&1 >/dev/null 2>&1 </dev/null",
            profile.path().display()
        );
        let mut child = Command::new("sh")
            .args(["-c", &line])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let to = child.stdin.take().expect("a pipe");
        let from = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut browser = Browser {
            child,
            to,
            from,
            next: 0,
            session: None,
            complaints: Vec::new(),
            _profile: profile,
        };
        let made = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let target = json!({ "targetId": made["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", target);
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for room in ["Page", "Runtime", "Log"] {
            browser.call(&format!("{room}.enable"), json!({}));
        }
        Some(browser)
    }

    /// Calls a method and waits for what it answers.
    fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.next += 1;
        let mut message = json!({ "id": self.next, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.to
            .write_all(message.to_string().as_bytes())
            .expect("the browser reads");
        self.to.write_all(&[0]).expect("the browser reads");
        loop {
            let mut bytes = Vec::new();
            let n = self
                .from
                .read_until(0, &mut bytes)
                .expect("the browser speaks");
            assert!(n > 0, "the browser has gone");
            bytes.pop();
            let said: Value = serde_json::from_slice(&bytes).expect("JSON");
            if said["id"] == json!(self.next) {
                assert!(said["error"].is_null(), "{method}: {said}");
                return said["result"].clone();
            }
            let complaints = [
                "Runtime.exceptionThrown",
                "Runtime.consoleAPICalled",
                "Log.entryAdded",
            ];
            if said["method"]
                .as_str()
                .is_some_and(|method| complaints.contains(&method))
            {
                self.complaints.push(said.to_string());
            }
        }
    }

    /// What an expression comes to.
    fn ask(&mut self, expression: &str) -> Value {
        let asked =
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", asked);
        assert!(
            answer["exceptionDetails"].is_null(),
            "{expression}: {answer}"
        );
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    fn wait_for(&mut self, expression: &str) {
        let until = Instant::now() + Duration::from_secs(30);
        while self.ask(expression) != json!(true) {
            assert!(
                Instant::now() < until,
                "never: {expression}; {:?}",
                self.complaints
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn key(&mut self, key: &str) {
        for kind in ["keyDown", "keyUp"] {
            let event = json!({ "type": kind, "key": key, "code": key });
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    fn look(&mut self, width: u32, height: u32, scheme: &str) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1.5, "mobile": width < 600 });
        self.call("Emulation.setDeviceMetricsOverride", size);
        let feature = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", feature);
    }

    fn picture(&mut self, name: &str) {
        // Two frames, so that what has changed is drawn.
        self.ask("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))");
        let shot = self.call("Page.captureScreenshot", json!({ "format": "png" }));
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(shot["data"].as_str().expect("a picture"))
            .expect("base64");
        assert!(bytes.starts_with(b"\x89PNG") && bytes.len() > 10_000);
        if std::env::var_os("GYRE_SCREENSHOTS").is_some() {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/images");
            std::fs::create_dir_all(folder).expect("a folder");
            std::fs::write(format!("{folder}/{name}.png"), bytes).expect("a file");
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Clients that keep the loop busy until they are told to stop.
fn load(server: &Server, stop: &Arc<AtomicBool>) -> Vec<std::thread::JoinHandle<()>> {
    let kinds: [&[&str]; 4] = [
        &["SET k:1 some-value", "GET k:1", "INCR n"],
        &[
            "ZADD board 5 ann 7 bob",
            "ZRANGE board 0 -1",
            "HSET h f v g w",
        ],
        &["RPUSH jobs a b c", "LRANGE jobs 0 -1", "LTRIM jobs -200 -1"],
        &["XADD log * a 1", "XLEN log", "SADD s 1 2 3", "PING"],
    ];
    let work = |(index, lines): (usize, &[&'static str])| {
        let mut raw = server.raw();
        raw.line(&format!("CLIENT SETNAME worker-{index}"));
        let (stop, lines) = (Arc::clone(stop), lines.to_vec());
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                lines.iter().for_each(|line| drop(raw.line(line)));
                std::thread::sleep(Duration::from_millis(1));
            }
        })
    };
    kinds.into_iter().enumerate().map(work).collect()
}

fn free_port() -> u16 {
    let probe = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    probe.local_addr().expect("its address").port()
}

#[test]
fn the_page_lives() {
    let Some(mut browser) = Browser::start() else {
        skips::pass_over("for want of GYRE_BROWSER", "a browser for the live page");
        return;
    };
    let port = free_port();
    let server = Server::with(&["--http-port", &port.to_string()]);
    let stop = Arc::new(AtomicBool::new(false));
    let workers = load(&server, &stop);
    let mut waiter = server.raw();
    waiter.line("CLIENT SETNAME waits-for-work");
    waiter.send(b"BLPOP nothing 0\r\n");

    browser.look(1280, 860, "light");
    browser.call(
        "Page.navigate",
        json!({ "url": format!("http://127.0.0.1:{port}/") }),
    );
    browser.wait_for("typeof turns !== 'undefined' && turns.length > 40");
    // The ring moves, and is lit where time was spent.
    let marker = "document.getElementById('marker').getAttribute('cx')";
    let before = browser.ask(marker);
    browser.wait_for(&format!("{marker} !== {before}"));
    browser.wait_for(
        "Number(arcs.sleep.style.opacity) > 0.3 && Number(arcs.execute.style.opacity) > 0.3",
    );
    browser.wait_for("latest.clients.some(client => client.state === 'blocked')");
    browser.wait_for("document.getElementById('commands').textContent.includes('zadd')");

    // A stall shows, with its culprit.
    let mut raw = server.raw();
    raw.line("DEBUG SLEEP 0.15");
    browser.wait_for("document.getElementById('slowest').textContent.includes('debug')");
    browser.picture("live-light");

    // A turn can be opened by a click and by the keyboard.
    browser.ask("strip.dispatchEvent(new MouseEvent('click', { bubbles: true, clientX: strip.getBoundingClientRect().left + 5 }))");
    browser.wait_for("document.getElementById('detail').textContent.startsWith('Turn ')");
    browser.ask("strip.focus(), true");
    browser.key("Home");
    browser.wait_for("chosen.turn === turns[0].turn || turns[0].turn > chosen.turn");
    let first = browser.ask("chosen.turn");
    browser.key("ArrowRight");
    browser.wait_for(&format!("chosen.turn !== {first}"));

    // Slow motion: phase by phase, each explained, while the server goes on.
    browser.key("s");
    browser.wait_for("slow !== null && document.getElementById('explain').textContent.length > 40");
    let phase = browser.ask("slow.phase");
    browser.key("ArrowRight");
    browser.wait_for(&format!("slow.phase !== {phase}"));
    browser.look(1280, 860, "dark");
    browser.picture("slow-motion-dark");
    browser.key("Escape");
    browser.wait_for("slow === null");
    browser.picture("live-dark");

    // On a phone nothing is wider than the screen.
    browser.look(390, 844, "light");
    browser.wait_for("document.documentElement.scrollWidth <= 390");
    browser.picture("live-phone");

    stop.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.join().expect("a worker ends");
    }
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
}

//! A headless browser, told what to do through the protocol that browsers have for that (W3C WebDriver): a page of
//! requests to a program on loopback.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

const DRIVER: &str = "/usr/bin/chromedriver";
const BROWSERS: [&str; 2] = ["/usr/lib/chromium/chromium", "/usr/bin/chromium"];

/// How long anything may take. Machines that run all tests at once are slow.
const PATIENCE: Duration = Duration::from_secs(180);

/// One browser at a time: several would keep a small machine from everything else.
static TURN: Mutex<()> = Mutex::new(());

/// A browser with a profile of its own, which ends when this is dropped.
pub(super) struct Browser {
    driver: Child,
    port: u16,
    session: String,
    _profile: TempDir,
    _turn: std::sync::MutexGuard<'static, ()>,
}

impl Browser {
    /// Starts a browser; `None`, said aloud, where there is none.
    #[expect(clippy::print_stderr, reason = "whoever runs the tests must know")]
    pub(super) fn start() -> Option<Self> {
        let browser = BROWSERS.into_iter().find(|path| Path::new(path).is_file());
        let (Some(browser), true) = (browser, Path::new(DRIVER).is_file()) else {
            eprintln!("skipped: there is no Chromium with its driver; install chromium and chromium-driver");
            return None;
        };
        let turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let profile = tempfile::tempdir().unwrap();
        let mut driver = Command::new(DRIVER)
            .arg("--port=0")
            .env("HOME", profile.path())
            .env("XDG_CONFIG_HOME", profile.path())
            .env("XDG_CACHE_HOME", profile.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let port = port_of(&mut driver);
        let mut started = Self {
            driver,
            port,
            session: String::new(),
            _profile: profile,
            _turn: turn,
        };
        let data = started._profile.path().join("data");
        let wanted = json!({ "capabilities": { "alwaysMatch": {
                "browserName": "chrome",
                "timeouts": { "script": 120_000, "pageLoad": 120_000 },
                "goog:loggingPrefs": { "performance": "ALL" },
                "goog:chromeOptions": { "binary": browser, "args": [
                    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                    "--disable-background-networking", "--disable-component-update", "--disable-sync",
                    "--disable-dev-shm-usage", "--window-size=1280,900", format!("--user-data-dir={}", data.display()),
                ] },
            } } });
        // The driver gives a browser a minute to start, which a machine with much else to do may not have for it.
        let answer = (0..4)
            .find_map(|_| match request(port, "POST", "/session", &wanted) {
                Ok(answer) if answer["value"]["error"].is_null() => Some(answer["value"].clone()),
                _ => None,
            })
            .expect("the browser starts");
        started.session = answer["sessionId"].as_str().unwrap().to_owned();
        Some(started)
    }

    /// Opens a file as a page, and waits until it is loaded.
    pub(super) fn open(&self, file: &Path) {
        self.tell("/url", &json!({ "url": url(file) }));
    }

    /// Runs a script in the page and returns what it returns.
    pub(super) fn run(&self, script: &str) -> Value {
        self.tell("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Waits until an expression is true in the page.
    #[track_caller]
    pub(super) fn until(&self, expression: &str) {
        let give_up = Instant::now() + PATIENCE;
        while self.run(&format!("return Boolean({expression})")) != Value::Bool(true) {
            assert!(Instant::now() < give_up, "not in time: {expression}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Types keys, wherever the focus is.
    pub(super) fn press(&self, keys: &str) {
        let actions: Vec<Value> = keys
            .chars()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key })))
            .collect();
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": actions });
        self.tell("/actions", &json!({ "actions": [keyboard] }));
    }

    /// Clicks where an element is, as a person does.
    #[track_caller]
    pub(super) fn click(&self, selector: &str) {
        let found = self.tell("/element", &json!({ "using": "css selector", "value": selector }));
        let id = found
            .as_object()
            .and_then(|found| found.values().next())
            .and_then(Value::as_str)
            .unwrap();
        self.tell(&format!("/element/{id}/click"), &json!({}));
    }

    /// Returns the addresses that anything asked for since this was asked the last time, whether or not it was answered.
    pub(super) fn requests(&self) -> Vec<String> {
        let log = self.tell("/se/log", &json!({ "type": "performance" }));
        log.as_array()
            .unwrap()
            .iter()
            .filter_map(|entry| serde_json::from_str::<Value>(entry["message"].as_str()?).ok())
            .filter(|entry| entry["message"]["method"] == "Network.requestWillBeSent")
            .filter_map(|entry| {
                let url = entry["message"]["params"]["request"]["url"].as_str()?;
                Some(url.to_owned())
            })
            // What the browser shows before the first page is its own.
            .filter(|url| !url.starts_with("data:") && !url.starts_with("chrome:"))
            .collect()
    }

    fn tell(&self, path: &str, body: &Value) -> Value {
        self.ask("POST", &format!("/session/{}{path}", self.session), body)
    }

    /// Asks the driver, and returns the value of its answer.
    #[track_caller]
    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        match request(self.port, method, path, body) {
            Ok(answer) => {
                let value = answer["value"].clone();
                assert!(value["error"].is_null(), "{method} {path}: {value:#}");
                value
            }
            Err(error) => panic!("{method} {path}: {error}"),
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends the browser; then it may end itself.
        if !self.session.is_empty() {
            let _ = request(
                self.port,
                "DELETE",
                &format!("/session/{}", self.session),
                &json!({}),
            );
        }
        let _ = request(self.port, "GET", "/shutdown", &json!({}));
        self.driver.kill().ok();
        self.driver.wait().ok();
    }
}

/// Returns a file's address.
pub(super) fn url(file: &Path) -> String {
    format!("file://{}", file.display())
}

/// Waits for the line in which the driver says where it listens; what else it says is read and left.
fn port_of(driver: &mut Child) -> u16 {
    let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
    let port = lines
        .by_ref()
        .map_while(Result::ok)
        .find_map(|line| {
            let (_, port) = line.split_once("successfully on port ")?;
            port.trim_end_matches('.').parse().ok()
        })
        .expect("the driver says where it listens");
    std::thread::spawn(move || lines.for_each(drop));
    port
}

/// Sends one request and reads its answer.
fn request(port: u16, method: &str, path: &str, body: &Value) -> std::io::Result<Value> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let body = if method == "POST" {
        body.to_string()
    } else {
        String::new()
    };
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )?;
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or_default();
        }
    }
    let mut answer = vec![0; length];
    reader.read_exact(&mut answer)?;
    Ok(serde_json::from_slice(&answer).unwrap_or_default())
}

/// A place on loopback where nobody may ever ask for anything.
pub(super) struct Trap(TcpListener);

impl Trap {
    pub(super) fn set() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.0.local_addr().unwrap())
    }

    #[track_caller]
    pub(super) fn is_untouched(&self) {
        let came = self.0.accept();
        assert!(came.is_err(), "somebody asked: {came:?}");
    }
}

//! A server that behaves as the API of GitHub does where `gabion ci comment` looks.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::{Value as Json, json};

/// How many things a page has.
const PAGE: usize = 30;

/// What the server has and does.
pub(crate) struct Service {
    /// The comments, oldest first.
    pub(crate) comments: Vec<Json>,
    /// The issues, oldest first.
    pub(crate) issues: Vec<Json>,
    /// The runs of workflows, newest first.
    pub(crate) runs: Vec<Json>,
    /// Who the token's user is; `None` for a job's own token.
    pub(crate) user: Option<u64>,
    /// The longest body that is taken.
    pub(crate) longest: usize,
    /// How many of the next writes are refused for the secondary rate limit.
    pub(crate) limited: usize,
    /// How many of the next writes are done and then answered with an error.
    pub(crate) lost: usize,
    /// What was asked: method and path.
    pub(crate) seen: Vec<String>,
}

pub(crate) struct Server {
    pub(crate) service: Arc<Mutex<Service>>,
    url: String,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let service = Arc::new(Mutex::new(Service {
            comments: Vec::new(),
            issues: Vec::new(),
            runs: Vec::new(),
            user: None,
            longest: 65_536,
            limited: 0,
            lost: 0,
            seen: Vec::new(),
        }));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (service, stop) = (service.clone(), stop.clone());
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    answer(stream.unwrap(), &service);
                }
            })
        };
        Self {
            service,
            url: format!("http://{address}"),
            stop,
            thread: Some(thread),
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.url.trim_start_matches("http://"));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(stream: TcpStream, service: &Mutex<Service>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let mut words = line.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (mut length, mut token) = (0, String::new());
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        let Some((name, value)) = header.trim_end().split_once(':') else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap(),
            "authorization" => token = value.trim().to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let body: Json = serde_json::from_slice(&body).unwrap_or(Json::Null);
    let (status, headers, json) = if token == "Bearer t0ken" {
        service.lock().unwrap().handle(method, target, &body)
    } else {
        (401, String::new(), json!({"message": "Bad credentials"}))
    };
    let text = json.to_string();
    let mut stream = stream;
    let _ = write!(
        stream,
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n{text}",
        text.len()
    );
}

impl Service {
    fn handle(&mut self, method: &str, target: &str, body: &Json) -> (u16, String, Json) {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        self.seen.push(format!("{method} {path}"));
        if path == "/user" {
            return match self.user {
                Some(id) => (200, String::new(), json!({"id": id})),
                None => (
                    403,
                    String::new(),
                    json!({"message": "Resource not accessible by integration"}),
                ),
            };
        }
        if path.contains("/actions/workflows/") {
            return (200, String::new(), json!({"workflow_runs": self.runs}));
        }
        if method == "GET" {
            let page: usize = query
                .split('&')
                .find_map(|part| part.strip_prefix("page="))
                .map_or(1, |page| page.parse().unwrap());
            let items = if path.ends_with("/comments") {
                &self.comments
            } else {
                &self.issues
            };
            let items: Vec<Json> = items
                .iter()
                .filter(|item| item["state"] != "closed")
                .cloned()
                .collect();
            let start = (page - 1) * PAGE;
            let part: Vec<Json> = items.iter().skip(start).take(PAGE).cloned().collect();
            let link = if items.len() > start + PAGE {
                "Link: <http://elsewhere.example/steal?page=2>; rel=\"next\"\r\n".to_owned()
            } else {
                String::new()
            };
            return (200, link, part.into());
        }
        if self.limited > 0 {
            self.limited -= 1;
            let message =
                "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.";
            return (403, "Retry-After: 0\r\n".to_owned(), json!({"message": message}));
        }
        let text = body["body"].as_str().unwrap_or_default();
        if text.chars().count() > self.longest {
            let message = json!({"message": "Validation Failed", "errors": [{"resource": "IssueComment", "code": "unprocessable", "field": "data", "message": "Body is too long (maximum is 65536 characters)"}]});
            return (422, String::new(), message);
        }
        let user = json!({"id": self.user.unwrap_or(41_898_282), "type": if self.user.is_some() { "User" } else { "Bot" }});
        let comments = path.contains("/comments");
        let items = if comments {
            &mut self.comments
        } else {
            &mut self.issues
        };
        let json = if method == "POST" {
            let number = items.len() as u64 + 1;
            let item = json!({"id": 1000 + number, "number": number, "user": user, "body": text, "title": body["title"], "state": "open", "html_url": format!("https://github.example/{number}")});
            items.push(item.clone());
            item
        } else {
            let number: u64 = path.rsplit('/').next().unwrap().parse().unwrap();
            let key = if comments { "id" } else { "number" };
            let Some(item) = items.iter_mut().find(|item| item[key] == number) else {
                return (404, String::new(), json!({"message": "Not Found"}));
            };
            for field in ["body", "state"] {
                if !body[field].is_null() {
                    item[field] = body[field].clone();
                }
            }
            item.clone()
        };
        if self.lost > 0 {
            self.lost -= 1;
            return (502, String::new(), json!({"message": "Server Error"}));
        }
        (if method == "POST" { 201 } else { 200 }, String::new(), json)
    }
}

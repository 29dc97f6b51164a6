//! Tests of `examples/quickstart/engine.py`: that it behaves like an SGLang worker where routers and gabion look.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::http;

const MODEL: &str = "qwen/qwen2.5-0.5b-instruct";

/// A running engine, which ends with the test.
struct Engine {
    child: Child,
    output: BufReader<ChildStdout>,
    address: String,
}

impl Engine {
    fn start(arguments: &[&str]) -> Engine {
        let script = crate::root().join("examples/quickstart/engine.py");
        let mut command = Command::new("python3");
        command
            .arg(script)
            .args(["--port", "0", "--model", MODEL])
            .args(arguments);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let address = line.trim_end().rsplit(' ').next().unwrap().to_owned();
        assert!(
            line.starts_with("serving ") && address.starts_with("127.0.0.1:"),
            "{line}"
        );
        Engine {
            child,
            output,
            address,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn get(&self, path: &str) -> (u16, String) {
        let mut response = http::send("GET", &self.url(path), "", "").unwrap();
        let mut text = String::new();
        response.body.read_to_string(&mut text).unwrap();
        (response.status, text)
    }

    fn post(&self, path: &str, body: &Value) -> (u16, String) {
        let mut response = http::post_json(&self.url(path), &body.to_string()).unwrap();
        let mut text = String::new();
        response.body.read_to_string(&mut text).unwrap();
        (response.status, text)
    }

    fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.get("/metrics");
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("sglang:{name}{{")))
            .unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    fn terminate(&self) {
        let asked = Command::new("kill")
            .arg(self.child.id().to_string())
            .status()
            .unwrap();
        assert!(asked.success());
    }

    fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the engine ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // It may have ended, which is what is wanted.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "not within 20 s: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn chat(max_tokens: u32, stream: bool) -> Value {
    json!({
        "model": MODEL,
        "messages": [{"role": "user", "content": "Hello there"}],
        "max_tokens": max_tokens,
        "ignore_eos": true,
        "stream": stream,
        "stream_options": {"include_usage": true},
    })
}

/// Returns the JSON of each event; the last event must be `[DONE]`.
fn events(text: &str) -> Vec<Value> {
    let mut data: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .collect();
    assert_eq!(data.pop(), Some("[DONE]"), "{text}");
    data.into_iter()
        .map(|event| serde_json::from_str(event).unwrap())
        .collect()
}

#[test]
fn routers_find_what_they_ask_for() {
    let engine = Engine::start(&["--replica", "r1"]);
    let json = |path: &str| -> Value {
        let (status, text) = engine.get(path);
        assert_eq!(status, 200, "{path}");
        serde_json::from_str(&text).unwrap()
    };
    for path in ["/health", "/health_generate"] {
        assert_eq!(engine.get(path).0, 200, "{path}");
    }
    assert_eq!(json("/v1/models")["data"][0]["owned_by"], "sglang");
    for path in [
        "/model_info",
        "/get_model_info",
        "/server_info",
        "/get_server_info",
    ] {
        assert_eq!(json(path)["model_path"], MODEL, "{path}");
    }
    assert_eq!(json("/v1/loads")["loads"][0]["num_running_reqs"], 0);
    assert_eq!(json("/get_load")[0]["num_waiting_reqs"], 0);
    assert_eq!(engine.get("/workers").0, 404);
}

#[test]
fn streamed_answer_has_tokens_usage_and_the_replica() {
    let engine = Engine::start(&["--replica", "r1", "--ttft-ms", "5", "--itl-ms", "1"]);
    let mut response =
        http::post_json(&engine.url("/v1/chat/completions"), &chat(12, true).to_string()).unwrap();
    assert_eq!((response.status, response.header("x-replica")), (200, Some("r1")));
    let mut text = String::new();
    response.body.read_to_string(&mut text).unwrap();
    let events = events(&text);
    let words: Vec<&str> = events
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str())
        .collect();
    // The first chunk has the role alone.
    assert_eq!(words.len(), 13, "{text}");
    assert!(words.concat().starts_with("Replica r1 here."), "{text}");
    let usage = &events.last().unwrap()["usage"];
    assert_eq!(usage["completion_tokens"], 12);
    assert_eq!(events[events.len() - 2]["choices"][0]["finish_reason"], "length");

    let (_, whole) = engine.post("/v1/chat/completions", &chat(12, false));
    let whole: Value = serde_json::from_str(&whole).unwrap();
    assert_eq!(whole["choices"][0]["message"]["content"], words.concat());
    assert_eq!(engine.metric("num_requests_total"), 2.0);
    assert_eq!(engine.metric("generation_tokens_total"), 24.0);
    assert_eq!(engine.metric("time_to_first_token_seconds_count"), 2.0);
    assert_eq!(engine.metric("inter_token_latency_seconds_count"), 22.0);
}

#[test]
fn quickstart_reads_the_stream() {
    let engine = Engine::start(&["--ttft-ms", "1", "--itl-ms", "1"]);
    let mut told = Vec::new();
    let url = engine.url("/v1/chat/completions");
    assert_eq!(crate::quickstart::ask(&url, MODEL, &mut told), Ok(()));
    let told = String::from_utf8(told).unwrap();
    assert!(
        told.contains("You wrote: \"What does gabion do?\"") && told.ends_with(".\n"),
        "{told}"
    );
    let failure = crate::quickstart::ask(&engine.url("/v1/nothing"), MODEL, &mut Vec::new()).unwrap_err();
    assert!(
        failure.contains("404") && failure.contains("There is no /v1/nothing here."),
        "{failure}"
    );
}

#[test]
fn the_other_two_ways_to_generate_answer_in_their_own_shapes() {
    let engine = Engine::start(&["--ttft-ms", "1", "--itl-ms", "1"]);
    let (status, text) = engine.post(
        "/v1/completions",
        &json!({"prompt": "Once", "max_tokens": 3, "stream": true}),
    );
    assert_eq!(status, 200);
    assert_eq!(
        events(&text)
            .iter()
            .filter(|event| event["choices"][0]["text"] != "")
            .count(),
        3
    );
    let request = json!({"text": "Once", "sampling_params": {"max_new_tokens": 3}, "stream": true});
    let (status, text) = engine.post("/generate", &request);
    assert_eq!(status, 200);
    assert_eq!(events(&text).last().unwrap()["meta_info"]["completion_tokens"], 3);
}

#[test]
fn what_cannot_be_served_is_refused_with_a_reason() {
    let engine = Engine::start(&[]);
    for (path, body) in [
        ("/v1/chat/completions", json!({"model": MODEL})),
        ("/v1/chat/completions", json!([])),
        ("/v1/completions", json!({"prompt": {"a": 1}})),
        (
            "/generate",
            json!({"text": "x", "sampling_params": {"max_new_tokens": -1}}),
        ),
    ] {
        let (status, text) = engine.post(path, &body);
        let error: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (status, error["object"].as_str()),
            (400, Some("error")),
            "{path} {body}"
        );
    }
    assert_eq!(engine.post("/v1/unknown", &json!({})).0, 404);
}

#[test]
fn chunked_request_is_read() {
    let engine = Engine::start(&["--ttft-ms", "1", "--itl-ms", "1"]);
    let body = chat(2, false).to_string();
    let (head, tail) = body.split_at(10);
    let chunks = format!(
        "{:x}\r\n{head}\r\n{:x}\r\n{tail}\r\n0\r\n\r\n",
        head.len(),
        tail.len()
    );
    let url = engine.url("/v1/chat/completions");
    let response = http::send("POST", &url, "Transfer-Encoding: chunked\r\n", &chunks).unwrap();
    assert_eq!(response.status, 200);
}

#[test]
fn engine_is_unhealthy_until_it_has_started() {
    let engine = Engine::start(&["--startup-s", "3"]);
    assert_eq!(engine.get("/health").0, 503);
    assert_eq!(engine.post("/v1/chat/completions", &chat(1, false)).0, 503);
    eventually("the engine is healthy", || engine.get("/health").0 == 200);
}

#[test]
fn client_that_goes_away_frees_its_slot() {
    let engine = Engine::start(&["--max-running-requests", "1", "--itl-ms", "20"]);
    let body = chat(5000, true).to_string();
    let mut stream = TcpStream::connect(&engine.address).unwrap();
    write!(
        stream,
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    eventually("the request runs", || engine.metric("num_running_reqs") == 1.0);
    drop(stream);
    eventually("the slot is free", || engine.metric("num_running_reqs") == 0.0);
    assert_eq!(engine.metric("num_aborted_requests_total"), 1.0);
}

#[test]
fn requests_above_the_limit_wait_their_turn() {
    let engine = Engine::start(&["--max-running-requests", "1", "--itl-ms", "10"]);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| engine.post("/v1/chat/completions", &chat(60, false)).0);
        eventually("the first runs", || engine.metric("num_running_reqs") == 1.0);
        let second = scope.spawn(|| engine.post("/v1/chat/completions", &chat(1, false)).0);
        eventually("the second waits", || engine.metric("num_queue_reqs") == 1.0);
        assert_eq!((first.join().unwrap(), second.join().unwrap()), (200, 200));
    });
}

#[test]
fn running_stream_finishes_when_the_engine_is_told_to_stop() {
    let mut engine = Engine::start(&["--itl-ms", "10"]);
    let mut response =
        http::post_json(&engine.url("/v1/chat/completions"), &chat(60, true).to_string()).unwrap();
    let mut line = String::new();
    response.body.read_line(&mut line).unwrap();
    engine.terminate();
    eventually("new connections are refused", || {
        TcpStream::connect(&engine.address).is_err()
    });
    response.body.read_to_string(&mut line).unwrap();
    assert_eq!(events(&line).len(), 63, "{line}");
    assert_eq!(engine.wait().code(), Some(0));
    let mut said = String::new();
    engine.output.read_to_string(&mut said).unwrap();
    assert!(said.ends_with("stopped\n"), "{said}");
}

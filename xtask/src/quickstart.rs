//! `cargo quickstart`: builds gabion, applies the quickstart project and streams one completion through it.

use std::io::{BufRead, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

use crate::{Failure, http, process, python};

const QUESTION: &str = "What does gabion do?";

/// Runs the quickstart in `examples/quickstart`, or in the project that `--dir` names.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let directory = match arguments {
        [] => crate::root().join("examples").join("quickstart"),
        [option, directory] if option == "--dir" => PathBuf::from(directory),
        _ => return Err("usage: cargo quickstart [--dir DIR]".to_owned()),
    };
    if !directory.join("gabion.yml").is_file() {
        return Err(format!(
            "{} is not a gabion project: it has no gabion.yml",
            directory.display()
        ));
    }
    python::ensure()?;

    heading("Building gabion");
    let gabion = build()?;

    heading(&format!(
        "Applying {}: a gateway, an SGLang router and two replicas, all on this machine",
        short(&directory)
    ));
    process::run(project(&gabion, &directory).args(["apply", "-y"]))?;

    heading("Asking the model through gateway, router and replica");
    let endpoints = process::output(project(&gabion, &directory).args(["output", "--format", "json"]))?;
    let url = completions_url(&endpoints)?;
    let model = model(&directory)?;
    ask(&url, &model, &mut std::io::stdout().lock())?;
    next_steps(&gabion, &directory, &url, &model);
    Ok(())
}

fn heading(text: &str) {
    eprintln!("\n==> {text}");
}

/// Builds the command line and returns where cargo put it.
fn build() -> Result<PathBuf, Failure> {
    let mut build = process::cargo();
    build.args([
        "build",
        "--package",
        "gabion",
        "--bin",
        "gabion",
        // What runs on one machine is enough, and is built in a fraction of the time.
        "--no-default-features",
        "--message-format",
        "json-render-diagnostics",
    ]);
    let messages = process::output(&mut build)?;
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == "gabion")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .ok_or_else(|| "cargo built gabion but did not say where it is".to_owned())
}

fn project(gabion: &Path, directory: &Path) -> Command {
    let mut command = Command::new(gabion);
    command.arg("-C").arg(directory).stdin(Stdio::null());
    command
}

/// Finds the model endpoint among the project's endpoints: the URL that ends in `/v1`.
fn completions_url(endpoints: &str) -> Result<String, Failure> {
    let document: Value = serde_json::from_str(endpoints)
        .map_err(|error| format!("`gabion output` printed no JSON: {error}"))?;
    let base = strings(&document)
        .into_iter()
        .map(|text| text.trim_end_matches('/'))
        .find(|text| text.starts_with("http://") && text.ends_with("/v1"))
        .ok_or_else(|| format!("`gabion output` names no model endpoint:\n{endpoints}"))?;
    Ok(format!("{base}/chat/completions"))
}

fn strings(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().flat_map(strings).collect(),
        Value::Object(entries) => entries.values().flat_map(strings).collect(),
        _ => Vec::new(),
    }
}

/// Reads the model's name off the service's own file, where a person would look for it.
fn model(directory: &Path) -> Result<String, Failure> {
    let path = directory.join("service.dstack.yml");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let model = text.lines().find_map(|line| line.strip_prefix("model:"));
    model
        .map(|name| name.trim().to_owned())
        .ok_or_else(|| format!("{} names no `model:`", path.display()))
}

/// Streams one completion and writes its tokens to `out` as they arrive.
pub(crate) fn ask(url: &str, model: &str, out: &mut dyn Write) -> Result<(), Failure> {
    let request =
        json!({ "model": model, "stream": true, "messages": [{ "role": "user", "content": QUESTION }] });
    let started = Instant::now();
    let mut response = http::post_json(url, &request.to_string())?;
    if response.status != 200 {
        let mut text = String::new();
        response
            .body
            .read_to_string(&mut text)
            .map_err(|error| format!("POST {url}: {error}"))?;
        return Err(format!("POST {url} answered {}: {text}", response.status));
    }
    let replica = response.header("x-replica").unwrap_or("a replica").to_owned();
    let mut first = None;
    let mut tokens = 0;
    let mut done = false;
    eprintln!("    > {QUESTION}");
    for line in response.body.lines() {
        let line = line.map_err(|error| format!("the stream from {url} broke off: {error}"))?;
        let Some(data) = line.strip_prefix("data:").map(str::trim) else {
            continue;
        };
        if data == "[DONE]" {
            done = true;
            break;
        }
        let event: Value =
            serde_json::from_str(data).map_err(|error| format!("an event is not JSON: {error}: {data}"))?;
        let Some(text) = event["choices"][0]["delta"]["content"]
            .as_str()
            .filter(|text| !text.is_empty())
        else {
            continue;
        };
        first.get_or_insert_with(|| started.elapsed());
        tokens += 1;
        write!(out, "{text}")
            .and_then(|()| out.flush())
            .map_err(|error| format!("cannot print: {error}"))?;
    }
    writeln!(out).map_err(|error| format!("cannot print: {error}"))?;
    let Some(first) = first.filter(|_| done) else {
        return Err(format!(
            "the stream from {url} ended after {tokens} tokens without [DONE]"
        ));
    };
    let total = started.elapsed().as_secs_f64();
    eprintln!(
        "    {tokens} tokens from {replica}; the first after {} ms, all in {total:.1} s",
        first.as_millis()
    );
    Ok(())
}

/// Returns a path as people type it in the current directory.
fn short(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let short = path.strip_prefix(&here).unwrap_or(path);
    short.display().to_string()
}

fn next_steps(gabion: &Path, directory: &Path, url: &str, model: &str) {
    let body =
        json!({ "model": model, "stream": true, "messages": [{ "role": "user", "content": "Hello" }] });
    let body = process::quoted(&body.to_string());
    let alias = process::quoted(&format!(
        "{} -C {}",
        process::quoted(&gabion.display().to_string()),
        process::quoted(&directory.display().to_string())
    ));
    let files = short(directory);
    println!(
        "
It runs. Ask it yourself:

    curl -N {url} \\
        -H 'Content-Type: application/json' \\
        -d {body}

What next? For this shell:

    alias gabion={alias}

  1. Write `policy: round_robin` in {files}/gateway.dstack.yml.
         gabion plan      what that changes, and why: the router is replaced, no replica is touched
         gabion apply     does it, without failing a request
  2. Break something.
         gabion ps        what runs; end a replica with `kill PID`
         gabion drift     what the world changed behind your back
         gabion apply     repairs exactly that
  3. Clean up.
         gabion destroy   takes everything away again"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_endpoint_is_found_among_outputs() {
        let found = completions_url(
            r#"{"outputs": {}, "endpoints": {"qwen": "http://127.0.0.1:4100/services/qwen/", "qwen (model)": "http://127.0.0.1:4100/v1"}}"#,
        );
        assert_eq!(found.as_deref(), Ok("http://127.0.0.1:4100/v1/chat/completions"));
        assert!(completions_url(r#"{"endpoints": {}}"#).is_err());
        assert!(completions_url("nothing").is_err());
    }

    #[test]
    fn paths_are_short_where_they_can_be() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(short(&here.join("examples/quickstart")), "examples/quickstart");
        assert_eq!(short(Path::new("/elsewhere")), "/elsewhere");
    }

    #[test]
    fn quickstart_project_names_its_model() {
        let directory = crate::root().join("examples/quickstart");
        assert_eq!(model(&directory).as_deref(), Ok("qwen/qwen2.5-0.5b-instruct"));
    }
}

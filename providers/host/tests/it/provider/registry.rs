//! A registry on loopback with one image in it, which asks for a login.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use gabion_host::unit::digest;
use serde_json::json;

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";

/// `user:word`, as HTTP's basic authentication has it.
const LOGIN: &str = "Basic dXNlcjp3b3Jk";

/// What is served, by path: its type, and the content.
type Contents = Mutex<BTreeMap<String, (&'static str, Vec<u8>)>>;

/// A registry that runs for as long as the test does.
pub(super) struct Registry {
    /// `127.0.0.1:PORT`.
    pub(super) address: String,
    contents: Arc<Contents>,
}

impl Registry {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let registry = Self {
            address: listener.local_addr().unwrap().to_string(),
            contents: Arc::default(),
        };
        let contents = Arc::clone(&registry.contents);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let contents = Arc::clone(&contents);
                std::thread::spawn(move || {
                    // The daemon may hang up at any time.
                    let _ = answer(stream, &contents);
                });
            }
        });
        registry
    }

    /// Has `model:TAG` be what is below a directory; returns the digest of its manifest.
    pub(super) fn put(&self, tag: &str, root: &Path, program: &[&str]) -> String {
        let layer = Command::new("tar")
            .arg("-C")
            .arg(root)
            .args(["-cf", "-", "."])
            .output()
            .unwrap()
            .stdout;
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": program},
            "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
        })
        .to_string()
        .into_bytes();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "size": config.len(), "digest": digest(&config)},
            "layers": [{"mediaType": LAYER, "size": layer.len(), "digest": digest(&layer)}],
        })
        .to_string()
        .into_bytes();
        let found = digest(&manifest);
        let mut contents = self.contents.lock().unwrap();
        for (path, kind, content) in [
            (format!("blobs/{}", digest(&layer)), LAYER, layer),
            (format!("blobs/{}", digest(&config)), CONFIG, config),
            (format!("manifests/{found}"), MANIFEST, manifest.clone()),
            (format!("manifests/{tag}"), MANIFEST, manifest),
        ] {
            contents.insert(format!("/v2/model/{path}"), (kind, content));
        }
        found
    }
}

fn answer(mut stream: TcpStream, contents: &Contents) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut first = String::new();
        if reader.read_line(&mut first)? == 0 {
            return Ok(());
        }
        let mut known = false;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            match line.trim_end().split_once(": ") {
                Some((name, value)) => known |= name.eq_ignore_ascii_case("authorization") && value == LOGIN,
                None => break,
            }
        }
        let mut words = first.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let found = contents.lock().unwrap().get(path).cloned();
        let (status, kind, body) = match found {
            _ if !known => (
                "401 Unauthorized",
                "application/json",
                b"{\"errors\": []}".to_vec(),
            ),
            _ if path == "/v2/" => ("200 OK", "application/json", b"{}".to_vec()),
            Some((kind, content)) => ("200 OK", kind, content),
            None => ("404 Not Found", "application/json", b"{\"errors\": []}".to_vec()),
        };
        write!(
            stream,
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\ndocker-content-digest: {}\r\n\
             docker-distribution-api-version: registry/2.0\r\nwww-authenticate: Basic realm=\"test\"\r\n\r\n",
            body.len(),
            digest(&body)
        )?;
        if method != "HEAD" {
            stream.write_all(&body)?;
        }
    }
}

//! `gabion init`: a project to start from, and its state's store.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;

use serde::Serialize;

use super::{init_store, schema};
use crate::args::Init;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::wiring;

/// The directory of a project with the JSON Schemas of its files.
const SCHEMAS: &str = ".schemas";

/// `gabion.yml`.
#[derive(Serialize)]
struct Settings {
    project: String,
    backends: [&'static str; 1],
}

/// A gateway on this machine.
#[derive(Serialize)]
struct Gateway {
    r#type: &'static str,
    name: &'static str,
    backend: &'static str,
}

/// A service that needs nothing but Python.
#[derive(Serialize)]
struct Service {
    r#type: &'static str,
    name: &'static str,
    commands: [&'static str; 1],
    port: u16,
    auth: bool,
    replicas: u8,
    probes: [Probe; 1],
}

#[derive(Serialize)]
struct Probe {
    r#type: &'static str,
    url: &'static str,
}

/// Writes a project into the directory, or prepares the store of the project that is there.
pub(crate) async fn run(args: &Init, context: &Context) -> Outcome {
    let Context { options, printer } = context;
    let store = args.store.as_deref().map(wiring::store_of_url).transpose()?;
    if !has_project(&options.directory) {
        write(args, context)?;
        if store.is_some() {
            init_store::run(store.as_ref(), context).await?;
        }
        printer.status(&format!("\nNext: {} plan", options.program));
        return Ok(Exit::Done);
    }
    if let Some(name) = &args.name {
        return Err(there_already(&options.directory).hint(format!(
            "it keeps its name; change `project` in gabion.yml to `{name}` by hand"
        )));
    }
    if !init_store::run(store.as_ref(), context).await? {
        return Err(there_already(&options.directory));
    }
    Ok(Exit::Done)
}

fn there_already(directory: &Path) -> Failure {
    Failure::new("there is a project already")
        .detail(format!(
            "`{}` has configuration files; nothing was written.",
            directory.display()
        ))
        .hint("see what it would do:\n    gabion plan")
}

/// Writes a project into the directory; what is there already stays as it is.
fn write(args: &Init, context: &Context) -> Result<(), Failure> {
    let Context { options, printer } = context;
    let directory = &options.directory;
    std::fs::create_dir_all(directory).map_err(|error| unwritable(directory, &error))?;
    let name = match &args.name {
        Some(name) => {
            gabion_engine::config::check_name(name).map_err(|why| {
                Failure::new("not a project's name")
                    .detail(format!("`{name}` cannot name a project: {why}."))
                    .hint("run: gabion init --name NAME")
            })?;
            name.clone()
        }
        None => name_of(directory),
    };
    let settings = Settings {
        project: name,
        backends: ["local"],
    };
    let gateway = Gateway {
        r#type: "gateway",
        name: "my-gateway",
        backend: "local",
    };
    let service = Service {
        r#type: "service",
        name: "hello",
        commands: ["exec python3 -m http.server --bind 127.0.0.1 $PORT"],
        port: 8000,
        auth: false,
        replicas: 1,
        probes: [Probe {
            r#type: "http",
            url: "/",
        }],
    };
    let files = [
        (
            "gabion.yml",
            yaml("gabion", "# What holds for the whole project.\n", &settings)?,
        ),
        (
            "gateway.dstack.yml",
            yaml(
                "document",
                "# Where requests come in: a gateway on this machine.\n",
                &gateway,
            )?,
        ),
        (
            "hello.dstack.yml",
            yaml(
                "document",
                "# A service behind the gateway. Replace the command with your engine, for example:\n\
                 #   python3 -m sglang.launch_server --model-path qwen/qwen2.5-0.5b-instruct --port $PORT\n\
                 # and set `model:` to serve it at the gateway's /v1. `auth: false` lets anyone on this machine call it.\n",
                &service,
            )?,
        ),
        (".gitignore", "/.gabion/\n*.gabion.plan\nplan.gabion\n".to_owned()),
    ];
    for (name, text) in &files {
        let path = directory.join(name);
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(mut file) => {
                file.write_all(text.as_bytes())
                    .map_err(|error| unwritable(&path, &error))?;
                printer.status(&format!("wrote {name}"));
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                printer.status(&format!("kept {name}"));
            }
            Err(error) => return Err(unwritable(&path, &error)),
        }
    }
    let schemas = directory.join(SCHEMAS);
    if schemas.exists() {
        printer.status(&format!("kept {SCHEMAS}"));
    } else {
        schema::write_for_editors(&schemas)?;
        printer.status(&format!("wrote {SCHEMAS}, what your editor knows of these files"));
    }
    Ok(())
}

/// A document with a comment, below the line that tells editors which schema it has.
fn yaml(schema: &str, comment: &str, document: &impl Serialize) -> Result<String, Failure> {
    let text = serde_yaml::to_string(document).map_err(|error| Failure::bug(error.to_string()))?;
    let file = schema::file_name(schema);
    Ok(format!(
        "# yaml-language-server: $schema={SCHEMAS}/{file}\n{comment}{text}"
    ))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new("cannot write the project").detail(format!("{}: {error}.", path.display()))
}

/// Returns the directory's name, if it can name a project.
fn name_of(directory: &Path) -> String {
    let name = std::fs::canonicalize(directory)
        .ok()
        .and_then(|path| Some(path.file_name()?.to_str()?.to_lowercase()))
        .unwrap_or_default();
    let name: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let name = name.trim_matches('-').to_owned();
    if gabion_engine::config::check_name(&name).is_ok() {
        name
    } else {
        "my-project".to_owned()
    }
}

/// Returns whether the directory has configuration files.
fn has_project(directory: &Path) -> bool {
    let endings = [".gabion.yml", ".gabion.yaml", ".dstack.yml", ".dstack.yaml"];
    std::fs::read_dir(directory).is_ok_and(|entries| {
        entries.flatten().any(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name == "gabion.yml"
                || name == "gabion.yaml"
                || endings.iter().any(|ending| name.ends_with(ending))
        })
    })
}

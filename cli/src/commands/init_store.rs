//! `gabion init` for a project that is there: its state's store is made ready, and its lineage pinned.

use gabion_engine::address::{IdSource, Lineage, RandomIds, RunId};
use gabion_engine::config::{FromNode, Plugin, parse_yaml};
use gabion_engine::diagnostic::SourceFile;
use gabion_engine::state::event::Created;
use gabion_engine::state::store::{CreateRequest, StoreError};
use gabion_engine::state::{Clock, FORMAT_VERSION, State, SystemClock};

use crate::context::Context;
use crate::failure::Failure;
use crate::project::LoadedProject;
use crate::render::words::plain;
use crate::state_access::StateAccess;
use crate::state_failure::store_failure;
use crate::store::{Kept, SettingsFile, StoreUrl};

/// Makes the state in the store of the URL, or in the one that the settings name, unless it is there; writes the store
/// and the state's lineage into the settings. Returns whether there was a store to prepare.
pub(crate) async fn run(url: Option<&StoreUrl>, context: &Context) -> Result<bool, Failure> {
    let Context { options, printer } = context;
    let project = LoadedProject::read(options);
    let settings = &project.project.settings;
    if url.is_none() && settings.state.is_none() {
        return Ok(false);
    }
    let kept = Kept::of(settings);
    let access = match url {
        None => StateAccess::of(&project, options)?,
        Some(url) => {
            let access = StateAccess::in_store(&project, options, Some(&plugin_of(url, &kept)?))?;
            leave_no_state_behind(&project, &access, url, context).await?;
            access
        }
    };
    let state = match access.store.load().await {
        Ok(loaded) => Some(loaded.state),
        Err(StoreError::NotFound { .. }) => None,
        Err(error) => return Err(store_failure(&error)),
    };
    access.check_lineage(state.as_ref().and_then(|state| state.lineage))?;
    let name = &settings.project.value;
    let lineage = match &state {
        Some(state) if *state.project != **name => return Err(another_project(&access, state, name)),
        Some(state) => state.lineage,
        None => None,
    };
    let lineage = match lineage {
        Some(lineage) => {
            printer.status(&format!(
                "The state at {} is there already.",
                access.store.location()
            ));
            lineage
        }
        None => {
            let lineage = create(&access, name).await?;
            printer.status(&format!("Made the state at {}.", access.store.location()));
            lineage
        }
    };
    let mut file = SettingsFile::of(&project)?;
    if let Some(url) = url {
        file.set_store(url, &kept);
    }
    if access.pinned().is_none() {
        file.pin(options.stack.as_deref(), lineage);
    }
    if file.write()? {
        printer.status(&format!("Pinned its lineage in {}.", settings.file.path()));
    }
    Ok(true)
}

/// Returns what the settings would say for a store of this URL.
pub(crate) fn plugin_of(url: &StoreUrl, kept: &Kept) -> Result<Plugin, Failure> {
    let file = SourceFile::new("the store's URL", url.to_yaml(kept));
    let (documents, mut problems) = parse_yaml(&file);
    let plugin = documents
        .first()
        .and_then(|document| document.get("state"))
        .and_then(|state| Plugin::from_node(state, &mut problems));
    match plugin {
        Some(plugin) if !problems.has_errors() => Ok(plugin),
        _ if problems.has_errors() => Err(problems.into()),
        _ => Err(Failure::bug(format!("`{}` became no settings", plain(&url.text)))),
    }
}

/// Refuses another store than the one that holds the project's state: what it records would be forgotten.
async fn leave_no_state_behind(
    project: &LoadedProject,
    wanted: &StateAccess,
    url: &StoreUrl,
    context: &Context,
) -> Result<(), Failure> {
    let options = &context.options;
    let now = StateAccess::of(project, options)?;
    if now.store.location() == wanted.store.location() {
        return Ok(());
    }
    match now.store.load().await {
        Err(StoreError::NotFound { .. }) => Ok(()),
        Ok(loaded) => Err(Failure::new("the project has a state already")
            .detail(format!(
                "It is at {}, with {} objects at serial {}.",
                now.store.location(),
                loaded.state.len(),
                loaded.state.serial
            ))
            .hint(format!(
                "move it, with its history:\n    {} state migrate --to {}",
                options.program,
                crate::shell::shell_word(&url.text)
            ))),
        Err(error) => Err(store_failure(&error)),
    }
}

fn another_project(access: &StateAccess, state: &State, name: &str) -> Failure {
    Failure::new("this is another project's state")
        .detail(format!(
            "The state at {} is that of the project `{}`, and this one is `{name}`.",
            access.store.location(),
            plain(&state.project)
        ))
        .hint("give each project a place of its own: another prefix, another schema or database")
}

async fn create(access: &StateAccess, project: &str) -> Result<Lineage, Failure> {
    let ids = RandomIds;
    let request = CreateRequest {
        created: Created {
            format_version: FORMAT_VERSION,
            lineage: Lineage::from_uuid(ids.next()),
            project: project.into(),
        },
        at: SystemClock.now(),
        run: RunId::from_uuid(ids.next()),
    };
    match access.store.create(request).await {
        Ok(head) => Ok(head.lineage),
        // Somebody else was first; theirs is as good.
        Err(StoreError::Exists { .. }) => match access.store.load().await {
            Ok(loaded) => Ok(loaded.head.lineage),
            Err(error) => Err(store_failure(&error)),
        },
        Err(error) => Err(Failure::new("the state cannot be made").because(&error).hint(
            error
                .hint()
                .unwrap_or_else(|| "look at the place, the credentials and what they permit".to_owned()),
        )),
    }
}

//! `gabion state rebuild`: a state that is lost or damaged is made again from the marks on objects.

use std::fmt::Write;
use std::path::PathBuf;

use gabion_engine::address::{IdSource, Lineage, RandomIds, RunId};
use gabion_engine::gather::marks::{FindRequest, find};
use gabion_engine::state::copy::LogCopy;
use gabion_engine::state::head::HeadError;
use gabion_engine::state::lease::{DEFAULT_LEASE_LENGTH, LeaseOptions, acquire};
use gabion_engine::state::process::{Liveness, Processes};
use gabion_engine::state::rebuild::{Rebuild, Rebuilder, log};
use gabion_engine::state::store::{AdoptRequest, StoreError, describe_holder};
use gabion_engine::state::verify::verify;
use gabion_engine::state::{Clock, OpenError, State, SystemClock, load_for_reading};
use gabion_engine::words::{capitalised, sentence};
use serde_json::json;

use crate::args::{Format, Locking};
use crate::asking::{approve, nobody_to_ask};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::interrupt::Interrupts;
use crate::project::LoadedProject;
use crate::render::gather::GatherDisplay;
use crate::render::words::{count, plain};
use crate::state_access::{StateAccess, existing_key};
use crate::state_failure::{open_failure, store_failure};
use crate::wiring;

/// What is left of a state.
struct Left {
    /// What is wrong with it, as a sentence.
    wrong: String,
    /// The part of its log that can be read.
    readable: Option<LogCopy>,
    /// Whether there is a store that something else must take the place of.
    there: bool,
}

/// Looks for the project's objects, shows them, asks, and writes a log that records them.
pub(crate) async fn run(yes: bool, locking: Locking, context: &Context) -> Outcome {
    let Context { options, printer } = context;
    let interrupts = Interrupts::listen(printer)?;
    let project = LoadedProject::read_settings(options);
    let access = StateAccess::of(&project, options)?;
    let Some(left) = left(&access).await? else {
        printer.status("The state is whole, and nothing of it is missing: there is nothing to rebuild.");
        return Ok(Exit::Done);
    };
    let lineage = lineage(&access, &left)?;
    printer.error(&format!(
        "{}\n{}",
        plain(&left.wrong),
        match &left.readable {
            Some(log) => format!(
                "What can be read ends at serial {} and records {}.",
                log.head().sequence,
                count(log.state().len(), "object")
            ),
            None => "Nothing of it can be read.".to_owned(),
        }
    ));
    let state = left.readable.as_ref().map(|log| log.state().clone());
    let name = &project.project.settings.project.value;
    let mut marked = state.clone().unwrap_or_else(State::default);
    marked.lineage = Some(lineage);
    let providers = wiring::providers(options, name, &marked)?;
    let key = existing_key(options)?;
    let request = FindRequest {
        lineage,
        providers: &providers,
        readable: state.as_ref(),
        fingerprints: key.as_deref(),
        ids: &RandomIds,
    };
    let mut display = GatherDisplay::new(printer);
    let limits = wiring::gather_limits(options);
    let looking = find(request, &limits, &mut display);
    let found = interrupts.unless(looking).await;
    display.end();
    let found = found?;
    show(&found, context);
    warn_of_loss(&access, &found, state.as_ref(), context)?;
    if !yes {
        if !printer.can_ask() {
            return Err(nobody_to_ask(format!("{} state rebuild -y", options.program)));
        }
        approve("Write a state that records this?", printer, &interrupts).await?;
    }
    let rebuilder = Rebuilder {
        project: name.as_str().into(),
        holder: access.holder(options, "state rebuild"),
        run: RunId::from_uuid(RandomIds.next()),
        at: SystemClock.now(),
        epoch: 0,
        key,
    };
    let log = log(&found, left.readable.as_ref(), &rebuilder)
        .map_err(|error| Failure::bug(format!("What was found does not fit the state: {error}.")))?;
    let aside = write(&access, &log, left.there, &project, locking, context).await?;
    access
        .mark
        .write(log.head())
        .map_err(|error| open_failure(error.into()))?;
    if let Some(path) = aside {
        printer.status(&format!("What was there is kept as {}.", path.display()));
    }
    let objects = match log.state().len() {
        0 => "no object".to_owned(),
        number => count(number, "object"),
    };
    printer.status(&format!(
        "The state at {} records {objects} now, at serial {}. What it records is read before it is relied on.\n\nNext: {} \
         plan",
        access.store.location(),
        log.head().sequence,
        options.program
    ));
    Ok(Exit::Done)
}

/// Returns what is left of a state that lost something; nothing when it is whole.
async fn left(access: &StateAccess) -> Result<Option<Left>, Failure> {
    let store = &*access.store;
    let wrong = match load_for_reading(store, Some(&access.mark)).await {
        Ok(state) if state.lineage.is_some() => {
            access.check_lineage(state.lineage)?;
            let found = verify(store).await.map_err(|error| store_failure(&error))?;
            match found.damage.first() {
                None => return Ok(None),
                Some(damage) => damage.clone(),
            }
        }
        Ok(_) => {
            let pinned = access.pinned().map(|pinned| pinned.value.to_string());
            let Some(pinned) = pinned else {
                return Ok(Some(Left {
                    wrong: format!("There is no state at {}.", store.location()),
                    readable: None,
                    there: false,
                }));
            };
            return Ok(Some(Left {
                wrong: format!(
                    "The state at {} is missing: its lineage is {pinned}.",
                    store.location()
                ),
                readable: None,
                there: false,
            }));
        }
        Err(OpenError::Head(error @ HeadError::Missing { .. })) => {
            return Ok(Some(Left {
                wrong: sentence(&error.to_string()),
                readable: None,
                there: false,
            }));
        }
        Err(OpenError::Head(error @ HeadError::Behind { .. })) => error.to_string(),
        Err(OpenError::Store(error @ StoreError::Unreadable { .. })) => error.to_string(),
        Err(OpenError::Head(HeadError::Store(error @ StoreError::Unreadable { .. }))) => error.to_string(),
        Err(error) => return Err(open_failure(error)),
    };
    Ok(Some(Left {
        wrong: sentence(&wrong),
        readable: LogCopy::salvage(store).await,
        there: true,
    }))
}

/// Returns whose objects are looked for.
fn lineage(access: &StateAccess, left: &Left) -> Result<Lineage, Failure> {
    let mark = access.mark.read().map_err(|error| open_failure(error.into()))?;
    let known = access
        .pinned()
        .map(|pinned| pinned.value)
        .or(mark.map(|mark| mark.lineage))
        .or(left.readable.as_ref().map(|log| log.head().lineage));
    known.ok_or_else(|| {
        Failure::new("nothing says which objects to look for")
            .detail(format!(
                "{} Objects carry the lineage of the state that made them, and it is neither pinned nor known here.",
                left.wrong
            ))
            .hint("pin it, if you know it from a plan, a log or the tags of an object:\n    lineage: …   in gabion.yml")
    })
}

/// Says how many objects are known to have been recorded and would not be any more.
fn warn_of_loss(
    access: &StateAccess,
    found: &Rebuild,
    readable: Option<&State>,
    context: &Context,
) -> Result<(), Failure> {
    let mark = access.mark.read().map_err(|error| open_failure(error.into()))?;
    let before = mark.and_then(|mark| mark.objects).unwrap_or(0);
    let after = found.found.len() + readable.map_or(0, State::len);
    let lost = before.saturating_sub(after);
    if lost > 0 {
        context.printer.error(&format!(
            "The state recorded {}; {lost} of them {} not found. The next plan would create what the configuration declares \
             of them a second time.",
            count(before, "object"),
            if lost == 1 { "was" } else { "were" }
        ));
    }
    Ok(())
}

fn show(found: &Rebuild, context: &Context) {
    let Context { options, printer } = context;
    let mut text = String::new();
    // Writing to a string cannot fail.
    if options.format == Format::Json {
        let all = json!({
            "lineage": found.lineage,
            "found": found.found.iter().map(|found| json!({
                "address": found.record.address,
                "uid": found.record.uid,
                "id": found.record.id,
                "unknown": found.unknown.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "unread": found.unread,
            })).collect::<Vec<_>>(),
            "doubted": found.doubted,
            "gone": found.gone,
            "left": found.left.iter().map(|left| json!({
                "type": left.object.resource_type,
                "id": left.object.id,
                "why": left.why,
            })).collect::<Vec<_>>(),
            "unasked": found.unasked.iter().map(|unasked| json!({
                "provider": unasked.provider,
                "part": unasked.part,
                "why": unasked.why,
            })).collect::<Vec<_>>(),
        });
        let _ = writeln!(text, "{all:#}");
        printer.data(&text);
        return;
    }
    let theme = printer.data_theme();
    if found.found.is_empty() {
        let _ = writeln!(text, "No further object carries the mark of this project.");
    } else {
        let _ = writeln!(text, "{0}Found by their mark{0:#}", theme.strong);
    }
    for object in &found.found {
        let id = object.record.id.as_ref().map(|id| plain(id.as_str()));
        let _ = writeln!(
            text,
            "  {good}+{good:#} {}  {}",
            object.record.address,
            id.unwrap_or_default(),
            good = theme.good
        );
        if let Some(why) = &object.unread {
            let _ = writeln!(text, "      not read: {}", plain(why));
        }
        if !object.unknown.is_empty() {
            let paths: Vec<String> = object.unknown.iter().map(ToString::to_string).collect();
            let _ = writeln!(text, "      not told by the world: {}", paths.join(", "));
        }
    }
    if !found.left.is_empty() {
        let _ = writeln!(text, "{0}Left alone{0:#}", theme.strong);
    }
    for left in &found.left {
        let _ = writeln!(
            text,
            "  ? {}  {}\n      {}",
            left.object.resource_type,
            plain(left.object.id.as_str()),
            plain(&left.why)
        );
    }
    for unasked in &found.unasked {
        let (whose, what) = match &unasked.part {
            Some(part) => (
                format!("{} at {}", unasked.provider, plain(part)),
                "what is there may be missing",
            ),
            None => (unasked.provider.to_string(), "what it manages may be missing"),
        };
        let _ = writeln!(
            text,
            "{0}Not asked{0:#}: {whose}, so {what}. {1}",
            theme.bad,
            plain(&unasked.why)
        );
    }
    if !found.doubted.is_empty() {
        let _ = writeln!(
            text,
            "{} recorded before, to be read again.",
            count(found.doubted.len(), "object")
        );
    }
    if !found.gone.is_empty() {
        let _ = writeln!(text, "{} gone.", count(found.gone.len(), "object"));
    }
    printer.data(&text);
}

/// Writes the rebuilt log where the damaged one was; a damaged file is kept beside it.
async fn write(
    access: &StateAccess,
    log: &LogCopy,
    there: bool,
    project: &LoadedProject,
    locking: Locking,
    context: &Context,
) -> Result<Option<PathBuf>, Failure> {
    let options = &context.options;
    let adopt = |over| {
        access.store.adopt(AdoptRequest {
            log: log.clone(),
            over,
        })
    };
    if !there {
        let aside = set_aside(access, project, context)?;
        adopt(None).await.map_err(|error| store_failure(&error))?;
        return Ok(aside);
    }
    if access.store.is_local() {
        // Somebody may still be writing to what is left of it.
        if let Ok(Some(view)) = access.store.lease().await
            && Processes::default().holder_liveness(&view.holder, true) == Liveness::Alive
        {
            return Err(Failure::new("the state is locked")
                .detail(format!(
                    "{} holds it.",
                    capitalised(&describe_holder(&view.holder))
                ))
                .hint("wait for it, or stop it")
                .exit(Exit::Locked));
        }
        let aside = set_aside(access, project, context)?;
        adopt(None).await.map_err(|error| store_failure(&error))?;
        return Ok(aside);
    }
    let lease_options = LeaseOptions {
        holder: access.holder(options, "state rebuild"),
        length: DEFAULT_LEASE_LENGTH,
        timeout: locking.lock_timeout,
        processes: Processes::default(),
    };
    let grant = acquire(&*access.store, &lease_options, &SystemClock)
        .await
        .map_err(|error| {
            store_failure(&error).hint(
                "what is left cannot be replaced in its place: name another prefix, schema or database under `state`, and run it again",
            )
        })?;
    let adopted = adopt(Some(grant.epoch)).await;
    // What counts is whether it was replaced; the lease would run out by itself.
    let _ = access.store.release(grant.epoch).await;
    adopted.map_err(|error| store_failure(&error))?;
    Ok(None)
}

fn set_aside(
    access: &StateAccess,
    project: &LoadedProject,
    context: &Context,
) -> Result<Option<PathBuf>, Failure> {
    if !access.store.is_local() {
        return Ok(None);
    }
    let time = SystemClock.now().strftime("%Y%m%dT%H%M%SZ").to_string();
    wiring::set_sqlite_aside(
        wiring::StorePlace {
            directory: project.directory()?,
            settings: project.settings_directory()?,
            project: &project.project.settings.project.value,
            stack: context.options.stack.as_deref(),
            environment: &context.options.environment,
        },
        &format!("damaged-{time}"),
    )
    .map_err(|error| {
        Failure::new("what is left of the state cannot be kept")
            .detail(format!("Renaming it failed: {error}. Nothing was written."))
    })
}

//! Reading what data documents ask for, before planning. Changes nothing in the world.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Calls, GatherLimits, GatherObserver};
use crate::address::ResourceType;
use crate::config::{Sources, Target, Template};
use crate::data::{self, DataDocument, DataQuery};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::plan::problem::Places;
use crate::provider::{ErrorClass, Provider, ProviderError, ProviderRegistry, ReadDataRequest};
use crate::resource::Configuration;
use crate::value::{AttributePath, Attributes, Value};

/// Reads for all data documents of a configuration, and puts what was found in place of the references to it.
///
/// Documents that refer to others are read after these; otherwise they are read at the same time, those of a kind in few
/// calls.
///
/// # Errors
/// When documents are wrong, when something is not found or cannot be read: all that could be found out, each with its
/// place.
pub async fn read_data(
    configuration: &mut Configuration,
    providers: &ProviderRegistry,
    sources: &Sources,
    limits: &GatherLimits,
    observer: &mut dyn GatherObserver,
) -> Result<(), Diagnostics> {
    if configuration.data.is_empty() {
        return Ok(());
    }
    let places = Places::new(sources);
    let problems = data::check(configuration, providers, &places);
    if problems.has_errors() {
        return Err(problems);
    }
    loop {
        let documents = &mut configuration.data;
        data::bind_documents(documents, &places)?;
        let ready = |document: &DataDocument| document.found.is_none() && document.is_ready();
        if !documents.iter().any(ready) {
            break;
        }
        let batches = batches(documents, &ready, providers, limits.batch.max(1));
        let mut problems = Diagnostics::new();
        for (at, result) in call(batches, limits, observer).await {
            let document = &mut documents[at];
            match result {
                Ok(attributes) => document.found = Some(attributes),
                Err(error) => problems.push(unread(document, error, &places)),
            }
        }
        if problems.has_errors() {
            return Err(problems);
        }
    }
    let unread = configuration
        .data
        .iter()
        .filter(|document| document.found.is_none());
    let problems: Diagnostics = unread.map(|document| unready(document, &places)).collect();
    if problems.has_errors() {
        return Err(problems);
    }
    data::bind(configuration, &places)
}

/// Documents of one kind, by their positions.
struct Batch {
    provider: Arc<dyn Provider>,
    request: ReadDataRequest,
    positions: Vec<usize>,
}

fn batches(
    documents: &[DataDocument],
    ready: &dyn Fn(&DataDocument) -> bool,
    providers: &ProviderRegistry,
    size: usize,
) -> Vec<Batch> {
    let mut by_kind: BTreeMap<&ResourceType, Vec<usize>> = BTreeMap::new();
    for (at, document) in documents
        .iter()
        .enumerate()
        .filter(|(_, document)| ready(document))
    {
        by_kind
            .entry(&document.address.resource_type)
            .or_default()
            .push(at);
    }
    let mut batches = Vec::new();
    for (kind, positions) in by_kind {
        let Some(provider) = providers.data_provider(kind) else {
            continue;
        };
        for positions in positions.chunks(size) {
            let query = |at: &usize| DataQuery {
                address: documents[*at].address.clone(),
                arguments: documents[*at].inputs.clone(),
            };
            batches.push(Batch {
                provider: provider.clone(),
                request: ReadDataRequest {
                    kind: kind.clone(),
                    queries: positions.iter().map(query).collect(),
                },
                positions: positions.to_vec(),
            });
        }
    }
    batches
}

/// Makes the calls, and returns what each document found.
async fn call(
    batches: Vec<Batch>,
    limits: &GatherLimits,
    observer: &mut dyn GatherObserver,
) -> BTreeMap<usize, Result<Attributes, ProviderError>> {
    let (events, mut heard) = mpsc::unbounded_channel();
    let calls = Calls::new(limits, events);
    let mut parts = JoinSet::new();
    for batch in batches {
        parts.spawn(read(batch, calls.clone()));
    }
    drop(calls);
    let mut found = BTreeMap::new();
    loop {
        tokio::select! {
            biased;
            Some(event) = heard.recv() => observer.observe(&event),
            part = parts.join_next() => match part {
                None => return found,
                Some(Ok(part)) => found.extend(part),
                // Calls catch the panics of providers; what is left is a bug of the engine.
                Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
            },
        }
    }
}

async fn read(batch: Batch, calls: Calls) -> Vec<(usize, Result<Attributes, ProviderError>)> {
    let Batch {
        provider,
        request,
        positions,
    } = batch;
    let what = format!("Reading data `{}`", request.kind);
    let answer = calls
        .make(&what, calls.limits.call_timeout, || {
            let provider = provider.clone();
            let request = request.clone();
            async move { provider.read_data(request).await }
        })
        .await;
    match answer {
        Ok(answers) if answers.len() == positions.len() => positions.into_iter().zip(answers).collect(),
        Ok(answers) => {
            let why = format!(
                "The provider `{}` answered {} of {} questions. This is a bug in it.",
                provider.schema().name,
                answers.len(),
                positions.len()
            );
            let error = ProviderError::new(ErrorClass::Invalid, why);
            positions.into_iter().map(|at| (at, Err(error.clone()))).collect()
        }
        Err(error) => positions.into_iter().map(|at| (at, Err(error.clone()))).collect(),
    }
}

fn unread(document: &DataDocument, error: ProviderError, places: &Places<'_>) -> Diagnostic {
    let path = error.path.unwrap_or_default();
    let mut detail = format!("`data.{}`: {}", document.address, error.message);
    for line in error.detail {
        detail.push('\n');
        detail.push_str(&line);
    }
    Diagnostic::error("data-unread", "data cannot be read")
        .detail(detail)
        .at(places.span(document.place_of(&path)))
        .hint(error.hint)
}

/// Says why a document was never ready: what it refers to waits for it, or is never known before apply.
fn unready(document: &DataDocument, places: &Places<'_>) -> Diagnostic {
    let mut waits_for = Vec::new();
    for value in document.inputs.values() {
        value.map_leaves(&mut |leaf| {
            if let Value::Unknown(unknown) = leaf
                && let Some(template) = &unknown.template
                && let Ok(template) = template.as_str().parse::<Template>()
            {
                let of_data = template
                    .references()
                    .filter(|reference| matches!(reference.target, Target::Data(_)));
                waits_for.extend(of_data.map(|reference| format!("`{reference}`")));
            }
            leaf.clone()
        });
    }
    let (title, detail, hint) = match waits_for.is_empty() {
        true => (
            "data that cannot be read before apply",
            "an argument of it is not known before apply, or mixes a secret with other references".to_owned(),
            "write what is known: a name, a tag, a variable",
        ),
        false => (
            "data documents wait for each other",
            format!("it needs {}, which needs it in turn", waits_for.join(", ")),
            "take one of the references out",
        ),
    };
    Diagnostic::error("data-after-apply", title)
        .detail(format!("`data.{}` cannot be read: {detail}.", document.address))
        .at(places.span(document.place_of(&AttributePath::default())))
        .hint(hint)
}

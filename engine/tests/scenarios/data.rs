//! Data documents: read in few calls before planning, and what is found stands in place of the references to it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use gabion_data::DataProvider;
use gabion_engine::address::ResourceType;
use gabion_engine::config::Sources;
use gabion_engine::diagnostic::Diagnostics;
use gabion_engine::gather::{GatherLimits, data::read_data};
use gabion_engine::provider::{
    Call, CreateRequest, DeleteRequest, ErrorClass, ImportRequest, ObjectState, Observation, ObserveRequest,
    PlanRequest, PlanResponse, Provider, ProviderError, ProviderRegistry, ReadDataRequest, ReadOutcome,
    ReadRequest, UpdateRequest,
};
use gabion_engine::resource::Configuration;
use gabion_engine::schema::{ProviderSchema, ResourceSchema};
use gabion_engine::value::Attributes;

use crate::support::{Scenario, data, texts_of};

/// What a call answers.
#[derive(Clone, Copy, PartialEq)]
enum Answer {
    Throttled,
    OneTooFew,
}

/// Gives inputs back; what is a text that begins with `no ` is not found.
#[derive(Default)]
struct Library {
    inner: DataProvider,
    /// How many documents each call asked for.
    calls: Mutex<Vec<usize>>,
    /// What the next call answers in place of what was found.
    next: Mutex<Option<Answer>>,
}

#[async_trait]
impl Provider for Library {
    fn schema(&self) -> &ProviderSchema {
        self.inner.schema()
    }
    fn plan(&self, request: &PlanRequest) -> Result<PlanResponse, ProviderError> {
        self.inner.plan(request)
    }
    async fn read(&self, request: ReadRequest) -> Result<Vec<ReadOutcome>, ProviderError> {
        self.inner.read(request).await
    }
    async fn create(&self, request: CreateRequest, call: &Call) -> Result<ObjectState, ProviderError> {
        self.inner.create(request, call).await
    }
    async fn update(&self, request: UpdateRequest, call: &Call) -> Result<ObjectState, ProviderError> {
        self.inner.update(request, call).await
    }
    async fn delete(&self, request: DeleteRequest, call: &Call) -> Result<(), ProviderError> {
        self.inner.delete(request, call).await
    }
    async fn observe(&self, request: ObserveRequest) -> Result<Observation, ProviderError> {
        self.inner.observe(request).await
    }
    async fn import(&self, request: ImportRequest) -> Result<ObjectState, ProviderError> {
        self.inner.import(request).await
    }
    fn data_kinds(&self) -> &BTreeMap<ResourceType, ResourceSchema> {
        self.inner.data_kinds()
    }
    async fn read_data(
        &self,
        request: ReadDataRequest,
    ) -> Result<Vec<Result<Attributes, ProviderError>>, ProviderError> {
        self.calls.lock().unwrap().push(request.queries.len());
        let next = self.next.lock().unwrap().take();
        if next == Some(Answer::Throttled) {
            return Err(ProviderError::new(ErrorClass::Throttled, "Slower."));
        }
        let mut answers = self.inner.read_data(request).await?;
        for answer in &mut answers {
            let input = answer.as_ref().ok().and_then(|found| found.get("input"));
            let missing = input
                .and_then(|input| input.as_str())
                .filter(|text| text.starts_with("no "));
            if let Some(text) = missing {
                let error = ProviderError::new(ErrorClass::NotFound, format!("There is {text}."));
                *answer = Err(error.with_hint("look elsewhere"));
            }
        }
        if next == Some(Answer::OneTooFew) {
            answers.pop();
        }
        Ok(answers)
    }
}

fn document(name: &str, input: &str) -> String {
    format!("---\ntype: data\nkind: gabion_data\nname: {name}\nproperties:\n  input: {input}\n")
}

/// Reads for a project of one file and one of settings, in batches of two.
async fn read(
    library: &Arc<Library>,
    text: &str,
    settings: &str,
) -> Result<Configuration, (Configuration, Diagnostics)> {
    let sources = Sources::from_texts("scenario", [("main.gabion.yml", text), ("gabion.yml", settings)]);
    let whole = format!("{text}=== gabion.yml\n{settings}");
    let mut configuration = Scenario::new().configuration(&whole);
    let mut providers = ProviderRegistry::default();
    providers.register(library.clone());
    let limits = GatherLimits {
        batch: 2,
        ..GatherLimits::default()
    };
    match read_data(&mut configuration, &providers, &sources, &limits, &mut ()).await {
        Ok(()) => Ok(configuration),
        Err(problems) => Err((configuration, problems)),
    }
}

/// Checks what is said when data cannot be read or used.
#[track_caller]
fn says(problems: &Diagnostics, parts: &[&str]) {
    let text = format!("{}\n{problems}", texts_of(problems));
    for part in parts {
        assert!(text.contains(part), "{part}:\n{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn documents_of_a_kind_are_read_together_and_those_that_wait_after_them() {
    let library = Arc::default();
    let mut text: String = (0..5)
        .map(|n| document(&format!("d{n}"), &n.to_string()))
        .collect();
    text += &document("last", "\"after ${{ data.gabion_data.d4.output }}\"");
    text += "---\n";
    text += &data("box", "\"${{ data.gabion_data.last.output }}\"");
    let configuration = read(
        &library,
        &text,
        "outputs: {it: \"${{ data.gabion_data.d3.output }}\"}\n",
    )
    .await
    .unwrap();
    assert_eq!(*library.calls.lock().unwrap(), [2, 2, 1, 1]);
    assert_eq!(configuration.resources[0].inputs["input"], "after 4".into());
    assert_eq!(configuration.outputs["it"], 3.into());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_may_pass_is_made_again() {
    let library = Arc::<Library>::default();
    *library.next.lock().unwrap() = Some(Answer::Throttled);
    read(&library, &document("a", "1"), "{}\n").await.unwrap();
    assert_eq!(*library.calls.lock().unwrap(), [1, 1]);
}

#[tokio::test(start_paused = true)]
async fn everything_that_is_not_found_is_told_with_its_place() {
    let library = Arc::default();
    let text = document("a", "no cat") + &document("b", "1") + &document("c", "no dog");
    let (_, problems) = read(&library, &text, "{}\n").await.unwrap_err();
    assert_eq!(problems.len(), 2);
    says(
        &problems,
        &[
            "`data.gabion_data.a`: There is no cat.",
            "main.gabion.yml:3:",
            "`data.gabion_data.c`: There is no dog.",
            "main.gabion.yml:15:",
            "look elsewhere",
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_leaves_a_question_out_is_told_of() {
    let library = Arc::<Library>::default();
    *library.next.lock().unwrap() = Some(Answer::OneTooFew);
    let text = document("a", "1") + &document("b", "2");
    let (_, problems) = read(&library, &text, "{}\n").await.unwrap_err();
    says(
        &problems,
        &["The provider `data` answered 1 of 2 questions. This is a bug in it."],
    );
}

#[tokio::test(start_paused = true)]
async fn documents_that_wait_for_each_other_are_told() {
    let library = Arc::<Library>::default();
    let text = document("a", "\"${{ data.gabion_data.b.output }}\"")
        + &document("b", "\"${{ data.gabion_data.a.output }}\"");
    let (_, problems) = read(&library, &text, "{}\n").await.unwrap_err();
    says(
        &problems,
        &[
            "data documents wait for each other",
            "it needs `data.gabion_data.b.output`, which needs it in turn",
            "main.gabion.yml:3:",
        ],
    );
    assert!(library.calls.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_was_not_found_within_a_value_is_told_where_it_is_used() {
    let library = Arc::default();
    let text = document("a", "{size: 1}");
    for (output, said) in [
        ("data.gabion_data.a.output.colour", "and nothing was found there"),
        ("data.gabion_data.a.outptu", "has no attribute `outptu`"),
    ] {
        let settings = format!("outputs:\n  colour: \"${{{{ {output} }}}}\"\n");
        let (_, problems) = read(&library, &text, &settings).await.unwrap_err();
        says(&problems, &["The output `colour` uses", said, "gabion.yml:2:"]);
    }
}

#[tokio::test(start_paused = true)]
async fn conditions_hold_what_was_found() {
    let library = Arc::default();
    let condition = |condition: &str| {
        format!(
            "---\n{}conditions:\n  before:\n    - {{condition: '{condition}', error_message: no}}\n",
            data("box", "1")
        )
    };
    for (input, written, expected) in [
        ("true", "${{ data.gabion_data.a.output }}", "true == true"),
        ("true", "!${{ data.gabion_data.a.output }}", "true == false"),
        ("1.0", "${{ data.gabion_data.a.output }} < 2", "1.0 < 2"),
        ("a b", "${{ data.gabion_data.a.output }} == c", "\"a b\" == \"c\""),
    ] {
        let text = document("a", input) + &condition(written);
        let configuration = read(&library, &text, "{}\n").await.unwrap();
        let found = &configuration.resources[0].conditions[0].condition;
        assert_eq!(found.as_str(), expected);
    }
    for (input, written, why) in [
        (
            "1",
            "${{ data.gabion_data.a.output }}",
            "is neither true nor false",
        ),
        (
            "[1]",
            "${{ data.gabion_data.a.output }} == 1",
            "is no single value",
        ),
        (
            "'$${{ env.HOME }}'",
            "${{ data.gabion_data.a.output }} == x",
            "holds `${{`",
        ),
    ] {
        let text = document("a", input) + &condition(written);
        let (_, problems) = read(&library, &text, "{}\n").await.unwrap_err();
        says(
            &problems,
            &["A condition of `gabion_data.box`", why, "main.gabion.yml:"],
        );
    }
}

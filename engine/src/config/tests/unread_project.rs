use super::super::{GivenVariables, Settings, Sources, UnreadProject};

/// Returns the settings before the documents were read, and those of the whole project.
fn settings(text: Option<&str>, documents: &str) -> (Option<Settings>, Settings) {
    let texts = text.map(|text| ("gabion.yml", text));
    let texts = texts.into_iter().chain([("a.gabion.yml", documents)]);
    let unread = UnreadProject::begin(Sources::from_texts("demo", texts), &GivenVariables::default());
    let early = unread.settings();
    (early, unread.read().0.settings)
}

#[test]
fn settings_are_known_before_the_documents() {
    let text = "\
project: demo
vars: {place: {type: string, default: state.db}}
state: {type: sqlite, path: '${{ vars.place }}'}
stacks: {prod: {lineage: 01890000-0000-7000-8000-000000000001}}
";
    let document = "{type: resource, kind: gabion_data, name: a}";
    let (early, whole) = settings(Some(text), document);
    let early = early.unwrap();
    assert_eq!(
        (early.state.clone(), &early.stacks),
        (whole.state.clone(), &whole.stacks)
    );
    assert!(early.state.is_some());

    let (early, whole) = settings(None, document);
    assert_eq!(early, Some(whole));
}

#[test]
fn settings_with_errors_are_not_known_early() {
    for text in [
        "state: [",
        "project: demo\nstat: local\n",
        "state: {type: sqlite, path: '${{ vars.none }}'}",
    ] {
        assert_eq!(settings(Some(text), "{}").0, None, "{text}");
    }
}

//! The engine's own one-line grammars: what is printed reads as the same, and no text makes one panic.

use proptest::prelude::*;
use proptest::test_runner::Config;

use super::super::{ConditionExpression, Reference, Target, Template, VersionRequirement};
use crate::address::ResourceAddress;
use crate::plan::glob::AddressGlob;
use crate::value::{AttributePath, PathSegment};

/// Bounded in the test command; `PROPTEST_CASES` asks for more.
fn config() -> Config {
    Config {
        failure_persistence: None,
        ..Config::default()
    }
}

/// Any text, and texts of the characters that mean something to these grammars.
const TEXTS: &str = "\\PC{0,40}|[a-c0-9_./:@*?\\[\\]\"\\\\ ${}!=<>,é-]{0,30}";

/// Names of resources: whatever an address can hold.
const NAMES: &str = "[a-z0-9][a-z0-9/_:@-]{0,20}|[^\\s\"'\\[\\]{}$\\\\\\p{C}]{1,12}";

fn address() -> impl Strategy<Value = ResourceAddress> {
    ("[a-z][a-z0-9_]{0,10}", NAMES).prop_filter_map("a name", |(resource_type, name)| {
        ResourceAddress::of(&resource_type, &name).ok()
    })
}

fn path() -> impl Strategy<Value = AttributePath> {
    let segment = prop_oneof![
        "[a-zA-Z0-9_-]{1,8}".prop_map(|name| PathSegment::Key(name.into())),
        "\\PC{0,8}".prop_map(|name| PathSegment::Key(name.into())),
        any::<u16>().prop_map(|index| PathSegment::Index(index.into())),
    ];
    proptest::collection::vec(segment, 1..6).prop_map(|segments| AttributePath(segments.into()))
}

/// The references of a text that is an expression with one.
fn reference(text: &str) -> Option<Reference> {
    let template = Template::parse(text).ok()?;
    let mut references = template.references();
    let first = references.next().cloned();
    first.filter(|_| references.next().is_none())
}

/// What is printed of what was read reads as the same.
fn survives<T: std::str::FromStr + ToString + PartialEq + std::fmt::Debug>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        let printed = value.to_string();
        let again = printed.parse::<T>().ok();
        assert_eq!(again.as_ref(), Some(&value), "{text} prints as {printed}");
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_text_breaks_a_grammar(text in TEXTS) {
        survives::<ResourceAddress>(&text);
        survives::<AttributePath>(&text);
        survives::<AddressGlob>(&text);
        survives::<VersionRequirement>(&text);
        survives::<ConditionExpression>(&text);
        survives::<Template>(&text);
        if let Err(error) = text.parse::<ConditionExpression>() {
            prop_assert!(text.get(error.range.clone()).is_some(), "{error:?}");
        }
    }

    #[test]
    fn addresses_print(address in address()) {
        let printed = address.to_string();
        prop_assert_eq!(printed.parse::<ResourceAddress>(), Ok(address.clone()), "{}", printed);
        // Each is a pattern that fits itself.
        let pattern: AddressGlob = printed.parse().unwrap();
        prop_assert!(pattern.matches(&address), "{}", printed);
    }

    #[test]
    fn paths_print(path in path()) {
        let printed = path.to_string();
        prop_assert_eq!(printed.parse::<AttributePath>(), Ok(path), "{}", printed);
    }

    #[test]
    fn references_print(address in address(), path in path(), before in "[a-z ]{0,5}") {
        let written = Reference { target: Target::Resource(address), path, range: 0..0 };
        let text = format!("{before}${{{{ {written} }}}}");
        let read = reference(&text);
        prop_assert!(read.is_some(), "{}: {:?}", text, Template::parse(&text));
        let read = read.unwrap();
        prop_assert_eq!(&read.target, &written.target, "{}", text);
        prop_assert_eq!(&read.path, &written.path, "{}", text);
        prop_assert_eq!(&text[read.range.clone()], written.to_string());
    }

    #[test]
    fn conditions_and_requirements_print(
        left in "[a-z]{1,4}[.][a-z]{1,4}[.][a-z]{1,4}",
        sign in "==|!=|<=|>=|<|>",
        right in "[0-9]{1,4}|true|null|'[a-z ]{0,5}'|\"[a-z<=]{0,5}\"",
        version in "(<=|>=|<|>|=)? ?[0-9]{1,2}([.][0-9]{1,2}){0,2}(, ?<[0-9]{1,2})?",
    ) {
        let condition = format!("${{{{ {left} }}}} {sign} {right}");
        prop_assert!(condition.parse::<ConditionExpression>().is_ok(), "{}", condition);
        survives::<ConditionExpression>(&condition);
        prop_assert!(version.parse::<VersionRequirement>().is_ok(), "{}", version);
        survives::<VersionRequirement>(&version);
    }
}

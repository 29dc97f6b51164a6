//! Whether a batch of changes can be made: moto does not look closely.

use std::collections::BTreeSet;

use super::http::{Answer, Asked};
use super::{World, all_between, between};

/// A record set: name, type, and what it answers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Set {
    name: String,
    kind: String,
    answer: BTreeSet<String>,
}

impl Set {
    fn of(text: &str) -> Option<Self> {
        let mut answer: BTreeSet<String> = all_between(text, "<Value>", "</Value>")
            .into_iter()
            .map(plain)
            .collect();
        for tag in ["TTL", "DNSName"] {
            let part = between(text, &format!("<{tag}>"), &format!("</{tag}>"));
            answer.extend(part.map(|part| part.trim_end_matches('.').to_lowercase()));
        }
        Some(Self {
            name: between(text, "<Name>", "</Name>")?
                .trim_end_matches('.')
                .to_lowercase()
                .replace("\\052", "*"),
            kind: between(text, "<Type>", "</Type>")?.to_owned(),
            answer,
        })
    }

    fn is_of(&self, other: &Self) -> bool {
        self.name == other.name && self.kind == other.kind
    }
}

/// Returns a text of XML without its escapes.
fn plain(text: &str) -> String {
    text.replace("&quot;", "\"")
        .replace("&#34;", "\"")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
}

/// Refuses a batch of which one change cannot be made.
pub(super) async fn refused(world: &World, asked: &Asked) -> Option<Answer> {
    if asked.operation != "ChangeResourceRecordSets" {
        return None;
    }
    let text = String::from_utf8_lossy(&asked.body).into_owned();
    let mut there = listed(world, asked).await;
    for change in all_between(&text, "<Change>", "</Change>") {
        let action = between(change, "<Action>", "</Action>").unwrap_or_default();
        let set = Set::of(change)?;
        let is = there.iter().find(|is| is.is_of(&set)).cloned();
        let problem = match (action, &is) {
            ("CREATE", Some(_)) => "it already exists",
            ("DELETE", None) => "it was not found",
            ("DELETE", Some(is)) if *is != set => "the values provided do not match the current values",
            _ => "",
        };
        if !problem.is_empty() {
            let what = action.to_lowercase();
            return Some(Answer::refused(
                true,
                400,
                "InvalidChangeBatch",
                &format!(
                    "[Tried to {what} resource record set [name='{}.', type='{}'] but {problem}]",
                    set.name, set.kind
                ),
            ));
        }
        there.retain(|is| !is.is_of(&set));
        if action != "DELETE" {
            there.insert(set);
        }
    }
    None
}

/// Lists the zone, page after page.
async fn listed(world: &World, asked: &Asked) -> BTreeSet<Set> {
    let mut sets = BTreeSet::new();
    let path = asked.parts.uri.path().trim_end_matches('/').to_owned();
    let mut query = String::new();
    loop {
        let mut list = asked.clone();
        list.parts.method = hyper::Method::GET;
        list.body = bytes::Bytes::new();
        let Ok(uri) = format!("{path}{query}").parse() else {
            return sets;
        };
        list.parts.uri = uri;
        let text = world.upstream_answer(&list).await.text();
        let page = all_between(&text, "<ResourceRecordSet>", "</ResourceRecordSet>");
        sets.extend(page.into_iter().filter_map(Set::of));
        let next = between(&text, "<NextRecordName>", "</NextRecordName>");
        let kind = between(&text, "<NextRecordType>", "</NextRecordType>");
        match (next, kind) {
            (Some(name), Some(kind)) if text.contains("<IsTruncated>true<") => {
                let name = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
                query = format!("?name={name}&type={kind}");
            }
            _ => return sets,
        }
    }
}

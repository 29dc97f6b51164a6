//! Placement groups, which moto does not have.

use std::fmt::Write as _;

use super::World;
use super::http::{Answer, Asked};

/// A placement group.
#[derive(Debug, Clone)]
pub(crate) struct PlacementGroup {
    id: String,
    strategy: String,
    tags: Vec<(String, String)>,
}

/// Answers what is about placement groups.
pub(super) fn answer(world: &World, asked: &Asked) -> Option<Answer> {
    match asked.operation.as_str() {
        "CreatePlacementGroup" => Some(create(world, asked)),
        "DescribePlacementGroups" => Some(describe(world, asked)),
        "DeletePlacementGroup" => Some(delete(world, asked)),
        "CreateTags" | "DeleteTags" if asked.parameter("ResourceId.1")?.starts_with("pg-") => {
            Some(tag(world, asked))
        }
        _ => None,
    }
}

fn tags(asked: &Asked, prefix: &str) -> Vec<(String, String)> {
    (1..=50)
        .map_while(|number| {
            let key = asked.parameter(&format!("{prefix}{number}.Key"))?;
            let value = asked
                .parameter(&format!("{prefix}{number}.Value"))
                .unwrap_or_default();
            Some((key.to_owned(), value.to_owned()))
        })
        .collect()
}

fn create(world: &World, asked: &Asked) -> Answer {
    let name = asked.parameter("GroupName").unwrap_or_default().to_owned();
    let mut state = world.state();
    if state.groups.contains_key(&name) {
        return Answer::refused(
            false,
            400,
            "InvalidPlacementGroup.Duplicate",
            &format!("The placement group '{name}' already exists."),
        );
    }
    let group = PlacementGroup {
        id: format!("pg-{:017x}", state.calls.len()),
        strategy: asked.parameter("Strategy").unwrap_or("cluster").to_owned(),
        tags: tags(asked, "TagSpecification.1.Tag."),
    };
    state.groups.insert(name, group);
    Answer::ok(
        "<CreatePlacementGroupResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><return>true</return>\
         </CreatePlacementGroupResponse>",
    )
}

fn describe(world: &World, asked: &Asked) -> Answer {
    let filter = asked.parameter("Filter.1.Name").unwrap_or_default();
    let values: Vec<&str> = (1..=200)
        .map_while(|number| asked.parameter(&format!("Filter.1.Value.{number}")))
        .collect();
    let state = world.state();
    let mut body = String::new();
    for (name, group) in &state.groups {
        let wanted = match filter.strip_prefix("tag:") {
            Some(key) => group
                .tags
                .iter()
                .any(|(known, value)| known == key && values.contains(&value.as_str())),
            None => filter.is_empty() || values.contains(&name.as_str()),
        };
        if wanted {
            let mut tags = String::new();
            for (key, value) in &group.tags {
                write!(tags, "<item><key>{key}</key><value>{value}</value></item>")
                    .expect("a text takes everything");
            }
            write!(
                body,
                "<item><groupName>{name}</groupName><groupId>{}</groupId><strategy>{}</strategy><state>available</state>\
                 <tagSet>{tags}</tagSet></item>",
                group.id, group.strategy
            )
            .expect("a text takes everything");
        }
    }
    Answer::ok(format!(
        "<DescribePlacementGroupsResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><placementGroupSet>{body}\
         </placementGroupSet></DescribePlacementGroupsResponse>"
    ))
}

fn delete(world: &World, asked: &Asked) -> Answer {
    let name = asked.parameter("GroupName").unwrap_or_default();
    match world.state().groups.remove(name) {
        Some(_) => Answer::ok(
            "<DeletePlacementGroupResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><return>true</return>\
             </DeletePlacementGroupResponse>",
        ),
        None => Answer::refused(
            false,
            400,
            "InvalidPlacementGroup.Unknown",
            &format!("The placement group '{name}' is unknown."),
        ),
    }
}

fn tag(world: &World, asked: &Asked) -> Answer {
    let id = asked.parameter("ResourceId.1").unwrap_or_default();
    let mut state = world.state();
    if let Some(group) = state.groups.values_mut().find(|group| group.id == id) {
        let changed = tags(asked, "Tag.");
        group
            .tags
            .retain(|(key, _)| !changed.iter().any(|(other, _)| other == key));
        if asked.operation == "CreateTags" {
            group.tags.extend(changed);
        }
    }
    let operation = &asked.operation;
    Answer::ok(format!(
        "<{operation}Response xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><return>true</return></{operation}Response>"
    ))
}

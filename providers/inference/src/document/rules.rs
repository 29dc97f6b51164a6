//! Rules between keys that several documents share.

use gabion_engine::config::{MapReader, Spanned, Target, Template};
use gabion_engine::diagnostic::{Diagnostic, Diagnostics, Span};
use gabion_engine::value::PathSegment;

use super::resources::Resources;
use crate::grammar::cpu::Architecture;
use crate::grammar::gpu::Vendor;
use crate::term::Text;

/// Returns whether a key is written and not null.
pub(crate) fn is_set(map: &MapReader<'_>, key: &str) -> bool {
    map.node().get(key).is_some_and(|node| !node.is_null())
}

/// Reports two keys that cannot both be set, when both conditions hold.
pub(crate) fn exclude(map: &mut MapReader<'_>, first: (&'static str, bool), second: (&'static str, bool)) {
    if !(first.1 && second.1) {
        return;
    }
    let (Some(one), Some(other)) = (map.key_span(first.0), map.key_span(second.0)) else {
        return;
    };
    let (one, other, names) = if one < other {
        (one, other, (first.0, second.0))
    } else {
        (other, one, (second.0, first.0))
    };
    map.problems().push(
        Diagnostic::error("exclusive-keys", "keys that exclude each other")
            .detail(format!("`{}` and `{}` cannot both be set.", names.0, names.1))
            .at(other)
            .related(one, "the other is set here")
            .hint("remove one of the two"),
    );
}

/// Accepts a key that means nothing any more, with a warning.
pub(crate) fn without_effect(map: &mut MapReader<'_>, key: &'static str, why: &str) {
    if let Some(span) = map.key_span(key) {
        map.problems().push(
            Diagnostic::warning("no-effect", "key without effect")
                .detail(why)
                .at(span)
                .hint(format!("remove `{key}`")),
        );
    }
}

/// Reports that a map needs `commands` or an `image`.
pub(crate) fn needs_commands(what: &str, at: Span, problems: &mut Diagnostics) {
    problems.push(
        Diagnostic::error("missing-key", "missing key")
            .detail(format!("{what} needs `commands` or an `image`."))
            .at(at)
            .hint("add `commands: [\"…\"]`"),
    );
}

/// Reports a path that does not begin at the root.
pub(crate) fn require_path(path: &Spanned<String>, what: &str, problems: &mut Diagnostics) {
    if !path.value.starts_with('/') {
        problems.push(
            Diagnostic::error("bad-path", "bad path")
                .detail(format!(
                    "The {what} `{}` is not absolute.",
                    crate::term::excerpt(&path.value)
                ))
                .at(path.span.clone())
                .hint("start it with `/`"),
        );
    }
}

/// Reports a need that the default image does not serve.
///
/// `image` and `docker` are those that the resources' replicas or nodes run with.
pub(crate) fn check_image(resources: &Resources, has_image: bool, docker: bool, problems: &mut Diagnostics) {
    let gpu = &resources.gpu;
    if !has_image && !docker && gpu.value.count.max != Some(0) {
        let vendors = gpu.value.vendors();
        let others = vendors
            .iter()
            .filter(|vendor| !matches!(vendor, Vendor::Nvidia | Vendor::Google));
        let names: Vec<String> = others.map(|vendor| format!("`{vendor}`")).collect();
        if !names.is_empty() {
            problems.push(
                Diagnostic::error("missing-image", "accelerator without an image")
                    .detail(format!(
                        "The default image does not support accelerators of {}; such a run needs an `image` of its own.",
                        names.join(", ")
                    ))
                    .at(gpu.span.clone())
                    .hint("add `image: …`"),
            );
        }
    }
    let cpu = &resources.cpu;
    if cpu.value.arch == Some(Architecture::Arm) && (docker || !has_image) {
        let problem = if docker {
            Diagnostic::error("unsupported-docker", "docker on ARM processors")
                .detail("`docker: true` brings an image for x86 processors.")
                .hint("remove `docker`, or ask for x86 processors")
        } else {
            Diagnostic::error("missing-image", "ARM processors without an image")
                .detail("The default image is for x86 processors; a run on ARM needs an `image` of its own.")
                .hint("add `image: …`")
        };
        problems.push(problem.at(cpu.span.clone()));
    }
}

/// Checks `${{ groups[i].MEMBER[j].IP_ADDRESS }}` in commands against the groups that there are.
///
/// `sizes` are the least sizes of the groups, in order.
pub(crate) fn check_group_references(
    commands: &[Spanned<Text>],
    member: &str,
    sizes: &[u32],
    problems: &mut Diagnostics,
) {
    for command in commands {
        let Ok(template) = Template::parse(&command.value) else {
            continue;
        };
        for reference in template.references() {
            if reference.target != Target::Scope("groups".into()) {
                continue;
            }
            if let Err((why, hint)) = group_reference(&reference.path.0, member, sizes) {
                problems.push(
                    Diagnostic::error("bad-group-reference", "reference to a group that is not there")
                        .detail(format!("`{reference}`: {why}"))
                        .at(command.span.part_with(&reference.to_string()))
                        .hint(hint),
                );
            }
        }
    }
}

fn group_reference(path: &[PathSegment], member: &str, sizes: &[u32]) -> Result<(), (String, String)> {
    let form = format!("write `${{{{ groups[0].{member}[0].IP_ADDRESS }}}}`");
    let [
        PathSegment::Index(group),
        PathSegment::Key(found),
        PathSegment::Index(index),
        PathSegment::Key(attribute),
    ] = path
    else {
        return Err(("this is not how a group's members are named.".to_owned(), form));
    };
    if &**found != member || &**attribute != "IP_ADDRESS" {
        return Err((
            format!("the groups here have `{member}`, each with an `IP_ADDRESS`."),
            form,
        ));
    }
    let Some(size) = sizes.get(*group) else {
        return Err((
            format!("there are {} groups, counted from 0.", sizes.len()),
            "name a group that there is".to_owned(),
        ));
    };
    if *index >= usize::try_from(*size).unwrap_or(usize::MAX) {
        return Err((
            format!("group {group} always has {size} {member} at least, counted from 0."),
            format!("name one that is always there, or raise the least number of {member}"),
        ));
    }
    Ok(())
}

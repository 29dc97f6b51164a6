//! A replica in a container: on a machine of its own it has all of what is there.

use gabion_engine::resource::Resource;
use gabion_engine::value::Value;

use crate::document::dialect::Member;
use crate::document::service::Service;
use crate::lower::program;

/// dstack's own default for images, many of which lack bash.
const SHELL: &str = "/bin/sh";

/// Has the unit of a replica with an image run in a container of it.
pub(crate) fn contain(unit: &mut Resource, service: &Service, member: &Member<'_>) {
    let Some(image) = member.image else { return };
    let mut container = vec![
        ("image", program::text(&image.value)),
        (
            "ports",
            Value::map([("http", Value::Int(i64::from(service.port.value.0.0)))]),
        ),
    ];
    if member.resources.gpu.value.is_needed() {
        container.push(("gpus", "all".into()));
    }
    if let Some(size) = member.resources.shm_size {
        let size = i64::try_from(size.as_megabytes()).unwrap_or(i64::MAX);
        container.push(("shm_mib", Value::Int(size)));
    }
    let inputs = &mut unit.inputs;
    inputs.insert("runtime".into(), "docker".into());
    inputs.insert("container".into(), Value::map(container));
    match inputs.get_mut("argv") {
        // The image's own program.
        Some(_) if member.commands.is_empty() => {
            inputs.remove("argv");
        }
        Some(Value::List(argv)) if service.run.shell.is_none() => {
            if let Some(shell) = argv.first_mut() {
                *shell = SHELL.into();
            }
        }
        _ => {}
    }
    let path = gabion_engine::value::AttributePath::root("container").key("image");
    unit.places.insert(path, image.span.place());
}

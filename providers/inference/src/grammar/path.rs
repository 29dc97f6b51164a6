//! Paths, as containers and repositories name them.

/// Checks an absolute path and returns it without doubled and trailing slashes.
pub(crate) fn absolute(path: &str) -> Result<String, String> {
    if path.is_empty() {
        return Err("There is an empty path.".to_owned());
    }
    if !path.starts_with('/') {
        return Err(format!(
            "The path `{}` is not absolute.",
            crate::term::excerpt(path)
        ));
    }
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    if parts.contains(&"..") {
        return Err(format!(
            "The path `{}` must not hold `..`.",
            crate::term::excerpt(path)
        ));
    }
    Ok(format!("/{}", parts.join("/")))
}

/// Splits at `:`, where `C:\` and `c:/` at the start stay whole.
pub(crate) fn parts(text: &str) -> Vec<String> {
    let mut parts: Vec<String> = text.split(':').map(str::to_owned).collect();
    if let [first, second, ..] = parts.as_slice()
        && is_drive(first)
        && second.starts_with(['\\', '/'])
    {
        let joined = format!("{first}:{second}");
        parts.splice(0..2, [joined]);
    }
    parts
}

fn is_drive(text: &str) -> bool {
    text.len() == 1 && text.bytes().all(|byte| byte.is_ascii_alphabetic())
}

/// Tells whether a path is an absolute one of Windows.
pub(crate) fn is_windows(path: &str) -> bool {
    let mut chars = path.chars();
    let drive = chars.next().is_some_and(|c| c.is_ascii_alphabetic()) && chars.next() == Some(':');
    drive && chars.next().is_some_and(|c| matches!(c, '\\' | '/')) || path.starts_with("\\\\")
}

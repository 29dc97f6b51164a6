//! The one normalisation of request paths, and the decision which paths pass.
//!
//! The decision is made on the canonical path and the canonical path is what goes upstream, so that no two programs on
//! the way can read one request differently. Normalising is idempotent.

use percent_encoding::percent_encode_byte;

/// What a restricted service lets through besides its own extra prefixes.
const INFERENCE_PATHS: [&str; 3] = ["/v1/", "/generate", "/chat/completions"];

/// Why a path has no canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathError {
    /// It does not begin with a slash (`*`, an authority).
    #[error("the path does not begin with a slash")]
    Relative,
    /// A percent sign without two hexadecimal digits.
    #[error("the path holds a broken percent escape")]
    BrokenEscape,
    /// A control byte, raw or escaped.
    #[error("the path holds a control character")]
    Control,
    /// A backslash, raw or escaped: some programs take it for a slash.
    #[error("the path holds a backslash")]
    Backslash,
    /// A dot segment with parameters (`..;x`): some programs take it for a dot segment.
    #[error("the path holds a dot segment with parameters")]
    DotParameters,
}

/// Returns the canonical form of an absolute path without its query.
///
/// Escapes of unreserved characters and of slashes are decoded, others get upper-case digits; what needs an escape gets
/// one; runs of slashes become one; dot segments are resolved, never above the root.
pub(crate) fn canonical_path(raw: &str) -> Result<String, PathError> {
    if !raw.starts_with('/') {
        return Err(PathError::Relative);
    }
    let decoded = unescape(raw.as_bytes())?;
    let mut segments: Vec<&str> = Vec::new();
    let mut ends_open = false;
    for segment in decoded.split('/').skip(1) {
        ends_open = false;
        match segment {
            "" | "." => ends_open = true,
            ".." => {
                segments.pop();
                ends_open = true;
            }
            _ if segment.starts_with("..;") || segment.starts_with(".;") => {
                return Err(PathError::DotParameters);
            }
            _ => segments.push(segment),
        }
    }
    let mut path = String::with_capacity(decoded.len());
    for segment in &segments {
        path.push('/');
        path.push_str(segment);
    }
    if ends_open || path.is_empty() {
        path.push('/');
    }
    Ok(path)
}

/// Decodes what means the same unescaped and escapes what may not stand raw.
fn unescape(raw: &[u8]) -> Result<String, PathError> {
    let mut out = String::with_capacity(raw.len());
    let mut bytes = raw.iter().copied();
    while let Some(byte) = bytes.next() {
        let (byte, escaped) = if byte == b'%' {
            let high = bytes.next().and_then(hex_digit).ok_or(PathError::BrokenEscape)?;
            let low = bytes.next().and_then(hex_digit).ok_or(PathError::BrokenEscape)?;
            (high << 4 | low, true)
        } else {
            (byte, false)
        };
        match byte {
            0..=0x1f | 0x7f => return Err(PathError::Control),
            b'\\' => return Err(PathError::Backslash),
            b'/' => out.push('/'),
            _ if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => out.push(char::from(byte)),
            // Sub-delimiters, `:` and `@` may stand raw, and an escape of one may mean something else: both stay.
            _ if !escaped && b"!$&'()*+,;=:@".contains(&byte) => out.push(char::from(byte)),
            _ => out.push_str(percent_encode_byte(byte)),
        }
    }
    Ok(out)
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

/// Returns what is left of a canonical path below a prefix (`/services/qwen/`), always beginning with a slash.
pub(crate) fn below_prefix<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    let prefix = prefix.trim_end_matches('/');
    let rest = path.strip_prefix(prefix)?;
    match rest.as_bytes().first() {
        None => Some("/"),
        Some(b'/') => Some(rest),
        Some(_) => None,
    }
}

/// Returns whether a restricted service lets a canonical path through.
pub(crate) fn passes_restriction(path: &str, extra: &[String]) -> bool {
    INFERENCE_PATHS.iter().any(|allowed| {
        if allowed.ends_with('/') {
            path.starts_with(allowed)
        } else {
            path == *allowed
        }
    }) || extra.iter().any(|prefix| below_prefix(path, prefix).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_one_form() {
        for (raw, canonical) in [
            ("/", "/"),
            ("//", "/"),
            ("/v1/chat/completions", "/v1/chat/completions"),
            ("/v1/../workers", "/workers"),
            ("/v1/%2e%2e/workers", "/workers"),
            ("/v1/.%2E/workers", "/workers"),
            ("/v1%2f..%2fworkers", "/workers"),
            ("//workers", "/workers"),
            ("/v1//../workers", "/workers"),
            ("/%77orkers", "/workers"),
            ("/../../workers", "/workers"),
            ("/v1/..", "/"),
            ("/v1/.", "/v1/"),
            ("/a/b/", "/a/b/"),
            ("/a%20b", "/a%20b"),
            ("/a%c3%a9", "/a%C3%A9"),
            ("/%252e%252e/workers", "/%252e%252e/workers"),
            ("/a;b=1/c:d@e", "/a;b=1/c:d@e"),
            ("/a%3bb", "/a%3Bb"),
            ("/a|b\"", "/a%7Cb%22"),
        ] {
            let once = canonical_path(raw).unwrap();
            assert_eq!(once, canonical, "{raw}");
            assert_eq!(canonical_path(&once).unwrap(), once, "{raw} again");
        }
    }

    #[test]
    fn ambiguous_paths_are_refused() {
        for (raw, error) in [
            ("*", PathError::Relative),
            ("/%", PathError::BrokenEscape),
            ("/%2", PathError::BrokenEscape),
            ("/%+1", PathError::BrokenEscape),
            ("/a%00", PathError::Control),
            ("/a%0d%0a", PathError::Control),
            ("/v1/..%5cworkers", PathError::Backslash),
            ("/v1/..;/workers", PathError::DotParameters),
        ] {
            assert_eq!(canonical_path(raw), Err(error), "{raw}");
        }
    }

    #[test]
    fn only_inference_paths_pass_a_restriction() {
        let extra = vec!["/custom".to_owned(), "/tools/".to_owned()];
        for (path, passes) in [
            ("/v1/models", true),
            ("/v1/", true),
            ("/v1", false),
            ("/generate", true),
            ("/generate_from_file", false),
            ("/generate/x", false),
            ("/chat/completions", true),
            ("/workers", false),
            ("/flush_cache", false),
            ("/", false),
            ("/custom", true),
            ("/custom/x", true),
            ("/customs", false),
            ("/tools", true),
        ] {
            assert_eq!(passes_restriction(path, &extra), passes, "{path}");
        }
    }

    #[test]
    fn a_prefix_ends_at_a_segment() {
        assert_eq!(
            below_prefix("/services/qwen/v1/models", "/services/qwen/"),
            Some("/v1/models")
        );
        assert_eq!(below_prefix("/services/qwen", "/services/qwen/"), Some("/"));
        assert_eq!(below_prefix("/services/qwen2/v1", "/services/qwen/"), None);
        assert_eq!(below_prefix("/x", "/"), Some("/x"));
    }
}

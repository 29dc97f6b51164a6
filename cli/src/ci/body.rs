//! The Markdown that is posted: its mark, and a shorter form of it.

/// What stands where something was left out.
const CUT: &str =
    "\n**The rest is left out here, as the comment would be too long.** The job's own output has it.\n";

/// Returns the hidden mark in the first line of a body.
pub(crate) fn marker(body: &str) -> Option<&str> {
    let line = body.lines().next()?.trim_end();
    let inside = line.strip_prefix("<!-- gabion:")?.strip_suffix(" -->")?;
    (!inside.is_empty() && !inside.contains("--")).then_some(line)
}

/// Returns a body of at most so many bytes: it is cut where no fence, table or details block is open, and its last
/// paragraphs stay.
pub(crate) fn shortened(body: &str, most: usize) -> String {
    if body.len() <= most {
        return body.to_owned();
    }
    let (text, foot) = match body.rfind("\n<sub>") {
        Some(at) => body.split_at(at),
        None => (body, ""),
    };
    let room = most.saturating_sub(CUT.len() + foot.len());
    let mut end = 0;
    let mut at = 0;
    let mut fence: Option<usize> = None;
    let mut details = 0_usize;
    for line in text.split_inclusive('\n') {
        at += line.len();
        if at > room {
            break;
        }
        let ticks = line.chars().take_while(|c| *c == '`').count();
        match fence {
            Some(open) if ticks >= open && line.trim_end().len() == ticks => fence = None,
            None if ticks >= 3 => fence = Some(ticks),
            _ => {}
        }
        if fence.is_none() {
            details += line.matches("<details>").count();
            details = details.saturating_sub(line.matches("</details>").count());
        }
        if fence.is_none() && details == 0 && (line.trim().is_empty() || line.starts_with('|')) {
            end = at;
        }
    }
    format!("{}{CUT}{foot}", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_the_whole_first_line() {
        assert_eq!(
            marker("<!-- gabion:plan:a -->\n# x"),
            Some("<!-- gabion:plan:a -->")
        );
        for wrong in [
            "",
            "# x\n<!-- gabion:plan:a -->",
            "<!-- other -->",
            "<!-- gabion:a --> <!-- b -->",
            "<!-- gabion: -->x",
        ] {
            assert_eq!(marker(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_body_is_cut_where_nothing_is_open() {
        let body = format!(
            "<!-- gabion:plan:a -->\n### title\n\n| a |\n| --- |\n| 1 |\n\n<details><summary>x</summary>\n\n````diff\n```\n+ {}\n````\n\n</details>\n\n<sub>serial 1</sub>\n\nApply: `x`\n",
            "y".repeat(400)
        );
        for most in [230, 300, 420, 500] {
            let short = shortened(&body, most);
            assert!(short.len() <= most, "{most}: {}", short.len());
            assert_eq!(
                short.matches("<details>").count(),
                short.matches("</details>").count()
            );
            assert_eq!(short.matches("````").count() % 2, 0, "{short}");
            assert!(short.ends_with("Apply: `x`\n"), "{short}");
            assert!(short.contains("is left out here"));
        }
        assert_eq!(shortened(&body, 10_000), body);
    }
}

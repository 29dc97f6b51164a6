//! The parser of `${{ … }}`.

use std::ops::Range;
use std::sync::Arc;

use super::expression::{ExpressionError, Part, Reference, Target};
use crate::address::{ResourceAddress, ResourceName, ResourceType};
use crate::value::{AttributePath, PathSegment};

const FORMS: &str = "write `${{ env.NAME }}`, `${{ secrets.NAME }}` or `${{ type.name.attribute }}`";
const OPEN: &str = "${{";
const CLOSE: &str = "}}";

/// Parses templates, and single references for other grammars.
pub(super) struct Parser<'a> {
    text: &'a str,
    at: usize,
}

/// A segment of a reference, and where it starts.
struct Segment {
    value: PathSegment,
    range: Range<usize>,
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The whole text as a template.
    pub(super) fn template(mut self) -> Result<Vec<Part>, Vec<ExpressionError>> {
        let (mut parts, mut errors, mut literal) = (Vec::new(), Vec::new(), String::new());
        while let Some(found) = self.rest().find('$') {
            literal.push_str(&self.rest()[..found]);
            self.at += found;
            if self.rest().starts_with("$${{") {
                literal.push_str(OPEN);
                self.at += 1 + OPEN.len();
            } else if self.rest().starts_with(OPEN) {
                match self.expression() {
                    Ok(reference) => {
                        if !literal.is_empty() {
                            parts.push(Part::Literal(std::mem::take(&mut literal)));
                        }
                        parts.push(Part::Reference(reference));
                    }
                    Err(error) => {
                        errors.push(error);
                        let end = self
                            .rest()
                            .find(CLOSE)
                            .map_or(self.text.len(), |end| self.at + end + CLOSE.len());
                        self.at = end;
                    }
                }
            } else {
                literal.push('$');
                self.at += 1;
            }
        }
        literal.push_str(self.rest());
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        if errors.is_empty() { Ok(parts) } else { Err(errors) }
    }

    /// `${{ reference }}`, from its first brace on.
    pub(super) fn expression(&mut self) -> Result<Reference, ExpressionError> {
        let open = self.at;
        self.at += OPEN.len();
        self.skip_space();
        if self.rest().is_empty() {
            return Err(unclosed(open));
        }
        if self.rest().starts_with(CLOSE) {
            let range = open..self.at + CLOSE.len();
            return Err(error(
                range,
                "This expression is empty.",
                Some("name something: `${{ env.NAME }}`"),
            ));
        }
        let reference = self.reference()?;
        self.skip_space();
        if self.rest().starts_with(CLOSE) {
            self.at += CLOSE.len();
            return Ok(reference);
        }
        if self.rest().is_empty() {
            return Err(unclosed(open));
        }
        let end = self.at + self.rest().find([' ', '}']).unwrap_or(self.rest().len()).max(1);
        Err(error(
            self.at..self.boundary(end),
            "Expected `}}`: an expression is one reference.",
            None,
        ))
    }

    /// A reference without braces.
    pub(super) fn reference(&mut self) -> Result<Reference, ExpressionError> {
        let start = self.at;
        let segments = self.segments()?;
        let range = start..self.at;
        let mut rest = segments.into_iter();
        let Some(Segment {
            value: PathSegment::Key(root),
            range: root_range,
        }) = rest.next()
        else {
            return Err(error(range, "A reference starts with a name.", None));
        };
        let target = match &*root {
            "env" => Target::Environment(self.one_name(&mut rest, &range, "env.NAME")?),
            "secrets" => Target::Secret(self.one_name(&mut rest, &range, "secrets.NAME")?),
            "vars" | "each" | "inputs" | "module" => Target::Scope(root),
            "data" => return self.data(root, rest.collect(), range),
            _ => return self.resource(root, root_range, rest.collect(), range),
        };
        let path: Vec<PathSegment> = rest.map(|segment| segment.value).collect();
        if !path.is_empty() && !matches!(target, Target::Scope(_)) {
            return Err(error(
                range,
                format!("`{target}` is a text and has no attributes."),
                None,
            ));
        }
        Ok(Reference {
            target,
            path: AttributePath(path.into()),
            range,
        })
    }

    fn resource(
        &self,
        root: Arc<str>,
        root_range: Range<usize>,
        rest: Vec<Segment>,
        range: Range<usize>,
    ) -> Result<Reference, ExpressionError> {
        let mut rest = rest.into_iter();
        let name = match rest.next() {
            Some(Segment {
                value: PathSegment::Key(name),
                range,
            }) => (name, range),
            // `groups[0]` and a bare word belong to scopes that document types know.
            other => {
                let path = other
                    .into_iter()
                    .chain(rest)
                    .map(|segment| segment.value)
                    .collect();
                return Ok(Reference {
                    target: Target::Scope(root),
                    path: AttributePath(path),
                    range,
                });
            }
        };
        let resource_type =
            ResourceType::new(&root).map_err(|why| error(root_range, sentence(&why), None))?;
        let (name, name_range) = name;
        let name = ResourceName::new(&name).map_err(|why| error(name_range, sentence(&why), None))?;
        let path = rest.map(|segment| segment.value).collect();
        Ok(Reference {
            target: Target::Resource(ResourceAddress::new(resource_type, name)),
            path: AttributePath(path),
            range,
        })
    }

    /// `data.KIND.NAME` and what follows.
    fn data(
        &self,
        root: Arc<str>,
        rest: Vec<Segment>,
        range: Range<usize>,
    ) -> Result<Reference, ExpressionError> {
        let mut rest = rest.into_iter();
        let (
            Some(Segment {
                value: PathSegment::Key(kind),
                range: kind_range,
            }),
            Some(name),
        ) = (rest.next(), rest.next())
        else {
            return Err(error(
                range,
                format!("`{root}` names the kind and the name of a document with `type: data`."),
                Some("write `${{ data.KIND.NAME.ATTRIBUTE }}`"),
            ));
        };
        let (name, name_range) = (name.value, name.range);
        let PathSegment::Key(name) = name else {
            return Err(error(
                name_range,
                "A document has a name, and no position.",
                Some("write `${{ data.KIND.NAME.ATTRIBUTE }}`"),
            ));
        };
        let kind = ResourceType::new(&kind).map_err(|why| error(kind_range, sentence(&why), None))?;
        let name = ResourceName::new(&name).map_err(|why| error(name_range, sentence(&why), None))?;
        Ok(Reference {
            target: Target::Data(ResourceAddress::new(kind, name)),
            path: AttributePath(rest.map(|segment| segment.value).collect()),
            range,
        })
    }

    fn one_name(
        &self,
        rest: &mut impl Iterator<Item = Segment>,
        range: &Range<usize>,
        form: &str,
    ) -> Result<Arc<str>, ExpressionError> {
        match rest.next() {
            Some(Segment {
                value: PathSegment::Key(name),
                ..
            }) => Ok(name),
            _ => Err(error(
                range.clone(),
                "This reference names nothing.",
                Some(&format!("write `${{{{ {form} }}}}`")),
            )),
        }
    }

    /// `name`, then `.name`, `[index]` and `["name"]`.
    fn segments(&mut self) -> Result<Vec<Segment>, ExpressionError> {
        let mut segments = vec![self.name()?];
        loop {
            if self.rest().starts_with('.') {
                self.at += 1;
                segments.push(self.name()?);
            } else if self.rest().starts_with('[') {
                segments.push(self.bracket()?);
            } else {
                return Ok(segments);
            }
        }
    }

    fn name(&mut self) -> Result<Segment, ExpressionError> {
        let in_name = |c: char| c.is_ascii_alphanumeric() || "-_/:@".contains(c);
        let length = self.rest().find(|c| !in_name(c)).unwrap_or(self.rest().len());
        let start = self.at;
        if length == 0 {
            let found = self.rest().chars().next();
            let end = start + found.map_or(0, char::len_utf8);
            let message = match found {
                Some(found) if !found.is_whitespace() => format!("Expected a name, found `{found}`."),
                _ => "Expected a name.".to_owned(),
            };
            return Err(error(
                start..end,
                message,
                Some("a name with other characters is quoted: `type[\"na me\"].attribute`"),
            ));
        }
        self.at += length;
        Ok(Segment {
            value: PathSegment::Key(self.text[start..self.at].into()),
            range: start..self.at,
        })
    }

    fn bracket(&mut self) -> Result<Segment, ExpressionError> {
        let start = self.at;
        self.at += 1;
        let value = match self.rest().chars().next() {
            Some(quote @ ('"' | '\'')) => PathSegment::Key(self.quoted(quote, start)?),
            _ => {
                let length = self.rest().find(']').unwrap_or(self.rest().len());
                let index = self.rest()[..length].trim().parse();
                let end = self.boundary(self.at + length);
                let index = index.map_err(|_| {
                    let hint = "write `[0]` for a position, `[\"name\"]` for a name";
                    error(
                        start..end,
                        "Brackets take a position or a quoted name.",
                        Some(hint),
                    )
                })?;
                self.at += length;
                PathSegment::Index(index)
            }
        };
        if !self.rest().starts_with(']') {
            return Err(error(
                start..self.at,
                "This bracket is not closed.",
                Some("close it with `]`"),
            ));
        }
        self.at += 1;
        Ok(Segment {
            value,
            range: start..self.at,
        })
    }

    fn quoted(&mut self, quote: char, start: usize) -> Result<Arc<str>, ExpressionError> {
        let mut name = String::new();
        let mut chars = self.rest().char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => name.extend(chars.next().map(|(_, c)| c)),
                c if c == quote => {
                    self.at += at + 1;
                    return Ok(name.into());
                }
                c => name.push(c),
            }
        }
        Err(error(
            start..self.text.len(),
            "This quoted name does not end.",
            Some("close the quotes"),
        ))
    }

    pub(super) fn skip_space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// The next character boundary at or after `at`.
    fn boundary(&self, at: usize) -> usize {
        (at..=self.text.len())
            .find(|at| self.text.is_char_boundary(*at))
            .unwrap_or(self.text.len())
    }
}

fn unclosed(open: usize) -> ExpressionError {
    error(
        open..open + OPEN.len(),
        "This expression does not end.",
        Some("close it with `}}`, or write `$${{` for the text `${{`"),
    )
}

fn error(range: Range<usize>, message: impl Into<String>, hint: Option<&str>) -> ExpressionError {
    ExpressionError {
        message: message.into(),
        hint: Some(hint.unwrap_or(FORMS).to_owned()),
        range,
    }
}

fn sentence(why: &impl std::fmt::Display) -> String {
    let mut text = why.to_string();
    text.push('.');
    text
}

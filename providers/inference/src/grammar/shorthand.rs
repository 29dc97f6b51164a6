//! Values that are written as one line or as a map.

/// Makes a term of a map type that is also a [`Line`](crate::term::Line); it is written as a line where one says all.
macro_rules! shorthand {
    ($name:ident) => {
        impl gabion_engine::config::FromNode for $name {
            fn expected() -> String {
                <Self as $crate::term::Line>::WHAT.to_owned()
            }

            fn from_node(
                node: &gabion_engine::config::Node,
                problems: &mut gabion_engine::diagnostic::Diagnostics,
            ) -> Option<Self> {
                if node.as_map().is_some() {
                    $crate::term::read_map(node, problems)
                } else {
                    $crate::term::read_line(node, problems)
                }
            }
        }

        impl $crate::term::Term for $name {
            fn write(&self) -> serde_yaml::Value {
                let line = self.to_string();
                if <Self as $crate::term::Line>::parse(&line).as_ref() == Ok(self) {
                    line.into()
                } else {
                    $crate::term::write_map(self)
                }
            }

            fn schema() -> serde_json::Value {
                serde_json::json!({
                    "anyOf": [{"type": ["string", "number"]}, $crate::term::map_schema::<Self>()],
                    "title": <Self as $crate::term::Line>::WHAT,
                })
            }
        }
    };
}

pub(crate) use shorthand;

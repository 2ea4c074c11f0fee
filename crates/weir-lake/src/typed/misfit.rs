//! What keeps a record out of its table.

/// One value that does not fit, with the path of its column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Misfit {
    /// Names from the innermost outwards; `[]` stands for a list's element.
    path: Vec<String>,
    pub(crate) problem: Problem,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Problem {
    /// A field that no column is there for.
    Unknown { got: &'static str },
    /// A value of another type.
    Type {
        expected: &'static str,
        got: &'static str,
        /// A wider type would hold both.
        widens: bool,
    },
    /// A value of the right type that the column cannot hold exactly.
    Range(String),
    /// The stream asks for a cast, and the value is none of that type.
    Cast { to: &'static str, got: &'static str },
    /// A primary key's field is missing or null.
    NoKey,
    /// The record is not an object.
    NotObject { got: &'static str },
}

impl Misfit {
    pub(crate) fn new(problem: Problem) -> Box<Self> {
        Box::new(Self {
            path: Vec::new(),
            problem,
        })
    }

    pub(crate) fn at(path: &str, problem: Problem) -> Box<Self> {
        Box::new(Self {
            path: vec![path.to_owned()],
            problem,
        })
    }

    #[must_use]
    pub(crate) fn within(mut self: Box<Self>, name: &str) -> Box<Self> {
        self.path.push(name.to_owned());
        self
    }

    /// Whether a schema that evolves would take the value in.
    pub(crate) fn evolves(&self) -> bool {
        matches!(
            self.problem,
            Problem::Unknown { .. } | Problem::Type { widens: true, .. }
        )
    }

    /// Whether it is the schema contract that the record breaks.
    pub(crate) fn breaks_contract(&self) -> bool {
        !matches!(self.problem, Problem::NoKey | Problem::NotObject { .. })
    }

    pub(crate) fn column(&self) -> Option<String> {
        let mut column = String::new();
        for name in self.path.iter().rev() {
            if !column.is_empty() && name != "[]" {
                column.push('.');
            }
            column.push_str(name);
        }
        (!column.is_empty()).then_some(column)
    }

    /// The reason in words, without any value of the record, so that equal reasons group.
    pub(crate) fn reason(&self) -> String {
        let column = self.column().unwrap_or_default();
        match &self.problem {
            Problem::Unknown { got } => format!("field '{column}' ({got}) is not in the schema"),
            Problem::Type { expected, got, .. } => {
                format!("column '{column}': expected {expected}, got {got}")
            }
            Problem::Range(what) => format!("column '{column}': {what}"),
            Problem::Cast { to, got } => format!("column '{column}': the cast to {to} failed, got {got}"),
            Problem::NoKey => format!("primary key '{column}' is missing"),
            Problem::NotObject { got } => format!("the record is not an object but {got}"),
        }
    }

    pub(crate) fn types(&self) -> (Option<&str>, Option<&str>) {
        match &self.problem {
            Problem::Unknown { got } => (None, Some(got)),
            Problem::Type { expected, got, .. } | Problem::Cast { to: expected, got } => {
                (Some(expected), Some(got))
            }
            Problem::Range(_) | Problem::NoKey | Problem::NotObject { .. } => (None, None),
        }
    }
}

//! Which parts of an answer are its records.

use std::ops::Range;

use bytes::Bytes;
use weir_protocol::spec::Select;
use weir_protocol::yaml::closest;
use weir_protocol::{Error, Result};

use super::scan::{Scanner, key_is, key_text};
use super::{Path, Step};

/// A stream's `select`, compiled.
#[derive(Debug, Clone)]
pub struct Selector {
    path: Path,
    is_optional: bool,
    key_as: Option<String>,
}

/// Records and the text they lie in.
#[derive(Debug, Clone, Default)]
pub struct Page {
    pub body: Bytes,
    pub records: Vec<Range<u32>>,
    /// The list that the records are the elements of, in the document that they were selected from.
    pub list: Option<Range<usize>>,
}

impl Page {
    pub fn json(&self, record: &Range<u32>) -> &[u8] {
        &self.body[record.start as usize..record.end as usize]
    }
}

impl Selector {
    pub fn new(spec: &Select) -> Result<Self> {
        let key_as = match spec {
            Select::Detailed { key_as, .. } => key_as.clone(),
            Select::Root | Select::Path(_) => None,
        };
        Ok(Self {
            path: Path::parse(spec.path())?,
            is_optional: spec.is_optional(),
            key_as,
        })
    }

    /// The records of one JSON document.
    pub fn select(&self, body: Bytes) -> Result<Page> {
        if u32::try_from(body.len()).is_err() {
            return Err(Error::limit("an answer is larger than 4 GiB")
                .with("bytes", body.len())
                .hint("ask for smaller pages (paginate.size)"));
        }
        let mut walk = Walk {
            text: &body,
            selector: self,
            found: Vec::new(),
            members: Vec::new(),
            reached: false,
            list: None,
        };
        let mut scanner = Scanner::new(&body);
        if scanner.peek().is_none() {
            return if self.is_optional {
                Ok(Page::default())
            } else {
                Err(empty())
            };
        }
        walk.follow(&mut scanner, &self.path.steps)?;
        if scanner.peek().is_some() {
            return Err(scanner
                .broken("the end of the answer")
                .hint("several JSON documents after each other are read with decode: { format: jsonl }"));
        }
        if !walk.reached && !self.is_optional {
            return Err(self.nothing_found(&body)?);
        }
        let (records, members, list) = (walk.found, walk.members, walk.list);
        match &self.key_as {
            Some(field) => Ok(with_keys(&body, &records, &members, field)),
            None => Ok(Page { body, records, list }),
        }
    }

    /// The records of lines, each a JSON text of its own: the lines themselves, or what the path finds in each.
    pub fn select_lines(&self, body: Bytes, lines: Vec<Range<u32>>) -> Result<Page> {
        if self.path.steps.is_empty() {
            let records = lines;
            return Ok(Page {
                body,
                records,
                list: None,
            });
        }
        let mut records = Vec::with_capacity(lines.len());
        for line in lines {
            let whole = line.start as usize..line.end as usize;
            match super::find(&body, &whole, &self.path)? {
                Some(found) => records.push(small(&found)),
                None if self.is_optional => {}
                None => {
                    let line = body.slice(whole);
                    return Err(self.nothing_found(&line)?);
                }
            }
        }
        Ok(Page {
            body,
            records,
            list: None,
        })
    }

    fn nothing_found(&self, text: &[u8]) -> Result<Error> {
        let error =
            Error::decode(format!("the answer has nothing at '{}'", self.path)).with("select", &self.path);
        let names = names_at_top(text)?;
        let listed: Vec<&str> = names.iter().map(String::as_str).take(20).collect();
        let optional = format!(
            "write select: {{ path: {}, optional: true }} where answers without it hold no records",
            self.path
        );
        let wanted = self.path.steps.first();
        let near = match wanted {
            Some(Step::Key(key)) if !listed.contains(&key.as_str()) => closest(key, &listed),
            _ => None,
        };
        let error = error.with(
            "answer has",
            if listed.is_empty() {
                "no names".to_owned()
            } else {
                listed.join(", ")
            },
        );
        Ok(match near {
            Some(near) => error.hint(format!("did you mean '{near}'? Otherwise {optional}")),
            None => error.hint(optional),
        })
    }
}

struct Walk<'a> {
    text: &'a [u8],
    selector: &'a Selector,
    found: Vec<Range<u32>>,
    /// Keys (with quotes) of the records, where they are wanted.
    members: Vec<Range<usize>>,
    /// Whether the path led somewhere, if only to an empty list.
    reached: bool,
    list: Option<Range<usize>>,
}

impl Walk<'_> {
    /// Steps over one value and takes what lies at `steps` within it.
    fn follow(&mut self, scanner: &mut Scanner<'_>, steps: &[Step]) -> Result<()> {
        let Some((step, rest)) = steps.split_first() else {
            return self.take(scanner);
        };
        match scanner.peek() {
            Some(b'{') => self.follow_object(scanner, step, rest),
            Some(b'[') => self.follow_array(scanner, step, rest),
            _ => scanner.value().map(drop),
        }
    }

    fn follow_object(&mut self, scanner: &mut Scanner<'_>, step: &Step, rest: &[Step]) -> Result<()> {
        scanner.take(b'{');
        let mut first = true;
        while let Some(key) = scanner.key(first)? {
            first = false;
            match step {
                Step::Any => self.follow(scanner, rest)?,
                Step::Key(name) if key_is(self.text, &key, name) => self.follow(scanner, rest)?,
                Step::Key(_) => {
                    scanner.value()?;
                }
            }
        }
        self.reached |= first && *step == Step::Any;
        Ok(())
    }

    fn follow_array(&mut self, scanner: &mut Scanner<'_>, step: &Step, rest: &[Step]) -> Result<()> {
        scanner.take(b'[');
        let wanted = match step {
            Step::Any => None,
            Step::Key(key) => Some(key.parse::<usize>().ok()),
        };
        let mut index = 0;
        while scanner.element(index == 0)? {
            match wanted {
                Some(wanted) if wanted != Some(index) => {
                    scanner.value()?;
                }
                _ => self.follow(scanner, rest)?,
            }
            index += 1;
        }
        self.reached |= index == 0 && *step == Step::Any;
        Ok(())
    }

    /// The path ends here: a list's elements are the records, null is none, anything else is one.
    fn take(&mut self, scanner: &mut Scanner<'_>) -> Result<()> {
        self.reached = true;
        match scanner.peek() {
            Some(b'[') => {
                let start = scanner.at;
                scanner.take(b'[');
                let mut first = true;
                while scanner.element(first)? {
                    first = false;
                    let value = scanner.value()?;
                    self.found.push(small(&value));
                }
                self.list = Some(start..scanner.at);
            }
            Some(b'{') if self.selector.key_as.is_some() => {
                scanner.take(b'{');
                let mut first = true;
                while let Some(key) = scanner.key(first)? {
                    first = false;
                    let value = scanner.value()?;
                    self.found.push(small(&value));
                    self.members.push(key);
                }
            }
            _ => {
                let value = scanner.value()?;
                if &self.text[value.clone()] != b"null" {
                    self.found.push(small(&value));
                }
            }
        }
        Ok(())
    }
}

/// The caller has refused texts in which this would cut something off.
fn small(range: &Range<usize>) -> Range<u32> {
    let narrow = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    narrow(range.start)..narrow(range.end)
}

/// Writes each member's name into its record, as its first field.
fn with_keys(body: &Bytes, records: &[Range<u32>], members: &[Range<usize>], field: &str) -> Page {
    let mut out = Vec::with_capacity(body.len() + records.len() * (field.len() + 16));
    let mut spans = Vec::with_capacity(records.len());
    let field = serde_json::Value::from(field).to_string();
    for (index, record) in records.iter().enumerate() {
        let start = out.len();
        let json = &body[record.start as usize..record.end as usize];
        match (members.get(index), json) {
            (Some(member), [b'{', inside @ ..]) => {
                out.push(b'{');
                out.extend_from_slice(field.as_bytes());
                out.push(b':');
                out.extend_from_slice(&body[member.clone()]);
                if inside.trim_ascii_start() != b"}" {
                    out.push(b',');
                }
                out.extend_from_slice(inside);
            }
            _ => out.extend_from_slice(json),
        }
        spans.push(small(&(start..out.len())));
    }
    Page {
        body: out.into(),
        records: spans,
        list: None,
    }
}

fn names_at_top(text: &[u8]) -> Result<Vec<String>> {
    let mut scanner = Scanner::new(text);
    let mut names = Vec::new();
    if scanner.take(b'{') {
        while let Some(key) = scanner.key(names.is_empty())? {
            scanner.value()?;
            names.push(key_text(text, &key));
        }
    }
    Ok(names)
}

fn empty() -> Error {
    Error::decode("the answer is empty").hint(
        "where that means 'no records', write select: { path: …, optional: true }; a 204 is taken so by itself",
    )
}

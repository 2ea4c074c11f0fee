//! A tenant's chain as a file of JSON lines that anybody can verify without weir's store.
//!
//! First the header with the newest signed head (and the anchor, where old records were removed),
//! then each record, followed by the heads that were signed there.

use std::io::{BufRead, Write};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use weir_protocol::{Error, ErrorKind, Result};

use super::chain::{Broken, Chain, Link, Seal, SealKind, Verified};
use super::records::Entry;
use super::{PAGE, SealKey, page, sql};
use crate::Store;
use crate::store::Scope;

/// A line is a record with its texts; nothing that weir writes comes near.
const LINE_BYTES_MAX: usize = 4 << 20;

#[derive(Serialize, Deserialize)]
struct Header {
    weir_audit: u32,
    tenant: String,
    public_key: String,
    /// The newest signed head: the file's last line.
    head: Seal,
    #[serde(skip_serializing_if = "Option::is_none")]
    anchor: Option<Seal>,
}

#[derive(Serialize)]
struct RecordLine<'a> {
    record: &'a RawValue,
    hash: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    personal: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    salt: Option<&'a str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    record: Option<Box<RawValue>>,
    hash: Option<String>,
    personal: Option<Box<RawValue>>,
    salt: Option<String>,
    seal: Option<Seal>,
}

/// What the chain needs of a record.
#[derive(Deserialize)]
struct Read {
    tenant: String,
    number: i64,
    previous: String,
    personal_hash: Option<String>,
}

/// What an export holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    pub records: u64,
    pub head: Seal,
}

/// An export that is being written, piece by piece: whoever takes the pieces says how fast.
pub struct Export {
    store: Store,
    header: Option<Header>,
    head: Seal,
    /// The last record that was given.
    after: i64,
    records: u64,
}

impl Export {
    /// Signs the end of the chain; all up to there is given.
    pub async fn begin(store: &Store, tenant: &str, key: &SealKey) -> Result<Self> {
        let head = super::seal(store, tenant, key).await?.ok_or_else(|| {
            Error::not_found("there is no audit record yet")
                .with("tenant", tenant)
                .hint("the first change or run writes one")
        })?;
        let anchor = store
            .read(Scope::Tenant(tenant), "export the audit trail", |db, _| {
                Box::pin(async move { Ok(sql::newest_seal(db, tenant, SealKind::Anchor).await?) })
            })
            .await?;
        Ok(Self {
            store: store.clone(),
            after: anchor.as_ref().map_or(0, |anchor| anchor.number),
            header: Some(Header {
                weir_audit: 1,
                tenant: tenant.to_owned(),
                public_key: key.public(),
                head: head.clone(),
                anchor,
            }),
            head,
            records: 0,
        })
    }

    /// The next lines, whole ones; None behind the last.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        let mut out = Vec::new();
        if let Some(header) = self.header.take() {
            put(&mut out, &header)?;
            return Ok(Some(out));
        }
        let (tenant, after, through) = (self.head.tenant.as_str(), self.after, self.head.number);
        let (entries, seals) = self
            .store
            .read(Scope::Tenant(tenant), "export the audit trail", |db, _| {
                Box::pin(async move {
                    let entries = page::page(db, tenant, (after, through), PAGE).await?;
                    let last = entries.last().map_or(after, |entry| entry.number);
                    Ok((entries, sql::seals(db, tenant, (after, last)).await?))
                })
            })
            .await?;
        let Some(last) = entries.last() else {
            return Ok(None);
        };
        self.after = last.number;
        let mut seals = seals.iter().peekable();
        for entry in &entries {
            put_record(&mut out, entry)?;
            self.records += 1;
            while let Some(seal) = seals.next_if(|seal| seal.number <= entry.number) {
                put(&mut out, &serde_json::json!({ "seal": seal }))?;
            }
        }
        Ok(Some(out))
    }
}

/// Signs the end of the chain and writes all up to there.
pub async fn export(
    store: &Store,
    tenant: &str,
    key: &SealKey,
    out: &mut (dyn Write + Send),
) -> Result<Exported> {
    let mut export = Export::begin(store, tenant, key).await?;
    while let Some(piece) = export.next().await? {
        out.write_all(&piece).map_err(unwritten)?;
    }
    out.flush().map_err(unwritten)?;
    Ok(Exported {
        records: export.records,
        head: export.head,
    })
}

fn put_record(out: &mut Vec<u8>, entry: &Entry) -> Result<()> {
    let raw = |text: String| {
        RawValue::from_string(text).map_err(|error| {
            let why = "it is no JSON any more";
            Error::from(Broken {
                number: entry.number,
                why,
            })
            .caused_by(error)
        })
    };
    let record = raw(entry.canonical())?;
    let personal = entry.personal.clone().map(raw).transpose()?;
    put(
        out,
        &RecordLine {
            record: &record,
            hash: &entry.hash,
            personal: personal.as_deref(),
            salt: entry.salt.as_deref(),
        },
    )
}

fn put(out: &mut Vec<u8>, line: &impl Serialize) -> Result<()> {
    serde_json::to_writer(&mut *out, line).map_err(|error| {
        Error::internal("cannot write an audit record")
            .caused_by(error)
            .hint("report it")
    })?;
    out.push(b'\n');
    Ok(())
}

fn unwritten(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Destination, "cannot write the export")
        .caused_by(error)
        .hint("check that the folder exists, may be written to, and has room")
}

/// Verifies an export. Without `keys` the file's own is believed: compare it with the one that you know.
pub fn verify_export(
    input: &mut dyn BufRead,
    keys: &[String],
    noted: Option<(i64, &str)>,
) -> Result<std::result::Result<Verified, Broken>> {
    let mut buffer = Vec::new();
    let mut number = 1;
    if !next_line(input, &mut buffer, number)? {
        return Err(odd("it is empty", number));
    }
    let header: Header = serde_json::from_slice(&buffer)
        .map_err(|error| odd("its header cannot be read", number).caused_by(error))?;
    if header.weir_audit != 1 {
        return Err(odd("it was written by a newer weir", number));
    }
    let own = [header.public_key.clone()];
    let mut chain = Chain::new(&header.tenant, if keys.is_empty() { &own } else { keys }, noted);
    if let Some(anchor) = &header.anchor
        && let Err(broken) = chain.anchor(anchor)
    {
        return Ok(Err(broken));
    }
    let mut last_seal = None;
    loop {
        number += 1;
        if !next_line(input, &mut buffer, number)? {
            break;
        }
        let line: Line = serde_json::from_slice(&buffer)
            .map_err(|error| odd("a line is no record", number).caused_by(error))?;
        let step = match line {
            Line {
                seal: Some(seal),
                record: None,
                ..
            } => {
                let step = chain.head(&seal);
                last_seal = Some(seal);
                step
            }
            Line {
                record: Some(record),
                hash: Some(hash),
                personal,
                salt,
                seal: None,
            } => {
                let read: Read = serde_json::from_str(record.get())
                    .map_err(|error| odd("a record cannot be read", number).caused_by(error))?;
                chain.record(&Link {
                    tenant: &read.tenant,
                    number: read.number,
                    bytes: record.get().as_bytes(),
                    previous: &read.previous,
                    hash: &hash,
                    personal_hash: read.personal_hash.as_deref(),
                    personal: personal.as_deref().map(RawValue::get).zip(salt.as_deref()),
                })
            }
            _ => return Err(odd("a line is neither record nor signature", number)),
        };
        if let Err(broken) = step {
            return Ok(Err(broken));
        }
    }
    let (end, _) = chain.last();
    if last_seal.as_ref() != Some(&header.head) && header.head.number <= end {
        let why = "the signed head that the header names does not stand there";
        return Ok(Err(Broken {
            number: header.head.number,
            why,
        }));
    }
    Ok(chain.end(Some(&header.head)))
}

/// Reads a line without its end; false where there is none.
fn next_line(input: &mut dyn BufRead, buffer: &mut Vec<u8>, number: usize) -> Result<bool> {
    use std::io::Read as _;
    buffer.clear();
    let limit = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
    let read = input.take(limit).read_until(b'\n', buffer).map_err(|error| {
        Error::spec("cannot read the export")
            .caused_by(error)
            .hint("check that the file exists and may be read")
    })?;
    if read >= LINE_BYTES_MAX {
        return Err(odd("a line is longer than 4 MiB", number));
    }
    Ok(read > 0)
}

fn odd(why: &str, line: usize) -> Error {
    Error::new(
        ErrorKind::Decode,
        format!("this is no export of an audit trail: {why}"),
    )
    .with("line", line)
    .hint("give a file that `weir audit export` wrote, complete and unchanged")
}

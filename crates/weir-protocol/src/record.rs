//! Records on their way to the lake: slices of the page they came in, never a tree of values.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

/// Where one record lies in its batch's `body`, and its cursor value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Byte offset of the record's JSON text in `body`.
    pub start: u32,
    /// Length in bytes.
    pub len: u32,
    /// Byte offset of the raw JSON of the cursor's value in `body`; meaningless when `cursor_len` is 0.
    pub cursor_start: u32,
    /// Length in bytes; 0 when the stream has no cursor or the record lacks it.
    pub cursor_len: u32,
}

impl Record {
    /// Where it lies in the body, its cursor included.
    fn span(&self) -> Range<u32> {
        let record = self.start..self.start + self.len;
        if self.cursor_len == 0 {
            return record;
        }
        let cursor_end = self.cursor_start + self.cursor_len;
        record.start.min(self.cursor_start)..record.end.max(cursor_end)
    }
}

/// The records of (at most) one page of one slice.
///
/// A page larger than 4 GiB cannot be expressed; sources refuse such answers long before.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The slice these records belong to, as in [`crate::StreamState::slices`].
    pub slice: Arc<str>,
    /// Bytes as received (or as rewritten by the stream's transforms). Each record in it is one JSON text.
    pub body: Bytes,
    pub records: Vec<Record>,
    /// Records of the same page that a filter or client-side incremental reading left out.
    pub filtered: u64,
    /// Records of the same page that were already acknowledged at the cursor's edge by an earlier read.
    pub deduplicated: u64,
    /// When the answer was received.
    pub emitted_at: Timestamp,
}

impl Batch {
    /// The JSON text of a record, exactly as received.
    pub fn json(&self, record: &Record) -> &[u8] {
        let start = record.start as usize;
        &self.body[start..start + record.len as usize]
    }

    /// The raw JSON of the record's cursor value.
    pub fn cursor(&self, record: &Record) -> Option<&[u8]> {
        let start = record.cursor_start as usize;
        (record.cursor_len > 0).then(|| &self.body[start..start + record.cursor_len as usize])
    }

    /// The same records in batches of at most `bytes_max` bytes (a record may be larger) and `records_max` records, whose
    /// bodies share this one's memory; none where it is no larger than that, or has no record. What was left out is
    /// counted in the first.
    pub fn parts(&self, bytes_max: usize, records_max: usize) -> Vec<Self> {
        if self.body.len() <= bytes_max && self.records.len() <= records_max {
            return Vec::new();
        }
        let mut parts: Vec<Self> = Vec::new();
        let mut rest = self.records.as_slice();
        while let Some(first) = rest.first() {
            let mut span = first.span();
            let mut count = 1;
            for next in rest.iter().take(records_max).skip(1).map(Record::span) {
                let wider = span.start.min(next.start)..span.end.max(next.end);
                if (wider.end - wider.start) as usize > bytes_max {
                    break;
                }
                span = wider;
                count += 1;
            }
            let (taken, left) = rest.split_at(count);
            parts.push(self.part(taken, span));
            rest = left;
        }
        if let Some(first) = parts.first_mut() {
            (first.filtered, first.deduplicated) = (self.filtered, self.deduplicated);
        }
        parts
    }

    fn part(&self, records: &[Record], span: Range<u32>) -> Self {
        let records = records.iter().map(|record| Record {
            start: record.start - span.start,
            cursor_start: record.cursor_start.saturating_sub(span.start),
            ..*record
        });
        Self {
            slice: Arc::clone(&self.slice),
            body: self.body.slice(span.start as usize..span.end as usize),
            records: records.collect(),
            filtered: 0,
            deduplicated: 0,
            emitted_at: self.emitted_at,
        }
    }

    /// How many records the source's answer held: those here and those left out.
    pub fn read(&self) -> u64 {
        self.records.len() as u64 + self.filtered + self.deduplicated
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn batch(lengths: &[u8], with_cursor: bool) -> Batch {
        let mut body = Vec::new();
        let mut records = Vec::new();
        for (number, length) in lengths.iter().enumerate() {
            body.push(b',');
            let start = u32::try_from(body.len()).unwrap();
            body.extend(std::iter::repeat_n(
                u8::try_from(number % 251).unwrap(),
                usize::from(*length),
            ));
            records.push(Record {
                start,
                len: u32::from(*length),
                cursor_start: if with_cursor { start } else { 0 },
                cursor_len: u32::from(with_cursor && *length > 0),
            });
        }
        Batch {
            slice: Arc::from(""),
            body: body.into(),
            records,
            filtered: 3,
            deduplicated: 4,
            emitted_at: Timestamp::UNIX_EPOCH,
        }
    }

    proptest! {
        #[test]
        fn parts_hold_the_same_records_in_bounds(
            lengths in prop::collection::vec(any::<u8>(), 0..60),
            with_cursor in any::<bool>(),
            bytes_max in 1usize..600,
            records_max in 1usize..20,
        ) {
            let whole = batch(&lengths, with_cursor);
            let mut parts = whole.parts(bytes_max, records_max);
            if parts.is_empty() {
                prop_assert!(whole.records.is_empty() || whole.body.len() <= bytes_max && whole.records.len() <= records_max);
                parts.push(whole.clone());
            }
            let texts = |batch: &Batch| {
                let mut texts = Vec::new();
                for record in &batch.records {
                    texts.push((batch.json(record).to_vec(), batch.cursor(record).map(<[u8]>::to_vec)));
                }
                texts
            };
            let all: Vec<_> = parts.iter().flat_map(texts).collect();
            prop_assert_eq!(all, texts(&whole));
            prop_assert_eq!(parts.iter().map(Batch::read).sum::<u64>(), whole.read());
            for part in parts {
                prop_assert!(part.records.len() <= records_max);
                prop_assert!(part.body.len() <= bytes_max || part.records.len() <= 1, "{}", part.body.len());
            }
        }
    }
}

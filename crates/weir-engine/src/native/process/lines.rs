//! Lines of a program's output, each of bounded length.

use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};

const BUFFER_BYTES: usize = 256 << 10;
/// A longer line's memory is given back afterwards.
const KEPT_BYTES: usize = 4 << 20;

/// What was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// A line that ended.
    Line,
    /// What stood after the last line's end.
    Cut,
    End,
    /// The line is longer than lines may be.
    TooLong,
}

pub(super) struct Lines<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
    is_taken: bool,
    bytes_max: usize,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(reader: R, bytes_max: usize) -> Self {
        Self {
            reader: BufReader::with_capacity(BUFFER_BYTES, reader),
            line: Vec::new(),
            is_taken: false,
            bytes_max,
        }
    }

    /// What the last read gave.
    pub(super) fn line(&self) -> &[u8] {
        &self.line
    }

    fn begin(&mut self) {
        if std::mem::take(&mut self.is_taken) {
            self.line.clear();
            self.line.shrink_to(KEPT_BYTES);
        }
    }

    /// A line that has arrived already, without waiting.
    pub(super) fn ready(&mut self) -> Option<Read> {
        self.begin();
        let end = memchr::memchr(b'\n', self.reader.buffer())?;
        Some(self.finish(end))
    }

    fn finish(&mut self, end: usize) -> Read {
        let part = self.reader.buffer().get(..end).unwrap_or_default();
        self.line.extend_from_slice(part);
        std::pin::Pin::new(&mut self.reader).consume(end + 1);
        self.is_taken = true;
        if self.line.len() > self.bytes_max {
            Read::TooLong
        } else {
            Read::Line
        }
    }

    /// The next line. Dropping the future loses nothing: what was read so far stays.
    pub(super) async fn next(&mut self) -> std::io::Result<Read> {
        self.begin();
        loop {
            let waiting = self.reader.fill_buf().await?;
            if waiting.is_empty() {
                self.is_taken = true;
                return Ok(if self.line.is_empty() {
                    Read::End
                } else {
                    Read::Cut
                });
            }
            if let Some(end) = memchr::memchr(b'\n', waiting) {
                return Ok(self.finish(end));
            }
            let bytes = waiting.len();
            self.line.extend_from_slice(waiting);
            self.reader.consume(bytes);
            if self.line.len() > self.bytes_max {
                return Ok(Read::TooLong);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(text: &[u8], bytes_max: usize) -> Vec<(Read, Vec<u8>)> {
        let mut lines = Lines::new(text, bytes_max);
        let mut found = Vec::new();
        loop {
            let read = match lines.ready() {
                Some(read) => read,
                None => lines.next().await.unwrap(),
            };
            found.push((read, lines.line().to_vec()));
            if matches!(read, Read::End | Read::Cut | Read::TooLong) {
                return found;
            }
        }
    }

    #[tokio::test]
    async fn lines_end_where_they_end() {
        let found = all(b"a\n\nbc\nd", 10).await;
        let wanted: [(Read, &[u8]); 4] = [
            (Read::Line, b"a"),
            (Read::Line, b""),
            (Read::Line, b"bc"),
            (Read::Cut, b"d"),
        ];
        assert_eq!(found.len(), wanted.len());
        for (found, wanted) in found.iter().zip(wanted) {
            assert_eq!((found.0, found.1.as_slice()), wanted);
        }
        assert_eq!(all(b"a\n", 10).await.last().unwrap().0, Read::End);
    }

    #[tokio::test]
    async fn a_line_has_a_longest_length() {
        assert_eq!(all(b"abcdef\n", 5).await[0].0, Read::TooLong);
        assert_eq!(all(b"abcdef", 5).await[0].0, Read::TooLong);
        assert_eq!(all(b"abcde\n", 5).await[0].0, Read::Line);
    }
}

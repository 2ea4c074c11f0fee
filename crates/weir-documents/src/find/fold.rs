//! Text as the rules see it: one form for the digits, quotes, spaces and Arabic letters that are written in several,
//! with the way back to the characters of the element.

/// Folded text. Byte offsets in it lead back to characters of the original.
pub(crate) struct Folded {
    pub(crate) text: String,
    original: Vec<char>,
    /// For each folded character its byte offset, and which original character it is.
    at: Vec<(usize, usize)>,
}

impl Folded {
    pub(crate) fn new(original: &str) -> Self {
        let original: Vec<char> = original.chars().collect();
        let mut text = String::new();
        let mut at = Vec::with_capacity(original.len());
        let mut is_open = false;
        for (index, char) in original.iter().enumerate() {
            if let Some(mut folded) = fold(*char) {
                if folded == '"' {
                    folded = quote(&original, index, &mut is_open);
                }
                at.push((text.len(), index));
                text.push(folded);
            }
        }
        Self { text, original, at }
    }

    /// The range of original characters that a range of folded bytes stands for.
    pub(crate) fn chars(&self, start: usize, end: usize) -> (usize, usize) {
        let first = self.at.partition_point(|(byte, _)| *byte < start);
        let last = self.at.partition_point(|(byte, _)| *byte < end);
        let begin = self
            .at
            .get(first)
            .map_or(self.original.len(), |(_, index)| *index);
        let mut stop = match last.checked_sub(1).and_then(|last| self.at.get(last)) {
            Some((_, index)) if last > first => index + 1,
            _ => begin,
        };
        // Marks above a letter belong to it.
        while self.original.get(stop).is_some_and(|char| is_mark(*char)) {
            stop += 1;
        }
        (begin, stop)
    }

    /// The original text of a range of characters.
    pub(crate) fn original(&self, (start, end): (usize, usize)) -> String {
        self.original.get(start..end).unwrap_or_default().iter().collect()
    }

    /// Folded text between two bytes.
    pub(crate) fn between(&self, start: usize, end: usize) -> &str {
        self.text.get(start..end).unwrap_or_default()
    }
}

/// Quotation marks by where they stand, as keyboards and typists differ: opening where a word begins, else closing.
fn quote(original: &[char], index: usize, is_open: &mut bool) -> char {
    let before = index.checked_sub(1).and_then(|before| original.get(before));
    let after = original.get(index + 1);
    let begins = before.is_none_or(|char| {
        char.is_whitespace() || matches!(char, '(' | '[' | '{' | ':' | '/' | '-' | '—' | '–' | '،')
    }) || (!*is_open && fold(*before.unwrap_or(&' ')) == Some('"'));
    let goes_on = after.is_some_and(|char| !char.is_whitespace());
    let opens = if *is_open {
        begins
            && goes_on
            && !before.is_some_and(|char| char.is_whitespace() && after.is_some_and(|after| is_end(*after)))
    } else {
        begins || (goes_on && !after.is_some_and(|char| is_end(*char)))
    };
    *is_open = opens;
    if opens { '“' } else { '”' }
}

fn is_end(char: char) -> bool {
    matches!(char, ')' | ']' | '.' | ',' | ';' | '،' | '؛' | ':')
}

fn is_mark(char: char) -> bool {
    matches!(char, '\u{64b}'..='\u{652}' | '\u{670}')
}

/// None: the character says nothing to the rules.
pub(crate) fn fold(char: char) -> Option<char> {
    Some(match char {
        '\u{660}'..='\u{669}' => digit(char, 0x660),
        '\u{6f0}'..='\u{6f9}' => digit(char, 0x6f0),
        '٫' => '.',
        '٬' | '،' => ',',
        '؛' => ';',
        '٪' => '%',
        '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\t' | '\n' | '\r' => ' ',
        // Turned to one of two by where they stand.
        '“' | '”' | '„' | '«' | '»' | '″' => '"',
        '‘' | '’' | '‚' => '\'',
        '–' | '—' | '‑' | '−' => '-',
        'أ' | 'إ' | 'آ' | 'ٱ' => 'ا',
        'ى' | 'ی' => 'ي',
        'ة' => 'ه',
        'ک' => 'ك',
        '\u{640}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}'
        | '\u{feff}' => {
            return None;
        }
        _ if is_mark(char) => return None,
        _ => char,
    })
}

fn digit(char: char, zero: u32) -> char {
    char::from_digit(u32::from(char).saturating_sub(zero), 10).unwrap_or(char)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_open_and_close_by_where_they_stand() {
        let folded = |text: &str| Folded::new(text).text;
        assert_eq!(
            folded(r#""Dan" (the "Seller") sells "X"."#),
            "“Dan” (the “Seller”) sells “X”."
        );
        assert_eq!(
            folded(r#"in "B"'s view; Days:"New York""#),
            "in “B”'s view; Days:“New York”"
        );
        assert_eq!(folded("«المورد» و ”المشتري“"), "“المورد” و “المشتري”");
    }

    #[test]
    fn a_range_leads_back_to_the_characters_as_written() {
        let folded = Folded::new("مبلغ ٥٠٬٠٠٠٫٥٠ ريالاً سعودياً");
        assert_eq!(folded.text, "مبلغ 50,000.50 ريالا سعوديا");
        let start = folded.text.find("50,").unwrap();
        let end = folded.text.len();
        let range = folded.chars(start, end);
        assert_eq!(folded.original(range), "٥٠٬٠٠٠٫٥٠ ريالاً سعودياً");
    }
}

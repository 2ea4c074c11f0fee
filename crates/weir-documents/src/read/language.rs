//! In which language most of the text is.

use crate::document::{Element, Language};

/// Words that are in any English text of some length.
const COMMON: [&str; 12] = [
    "the", "of", "and", "to", "shall", "this", "by", "in", "is", "be", "or", "on",
];
/// Of the letters, so that a language counts beside the other.
const SHARE: usize = 5;
/// Of the words, so that Latin letters are English.
const COMMON_SHARE: usize = 14;

pub(super) fn of(elements: &[Element]) -> Language {
    let (mut arabic, mut latin, mut foreign) = (0_usize, 0_usize, 0_usize);
    for char in elements.iter().flat_map(|element| element.text.chars()) {
        match char {
            '\u{600}'..='\u{6ff}'
            | '\u{750}'..='\u{77f}'
            | '\u{fb50}'..='\u{fdff}'
            | '\u{fe70}'..='\u{feff}' => arabic += 1,
            'a'..='z' | 'A'..='Z' => latin += 1,
            _ if char.is_alphabetic() => foreign += 1,
            _ => {}
        }
    }
    let all = (arabic + latin + foreign).max(1);
    match (arabic * SHARE > all, latin * SHARE > all) {
        (true, true) => Language::EnAr,
        (true, false) => Language::Ar,
        (false, true) if foreign * SHARE < latin && is_english(elements) => Language::En,
        _ => Language::Other,
    }
}

fn is_english(elements: &[Element]) -> bool {
    let (mut words, mut common) = (0_usize, 0_usize);
    for word in elements
        .iter()
        .flat_map(|element| element.text.split(|char: char| !char.is_alphabetic()))
    {
        if word.is_empty() {
            continue;
        }
        words += 1;
        common += usize::from(COMMON.contains(&word.to_lowercase().as_str()));
    }
    // Of a few labels nothing is known; English is the likelier.
    words < 30 || common * COMMON_SHARE > words
}

//! Elements to findings, by rules.

mod amounts;
mod currencies;
mod dates;
mod durations;
pub(crate) mod fold;
mod law;
mod months;
mod names;
mod parties;
mod parties_ar;
pub(crate) mod pattern;
mod roles;
mod terms;
mod words;

use crate::document::{Element, Findings, Language, Place};
use crate::limits::Limits;
use fold::Folded;

/// An element as the rules see it.
struct Passage {
    folded: Folded,
    index: u32,
    page: Option<u32>,
    /// Of how its picture was recognised; 1 where it was text.
    recognition: f64,
}

impl Passage {
    fn new(index: usize, element: &Element) -> Self {
        Self {
            folded: Folded::new(&element.text),
            index: u32::try_from(index).unwrap_or(u32::MAX),
            page: element.page,
            recognition: element.recognition.unwrap_or(1.0),
        }
    }

    fn text(&self) -> &str {
        &self.folded.text
    }

    /// The place of folded bytes, and what stands there.
    fn place(&self, start: usize, end: usize) -> (Place, String) {
        let (first, last) = self.folded.chars(start, end);
        let place = Place {
            page: self.page,
            element: self.index,
            start: u32::try_from(first).unwrap_or(u32::MAX),
            end: u32::try_from(last).unwrap_or(u32::MAX),
        };
        (place, self.folded.original((first, last)))
    }

    /// Whether it was recognised from a picture.
    fn is_recognised(&self) -> bool {
        self.recognition < 1.0
    }

    /// A rule's confidence on figures: recognition hardly knows the Arabic ones.
    fn confidence_in_figures(&self, text: &str, rule: f64) -> f64 {
        let is_arabic = text
            .chars()
            .any(|char| matches!(char, '\u{660}'..='\u{669}' | '\u{6f0}'..='\u{6f9}'));
        self.confidence(if is_arabic && self.is_recognised() {
            rule * 0.4
        } else {
            rule
        })
    }

    /// A rule's confidence on this text, two digits.
    fn confidence(&self, rule: f64) -> f64 {
        (rule * self.recognition.max(0.3) * 100.0).round() / 100.0
    }
}

/// What stands in the elements.
pub fn find(elements: &[Element], language: Language, limits: &Limits) -> Findings {
    let passages: Vec<Passage> = elements
        .iter()
        .enumerate()
        .map(|(index, element)| Passage::new(index, element))
        .collect();
    let mut found = Findings {
        parties: parties::find(&passages),
        dates: dates::find(&passages, language),
        amounts: amounts::find(&passages),
        governing_law: law::find(&passages),
        ..Findings::default()
    };
    (found.terms, found.renewals, found.notices) = terms::find(&passages);
    bound(&mut found, limits.findings_max);
    found
}

fn bound(found: &mut Findings, most: usize) {
    let mut cut = Vec::new();
    let mut note = |name: &str, length: usize| {
        if length > most {
            cut.push(name.to_owned());
        }
    };
    note("parties", found.parties.len());
    note("dates", found.dates.len());
    note("amounts", found.amounts.len());
    note("terms", found.terms.len());
    note("renewals", found.renewals.len());
    note("notices", found.notices.len());
    note("governing_law", found.governing_law.len());
    found.parties.truncate(most);
    found.dates.truncate(most);
    found.amounts.truncate(most);
    found.terms.truncate(most);
    found.renewals.truncate(most);
    found.notices.truncate(most);
    found.governing_law.truncate(most);
    found.cut_short = cut;
}

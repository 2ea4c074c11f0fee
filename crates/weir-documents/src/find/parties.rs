//! Who is bound: named in the opening, called by a role, or acting.

use std::collections::BTreeSet;

use super::names::{self, ENTITY_WORD};
use super::pattern::{group, pattern, text, whole};
use super::{Passage, parties_ar, roles};
use crate::document::Party;

pattern!(
    DEFINED,
    format!(
        r#"\((?:[^()“”]{{0,90}}?\b(?i:as|called|be|to)\s+|(?i:each|both|collectively|jointly)[^()“”]{{0,40}})?(?i:the\s+|an?\s+)?[“”]?(?i:the\s+)?({role})[“”]?(?:\s*(?:,|/|(?i:or|and))\s*(?i:the\s+)?“[^“”]{{1,40}}”)*\)"#,
        role = roles::english()
    )
);
// Any term that the text defines in brackets.
pattern!(TERM, r#"\([^()“”]{0,120}“([^“”]{1,60})”[^()]{0,120}\)"#);
// A term that a sentence of its own defines.
pattern!(
    MEANS,
    r"“([^“”]{1,60})”\s+(?i:means|shall\s+mean|is\s+defined|has\s+the\s+meaning|refers\s+to|is\s+the)\b"
);
pattern!(
    ROLE_THEN_NAME,
    format!(r#"\b({role})\s*,?\s*“([^“”]{{1,90}})”"#, role = roles::english())
);
pattern!(
    HEREINAFTER,
    format!(
        r#"(?i:herein(?:after)?|referred\s+to)[^“”().]{{0,70}}?“(?i:the\s+)?({role})”"#,
        role = roles::english()
    )
);
pattern!(QUOTED_LAST, r"“([^“”]{1,90})”[\s,]*$");
pattern!(QUOTED, r#"“([^“”]{1,90})”"#);
pattern!(NAME_FIRST, format!(r"^({name})", name = names::name()));
pattern!(NAME_ANY, format!(r"({name})", name = names::name()));
pattern!(
    LEAD,
    r#"^(?:[\s,;:)\]./*-]+|(?i:and|between|by|with|among|the\s+undersigned|(?:mr|ms|mrs|messrs|dr|eng)\b\.?|m/s\.?|\(?(?:\d{1,2}|[a-z]|[ivx]{1,4})[).]))+"#
);
pattern!(BETWEEN, r#"(?i)\b(?:between|among|amongst)\b\s*:?\s*"#);
pattern!(
    AND,
    format!(
        r#"([,;)]?)\s+(?i:and|&)\s+(?i:between\s+|by\s+)?(?:\(?\d\)\s*)?(?i:(?:mr|ms|mrs|messrs)\.?\s+)?(?:“([^“”]{{1,90}})”|({name}))"#,
        name = names::name()
    )
);
pattern!(
    ACTS,
    r#"(?:^|([\p{L}\d.']+)\s+|[(.,;:]\s*)“([^“”]{1,70})”\s+(?i:shall|will|agrees?|must|hereby|undertakes?|warrants?|notifies|accepts?|pays|may|is\s+(?:not\s+)?(?:required|entitled)|and\s+“[^“”]{1,70}”\s+(?:shall|will|agree)|fails)\b"#
);
pattern!(
    PAID,
    r#"(?i)\b(?:pays?|paid|payable|paying|deposit\s+with|owe[sd]?|owing|deliver(?:s|ed)?|giving|notif(?:y|ying|ies)|sending|against|price|fee)\s+(?:to\s+)?“([^“”]{1,70})”"#
);
pattern!(
    PAID_LATER,
    r"(?i)\b(?:pays?|paid|deliver)\b[^“”.]{0,60}\bto\s+“([^“”]{1,70})”"
);
pattern!(
    DONE_BY,
    r"(?i)\b(?:issued|executed|signed|delivered|provided|supplied|made|sold|paid)\b[^“”.]{0,40}\bby\s+“([^“”]{1,70})”"
);
// A signature: `By: "…"` under a role, and a name with its role after it.
pattern!(BY, r"^\s*(?i:by|name|signed)\s*[:/]\s*“([^“”]{1,90})”\s*$");
pattern!(
    NAME_THEN_ROLE,
    format!(r"“([^“”]{{1,90}})”\s*,\s*({role})\s*$", role = roles::english())
);
// `Acme Ltd as Borrower`
pattern!(
    AS_ROLE,
    format!(
        r"({name})\s*,?\s+(?:\(\s*)?as\s+(?:the\s+)?“?({role})\b",
        name = names::name(),
        role = roles::english()
    )
);
pattern!(
    LABEL,
    format!(
        r#"^\s*(?:\(?[\da-z]{{1,2}}[).]\s*)?(?i:for\s+(?:and\s+on\s+behalf\s+of\s+)?)?(?i:the\s+)?({role})(?i:'s)?(?:\s+(?i:name))?(?:\s*\([^)]{{0,40}}\))?\s*[:-]\s*(?:“([^“”]{{1,90}})”|({name}))"#,
        name = names::name(),
        role = roles::english()
    )
);
pattern!(
    ONLY_ROLE,
    format!(r"^\W*(?i:the\s+)?({role})\W*$", role = roles::english())
);
pattern!(
    ONLY_NAME,
    format!(r#"^\s*(?:“([^“”]{{1,90}})”|({name}))\s*$"#, name = names::name())
);
pattern!(
    BEHALF,
    format!(
        r#"(?i:on\s+behalf\s+of)\s*:?\s*(?:“([^“”]{{1,90}})”|({name}))"#,
        name = names::name()
    )
);
pattern!(
    NO_NAME,
    r#"(?i)^(?:(?:the|this|an?|each|any|all)\s+)?(?:agreement|contract|products?|services?|goods|equipment|effective date|part(?:y|ies)|term|territory|work|notes?|right|token|deadline.*|to order|same as.*|article.*|section.*|schedule.*|annex.*|attachment.*|appendix.*|exhibit.*|clause \d.*|deliver.*|order.*|notice.*|recitals?|whereas|laws? of.*|january|february|march|april|may|june|july|august|september|october|november|december|\d[\d\s/.,:-]*|_+|-+|[a-z]?|the|this|n/?a|tbd|address.*|account.*|state of.*|name|title|date|signature|by)$"#
);
// Words in front of a quoted term that is a thing and not somebody.
pattern!(
    THING,
    r"(?i)^(?:the|this|each|such|any|an?|all|of|by|in|on|under|no|said|these|those|its|their)$"
);

// Capitals that are no name.
pattern!(
    SENTENCE,
    r"(?i)\b(?:this|that|these|certif(?:y|ies)|whereas|agreement|hereby|shall|witnesseth|now|therefore)\b"
);

/// How sure the rules are.
const DEFINES: f64 = 0.95;
const OPENS: f64 = 0.9;
const NAMES: f64 = 0.85;
const DOES: f64 = 0.7;
/// The name may go on where the rules stopped.
const CUT: f64 = 0.6;

/// A name with where it was found.
pub(super) struct Candidate {
    pub(super) passage: usize,
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) role: Option<(usize, usize)>,
    pub(super) sure: f64,
}

pub(super) fn find(passages: &[Passage]) -> Vec<Party> {
    let mut found = Vec::new();
    for (index, passage) in passages.iter().enumerate() {
        let mut here = defined(passage.text(), index);
        here.extend(opening(passage.text(), index, here.len()));
        here.extend(labelled(passages, index));
        found.append(&mut here);
        found.append(&mut parties_ar::candidates(passages, index));
    }
    let terms = terms(passages);
    for (index, passage) in passages.iter().enumerate() {
        found.extend(acting(passage.text(), index, &terms));
    }
    unite(found, passages)
}

/// Terms that brackets define and that are no roles: things, dates, the contract itself.
fn terms(passages: &[Passage]) -> BTreeSet<String> {
    let all = passages.iter().flat_map(|passage| {
        let text = passage.text();
        TERM.all(text).into_iter().chain(MEANS.all(text))
    });
    let terms = all.map(|caught| text(&caught, 1).to_lowercase());
    terms.filter(|term| !ONLY_ROLE.is_in(term)).collect()
}

/// Names that a role is defined for: `"Acme" (the "Supplier")`.
fn defined(text: &str, passage: usize) -> Vec<Candidate> {
    let mut found = Vec::new();
    let brackets = DEFINED.all(text).into_iter().chain(HEREINAFTER.all(text));
    for caught in brackets {
        let (at, _) = whole(&caught);
        let Some((role_start, role_end, _)) = group(&caught, 1) else {
            continue;
        };
        let from = segment(text, at);
        if let Some((start, end)) = named_in(text, from, at) {
            found.push(Candidate {
                passage,
                start,
                end,
                role: Some((role_start, role_end)),
                sure: if names::is_whole(text.get(end..at).unwrap_or_default()) {
                    DEFINES
                } else {
                    CUT
                },
            });
        }
    }
    found
}

/// Where the part of a sentence begins that a definition closes: after the definition before, or after "between".
fn segment(text: &str, at: usize) -> usize {
    let before = text.get(..at).unwrap_or_default();
    let term = TERM.all(before).last().map_or(0, |caught| whole(caught).1);
    let defined = DEFINED.all(before).last().map_or(0, |caught| whole(caught).1);
    let between = BETWEEN.all(before).last().map_or(0, |caught| whole(caught).1);
    term.max(defined).max(between)
}

/// The name in a segment: right before the definition, else the first one.
fn named_in(text: &str, from: usize, to: usize) -> Option<(usize, usize)> {
    let part = text.get(from..to)?;
    let lead = LEAD.first(part).map_or(0, |caught| whole(&caught).1);
    let rest = part.get(lead..)?;
    // An apposition tells that the first name is meant, whatever else is quoted in it.
    let first = QUOTED
        .first(rest)
        .and_then(|caught| group(&caught, 1).map(|(start, end, _)| (start, end)));
    let last = QUOTED_LAST
        .first(rest)
        .and_then(|caught| group(&caught, 1).map(|(start, end, _)| (start, end)));
    let place = match (first, last) {
        (Some(first), Some(last))
            if first != last && ENTITY_WORD.is_in(rest.get(first.1..last.0)?) && is_address(rest, last) =>
        {
            Some(first)
        }
        (_, Some(last)) => Some(last),
        (Some(first), None) => Some(first),
        (None, None) => unquoted(rest),
    }?;
    let (start, end) = (from + lead + place.0, from + lead + place.1);
    let name = text.get(start..end)?;
    (is_name(name) && !SENTENCE.is_in(name)).then_some((start, end))
}

/// Whether a quoted text is where somebody lives, not who.
fn is_address(rest: &str, (start, end): (usize, usize)) -> bool {
    let lead = rest.get(..start).unwrap_or_default().trim_end_matches(['“', ' ']);
    let is_placed = ["at", "in", "of", "from"]
        .iter()
        .any(|word| lead.to_lowercase().ends_with(&format!(" {word}")));
    is_placed
        || rest
            .get(start..end)
            .is_some_and(|quoted| quoted.starts_with(|char: char| char.is_ascii_digit()))
}

fn unquoted(rest: &str) -> Option<(usize, usize)> {
    if let Some(caught) = NAME_FIRST.first(rest) {
        return Some(trimmed(rest, whole(&caught)));
    }
    // A name later in the sentence counts where the text goes on as of somebody.
    let caught = NAME_ANY.all(rest).into_iter().find(|caught| {
        let (_, end) = whole(caught);
        let after = rest.get(end..).unwrap_or_default();
        after.starts_with(',') && ENTITY_WORD.is_in(after) && text(caught, 1).len() > 2
    })?;
    Some(trimmed(rest, whole(&caught)))
}

/// Without punctuation at the end, but for that of an abbreviation.
fn trimmed(text: &str, (start, end): (usize, usize)) -> (usize, usize) {
    let name = text.get(start..end).unwrap_or_default();
    let kept = name.trim_end_matches([',', ' ', '-', '/', '\'']);
    let is_abbreviated = kept.ends_with('.')
        && kept
            .rsplit([' ', ','])
            .next()
            .is_some_and(|word| word.len() <= 6 || word.trim_end_matches('.').contains('.'));
    let kept = if is_abbreviated {
        kept
    } else {
        kept.trim_end_matches('.')
    };
    (start, start + kept.len())
}

/// Names after "between", where fewer than two have a role already.
fn opening(text: &str, passage: usize, known: usize) -> Vec<Candidate> {
    let mut found = Vec::new();
    if known >= 2 {
        return found;
    }
    let Some(caught) = BETWEEN.first(text) else {
        return found;
    };
    let from = whole(&caught).1;
    let part = text.get(from..).unwrap_or_default();
    let lead = LEAD.first(part).map_or(0, |caught| whole(&caught).1);
    let rest = part.get(lead..).unwrap_or_default();
    let first = if rest.starts_with('“') {
        QUOTED
            .first(rest)
            .and_then(|caught| group(&caught, 1).map(|(start, end, _)| (start, end)))
    } else {
        NAME_FIRST.first(rest).map(|caught| trimmed(rest, whole(&caught)))
    };
    let Some(first) = first.filter(|(start, end)| rest.get(*start..*end).is_some_and(is_name)) else {
        return found;
    };
    let offset = from + lead;
    let candidate = |(start, end): (usize, usize)| Candidate {
        passage,
        start: offset + start,
        end: offset + end,
        role: None,
        sure: if names::ends(rest, end) { OPENS } else { CUT },
    };
    let after = rest.get(first.1..).unwrap_or_default();
    found.push(candidate(first));
    let others = AND.all(after).into_iter().filter_map(|caught| {
        let (start, end, name) = group(&caught, 2).or_else(|| group(&caught, 3))?;
        let is_parted = !self::text(&caught, 1).is_empty() || whole(&caught).0 <= 2;
        (is_name(name) && !ONLY_ROLE.is_in(name)).then(|| (is_parted, trimmed(after, (start, end))))
    });
    let others: Vec<(bool, (usize, usize))> = others.collect();
    let second = others
        .iter()
        .find(|(is_parted, _)| *is_parted)
        .or_else(|| others.first());
    if let Some((_, (start, end))) = second {
        found.push(candidate((first.1 + start, first.1 + end)));
    }
    found
}

/// `Tenant "Michael"`, `Supplier: Acme LLC`, `Acme LLC as Supplier`.
fn labelled(passages: &[Passage], index: usize) -> Vec<Candidate> {
    let Some(passage) = passages.get(index) else {
        return Vec::new();
    };
    let words = passage.text();
    let candidate = |place: (usize, usize), role: Option<(usize, usize)>, sure: f64| Candidate {
        passage: index,
        start: place.0,
        end: place.1,
        role,
        sure,
    };
    let mut found = Vec::new();
    for caught in ROLE_THEN_NAME.all(words) {
        if let (Some(role), Some((start, end, name))) = (group(&caught, 1), group(&caught, 2))
            && is_name(name)
            && !name.starts_with(char::is_lowercase)
        {
            found.push(candidate((start, end), Some((role.0, role.1)), OPENS));
        }
    }
    if let Some(caught) = LABEL.first(words)
        && let Some(role) = group(&caught, 1)
        && let Some((start, end, name)) = group(&caught, 2).or_else(|| group(&caught, 3))
        && is_name(name)
    {
        found.push(candidate(
            trimmed(words, (start, end)),
            Some((role.0, role.1)),
            NAMES,
        ));
    }
    for caught in AS_ROLE.all(words) {
        if let (Some((start, end, name)), Some(role)) = (group(&caught, 1), group(&caught, 2))
            && is_name(name)
            && !ONLY_ROLE.is_in(name)
            && !SENTENCE.is_in(name)
            && !name.contains(" of the ")
            && role.2.starts_with(char::is_uppercase)
        {
            found.push(candidate(
                trimmed(words, (start, end)),
                Some((role.0, role.1)),
                NAMES,
            ));
        }
    }
    found.extend(signed(passages, index));
    found
}

/// A role as a heading with a name below it, and signatures.
fn signed(passages: &[Passage], index: usize) -> Vec<Candidate> {
    let mut found = Vec::new();
    let Some(passage) = passages.get(index) else {
        return found;
    };
    let words = passage.text();
    let candidate = |place: (usize, usize), role: Option<(usize, usize)>| Candidate {
        passage: index,
        start: place.0,
        end: place.1,
        role,
        sure: NAMES,
    };
    let is_below = index
        .checked_sub(1)
        .and_then(|before| passages.get(before))
        .is_some_and(|before| ONLY_ROLE.is_in(before.text()));
    if is_below
        && let Some(caught) = BY.first(words).or_else(|| ONLY_NAME.first(words))
        && let Some((start, end, name)) = group(&caught, 1).or_else(|| group(&caught, 2))
        && is_name(name)
    {
        found.push(candidate((start, end), None));
    }
    if let Some(caught) = NAME_THEN_ROLE.first(words)
        && let (Some((start, end, name)), Some(role)) = (group(&caught, 1), group(&caught, 2))
        && is_name(name)
    {
        found.push(candidate((start, end), Some((role.0, role.1))));
    }
    for caught in BEHALF.all(words) {
        if let Some((start, end, name)) = group(&caught, 1).or_else(|| group(&caught, 2))
            && is_name(name)
        {
            found.push(candidate(trimmed(words, (start, end)), None));
        }
    }
    found
}

/// Quoted names that do something, or to which something is paid.
fn acting(words: &str, passage: usize, terms: &BTreeSet<String>) -> Vec<Candidate> {
    let mut found = Vec::new();
    let mut add = |place: Option<(usize, usize, &str)>| {
        let Some((start, end, name)) = place else {
            return;
        };
        if is_name(name) && name.starts_with(char::is_uppercase) && !terms.contains(&name.to_lowercase()) {
            found.push(Candidate {
                passage,
                start,
                end,
                role: None,
                sure: DOES,
            });
        }
    };
    for caught in ACTS.all(words) {
        if !THING.is_in(text(&caught, 1)) {
            add(group(&caught, 2));
        }
    }
    for caught in PAID
        .all(words)
        .into_iter()
        .chain(PAID_LATER.all(words))
        .chain(DONE_BY.all(words))
    {
        add(group(&caught, 1));
    }
    found
}

pub(super) fn is_name(name: &str) -> bool {
    let name = name.trim();
    let letters = name.chars().filter(|char| char.is_alphabetic()).count();
    let words = name.split_whitespace().count();
    letters >= 2 && words <= 12 && !NO_NAME.is_in(name.trim_end_matches('.')) && !ONLY_ROLE_WORD.is_in(name)
}

pattern!(
    ONLY_ROLE_WORD,
    r"(?i)^(?:the\s+)?(?:seller|buyer|supplier|purchaser|licensee|licensor|landlord|tenant|employee|employer|company|client|customer|contractor|consultant|lender|borrower|investor|bank|agent|owner|counterparty|purchasers|parties|both parties|either party)$"
);

fn key(name: &str) -> String {
    let plain: String = name.chars().filter_map(super::fold::fold).collect();
    let words = plain.to_lowercase();
    let words = words
        .split(|char: char| !char.is_alphanumeric())
        .filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

/// One party for each name, where it is named first; a role from wherever it is given.
fn unite(mut found: Vec<Candidate>, passages: &[Passage]) -> Vec<Party> {
    found.sort_by_key(|one| (one.passage, one.start));
    let mut parties: Vec<(String, Party)> = Vec::new();
    for one in found {
        let Some(passage) = passages.get(one.passage) else {
            continue;
        };
        let (place, name) = passage.place(one.start, one.end);
        let role = one.role.map(|(start, end)| passage.place(start, end).1);
        let key = key(&name);
        let confidence = passage.confidence(one.sure);
        match parties.iter_mut().find(|(known, _)| *known == key) {
            Some((_, party)) => {
                party.role = party.role.take().or(role);
                party.confidence = party.confidence.max(confidence);
            }
            None => parties.push((
                key,
                Party {
                    name,
                    role,
                    place,
                    confidence,
                },
            )),
        }
    }
    parties.into_iter().map(|(_, party)| party).collect()
}

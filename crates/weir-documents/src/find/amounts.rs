//! Amounts of money: figures or words with a currency, or both side by side.

use regex::Captures;

use super::pattern::{group, pattern, text, whole};
use super::{Passage, currencies, words};
use crate::document::Amount;

/// A number in figures, with the separators of several countries.
const FIGURES: &str = r"(?:\d{1,3}(?:[, ']\d{3})+(?:\.\d+)?|\d{1,2}(?:,\d{2})+,\d{3}(?:\.\d+)?|\d{1,3}(?:\.\d{3})+(?:,\d{1,2})?\b|\d+(?:[.,]\d+)?)";
/// A word that multiplies it.
const SCALE: &str = r"(?:\s?-?(?:(?i:(hundred|thousand|million|billion|trillion|mn|bn|lakhs?|crores?))\b|(الف|الفا|الاف|مليون|مليونا|ملايين|مليار|مليارات)\b))?";

pattern!(
    BEFORE,
    format!(
        r"({cur})\s?({FIGURES})(?:([mMkK])\b)?{SCALE}(?:/-)?",
        cur = currencies::before()
    )
);
pattern!(
    AFTER,
    format!(
        r"({FIGURES})\)?{SCALE}(?:\s*/-)?\s?(?:\(\s*[^()\d]{{0,120}}\)\s?)?({cur})(?:\s?(?i:(million|billion))\b)?",
        cur = currencies::after()
    )
);
pattern!(
    ENGLISH,
    format!(
        r"(?i)\b({number})\b(?:\s+(?:and\s+)?(\d{{1,2}})/100)?\s*(?:\(\s*(?:[^()\d]{{0,5}})({FIGURES})\s*\)\s*)?\s*({cur})\b",
        number = words::english_number(),
        cur = currencies::names()
    )
);
pattern!(
    ENGLISH_AFTER,
    format!(
        r"(?i)\b({cur})\s+({number})\b(?:\s+only\b)?",
        number = words::english_number(),
        cur = currencies::names()
    )
);
pattern!(
    ARABIC,
    format!(
        r"({number})\s*(?:\(\s*({FIGURES})\s*\)\s*)?({cur})",
        number = words::arabic_number(),
        cur = currencies::names()
    )
);
// What may stand between an amount in words and the same in figures.
pattern!(
    SAME,
    r#"^[\s“”'(),:=/-]*(?:(?i:only|i\.e\.|say|being|equal to|that is)|فقط|لا غير|اي|وقدره|و قدره|يعادل)?[\s“”'(),:=/-]*$"#
);
// What an amount does not stand beside.
pattern!(GLUED, r"[\p{L}\d.,_]$");

/// An amount before its neighbours were looked at.
struct Candidate {
    start: usize,
    end: usize,
    value: String,
    currency: &'static str,
    /// What figures inside words say, where it is another number.
    differs: Option<String>,
    is_words: bool,
    sure: f64,
}

pub(super) fn find(passages: &[Passage]) -> Vec<Amount> {
    let mut found = Vec::new();
    for passage in passages {
        let mut here = candidates(passage.text());
        here.sort_by_key(|one| (one.start, std::cmp::Reverse(one.end)));
        let mut kept: Vec<Candidate> = Vec::new();
        for one in here {
            match kept.last_mut() {
                Some(last) if one.start < last.end => {}
                Some(last) if is_same(passage.text(), last, &one) => unite(last, one),
                _ => kept.push(one),
            }
        }
        found.extend(kept.into_iter().map(|one| amount(one, passage)));
    }
    found
}

fn candidates(text: &str) -> Vec<Candidate> {
    let mut found = Vec::new();
    found.extend(BEFORE.all(text).iter().filter_map(before));
    found.extend(
        AFTER
            .all(text)
            .iter()
            .filter(|caught| is_free(text, caught))
            .filter_map(after),
    );
    found.extend(ENGLISH.all(text).iter().filter_map(english));
    found.extend(ENGLISH_AFTER.all(text).iter().filter_map(|caught| {
        let value = words::english(self::text(caught, 2))?;
        candidate(caught, value.to_string(), self::text(caught, 1), true)
    }));
    found.extend(ARABIC.all(text).iter().filter_map(arabic));
    found
}

/// Whether a number begins where it was caught, and is not the tail of something else.
fn is_free(text: &str, caught: &Captures<'_>) -> bool {
    let (start, _) = whole(caught);
    !GLUED.is_in(text.get(..start).unwrap_or_default())
}

fn candidate(caught: &Captures<'_>, value: String, currency: &str, is_words: bool) -> Option<Candidate> {
    let (start, _) = whole(caught);
    let (currency, sure) = currencies::of(currency)?;
    let end = (1..caught.len())
        .filter_map(|index| group(caught, index))
        .map(|(from, _, text)| from + text.trim_end().len())
        .max()?;
    Some(Candidate {
        start,
        end,
        value,
        currency,
        differs: None,
        is_words,
        sure,
    })
}

fn before(caught: &Captures<'_>) -> Option<Candidate> {
    let short = match text(caught, 3) {
        "m" | "M" => 6,
        "k" | "K" => 3,
        _ => 0,
    };
    let zeros = scale(text(caught, 4), text(caught, 5)) + short;
    let (value, sure) = figures(text(caught, 2), zeros, has_mills(text(caught, 1)))?;
    let mut one = candidate(caught, value, text(caught, 1), false)?;
    one.sure = one.sure.min(sure);
    Some(one)
}

fn after(caught: &Captures<'_>) -> Option<Candidate> {
    let second = scale(text(caught, 5), "");
    let zeros = scale(text(caught, 2), text(caught, 3)) + second;
    let (value, sure) = figures(text(caught, 1), zeros, has_mills(text(caught, 4)))?;
    let mut one = candidate(caught, value, text(caught, 4), false)?;
    one.sure = one.sure.min(sure);
    Some(one)
}

fn english(caught: &Captures<'_>) -> Option<Candidate> {
    let number = words::english(text(caught, 1))?;
    let value = match text(caught, 2) {
        "" => number.to_string(),
        cents => words::scaled(&format!("{number}.{cents:0>2}"), 0),
    };
    let mut one = candidate(caught, value, text(caught, 4), true)?;
    compare(&mut one, text(caught, 3));
    Some(one)
}

fn arabic(caught: &Captures<'_>) -> Option<Candidate> {
    let number = words::arabic(text(caught, 1))?;
    let mut one = candidate(caught, number.to_string(), text(caught, 3), true)?;
    compare(&mut one, text(caught, 2));
    Some(one)
}

/// Figures in brackets inside an amount in words.
fn compare(one: &mut Candidate, written: &str) {
    let Some((figures, _)) = figures(written, 0, is_of_mills(one.currency)) else {
        return;
    };
    if figures == one.value {
        one.sure = 0.99;
    } else {
        one.differs = Some(std::mem::replace(&mut one.value, figures));
        one.sure = 0.5;
    }
}

/// By how many zeros a word multiplies.
fn scale(english: &str, arabic: &str) -> usize {
    match english.to_lowercase().as_str() {
        "hundred" => 2,
        "thousand" => 3,
        "lakh" | "lakhs" => 5,
        "million" | "mn" => 6,
        "crore" | "crores" => 7,
        "billion" | "bn" => 9,
        "trillion" => 12,
        _ => match arabic {
            "" => 0,
            "الف" | "الفا" | "الاف" => 3,
            "مليار" | "مليارات" => 9,
            _ => 6,
        },
    }
}

/// Whether a currency is parted into thousandths: three figures after a point are those.
fn is_of_mills(currency: &str) -> bool {
    matches!(currency, "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND")
}

fn has_mills(currency: &str) -> bool {
    currencies::of(currency).is_some_and(|(code, _)| is_of_mills(code))
}

/// Figures as a plain decimal, and how sure the separators are.
fn figures(written: &str, zeros: usize, has_mills: bool) -> Option<(String, f64)> {
    if written.is_empty() {
        return None;
    }
    let groups: Vec<&str> = written.split(['.', ',', ' ', '\'']).collect();
    let separators: Vec<char> = written.chars().filter(|char| !char.is_ascii_digit()).collect();
    let last = groups.last().map_or(0, |group| group.len());
    let (plain, sure) = match separators[..] {
        [] => (written.to_owned(), 1.0),
        ['.'] if last == 3 && has_mills => (written.to_owned(), 0.6),
        // 1.500 is one and a half here and fifteen hundred there.
        ['.'] if last == 3 && groups.first() != Some(&"0") => (groups.concat(), 0.5),
        ['.'] => (written.to_owned(), 1.0),
        [','] if last == 3 => (groups.concat(), 0.98),
        [','] => (groups.join("."), 0.8),
        [first, .., '.'] if first != '.' => whole_and_rest(&groups),
        ['.', .., ','] => whole_and_rest(&groups),
        _ => (groups.concat(), 0.97),
    };
    Some((words::scaled(&plain, zeros), sure))
}

/// The last group stands after the point.
fn whole_and_rest(groups: &[&str]) -> (String, f64) {
    match groups.split_last() {
        Some((rest, whole)) => (format!("{}.{rest}", whole.concat()), 0.99),
        None => (String::new(), 0.0),
    }
}

/// Whether two amounts side by side are one, in words and in figures.
fn is_same(text: &str, one: &Candidate, other: &Candidate) -> bool {
    let between = text.get(one.end..other.start).unwrap_or_default();
    one.is_words != other.is_words && SAME.is_in(between) && between.contains('(')
        || (one.is_words != other.is_words && one.value == other.value && SAME.is_in(between))
}

fn unite(one: &mut Candidate, other: Candidate) {
    one.end = other.end;
    let agree = one.value == other.value;
    // A bare name is settled by a code beside it.
    if other.sure > one.sure {
        one.currency = other.currency;
    }
    if agree {
        one.sure = 0.99;
        return;
    }
    let (figures, words) = if one.is_words {
        (other.value, one.value.clone())
    } else {
        (one.value.clone(), other.value)
    };
    one.value = figures;
    one.differs = Some(words);
    one.sure = 0.5;
}

fn amount(one: Candidate, passage: &Passage) -> Amount {
    let (place, text) = passage.place(one.start, one.end);
    let mut one = one;
    // Recognition errs in figures before it errs in words that make a number.
    if passage.is_recognised()
        && let Some(words) = one.differs.take()
    {
        (one.value, one.sure) = (words, 0.7);
    }
    let confidence = passage.confidence_in_figures(&text, one.sure);
    Amount {
        text,
        value: one.value,
        currency: one.currency.to_owned(),
        words_say: one.differs,
        place,
        confidence,
    }
}

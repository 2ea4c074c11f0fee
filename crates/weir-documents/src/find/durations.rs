//! Lengths of time.

use regex::Captures;

use super::pattern::{pattern, text, whole};
use super::words;
use crate::document::Duration;

pattern!(
    ENGLISH,
    format!(
        r#"(?i)\b(?:({number})\b\s*”?\s*(?:\(\s*(\d{{1,4}})\s*\))?|(\d{{1,4}})\)?(?:\s*\(\s*[a-z][a-z\s-]{{1,40}}\))?)\s*-?\s*((?:business|working|banking|trading)[\s-]+)?(?:(?:calendar|consecutive|full|successive|clear|running|further|additional|more|complete)[\s-]+)*(day|week|fortnight|month|year|quarter)s?\b"#,
        number = words::english_number()
    )
);
// A length that its article counts, where the apostrophe shows that it is one: "a month's notice".
pattern!(
    SINGLE,
    r"(?i)\ban?\s+(?:(?:calendar|full|clear)\s+)?(day|week|fortnight|month|quarter|year)'s\b"
);
pattern!(
    ARABIC,
    format!(
        r#"(?:({number})\s*(?:\(\s*(\d{{1,4}})\s*\))?\s*|(\d{{1,4}})\s*(?:\([^()\d]{{0,40}}\))?\s*)?\b(يوما|يوم|يومين|يومان|ايام|اسبوع|اسبوعا|اسبوعين|اسابيع|شهر|شهرا|شهرين|شهران|اشهر|شهور|سنه|سنتين|سنتان|سنوات|عام|عاما|عامين|عامان|اعوام)\b(?:\s+(واحده|واحد)\b)?(?:\s*\(\s*(\d{{1,4}})\s*\))?(?:\s+(عمل)\b)?"#,
        number = words::arabic_number()
    )
);

/// A length of time with where it stands.
pub(super) struct Found {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) duration: Duration,
}

/// Each length of time in folded text.
pub(super) fn all(text: &str) -> Vec<Found> {
    let mut found: Vec<Found> = ENGLISH.all(text).iter().filter_map(english).collect();
    found.extend(SINGLE.all(text).iter().map(|caught| {
        let (count, unit) = unit_of(self::text(caught, 1));
        of(caught, count, unit, false)
    }));
    found.extend(ARABIC.all(text).iter().filter_map(arabic));
    found.sort_by_key(|one| one.start);
    found
}

fn of(caught: &Captures<'_>, count: u64, unit: char, is_business_days: bool) -> Found {
    let (start, end) = whole(caught);
    Found {
        start,
        end,
        duration: Duration {
            iso: format!("P{count}{unit}"),
            is_business_days,
        },
    }
}

/// An English unit as how many of which ISO one.
fn unit_of(word: &str) -> (u64, char) {
    match word.to_lowercase().as_str() {
        "day" => (1, 'D'),
        "week" => (1, 'W'),
        "fortnight" => (2, 'W'),
        "month" => (1, 'M'),
        "quarter" => (3, 'M'),
        _ => (1, 'Y'),
    }
}

fn english(caught: &Captures<'_>) -> Option<Found> {
    let figures = [text(caught, 3), text(caught, 2)]
        .into_iter()
        .find_map(|figures| figures.parse().ok());
    let count: u64 = figures.or_else(|| words::english(text(caught, 1)))?;
    let (each, unit) = unit_of(text(caught, 5));
    Some(of(
        caught,
        count.saturating_mul(each),
        unit,
        !text(caught, 4).is_empty(),
    ))
}

fn arabic(caught: &Captures<'_>) -> Option<Found> {
    let word = text(caught, 4);
    let unit = match word {
        "يوما" | "يوم" | "يومين" | "يومان" | "ايام" => 'D',
        "اسبوع" | "اسبوعا" | "اسبوعين" | "اسابيع" => 'W',
        "شهر" | "شهرا" | "شهرين" | "شهران" | "اشهر" | "شهور" => 'M',
        _ => 'Y',
    };
    let is_two = word.ends_with("ين") || word.ends_with("ان");
    let figures = [text(caught, 3), text(caught, 2), text(caught, 6)]
        .into_iter()
        .find_map(|figures| figures.parse().ok());
    let count = figures
        .or_else(|| words::arabic(text(caught, 1)))
        .or_else(|| is_two.then_some(2))
        .or_else(|| {
            // One is said by the word alone, or with another word after it.
            (!text(caught, 5).is_empty() || matches!(word, "سنه" | "شهر" | "اسبوع" | "عام")).then_some(1)
        })?;
    // "the year 2024" is none.
    (count < 1_000).then(|| of(caught, count, unit, !text(caught, 7).is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::find::fold::Folded;

    fn iso(text: &str) -> Vec<String> {
        let found = all(&Folded::new(text).text);
        found
            .iter()
            .map(|one| {
                format!(
                    "{}{}",
                    one.duration.iso,
                    if one.duration.is_business_days { "b" } else { "" }
                )
            })
            .collect()
    }

    #[test]
    fn lengths_in_figures_and_words() {
        assert_eq!(iso("thirty (30) days"), ["P30D"]);
        assert_eq!(
            iso("a term of two years, and 10 Business Days after"),
            ["P2Y", "P10Db"]
        );
        assert_eq!(iso("a 12-month period"), ["P12M"]);
        assert_eq!(iso("24 (twenty-four) months"), ["P24M"]);
        assert_eq!(iso("two further years"), ["P2Y"]);
        assert_eq!(iso("a month’s notice, or a fortnight's"), ["P1M", "P2W"]);
        assert_eq!(iso("once a month, one quarter of a year"), ["P3M"]);
        assert_eq!(iso("لمدة ثلاث سنوات"), ["P3Y"]);
        assert_eq!(iso("لمدة سنة واحدة"), ["P1Y"]);
        assert_eq!(iso("قبل ٣٠ يوماً"), ["P30D"]);
        assert_eq!(iso("مدة سنتين"), ["P2Y"]);
        assert_eq!(iso("ستين (60) يوماً"), ["P60D"]);
        assert_eq!(iso("خمسة أيام عمل"), ["P5Db"]);
    }
}

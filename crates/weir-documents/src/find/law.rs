//! The law under which a contract stands.

use super::Passage;
use super::pattern::{group, pattern};
use crate::document::GoverningLaw;

// A place: capitals with small words between.
const PLACE: &str = r#"“?((?:the\s+)?(?:(?:State|Commonwealth|Kingdom|Republic|Emirate|Province|Sultanate|Hashemite|Arab|United)\s+(?:of\s+)?)*(?:the\s+)?\p{Lu}[\p{L}.'-]*(?:(?:\s*,\s*|\s+and\s+|\s+of\s+|\s+of\s+the\s+|\s+)\p{Lu}[\p{L}.'-]*){0,6})”?"#;

pattern!(
    LAWS_OF,
    format!(
        r"(?:(?i:govern(?:ed|ing)|constru(?:ed|ction)|interpreted|subject\s+to|accordance\s+with)[^.;]{{0,160}}?(?i:laws?\s+(?:\([^)]*\)\s+)?(?:of|in|in\s+force\s+in)\s+)){PLACE}"
    )
);
pattern!(
    OF_A_NATION,
    r"(?:(?i:govern(?:ed|ing)|constru(?:ed|ction)|interpreted)[^.;]{0,90}?)\b((?:\p{Lu}\p{L}+\s+){1,3}(?:[Ll]aws?))\b"
);
pattern!(
    LABELLED,
    format!(
        r"^\s*(?:\d+[.)]?\s*)?(?i:governing\s+law|applicable\s+law)\s*[:-]\s*(?i:the\s+)?(?i:laws?\s+of\s+)?{PLACE}"
    )
);
pattern!(
    ARABIC,
    r"(?:يخضع|تخضع|يحكم|تحكم|يفسر|تفسر|تسري|يسري|يطبق|تطبق|القانون الواجب التطبيق|القانون الحاكم)[^.;]{0,120}?((?:ل|ب|و|ا)?(?:لانظمه|الانظمه|انظمه|لقوانين|القوانين|قوانين|لاحكام القانون|احكام القانون|للقانون|القانون|قانون|لقانون|لنظام|نظام)[^.;,\n]{0,90})"
);
pattern!(
    ARABIC_PLACE,
    r"((?:المملكه العربيه السعوديه|المملكه الاردنيه الهاشميه|المملكه المغربيه|المملكه المتحده|مملكه البحرين|دوله الامارات العربيه المتحده|دوله الكويت|دوله قطر|دوله فلسطين|سلطنه عمان|جمهوريه مصر العربيه|الجمهوريه اللبنانيه|الجمهوريه العربيه السوريه|جمهوريه العراق|الجمهوريه التونسيه|الجمهوريه اليمنيه|اماره دبي|اماره ابوظبي|السعودي|السعوديه|المصري|المصريه|الاماراتي|الكويتي|القطري|الاردني|اللبناني|العماني|البحريني|العراقي|المغربي|التونسي|الانجليزي))"
);

pub(super) fn find(passages: &[Passage]) -> Vec<GoverningLaw> {
    let mut found: Vec<GoverningLaw> = Vec::new();
    for passage in passages {
        for one in english(passage).into_iter().chain(arabic(passage)) {
            let is_known = found.iter().any(|known| known.law == one.law);
            if !is_known {
                found.push(one);
            }
        }
    }
    found
}

fn english(passage: &Passage) -> Option<GoverningLaw> {
    let text = passage.text();
    let patterns = [(&LAWS_OF, 0.92), (&LABELLED, 0.9), (&OF_A_NATION, 0.85)];
    let (start, end, sure) = patterns.into_iter().find_map(|(pattern, sure)| {
        let caught = pattern.first(text)?;
        let (start, _, law) = group(&caught, 1)?;
        let law = law.trim_end_matches([',', '.', ' ', '\'']);
        (!law.is_empty()).then_some((start, start + law.len(), sure))
    })?;
    Some(law(passage, start, end, sure))
}

fn arabic(passage: &Passage) -> Option<GoverningLaw> {
    let caught = ARABIC.first(passage.text())?;
    let (start, _, words) = group(&caught, 1)?;
    let place = ARABIC_PLACE.first(words)?;
    let (from, to, _) = group(&place, 1)?;
    Some(law(passage, start + from, start + to, 0.9))
}

fn law(passage: &Passage, start: usize, end: usize, sure: f64) -> GoverningLaw {
    let (place, law) = passage.place(start, end);
    GoverningLaw {
        law,
        place,
        confidence: passage.confidence(sure),
    }
}

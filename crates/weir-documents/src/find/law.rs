//! The law under which a contract stands.

use super::Passage;
use super::pattern::{Pattern, group, pattern};
use crate::document::GoverningLaw;

/// A word of a place's name; a stop belongs to abbreviations alone.
const WORD: &str = r"(?:(?:\p{Lu}\.){2,}|St\.|\p{Lu}[\p{L}'-]*)";

/// A place: capitals with small words between.
fn place() -> String {
    format!(
        r"“?((?:the\s+)?(?:(?:State|Commonwealth|Kingdom|Republic|Emirate|Province|Sultanate|Hashemite|Arab|United)\s+(?:of\s+)?)*(?:the\s+)?{WORD}(?:(?:\s*,\s*|\s+(?:and|&|of|of\s+the)\s+|\s+){WORD}){{0,6}})”?"
    )
}

// What is governed by, and construed under, the laws of a place.
pattern!(
    LAWS_OF,
    format!(
        r"((?i:govern(?:ed|ing)|constru(?:ed|ction)|interpret(?:ed|ation)|subject\s+to|accordance\s+with)[^.;]{{0,160}}?(?i:laws?\s+(?:\([^)]*\)\s+)?(?:of|in|in\s+(?:force|effect)\s+in)\s+)){place}",
        place = place()
    )
);
// The laws of a place apply.
pattern!(
    APPLY,
    format!(
        r"((?i:laws?\s+(?:of|in|in\s+force\s+in)\s+)){place}[^.;]{{0,60}}?\b(?i:(?:shall|will|must|to)\s+(?:exclusively\s+)?(?:apply|govern|control|prevail)|applies|apply|governs?|controls?)\b",
        place = place()
    )
);
// The parties choose it, or it is said of "the governing law".
pattern!(
    CHOSEN,
    format!(
        r"((?i:\b(?:choose|chosen|select|opt\s+for|(?:governing|applicable|proper)\s+law|law\s+(?:applicable|governing))\b)[^.;:]{{0,80}}?(?i:\b(?:that|those|laws?)\s+of\s+)){place}",
        place = place()
    )
);
// "English law", "UAE federal law".
const OF_NATION: &str =
    r"\b((?:\p{Lu}[\p{L}-]*\s+){1,3}(?:(?i:federal|substantive|domestic|civil)\s+)*[Ll]aws?)\b";
pattern!(
    OF_A_NATION,
    format!(
        r"((?i:govern(?:ed|ing)|constru(?:ed|ction)|interpret(?:ed|ation)|subject\s+to|choose|chosen|law\s+applicable|applicable\s+law)[^.;]{{0,90}}?){OF_NATION}"
    )
);
pattern!(
    NATION_APPLIES,
    format!(
        r"(){OF_NATION}\s+(?i:(?:(?:shall|will|must|is\s+to)\s+)?(?:exclusively\s+)?(?:apply|applies|governs?|controls?)|is\s+(?:applicable|to\s+govern))\b"
    )
);
pattern!(
    LABELLED,
    format!(
        r"^(\s*(?:\d+[.)]?\s*)?(?i:governing\s+law|applicable\s+law|law)\s*[:-]\s*(?i:the\s+)?(?i:laws?\s+of\s+)?){place}",
        place = place()
    )
);
// What a company is founded under is another law.
pattern!(
    FOUNDED,
    r"(?i)\b(?:incorporated|organi[sz]ed|established|registered|existing|formed|licensed|admitted)\b[^.;]{0,60}$"
);
// Laws of a matter and words that name no place.
pattern!(
    NO_NATION,
    r"(?i)^(?:(?:the|this|such|any|all|no|each|said|applicable|governing|mandatory|relevant|local|foreign|other|data|protection|privacy|tax|labou?r|employment|competition|antitrust|bankruptcy|insolvency|consumer|securities|export|public|common|civil|criminal|international|rule|of)\s+)+laws?$"
);
pattern!(STRONG, r"(?i)^(?:govern|constru|interpret)");

pattern!(
    ARABIC,
    r"(?:يخضع|تخضع|خاضع|خاضعه|يحكم|تحكم|يفسر|تفسر|تسري|يسري|يطبق|تطبق|ينطبق|تنطبق|القانون الواجب التطبيق|القانون المطبق|القانون الحاكم|القانون الساري)[^.;]{0,120}?((?:ل|ب|و|ا)?(?:لانظمه|الانظمه|انظمه|لقوانين|القوانين|قوانين|لاحكام القانون|احكام القانون|للقانون|القانون|قانون|لقانون|لنظام|نظام)[^.;,\n]{0,90})"
);
// The law stands before what is said of it.
pattern!(
    ARABIC_BEFORE,
    r"((?:القانون|القوانين|قانون|قوانين|الانظمه|انظمه)\s[^.;,\n]{0,60}?)\s(?:هو|هي|هما)\s[^.;]{0,30}?(?:الواجب|الواجبه|واجب|واجبه|الحاكم|الحاكمه|المطبق|المطبقه|الساري|الساريه)"
);
pattern!(
    ARABIC_PLACE,
    r"((?:المملكه العربيه السعوديه|المملكه الاردنيه الهاشميه|المملكه المغربيه|المملكه المتحده|مملكه البحرين|دوله الامارات العربيه المتحده|دوله الامارات|دوله الكويت|دوله قطر|دوله فلسطين|دوله ليبيا|سلطنه عمان|جمهوريه مصر العربيه|الجمهوريه اللبنانيه|الجمهوريه العربيه السوريه|جمهوريه العراق|جمهوريه السودان|الجمهوريه التونسيه|الجمهوريه الجزائريه|الجمهوريه اليمنيه|اماره دبي|اماره ابوظبي|اماره الشارقه|مركز دبي المالي العالمي|سوق ابوظبي العالمي|انجلترا وويلز|انجلترا|(?:السعودي|المصري|الاماراتي|الكويتي|القطري|الاردني|اللبناني|العماني|البحريني|العراقي|السوري|اليمني|الليبي|السوداني|الفلسطيني|المغربي|التونسي|الجزائري|الانجليزي|الفرنسي|السويسري|الالماني)ه?))"
);
// "The Kingdom" alone: whose is not said.
pattern!(ARABIC_KINGDOM, r"(المملكه|الدوله)(?:$|\s|[)”])");

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
    let patterns = [
        (&LAWS_OF, 0.92),
        (&LABELLED, 0.9),
        (&APPLY, 0.9),
        (&CHOSEN, 0.85),
        (&OF_A_NATION, 0.85),
        (&NATION_APPLIES, 0.8),
    ];
    patterns
        .into_iter()
        .find_map(|(pattern, sure)| one_of(passage, pattern, sure))
}

/// The first law that a pattern finds; its first group is what leads to the second, the law.
fn one_of(passage: &Passage, pattern: &Pattern, sure: f64) -> Option<GoverningLaw> {
    let text = passage.text();
    pattern.all(text).iter().find_map(|caught| {
        let (from, lead_end, lead) = group(caught, 1)?;
        let (start, _, law) = group(caught, 2)?;
        let before = text.get(..lead_end)?;
        let is_strong = STRONG.is_in(lead);
        let is_founded = !is_strong && (FOUNDED.is_in(text.get(..from)?) || FOUNDED.is_in(before));
        // "The English law": the article is none of its name, as it is in "The Hague".
        let is_of_nation = law.ends_with("aw") || law.ends_with("aws");
        let article = if is_of_nation && law.starts_with("The ") {
            4
        } else {
            0
        };
        let law = law.get(article..)?.trim_end_matches([',', ' ', '\'']);
        if law.is_empty() || is_founded || NO_NATION.is_in(law) {
            return None;
        }
        // "In accordance with the laws of" and "subject to" are said of much that is no contract.
        let is_weak = WEAK.is_in(lead) && !HEADED.is_in(text);
        let sure = if is_weak { 0.6 } else { sure };
        Some(self::law(
            passage,
            start + article,
            start + article + law.len(),
            sure,
        ))
    })
}

pattern!(WEAK, r"(?i)^(?:accordance|subject)");
// The subject is the contract, or the sentence says which law governs.
pattern!(
    HEADED,
    r"(?i)\b(?:governing|applicable)\s+law\b|\b(?:agreement|contract|lease|terms|deed)\b[^.;]{0,40}\b(?:is|are|be)\s+(?:made\s+)?subject"
);

fn arabic(passage: &Passage) -> Option<GoverningLaw> {
    let text = passage.text();
    let caught = ARABIC.first(text).or_else(|| ARABIC_BEFORE.first(text))?;
    let (start, _, words) = group(&caught, 1)?;
    let named = ARABIC_PLACE.first(words).map(|place| (place, 0.9));
    let (place, sure) = named.or_else(|| ARABIC_KINGDOM.first(words).map(|place| (place, 0.6)))?;
    let (from, to, _) = group(&place, 1)?;
    Some(law(passage, start + from, start + to, sure))
}

fn law(passage: &Passage, start: usize, end: usize, sure: f64) -> GoverningLaw {
    let (place, law) = passage.place(start, end);
    GoverningLaw {
        law,
        place,
        confidence: passage.confidence(sure),
    }
}

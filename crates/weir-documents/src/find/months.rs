//! Names of months, folded and in small letters.

use crate::document::Calendar;

const GREGORIAN: &[(&str, u8)] = &[
    ("january", 1),
    ("february", 2),
    ("march", 3),
    ("april", 4),
    ("may", 5),
    ("june", 6),
    ("july", 7),
    ("august", 8),
    ("september", 9),
    ("october", 10),
    ("november", 11),
    ("december", 12),
    ("jan", 1),
    ("feb", 2),
    ("mar", 3),
    ("apr", 4),
    ("jun", 6),
    ("jul", 7),
    ("aug", 8),
    ("sept", 9),
    ("sep", 9),
    ("oct", 10),
    ("nov", 11),
    ("dec", 12),
    // Egypt and the Gulf
    ("يناير", 1),
    ("فبراير", 2),
    ("مارس", 3),
    ("ابريل", 4),
    ("مايو", 5),
    ("يونيو", 6),
    ("يونيه", 6),
    ("يوليو", 7),
    ("يوليه", 7),
    ("اغسطس", 8),
    ("سبتمبر", 9),
    ("اكتوبر", 10),
    ("نوفمبر", 11),
    ("ديسمبر", 12),
    // The Levant and Iraq
    ("كانون الثاني", 1),
    ("شباط", 2),
    ("اذار", 3),
    ("نيسان", 4),
    ("ايار", 5),
    ("حزيران", 6),
    ("تموز", 7),
    ("اب", 8),
    ("ايلول", 9),
    ("تشرين الاول", 10),
    ("تشرين الثاني", 11),
    ("كانون الاول", 12),
    // The Maghreb
    ("جانفي", 1),
    ("فيفري", 2),
    ("افريل", 4),
    ("ماي", 5),
    ("جوان", 6),
    ("جويليه", 7),
    ("اوت", 8),
];

const HIJRI: &[(&str, u8)] = &[
    ("محرم", 1),
    ("المحرم", 1),
    ("صفر", 2),
    ("ربيع الاول", 3),
    ("ربيع الثاني", 4),
    ("ربيع الاخر", 4),
    ("جمادي الاولي", 5),
    ("جمادي الاول", 5),
    ("جمادي الثانيه", 6),
    ("جمادي الاخره", 6),
    ("جمادي الاخر", 6),
    ("رجب", 7),
    ("شعبان", 8),
    ("رمضان", 9),
    ("شوال", 10),
    ("ذو القعده", 11),
    ("ذي القعده", 11),
    ("ذو الحجه", 12),
    ("ذي الحجه", 12),
    ("muharram", 1),
    ("safar", 2),
    ("rajab", 7),
    ("shaban", 8),
    ("sha'ban", 8),
    ("ramadan", 9),
    ("shawwal", 10),
];

const ORDINALS: &[(&str, u8)] = &[
    ("first", 1),
    ("second", 2),
    ("third", 3),
    ("fourth", 4),
    ("fifth", 5),
    ("sixth", 6),
    ("seventh", 7),
    ("eighth", 8),
    ("ninth", 9),
    ("tenth", 10),
    ("eleventh", 11),
    ("twelfth", 12),
    ("thirteenth", 13),
    ("fourteenth", 14),
    ("fifteenth", 15),
    ("sixteenth", 16),
    ("seventeenth", 17),
    ("eighteenth", 18),
    ("nineteenth", 19),
    ("twentieth", 20),
    ("thirtieth", 30),
    ("الاول", 1),
    ("الثاني", 2),
    ("الثالث", 3),
    ("الرابع", 4),
    ("الخامس", 5),
    ("السادس", 6),
    ("السابع", 7),
    ("الثامن", 8),
    ("التاسع", 9),
    ("العاشر", 10),
    ("العشرين", 20),
    ("العشرون", 20),
    ("الثلاثين", 30),
    ("الثلاثون", 30),
];

/// Units of Arabic ordinals in compounds.
const ARABIC_UNITS: &[(&str, u8)] = &[
    ("الحادي", 1),
    ("الثاني", 2),
    ("الثالث", 3),
    ("الرابع", 4),
    ("الخامس", 5),
    ("السادس", 6),
    ("السابع", 7),
    ("الثامن", 8),
    ("التاسع", 9),
];

fn alternatives<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = names.collect();
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    names.join("|").replace(' ', r"\s+")
}

/// A pattern for any month's name.
pub(super) fn any() -> String {
    let names = GREGORIAN.iter().chain(HIJRI).map(|(name, _)| *name);
    format!("(?:{})", alternatives(names))
}

/// A pattern for the day of a month in words.
pub(super) fn ordinal() -> String {
    let units = alternatives(ARABIC_UNITS.iter().map(|(name, _)| *name));
    let plain = alternatives(ORDINALS.iter().map(|(name, _)| *name));
    format!(
        r"(?:(?:{units})\s+(?:عشر|و\s?(?:ال)?عشرين|و\s?(?:ال)?عشرون|و\s?(?:ال)?ثلاثين|و\s?(?:ال)?ثلاثون)|(?:twenty|thirty)[\s-]+(?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth)|{plain})"
    )
}

/// Which month a name is, and of which calendar.
pub(super) fn number(name: &str) -> Option<(u8, Calendar)> {
    let name = name
        .to_lowercase()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    let of = |names: &[(&str, u8)]| {
        names
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, month)| *month)
    };
    of(GREGORIAN)
        .map(|month| (month, Calendar::Gregorian))
        .or_else(|| of(HIJRI).map(|month| (month, Calendar::Hijri)))
}

/// Which day an ordinal in words is.
pub(super) fn day(words: &str) -> Option<u8> {
    let words = words.to_lowercase().replace('-', " ");
    let parts: Vec<&str> = words.split_whitespace().collect();
    let known =
        |names: &[(&str, u8)], word: &str| names.iter().find(|(name, _)| *name == word).map(|(_, day)| *day);
    match parts.as_slice() {
        [word] => known(ORDINALS, word),
        [tens @ ("twenty" | "thirty"), unit] => {
            Some(known(ORDINALS, unit)? + if *tens == "twenty" { 20 } else { 30 })
        }
        [unit, rest @ ..] => {
            let tens = rest.concat();
            let tens = match tens.as_str() {
                "عشر" => 10,
                tens if tens.contains("عشر") => 20,
                _ => 30,
            };
            Some(known(ARABIC_UNITS, unit)? + tens)
        }
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ordinals() {
        assert_eq!(number("MARCH"), Some((3, Calendar::Gregorian)));
        assert_eq!(number("تشرين  الثاني"), Some((11, Calendar::Gregorian)));
        assert_eq!(number("ذو القعده"), Some((11, Calendar::Hijri)));
        assert_eq!(day("الخامس عشر"), Some(15));
        assert_eq!(day("الحادي والعشرين"), Some(21));
        assert_eq!(day("الحادي والثلاثين"), Some(31));
        assert_eq!(day("Twenty-Fifth"), Some(25));
        assert_eq!(day("fifteenth"), Some(15));
    }
}

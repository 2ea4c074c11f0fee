//! Numbers in words, English and Arabic (folded).

/// Words of English numbers: value, and whether it multiplies what stands before.
const ENGLISH: &[(&str, u64)] = &[
    ("zero", 0),
    ("one", 1),
    ("two", 2),
    ("three", 3),
    ("four", 4),
    ("five", 5),
    ("six", 6),
    ("seven", 7),
    ("eight", 8),
    ("nine", 9),
    ("ten", 10),
    ("eleven", 11),
    ("twelve", 12),
    ("thirteen", 13),
    ("fourteen", 14),
    ("fifteen", 15),
    ("sixteen", 16),
    ("seventeen", 17),
    ("eighteen", 18),
    ("nineteen", 19),
    ("twenty", 20),
    ("thirty", 30),
    ("forty", 40),
    ("fourty", 40),
    ("fifty", 50),
    ("sixty", 60),
    ("seventy", 70),
    ("eighty", 80),
    ("ninety", 90),
    ("hundred", 100),
    ("thousand", 1_000),
    ("million", 1_000_000),
    ("billion", 1_000_000_000),
];

/// Words of Arabic numbers below a thousand.
const ARABIC: &[(&str, u64)] = &[
    ("صفر", 0),
    ("واحد", 1),
    ("واحده", 1),
    ("احد", 1),
    ("احدي", 1),
    ("اثنان", 2),
    ("اثنين", 2),
    ("اثنتان", 2),
    ("اثنتين", 2),
    ("اثنا", 2),
    ("اثني", 2),
    ("اثنتا", 2),
    ("اثنتي", 2),
    ("ثلاث", 3),
    ("ثلاثه", 3),
    ("اربع", 4),
    ("اربعه", 4),
    ("خمس", 5),
    ("خمسه", 5),
    ("ست", 6),
    ("سته", 6),
    ("سبع", 7),
    ("سبعه", 7),
    ("ثمان", 8),
    ("ثماني", 8),
    ("ثمانيه", 8),
    ("تسع", 9),
    ("تسعه", 9),
    ("عشر", 10),
    ("عشره", 10),
    ("عشرون", 20),
    ("عشرين", 20),
    ("ثلاثون", 30),
    ("ثلاثين", 30),
    ("اربعون", 40),
    ("اربعين", 40),
    ("خمسون", 50),
    ("خمسين", 50),
    ("ستون", 60),
    ("ستين", 60),
    ("سبعون", 70),
    ("سبعين", 70),
    ("ثمانون", 80),
    ("ثمانين", 80),
    ("تسعون", 90),
    ("تسعين", 90),
    ("مئه", 100),
    ("مائه", 100),
    ("مئتان", 200),
    ("مائتان", 200),
    ("مئتين", 200),
    ("مائتين", 200),
    ("مئتا", 200),
    ("مائتا", 200),
    ("مئتي", 200),
    ("مائتي", 200),
    ("ثلاثمئه", 300),
    ("ثلاثمائه", 300),
    ("اربعمئه", 400),
    ("اربعمائه", 400),
    ("خمسمئه", 500),
    ("خمسمائه", 500),
    ("ستمئه", 600),
    ("ستمائه", 600),
    ("سبعمئه", 700),
    ("سبعمائه", 700),
    ("ثمانمئه", 800),
    ("ثمانمائه", 800),
    ("ثمانيمائه", 800),
    ("تسعمئه", 900),
    ("تسعمائه", 900),
];

/// Words that multiply what stands before (1 where nothing does), or stand for two of their kind.
const ARABIC_SCALES: &[(&str, u64, u64)] = &[
    ("الف", 1_000, 1),
    ("الفا", 1_000, 1),
    ("الاف", 1_000, 1),
    ("الفان", 1_000, 2),
    ("الفين", 1_000, 2),
    ("الفي", 1_000, 2),
    ("مليون", 1_000_000, 1),
    ("مليونا", 1_000_000, 1),
    ("ملايين", 1_000_000, 1),
    ("مليونان", 1_000_000, 2),
    ("مليونين", 1_000_000, 2),
    ("مليوني", 1_000_000, 2),
    ("مليار", 1_000_000_000, 1),
    ("مليارا", 1_000_000_000, 1),
    ("مليارات", 1_000_000_000, 1),
    ("ملياران", 1_000_000_000, 2),
];

/// A pattern for one English number word.
pub(crate) fn english_word() -> String {
    let words: Vec<&str> = ENGLISH.iter().rev().map(|(word, _)| *word).collect();
    format!("(?:{})", words.join("|"))
}

/// A pattern for a number in English words.
pub(crate) fn english_number() -> String {
    let word = english_word();
    format!(r"{word}(?:(?:\s*-\s*|\s+and\s+|\s+){word})*")
}

/// A pattern for a number in Arabic words.
pub(crate) fn arabic_number() -> String {
    let mut words: Vec<&str> = ARABIC.iter().map(|(word, _)| *word).collect();
    words.extend(ARABIC_SCALES.iter().map(|(word, ..)| *word));
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    let word = format!("(?:{})", words.join("|"));
    format!(r"\b{word}\b(?:\s+و?\s?{word}\b)*")
}

/// The number that English words say.
pub(crate) fn english(text: &str) -> Option<u64> {
    let (mut total, mut group, mut any) = (0_u64, 0_u64, false);
    for word in text
        .split(|char: char| !char.is_alphabetic())
        .filter(|word| !word.is_empty())
    {
        let word = word.to_lowercase();
        if word == "and" {
            continue;
        }
        let value = ENGLISH.iter().find(|(known, _)| *known == word)?.1;
        any = true;
        match value {
            100 => group = group.max(1).checked_mul(100)?,
            1_000.. => {
                total = total.checked_add(group.max(1).checked_mul(value)?)?;
                group = 0;
            }
            _ => group = group.checked_add(value)?,
        }
    }
    any.then(|| total.checked_add(group)).flatten()
}

/// The number that Arabic words say; folded.
pub(crate) fn arabic(text: &str) -> Option<u64> {
    let (mut total, mut group, mut any) = (0_u64, 0_u64, false);
    for word in text.split_whitespace() {
        if word == "و" {
            continue;
        }
        let (value, scale) = arabic_word(word).or_else(|| arabic_word(word.strip_prefix('و')?))?;
        any = true;
        match scale {
            Some(scale) => {
                let count = if value == 2 {
                    group.checked_add(2)?
                } else {
                    group.max(1)
                };
                total = total.checked_add(count.checked_mul(scale)?)?;
                group = 0;
            }
            None => group = group.checked_add(value)?,
        }
    }
    any.then(|| total.checked_add(group)).flatten()
}

fn arabic_word(word: &str) -> Option<(u64, Option<u64>)> {
    if let Some((_, value)) = ARABIC.iter().find(|(known, _)| *known == word) {
        return Some((*value, None));
    }
    let (_, scale, count) = ARABIC_SCALES.iter().find(|(known, ..)| *known == word)?;
    Some((*count, Some(*scale)))
}

/// A decimal number times a power of ten, without trailing zeros after the point.
pub(crate) fn scaled(number: &str, zeros: usize) -> String {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let moved: String = fraction.chars().take(zeros).collect();
    let rest: String = fraction.chars().skip(zeros).collect();
    let padding = "0".repeat(zeros.saturating_sub(moved.chars().count()));
    let whole = format!("{whole}{moved}{padding}");
    let whole = whole.trim_start_matches('0');
    let rest = rest.trim_end_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    if rest.is_empty() {
        whole.to_owned()
    } else {
        format!("{whole}.{rest}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::find::fold::Folded;

    fn ar(text: &str) -> Option<u64> {
        arabic(&Folded::new(text).text)
    }

    #[test]
    fn english_words() {
        assert_eq!(english("Five Hundred Thousand"), Some(500_000));
        assert_eq!(english("one hundred and twenty-three"), Some(123));
        assert_eq!(
            english("two million three hundred forty-five thousand six hundred and seven"),
            Some(2_345_607)
        );
        assert_eq!(english("two thousand twenty-four"), Some(2024));
        assert_eq!(english("and"), None);
        assert_eq!(english("many"), None);
    }

    #[test]
    fn arabic_words() {
        assert_eq!(ar("خمسمائة ألف"), Some(500_000));
        assert_eq!(ar("مائة وخمسة وعشرون ألفاً وثلاثمائة"), Some(125_300));
        assert_eq!(ar("ألفين وأربعة وعشرين"), Some(2024));
        assert_eq!(ar("مليونان وخمسمئة ألف"), Some(2_500_000));
        assert_eq!(ar("واحد وعشرون"), Some(21));
        assert_eq!(ar("خمسة عشر"), Some(15));
        assert_eq!(ar("ثلاثة آلاف"), Some(3_000));
        assert_eq!(ar("كتاب"), None);
    }

    #[test]
    fn numbers_are_moved_by_powers_of_ten() {
        assert_eq!(scaled("1.5", 6), "1500000");
        assert_eq!(scaled("100.00", 0), "100");
        assert_eq!(scaled("0.50", 0), "0.5");
        assert_eq!(scaled("007", 3), "7000");
    }
}

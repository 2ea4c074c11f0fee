//! Which currency a sign, a code or a name stands for.

use std::sync::LazyLock;

use regex::Regex;

/// ISO 4217 codes of money in use. Those that are English words stand under [`WORDS_TOO`].
const CODES: &str = "AED AFN AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLP CNY COP CRC CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KRW KWD KYD KZT LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SRD SSP STN SYP SZL THB TJS TMT TND TTD TWD TZS UAH UGX USD UYU UZS VES VND VUV WST XAF XCD XOF XPF YER ZAR ZMW";

/// Codes that may be a word before a number, and count only after one.
const WORDS_TOO: &str = "ALL CUP GEL LAK MOP PEN SOS TOP TRY";

/// Signs that stand before a number; pattern, code, how sure.
const SIGNS: &[(&str, &str, f64)] = &[
    (r"\bUS\s?\$|U\.S\.\s?\$", "USD", 0.99),
    (r"(?:CA|C)\$", "CAD", 0.97),
    (r"(?:AU|A)\$", "AUD", 0.97),
    (r"HK\$", "HKD", 0.97),
    (r"NZ\$", "NZD", 0.97),
    (r"S\$", "SGD", 0.95),
    (r"R\$", "BRL", 0.95),
    (r"\$", "USD", 0.9),
    ("£", "GBP", 0.95),
    ("€", "EUR", 0.98),
    ("¥", "JPY", 0.8),
    ("₹", "INR", 0.98),
    ("₺", "TRY", 0.98),
    ("₽", "RUB", 0.98),
    ("₪", "ILS", 0.98),
    ("﷼", "SAR", 0.6),
    (r"\b(?-i:SR|S\.R\.)", "SAR", 0.9),
    (r"\b(?-i:Dhs?\.?|DHS)", "AED", 0.85),
    (r"\b(?-i:Rs\.?)", "INR", 0.8),
    (r"\b(?-i:LE|L\.E\.|E£)", "EGP", 0.85),
    (r"\b(?-i:KD)", "KWD", 0.85),
    (r"\b(?-i:BD)", "BHD", 0.8),
];

/// Names and signs that stand after a number. The longer ones come first.
const NAMES: &[(&str, &str, f64)] = &[
    (
        r"(?:US|U\.S\.|USA|United States|American)\s+dollars?",
        "USD",
        0.99,
    ),
    (r"Canadian\s+dollars?", "CAD", 0.99),
    (r"Australian\s+dollars?", "AUD", 0.99),
    (r"Hong\s+Kong\s+dollars?", "HKD", 0.99),
    (r"Singapore\s+dollars?", "SGD", 0.99),
    (r"New\s+Zealand\s+dollars?", "NZD", 0.99),
    (r"dollars?", "USD", 0.85),
    (r"euros?", "EUR", 0.98),
    (
        r"(?:GB|British)\s+pounds?(?:\s+sterling)?|pounds?\s+sterling",
        "GBP",
        0.99,
    ),
    (r"Egyptian\s+pounds?", "EGP", 0.99),
    (r"Sudanese\s+pounds?", "SDG", 0.98),
    (r"(?:Lebanese)\s+(?:pounds?|liras?)", "LBP", 0.98),
    (r"pounds?", "GBP", 0.6),
    (r"(?:Saudi|Saudi\s+Arabian)\s+(?:riyals?|rials?)", "SAR", 0.99),
    (r"Qatari\s+(?:riyals?|rials?)", "QAR", 0.99),
    (r"Omani\s+(?:riyals?|rials?)", "OMR", 0.99),
    (r"Yemeni\s+(?:riyals?|rials?)", "YER", 0.99),
    (r"riyals?", "SAR", 0.65),
    (r"(?:UAE|U\.A\.E\.|Emirati|Emirates)\s+dirhams?", "AED", 0.99),
    (r"Moroccan\s+dirhams?", "MAD", 0.99),
    (r"dirhams?", "AED", 0.75),
    (r"Kuwaiti\s+dinars?", "KWD", 0.99),
    (r"Bahraini\s+dinars?", "BHD", 0.99),
    (r"Jordanian\s+dinars?", "JOD", 0.99),
    (r"Iraqi\s+dinars?", "IQD", 0.99),
    (r"Tunisian\s+dinars?", "TND", 0.99),
    (r"Algerian\s+dinars?", "DZD", 0.99),
    (r"Libyan\s+dinars?", "LYD", 0.99),
    (r"Swiss\s+francs?", "CHF", 0.99),
    (r"(?:Japanese\s+)?yen", "JPY", 0.95),
    (r"Pakistani\s+rupees?", "PKR", 0.98),
    (r"(?:Indian\s+)?rupees?", "INR", 0.85),
    (r"(?:Turkish\s+)?liras?", "TRY", 0.85),
    (r"(?:Chinese\s+)?(?:yuan|renminbi|RMB)", "CNY", 0.95),
    (r"Swedish\s+kron(?:a|or)", "SEK", 0.98),
    (r"Norwegian\s+kroner?", "NOK", 0.98),
    (r"Danish\s+kroner?", "DKK", 0.98),
    (r"South\s+African\s+rands?", "ZAR", 0.98),
    // Arabic, folded
    (r"ريال(?:ا|ات|ين)?\s+سعودي(?:ا|ه|ين)?", "SAR", 0.99),
    (r"ريال(?:ا|ات)?\s+قطري(?:ا|ه)?", "QAR", 0.99),
    (r"ريال(?:ا|ات)?\s+عماني(?:ا|ه)?", "OMR", 0.99),
    (r"ريال(?:ا|ات)?\s+يمني(?:ا|ه)?", "YER", 0.99),
    (r"ريال(?:ا|ات|ين)?", "SAR", 0.65),
    (r"دولار(?:ا|ات|ين)?\s+(?:ال)?امريكي(?:ا|ه)?", "USD", 0.99),
    (r"دولار(?:ا|ات)?\s+كندي(?:ا|ه)?", "CAD", 0.99),
    (r"دولار(?:ا|ات|ين)?", "USD", 0.8),
    (
        r"(?:درهم(?:ا|ين)?|دراهم)\s+(?:اماراتي|امارتي)(?:ا|ه)?",
        "AED",
        0.99,
    ),
    (r"(?:درهم(?:ا)?|دراهم)\s+مغربي(?:ا|ه)?", "MAD", 0.99),
    (r"درهم(?:ا|ين)?|دراهم", "AED", 0.75),
    (r"جنيه(?:ا|ات)?\s+مصري(?:ا|ه)?", "EGP", 0.99),
    (r"جنيه(?:ا|ات)?\s+(?:استرليني|سترليني)(?:ا|ه)?", "GBP", 0.99),
    (r"جنيه(?:ا|ات)?\s+سوداني(?:ا|ه)?", "SDG", 0.99),
    (r"جنيه(?:ا|ات|ين)?", "EGP", 0.75),
    (r"(?:دينار(?:ا|ين)?|دنانير)\s+كويتي(?:ا|ه)?", "KWD", 0.99),
    (r"(?:دينار(?:ا|ين)?|دنانير)\s+بحريني(?:ا|ه)?", "BHD", 0.99),
    (r"(?:دينار(?:ا|ين)?|دنانير)\s+اردني(?:ا|ه)?", "JOD", 0.99),
    (r"(?:دينار(?:ا|ين)?|دنانير)\s+عراقي(?:ا|ه)?", "IQD", 0.99),
    (r"(?:دينار(?:ا|ين)?|دنانير)\s+تونسي(?:ا|ه)?", "TND", 0.99),
    (r"(?:دينار(?:ا|ين)?|دنانير)\s+جزائري(?:ا|ه)?", "DZD", 0.99),
    (r"(?:دينار(?:ا|ين)?|دنانير)\s+ليبي(?:ا|ه)?", "LYD", 0.99),
    (r"ليره\s+لبنانيه", "LBP", 0.99),
    (r"ليره\s+سوريه", "SYP", 0.99),
    (r"ليره\s+تركيه", "TRY", 0.99),
    ("يورو", "EUR", 0.98),
    (r"ر\s?\.\s?س\.?", "SAR", 0.97),
    (r"د\s?\.\s?ا\.?", "AED", 0.85),
    (r"ج\s?\.\s?م\.?", "EGP", 0.97),
    (r"د\s?\.\s?ك\.?", "KWD", 0.97),
    (r"ر\s?\.\s?ق\.?", "QAR", 0.97),
];

/// Each name and sign as a whole, with its code.
static WHOLE: LazyLock<Vec<(Regex, &str, f64)>> = LazyLock::new(|| {
    let all = NAMES.iter().chain(SIGNS);
    all.filter_map(|(pattern, code, sure)| {
        let whole = Regex::new(&format!(r"^(?i:{pattern})[^\p{{L}}]*$")).ok()?;
        Some((whole, *code, *sure))
    })
    .collect()
});

fn codes(list: &str) -> String {
    list.replace(' ', "|")
}

fn joined(list: &[(&str, &str, f64)]) -> String {
    list.iter()
        .map(|(pattern, ..)| format!("(?:{pattern})"))
        .collect::<Vec<_>>()
        .join("|")
}

/// A pattern for what may stand before a number.
pub(super) fn before() -> String {
    format!(r"(?:\b(?-i:{})\b|{})", codes(CODES), joined(SIGNS))
}

/// A pattern for what may stand after a number.
pub(super) fn after() -> String {
    format!(
        r"(?:(?-i:{}|{})\b|(?i:{})(?:\b|$|[^\p{{L}}])|{})",
        codes(CODES),
        codes(WORDS_TOO),
        joined(NAMES),
        r"[$£€¥₹₺₽₪﷼]"
    )
}

/// A pattern for names in words alone.
pub(super) fn names() -> String {
    format!(r"(?i:{})", joined(NAMES))
}

/// The code of what one of the patterns caught, and how sure it is.
pub(super) fn of(caught: &str) -> Option<(&'static str, f64)> {
    let caught = caught.trim();
    let is_code = |list: &'static str| list.split(' ').find(|code| *code == caught);
    if let Some(code) = is_code(CODES).or_else(|| is_code(WORDS_TOO)) {
        return Some((code, 0.99));
    }
    let found = WHOLE.iter().find(|(pattern, ..)| pattern.is_match(caught));
    found.map(|(_, code, sure)| (*code, *sure))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_codes_and_names() {
        for (caught, code) in [
            ("USD", "USD"),
            ("US$", "USD"),
            ("$", "USD"),
            ("C$", "CAD"),
            ("US Dollars", "USD"),
            ("ريال سعودي", "SAR"),
            ("ريالا سعوديا", "SAR"),
            ("جنيه مصري", "EGP"),
            ("درهما اماراتيا", "AED"),
            ("ر.س", "SAR"),
            ("TRY", "TRY"),
            ("Saudi Riyals", "SAR"),
            ("pounds sterling", "GBP"),
            ("Dhs.", "AED"),
        ] {
            assert_eq!(of(caught).map(|(code, _)| code), Some(code), "{caught}");
        }
        assert_eq!(of("apples"), None);
    }
}

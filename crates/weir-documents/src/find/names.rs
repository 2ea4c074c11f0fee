//! How names of people and companies are written, and where they end.

use super::pattern::pattern;

/// Small words inside of names: of families and places, and those that join.
const SMALL: &str = r"(?:of|for|de|del|della|dei|di|da|do|dos|das|du|des|la|le|las|los|lo|al|el|bin|bint|ben|ibn|abu|abi|umm|van|von|vom|zu|zum|zur|der|den|ten|ter|te|af|av|und|et|y|e)\s+";
/// What is joined to a name in front, as in `al-Harbi` and `d'Arc`.
const JOINED: &str = r"(?:(?:[Aa]l|[Ee]l|ad|an|ar|as|ash|at|az|bin|ibn|abu)-|[dl]')";
/// The forms of companies of several countries, as they stand after a name.
const FORM: &str = r"(?:Inc|LLC|L\.L\.C|Ltd|Limited|Corp|Corporation|Co|Company|PLC|Plc|plc|LLP|LP|N\.?A|Pty|Pte|&\s+Co|g?GmbH|mbH|KGaA|KG|OHG|e\.V|AG|SE|S\.?A\.?B?\.?\s+de\s+C\.?V|S\.?A\.?(?:E|L|S)?|S\.?A\.?R\.?L|[Ss]\.(?:à\s?)?r\.l|S\.?p\.?A|(?:[Ss]p\.\s?)?z\s?o\.\s?o|d\.o\.o|s\.r\.o|a\.s|A/S|ApS|AB|Oyj?|B\.?V|N\.?V|Lda|Ltda|P\.?J\.?S\.?C|J\.?S\.?C|FZE|FZ-LLC|FZCO|W\.?L\.?L)";

/// A name of capitals with the small words of names between, and a company's form, after a comma too.
pub(super) fn name() -> String {
    let word = r"(?:\b[a-z])?[\p{Lu}\d][\p{L}\d&.'/-]*";
    format!(
        r"(?:(?:The\s+|\b(?:van|von|de|della|di|da|dos|el|al|abu|ibn)\s+(?:{SMALL}){{0,2}})?(?:\b{JOINED})?{word}(?:\s+(?:{SMALL}){{0,3}}(?:(?:the\s+)?{JOINED}?{word}|&|and\s+(?:Sons|Brothers|Bros|Partners|Associates|Company|Co)\b\.?)){{0,8}}(?:,?\s+(?:\((?:Pty|Private|Pvt)\)\s+)?{FORM}\b\.?){{0,4}})"
    )
}
/// Words that say that a name is of a person or a company, after it.
const ENTITY: &str = r"(?i)\b(?:corporation|company|individual|partnership|organi[sz]ed|incorporated|registered|established|resident|residing|citizen|national|trust|bank|authority|ministry|establishment|domiciled|holder of|having its|with its|whose)\b";

pattern!(pub(super) ENTITY_WORD, ENTITY);
pattern!(
    TELLS_MORE,
    format!(
        r"^(?i:an?|the|as|of|with|who|which|whose|having|holding|born|acting|represented|located|based|in|at)\b|{ENTITY}"
    )
);
// What follows a name after "between".
pattern!(
    ENDS_THERE,
    format!(
        r"^(?:[^\p{{L}}\d&]*$|\s*[^\p{{L}}\d\s&]|\s+(?i:and|or|as|on|dated?|for|with|of|an?|the|in|by|who|which|whose)\b)|^[^.;]{{0,80}}{ENTITY}"
    )
);

/// Whether a name ends where it was found to: what is between it and its definition is a sign, or words that tell more
/// of somebody.
pub(super) fn is_whole(after: &str) -> bool {
    let after = after.trim_start();
    let is_sign = after.starts_with(|char: char| !char.is_alphanumeric() && char != '&');
    after.is_empty() || is_sign || TELLS_MORE.is_in(after)
}

/// The same for a name that has no definition, in the text that it stands in.
pub(super) fn ends(text: &str, end: usize) -> bool {
    ENDS_THERE.is_in(text.get(end..).unwrap_or_default())
}

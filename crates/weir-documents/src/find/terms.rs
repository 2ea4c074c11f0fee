//! How long it lasts, whether it goes on, and how long before somebody has to be told.

use super::Passage;
use super::durations::{self, Found};
use super::pattern::{pattern, whole};
use crate::document::{Notice, NoticePurpose, Renewal, RenewalKind, Term};

// A sentence ends with a stop before a space; the stop of a number or an abbreviation has none, or a small letter after it.
pattern!(STOP, r"[.;؛!?]\s+(?:[\p{Lu}\p{Lo}(\d]|$)");
pattern!(
    LASTS,
    r"(?i)(?:\b(?:initial\s+)?term\b[^.;]{0,90}?\b(?:is|be|of|for|continues?|lasts?|runs?|period)\b|\b(?:continues?|remains?|valid|effective|in\s+(?:full\s+)?force|lasts?|runs?|commence[sd]?|engage[sd]?|appointed|leased?|licen[sc]ed?)\b[^.;]{0,110}?\b(?:for|period\s+of|term\s+of)\b|\b(?:agreement|contract|lease)\s+(?:shall\s+|will\s+)?(?:lasts?|runs?)\b|\b(?:agreement|contract|lease|engagement)\s+(?:is|shall\s+be|will\s+be)\s+(?:made\s+|concluded\s+)?for\b|\bfor\s+an?\s+(?:initial\s+|fixed\s+)?(?:term|period)\s+of\b|\bduration\b[^.;]{0,40}?\b(?:is|be|of)\b|^\s*(?:\d+[.)]?\s*)?(?:contract\s+|initial\s+|lease\s+)?term\s*[:.-]|(?:مده|لمده|مدته|مدتها|يسري|تسري|ساري|ساريا|نافذا|يعمل به))"
);
pattern!(
    RENEWS,
    r"(?i)(?:\brenew(?:s|ed|al|als|able|ing)?\b|\bextend(?:s|ed)?\s+(?:automatically|for\s+(?:an?\s+|one\s+)?(?:successive|further|additional))|\b(?:agreement|contract|lease|term)\s+(?:(?:shall|will|may|is|can|be|automatically|tacitly)\s+)+(?:extended|prolonged)\b|يتجدد|تتجدد|يجدد|تجدد|تجديد|التجديد|يمدد|تمدد)"
);
pattern!(
    RENEWS_ITSELF,
    r"(?i)(?:\bautomatic(?:ally)?\b|\bauto-?renew|\btacit(?:ly)?\b|\b(?:shall|will|is|are)\s+(?:be\s+)?(?:deemed\s+)?renew(?:ed)?\b[^.;]{0,120}\bunless\b|\brenews\b[^.;]{0,120}\bunless\b|تلقائيا|التلقائي|تلقائي|من تلقاء نفسه|ما لم\s)"
);
pattern!(
    RENEWS_NEVER,
    r"(?i)(?:\b(?:shall|will|may|can|does|is)\s*not\s+(?:be\s+)?(?:automatically\s+)?renew|\bnot\s+(?:be\s+)?renewable\b|\b(?:no|without)\s+(?:any\s+)?(?:automatic\s+|right\s+of\s+)?renewal\b|لا يتجدد|لا يجدد|لا تتجدد|غير قابل للتجديد|لا يجوز تجديد)"
);
// What does not speak of the contract: a part of it, or other things that are renewed.
pattern!(
    RENEWS_OTHER,
    r"(?i)(?:\b(?:this|that|such|the)\s+(?:section|clause|paragraph|article|schedule|provision|appendix|annex)\s+(?:(?:does|do|shall|will)\s+not\s+)?renew|\brenew(?:s|ed|al\s+of|ing)?\s+(?:(?:the|its|his|her|their|any|all|such|each|that)\s+)*(?:[\p{L}-]+\s+)?(?:insurances?|polic(?:y|ies)|permits?|registrations?|visas?|passports?|certificates?|domains?|guarantees?|trade\s+licen[sc]es?)\b|(?:تجديد|يجدد|تجدد|بتجديد)\s+(?:ال)?(?:وثيقه|تامين|رخصه|رخص|ترخيص|تراخيص|اقامه|جواز|بطاقه|شهاده|سجل|ضمان|تاشيره))"
);
// An opening that only excepts: what the sentence says comes after its comma.
pattern!(
    EXCEPTS,
    r"(?i)^\W*(?:\d+(?:\.\d+)*[.)]?\s+)?(?:unless|subject\s+to|without\s+prejudice|notwithstanding)\b[^,]{0,140},|^\W*(?:ما لم|مع عدم الاخلال)[^,]{0,140},"
);
// It ends, unless.
pattern!(
    UNLESS_RENEWED,
    r"(?i)(?:\bunless\s+(?:it\s+is\s+|sooner\s+)?(?:renewed|extended)\b|ما لم (?:ت|ي)جدد|ما لم يتم تجديد)"
);
pattern!(
    NOTICE,
    r"(?i)(?:\bnotice\b|\bnotif(?:y|ies|ied|ication)\b|اشعار|باشعار|اخطار|باخطار|اخطارا|اشعارا|يخطر|تخطر|يشعر|ابلاغ|انذار|الاشعار|الاخطار)"
);
pattern!(
    ENDS,
    r"(?i)(?:\bterminat(?:e|es|ed|ion|ing)\b|\bcancel(?:s|led|lation)?\b|\bresign|\bends?\s+(?:the|this|it)\b|انهاء|فسخ|ينهي|تنهي|الغاء|انهاؤه|الانهاء)"
);

/// Bytes between the word of a rule and the length of time that it speaks of.
const NEAR: usize = 170;
/// Bytes of a sentence that a finding shows.
const SHOWN: usize = 600;

pub(super) fn find(passages: &[Passage]) -> (Vec<Term>, Vec<Renewal>, Vec<Notice>) {
    let (mut terms, mut renewals, mut notices) = (Vec::new(), Vec::new(), Vec::new());
    for passage in passages {
        for (start, end) in sentences(passage.text()) {
            let sentence = passage.folded.between(start, end);
            let lengths = durations::all(sentence);
            renewals.extend(renewal(passage, start, sentence, &lengths));
            notices.extend(notice(passage, start, sentence, &lengths));
            terms.extend(term(passage, start, sentence, &lengths));
        }
    }
    (terms, renewals, notices)
}

/// Byte ranges of sentences.
fn sentences(text: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut start = 0;
    for caught in STOP.all(text) {
        let (stop, end) = whole(&caught);
        found.push((start, stop + 1));
        // The first letter of the next sentence was caught with the stop.
        let last = text.get(stop..end).and_then(|caught| caught.chars().next_back());
        start = match last {
            Some(char) if !char.is_whitespace() => end - char.len_utf8(),
            _ => end,
        };
    }
    if start < text.len() {
        found.push((start, text.len()));
    }
    found
}

fn shown(sentence: &str) -> usize {
    let end = sentence.trim_end().len();
    (0..=end.min(SHOWN))
        .rev()
        .find(|end| sentence.is_char_boundary(*end))
        .unwrap_or(0)
}

/// The end of the first match, and its start.
fn spot(pattern: &super::pattern::Pattern, sentence: &str) -> Option<(usize, usize)> {
    pattern.first(sentence).map(|caught| whole(&caught))
}

fn term(passage: &Passage, offset: usize, sentence: &str, lengths: &[Found]) -> Option<Term> {
    let from = spot(&EXCEPTS, sentence).map_or(0, |(_, end)| end);
    let (_, end) = spot(&LASTS, sentence.get(from..)?)?;
    let end = from + end;
    let length = lengths
        .iter()
        .find(|length| length.start + 2 >= end && length.start - end.min(length.start) < NEAR)?;
    // What comes before it says that it is the length of something else.
    let lead = sentence.get(from..length.start)?;
    if RENEWS.is_in(lead) || NOTICE.is_in(lead) || is_other(lead, sentence, length) {
        return None;
    }
    let sure = if NAMED_TERM.is_in(sentence) { 0.9 } else { 0.7 };
    let (place, text) = passage.place(offset, offset + shown(sentence));
    Some(Term {
        text,
        duration: length.duration.clone(),
        place,
        confidence: passage.confidence(sure),
    })
}

// The contract, or its term, is named as what lasts.
pattern!(
    NAMED_TERM,
    r"(?i)\bterm\b|\b(?:agreement|contract|lease)\s+(?:(?:shall|will|is|remains?|continues?|lasts?|runs?|valid)\b)|مده"
);

pattern!(
    OTHER,
    r"(?i)(?:\b(?:confidential|surviv|warrant|within|default|delay|prior to|before|after|invoice|payment|pay|breach|cure|remed|in arrears|probation|trial|grace|limitation)|\b(?:delivery\s+(?:term|period|time)|term\s+(?:for|of)\s+delivery|lead\s+time)|سريه|ضمان|خلال|قبل|بعد|سداد|دفع|تاخير|تجربه|اختبار)"
);

pattern!(SECRET, r"(?i)\b(?:confidential|secret)|سريه");

/// Whether the length is that of confidentiality, a warranty, a payment.
fn is_other(lead: &str, sentence: &str, length: &Found) -> bool {
    let tail = sentence.get(length.end..).unwrap_or_default();
    let follows = tail.trim_start().to_lowercase();
    OTHER.is_in(lead)
        || SECRET.is_in(tail)
        || follows.starts_with("after")
        || follows.starts_with("prior")
        || follows.starts_with("notice")
        || follows.starts_with("قبل")
}

fn renewal(passage: &Passage, offset: usize, sentence: &str, lengths: &[Found]) -> Option<Renewal> {
    let (start, _) = spot(&RENEWS, sentence)?;
    if UNLESS_RENEWED.is_in(sentence) || RENEWS_OTHER.is_in(sentence) {
        return None;
    }
    // That somebody may say that it shall not renew comes after that it does.
    let is_never = spot(&RENEWS_NEVER, sentence).is_some_and(|(at, _)| at <= start);
    let kind = if is_never {
        RenewalKind::None
    } else if RENEWS_ITSELF.is_in(sentence) {
        RenewalKind::Automatic
    } else {
        RenewalKind::OnRequest
    };
    // A heading, or a word in passing, is no renewal.
    let is_said = kind != RenewalKind::OnRequest
        || lengths.iter().any(|length| length.start > start)
        || is_offered(sentence);
    if !is_said {
        return None;
    }
    let notice = spot(&NOTICE, sentence).map_or(usize::MAX, |(at, _)| at);
    let length = lengths.iter().find(|length| {
        let is_after = length.start > start && length.start < start + NEAR;
        let lead = sentence
            .get(start.min(length.start)..length.start)
            .unwrap_or_default();
        is_after && length.start < notice.max(start) && !BEFORE.is_in(lead) && kind != RenewalKind::None
    });
    let (place, text) = passage.place(offset, offset + shown(sentence));
    Some(Renewal {
        text,
        kind,
        duration: length.map(|length| length.duration.clone()),
        place,
        confidence: passage.confidence(if length.is_some() { 0.9 } else { 0.75 }),
    })
}

pattern!(
    BEFORE,
    r"(?i)(?:\b(?:at least|not less than|prior|before|no later than)\b|قبل|لا تقل عن)"
);
pattern!(
    OFFERED,
    r"(?i)\b(?:may|shall|can|will|option|right|agree|renewable|by\s+(?:mutual|written))\b|يجوز|يحق|يمكن|باتفاق|بموافقه"
);

fn is_offered(sentence: &str) -> bool {
    OFFERED.is_in(sentence) && sentence.len() < SHOWN
}

fn notice(passage: &Passage, offset: usize, sentence: &str, lengths: &[Found]) -> Option<Notice> {
    let (start, end) = spot(&NOTICE, sentence)?;
    let purpose = if ENDS.is_in(sentence) {
        NoticePurpose::Termination
    } else if RENEWS.is_in(sentence) {
        NoticePurpose::Renewal
    } else {
        NoticePurpose::Other
    };
    let far = |length: &&Found| {
        if length.start >= end {
            length.start - end
        } else {
            start.saturating_sub(length.end)
        }
    };
    // "Unless it is ended by notice," says nothing of the lengths that follow.
    let excepted = spot(&EXCEPTS, sentence).map_or(0, |(_, comma)| comma);
    let is_apart = |length: &&Found| end <= excepted && length.start >= excepted;
    let near = lengths
        .iter()
        .filter(|length| far(length) < NEAR && !is_apart(length));
    // Of several lengths in a renewal's sentence, the one that is counted back from something.
    let counted = near.clone().find(|length| is_counted(sentence, length));
    let sure = match (purpose, &counted) {
        (NoticePurpose::Other, _) => 0.7,
        (_, Some(_)) => 0.9,
        (_, None) => 0.75,
    };
    let length = counted.or_else(|| near.min_by_key(far))?;
    // Within which somebody has to answer a notice, it may be.
    let is_after = AFTER_NOTICE.is_in(sentence.get(..length.start).unwrap_or_default());
    let (place, text) = passage.place(offset, offset + shown(sentence));
    Some(Notice {
        text,
        purpose,
        duration: length.duration.clone(),
        place,
        confidence: passage.confidence(if is_after { 0.6 } else { sure }),
    })
}

pattern!(AFTER_NOTICE, r"(?i)\b(?:within|for)\s+$|خلال\s+$");
pattern!(
    COUNTED_BEFORE,
    r"(?i)(?:\bat least|\bnot less than|\bno later than|\bno less than|\bminimum of|\b(?:up)?on|\bby giving|\bwith|قبل|لا تقل عن|مدته|مدتها|بمده|قبلها)[^.;]{0,25}$"
);
pattern!(
    COUNTED_AFTER,
    r"(?i)^\W{0,3}(?:(?:prior|advance|written|before|notice)\b|(?:على الاقل|علي الاقل|قبل))"
);

fn is_counted(sentence: &str, length: &Found) -> bool {
    COUNTED_BEFORE.is_in(sentence.get(..length.start).unwrap_or_default())
        || COUNTED_AFTER.is_in(sentence.get(length.end..).unwrap_or_default())
}

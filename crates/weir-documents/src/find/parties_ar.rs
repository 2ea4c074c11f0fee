//! Who is bound, in Arabic texts: by a label, by a role that is given to a name, after "between".

use super::parties::{Candidate, is_name};
use super::pattern::{group, pattern, whole};
use super::{Passage, roles};

/// Where a name ends: at a sign, or at the words that tell more of somebody.
const STOPS: &str = r#"[,;:(\[“”\n]|\.(?:\s|$)|\s+-\s|\s+(?:سجل|بموجب|بسجل|ومقره|ومقرها|مقره|مقرها|ويمثل|ويمثلها|ويمثله|يمثلها|يمثله|وتمثلها|والمقيم|المقيم|المقيمه|والمقيمه|هويه|جنسيته|الجنسيه|الكائن|الكائنه|والكائنه|وعنوان|وعنوانه|وعنوانها|عنوانها|عنوانه|المسجل|المسجله|والمسجله|المؤسسه|ويشار|يشار|ويسمي|وتسمي|يسمي|المشار|بصفته|بصفتها|وهي|وهو|شركه\s+مساهمه|شركه\s+ذات|رقم|حامل|يحمل|بطاقه|ذات\s+السجل|طرف\s+اول|طرف\s+ثاني|بوصفه|ممثله|والمنشاه|المرخصه|المرخص\s+لها|ومركزها|مركزها|سعودي|سعوديه|مصري|مصريه|اماراتي|اردني|كويتي)(?:\s|$|[,;:(.])"#;

pattern!(STOP, STOPS);
pattern!(
    LABEL,
    format!(
        r#"(?:^|[\s(.,;-])(?:\(?(?:\d{{1,2}}|اولا|ثانيا|ثالثا)\s?[-.):/]\s*)?و?({role})(?:\s*\(([^()]{{1,40}})\))?\s*(?:(?:هو|هي)\s*)?[:/]\s*"#,
        role = roles::arabic()
    )
);
pattern!(
    NAMED,
    format!(
        r#"(?:(?:يشار|ويشار|المشار|والمشار)\s+الي(?:ه|ها|هما)|(?:و?ي|و?ت)سم(?:ي|ا)|(?:و?ي|و?ت)عرف|المسما?(?:ه|ي))\s*(?:[^“”()]{{0,45}}?)[\s“(]+(?:ب\s?)?[“(]*\s*({role})\s*[”)]"#,
        role = roles::arabic()
    )
);
pattern!(
    BRACKETED,
    format!(
        r#"\(\s*“?\s*({role})\s*”?\s*\)|“\s*({role})\s*”"#,
        role = roles::arabic()
    )
);
pattern!(
    TRAILING,
    format!(r"\s-?\s*({role})\s*[.)]?\s*$", role = roles::arabic())
);
pattern!(
    BETWEEN,
    r"(?:^|\s)(?:فيما\s+)?(?:و?بين)(?:\s+كل(?:ا)?\s+من)?\s*:?\s*"
);
// What stands before a name and is none.
pattern!(
    LEAD,
    r#"^(?:[\s,;:)\].“”*/-]+|(?:و?كل\s+من|اولا|ثانيا|ثالثا|و?بين|الطرف\s+(?:الاول|الثاني|الثالث)|(?:و)?(?:السيد|السيده|الساده|الاستاذ|الاستاذه|المهندس|المهندسه|الدكتور|الدكتوره)\s*/?|\(?\d{1,2}\s*[-.)])(?:[\s:/,]+|$))+"#
);
// What a company or a person begins with.
pattern!(
    BEGINS,
    r"(?:^|[\s,(])(?:و)?((?:شركه|مؤسسه|مجموعه|بنك|مصرف|وزاره|هيئه|جامعه|مكتب|مصنع|مستشفي|جمعيه|دار|مركز|السيد|السيده)\s)"
);

/// Bytes that a name has at most.
const NAME_BYTES_MAX: usize = 140;

pub(super) fn candidates(passages: &[Passage], index: usize) -> Vec<Candidate> {
    let Some(passage) = passages.get(index) else {
        return Vec::new();
    };
    let text = passage.text();
    if !text.chars().any(|char| matches!(char, 'ا'..='ي')) {
        return Vec::new();
    }
    let mut found = labelled(text, index);
    let labelled_ends: Vec<usize> = found.iter().map(|one| one.end).collect();
    let mut roles: Vec<(usize, usize, usize)> = Vec::new();
    for caught in NAMED
        .all(text)
        .into_iter()
        .chain(BRACKETED.all(text))
        .chain(TRAILING.all(text))
    {
        if let Some((start, end, _)) = group(&caught, 1).or_else(|| group(&caught, 2)) {
            roles.push((whole(&caught).0, start, end));
        }
    }
    roles.sort_by_key(|(at, ..)| *at);
    let mut from = 0;
    for (at, start, end) in roles {
        let is_told = labelled_ends.iter().any(|label| *label <= at && *label >= from);
        if !is_told
            && at > from
            && let Some((name_start, name_end)) = name_before(text, from, at)
        {
            found.push(candidate(index, (name_start, name_end), Some((start, end)), 0.93));
        }
        from = from.max(end);
    }
    if found.len() < 2 {
        let known = found.len();
        found.extend(between(text, index).into_iter().skip(known.min(1)));
    }
    found
}

fn candidate(
    passage: usize,
    (start, end): (usize, usize),
    role: Option<(usize, usize)>,
    sure: f64,
) -> Candidate {
    Candidate {
        passage,
        start,
        end,
        role,
        sure,
    }
}

/// `الطرف الأول: شركة …`
fn labelled(text: &str, passage: usize) -> Vec<Candidate> {
    let all = LABEL.all(text);
    let named = all.iter().filter_map(|caught| {
        let (_, at) = whole(caught);
        let (start, end, _) = group(caught, 2)
            .filter(|(_, _, inner)| INNER.is_in(inner))
            .or_else(|| group(caught, 1))?;
        let place = name_at(text, at)?;
        Some(candidate(passage, place, Some((start, end)), 0.93))
    });
    named.collect()
}

pattern!(INNER, format!(r"^\s*{role}\s*$", role = roles::arabic()));

/// The name that begins at a byte, without titles.
fn name_at(text: &str, at: usize) -> Option<(usize, usize)> {
    let rest = text.get(at..)?;
    let lead = LEAD.first(rest).map_or(0, |caught| whole(&caught).1);
    let rest = rest.get(lead..)?;
    let end = STOP.first(rest).map_or(rest.len(), |caught| whole(&caught).0);
    let name = rest.get(..end)?.trim_end_matches([' ', '-', '/']);
    let is_short = name.len() <= NAME_BYTES_MAX && name.split_whitespace().count() <= 12;
    (is_short && is_name(name) && !NOBODY.is_in(name)).then(|| (at + lead, at + lead + name.len()))
}

pattern!(
    NOBODY,
    r"^(?:الطرف|الطرفين|الطرفان|الفريق|هذا|هذه|العقد|الاتفاقيه|تاريخ|مكان|التوقيع|الاسم|الختم|يلتزم|يتعهد|يحق|ان|على|علي|في|من|الي)(?:\s|$)"
);

/// The name that a role is given to: where its part of the sentence begins.
fn name_before(text: &str, from: usize, to: usize) -> Option<(usize, usize)> {
    let part = text.get(from..to)?;
    let between = BETWEEN.all(part).last().map(|caught| whole(caught).1);
    let begins = BEGINS
        .first(part)
        .and_then(|caught| group(&caught, 1).map(|(start, ..)| start));
    let at = between.or(begins).unwrap_or(0);
    let (start, end) = name_at(text, from + at)?;
    (end <= to).then_some((start, end))
}

/// Names after "between" that have no roles.
fn between(text: &str, passage: usize) -> Vec<Candidate> {
    let Some(caught) = BETWEEN.first(text) else {
        return Vec::new();
    };
    let at = whole(&caught).1;
    let Some(first) = name_at(text, at) else {
        return Vec::new();
    };
    let begins = text
        .get(first.0..first.1)
        .is_some_and(|name| SOMEBODY.is_in(name));
    if !begins {
        return Vec::new();
    }
    let joined = text
        .get(first.0..first.1)
        .and_then(|name| SECOND.first(name).and_then(|caught| group(&caught, 1)));
    if let Some((start, end, _)) = joined {
        let second = name_at(text, first.0 + end);
        let mut found = vec![candidate(passage, (first.0, first.0 + start), None, 0.8)];
        found.extend(second.map(|place| candidate(passage, place, None, 0.8)));
        return found;
    }
    let mut found = vec![candidate(passage, first, None, 0.8)];
    let after = text.get(first.1..).unwrap_or_default();
    let second = SECOND
        .first(after)
        .and_then(|caught| group(&caught, 1))
        .and_then(|(_, end, _)| name_at(text, first.1 + end));
    found.extend(second.map(|place| candidate(passage, place, None, 0.8)));
    found
}

pattern!(
    SOMEBODY,
    r"^(?:شركه|مؤسسه|مجموعه|بنك|مصرف|وزاره|هيئه|جامعه|مكتب|مصنع|مستشفي|جمعيه|دار|مركز|\p{L}+\s+\p{L}+)"
);
// Only its first group is between the names: what follows belongs to the second.
pattern!(
    SECOND,
    r"(\s+و\s?(?:بين\s+)?)(?:شركه|مؤسسه|مجموعه|بنك|مصرف|وزاره|هيئه|جامعه|السيد|السيده|الساده)\b"
);

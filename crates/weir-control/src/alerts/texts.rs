//! What people read: what happened, where, since when, what to do next. One table a language.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Language, Rule, Severity};
use crate::events::StoredEvent;

/// Lists in a text name so many items.
const ITEMS_MAX: usize = 10;
/// Messages of errors are cut there.
const TEXT_CHARS_MAX: usize = 600;

/// A message for a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    pub title: String,
    /// Lines of text.
    pub body: String,
    pub severity: Severity,
    pub is_resolved: bool,
    pub language: Language,
}

impl Note {
    /// With the address of the page on which somebody decides.
    #[must_use]
    pub fn with_page(mut self, url: &str) -> Self {
        let label = labels(self.language).page;
        self.body = format!("{}\n{label}: {url}", self.body);
        self
    }
}

/// Path of the page on which somebody decides about what an alert stands for; none where there is no such page.
pub fn page(event: &StoredEvent) -> Option<String> {
    let is_for_people = event.family == "alert.raised"
        && event.data.get("rule").and_then(Value::as_str) == Some(Rule::ApprovalWaiting.as_str());
    let call = event.data.get("facts")?.get("call")?.as_str()?;
    is_for_people.then(|| format!("/approvals/{call}"))
}

/// What a rule's case is called, what happened, and what to do about it. `{name}` stands for a fact.
struct Words {
    title: &'static str,
    what: &'static str,
    next: &'static str,
}

/// The message of `alert.raised`, `alert.resolved` or `alert.test`.
pub fn note(event: &StoredEvent, language: Language) -> Note {
    let text = |key: &str| event.data.get(key).and_then(Value::as_str).unwrap_or_default();
    let Ok(rule) = text("rule").parse::<Rule>() else {
        return test(language);
    };
    let severity = text("severity").parse().unwrap_or(Severity::Warning);
    let is_resolved = event.family == "alert.resolved";
    let none = Map::new();
    let facts = event
        .data
        .get("facts")
        .and_then(Value::as_object)
        .unwrap_or(&none);
    let words = words(rule, language);
    let labels = labels(language);
    let subject = text("subject");
    let title = filled(words.title, facts);
    let title = if is_resolved {
        format!("[weir] {}: {title} ({subject})", labels.resolved)
    } else {
        format!("[weir] {}: {title} ({subject})", labels.severity(severity))
    };
    let mut lines = vec![
        format!("{}: {}", labels.what, filled(words.what, facts)),
        format!("{}: {subject}", labels.place),
        format!("{}: {}", labels.since, time(event.data.get("since_ms"))),
    ];
    let seen = event.data.get("seen").and_then(Value::as_i64).unwrap_or(1);
    if seen > 1 {
        lines.push(format!("{}: {seen}", labels.seen));
    }
    if is_resolved {
        lines.push(format!("{}: {}", labels.because, text("reason")));
    } else {
        if let Some(hint) = facts.get("error").and_then(|error| error.get("hint")?.as_str()) {
            lines.push(format!("{}: {}", labels.hint, cut(hint)));
        }
        lines.push(format!("{}: {}", labels.next, filled(words.next, facts)));
    }
    lines.push(format!("{}: {}", labels.alert, text("alert")));
    Note {
        title,
        body: lines.join("\n"),
        severity,
        is_resolved,
        language,
    }
}

fn test(language: Language) -> Note {
    let (title, body) = match language {
        Language::En => (
            "[weir] test of this channel",
            "This is a test. Alerts of weir arrive here.\nNothing is to be done.",
        ),
        Language::Ar => (
            "[weir] تجربة هذه القناة",
            "هذه تجربة. تصل تنبيهات weir إلى هنا.\nلا يلزم أي إجراء.",
        ),
    };
    Note {
        title: title.to_owned(),
        body: body.to_owned(),
        severity: Severity::Info,
        is_resolved: false,
        language,
    }
}

/// Replaces each `{name}` by the fact of that name; `{error}` by the error's message.
fn filled(template: &str, facts: &Map<String, Value>) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let Some((name, after)) = after.split_once('}') else {
            out.push_str(after);
            return out;
        };
        out.push_str(&fact(name, facts));
        rest = after;
    }
    out.push_str(rest);
    out
}

fn fact(name: &str, facts: &Map<String, Value>) -> String {
    match facts.get(name) {
        None | Some(Value::Null) => "–".to_owned(),
        Some(value) if name.ends_with("_ms") => time(Some(value)),
        Some(Value::String(text)) => cut(text),
        Some(Value::Object(error)) => error
            .get("message")
            .and_then(Value::as_str)
            .map_or_else(|| "–".to_owned(), cut),
        Some(Value::Array(items)) => list(items),
        Some(other) => other.to_string(),
    }
}

fn list(items: &[Value]) -> String {
    let mut shown: Vec<String> = items
        .iter()
        .take(ITEMS_MAX)
        .map(|item| match item {
            Value::String(text) => cut(text),
            // A reason and its count.
            Value::Array(pair) => match pair.as_slice() {
                [Value::String(reason), count] => format!("{} × {count}", cut(reason)),
                _ => item.to_string(),
            },
            other => other.to_string(),
        })
        .collect();
    if items.len() > ITEMS_MAX {
        shown.push(format!("+{}", items.len() - ITEMS_MAX));
    }
    shown.join(", ")
}

/// One line, without what could pass for another one.
fn cut(text: &str) -> String {
    let plain = text
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter });
    let mut short: String = plain.clone().take(TEXT_CHARS_MAX).collect();
    if plain.count() > TEXT_CHARS_MAX {
        short.push('…');
    }
    short
}

fn time(ms: Option<&Value>) -> String {
    ms.and_then(Value::as_i64)
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .map_or_else(|| "–".to_owned(), |at| format!("{at:.0}"))
}

struct Labels {
    what: &'static str,
    place: &'static str,
    since: &'static str,
    seen: &'static str,
    hint: &'static str,
    next: &'static str,
    because: &'static str,
    alert: &'static str,
    page: &'static str,
    resolved: &'static str,
    info: &'static str,
    warning: &'static str,
    critical: &'static str,
}

impl Labels {
    fn severity(&self, severity: Severity) -> &'static str {
        match severity {
            Severity::Info => self.info,
            Severity::Warning => self.warning,
            Severity::Critical => self.critical,
        }
    }
}

fn labels(language: Language) -> &'static Labels {
    match language {
        Language::En => &Labels {
            what: "What",
            place: "Where",
            since: "Since",
            seen: "Seen",
            hint: "Hint",
            next: "Next",
            because: "Ended by",
            alert: "Alert",
            page: "Decide here, logged in",
            resolved: "resolved",
            info: "info",
            warning: "warning",
            critical: "critical",
        },
        Language::Ar => &Labels {
            what: "ماذا حدث",
            place: "أين",
            since: "منذ",
            seen: "عدد المرات",
            hint: "تلميح",
            next: "الخطوة التالية",
            because: "انتهى بسبب",
            alert: "التنبيه",
            page: "القرار هنا بعد تسجيل الدخول",
            resolved: "انتهى",
            info: "معلومة",
            warning: "تحذير",
            critical: "حرج",
        },
    }
}

fn words(rule: Rule, language: Language) -> Words {
    let (title, what, next) = match language {
        Language::En => english(rule),
        Language::Ar => arabic(rule),
    };
    Words { title, what, next }
}

#[expect(
    clippy::too_many_lines,
    reason = "one table of texts, a few lines for each rule"
)]
fn english(rule: Rule) -> (&'static str, &'static str, &'static str) {
    match rule {
        Rule::RunFailed => (
            "a run failed",
            "run {run} of connection '{connection}' failed at attempt {attempt}, and none is left: {error}",
            "mend the cause, then `weir sync {connection}`; `weir run show {run}` has the details",
        ),
        Rule::RunStale => (
            "a run died or hung",
            "run {run} of connection '{connection}' gave no sign of life and was ended",
            "nothing is lost: the next run goes on from the last checkpoint; look at the logs of its worker",
        ),
        Rule::SlaMissed => (
            "a schedule was not kept",
            "connection '{connection}' was due at {due_at_ms} and had not succeeded by {promised_by_ms}",
            "`weir run list --connection {connection}` shows what happened; `weir schedule list` shows how often",
        ),
        Rule::SchemaChanged => (
            "a schema changed",
            "table {table} (stream '{stream}' of '{connection}'): {columns}",
            "look whether models and loads use these columns before they run next",
        ),
        Rule::QuarantineGrowing => (
            "records went into quarantine",
            "{records} records of stream '{stream}' of '{connection}' do not fit the contract: {reasons}",
            "`weir quarantine list {connection}` shows them; release or discard them",
        ),
        Rule::BreakerOpen => (
            "a circuit breaker is open",
            "requests of connection '{connection}' are refused for a while: {reason}",
            "look whether the system behind it is up; it is tried again by itself",
        ),
        Rule::CredentialExpiring => (
            "a credential expires soon",
            "the credential of connection '{connection}' expires at {expires_at_ms}",
            "give a new one before that time: `weir secret set`",
        ),
        Rule::CredentialExpired => (
            "a credential is no longer accepted",
            "the credential of connection '{connection}' cannot be used: {reason}",
            "give a new one: `weir secret set`",
        ),
        Rule::GateFailed => (
            "a gate refused data",
            "table {table} is not published: {failed}",
            "readers see the version before it; mend the data or the checks, then build it again",
        ),
        Rule::DestinationFilling => (
            "the lake's disk is nearly full",
            "{used_percent} % of the disk of {location} is used, {free_bytes} bytes are free",
            "make room, or move old data away: `weir lake retention`, `weir lake vacuum`",
        ),
        Rule::AuditBroken => (
            "the audit trail is broken",
            "record {number} does not verify: {reason}",
            "keep a copy of the store as it is, and find out who could write to it; then `weir audit verify`",
        ),
        Rule::ApprovalWaiting => (
            "a call waits for approval",
            "action '{action}' ({effect}) of connection '{connection}' waits for {needed} to approve it, for {expires_in_s} s",
            "`weir approval show {call}` shows the exact request; then `weir approval approve {call}` or `weir approval reject {call}`",
        ),
        Rule::CallUncertain => (
            "it is not known whether a call happened",
            "the answer to action '{action}' ({effect}) of connection '{connection}' was lost, and weir does not guess",
            "find out at the vendor, then say it: `weir call settle {call}`",
        ),
        Rule::BundleParked => (
            "a bundle waits for a person",
            "step '{step}' of bundle '{bundle}' ({effect}) keeps it from going on ({parked_for}): {reason}",
            "`weir bundle show {run}` says how it stands; then `weir bundle retry {run}` or `weir bundle settle {run}`",
        ),
        Rule::ToolsChanged => (
            "a server's tools changed",
            "the MCP server behind connection '{connection}' changed its tools: changed {changed}, gone {gone}, new {added}; what changed is not offered any more",
            "`weir tool list {connection}` shows them and `weir tool show {connection} TOOL` what changed; then `weir tool accept {connection}`",
        ),
        Rule::DeliveryFailed => (
            "events are not taken",
            "{target} did not take event {event} ({type}) in {attempts} tries: {error}",
            "mend the receiver, then `weir event replay {event}`",
        ),
    }
}

#[expect(
    clippy::too_many_lines,
    reason = "one table of texts, a few lines for each rule"
)]
fn arabic(rule: Rule) -> (&'static str, &'static str, &'static str) {
    match rule {
        Rule::RunFailed => (
            "فشل تشغيل",
            "فشل التشغيل {run} للاتصال '{connection}' في المحاولة {attempt} ولم تبق محاولات: {error}",
            "أصلح السبب ثم نفّذ `weir sync {connection}`؛ التفاصيل في `weir run show {run}`",
        ),
        Rule::RunStale => (
            "توقف تشغيل دون استجابة",
            "لم يُظهر التشغيل {run} للاتصال '{connection}' أي نشاط فأُنهي",
            "لم يُفقد شيء: يكمل التشغيل التالي من آخر نقطة حفظ؛ راجع سجلات العامل",
        ),
        Rule::SlaMissed => (
            "لم يُلتزم بالموعد",
            "كان موعد الاتصال '{connection}' هو {due_at_ms} ولم ينجح حتى {promised_by_ms}",
            "يعرض `weir run list --connection {connection}` ما حدث",
        ),
        Rule::SchemaChanged => (
            "تغيّر المخطط",
            "الجدول {table} (التدفق '{stream}' من '{connection}'): {columns}",
            "تحقق هل تستخدم النماذج هذه الأعمدة قبل تشغيلها التالي",
        ),
        Rule::QuarantineGrowing => (
            "سجلات في الحجر",
            "{records} من سجلات التدفق '{stream}' من '{connection}' لا توافق العقد: {reasons}",
            "يعرضها `weir quarantine list {connection}`؛ أطلقها أو احذفها",
        ),
        Rule::BreakerOpen => (
            "قاطع الدائرة مفتوح",
            "تُرفض طلبات الاتصال '{connection}' مؤقتا: {reason}",
            "تحقق من عمل النظام المقابل؛ تُعاد المحاولة تلقائيا",
        ),
        Rule::CredentialExpiring => (
            "بيانات اعتماد تنتهي قريبا",
            "تنتهي بيانات اعتماد الاتصال '{connection}' في {expires_at_ms}",
            "جددها قبل ذلك: `weir secret set`",
        ),
        Rule::CredentialExpired => (
            "بيانات اعتماد لم تعد مقبولة",
            "لا يمكن استخدام بيانات اعتماد الاتصال '{connection}': {reason}",
            "جددها: `weir secret set`",
        ),
        Rule::GateFailed => (
            "رفضت البوابة البيانات",
            "لم يُنشر الجدول {table}: {failed}",
            "يرى القراء النسخة السابقة؛ أصلح البيانات أو الفحوص ثم أعد البناء",
        ),
        Rule::DestinationFilling => (
            "قرص البحيرة يكاد يمتلئ",
            "استُخدم {used_percent} % من قرص {location} وبقي {free_bytes} بايت",
            "وفّر مساحة: `weir lake retention` و `weir lake vacuum`",
        ),
        Rule::AuditBroken => (
            "سجل التدقيق تالف",
            "لا يتحقق السجل {number}: {reason}",
            "احفظ نسخة من المخزن كما هو وابحث عمن يستطيع الكتابة فيه ثم نفّذ `weir audit verify`",
        ),
        Rule::ApprovalWaiting => (
            "طلب ينتظر الموافقة",
            "الإجراء '{action}' ({effect}) للاتصال '{connection}' ينتظر موافقة {needed}، خلال {expires_in_s} ثانية",
            "يعرض `weir approval show {call}` الطلب كما سيُرسل؛ ثم `weir approval approve {call}` أو `weir approval reject {call}`",
        ),
        Rule::CallUncertain => (
            "لا يُعرف هل تم الطلب",
            "ضاع جواب الإجراء '{action}' ({effect}) للاتصال '{connection}'، ولا يخمّن weir",
            "تحقق لدى المزوّد ثم سجّل النتيجة: `weir call settle {call}`",
        ),
        Rule::BundleParked => (
            "حزمة تنتظر شخصًا",
            "الخطوة '{step}' من الحزمة '{bundle}' ({effect}) تمنعها من المتابعة ({parked_for}): {reason}",
            "يعرض `weir bundle show {run}` حالتها؛ ثم `weir bundle retry {run}` أو `weir bundle settle {run}`",
        ),
        Rule::ToolsChanged => (
            "تغيّرت أدوات أحد الخوادم",
            "غيّر خادم MCP للاتصال '{connection}' أدواته: تغيّر {changed}، اختفى {gone}، جديد {added}؛ وما تغيّر لم يعد معروضًا",
            "يعرضها `weir tool list {connection}` ويعرض `weir tool show {connection} TOOL` ما تغيّر؛ ثم `weir tool accept {connection}`",
        ),
        Rule::DeliveryFailed => (
            "أحداث لم تُستلم",
            "لم يستلم {target} الحدث {event} ({type}) بعد {attempts} محاولات: {error}",
            "أصلح المستلم ثم نفّذ `weir event replay {event}`",
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn raised(rule: Rule, facts: Value) -> StoredEvent {
        let data = json!({
            "alert": "0190", "rule": rule, "severity": rule.severity(), "cause": "x", "subject": "connection:shop",
            "since_ms": 1_700_000_000_000_i64, "seen": 3, "repeat": 0, "told": true, "facts": facts,
        });
        StoredEvent {
            id: "1".to_owned(),
            tenant: "default".to_owned(),
            family: "alert.raised".to_owned(),
            version: 1,
            subject: "connection:shop".to_owned(),
            happened_at_ms: 1,
            correlation_id: None,
            data: data.as_object().unwrap().clone(),
        }
    }

    #[test]
    fn a_text_says_what_where_since_and_next() {
        let facts = json!({
            "run": "r1", "connection": "shop", "attempt": 3,
            "error": { "kind": "auth", "message": "401\nfrom the vendor", "hint": "renew the token" },
        });
        let note = note(&raised(Rule::RunFailed, facts), Language::En);
        assert_eq!(note.title, "[weir] critical: a run failed (connection:shop)");
        let lines: Vec<&str> = note.body.lines().collect();
        assert_eq!(
            lines,
            [
                "What: run r1 of connection 'shop' failed at attempt 3, and none is left: 401 from the vendor",
                "Where: connection:shop",
                "Since: 2023-11-14T22:13:20Z",
                "Seen: 3",
                "Hint: renew the token",
                "Next: mend the cause, then `weir sync shop`; `weir run show r1` has the details",
                "Alert: 0190",
            ]
        );
    }

    #[test]
    fn every_rule_has_its_words_in_both_languages() {
        for rule in Rule::ALL {
            for language in [Language::En, Language::Ar] {
                let schema: Value = serde_json::from_str(rule.raised_by().schema()).unwrap();
                let Words { title, what, next } = words(rule, language);
                for template in [title, what, next] {
                    // A fact that no event has would be a dash for ever.
                    for part in template.split('{').skip(1) {
                        let name = part.split('}').next().unwrap();
                        let is_known = schema["properties"].get(name).is_some() || name == "columns";
                        assert!(is_known, "{rule}: {{{name}}} is no property of {}", schema["$id"]);
                    }
                }
                let text = note(&raised(rule, json!({})), language);
                assert!(!text.body.contains('{'), "{}", text.body);
            }
        }
    }

    #[test]
    fn long_and_hostile_facts_stay_one_line() {
        let facts =
            json!({ "connection": "a\r\nBcc: x", "columns": vec!["c added"; 30], "table": "t".repeat(2000) });
        let note = note(&raised(Rule::SchemaChanged, facts), Language::En);
        assert!(note.body.contains("+20") && note.body.contains('…'));
        assert!(!note.body.contains('\r') && note.body.lines().count() == 6);
    }
}

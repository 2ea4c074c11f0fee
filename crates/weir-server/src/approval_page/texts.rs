//! The page's words, one table a language.

use weir_control::approvals::{Status, Verdict};
use weir_protocol::spec::Effect;

use crate::html::Language;

pub(super) struct Texts {
    pub(super) log_in_first: &'static str,
    pub(super) log_in_why: &'static str,
    pub(super) log_in: &'static str,
    pub(super) no_login: &'static str,
    pub(super) may_not: &'static str,
    pub(super) action: &'static str,
    pub(super) effect: &'static str,
    pub(super) connection: &'static str,
    pub(super) requester: &'static str,
    pub(super) asked_at: &'static str,
    pub(super) expires_at: &'static str,
    pub(super) approvals: &'static str,
    pub(super) rules: &'static str,
    pub(super) digest: &'static str,
    pub(super) arguments: &'static str,
    pub(super) request: &'static str,
    pub(super) decide: &'static str,
    pub(super) reason: &'static str,
    pub(super) break_glass: &'static str,
    pub(super) approve: &'static str,
    pub(super) reject: &'static str,
    /// Pending, approved, rejected, expired, used, void.
    statuses: [&'static str; 6],
    /// Approved, rejected.
    verdicts: [&'static str; 2],
    /// Read, write, destructive, money, message.
    effects: [&'static str; 5],
}

impl Texts {
    pub(super) fn of(language: Language) -> &'static Self {
        match language {
            Language::En => &ENGLISH,
            Language::Ar => &ARABIC,
        }
    }

    pub(super) fn status(&self, status: Status) -> &'static str {
        let [pending, approved, rejected, expired, used, void] = self.statuses;
        match status {
            Status::Pending => pending,
            Status::Approved => approved,
            Status::Rejected => rejected,
            Status::Expired => expired,
            Status::Used => used,
            Status::Void => void,
        }
    }

    pub(super) fn verdict(&self, verdict: Verdict) -> &'static str {
        let [approved, rejected] = self.verdicts;
        match verdict {
            Verdict::Approve => approved,
            Verdict::Reject => rejected,
        }
    }

    pub(super) fn effect_of(&self, effect: Effect) -> &'static str {
        let [read, write, destructive, money, message] = self.effects;
        match effect {
            Effect::Read => read,
            Effect::Write => write,
            Effect::Destructive => destructive,
            Effect::Money => money,
            Effect::Message => message,
        }
    }
}

static ENGLISH: Texts = Texts {
    log_in_first: "Log in first",
    log_in_why: "Calls are decided about by people who are logged in and may approve. You come back here afterwards.",
    log_in: "Log in",
    no_login: "Nobody logs in to this server with a browser. Whoever may approve decides with a command:",
    may_not: "You may look at this call, and not decide about it: that takes the permission approvals:write.",
    action: "Action",
    effect: "Effect",
    connection: "Connection",
    requester: "Asked for by",
    asked_at: "Asked for at",
    expires_at: "Rejected by itself at",
    approvals: "Approved by / needed",
    rules: "Rules that ask for it",
    digest: "Digest",
    arguments: "Arguments",
    request: "The request as it will be sent",
    decide: "Decide",
    reason: "Reason",
    break_glass: "This is an emergency: approve alone. A reason is needed, and somebody reviews it afterwards.",
    approve: "Approve",
    reject: "Reject",
    statuses: [
        "A call waits for you",
        "Approved: the call is made now",
        "Rejected: nothing is sent",
        "Expired: nothing was sent",
        "The call was made",
        "Void: what it was approved for has changed",
    ],
    verdicts: ["approved", "rejected"],
    effects: [
        "reads",
        "changes data",
        "deletes or overwrites data",
        "moves money",
        "sends a message to people",
    ],
};

static ARABIC: Texts = Texts {
    log_in_first: "سجّل الدخول أولًا",
    log_in_why: "يبتّ في الطلبات من سجّل الدخول وله حق الموافقة. وتعود بعد ذلك إلى هنا.",
    log_in: "تسجيل الدخول",
    no_login: "لا يُسجَّل الدخول إلى هذا الخادم بالمتصفح. يبتّ من له حق الموافقة بهذا الأمر:",
    may_not: "يمكنك الاطلاع على هذا الطلب دون البتّ فيه: يلزم لذلك الإذن approvals:write.",
    action: "الإجراء",
    effect: "الأثر",
    connection: "الاتصال",
    requester: "صاحب الطلب",
    asked_at: "وقت الطلب",
    expires_at: "يُرفض تلقائيًا عند",
    approvals: "الموافقون / المطلوب",
    rules: "القواعد التي تطلب ذلك",
    digest: "البصمة",
    arguments: "المدخلات",
    request: "الطلب كما سيُرسل",
    decide: "القرار",
    reason: "السبب",
    break_glass: "هذه حالة طارئة: أوافق وحدي. السبب مطلوب، ويراجعه شخص آخر لاحقًا.",
    approve: "موافقة",
    reject: "رفض",
    statuses: [
        "طلب ينتظر قرارك",
        "تمت الموافقة: يُنفَّذ الطلب الآن",
        "رُفض: لن يُرسل شيء",
        "انتهت المهلة: لم يُرسل شيء",
        "نُفِّذ الطلب",
        "لاغٍ: تغيّر ما كانت الموافقة عليه",
    ],
    verdicts: ["وافق", "رفض"],
    effects: [
        "يقرأ فقط",
        "يغيّر بيانات",
        "يحذف بيانات أو يستبدلها",
        "ينقل مالًا",
        "يرسل رسالة إلى أشخاص",
    ],
};

//! Clauses in the styles that contracts have, and what must come of each: no more and no less.

use weir_documents::{Duration, Findings, Limits, NoOcr, NoticePurpose, RenewalKind, examine};

fn findings(text: &str) -> Findings {
    examine(text.as_bytes(), &NoOcr, &Limits::default())
        .unwrap_or_else(|error| panic!("{text}: {error:?}"))
        .findings
}

/// What was found, a line each; `?` follows what the rules are not sure of.
fn told(text: &str) -> Vec<String> {
    let found = findings(text);
    let mut lines: Vec<String> = Vec::new();
    for party in &found.parties {
        let role = party.role.as_deref().unwrap_or("-");
        lines.push(format!("{role}: {}{}", party.name, doubt(party.confidence)));
    }
    lines.extend(lasting(&found));
    for law in &found.governing_law {
        lines.push(format!("law {}{}", law.law, doubt(law.confidence)));
    }
    for date in &found.dates {
        lines.push(format!("date {}", date.value.as_deref().unwrap_or("-")));
    }
    for amount in &found.amounts {
        let differs = amount.words_say.as_ref().map(|words| format!(" or {words}"));
        let (value, currency, doubt) = (&amount.value, &amount.currency, doubt(amount.confidence));
        lines.push(format!(
            "amount {value} {currency}{}{doubt}",
            differs.unwrap_or_default()
        ));
    }
    lines
}

/// Terms, renewals and notices.
fn lasting(found: &Findings) -> Vec<String> {
    let terms = found
        .terms
        .iter()
        .map(|term| format!("term {}", length(&term.duration)));
    let renewals = found.renewals.iter().map(|renewal| {
        let kind = match renewal.kind {
            RenewalKind::Automatic => "automatic",
            RenewalKind::OnRequest => "on request",
            RenewalKind::None => "none",
        };
        format!(
            "renewal {kind} {}",
            renewal.duration.as_ref().map_or("-".to_owned(), length)
        )
    });
    let notices = found.notices.iter().map(|notice| {
        let purpose = match notice.purpose {
            NoticePurpose::Termination => "termination",
            NoticePurpose::Renewal => "renewal",
            NoticePurpose::Other => "other",
        };
        format!(
            "notice {purpose} {}{}",
            length(&notice.duration),
            doubt(notice.confidence)
        )
    });
    terms.chain(renewals).chain(notices).collect()
}

fn length(duration: &Duration) -> String {
    let business = if duration.is_business_days {
        " business"
    } else {
        ""
    };
    format!("{}{business}", duration.iso)
}

fn doubt(confidence: f64) -> &'static str {
    if confidence < 0.7 { " ?" } else { "" }
}

fn check(table: &[(&str, &[&str])]) {
    let wrong: Vec<String> = table
        .iter()
        .filter(|(text, wanted)| told(text) != *wanted)
        .map(|(text, wanted)| format!("{text}\n  wanted {wanted:?}\n  found  {:?}\n", told(text)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.concat());
}

#[test]
fn names_of_people_and_companies_are_whole() {
    check(&[
        (
            r#"This agreement is made between Sara bint Omar al-Harbi ("Client") and Jean de la Fontaine GmbH & Co. KG (the "Seller")."#,
            &[
                "Client: Sara bint Omar al-Harbi",
                "Seller: Jean de la Fontaine GmbH & Co. KG",
            ],
        ),
        (
            r#"between Ludwig von der Heide ("Consultant") and van den Berg Holding B.V. ("Company")"#,
            &[
                "Consultant: Ludwig von der Heide",
                "Company: van den Berg Holding B.V.",
            ],
        ),
        (
            r#"between Rossi e Figli S.p.A. (the "Supplier") and Nowak Handel Sp. z o.o. (the "Buyer")"#,
            &["Supplier: Rossi e Figli S.p.A.", "Buyer: Nowak Handel Sp. z o.o."],
        ),
        (
            r#"between Falcon Media FZ-LLC, a free zone company ("Agency") and Emirates Steel PJSC ("Client")"#,
            &["Agency: Falcon Media FZ-LLC", "Client: Emirates Steel PJSC"],
        ),
        (
            r#"between al-Futtaim Trading L.L.C. ("Distributor") and Karoo Foods (Pty) Ltd ("Manufacturer")"#,
            &[
                "Distributor: al-Futtaim Trading L.L.C.",
                "Manufacturer: Karoo Foods (Pty) Ltd",
            ],
        ),
        (
            r#"between Khalid ibn Yusuf el-Masry (the "Landlord") and Maria dos Santos da Silva (the "Tenant")"#,
            &[
                "Landlord: Khalid ibn Yusuf el-Masry",
                "Tenant: Maria dos Santos da Silva",
            ],
        ),
        (
            r#"between Jan ter Horst ("Lender") and Elin af Klint AB ("Borrower")"#,
            &["Lender: Jan ter Horst", "Borrower: Elin af Klint AB"],
        ),
        (
            "Acme Ltd as Borrower and Jeanne d'Arc Bank S.A. as Lender",
            &["Borrower: Acme Ltd", "Lender: Jeanne d'Arc Bank S.A."],
        ),
        (
            r#"between Qatar Gas Transport Q.P.S.C. ("Owner") and Hyundai Heavy Industries Co., Ltd. ("Builder")"#,
            &[
                "Owner: Qatar Gas Transport Q.P.S.C.",
                "Builder: Hyundai Heavy Industries Co., Ltd.",
            ],
        ),
        (
            r#"between Ahmed Al Mansoori and Sons Trading LLC ("Distributor") and Grupo Bimbo, S.A.B. de C.V. ("Client")"#,
            &[
                "Distributor: Ahmed Al Mansoori and Sons Trading LLC",
                "Client: Grupo Bimbo, S.A.B. de C.V.",
            ],
        ),
    ]);
}

#[test]
fn names_that_end_otherwise_are_unsure_or_none() {
    check(&[
        (
            "This Agreement is made between the Company and the Contractor.",
            &[],
        ),
        // Where a name goes on in a way that no rule knows, that is said.
        (
            r#"between Marks and Spencer plc ("Buyer") and Cotton Ltd ("Seller")"#,
            &["Buyer: Marks ?", "Seller: Cotton Ltd"],
        ),
        (
            "أبرم هذا العقد بين شركة الراجحي وأبنائه ذ.م.م (المورد) والسيد/ خالد بن سعيد آل مكتوم (المشتري).",
            &[
                "المورد: شركة الراجحي وأبنائه ذ.م.م",
                "المشتري: خالد بن سعيد آل مكتوم",
            ],
        ),
    ]);
}

#[test]
fn terms_and_renewals_of_one_sentence_are_both_found() {
    check(&[
        (
            "The initial term is two (2) years from the Effective Date and renews automatically for successive periods of one year.",
            &["term P2Y", "renewal automatic P1Y"],
        ),
        (
            "This Agreement shall continue for a period of three years and shall automatically renew for further terms of 12 months.",
            &["term P3Y", "renewal automatic P12M"],
        ),
        (
            "The lease runs for 24 (twenty-four) months and may be renewed for one additional year by written agreement.",
            &["term P24M", "renewal on request P1Y"],
        ),
        (
            "Unless terminated earlier upon notice, this Contract shall remain in force for eighteen months.",
            &["term P18M"],
        ),
        (
            "This Agreement is renewed tacitly for periods of one year, unless either party gives three months' notice that it will not renew.",
            &["renewal automatic P1Y", "notice renewal P3M"],
        ),
        (
            "The contract is for one year, renewable by mutual agreement.",
            &["term P1Y", "renewal on request -"],
        ),
        (
            "The Term is twelve months. It shall be extended for a further period of six months if the parties agree.",
            &["term P12M", "renewal on request P6M"],
        ),
        ("The Agreement shall not be renewed.", &["renewal none -"]),
        ("This contract does not renew automatically.", &["renewal none -"]),
        (
            "مدة هذا العقد سنتان تبدأ من تاريخ التوقيع ويتجدد تلقائياً لمدة سنة واحدة ما لم يخطر أحد الطرفين الآخر قبل ستين يوماً من انتهائه.",
            &["term P2Y", "renewal automatic P1Y", "notice renewal P60D"],
        ),
        (
            "يسري هذا العقد لمدة ثلاث (3) سنوات ولا يتجدد إلا باتفاق مكتوب.",
            &["term P3Y", "renewal none -"],
        ),
        // No term of the contract, and nothing that goes on.
        ("This section does not renew any right that has ended.", &[]),
        ("The Tenant shall renew the fire insurance every year.", &[]),
        ("The probation period lasts for three months.", &[]),
        ("Invoices are paid for a period of 12 months within 30 days.", &[]),
        (
            "The duty of confidentiality remains in force for five years after the end of the Agreement.",
            &[],
        ),
        ("على المستأجر تجديد الرخصة كل سنة.", &[]),
        (
            "This Agreement is effective from 1 January 2025 until 31 December 2025.",
            &["date 2025-01-01", "date 2025-12-31"],
        ),
        (
            "The goods are delivered within thirty (30) days after 2 March 2025.",
            &["date 2025-03-02"],
        ),
    ]);
}

#[test]
fn notices_of_every_kind_of_days() {
    check(&[
        (
            "Either party may terminate this Agreement upon thirty (30) days' prior written notice.",
            &["notice termination P30D"],
        ),
        (
            "The Client may cancel by giving ten (10) Business Days notice.",
            &["notice termination P10D business"],
        ),
        (
            "The employee may resign with a month's notice.",
            &["notice termination P1M"],
        ),
        (
            "The Landlord shall give not less than 24 (twenty-four) working days' notice of an inspection.",
            &["notice other P24D business"],
        ),
        // The days run after a notice: less sure.
        (
            "A party may terminate if a breach is not cured within 15 days of written notice.",
            &["notice termination P15D ?"],
        ),
        (
            "يجوز لأي من الطرفين إنهاء العقد بموجب إشعار خطي مدته ٣٠ يوماً.",
            &["notice termination P30D"],
        ),
        (
            "يلتزم العامل بإخطار صاحب العمل قبل خمسة أيام عمل.",
            &["notice other P5D business"],
        ),
        ("Notices are sent by registered letter to the address above.", &[]),
    ]);
}

#[test]
fn amounts_in_words_and_figures_and_percentages_that_are_none() {
    check(&[
        (
            "A fee of EUR 12.500,00 (twelve thousand five hundred euros) is due.",
            &["amount 12500 EUR"],
        ),
        (
            "The price is forty-five thousand Saudi Riyals (SAR 45,000), plus 15% VAT.",
            &["amount 45000 SAR"],
        ),
        ("Late sums bear interest of five percent (5%) per annum.", &[]),
        (
            "A penalty of 10 % of USD 2,000 for each week.",
            &["amount 2000 USD"],
        ),
        (
            "The deposit is USD 900 (nine thousand US dollars).",
            &["amount 900 USD or 9000 ?"],
        ),
        (
            "مبلغ إجمالي قدره 75,000 درهم إماراتي (خمسة وسبعون ألف درهم إماراتي) ونسبة 5٪.",
            &["amount 75000 AED"],
        ),
        ("تحسب غرامة بنسبة عشرة بالمئة (10%) من قيمة الدفعة.", &[]),
    ]);
}

#[test]
fn the_law_is_found_however_it_is_said() {
    check(&[
        (
            "The law of the State of New York shall apply.",
            &["law the State of New York"],
        ),
        (
            "This Agreement is governed by the laws of New York. Disputes go to court.",
            &["law New York"],
        ),
        (
            "This deed shall be construed under the laws of the Province of Ontario, Canada.",
            &["law the Province of Ontario, Canada"],
        ),
        (
            "The laws of Singapore apply to this Contract.",
            &["law Singapore"],
        ),
        (
            "It is governed by and interpreted in accordance with the laws in force in the Republic of India.",
            &["law the Republic of India"],
        ),
        (
            "This Agreement and any dispute shall be governed by English law.",
            &["law English law"],
        ),
        (
            "German law applies, without its conflict rules.",
            &["law German law"],
        ),
        (
            "Swiss substantive law shall govern.",
            &["law Swiss substantive law"],
        ),
        (
            "The governing law of this lease shall be that of Scotland.",
            &["law Scotland"],
        ),
        ("The parties choose the law of France.", &["law France"]),
        ("Governing law: England & Wales", &["law England & Wales"]),
        ("This Contract is subject to Swiss law.", &["law Swiss law"]),
        ("يخضع هذا العقد لأحكام القانون المصري.", &["law المصري"]),
        ("تسري أحكام القانون الأردني على هذه الاتفاقية.", &["law الأردني"]),
        (
            "يكون القانون الإماراتي هو القانون الواجب التطبيق.",
            &["law الإماراتي"],
        ),
        ("القانون الواجب التطبيق هو قانون دولة قطر.", &["law دولة قطر"]),
        ("تطبق الأنظمة السعودية على هذا العقد.", &["law السعودية"]),
        (
            "تفسر هذه الاتفاقية وفقاً للأنظمة المعمول بها في المملكة العربية السعودية.",
            &["law المملكة العربية السعودية"],
        ),
        ("يخضع العقد لأنظمة المملكة.", &["law المملكة ?"]),
        // Laws that do not govern the contract.
        (
            "Acme is a company duly incorporated in accordance with the laws of Egypt.",
            &[],
        ),
        ("Applicable law shall govern the deletion of data.", &[]),
        ("The Supplier complies with the laws of each country.", &[]),
        (
            "Waste is treated in accordance with the laws of Spain.",
            &["law Spain ?"],
        ),
        ("تلتزم الشركة بسداد الضرائب في مصر.", &[]),
    ]);
}

//! Contracts written for these tests: names without quotation marks, and Arabic ones.

use std::path::Path;

use weir_documents::{Document, RenewalKind};

use crate::measure::{Table, labels, read};

const LABELS: &str = include_str!("labels/own.json");

fn contract(file: &str) -> Document {
    read(
        &Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/it/contracts")
            .join(file),
    )
}

fn measured(ending: &str) -> Table {
    let mut table = Table::default();
    for (name, labels) in labels(LABELS) {
        if name.ends_with(ending) {
            table.add(&name, &labels, &contract(&format!("{name}.md")));
        }
    }
    table
}

#[test]
fn parties_dates_and_amounts_of_english_contracts_are_right() {
    let table = measured("-en");
    table.print("own contracts, English");
    table.at_least(0.95);
}

#[test]
fn parties_dates_and_amounts_of_arabic_contracts_are_right() {
    let table = measured("-ar");
    table.print("own contracts, Arabic");
    table.at_least(0.95);
}

/// Terms, renewals, notices and laws on a line each.
fn told(file: &str) -> String {
    let found = contract(file).findings;
    let mut lines = Vec::new();
    lines.extend(
        found
            .terms
            .iter()
            .map(|term| format!("term {}", term.duration.iso)),
    );
    lines.extend(found.renewals.iter().map(|renewal| {
        let kind = match renewal.kind {
            RenewalKind::Automatic => "automatic",
            RenewalKind::OnRequest => "on request",
            RenewalKind::None => "none",
        };
        let duration = renewal.duration.as_ref().map_or("-", |duration| &duration.iso);
        format!("renewal {kind} {duration}")
    }));
    lines.extend(
        found
            .notices
            .iter()
            .map(|notice| format!("notice {:?} {}", notice.purpose, notice.duration.iso)),
    );
    lines.extend(found.governing_law.iter().map(|law| format!("law {}", law.law)));
    lines.extend(
        found
            .parties
            .iter()
            .map(|party| format!("{}: {}", party.role.as_deref().unwrap_or("-"), party.name)),
    );
    lines.join("\n")
}

#[test]
fn terms_renewals_notices_and_law_in_english() {
    insta::assert_snapshot!(told("services-en.md"), @r"
    term P3Y
    renewal automatic P12M
    notice Renewal P90D
    notice Termination P6M
    law England and Wales
    Supplier: Northwind Analytics Limited
    Customer: Harbour Foods PLC
    ");
    insta::assert_snapshot!(told("lease-en.md"), @r"
    term P1Y
    renewal on request P1Y
    notice Termination P60D
    law the Emirate of Dubai
    Landlord: Al Noor Properties LLC
    Tenant: Sara Haddad
    ");
    insta::assert_snapshot!(told("employment-en.md"), @r"
    notice Termination P2W
    notice Termination P30D
    law the State of Delaware
    Employer: Cedar Software Inc.
    Employee: Michael O'Neill
    ");
}

#[test]
fn terms_renewals_notices_and_law_in_arabic() {
    insta::assert_snapshot!(told("supply-ar.md"), @r"
    term P2Y
    renewal automatic P1Y
    notice Renewal P60D
    notice Termination P30D
    law المملكة العربية السعودية
    الطرف الأول: شركة النخيل للتجارة المحدودة
    الطرف الثاني: مؤسسة الأفق الحديثة للمقاولات
    ");
    insta::assert_snapshot!(told("lease-ar.md"), @r"
    term P3Y
    notice Termination P2M
    law المصري
    المؤجر: أحمد محمود عبد الرحمن
    المستأجر: منى حسن السيد
    ");
    insta::assert_snapshot!(told("services-ar.md"), @r"
    term P18M
    renewal on request -
    notice Termination P30D
    law دولة الإمارات العربية المتحدة
    الطرف الأول: شركة الخليج للاستشارات ذ.م.م
    الطرف الثاني: مكتب البيان للدراسات
    ");
    insta::assert_snapshot!(told("employment-ar.md"), @r"
    term P1Y
    renewal automatic -
    notice Renewal P30D
    law المملكة العربية السعودية
    صاحب العمل: شركة المدار للتقنية
    العامل: فهد بن عبدالله القحطاني
    ");
}

/// Dates and amounts of a line of text, as values with what is not sure about them.
fn values(text: &str) -> Vec<String> {
    let found = weir_documents::examine(
        text.as_bytes(),
        &weir_documents::NoOcr,
        &weir_documents::Limits::default(),
    )
    .expect("text is read")
    .findings;
    let date = |date: &weir_documents::Date| {
        let fields = [&date.value, &date.hijri, &date.about, &date.or];
        fields
            .into_iter()
            .zip(["", "hijri ", "about ", "or "])
            .filter_map(|(value, name)| Some(format!("{name}{}", value.as_ref()?)))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let amount = |amount: &weir_documents::Amount| {
        let differs = amount
            .words_say
            .as_ref()
            .map_or(String::new(), |words| format!(" (words say {words})"));
        format!("{} {}{differs}", amount.value, amount.currency)
    };
    found
        .dates
        .iter()
        .map(date)
        .chain(found.amounts.iter().map(amount))
        .collect()
}

#[test]
fn dates_in_all_their_forms() {
    for (text, wanted) in [
        ("dated 2024-03-12.", "2024-03-12"),
        ("on the 3rd day of May, 2023,", "2023-05-03"),
        ("on Sept. 9, 2021", "2021-09-09"),
        (
            "on the twenty-first day of June, two thousand twenty-four",
            "2024-06-21",
        ),
        ("between 04/05/2024 and 30/06/2024", "2024-05-04 or 2024-04-05"),
        ("between 04/05/2024 and 06/30/2024", "2024-04-05 or 2024-05-04"),
        ("since 05/05/2024", "2024-05-05"),
        ("on 13.07.2018", "2018-07-13"),
        ("بتاريخ ١٢ آذار ٢٠٢٤م", "2024-03-12"),
        ("بتاريخ 1 محرم 1446هـ", "hijri 1446-01-01 about 2024-07-07"),
        ("في 1446/1/1هـ الموافق 7/7/2024م", "2024-07-07 hijri 1446-01-01"),
        ("في الأول من كانون الثاني عام ألفين وخمسة وعشرين", "2025-01-01"),
    ] {
        assert_eq!(values(text).first().map(String::as_str), Some(wanted), "{text}");
    }
    for none in [
        "on 31/31/2024",
        "section 12.3.4",
        "version 2024.1",
        "30 February 2024",
        "Act of 1933",
        "99/99/99",
    ] {
        assert_eq!(values(none), Vec::<String>::new(), "{none}");
    }
}

#[test]
fn amounts_in_all_their_forms() {
    for (text, wanted) in [
        ("USD 1,234.50", "1234.5 USD"),
        ("€1.234,50", "1234.5 EUR"),
        ("12,50,000 Indian rupees", "1250000 INR"),
        ("five hundred thousand dollars (USD 500,000)", "500000 USD"),
        ("USD 5,000 (six thousand US dollars)", "5000 USD (words say 6000)"),
        ("£2.5m", "2500000 GBP"),
        ("$3 million", "3000000 USD"),
        ("SAR 10 thousand", "10000 SAR"),
        ("Saudi Riyals Fifty Thousand only", "50000 SAR"),
        ("KWD 1.250", "1.25 KWD"),
        ("مبلغ وقدره ٥٬٠٠٠ ر.س.", "5000 SAR"),
        ("ثلاثة ملايين ومئتا ألف جنيه مصري", "3200000 EGP"),
        ("3.5 مليون درهم إماراتي", "3500000 AED"),
    ] {
        assert_eq!(values(text), [wanted], "{text}");
    }
    for none in [
        "5% of the price",
        "ARTICLE 19",
        "30 days",
        "room USD-5",
        "٪١٠ من القيمة",
    ] {
        assert_eq!(values(none), Vec::<String>::new(), "{none}");
    }
}

//! Files that are damaged, hostile or not what they seem: an error with a next step, never a panic.

use std::io::{Cursor, Write as _};
use std::path::Path;

use proptest::prelude::*;
use weir_documents::{Limits, NoOcr, examine, read};
use weir_protocol::ErrorKind;
use zip::write::SimpleFileOptions;

fn docx(xml: &[u8]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    archive
        .start_file("word/document.xml", SimpleFileOptions::default())
        .expect("a document");
    archive.write_all(xml).expect("a document");
    archive.finish().expect("a document").into_inner()
}

fn document(body: &str) -> Vec<u8> {
    docx(format!(r#"<w:document xmlns:w="w"><w:body>{body}</w:body></w:document>"#).as_bytes())
}

fn refused(bytes: &[u8]) -> (ErrorKind, String) {
    let error = read(bytes, &NoOcr, &Limits::default()).expect_err("refused");
    assert!(error.next_step().is_some(), "{error:?}");
    (error.kind(), format!("{error:?}"))
}

fn kept(file: &str) -> Vec<u8> {
    std::fs::read(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/it/contracts")
            .join(file),
    )
    .expect("a document")
}

#[test]
fn a_small_archive_that_unfolds_to_much_is_refused() {
    let bomb = docx(&vec![b' '; 80 << 20]);
    assert!(bomb.len() < 1 << 20);
    let (kind, told) = refused(&bomb);
    assert_eq!(kind, ErrorKind::Limit, "{told}");
    assert!(told.contains("too many bytes in one part"), "{told}");
}

#[test]
fn elements_inside_each_other_end_at_a_depth() {
    let (kind, told) = refused(&document(&"<w:tbl><w:tr><w:tc>".repeat(5_000)));
    assert_eq!(kind, ErrorKind::Limit, "{told}");
}

#[test]
fn entities_are_not_unfolded() {
    let xml = r#"<!DOCTYPE d [<!ENTITY a "x"><!ENTITY b "&a;&a;&a;">]><w:document xmlns:w="w"><w:body><w:p><w:r>
        <w:t>A &amp; B &b; &#233;</w:t></w:r></w:p></w:body></w:document>"#;
    let read = read(&docx(xml.as_bytes()), &NoOcr, &Limits::default()).unwrap();
    assert_eq!(read.elements[0].text, "A & B é");
}

#[test]
fn deleted_text_and_field_codes_are_left_out_and_cells_know_their_place() {
    let body = r#"<w:p><w:pPr><w:pStyle w:val="Heading1"/></w:pPr><w:r><w:t>Supply</w:t></w:r></w:p>
        <w:p><w:r><w:t>Price </w:t></w:r><w:del><w:r><w:t>USD 5</w:t></w:r></w:del><w:ins><w:r><w:t>USD 7</w:t></w:r></w:ins>
        <w:r><w:instrText>PAGE 9</w:instrText></w:r></w:p>
        <w:tbl><w:tr><w:tc><w:p><w:r><w:t>a</w:t></w:r></w:p></w:tc><w:tc><w:p><w:r><w:t>b</w:t></w:r></w:p></w:tc></w:tr></w:tbl>"#;
    let read = examine(&document(body), &NoOcr, &Limits::default()).unwrap();
    let told: Vec<String> = read
        .elements
        .iter()
        .map(|one| format!("{:?} {:?} {}", one.kind, one.cell, one.text))
        .collect();
    assert_eq!(
        told,
        [
            "Heading None Supply",
            "Paragraph None Price USD 7",
            "TableCell Some((1, 1)) a",
            "TableCell Some((1, 2)) b"
        ]
    );
    assert_eq!(read.findings.amounts[0].value, "7");
    let place = read.findings.amounts[0].place;
    assert_eq!((place.element, place.start, place.end), (1, 6, 11));
}

#[test]
fn archives_that_are_no_documents_and_broken_files_are_told_apart() {
    let mut other = zip::ZipWriter::new(Cursor::new(Vec::new()));
    other
        .start_file("xl/workbook.xml", SimpleFileOptions::default())
        .unwrap();
    let other = other.finish().unwrap().into_inner();
    assert!(refused(&other).1.contains("no Word document"));
    assert!(refused(b"PK\x03\x04 nothing").1.contains("damaged"));
    assert!(refused(b"%PDF-1.7\nnothing").1.contains("the PDF is damaged"));
    assert!(refused(b"   \n \n").1.contains("has no text"));
    assert!(refused(b"").1.contains("the document is empty"));
}

#[test]
fn a_picture_without_recognition_says_what_to_install() {
    let (kind, told) = refused(b"\x89PNG\r\n\x1a\n....");
    assert_eq!(kind, ErrorKind::Usage);
    assert!(told.contains("install tesseract"), "{told}");
}

#[test]
fn limits_hold() {
    let small = |change: fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        read(&kept("services-en.pdf"), &NoOcr, &limits)
            .map(drop)
            .map_err(|error| error.kind())
    };
    assert_eq!(small(|_| ()), Ok(()));
    assert_eq!(small(|limits| limits.bytes_max = 100), Err(ErrorKind::Limit));
    assert_eq!(small(|limits| limits.pages_max = 0), Err(ErrorKind::Limit));
    assert_eq!(small(|limits| limits.chars_max = 100), Err(ErrorKind::Limit));
    assert_eq!(small(|limits| limits.elements_max = 3), Err(ErrorKind::Limit));
    let limits = Limits {
        findings_max: 1,
        ..Limits::default()
    };
    let found = examine(&kept("services-en.docx"), &NoOcr, &limits)
        .unwrap()
        .findings;
    assert_eq!(found.amounts.len(), 1);
    assert!(found.cut_short.contains(&"amounts".to_owned()));
}

/// Every place lies in its element and shows what the finding says.
#[test]
fn places_lead_back_to_the_text() {
    for file in [
        "services-en.md",
        "supply-ar.md",
        "lease-ar.pdf",
        "loan-en.docx",
        "supply-ar.pdf",
    ] {
        let read = examine(&kept(file), &NoOcr, &Limits::default()).unwrap();
        let at = |place: weir_documents::Place| -> String {
            let element = &read.elements[place.element as usize];
            assert_eq!(element.page, place.page);
            element
                .text
                .chars()
                .skip(place.start as usize)
                .take((place.end - place.start) as usize)
                .collect()
        };
        let found = &read.findings;
        found
            .parties
            .iter()
            .for_each(|party| assert_eq!(at(party.place), party.name, "{file}"));
        found
            .dates
            .iter()
            .for_each(|date| assert_eq!(at(date.place), date.text, "{file}"));
        found
            .amounts
            .iter()
            .for_each(|amount| assert_eq!(at(amount.place), amount.text, "{file}"));
        found
            .terms
            .iter()
            .for_each(|term| assert_eq!(at(term.place), term.text, "{file}"));
        found
            .governing_law
            .iter()
            .for_each(|law| assert_eq!(at(law.place), law.law, "{file}"));
        assert!(!found.parties.is_empty() && !found.amounts.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Bytes of real files with some of them changed or cut off.
    #[test]
    fn damaged_files_never_panic(which in 0..2_usize, at in 0.0..1.0_f64, cut in 0.0..1.0_f64, byte: u8) {
        let mut bytes = kept(["lease-ar.pdf", "lease-ar.docx"][which]);
        let place = |part: f64| (part * (bytes.len() - 1) as f64) as usize;
        let (at, cut) = (place(at), place(cut));
        bytes[at] = byte;
        drop(examine(&bytes, &NoOcr, &Limits::default()));
        drop(examine(&bytes[..cut], &NoOcr, &Limits::default()));
    }

    /// Any text at all, Arabic marks, digits and signs among it.
    #[test]
    fn any_text_is_examined(text in "[\\PC\n٠-٩ء-ي0-9/.,$£()\"“”]{0,400}") {
        if let Ok(read) = examine(text.as_bytes(), &NoOcr, &Limits::default()) {
            for amount in &read.findings.amounts {
                prop_assert!(amount.value.chars().all(|char| char.is_ascii_digit() || char == '.'));
            }
        }
    }
}

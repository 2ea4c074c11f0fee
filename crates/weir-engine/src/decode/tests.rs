use std::io::Write;

use proptest::prelude::*;
use weir_protocol::ErrorKind;
use weir_protocol::spec::Encoding;

use super::*;

fn run(spec: &Decode, body: &[u8]) -> Result<Vec<Decoded>> {
    decode(
        spec,
        Encoded {
            body: &Bytes::copy_from_slice(body),
            content_type: Some("x/y"),
            bytes_max: 1 << 20,
        },
    )
}

fn spec(format: DecodeFormat) -> Decode {
    Decode {
        format,
        ..Decode::default()
    }
}

/// All records or documents, a line each.
fn texts(decoded: Result<Vec<Decoded>>) -> String {
    let mut lines = Vec::new();
    for part in decoded.unwrap() {
        match part {
            Decoded::Document(bytes) => lines.push(String::from_utf8(bytes.to_vec()).unwrap()),
            Decoded::Lines(bytes, spans) => lines.extend(
                spans
                    .iter()
                    .map(|s| String::from_utf8(bytes[s.start as usize..s.end as usize].to_vec()).unwrap()),
            ),
        }
    }
    lines.join("\n")
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn json_is_not_copied_and_numbers_keep_their_text() {
    let body = Bytes::from_static(b" [1.10, 12345678901234567890]");
    let encoded = Encoded {
        body: &body,
        content_type: None,
        bytes_max: 100,
    };
    match decode(&Decode::default(), encoded).unwrap().remove(0) {
        Decoded::Document(same) => assert_eq!((same.as_ptr(), same.len()), (body.as_ptr(), body.len())),
        Decoded::Lines(..) => panic!("a document became lines"),
    }
    assert_eq!(texts(run(&Decode::default(), b"\xef\xbb\xbf{}")), "{}");
    for nothing in [&b""[..], b"  ", b"null"] {
        let error = run(&Decode::default(), nothing).unwrap_err();
        assert!(error.to_string().contains("is empty"), "{error}");
    }
}

#[test]
fn a_login_page_is_found() {
    let html = b"<!DOCTYPE html><html><body>Please log in</body></html>";
    for format in [
        DecodeFormat::Json,
        DecodeFormat::Jsonl,
        DecodeFormat::Csv,
        DecodeFormat::Xml,
    ] {
        let error = run(&spec(format), html).unwrap_err();
        assert!(error.next_step().unwrap().contains("HTML page"), "{error:?}");
    }
    let error = run(&Decode::default(), b"rate limit, sorry").unwrap_err();
    insta::assert_snapshot!(format!("{error}"), @"the answer is not JSON (content-type: x/y, begins with: rate limit, sorry)");
}

#[test]
fn json_lines() {
    let spec = spec(DecodeFormat::Jsonl);
    assert_eq!(
        texts(run(&spec, b"{\"a\":1}\r\n\n  {\"a\":2} ")),
        "{\"a\":1}\n{\"a\":2}"
    );
    let error = run(&spec, b"{}\noops: x\n").unwrap_err();
    assert!(error.to_string().contains("not JSON Lines"), "{error}");
}

#[test]
fn csv_with_header_quotes_and_mark() {
    let body = b"\xef\xbb\xbfid,\"na\"\"me\",empty\n007,\"a, b\nc\",\n";
    assert_eq!(
        texts(run(&spec(DecodeFormat::Csv), body)),
        r#"{"id":"007","na\"me":"a, b\nc","empty":""}"#
    );
}

#[test]
fn csv_with_own_columns_and_delimiter() {
    let spec = Decode {
        delimiter: Some(';'),
        columns: Some(vec!["x".to_owned(), "y".to_owned()]),
        ..spec(DecodeFormat::Csv)
    };
    assert_eq!(
        texts(run(&spec, b"1;2\n3;4")),
        "{\"x\":\"1\",\"y\":\"2\"}\n{\"x\":\"3\",\"y\":\"4\"}"
    );
}

#[test]
fn csv_values_without_characters_are_null_where_that_is_said() {
    let spec = Decode {
        empty_as_null: true,
        ..spec(DecodeFormat::Csv)
    };
    assert_eq!(
        texts(run(&spec, b"x,y\n,\"\"\n0, ")),
        "{\"x\":null,\"y\":null}\n{\"x\":\"0\",\"y\":\" \"}"
    );
}

#[test]
fn csv_errors_name_the_line_and_the_column() {
    let error = run(&spec(DecodeFormat::Csv), b"a,b\n1,2\n3\n").unwrap_err();
    insta::assert_snapshot!(format!("{error}"), @"CSV row has 1 values for 2 columns (line: 3)");
    let error = run(&spec(DecodeFormat::Csv), b"a,a\n").unwrap_err();
    insta::assert_snapshot!(format!("{error}"), @"CSV column 'a' is there twice (column: 2)");
}

#[test]
fn csv_quotes_that_may_have_taken_rows_are_errors() {
    let fails = |spec: &Decode, body: &[u8]| run(spec, body).unwrap_err().to_string();
    let csv = spec(DecodeFormat::Csv);
    insta::assert_snapshot!(fails(&csv, b"a,b\n1,\"x\n2,y\n3,z\n"), @"a CSV value begins with a quote that is never closed (row from line: 2)");
    insta::assert_snapshot!(fails(&csv, b"a,b\n1,2\n1,\"x\n2,\"y\"\n3,z\n"), @"a CSV value of several lines ends where another one seems to begin (row from line: 3)");
    insta::assert_snapshot!(fails(&csv, b"\"a,b\n1,2\n"), @"a CSV value begins with a quote that is never closed (row from line: 1)");
    let unquoted = Decode {
        quote: Some('\u{1}'),
        ..csv
    };
    assert_eq!(texts(run(&unquoted, b"a,b\n1,\"x\n")), r#"{"a":"1","b":"\"x"}"#);
}

#[test]
fn xml_elements_attributes_and_text() {
    let body = b"<?xml version='1.0'?><r v='1&amp;2'><i>a &lt; &#66;</i><i k='x'>b</i><e/><n><![CDATA[<c>]]></n></r>";
    insta::assert_snapshot!(texts(run(&spec(DecodeFormat::Xml), body)), @r##"{"r":{"@v":"1&2","i":["a < B",{"@k":"x","#text":"b"}],"e":null,"n":"<c>"}}"##);
}

#[test]
fn xml_bombs_and_cuts_are_errors() {
    let spec = spec(DecodeFormat::Xml);
    let bomb = b"<!DOCTYPE r [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;'>]><r>&b;</r>";
    assert!(
        run(&spec, bomb)
            .unwrap_err()
            .to_string()
            .contains("'&b;' is unknown")
    );
    assert!(
        run(&spec, b"<r><i>")
            .unwrap_err()
            .to_string()
            .contains("ends before")
    );
    assert_eq!(
        run(&spec, "<d>".repeat(90).as_bytes()).unwrap_err().kind(),
        ErrorKind::Limit
    );
}

#[test]
fn character_sets() {
    let latin = Decode {
        charset: Some("windows-1252".to_owned()),
        ..Decode::default()
    };
    assert_eq!(texts(run(&latin, b"\"caf\xe9\"")), "\"caf\u{e9}\"");
    let utf16: Vec<u8> = [0xff, 0xfe]
        .into_iter()
        .chain("{}".encode_utf16().flat_map(u16::to_le_bytes))
        .collect();
    assert_eq!(texts(run(&Decode::default(), &utf16)), "{}");
    let error = run(&Decode::default(), b"\"caf\xe9\"").unwrap_err();
    insta::assert_snapshot!(format!("{error}"), @"the answer is not valid UTF-8 (at byte: 4)");
}

#[test]
fn compression_and_its_limit() {
    let mut spec = Decode {
        compression: Encoding::Gzip,
        ..Decode::default()
    };
    assert_eq!(texts(run(&spec, &gzip(b"[1]"))), "[1]");
    assert_eq!(texts(run(&spec, b"[1]")), "[1]", "HTTP has undone it already");
    let bomb = vec![b' '; 8 << 20];
    assert_eq!(run(&spec, &gzip(&bomb)).unwrap_err().kind(), ErrorKind::Limit);
    assert_eq!(
        run(&spec, &gzip(b"[1,2,3,4]")[..20]).unwrap_err().kind(),
        ErrorKind::Decode
    );
    spec.compression = Encoding::Zstd;
    assert_eq!(
        texts(run(&spec, &zstd::encode_all(&b"[1]"[..], 1).unwrap())),
        "[1]"
    );
    assert_eq!(
        run(&spec, &zstd::encode_all(&bomb[..], 1).unwrap())
            .unwrap_err()
            .kind(),
        ErrorKind::Limit
    );
}

#[test]
fn zip_members_are_parts() {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    for (name, text) in [
        ("a.csv", "id\n1\n"),
        ("__MACOSX/a.csv", "x"),
        ("d/b.csv", "id\n2\n"),
        ("d/.hidden", "x"),
    ] {
        writer.start_file(name, options).unwrap();
        writer.write_all(text.as_bytes()).unwrap();
    }
    let body = writer.finish().unwrap().into_inner();
    let spec = Decode {
        compression: Encoding::Zip,
        ..spec(DecodeFormat::Csv)
    };
    assert_eq!(texts(run(&spec, &body)), "{\"id\":\"1\"}\n{\"id\":\"2\"}");
}

proptest! {
    #[test]
    fn csv_rows_come_back_as_they_were(rows in prop::collection::vec(prop::collection::vec("[ -~\u{e9}\n\"]{0,12}", 2), 0..8)) {
        let mut writer = ::csv::WriterBuilder::new().quote_style(::csv::QuoteStyle::Always).from_writer(Vec::new());
        writer.write_record(["a", "b"]).unwrap();
        for row in &rows {
            writer.write_record(row).unwrap();
        }
        let decoded = texts(run(&spec(DecodeFormat::Csv), &writer.into_inner().unwrap()));
        let back: Vec<serde_json::Value> = decoded.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        prop_assert_eq!(back.len(), rows.len());
        for (value, row) in back.iter().zip(&rows) {
            prop_assert_eq!(value["a"].as_str(), Some(row[0].as_str()));
            prop_assert_eq!(value["b"].as_str(), Some(row[1].as_str()));
        }
    }

    #[test]
    fn no_bytes_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        for format in [DecodeFormat::Json, DecodeFormat::Jsonl, DecodeFormat::Csv, DecodeFormat::Xml] {
            for compression in [Encoding::None, Encoding::Gzip, Encoding::Zip, Encoding::Zstd] {
                let _decoded = run(&Decode { format, compression, ..Decode::default() }, &body).is_ok();
            }
        }
    }
}

//! Integers of which the statistics tell that a double holds them.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::table::DataFile;
use crate::typed::EXACT_UP_TO;

/// Those of the top-level long columns `columns` of which every value in these files is known to be one that
/// a double holds: no further from zero than 2^53. A file that says nothing of a column proves nothing.
pub(crate) fn within_double(files: &[DataFile], mut columns: BTreeSet<String>) -> BTreeSet<String> {
    // Of a file without statistics not even the number of rows is known.
    let told = files.iter().filter(|file| file.rows > 0 || file.stats.is_none());
    for file in told {
        let stats: Option<Value> = file
            .stats
            .as_deref()
            .and_then(|stats| serde_json::from_str(stats).ok());
        let stats = stats.unwrap_or_default();
        columns.retain(|column| match file.partition.get(column) {
            Some(value) => value.as_ref().is_none_or(|text| text.parse().is_ok_and(is_near)),
            None => is_proven(&stats, column),
        });
    }
    columns
}

fn is_proven(stats: &Value, column: &str) -> bool {
    let nulls = stats["nullCount"][column].as_u64();
    if nulls.is_some() && nulls == stats["numRecords"].as_u64() {
        return true;
    }
    let bound = |which: &str| stats[which][column].as_i64();
    bound("minValues").is_some_and(is_near) && bound("maxValues").is_some_and(is_near)
}

fn is_near(value: i64) -> bool {
    value.unsigned_abs() <= EXACT_UP_TO
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(stats: &str) -> DataFile {
        DataFile {
            stats: Some(stats.to_owned()),
            ..DataFile::named("a", 2)
        }
    }

    #[test]
    fn only_what_every_file_proves_counts() {
        let files = [
            file(
                r#"{"numRecords":2,"minValues":{"near":-9007199254740992,"far":1,"low":-9007199254740993},
                    "maxValues":{"near":9007199254740992,"far":9007199254740994,"low":0},
                    "nullCount":{"near":0,"far":0,"low":0,"empty":2}}"#,
            ),
            file(
                r#"{"numRecords":2,"minValues":{"near":1,"far":1,"low":1,"late":1},"maxValues":{"near":2,"far":2,"low":2,"late":2},
                    "nullCount":{"near":1,"far":0,"low":0,"empty":2,"late":0}}"#,
            ),
        ];
        let columns =
            || -> BTreeSet<String> { ["near", "far", "low", "empty", "late"].map(str::to_owned).into() };
        let names = |found: BTreeSet<String>| found.into_iter().collect::<Vec<_>>();
        assert_eq!(names(within_double(&files, columns())), ["empty", "near"]);
        assert_eq!(
            names(within_double(&files[1..], columns())),
            ["empty", "far", "late", "low", "near"]
        );
        // Rows that are gone say nothing, and of those that are there nothing is known without statistics.
        let empty = DataFile {
            stats: Some(r#"{"numRecords":0}"#.to_owned()),
            ..DataFile::named("a", 0)
        };
        assert_eq!(names(within_double(&[empty], columns())).len(), 5);
        assert!(within_double(&[DataFile::named("a", 0)], columns()).is_empty());
        assert!(within_double(&[DataFile::named("a", 1)], columns()).is_empty());
        assert!(within_double(&[file("{")], columns()).is_empty());
    }

    #[test]
    fn a_partition_is_told_by_its_value() {
        let in_partition = |value: Option<&str>| DataFile {
            partition: [("p".to_owned(), value.map(str::to_owned))].into(),
            ..file(r#"{"numRecords":2}"#)
        };
        let proves = |value| within_double(&[in_partition(value)], ["p".to_owned()].into()).len() == 1;
        assert!(proves(Some("-7")) && proves(None));
        assert!(!proves(Some("9007199254740993")) && !proves(Some("x")));
    }
}

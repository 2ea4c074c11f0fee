//! Where the casts of a stream's transforms end up, after the steps that come behind them: the lake
//! keeps out what could not be cast.

use weir_protocol::Result;
use weir_protocol::spec::{Cast, Transform};

use super::keys;
use crate::extract::{Path, Step};

const EVERY: &str = "*";

/// The casts by the paths that their values have in the record as it lands.
pub(crate) fn landed(specs: &[Transform]) -> Result<Vec<Cast>> {
    let mut casts: Vec<Cast> = Vec::new();
    for spec in specs {
        match spec {
            Transform::Cast(types) => {
                for (path, to) in types {
                    let path = written(&Path::parse(path)?);
                    casts.retain(|cast| cast.path != path);
                    casts.push(Cast { path, to: *to });
                }
            }
            Transform::Rename(names) => {
                for (from, to) in names {
                    rename(
                        &mut casts,
                        &written(&Path::parse(from)?),
                        &written(&Path::parse(to)?),
                    );
                }
            }
            // What is put there or taken away was not cast.
            Transform::Remove(paths) => {
                for path in paths {
                    forget(&mut casts, &written(&Path::parse(path)?));
                }
            }
            Transform::Add(fields) => {
                for path in fields.keys() {
                    forget(&mut casts, &written(&Path::parse(path)?));
                }
            }
            Transform::Flatten(flatten) => {
                let paths: Vec<Path> = flatten
                    .paths
                    .iter()
                    .map(|path| Path::parse(path))
                    .collect::<Result<_>>()?;
                for cast in &mut casts {
                    cast.path = flattened(&cast.path, &paths, &flatten.separator);
                }
            }
            // Where another field has that name already, the cast one lands beside it under a suffix and the other is
            // looked at in its place: at worst a record is held that need not be.
            Transform::Keys(case) => {
                for step in casts.iter_mut().flat_map(|cast| &mut cast.path) {
                    if step != EVERY {
                        *step = keys::rename(step, *case);
                    }
                }
            }
        }
    }
    Ok(casts)
}

fn written(path: &Path) -> Vec<String> {
    let step = |step: &Step| match step {
        Step::Key(key) => key.clone(),
        Step::Any => EVERY.to_owned(),
    };
    path.steps.iter().map(step).collect()
}

fn rename(casts: &mut Vec<Cast>, from: &[String], to: &[String]) {
    for cast in casts {
        if let Some(rest) = cast.path.strip_prefix(from) {
            cast.path = to.iter().chain(rest).cloned().collect();
        }
    }
}

fn forget(casts: &mut Vec<Cast>, path: &[String]) {
    let covers = |cast: &Cast| {
        cast.path.len() >= path.len()
            && cast
                .path
                .iter()
                .zip(path)
                .all(|(own, other)| own == other || other == EVERY)
    };
    casts.retain(|cast| !covers(cast));
}

fn flattened(path: &[String], paths: &[Path], separator: &str) -> Vec<String> {
    let mut depth = 1;
    while depth < path.len() && path[depth] != EVERY && keys::is_meant(&path[..depth], paths) {
        depth += 1;
    }
    let (lifted, rest) = path.split_at(depth.min(path.len()));
    std::iter::once(lifted.join(separator))
        .chain(rest.iter().cloned())
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn paths(steps: Value) -> Vec<String> {
        let specs: Vec<Transform> = serde_json::from_value(steps).unwrap();
        let casts = landed(&specs).unwrap();
        casts.iter().map(|cast| cast.path.join("/")).collect()
    }

    #[test]
    fn casts_are_followed_to_where_they_land() {
        let cast = json!({ "cast": { "a.b": "integer", "list.*": "number" } });
        assert_eq!(paths(json!([cast])), ["a/b", "list/*"]);
        assert_eq!(
            paths(json!([cast, { "rename": { "a": "x.y", "list": "rows" } }])),
            ["x/y/b", "rows/*"]
        );
        assert_eq!(paths(json!([cast, { "flatten": {} }])), ["a_b", "list/*"]);
        assert_eq!(
            paths(json!([cast, { "flatten": { "paths": ["c"], "separator": "." } }])),
            ["a/b", "list/*"]
        );
        assert_eq!(
            paths(json!([cast, { "remove": ["list.*"] }, { "add": { "a": 1 } }])),
            [""; 0]
        );
        let upper = json!({ "cast": { "userId": "integer" } });
        assert_eq!(paths(json!([upper, { "keys": "snake" }])), ["user_id"]);
    }
}

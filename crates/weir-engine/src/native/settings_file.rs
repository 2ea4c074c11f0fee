//! The settings of an API that stand in a connection's file, read once more where they stand: an
//! error names file, line and column, what is allowed there, and the nearest spelling.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::path::Path;

use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use weir_protocol::Result;
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::spec::{AuthSpec, Request, StreamSpec};
use weir_protocol::yaml;

use super::http_json::{ONE_STREAM, SETTINGS};

/// Parses the file's `config` into the types that it is read by. `connection` is the same file,
/// already parsed without them.
pub(super) fn check(connection: &ConnectionSpec, file: &Path, text: &str) -> Result<()> {
    let config = &connection.config;
    if config.contains_key("streams") {
        yaml::parse::<Document<Several>>(file, text).map(drop)
    } else if config.contains_key("name") {
        yaml::parse::<Document<One<true>>>(file, text).map(drop)
    } else {
        yaml::parse::<Document<One<false>>>(file, text).map(drop)
    }
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "read for its errors only")]
struct Document<T> {
    config: T,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read for its errors only")]
struct Several {
    base_url: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    params: BTreeMap<String, Value>,
    #[serde(default)]
    auth: Methods,
    #[serde(default)]
    hosts: Vec<String>,
    #[serde(default)]
    check: Option<Request>,
    streams: Vec<StreamSpec>,
}

/// One auth method or a list of them.
#[derive(Default)]
struct Methods;

impl<'de> Deserialize<'de> for Methods {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MethodsVisitor)
    }
}

struct MethodsVisitor;

impl<'de> Visitor<'de> for MethodsVisitor {
    type Value = Methods;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an auth method, or a list of them")
    }

    fn visit_unit<E>(self) -> Result<Methods, E> {
        Ok(Methods)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut methods: A) -> Result<Methods, A::Error> {
        while methods.next_element::<AuthSpec>()?.is_some() {}
        Ok(Methods)
    }

    fn visit_map<A: MapAccess<'de>>(self, method: A) -> Result<Methods, A::Error> {
        AuthSpec::deserialize(MapAccessDeserializer::new(method)).map(|_| Methods)
    }
}

/// A stream's fields beside those of the API, in one map. `NAMED`: its name is among them.
struct One<const NAMED: bool>;

impl<'de, const NAMED: bool> Deserialize<'de> for One<NAMED> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OneVisitor::<NAMED>)
    }
}

struct OneVisitor<const NAMED: bool>;

impl<'de, const NAMED: bool> Visitor<'de> for OneVisitor<NAMED> {
    type Value = One<NAMED>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("fields of an API and of its stream")
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<One<NAMED>, A::Error> {
        let mut fields = Fields {
            fields,
            lacks_name: !NAMED,
            gives_name: false,
            has_base_url: false,
        };
        StreamSpec::deserialize(MapAccessDeserializer::new(&mut fields))?;
        if fields.has_base_url {
            Ok(One)
        } else {
            Err(A::Error::missing_field("base_url"))
        }
    }
}

/// The fields of the stream; those of the API are read on the way.
struct Fields<A> {
    fields: A,
    lacks_name: bool,
    gives_name: bool,
    has_base_url: bool,
}

impl<'de, A: MapAccess<'de>> Fields<A> {
    fn setting(&mut self, name: &str) -> Result<(), A::Error> {
        match name {
            "base_url" => {
                self.has_base_url = true;
                self.fields.next_value::<String>().map(drop)
            }
            "headers" => self.fields.next_value::<BTreeMap<String, String>>().map(drop),
            "params" => self.fields.next_value::<BTreeMap<String, Value>>().map(drop),
            "auth" => self.fields.next_value::<Methods>().map(drop),
            "hosts" => self.fields.next_value::<Vec<String>>().map(drop),
            "check" => self.fields.next_value::<Option<Request>>().map(drop),
            _ => self.fields.next_value::<IgnoredAny>().map(drop),
        }
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for &mut Fields<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, mut seed: K) -> Result<Option<K::Value>, A::Error> {
        if std::mem::take(&mut self.lacks_name) {
            self.gives_name = true;
            return seed.deserialize("name".into_deserializer()).map(Some);
        }
        loop {
            match self.fields.next_key_seed(Look(seed))? {
                None => return Ok(None),
                Some(Looked::Stream(key)) => return Ok(Some(key)),
                Some(Looked::Setting(name, unused)) => {
                    self.setting(name)?;
                    seed = unused;
                }
            }
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        if std::mem::take(&mut self.gives_name) {
            return seed.deserialize(ONE_STREAM.into_deserializer());
        }
        self.fields.next_value_seed(seed)
    }
}

/// Looks at a key while the parser still knows its place, so that a wrong one is named with it.
struct Look<K>(K);

enum Looked<K, V> {
    /// One of the API's, and what was to read the stream's.
    Setting(&'static str, K),
    Stream(V),
}

impl<'de, K: DeserializeSeed<'de>> DeserializeSeed<'de> for Look<K> {
    type Value = Looked<K, K::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(LookVisitor(self.0, PhantomData))
    }
}

struct LookVisitor<'de, K>(K, PhantomData<&'de ()>);

impl<'de, K: DeserializeSeed<'de>> Visitor<'de> for LookVisitor<'de, K> {
    type Value = Looked<K, K::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Self::Value, E> {
        match SETTINGS.iter().find(|setting| **setting == name) {
            Some(setting) => Ok(Looked::Setting(setting, self.0)),
            None => {
                let key: StrDeserializer<'_, E> = name.into_deserializer();
                self.0.deserialize(key).map(Looked::Stream)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;
    use crate::catalog::Catalog;
    use crate::native::http_json::{Settings, spec_of};

    /// The fields that serde expects of a type, by its own words.
    fn fields(error: &str) -> BTreeSet<&str> {
        let (_, expected) = error.split_once("expected").unwrap();
        expected.split('`').skip(1).step_by(2).collect()
    }

    #[test]
    fn the_settings_are_the_same_in_every_form() {
        let listed: BTreeSet<&str> = SETTINGS.into_iter().collect();
        let unknown = json!({ "?": 1 });
        let error = serde_json::from_value::<Settings>(unknown.clone())
            .err()
            .unwrap()
            .to_string();
        assert_eq!(fields(&error), listed);
        let error = serde_json::from_value::<Several>(unknown)
            .err()
            .unwrap()
            .to_string();
        let mut several = fields(&error);
        assert!(several.remove("streams"));
        assert_eq!(several, listed);
    }

    #[test]
    fn both_readings_of_a_file_take_and_refuse_the_same_values() {
        let right = [
            ("headers", json!({ "a": "b" })),
            ("params", json!({ "a": 1 })),
            ("auth", json!({ "method": "none" })),
            ("auth", json!([{ "method": "none" }])),
            ("hosts", json!(["a.example"])),
            ("check", json!({ "path": "/me" })),
        ];
        let tried: BTreeSet<&str> = right.iter().map(|(name, _)| *name).chain(["base_url"]).collect();
        assert_eq!(tried, SETTINGS.into_iter().collect());
        let catalog = Catalog::embedded();
        let connector = &catalog.get("http_json").unwrap().spec;
        let verdicts = |name: &str, value: &Value, streams: bool| {
            let mut config = json!({ "base_url": "https://a.example" });
            if streams {
                config["streams"] = json!([{ "name": "items", "path": "/items" }]);
            } else {
                config["path"] = json!("/items");
            }
            config[name] = value.clone();
            let text = json!({ "connection": "x", "connector": "http_json", "config": config }).to_string();
            let file = Path::new("x.yaml");
            let connection = ConnectionSpec::parse(file, &text).unwrap();
            (
                check(&connection, file, &text).is_ok(),
                spec_of(connector, &connection).is_ok(),
            )
        };
        for streams in [true, false] {
            for (name, value) in &right {
                assert_eq!(verdicts(name, value, streams), (true, true), "{name}: {value}");
                for wrong in [json!(5), json!([[5]]), json!({ "?": [5] })] {
                    let (file, spec) = verdicts(name, &wrong, streams);
                    assert_eq!(file, spec, "{name}: {wrong}");
                }
            }
            assert_eq!(verdicts("base_url", &json!([5]), streams), (false, false));
        }
    }
}

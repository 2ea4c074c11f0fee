//! Where the control store is.

use std::fmt;
use std::path::PathBuf;

use weir_protocol::{Error, Result, Secret};

/// A SQLite file or a PostgreSQL database.
#[derive(Debug, Clone)]
pub enum Place {
    Sqlite(PathBuf),
    /// `postgres://user:password@host:port/database`
    Postgres(Secret),
}

impl Place {
    /// Reads what `WEIR_DATABASE_URL` says: `postgres://…`, `sqlite:PATH`, or a path alone.
    pub fn parse(text: &str) -> Result<Self> {
        let path = |path: &str| Self::Sqlite(PathBuf::from(path));
        let text = match text {
            "sqlite:" | "sqlite://" => "",
            text => text,
        };
        match text.split_once(':') {
            Some(("postgres" | "postgresql", _)) => Ok(Self::Postgres(Secret::new(text))),
            Some(("sqlite", rest)) => Ok(path(rest.strip_prefix("//").unwrap_or(rest))),
            Some((scheme, rest)) if rest.starts_with("//") => Err(Error::spec(format!(
                "weir keeps its control store in no '{scheme}' database"
            ))
            .hint("write postgres://user:password@host/database, or sqlite:PATH")),
            _ if text.contains('@') => Err(Error::spec("the control store's URL has no scheme")
                .hint("write postgres://user:password@host/database, or sqlite:PATH")),
            _ if text.is_empty() => Err(Error::spec("the control store has an empty place")
                .hint("unset WEIR_DATABASE_URL, or write postgres://user:password@host/database")),
            _ => Ok(path(text)),
        }
    }
}

/// Without password, as logs and errors name it.
impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(out, "{}", path.display()),
            Self::Postgres(url) => match url::Url::parse(url.expose()) {
                Ok(url) => {
                    let host = url.host_str().unwrap_or("localhost");
                    write!(
                        out,
                        "postgres://{host}:{}{}",
                        url.port().unwrap_or(5432),
                        url.path()
                    )
                }
                Err(_) => out.write_str("postgres://"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_from_text_and_named_without_its_password() {
        let named = |text: &str| Place::parse(text).map(|place| place.to_string());
        assert_eq!(
            named("postgres://weir:pass@db.example:6543/control?sslmode=require").unwrap(),
            "postgres://db.example:6543/control"
        );
        assert_eq!(named("sqlite:data/weir.db").unwrap(), "data/weir.db");
        assert_eq!(named("sqlite:///data/weir.db").unwrap(), "/data/weir.db");
        assert_eq!(named("C:/weir.db").unwrap(), "C:/weir.db");
        assert_eq!(named("weir.db").unwrap(), "weir.db");
        let error = named("mysql://host/database").unwrap_err();
        assert_eq!(
            error.message(),
            "weir keeps its control store in no 'mysql' database"
        );
        for wrong in ["", "sqlite:", "user:pass@host/db"] {
            assert!(
                !format!("{:?}", named(wrong).unwrap_err()).contains("pass@"),
                "{wrong}"
            );
        }
    }
}

//! Settings from the environment. Nothing else in weir reads it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::ValueEnum;
use jiff::Timestamp;
use weir_protocol::{Error, Result, Secret};

/// How logs and errors are written to standard error.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Defaults for connectors that are silent about their reliability.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ConnectorDefaults {
    /// `CONNECTOR_RETRY_MAX_ATTEMPTS`: tries of a request, the first one included.
    pub(crate) retry_attempts: Option<u32>,
    /// `CONNECTOR_RETRY_BASE_DELAY_MS`: wait before the second try.
    pub(crate) retry_base_ms: Option<u64>,
    /// `CONNECTOR_TIMEOUT_MS`: time for a whole request.
    pub(crate) timeout_ms: Option<u64>,
    /// `CONNECTOR_CIRCUIT_BREAKER_THRESHOLD`: failures in a row that open the breaker.
    pub(crate) breaker_failures: Option<u32>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    /// `WEIR_PROJECT`: the project folder, where `--project` is absent.
    pub(crate) project: Option<PathBuf>,
    /// `WEIR_LOG`: what is logged, as in `info,weir_engine=debug`.
    pub(crate) log: Option<String>,
    /// `WEIR_LOG_FORMAT`: `text` or `json`.
    pub(crate) log_format: LogFormat,
    /// `WEIR_PII_KEY`: the key of hashed personal fields, instead of the key file.
    pub(crate) pii_key: Option<String>,
    /// `WEIR_AUDIT_KEY`: the key that signs the audit trail (32 bytes in base64), instead of the key file.
    pub(crate) audit_key: Option<Secret>,
    /// `WEIR_AUDIT_KEYS_OLD`: public keys that signed the trail before, separated by commas.
    pub(crate) audit_keys_old: Vec<String>,
    /// `WEIR_MASTER_KEY…`: the key of stored secrets, instead of the key file.
    pub(crate) master_key: MasterKeySettings,
    /// `VAULT_ADDR`, `VAULT_TOKEN`, `VAULT_NAMESPACE`: where `secret:vault/…` is read.
    pub(crate) vault_address: Option<String>,
    pub(crate) vault_token: Option<Secret>,
    pub(crate) vault_namespace: Option<String>,
    /// `USER`: whom audit records of commands name.
    pub(crate) user: Option<String>,
    /// `WEIR_FAILPOINT`: `<name>[:<nth>]`; the process dies when it passes that point (test builds only).
    pub(crate) failpoint: Option<String>,
    /// `WEIR_DATABASE_URL`: the control store, instead of the project's SQLite file.
    pub(crate) database_url: Option<String>,
    /// `WEIR_TOKEN`: what a worker shows to the server, where `--token` is absent.
    pub(crate) token: Option<Secret>,
    /// `WEIR_PUBLIC_URL`: where browsers find `weir serve`, if not where it listens.
    pub(crate) public_url: Option<String>,
    /// `WEIR_OIDC_…`: who logs people in to the server.
    pub(crate) login: LoginSettings,
    /// `OTEL_…`: where traces are sent.
    pub(crate) traces: TraceSettings,
    /// `NO_COLOR` is set to something.
    pub(crate) no_color: bool,
}

/// What OpenTelemetry's own variables say; the exporter reads the others (headers, timeouts, sampler) itself.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TraceSettings {
    /// An endpoint is named, and the SDK is not switched off.
    pub(crate) is_on: bool,
    pub(crate) has_service_name: bool,
}

impl TraceSettings {
    fn from_environment() -> Self {
        let names = [
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
        ];
        let is_off = variable("OTEL_SDK_DISABLED").is_some_and(|off| off.eq_ignore_ascii_case("true"))
            || variable("OTEL_TRACES_EXPORTER").is_some_and(|exporter| exporter == "none");
        Self {
            is_on: !is_off && names.into_iter().any(|name| variable(name).is_some()),
            has_service_name: variable("OTEL_SERVICE_NAME").is_some()
                || variable("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|all| all.contains("service.name=")),
        }
    }
}

/// Where the master key comes from. 32 bytes in base64.
#[derive(Debug, Clone, Default)]
pub(crate) struct MasterKeySettings {
    pub(crate) value: Option<Secret>,
    pub(crate) file: Option<PathBuf>,
    /// Prints the key.
    pub(crate) command: Option<String>,
    /// The key before it, while a change of keys is under way.
    pub(crate) old: Option<Secret>,
    pub(crate) old_file: Option<PathBuf>,
}

/// An OpenID provider, and as whom it knows weir.
#[derive(Debug, Clone, Default)]
pub(crate) struct LoginSettings {
    pub(crate) issuer: Option<String>,
    pub(crate) client_id: Option<String>,
    pub(crate) client_secret: Option<Secret>,
    /// Instead of the project's own.
    pub(crate) role_claim: Option<String>,
    pub(crate) allow_private_hosts: bool,
}

fn listed(text: Option<String>) -> Vec<String> {
    let text = text.unwrap_or_default();
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(ToOwned::to_owned).collect()
}

impl Settings {
    pub(crate) fn from_environment() -> Self {
        let log_format = match variable("WEIR_LOG_FORMAT").as_deref() {
            Some("json") => LogFormat::Json,
            _ => LogFormat::Text,
        };
        Self {
            project: variable("WEIR_PROJECT").map(PathBuf::from),
            log: variable("WEIR_LOG"),
            log_format,
            pii_key: variable("WEIR_PII_KEY"),
            audit_key: secret("WEIR_AUDIT_KEY"),
            audit_keys_old: listed(variable("WEIR_AUDIT_KEYS_OLD")),
            master_key: MasterKeySettings {
                value: secret("WEIR_MASTER_KEY"),
                file: variable("WEIR_MASTER_KEY_FILE").map(PathBuf::from),
                command: variable("WEIR_MASTER_KEY_COMMAND"),
                old: secret("WEIR_MASTER_KEY_OLD"),
                old_file: variable("WEIR_MASTER_KEY_OLD_FILE").map(PathBuf::from),
            },
            vault_address: variable("VAULT_ADDR"),
            vault_token: secret("VAULT_TOKEN"),
            vault_namespace: variable("VAULT_NAMESPACE"),
            user: variable("USER"),
            failpoint: variable("WEIR_FAILPOINT"),
            database_url: variable("WEIR_DATABASE_URL"),
            token: secret("WEIR_TOKEN"),
            public_url: variable("WEIR_PUBLIC_URL"),
            login: LoginSettings {
                issuer: variable("WEIR_OIDC_ISSUER"),
                client_id: variable("WEIR_OIDC_CLIENT_ID"),
                client_secret: secret("WEIR_OIDC_CLIENT_SECRET"),
                role_claim: variable("WEIR_OIDC_ROLE_CLAIM"),
                allow_private_hosts: variable("WEIR_OIDC_ALLOW_PRIVATE_HOSTS").is_some(),
            },
            traces: TraceSettings::from_environment(),
            no_color: variable("NO_COLOR").is_some(),
        }
    }
}

impl ConnectorDefaults {
    pub(crate) fn from_environment() -> Result<Self> {
        Ok(Self {
            retry_attempts: number("CONNECTOR_RETRY_MAX_ATTEMPTS")?,
            retry_base_ms: number("CONNECTOR_RETRY_BASE_DELAY_MS")?,
            timeout_ms: number("CONNECTOR_TIMEOUT_MS")?,
            breaker_failures: number("CONNECTOR_CIRCUIT_BREAKER_THRESHOLD")?,
        })
    }
}

/// `ORACLE_NOW`: the time that manifests are read at, RFC 3339; set when a read is compared with a recorded one.
pub(crate) fn oracle_now() -> Result<Option<Timestamp>> {
    variable("ORACLE_NOW")
        .map(|text| {
            text.parse::<Timestamp>().map_err(|error| {
                Error::spec("ORACLE_NOW is not a date-time")
                    .with("value", &text)
                    .caused_by(error)
                    .hint("unset ORACLE_NOW, or write it as in 2025-06-15T12:00:00Z")
            })
        })
        .transpose()
}

/// How object stores call their credentials in the environment.
const LAKE_CREDENTIALS: [&str; 12] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ALLOW_HTTP",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "GOOGLE_SERVICE_ACCOUNT",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "AZURE_STORAGE_ACCOUNT_NAME",
    "AZURE_STORAGE_ACCOUNT_KEY",
];

/// What a worker's own environment says of the lake, as options of it.
pub(crate) fn lake_credentials() -> BTreeMap<String, String> {
    let found = LAKE_CREDENTIALS
        .into_iter()
        .filter_map(|name| Some((name.to_ascii_lowercase(), variable(name)?)));
    found.collect()
}

/// What every program needs that a connection runs: where programs and files are, and how text is
/// written. Nothing that could hold a secret.
const FOR_PROGRAMS: [&str; 8] = [
    "PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "USER",
];

/// The variables that programs get besides those that their connection names.
pub(crate) fn for_programs() -> BTreeMap<String, String> {
    let found = FOR_PROGRAMS
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), variable(name)?)));
    found.collect()
}

/// A variable that is set to something.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the environment"
)]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn secret(name: &str) -> Option<Secret> {
    variable(name).map(Secret::new)
}

fn number<T: std::str::FromStr>(name: &str) -> Result<Option<T>> {
    variable(name)
        .map(|value| {
            value.parse().map_err(|_| {
                Error::spec(format!("{name} is not a whole number"))
                    .with("value", &value)
                    .hint(format!(
                        "unset {name}, or set it to a whole number that is not too large"
                    ))
            })
        })
        .transpose()
}

//! The calls and their answers.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};
use weir_protocol::connection::{ConnectionSpec, Credential};
use weir_protocol::hook;
use weir_protocol::permits::{Draw, Drawn};
use weir_protocol::{Secret, SyncMode};

use super::Sender;
use crate::leases::Lease;
use crate::ledger::{Beginning, Begun, Ended, Entry, Renewed, Standing};
use crate::runs::queue::{Claimed, Held};
use crate::slices::{ClaimedSlice, HeldSlice, SliceAnswer, SliceAsk, SliceEnd};

/// One thing that a worker asks.
pub(super) trait Call: Serialize + DeserializeOwned + Send + Sync {
    type Answer: Serialize + DeserializeOwned + Send;
    /// The last part of its path.
    const NAME: &'static str;
    /// Whether it is asked again by itself while the server is away.
    const IS_PATIENT: bool = true;
}

#[derive(Serialize)]
pub(super) struct Outgoing<'a, C> {
    #[serde(flatten)]
    pub(super) from: &'a Sender,
    pub(super) call: &'a C,
}

/// The part that every version can read.
#[derive(Deserialize)]
pub(super) struct Incoming {
    #[serde(flatten)]
    pub(super) from: Sender,
}

#[derive(Deserialize)]
pub(super) struct Asked<C> {
    pub(super) call: C,
}

macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident $fields:tt -> $answer:ty = $word:literal $(, $patient:literal)?;)*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Serialize, Deserialize)]
            pub(super) struct $name $fields

            impl Call for $name {
                type Answer = $answer;
                const NAME: &'static str = $word;
                $(const IS_PATIENT: bool = $patient;)?
            }
        )*
    };
}

calls! {
    /// Makes the worker known; asked before anything else, so that what does not fit is told at once.
    Hello {} -> Welcome = "hello", false;
    /// Takes runs that wait, those first that were taken by a call whose answer was lost: `holding` are
    /// the runs that the worker knows it has.
    Claim { pub(super) runs_max: usize, pub(super) holding: Vec<String> } -> Vec<Assignment> = "claim", false;
    /// Renews the right to runs. Answers which the worker has still.
    Heartbeat { pub(super) runs: Vec<String> } -> Vec<(String, Held)> = "heartbeat";
    Begin { pub(super) beginning: Beginning } -> Begun = "begin";
    Renew { pub(super) lease: Lease } -> Renewed = "renew";
    Stand { pub(super) lease: Lease } -> Standing = "standing";
    ModeOf { pub(super) lease: Lease, pub(super) run: String } -> Option<SyncMode> = "mode";
    /// Writes something down under a lease.
    Write { pub(super) lease: Lease, pub(super) entry: Entry } -> () = "checkpoint";
    Finish { pub(super) ended: Ended } -> () = "finish";
    /// What a run needs that is to be kept to itself.
    Lend { pub(super) run: String } -> Lent = "secret";
    /// An access token of the connection's grant, another one than `refused`.
    Token { pub(super) run: String, pub(super) refused: Option<Carried> } -> Handed = "token";
    /// Leave to send requests for a run's connection.
    Quota { pub(super) run: String, pub(super) draw: Draw } -> Drawn = "quota";
    /// What the connection of a run was sent, after a place.
    Received { pub(super) run: String, pub(super) place: i64, pub(super) limit: u32 } -> Vec<hook::Received> = "received";
    /// What a run's connection was sent is in the lake up to a place.
    Landed { pub(super) run: String, pub(super) place: i64 } -> () = "landed";
    /// What the holder of a stream asks about its slices.
    Slices { pub(super) lease: Lease, pub(super) ask: SliceAsk } -> SliceAnswer = "slices";
    /// Takes slices of other workers' runs, of `run` or of any.
    ClaimSlices { pub(super) run: Option<String>, pub(super) slices_max: usize } -> Vec<SliceAssignment> = "slices_claim", false;
    /// Renews the right to slices. Answers which the worker has still.
    RenewSlices { pub(super) held: Vec<HeldSlice> } -> Vec<String> = "slices_renew", false;
    ReportSlice { pub(super) id: String, pub(super) attempt: i64, pub(super) end: SliceEnd } -> () = "slices_report";
}

/// A secret on its way between a server and whom it lends to.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Carried(#[serde(serialize_with = "exposed_one")] pub(super) Secret);

/// An access token, and for how long it may be used.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Handed {
    pub(super) token: Carried,
    pub(super) use_for_ms: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Welcome {
    pub(super) protocol: u32,
    pub(super) version: String,
    pub(super) tenant: String,
    /// The server's clock; older servers do not say.
    #[serde(default)]
    pub(super) now_ms: Option<i64>,
}

/// A run with all that carrying it out takes, but for what is secret.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Assignment {
    pub(super) claimed: Claimed,
    /// The right to it ends then without a heartbeat.
    pub(super) lease_ms: i64,
    pub(super) papers: Papers,
}

/// A slice with all that reading it takes, but for what is secret.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SliceAssignment {
    pub(super) slice: ClaimedSlice,
    /// With the first slice of a run.
    pub(super) papers: Option<Papers>,
}

/// What a run is made of, without anything that is secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Papers {
    /// Without settings and credential: they may be or hold secrets, and are lent apart.
    pub connection: ConnectionSpec,
    /// The connector's files: path below its folder, and text.
    pub connector: BTreeMap<String, String>,
    pub lake_location: String,
    /// Where the lake is, not who may write there: that the worker's own environment says.
    pub lake_options: BTreeMap<String, String>,
    /// Certificates that the connection trusts besides the machine's, PEM.
    pub roots_pem: Option<String>,
}

/// What is lent to a worker for one run: forgotten when that ends, and never shown.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Lent {
    pub config: Map<String, Value>,
    pub method: Option<String>,
    /// The connection's credential as it is now; short-lived where the auth method yields that.
    #[serde(serialize_with = "exposed")]
    pub credential: Option<BTreeMap<String, Secret>>,
    /// Which texts of these are to be blotted out wherever something is shown.
    #[serde(serialize_with = "exposed_list")]
    pub variables: Vec<Secret>,
    #[serde(serialize_with = "exposed_list")]
    pub secrets: Vec<Secret>,
    /// The key that personal fields are hashed with.
    #[serde(serialize_with = "exposed_one")]
    pub pii_key: Secret,
    /// Names whose account the connection is; empty from a server that does not say.
    #[serde(default)]
    pub account: String,
    /// Whether access tokens are asked for one by one: what they are made from is not lent.
    pub has_tokens: bool,
}

impl Lent {
    /// What a connection holds that is not to be told with it; taken out of it.
    pub fn take_from(connection: &mut ConnectionSpec, pii_key: Secret) -> Self {
        let credential = connection.credential.take();
        let (method, values) = match credential {
            Some(Credential { method, values }) => (method, Some(values)),
            None => (None, None),
        };
        Self {
            config: std::mem::take(&mut connection.config),
            method,
            credential: values,
            variables: std::mem::take(&mut connection.variables),
            secrets: std::mem::take(&mut connection.secrets),
            pii_key,
            account: String::new(),
            has_tokens: false,
        }
    }

    /// Leaves out what only whoever asks the provider for tokens needs: those are lent as they are used.
    pub fn with_tokens_instead_of(mut self, own: &[Secret]) -> Self {
        let is_kept = |secret: &Secret| !own.iter().any(|own| own.expose() == secret.expose());
        if let Some(values) = &mut self.credential {
            values.retain(|_, value| is_kept(value));
        }
        self.variables.retain(is_kept);
        self.secrets.retain(is_kept);
        self.has_tokens = true;
        self
    }

    /// Puts it back into a connection that came without it.
    pub fn give_to(self, connection: &mut ConnectionSpec) -> Secret {
        connection.config = self.config;
        let method = self.method;
        connection.credential = self.credential.map(|values| Credential { method, values });
        connection.variables = self.variables;
        connection.secrets = self.secrets;
        self.pii_key
    }

    /// Names of what is lent, for the audit trail.
    pub(super) fn names(&self) -> Vec<String> {
        let fields = self.credential.iter().flat_map(BTreeMap::keys);
        let mut names: Vec<String> = fields.map(|field| format!("credential.{field}")).collect();
        names.push("config".to_owned());
        names.push("pii_key".to_owned());
        names
    }
}

// The one place where secrets are written out: on the way to whom they are lent.

fn exposed<S: Serializer>(values: &Option<BTreeMap<String, Secret>>, to: S) -> Result<S::Ok, S::Error> {
    let values = values.as_ref();
    let shown: Option<BTreeMap<&str, &str>> = values.map(|values| {
        let pairs = values.iter();
        pairs
            .map(|(name, value)| (name.as_str(), value.expose()))
            .collect()
    });
    shown.serialize(to)
}

fn exposed_list<S: Serializer>(values: &[Secret], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(values.iter().map(Secret::expose))
}

fn exposed_one<S: Serializer>(value: &Secret, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(value.expose())
}

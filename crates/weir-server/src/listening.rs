//! The server's port, with or without TLS.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, crypto};
use tokio_rustls::server::TlsStream;
use weir_protocol::{Error, Result};

/// Clients that may be greeting at once; others wait at the door.
const HANDSHAKES_MAX: usize = 256;
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// Wait after the system refused to accept: it has no file descriptor left, most of all.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// What a connection is made of, encrypted or not.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Who is at the other end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

impl Connected<IncomingStream<'_, Listening>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Listening>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// Certificate and key of the server.
#[derive(Clone)]
pub struct Identity(Arc<ServerConfig>);

impl Identity {
    /// Reads both from files in PEM form.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self> {
        let unreadable = |what: &str, file: &Path| {
            let message = format!("the {what} of the server cannot be read");
            let error = Error::spec(message).with("file", file.display());
            error.hint(
                "name files in PEM form: --tls-cert the chain, the server's own first, --tls-key its key",
            )
        };
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect)
            .map_err(|error| unreadable("certificate", certificate).caused_by(error))?;
        if chain.is_empty() {
            return Err(unreadable("certificate", certificate));
        }
        // The cause may quote the key.
        let own = PrivateKeyDer::from_pem_file(key).map_err(|_| unreadable("key", key))?;
        let provider = Arc::new(crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|config| config.with_no_client_auth().with_single_cert(chain, own))
            .map_err(|error| {
                Error::spec("certificate and key of the server do not fit together")
                    .with("certificate", certificate.display())
                    .with("key", key.display())
                    .caused_by(error)
                    .hint("check that the key is the certificate's own")
            })?;
        let mut config = config;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }
}

/// A port that is listened on.
pub struct Listening {
    tcp: TcpListener,
    tls: Option<TlsAcceptor>,
    greeting: JoinSet<io::Result<(TlsStream<TcpStream>, SocketAddr)>>,
}

impl Listening {
    /// Opens the port.
    pub async fn bind(address: SocketAddr, identity: Option<Identity>) -> Result<Self> {
        let tcp = TcpListener::bind(address).await.map_err(|error| {
            Error::unavailable("cannot listen")
                .with("address", address)
                .caused_by(error)
                .hint("choose another port, or end the program that has it")
        })?;
        Ok(Self {
            tcp,
            tls: identity.map(|identity| TlsAcceptor::from(identity.0)),
            greeting: JoinSet::new(),
        })
    }

    /// Its address as a client writes it.
    pub fn url(&self) -> Result<String> {
        let address = self.tcp.local_addr().map_err(|error| {
            Error::internal("the port has no address")
                .caused_by(error)
                .hint("report it")
        })?;
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        Ok(format!("{scheme}://{address}"))
    }

    fn greet(&mut self, tls: &TlsAcceptor, stream: TcpStream, peer: SocketAddr) {
        let tls = tls.clone();
        self.greeting.spawn(async move {
            let greeted = tokio::time::timeout(HANDSHAKE_TIME_MAX, tls.accept(stream)).await;
            Ok((greeted.map_err(io::Error::other)??, peer))
        });
    }
}

impl Listener for Listening {
    type Io = Box<dyn Stream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Some(tls) = self.tls.clone() else {
                let (stream, peer) = Listener::accept(&mut self.tcp).await;
                return (Box::new(stream), peer);
            };
            let has_room = self.greeting.len() < HANDSHAKES_MAX;
            // One that is slow to greet holds up no other.
            tokio::select! {
                Some(greeted) = self.greeting.join_next() => match greeted {
                    Ok(Ok((stream, peer))) => return (Box::new(stream), peer),
                    Ok(Err(error)) => tracing::debug!(%error, "a client did not speak TLS"),
                    Err(error) => tracing::error!(%error, "a TLS handshake broke off"),
                },
                accepted = self.tcp.accept(), if has_room => match accepted {
                    Ok((stream, peer)) => self.greet(&tls, stream, peer),
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

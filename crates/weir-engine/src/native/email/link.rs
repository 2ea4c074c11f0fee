//! The bytes between weir and a mail server, encrypted or not, and never more of them than was asked for.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};
use weir_protocol::{Error, Result};

use super::settings::{Security, Server};
use crate::http::{ClientSettings, HostRules, before_sending};

#[derive(Debug)]
enum Wire {
    Plain(TcpStream),
    Secure(Box<TlsStream<TcpStream>>),
}

/// A connection to a server.
#[derive(Debug)]
pub(super) struct Link {
    wire: Wire,
    /// Bytes that may still be read.
    left: u64,
}

impl Link {
    fn new(wire: Wire) -> Self {
        Self { wire, left: u64::MAX }
    }

    /// From here on so many bytes may come, and no more.
    pub(super) fn allow(&mut self, bytes: u64) {
        self.left = bytes;
    }

    /// Fails where encryption has begun already.
    pub(super) fn into_plain(self) -> Result<TcpStream> {
        match self.wire {
            Wire::Plain(stream) => Ok(stream),
            Wire::Secure(_) => Err(Error::internal("encryption was begun twice").hint("report it")),
        }
    }
}

/// Opens connections to a connection's servers, and to no others.
pub(super) struct Dialer {
    hosts: HostRules,
    connect_timeout: Duration,
    pub(super) roots_pem: Option<Vec<u8>>,
    tls: OnceLock<Arc<ClientConfig>>,
}

impl Dialer {
    pub(super) fn new(settings: &ClientSettings) -> Self {
        Self {
            hosts: settings.hosts.clone(),
            connect_timeout: settings.patience.connect_timeout,
            roots_pem: settings.extra_roots_pem.clone(),
            tls: OnceLock::new(),
        }
    }

    /// Connects, and begins encryption where it begins at once.
    pub(super) async fn open(&self, server: &Server) -> Result<Link> {
        let stream = tokio::time::timeout(self.connect_timeout, self.connect(server)).await;
        let stream =
            stream.unwrap_or_else(|_| Err(unreachable_server(server, "it did not answer in time")))?;
        match server.tls {
            Security::Tls => self.secure(server, stream).await,
            Security::Starttls | Security::None => Ok(Link::new(Wire::Plain(stream))),
        }
    }

    async fn connect(&self, server: &Server) -> Result<TcpStream> {
        let place = (server.host.as_str(), server.port);
        let found = tokio::net::lookup_host(place).await.map_err(|error| {
            before_sending(
                Error::unavailable("the mail server's name is not known")
                    .with("host", &server.host)
                    .caused_by(error)
                    .hint("check the host's spelling in config, and this machine's name resolution"),
            )
        })?;
        let mut last = None;
        for address in found {
            match self.check(server, address) {
                Ok(()) => match TcpStream::connect(address).await {
                    Ok(stream) => return Ok(stream),
                    Err(error) => last = Some(unreachable_server(server, &error.to_string())),
                },
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| unreachable_server(server, "its name has no address")))
    }

    /// Checked here, where the connection is made, so that a name cannot change its address in between.
    fn check(&self, server: &Server, address: SocketAddr) -> Result<()> {
        self.hosts.check_address(&server.host, address.ip(), false)?;
        if server.tls == Security::None && !server.unencrypted && !address.ip().is_loopback() {
            return Err(
                Error::denied("mail and password would leave this machine unencrypted")
                    .with("host", &server.host)
                    .hint("set tls: starttls or tls: tls, or allow_unencrypted: true where that is meant"),
            );
        }
        Ok(())
    }

    /// Encrypts what was plain until now.
    pub(super) async fn secure(&self, server: &Server, stream: TcpStream) -> Result<Link> {
        let name = ServerName::try_from(server.host.clone()).map_err(|error| {
            Error::spec("the mail server's name is none that a certificate could be for")
                .with("host", &server.host)
                .caused_by(error)
                .hint("set the host's whole name, or its address")
        })?;
        let connector = TlsConnector::from(self.config()?);
        let shaken = tokio::time::timeout(self.connect_timeout, connector.connect(name, stream)).await;
        match shaken {
            Ok(Ok(stream)) => Ok(Link::new(Wire::Secure(Box::new(stream)))),
            Ok(Err(error)) => Err(no_tls(server, error)),
            Err(_) => Err(unreachable_server(server, "encryption did not begin in time")),
        }
    }

    fn config(&self) -> Result<Arc<ClientConfig>> {
        if let Some(config) = self.tls.get() {
            return Ok(config.clone());
        }
        let mut roots = RootCertStore::empty();
        // A machine without roots still reaches servers whose certificates it was given.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        for certificate in CertificateDer::pem_slice_iter(self.roots_pem.as_deref().unwrap_or_default()) {
            let added = certificate.map_err(|error| error.to_string());
            let added =
                added.and_then(|certificate| roots.add(certificate).map_err(|error| error.to_string()));
            added.map_err(|problem| {
                Error::spec("a root certificate cannot be read")
                    .with("problem", problem)
                    .hint("give a file with certificates in PEM form as tls.ca_file")
            })?;
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| {
                Error::internal("TLS cannot be set up")
                    .caused_by(error)
                    .hint("report it")
            })?;
        let config = Arc::new(builder.with_root_certificates(roots).with_no_client_auth());
        Ok(self.tls.get_or_init(|| config).clone())
    }
}

pub(super) fn unreachable_server(server: &Server, problem: &str) -> Error {
    before_sending(
        Error::unavailable("cannot connect to the mail server")
            .with("host", &server.host)
            .with("port", server.port)
            .with("problem", problem)
            .hint("check host and port in config, that the server is up, and that this machine reaches it"),
    )
}

/// What a failed handshake says: another certificate, or no TLS at all.
fn no_tls(server: &Server, error: io::Error) -> Error {
    let cause = error
        .get_ref()
        .and_then(|cause| cause.downcast_ref::<rustls::Error>());
    let (message, hint) = match cause {
        Some(rustls::Error::InvalidCertificate(_)) => (
            "the mail server's certificate is not trusted",
            "check that the host's name is the one in its certificate; name a certificate authority of your own by tls.ca_file of the connection",
        ),
        Some(rustls::Error::InvalidMessage(_)) => (
            "the mail server does not speak TLS at this port",
            "set tls: starttls for ports 587 and 143, or use the port for TLS: 465 (SMTP), 993 (IMAP)",
        ),
        Some(_) => (
            "no encryption could be agreed on with the mail server",
            "weir speaks TLS 1.2 and 1.3; look at the server's settings",
        ),
        None => return unreachable_server(server, &format!("it broke off while encryption began: {error}")),
    };
    Error::denied(message)
        .with("host", &server.host)
        .with("port", server.port)
        .caused_by(error)
        .hint(hint)
}

impl AsyncRead for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "the server sends more than it announced",
            )));
        }
        let before = buffer.filled().len();
        let polled = match &mut self.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Wire::Secure(stream) => Pin::new(stream).poll_read(context, buffer),
        };
        let read = (buffer.filled().len() - before) as u64;
        self.left = self.left.saturating_sub(read);
        polled
    }
}

impl AsyncWrite for Link {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Wire::Secure(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_flush(context),
            Wire::Secure(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Wire::Secure(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

impl AsyncTokioStream for Link {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        match &self.wire {
            Wire::Plain(stream) => stream.peer_addr(),
            Wire::Secure(stream) => stream.get_ref().0.peer_addr(),
        }
    }
}

//! What network outputs share: their settings, secrets from files, TLS, connections.
//!
//! [`Remote`] holds what the configuration says beside the address. Certificates and secrets are read
//! again whenever they are used anew, so that renewing them needs no restart; `Connection` is a stream,
//! encrypted or not, of which no operation waits longer than it was told.

use crate::alert::Alert;
use nix::libc;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use sha2::{Digest, Sha256};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Default of `timeout`: a receiver that takes longer to answer is taken for frozen.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// A chain, a bundle of authorities, a key: kilobytes.
const MAX_PEM: u64 = 4 << 20;
/// A token, a password, a key of HMAC: one line.
const MAX_SECRET: u64 = 64 << 10;

/// Settings of a network output beside its address.
#[derive(Clone, PartialEq, Eq)]
pub struct Remote {
    /// How long one step may take: to connect, to send, to be answered.
    pub timeout: Duration,
    /// Whom to trust, and who we are.
    pub identity: Identity,
    /// Whether the connection is encrypted, where the scheme does not say.
    pub tls: bool,
    /// A token, in a file.
    pub token: Option<PathBuf>,
    /// A key that requests are signed with, in a file.
    pub hmac: Option<PathBuf>,
    /// A name to log in with, and the file that holds its password.
    pub login: Option<(String, PathBuf)>,
    /// How a name and a password are shown.
    pub sasl: Sasl,
    /// Credentials of NATS: a JWT and a seed, or a seed alone.
    pub creds: Option<PathBuf>,
    /// The URL of an HTTP proxy; it may hold a password.
    pub proxy: Option<String>,
    /// Whether bodies are compressed.
    pub gzip: bool,
    /// What the body of a request looks like.
    pub body: Body,
    /// The index or data stream.
    pub index: Option<String>,
}

/// How a name and a password are shown to a broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sasl {
    /// As they are.
    Plain,
    /// RFC 7677.
    #[default]
    ScramSha256,
    /// The same with SHA-512.
    ScramSha512,
}

impl Sasl {
    /// Every mechanism.
    pub const ALL: [Sasl; 3] = [Sasl::Plain, Sasl::ScramSha256, Sasl::ScramSha512];

    /// The name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Sasl::Plain => "plain",
            Sasl::ScramSha256 => "scram-sha-256",
            Sasl::ScramSha512 => "scram-sha-512",
        }
    }
}

/// What the body of an HTTP request looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Body {
    /// One alert on a line.
    #[default]
    Lines,
    /// `_bulk` of Elasticsearch.
    Elasticsearch,
    /// `_bulk` of OpenSearch.
    OpenSearch,
    /// Events of Splunk's HTTP Event Collector.
    Splunk,
}

impl Body {
    /// Those that have a name of their own among the encodings.
    pub const NAMED: [Body; 3] = [Body::Elasticsearch, Body::OpenSearch, Body::Splunk];

    /// The name in the configuration; that of [`Body::Lines`] is the encoding of a line.
    pub fn name(self) -> &'static str {
        match self {
            Body::Lines => "ecs",
            Body::Elasticsearch => "elasticsearch",
            Body::OpenSearch => "opensearch",
            Body::Splunk => "splunk",
        }
    }
}

/// Files of TLS, in PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The authorities that may vouch for the receiver; none: those of the system.
    pub ca: Option<PathBuf>,
    /// Our certificate and its chain, and its private key.
    pub client: Option<(PathBuf, PathBuf)>,
}

impl Default for Remote {
    fn default() -> Remote {
        Remote {
            timeout: DEFAULT_TIMEOUT,
            identity: Identity::default(),
            tls: false,
            token: None,
            hmac: None,
            login: None,
            sasl: Sasl::default(),
            creds: None,
            proxy: None,
            gzip: true,
            body: Body::default(),
            index: None,
        }
    }
}

/// Without the proxy, which may hold a password.
impl fmt::Debug for Remote {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = formatter.debug_struct("Remote");
        out.field("timeout", &self.timeout).field("identity", &self.identity).field("tls", &self.tls);
        out.field("token", &self.token).field("hmac", &self.hmac).field("login", &self.login);
        out.field("body", &self.body).finish_non_exhaustive()
    }
}

/// What a file of [`Identity`] is for; the name is the stem of its key in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `ca_file`
    Ca,
    /// `cert_file`
    Cert,
    /// `key_file`
    Key,
}

impl Role {
    /// The stem of the key in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Role::Ca => "ca",
            Role::Cert => "cert",
            Role::Key => "key",
        }
    }
}

/// Why TLS cannot be set up. No content of a file is repeated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct IdentityError {
    /// The file to mend.
    pub role: Role,
    /// Its path, and what is wrong with it.
    pub reason: String,
}

/// What the files of an [`Identity`] gave.
pub(super) struct Loaded {
    pub(super) roots: Vec<CertificateDer<'static>>,
    /// The certificate and its chain, and the private key in PEM.
    pub(super) client: Option<(Vec<CertificateDer<'static>>, Vec<u8>)>,
    pub(super) config: Arc<ClientConfig>,
}

impl Identity {
    /// Whether the files can be used.
    ///
    /// # Errors
    ///
    /// The first file that cannot be used, and why.
    pub fn check(&self) -> Result<(), IdentityError> {
        self.load().map(|_| ())
    }

    /// Reads the files.
    pub(super) fn load(&self) -> Result<Loaded, IdentityError> {
        let roots = match &self.ca {
            Some(path) => certificates(path, Role::Ca)?,
            None => rustls_native_certs::load_native_certs().certs,
        };
        let mut store = RootCertStore::empty();
        match &self.ca {
            // Whoever names authorities means all of them.
            Some(path) => {
                for root in &roots {
                    store.add(root.clone()).map_err(|error| {
                        refuse(Role::Ca, path, &format!("not usable as an authority: {error}"))
                    })?;
                }
            }
            None if store.add_parsable_certificates(roots.iter().cloned()).0 == 0 => {
                let reason = "the system has no certificates of authorities (package ca-certificates); \
                              `ca_file` names others"
                    .to_owned();
                return Err(IdentityError { role: Role::Ca, reason });
            }
            None => {}
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| IdentityError { role: Role::Ca, reason: error.to_string() })?
            .with_root_certificates(store);
        let mut client = None;
        let config = match &self.client {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let chain = certificates(cert, Role::Cert)?;
                let pem = bounded(key, MAX_PEM).map_err(|reason| refuse(Role::Key, key, &reason))?;
                let secret = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| {
                    let reason = "no private key in PEM (PKCS #8, PKCS #1 or SEC 1, not encrypted)";
                    refuse(Role::Key, key, reason)
                })?;
                client = Some((chain.clone(), pem));
                builder.with_client_auth_cert(chain, secret).map_err(|error| match error {
                    rustls::Error::InconsistentKeys(_) => refuse(
                        Role::Key,
                        key,
                        &format!("not the key of the certificate in {}", cert.display()),
                    ),
                    other => refuse(Role::Cert, cert, &other.to_string()),
                })?
            }
        };
        Ok(Loaded { roots, client, config: Arc::new(config) })
    }

    /// What changes when a file is replaced: cheap to ask for.
    pub(super) fn stamp(&self) -> Vec<Option<(u64, i64, i64, u64)>> {
        use std::os::unix::fs::MetadataExt;
        let client = self.client.iter().flat_map(|(cert, key)| [cert, key]);
        let each = self.ca.iter().chain(client).map(|path| {
            let file = std::fs::metadata(path).ok()?;
            Some((file.ino(), file.mtime(), file.mtime_nsec(), file.len()))
        });
        each.collect()
    }
}

fn refuse(role: Role, path: &Path, reason: &str) -> IdentityError {
    IdentityError { role, reason: format!("{}: {reason}", path.display()) }
}

fn certificates(path: &Path, role: Role) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let bytes = bounded(path, MAX_PEM).map_err(|reason| refuse(role, path, &reason))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(refuse(role, path, "no certificate in PEM (-----BEGIN CERTIFICATE-----)")),
        Err(_) => Err(refuse(role, path, "broken PEM")),
    }
}

fn bounded(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    let file = std::fs::File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > limit {
        return Err(format!("larger than {} KiB", limit >> 10));
    }
    Ok(bytes)
}

/// The secret in a file, without the end of its last line; the file is read each time, so that a new
/// one acts at once.
///
/// # Errors
///
/// Why there is none, without a word of what the file holds.
pub fn secret(path: &Path) -> Result<Vec<u8>, String> {
    let refuse = |reason: &str| format!("{}: {reason}", path.display());
    let mut bytes = bounded(path, MAX_SECRET).map_err(|reason| refuse(&reason))?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    if bytes.is_empty() { Err(refuse("empty")) } else { Ok(bytes) }
}

/// The same, as one line of printable ASCII: what a header or a protocol of lines can carry.
///
/// # Errors
///
/// As [`secret`].
pub fn printable_secret(path: &Path) -> Result<String, String> {
    let bytes = secret(path)?;
    match String::from_utf8(bytes) {
        Ok(text) if text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') => Ok(text),
        _ => Err(format!("{}: not one line of printable ASCII", path.display())),
    }
}

/// What tells an alert from every other that an output gets: `event.id`, and whom it concerns, since the
/// alerts of one match for two constituents share `event.id`. Printable ASCII without spaces.
pub fn key(alert: &Alert) -> String {
    let id: String = alert
        .id
        .chars()
        .map(|character| if character.is_ascii_graphic() { character } else { '_' })
        .collect();
    match &alert.organization {
        None => id,
        Some(organization) => {
            let digest = Sha256::digest(organization.name.as_bytes());
            let short = digest.iter().take(8).map(|byte| format!("{byte:02x}"));
            format!("{id}-{}", short.collect::<String>())
        }
    }
}

/// A stream to a receiver.
pub(super) struct Connection {
    stream: Stream,
}

// One for each output, for as long as it is open: nothing is gained by a box.
#[expect(clippy::large_enum_variant, reason = "one for each output")]
enum Stream {
    Plain(TcpStream),
    Tls(StreamOwned<ClientConnection, TcpStream>),
}

impl Connection {
    /// Connects to the first address of the host that answers; no step takes longer than `timeout`.
    pub(super) fn open(host: &str, port: u16, timeout: Duration) -> io::Result<Connection> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "no address of this name");
        for address in (host, port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, timeout) {
                Ok(socket) => {
                    socket.set_nodelay(true)?;
                    socket.set_read_timeout(Some(timeout))?;
                    socket.set_write_timeout(Some(timeout))?;
                    return Ok(Connection { stream: Stream::Plain(socket) });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Encrypts what follows, and makes sure of whom it goes to.
    pub(super) fn encrypt(self, host: &str, identity: &Identity) -> io::Result<Connection> {
        let Stream::Plain(socket) = self.stream else { return Ok(self) };
        let config = identity.load().map_err(io::Error::other)?.config;
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let session = ClientConnection::new(config, name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(session, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Connection { stream: Stream::Tls(stream) })
    }

    pub(super) fn socket(&self) -> &TcpStream {
        match &self.stream {
            Stream::Plain(socket) => socket,
            Stream::Tls(stream) => &stream.sock,
        }
    }

    /// Whether the peer still holds its end open; what it said meanwhile is thrown away.
    pub(super) fn is_open(&mut self) -> bool {
        if self.socket().set_nonblocking(true).is_err() {
            return false;
        }
        let mut ignored = [0; 4096];
        let open = loop {
            match self.read(&mut ignored) {
                Ok(0) => break false,
                Ok(_) => {}
                Err(error) => break error.kind() == io::ErrorKind::WouldBlock,
            }
        };
        open && self.socket().set_nonblocking(false).is_ok()
    }

    /// Says that nothing more comes, and waits until the peer has read everything and closes as well.
    pub(super) fn finish(mut self, timeout: Duration) -> io::Result<()> {
        if let Stream::Tls(stream) = &mut self.stream {
            stream.conn.send_close_notify();
            while stream.conn.wants_write() {
                stream.conn.write_tls(&mut stream.sock)?;
            }
        }
        self.socket().shutdown(Shutdown::Write)?;
        let until = Instant::now() + timeout;
        let mut ignored = [0; 4096];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.socket().set_read_timeout(Some(left))?;
            // The bare socket: whether its answer is encrypted well no longer matters, only that it ends.
            match self.socket().read(&mut ignored) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Plain(socket) => socket.read(buffer),
            Stream::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Plain(socket) => socket.write(bytes),
            Stream::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(socket) => socket.flush(),
            Stream::Tls(stream) => stream.flush(),
        }
    }
}

/// What went wrong on a connection, for an operator.
pub(super) fn explain(error: &io::Error) -> String {
    match error.kind() {
        // What a socket with a time limit says when it passes.
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "no answer in time".to_owned(),
        io::ErrorKind::UnexpectedEof => "the receiver closed the connection".to_owned(),
        _ => match error.raw_os_error() {
            Some(libc::EPIPE) => "the receiver closed the connection".to_owned(),
            _ => error.to_string(),
        },
    }
}

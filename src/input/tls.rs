//! TLS of listeners (RFC 5425): certificates, client certificates, revocation, and their renewal.
//!
//! [`Files`] names what is read, [`Tls`] holds what is in force: [`Tls::reload`] reads the files again
//! and swaps the whole at once. A connection keeps what it began with, so that a renewal drops none;
//! files that do not fit together change nothing. [`Identity`] is what a client's certificate says of
//! its holder. [`ClientFiles`] is the other side, for `send`.

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};
use std::fmt;
use std::hash::BuildHasher;
use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// Whether clients must show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not asked.
    #[default]
    None,
    /// One that they show must be good.
    Optional,
    /// They must show a good one.
    Required,
}

impl ClientAuth {
    /// Every value.
    pub const ALL: [ClientAuth; 3] = [ClientAuth::None, ClientAuth::Optional, ClientAuth::Required];

    /// The name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            ClientAuth::None => "none",
            ClientAuth::Optional => "optional",
            ClientAuth::Required => "required",
        }
    }
}

/// Where the certificates of a listener are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// Its certificate, then those that lead to the root (PEM).
    pub cert: PathBuf,
    /// The private key of the first (PEM).
    pub key: PathBuf,
    /// The authorities that clients' certificates may come from (PEM).
    pub client_ca: Option<PathBuf>,
    /// What these revoked (PEM, any number, or DER).
    pub crl: Option<PathBuf>,
    /// Whether clients must show a certificate.
    pub client_auth: ClientAuth,
}

/// What a file is for; the name is the label `role`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The listener's certificate and its chain.
    Cert,
    /// Its private key.
    Key,
    /// The authorities of clients.
    ClientCa,
    /// Their revocation lists.
    Crl,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 4] = [Role::Cert, Role::Key, Role::ClientCa, Role::Crl];

    /// The name, also the stem of the key in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Role::Cert => "cert",
            Role::Key => "key",
            Role::ClientCa => "client_ca",
            Role::Crl => "crl",
        }
    }
}

/// Why files cannot be used. No content is repeated: one of them is a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct TlsError {
    /// Which of them.
    pub role: Role,
    /// Its path.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// What is in force on a listener.
pub struct Tls {
    files: Mutex<Files>,
    loaded: ArcSwap<Loaded>,
}

/// What the files gave.
struct Loaded {
    config: Arc<ServerConfig>,
    /// Seconds since 1970 at which the first of the certificates of a file ends, or a list should have
    /// been replaced.
    expiry: Vec<(Role, i64)>,
    /// Of what the files hold.
    digest: [u8; 32],
    warnings: Vec<Warning>,
}

/// What will refuse clients though the files can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Warning {
    /// The file to mend.
    pub role: Role,
    /// What is wrong with it.
    pub reason: String,
}

/// A chain, a bundle of authorities, a key: kilobytes.
const MAX_PEM: u64 = 4 << 20;

/// A revocation list of a national authority has some hundred thousand entries of 40 bytes.
const MAX_CRL: u64 = 64 << 20;

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// The first file that cannot be used, and why.
    pub fn load(files: Files) -> Result<Tls, TlsError> {
        let loaded = load(&files)?;
        Ok(Tls { loaded: ArcSwap::from_pointee(loaded), files: Mutex::new(files) })
    }

    /// Reads the files again, or others; what is in force stays where they cannot be used. False if
    /// they say what they said before.
    ///
    /// # Errors
    ///
    /// As [`Tls::load`].
    pub fn reload(&self, others: Option<Files>) -> Result<bool, TlsError> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = others.unwrap_or_else(|| files.clone());
        let loaded = load(&wanted)?;
        let changed = *files != wanted || self.loaded.load().digest != loaded.digest;
        if changed {
            self.loaded.store(Arc::new(loaded));
            *files = wanted;
        }
        Ok(changed)
    }

    /// What a new connection begins with.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.loaded.load().config)
    }

    /// What was noticed when the files were read.
    pub fn warnings(&self) -> Vec<Warning> {
        self.loaded.load().warnings.clone()
    }

    /// When the files run out, in seconds since 1970.
    pub fn expiry(&self) -> Vec<(Role, PathBuf, i64)> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let path = |role| files.paths().find(|(one, _)| *one == role).map(|(_, path)| path.clone());
        let expiry = &self.loaded.load().expiry;
        expiry.iter().filter_map(|(role, end)| Some((*role, path(*role)?, *end))).collect()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Files {
    /// Every file that is named.
    pub fn paths(&self) -> impl Iterator<Item = (Role, &PathBuf)> {
        let always = [(Role::Cert, &self.cert), (Role::Key, &self.key)];
        let client_ca = self.client_ca.iter().map(|path| (Role::ClientCa, path));
        always.into_iter().chain(client_ca).chain(self.crl.iter().map(|path| (Role::Crl, path)))
    }

    /// Whether they can be used, as [`Tls::load`] finds out.
    ///
    /// # Errors
    ///
    /// As [`Tls::load`].
    pub fn check(&self) -> Result<Vec<Warning>, TlsError> {
        load(self).map(|loaded| loaded.warnings)
    }
}

fn load(files: &Files) -> Result<Loaded, TlsError> {
    let refuse = |role, path: &Path, reason: String| TlsError { role, path: path.to_owned(), reason };
    let bad_cert = |reason: String| refuse(Role::Cert, &files.cert, reason);
    let bad_key = |reason: String| refuse(Role::Key, &files.key, reason);
    let mut digest = Sha256::new();
    let chain = certificates(&files.cert, &mut digest).map_err(bad_cert)?;
    let key = read(&files.key, MAX_PEM, &mut digest).map_err(bad_key)?;
    let key = private_key(&key).map_err(bad_key)?;
    let (mut expiry, mut warnings) = (Vec::new(), Vec::new());
    expiry.extend(first_end(&chain).map(|end| (Role::Cert, end)));

    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| bad_cert(error.to_string()))?;
    let builder = match &files.client_ca {
        Some(path) if files.client_auth != ClientAuth::None => {
            let bad_ca = |reason: String| refuse(Role::ClientCa, path, reason);
            let authorities = certificates(path, &mut digest).map_err(bad_ca)?;
            expiry.extend(first_end(&authorities).map(|end| (Role::ClientCa, end)));
            let mut roots = RootCertStore::empty();
            for authority in &authorities {
                roots
                    .add(authority.clone())
                    .map_err(|error| bad_ca(format!("not usable as an authority: {error}")))?;
            }
            let mut verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let mut bad = (Role::ClientCa, path);
            if let Some(path) = &files.crl {
                let lists =
                    revocations(path, &mut digest).map_err(|reason| refuse(Role::Crl, path, reason))?;
                expiry.extend(first_update(&lists).map(|end| (Role::Crl, end)));
                warnings = unlisted(&authorities, &lists, super::now() / 1_000_000_000);
                verifier = verifier.with_crls(lists);
                bad = (Role::Crl, path);
            }
            if files.client_auth == ClientAuth::Optional {
                verifier = verifier.allow_unauthenticated();
            }
            let verifier = verifier.build().map_err(|error| refuse(bad.0, bad.1, error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
        _ => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            bad_key(format!("not the key of the certificate in {}", files.cert.display()))
        }
        other => bad_cert(plain(&other)),
    })?;
    // A resumed session would not be asked whether its certificate was revoked meanwhile; syslog
    // connections live long, so that little would be saved.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Loaded { config: Arc::new(config), expiry, digest: digest.finalize().into(), warnings })
}

/// What whoever sends over TLS needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFiles {
    /// The authorities that the sensor's certificate may come from (PEM).
    pub ca: PathBuf,
    /// The certificate to show, with those that lead to the root, and its private key (PEM).
    pub cert: Option<(PathBuf, PathBuf)>,
    /// The name that the sensor's certificate must have; else the host of the address.
    pub server_name: Option<String>,
}

impl ClientFiles {
    /// Reads the files; an error names the one to mend.
    pub fn load(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let mut digest = Sha256::new();
        let refuse = |role, path: &Path, reason: String| TlsError { role, path: path.to_owned(), reason };
        let bad_ca = |reason: String| refuse(Role::ClientCa, &self.ca, reason);
        let mut roots = RootCertStore::empty();
        for authority in certificates(&self.ca, &mut digest).map_err(bad_ca)? {
            roots.add(authority).map_err(|error| bad_ca(format!("not usable as an authority: {error}")))?;
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|error| bad_ca(error.to_string()))?
            .with_root_certificates(roots);
        let Some((cert, key)) = &self.cert else { return Ok(Arc::new(builder.with_no_client_auth())) };
        let chain = certificates(cert, &mut digest).map_err(|reason| refuse(Role::Cert, cert, reason))?;
        let bad_key = |reason: String| refuse(Role::Key, key, reason);
        let key = private_key(&read(key, MAX_PEM, &mut digest).map_err(bad_key)?).map_err(bad_key)?;
        let config = builder.with_client_auth_cert(chain, key);
        config.map(Arc::new).map_err(|error| refuse(Role::Cert, cert, plain(&error)))
    }
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(pem)
        .map_err(|_| "no private key in PEM (PKCS #8, PKCS #1 or SEC 1, not encrypted)".to_owned())
}

/// What is wrong with a certificate of ours, in words.
fn plain(error: &rustls::Error) -> String {
    let text = error.to_string();
    // What `openssl x509 -req` makes unless it is given extensions.
    if text.contains("UnsupportedCertVersion") {
        return "a certificate of X.509 version 1, which has no names that peers could verify; version 3 is needed"
            .to_owned();
    }
    match error {
        rustls::Error::InvalidCertificate(reason) => format!("not a usable certificate: {reason}"),
        _ => text,
    }
}

fn read(path: &Path, limit: u64, digest: &mut Sha256) -> Result<Vec<u8>, String> {
    let file = std::fs::File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > limit {
        return Err(format!("larger than {} MiB", limit >> 20));
    }
    digest.update((bytes.len() as u64).to_le_bytes());
    digest.update(&bytes);
    Ok(bytes)
}

fn certificates(path: &Path, digest: &mut Sha256) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = read(path, MAX_PEM, digest)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err("no certificate in PEM (-----BEGIN CERTIFICATE-----)".to_owned()),
        Err(_) => Err("broken PEM".to_owned()),
    }
}

fn revocations(
    path: &Path,
    digest: &mut Sha256,
) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    let bytes = read(path, MAX_CRL, digest)?;
    if memchr::memmem::find(&bytes, b"-----BEGIN").is_none() {
        return Ok(vec![CertificateRevocationListDer::from(bytes)]);
    }
    let found: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err("no revocation list (-----BEGIN X509 CRL-----)".to_owned()),
        Err(_) => Err("broken PEM".to_owned()),
    }
}

/// When the first of some certificates ends.
fn first_end(certificates: &[CertificateDer<'_>]) -> Option<i64> {
    let ends = certificates.iter().filter_map(|certificate| {
        let certificate = x509_cert::Certificate::from_der(certificate).ok()?;
        seconds(certificate.tbs_certificate().validity().not_after)
    });
    ends.min()
}

/// When the first of some revocation lists should have been replaced.
fn first_update(lists: &[CertificateRevocationListDer<'_>]) -> Option<i64> {
    let updates = lists.iter().filter_map(|list| {
        let list = x509_cert::crl::CertificateList::<x509_cert::certificate::Rfc5280>::from_der(list).ok()?;
        list.tbs_cert_list.next_update.and_then(seconds)
    });
    updates.min()
}

/// Where lists are given, one is needed for each authority: what is not known to be good is refused.
fn unlisted(
    authorities: &[CertificateDer<'_>],
    lists: &[CertificateRevocationListDer<'_>],
    now: i64,
) -> Vec<Warning> {
    use x509_cert::certificate::Rfc5280;
    let warn = |reason| Warning { role: Role::Crl, reason };
    let lists: Vec<_> = lists
        .iter()
        .filter_map(|list| x509_cert::crl::CertificateList::<Rfc5280>::from_der(list).ok())
        .map(|list| list.tbs_cert_list)
        .collect();
    let mut warnings = Vec::new();
    for authority in authorities {
        let Ok(authority) = x509_cert::Certificate::from_der(authority) else { continue };
        let subject = authority.tbs_certificate().subject();
        if !lists.iter().any(|list| list.issuer == *subject) {
            warnings.push(warn(format!("no revocation list of {subject}: its clients are refused")));
        }
    }
    for list in &lists {
        if let Some(end) = list.next_update.and_then(seconds).filter(|end| *end < now) {
            let days = (now - end) / 86_400;
            let issuer = &list.issuer;
            warnings.push(warn(format!(
                "the revocation list of {issuer} should have been replaced {days} days ago"
            )));
        }
    }
    if let Some(more) = warnings.len().checked_sub(MAX_WARNINGS).filter(|more| *more > 0) {
        warnings.truncate(MAX_WARNINGS);
        warnings.push(warn(format!("so it is with {more} more")));
    }
    warnings
}

/// Warnings of one file; a bundle of every authority there is would fill the screen.
const MAX_WARNINGS: usize = 8;

fn seconds(time: x509_cert::time::Time) -> Option<i64> {
    i64::try_from(time.to_unix_duration().as_secs()).ok()
}

/// Who a client is by its certificate, which the listener has verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    names: Vec<String>,
    number: u64,
}

/// Names that one certificate gives its holder; an authority may write hundreds of them.
const MAX_NAMES: usize = 16;

/// Bytes of one: a DNS name has 253 at most.
const MAX_NAME: usize = 256;

impl Identity {
    /// Reads the names of a certificate in DER: DNS names and addresses of the subject's alternative
    /// names; its common name only where it has none of these (RFC 5425 §5.2, RFC 6125 §6.4.4), since
    /// authorities that look at the alternative names let the rest of the subject be anything. None
    /// where it has no name.
    pub fn of(certificate: &[u8]) -> Option<Identity> {
        let certificate = x509_cert::Certificate::from_der(certificate).ok()?;
        let certificate = certificate.tbs_certificate();
        let mut names = Vec::new();
        if let Ok(Some((_, SubjectAltName(alternatives)))) = certificate.get_extension::<SubjectAltName>() {
            names.extend(alternatives.iter().take(MAX_NAMES).filter_map(|name| match name {
                GeneralName::DnsName(name) => Some(name.as_str().to_owned()),
                GeneralName::IpAddress(bytes) => address(bytes.as_bytes()),
                _ => None,
            }));
        }
        if names.is_empty()
            && let Ok(Some(name)) = certificate.subject().common_name()
        {
            names.push(name.value().into_owned());
        }
        Identity::named(names)
    }

    /// The holder of these names.
    pub fn named(mut names: Vec<String>) -> Option<Identity> {
        names.retain(|name| !name.is_empty() && name.len() <= MAX_NAME);
        // 0 stands for nobody.
        let number = foldhash::fast::FixedState::default().hash_one(&names).max(1);
        (!names.is_empty()).then_some(Identity { names, number })
    }

    /// Every name, the most exact first.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The name to show.
    pub fn name(&self) -> &str {
        self.names.first().map_or("", String::as_str)
    }

    /// Tells identities apart without comparing their names; never 0. Authorities that are trusted sign
    /// what it is made of.
    pub fn number(&self) -> u64 {
        self.number
    }
}

fn address(bytes: &[u8]) -> Option<String> {
    let ip = match bytes.len() {
        4 => IpAddr::from(*bytes.first_chunk::<4>()?),
        16 => IpAddr::from(*bytes.first_chunk::<16>()?),
        _ => return None,
    };
    Some(ip.to_canonical().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
    use std::fs;

    fn params(names: &[&str], common: Option<&str>) -> CertificateParams {
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(common) = common {
            params.distinguished_name.push(DnType::CommonName, common);
        }
        params
    }

    fn signed(params: &CertificateParams) -> (String, Vec<u8>, String) {
        let key = KeyPair::generate().unwrap();
        let cert = params.self_signed(&key).unwrap();
        (cert.pem(), cert.der().to_vec(), key.serialize_pem())
    }

    #[test]
    fn names_of_certificates() {
        let long = "x".repeat(MAX_NAME + 1);
        let many: Vec<String> = (0..100).map(|number| format!("{number}.example")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        for (name, alternatives, common, expected) in [
            ("both", &["fw.example", "192.0.2.1"][..], Some("Firewall 2"), Some("fw.example 192.0.2.1")),
            ("the name of another", &["a.example"], Some("fw.example"), Some("a.example")),
            ("an address and the name of another", &["192.0.2.1"], Some("fw.example"), Some("192.0.2.1")),
            ("common name alone", &[], Some("Zyra e parë"), Some("Zyra e parë")),
            ("IPv6", &["2001:db8::1"], None, Some("2001:db8::1")),
            ("none", &[], None, None),
            ("too long", &[], Some(&long[..]), None),
        ] {
            let (_, der, _) = signed(&params(alternatives, common));
            let identity = Identity::of(&der);
            assert_eq!(identity.map(|one| one.names().join(" ")).as_deref(), expected, "{name}");
        }
        let (_, der, _) = signed(&params(&many, None));
        assert_eq!(Identity::of(&der).unwrap().names().len(), MAX_NAMES);
        let mut mail = params(&[], None);
        mail.subject_alt_names = vec![SanType::Rfc822Name("a@b.example".try_into().unwrap())];
        assert_eq!(Identity::of(&signed(&mail).1), None);
        for cut in 0..der.len() {
            assert_eq!(Identity::of(&der[..cut]), None);
        }
        assert_eq!(Identity::named(vec!["a".into()]), Identity::named(vec!["a".into()]));
        assert_ne!(
            Identity::named(vec!["a".into()]).unwrap().number(),
            Identity::named(vec!["b".into()]).unwrap().number()
        );
    }

    #[test]
    fn authorities_without_a_list_and_lists_of_yesterday_are_warned_of() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let authority = |name: &str| {
            let mut authority = params(&[], Some(name));
            authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            authority.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
            CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap()
        };
        let list = |issuer: &CertifiedIssuer<'_, KeyPair>, until: i32| {
            let params = rcgen::CertificateRevocationListParams {
                this_update: rcgen::date_time_ymd(2020, 1, 1),
                next_update: rcgen::date_time_ymd(until, 1, 1),
                crl_number: rcgen::SerialNumber::from(1u64),
                issuing_distribution_point: None,
                revoked_certs: Vec::new(),
                key_identifier_method: rcgen::KeyIdMethod::Sha256,
            };
            params.signed_by(issuer).unwrap().pem().unwrap()
        };
        let (cert, _, key) = signed(&params(&["sensor.example"], None));
        let (one, two) = (authority("One"), authority("Two"));
        let files = Files {
            cert: write("cert", &cert),
            key: write("key", &key),
            client_ca: Some(write("ca", &format!("{}{}", one.pem(), two.pem()))),
            crl: Some(write("crl", &format!("{}{}", list(&one, 2090), list(&two, 2090)))),
            client_auth: ClientAuth::Required,
        };
        let warnings = |files: &Files| -> Vec<String> {
            files.check().unwrap().iter().map(|warning| warning.reason.clone()).collect()
        };
        assert_eq!(warnings(&files), Vec::<String>::new());
        write("crl", &list(&one, 2021));
        let found = warnings(&files);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0], "no revocation list of CN=Two: its clients are refused");
        assert!(
            found[1].starts_with("the revocation list of CN=One should have been replaced "),
            "{found:?}"
        );
        let tls = Tls::load(files.clone()).unwrap();
        assert_eq!(tls.warnings().len(), 2);
        write("crl", &format!("{}{}", list(&one, 2090), list(&two, 2090)));
        assert_eq!(tls.reload(None), Ok(true));
        assert_eq!(tls.warnings(), []);
        assert_eq!(
            warnings(&Files { crl: None, ..files }),
            Vec::<String>::new(),
            "where none is given, none is asked"
        );
    }

    #[test]
    fn files_that_cannot_be_used_say_which_and_why() {
        let folder = tempfile::tempdir().unwrap();
        let (cert, _, key) = signed(&params(&["sensor.example"], None));
        let (_, _, other_key) = signed(&params(&["other.example"], None));
        let mut authority = params(&[], Some("CA"));
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap().pem();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let good = Files {
            cert: write("cert", &cert),
            key: write("key", &key),
            client_ca: Some(write("ca", &authority)),
            crl: None,
            client_auth: ClientAuth::Required,
        };
        let (empty, broken) = (write("empty", ""), write("broken", "-----BEGIN CERTIFICATE-----\n???\n"));
        let nowhere = folder.path().join("nowhere");
        let tls = Tls::load(good.clone()).unwrap();
        assert!(tls.expiry().iter().map(|(role, ..)| *role).eq([Role::Cert, Role::ClientCa]));
        assert!(!tls.reload(None).unwrap(), "nothing changed");
        for (name, files, role, reason) in [
            ("no file", Files { cert: nowhere.clone(), ..good.clone() }, Role::Cert, "cannot be read"),
            (
                "no certificate",
                Files { cert: empty.clone(), ..good.clone() },
                Role::Cert,
                "no certificate in PEM",
            ),
            (
                "a key for a certificate",
                Files { cert: good.key.clone(), ..good.clone() },
                Role::Cert,
                "no certificate in PEM",
            ),
            ("broken", Files { cert: broken.clone(), ..good.clone() }, Role::Cert, "broken PEM"),
            ("no key", Files { key: good.cert.clone(), ..good.clone() }, Role::Key, "no private key in PEM"),
            (
                "another's key",
                Files { key: write("other", &other_key), ..good.clone() },
                Role::Key,
                "not the key of the certificate",
            ),
            (
                "no authority",
                Files { client_ca: Some(empty.clone()), ..good.clone() },
                Role::ClientCa,
                "no certificate in PEM",
            ),
            ("no list", Files { crl: Some(empty.clone()), ..good.clone() }, Role::Crl, ""),
            (
                "a certificate for a list",
                Files { crl: Some(good.cert.clone()), ..good.clone() },
                Role::Crl,
                "no revocation list",
            ),
        ] {
            let error = tls.reload(Some(files)).expect_err(name);
            assert_eq!(error.role, role, "{name}: {error}");
            assert!(error.reason.contains(reason), "{name}: {error}");
            assert!(!error.to_string().contains("PRIVATE"), "{name}: {error}");
        }
        assert!(!tls.reload(Some(good.clone())).unwrap(), "the old ones are in force");
        let (cert, _, key) = signed(&params(&["renewed.example"], None));
        fs::write(&good.cert, cert).unwrap();
        fs::write(&good.key, key).unwrap();
        assert!(tls.reload(None).unwrap());
        // Clients that are not asked need no authority.
        let unasked = Files { client_ca: Some(empty), client_auth: ClientAuth::None, ..good };
        assert!(unasked.check().is_ok());
    }
}

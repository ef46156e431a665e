//! Alerts into a JetStream stream (NATS), each publication acknowledged.
//!
//! [`Nats`] publishes a window of alerts and waits until the stream has acknowledged each. A connection is
//! never resumed behind its back: what broke is dropped, and the next one begins with the first alert that
//! was not acknowledged, alone, so that the stream gets alerts in their order. `Nats-Msg-Id` is what tells
//! an alert from all others ([`key`]), so that a stream drops what comes twice within its window.
//!
//! The protocol is the text protocol of NATS clients: `INFO`, `CONNECT`, `SUB`, `HPUB`, `MSG`, `HMSG`,
//! `PING`, `PONG`, `-ERR`. A login is a token, a name and password, or credentials: a JWT and the seed of
//! an Ed25519 key, or the seed alone, with which the server's nonce is signed.

use super::remote::{Connection, Remote, explain, key, printable_secret, secret};
use super::{DeliveryError, Output};
use crate::alert::{Alert, Encoding};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// Alerts that are under way at once.
const WINDOW: usize = 256;
/// A server asks after two minutes of silence whether we are there; a connection that rested is not used.
const RESTED: Duration = Duration::from_secs(60);
/// The longest line of a server: its INFO names every server of a cluster.
const MAX_LINE: usize = 1 << 20;
/// The longest message of a server: an acknowledgement, or an error.
const MAX_MESSAGE: usize = 1 << 20;
/// A server that takes less than this says so once more when it is sent more.
const LEAST_PAYLOAD: usize = 64 << 10;
/// JetStream's code for a message that is larger than its stream takes.
const MESSAGE_TOO_LARGE: u64 = 10054;

/// A stream of JetStream.
pub struct Nats {
    hosts: Vec<(String, u16)>,
    subject: String,
    encoding: Encoding,
    remote: Remote,
    session: Option<Session>,
    /// Alerts of the next window: one after trouble, more after success.
    window: usize,
}

/// One connection, logged in.
struct Session {
    connection: Connection,
    /// What was read and not yet looked at.
    buffer: Vec<u8>,
    inbox: String,
    /// Numbers the publications of this connection.
    next: u64,
    max_payload: usize,
    used: Instant,
}

/// What a server says.
enum Said {
    /// A message to one of our subjects: the subject, the status of its headers, the payload.
    Message {
        subject: String,
        status: Option<String>,
        payload: Vec<u8>,
    },
    /// Its description.
    Info(Value),
    Pong,
    /// Nothing that matters.
    Other,
}

/// What became of one publication.
enum Fate {
    Stored,
    Refused(String),
    TooLarge(String),
}

impl Nats {
    /// Publishes to a subject by way of the first of these servers that answers; nothing is opened yet.
    pub fn new(hosts: &[(String, u16)], subject: &str, encoding: Encoding, remote: Remote) -> Nats {
        let (hosts, subject) = (hosts.to_vec(), subject.to_owned());
        Nats { hosts, subject, encoding, remote, session: None, window: 1 }
    }

    fn session(&mut self) -> Result<Session, String> {
        if let Some(session) = self.session.take().filter(|session| session.used.elapsed() < RESTED) {
            return Ok(session);
        }
        let mut last = "no server".to_owned();
        for (host, port) in &self.hosts {
            match Session::open(host, *port, &self.remote) {
                Ok(session) => return Ok(session),
                Err(reason) => last = format!("{host}:{port}: {reason}"),
            }
        }
        Err(last)
    }

    /// Publishes the alerts and gathers what became of each; what is missing at the end of the time is
    /// none.
    fn publish(&self, session: &mut Session, alerts: &[Alert]) -> Result<Vec<Option<Fate>>, String> {
        let mut fates: Vec<Option<Fate>> = Vec::new();
        let (first, mut out, mut payload) = (session.next, Vec::new(), Vec::new());
        for alert in alerts {
            payload.clear();
            self.encoding.encode(alert, &mut payload);
            let reply = format!("{}.{}", session.inbox, session.next);
            let head = format!("NATS/1.0\r\nNats-Msg-Id: {}\r\n\r\n", key(alert));
            let (length, total) = (head.len(), head.len() + payload.len());
            if total > session.max_payload {
                let limit = session.max_payload;
                fates.push(Some(Fate::TooLarge(format!("{total} bytes; the server takes {limit} at most"))));
                break;
            }
            let line = format!("HPUB {} {reply} {length} {total}\r\n{head}", self.subject);
            out.extend_from_slice(line.as_bytes());
            out.extend_from_slice(&payload);
            out.extend_from_slice(b"\r\n");
            session.next += 1;
            fates.push(None);
        }
        session.send(&out)?;
        let waiting = |fates: &[Option<Fate>]| fates.iter().any(Option::is_none);
        let until = Instant::now() + self.remote.timeout;
        while waiting(&fates) {
            let said = match session.hear(until) {
                Ok(said) => said,
                // What was acknowledged before the connection broke has arrived.
                Err(_) if matches!(fates.first(), Some(Some(Fate::Stored))) => break,
                Err(reason) => return Err(reason),
            };
            let Said::Message { subject, status, payload } = said else { continue };
            let number = subject.strip_prefix(&session.inbox).and_then(|rest| rest.strip_prefix('.'));
            let number: Option<u64> = number.and_then(|number| number.parse().ok());
            let index = number.and_then(|number| usize::try_from(number.checked_sub(first)?).ok());
            if let Some(fate) = index.and_then(|index| fates.get_mut(index)) {
                *fate = Some(judge(status.as_deref(), &payload));
            }
        }
        session.used = Instant::now();
        Ok(fates)
    }
}

impl Output for Nats {
    fn deliver(&mut self, batch: &[Alert]) -> Result<usize, DeliveryError> {
        let window = std::mem::replace(&mut self.window, 1);
        let alerts = batch.get(..window.min(batch.len())).unwrap_or_default();
        let mut session = self.session().map_err(DeliveryError::retry)?;
        let fates = self.publish(&mut session, alerts).map_err(|reason| {
            // It came alone, since what failed in company did so before.
            let alone = alerts.len() == 1 && reason.to_ascii_lowercase().contains("maximum payload");
            if alone { DeliveryError::Reject { reason } } else { DeliveryError::retry(reason) }
        })?;
        let stored = fates.iter().take_while(|fate| matches!(fate, Some(Fate::Stored))).count();
        match fates.into_iter().nth(stored) {
            None => {
                // All of them.
                self.window = (window * 2).min(WINDOW);
                self.session = Some(session);
                Ok(stored)
            }
            Some(Some(Fate::TooLarge(_))) if stored > 0 => {
                self.session = Some(session);
                Ok(stored)
            }
            Some(Some(Fate::TooLarge(reason))) => {
                self.session = Some(session);
                Err(DeliveryError::Reject { reason })
            }
            // Behind it nothing that is under way may overtake what comes again.
            _ if stored > 0 => Ok(stored),
            Some(Some(Fate::Refused(reason))) => Err(DeliveryError::retry(reason)),
            Some(_) => Err(DeliveryError::retry("no acknowledgement in time")),
        }
    }

    fn reopen(&mut self) {
        self.session = None;
    }
}

/// What an acknowledgement says.
fn judge(status: Option<&str>, payload: &[u8]) -> Fate {
    match status {
        Some("503") => return Fate::Refused("no stream takes this subject".to_owned()),
        Some(status) => return Fate::Refused(format!("status {status}")),
        None => {}
    }
    let answer: Value = serde_json::from_slice(payload).unwrap_or_default();
    if let Some(error) = answer.get("error") {
        let told = format!(
            "the stream refuses: {} ({})",
            error["description"].as_str().unwrap_or("no reason given"),
            error["err_code"].as_u64().unwrap_or(0)
        );
        let too_large = error["err_code"] == MESSAGE_TOO_LARGE;
        return if too_large { Fate::TooLarge(told) } else { Fate::Refused(told) };
    }
    // Somebody who listens to the subject without a stream could answer as well.
    if answer["stream"].is_string() && answer["seq"].is_u64() {
        Fate::Stored
    } else {
        Fate::Refused("the answer is no acknowledgement of a stream".to_owned())
    }
}

impl Session {
    fn open(host: &str, port: u16, remote: &Remote) -> Result<Session, String> {
        let until = Instant::now() + remote.timeout;
        let connection = Connection::open(host, port, remote.timeout).map_err(|error| explain(&error))?;
        let mut random = [0; 16];
        SystemRandom::new().fill(&mut random).map_err(|_| "no random numbers".to_owned())?;
        let mut session = Session {
            connection,
            buffer: Vec::new(),
            inbox: format!("_INBOX.{}", URL_SAFE_NO_PAD.encode(random)),
            next: 0,
            max_payload: 1 << 20,
            used: Instant::now(),
        };
        let Said::Info(info) = session.hear(until)? else { return Err("not a NATS server".to_owned()) };
        if let Some(bytes) = info["max_payload"].as_u64() {
            // In plain text, before the handshake: somebody on the way could have every alert refused.
            let least = if remote.tls { LEAST_PAYLOAD } else { 0 };
            session.max_payload = usize::try_from(bytes).unwrap_or(usize::MAX).max(least);
        }
        if remote.tls {
            // What came before the handshake in plain text is not believed.
            session.buffer.clear();
            let encrypted = session.connection.encrypt(host, &remote.identity);
            session.connection = encrypted.map_err(|error| explain(&error))?;
        } else if info["tls_required"] == true {
            return Err("the server asks for TLS: set `tls = true`".to_owned());
        }
        let mut connect = json!({
            "verbose": false, "pedantic": false, "tls_required": remote.tls, "lang": "rust", "name": "roje",
            "version": env!("CARGO_PKG_VERSION"), "protocol": 1, "headers": true, "no_responders": true,
        });
        if let Some(fields) = connect.as_object_mut() {
            login(remote, info["nonce"].as_str(), fields)?;
        }
        let inbox = session.inbox.clone();
        session.send(format!("CONNECT {connect}\r\nSUB {inbox}.* 1\r\nPING\r\n").as_bytes())?;
        while !matches!(session.hear(until)?, Said::Pong) {}
        Ok(session)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        let sent = self.connection.write_all(bytes).and_then(|()| self.connection.flush());
        sent.map_err(|error| explain(&error))
    }

    /// The next that the server says.
    fn hear(&mut self, until: Instant) -> Result<Said, String> {
        let line = self.line(until)?;
        let line = String::from_utf8_lossy(&line).into_owned();
        let (verb, rest) = line.split_once([' ', '\t']).unwrap_or((&line, ""));
        match verb.to_ascii_uppercase().as_str() {
            "INFO" => Ok(Said::Info(serde_json::from_str(rest).unwrap_or_default())),
            "PONG" => Ok(Said::Pong),
            "PING" => self.send(b"PONG\r\n").map(|()| Said::Other),
            "-ERR" => Err(format!("the server says {}", rest.trim())),
            "MSG" => self.message(rest, false, until),
            "HMSG" => self.message(rest, true, until),
            "+OK" => Ok(Said::Other),
            _ => Err("not the protocol of NATS".to_owned()),
        }
    }

    /// `SUBJECT SID [REPLY] [HEADERS] BYTES`, then the bytes.
    fn message(&mut self, line: &str, headers: bool, until: Instant) -> Result<Said, String> {
        let malformed = || "a malformed message of the server".to_owned();
        let parts: Vec<&str> = line.split_ascii_whitespace().collect();
        let number = |from_end: usize| {
            let part = parts.len().checked_sub(from_end).and_then(|at| parts.get(at));
            part.and_then(|part| part.parse::<usize>().ok()).filter(|bytes| *bytes <= MAX_MESSAGE)
        };
        let total = number(1).ok_or_else(malformed)?;
        let head = if headers { number(2).ok_or_else(malformed)? } else { 0 };
        let subject = (*parts.first().ok_or_else(malformed)?).to_owned();
        self.fill(total + 2, until)?;
        let bytes: Vec<u8> = self.buffer.drain(..total + 2).take(total).collect();
        let (head, payload) = bytes.split_at_checked(head).ok_or_else(malformed)?;
        // `NATS/1.0 503` for what nobody took.
        let head = String::from_utf8_lossy(head);
        let first = head.lines().next().unwrap_or_default();
        let status = first.split_ascii_whitespace().nth(1).map(str::to_owned);
        Ok(Said::Message { subject, status, payload: payload.to_vec() })
    }

    fn line(&mut self, until: Instant) -> Result<Vec<u8>, String> {
        let mut from = 0;
        loop {
            if let Some(at) = self.buffer.get(from..).and_then(|rest| memchr::memchr(b'\n', rest)) {
                let mut line: Vec<u8> = self.buffer.drain(..=from + at).collect();
                line.pop();
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(line);
            }
            from = self.buffer.len();
            if from > MAX_LINE {
                return Err("not the protocol of NATS".to_owned());
            }
            self.fill(from + 1, until)?;
        }
    }

    /// Reads until so many bytes are there.
    fn fill(&mut self, count: usize, until: Instant) -> Result<(), String> {
        let mut some = [0; 16 << 10];
        while self.buffer.len() < count {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err("no answer in time".to_owned());
            }
            let ready = self.connection.socket().set_read_timeout(Some(left));
            match ready.and_then(|()| self.connection.read(&mut some)) {
                Ok(0) => return Err(explain(&io::ErrorKind::UnexpectedEof.into())),
                Ok(read) => self.buffer.extend_from_slice(some.get(..read).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(explain(&error)),
            }
        }
        Ok(())
    }
}

/// What a client shows of itself.
fn login(
    remote: &Remote,
    nonce: Option<&str>,
    fields: &mut serde_json::Map<String, Value>,
) -> Result<(), String> {
    if let Some(path) = &remote.token {
        fields.insert("auth_token".into(), printable_secret(path)?.into());
    }
    if let Some((user, password)) = &remote.login {
        let password =
            String::from_utf8(secret(password)?).map_err(|_| "the password is no text".to_owned())?;
        fields.insert("user".into(), user.as_str().into());
        fields.insert("pass".into(), password.into());
    }
    let Some(path) = &remote.creds else { return Ok(()) };
    let credentials = credentials(path)?;
    let nonce = nonce.ok_or_else(|| "the server does not ask for credentials".to_owned())?;
    let pair = Ed25519KeyPair::from_seed_unchecked(&credentials.seed).map_err(|_| "not a usable seed")?;
    let signature = URL_SAFE_NO_PAD.encode(pair.sign(nonce.as_bytes()).as_ref());
    fields.insert("sig".into(), signature.into());
    match credentials.jwt {
        Some(jwt) => fields.insert("jwt".into(), jwt.into()),
        None => fields.insert("nkey".into(), public_key(pair.public_key().as_ref()).into()),
    };
    Ok(())
}

/// What a file of credentials holds.
struct Credentials {
    jwt: Option<String>,
    seed: [u8; 32],
}

/// Whether a file holds usable credentials; no content is repeated.
///
/// # Errors
///
/// What is wrong with it.
pub fn check_credentials(path: &Path) -> Result<(), String> {
    credentials(path).map(|_| ())
}

/// A JWT and a seed between their marks, as `nsc` writes them, or a seed alone.
fn credentials(path: &Path) -> Result<Credentials, String> {
    let refuse = |reason: &str| format!("{}: {reason}", path.display());
    let text = String::from_utf8(secret(path)?).map_err(|_| refuse("not a text"))?;
    let mut lines = text.lines().map(str::trim);
    let (mut jwt, mut seed) = (None, None);
    while let Some(line) = lines.next() {
        if line.contains("BEGIN NATS USER JWT") {
            jwt = lines.next().map(str::to_owned);
        } else if line.contains("BEGIN USER NKEY SEED") {
            seed = lines.next();
        } else if line.starts_with("SU") && seed.is_none() {
            seed = Some(line);
        }
    }
    let seed = seed.ok_or_else(|| refuse("no seed of a user's key"))?;
    let seed = decode_seed(seed).ok_or_else(|| refuse("a seed that does not check"))?;
    Ok(Credentials { jwt, seed })
}

const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// The kinds of encoded keys: a seed, and a user's.
const SEED: u8 = 18 << 3;
const USER: u8 = 20 << 3;

/// `SU…`: two bytes of kinds, the seed, a checksum.
fn decode_seed(text: &str) -> Option<[u8; 32]> {
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0u32, 0u32);
    for letter in text.bytes() {
        let value = BASE32.iter().position(|known| *known == letter)?;
        held = held << 5 | u32::try_from(value).ok()?;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits & 0xff).ok()?);
        }
    }
    let (body, sum) = bytes.split_at_checked(34)?;
    let kinds = [SEED | USER >> 5, (USER & 31) << 3];
    let good = body.starts_with(&kinds) && sum == crc16(body).to_le_bytes();
    if good { body.get(2..)?.try_into().ok() } else { None }
}

/// `U…`, as servers list users.
fn public_key(key: &[u8]) -> String {
    let mut bytes = vec![USER];
    bytes.extend_from_slice(key);
    bytes.extend_from_slice(&crc16(&bytes).to_le_bytes());
    let (mut text, mut bits, mut held) = (String::new(), 0u32, 0u32);
    for byte in bytes {
        held = held << 8 | u32::from(byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.extend(BASE32.get((held >> bits & 31) as usize).map(|letter| char::from(*letter)));
        }
    }
    // 35 bytes are 56 letters exactly.
    text
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0u16, |crc, byte| {
        (0..8).fold(
            crc ^ u16::from(*byte) << 8,
            |crc, _| {
                if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 }
            },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_and_written_as_nats_does() {
        // The pair of keys in the documentation of NATS's nkeys.
        let seed = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";
        let public = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";
        let pair = Ed25519KeyPair::from_seed_unchecked(&decode_seed(seed).unwrap()).unwrap();
        assert_eq!(public_key(pair.public_key().as_ref()), public);
        for wrong in ["", "SU", "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VX", public] {
            assert_eq!(decode_seed(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn only_an_acknowledgement_is_one() {
        let fate = |status, payload: &str| judge(status, payload.as_bytes());
        assert!(matches!(fate(None, r#"{"stream":"S","seq":7}"#), Fate::Stored));
        assert!(matches!(fate(None, r#"{"stream":"S","seq":7,"duplicate":true}"#), Fate::Stored));
        for (status, payload) in [
            (Some("503"), ""),
            (None, ""),
            (None, "ok"),
            (None, r#"{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"}}"#),
        ] {
            assert!(matches!(fate(status, payload), Fate::Refused(_)), "{payload}");
        }
        let large =
            r#"{"error":{"code":400,"err_code":10054,"description":"message size exceeds maximum allowed"}}"#;
        assert!(matches!(fate(None, large), Fate::TooLarge(_)));
    }
}

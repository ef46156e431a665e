//! Alerts into a topic of Kafka, acknowledged by every replica that is in sync (`acks=all`).
//!
//! [`Kafka`] asks for the leaders of the topic's partitions, spreads alerts over these by the hash of
//! `event.id` as Kafka's own clients do, and sends each leader one request at a time, so that each partition
//! gets its alerts in order. The key of a record is `event.id`; its header `idempotency-key` is what tells
//! it from all others ([`key`]), since the alerts of one match for two constituents share `event.id`.
//! Producing is not transactional: after trouble an alert may come twice.
//!
//! What is spoken: Metadata 4, Produce 3 with record batches of version 2, SaslHandshake 1 and
//! SaslAuthenticate 0 (PLAIN and SCRAM), which brokers from version 1.0 to 4 understand.

use super::remote::{Connection, Remote, Sasl, explain, key, secret};
use super::{DeliveryError, Output};
use crate::alert::{Alert, Encoding};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// Alerts of a request.
const MAX_COUNT: usize = 256;
/// Bytes of a request: the default of `message.max.bytes` is 1 MiB, for a batch as it is compressed.
const MAX_BYTES: usize = 900 << 10;
/// Brokers close what rests for ten minutes.
const RESTED: Duration = Duration::from_secs(120);
/// The longest answer: the metadata of one topic.
const MAX_ANSWER: usize = 8 << 20;
/// More partitions than any topic has.
const MAX_PARTITIONS: usize = 100_000;
/// Iterations of SCRAM: fewer are weak (RFC 7677), more would be an attack on our time.
const ITERATIONS: std::ops::RangeInclusive<u32> = 4096..=1_000_000;

const PRODUCE: (i16, i16) = (0, 3);
const METADATA: (i16, i16) = (3, 4);
const SASL_HANDSHAKE: (i16, i16) = (17, 1);
const SASL_AUTHENTICATE: (i16, i16) = (36, 0);

/// A topic of a cluster.
pub struct Kafka {
    brokers: Vec<(String, u16)>,
    topic: String,
    encoding: Encoding,
    remote: Remote,
    cluster: Option<Cluster>,
    /// Alerts of the next request; less after trouble, more after success.
    count: usize,
}

/// What the brokers said of the topic.
struct Cluster {
    addresses: HashMap<i32, (String, u16)>,
    /// Of each partition.
    leaders: Vec<i32>,
    links: HashMap<i32, Link>,
    used: Instant,
}

/// A connection to one broker.
struct Link {
    connection: Connection,
    correlation: i32,
}

/// Why a partition did not take its part.
struct Failed {
    /// The first of its alerts.
    index: usize,
    code: i16,
}

impl Kafka {
    /// Produces into a topic of the cluster that these brokers know; nothing is opened yet.
    pub fn new(brokers: &[(String, u16)], topic: &str, encoding: Encoding, remote: Remote) -> Kafka {
        let (brokers, topic) = (brokers.to_vec(), topic.to_owned());
        Kafka { brokers, topic, encoding, remote, cluster: None, count: MAX_COUNT }
    }

    /// The cluster; asked for anew after trouble and after a rest.
    fn cluster(&mut self) -> Result<Cluster, String> {
        if let Some(cluster) = self.cluster.take().filter(|cluster| cluster.used.elapsed() < RESTED) {
            return Ok(cluster);
        }
        let mut last = "no broker".to_owned();
        for (host, port) in &self.brokers {
            let asked = Link::open(host, *port, &self.remote)
                .and_then(|mut link| metadata(&mut link, &self.topic, self.remote.timeout));
            match asked {
                Ok(cluster) => return Ok(cluster),
                Err(reason) => last = format!("{host}:{port}: {reason}"),
            }
        }
        Err(last)
    }

    /// Produces each partition's part; tells the earliest that failed.
    fn produce(&self, cluster: &mut Cluster, alerts: &[Alert]) -> Result<Option<Failed>, String> {
        // Leader, partition, and which of the alerts are its.
        let mut parts: BTreeMap<i32, BTreeMap<usize, Vec<usize>>> = BTreeMap::new();
        for (index, alert) in alerts.iter().enumerate() {
            let partition = partition(alert.id.as_bytes(), cluster.leaders.len());
            let leader = cluster.leaders.get(partition).copied().unwrap_or(-1);
            parts.entry(leader).or_default().entry(partition).or_default().push(index);
        }
        let mut failed: Option<Failed> = None;
        let mut fail = |index: usize, code: i16| {
            if failed.as_ref().is_none_or(|failed| index < failed.index) {
                failed = Some(Failed { index, code });
            }
        };
        while let Some((leader, partitions)) = parts.pop_first() {
            let answer = self.produce_to(cluster, leader, &partitions, alerts);
            match answer {
                Ok(codes) => {
                    for (partition, of) in &partitions {
                        // What the answer does not name was not taken.
                        let code = codes.get(partition).copied().unwrap_or(-1);
                        if code != 0 {
                            fail(of.first().copied().unwrap_or(0), code);
                        }
                    }
                }
                Err(reason) => {
                    // The others are not asked any more, lest each be waited for.
                    parts.insert(leader, partitions);
                    let left = parts.values().flat_map(BTreeMap::values).filter_map(|of| of.first());
                    match left.min() {
                        Some(first) if *first > 0 => fail(*first, -1),
                        _ => return Err(reason),
                    }
                    break;
                }
            }
        }
        Ok(failed)
    }

    /// One request to one leader; tells the error code of each partition.
    fn produce_to(
        &self,
        cluster: &mut Cluster,
        leader: i32,
        partitions: &BTreeMap<usize, Vec<usize>>,
        alerts: &[Alert],
    ) -> Result<HashMap<usize, i16>, String> {
        let mut body = Vec::new();
        put_i16(&mut body, -1); // no transaction
        put_i16(&mut body, -1); // acks: all
        put_i32(&mut body, i32::try_from(self.remote.timeout.as_millis()).unwrap_or(i32::MAX));
        put_i32(&mut body, 1);
        put_string(&mut body, &self.topic);
        put_i32(&mut body, length(partitions.len()));
        for (partition, of) in partitions {
            let alerts: Vec<&Alert> = of.iter().filter_map(|index| alerts.get(*index)).collect();
            let batch = record_batch(&alerts, self.encoding, self.remote.gzip);
            put_i32(&mut body, length(*partition));
            put_i32(&mut body, length(batch.len()));
            body.extend_from_slice(&batch);
        }
        let link = match cluster.links.remove(&leader) {
            Some(link) => link,
            None => {
                let (host, port) =
                    cluster.addresses.get(&leader).ok_or("a partition has no leader at this moment")?;
                Link::open(host, *port, &self.remote).map_err(|reason| format!("{host}:{port}: {reason}"))?
            }
        };
        let mut link = link;
        // The broker waits for its replicas as long as it was told to, and answers then.
        let answer = link.ask(PRODUCE, &body, self.remote.timeout * 2)?;
        cluster.links.insert(leader, link);
        produced(answer).ok_or_else(|| "a malformed answer of the broker".to_owned())
    }
}

impl Output for Kafka {
    fn deliver(&mut self, batch: &[Alert]) -> Result<usize, DeliveryError> {
        loop {
            let mut bytes = 0;
            let fits = batch.iter().take(self.count.max(1)).take_while(|alert| {
                let mut line = Vec::new();
                self.encoding.encode(alert, &mut line);
                bytes += line.len();
                bytes <= MAX_BYTES
            });
            let count = fits.count().clamp(1, batch.len().max(1));
            let Some(alerts) = batch.get(..count) else { return Ok(0) };
            let mut cluster = self.cluster().map_err(DeliveryError::retry)?;
            let failed = match self.produce(&mut cluster, alerts) {
                Ok(failed) => failed,
                Err(reason) => {
                    self.count = (count / 2).max(1);
                    return Err(DeliveryError::retry(reason));
                }
            };
            cluster.used = Instant::now();
            let Some(Failed { index, code }) = failed else {
                self.count = (self.count * 2).min(MAX_COUNT);
                self.cluster = Some(cluster);
                return Ok(count);
            };
            if index > 0 {
                // What it was comes again with the first of the rest.
                return Ok(index);
            }
            match code {
                // Of the alerts themselves: one of them, which is looked for, is set aside.
                TOO_LARGE | BATCH_TOO_LARGE | INVALID_RECORD | INVALID_TIMESTAMP if count > 1 => {
                    self.count = count / 2;
                    self.cluster = Some(cluster);
                }
                TOO_LARGE | BATCH_TOO_LARGE | INVALID_RECORD | INVALID_TIMESTAMP => {
                    self.cluster = Some(cluster);
                    return Err(DeliveryError::Reject { reason: told(code) });
                }
                _ => return Err(DeliveryError::retry(told(code))),
            }
        }
    }

    fn reopen(&mut self) {
        self.cluster = None;
    }
}

const TOO_LARGE: i16 = 10;
const BATCH_TOO_LARGE: i16 = 18;
const INVALID_TIMESTAMP: i16 = 32;
const INVALID_RECORD: i16 = 87;

/// An error code of the protocol, in words.
fn told(code: i16) -> String {
    let name = match code {
        -1 => "an unknown error",
        2 => "the batch arrived damaged",
        3 => "the topic or partition does not exist",
        5 => "no leader at this moment",
        6 => "another broker leads",
        7 => "the replicas did not answer in time",
        TOO_LARGE => "the message is too large",
        17 => "not the name of a topic",
        BATCH_TOO_LARGE => "the batch is too large",
        19 | 20 => "too few replicas are in sync",
        29 | 31 => "not authorized",
        INVALID_TIMESTAMP => "the timestamp is refused",
        33 => "the mechanism is not offered",
        34 => "not the state for a login",
        35 => "the broker does not speak this version",
        56 => "the broker's disk fails",
        58 => "the login is refused",
        INVALID_RECORD => "the record is refused",
        89 => "the quota is used up",
        _ => "an error",
    };
    format!("the broker says: {name} (code {code})")
}

/// Asks a broker for the topic.
fn metadata(link: &mut Link, topic: &str, timeout: Duration) -> Result<Cluster, String> {
    let mut body = Vec::new();
    put_i32(&mut body, 1);
    put_string(&mut body, topic);
    body.push(1); // a cluster that makes topics when they are asked for may do so
    let answer = link.ask(METADATA, &body, timeout)?;
    let (addresses, code, leaders) =
        described(answer).ok_or_else(|| "a malformed answer of the broker".to_owned())?;
    if code != 0 {
        return Err(told(code));
    }
    if leaders.is_empty() {
        return Err("the topic has no partition".to_owned());
    }
    Ok(Cluster { addresses, leaders, links: HashMap::new(), used: Instant::now() })
}

type Described = (HashMap<i32, (String, u16)>, i16, Vec<i32>);

fn described(mut answer: Answer) -> Option<Described> {
    answer.i32()?; // throttle time
    let mut addresses = HashMap::new();
    for _ in 0..answer.count()? {
        let id = answer.i32()?;
        let host = answer.string()?.unwrap_or_default();
        let port = u16::try_from(answer.i32()?).ok()?;
        answer.string()?; // rack
        addresses.insert(id, (host, port));
    }
    answer.string()?; // cluster
    answer.i32()?; // controller
    answer.count()?; // one topic
    let code = answer.i16()?;
    answer.string()?;
    answer.take(1)?; // internal
    let count = answer.count()?;
    let mut leaders = vec![-1; count.min(MAX_PARTITIONS)];
    for _ in 0..count {
        answer.i16()?; // without a leader the leader is -1 too
        let index = usize::try_from(answer.i32()?).ok()?;
        let leader = answer.i32()?;
        for _ in 0..2 {
            // Replicas, and those in sync.
            for _ in 0..answer.count()? {
                answer.i32()?;
            }
        }
        *leaders.get_mut(index)? = leader;
    }
    Some((addresses, code, leaders))
}

fn produced(mut answer: Answer) -> Option<HashMap<usize, i16>> {
    let mut codes = HashMap::new();
    for _ in 0..answer.count()? {
        answer.string()?;
        for _ in 0..answer.count()? {
            let partition = usize::try_from(answer.i32()?).ok()?;
            codes.insert(partition, answer.i16()?);
            answer.take(16)?; // offset, time
        }
    }
    Some(codes)
}

impl Link {
    fn open(host: &str, port: u16, remote: &Remote) -> Result<Link, String> {
        let mut connection = Connection::open(host, port, remote.timeout).map_err(|error| explain(&error))?;
        if remote.tls {
            connection = connection.encrypt(host, &remote.identity).map_err(|error| explain(&error))?;
        }
        let mut link = Link { connection, correlation: 0 };
        if let Some((user, password)) = &remote.login {
            let password = String::from_utf8(secret(password)?);
            let password = password.map_err(|_| "the password is no text".to_owned())?;
            link.login(user, &password, remote.sasl, remote.timeout)?;
        }
        Ok(link)
    }

    /// Sends a request and waits for its answer.
    fn ask(&mut self, (api, version): (i16, i16), body: &[u8], patience: Duration) -> Result<Answer, String> {
        self.correlation = self.correlation.wrapping_add(1);
        let mut request = Vec::with_capacity(body.len() + 32);
        put_i16(&mut request, api);
        put_i16(&mut request, version);
        put_i32(&mut request, self.correlation);
        put_string(&mut request, "roje");
        request.extend_from_slice(body);
        let mut frame = length(request.len()).to_be_bytes().to_vec();
        frame.append(&mut request);
        let sent = self.connection.write_all(&frame).and_then(|()| self.connection.flush());
        sent.map_err(|error| explain(&error))?;
        let until = Instant::now() + patience;
        let size = self.read(4, until)?;
        let size = size.try_into().map(u32::from_be_bytes).unwrap_or(0) as usize;
        if !(4..=MAX_ANSWER).contains(&size) {
            return Err("not the protocol of Kafka".to_owned());
        }
        let mut answer = Answer { bytes: self.read(size, until)?, at: 0 };
        if answer.i32() != Some(self.correlation) {
            return Err("an answer to another request".to_owned());
        }
        Ok(answer)
    }

    fn read(&mut self, count: usize, until: Instant) -> Result<Vec<u8>, String> {
        let mut bytes = vec![0; count];
        let mut done = 0;
        while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err("no answer in time".to_owned());
            }
            let ready = self.connection.socket().set_read_timeout(Some(left));
            match ready.and_then(|()| self.connection.read(rest)) {
                Ok(0) => return Err("the broker closed the connection".to_owned()),
                Ok(read) => done += read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(explain(&error)),
            }
        }
        Ok(bytes)
    }

    fn login(&mut self, user: &str, password: &str, sasl: Sasl, timeout: Duration) -> Result<(), String> {
        let mut body = Vec::new();
        put_string(&mut body, &sasl.name().to_ascii_uppercase());
        let mut answer = self.ask(SASL_HANDSHAKE, &body, timeout)?;
        match answer.i16() {
            Some(0) => {}
            code => return Err(told(code.unwrap_or(-1))),
        }
        let (algorithm, hash) = match sasl {
            Sasl::Plain => {
                let shown = format!("\0{user}\0{password}");
                return self.authenticate(shown.as_bytes(), timeout).map(|_| ());
            }
            Sasl::ScramSha256 => (pbkdf2::PBKDF2_HMAC_SHA256, &digest::SHA256),
            Sasl::ScramSha512 => (pbkdf2::PBKDF2_HMAC_SHA512, &digest::SHA512),
        };
        let mut random = [0; 18];
        SystemRandom::new().fill(&mut random).map_err(|_| "no random numbers".to_owned())?;
        let scram = Scram { algorithm, hash, user, password, nonce: STANDARD.encode(random) };
        let first = self.authenticate(format!("n,,{}", scram.first()).as_bytes(), timeout)?;
        let (last, signature) = scram.last(&String::from_utf8_lossy(&first))?;
        let answer = self.authenticate(last.as_bytes(), timeout)?;
        // A broker that does not know the password cannot say this.
        let verified = String::from_utf8_lossy(&answer).split(',').any(|part| part == signature);
        if verified { Ok(()) } else { Err("the broker does not know the password either".to_owned()) }
    }

    fn authenticate(&mut self, shown: &[u8], timeout: Duration) -> Result<Vec<u8>, String> {
        let mut body = Vec::new();
        put_i32(&mut body, length(shown.len()));
        body.extend_from_slice(shown);
        let mut answer = self.ask(SASL_AUTHENTICATE, &body, timeout)?;
        let malformed = || "a malformed answer of the broker".to_owned();
        let code = answer.i16().ok_or_else(malformed)?;
        answer.string().ok_or_else(malformed)?;
        if code != 0 {
            return Err(told(code));
        }
        let count = usize::try_from(answer.i32().ok_or_else(malformed)?).unwrap_or(0);
        answer.take(count).map(<[u8]>::to_vec).ok_or_else(malformed)
    }
}

/// A login by RFC 5802, without binding to a channel.
struct Scram<'a> {
    algorithm: pbkdf2::Algorithm,
    hash: &'static digest::Algorithm,
    user: &'a str,
    password: &'a str,
    nonce: String,
}

impl Scram<'_> {
    fn first(&self) -> String {
        format!("n={},r={}", self.user.replace('=', "=3D").replace(',', "=2C"), self.nonce)
    }

    /// The last message, and what the server must answer to it.
    fn last(&self, server: &str) -> Result<(String, String), String> {
        let part = |name: &str| server.split(',').find_map(|part| part.strip_prefix(name));
        let malformed = || "a malformed answer of the broker".to_owned();
        let nonce = part("r=").filter(|nonce| nonce.starts_with(&self.nonce)).ok_or_else(malformed)?;
        let salt = part("s=").and_then(|salt| STANDARD.decode(salt).ok()).ok_or_else(malformed)?;
        let iterations = part("i=").and_then(|number| number.parse().ok()).ok_or_else(malformed)?;
        let iterations = NonZeroU32::new(iterations).filter(|number| ITERATIONS.contains(&number.get()));
        let iterations = iterations.ok_or("the broker asks for too few or too many iterations")?;
        let length = self.hash.output_len();
        let mut salted = vec![0; length];
        pbkdf2::derive(self.algorithm, iterations, &salt, self.password.as_bytes(), &mut salted);
        let algorithm = if length == 32 { hmac::HMAC_SHA256 } else { hmac::HMAC_SHA512 };
        let mac =
            |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(algorithm, key), text).as_ref().to_vec();
        let client = mac(&salted, b"Client Key");
        let stored = digest::digest(self.hash, &client);
        let bare = format!("c=biws,r={nonce}");
        let all = format!("{},{server},{bare}", self.first());
        let signature = mac(stored.as_ref(), all.as_bytes());
        let proof: Vec<u8> = client.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        let expected = mac(&mac(&salted, b"Server Key"), all.as_bytes());
        Ok((format!("{bare},p={}", STANDARD.encode(proof)), format!("v={}", STANDARD.encode(expected))))
    }
}

/// An answer, read from the front; None where it ends too early.
struct Answer {
    bytes: Vec<u8>,
    at: usize,
}

impl Answer {
    fn take(&mut self, count: usize) -> Option<&[u8]> {
        let end = self.at.checked_add(count)?;
        let part = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(part)
    }

    fn i16(&mut self) -> Option<i16> {
        Some(i16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn i32(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    /// How many elements follow: no more than there are bytes.
    fn count(&mut self) -> Option<usize> {
        let count = usize::try_from(self.i32()?.max(0)).ok()?;
        (count <= self.bytes.len()).then_some(count)
    }

    fn string(&mut self) -> Option<Option<String>> {
        match usize::try_from(self.i16()?) {
            Err(_) => Some(None),
            Ok(count) => Some(Some(String::from_utf8_lossy(self.take(count)?).into_owned())),
        }
    }
}

/// The batch of one partition, magic 2.
fn record_batch(alerts: &[&Alert], encoding: Encoding, gzip: bool) -> Vec<u8> {
    let millis = |alert: &Alert| alert.last_seen / 1_000_000;
    let first = alerts.first().map_or(0, |alert| millis(alert));
    let (mut records, mut record, mut value) = (Vec::new(), Vec::new(), Vec::new());
    for (index, alert) in alerts.iter().enumerate() {
        value.clear();
        encoding.encode(alert, &mut value);
        record.clear();
        record.push(0); // attributes
        put_varint(&mut record, millis(alert) - first);
        put_varint(&mut record, i64::from(length(index)));
        put_bytes(&mut record, alert.id.as_bytes());
        put_bytes(&mut record, &value);
        put_varint(&mut record, 1); // headers
        put_bytes(&mut record, b"idempotency-key");
        put_bytes(&mut record, key(alert).as_bytes());
        put_varint(&mut records, i64::from(length(record.len())));
        records.extend_from_slice(&record);
    }
    if gzip {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        // Writing to memory cannot fail.
        let _ = encoder.write_all(&records);
        records = encoder.finish().unwrap_or_default();
    }
    let mut checked = Vec::with_capacity(records.len() + 40);
    put_i16(&mut checked, i16::from(gzip)); // attributes: 1 is gzip
    put_i32(&mut checked, length(alerts.len().saturating_sub(1)));
    checked.extend_from_slice(&first.to_be_bytes());
    let last = alerts.iter().map(|alert| millis(alert)).max().unwrap_or(0);
    checked.extend_from_slice(&last.to_be_bytes());
    checked.extend_from_slice(&(-1i64).to_be_bytes()); // producer
    put_i16(&mut checked, -1); // its epoch
    put_i32(&mut checked, -1); // its sequence
    put_i32(&mut checked, length(alerts.len()));
    checked.extend_from_slice(&records);
    let mut batch = Vec::with_capacity(checked.len() + 21);
    batch.extend_from_slice(&0i64.to_be_bytes()); // offset
    put_i32(&mut batch, length(checked.len() + 9));
    put_i32(&mut batch, -1); // epoch of the leader
    batch.push(2);
    batch.extend_from_slice(&crc32c::crc32c(&checked).to_be_bytes());
    batch.extend_from_slice(&checked);
    batch
}

/// Where Kafka's own clients put a key.
fn partition(key: &[u8], partitions: usize) -> usize {
    (murmur2(key) & 0x7fff_ffff) as usize % partitions.max(1)
}

/// MurmurHash2 with Kafka's seed.
fn murmur2(bytes: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ length(bytes.len()) as u32;
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k = (k ^ k >> 24).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    if !rest.is_empty() {
        let tail = rest.iter().rev().fold(0, |tail, byte| tail << 8 | u32::from(*byte));
        hash = (hash ^ tail).wrapping_mul(M);
    }
    hash = (hash ^ hash >> 13).wrapping_mul(M);
    hash ^ hash >> 15
}

fn put_i16(out: &mut Vec<u8>, value: i16) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn put_i32(out: &mut Vec<u8>, value: i32) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    put_i16(out, i16::try_from(text.len()).unwrap_or(i16::MAX));
    out.extend_from_slice(text.get(..text.len().min(i16::MAX as usize)).unwrap_or_default().as_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, i64::from(length(bytes.len())));
    out.extend_from_slice(bytes);
}

/// Signs in the lowest bit, seven bits a byte.
fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = (value << 1 ^ value >> 63) as u64;
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// A length as the protocol has it; a batch is bounded far below.
fn length(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_where_kafka_puts_them() {
        // The values that Kafka's own tests assert.
        for (key, expected) in [
            ("21", -973_932_308i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()) as i32, expected, "{key}");
        }
    }

    #[test]
    fn varints() {
        for (value, expected) in [
            (0, vec![0]),
            (-1, vec![1]),
            (1, vec![2]),
            (63, vec![126]),
            (64, vec![0x80, 1]),
            (-65, vec![0x81, 1]),
        ] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out, expected, "{value}");
        }
    }

    #[test]
    fn a_login_by_scram_is_that_of_the_rfc() {
        // RFC 7677 §3.
        let scram = Scram {
            algorithm: pbkdf2::PBKDF2_HMAC_SHA256,
            hash: &digest::SHA256,
            user: "user",
            password: "pencil",
            nonce: "rOprNGfwEbeRWgbNEkqO".into(),
        };
        assert_eq!(scram.first(), "n=user,r=rOprNGfwEbeRWgbNEkqO");
        let server = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let (last, signature) = scram.last(server).unwrap();
        assert_eq!(
            last,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert_eq!(signature, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        for wrong in
            ["", "r=other,s=AAAA,i=4096", &server.replace("4096", "1"), &server.replace("4096", "99999999")]
        {
            assert!(scram.last(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn answers_that_end_too_early_are_none() {
        let mut whole = Vec::new();
        put_i32(&mut whole, 1);
        put_string(&mut whole, "t");
        put_i32(&mut whole, 1);
        put_i32(&mut whole, 3);
        put_i16(&mut whole, 6);
        whole.extend_from_slice(&[0; 16]);
        for end in 0..whole.len() {
            assert_eq!(produced(Answer { bytes: whole[..end].to_vec(), at: 0 }), None, "{end}");
        }
        let codes = produced(Answer { bytes: whole, at: 0 }).unwrap();
        assert_eq!(codes, HashMap::from([(3, 6)]));
        assert!(described(Answer { bytes: vec![0x7f; 64], at: 0 }).is_none());
    }

    /// A broker on this machine with two partitions that answers as a function says, and keeps the ids that
    /// it was sent.
    struct Broker {
        address: std::net::SocketAddr,
        seen: std::sync::Arc<std::sync::Mutex<Vec<Vec<String>>>>,
    }

    impl Broker {
        fn start(login: bool, answer: impl Fn(usize, &[String]) -> i16 + Send + Sync + 'static) -> Broker {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
            let (kept, answer) = (seen.clone(), std::sync::Arc::new(answer));
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let (kept, answer) = (kept.clone(), answer.clone());
                    std::thread::spawn(move || {
                        serve(stream.unwrap(), address.port(), login, &kept, &*answer);
                    });
                }
            });
            Broker { address, seen }
        }

        fn output(&self, remote: Remote) -> Kafka {
            let remote = Remote { gzip: false, timeout: Duration::from_secs(20), ..remote };
            Kafka::new(&[("127.0.0.1".into(), self.address.port())], "alerts", Encoding::Ecs, remote)
        }

        /// What was taken, in order.
        fn taken(&self) -> Vec<String> {
            self.seen.lock().unwrap().concat()
        }
    }

    fn serve(
        mut stream: std::net::TcpStream,
        port: u16,
        login: bool,
        kept: &std::sync::Mutex<Vec<Vec<String>>>,
        answer: &dyn Fn(usize, &[String]) -> i16,
    ) {
        let (mut challenge, mut known) = (None, !login);
        loop {
            let mut size = [0; 4];
            if stream.read_exact(&mut size).is_err() {
                return;
            }
            let mut bytes = vec![0; u32::from_be_bytes(size) as usize];
            stream.read_exact(&mut bytes).unwrap();
            let mut request = Answer { bytes, at: 0 };
            let api = (request.i16().unwrap(), request.i16().unwrap());
            let mut body = request.i32().unwrap().to_be_bytes().to_vec();
            assert_eq!(request.string().unwrap().unwrap(), "roje");
            assert!(known || api == SASL_HANDSHAKE || api == SASL_AUTHENTICATE);
            match api {
                SASL_HANDSHAKE => {
                    assert_eq!(request.string().unwrap().unwrap(), "SCRAM-SHA-512");
                    put_i16(&mut body, 0);
                    put_i32(&mut body, 0);
                }
                SASL_AUTHENTICATE => {
                    let count = request.i32().unwrap() as usize;
                    let shown = String::from_utf8(request.take(count).unwrap().to_vec()).unwrap();
                    let told = match challenge.take() {
                        None => {
                            let nonce = shown.strip_prefix("n,,n=user,r=").unwrap().to_owned();
                            let first = format!("r={nonce}more,s=c2FsdA==,i=4096");
                            challenge = Some((nonce, first.clone()));
                            Ok(first)
                        }
                        Some((nonce, first)) => {
                            let (algorithm, hash) = (pbkdf2::PBKDF2_HMAC_SHA512, &digest::SHA512);
                            let scram = Scram { algorithm, hash, user: "user", password: "pencil", nonce };
                            let (last, signature) = scram.last(&first).unwrap();
                            known = last == shown;
                            if known { Ok(signature) } else { Err(58) }
                        }
                    };
                    put_i16(&mut body, told.as_ref().err().copied().unwrap_or(0));
                    put_i16(&mut body, -1);
                    let told = told.unwrap_or_default();
                    put_i32(&mut body, length(told.len()));
                    body.extend_from_slice(told.as_bytes());
                }
                METADATA => {
                    for number in [0, 1, 1] {
                        put_i32(&mut body, number); // throttle time, one broker, its id
                    }
                    put_string(&mut body, "127.0.0.1");
                    put_i32(&mut body, i32::from(port));
                    put_i16(&mut body, -1); // rack
                    put_i16(&mut body, -1); // cluster
                    put_i32(&mut body, 1); // controller
                    put_i32(&mut body, 1); // one topic
                    put_i16(&mut body, 0);
                    put_string(&mut body, "alerts");
                    body.push(0);
                    put_i32(&mut body, 2);
                    for partition in 0..2 {
                        put_i16(&mut body, 0);
                        for number in [partition, 1, 1, 1, 1, 1] {
                            put_i32(&mut body, number); // index, leader, replicas, those in sync
                        }
                    }
                }
                PRODUCE => {
                    assert_eq!((request.i16(), request.i16()), (Some(-1), Some(-1)), "acks: all");
                    request.i32().unwrap();
                    assert_eq!(request.count(), Some(1));
                    put_i32(&mut body, 1);
                    put_string(&mut body, &request.string().unwrap().unwrap());
                    let partitions = request.count().unwrap();
                    put_i32(&mut body, length(partitions));
                    for _ in 0..partitions {
                        let partition = request.i32().unwrap();
                        let size = request.i32().unwrap() as usize;
                        let ids = keys(request.take(size).unwrap());
                        assert!(ids.iter().all(|id| self::partition(id.as_bytes(), 2) == partition as usize));
                        let code = answer(partition as usize, &ids);
                        if code == 0 {
                            kept.lock().unwrap().push(ids);
                        }
                        put_i32(&mut body, partition);
                        put_i16(&mut body, code);
                        body.extend_from_slice(&[0; 16]);
                    }
                    put_i32(&mut body, 0);
                }
                other => panic!("{other:?}"),
            }
            stream.write_all(&length(body.len()).to_be_bytes()).unwrap();
            stream.write_all(&body).unwrap();
        }
    }

    /// The keys of a batch that checks.
    fn keys(batch: &[u8]) -> Vec<String> {
        assert_eq!(batch[16], 2, "magic");
        assert_eq!(u32::from_be_bytes(batch[17..21].try_into().unwrap()), crc32c::crc32c(&batch[21..]));
        assert_eq!(i32::from_be_bytes(batch[8..12].try_into().unwrap()) as usize, batch.len() - 12);
        let mut rest = &batch[61..];
        let number = |rest: &mut &[u8]| {
            let mut value = 0u64;
            for shift in (0..).step_by(7) {
                let byte = rest[0];
                *rest = &rest[1..];
                value |= u64::from(byte & 0x7f) << shift;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            (value >> 1) as usize
        };
        let mut keys = Vec::new();
        while !rest.is_empty() {
            let size = number(&mut rest);
            let (record, after) = rest.split_at(size);
            rest = after;
            let mut record = &record[1..];
            number(&mut record); // time
            assert_eq!(number(&mut record), keys.len(), "offset");
            let size = number(&mut record);
            keys.push(String::from_utf8(record[..size].to_vec()).unwrap());
        }
        assert_eq!(i32::from_be_bytes(batch[57..61].try_into().unwrap()) as usize, keys.len());
        keys
    }

    fn alerts(ids: std::ops::Range<u32>) -> Vec<Alert> {
        ids.map(|n| Alert { id: n.to_string(), ..crate::alert::tests::sample() }).collect()
    }

    /// Delivers as the caller does; what was set aside, and how often it was tried again.
    fn deliver_all(output: &mut Kafka, mut rest: &[Alert]) -> (Vec<String>, usize) {
        let (mut rejected, mut retries) = (Vec::new(), 0);
        while let Some(first) = rest.first() {
            match output.deliver(rest) {
                Ok(count) => rest = &rest[count..],
                Err(DeliveryError::Reject { .. }) => {
                    rejected.push(first.id.clone());
                    rest = &rest[1..];
                }
                Err(_) => retries += 1,
            }
            assert!(retries < 20);
        }
        (rejected, retries)
    }

    #[test]
    fn a_broker_that_wants_a_login_gets_everything_in_order_through_errors() {
        let dir = tempfile::tempdir().unwrap();
        let password = dir.path().join("password");
        std::fs::write(&password, "pencil\n").unwrap();
        let elections = std::sync::Mutex::new(vec![6i16, 19]);
        let broker = Broker::start(true, move |partition, _| match partition {
            0 => elections.lock().unwrap().pop().unwrap_or(0),
            _ => 0,
        });
        let remote = Remote {
            login: Some(("user".into(), password.clone())),
            sasl: Sasl::ScramSha512,
            ..Remote::default()
        };
        let mut output = broker.output(remote.clone());
        let (rejected, retries) = deliver_all(&mut output, &alerts(0..100));
        assert_eq!(rejected, Vec::<String>::new());
        assert!(retries > 0);
        for partition in 0..2 {
            let of = |id: &String| self::partition(id.as_bytes(), 2) == partition;
            let mut seen = std::collections::HashSet::new();
            let taken = broker.taken().into_iter().filter(of).filter(|id| seen.insert(id.clone()));
            let expected = (0..100).map(|n| n.to_string()).filter(of);
            assert!(taken.eq(expected), "order in partition {partition}");
        }
        std::fs::write(&password, "pen").unwrap();
        let Err(DeliveryError::Retry { reason, .. }) = broker.output(remote).deliver(&alerts(0..1)) else {
            panic!()
        };
        assert!(reason.contains("the login is refused") && !reason.contains("pen"), "{reason}");
    }

    #[test]
    fn what_a_broker_finds_too_large_or_refuses_stands_alone_and_is_set_aside() {
        for code in [TOO_LARGE, INVALID_RECORD] {
            let broker =
                Broker::start(false, move |_, ids| match ids.iter().any(|id| id == "7" || id == "50") {
                    true => code,
                    false => 0,
                });
            let (rejected, retries) = deliver_all(&mut broker.output(Remote::default()), &alerts(0..64));
            assert_eq!((rejected, retries), (vec!["7".to_owned(), "50".to_owned()], 0));
            let taken: std::collections::HashSet<String> = broker.taken().into_iter().collect();
            assert_eq!(taken.len(), 62);
        }
    }
}

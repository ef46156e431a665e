//! Alerts over HTTPS: lines of NDJSON, `_bulk` of Elasticsearch and OpenSearch, Splunk's HEC.
//!
//! [`Http`] sends a part of the batch as one request and tells by the answer what became of it:
//!
//! | answer | meaning |
//! |---|---|
//! | 2xx | all of it arrived; of `_bulk` what each item's status says |
//! | 413 | too much at once: half of it is tried; a single alert that is too large is set aside |
//! | 400, 422 | one of them is at fault: halves are tried until it stands alone, then it is set aside |
//! | anything else, or none | tried again, after `Retry-After` if the receiver says when |
//!
//! Redirects are not followed: alerts go where the configuration says. With `hmac_file` each request has
//! `Roje-Signature: t=SECONDS,v1=HEX`, where HEX is the HMAC-SHA256 of the digits SECONDS, a full stop
//! and the body as it is sent, compressed or not.

use super::remote::{Body, Remote, explain, key, printable_secret, secret};
use super::{DeliveryError, Output};
use crate::alert::{Alert, Encoding};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use rustls::crypto::aws_lc_rs as provider;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

/// Bytes of a request before compression: what most receivers take, and less than those that warn of it.
const MAX_BYTES: usize = 4 << 20;
/// Alerts of a request.
const MAX_COUNT: usize = 256;
/// Bytes of an answer that are read: an answer of `_bulk` has a hundred bytes or so for each item.
const MAX_ANSWER: u64 = 1 << 20;
/// Characters of an answer that are shown to an operator.
const SHOWN: usize = 200;
/// Splunk's codes for faults of the configuration, which it tells as 400 as well: wrong index, channel
/// missing, channel invalid, acknowledgements off.
const HEC_MISCONFIGURED: [u64; 4] = [7, 10, 11, 14];
/// Default of `index`.
const INDEX: &str = "roje-alerts";

/// A receiver of HTTP requests.
pub struct Http {
    url: String,
    encoding: Encoding,
    remote: Remote,
    client: Option<Client>,
    /// Alerts of the next request; less after trouble, more after success.
    count: usize,
    /// Bytes of it, which the receiver taught us.
    bytes: usize,
}

struct Client {
    agent: ureq::Agent,
    /// The files that it was made of.
    stamp: Vec<Option<(u64, i64, i64, u64)>>,
}

/// An answer.
struct Answer {
    status: u16,
    after: Option<Duration>,
    text: String,
}

/// What an answer says.
enum Verdict {
    /// So many arrived.
    Taken(usize),
    /// The request is too large.
    TooLarge,
    /// One of the request's alerts is at fault.
    AtFault(String),
    /// The first is at fault.
    FirstAtFault(String),
    /// Later, perhaps.
    Later(String, Option<Duration>),
}

impl Http {
    /// Sends to a URL; nothing is opened yet.
    pub fn new(url: &str, encoding: Encoding, remote: Remote) -> Http {
        let url = complete(url, remote.body);
        Http { url, encoding, remote, client: None, count: MAX_COUNT, bytes: MAX_BYTES }
    }

    /// The body for as many alerts as fit, and how many these are.
    fn body(&self, batch: &[Alert]) -> (usize, Vec<u8>) {
        let mut body = Vec::new();
        let mut count = 0;
        for alert in batch.iter().take(self.count.max(1)) {
            let before = body.len();
            self.write(alert, &mut body);
            if count > 0 && body.len() > self.bytes {
                body.truncate(before);
                break;
            }
            count += 1;
        }
        (count, body)
    }

    fn write(&self, alert: &Alert, out: &mut Vec<u8>) {
        match self.remote.body {
            Body::Lines => self.encoding.encode(alert, out),
            Body::Elasticsearch | Body::OpenSearch => {
                let index = self.remote.index.as_deref().unwrap_or(INDEX);
                let action = json!({ "create": { "_index": index, "_id": key(alert) } });
                out.extend_from_slice(action.to_string().as_bytes());
                out.push(b'\n');
                Encoding::Ecs.encode(alert, out);
            }
            Body::Splunk => {
                let text = |pointer: &str| Value::Object(alert.event.clone()).pointer(pointer).cloned();
                let mut head = json!({ "source": "roje", "sourcetype": "roje:alert" });
                if let Some(head) = head.as_object_mut() {
                    head.insert("time".into(), seconds(alert.last_seen));
                    head.extend(text("/agent/name").map(|host| ("host".to_owned(), host)));
                    head.extend(self.remote.index.clone().map(|index| ("index".to_owned(), index.into())));
                    head.insert("fields".into(), json!({ "event_id": key(alert) }));
                }
                // The alert goes in as it is encoded, with everything escaped that must be.
                let head = head.to_string();
                out.extend_from_slice(head.strip_suffix('}').unwrap_or_default().as_bytes());
                out.extend_from_slice(b",\"event\":");
                Encoding::Ecs.encode(alert, out);
                out.push(b'}');
            }
        }
        out.push(b'\n');
    }

    /// Sends one request.
    fn send(&mut self, batch: &[Alert], body: &[u8]) -> Result<Answer, String> {
        let body = if self.remote.gzip { compress(body) } else { body.to_vec() };
        let mut headers = vec![("Content-Type", self.content_type().to_owned())];
        headers.push(("Idempotency-Key", idempotency_key(batch)));
        if self.remote.gzip {
            headers.push(("Content-Encoding", "gzip".to_owned()));
        }
        headers.extend(self.authorization()?.map(|value| ("Authorization", value)));
        if let Some(path) = &self.remote.hmac {
            headers.push(("Roje-Signature", signature(&secret(path)?, &body, now())));
        }
        let mut request = self.agent()?.post(&self.url);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let mut response = request.send(body.as_slice()).map_err(|error| in_words(&error))?;
        let header = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let after = header.and_then(|text| retry_after(text, now()));
        let status = response.status().as_u16();
        let mut text = Vec::new();
        // Of a status that says everything an unreadable body matters nothing.
        let read = response.body_mut().as_reader().take(MAX_ANSWER).read_to_end(&mut text);
        if let (Err(error), Body::Elasticsearch | Body::OpenSearch) = (read, self.remote.body) {
            return Err(explain(&error));
        }
        Ok(Answer { status, after, text: String::from_utf8_lossy(&text).into_owned() })
    }

    fn content_type(&self) -> &'static str {
        match (self.remote.body, self.encoding) {
            (Body::Splunk, _) => "application/json",
            (Body::Lines, Encoding::Cef) => "text/plain; charset=utf-8",
            _ => "application/x-ndjson",
        }
    }

    fn authorization(&self) -> Result<Option<String>, String> {
        if let Some((user, password)) = &self.remote.login {
            let password = secret(password)?;
            let both = [user.as_bytes(), b":", &password].concat();
            return Ok(Some(format!("Basic {}", STANDARD.encode(both))));
        }
        let Some(path) = &self.remote.token else { return Ok(None) };
        let scheme = match self.remote.body {
            Body::Elasticsearch => "ApiKey",
            Body::Splunk => "Splunk",
            Body::Lines | Body::OpenSearch => "Bearer",
        };
        Ok(Some(format!("{scheme} {}", printable_secret(path)?)))
    }

    /// The client; a new one once the certificates have changed.
    fn agent(&mut self) -> Result<ureq::Agent, String> {
        let stamp = self.remote.identity.stamp();
        if let Some(client) = self.client.as_ref().filter(|client| client.stamp == stamp) {
            return Ok(client.agent.clone());
        }
        let agent = self.connect()?;
        self.client = Some(Client { agent: agent.clone(), stamp });
        Ok(agent)
    }

    fn connect(&self) -> Result<ureq::Agent, String> {
        let mut tls =
            TlsConfig::builder().unversioned_rustls_crypto_provider(Arc::new(provider::default_provider()));
        if self.url.starts_with("https:") {
            let loaded = self.remote.identity.load().map_err(|error| error.to_string())?;
            let owned = |der: &[u8]| Certificate::from_der(der).to_owned();
            let roots: Vec<_> = loaded.roots.iter().map(|root| owned(root)).collect();
            tls = tls.root_certs(RootCerts::new_with_certs(&roots));
            if let Some((chain, key)) = loaded.client {
                let chain: Vec<_> = chain.iter().map(|one| owned(one)).collect();
                let key = PrivateKey::from_pem(&key).map_err(|_| "the private key is gone".to_owned())?;
                tls = tls.client_cert(Some(ClientCert::new_with_certs(&chain, key)));
            }
        }
        let proxy = match &self.remote.proxy {
            // What the URL holds is not repeated: a password, perhaps.
            Some(url) => Some(ureq::Proxy::new(url).map_err(|_| "`proxy` is not a usable URL".to_owned())?),
            None => None,
        };
        let timeout = Some(self.remote.timeout);
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(proxy)
            .tls_config(tls.build())
            .timeout_resolve(timeout)
            .timeout_connect(timeout)
            .timeout_send_request(timeout)
            .timeout_send_body(timeout)
            .timeout_recv_response(timeout)
            .timeout_recv_body(timeout)
            .max_idle_age(Duration::from_secs(10))
            .user_agent(concat!("roje/", env!("CARGO_PKG_VERSION")))
            .accept("application/json, */*;q=0.1")
            .accept_encoding("identity");
        Ok(config.build().new_agent())
    }

    fn judge(&self, answer: &Answer, sent: usize) -> Verdict {
        let Answer { status, after, text } = answer;
        let told = || match text.trim() {
            "" => format!("answer {status}"),
            text => format!("answer {status}: {}", text.chars().take(SHOWN).collect::<String>()),
        };
        match (status, self.remote.body) {
            (200..=299, Body::Elasticsearch | Body::OpenSearch) => items(text, sent, *after),
            (200..=299, _) => Verdict::Taken(sent),
            (400, Body::Splunk) if hec_code(text).is_some_and(|code| HEC_MISCONFIGURED.contains(&code)) => {
                Verdict::Later(told(), *after)
            }
            (400 | 422, _) => Verdict::AtFault(told()),
            (413, _) => Verdict::TooLarge,
            _ => Verdict::Later(told(), *after),
        }
    }
}

impl Output for Http {
    fn deliver(&mut self, batch: &[Alert]) -> Result<usize, DeliveryError> {
        loop {
            let (count, body) = self.body(batch);
            let Some(sent) = batch.get(..count).filter(|sent| !sent.is_empty()) else { return Ok(0) };
            let answer = match self.send(sent, &body) {
                Ok(answer) => answer,
                Err(reason) => {
                    // What a thin line cannot carry in time it carries in parts; and a receiver that closes
                    // while it is being sent to may have found it too much.
                    self.count = (count / 2).max(1);
                    return Err(DeliveryError::retry(reason));
                }
            };
            match self.judge(&answer, count) {
                Verdict::Taken(taken) => {
                    self.count = (self.count * 2).min(MAX_COUNT);
                    self.bytes = (self.bytes + self.bytes / 16).min(MAX_BYTES);
                    return Ok(taken);
                }
                Verdict::TooLarge if count > 1 => {
                    self.count = count / 2;
                    self.bytes = (body.len() / 2).max(1);
                }
                Verdict::TooLarge => {
                    self.bytes = self.bytes.max(body.len());
                    let reason = format!("answer 413: the receiver refuses {} bytes", body.len());
                    return Err(DeliveryError::Reject { reason });
                }
                Verdict::AtFault(_) if count > 1 => self.count = count / 2,
                Verdict::AtFault(reason) | Verdict::FirstAtFault(reason) => {
                    return Err(DeliveryError::Reject { reason });
                }
                Verdict::Later(reason, after) => return Err(DeliveryError::Retry { reason, after }),
            }
        }
    }

    fn reopen(&mut self) {
        self.client = None;
    }
}

/// The URL with the path that a receiver's interface has, where the configuration names none.
fn complete(url: &str, body: Body) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
    let bare = !rest.trim_end_matches('/').contains(['/', '?']);
    let path = match body {
        // Without successes an answer of _bulk is short.
        Body::Elasticsearch | Body::OpenSearch => {
            "/_bulk?filter_path=errors,items.*.status,items.*.error.type,items.*.error.reason"
        }
        Body::Splunk => "/services/collector/event",
        Body::Lines => return url.to_owned(),
    };
    if bare { format!("{scheme}://{}{path}", rest.trim_end_matches('/')) } else { url.to_owned() }
}

/// What the items of an answer of `_bulk` say, up to the first that did not arrive.
fn items(text: &str, sent: usize, after: Option<Duration>) -> Verdict {
    let answer: Value = serde_json::from_str(text).unwrap_or_default();
    if answer["errors"] == Value::Bool(false) {
        return Verdict::Taken(sent);
    }
    let Some(items) = answer["items"].as_array().filter(|items| items.len() == sent) else {
        return Verdict::Later("the answer is none of _bulk, or was cut".to_owned(), after);
    };
    for (index, item) in items.iter().enumerate() {
        let outcome = item.as_object().and_then(|item| item.values().next()).unwrap_or(&Value::Null);
        let status = outcome["status"].as_u64().unwrap_or(0);
        // 409: it is there already.
        if matches!(status, 200..=299 | 409) {
            continue;
        }
        if index > 0 {
            return Verdict::Taken(index);
        }
        let part = |name: &str| outcome["error"][name].as_str().unwrap_or_default();
        return match status {
            400 | 413 | 422 => {
                Verdict::FirstAtFault(format!("item {status}: {}: {}", part("type"), part("reason")))
            }
            // The reason of an error that is not the alert's fault tells nothing of the alert.
            _ => Verdict::Later(format!("item {status}: {}: {}", part("type"), part("reason")), after),
        };
    }
    Verdict::Taken(sent)
}

fn hec_code(text: &str) -> Option<u64> {
    serde_json::from_str::<Value>(text).ok()?["code"].as_u64()
}

/// The same for the same alerts, so that a receiver may tell a request that comes again; a quoted string,
/// as the draft of the header field has it.
fn idempotency_key(batch: &[Alert]) -> String {
    let keys: Vec<String> = batch.iter().map(key).collect();
    match keys.as_slice() {
        [one] => format!("\"{}\"", one.replace(['"', '\\'], "_")),
        many => format!("\"{}\"", hex(&Sha256::digest(many.join("\n").as_bytes()))),
    }
}

/// See the module's description.
fn signature(key: &[u8], body: &[u8], now: Duration) -> String {
    let seconds = now.as_secs().to_string();
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    context.update(seconds.as_bytes());
    context.update(b".");
    context.update(body);
    format!("t={seconds},v1={}", hex(context.sign().as_ref()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn compress(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing to memory cannot fail.
    let _ = encoder.write_all(body);
    encoder.finish().unwrap_or_default()
}

/// Seconds, or a date (RFC 9110 §10.2.3).
fn retry_after(text: &str, now: Duration) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_second();
    Some(Duration::from_secs(u64::try_from(date).ok()?).saturating_sub(now))
}

fn in_words(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(error) => explain(error),
        ureq::Error::Timeout(step) => format!("no answer in time ({step})"),
        ureq::Error::HostNotFound => "no address of this name".to_owned(),
        other => other.to_string(),
    }
}

fn seconds(at: crate::input::Nanos) -> Value {
    json!(at as f64 / 1e9)
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::Organization;
    use crate::alert::Sector;
    use crate::alert::tests::sample;
    use std::collections::HashMap;
    use std::io::{BufRead, BufReader};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::path::PathBuf;
    use std::sync::Mutex;

    struct Request {
        path: String,
        headers: HashMap<String, String>,
        raw: Vec<u8>,
        /// Decompressed.
        body: String,
    }

    impl Request {
        /// The ids of a body of lines that are alerts.
        fn ids(&self) -> Vec<String> {
            let lines = self.body.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let alerts = lines.map(|line| line.get("event").cloned().map_or(line.clone(), |_| line));
            let ids = alerts.filter_map(|alert| {
                let id = alert.pointer("/event/id").or(alert.pointer("/event/event/id"))?;
                id.as_str().map(str::to_owned)
            });
            ids.collect()
        }
    }

    type Reply = (u16, &'static str, String);

    /// A receiver on this machine that answers as a function says, and remembers what it was asked.
    struct Receiver {
        address: SocketAddr,
        seen: Arc<Mutex<Vec<Request>>>,
    }

    impl Receiver {
        fn start(answer: impl Fn(usize, &Request) -> Reply + Send + 'static) -> Receiver {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let seen = Arc::new(Mutex::new(Vec::new()));
            let kept = Arc::clone(&seen);
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let mut reader = BufReader::new(stream.unwrap());
                    while let Some(request) = read(&mut reader) {
                        let mut kept = kept.lock().unwrap();
                        let (status, header, body) = answer(kept.len(), &request);
                        kept.push(request);
                        // Nothing at all: the connection breaks.
                        if status == 0 {
                            break;
                        }
                        let length = body.len();
                        let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n{header}\r\n");
                        reader.get_mut().write_all(format!("{head}{body}").as_bytes()).unwrap();
                    }
                }
            });
            Receiver { address, seen }
        }

        fn output(&self, remote: Remote) -> Http {
            Http::new(&format!("http://{}/alerts", self.address), Encoding::Ecs, remote)
        }

        fn seen(&self) -> std::sync::MutexGuard<'_, Vec<Request>> {
            self.seen.lock().unwrap()
        }
    }

    fn read(reader: &mut BufReader<TcpStream>) -> Option<Request> {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
        let path = line.split(' ').nth(1)?.to_owned();
        let mut headers = HashMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let mut raw = vec![0; headers["content-length"].parse().ok()?];
        reader.read_exact(&mut raw).ok()?;
        let mut body = String::new();
        if headers.get("content-encoding").is_some_and(|encoding| encoding == "gzip") {
            flate2::read::GzDecoder::new(raw.as_slice()).read_to_string(&mut body).unwrap();
        } else {
            body = String::from_utf8(raw.clone()).unwrap();
        }
        Some(Request { path, headers, raw, body })
    }

    fn alerts(ids: std::ops::Range<u32>) -> Vec<Alert> {
        ids.map(|n| Alert { id: n.to_string(), organization: None, ..sample() }).collect()
    }

    fn file(dir: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Delivers as the caller does, until everything was taken or set aside; tells what was set aside.
    fn deliver_all(output: &mut Http, mut rest: &[Alert]) -> Vec<(String, String)> {
        let mut rejected = Vec::new();
        while let Some(first) = rest.first() {
            match output.deliver(rest) {
                Ok(count) => rest = &rest[count..],
                Err(DeliveryError::Reject { reason }) => {
                    rejected.push((first.id.clone(), reason));
                    rest = &rest[1..];
                }
                Err(other) => panic!("{other:?}"),
            }
        }
        rejected
    }

    #[test]
    fn a_batch_is_one_request_with_everything_it_needs() {
        let dir = tempfile::tempdir().unwrap();
        let receiver = Receiver::start(|_, _| (202, "", String::new()));
        let token = file(&dir, "token", "first\n");
        let hmac = file(&dir, "hmac", "a key of sixteen\n");
        let mut output =
            receiver.output(Remote { token: Some(token.clone()), hmac: Some(hmac), ..Remote::default() });
        assert_eq!(output.deliver(&alerts(0..9)).unwrap(), 9);
        std::fs::write(&token, "second").unwrap();
        assert_eq!(output.deliver(&alerts(9..10)).unwrap(), 1);
        let seen = receiver.seen();
        assert_eq!(seen[0].path, "/alerts");
        assert_eq!(seen[0].ids(), (0..9).map(|n| n.to_string()).collect::<Vec<_>>());
        let header = |index: usize, name: &str| seen[index].headers[name].clone();
        assert_eq!(header(0, "content-type"), "application/x-ndjson");
        assert_eq!(
            (header(0, "authorization"), header(1, "authorization")),
            ("Bearer first".into(), "Bearer second".into())
        );
        assert_eq!(header(1, "idempotency-key"), "\"9\"");
        assert_eq!(header(0, "idempotency-key").len(), 66);
        assert!(seen[0].raw.len() < seen[0].body.len(), "compressed");
        let signature = header(0, "roje-signature");
        let (stamp, sum) = signature.split_once(",v1=").unwrap();
        let stamp = stamp.strip_prefix("t=").unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"a key of sixteen");
        let signed = [stamp.as_bytes(), b".", &seen[0].raw].concat();
        assert_eq!(sum, hex(hmac::sign(&key, &signed).as_ref()));
        let stamp = Duration::from_secs(stamp.parse().unwrap());
        assert!(now().abs_diff(stamp) < Duration::from_secs(3600));
    }

    #[test]
    fn a_signature_is_what_openssl_computes() {
        // printf '1700000000.body' | openssl dgst -sha256 -hmac key
        assert_eq!(
            signature(b"key", b"body", Duration::from_secs(1_700_000_000)),
            "t=1700000000,v1=47b6ce0fca59474308e2921c247cb2493dce6b8101d90ac05bd0c6a37d0e046e"
        );
    }

    #[test]
    fn two_constituents_of_one_match_are_told_apart() {
        let of = |name: &str| {
            let organization = Organization { name: name.into(), sector: Sector::Water, contact: None };
            Alert { id: "7".into(), organization: Some(organization), ..sample() }
        };
        let none = Alert { id: "7".into(), organization: None, ..sample() };
        let keys = [key(&of("a")), key(&of("b")), key(&none)];
        assert_eq!(keys[2], "7");
        assert!(keys[0].starts_with("7-") && keys[0].len() == 18, "{keys:?}");
        assert!(keys[0] != keys[1] && keys[0] == key(&of("a")));
    }

    #[test]
    fn answers_that_ask_for_another_try_are_one() {
        for (status, header, after) in [
            (0, "", None),
            (301, "Location: /elsewhere\r\n", None),
            (401, "", None),
            (403, "", None),
            (404, "", None),
            (407, "", None),
            (408, "", None),
            (409, "", None),
            (418, "", None),
            (429, "Retry-After: 17\r\n", Some(17)),
            (500, "", None),
            (502, "", None),
            (503, "Retry-After: 120\r\n", Some(120)),
            (503, "Retry-After: soon\r\n", None),
        ] {
            let receiver = Receiver::start(move |index, _| match index {
                0 => (status, header, "the reason".into()),
                _ => (200, "", String::new()),
            });
            let mut output = receiver.output(Remote::default());
            match output.deliver(&alerts(0..4)) {
                Err(DeliveryError::Retry { reason, after: found }) => {
                    assert_eq!(found, after.map(Duration::from_secs), "{status}");
                    let expected = format!("answer {status}: the reason");
                    assert!(status == 0 || reason == expected, "{status}: {reason}");
                }
                other => panic!("{status}: {other:?}"),
            }
            assert!(deliver_all(&mut output, &alerts(0..4)).is_empty());
            let again: Vec<String> = receiver.seen().iter().skip(1).flat_map(Request::ids).collect();
            assert_eq!(again, ["0", "1", "2", "3"], "{status}");
        }
    }

    #[test]
    fn dates_of_another_try() {
        let now = Duration::from_secs(784_111_777 - 60);
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT", now), Some(Duration::from_secs(60)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:48:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("-1", now), None);
    }

    #[test]
    fn what_is_too_large_is_split_and_a_single_alert_set_aside() {
        let big = |body: &str| body.lines().count() > 3 || body.len() > 100_000;
        let receiver = Receiver::start(move |_, request| match big(&request.body) {
            true => (413, "", String::new()),
            false => (200, "", String::new()),
        });
        let mut batch = alerts(0..20);
        batch[13].event.insert("message".into(), "x".repeat(200_000).into());
        let mut output = receiver.output(Remote::default());
        let rejected = deliver_all(&mut output, &batch);
        assert_eq!(rejected.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["13"]);
        assert!(rejected[0].1.contains("413"), "{rejected:?}");
        let taken: Vec<String> =
            receiver.seen().iter().filter(|request| !big(&request.body)).flat_map(Request::ids).collect();
        let expected: Vec<String> = (0..20).filter(|n| *n != 13).map(|n| n.to_string()).collect();
        assert_eq!(taken, expected, "in order, each once");
        drop(output);
    }

    #[test]
    fn the_guilty_ones_are_found_and_set_aside_with_the_reason() {
        for status in [400, 422] {
            let guilty = |id: &String| ["0", "5", "6", "63"].contains(&id.as_str());
            let receiver = Receiver::start(move |_, request| match request.ids().iter().any(guilty) {
                true => (status, "", r#"{"error":"field x"}"#.into()),
                false => (204, "", String::new()),
            });
            let mut output = receiver.output(Remote::default());
            let rejected = deliver_all(&mut output, &alerts(0..64));
            let ids: Vec<&str> = rejected.iter().map(|(id, _)| id.as_str()).collect();
            assert_eq!(ids, ["0", "5", "6", "63"]);
            let expected = format!("answer {status}: {{\"error\":\"field x\"}}");
            assert!(rejected.iter().all(|(_, reason)| *reason == expected), "{rejected:?}");
            let seen = receiver.seen();
            let taken: Vec<String> =
                seen.iter().map(Request::ids).filter(|ids| !ids.iter().any(guilty)).flatten().collect();
            assert_eq!(taken.len(), 60, "each once");
            assert!(seen.len() < 64, "found by halves: {} requests", seen.len());
        }
    }

    #[test]
    fn the_items_of_bulk_are_read_one_by_one() {
        // 3 is there already, 4 is at fault, 6 comes at a bad time once.
        let busy = Mutex::new(true);
        let receiver = Receiver::start(move |_, request| {
            let status = |id: &String| match id.as_str() {
                "3" => 409,
                "4" => 400,
                "6" if std::mem::take(&mut *busy.lock().unwrap()) => 429,
                _ => 201,
            };
            let items = request.ids().into_iter().map(|id| status(&id)).map(|status| {
                json!({"create": {"status": status, "error": {"type": "parsing", "reason": "field x"}}})
            });
            let items: Vec<Value> = items.collect();
            (200, "", json!({"took": 1, "errors": true, "items": items}).to_string())
        });
        let remote = Remote { body: Body::OpenSearch, index: Some("soc".into()), ..Remote::default() };
        let mut output = Http::new(&format!("http://{}", receiver.address), Encoding::Ecs, remote);
        let batch = alerts(0..9);
        assert_eq!(output.deliver(&batch).unwrap(), 4);
        let Err(DeliveryError::Reject { reason }) = output.deliver(&batch[4..]) else { panic!() };
        assert_eq!(reason, "item 400: parsing: field x");
        // 6 was busy at the first sight of it.
        assert!(deliver_all(&mut output, &batch[5..]).is_empty());
        let seen = receiver.seen();
        assert!(seen[0].path.starts_with("/_bulk?filter_path="), "{}", seen[0].path);
        let first: Value = serde_json::from_str(seen[0].body.lines().next().unwrap()).unwrap();
        assert_eq!(first, json!({"create": {"_index": "soc", "_id": "0"}}));
        assert_eq!(seen[0].body.lines().count(), 18);
        assert!(seen[0].body.ends_with('\n'));
    }

    #[test]
    fn an_answer_that_is_none_of_bulk_acknowledges_nothing() {
        let taken = |text: &str| matches!(items(text, 2, None), Verdict::Taken(2));
        assert!(taken(r#"{"errors":false}"#));
        let one = r#"{"create":{"status":201}}"#;
        assert!(taken(&format!(r#"{{"errors":true,"items":[{one},{one}]}}"#)));
        for text in ["", "<html>", "{}", "[]", r#"{"errors":true}"#] {
            assert!(matches!(items(text, 2, None), Verdict::Later(..)), "{text}");
        }
        let short = format!(r#"{{"errors":true,"items":[{one}]}}"#);
        assert!(matches!(items(&short, 2, None), Verdict::Later(..)));
        assert!(matches!(items(r#"{"errors":true,"items":[{},{}]}"#, 2, None), Verdict::Later(..)));
    }

    #[test]
    fn splunk_gets_events_and_its_codes_are_understood() {
        let dir = tempfile::tempdir().unwrap();
        let receiver = Receiver::start(|index, request| match index {
            0 => (400, "", r#"{"text":"Incorrect index","code":7,"invalid-event-number":0}"#.into()),
            _ if request.ids().contains(&"1".to_owned()) => {
                (400, "", r#"{"text":"Invalid data format","code":6,"invalid-event-number":1}"#.into())
            }
            _ => (200, "", r#"{"text":"Success","code":0}"#.into()),
        });
        let token = Some(file(&dir, "token", "0-1-2"));
        let remote = Remote { body: Body::Splunk, token, gzip: false, ..Remote::default() };
        let mut output = Http::new(&format!("http://{}/", receiver.address), Encoding::Ecs, remote);
        let batch = alerts(0..3);
        let Err(DeliveryError::Retry { reason, .. }) = output.deliver(&batch) else { panic!() };
        assert!(reason.contains("Incorrect index"), "{reason}");
        let rejected = deliver_all(&mut output, &batch);
        assert_eq!(rejected.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["1"]);
        let seen = receiver.seen();
        assert_eq!(seen[0].path, "/services/collector/event");
        assert_eq!(seen[0].headers["authorization"], "Splunk 0-1-2");
        let event: Value = serde_json::from_str(seen[0].body.lines().next().unwrap()).unwrap();
        assert_eq!(event["event"], Value::Object(batch[0].to_json()));
        assert_eq!(event["fields"]["event_id"], "0");
        assert!(event["time"].as_f64().is_some_and(|time| time > 0.0), "{event}");
    }

    #[test]
    fn a_secret_that_is_missing_or_unusable_is_told_without_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let receiver = Receiver::start(|_, _| (200, "", String::new()));
        for (name, path, expected) in [
            ("missing", dir.path().join("none"), "cannot be read"),
            ("empty", file(&dir, "empty", "\n"), "empty"),
            ("two lines", file(&dir, "two", "hush\nhush"), "printable"),
            ("no text", file(&dir, "bytes", "hush\u{7}"), "printable"),
        ] {
            let mut output = receiver.output(Remote { token: Some(path), ..Remote::default() });
            let Err(DeliveryError::Retry { reason, .. }) = output.deliver(&alerts(0..1)) else { panic!() };
            assert!(reason.contains(expected) && !reason.contains("hush"), "{name}: {reason}");
        }
        assert!(receiver.seen().is_empty());
    }

    #[test]
    fn a_receiver_that_does_not_answer_is_given_up_in_time() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let remote = Remote { timeout: Duration::from_millis(300), ..Remote::default() };
        let mut output = Http::new(&url, Encoding::Ecs, remote);
        let Err(DeliveryError::Retry { reason, .. }) = output.deliver(&alerts(0..8)) else { panic!() };
        assert!(reason.contains("no answer in time"), "{reason}");
        drop(listener);
        let Err(DeliveryError::Retry { .. }) = output.deliver(&alerts(0..8)) else { panic!() };
    }

    #[test]
    fn the_shipped_templates_fit_what_is_sent() {
        let elasticsearch = include_str!("../../receivers/elasticsearch-template.json");
        let opensearch = include_str!("../../receivers/opensearch-template.json");
        assert_eq!(elasticsearch.replace("\"flattened\"", "\"flat_object\""), opensearch);
        let template: Value = serde_json::from_str(elasticsearch).unwrap();
        assert!(template["index_patterns"].as_array().unwrap().contains(&json!(format!("{INDEX}*"))));
        let properties = &template["template"]["mappings"]["properties"];
        // What a mapping says of an object or a number, alerts have as such.
        for alert in [sample(), Alert { organization: None, ..sample() }] {
            fits(properties, &Value::Object(alert.to_json()), "");
        }
        let flat = ["cef", "leef", "json", "kv", "flow"];
        assert!(flat.iter().all(|name| properties[name]["type"] == "flattened"));
    }

    fn fits(properties: &Value, value: &Value, path: &str) {
        for (name, value) in value.as_object().into_iter().flatten() {
            let (mapping, path) = (&properties[name], format!("{path}.{name}"));
            match mapping["type"].as_str() {
                Some("long") => assert!(value.is_i64() || value.is_u64(), "{path}: {value}"),
                Some("date") => {
                    let text = value.as_str().unwrap_or_default();
                    assert!(text.parse::<jiff::Timestamp>().is_ok(), "{path}: {value}");
                }
                Some("ip") => {
                    let each = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
                    let address =
                        |one: &Value| one.as_str().is_some_and(|one| one.parse::<std::net::IpAddr>().is_ok());
                    assert!(each.iter().all(address), "{path}: {value}");
                }
                Some(_) => {}
                None if mapping["properties"].is_object() => {
                    let each = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
                    each.iter().for_each(|one| {
                        assert!(one.is_object(), "{path}: {one}");
                        fits(&mapping["properties"], one, &path);
                    });
                }
                None => {}
            }
        }
    }

    #[test]
    fn paths_are_added_only_where_there_is_none() {
        for (url, body, expected) in [
            ("https://a", Body::Lines, "https://a"),
            ("https://a/x?y", Body::Splunk, "https://a/x?y"),
            ("https://a:8088/", Body::Splunk, "https://a:8088/services/collector/event"),
            ("https://a/prefix/_bulk", Body::Elasticsearch, "https://a/prefix/_bulk"),
        ] {
            assert_eq!(complete(url, body), expected);
        }
        assert!(complete("https://a:9200", Body::Elasticsearch).starts_with("https://a:9200/_bulk?"));
    }
}

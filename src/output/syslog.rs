//! Alerts as syslog: RFC 5424 over TCP (RFC 6587, octet-counted) and TLS (RFC 5425).
//!
//! Syslog acknowledges nothing. That the kernel of the receiver has taken bytes says little: a receiver
//! that is frozen, or dies before it reads them, loses them. So an alert counts as delivered only once
//! the receiver has read everything: [`Syslog`] ends the connection after a few seconds of use (TLS
//! close_notify, then FIN), waits until the receiver has closed its end as well, which it does when it has
//! read to the end, and opens another when more alerts come. Whatever ends a connection otherwise, all that
//! went over it is delivered again over the next.
//!
//! What remains: a receiver that has read an alert and loses it afterwards, out of its own memory; and
//! somebody on the way who can forge the end of a connection, if it is not encrypted.

use super::remote::{Connection, Remote, explain};
use super::{DeliveryError, Output};
use crate::alert::{Alert, Encoding};
use crate::detect::indicator::Severity;
use jiff::Timestamp;
use std::io::{self, Write};
use std::time::Duration;

/// How long a connection is used before its end acknowledges what went over it.
const SETTLE: Duration = Duration::from_secs(5);
/// Bytes that are written at once.
const CHUNK: usize = 64 << 10;
/// Facility 4, security and authorization messages (RFC 5424 §6.2.1).
const FACILITY: u8 = 4;
/// RFC 5424 §6: the longest HOSTNAME.
const MAX_HOSTNAME: usize = 255;

/// A receiver of syslog.
pub struct Syslog {
    host: String,
    port: u16,
    tls: bool,
    encoding: Encoding,
    remote: Remote,
    connection: Option<Connection>,
}

impl Syslog {
    /// Sends to a host; nothing is opened yet.
    pub fn new(host: &str, port: u16, tls: bool, encoding: Encoding, remote: Remote) -> Syslog {
        Syslog { host: host.to_owned(), port, tls, encoding, remote, connection: None }
    }

    fn connect(&self) -> io::Result<Connection> {
        let connection = Connection::open(&self.host, self.port, self.remote.timeout)?;
        if self.tls { connection.encrypt(&self.host, &self.remote.identity) } else { Ok(connection) }
    }
}

impl Output for Syslog {
    fn deliver(&mut self, batch: &[Alert]) -> Result<usize, DeliveryError> {
        if let Some(connection) = &mut self.connection
            && !connection.is_open()
        {
            self.connection = None;
            return Err(DeliveryError::lost("the receiver closed the connection"));
        }
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().map_err(|error| DeliveryError::retry(explain(&error)))?,
        };
        let mut bytes = Vec::with_capacity(CHUNK);
        let mut frame = Vec::new();
        for (index, alert) in batch.iter().enumerate() {
            frame.clear();
            write_message(alert, self.encoding, &mut frame);
            bytes.extend_from_slice(frame.len().to_string().as_bytes());
            bytes.push(b' ');
            bytes.extend_from_slice(&frame);
            if bytes.len() >= CHUNK || index + 1 == batch.len() {
                let sent = connection.write_all(&bytes).and_then(|()| connection.flush());
                // How much of it was read nobody knows.
                sent.map_err(|error| DeliveryError::lost(explain(&error)))?;
                bytes.clear();
            }
        }
        self.connection = Some(connection);
        Ok(batch.len())
    }

    fn settle(&mut self) -> Result<(), DeliveryError> {
        let Some(connection) = self.connection.take() else { return Ok(()) };
        connection.finish(self.remote.timeout).map_err(|error| {
            DeliveryError::retry(format!("the receiver did not read to the end: {}", explain(&error)))
        })
    }

    fn settles_every(&self) -> Duration {
        SETTLE
    }
}

/// One message; the body is what the encoding makes of the alert, without a BOM, since it is read by
/// programs.
fn write_message(alert: &Alert, encoding: Encoding, out: &mut Vec<u8>) {
    let priority = FACILITY * 8 + severity(alert.severity());
    let stamp = Timestamp::from_nanosecond(i128::from(alert.last_seen)).unwrap_or_default();
    let name = alert.event.get("agent").and_then(|agent| agent.get("name")).and_then(|name| name.as_str());
    let host: String =
        name.unwrap_or_default().chars().filter(char::is_ascii_graphic).take(MAX_HOSTNAME).collect();
    let host = if host.is_empty() { "-" } else { &host };
    // RFC 5424 §6.2.3: six digits of a second at most.
    let head = format!("<{priority}>1 {stamp:.6} {host} roje {} alert - ", std::process::id());
    out.extend_from_slice(head.as_bytes());
    encoding.encode(alert, out);
}

/// RFC 5424 §6.2.1, table 2.
fn severity(severity: Severity) -> u8 {
    match severity {
        Severity::Critical => 2,
        Severity::High => 3,
        Severity::Medium => 4,
        Severity::Low => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::tests::sample;
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    fn alerts(ids: std::ops::Range<u32>) -> Vec<Alert> {
        ids.map(|n| Alert { id: n.to_string(), ..sample() }).collect()
    }

    fn output() -> (TcpListener, Syslog) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let remote = Remote { timeout: Duration::from_secs(20), ..Remote::default() };
        (listener, Syslog::new("127.0.0.1", port, false, Encoding::Ecs, remote))
    }

    /// Reads to the end; the ids of whole messages.
    fn ids(mut stream: &TcpStream) -> Vec<String> {
        let mut bytes = Vec::new();
        // A connection that is reset has an end as well.
        let _ = stream.read_to_end(&mut bytes);
        let mut rest = bytes.as_slice();
        let mut ids = Vec::new();
        while let Some(space) = rest.iter().position(|byte| *byte == b' ') {
            let length: usize = std::str::from_utf8(&rest[..space]).unwrap().parse().unwrap();
            let Some(message) = rest.get(space + 1..space + 1 + length) else { break };
            let message = std::str::from_utf8(message).unwrap();
            assert!(message.starts_with("<34>1 2") || message.starts_with("<3"), "{message}");
            let (head, body) = message.split_once(" - {").unwrap();
            assert_eq!(head.split(' ').count(), 6, "{head}");
            ids.push(Alert::from_line(format!("{{{body}").as_bytes()).unwrap().id);
            rest = &rest[space + 1 + length..];
        }
        ids
    }

    fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
        range.map(|n| n.to_string()).collect()
    }

    #[test]
    fn what_was_read_to_the_end_is_settled() {
        let (listener, mut output) = output();
        let reader = std::thread::spawn(move || {
            [(); 2].map(|()| {
                let (stream, _) = listener.accept().unwrap();
                ids(&stream)
            })
        });
        assert_eq!(output.deliver(&alerts(0..30)).unwrap(), 30);
        assert_eq!(output.deliver(&alerts(30..40)).unwrap(), 10);
        output.settle().unwrap();
        output.settle().unwrap();
        assert_eq!(output.deliver(&alerts(40..41)).unwrap(), 1);
        output.settle().unwrap();
        assert_eq!(reader.join().unwrap(), [numbers(0..40), numbers(40..41)]);
    }

    #[test]
    fn what_was_taken_by_the_kernel_alone_is_not_settled() {
        let (listener, mut output) = output();
        assert_eq!(output.deliver(&alerts(0..3)).unwrap(), 3);
        let (stream, _) = listener.accept().unwrap();
        // It dies with everything unread.
        drop(stream);
        assert!(output.settle().is_err());
        // And a frozen one never closes.
        output.remote.timeout = Duration::from_millis(200);
        assert_eq!(output.deliver(&alerts(0..3)).unwrap(), 3);
        let (stream, _) = listener.accept().unwrap();
        let error = output.settle().unwrap_err().to_string();
        assert_eq!(error, "the receiver did not read to the end: no answer in time");
        drop(stream);
    }

    #[test]
    fn a_connection_that_ended_says_that_all_of_it_is_lost() {
        let (listener, mut output) = output();
        assert_eq!(output.deliver(&alerts(0..3)).unwrap(), 3);
        drop(listener.accept().unwrap());
        // The end of it travels.
        let until = std::time::Instant::now() + Duration::from_secs(20);
        let error = loop {
            match output.deliver(&alerts(3..4)) {
                Err(error) => break error,
                Ok(_) => assert!(std::time::Instant::now() < until),
            }
        };
        assert!(matches!(error, DeliveryError::Lost { .. }), "{error:?}");
        drop(listener);
        // Nothing was taken by the next connection: there is none.
        let error = output.deliver(&alerts(0..3)).unwrap_err();
        assert!(matches!(error, DeliveryError::Retry { .. }), "{error:?}");
    }

    #[test]
    fn the_head_is_that_of_rfc_5424() {
        let mut alert = sample();
        alert.event.insert("agent".into(), serde_json::json!({"name": "tirana dc1\n"}));
        alert.last_seen = 1_700_000_000_123_456_789;
        let mut line = Vec::new();
        write_message(&alert, Encoding::Cef, &mut line);
        let line = String::from_utf8(line).unwrap();
        let stamp = "2023-11-14T22:13:20.123456Z tiranadc1 roje ";
        assert!(line.get(6..).is_some_and(|line| line.starts_with(stamp)), "{line}");
        assert!(line.contains(" alert - CEF:0|"), "{line}");
    }
}

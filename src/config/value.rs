//! Values of the configuration as people write them: sizes, spans of time, networks, addresses of
//! listeners and outputs.
//!
//! Each function takes the text and says in [`Refusal`] what is wrong with it, what was expected,
//! and what to type instead. The text itself is never repeated: it may hold a secret.

use super::{Destination, Listen};
use crate::input::nats::Place;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

/// Why a value is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) expected: String,
    pub(super) help: Option<String>,
}

impl Refusal {
    pub(super) fn new(message: impl Into<String>, expected: impl Into<String>) -> Refusal {
        Refusal { code: "bad-value", message: message.into(), expected: expected.into(), help: None }
    }

    pub(super) fn help(self, help: impl Into<String>) -> Refusal {
        Refusal { help: Some(help.into()), ..self }
    }
}

/// `64KiB`, `2GiB`; decimal units too; a bare number is bytes.
pub(super) fn size(text: &str) -> Result<u64, Refusal> {
    const UNITS: [(&str, u64); 9] = [
        ("b", 1),
        ("kib", 1 << 10),
        ("mib", 1 << 20),
        ("gib", 1 << 30),
        ("tib", 1 << 40),
        ("kb", 1_000),
        ("mb", 1_000_000),
        ("gb", 1_000_000_000),
        ("tb", 1_000_000_000_000),
    ];
    let refusal = || Refusal::new("not a size", "expected a whole number and a unit, such as \"32MiB\"");
    let (digits, unit) = split_number(text.trim());
    let number: u64 = digits.parse().map_err(|_| refusal())?;
    let unit = unit.trim().to_ascii_lowercase();
    if let ("k" | "m" | "g" | "t", Some(letter)) = (unit.as_str(), unit.chars().next()) {
        return Err(refusal().help(format!("\"{number}{}iB\"", letter.to_ascii_uppercase())));
    }
    let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
    let factor = if unit.is_empty() { Some(1) } else { factor };
    number.checked_mul(factor.ok_or_else(refusal)?).ok_or_else(refusal)
}

/// `10m`, `1h30m`, `500ms`.
pub(super) fn duration(text: &str) -> Result<Duration, Refusal> {
    let refusal =
        || Refusal::new("not a span of time", "expected numbers with units, such as \"10m\" or \"1h30m\"");
    let mut rest = text.trim();
    if !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(refusal().help(format!("\"{rest}s\" for seconds")));
    }
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return Err(refusal());
    }
    while !rest.is_empty() {
        let (digits, tail) = split_number(rest);
        let number: u64 = digits.parse().map_err(|_| refusal())?;
        let end = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let part = match unit {
            "ms" => Some(Duration::from_millis(number)),
            "s" => Some(Duration::from_secs(number)),
            "m" => number.checked_mul(60).map(Duration::from_secs),
            "h" => number.checked_mul(3_600).map(Duration::from_secs),
            "d" => number.checked_mul(86_400).map(Duration::from_secs),
            _ => None,
        };
        total = part.and_then(|part| total.checked_add(part)).ok_or_else(refusal)?;
        rest = tail.trim_start();
    }
    Ok(total)
}

fn split_number(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// An address or a prefix; IPv4-mapped IPv6 is IPv4.
pub(super) fn network(text: &str) -> Result<IpNet, Refusal> {
    let refusal =
        || Refusal::new("not an address or prefix", "expected one such as \"10.0.0.0/8\" or \"2001:db8::1\"");
    let text = text.trim();
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address.to_canonical()));
    }
    let net: IpNet = text.parse().map_err(|_| refusal())?;
    if net.addr() != net.network() {
        return Err(Refusal::new(
            "bits are set behind the prefix length",
            "expected the first address of the network",
        )
        .help(format!("\"{}\"", net.trunc())));
    }
    Ok(canonical(net))
}

/// A prefix of IPv4-mapped addresses is a prefix of IPv4.
fn canonical(net: IpNet) -> IpNet {
    let IpNet::V6(v6) = net else { return net };
    match (v6.addr().to_ipv4_mapped(), v6.prefix_len().checked_sub(96)) {
        (Some(v4), Some(length)) => ipnet::Ipv4Net::new(v4, length).map_or(net, |v4| IpNet::V4(v4.trunc())),
        _ => net,
    }
}

/// `127.0.0.1:7653`.
pub(super) fn socket(text: &str) -> Result<SocketAddr, Refusal> {
    const EXPECTED: &str = "expected an address and a port, such as \"127.0.0.1:7653\"";
    let text = text.trim();
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address);
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        let example = SocketAddr::new(address, 7653);
        return Err(Refusal::new("no port", EXPECTED).help(format!("\"{example}\"")));
    }
    let refusal = Refusal::new("not an address with a port", EXPECTED);
    match text.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>())) {
        Some(("" | "*", Ok(port))) => Err(refusal.help(format!("\"0.0.0.0:{port}\" for every address"))),
        Some(("localhost", Ok(port))) => Err(refusal.help(format!("\"127.0.0.1:{port}\""))),
        _ => Err(refusal),
    }
}

/// `udp://0.0.0.0:514`, `unix:///dev/log`; which kind of Unix socket another key says.
pub(super) fn listen(text: &str) -> Result<Listen, Refusal> {
    const EXPECTED: &str = "expected udp://ADDRESS:PORT, tcp://ADDRESS:PORT, tls://ADDRESS:PORT, unix:///PATH \
         or nats://HOST:PORT/STREAM/CONSUMER";
    let text = text.trim();
    let Some((scheme, rest)) = text.split_once("://") else {
        let refusal = Refusal::new("not a URL", EXPECTED);
        return Err(match text.parse::<SocketAddr>() {
            Ok(address) => refusal.help(format!("\"udp://{address}\"")),
            Err(_) if text.starts_with('/') => refusal.help("\"unix://\" before the path"),
            Err(_) => refusal,
        });
    };
    let wrap: fn(SocketAddr) -> Listen = match scheme {
        "udp" => Listen::Udp,
        "tcp" => Listen::Tcp,
        "tls" => Listen::Tls,
        "unix" => return unix_path(rest).map(Listen::UnixDatagram),
        "nats" => return nats_place(rest).map(Listen::Nats),
        _ => {
            let refusal = Refusal::new("an unknown kind of listener", EXPECTED);
            return Err(match nearest(scheme, Listen::SCHEMES) {
                Some(name) => refusal.help(format!("{name}://")),
                None => refusal,
            });
        }
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    socket(rest).map(wrap).map_err(|refusal| {
        let help =
            refusal.help.map(|help| help.replacen('"', &format!("\"{scheme}://"), 1).replace("7653", "514"));
        Refusal { expected: EXPECTED.into(), help, ..refusal }
    })
}

/// The port of NATS.
const NATS_PORT: u16 = 4222;

/// The rest of `nats://HOST:PORT/STREAM/CONSUMER`.
fn nats_place(rest: &str) -> Result<Place, Refusal> {
    const EXPECTED: &str =
        "expected nats://HOST:PORT/STREAM/CONSUMER, such as \"nats://10.0.0.7:4222/logs/roje\"";
    let mut parts = rest.strip_suffix('/').unwrap_or(rest).split('/');
    let (Some(server), Some(stream), Some(consumer), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Refusal::new("not a server, a stream and a consumer", EXPECTED));
    };
    if server.contains('@') {
        return Err(Refusal::new("a secret has no place in a URL", EXPECTED).help("creds_file = \"…\""));
    }
    // As the server has them: no dot, no wildcard, no blank.
    let named = |name: &str| {
        !name.is_empty()
            && name.len() <= 255
            && !name.contains(['.', '*', '>', '\\'])
            && name.chars().all(|c| c.is_ascii_graphic())
    };
    if !named(stream) || !named(consumer) {
        return Err(Refusal::new("not the name of a stream or consumer", EXPECTED));
    }
    let (host, port) = match server.parse::<SocketAddr>() {
        Ok(address) => (address.ip().to_string(), address.port()),
        Err(_) => match server.rsplit_once(':') {
            Some((host, port)) => {
                let port = port.parse().map_err(|_| Refusal::new("not a port", EXPECTED))?;
                (host.to_owned(), port)
            }
            None => (server.to_owned(), NATS_PORT),
        },
    };
    let plain = host.parse::<IpAddr>().is_ok()
        || (!host.is_empty()
            && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')));
    if !plain {
        return Err(Refusal::new("not the name or address of a server", EXPECTED));
    }
    Ok(Place { host, port, stream: stream.to_owned(), consumer: consumer.to_owned() })
}

/// Bytes of the path of a Unix socket: `sun_path` has 108, one of them the closing NUL.
const MAX_SOCKET_PATH: usize = 107;

/// The absolute path of `unix:///path`.
fn unix_path(path: &str) -> Result<PathBuf, Refusal> {
    const EXPECTED: &str = "expected unix:///PATH, such as \"unix:///run/roje/log\"";
    if !path.starts_with('/') {
        return Err(Refusal::new("not an absolute path", EXPECTED));
    }
    if path.ends_with('/') || path.contains('\0') {
        return Err(Refusal::new("not the path of a socket", EXPECTED));
    }
    if path.len() > MAX_SOCKET_PATH {
        let message = format!("longer than the {MAX_SOCKET_PATH} bytes that the path of a socket may have");
        return Err(Refusal::new(message, EXPECTED));
    }
    Ok(PathBuf::from(path))
}

/// `0660`: permission bits in octal, as chmod takes them.
pub(super) fn mode(text: &str) -> Result<u32, Refusal> {
    let text = text.trim();
    let octal = !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| octal && *mode <= 0o777);
    mode.ok_or_else(|| Refusal::new("not a file mode", "expected \"0000\" to \"0777\", such as \"0660\""))
}

/// `stdout:`, `file:///var/log/roje/alerts.json`, `https://soc.example/alerts`.
pub(super) fn destination(text: &str) -> Result<Destination, Refusal> {
    const EXPECTED: &str = "expected stdout:, file:///PATH, https://HOST/PATH, syslog+tls://HOST:PORT, \
                            syslog+tcp://HOST:PORT, nats://HOST:PORT/SUBJECT or kafka://HOST:PORT/TOPIC";
    let text = text.trim();
    let Some((scheme, rest)) = text.split_once(':') else {
        let refusal = Refusal::new("not a URL", EXPECTED);
        return Err(match text {
            "stdout" | "-" => refusal.help("\"stdout:\""),
            _ if text.starts_with('/') => refusal.help("\"file://\" before the path"),
            _ => refusal,
        });
    };
    match scheme {
        "stdout" if rest.is_empty() => Ok(Destination::Stdout),
        "stdout" => Err(Refusal::new("`stdout:` takes nothing behind it", EXPECTED).help("\"stdout:\"")),
        "file" => file_path(rest).map(Destination::File),
        "http" | "https" => http(scheme, text, rest),
        "syslog+tls" => syslog(rest, true),
        "syslog+tcp" => syslog(rest, false),
        "nats" => nats(rest),
        "kafka" => kafka(rest),
        _ => {
            let refusal = Refusal::new("an unknown kind of output", EXPECTED);
            let known = ["stdout", "file", "https", "syslog+tls", "syslog+tcp", "nats", "kafka"].into_iter();
            Err(match nearest(scheme, known) {
                Some(name) => refusal.help(format!("{name}:")),
                None if scheme == "syslog" => refusal.help("syslog+tls://"),
                None => refusal,
            })
        }
    }
}

fn http(scheme: &str, url: &str, rest: &str) -> Result<Destination, Refusal> {
    const EXPECTED: &str = "expected https://HOST/PATH, such as \"https://soc.example/alerts\"";
    let (authority, behind) = authority(rest, EXPECTED)?;
    let host = host_and_port(authority, 443, EXPECTED)?.0;
    if scheme == "http" && !is_loopback(&host) {
        return Err(Refusal::new(
            "alerts would leave this machine unencrypted",
            "`http://` is for loopback addresses only",
        )
        .help("https://"));
    }
    let plain =
        behind.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'\\'));
    if !plain || behind.contains('#') {
        return Err(Refusal::new("a path that cannot stand in a request", EXPECTED));
    }
    Ok(Destination::Http(url.to_owned()))
}

fn syslog(rest: &str, tls: bool) -> Result<Destination, Refusal> {
    let (expected, port) = match tls {
        true => ("expected syslog+tls://HOST:PORT, such as \"syslog+tls://soc.example:6514\"", 6514),
        false => ("expected syslog+tcp://HOST:PORT, such as \"syslog+tcp://127.0.0.1:601\"", 601),
    };
    let (authority, behind) = authority(rest, expected)?;
    if !matches!(behind, "" | "/") {
        return Err(Refusal::new("syslog has no path", expected));
    }
    let (host, port) = host_and_port(authority, port, expected)?;
    Ok(Destination::Syslog { tls, host, port })
}

fn nats(rest: &str) -> Result<Destination, Refusal> {
    const EXPECTED: &str = "expected nats://HOST:PORT/SUBJECT, such as \"nats://nats.example/alerts\"";
    let (hosts, subject) = cluster(rest, 4222, EXPECTED)?;
    let refusal = |message: &str| Err(Refusal::new(message, EXPECTED));
    if subject.is_empty() {
        return refusal("no subject");
    }
    if subject.split('.').any(|token| matches!(token, "" | "*" | ">")) || subject.len() > 255 {
        return refusal("not a subject that can be published to");
    }
    if subject.starts_with('$') || subject.starts_with("_INBOX.") {
        return refusal("a subject that belongs to NATS itself");
    }
    Ok(Destination::Nats { hosts, subject })
}

fn kafka(rest: &str) -> Result<Destination, Refusal> {
    const EXPECTED: &str = "expected kafka://HOST:PORT/TOPIC, such as \"kafka://kafka.example:9092/alerts\"";
    let (hosts, topic) = cluster(rest, 9092, EXPECTED)?;
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if topic.is_empty() {
        return Err(Refusal::new("no topic", EXPECTED));
    }
    if topic.len() > 249 || matches!(topic.as_str(), "." | "..") || !topic.bytes().all(good) {
        return Err(Refusal::new("not the name of a topic", EXPECTED));
    }
    Ok(Destination::Kafka { hosts, topic })
}

/// Several hosts of one cluster, and what is named in it.
fn cluster(rest: &str, port: u16, expected: &str) -> Result<(Vec<(String, u16)>, String), Refusal> {
    let (authority, behind) = authority(rest, expected)?;
    let hosts: Result<Vec<_>, _> =
        authority.split(',').map(|host| host_and_port(host.trim(), port, expected)).collect();
    let name = behind.strip_prefix('/').unwrap_or(behind);
    if name.bytes().any(|byte| !byte.is_ascii_graphic() || matches!(byte, b'/' | b'?' | b'#')) {
        return Err(Refusal::new("one name belongs behind the host", expected));
    }
    Ok((hosts?, name.to_owned()))
}

/// What stands between `//` and the path, and the rest.
fn authority<'a>(rest: &'a str, expected: &str) -> Result<(&'a str, &'a str), Refusal> {
    let rest = rest.strip_prefix("//").ok_or_else(|| Refusal::new("not a URL", expected))?;
    let (authority, behind) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err(Refusal {
            code: "secret-in-url",
            ..Refusal::new("names and passwords do not belong in a URL, which is logged and shown", expected)
        }
        .help("`user` and `password_file`, or `token_file`"));
    }
    Ok((authority, behind))
}

/// `soc.example:6514`, `192.0.2.1`, `[2001:db8::1]:6514`.
fn host_and_port(text: &str, port: u16, expected: &str) -> Result<(String, u16), Refusal> {
    let refusal = |message: &str| Refusal::new(message, expected);
    let (host, behind) = match text.strip_prefix('[') {
        Some(inner) => {
            let (address, behind) = inner.split_once(']').ok_or_else(|| refusal("`[` without `]`"))?;
            address.parse::<std::net::Ipv6Addr>().map_err(|_| refusal("not an IPv6 address"))?;
            (address, behind)
        }
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    // Name or address: what a certificate can be good for.
    if rustls::pki_types::ServerName::try_from(host).is_err() {
        return Err(refusal(if host.is_empty() { "no host" } else { "not a host" }));
    }
    let port = match behind.strip_prefix(':') {
        None if behind.is_empty() => port,
        Some(digits) => digits.parse().ok().filter(|port| *port > 0).ok_or_else(|| refusal("not a port"))?,
        None => return Err(refusal("not a host and a port")),
    };
    Ok((host.to_owned(), port))
}

/// Whether a host is this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// `http://proxy.example:3128`.
pub(super) fn proxy(text: &str) -> Result<String, Refusal> {
    const EXPECTED: &str = "expected http://HOST:PORT, such as \"http://proxy.example:3128\"";
    let text = text.trim();
    let rest = text.strip_prefix("http://").or(text.strip_prefix("https://"));
    let rest = rest.ok_or_else(|| Refusal::new("not the URL of a proxy", EXPECTED))?;
    // With a name and a password, which come out of a variable.
    let place = rest.rsplit('@').next().unwrap_or_default();
    host_and_port(place.strip_suffix('/').unwrap_or(place), 3128, EXPECTED)?;
    ureq::Proxy::new(text).map_err(|_| Refusal::new("not the URL of a proxy", EXPECTED))?;
    Ok(text.to_owned())
}

/// The absolute path of `///path`, percent-decoded.
fn file_path(rest: &str) -> Result<PathBuf, Refusal> {
    let refusal = |message: &str| {
        Refusal::new(message, "expected three slashes and an absolute path: \"file:///var/log/alerts.json\"")
    };
    let path = rest.strip_prefix("//").ok_or_else(|| refusal("not an absolute file URL"))?;
    let path = path.strip_prefix("localhost").filter(|path| path.starts_with('/')).unwrap_or(path);
    if !path.starts_with('/') {
        return Err(refusal("a file URL names no other machine and no relative path"));
    }
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first != b'%' {
            bytes.push(*first);
            rest = tail;
            continue;
        }
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.ok_or_else(|| refusal("`%` without two hexadecimal digits"))?);
        rest = tail.get(2..).unwrap_or_default();
    }
    if bytes.contains(&0) {
        return Err(refusal("a path cannot hold a NUL"));
    }
    if bytes.ends_with(b"/") {
        return Err(refusal("a folder, not a file"));
    }
    Ok(PathBuf::from(std::ffi::OsString::from_vec(bytes)))
}

/// The known name that a misspelt one most likely means.
pub(super) fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = written.to_ascii_lowercase().replace('-', "_");
    known
        .into_iter()
        .map(|name| {
            let plain = name.to_ascii_lowercase().replace('-', "_");
            let closeness = strsim::jaro_winkler(&folded, &plain);
            // `listen_address` holds `listen`; `upd` for `udp` is one slip away.
            let part =
                plain.len().min(folded.len()) >= 4 && (folded.contains(&plain) || plain.contains(&folded));
            let slip = plain.len() >= 3 && strsim::damerau_levenshtein(&folded, &plain) == 1;
            (name, if part || slip { closeness.max(0.85) } else { closeness })
        })
        .filter(|(_, closeness)| *closeness >= 0.8)
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("0", Some(0)),
            ("17", Some(17)),
            ("64KiB", Some(65_536)),
            ("32MiB", Some(33_554_432)),
            ("2GiB", Some(2_147_483_648)),
            ("2 GiB", Some(2_147_483_648)),
            ("1tib", Some(1 << 40)),
            ("10MB", Some(10_000_000)),
            ("32M", None),
            ("MiB", None),
            ("1.5GiB", None),
            ("-1", None),
            ("", None),
            ("20000000TiB", None),
        ] {
            assert_eq!(size(text).ok(), expected, "{text}");
        }
        assert_eq!(size("32m").unwrap_err().help.as_deref(), Some("\"32MiB\""));
    }

    #[test]
    fn durations() {
        for (text, expected) in [
            ("10m", Some(600_000)),
            ("1h", Some(3_600_000)),
            ("1h30m", Some(5_400_000)),
            ("1h 30m", Some(5_400_000)),
            ("500ms", Some(500)),
            ("2d", Some(172_800_000)),
            ("10", None),
            ("", None),
            ("m", None),
            ("10min", None),
            ("99999999999999999999s", None),
            ("18446744073709551615d", None),
        ] {
            assert_eq!(duration(text).ok().map(|span| span.as_millis()), expected, "{text}");
        }
    }

    #[test]
    fn networks() {
        for (text, expected) in [
            ("10.0.0.0/8", Ok("10.0.0.0/8")),
            ("10.1.2.3", Ok("10.1.2.3/32")),
            ("2001:db8::/32", Ok("2001:db8::/32")),
            ("::ffff:10.1.2.3", Ok("10.1.2.3/32")),
            ("::ffff:10.0.0.0/104", Ok("10.0.0.0/8")),
            ("10.0.0.1/8", Err(Some("\"10.0.0.0/8\""))),
            ("10.0.0.0/33", Err(None)),
            ("example.org", Err(None)),
        ] {
            let found = network(text).map(|net| net.to_string()).map_err(|refusal| refusal.help);
            assert_eq!(found, expected.map(str::to_owned).map_err(|help| help.map(str::to_owned)), "{text}");
        }
    }

    #[test]
    fn listeners() {
        for (text, expected) in [
            ("udp://0.0.0.0:514", Ok("udp://0.0.0.0:514")),
            ("tcp://[::]:601", Ok("tcp://[::]:601")),
            ("tcp://127.0.0.1:0/", Ok("tcp://127.0.0.1:0")),
            ("0.0.0.0:514", Err(("bad-value", Some("\"udp://0.0.0.0:514\"")))),
            ("udp://:514", Err(("bad-value", Some("\"udp://0.0.0.0:514\" for every address")))),
            ("udp://localhost:514", Err(("bad-value", Some("\"udp://127.0.0.1:514\"")))),
            ("udp://10.0.0.1", Err(("bad-value", Some("\"udp://10.0.0.1:514\"")))),
            ("upd://0.0.0.0:514", Err(("bad-value", Some("udp://")))),
            ("tls://0.0.0.0:6514", Ok("tls://0.0.0.0:6514")),
            ("tls://:6514", Err(("bad-value", Some("\"tls://0.0.0.0:6514\" for every address")))),
            ("unix:///run/roje.sock", Ok("unix:///run/roje.sock")),
            ("unix://run/roje.sock", Err(("bad-value", None))),
            ("unix:///run/", Err(("bad-value", None))),
            ("/dev/log", Err(("bad-value", Some("\"unix://\" before the path")))),
            ("nats://127.0.0.1:4222", Err(("bad-value", None))),
            ("nats://127.0.0.1/logs/roje", Ok("nats://127.0.0.1:4222/logs/roje")),
            ("udp://0.0.0.0:70000", Err(("bad-value", None))),
        ] {
            let found = listen(text).map(|listen| listen.to_string());
            let found = found.map_err(|refusal| (refusal.code, refusal.help));
            let expected = expected.map(str::to_owned);
            assert_eq!(found, expected.map_err(|(code, help)| (code, help.map(str::to_owned))), "{text}");
        }
    }

    #[test]
    fn destinations() {
        let file = |path: &str| Ok(Destination::File(path.into()));
        let url = |url: &str| Ok(Destination::Http(url.to_owned()));
        let hosts =
            |hosts: &[(&str, u16)]| hosts.iter().map(|(host, port)| ((*host).into(), *port)).collect();
        let nats = |at: &[(&str, u16)], subject: &str| {
            Ok(Destination::Nats { hosts: hosts(at), subject: subject.into() })
        };
        let kafka = |at: &[(&str, u16)], topic: &str| {
            Ok(Destination::Kafka { hosts: hosts(at), topic: topic.into() })
        };
        let syslog = |tls, host: &str, port| Ok(Destination::Syslog { tls, host: host.to_owned(), port });
        for (text, expected) in [
            ("stdout:", Ok(Destination::Stdout)),
            ("file:///var/log/roje/alerts.json", file("/var/log/roje/alerts.json")),
            ("file://localhost/a", file("/a")),
            ("file:///a%20b", file("/a b")),
            ("stdout", Err("bad-value")),
            ("file://a", Err("bad-value")),
            ("file:/a", Err("bad-value")),
            ("file:///a/", Err("bad-value")),
            ("file:///a%zz", Err("bad-value")),
            ("file:///a%00", Err("bad-value")),
            ("http://soc.example/alerts", Err("bad-value")),
            ("http://127.0.0.1.soc.example/", Err("bad-value")),
            ("http://127.0.0.1@soc.example/", Err("secret-in-url")),
            ("http://127.0.0.1:9000/alerts", url("http://127.0.0.1:9000/alerts")),
            ("http://[::1]:9000/alerts", url("http://[::1]:9000/alerts")),
            ("https://soc.example/alerts", url("https://soc.example/alerts")),
            ("https://soc.example", url("https://soc.example")),
            ("https://soc.example:0/", Err("bad-value")),
            ("https://soc.example:99999/", Err("bad-value")),
            ("https:///alerts", Err("bad-value")),
            ("https://soc.example/a b", Err("bad-value")),
            ("https://soc.example/#a", Err("bad-value")),
            ("https://a:b@soc.example/", Err("secret-in-url")),
            ("nats://127.0.0.1/alerts.soc", nats(&[("127.0.0.1", 4222)], "alerts.soc")),
            ("nats://a:1,b:2/alerts", nats(&[("a", 1), ("b", 2)], "alerts")),
            ("nats://a/", Err("bad-value")),
            ("nats://a/b.*", Err("bad-value")),
            ("nats://a/b..c", Err("bad-value")),
            ("nats://a/$JS.API", Err("bad-value")),
            ("nats://a/b/c", Err("bad-value")),
            ("nats://token@a/b", Err("secret-in-url")),
            ("kafka://a:1,[::1]/alerts", kafka(&[("a", 1), ("::1", 9092)], "alerts")),
            ("kafka://a", Err("bad-value")),
            ("kafka://a/b c", Err("bad-value")),
            ("kafka://,/b", Err("bad-value")),
            ("syslog+tls://soc.example:6515", syslog(true, "soc.example", 6515)),
            ("syslog+tls://[2001:db8::1]", syslog(true, "2001:db8::1", 6514)),
            ("syslog+tcp://192.0.2.1/", syslog(false, "192.0.2.1", 601)),
            ("syslog+tcp://192.0.2.1/a", Err("bad-value")),
            ("syslog://soc.example", Err("bad-value")),
            ("flie:///a", Err("bad-value")),
        ] {
            assert_eq!(destination(text).map_err(|refusal| refusal.code), expected, "{text}");
        }
    }

    #[test]
    fn names() {
        let keys = ["name", "listen", "format", "receive_buffer", "max_message"];
        for (written, expected) in [
            ("lisen", Some("listen")),
            ("recieve_buffer", Some("receive_buffer")),
            ("receive-buffer", Some("receive_buffer")),
            ("Listen", Some("listen")),
            ("listen_address", Some("listen")),
            ("zzz", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, keys), expected, "{written}");
        }
    }
}

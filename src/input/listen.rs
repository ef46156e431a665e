//! Addresses of the form `udp://0.0.0.0:514`, and sockets that the service manager passes.
//!
//! An [`Address`] is what people write; [`Address::listen`] gives the socket address to bind,
//! [`Address::resolve`] the one to send to. [`Passed`] holds the sockets that systemd opened for us;
//! an input takes its own by name or by address before it binds anything.

use super::passed;
use socket2::{SockRef, Type};
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// How messages travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// One datagram, one message.
    Udp,
    /// A stream, framed by RFC 6587.
    Tcp,
}

impl Transport {
    /// The scheme of its URL.
    pub fn scheme(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
        }
    }
}

/// Where to listen or to send, as written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// How messages travel.
    pub transport: Transport,
    /// An address, without brackets, or a name.
    pub host: String,
    /// The port; 0 when listening means any free one.
    pub port: u16,
}

/// Why an address cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No `scheme://`.
    #[error("expected a URL such as udp://{0}, found {0:?}")]
    Scheme(String),
    /// A scheme that nobody knows.
    #[error("unknown scheme {0:?}, expected udp, tcp, tls or unix")]
    UnknownScheme(String),
    /// Nothing between `://` and the port.
    #[error("no address in {0:?}, expected one such as udp://0.0.0.0:514")]
    Host(String),
    /// No port, or not a number from 0 to 65535.
    #[error("no valid port in {0:?}, expected one such as udp://0.0.0.0:514")]
    Port(String),
    /// An IPv6 address without brackets.
    #[error("an IPv6 address needs brackets, such as udp://[::]:514, found {0:?}")]
    Brackets(String),
    /// Something behind the port.
    #[error("nothing may follow the port, found {0:?}")]
    Path(String),
    /// Nothing behind `unix://`.
    #[error("no path, expected one such as unix:///run/roje/log")]
    Socket,
    /// A name where an address is needed.
    #[error("cannot listen on {0:?}, expected an address of this machine such as 0.0.0.0, [::] or 127.0.0.1")]
    Name(String),
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(AddressError::Scheme(text.to_owned()));
        };
        let transport = match scheme.to_ascii_lowercase().as_str() {
            "udp" => Transport::Udp,
            "tcp" => Transport::Tcp,
            _ => return Err(AddressError::UnknownScheme(scheme.to_owned())),
        };
        let (authority, path) = match rest.find(['/', '?', '#']) {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        if !matches!(path, "" | "/") {
            return Err(AddressError::Path(path.to_owned()));
        }
        let Some((host, port)) = authority.rsplit_once(':') else {
            return Err(AddressError::Port(text.to_owned()));
        };
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(host) => host,
            None if host.contains(':') => return Err(AddressError::Brackets(text.to_owned())),
            None => host,
        };
        if host.is_empty() {
            return Err(AddressError::Host(text.to_owned()));
        }
        // `parse` alone would take "+514".
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|_| digits);
        let port = port.ok_or_else(|| AddressError::Port(text.to_owned()))?;
        Ok(Address { transport, host: host.to_owned(), port })
    }
}

impl Address {
    /// The address to bind: no name but `localhost` is looked up.
    pub fn listen(&self) -> Result<SocketAddr, AddressError> {
        let ip = match self.host.parse::<IpAddr>() {
            Ok(ip) => ip,
            Err(_) if self.host.eq_ignore_ascii_case("localhost") => Ipv4Addr::LOCALHOST.into(),
            Err(_) => return Err(AddressError::Name(self.host.clone())),
        };
        Ok(SocketAddr::new(ip, self.port))
    }

    /// The address to send to; a name is looked up.
    pub fn resolve(&self) -> io::Result<SocketAddr> {
        let mut found = (self.host.as_str(), self.port).to_socket_addrs()?;
        found
            .next()
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no address for {}", self.host)))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.transport.scheme();
        if self.host.contains(':') {
            write!(formatter, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

/// The sockets that the service manager opened for this process and nobody took yet.
#[derive(Debug, Default)]
pub struct Passed {
    sockets: Vec<PassedSocket>,
}

#[derive(Debug)]
struct PassedSocket {
    name: String,
    fd: OwnedFd,
    datagram: bool,
    place: Place,
}

/// What a socket is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Internet(SocketAddr),
    Unix(PathBuf),
    /// Nothing that an input listens on.
    Other,
}

impl Passed {
    /// Takes over the sockets of `$LISTEN_FDS`; none if the process was not socket-activated.
    ///
    /// The descriptors belong to the process once, so a second call gives none.
    pub fn from_environment() -> io::Result<Passed> {
        Ok(Passed::new(passed::sockets()?))
    }

    pub(crate) fn new(sockets: Vec<(String, OwnedFd)>) -> Passed {
        let sockets = sockets.into_iter().map(|(name, fd)| {
            let view = SockRef::from(&fd);
            let datagram = matches!(view.r#type(), Ok(Type::DGRAM));
            let known = datagram || matches!(view.r#type(), Ok(Type::STREAM));
            let address = view.local_addr().ok().filter(|_| known);
            let place = match address
                .map(|address| (address.as_socket(), address.as_pathname().map(Path::to_owned)))
            {
                Some((Some(address), _)) => Place::Internet(address),
                Some((_, Some(path))) => Place::Unix(path),
                _ => Place::Other,
            };
            PassedSocket { name, fd, datagram, place }
        });
        Passed { sockets: sockets.collect() }
    }

    /// Takes the datagram sockets of an input.
    pub fn take_udp(&mut self, input: &str, address: SocketAddr) -> Vec<UdpSocket> {
        self.take(input, true, &Place::Internet(address)).map(UdpSocket::from).collect()
    }

    /// Takes the listeners of an input.
    pub fn take_tcp(&mut self, input: &str, address: SocketAddr) -> Vec<TcpListener> {
        self.take(input, false, &Place::Internet(address)).map(TcpListener::from).collect()
    }

    /// Takes the Unix datagram sockets of an input.
    pub fn take_unix_datagram(&mut self, input: &str, path: &Path) -> Vec<UnixDatagram> {
        self.take(input, true, &Place::Unix(path.to_owned())).map(UnixDatagram::from).collect()
    }

    /// Takes the Unix listeners of an input.
    pub fn take_unix_stream(&mut self, input: &str, path: &Path) -> Vec<UnixListener> {
        self.take(input, false, &Place::Unix(path.to_owned())).map(UnixListener::from).collect()
    }

    /// A socket belongs to the input whose name `FileDescriptorName=` gives; without such a name, to
    /// the one whose address it is bound to.
    fn take(&mut self, input: &str, datagram: bool, place: &Place) -> impl Iterator<Item = OwnedFd> {
        let kind = std::mem::discriminant(place);
        let fits = |socket: &PassedSocket| {
            socket.datagram == datagram && std::mem::discriminant(&socket.place) == kind
        };
        let named = self.sockets.iter().any(|socket| fits(socket) && socket.name == input);
        let belongs = |socket: &mut PassedSocket| {
            fits(socket) && if named { socket.name == input } else { socket.place == *place }
        };
        let taken: Vec<PassedSocket> = self.sockets.extract_if(.., belongs).collect();
        taken.into_iter().map(|socket| socket.fd)
    }

    /// What no input took, as `name (address)`: a mistake in a unit file that is worth a warning.
    pub fn left(&self) -> impl Iterator<Item = String> {
        self.sockets.iter().map(|socket| match &socket.place {
            Place::Internet(address) => {
                let scheme = if socket.datagram { "udp" } else { "tcp" };
                format!("{} ({scheme}://{address})", socket.name)
            }
            Place::Unix(path) => {
                let kind = if socket.datagram { "datagram" } else { "stream" };
                format!("{} (unix://{}, {kind})", socket.name, path.display())
            }
            Place::Other => format!("{} (neither an internet nor a Unix socket)", socket.name),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, transport, host, port) in [
            ("udp://0.0.0.0:514", Transport::Udp, "0.0.0.0", 514),
            ("tcp://[::]:601", Transport::Tcp, "::", 601),
            ("TCP://127.0.0.1:0/", Transport::Tcp, "127.0.0.1", 0),
            ("udp://collector.example:2055", Transport::Udp, "collector.example", 2055),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address, Address { transport, host: host.to_owned(), port }, "{text}");
            let shown = text.to_ascii_lowercase();
            assert_eq!(address.to_string(), shown.trim_end_matches('/'));
        }
    }

    #[test]
    fn refusals_say_what_to_write() {
        for (text, message) in [
            ("0.0.0.0:514", "expected a URL such as udp://0.0.0.0:514, found \"0.0.0.0:514\""),
            ("http://0.0.0.0:514", "unknown scheme \"http\", expected udp, tcp, tls or unix"),
            ("udp://0.0.0.0", "no valid port in \"udp://0.0.0.0\", expected one such as udp://0.0.0.0:514"),
            (
                "udp://1.2.3.4:99999",
                "no valid port in \"udp://1.2.3.4:99999\", expected one such as udp://0.0.0.0:514",
            ),
            (
                "udp://1.2.3.4:+1",
                "no valid port in \"udp://1.2.3.4:+1\", expected one such as udp://0.0.0.0:514",
            ),
            ("udp://:514", "no address in \"udp://:514\", expected one such as udp://0.0.0.0:514"),
            (
                "udp://::1:514",
                "an IPv6 address needs brackets, such as udp://[::]:514, found \"udp://::1:514\"",
            ),
            ("udp://[::1]:514/x", "nothing may follow the port, found \"/x\""),
        ] {
            assert_eq!(text.parse::<Address>().unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn only_addresses_are_listened_on() {
        let listen = |text: &str| text.parse::<Address>().unwrap().listen();
        assert_eq!(listen("udp://localhost:1").unwrap(), "127.0.0.1:1".parse().unwrap());
        assert_eq!(listen("udp://[::1]:1").unwrap(), "[::1]:1".parse().unwrap());
        assert_eq!(listen("udp://name.example:1"), Err(AddressError::Name("name.example".to_owned())));
    }

    #[test]
    fn passed_sockets_are_found_by_name_then_by_address() {
        let udp = || UdpSocket::bind("127.0.0.1:0").unwrap();
        let tcp = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (named, unnamed, other) = (udp(), udp(), tcp());
        let elsewhere: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let (at_named, at_unnamed) = (named.local_addr().unwrap(), unnamed.local_addr().unwrap());
        let at_other = other.local_addr().unwrap();
        let mut passed = Passed::new(vec![
            ("syslog".to_owned(), named.into()),
            ("roje.socket".to_owned(), unnamed.into()),
            ("syslog".to_owned(), other.into()),
        ]);
        let addresses = |sockets: Vec<UdpSocket>| -> Vec<SocketAddr> {
            sockets.iter().map(|socket| socket.local_addr().unwrap()).collect()
        };
        assert_eq!(addresses(passed.take_udp("flow", elsewhere)), []);
        assert_eq!(addresses(passed.take_udp("syslog", elsewhere)), [at_named]);
        assert_eq!(addresses(passed.take_udp("syslog", elsewhere)), []);
        assert_eq!(addresses(passed.take_udp("flow", at_unnamed)), [at_unnamed]);
        assert_eq!(passed.left().collect::<Vec<_>>(), [format!("syslog (tcp://{at_other})")]);
        assert_eq!(passed.take_tcp("x", at_other).len(), 1);
        assert_eq!(passed.left().count(), 0);
    }

    #[test]
    fn passed_unix_sockets_are_found_like_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let datagram = |name: &str| UnixDatagram::bind(path(name)).unwrap().into();
        let stream = |name: &str| UnixListener::bind(path(name)).unwrap().into();
        let mut passed = Passed::new(vec![
            ("local".to_owned(), datagram("a")),
            ("roje.socket".to_owned(), stream("b")),
            ("roje.socket".to_owned(), datagram("c")),
        ]);
        assert_eq!(passed.take_unix_stream("local", &path("a")).len(), 0);
        assert_eq!(passed.take_udp("local", "127.0.0.1:1".parse().unwrap()).len(), 0);
        assert_eq!(passed.take_unix_datagram("local", &path("elsewhere")).len(), 1);
        assert_eq!(passed.take_unix_stream("other", &path("b")).len(), 1);
        let left = format!("roje.socket (unix://{}, datagram)", path("c").display());
        assert_eq!(passed.left().collect::<Vec<_>>(), [left]);
    }
}

//! Unix sockets: `/dev/log` and others like it.
//!
//! [`bind_stream`] and [`bind_datagram`] open a socket with the mode and the owner that [`Access`]
//! says, in the place of one that a dead process left; [`Place`] removes it at the end. A
//! [`Receiver`] reads datagrams; connections are those of [`super::stream`]. Who sends is not known,
//! so that messages have no peer.

use super::{Message, Nanos, now, udp};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::socket::{MsgFlags, recv};
use nix::unistd::{Gid, Group, Uid, User};
use std::fs::TryLockError;
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Who may write to a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Its permission bits.
    pub mode: u32,
    /// The user it belongs to, by name or number; that of the process if none is given.
    pub user: Option<String>,
    /// The group it belongs to.
    pub group: Option<String>,
}

/// Whoever can reach it writes, as to `/dev/log`: who may not is kept out by the folder it is in.
pub const MODE: u32 = 0o666;

impl Default for Access {
    fn default() -> Access {
        Access { mode: MODE, user: None, group: None }
    }
}

/// A socket in the file system that is removed when this is dropped.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
    /// Another sensor may have replaced it meanwhile.
    file: File,
}

/// Which file a path leads to: device, inode, and when it was changed, since inodes are used again.
type File = (u64, u64, i64, i64);

fn file(path: &Path) -> io::Result<File> {
    let file = std::fs::symlink_metadata(path)?;
    Ok((file.dev(), file.ino(), file.ctime(), file.ctime_nsec()))
}

impl Drop for Place {
    fn drop(&mut self) {
        if file(&self.path).is_ok_and(|file| file == self.file) {
            // Nobody is left to tell of a failure; the next start replaces it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Opens a listener for connections.
pub fn bind_stream(path: &Path, access: &Access) -> io::Result<(UnixListener, Place)> {
    bind(path, access, |path| UnixListener::bind(path))
}

/// Opens a socket for datagrams.
pub fn bind_datagram(path: &Path, access: &Access) -> io::Result<(UnixDatagram, Place)> {
    bind(path, access, |path| UnixDatagram::bind(path))
}

fn bind<S>(path: &Path, access: &Access, open: impl Fn(&Path) -> io::Result<S>) -> io::Result<(S, Place)> {
    let owner = owner(access)?;
    // Two sensors that start at once must not both find the same socket stale: the second would remove
    // the one that the first has just opened.
    let _one_at_a_time = lock(path)?;
    let socket = match open(path) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            remove_stale(path)?;
            open(path)?
        }
        other => other?,
    };
    let mut place = Place { path: path.to_owned(), file: file(path)? };
    give(path, owner, access.mode)?;
    // Owner and mode changed it.
    place.file = file(path)?;
    Ok((socket, place))
}

/// How long another may take to open its socket in the same folder.
const PATIENCE: Duration = Duration::from_secs(2);

/// Holds the folder of a socket; no file is left behind.
fn lock(path: &Path) -> io::Result<Option<std::fs::File>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // A folder that may be entered and not be read is no reason not to listen.
    let Ok(folder) = std::fs::File::open(folder) else { return Ok(None) };
    let start = Instant::now();
    loop {
        match folder.try_lock() {
            Ok(()) => return Ok(Some(folder)),
            Err(TryLockError::WouldBlock) if start.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::new(ErrorKind::WouldBlock, "another process holds the folder locked"));
            }
            // Not every file system knows locks.
            Err(TryLockError::Error(_)) => return Ok(None),
        }
    }
}

/// Gives a socket its owner and its mode: what stands at the path, never what a link there leads to.
fn give(path: &Path, owner: (Option<Uid>, Option<Gid>), mode: u32) -> io::Result<()> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let handle = std::fs::OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    if !handle.metadata()?.file_type().is_socket() {
        return Err(io::Error::other("something else was put in the place of the socket"));
    }
    if owner != (None, None) {
        nix::unistd::fchownat(&handle, "", owner.0, owner.1, AtFlags::AT_EMPTY_PATH)
            .map_err(|error| io::Error::other(format!("the socket cannot be given to its owner: {error}")))?;
    }
    // The mode of a handle like this one is changed through its name under /proc, which is no link that
    // anybody could have put there.
    let name = format!("/proc/self/fd/{}", handle.as_raw_fd());
    std::fs::set_permissions(name, std::fs::Permissions::from_mode(mode))
}

/// Removes a socket on which nobody listens; anything else stays.
fn remove_stale(path: &Path) -> io::Result<()> {
    let in_use = |why: &str| Err(io::Error::new(ErrorKind::AddrInUse, why.to_owned()));
    if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
        return in_use("the path exists and is not a socket");
    }
    // Which kind it is of nobody tells but the attempt: a socket of the other kind is EPROTOTYPE. A
    // listener whose queue is full would make us wait for as long as it is.
    let address = socket2::SockAddr::unix(path)?;
    let refused = |kind: socket2::Type| -> io::Result<bool> {
        let socket = socket2::Socket::new(socket2::Domain::UNIX, kind, None)?;
        socket.set_nonblocking(true)?;
        Ok(socket.connect(&address).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused))
    };
    if refused(socket2::Type::DGRAM)? || refused(socket2::Type::STREAM)? {
        return std::fs::remove_file(path);
    }
    in_use("another process listens there")
}

fn owner(access: &Access) -> io::Result<(Option<Uid>, Option<Gid>)> {
    let unknown = |what: &str, name: &str| io::Error::new(ErrorKind::NotFound, format!("no {what} {name:?}"));
    let user = match &access.user {
        None => None,
        Some(name) => Some(match name.parse() {
            Ok(number) => Uid::from_raw(number),
            Err(_) => User::from_name(name)?.ok_or_else(|| unknown("user", name))?.uid,
        }),
    };
    let group = match &access.group {
        None => None,
        Some(name) => Some(match name.parse() {
            Ok(number) => Gid::from_raw(number),
            Err(_) => Group::from_name(name)?.ok_or_else(|| unknown("group", name))?.gid,
        }),
    };
    Ok((user, group))
}

/// A bound socket for datagrams; clones share it.
#[derive(Clone, Debug)]
pub struct Socket(Arc<UnixDatagram>);

impl Socket {
    /// Where it is bound, if it has a name.
    pub fn place(&self) -> Option<PathBuf> {
        self.0.local_addr().ok()?.as_pathname().map(Path::to_owned)
    }

    /// Takes a bound socket, such as one from the service manager.
    pub fn adopt(socket: UnixDatagram) -> io::Result<Socket> {
        socket.set_nonblocking(false)?;
        socket.set_read_timeout(Some(udp::WAIT))?;
        Ok(Socket(Arc::new(socket)))
    }
}

/// Receives datagrams into memory that it reuses.
#[derive(Debug)]
pub struct Receiver {
    socket: Socket,
    buffer: Box<[u8]>,
    batch: usize,
}

impl Receiver {
    /// A receiver of batches of `batch` datagrams; longer ones than `max_message` keep their head.
    pub fn new(socket: Socket, batch: usize, max_message: usize) -> Receiver {
        Receiver { socket, buffer: vec![0; max_message.max(1)].into_boxed_slice(), batch: batch.max(1) }
    }

    /// Waits for datagrams, hands them to `each`, and returns how many there were.
    ///
    /// None within [`udp::WAIT`], or a signal, give 0.
    pub fn receive(&mut self, each: &mut impl FnMut(&[Message<'_>])) -> io::Result<usize> {
        self.read(MsgFlags::empty(), each)
    }

    /// Hands out what the kernel holds, without waiting; 0 when nothing is left.
    pub fn drain(&mut self, each: &mut impl FnMut(&[Message<'_>])) -> io::Result<usize> {
        self.read(MsgFlags::MSG_DONTWAIT, each)
    }

    fn read(&mut self, first: MsgFlags, each: &mut impl FnMut(&[Message<'_>])) -> io::Result<usize> {
        let mut flags = first;
        let mut received: Nanos = 0;
        for count in 0..self.batch {
            // With MSG_TRUNC the kernel tells the whole length of a datagram that did not fit.
            let length = match recv(self.socket.0.as_raw_fd(), &mut self.buffer, flags | MsgFlags::MSG_TRUNC)
            {
                Ok(length) => length,
                Err(Errno::EAGAIN | Errno::EINTR) => return Ok(count),
                Err(error) if count == 0 => return Err(error.into()),
                Err(_) => return Ok(count),
            };
            if count == 0 {
                (flags, received) = (MsgFlags::MSG_DONTWAIT, now());
            }
            let bytes = self.buffer.get(..length).unwrap_or(&self.buffer);
            each(&[Message { bytes, peer: None, received, truncated: length > bytes.len() }]);
        }
        Ok(self.batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn datagrams_arrive_whole_or_with_their_head() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (socket, place) = bind_datagram(&path, &Access { mode: 0o600, ..Access::default() }).unwrap();
        assert_eq!(mode(&path), 0o600);
        let mut receiver = Receiver::new(Socket::adopt(socket).unwrap(), 3, 8);
        let sender = UnixDatagram::unbound().unwrap();
        for message in [&b"<1>a"[..], b"<1>123456789", b"", b"<1>d"] {
            sender.send_to(message, &path).unwrap();
        }
        let mut seen = Vec::new();
        let mut each = |messages: &[Message<'_>]| {
            seen.extend(messages.iter().map(|message| (message.bytes.to_vec(), message.truncated)));
        };
        assert_eq!(receiver.receive(&mut each).unwrap(), 3);
        assert_eq!(receiver.drain(&mut each).unwrap(), 1);
        assert_eq!(receiver.drain(&mut each).unwrap(), 0);
        let expected = [(&b"<1>a"[..], false), (b"<1>12345", true), (b"", false), (b"<1>d", false)];
        assert_eq!(seen, expected.map(|(bytes, cut)| (bytes.to_vec(), cut)));
        drop(place);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_socket_is_replaced_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let access = Access::default();
        for stale in [true, false] {
            // What a killed process leaves behind, of either kind.
            match stale {
                true => drop(UnixDatagram::bind(&path).unwrap()),
                false => drop(UnixListener::bind(&path).unwrap()),
            }
            let (_listener, place) = bind_stream(&path, &access).unwrap();
            assert_eq!(mode(&path), MODE);
            let error = bind_datagram(&path, &access).unwrap_err();
            assert_eq!(error.to_string(), "another process listens there");
            drop(place);
        }
        let (_socket, _place) = bind_datagram(&path, &access).unwrap();
        assert_eq!(bind_stream(&path, &access).unwrap_err().to_string(), "another process listens there");
        let file = folder.path().join("file");
        std::fs::write(&file, "precious").unwrap();
        let error = bind_stream(&file, &access).unwrap_err();
        assert_eq!(error.to_string(), "the path exists and is not a socket");
        assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    }

    #[test]
    fn one_of_many_that_start_at_once_replaces_a_stale_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        for round in 0..50 {
            drop(UnixListener::bind(&path).unwrap());
            let start = std::sync::Barrier::new(4);
            let opened: Vec<_> = std::thread::scope(|scope| {
                let starters: Vec<_> = (0..4)
                    .map(|_| {
                        scope.spawn(|| {
                            start.wait();
                            bind_stream(&path, &Access::default())
                        })
                    })
                    .collect();
                starters.into_iter().map(|starter| starter.join().unwrap()).collect()
            });
            assert_eq!(opened.iter().filter(|one| one.is_ok()).count(), 1, "round {round}: {opened:?}");
            std::os::unix::net::UnixStream::connect(&path).unwrap();
        }
    }

    #[test]
    fn a_listener_that_is_busy_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let address = socket2::SockAddr::unix(&path).unwrap();
        let socket = || socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        let busy = socket();
        busy.bind(&address).unwrap();
        busy.listen(0).unwrap();
        let waiting: Vec<_> = (0..10)
            .map(|_| {
                let socket = socket();
                socket.set_nonblocking(true).unwrap();
                socket.connect(&address).map(|()| socket)
            })
            .collect();
        assert!(waiting.iter().any(Result::is_err), "its queue is full");
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let result = bind_stream(&path, &Access::default());
            tell.send(result.map(drop).unwrap_err().to_string())
        });
        assert_eq!(told.recv_timeout(Duration::from_secs(10)).unwrap(), "another process listens there");
    }

    #[test]
    fn what_a_link_leads_to_gets_no_other_mode() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("precious"), folder.path().join("log"));
        std::fs::write(&target, "").unwrap();
        std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let user = (Some(Uid::current()), None);
        for path in [&link, &target] {
            let error = give(path, user, 0o666).unwrap_err();
            assert_eq!(error.to_string(), "something else was put in the place of the socket");
        }
        assert_eq!(mode(&target), 0o600);
        std::fs::remove_file(&link).unwrap();
        let socket = UnixDatagram::bind(&link).unwrap();
        give(&link, user, 0o640).unwrap();
        assert_eq!(mode(&link), 0o640);
        drop(socket);
    }

    #[test]
    fn another_s_socket_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (socket, place) = bind_datagram(&path, &Access::default()).unwrap();
        drop(socket);
        let (_other, _others) = bind_datagram(&path, &Access::default()).unwrap();
        drop(place);
        assert!(path.exists());
    }

    #[test]
    fn an_owner_that_nobody_is_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let access = Access { user: Some("nobody-is-called-so".to_owned()), ..Access::default() };
        assert_eq!(bind_stream(&path, &access).unwrap_err().to_string(), "no user \"nobody-is-called-so\"");
        assert!(!path.exists());
    }
}

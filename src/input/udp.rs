//! UDP: sockets, batched receiving with gathering, and what the kernel dropped.
//!
//! [`bind`] opens a [`Socket`] for each worker, [`Socket::adopt`] takes one that the service manager
//! opened. A worker makes a [`Receiver`] of its socket and calls [`Receiver::receive`] in a loop; it
//! returns at least every [`WAIT`], so that the loop can look whether to stop. [`KernelDrops`] can be
//! read from any thread, once for each socket however many workers share it.
//!
//! The kernel ties each sender to one socket, which is right as long as a core can carry the sender:
//! spreading every datagram would wake every worker for the traffic of one. A socket that fills up
//! although its worker does not pause has its address spread by chance, datagram by datagram, until
//! that is over.

use super::{Group, Message, Nanos, canonical, now};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sockopt};
use socket2::{Domain, Protocol, Type};
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A bound socket; clones share it, its buffer and its drop counter.
#[derive(Clone, Debug)]
pub struct Socket {
    socket: Arc<UdpSocket>,
    drops: Arc<KernelDrops>,
    buffer: Buffer,
    /// What the sockets of one address have in common, where there are several.
    spread: Option<Arc<Spread>>,
}

/// A receive buffer: what was asked for and what the kernel granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// Bytes asked for.
    pub asked: usize,
    /// Bytes granted, by the measure of the asker: the kernel reports twice as many, for its own
    /// accounting.
    pub granted: usize,
}

impl Buffer {
    /// Whether the kernel granted less than was asked; `net.core.rmem_max` is its limit.
    pub fn is_short(self) -> bool {
        self.granted < self.asked
    }
}

/// Opens `count` sockets on one address; the kernel spreads the senders over them.
///
/// An address that another process listens on is refused, even if it would share: two sensors that
/// each see a part of the traffic are worse than one that does not start.
pub fn bind(address: SocketAddr, count: usize, receive_buffer: usize) -> io::Result<Vec<Socket>> {
    let first = open(address, false)?;
    // Port 0 stands for any free one; the others join the one that the first was given.
    let bound = first.local_addr()?.as_socket().unwrap_or(address);
    let mut sockets = vec![first];
    if count > 1 {
        // Set after the first bind, so that this bind was exclusive and the following ones may join.
        sockets[0].set_reuse_port(true)?;
    }
    for _ in 1..count {
        sockets.push(open(bound, true)?);
    }
    let spread = (count > 1).then(|| Arc::new(Spread::new(sockets.len())));
    let with_buffer = |socket: socket2::Socket| Socket::new(socket.into(), receive_buffer);
    let shared = |socket| Socket { spread: spread.clone(), ..socket };
    sockets.into_iter().map(|socket| with_buffer(socket).map(shared)).collect()
}

fn open(address: SocketAddr, share: bool) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // [::] means every address, whatever net.ipv6.bindv6only says.
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_reuse_port(share)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

impl Socket {
    /// Takes a bound socket, such as one from the service manager, and enlarges its buffer if need be.
    pub fn adopt(socket: UdpSocket, receive_buffer: usize) -> io::Result<Socket> {
        // A socket that the service manager made may not block, but the receiver waits in it.
        socket.set_nonblocking(false)?;
        Socket::new(socket, receive_buffer)
    }

    fn new(socket: UdpSocket, receive_buffer: usize) -> io::Result<Socket> {
        socket.set_read_timeout(Some(WAIT))?;
        let buffer = enlarge(&socket, receive_buffer)?;
        let socket = Arc::new(socket);
        let drops = KernelDrops { socket: Arc::clone(&socket), count: Mutex::default() };
        Ok(Socket { socket, drops: Arc::new(drops), buffer, spread: None })
    }

    /// The address it is bound to.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Its receive buffer.
    pub fn buffer(&self) -> Buffer {
        self.buffer
    }

    /// The datagrams that the kernel dropped on it.
    pub fn drops(&self) -> Arc<KernelDrops> {
        Arc::clone(&self.drops)
    }

    /// Whether more than an eighth of its buffer waits to be read.
    fn is_crowded(&self) -> bool {
        let meminfo = nix::sys::socket::getsockopt(&self.socket, MemInfo);
        meminfo.is_ok_and(|[waiting, buffer, ..]| waiting > buffer / 8)
    }
}

/// Asks for a buffer as root may, else as anybody may; keeps one that is already larger.
fn enlarge(socket: &UdpSocket, asked: usize) -> io::Result<Buffer> {
    let view = socket2::SockRef::from(socket);
    let granted = view.recv_buffer_size()? / 2;
    if granted >= asked {
        return Ok(Buffer { asked, granted });
    }
    // The kernel doubles the value in an int.
    let value = asked.min(i32::MAX as usize / 2);
    if nix::sys::socket::setsockopt(socket, sockopt::RcvBufForce, &value).is_err() {
        view.set_recv_buffer_size(value)?;
    }
    Ok(Buffer { asked, granted: view.recv_buffer_size()? / 2 })
}

/// How long a receive waits at most: the stop is noticed within this time, and an idle receiver costs
/// five wake-ups a second.
pub const WAIT: Duration = Duration::from_millis(200);

/// How long to gather datagrams when the last batch was short.
///
/// A wake-up costs more than a datagram: at 25,000 evenly spaced datagrams a second, gathering for a
/// millisecond halves the CPU time at least. The receive buffer holds what comes meanwhile; where the
/// kernel granted only a small one, half the time must do, or a burst would overflow it. Where nothing
/// came soon the last time, such as behind a burst, waiting for the next datagram is cheaper.
pub const GATHER: Duration = Duration::from_millis(1);

/// More came soon if it came while gathering, or would have.
const SOON: Nanos = 1_250_000;

/// Holds a thousand datagrams of common size with the kernel's overhead, a burst of a millisecond.
const SMALL_BUFFER: usize = 1 << 20;

/// The most datagrams in one batch: more do not make the system call cheaper for each of them.
pub const MAX_BATCH: usize = 64;

/// Receives batches of datagrams into memory that it reuses.
///
/// It holds pointers for the kernel and so stays on the thread that made it; a [`Socket`] may move.
#[derive(Debug)]
pub struct Receiver {
    socket: Socket,
    headers: MultiHeaders<SockaddrStorage>,
    buffers: Box<[u8]>,
    max_datagram: usize,
    batch: usize,
    gather: Duration,
    /// When the last batch was read.
    received: Nanos,
    /// The same, if it was short.
    short: Option<Nanos>,
    /// The last batch was gathered.
    gathered: bool,
    /// Whether more came soon after the last short batch that was not gathered, and the last that was.
    soon: [bool; 2],
    /// Datagrams since a batch was short.
    unpaused: usize,
}

/// Distance from one buffer to the next beyond their size: five cache lines.
///
/// At a distance of exactly 64 KiB the first lines of all datagrams would fall into the same few sets
/// of the caches and evict each other.
const STAGGER: usize = 5 * 64;

impl Receiver {
    /// A receiver of batches of 1 to [`MAX_BATCH`] datagrams, each up to `max_datagram` bytes.
    ///
    /// The buffers are address space first: memory is taken page by page as long datagrams come, so
    /// that 64 buffers of 64 KiB usually occupy one page each.
    pub fn new(socket: Socket, batch: usize, max_datagram: usize) -> Receiver {
        let batch = batch.clamp(1, MAX_BATCH);
        let max_datagram = max_datagram.max(1);
        let gather = if socket.buffer.granted < SMALL_BUFFER { GATHER / 2 } else { GATHER };
        Receiver {
            socket,
            headers: MultiHeaders::preallocate(batch, None),
            buffers: vec![0; batch * (max_datagram + STAGGER)].into_boxed_slice(),
            max_datagram,
            batch,
            gather,
            received: 0,
            short: None,
            gathered: false,
            soon: [true; 2],
            unpaused: 0,
        }
    }

    /// The socket.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// The datagrams that the kernel dropped on this socket so far.
    pub fn drops(&self) -> io::Result<u64> {
        self.socket.drops.read()
    }

    /// Waits for datagrams, hands them to `each`, and returns how many there were.
    ///
    /// None within [`WAIT`], or a signal, give 0.
    pub fn receive(&mut self, each: &mut impl FnMut(&[Message<'_>])) -> io::Result<usize> {
        let Some(last) = self.short.take() else { return self.read(MsgFlags::MSG_WAITFORONE, each) };
        let kind = usize::from(self.gathered);
        self.gathered = self.soon[kind];
        if self.gathered {
            thread::sleep(self.gather);
        }
        let count = self.read(MsgFlags::MSG_WAITFORONE, each)?;
        self.soon[kind] = count > 0 && self.received - last < SOON;
        Ok(count)
    }

    /// Hands out what the kernel holds, without waiting; 0 when nothing is left.
    ///
    /// Serves the stop: what was received before it is not lost.
    pub fn drain(&mut self, each: &mut impl FnMut(&[Message<'_>])) -> io::Result<usize> {
        self.read(MsgFlags::MSG_DONTWAIT, each)
    }

    fn read(&mut self, flags: MsgFlags, each: &mut impl FnMut(&[Message<'_>])) -> io::Result<usize> {
        let fd = self.socket.socket.as_raw_fd();
        let max_datagram = self.max_datagram;
        let mut buffers = self.buffers.chunks_exact_mut(max_datagram + STAGGER);
        let mut slices: [[IoSliceMut<'_>; 1]; MAX_BATCH] = std::array::from_fn(|_| {
            let buffer = buffers.next().and_then(|buffer| buffer.get_mut(..max_datagram));
            [IoSliceMut::new(buffer.unwrap_or_default())]
        });
        let results = recvmmsg(fd, &mut self.headers, slices.iter_mut().take(self.batch), flags, None);
        let datagrams = match results {
            Ok(datagrams) => datagrams,
            Err(Errno::EAGAIN | Errno::EINTR) => {
                self.balance(0);
                return Ok(0);
            }
            Err(error) => return Err(error.into()),
        };
        let received = now();
        self.received = received;
        let mut count = 0;
        let mut group = Group::new();
        for datagram in datagrams {
            count += 1;
            let message = Message {
                bytes: datagram.iovs().next().unwrap_or_default(),
                peer: datagram.address.as_ref().and_then(peer),
                received,
                truncated: datagram.flags.contains(MsgFlags::MSG_TRUNC),
            };
            group.push(message, each);
        }
        group.hand_on(each);
        self.short = (count < self.batch).then_some(received);
        self.balance(count);
        Ok(count)
    }

    /// Spreads the senders while the socket is crowded.
    fn balance(&mut self, count: usize) {
        let Some(spread) = &self.socket.spread else { return };
        if count < self.batch {
            self.unpaused = 0;
            spread.end(&self.socket.socket, Instant::now);
            return;
        }
        self.unpaused += count;
        if self.unpaused >= UNPAUSED {
            self.unpaused = 0;
            if self.socket.is_crowded() {
                spread.begin(&self.socket.socket, Instant::now());
            }
        }
    }
}

/// After so many datagrams without a pause a socket may be crowded; asking costs a system call.
const UNPAUSED: usize = 1024;

/// Spreads the senders of an address over its sockets by chance.
///
/// Not all the time, because two workers would then wake for the sender that one can serve: at 25,000
/// evenly spaced datagrams a second that cost a bare receiver half as much again. What the order of
/// datagrams was, nobody relied on.
#[derive(Debug)]
struct Spread {
    sockets: u32,
    /// Whether it may be on, for those who have nothing to begin.
    on: AtomicBool,
    /// When it ends; none while each sender has its socket. Held while the kernel is told, so that what
    /// one worker ends is not what another has just begun.
    until: Mutex<Option<Instant>>,
}

impl Spread {
    fn new(sockets: usize) -> Spread {
        let sockets = u32::try_from(sockets).unwrap_or(u32::MAX);
        Spread { sockets, on: AtomicBool::new(false), until: Mutex::new(None) }
    }

    fn begin(&self, socket: &UdpSocket, now: Instant) {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        if until.replace(now + SPREAD).is_none() {
            let random = (libc::SKF_AD_OFF + libc::SKF_AD_RANDOM) as u32;
            let program = [
                instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, random),
                instruction(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, self.sockets),
                instruction(libc::BPF_RET | libc::BPF_A, 0),
            ];
            let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
            // Where the kernel refuses, senders stay where they are, and what it drops is counted.
            let _ = nix::sys::socket::setsockopt(socket, AttachSelector, &filter);
            self.on.store(true, Relaxed);
        }
    }

    fn end(&self, socket: &UdpSocket, now: impl FnOnce() -> Instant) {
        if !self.on.load(Relaxed) {
            return;
        }
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        if until.is_some_and(|until| until <= now()) {
            *until = None;
            let _ = nix::sys::socket::setsockopt(socket, DetachSelector, &0);
            self.on.store(false, Relaxed);
        }
    }
}

/// How long senders stay spread after the last time that a socket was crowded.
const SPREAD: Duration = Duration::from_secs(1);

fn instruction(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

/// The socket option SO_ATTACH_REUSEPORT_CBPF: a program that chooses the socket of each datagram.
#[derive(Clone, Copy)]
struct AttachSelector;

nix::setsockopt_impl!(
    AttachSelector,
    libc::SOL_SOCKET,
    libc::SO_ATTACH_REUSEPORT_CBPF,
    libc::sock_fprog,
    sockopt::SetStruct<'_, libc::sock_fprog>
);

/// The socket option SO_DETACH_REUSEPORT_BPF; its value says nothing.
#[derive(Clone, Copy)]
struct DetachSelector;

nix::setsockopt_impl!(
    DetachSelector,
    libc::SOL_SOCKET,
    libc::SO_DETACH_REUSEPORT_BPF,
    i32,
    sockopt::SetStruct<'_, i32>
);

fn peer(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddrV4::from(*v4).into());
    }
    address.as_sockaddr_in6().map(|v6| canonical(SocketAddrV6::from(*v6).into()))
}

/// Counts the datagrams that the kernel dropped on one socket because its buffer was full.
///
/// It reads SO_MEMINFO: the counter rides on no datagram, so that drops after the last one are seen.
/// The count starts with the socket, which for a passed socket is before the sensor.
#[derive(Debug)]
pub struct KernelDrops {
    socket: Arc<UdpSocket>,
    count: Mutex<Count>,
}

impl KernelDrops {
    /// The number of drops so far.
    pub fn read(&self) -> io::Result<u64> {
        // Locked before the kernel is asked: an older answer taken for a newer one would be a wrap.
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        let meminfo = nix::sys::socket::getsockopt(&self.socket, MemInfo)?;
        let [.., drops] = meminfo;
        Ok(count.update(drops))
    }
}

/// Extends the kernel's 32-bit counter.
#[derive(Debug, Default)]
struct Count {
    last: u32,
    total: u64,
}

impl Count {
    fn update(&mut self, now: u32) -> u64 {
        self.total += u64::from(now.wrapping_sub(self.last));
        self.last = now;
        self.total
    }
}

/// The socket option SO_MEMINFO, which nix does not have; the last of its values are the drops.
#[derive(Clone, Copy)]
struct MemInfo;

/// `SK_MEMINFO_DROPS` of linux/sock_diag.h, and one.
const MEMINFO_VALUES: usize = 9;

nix::getsockopt_impl!(
    MemInfo,
    libc::SOL_SOCKET,
    libc::SO_MEMINFO,
    [u32; MEMINFO_VALUES],
    sockopt::GetStruct<[u32; MEMINFO_VALUES]>
);

/// Sends datagrams in batches from one connected socket.
#[derive(Debug)]
pub struct Sender {
    socket: UdpSocket,
    // The socket is connected, so no addresses.
    headers: MultiHeaders<()>,
}

impl Sender {
    /// Connects a socket to `target`; nothing is sent yet.
    pub fn connect(target: SocketAddr) -> io::Result<Sender> {
        let local: SocketAddr = if target.is_ipv4() {
            (Ipv4Addr::UNSPECIFIED, 0).into()
        } else {
            (Ipv6Addr::UNSPECIFIED, 0).into()
        };
        let socket = UdpSocket::bind(local)?;
        socket.connect(target)?;
        Ok(Sender { socket, headers: MultiHeaders::preallocate(MAX_BATCH, None) })
    }

    /// The address it sends from.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Sends up to [`MAX_BATCH`] datagrams; returns how many of them, from the first, went out.
    pub fn send(&mut self, datagrams: &[&[u8]]) -> io::Result<usize> {
        let slices: [[io::IoSlice<'_>; 1]; MAX_BATCH] = std::array::from_fn(|index| {
            [io::IoSlice::new(datagrams.get(index).copied().unwrap_or_default())]
        });
        let count = datagrams.len().min(MAX_BATCH);
        let addresses = [None::<()>; MAX_BATCH];
        let slices = slices.iter().take(count);
        let fd = self.socket.as_raw_fd();
        let sent =
            nix::sys::socket::sendmmsg(fd, &mut self.headers, slices, addresses, [], MsgFlags::empty())?;
        Ok(sent.count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));

    fn one(address: SocketAddr) -> Socket {
        bind(address, 1, 1 << 16).unwrap().remove(0)
    }

    /// Receives until `count` datagrams came or none comes any more.
    fn collect(receiver: &mut Receiver, count: usize) -> Vec<(Vec<u8>, SocketAddr, bool)> {
        let mut found = Vec::new();
        while found.len() < count {
            let each = &mut |messages: &[Message<'_>]| {
                assert!(messages.iter().all(|message| message.received > 0));
                found.extend(
                    messages
                        .iter()
                        .map(|message| (message.bytes.to_vec(), message.peer.unwrap(), message.truncated)),
                );
            };
            if receiver.receive(each).unwrap() == 0 {
                break;
            }
        }
        found
    }

    #[test]
    fn datagrams_arrive_whole_with_their_sender() {
        for (address, batch) in [("127.0.0.1:0", 64), ("127.0.0.1:0", 1), ("[::1]:0", 7)] {
            let socket = one(address.parse().unwrap());
            let mut sender = Sender::connect(socket.address().unwrap()).unwrap();
            let from = sender.address().unwrap();
            let large = vec![b'x'; 65_507];
            assert_eq!(sender.send(&[b"<1>one", b"", b"<1>three"]).unwrap(), 3);
            assert_eq!(sender.send(&[&large]).unwrap(), 1);
            let mut receiver = Receiver::new(socket, batch, 1 << 16);
            let expected = [b"<1>one".to_vec(), Vec::new(), b"<1>three".to_vec(), large];
            let found = collect(&mut receiver, 4);
            assert_eq!(found, expected.map(|bytes| (bytes, from, false)), "{address} {batch}");
            assert_eq!(receiver.receive(&mut |_| ()).unwrap(), 0, "nothing is left");
        }
    }

    #[test]
    fn long_datagrams_keep_their_head() {
        let socket = one(LOOPBACK);
        let mut sender = Sender::connect(socket.address().unwrap()).unwrap();
        sender.send(&[b"12345678", b"123456789", b"1"]).unwrap();
        let found = collect(&mut Receiver::new(socket, 64, 8), 3);
        let found: Vec<_> =
            found.iter().map(|(bytes, _, truncated)| (bytes.as_slice(), *truncated)).collect();
        assert_eq!(found, [(&b"12345678"[..], false), (b"12345678", true), (b"1", false)]);
    }

    #[test]
    fn every_socket_of_an_address_receives() {
        let sockets = bind(LOOPBACK, 3, 1 << 16).unwrap();
        let address = sockets[0].address().unwrap();
        assert!(sockets.iter().all(|socket| socket.address().unwrap() == address));
        // Sixty-four senders: that all fall on one of three sockets has a chance of 3^-63.
        for _ in 0..64 {
            Sender::connect(address).unwrap().send(&[b"<1>x"]).unwrap();
        }
        let counts: Vec<usize> = sockets
            .into_iter()
            .map(|socket| collect(&mut Receiver::new(socket, 64, 2048), usize::MAX).len())
            .collect();
        assert_eq!(counts.iter().sum::<usize>(), 64);
        assert!(counts.iter().filter(|count| **count > 0).count() > 1, "{counts:?}");
    }

    #[test]
    fn a_sender_that_crowds_its_socket_is_spread_over_all_of_them() {
        let sockets = bind(LOOPBACK, 2, 4 << 20).unwrap();
        let mut sender = Sender::connect(sockets[0].address().unwrap()).unwrap();
        let mut receivers = Vec::from_iter(sockets.into_iter().map(|socket| Receiver::new(socket, 64, 2048)));
        let mut round = |receivers: &mut [Receiver]| {
            for _ in 0..4096 / MAX_BATCH {
                assert_eq!(sender.send(&[&[b'x'; 250][..]; MAX_BATCH]).unwrap(), MAX_BATCH);
            }
            let mut counts = receivers.iter_mut().map(|receiver| {
                let mut count = 0;
                loop {
                    match receiver.drain(&mut |_| ()).unwrap() {
                        0 => return count,
                        more => count += more,
                    }
                }
            });
            [counts.next().unwrap(), counts.next().unwrap()]
        };
        // One socket has all; reading it tells that it is crowded.
        let pinned = round(&mut receivers);
        assert!(pinned.contains(&0) && pinned.contains(&4096), "{pinned:?}");
        let spread = round(&mut receivers);
        assert_eq!(spread.iter().sum::<usize>(), 4096);
        assert!(spread.iter().all(|count| *count > 1024), "{spread:?}");
        // When it is over, each sender has its socket again.
        let socket = &receivers[0].socket;
        let spread_of = socket.spread.as_ref().expect("there are two");
        spread_of.end(&socket.socket, || Instant::now() + 2 * SPREAD);
        assert_eq!(round(&mut receivers), pinned);
    }

    #[test]
    fn an_address_in_use_is_refused() {
        for count in [1, 2] {
            let sockets = bind(LOOPBACK, count, 1 << 16).unwrap();
            let error = bind(sockets[0].address().unwrap(), 2, 1 << 16).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        }
    }

    #[test]
    fn an_ipv4_sender_on_an_ipv6_socket_is_ipv4() {
        let socket = one("[::]:0".parse().unwrap());
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, socket.address().unwrap().port()));
        Sender::connect(target).unwrap().send(&[b"x"]).unwrap();
        let found = collect(&mut Receiver::new(socket, 64, 2048), 1);
        assert_eq!(found[0].1.ip(), Ipv4Addr::LOCALHOST);
    }

    #[test]
    fn sent_is_received_plus_kernel_drops() {
        let socket = bind(LOOPBACK, 1, 4096).unwrap().remove(0);
        assert!(!socket.buffer().is_short(), "{:?}", socket.buffer());
        // Shrunk behind its back, so that it overflows whatever the default of the system is.
        socket2::SockRef::from(&*socket.socket).set_recv_buffer_size(4096).unwrap();
        let drops = socket.drops();
        assert_eq!(drops.read().unwrap(), 0);
        let mut sender = Sender::connect(socket.address().unwrap()).unwrap();
        let datagram = [b'x'; 500];
        for _ in 0..10 {
            assert_eq!(sender.send(&[&datagram[..]; MAX_BATCH]).unwrap(), MAX_BATCH);
        }
        let mut receiver = Receiver::new(socket, 64, 2048);
        let received = collect(&mut receiver, usize::MAX).len();
        assert!(received > 0 && received < 640, "{received}");
        assert_eq!(received as u64 + receiver.drops().unwrap(), 640);
        assert_eq!(drops.read().unwrap(), receiver.drops().unwrap());
    }

    #[test]
    fn a_passed_socket_is_adopted() {
        let passed = UdpSocket::bind(LOOPBACK).unwrap();
        passed.set_nonblocking(true).unwrap();
        let socket = Socket::adopt(passed, 1 << 16).unwrap();
        let mut first = Receiver::new(socket.clone(), 64, 2048);
        let mut second = Receiver::new(socket.clone(), 64, 2048);
        let mut sender = Sender::connect(socket.address().unwrap()).unwrap();
        sender.send(&[b"x"]).unwrap();
        assert_eq!(first.drain(&mut |_| ()).unwrap(), 1);
        sender.send(&[b"y"]).unwrap();
        assert_eq!(second.receive(&mut |_| ()).unwrap(), 1);
        assert_eq!(first.drain(&mut |_| ()).unwrap(), 0);
    }

    #[test]
    fn the_drop_counter_wraps() {
        let mut count = Count::default();
        assert_eq!(count.update(5), 5);
        assert_eq!(count.update(u32::MAX), u64::from(u32::MAX));
        assert_eq!(count.update(9), u64::from(u32::MAX) + 10);
    }
}

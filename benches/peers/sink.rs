//! A receiver that does nothing: what receiving alone costs on this machine.

use clap::Args;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, setsockopt, sockopt};
use std::io::IoSliceMut;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

#[derive(Args)]
pub struct Options {
    /// The address to listen on.
    #[arg(long)]
    listen: SocketAddr,
    /// Sleep for a millisecond after a short batch, so that one wake-up serves more datagrams.
    #[arg(long)]
    gather: bool,
}

const BATCH: usize = 64;
const DATAGRAM: usize = 65_536;
const BUFFER: usize = 32 << 20;

pub fn run(options: &Options) -> anyhow::Result<()> {
    let socket = UdpSocket::bind(options.listen)?;
    // As root; others get what net.core.rmem_max allows.
    if setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).is_err() {
        socket2::SockRef::from(&socket).set_recv_buffer_size(BUFFER)?;
    }
    let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(BATCH, None);
    let mut memory = vec![0; BATCH * (DATAGRAM + 320)];
    loop {
        let mut chunks = memory.chunks_exact_mut(DATAGRAM + 320);
        let mut buffers: [[IoSliceMut<'_>; 1]; BATCH] =
            std::array::from_fn(|_| [IoSliceMut::new(chunks.next().unwrap_or_default())]);
        let flags = MsgFlags::MSG_WAITFORONE;
        let received = match recvmmsg(socket.as_raw_fd(), &mut headers, buffers.iter_mut(), flags, None) {
            Ok(datagrams) => datagrams.count(),
            Err(Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
        };
        if options.gather && received < BATCH {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

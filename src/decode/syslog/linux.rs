//! What the usual daemons of a Unix host say: sshd, sudo, PAM and name servers.

use super::dns;
use super::vocabulary::{Names, number};
use crate::decode::{FieldId, Fields, Value};
use memchr::{memchr, memmem};
use std::borrow::Cow;

/// Decodes a message by the name of the daemon; the values of PAM are pairs and left to `kv`.
pub(super) fn decode<'a>(app: &[u8], text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) -> bool {
    if text.starts_with(b"pam_") && session(text, names, out) {
        return true;
    }
    let program = app.rsplit(|byte| *byte == b'/').next().unwrap_or(app);
    match program {
        b"sshd" | b"sshd-session" | b"dropbear" => sshd(text, names, out),
        b"sudo" => sudo(text, names, out),
        b"dhcpd" | b"dhcpd3" | b"dnsmasq-dhcp" | b"dhclient" | b"dhcp6c" | b"dhcp6s" => {
            dhcp(text, names, out)
        }
        b"named" | b"unbound" | b"dnsmasq" | b"pdns_recursor" => dns::daemon(text, names, out),
        _ => false,
    }
}

/// `pam_unix(sudo:session): session opened for user root by vagrant(uid=1000)`
fn session<'a>(text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) -> bool {
    let Some(rest) = memmem::find(text, b": session ").and_then(|at| text.get(at + 10..)) else {
        return false;
    };
    let Some(rest) = memmem::find(rest, b"for user ").and_then(|at| rest.get(at + 9..)) else { return false };
    let word = |text: &'a [u8]| {
        let end = text.iter().position(|byte| matches!(byte, b' ' | b'(')).unwrap_or(text.len());
        &text[..end]
    };
    let whose = word(rest);
    let by =
        memmem::find(rest, b" by ").and_then(|at| rest.get(at + 4..)).map(word).filter(|by| !by.is_empty());
    names.word(out, FieldId::UserName, by.unwrap_or(whose));
    if by.is_some() {
        names.word(out, FieldId::UserEffectiveName, whose);
    }
    true
}

/// `Accepted publickey for root from 10.0.0.1 port 22 ssh2`, `Invalid user x from 10.0.0.1`,
/// `Received disconnect from 10.0.0.1 port 22:11: …`, `Connection closed by 10.0.0.1 port 22`.
fn sshd<'a>(text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) -> bool {
    let mut words = text.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).peekable();
    match words.peek() {
        Some(&b"Accepted") => out.push(FieldId::EventOutcome, Value::Static("success")),
        Some(&(b"Failed" | b"Invalid" | b"error:" | b"Disconnecting")) => {
            out.push(FieldId::EventOutcome, Value::Static("failure"));
        }
        _ => {}
    }
    let mut found = false;
    let mut before: &[u8] = b"";
    while let Some(word) = words.next() {
        match (before, word) {
            // `for invalid user admin from` has the name two words further.
            (b"for" | b"by", b"invalid" | b"authenticating") => {}
            (b"for" | b"user", b"user") => {}
            (b"for", name) if words.peek() == Some(&b"from".as_slice()) => {
                found |= names.word(out, FieldId::UserName, name);
            }
            (b"user", name) => found |= names.word(out, FieldId::UserName, name),
            (b"from" | b"by", host) => {
                let host = host.strip_suffix(b":").unwrap_or(host);
                found |= super::vocabulary::address(host).is_some() && names.source(out, host);
            }
            (b"port", port) => {
                let port = port.split(|byte| *byte == b':').next().unwrap_or(port);
                if let Some(port) = number(port).filter(|port| *port <= 0xffff)
                    && out.find(FieldId::SourceIp).is_some()
                    && out.find(FieldId::SourcePort).is_none()
                {
                    out.push(FieldId::SourcePort, Value::Unsigned(port));
                }
            }
            // `Connection closed by authenticating user root 10.0.0.1 port 22`
            (_, host)
                if out.find(FieldId::SourceIp).is_none() && words.peek() == Some(&b"port".as_slice()) =>
            {
                found |= super::vocabulary::address(host).is_some() && names.source(out, host);
            }
            _ => {}
        }
        before = word;
    }
    found
}

/// `DHCPACK on 10.0.0.1 to 00:1b:44:11:3a:b7 (pc7) via eth0`, `DHCPREQUEST for 10.0.0.1 from …`,
/// `DHCPACK(eth0) 10.0.0.1 00:1b:44:11:3a:b7 pc7`: the client, by both of its addresses.
fn dhcp<'a>(text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) -> bool {
    names.transport(out, b"udp");
    if !text.starts_with(b"DHCP") {
        return false;
    }
    out.push(FieldId::NetworkProtocol, Value::Static("dhcp"));
    for word in text.split(|byte| matches!(byte, b' ' | b'(' | b')')).filter(|word| !word.is_empty()) {
        if super::vocabulary::address(word).is_some() {
            names.source(out, word);
        } else if word.len() == MAC_LENGTH {
            names.also(out, b"src_mac", &Cow::Borrowed(word));
        }
    }
    true
}

/// `00:1b:44:11:3a:b7`
const MAC_LENGTH: usize = 17;

/// `vagrant : TTY=pts/0 ; PWD=/home ; USER=root ; COMMAND=/bin/ls`
fn sudo<'a>(text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) -> bool {
    let Some(colon) = memmem::find(text, b" : ") else { return false };
    let (user, rest) = text.split_at(colon);
    let Some(command) = memmem::find(rest, b"COMMAND=") else { return false };
    names.word(out, FieldId::UserName, user.trim_ascii());
    names.word(out, FieldId::ProcessCommandLine, rest.get(command + 8..).unwrap_or_default());
    if let Some(target) = memmem::find(rest, b"USER=").and_then(|at| rest.get(at + 5..)) {
        let end = memchr(b' ', target).unwrap_or(target.len());
        names.word(out, FieldId::UserEffectiveName, &target[..end]);
    }
    true
}

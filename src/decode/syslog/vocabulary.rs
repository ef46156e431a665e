//! The names that vendors give to the same thing, and the forms in which they write it.
//!
//! [`Names`] takes pairs from a body. What ECS has a name for, and whose text has the right form,
//! goes there; the decoder of the body keeps the rest as strings. Host and path of a URL that stand
//! apart, and date and time that stand apart, are put together in [`Names::finish`].

use super::stamp::stamp;
use super::{Bodies, Header, NAME_MAX, PAIRS_MAX, Reference, copied_max, value};
use crate::decode::{Extra, FieldId, Fields, Group, Span, Value};
use crate::input::Nanos;
use hashbrown::HashMap;
use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

/// Text of the message, or unescaped from it.
pub(super) type Text<'a> = Cow<'a, [u8]>;

/// The form that a text must have to become the value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Any text but a sign for "nothing".
    Word,
    /// The same, unless it is a number, which would be a code.
    Name,
    /// An address, `address:port`, or a host name; the other fields take port and name.
    Endpoint(FieldId, FieldId),
    /// An address.
    Address,
    /// 0 to 65,535.
    Port,
    /// An unsigned number.
    Count,
    /// A hardware address in any notation.
    Mac,
    /// A digest; its length tells which.
    Digest,
    /// A protocol by name or number, `tcp/http`.
    Protocol,
    /// `in`, `outgoing`, `egress`.
    Direction,
    /// `user`, `DOMAIN\user`; the other field takes the domain.
    User(FieldId),
    /// The host of a URL.
    SureSite,
    /// The host of a URL, if a path is told, too, and no surer one; else the host of the event.
    Site,
    /// The host of a URL, if a path is told, too; else nothing.
    WeakSite,
    /// A URL, or its path.
    Target,
    /// The query of a URL.
    Query,
    /// Text with an `@` in it; `from` and `to` mean many things.
    Email,
    /// The event's time.
    Stamp,
    /// A time of a field's own.
    Time,
    /// The event's date, time of day and zone where they stand apart.
    Date,
    /// See [`Form::Date`].
    Clock,
    /// See [`Form::Date`].
    Zone,
    /// What the device says in words.
    Said,
    /// An interface's name; iptables says `IN=` and `OUT=`.
    Interface,
    /// An address or port of the side that reports, or of its peer: which is the source depends on the
    /// direction of the connection.
    Peer(Peer),
    /// `GET /path HTTP/1.1`, or else a target.
    Request,
    /// How it ended; ECS knows `success` and `failure`.
    Outcome,
    /// An address inside brackets behind a word: `https(10.0.0.1)`.
    Inside,
    /// Digests with their names: `SHA1=…,MD5=…`.
    Digests,
    /// A program by name or by path; a path is its executable, whose last part is its name.
    Program,
    /// The same of a key that containers have, too (`nginx:1.25`): a whole path, or a name that ends so.
    Image,
    /// What a client calls itself, `curl/8.5`, of a key that programs that collect logs have, too.
    Agent,
    /// A file, of a key under which programs tell the place in their source, too (`main.go:12`).
    File,
    /// A port; else a transport.
    PortOrTransport,
}

/// What a value of [`Form::Peer`] is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// The address of the side that reports.
    LocalIp,
    /// Its port.
    LocalPort,
    /// The address of the other side.
    RemoteIp,
    /// Its port.
    RemotePort,
    /// An address of which nothing more is said; the source where nothing else is.
    Somebody,
    /// The mail server that a message came from, or, where a recipient is told, went to.
    Relay,
}

/// Collects the values of one message.
pub(super) struct Names<'a> {
    /// The message whose values are collected.
    pub(super) message: &'a [u8],
    reference: &'a Reference,
    /// Which decoders of bodies are asked.
    pub(super) bodies: Bodies,
    header_stamp: Option<(Nanos, bool)>,
    body_stamp: Option<Nanos>,
    /// The pair that told the event's time, kept where the header's stamp is preferred.
    stamped: Option<(Group, Text<'a>, Text<'a>)>,
    pending: Vec<Pending<'a>>,
}

/// A value that is judged when all are known: form, group, key and text.
type Pending<'a> = (Form, Option<Group>, Text<'a>, Text<'a>);

impl<'a> Names<'a> {
    pub(super) fn new(message: &'a [u8], reference: &'a Reference, bodies: Bodies) -> Self {
        Names {
            message,
            reference,
            bodies,
            header_stamp: None,
            body_stamp: None,
            stamped: None,
            pending: Vec::new(),
        }
    }

    /// Whether the header told the time.
    pub(super) fn is_timed(&self) -> bool {
        self.header_stamp.is_some()
    }

    /// Whether an endpoint is known, or will be when all values are.
    pub(super) fn has_endpoint(&self, out: &Fields) -> bool {
        out.find(FieldId::SourceIp).is_some()
            || out.find(FieldId::DestinationIp).is_some()
            || self.pending.iter().any(|(form, ..)| {
                matches!(form, Form::Peer(Peer::LocalIp | Peer::RemoteIp | Peer::Somebody | Peer::Relay))
            })
    }

    /// Notes the stamp of the header.
    pub(super) fn header_stamp(&mut self, text: &[u8]) {
        if let Ok((_, stamp)) = stamp(text) {
            self.header_stamp = stamp.resolve(self.reference).map(|instant| (instant, stamp.has_year()));
        }
    }

    /// Gives a pair to the field that its key means, else keeps it as a string in `group`.
    pub(super) fn pair(&mut self, out: &mut Fields, group: Group, key: &Text<'a>, text: &Text<'a>) {
        match known(key) {
            Some((field, form)) if self.put(out, Some(group), field, form, key, text) => {}
            _ => self.keep(out, group, key, text),
        }
    }

    /// Gives a pair to the field that its key means; for pairs that are kept elsewhere anyway.
    pub(super) fn also(&mut self, out: &mut Fields, key: &'a [u8], text: &Text<'a>) {
        if let Some((field, form)) = known(key) {
            self.put(out, None, field, form, &Cow::Borrowed(key), text);
        }
    }

    /// Keeps a pair as a string.
    pub(super) fn keep(&mut self, out: &mut Fields, group: Group, key: &Text<'a>, text: &Text<'a>) {
        // Carried bodies have pairs of their own; beyond what an index takes they stay in `event.original`.
        if out.extras().len() >= 2 * PAIRS_MAX || key.len() > NAME_MAX {
            return;
        }
        let copied = |text: &Text<'a>| match text {
            Cow::Borrowed(_) => 0,
            Cow::Owned(text) => text.len(),
        };
        if out.scratch().len() + copied(key) + copied(text) > copied_max(self.message) {
            return;
        }
        let key = value(self.message, key, out);
        let value = value(self.message, text, out);
        out.push_extra(Extra { group, parent: None, key, value });
    }

    /// Writes text to a field that nothing has been written to.
    pub(super) fn word(&mut self, out: &mut Fields, field: FieldId, text: &'a [u8]) -> bool {
        self.put(out, None, field, Form::Word, &Cow::Borrowed(b""), &Cow::Borrowed(text))
    }

    /// Writes an address, `address:port` or name.
    pub(super) fn source(&mut self, out: &mut Fields, text: &'a [u8]) -> bool {
        let form = Form::Endpoint(FieldId::SourcePort, FieldId::SourceDomain);
        self.put(out, None, FieldId::SourceIp, form, &Cow::Borrowed(b""), &Cow::Borrowed(text))
    }

    /// Writes an address, `address:port` or name.
    pub(super) fn destination(&mut self, out: &mut Fields, text: &'a [u8]) -> bool {
        let form = Form::Endpoint(FieldId::DestinationPort, FieldId::DestinationDomain);
        self.put(out, None, FieldId::DestinationIp, form, &Cow::Borrowed(b""), &Cow::Borrowed(text))
    }

    /// Writes the translated address and port of a side, where they differ from its own.
    pub(super) fn translated(&mut self, out: &mut Fields, is_source: bool, host: &[u8], port: Option<u16>) {
        let [ip, own_port, nat_ip, nat_port] = if is_source {
            [FieldId::SourceIp, FieldId::SourcePort, FieldId::SourceNatIp, FieldId::SourceNatPort]
        } else {
            [
                FieldId::DestinationIp,
                FieldId::DestinationPort,
                FieldId::DestinationNatIp,
                FieldId::DestinationNatPort,
            ]
        };
        let mut push = |own, field, value| {
            if out.find(own).is_some_and(|own| own != value) && out.find(field).is_none() {
                out.push(field, value);
            }
        };
        if let Some(address) = address(host) {
            push(ip, nat_ip, Value::Ip(address));
        }
        if let Some(port) = port {
            push(own_port, nat_port, Value::Unsigned(u64::from(port)));
        }
    }

    /// Writes a user to a field; the domain before a backslash goes to `user.domain`.
    pub(super) fn user(&mut self, out: &mut Fields, field: FieldId, text: &'a [u8]) -> bool {
        self.put(out, None, field, Form::User(FieldId::UserDomain), &Cow::Borrowed(b""), &Cow::Borrowed(text))
    }

    /// Writes a transport, by name or number.
    pub(super) fn transport(&mut self, out: &mut Fields, text: &'a [u8]) -> bool {
        self.put(
            out,
            None,
            FieldId::NetworkTransport,
            Form::Protocol,
            &Cow::Borrowed(b""),
            &Cow::Borrowed(text),
        )
    }

    /// Writes a request's target, a URL or its path.
    pub(super) fn target(&mut self, out: &mut Fields, text: &'a [u8]) -> bool {
        self.put(out, None, FieldId::UrlOriginal, Form::Target, &Cow::Borrowed(b""), &Cow::Borrowed(text))
    }

    /// Writes the event's time.
    pub(super) fn word_stamp(&mut self, out: &mut Fields, text: &'a [u8]) -> bool {
        self.put(out, None, FieldId::Timestamp, Form::Stamp, &Cow::Borrowed(b""), &Cow::Borrowed(text))
    }

    /// Writes a number to a field that nothing has been written to.
    pub(super) fn count(&mut self, out: &mut Fields, field: FieldId, text: &'a [u8]) -> bool {
        self.put(out, None, field, Form::Count, &Cow::Borrowed(b""), &Cow::Borrowed(text))
    }

    /// Replaces `message` by what the device says in words.
    pub(super) fn say(&mut self, out: &mut Fields, text: &Text<'a>) {
        let said = value(self.message, text, out);
        out.set(FieldId::Message, said);
    }

    /// Writes text of a form to a field; `false` if it has not that form or the field is taken.
    pub(super) fn put(
        &mut self,
        out: &mut Fields,
        group: Option<Group>,
        field: FieldId,
        form: Form,
        key: &Text<'a>,
        text: &Text<'a>,
    ) -> bool {
        let trimmed = text.trim_ascii();
        if is_nothing(trimmed) {
            return false;
        }
        let free = |out: &Fields, field| out.find(field).is_none();
        match form {
            Form::Peer(peer) => {
                let fits = match peer {
                    Peer::LocalIp | Peer::RemoteIp | Peer::Somebody | Peer::Relay => {
                        address(host_and_port(trimmed).0).is_some() || named_address(trimmed).is_some()
                    }
                    Peer::LocalPort | Peer::RemotePort => number(trimmed).is_some_and(|port| port <= 0xffff),
                };
                if !fits || self.pending.iter().any(|(other, ..)| *other == form) {
                    return false;
                }
                self.pending.push((form, group, key.clone(), text.clone()));
                return true;
            }
            Form::Request => return self.request(out, group, key, text),
            Form::SureSite
            | Form::Site
            | Form::WeakSite
            | Form::Target
            | Form::Query
            | Form::Date
            | Form::Clock
            | Form::Zone => {
                if self.pending.iter().any(|(other, ..)| *other == form) {
                    return false;
                }
                if matches!(form, Form::Site | Form::SureSite) && is_path(trimmed) {
                    return false;
                }
                // A request or a resource may be anything; a URL has a slash or a dot, and no blank.
                let like_url =
                    || trimmed.iter().any(|byte| matches!(byte, b'/' | b'.')) && !trimmed.contains(&b' ');
                if form == Form::Target && !like_url() {
                    return false;
                }
                self.pending.push((form, group, key.clone(), text.clone()));
                return true;
            }
            Form::Said => {
                if group.is_none() {
                    return false;
                }
                self.say(out, text);
                return true;
            }
            Form::Stamp => {
                let instant = self.instant(trimmed);
                return match instant {
                    Some(instant) if self.body_stamp.is_none() => {
                        self.body_stamp = Some(instant);
                        self.stamped = group.map(|group| (group, key.clone(), text.clone()));
                        true
                    }
                    _ => false,
                };
            }
            Form::Digest => {
                let Some(field) = digest(trimmed) else { return false };
                if !free(out, field) {
                    return false;
                }
                let written = value(self.message, text, out);
                out.push(field, written);
                return true;
            }
            Form::Protocol => return protocol(out, trimmed),
            Form::Digests => return digests(self.message, out, text),
            Form::Program => return program(self.message, out, text),
            Form::Image => return is_program(trimmed) && program(self.message, out, text),
            Form::PortOrTransport if number(trimmed).is_none() => {
                return is_transport(trimmed) && protocol(out, trimmed);
            }
            _ => {}
        }
        if !free(out, field) {
            return false;
        }
        let written = match form {
            // `msgid=<1@example>` is a mail's.
            Form::Word if field == FieldId::EventCode && trimmed.first() == Some(&b'<') => return false,
            Form::Word => value(self.message, text, out),
            Form::Email if memchr::memchr(b'@', trimmed).is_some() => {
                // `<a@example> to=<b@example>`: what follows a blank may be another pair.
                let end = memchr::memchr(b' ', trimmed)
                    .filter(|at| memchr::memchr(b'=', &trimmed[*at..]).is_some());
                let word = &trimmed[..end.unwrap_or(trimmed.len())];
                let bare = word.strip_prefix(b"<").and_then(|bare| bare.strip_suffix(b">")).unwrap_or(word);
                value(self.message, &reslice(text, bare), out)
            }
            // `method=802.1x` is one of authentication.
            Form::Name
                if field == FieldId::HttpRequestMethod
                    && trimmed.first().is_some_and(u8::is_ascii_digit)
                    && trimmed.contains(&b'.') =>
            {
                return false;
            }
            // Meraki tells the hardware address where the host's name would be.
            Form::Name
                if matches!(field, FieldId::SourceDomain | FieldId::DestinationDomain)
                    && mac(trimmed).is_some() =>
            {
                let field = match field {
                    FieldId::SourceDomain => FieldId::SourceMac,
                    _ => FieldId::DestinationMac,
                };
                return self.put(out, group, field, Form::Mac, key, text);
            }
            Form::Name if number(trimmed).is_none() => value(self.message, text, out),
            Form::Agent if is_agent(trimmed) => value(self.message, text, out),
            Form::File if !is_source_place(trimmed) => value(self.message, text, out),
            Form::Address => match address(trimmed) {
                Some(address) => Value::Ip(address),
                None => return false,
            },
            Form::Endpoint(port, name) => return endpoint(self.message, out, field, port, name, text),
            Form::Outcome => match outcome(trimmed) {
                Some(outcome) => Value::Static(outcome),
                None => return false,
            },
            Form::Inside => match inside(trimmed).and_then(address) {
                Some(address) => Value::Ip(address),
                None => return false,
            },
            Form::Port | Form::PortOrTransport => match number(trimmed).filter(|port| *port <= 0xffff) {
                Some(port) => Value::Unsigned(port),
                None => return false,
            },
            Form::Count => match number(trimmed) {
                Some(count) => Value::Unsigned(count),
                None => return false,
            },
            Form::Mac => match mac(trimmed) {
                Some(mac) => Value::Mac(mac),
                None => return false,
            },
            Form::Direction => match direction(trimmed) {
                Some(direction) => Value::Static(direction),
                None => return false,
            },
            Form::Time => match self.instant(trimmed) {
                Some(instant) => Value::Time(instant),
                None => return false,
            },
            Form::User(domain) => return user(self.message, out, field, domain, text),
            Form::Interface if number(trimmed).is_none() => value(self.message, text, out),
            _ => return false,
        };
        out.push(field, written);
        true
    }

    fn instant(&self, text: &[u8]) -> Option<Nanos> {
        let (rest, stamp) = stamp(text).ok()?;
        if !rest.trim_ascii().is_empty() && rest.first() != Some(&b' ') {
            return None;
        }
        stamp.resolve(self.reference)
    }

    /// Puts together what stood apart, and decides on the event's time.
    pub(super) fn finish(mut self, header: &Header, out: &mut Fields) {
        self.join(header.host.is_some(), out);
        // The device's own stamp with its year says more than a header's without.
        let stamp = match (self.header_stamp, self.body_stamp) {
            (Some((header, true)), _) => Some(header),
            (header, body) => body.or(header.map(|(instant, _)| instant)),
        };
        if let (Some((group, key, text)), false) = (self.stamped.take(), stamp == self.body_stamp) {
            self.keep(out, group, &key, &text);
        }
        if let Some(instant) = stamp
            && out.find(FieldId::Timestamp).is_none()
        {
            out.push(FieldId::Timestamp, Value::Time(instant));
        }
    }

    /// Puts together what stood apart.
    fn join(&mut self, has_host: bool, out: &mut Fields) {
        let pending = std::mem::take(&mut self.pending);
        let told = |form| pending.iter().find(|(other, ..)| *other == form);
        let target = told(Form::Target);
        let sure = told(Form::SureSite);
        // A name without a dot is the device's, though a URL is told.
        let whole = |pending: &&Pending<'a>| pending.3.iter().any(|byte| matches!(byte, b'.' | b':'));
        let site = told(Form::Site).filter(whole).or(told(Form::WeakSite).filter(whole));
        let site = sure.or(site.filter(|_| target.is_some()));
        let is_site = |form: &Form| site.is_some_and(|(other, ..)| other == form);
        if let (None, Some((.., text))) = (target, site) {
            let written = value(self.message, text, out);
            out.push(FieldId::UrlDomain, written);
        }
        if let Some((.., text)) = target {
            self.url(out, site.map(|(.., text)| text), text, told(Form::Query).map(|(.., text)| text));
        }
        if let (Some(date), Some(clock)) = (told(Form::Date), told(Form::Clock)) {
            self.date_and_clock(&date.3, &clock.3, told(Form::Zone).map(|(.., zone)| zone.as_ref()));
        } else if let Some(clock) = told(Form::Clock).or(told(Form::Date)) {
            // SonicWall's `time` and Zeek's `ts` are whole stamps; Stormshield's `time` has its zone beside it.
            if self.body_stamp.is_none() {
                if let Some(zone) = told(Form::Zone) {
                    self.date_and_clock(b"", &clock.3, Some(zone.3.as_ref()));
                }
                self.body_stamp = self.body_stamp.or(self.instant(clock.3.trim_ascii()));
            }
        }
        self.peers(&pending, out);
        for (form, group, key, text) in &pending {
            let used = match form {
                Form::Peer(_) => continue,
                Form::Target => true,
                Form::Site => is_site(form) || (!has_host && self.host(out, text)),
                Form::SureSite | Form::WeakSite => is_site(form),
                Form::Query => target.is_some(),
                Form::Date | Form::Clock => self.body_stamp.is_some(),
                _ => false,
            };
            if let (false, Some(group)) = (used, group) {
                self.keep(out, *group, key, text);
            }
        }
        split_url(self.message, out);
        self.who_connected(out);
    }

    /// Decides which of two peers is the source: the one that asks. Inbound it is the remote one; where
    /// no direction is told, the one whose port is not a service's; else the one that reports.
    fn peers(&mut self, pending: &[Pending<'a>], out: &mut Fields) {
        let told = |peer| pending.iter().find(|(form, ..)| *form == Form::Peer(peer));
        let port = |peer| told(peer).and_then(|(.., text)| number(text.trim_ascii()));
        let service = |port: Option<u64>| port.is_some_and(|port| port > 0 && port < 1024);
        let both = told(Peer::LocalIp).is_some() && told(Peer::RemoteIp).is_some();
        let inbound = match out.find(FieldId::NetworkDirection) {
            Some(Value::Static("inbound" | "ingress")) => true,
            Some(Value::Static("outbound" | "egress")) => false,
            _ => service(port(Peer::LocalPort)) && !service(port(Peer::RemotePort)),
        };
        let remote_is_source = told(Peer::LocalIp).is_none() || (both && inbound);
        let somebody = |pending: &&Pending<'a>| pending.0 == Form::Peer(Peer::Somebody);
        let known = pending.iter().filter(|pending| !somebody(pending));
        for (form, group, key, text) in known.chain(pending.iter().filter(somebody)) {
            let Form::Peer(peer) = form else { continue };
            let is_source = match peer {
                Peer::Somebody => true,
                Peer::Relay => out.find(FieldId::EmailToAddress).is_none(),
                Peer::RemoteIp | Peer::RemotePort => remote_is_source,
                Peer::LocalIp | Peer::LocalPort => !remote_is_source,
            };
            let (field, form) = match (peer, is_source) {
                (Peer::LocalPort | Peer::RemotePort, true) => (FieldId::SourcePort, Form::Port),
                (Peer::LocalPort | Peer::RemotePort, false) => (FieldId::DestinationPort, Form::Port),
                (_, true) => (FieldId::SourceIp, SOURCE),
                (_, false) => (FieldId::DestinationIp, DESTINATION),
            };
            if let (false, Some(group)) = (self.put(out, *group, field, form, key, text), group) {
                self.keep(out, *group, key, text);
            }
        }
    }

    /// A request line, or the target alone.
    fn request(&mut self, out: &mut Fields, group: Option<Group>, key: &Text<'a>, text: &Text<'a>) -> bool {
        let trimmed = text.trim_ascii();
        let mut words = trimmed.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
        let (method, target, version) = (words.next(), words.next(), words.next());
        if let (Some(method), Some(target)) = (method, target)
            && super::columns::is_method(method)
        {
            let piece = reslice(text, method);
            self.put(out, None, FieldId::HttpRequestMethod, Form::Name, key, &piece);
            if let Some(version) = version.and_then(|version| version.strip_prefix(b"HTTP/")) {
                let piece = reslice(text, version);
                self.put(out, None, FieldId::HttpVersion, Form::Word, key, &piece);
            }
            let piece = reslice(text, target);
            return self.put(out, None, FieldId::UrlOriginal, Form::Target, key, &piece);
        }
        self.put(out, group, FieldId::UrlOriginal, Form::Target, key, text)
    }

    /// Of a connection, the user is who opened it; who opened it is the user of the event.
    fn who_connected(&self, out: &mut Fields) {
        if let (Some(user), None) = (out.find(FieldId::SourceUserName), out.find(FieldId::UserName)) {
            out.push(FieldId::UserName, user);
            return;
        }
        let has = |field| out.find(field).is_some();
        if has(FieldId::SourceIp)
            && has(FieldId::DestinationIp)
            && !has(FieldId::SourceUserName)
            && !has(FieldId::DestinationUserName)
            && let Some(user) = out.find(FieldId::UserName)
        {
            out.push(FieldId::SourceUserName, user);
        }
    }

    /// Decodes a text that a body carried escaped, as a body of its own; its time is not the event's.
    pub(super) fn nested(
        &self,
        text: &[u8],
        out: &mut Fields,
        decode: impl for<'s> FnOnce(&'s [u8], &mut Names<'s>, &mut Fields),
    ) {
        fn shorter<'s>(names: &Names<'s>) -> Names<'s> {
            Names::new(names.message, names.reference, names.bodies)
        }
        let mut inner = shorter(self);
        decode(text, &mut inner, out);
        inner.join(true, out);
    }

    fn host(&self, out: &mut Fields, text: &Text<'a>) -> bool {
        if out.find(FieldId::HostName).is_some() || text.iter().any(|byte| *byte <= b' ') {
            return false;
        }
        let name = value(self.message, text, out);
        out.push(FieldId::HostName, name);
        if let Some(address) = address(text) {
            out.push(FieldId::HostIp, Value::Ip(address));
        }
        true
    }

    fn url(&self, out: &mut Fields, site: Option<&Text<'a>>, target: &Text<'a>, query: Option<&Text<'a>>) {
        let push = |out: &mut Fields, field, text: &Text<'a>| {
            if out.find(field).is_none() {
                let written = value(self.message, text, out);
                out.push(field, written);
            }
        };
        if let Some(site) = site {
            let host = site_name(site.trim_ascii());
            push(out, FieldId::UrlDomain, &reslice(site, host));
        }
        if !is_path(target) {
            push(out, FieldId::UrlOriginal, target);
            return;
        }
        push(out, FieldId::UrlOriginal, target);
        let question = memchr::memchr(b'?', target).unwrap_or(target.len());
        push(out, FieldId::UrlPath, &part(target, 0, question));
        if question + 1 < target.len() {
            push(out, FieldId::UrlQuery, &part(target, question + 1, target.len()));
        }
        if let Some(query) = query {
            let lead = usize::from(query.first() == Some(&b'?'));
            push(out, FieldId::UrlQuery, &part(query, lead, query.len()));
        }
    }

    /// Takes precedence over other stamps of the body: FortiGate's `eventtime` is when it began.
    fn date_and_clock(&mut self, date: &[u8], clock: &[u8], zone: Option<&[u8]>) {
        let mut text = Vec::with_capacity(48);
        text.extend_from_slice(date.trim_ascii());
        if !text.is_empty() {
            text.push(b' ');
        }
        text.extend_from_slice(clock.trim_ascii());
        if let Some(zone) = zone.map(<[u8]>::trim_ascii) {
            // FortiWeb writes `(GMT-5:00)Eastern Time`, FortiGate `-0500` or `"UTC+2:00"`, Sophos `CEST`.
            let bare = zone.strip_prefix(b"(").unwrap_or(zone);
            let bare = bare
                .strip_prefix(b"GMT")
                .or(bare.strip_prefix(b"UTC"))
                .filter(|rest| !rest.is_empty())
                .unwrap_or(bare);
            let end = bare.iter().position(|byte| *byte == b')').unwrap_or(bare.len());
            text.push(b' ');
            text.extend_from_slice(&bare[..end.min(16)]);
        }
        self.body_stamp = self.instant(&text).or(self.body_stamp);
    }
}

/// Gives `url.original` its parts, where nothing told them apart: `scheme://user@host:port/path?query`,
/// or `host/path`.
fn split_url(message: &[u8], out: &mut Fields) {
    let Some(url) = out.find(FieldId::UrlOriginal) else { return };
    let text = out.bytes(message, url);
    let end = memchr::memchr(b'#', text).unwrap_or(text.len());
    let text = &text[..end];
    let scheme = memchr::memmem::find(text, b"://")
        .filter(|at| *at > 0 && text[..*at].iter().all(u8::is_ascii_alphanumeric));
    let start = scheme.map_or(0, |at| at + 3);
    let path =
        text[start..].iter().position(|byte| matches!(byte, b'/' | b'?')).map_or(text.len(), |at| start + at);
    let host_from = memchr::memrchr(b'@', &text[start..path]).map_or(start, |at| start + at + 1);
    let host = site_name(&text[host_from..path]);
    let bare = host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]")).unwrap_or(host);
    // Without a scheme a dot must tell that a host comes first; `index.html` has no path behind it.
    let known = address(bare).is_some()
        || (is_name(host) && (scheme.is_some() || is_domain(host, path == text.len())));
    if !known {
        return;
    }
    let question = memchr::memchr(b'?', text).unwrap_or(text.len());
    let parts = [
        (FieldId::UrlDomain, host_from, host_from + host.len()),
        (FieldId::UrlPath, path, question.max(path)),
        (FieldId::UrlQuery, (question + 1).min(text.len()), text.len()),
    ];
    for (field, from, to) in parts {
        let piece = |span: Span| Span { start: span.start + from as u32, end: span.start + to as u32 };
        let value = match url {
            Value::Raw(span) => Value::Raw(piece(span)),
            Value::Text(span) => Value::Text(piece(span)),
            _ => return,
        };
        if from < to && out.find(field).is_none() {
            out.push(field, value);
        }
    }
}

/// Whether a name without a scheme can be a host: a dot in it, and, where no path follows, an end that
/// domains have (`index.html` has none).
fn is_domain(host: &[u8], alone: bool) -> bool {
    let dotted = host.split_first().is_some_and(|(first, rest)| *first != b'.' && rest.contains(&b'.'));
    dotted && (!alone || psl::suffix(host).is_some_and(|suffix| suffix.is_known()))
}

/// What stands in brackets at the end: `https(10.0.0.1)`.
fn inside(text: &[u8]) -> Option<&[u8]> {
    let open = memchr::memchr(b'(', text)?;
    text.get(open + 1..)?.strip_suffix(b")")
}

/// `SHA1=…,MD5=…,SHA256=…,IMPHASH=…` of Sysmon. What is no digest of a file is left out, so that the
/// whole is kept, too.
fn digests(message: &[u8], out: &mut Fields, text: &Text<'_>) -> bool {
    let mut all = true;
    for part in text.split(|byte| matches!(byte, b',' | b';' | b' ' | b'|')).filter(|part| !part.is_empty()) {
        let at = part.iter().position(|byte| matches!(byte, b'=' | b':')).map_or(0, |at| at + 1);
        let (name, hex) = part.split_at(at);
        let is_import = name.len() >= 3 && name[..3].eq_ignore_ascii_case(b"imp");
        match digest(hex).filter(|field| !is_import && out.find(*field).is_none()) {
            Some(field) => {
                let written = value(message, &reslice(text, hex), out);
                out.push(field, written);
            }
            None => all = false,
        }
    }
    all
}

/// `C:\Windows\a.exe`, `/usr/bin/a`, `a.exe`; containers have images, too, but these have a tag.
fn is_program(text: &[u8]) -> bool {
    let ends = text.len() > 4 && text[text.len() - 4..].eq_ignore_ascii_case(b".exe");
    ends || matches!(text, [b'/' | b'\\', ..] | [_, b':', b'\\' | b'/', ..])
}

/// `Mozilla/5.0 (…)`, `curl/8.5`: a product with its version.
fn is_agent(text: &[u8]) -> bool {
    memchr::memchr(b'/', text).is_some_and(|at| at > 0 && at + 1 < text.len())
}

/// `main.go:12`: a file with the line in it.
fn is_source_place(text: &[u8]) -> bool {
    memchr::memrchr(b':', text).is_some_and(|at| at > 1 && number(&text[at + 1..]).is_some())
}

fn is_transport(text: &[u8]) -> bool {
    TRANSPORTS.iter().any(|(name, _)| text.eq_ignore_ascii_case(name.as_bytes()))
}

fn program(message: &[u8], out: &mut Fields, text: &Text<'_>) -> bool {
    let trimmed = text.trim_ascii();
    let slash = trimmed.iter().rposition(|byte| matches!(byte, b'/' | b'\\'));
    let rooted = matches!(trimmed, [b'/' | b'\\', ..] | [_, b':', b'\\' | b'/', ..]);
    let mut used = false;
    let mut push = |out: &mut Fields, field, text: &Text<'_>| {
        if out.find(field).is_none() {
            let written = value(message, text, out);
            out.push(field, written);
            used = true;
        }
    };
    match slash.filter(|_| rooted) {
        Some(slash) => {
            push(out, FieldId::ProcessExecutable, &reslice(text, trimmed));
            let name = trimmed.get(slash + 1..).unwrap_or_default();
            if !name.is_empty() {
                push(out, FieldId::ProcessName, &reslice(text, name));
            }
        }
        None if number(trimmed).is_none() => push(out, FieldId::ProcessName, &reslice(text, trimmed)),
        None => {}
    }
    used
}

fn part<'a>(text: &Text<'a>, from: usize, to: usize) -> Text<'a> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.get(from..to).unwrap_or_default()),
        Cow::Owned(text) => Cow::Owned(text.get(from..to).unwrap_or_default().to_vec()),
    }
}

/// `inner` as part of `text`.
fn reslice<'a>(text: &Text<'a>, inner: &[u8]) -> Text<'a> {
    let from = (inner.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    part(text, from, from.saturating_add(inner.len()))
}

fn is_path(text: &[u8]) -> bool {
    text.trim_ascii_start().first() == Some(&b'/')
}

/// A URL's host without port.
fn site_name(text: &[u8]) -> &[u8] {
    match memchr::memrchr(b':', text) {
        Some(colon) if memchr::memchr(b':', text) == Some(colon) && number(&text[colon + 1..]).is_some() => {
            &text[..colon]
        }
        _ => text,
    }
}

/// Signs for "no value".
fn is_nothing(text: &[u8]) -> bool {
    matches!(text, b"" | b"-" | b"--" | b"---" | b"?" | b"\"\"" | b"(null)")
        || [b"n/a".as_slice(), b"none", b"null", b"unknown", b"undefined", b"nil"]
            .iter()
            .any(|word| text.eq_ignore_ascii_case(word))
}

/// An address; IPv4-mapped is IPv4, a zone index is dropped.
pub(super) fn address(text: &[u8]) -> Option<IpAddr> {
    let text = text.strip_prefix(b"[").and_then(|text| text.strip_suffix(b"]")).unwrap_or(text);
    let text =
        text.strip_prefix(b"::ffff:").filter(|rest| memchr::memchr(b'.', rest).is_some()).unwrap_or(text);
    let end = memchr::memchr(b'%', text).unwrap_or(text.len());
    let text = std::str::from_utf8(&text[..end]).ok()?;
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Some(IpAddr::V4(address));
    }
    text.parse::<Ipv6Addr>().ok().map(|address| IpAddr::V6(address).to_canonical())
}

/// An unsigned number of decimal digits.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 20 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Six bytes in hexadecimal: `00:1b:…`, `00-1B-…`, `001b.4411.3ab7`, `001B44113AB7`. The header of
/// a frame that iptables writes (14 bytes) has the source behind the destination and is not one.
fn mac(text: &[u8]) -> Option<[u8; 6]> {
    let mut mac = [0u8; 6];
    let mut digits = 0;
    for byte in text {
        let digit = match byte {
            b':' | b'-' | b'.' if digits > 0 => continue,
            _ => char::from(*byte).to_digit(16)? as u8,
        };
        let cell = mac.get_mut(digits / 2)?;
        *cell = *cell << 4 | digit;
        digits += 1;
    }
    (digits == 12).then_some(mac)
}

fn digest(text: &[u8]) -> Option<FieldId> {
    if !text.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    match text.len() {
        32 => Some(FieldId::FileHashMd5),
        40 => Some(FieldId::FileHashSha1),
        64 => Some(FieldId::FileHashSha256),
        128 => Some(FieldId::FileHashSha512),
        _ => None,
    }
}

/// `mail.example[192.0.2.1]:25`, as mail servers write a peer: name, address, what follows.
fn named_address(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let open = memchr::memchr(b'[', text).filter(|at| *at > 0)?;
    let close = open + memchr::memchr(b']', &text[open..])?;
    let inside = &text[open + 1..close];
    let inside = inside.strip_prefix(b"IPv6:").unwrap_or(inside);
    address(inside).map(|_| (text[..open].trim_ascii_end(), inside, &text[close + 1..]))
}

fn endpoint(
    message: &[u8],
    out: &mut Fields,
    ip: FieldId,
    port: FieldId,
    name: FieldId,
    text: &Text<'_>,
) -> bool {
    let whole = text.trim_ascii();
    if let Some((host, inside, after)) = named_address(whole) {
        if is_name(host) && !is_nothing(host) && out.find(name).is_none() {
            let written = value(message, &reslice(text, host), out);
            out.push(name, written);
        }
        let told = after.strip_prefix(b":").and_then(number).filter(|port| *port <= 0xffff);
        if let Some(told) = told.filter(|_| out.find(port).is_none()) {
            out.push(port, Value::Unsigned(told));
        }
        return address(inside).inspect(|address| out.push(ip, Value::Ip(*address))).is_some();
    }
    let (mut host, mut number) = host_and_port(whole);
    // Words behind an address belong to what follows the pairs.
    if let Some(space) = memchr::memchr(b' ', whole)
        && address(host_and_port(&whole[..space]).0).is_some()
    {
        (host, number) = host_and_port(&whole[..space]);
    }
    let known = match address(host) {
        Some(address) => {
            out.push(ip, Value::Ip(address));
            true
        }
        None if is_name(host) && out.find(name).is_none() => {
            let host = reslice(text, host);
            let written = value(message, &host, out);
            out.push(name, written);
            true
        }
        None => false,
    };
    if let Some(number) = number
        && known
        && out.find(port).is_none()
    {
        out.push(port, Value::Unsigned(u64::from(number)));
    }
    known
}

/// `10.0.0.1:443`, `[2001:db8::1]:443`, `10.0.0.1/443`, `10.0.0.1:443:X1` (SonicWall adds the
/// interface and the name), `10.0.0.1(443)`.
pub(super) fn host_and_port(text: &[u8]) -> (&[u8], Option<u16>) {
    if address(text).is_some() {
        return (text, None);
    }
    let port = |text: &[u8]| number(text).and_then(|port| u16::try_from(port).ok());
    if let Some(inside) = text.strip_prefix(b"[")
        && let Some(close) = memchr::memchr(b']', inside)
    {
        let after = inside.get(close + 1..).unwrap_or_default();
        return (&inside[..close], after.strip_prefix(b":").and_then(port));
    }
    if let Some(at) = memchr::memrchr(b'/', text)
        && let Some(port) = port(&text[at + 1..])
        && address(&text[..at]).is_some()
    {
        return (&text[..at], Some(port));
    }
    let Some(at) = text.iter().position(|byte| matches!(byte, b':' | b'/' | b'(' | b'#')) else {
        return (text, None);
    };
    let (host, rest) = text.split_at(at);
    let digits = rest[1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let ended = matches!(rest.get(1 + digits), None | Some(b':' | b')' | b'(' | b' '));
    match port(&rest[1..1 + digits]) {
        Some(number) if ended => (host, Some(number)),
        _ if address(host).is_some() && matches!(rest, [b':', ..]) => (host, None),
        _ => (text, None),
    }
}

/// Whether this can be a host's name.
fn is_name(text: &[u8]) -> bool {
    !text.is_empty()
        && text.len() <= 253
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(byte) || *byte >= 0x80)
        && text.iter().any(u8::is_ascii_alphabetic)
        && mac(text).is_none()
}

fn user(message: &[u8], out: &mut Fields, name: FieldId, domain: FieldId, text: &Text<'_>) -> bool {
    let trimmed = text.trim_ascii();
    let trimmed = trimmed.strip_prefix(b"<").and_then(|name| name.strip_suffix(b">")).unwrap_or(trimmed);
    if trimmed.is_empty() {
        return false;
    }
    match memchr::memchr(b'\\', trimmed) {
        Some(at) if at > 0 && at + 1 < trimmed.len() => {
            let skip = 1 + usize::from(trimmed.get(at + 1) == Some(&b'\\'));
            let account = value(message, &reslice(text, trimmed.get(at + skip..).unwrap_or_default()), out);
            out.push(name, account);
            if out.find(domain).is_none() {
                let written = value(message, &reslice(text, &trimmed[..at]), out);
                out.push(domain, written);
            }
        }
        _ => {
            let account = value(message, &reslice(text, trimmed), out);
            out.push(name, account);
        }
    }
    true
}

/// Writes a transport, an IANA number, or else an application protocol.
fn protocol(out: &mut Fields, text: &[u8]) -> bool {
    let (first, second) = match text.iter().position(|byte| matches!(byte, b'/' | b':')) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let found = match number(first) {
        Some(number) => TRANSPORTS.iter().find(|(_, iana)| u64::from(*iana) == number),
        None => TRANSPORTS.iter().find(|(name, _)| first.eq_ignore_ascii_case(name.as_bytes())),
    };
    match (found, number(first)) {
        (Some((_, iana)), _) => {
            if out.find(FieldId::NetworkTransport).is_some() {
                return false;
            }
            // `icmp6` and `icmpv6` are what IANA calls `ipv6-icmp`: the first name of a number.
            let Some((name, _)) = TRANSPORTS.iter().find(|(_, other)| other == iana) else { return false };
            out.push(FieldId::NetworkTransport, Value::Static(name));
            out.push(FieldId::NetworkIanaNumber, Value::Unsigned(u64::from(*iana)));
        }
        (None, Some(number)) if number <= 255 => {
            if out.find(FieldId::NetworkIanaNumber).is_some() {
                return false;
            }
            out.push(FieldId::NetworkIanaNumber, Value::Unsigned(number));
        }
        (None, Some(_)) => return false,
        (None, None) => return application(out, first),
    }
    // `tcp/443` has a port, `tcp/ip` says nothing more.
    if let Some(second) = second
        && !second.eq_ignore_ascii_case(b"ip")
        && number(second).is_none()
    {
        application(out, second);
    }
    true
}

fn application(out: &mut Fields, text: &[u8]) -> bool {
    if out.find(FieldId::NetworkProtocol).is_some() || text.is_empty() || text.len() > 32 {
        return false;
    }
    let written = out.text(&text.to_ascii_lowercase());
    out.push(FieldId::NetworkProtocol, written);
    true
}

/// Names and IANA numbers of what routers and firewalls report.
const TRANSPORTS: &[(&str, u8)] = &[
    ("icmp", 1),
    ("igmp", 2),
    ("tcp", 6),
    ("egp", 8),
    ("udp", 17),
    ("ipv6", 41),
    ("rsvp", 46),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("ipv6-icmp", 58),
    ("icmp6", 58),
    ("icmpv6", 58),
    ("eigrp", 88),
    ("ospf", 89),
    ("pim", 103),
    ("vrrp", 112),
    ("l2tp", 115),
    ("sctp", 132),
    ("udplite", 136),
];

fn direction(text: &[u8]) -> Option<&'static str> {
    let is = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word.as_bytes()));
    if is(&["in", "inbound", "incoming", "0"]) {
        Some("inbound")
    } else if is(&["out", "outbound", "outgoing", "1"]) {
        Some("outbound")
    } else if is(&["ingress"]) {
        Some("ingress")
    } else if is(&["egress"]) {
        Some("egress")
    } else if is(&["internal", "local"]) {
        Some("internal")
    } else {
        None
    }
}

fn outcome(text: &[u8]) -> Option<&'static str> {
    let is = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word.as_bytes()));
    if is(&["success", "succeeded", "successful", "ok", "pass", "passed", "audit_success", "true", "yes"]) {
        Some("success")
    } else if is(&["failure", "failed", "fail", "error", "audit_failure", "false", "no"]) {
        Some("failure")
    } else {
        None
    }
}

/// The field and form of a key, by its letters and digits alone: `src_ip`, `srcip` and `Src-IP` are
/// one.
pub(super) fn known(key: &[u8]) -> Option<(FieldId, Form)> {
    let mut letters = [0u8; KEY_MAX];
    let mut length = 0;
    // H3C numbers its keys: `SrcIPAddr(1003)`.
    let key =
        match key.strip_suffix(b")").and_then(|open| memchr::memrchr(b'(', open).map(|at| open.split_at(at)))
        {
            Some((name, number)) if number.len() > 1 && number[1..].iter().all(u8::is_ascii_digit) => name,
            _ => key,
        };
    for byte in key.iter().filter(|byte| byte.is_ascii_alphanumeric()) {
        *letters.get_mut(length)? = byte.to_ascii_lowercase();
        length += 1;
    }
    TABLE.get(&letters[..length]).copied()
}

/// The longest key of [`KEYS`] has fewer letters.
const KEY_MAX: usize = 40;

static TABLE: LazyLock<HashMap<&'static [u8], (FieldId, Form)>> = LazyLock::new(|| {
    KEYS.iter()
        .flat_map(|(field, form, keys)| keys.iter().map(|key| (key.as_bytes(), (*field, *form))))
        .collect()
});

/// The form of the values of an ECS field, for bodies that use its name.
pub(super) fn form_of(field: FieldId) -> Form {
    let name = field.name();
    match field {
        FieldId::Timestamp => Form::Stamp,
        FieldId::EventStart | FieldId::EventEnd => Form::Time,
        FieldId::Message => Form::Said,
        FieldId::EventOutcome => Form::Outcome,
        FieldId::HttpResponseStatusCode | FieldId::SyslogFacilityCode | FieldId::SyslogSeverityCode => {
            Form::Count
        }
        _ if name.ends_with(".ip") => Form::Address,
        _ if name.ends_with(".port") => Form::Port,
        _ if name.ends_with(".mac") => Form::Mac,
        _ if [
            ".bytes",
            ".packets",
            ".number",
            ".iana_number",
            ".pid",
            ".size",
            ".priority",
            ".severity",
            ".duration",
        ]
        .iter()
        .any(|end| name.ends_with(end)) =>
        {
            Form::Count
        }
        _ => Form::Word,
    }
}

const SOURCE: Form = Form::Endpoint(FieldId::SourcePort, FieldId::SourceDomain);
const DESTINATION: Form = Form::Endpoint(FieldId::DestinationPort, FieldId::DestinationDomain);
const SOURCE_NAT: Form = Form::Endpoint(FieldId::SourceNatPort, FieldId::SourceDomain);
const DESTINATION_NAT: Form = Form::Endpoint(FieldId::DestinationNatPort, FieldId::DestinationDomain);

/// What vendors write, less punctuation, in lower case.
#[rustfmt::skip]
const KEYS: &[(FieldId, Form, &[&str])] = &[
    (FieldId::SourceIp, SOURCE, &[
        "src", "srcip", "sourceip", "sourceaddress", "srcaddr", "srcaddress", "saddr", "sip", "cip", "csip",
        "clientip", "oip", "client", "clientaddr", "clientaddress", "clientipaddress", "clientipaddr", "ipclient",
        "station", "cltsip", "rhost", "sourceipaddress", "srcipaddr", "srcip6",
        "srcipv6", "sourceipv6", "attackerip", "ipsrc", "ipaddrsrc", "idorigh", "originatorip", "callerip",
        "sourceipv4", "srcipv4", "ipv4src", "ipv6src", "ipv4srcaddr", "ipv6srcaddr", "userip", "useraddr",
        "useripaddress", "cltip", "xforwardedfor", "sourcehostip",
        "initiatorip", "srchostip", "originip", "orighost", "sourcetranslatedip", "foreignip", "loginip",
        "userhostaddress", "peerip", "connectionip", "requestip", "srcadr", "clienthost", "clientiptxt", "pubip",
        "assignedsrcip", "callingstationip", "clientipv4", "clientipv6",
        "actoripaddress", "calleripaddress", "httprequestclientip",
        "sourceaddr", "hostsrc", "fromip", "fromaddr", "ipfrom", "attackeraddress", "rip", "realip", "xrealip", "sourceipv4address", "threatsourceip", "requestclientip", "origip", "srcendpoint", "senderip",
        "srchostaddress", "visitorip", "truesourceip", "connectingip", "originatingip", "ipsource",
        "actorip", "requesterip", "clientpublicip", "xforwardedforip", "publicip", "auditrecordstation", "sourcenetworkaddress",
    ]),
    (FieldId::SourceIp, Form::Peer(Peer::LocalIp), &[
        "localip", "localhostip", "localaddress", "localaddr", "locip", "localhost", "localipaddress", "local", "localipv4",
        "localinterfaceip", "localaddressip4", "localendpoint",
    ]),
    (FieldId::SourcePort, Form::Peer(Peer::LocalPort), &["localport", "locport"]),
    (FieldId::DestinationIp, Form::Peer(Peer::RemoteIp), &[
        "remoteip", "remotehostip", "remoteaddress", "remoteaddr", "remip", "remotehost", "remoteipaddress", "remote", "remoteipv4",
        "remoteinterfaceip", "remoteaddressip4", "remoteendpoint",
    ]),
    (FieldId::DestinationPort, Form::Peer(Peer::RemotePort), &["remoteport", "remport"]),
    (FieldId::SourceIp, Form::Peer(Peer::Somebody), &["addr", "ipaddress", "ip", "ipv4", "ipv6", "address", "ipaddr", "ipv4address", "ipv6address"]),
    (FieldId::DestinationIp, Form::Peer(Peer::Relay), &["relay"]),
    (FieldId::SourcePort, Form::Port, &[
        "spt", "sport", "srcport", "sourceport", "clientport", "csport", "cltsport", "idorigp", "cport",
        "srcprt", "sourceportnumber", "origport", "srcpt", "portsrc", "initiatorport", "ipsrcport",
        "l4srcport", "ipport", "clientsrcport", "sourceportno", "fromport", "rport", "attackerport", "cltport", "srcportnum", "usersrcport",
    ]),
    (FieldId::DestinationIp, DESTINATION, &[
        "dst", "dstip", "destip", "destinationip", "destinationaddress", "destaddr", "dstaddr", "dstaddress",
        "destaddress", "daddr", "dip", "srvdip", "serverip", "serveraddress", "serveraddr", "targetip", "targetaddress",
        "destinationipaddress", "dstip6", "dstipv6", "destinationipv6", "dstipv4", "victimip", "ipdst",
        "ipaddrdst", "idresph", "responderip", "cdip", "sdip", "destinationipv4", "ipv4dst",
        "ipv6dst", "resphost", "vip", "destipaddr", "vserverip", "desthostip", "toip", "lip", "targetipv4", "targetipv6", "destinationipv4address", "toaddr", "ipdest", "ipdestination", "victimaddress",
        "dstendpoint", "originserverip", "upstreamip", "destipv4", "destipv6", "destinationaddr", "recipientip",
        "responseip", "dstipaddr", "dstipaddress", "desip",
        "dsthostip", "listenip",
    ]),
    (FieldId::DestinationPort, Form::Port, &[
        "dpt", "dport", "dstport", "destport", "destinationport", "serverport", "cdport", "srvdport", "sdport", "idrespp",
        "targetport", "dstprt", "destinationportnumber", "respport", "portdst", "vserverport", "responderport",
        "ipdstport", "l4dstport", "service", "toport", "lport", "victimport", "destinationportno", "dstportnum", "desport",
    ]),
    (FieldId::SourceNatIp, SOURCE_NAT, &[
        "transip", "transrcip", "xlatesrc", "natsrc", "srcnat", "natsourceaddress", "natsrcip", "srcxlatedip",
        "sourcetranslatedaddress", "natsourceip", "nataddrsrc", "srctransip", "natsrcaddr", "srcnatip", "natsrcv6",
        "postnatsourceip", "translatedsourceip", "natip",
    ]),
    (FieldId::SourceNatPort, Form::Port, &[
        "transrcport", "xlatesport", "natsourceport", "natsrcport", "srcxlatedport",
        "sourcetranslatedport", "srctransport", "srcnatport", "natport",
    ]),
    (FieldId::DestinationNatIp, DESTINATION_NAT, &[
        "trandip", "trandstip", "xlatedst", "natdst", "dstnat", "natdestinationaddress", "natdstip", "dstxlatedip",
        "destinationtranslatedaddress", "natdestinationip", "dsttransip", "natdstaddr", "dstnatip", "natdstv6",
        "translateddestinationip",
    ]),
    (FieldId::SourceNatPort, Form::PortOrTransport, &["transport"]),
    (FieldId::DestinationNatPort, Form::Port, &[
        "trandport", "trandstport", "xlatedport", "natdestinationport", "natdstport", "dstxlatedport",
        "destinationtranslatedport", "dsttransport", "dstnatport",
    ]),
    (FieldId::SourceMac, Form::Mac, &[
        "smac", "srcmac", "sourcemac", "sourcemacaddress", "clientmac", "srcmacaddr", "srchwaddr", "macsrc",
        "mastersrcmac", "localhostmac", "usermac", "clientmacaddress", "srcmacaddress",
    ]),
    (FieldId::DestinationMac, Form::Mac, &[
        "dmac", "dstmac", "destmac", "destinationmac", "destinationmacaddress", "dstmacaddr", "macdst",
        "masterdstmac", "remotehostmac", "dstmacaddress",
    ]),
    (FieldId::SourceDomain, Form::Name, &[
        "shost", "srchost", "sourcehost", "srcname", "sourcehostname", "clienthostname", "srchostname", "clientname",
        "srcdomain", "workstationname", "sourceworkstation", "sourcedomainname", "callercomputername",
    ]),
    (FieldId::DestinationDomain, Form::Name, &[
        "dhost", "dsthost", "desthost", "destinationhost", "destinationhostname", "dsthostname", "destname", "dstname",
        "desthostname", "remotehostname", "dstdomain", "targethost", "targethostname", "destinationdomain", "serverhostname",
    ]),
    (FieldId::NetworkTransport, Form::Protocol, &["proto", "protocol", "ipproto", "ipprotocol", "transportprotocol", "protocolid", "networkprotocol", "protoname", "protocolname", "l4protocol", "layer4protocol", "trproto", "transproto"]),
    (FieldId::NetworkApplication, Form::Name, &["appname", "application", "applicationname", "app"]),
    (FieldId::NetworkProtocol, Form::Name, &["applicationprotocol", "appproto", "l7protocol"]),
    (FieldId::NetworkDirection, Form::Direction, &["direction", "dir", "trafficdirection", "networkdirection", "devicedirection", "ifdir", "conndirection"]),
    (FieldId::SourceBytes, Form::Count, &[
        "sentbyte", "sentbytes", "bytessent", "bytesout", "bytesfromclient", "sent", "origbytes", "srcbytes",
        "sourcebytes", "bytestoserver", "csbytes", "sendbytes", "initiatorbytes", "reqsize", "clientbytes", "txbytes",
        "outbytes",
    ]),
    (FieldId::DestinationBytes, Form::Count, &[
        "rcvdbyte", "rcvdbytes", "bytesreceived", "bytesin", "bytesfromserver", "rcvd", "recvbytes", "respbytes",
        "dstbytes", "destinationbytes", "bytestoclient", "scbytes", "receivedbytes", "responderbytes", "respsize",
        "serverbytes", "rxbytes", "inbytes", "recvdbytes",
    ]),
    (FieldId::NetworkBytes, Form::Count, &["bytes", "totalbytes", "nbytes"]),
    (FieldId::SourcePackets, Form::Count, &["sentpkt", "sentpkts", "packetssent", "srcpackets", "origpkts", "pktstoserver", "packetsfromclient", "initiatorpackets", "sentpackets"]),
    (FieldId::DestinationPackets, Form::Count, &["rcvdpkt", "rcvdpkts", "packetsreceived", "dstpackets", "resppkts", "pktstoclient", "packetsfromserver", "responderpackets", "recvpkts"]),
    (FieldId::NetworkVlanId, Form::Count, &["vlan", "vlanid", "vlantag"]),
    (FieldId::ObserverIngressInterface, Form::Interface, &["in", "inintf", "srcintf", "ininterface", "srcint", "ingressinterface", "inboundinterface", "srczoneinterface", "iniface", "indev", "sourceinterface", "srcifname"]),
    (FieldId::ObserverEgressInterface, Form::Interface, &["out", "outintf", "dstintf", "outinterface", "dstint", "egressinterface", "outboundinterface", "outiface", "outdev", "destinationinterface", "dstifname"]),
    (FieldId::UserName, Form::User(FieldId::UserDomain), &[
        "user", "username", "usrname", "account", "accountname", "acct", "login", "loginname", "usr", "uname", "xauthuser", "userid",
        "csusername", "unauthuser", "usernameoriginal", "logonname", "perpetrator", "adminname", "administrator",
        "principal", "users", "userprincipalname", "actor", "actorname", "loginuser", "authuser", "remoteuser", "accountid", "loginid",
        "useraccount", "logonuser", "accountused", "actoruser", "subscriber", "admin", "operator", "actoralternateid", "actoremail", "principalemail", "actoruseremail", "auditrecordissuer", "databaseuser", "logonaccount",
    ]),
    (FieldId::SourceUserName, Form::User(FieldId::UserDomain), &["suser", "srcuser", "sourceuser", "sourceusername", "srcusername", "fromuser", "subjectusername"]),
    (FieldId::DestinationUserName, Form::User(FieldId::UserDomain), &["duser", "dstuser", "destuser", "destinationuser", "destinationusername", "dstusername", "targetusername", "targetuser"]),
    (FieldId::UserId, Form::Word, &["uid", "usersid", "accountsid"]),
    (FieldId::UserDomain, Form::Word, &["userdomain", "accountdomain", "ntdomain", "subjectdomainname", "usrdomain"]),
    (FieldId::UserEmail, Form::Word, &["useremail", "usremail"]),
    (FieldId::GroupName, Form::Word, &["group", "groupname", "usergroup"]),
    (FieldId::EventAction, Form::Word, &["action", "act", "eventaction", "actiontaken", "fwaction", "policyaction", "operation", "disposition", "logsubtype"]),
    (FieldId::EventOutcome, Form::Outcome, &["outcome", "result", "res", "eventoutcome", "resultstatus"]),
    (FieldId::EventCode, Form::Word, &["eventid", "logid", "messageid", "msgid", "signatureid", "sigid", "eventcode"]),
    (FieldId::EventStart, Form::Time, &["starttime", "eventstart", "start", "sessionstarttime", "firstpacketsecond"]),
    (FieldId::EventEnd, Form::Time, &["endtime", "eventend", "end", "lastpacketsecond"]),
    (FieldId::LogLevel, Form::Name, &["level", "loglevel", "severitylevel", "lvl"]),
    (FieldId::RuleName, Form::Word, &["rulename", "policyname", "signaturename", "attackname", "virusname", "threatname", "signature", "attack", "virus", "accesscontrolrulename", "aclname"]),
    (FieldId::RuleId, Form::Word, &["policyid", "ruleid", "fwruleid", "ruleuid", "attackid"]),
    (FieldId::ObserverName, Form::Word, &["devname", "devicename", "sensorname", "gateway"]),
    (FieldId::ObserverHostname, Form::Word, &["dvchost", "devicehostname", "identhostname"]),
    (FieldId::ObserverIp, Form::Address, &["dvc", "deviceip", "deviceaddress", "deviceipaddress", "bigipmgmtip", "managementipaddress", "devip", "firewallip", "fw"]),
    (FieldId::ObserverSerialNumber, Form::Word, &["devid", "deviceid", "serialnumber", "deviceserialid", "serial", "sn", "deviceserial"]),
    (FieldId::ObserverVendor, Form::Word, &["devicevendor", "vendor"]),
    (FieldId::ObserverProduct, Form::Word, &["deviceproduct", "product"]),
    (FieldId::ObserverVersion, Form::Word, &["deviceversion", "productversion"]),
    (FieldId::UrlOriginal, Form::Request, &["request", "requestline", "httprequest", "requestheader", "httprequestline"]),
    (FieldId::UrlOriginal, Form::Target, &[
        "url", "requesturl", "uri", "requesturi", "csuri", "csuristem", "csuripath", "urlpath", "httpurl",
        "httpuri", "fullurl", "eurl", "requestpath", "uristem", "path2url", "href", "targeturl", "requestedurl",
        "websiteurl", "urloriginal", "objecturi", "resource", "clientrequesturi", "clientrequestpath", "fullrequesturl", "destinationurl", "desturl",
        "linkurl", "clickedurl", "threaturl", "malwareurl", "downloadurl", "urlfull", "accessedurl", "weburl", "requestedurlpath",
    ]),
    (FieldId::UrlQuery, Form::Query, &["csuriquery", "uriquery", "querystring", "urlquery"]),
    (FieldId::UrlDomain, Form::SureSite, &["httphost", "cshost", "urlhost", "urldomain", "httphostname", "vhost", "requesthost", "headershost", "clientrequesthost", "hostheader", "hosthdr"]),
    (FieldId::UrlDomain, Form::Site, &["host", "hostname"]),
    (FieldId::UrlDomain, Form::WeakSite, &["domain", "site", "website", "fqdn", "domainname", "server"]),
    (FieldId::HttpRequestMethod, Form::Name, &["requestmethod", "method", "httpmethod", "csmethod", "httprequestmethod", "verb", "httpverb", "clientrequestmethod", "reqmethod", "requestverb"]),
    (FieldId::HttpResponseStatusCode, Form::Count, &["httpstatus", "statuscode", "responsecode", "scstatus", "httpresponsecode", "httpstatuscode", "httpretcode", "httpresponse", "respcode", "edgeresponsestatus", "originresponsestatus", "responsestatus", "httpcode", "httpresponsestatus", "responsestatuscode"]),
    (FieldId::HttpRequestReferrer, Form::Word, &["referer", "referrer", "csreferer", "httpreferer", "refererurl", "requestcontext", "httprefer", "httpreferrer", "httprefererurl"]),
    (FieldId::UserAgentOriginal, Form::Word, &["useragent", "requestclientapplication", "csuseragent", "httpuseragent", "ua", "httpagent", "clientrequestuseragent", "useragentstring", "headersuseragent", "httprequestuseragent"]),
    (FieldId::UserAgentOriginal, Form::Agent, &["agent"]),
    (FieldId::DnsQuestionName, Form::Word, &["qname", "dnsquery", "queryname", "rrname", "dnsrrname", "dnsquestionname", "domainqueried", "dnsreq", "dnsqueryname", "dnsqname", "requestname", "dnsdomain", "queryhost", "querydomain", "dnshostname", "dnsname"]),
    (FieldId::DnsQuestionType, Form::Word, &["qtype", "qtypename", "dnsquerytype", "querytype", "rrtype", "dnsrrtype", "dnsrecordtype"]),
    (FieldId::TlsServerName, Form::Word, &["sni", "servername", "tlssni", "sslservername", "tlsservername"]),
    (FieldId::TlsJa3, Form::Word, &["ja3", "ja3hash", "tlsja3hash"]),
    (FieldId::FileName, Form::Word, &["fname", "filename", "attachment", "attachmentname", "objectname", "fileinfofilename", "attachmentfilename"]),
    (FieldId::FileName, Form::File, &["file"]),
    (FieldId::FilePath, Form::Word, &["filepath", "filefullpath", "targetfilename", "targetfile", "pathname"]),
    (FieldId::FileSize, Form::Count, &["fsize", "filesize"]),
    (FieldId::FileHashSha256, Form::Digest, &[
        "hash", "md5", "sha1", "sha256", "sha512", "filehash", "filemd5", "filesha1", "filesha256", "filesha512",
        "md5hash", "sha1hash", "sha256hash", "checksum", "fileinfomd5", "fileinfosha1", "fileinfosha256", "digest",
        "filehashmd5", "filehashsha1", "filehashsha256", "trendmicrodsfilemd5", "trendmicrodsfilesha1",
        "trendmicrodsfilesha256", "analyticscksum", "threathash", "filesum", "processhash", "hashmd5", "hashsha1",
        "hashsha256", "sha256string", "md5string", "sha1string", "targethash", "sha256digest", "md5digest", "md5sum", "sha1sum", "sha256sum", "sha512sum", "sha256hashdata", "md5hashdata", "sha1hashdata", "hashvalue", "filehashvalue",
        "filehashsha512", "filesha", "contenthash", "attachmenthash", "attachmentsha256", "attachmentmd5", "samplehash", "sha2",
        "malwarehash", "applicationhash", "processsha256", "processmd5", "processsha1", "parentsha256", "threatsha256", "threatmd5",
        "imagehash", "oldfilehash", "filechecksum", "shasum", "archivesha256", "parenthash", "objecthash",
    ]),
    (FieldId::FileHashSha256, Form::Digests, &["hashes", "filehashes"]),
    (FieldId::HostName, Form::Name, &["computername", "computer", "machinename", "agenthostname", "endpointname", "hostcomputername", "endpointhostname"]),
    (FieldId::SourceIp, Form::Inside, &["ui"]),
    (FieldId::ProcessName, Form::Program, &["syslogidentifier", "processname", "procname", "comm", "process", "program", "appexename", "newprocessname", "processimage", "imagefilename"]),
    (FieldId::ProcessName, Form::Image, &["image"]),
    (FieldId::ProcessPid, Form::Count, &["pid", "processid", "procid"]),
    (FieldId::ProcessExecutable, Form::Word, &["exe", "processpath", "executable", "applicationpath", "imagepath", "exepath"]),
    (FieldId::ProcessCommandLine, Form::Word, &["commandline", "cmdline", "cmd", "command", "processcommandline", "proctitle"]),
    (FieldId::EmailFromAddress, Form::Email, &["from", "sender", "mailfrom", "emailsender", "fromemailaddress", "senderaddress", "fromaddress"]),
    (FieldId::EmailToAddress, Form::Email, &["to", "recipient", "rcptto", "mailto", "emailrecipient", "toemailaddress", "recipientaddress", "rcpt", "recipients", "toaddress"]),
    (FieldId::EmailSubject, Form::Word, &["subject", "emailsubject", "mailsubject"]),
    (FieldId::Message, Form::Said, &["msg", "message"]),
    (FieldId::Timestamp, Form::Stamp, &[
        "timestamp", "ts", "eventtime", "datetime", "devtime", "rt", "receipttime", "timegenerated", "devicetime", "isotimestamp",
        "eventtimestamp", "logtime", "timecreated", "utctime", "generatedtime", "createtime", "creattime", "logdate",
        "timeiso8601", "eventdate", "createdat", "occurredat", "creationtime", "published", "eventcreationtime",
        "edgestarttimestamp", "realtimetimestamp", "gmttime", "detectiontime", "occured", "occurred", "systemtime", "receivedtime",
        "eventdatetime", "activitydatetime", "starttimestamp", "generatedat", "detectedat",
    ]),
    (FieldId::Timestamp, Form::Date, &["date"]),
    (FieldId::Timestamp, Form::Clock, &["time"]),
    (FieldId::Timestamp, Form::Zone, &["tz", "timezone"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_unique_and_normal() {
        let mut seen = std::collections::HashSet::new();
        for key in KEYS.iter().flat_map(|(.., keys)| *keys) {
            assert!(seen.insert(*key), "{key} is listed twice");
            assert!(key.len() < KEY_MAX, "{key} is too long");
            assert!(key.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()), "{key}");
        }
    }

    #[test]
    fn spellings() {
        for key in
            ["src", "SrcIP", "src_ip", "SRC", "saddr", "c-ip", "client-ip", "source-address", "id.orig_h"]
        {
            assert_eq!(known(key.as_bytes()).map(|(field, _)| field), Some(FieldId::SourceIp), "{key}");
        }
    }

    #[test]
    fn endpoints() {
        for (text, expected) in [
            ("10.0.0.1", ("10.0.0.1", None)),
            ("10.0.0.1:443", ("10.0.0.1", Some(443))),
            ("10.0.0.1:443:X1:name", ("10.0.0.1", Some(443))),
            ("10.0.0.1::X0", ("10.0.0.1", None)),
            ("[2001:db8::1]:443", ("2001:db8::1", Some(443))),
            ("2001:db8::1", ("2001:db8::1", None)),
            ("2001:db8::1/443", ("2001:db8::1", Some(443))),
            ("10.0.0.1/80", ("10.0.0.1", Some(80))),
            ("10.0.0.1(80)", ("10.0.0.1", Some(80))),
            ("192.168.1.3#61568", ("192.168.1.3", Some(61568))),
            ("host.example:70000", ("host.example:70000", None)),
            ("host.example:80", ("host.example", Some(80))),
        ] {
            let (host, port) = host_and_port(text.as_bytes());
            assert_eq!((std::str::from_utf8(host).unwrap(), port), expected, "{text}");
        }
    }

    #[test]
    fn macs() {
        let expected = Some([0, 0x1b, 0x44, 0x11, 0x3a, 0xb7]);
        for text in ["00:1b:44:11:3a:b7", "00-1B-44-11-3A-B7", "001b.4411.3ab7", "001B44113AB7"] {
            assert_eq!(mac(text.as_bytes()), expected, "{text}");
        }
        for text in ["", "00:1b", "90:10:20:76:8d:20:90:10:65:29:b6:2a:08:00", "zz:1b:44:11:3a:b7"] {
            assert_eq!(mac(text.as_bytes()), None, "{text}");
        }
    }
}

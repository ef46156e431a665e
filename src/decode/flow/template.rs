//! Templates: what an exporter says its records look like, compiled to a plan.
//!
//! Most fields of most records are of no use until somebody asks for them. So a [`Template`] keeps
//! every field as announced, for [`Template::values`]; the [`Step`]s that fill the [`Flow`], for
//! [`Template::flow`]; and for what each record is asked, the [`Place`]s of its addresses, and the
//! few steps that tell its length and whether a biflow was answered.

use super::clock::{Clock, MICROSECOND, MILLISECOND, Unit};
use super::element::{self, Element, Kind};
use super::labels;
use super::list::List;
use super::names::Names;
use super::packet;
use super::sampling::{self, Asked, Stated};
use super::{Flow, MAPPED};
use crate::input::Nanos;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::ops::Range;

/// A field as a template announces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spec {
    /// Private enterprise number; 0 for IANA and for NetFlow v9.
    pub(super) enterprise: u32,
    pub(super) id: u16,
    pub(super) length: u16,
    /// A scope field of an options template.
    pub(super) scope: bool,
}

/// A length that each record states itself (RFC 7011, section 7).
pub(super) const VARIABLE: u16 = u16::MAX;
/// The enterprise of the reverse direction (RFC 5103): the elements of IANA once more.
const REVERSE: u32 = 29305;
/// Cisco's elements, among them the client and the server of a connection.
const CISCO: u32 = 9;
/// CERT's elements, whose reverse direction is a bit of the number.
const CERT: u32 = 6871;
const CERT_REVERSE_BIT: u16 = 0x4000;
/// VMware's elements, among them the tenant's packet inside VXLAN.
const VMWARE: u32 = 6876;
/// ntop's elements, among them the packet inside a tunnel.
const NTOP: u32 = 35632;
/// Barracuda's elements.
const BARRACUDA: u32 = 10704;

/// The value of firewallEvent for a connection that was refused.
pub(super) const FLOW_DENIED: u8 = 3;
/// The upper two bits of forwardingStatus for a packet that was dropped.
const DROPPED: u64 = 2;

/// What kind of template it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Traits {
    /// Field numbers are those of NetFlow v9.
    pub(super) netflow9: bool,
    /// Its records tell the state of the exporter.
    pub(super) options: bool,
}

/// A compiled template.
#[derive(Debug)]
pub(super) struct Template {
    fields: Box<[Field]>,
    steps: Box<[Step]>,
    /// Those of variable length, and what says that a biflow was answered.
    hops: Box<[Step]>,
    /// None where an address may stand elsewhere in each record, or in a sampled header.
    places: Option<Box<[Place]>>,
    /// Those that lead to what an options record may tell of its exporter; none if it tells nothing.
    tells: Box<[Step]>,
    traits: Traits,
    /// The octets of the shortest record; all records are that long unless some length is variable.
    minimum: usize,
    variable: bool,
    has: Targets,
    units: Units,
    /// Where a record has addresses of both families, those of IPv6 come last.
    ipv6_inside: bool,
    /// The way to names and URLs, if it has any.
    names: Option<Box<Names>>,
    /// Its records tell names of applications or interfaces.
    labels: bool,
}

/// How a template writes its instants.
#[derive(Clone, Copy, Debug, Default)]
struct Units {
    start: Unit,
    end: Unit,
    observed: Unit,
    reverse_start: Unit,
    reverse_end: Unit,
}

/// A field, and what is known of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) spec: Spec,
    pub(super) element: Option<&'static Element>,
    /// It belongs to the reverse direction of a biflow.
    pub(super) reverse: bool,
    /// What it fills in a [`Flow`].
    pub(super) target: Target,
}

#[derive(Clone, Copy, Debug)]
struct Step {
    /// Octets from the end of the last step.
    skip: u16,
    length: u16,
    target: Target,
    read: Read,
}

/// Octets from the record's beginning to an address of fixed length.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    V4(u16),
    V6(u16),
}

/// How the octets of a field become a number.
#[derive(Clone, Copy, Debug)]
enum Read {
    One,
    Two,
    Four,
    Eight,
    /// Up to eight octets, as many as each record or the template says.
    Number,
    /// Sixteen octets.
    Wide,
    Float,
    /// The octets themselves.
    Frame,
    IpHeader,
    Nothing,
}

/// Where a value goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Target {
    // First those of sixteen octets: there is a place for each in [`Draft::wide`].
    SourceV6,
    DestinationV6,
    TranslatedSourceV6,
    TranslatedDestinationV6,
    InnerSourceV6,
    InnerDestinationV6,
    ExporterV6,
    None,
    SourceV4,
    DestinationV4,
    TranslatedSourceV4,
    TranslatedDestinationV4,
    SourcePort,
    DestinationPort,
    Protocol,
    TcpFlags,
    InitialTcpFlags,
    UnionTcpFlags,
    Bytes,
    Packets,
    ResponderBytes,
    ResponderPackets,
    Start,
    End,
    Input,
    Output,
    Interface,
    /// The template that an options record is about.
    ScopedTemplate,
    /// The interface out that it is about.
    ScopedOutput,
    /// The domain that it is about.
    ScopedDomain,
    // From here on, what only some templates have.
    DurationMilliseconds,
    DurationMicroseconds,
    Observed,
    Boot,
    Sampler,
    Interval,
    Taken,
    Skipped,
    Size,
    Population,
    Probability,
    Frame,
    IpHeader,
    InnerSourceV4,
    InnerDestinationV4,
    InnerSourcePort,
    InnerDestinationPort,
    InnerProtocol,
    /// A wireless client, source or destination by the direction.
    Station,
    Direction,
    ExporterV4,
    FirewallEvent,
    NatEvent,
    ForwardingStatus,
    ReverseBytes,
    ReversePackets,
    ReverseTcpFlags,
    ReverseInitialTcpFlags,
    ReverseUnionTcpFlags,
    ReverseStart,
    ReverseEnd,
    ReverseDelay,
}

/// A set of targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Targets(u64);

const TARGETS: usize = Target::ReverseDelay as usize + 1;
const _: () = assert!(TARGETS <= u64::BITS as usize, "a set of targets has 64 bits");
const WIDE: usize = Target::ExporterV6 as usize + 1;

/// What one options record tells of its exporter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Statement {
    /// The exporter that a relay speaks of.
    pub(super) about: Option<IpAddr>,
    /// Whose records a relay says that those of the domain are.
    pub(super) exporter: Option<IpAddr>,
    /// Another domain that it is about.
    pub(super) domain: Option<u32>,
    /// When the exporter started.
    pub(super) boot: Option<Nanos>,
    /// A sampling rate, and what it holds for.
    pub(super) rate: Option<(sampling::Scope, u32)>,
}

/// One record while it is read. Values wait here as numbers until the record is whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draft<'a> {
    numbers: [u64; TARGETS],
    wide: [u128; WIDE],
    /// Sections of a packet.
    frame: &'a [u8],
    ip_header: &'a [u8],
}

impl Target {
    /// Whether a template that names it twice means an outer packet and the one inside (RFC 7011,
    /// section 8: repeated elements follow the order of their treatment).
    fn is_layered(self) -> bool {
        matches!(
            self,
            Target::SourceV4
                | Target::SourceV6
                | Target::DestinationV4
                | Target::DestinationV6
                | Target::SourcePort
                | Target::DestinationPort
                | Target::Protocol
        )
    }

    fn is_v4(self) -> bool {
        matches!(
            self,
            Target::SourceV4
                | Target::DestinationV4
                | Target::TranslatedSourceV4
                | Target::TranslatedDestinationV4
                | Target::InnerSourceV4
                | Target::InnerDestinationV4
                | Target::Station
        )
    }

    fn is_v6(self) -> bool {
        (self as usize) < WIDE
    }

    /// Whether an options record tells something by it, without more.
    fn is_told(self) -> bool {
        matches!(
            self,
            Target::Boot
                | Target::Interval
                | Target::Taken
                | Target::Size
                | Target::Probability
                | Target::ExporterV4
                | Target::ExporterV6
        )
    }

    /// Whether it says what that holds for, or is a part of it.
    fn is_telling(self) -> bool {
        self.is_told()
            || matches!(
                self,
                Target::Skipped
                    | Target::Population
                    | Target::Sampler
                    | Target::Interface
                    | Target::Input
                    | Target::Output
                    | Target::ScopedTemplate
                    | Target::ScopedOutput
                    | Target::ScopedDomain
            )
    }

    /// Whether it says, where it is not zero, that a biflow has a second direction.
    fn is_answer(self) -> bool {
        matches!(self, Target::ReverseBytes | Target::ReversePackets)
    }
}

impl Place {
    /// The address there, in a whole record; one of IPv4 as mapped into IPv6.
    #[inline]
    pub(super) fn address(self, record: &[u8]) -> Option<u128> {
        match self {
            Place::V4(at) => {
                let octets = record.get(usize::from(at)..)?.first_chunk()?;
                Some(MAPPED | u128::from(u32::from_be_bytes(*octets)))
            }
            Place::V6(at) => Some(u128::from_be_bytes(*record.get(usize::from(at)..)?.first_chunk()?)),
        }
    }
}

impl Units {
    fn of(fields: &[Field]) -> Units {
        let unit = |target| {
            let field = fields.iter().find(|field| field.target == target);
            field.map_or(Unit::None, |field| field.wish().1)
        };
        Units {
            start: unit(Target::Start),
            end: unit(Target::End),
            observed: unit(Target::Observed),
            reverse_start: unit(Target::ReverseStart),
            reverse_end: unit(Target::ReverseEnd),
        }
    }
}

impl Targets {
    pub(super) fn contains(self, target: Target) -> bool {
        self.0 & (1 << target as u8) != 0
    }

    fn insert(&mut self, target: Target) {
        self.0 |= 1 << target as u8;
    }

    fn any_rare(self) -> bool {
        let wide = 1 << Target::InnerSourceV6 as u8 | 1 << Target::InnerDestinationV6 as u8;
        self.0 >> Target::DurationMilliseconds as u8 != 0 || self.0 & wide != 0
    }

    fn any_translated(self) -> bool {
        self.contains(Target::TranslatedSourceV4)
            || self.contains(Target::TranslatedSourceV6)
            || self.contains(Target::TranslatedDestinationV4)
            || self.contains(Target::TranslatedDestinationV6)
    }
}

impl Template {
    /// Compiles a template; none if its records would have no length, which no reading could
    /// advance over, or one that no datagram can hold.
    pub(super) fn compile(specs: &[Spec], traits: Traits) -> Option<Template> {
        let mut fields: Vec<Field> = specs.iter().map(|spec| Field::of(*spec, traits)).collect();
        let minimum: usize = specs.iter().map(|spec| spec.shortest()).sum();
        if minimum == 0 || minimum > usize::from(u16::MAX) {
            return None;
        }
        let has = choose(&mut fields);
        let variable = specs.iter().any(|spec| spec.length == VARIABLE);
        let wanted = |target: Target| target != Target::None;
        let last = |target| fields.iter().rposition(|field| field.target == target);
        let ipv6_inside = last(Target::SourceV6) > last(Target::SourceV4);
        let units = Units::of(&fields);
        let tells = traits.options && fields.iter().any(|field| field.target.is_told());
        let labels = traits.options && labels::tell_names(&fields);
        Some(Template {
            labels,
            steps: steps(&fields, wanted).into(),
            hops: steps(&fields, Target::is_answer).into(),
            places: places(&fields),
            tells: if tells { steps(&fields, Target::is_telling).into() } else { Box::default() },
            names: Names::of(&fields, traits).map(Box::new),
            fields: fields.into(),
            traits,
            minimum,
            variable,
            has,
            units,
            ipv6_inside,
        })
    }

    /// Whether it was compiled from just this.
    pub(super) fn is_of(&self, specs: &[Spec], traits: Traits) -> bool {
        self.traits == traits
            && self.fields.len() == specs.len()
            && self.fields.iter().zip(specs).all(|(field, spec)| field.spec == *spec)
    }

    /// Whether it is the same as another.
    pub(super) fn is_like(&self, other: &Template) -> bool {
        self.traits == other.traits
            && self.fields.iter().map(|field| field.spec).eq(other.fields.iter().map(|field| field.spec))
    }

    /// The memory it takes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Template>()
            + size_of_val(&*self.fields)
            + size_of_val(&*self.steps)
            + size_of_val(&*self.hops)
            + self.places.as_deref().map_or(0, size_of_val)
            + size_of_val(&*self.tells)
            + self.names.as_deref().map_or(0, Names::bytes)
    }

    pub(super) fn traits(&self) -> Traits {
        self.traits
    }

    /// The fields as they were announced.
    pub(super) fn specs(&self) -> impl Iterator<Item = Spec> {
        self.fields.iter().map(|field| field.spec)
    }

    pub(super) fn has(&self, target: Target) -> bool {
        self.has.contains(target)
    }

    /// Whether records tell names of applications or interfaces.
    pub(super) fn labels(&self) -> bool {
        self.labels
    }

    /// Where every address stands that a flow can have; none if that depends on the record.
    #[inline]
    pub(super) fn places(&self) -> Option<&[Place]> {
        self.places.as_deref()
    }

    /// The length of every record; none if they differ.
    #[inline]
    pub(super) fn fixed_length(&self) -> Option<NonZeroUsize> {
        NonZeroUsize::new(self.minimum).filter(|_| !self.variable)
    }

    /// The way to the names and URLs of a record; none if no record has any.
    #[inline]
    pub(super) fn names(&self) -> Option<&Names> {
        self.names.as_deref()
    }

    /// The length of the record that `input` begins with, at least one octet; none if no whole record
    /// is left.
    #[inline]
    pub(super) fn length(&self, input: &[u8]) -> Option<usize> {
        if input.len() < self.minimum {
            return None;
        }
        if !self.variable {
            return Some(self.minimum);
        }
        let end = self.hops.iter().try_fold(0, |at, step| {
            extent(input, at + usize::from(step.skip), step.length).map(|extent| extent.end)
        })?;
        (end <= input.len()).then_some(end)
    }

    /// Whether a record describes both directions (RFC 5103), and something came back.
    #[inline]
    pub(super) fn is_answered(&self, record: &[u8]) -> bool {
        (self.has(Target::ReverseBytes) || self.has(Target::ReversePackets))
            && walk(&self.hops, record).any(|(step, value)| {
                step.target.is_answer() && unsigned(value).is_some_and(|count| count > 0)
            })
    }

    /// Reads a whole record.
    pub(super) fn read<'a>(&self, record: &'a [u8]) -> Draft<'a> {
        let mut draft = Draft::default();
        self.read_into(record, &mut draft);
        draft
    }

    /// The same in place: a draft is too large to be copied for each record.
    #[inline]
    fn read_into<'a>(&self, record: &'a [u8], draft: &mut Draft<'a>) {
        walk(&self.steps, record).for_each(|(step, value)| draft.put(step, value));
    }

    /// The flow of a record, or of the second direction of one that was answered: addresses, times,
    /// sampling, sampled headers.
    pub(super) fn flow(
        &self,
        record: &[u8],
        reversed: bool,
        base: &Flow,
        clock: &Clock,
        rate: impl FnOnce(&Template, &Draft<'_>) -> u32,
    ) -> Flow {
        let mut draft = Draft::default();
        self.read_into(record, &mut draft);
        let draft = &draft;
        let number = |target| draft.number(target);
        let (source, tunnel_source) = self.address(draft, Target::SourceV4, Target::SourceV6);
        let (destination, tunnel_destination) =
            self.address(draft, Target::DestinationV4, Target::DestinationV6);
        let (start, end) = (number(Target::Start), number(Target::End));
        let own = self.clock(draft, clock);
        let clock = own.as_ref().unwrap_or(clock);
        let (start, end) = interval(clock, (self.units.start, start), (self.units.end, end));
        let mut flow = Flow {
            source,
            destination,
            tunnel_source,
            tunnel_destination,
            source_port: number(Target::SourcePort) as u16,
            destination_port: number(Target::DestinationPort) as u16,
            protocol: number(Target::Protocol) as u8,
            tcp_flags: (number(Target::TcpFlags)
                | number(Target::InitialTcpFlags)
                | number(Target::UnionTcpFlags)) as u16,
            bytes: number(Target::Bytes),
            packets: number(Target::Packets),
            reverse_bytes: number(Target::ResponderBytes),
            reverse_packets: number(Target::ResponderPackets),
            start,
            end,
            ..*base
        };
        if self.has.any_translated() {
            // Firewalls write zeros for an end that they did not translate.
            let translated =
                |four, six| self.address(draft, four, six).0.filter(|address| !address.is_unspecified());
            flow.translated_source = translated(Target::TranslatedSourceV4, Target::TranslatedSourceV6);
            flow.translated_destination =
                translated(Target::TranslatedDestinationV4, Target::TranslatedDestinationV6);
        }
        if self.has.any_rare() {
            self.finish_rare(draft, clock, &mut flow);
        }
        if flow.sampling == 0 {
            flow.sampling = rate(self, draft);
        }
        if reversed { self.reverse(draft, &flow, clock) } else { flow }
    }

    fn finish_rare(&self, draft: &Draft<'_>, clock: &Clock, flow: &mut Flow) {
        let nanoseconds = |target, unit| match draft.number(target) {
            0 => None,
            count => Nanos::try_from(count).ok()?.checked_mul(unit),
        };
        let duration = nanoseconds(Target::DurationMilliseconds, MILLISECOND)
            .or_else(|| nanoseconds(Target::DurationMicroseconds, MICROSECOND));
        if let Some(duration) = duration {
            flow.start = flow.start.or_else(|| flow.end?.checked_sub(duration));
            flow.end = flow.end.or_else(|| flow.start?.checked_add(duration));
        }
        flow.end = flow.end.or_else(|| clock.resolve(self.units.observed, draft.number(Target::Observed)));
        flow.sampling = self.stated(draft).rate();
        if !draft.frame.is_empty() {
            put_packet(flow, &packet::ethernet(draft.frame));
        } else if !draft.ip_header.is_empty() {
            put_packet(flow, &packet::ip(draft.ip_header));
        }
        self.put_inner(draft, flow);
        self.put_station(draft, flow);
        let status = draft.number(Target::ForwardingStatus);
        flow.event = self.firewall_event(draft).is_some() || self.nat_event(draft).is_some();
        flow.denied =
            self.firewall_event(draft) == Some(FLOW_DENIED) || (status <= 0xff && status >> 6 == DROPPED);
    }

    /// The packet that an encapsulation carries, where the record tells it apart: its ends talk to each
    /// other, and those around it are a tunnel.
    fn put_inner(&self, draft: &Draft<'_>, flow: &mut Flow) {
        let inner = |four, six| match self.address(draft, four, six).0 {
            Some(address) if !address.is_unspecified() => Some(address),
            _ => None,
        };
        let source = inner(Target::InnerSourceV4, Target::InnerSourceV6);
        let destination = inner(Target::InnerDestinationV4, Target::InnerDestinationV6);
        if source.is_none() && destination.is_none() {
            return;
        }
        (flow.tunnel_source, flow.tunnel_destination) = (flow.source, flow.destination);
        (flow.source, flow.destination) = (source, destination);
        flow.source_port = draft.number(Target::InnerSourcePort) as u16;
        flow.destination_port = draft.number(Target::InnerDestinationPort) as u16;
        flow.protocol = draft.number(Target::InnerProtocol) as u8;
    }

    /// A wireless controller tells its client instead of a source or a destination: which of them it is,
    /// the direction says, where 1 is down to the client.
    fn put_station(&self, draft: &Draft<'_>, flow: &mut Flow) {
        let Some(station) = self.has(Target::Station).then(|| v4(draft.number(Target::Station))) else {
            return;
        };
        const EGRESS: u64 = 1;
        let end =
            if draft.number(Target::Direction) == EGRESS { &mut flow.destination } else { &mut flow.source };
        end.get_or_insert(station);
    }

    /// What happened to a connection (IE 233), if the record is about that.
    pub(super) fn firewall_event(&self, draft: &Draft<'_>) -> Option<u8> {
        self.event_of(draft, Target::FirewallEvent)
    }

    /// What happened to a translation (IE 230), if the record is about that.
    pub(super) fn nat_event(&self, draft: &Draft<'_>) -> Option<u8> {
        self.event_of(draft, Target::NatEvent)
    }

    /// Zero is no event: exporters whose template has the field write it where nothing happened.
    fn event_of(&self, draft: &Draft<'_>, target: Target) -> Option<u8> {
        self.has(target).then(|| draft.number(target) as u8).filter(|event| *event > 0)
    }

    /// Whether the octets and packets of a record are those of a connection's course or end. Records of its
    /// beginning, of its refusal and of translations repeat what others count.
    pub(super) fn is_counted(&self, draft: &Draft<'_>) -> bool {
        const FLOW_DELETED: u8 = 2;
        const FLOW_UPDATE: u8 = 5;
        match self.firewall_event(draft) {
            Some(event) => matches!(event, FLOW_DELETED | FLOW_UPDATE),
            None => self.nat_event(draft).is_none(),
        }
    }

    /// Whose record it is, where a relay tells that (IE 130 and 131).
    pub(super) fn exporter(&self, record: &[u8]) -> Option<IpAddr> {
        if !self.has(Target::ExporterV4) && !self.has(Target::ExporterV6) {
            return None;
        }
        let exporter = self.address(&self.read(record), Target::ExporterV4, Target::ExporterV6).0;
        exporter.filter(|address| !address.is_unspecified())
    }

    /// The other direction of a biflow.
    fn reverse(&self, draft: &Draft<'_>, forward: &Flow, clock: &Clock) -> Flow {
        let number = |target| draft.number(target);
        let (start, end) = (number(Target::ReverseStart), number(Target::ReverseEnd));
        let units = &self.units;
        let (start, end) = interval(clock, (units.reverse_start, start), (units.reverse_end, end));
        let delayed = || {
            let delay = Nanos::try_from(number(Target::ReverseDelay)).ok()?.checked_mul(MILLISECOND)?;
            forward.start?.checked_add(delay)
        };
        Flow {
            source: forward.destination,
            destination: forward.source,
            translated_source: forward.translated_destination,
            translated_destination: forward.translated_source,
            tunnel_source: forward.tunnel_destination,
            tunnel_destination: forward.tunnel_source,
            source_port: forward.destination_port,
            destination_port: forward.source_port,
            tcp_flags: (number(Target::ReverseTcpFlags)
                | number(Target::ReverseInitialTcpFlags)
                | number(Target::ReverseUnionTcpFlags)) as u16,
            bytes: number(Target::ReverseBytes),
            packets: number(Target::ReversePackets),
            start: start.or_else(delayed),
            end: end.or(forward.end),
            ..*forward
        }
    }

    /// When the exporter started, if the record says so.
    pub(super) fn boot(&self, draft: &Draft<'_>) -> Option<Nanos> {
        boot_at(draft.number(Target::Boot))
    }

    /// The sampler that the record names.
    pub(super) fn sampler(&self, draft: &Draft<'_>) -> Option<u64> {
        self.has(Target::Sampler).then(|| draft.number(Target::Sampler))
    }

    /// What a record names that a sampling rate may hold for, `id` being the template's.
    pub(super) fn asked(&self, draft: &Draft<'_>, id: u16) -> Asked {
        const INGRESS: u64 = 0;
        const EGRESS: u64 = 1;
        let direction = self.has(Target::Direction).then(|| draft.number(Target::Direction));
        let side = |target, not| self.number_of(draft, target).filter(|_| direction != Some(not));
        Asked {
            sampler: self.sampler(draft),
            input: side(Target::Input, EGRESS),
            output: side(Target::Output, INGRESS),
            template: id,
        }
    }

    /// Whether times of its records count from a start-up time that they do not state themselves.
    pub(super) fn counts_from_boot(&self) -> bool {
        let Units { start, end, reverse_start, reverse_end, .. } = self.units;
        !self.has(Target::Boot) && [start, end, reverse_start, reverse_end].contains(&Unit::Uptime)
    }

    /// Whether its records may tell something of their exporter.
    pub(super) fn tells(&self) -> bool {
        !self.tells.is_empty()
    }

    /// What an options record tells. Records may be short and many, so that no more is read than that.
    pub(super) fn statement(&self, record: &[u8]) -> Statement {
        let mut told = Statement::default();
        let mut stated = Stated::default();
        let (mut sampler, mut interface, mut output, mut template) = (None, None, None, None);
        let mut exporter = None;
        for (step, octets) in walk(&self.tells, record) {
            let number = unsigned(octets).unwrap_or(0);
            match step.target {
                Target::Boot => told.boot = boot_at(number),
                Target::Interval => stated.interval = number,
                Target::Taken => stated.taken = number,
                Target::Skipped => stated.skipped = Some(number),
                Target::Size => stated.size = number,
                Target::Population => stated.population = number,
                Target::Probability => stated.probability = float(octets).unwrap_or(0.0),
                Target::Sampler => sampler = Some(number),
                Target::Interface => interface = Some(number as u32),
                Target::Input => interface = interface.or(Some(number as u32)),
                Target::ScopedOutput => output = Some(number as u32),
                Target::Output => output = output.or(Some(number as u32)),
                Target::ScopedTemplate => template = Some(number as u16),
                Target::ScopedDomain => told.domain = u32::try_from(number).ok(),
                Target::ExporterV4 if number > 0 => exporter = Some(v4(number)),
                Target::ExporterV6 => {
                    exporter = exporter.or(Some(wide(octets)).filter(|bits| *bits > 0).map(v6));
                }
                _ => {}
            }
        }
        let all = self.is_of_domain();
        let scope = match (sampler, interface, output, template) {
            (Some(sampler), ..) => Some(sampling::Scope::Sampler(sampler)),
            (None, Some(interface), ..) => Some(sampling::Scope::Interface(interface)),
            (None, None, Some(output), _) => Some(sampling::Scope::Output(output)),
            (None, None, None, Some(template)) => Some(sampling::Scope::Template(template)),
            // Else a part of the device that records do not name: what holds for it is not known of any of
            // them.
            _ => all.then_some(sampling::Scope::Domain),
        };
        told.rate = scope.zip(Some(stated.rate()).filter(|rate| *rate > 0));
        if self.is_about_exporter() {
            told.about = exporter;
        } else if all {
            told.exporter = exporter;
        }
        told
    }

    /// Whether an options record is about all that its domain exports: its scope is the system, a process
    /// or the exporter, or there is none. Line cards, caches, ports are parts of it.
    fn is_of_domain(&self) -> bool {
        /// The scope of NetFlow v9 (RFC 3954, section 6.1).
        const SYSTEM: u16 = 1;
        self.scopes().all(|field| match field.element {
            None => self.traits.netflow9 && field.spec.enterprise == 0 && field.spec.id == SYSTEM,
            // exporter's addresses; metering process, exporting process, observation domain
            Some(element) => element.enterprise == 0 && matches!(element.id, 130 | 131 | 143 | 144 | 149),
        })
    }

    /// Whether an options record is about the exporter that it names.
    fn is_about_exporter(&self) -> bool {
        self.scopes().any(|field| matches!(field.target, Target::ExporterV4 | Target::ExporterV6))
    }

    /// The fields that say what an options record is about; they stand first.
    fn scopes(&self) -> impl Iterator<Item = &Field> {
        self.fields.iter().take_while(|field| field.spec.scope)
    }

    /// A number of 32 bits, if the record has it.
    pub(super) fn number_of(&self, draft: &Draft<'_>, target: Target) -> Option<u32> {
        self.has(target).then(|| draft.number(target) as u32)
    }

    /// What the record states about sampling.
    pub(super) fn stated(&self, draft: &Draft<'_>) -> Stated {
        Stated {
            interval: draft.number(Target::Interval),
            taken: draft.number(Target::Taken),
            skipped: self.has(Target::Skipped).then(|| draft.number(Target::Skipped)),
            size: draft.number(Target::Size),
            population: draft.number(Target::Population),
            probability: f64::from_bits(draft.number(Target::Probability)),
        }
    }

    /// The clock of a record that states when its exporter started; none if that of its message holds.
    fn clock(&self, draft: &Draft<'_>, clock: &Clock) -> Option<Clock> {
        let boot = if self.has(Target::Boot) { self.boot(draft) } else { None };
        boot.map(|boot| Clock { boot: Some(boot), ..*clock })
    }

    /// An address, and that of the tunnel around it. A template may have both families, one of them
    /// zero; or those of a tunnel before those of the packet inside, which are the ones that talk to
    /// each other.
    fn address(&self, draft: &Draft<'_>, four: Target, six: Target) -> (Option<IpAddr>, Option<IpAddr>) {
        let v4 = || v4(draft.number(four));
        let v6 = || v6(draft.wide(six));
        match (self.has(four), self.has(six)) {
            (false, false) => (None, None),
            (true, false) => (Some(v4()), None),
            (false, true) => (Some(v6()), None),
            (true, true) if draft.wide(six) == 0 => (Some(v4()), None),
            (true, true) if draft.number(four) == 0 => (Some(v6()), None),
            (true, true) if self.ipv6_inside => (Some(v6()), Some(v4())),
            (true, true) => (Some(v4()), Some(v6())),
        }
    }

    /// Every field of a record that [`Template::read`] has found whole, with its octets.
    pub(super) fn values<'a>(&'a self, record: &'a [u8]) -> impl Iterator<Item = (&'a Field, &'a [u8])> {
        let mut at = 0;
        self.fields.iter().map_while(move |field| {
            let extent = extent(record, at, field.spec.length)?;
            at = extent.end;
            Some((field, record.get(extent)?))
        })
    }
}

impl Spec {
    fn shortest(&self) -> usize {
        if self.length == VARIABLE { 1 } else { self.length.into() }
    }
}

impl Field {
    /// What a template, or a list of one element, announces.
    pub(super) fn of(spec: Spec, traits: Traits) -> Field {
        let Spec { enterprise, id, .. } = spec;
        let (element, reverse) = match enterprise {
            0 if traits.netflow9 && spec.scope => (None, false),
            0 if traits.netflow9 => (element::find_netflow9(id), false),
            REVERSE => (element::find(0, id), true),
            CERT if id & CERT_REVERSE_BIT != 0 => (element::find(CERT, id & !CERT_REVERSE_BIT), true),
            _ => (element::find(enterprise, id), false),
        };
        let mut field = Field { spec, element, reverse, target: Target::None };
        field.target = field.wish().0;
        field
    }

    /// Its structured data, if it has any.
    pub(super) fn list(&self) -> Option<List> {
        match self.element?.kind {
            Kind::BasicList => Some(List::Basic),
            Kind::SubTemplateList => Some(List::SubTemplate),
            Kind::SubTemplateMultiList => Some(List::SubTemplateMulti),
            _ => None,
        }
    }

    /// The step that reads it.
    fn step(&self, skip: u16) -> Step {
        let target = self.target;
        let read = match target {
            Target::None => Read::Nothing,
            Target::Frame => Read::Frame,
            Target::IpHeader => Read::IpHeader,
            Target::Probability => Read::Float,
            _ if target.is_v6() => Read::Wide,
            _ => match self.spec.length {
                1 => Read::One,
                2 => Read::Two,
                4 => Read::Four,
                8 => Read::Eight,
                _ => Read::Number,
            },
        };
        Step { skip, length: self.spec.length, target, read }
    }

    /// What it would fill, how it is written, and how well it suits: the lowest rank is taken.
    fn wish(&self) -> (Target, Unit, u8) {
        let Spec { enterprise, id, length, scope } = self.spec;
        /// Scopes of a NetFlow v9 options template (RFC 3954, section 6.1).
        const NETFLOW9_INTERFACE: u16 = 2;
        const NETFLOW9_TEMPLATE: u16 = 5;
        let (enterprise, id) = match self.element {
            Some(element) => (element.enterprise, element.id),
            None if scope && id == NETFLOW9_INTERFACE && enterprise == 0 => {
                return (Target::Interface, Unit::None, 0);
            }
            None if scope && id == NETFLOW9_TEMPLATE && enterprise == 0 => {
                return (Target::ScopedTemplate, Unit::None, 0);
            }
            None => (enterprise, id),
        };
        let wish = if self.reverse { wish_reverse(enterprise, id) } else { wish(enterprise, id, scope) };
        let fits = match wish.0 {
            Target::SourceV4
            | Target::DestinationV4
            | Target::TranslatedSourceV4
            | Target::TranslatedDestinationV4
            | Target::InnerSourceV4
            | Target::InnerDestinationV4
            | Target::Station
            | Target::ExporterV4 => length == 4 || length == VARIABLE,
            Target::SourceV6
            | Target::DestinationV6
            | Target::TranslatedSourceV6
            | Target::TranslatedDestinationV6
            | Target::InnerSourceV6
            | Target::InnerDestinationV6
            | Target::ExporterV6 => length == 16 || length == VARIABLE,
            Target::Frame | Target::IpHeader => length > 0,
            _ => (1..=8).contains(&length) || length == VARIABLE,
        };
        if fits { wish } else { (Target::None, Unit::None, 0) }
    }
}

/// What an element fills. Deltas are preferred to totals, counters of one direction to those of a
/// connection, finer times to coarser ones.
fn wish(enterprise: u32, id: u16, scope: bool) -> (Target, Unit, u8) {
    let (target, unit, rank) = match (enterprise, id) {
        (0, 8) => (Target::SourceV4, Unit::None, 0),
        (0, 27) => (Target::SourceV6, Unit::None, 0),
        (0, 12) => (Target::DestinationV4, Unit::None, 0),
        (0, 28) => (Target::DestinationV6, Unit::None, 0),
        (CISCO, 12236) => (Target::SourceV4, Unit::None, 1),
        (CISCO, 12237) => (Target::DestinationV4, Unit::None, 1),
        (CISCO, 12238) => (Target::SourceV6, Unit::None, 1),
        (CISCO, 12239) => (Target::DestinationV6, Unit::None, 1),
        (CISCO, 12240) => (Target::SourcePort, Unit::None, 2),
        (CISCO, 12241) => (Target::DestinationPort, Unit::None, 2),
        (0, 225) => (Target::TranslatedSourceV4, Unit::None, 0),
        (element::NETFLOW9, 40001) => (Target::TranslatedSourceV4, Unit::None, 1),
        (0, 281) => (Target::TranslatedSourceV6, Unit::None, 0),
        (0, 226) => (Target::TranslatedDestinationV4, Unit::None, 0),
        (element::NETFLOW9, 40002) => (Target::TranslatedDestinationV4, Unit::None, 1),
        (0, 282) => (Target::TranslatedDestinationV6, Unit::None, 0),
        (0, 7) => (Target::SourcePort, Unit::None, 0),
        (0, 180 | 182) => (Target::SourcePort, Unit::None, 1),
        (0, 11) => (Target::DestinationPort, Unit::None, 0),
        (0, 181 | 183) => (Target::DestinationPort, Unit::None, 1),
        (0, 4) => (Target::Protocol, Unit::None, 0),
        (0, 6) => (Target::TcpFlags, Unit::None, 0),
        (CERT, 14) => (Target::InitialTcpFlags, Unit::None, 0),
        (CERT, 15) => (Target::UnionTcpFlags, Unit::None, 0),
        (CERT, 21) => (Target::ReverseDelay, Unit::None, 0),
        (0, 1) => (Target::Bytes, Unit::None, 0),
        (0, 85) => (Target::Bytes, Unit::None, 1),
        (0, 231) => (Target::Bytes, Unit::None, 2),
        (0, 352) => (Target::Bytes, Unit::None, 3),
        (0, 353) => (Target::Bytes, Unit::None, 4),
        (0, 23) => (Target::Bytes, Unit::None, 5),
        (0, 171) => (Target::Bytes, Unit::None, 6),
        (0, 2) => (Target::Packets, Unit::None, 0),
        (0, 86) => (Target::Packets, Unit::None, 1),
        (0, 298) => (Target::Packets, Unit::None, 2),
        (0, 24) => (Target::Packets, Unit::None, 3),
        (0, 172) => (Target::Packets, Unit::None, 4),
        (0, 232) => (Target::ResponderBytes, Unit::None, 0),
        (0, 299) => (Target::ResponderPackets, Unit::None, 0),
        (0, 156) => (Target::Start, Unit::Nanoseconds, 0),
        (0, 154) => (Target::Start, Unit::Microseconds, 1),
        (0, 152) => (Target::Start, Unit::Milliseconds, 2),
        (0, 158) => (Target::Start, Unit::Delta, 3),
        (0, 150) => (Target::Start, Unit::Seconds, 4),
        (0, 22) => (Target::Start, Unit::Uptime, 5),
        (0, 157) => (Target::End, Unit::Nanoseconds, 0),
        (0, 155) => (Target::End, Unit::Microseconds, 1),
        (0, 153) => (Target::End, Unit::Milliseconds, 2),
        (0, 159) => (Target::End, Unit::Delta, 3),
        (0, 151) => (Target::End, Unit::Seconds, 4),
        (0, 21) => (Target::End, Unit::Uptime, 5),
        (0, 145) if scope => (Target::ScopedTemplate, Unit::None, 0),
        (0, 10) if scope => (Target::Interface, Unit::None, 0),
        (0, 14) if scope => (Target::ScopedOutput, Unit::None, 0),
        (0, 149) if scope => (Target::ScopedDomain, Unit::None, 0),
        (0, 10) => (Target::Input, Unit::None, 0),
        (0, 252) => (Target::Input, Unit::None, 1),
        (0, 14) => (Target::Output, Unit::None, 0),
        (0, 253) => (Target::Output, Unit::None, 1),
        (0, 161) => (Target::DurationMilliseconds, Unit::None, 0),
        (0, 162) => (Target::DurationMicroseconds, Unit::None, 0),
        (0, 325) => (Target::Observed, Unit::Nanoseconds, 0),
        (0, 324) => (Target::Observed, Unit::Microseconds, 1),
        (0, 323) => (Target::Observed, Unit::Milliseconds, 2),
        (0, 322) => (Target::Observed, Unit::Seconds, 3),
        (0, 160) => (Target::Boot, Unit::Milliseconds, 0),
        (0, 48) => (Target::Sampler, Unit::None, 1),
        (0, 302) => (Target::Sampler, Unit::None, 0),
        (0, 34) => (Target::Interval, Unit::None, 0),
        (0, 50) => (Target::Interval, Unit::None, 1),
        (0, 305) => (Target::Taken, Unit::None, 0),
        (0, 306) => (Target::Skipped, Unit::None, 0),
        (0, 309) => (Target::Size, Unit::None, 0),
        (0, 310) => (Target::Population, Unit::None, 0),
        (0, 311) => (Target::Probability, Unit::None, 0),
        (0, 315) => (Target::Frame, Unit::None, 0),
        (0, 104) => (Target::Frame, Unit::None, 1),
        (0, 313) => (Target::IpHeader, Unit::None, 0),
        (0, 61) => (Target::Direction, Unit::None, 0),
        (0, 366) => (Target::Station, Unit::None, 0),
        (0, 130) => (Target::ExporterV4, Unit::None, 0),
        (0, 131) => (Target::ExporterV6, Unit::None, 0),
        (0, 230) => (Target::NatEvent, Unit::None, 0),
        (0, 233) => (Target::FirewallEvent, Unit::None, 0),
        (element::NETFLOW9, 40005) => (Target::FirewallEvent, Unit::None, 1),
        (0, 89) => (Target::ForwardingStatus, Unit::None, 0),
        (VMWARE, 880) => (Target::InnerProtocol, Unit::None, 0),
        (VMWARE, 881) => (Target::InnerSourceV4, Unit::None, 0),
        (VMWARE, 882) => (Target::InnerDestinationV4, Unit::None, 0),
        (VMWARE, 883) => (Target::InnerSourceV6, Unit::None, 0),
        (VMWARE, 884) => (Target::InnerDestinationV6, Unit::None, 0),
        (VMWARE, 886) => (Target::InnerSourcePort, Unit::None, 0),
        (VMWARE, 887) => (Target::InnerDestinationPort, Unit::None, 0),
        (NTOP, 113) => (Target::InnerProtocol, Unit::None, 1),
        (NTOP, 114) => (Target::InnerSourceV4, Unit::None, 1),
        (NTOP, 115) => (Target::InnerSourcePort, Unit::None, 1),
        (NTOP, 116) => (Target::InnerDestinationV4, Unit::None, 1),
        (NTOP, 117) => (Target::InnerDestinationPort, Unit::None, 1),
        (NTOP, 396) => (Target::InnerSourceV6, Unit::None, 1),
        (NTOP, 397) => (Target::InnerDestinationV6, Unit::None, 1),
        // Ericsson's log of translations.
        (element::NETFLOW9, 24632) => (Target::SourceV4, Unit::None, 2),
        (element::NETFLOW9, 24633) => (Target::TranslatedSourceV4, Unit::None, 3),
        // What a firewall of Barracuda binds towards the server, and whom it connects to.
        (BARRACUDA, 8) => (Target::TranslatedSourceV4, Unit::None, 2),
        (BARRACUDA, 10) => (Target::TranslatedDestinationV4, Unit::None, 2),
        _ => (Target::None, Unit::None, 0),
    };
    (target, unit, rank)
}

fn wish_reverse(enterprise: u32, id: u16) -> (Target, Unit, u8) {
    match (enterprise, id) {
        (CERT, 14) => return (Target::ReverseInitialTcpFlags, Unit::None, 0),
        (CERT, 15) => return (Target::ReverseUnionTcpFlags, Unit::None, 0),
        _ => {}
    }
    let (target, unit, rank) = wish(enterprise, id, false);
    let target = match target {
        Target::Bytes => Target::ReverseBytes,
        Target::Packets => Target::ReversePackets,
        Target::TcpFlags => Target::ReverseTcpFlags,
        Target::Start => Target::ReverseStart,
        Target::End => Target::ReverseEnd,
        _ => Target::None,
    };
    (target, unit, rank)
}

/// Leaves each target to one field, the best by rank and the first of equals; says which are filled.
/// What a packet has once for each of its layers is left to every field that names it.
fn choose(fields: &mut [Field]) -> Targets {
    let mut best = [(u8::MAX, usize::MAX); u64::BITS as usize];
    for (at, field) in fields.iter().enumerate() {
        let rank = field.wish().2;
        if let Some(known) = best.get_mut(field.target as usize) {
            *known = (*known).min((rank, at));
        }
    }
    let mut has = Targets::default();
    for (at, field) in fields.iter_mut().enumerate() {
        let (rank, chosen) = best.get(field.target as usize).copied().unwrap_or_default();
        let fills = chosen == at || (field.target.is_layered() && field.wish().2 == rank);
        if fills && field.target != Target::None {
            has.insert(field.target);
        } else {
            field.target = Target::None;
        }
    }
    has
}

/// The steps to the fields that are wanted, over those of variable length, to the record's end.
fn steps(fields: &[Field], wanted: impl Fn(Target) -> bool) -> Vec<Step> {
    let mut skip = 0u16;
    let mut steps = Vec::new();
    for field in fields {
        let length = field.spec.length;
        if !wanted(field.target) && length != VARIABLE {
            // The sum was checked to fit before.
            skip = skip.saturating_add(length);
            continue;
        }
        steps.push(field.step(skip));
        skip = 0;
    }
    if skip > 0 {
        steps.push(Step { skip, length: 0, target: Target::None, read: Read::Nothing });
    }
    steps
}

/// Where the addresses stand, if in every record there.
fn places(fields: &[Field]) -> Option<Box<[Place]>> {
    let mut places = Vec::new();
    // None behind a field of variable length.
    let mut offset = Some(0u16);
    for field in fields {
        let length = Some(field.spec.length).filter(|length| *length != VARIABLE);
        let at = offset.filter(|_| length.is_some());
        match field.target {
            Target::Frame | Target::IpHeader => return None,
            Target::ExporterV6 => {}
            target if target.is_v4() => places.push(Place::V4(at?)),
            target if target.is_v6() => places.push(Place::V6(at?)),
            _ => {}
        }
        offset = offset.zip(length).map(|(offset, length)| offset.saturating_add(length));
    }
    Some(places.into())
}

/// The values that steps lead to, in a whole record.
#[inline]
fn walk<'s, 'r>(steps: &'s [Step], record: &'r [u8]) -> impl Iterator<Item = (&'s Step, &'r [u8])> {
    let mut at = 0;
    steps.iter().map_while(move |step| {
        let extent = extent(record, at + usize::from(step.skip), step.length)?;
        at = extent.end;
        Some((step, record.get(extent)?))
    })
}

/// Where the value of a field stands that begins at `at`.
#[inline]
pub(super) fn extent(record: &[u8], at: usize, length: u16) -> Option<Range<usize>> {
    let (start, length) = match length {
        VARIABLE => stated_length(record, at)?,
        length => (at, length),
    };
    Some(start..start + usize::from(length))
}

/// Where a value of variable length begins, and its length.
fn stated_length(record: &[u8], at: usize) -> Option<(usize, u16)> {
    match *record.get(at)? {
        u8::MAX => match *record.get(at + 1..at + 3)? {
            [high, low] => Some((at + 3, u16::from_be_bytes([high, low]))),
            _ => None,
        },
        short => Some((at + 1, short.into())),
    }
}

/// Start and end of a flow. Without anything to count uptime from, the end is taken for the export,
/// so that at least the duration is told.
fn interval(clock: &Clock, start: (Unit, u64), end: (Unit, u64)) -> (Option<Nanos>, Option<Nanos>) {
    let resolved = (clock.resolve(start.0, start.1), clock.resolve(end.0, end.1));
    if let ((None, None), (Unit::Uptime, first), (Unit::Uptime, last)) = (resolved, start, end) {
        let duration = i64::from((last as u32).wrapping_sub(first as u32) as i32) * MILLISECOND;
        return (clock.exported.checked_sub(duration), Some(clock.exported));
    }
    resolved
}

impl Default for Draft<'_> {
    fn default() -> Self {
        Draft { numbers: [0; TARGETS], wide: [0; WIDE], frame: &[], ip_header: &[] }
    }
}

impl<'a> Draft<'a> {
    /// Keeps a value. What a template names twice is kept last but for zero: an inner packet without
    /// ports, say, does not hide those of the outer one.
    fn put(&mut self, step: &Step, value: &'a [u8]) {
        let number = match step.read {
            Read::One => value.first().copied().unwrap_or(0).into(),
            Read::Two => value.first_chunk().map_or(0, |octets| u16::from_be_bytes(*octets).into()),
            Read::Four => value.first_chunk().map_or(0, |octets| u32::from_be_bytes(*octets).into()),
            Read::Eight => value.first_chunk().map_or(0, |octets| u64::from_be_bytes(*octets)),
            Read::Number => unsigned(value).unwrap_or(0),
            Read::Float => float(value).unwrap_or(0.0).to_bits(),
            Read::Wide => {
                if let (number @ 1.., Some(slot)) = (wide(value), self.wide.get_mut(step.target as usize)) {
                    *slot = number;
                }
                return;
            }
            Read::Frame => return self.frame = value,
            Read::IpHeader => return self.ip_header = value,
            Read::Nothing => return,
        };
        if let (1.., Some(slot)) = (number, self.numbers.get_mut(step.target as usize)) {
            *slot = number;
        }
    }

    fn number(&self, target: Target) -> u64 {
        self.numbers.get(target as usize).copied().unwrap_or(0)
    }

    fn wide(&self, target: Target) -> u128 {
        self.wide.get(target as usize).copied().unwrap_or(0)
    }
}

/// A start-up time, in milliseconds since 1970.
fn boot_at(milliseconds: u64) -> Option<Nanos> {
    Nanos::try_from(milliseconds).ok().filter(|boot| *boot > 0)?.checked_mul(MILLISECOND)
}

fn v4(number: u64) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(number as u32))
}

fn v6(number: u128) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from_bits(number))
}

/// A number of sixteen octets; zero for a value of another length.
#[inline]
fn wide(value: &[u8]) -> u128 {
    value.try_into().map_or(0, u128::from_be_bytes)
}

/// Fills from a packet's headers what the record itself does not tell.
fn put_packet(flow: &mut Flow, packet: &packet::Packet) {
    if flow.source.is_some() || packet.source.is_none() {
        return;
    }
    flow.source = packet.source;
    flow.destination = packet.destination;
    flow.protocol = packet.protocol;
    flow.source_port = packet.source_port;
    flow.destination_port = packet.destination_port;
    flow.tcp_flags = packet.tcp_flags;
    (flow.tunnel_source, flow.tunnel_destination) = packet.tunnel.unzip();
    if flow.bytes == 0 {
        flow.bytes = packet.length;
    }
    flow.packets = flow.packets.max(1);
}

/// An unsigned number of one to eight octets (reduced-size encoding, RFC 7011, section 6.2).
#[inline]
pub(super) fn unsigned(value: &[u8]) -> Option<u64> {
    match *value {
        [a] => Some(a.into()),
        [a, b] => Some(u16::from_be_bytes([a, b]).into()),
        [a, b, c, d] => Some(u32::from_be_bytes([a, b, c, d]).into()),
        [a, b, c, d, e, f, g, h] => Some(u64::from_be_bytes([a, b, c, d, e, f, g, h])),
        _ if (1..8).contains(&value.len()) => {
            Some(value.iter().fold(0, |number, octet| (number << 8) | u64::from(*octet)))
        }
        _ => None,
    }
}

/// A signed number of one to eight octets.
pub(super) fn signed(value: &[u8]) -> Option<i64> {
    let unused = 64 - 8 * u32::try_from(value.len()).ok()?.min(8);
    // Shifting up and down again extends the sign.
    Some(((unsigned(value)? << unused) as i64) >> unused)
}

/// A number of four or eight octets in the format of IEEE 754.
pub(super) fn float(value: &[u8]) -> Option<f64> {
    match value.len() {
        4 => Some(f32::from_bits(unsigned(value)? as u32).into()),
        8 => Some(f64::from_bits(unsigned(value)?)),
        _ => None,
    }
}

//! Walks the sets of a NetFlow v9 or IPFIX message: templates are learned, data is read by them.
//!
//! The two protocols differ in their headers and in how a template spells its fields; from there on
//! they are one. An IPFIX message may hold template sets in the manner of v9 (some exporters convert
//! only the header), so both spellings are here.

use super::cache::{Boot, Domain, Found, Scope};
use super::clock::Clock;
use super::sampling::Rate;
use super::template::{Spec, Statement, Template, Traits};
use super::waiting::Set;
use super::{
    Datagram, DecodeError, Detail, Flow, Group, Losses, Reader, Record, Sender, Senders, Templates,
    is_more_than_padding,
};
use crate::input::Nanos;
use nom::number::complete::{be_u16, be_u32};
use nom::{IResult, Parser};

/// A message, its header read.
pub(super) struct Message<'a> {
    pub(super) scope: Scope,
    pub(super) clock: Clock,
    /// The parts of a flow that all records share.
    pub(super) base: Flow,
    pub(super) sender: Sender,
    pub(super) senders: &'a Senders,
    pub(super) received: Nanos,
    /// The sets.
    pub(super) body: &'a [u8],
    /// Less has arrived than the header says.
    pub(super) cut: bool,
}

/// What the sets held.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outcome {
    /// Records handed out.
    pub(super) records: u64,
    /// Records as the exporter counts them: a biflow is one.
    pub(super) exported: u32,
    pub(super) sets: u64,
    pub(super) missing_templates: u64,
    losses: Losses,
    /// Records of sets that had waited for a template of this message.
    replayed: u64,
    /// Templates came that were not taken.
    refused: bool,
    /// All templates, and all options templates, were withdrawn: once in a message is enough, and
    /// each time costs a walk through what the exporter has.
    withdrawn: [bool; 2],
}

impl Outcome {
    /// What is told of a whole message.
    pub(super) fn datagram(&self, format: &'static str) -> Datagram {
        Datagram {
            format,
            records: self.records + self.replayed,
            sets: self.sets,
            missing_templates: self.missing_templates,
            replayed: self.replayed,
            losses: self.losses,
            ..Datagram::default()
        }
    }

    /// Whether every record of the message was read, so that their number is known.
    pub(super) fn is_whole(&self) -> bool {
        self.missing_templates == 0 && self.losses.reason().is_none()
    }

    /// Why the message gave nothing, if it did not though there is something in it.
    pub(super) fn error(&self) -> Option<DecodeError> {
        if self.sets > 0 {
            return None;
        }
        if self.missing_templates > 0 {
            return Some(DecodeError::MissingTemplate);
        }
        self.losses.reason().or(self.refused.then_some(DecodeError::Malformed))
    }
}

/// How a template set is spelled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spelling {
    Netflow9,
    Ipfix,
}

/// Template and options template sets of NetFlow v9 (RFC 3954) and of IPFIX (RFC 7011).
const NETFLOW9_TEMPLATES: u16 = 0;
const NETFLOW9_OPTIONS: u16 = 1;
const IPFIX_TEMPLATES: u16 = 2;
const IPFIX_OPTIONS: u16 = 3;
/// The least id of a template, and so of a data set.
const FIRST_TEMPLATE: u16 = 256;
/// A set's id and length, which counts these octets too.
const SET_HEADER: u16 = 4;

/// Reads every set that is whole, and of one that is cut off the records that are.
pub(super) fn decode(templates: &mut Templates, message: &Message<'_>, each: &mut impl Reader) -> Outcome {
    let mut outcome = Outcome::default();
    let mut cut = message.cut;
    let mut rest = message.body;
    while rest.len() >= usize::from(SET_HEADER) {
        let Ok((body, (id, length))) = set_header(rest) else { break };
        let Some(length) = length.checked_sub(SET_HEADER) else {
            // Zeros fill up the datagrams of some exporters; anything else cannot be followed.
            outcome.losses.sets += u32::from(is_more_than_padding(rest));
            rest = &[];
            break;
        };
        let (set, next) = match body.split_at_checked(length.into()) {
            Some(split) => split,
            None => {
                cut = true;
                (body, &[][..])
            }
        };
        rest = next;
        // What is left over at the end of a set that was cut is lost with what is missing.
        let whole = !(cut && rest.is_empty());
        let before = outcome.losses;
        let read = match id {
            NETFLOW9_TEMPLATES => learn(templates, message, set, Spelling::Netflow9, false, &mut outcome),
            NETFLOW9_OPTIONS => learn(templates, message, set, Spelling::Netflow9, true, &mut outcome),
            IPFIX_TEMPLATES => learn(templates, message, set, Spelling::Ipfix, false, &mut outcome),
            IPFIX_OPTIONS => learn(templates, message, set, Spelling::Ipfix, true, &mut outcome),
            FIRST_TEMPLATE.. => read_data(templates, message, id, set, &mut outcome, each),
            // Reserved, or a set of something else.
            _ => {
                outcome.losses.sets += 1;
                false
            }
        };
        if !whole {
            outcome.losses.templates = before.templates;
            outcome.losses.records = before.records;
        }
        outcome.sets += u64::from(read);
    }
    if cut {
        outcome.losses.cut += 1;
    } else {
        outcome.losses.trailing += u32::from(is_more_than_padding(rest));
    }
    if !templates.announced.is_empty() {
        outcome.replayed = replay(templates, message, &mut outcome.losses, each);
    }
    outcome
}

fn set_header(input: &[u8]) -> IResult<&[u8], (u16, u16)> {
    (be_u16, be_u16).parse(input)
}

/// Learns the templates of a set; false if there was none.
fn learn(
    templates: &mut Templates,
    message: &Message<'_>,
    mut set: &[u8],
    spelling: Spelling,
    options: bool,
    outcome: &mut Outcome,
) -> bool {
    let Templates { cache, specs, announced, .. } = templates;
    let traits = Traits { netflow9: spelling == Spelling::Netflow9 && message.base.version == 9, options };
    let mut read = false;
    while let Ok((rest, (id, count))) = set_header(set) {
        if spelling == Spelling::Ipfix && count == 0 {
            let all = matches!(id, IPFIX_TEMPLATES | IPFIX_OPTIONS);
            if (all || id >= FIRST_TEMPLATE) && message.scope.exporter.session == 0 {
                // Anybody could have sent it; templates of datagrams expire instead (section 8.4).
                outcome.losses.withdrawals += 1;
                read = true;
                set = rest;
                continue;
            }
            match id {
                IPFIX_TEMPLATES | IPFIX_OPTIONS => {
                    if let Some(withdrawn) = outcome.withdrawn.get_mut(usize::from(options))
                        && !std::mem::replace(withdrawn, true)
                    {
                        cache.withdraw_all(message.scope, options);
                    }
                }
                FIRST_TEMPLATE.. => cache.withdraw(message.scope, id),
                _ => break,
            }
            read = true;
            set = rest;
            continue;
        }
        // What follows the last template is padding.
        if id < FIRST_TEMPLATE {
            break;
        }
        let Ok((rest, counts)) = template_counts(rest, count, spelling, options) else { break };
        let Ok((rest, whole)) = template_fields(rest, counts, spelling, cache.most_fields(), specs) else {
            break;
        };
        set = rest;
        if whole && cache.learn(message.scope, id, specs, traits, message.received, false) {
            announced.push(id);
            read = true;
            continue;
        }
        outcome.refused = true;
        if !whole {
            cache.refuse(message.scope, id);
        }
    }
    outcome.losses.templates += u32::from(is_more_than_padding(set));
    read
}

/// How many fields a template has, and how many of them are its scope.
#[derive(Clone, Copy)]
struct FieldCounts {
    all: usize,
    scope: usize,
}

/// Reads the counts that an options template has beyond `count`.
fn template_counts(
    input: &[u8],
    count: u16,
    spelling: Spelling,
    options: bool,
) -> IResult<&[u8], FieldCounts> {
    let count = usize::from(count);
    if !options {
        return Ok((input, FieldCounts { all: count, scope: 0 }));
    }
    let (rest, second) = be_u16(input)?;
    let second = usize::from(second);
    let counts = match spelling {
        // Octets of the scope fields, then octets of the others.
        Spelling::Netflow9 => FieldCounts { all: count / 4 + second / 4, scope: count / 4 },
        Spelling::Ipfix => FieldCounts { all: count, scope: second },
    };
    Ok((rest, counts))
}

/// Reads the fields of a template into `specs`; false if they are more than `most`, where the rest
/// is only stepped over.
fn template_fields<'a>(
    mut input: &'a [u8],
    counts: FieldCounts,
    spelling: Spelling,
    most: usize,
    specs: &mut Vec<Spec>,
) -> IResult<&'a [u8], bool> {
    const ENTERPRISE_BIT: u16 = 0x8000;
    specs.clear();
    for at in 0..counts.all {
        let (rest, (number, length)) = (be_u16, be_u16).parse(input)?;
        let named = spelling == Spelling::Ipfix && number & ENTERPRISE_BIT != 0;
        let (rest, enterprise) = if named { be_u32(rest)? } else { (rest, 0) };
        let id = if named { number & !ENTERPRISE_BIT } else { number };
        input = rest;
        if at < most {
            specs.push(Spec { enterprise, id, length, scope: at < counts.scope });
        }
    }
    Ok((input, counts.all <= most))
}

/// Reads the records of a data set; false if there was none. A set whose template is missing waits for it.
fn read_data(
    templates: &mut Templates,
    message: &Message<'_>,
    id: u16,
    set: &[u8],
    outcome: &mut Outcome,
    each: &mut impl Reader,
) -> bool {
    let (clock, base) = (message.clock, message.base);
    let place = Place { scope: message.scope, id, clock, base, replayed: false };
    let read = records(templates, place, message, set, each);
    if let Some(Read { records, exported, whole }) = read {
        outcome.records += records;
        outcome.exported = outcome.exported.wrapping_add(exported);
        outcome.losses.records += u32::from(!whole);
        return exported > 0;
    }
    outcome.missing_templates += 1;
    if !set.is_empty() {
        templates.waiting.keep(Set {
            scope: message.scope,
            id,
            clock: message.clock,
            base: message.base,
            bytes: set.into(),
            received: message.received,
        });
    }
    false
}

/// Reads the sets that waited for what this message has announced; gives the number of their records.
fn replay(
    templates: &mut Templates,
    message: &Message<'_>,
    losses: &mut Losses,
    each: &mut impl Reader,
) -> u64 {
    let now = message.received;
    let mut sum = 0;
    while let Some(id) = templates.announced.pop() {
        let Scope { exporter, domain, .. } = message.scope;
        for Set { scope, id, clock, base, bytes, .. } in templates.waiting.take(&exporter, domain, id, now) {
            // The operator may have named it since.
            let scope = Scope { exporter, ..scope };
            let place = Place { scope, id, clock, base, replayed: true };
            match records(templates, place, message, &bytes, each) {
                Some(Read { records, whole, .. }) => {
                    losses.records += u32::from(!whole);
                    templates.waiting.count_replay(records);
                    sum += records;
                }
                // Another session's, which disagrees with this one. To wait on would let a sender have
                // the same sets looked at for each of its datagrams.
                None => templates.waiting.count_unexplained(),
            }
        }
    }
    sum
}

/// Whose records a set has, and what they share.
#[derive(Clone, Copy)]
struct Place {
    scope: Scope,
    id: u16,
    clock: Clock,
    base: Flow,
    /// They came before their template.
    replayed: bool,
}

/// What a data set held.
#[derive(Clone, Copy)]
struct Read {
    /// Records handed out.
    records: u64,
    /// Records as the exporter counts them.
    exported: u32,
    /// Nothing but padding follows the last of them.
    whole: bool,
}

/// Hands out the records of a data set, which came with some message or before it; none if the template is
/// missing.
fn records(
    templates: &mut Templates,
    Place { scope, id, clock, base, replayed }: Place,
    message: &Message<'_>,
    set: &[u8],
    each: &mut impl Reader,
) -> Option<Read> {
    let Message { sender, senders, received: now, .. } = *message;
    let Templates { cache, others, .. } = templates;
    let Found { template, restored, domain, default_rate, siblings } = cache.find(scope, id, now)?;
    let clock = Clock { boot: domain.own.boot.map(|boot| boot.at), ..clock };
    let options = template.traits().options;
    let base = Flow { state: options, ..base };
    let (mut records, mut exported) = (0, 0u32);
    let shared = super::Set { id, domain, default_rate, restored, replayed, sender, senders, siblings };
    let mut rest = set;
    let mut group = Group::default();
    while let Some((bytes, next)) = split(template, rest) {
        let suspect = group.next(|| suspects(template, rest, each));
        rest = next;
        exported = exported.wrapping_add(1);
        records += 1;
        let detail = |reversed| Detail::Template { template, set: &shared, reversed };
        each.record(Record { bytes, clock: &clock, base: &base, detail: detail(false) }, suspect);
        if template.is_answered(bytes) {
            records += 1;
            each.record(Record { bytes, clock: &clock, base: &base, detail: detail(true) }, suspect);
        }
    }
    // Zeros fill sets up to a multiple of some octets.
    let whole = !is_more_than_padding(rest);
    let (tells, names) = (template.tells(), template.labels());
    if tells || names {
        let (bytes, evicted) = (domain.bytes(), domain.evicted());
        let mut options = set;
        while let Some((record, next)) = split(template, options) {
            options = next;
            if names {
                domain.labels.learn(template, record);
            }
            if !tells {
                continue;
            }
            let told = template.statement(record);
            match told.domain.filter(|domain| *domain != scope.domain) {
                Some(other) if others.last() != Some(&(other, told)) => others.push((other, told)),
                Some(_) => {}
                None => learn_options(domain, &told, sender, now),
            }
        }
        let forgotten = domain.limit();
        let evicted = domain.evicted().saturating_sub(evicted) + forgotten;
        let bytes = (bytes, domain.bytes());
        cache.charge_sampling(scope.exporter, bytes, evicted);
        for (domain, told) in others.drain(..) {
            cache.learn_for(Scope { domain, ..scope }, |domain| learn_options(domain, &told, sender, now));
        }
    }
    Some(Read { records, exported, whole })
}

/// Which records of the group that a set begins with may matter; all, where their addresses do not stand
/// at the same places, or they have names.
fn suspects(template: &Template, set: &[u8], each: &mut impl Reader) -> u64 {
    let (Some(places), Some(length), None) = (template.places(), template.fixed_length(), template.names())
    else {
        return u64::MAX;
    };
    let records = set.chunks_exact(length.get()).take(Group::RECORDS);
    records.enumerate().fold(0, |suspects, (number, record)| {
        let addresses = places.iter().filter_map(|place| place.address(record));
        suspects | u64::from(addresses.fold(false, |any, address| any | each.may_matter(address))) << number
    })
}

/// The record that a set begins with, and the rest of it.
#[inline]
fn split<'a>(template: &Template, set: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    set.split_at_checked(template.length(set)?)
}

/// Takes up what an options record told of a domain. Whom it names counts if its sender may speak for others.
fn learn_options(domain: &mut Domain, told: &Statement, sender: Sender, now: Nanos) {
    let about = told.about.filter(|_| sender.relays);
    if let Some(exporter) = told.exporter.filter(|_| sender.relays) {
        domain.exporter = Some(exporter);
        domain.told = now;
    }
    if let Some(at) = told.boot {
        domain.about(about).boot = Some(Boot { at, restored: false });
        domain.told = now;
    }
    if let Some((scope, value)) = told.rate {
        domain.about(about).sampling.learn(scope, Rate { value, restored: false });
        domain.told = now;
    }
}

//! Structured data (RFC 6313): lists of one element, of records of one template, of several templates.
//!
//! A list is walked on request only, for the event of a hit and for `decode`. Its values become arrays
//! under the name of the list, in their order; which record of the list they belong to is not kept.

use super::cache::Siblings;
use super::template::{Field, Spec, Template, Traits, VARIABLE};

/// The lists, by the abstract data types that RFC 6313 adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    /// Values of one element.
    Basic,
    /// Records of one template.
    SubTemplate,
    /// Records of several templates.
    SubTemplateMulti,
}

/// Lists inside lists that are followed; YAF has three.
const MAX_DEPTH: usize = 5;
/// Values of one record that are told: a message of 64 KiB may state lists of one-octet values.
const MAX_VALUES: usize = 1024;

/// Calls `each` with every value of a list, those of the lists in it too; false if something in it could
/// not be read and the list is worth showing as it is.
pub(super) fn walk(
    kind: List,
    octets: &[u8],
    siblings: Siblings<'_>,
    each: &mut impl FnMut(&Field, &[u8]),
) -> bool {
    let mut room = MAX_VALUES;
    walk_in(kind, octets, siblings, 0, &mut room, each).is_some()
}

fn walk_in<E: FnMut(&Field, &[u8])>(
    kind: List,
    octets: &[u8],
    siblings: Siblings<'_>,
    depth: usize,
    room: &mut usize,
    each: &mut E,
) -> Option<()> {
    if depth >= MAX_DEPTH {
        return None;
    }
    // What the relation of the values is (all of, one of, ordered) stands first.
    let (_semantic, rest) = octets.split_first()?;
    match kind {
        List::Basic => basic(rest, siblings, depth, room, each),
        List::SubTemplate => {
            let (id, rest) = number(rest)?;
            records(siblings.find(id)?, rest, siblings, depth, room, each)
        }
        List::SubTemplateMulti => {
            let mut rest = rest;
            while !rest.is_empty() {
                let (id, after) = number(rest)?;
                let (length, _) = number(after)?;
                // The length counts the id and itself.
                let (part, next) = rest.split_at_checked(usize::from(length).max(4))?;
                rest = next;
                records(siblings.find(id)?, part.get(4..)?, siblings, depth, room, each)?;
            }
            Some(())
        }
    }
}

fn basic<E: FnMut(&Field, &[u8])>(
    input: &[u8],
    siblings: Siblings<'_>,
    depth: usize,
    room: &mut usize,
    each: &mut E,
) -> Option<()> {
    const ENTERPRISE_BIT: u16 = 0x8000;
    let (id, rest) = number(input)?;
    let (length, rest) = number(rest)?;
    let (enterprise, mut rest) = match id & ENTERPRISE_BIT {
        0 => (0, rest),
        _ => {
            let (octets, rest) = rest.split_first_chunk()?;
            (u32::from_be_bytes(*octets), rest)
        }
    };
    let spec = Spec { enterprise, id: id & !ENTERPRISE_BIT, length, scope: false };
    let field = Field::of(spec, Traits { netflow9: false, options: false });
    while !rest.is_empty() {
        let (value, next) = match length {
            VARIABLE => stated(rest)?,
            0 => return None,
            length => rest.split_at_checked(length.into())?,
        };
        rest = next;
        tell(&field, value, siblings, depth, room, each)?;
    }
    Some(())
}

fn records<E: FnMut(&Field, &[u8])>(
    template: &Template,
    input: &[u8],
    siblings: Siblings<'_>,
    depth: usize,
    room: &mut usize,
    each: &mut E,
) -> Option<()> {
    let mut rest = input;
    while !rest.is_empty() {
        // A record has at least one octet.
        let (record, next) = rest.split_at_checked(template.length(rest)?)?;
        rest = next;
        for (field, value) in template.values(record) {
            tell(field, value, siblings, depth, room, each)?;
        }
    }
    Some(())
}

fn tell<E: FnMut(&Field, &[u8])>(
    field: &Field,
    value: &[u8],
    siblings: Siblings<'_>,
    depth: usize,
    room: &mut usize,
    each: &mut E,
) -> Option<()> {
    *room = room.checked_sub(1)?;
    if let Some(kind) = field.list() {
        // An inner list that cannot be read does not lose its neighbours.
        if walk_in(kind, value, siblings, depth + 1, room, each).is_none() {
            each(field, value);
        }
    } else {
        each(field, value);
    }
    Some(())
}

/// A value that states its length, and what follows.
fn stated(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (short, rest) = input.split_first()?;
    if *short < u8::MAX {
        return rest.split_at_checked((*short).into());
    }
    let (length, rest) = number(rest)?;
    rest.split_at_checked(length.into())
}

fn number(input: &[u8]) -> Option<(u16, &[u8])> {
    let (octets, rest) = input.split_first_chunk()?;
    Some((u16::from_be_bytes(*octets), rest))
}

//! The names and URLs in a record, which indicators of domains and URLs may be about.
//!
//! [`Names`] is what a template's plan has for them: the way to the elements that have an ECS name for a
//! URL, a host or an address of mail, and to lists, which may hold such elements. A template without either
//! has none, so that its records cost nothing here.

use super::cache::Siblings;
use super::ecs;
use super::list;
use super::template::{Field, Traits, VARIABLE, extent};
use crate::decode::FieldId;

/// The way to the names of a record.
#[derive(Debug)]
pub(super) struct Names {
    steps: Box<[Step]>,
}

#[derive(Debug)]
struct Step {
    /// Octets from the end of the last step.
    skip: u16,
    length: u16,
    /// What stands there; none for what only has to be stepped over, since its length varies.
    asked: Option<(Field, Asked)>,
}

#[derive(Clone, Copy, Debug)]
enum Asked {
    Name(FieldId),
    List(list::List),
}

impl Names {
    /// The way to the names in records of these fields; none if there are none.
    pub(super) fn of(fields: &[Field], traits: Traits) -> Option<Names> {
        // What an exporter says of itself is no traffic.
        if traits.options {
            return None;
        }
        let mut steps = Vec::new();
        let mut skip = 0u16;
        for field in fields {
            let length = field.spec.length;
            let asked = match field.list() {
                Some(kind) => Some(Asked::List(kind)),
                None => asked(field).map(Asked::Name),
            };
            // One without octets has no name, and a record of one octet may have a thousand of them.
            let asked = asked.filter(|_| length > 0);
            if asked.is_none() && length != VARIABLE {
                // The sum was checked to fit before.
                skip = skip.saturating_add(length);
                continue;
            }
            steps.push(Step { skip, length, asked: asked.map(|asked| (*field, asked)) });
            skip = 0;
        }
        let last = steps.iter().rposition(|step| step.asked.is_some())?;
        steps.truncate(last + 1);
        Some(Names { steps: steps.into() })
    }

    /// The memory it takes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Names>() + size_of_val(&*self.steps)
    }

    /// Calls `each` with what every name of a whole record is, where it begins, and the name.
    pub(super) fn each(
        &self,
        record: &[u8],
        siblings: Siblings<'_>,
        each: &mut impl FnMut(FieldId, u32, &[u8]),
    ) {
        let mut tell = |id, field: &Field, octets: &[u8]| {
            let text = text(field, octets);
            if !text.is_empty() {
                each(spelled(id, text), offset(text, record), text);
            }
        };
        let mut at = 0;
        for Step { skip, length, asked: what } in &self.steps {
            let Some(extent) = extent(record, at + usize::from(*skip), *length) else { return };
            at = extent.end;
            let Some(octets) = record.get(extent) else { return };
            match what {
                Some((field, Asked::Name(id))) => tell(*id, field, octets),
                Some((_, Asked::List(kind))) => {
                    list::walk(*kind, octets, siblings, &mut |field, octets| {
                        if let Some(id) = asked(field) {
                            tell(id, field, octets);
                        }
                    });
                }
                None => {}
            }
        }
    }
}

/// Where a part of a record begins in it.
pub(super) fn offset(part: &[u8], record: &[u8]) -> u32 {
    // A record fits into a datagram.
    (part.as_ptr() as usize).saturating_sub(record.as_ptr() as usize) as u32
}

/// What a field is called, if that is a name that indicators may be about.
fn asked(field: &Field) -> Option<FieldId> {
    let element = field.element.filter(|_| !field.reverse)?;
    ecs::named(element.enterprise, element.id).filter(|id| is_name(*id))
}

/// Whether it names a host, a URL or somebody's mail address.
pub(super) fn is_name(id: FieldId) -> bool {
    matches!(
        id,
        FieldId::UrlOriginal
            | FieldId::UrlFull
            | FieldId::UrlDomain
            | FieldId::UrlPath
            | FieldId::HttpRequestReferrer
            | FieldId::SourceDomain
            | FieldId::DestinationDomain
            | FieldId::DnsQuestionName
            | FieldId::TlsServerName
            | FieldId::EmailFromAddress
            | FieldId::EmailToAddress
    )
}

/// A URL with its scheme is complete.
pub(super) fn spelled(id: FieldId, text: &[u8]) -> FieldId {
    let letters = text.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
    match text.get(letters..) {
        Some([b':', b'/', b'/', ..]) if id == FieldId::UrlOriginal && letters > 0 => FieldId::UrlFull,
        _ => id,
    }
}

/// The text in a field: before the zeros that fill it up, and behind what Cisco puts before it.
pub(super) fn text<'a>(field: &Field, octets: &'a [u8]) -> &'a [u8] {
    const CISCO: u32 = 9;
    /// What NBAR extracts has the application before it, engine and selector, and the number of the field.
    const EXTRACTED: usize = 6;
    let extracted = field.element.is_some_and(|element| element.enterprise == CISCO && element.id == 12235)
        && octets.first().is_some_and(|engine| *engine < b' ');
    let octets = if extracted { octets.get(EXTRACTED..).unwrap_or_default() } else { octets };
    octets.split(|octet| *octet == 0).next().unwrap_or_default()
}

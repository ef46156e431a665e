//! Names that options records give to numbers in flow records: of applications (the application table of
//! NBAR, RFC 6759) and of interfaces (the interface table).
//!
//! Looked up for the events of hits only. An exporter tells a table again and again, so that nothing of it
//! is kept over a restart.

use super::lru::Lru;
use super::template::{Field, Template, unsigned};

/// The names that one observation domain has told.
#[derive(Debug, Default)]
pub(super) struct Labels {
    of: Lru<Labelled, Box<[u8]>>,
    bytes: usize,
}

/// What has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Labelled {
    /// An applicationId: its octets as a number, and how many they are.
    Application(u128, u8),
    /// An index of SNMP.
    Interface(u64),
}

/// Names kept for one domain: NBAR knows 1,500 applications, a chassis has hundreds of interfaces.
const MAX_LABELS: usize = 4096;
/// Octets of a name; what is longer is cut.
const MAX_LABEL: usize = 64;
/// What one costs in memory beside its text, about.
const LABEL_BYTES: usize = 112;

impl Labelled {
    /// An application by its id (RFC 6759, section 4).
    pub(super) fn application(octets: &[u8]) -> Option<Labelled> {
        // An engine's number, and a selector; some put the enterprise between them, and are nine octets long.
        let octets = Some(octets).filter(|octets| (1..=size_of::<u128>()).contains(&octets.len()))?;
        let number = octets.iter().fold(0, |number, octet| number << 8 | u128::from(*octet));
        Some(Labelled::Application(number, octets.len() as u8))
    }
}

/// Whether records of an options template with these fields tell names.
pub(super) fn tell_names(fields: &[Field]) -> bool {
    let mut elements = fields.iter().filter_map(|field| field.element);
    elements.any(|element| element.enterprise == 0 && matches!(element.id, 82 | 83 | 94 | 96))
}

impl Labels {
    /// Takes a name out of an options record, if it tells one.
    pub(super) fn learn(&mut self, template: &Template, record: &[u8]) {
        let (mut application, mut interface) = (None, None);
        let (mut application_name, mut interface_name) = (None, None);
        for (field, octets) in template.values(record) {
            let Some(element) = field.element.filter(|element| element.enterprise == 0) else { continue };
            // The names come before the descriptions, whatever their order.
            match element.id {
                95 => application = Labelled::application(octets),
                96 => application_name = text(octets).or(application_name),
                94 => application_name = application_name.or(text(octets)),
                10 | 14 => interface = interface.or(unsigned(octets).map(Labelled::Interface)),
                82 => interface_name = text(octets).or(interface_name),
                83 => interface_name = interface_name.or(text(octets)),
                _ => {}
            }
        }
        for (what, name) in [(application, application_name), (interface, interface_name)] {
            if let (Some(what), Some(name)) = (what, name) {
                self.put(what, name);
            }
        }
    }

    fn put(&mut self, what: Labelled, name: &[u8]) {
        let name = name.get(..MAX_LABEL).unwrap_or(name);
        if let Some(known) = self.of.touch(&what)
            && **known == *name
        {
            return;
        }
        if self.of.peek(&what).is_none()
            && self.of.len() >= MAX_LABELS
            && let Some((_, old)) = self.of.pop_oldest()
        {
            self.bytes -= LABEL_BYTES + old.len();
        }
        self.bytes += LABEL_BYTES + name.len();
        if let Some(old) = self.of.insert(what, name.into()) {
            self.bytes -= LABEL_BYTES + old.len();
        }
    }

    /// The name of something, if the exporter has told it.
    pub(super) fn find(&self, what: Labelled) -> Option<&[u8]> {
        self.of.peek(&what).map(|name| &**name)
    }

    /// The memory held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// The text of a field that may be filled up with zeros or blanks.
fn text(octets: &[u8]) -> Option<&[u8]> {
    let text = octets.split(|octet| *octet == 0).next()?.trim_ascii();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded() {
        let mut labels = Labels::default();
        for number in 0..MAX_LABELS as u64 + 10 {
            labels.put(Labelled::Interface(number), &[b'x'; 200]);
        }
        assert_eq!(labels.bytes(), MAX_LABELS * (LABEL_BYTES + MAX_LABEL));
        assert_eq!(labels.find(Labelled::Interface(9)), None, "told longest ago");
        assert_eq!(labels.find(Labelled::Interface(10)).map(<[u8]>::len), Some(MAX_LABEL));
        labels.put(Labelled::Interface(10), b"eth0");
        assert_eq!(labels.find(Labelled::Interface(10)), Some(&b"eth0"[..]), "renamed");
        assert_eq!(labels.bytes(), MAX_LABELS * (LABEL_BYTES + MAX_LABEL) - MAX_LABEL + 4);
        assert_eq!(Labelled::application(&[3, 0, 0, 80]), Some(Labelled::Application(0x0300_0050, 4)));
        assert!(Labelled::application(&[20, 0, 0, 0x30, 0x44, 0, 0, 0x3c, 0x16]).is_some());
        assert_eq!(Labelled::application(&[0; 17]), None);
        assert_eq!(Labelled::application(&[]), None);
    }
}

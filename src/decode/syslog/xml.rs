//! XML bodies: Windows events, audit records of vaults and databases.
//!
//! Elements become pairs: the name is that of the element, or of its attribute `Name` (`<Data
//! Name="IpAddress">`); attributes are pairs too. A body cut short gives what stands before the cut.

use super::vocabulary::{Form, Names, Text};
use super::{NAME_MAX, PAIRS_MAX, copied_max};
use crate::decode::{FieldId, Fields, Group, charset};
use quick_xml::Reader;
use quick_xml::escape::unescape;
use quick_xml::events::{BytesStart, Event};
use std::borrow::Cow;

/// Decodes a text that begins with an element, or has one behind a few words.
pub(super) fn decode<'a>(text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) -> bool {
    let Some(start) = memchr::memchr(b'<', text.get(..LEAD_MAX.min(text.len())).unwrap_or_default()) else {
        return false;
    };
    let Some(body) = text.get(start..) else { return false };
    if !matches!(body, [b'<', b'A'..=b'Z' | b'a'..=b'z' | b'?', ..]) {
        return false;
    }
    let pairs = pairs(&charset::text(body), copied_max(names.message));
    if pairs.len() < 2 {
        return false;
    }
    for (key, value) in pairs {
        pair(key, value, names, out);
    }
    true
}

/// Words in front of the first element: a counter, the name of the channel.
const LEAD_MAX: usize = 64;

/// The leaves as pairs; their names and values have so many bytes together at most.
fn pairs(text: &str, budget: usize) -> Vec<(String, String)> {
    let mut reader = Reader::from_str(text);
    let config = reader.config_mut();
    config.check_end_names = false;
    config.allow_unmatched_ends = true;
    let mut found = Pairs { pairs: Vec::new(), budget };
    // The name of the innermost element whose text is being read.
    let mut open: Option<String> = None;
    let mut said = String::new();
    while !found.is_full() {
        match reader.read_event() {
            Ok(Event::Start(element)) => {
                open = Some(attributes(&element, &mut found));
                said.clear();
            }
            Ok(Event::Empty(element)) => {
                attributes(&element, &mut found);
            }
            Ok(Event::Text(text)) => said.push_str(&text.decode().unwrap_or_default()),
            Ok(Event::CData(text)) => said.push_str(&text.decode().unwrap_or_default()),
            Ok(Event::GeneralRef(reference)) => {
                let name = reference.decode().unwrap_or_default();
                let known = match reference.resolve_char_ref() {
                    Ok(Some(character)) => Some(character),
                    _ => predefined(&name),
                };
                match known {
                    Some(character) => said.push(character),
                    None => said.extend(["&", &name, ";"]),
                }
            }
            Ok(Event::End(_)) => {
                let text = said.trim();
                if let Some(name) = open.take().filter(|_| !text.is_empty()) {
                    found.push(name, text.to_owned());
                }
                said.clear();
            }
            Ok(Event::Eof) | Err(_) => break,
            Ok(_) => {}
        }
    }
    found.pairs
}

/// Pairs in the order read. The name of an element is copied to each of its attributes, so that bytes are
/// counted beside the pairs.
struct Pairs {
    pairs: Vec<(String, String)>,
    /// Bytes that may still be copied.
    budget: usize,
}

impl Pairs {
    fn is_full(&self) -> bool {
        self.pairs.len() >= PAIRS_MAX || self.budget == 0
    }

    fn push(&mut self, key: String, value: String) {
        if self.is_full() || key.len() > NAME_MAX {
            return;
        }
        match self.budget.checked_sub(key.len() + value.len()) {
            Some(left) => {
                self.budget = left;
                self.pairs.push((key, value));
            }
            None => self.budget = 0,
        }
    }
}

/// The entities that need no declaration.
fn predefined(name: &str) -> Option<char> {
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => return None,
    })
}

/// Collects the attributes of an element; gives the name of its text.
fn attributes(element: &BytesStart<'_>, found: &mut Pairs) -> String {
    let own = String::from_utf8_lossy(element.local_name().as_ref()).into_owned();
    let mut named = None;
    for attribute in element.attributes().with_checks(false).flatten().take(PAIRS_MAX) {
        let key = String::from_utf8_lossy(attribute.key.local_name().as_ref()).into_owned();
        let written = String::from_utf8_lossy(&attribute.value);
        // What names an entity that nobody declared stays as it is.
        let value = unescape(&written).map(Cow::into_owned).unwrap_or_else(|_| written.to_string());
        if attribute.key.as_ref().starts_with(b"xmlns") || value.is_empty() {
            continue;
        }
        if key.eq_ignore_ascii_case("name") && own.eq_ignore_ascii_case("data") {
            named = Some(value);
        } else if !found.is_full() && own.len() + 1 + key.len() <= NAME_MAX {
            found.push(format!("{own}.{key}"), value);
        }
    }
    named.unwrap_or(own)
}

/// What Windows calls its values, else what everybody does.
fn pair(key: String, value: String, names: &mut Names<'_>, out: &mut Fields) {
    let own = match key.as_str() {
        "TimeCreated.SystemTime" => Some((FieldId::Timestamp, Form::Stamp)),
        "Provider.Name" => Some((FieldId::EventProvider, Form::Word)),
        "Execution.ProcessID" | "Execution.ThreadID" | "Correlation.ActivityID" | "EventRecordID" => {
            return kept(key, value, names, out);
        }
        "EventID" => Some((FieldId::EventCode, Form::Word)),
        "Computer" => Some((FieldId::HostName, Form::Name)),
        _ => None,
    };
    let text: Text<'static> = Cow::Owned(value.into_bytes());
    let name: Text<'static> = Cow::Owned(key.into_bytes());
    match own {
        Some((field, form)) if names.put(out, Some(Group::Kv), field, form, &name, &text) => {}
        _ => names.pair(out, Group::Kv, &name, &text),
    }
}

fn kept(key: String, value: String, names: &mut Names<'_>, out: &mut Fields) {
    names.keep(out, Group::Kv, &Cow::Owned(key.into_bytes()), &Cow::Owned(value.into_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_pairs() {
        for (name, text, expected) in [
            (
                "windows",
                "<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System><Provider Name='P'/><EventID>4624</EventID>\
                 </System><EventData><Data Name='IpAddress'>10.0.0.1</Data><Data Name='X'>a &amp; b&#33;</Data></EventData></Event>",
                vec![("Provider.Name", "P"), ("EventID", "4624"), ("IpAddress", "10.0.0.1"), ("X", "a & b!")],
            ),
            ("cut short", "<a><b>1</b><c>2</c><d>3", vec![("b", "1"), ("c", "2")]),
            ("never closed", "<a><b>1<c>2</c></x>", vec![("c", "2")]),
            ("unknown entity", "<a>x&y;z</a><b>1</b>", vec![("a", "x&y;z"), ("b", "1")]),
            (
                "escaped attributes",
                "<a b='x&amp;y &lt;z&gt; &quot;q&quot;' c='&what;'/><d e='&#33;'/>",
                vec![("a.b", "x&y <z> \"q\""), ("a.c", "&what;"), ("d.e", "!")],
            ),
            ("no element", "a < b", vec![]),
        ] {
            let found = pairs(text, usize::MAX);
            let found: Vec<_> = found.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            assert_eq!(found, expected, "{name}");
        }
    }
}

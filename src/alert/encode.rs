//! The encodings of an alert: one line each.

use super::{Alert, cef};

/// How an output writes alerts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// ECS JSON.
    #[default]
    Ecs,
    /// ArcSight Common Event Format.
    Cef,
}

impl Encoding {
    /// Every encoding.
    pub const ALL: [Encoding; 2] = [Encoding::Ecs, Encoding::Cef];

    /// The name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Encoding::Ecs => "ecs",
            Encoding::Cef => "cef",
        }
    }

    /// The encoding of a name in the configuration.
    pub fn from_name(name: &str) -> Option<Encoding> {
        Encoding::ALL.into_iter().find(|encoding| encoding.name() == name)
    }

    /// The bytes with which every line of this encoding begins.
    pub fn prefix(self) -> &'static [u8] {
        match self {
            Encoding::Ecs => b"{",
            Encoding::Cef => b"CEF:0|Roje|",
        }
    }

    /// Appends the alert as one line without the line's end; no control character is in it.
    pub fn encode(self, alert: &Alert, out: &mut Vec<u8>) {
        match self {
            Encoding::Ecs => escape_json(&alert.to_line(), out),
            Encoding::Cef => out.extend_from_slice(cef::cef(alert).as_bytes()),
        }
    }
}

/// Appends a text of JSON with what commands a terminal escaped: JSON allows DEL, the C1 controls and
/// direction marks as they are.
pub fn escape_json(line: &[u8], out: &mut Vec<u8>) {
    let Ok(text) = std::str::from_utf8(line) else { return };
    let mut done = 0;
    for (at, character) in text.char_indices() {
        if !character.is_ascii_graphic() && character != ' ' && commands_terminal(character) {
            out.extend_from_slice(text.get(done..at).unwrap_or_default().as_bytes());
            // All of them lie in the basic plane, so one escape is enough.
            out.extend_from_slice(format!("\\u{:04x}", u32::from(character)).as_bytes());
            done = at + character.len_utf8();
        }
    }
    out.extend_from_slice(text.get(done..).unwrap_or_default().as_bytes());
}

/// Whether a terminal or a reader could be deceived by it: controls and direction overrides.
pub fn commands_terminal(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{2069}'
                | '\u{061c}'
                | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::compose::tests::sample;

    #[test]
    fn a_line_of_json_holds_no_control_character_and_means_the_same() {
        let mut alert = sample();
        let message = "a\u{1b}[31m \u{7f} \u{9b}2J \u{202e} ë \n \\u0041 \"";
        alert.event.insert("message".to_owned(), message.into());
        let mut line = Vec::new();
        Encoding::Ecs.encode(&alert, &mut line);
        let text = std::str::from_utf8(&line).unwrap();
        assert!(!text.chars().any(commands_terminal), "{text}");
        assert!(text.contains('ë'));
        assert_eq!(Alert::from_line(&line).unwrap(), alert);
    }

    #[test]
    fn every_line_begins_with_its_prefix() {
        for encoding in [Encoding::Ecs, Encoding::Cef] {
            let mut line = Vec::new();
            encoding.encode(&sample(), &mut line);
            assert!(line.starts_with(encoding.prefix()));
            assert_eq!(Encoding::from_name(encoding.name()), Some(encoding));
        }
    }
}

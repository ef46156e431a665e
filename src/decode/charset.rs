//! The letters that bytes stand for, for people to read.
//!
//! Matching is done on bytes. What is written out is UTF-8 where the bytes are; else the code page of
//! Windows that makes words of them, 1252 (which holds the letters of Latin-1) or 1250; else UTF-8
//! with marks in place of what is none.

use encoding_rs::{Encoding, WINDOWS_1250, WINDOWS_1252};
use std::borrow::Cow;

/// How the letters of a message are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charset {
    /// UTF-8, or what can be read as nothing else.
    Utf8,
    /// Windows-1252: Western Europe; Albanian is the same in both. Latin-1 has the same letters.
    Windows1252,
    /// Windows-1250: Central Europe and the Latin letters of the Balkans.
    Windows1250,
}

impl Charset {
    /// Tells how the bytes are written, from all of a message rather than from a part of it.
    pub fn of(bytes: &[u8]) -> Charset {
        match std::str::from_utf8(bytes) {
            Ok(_) => Charset::Utf8,
            Err(error) => single_byte(bytes, error.valid_up_to()),
        }
    }

    /// The text of bytes of such a message. What is UTF-8 all the same stays so: a message may have been
    /// put together from several.
    pub fn text(self, bytes: &[u8]) -> Cow<'_, str> {
        let page: &'static Encoding = match self {
            Charset::Utf8 => return String::from_utf8_lossy(bytes),
            Charset::Windows1252 => WINDOWS_1252,
            Charset::Windows1250 => WINDOWS_1250,
        };
        match std::str::from_utf8(bytes) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => page.decode_without_bom_handling(bytes).0,
        }
    }
}

/// The text of bytes that stand for themselves.
pub fn text(bytes: &[u8]) -> Cow<'_, str> {
    Charset::of(bytes).text(bytes)
}

/// Of bytes that are not UTF-8: whether they are words of a code page, and of which.
fn single_byte(bytes: &[u8], from: usize) -> Charset {
    // A sequence of UTF-8 among them is no accident: the rest was cut or is damaged.
    if bytes.utf8_chunks().any(|chunk| !chunk.valid().is_ascii()) {
        return Charset::Utf8;
    }
    let (mut high, mut in_words, mut balance) = (0usize, 0usize, 0i32);
    for (at, &byte) in bytes.iter().enumerate().skip(from) {
        if byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r') {
            return Charset::Utf8;
        }
        if byte < 0x80 {
            continue;
        }
        high += 1;
        let before = at.checked_sub(1).and_then(|before| bytes.get(before)).copied().unwrap_or(b' ');
        let after = bytes.get(at + 1).copied().unwrap_or(b' ');
        in_words += usize::from(before.is_ascii_alphabetic() || after.is_ascii_alphabetic());
        balance += evidence(before, byte, after);
    }
    // Words have letters of ASCII beside most of theirs; Cyrillic and Greek pages, and noise, have not.
    if high * 3 > bytes.len() || in_words * 4 < high * 3 {
        return Charset::Utf8;
    }
    if balance > 0 { Charset::Windows1250 } else { Charset::Windows1252 }
}

/// What a letter says for Windows-1250 (positive) or for 1252, between its neighbours. Letters that
/// both pages have in the same place, as all of Albanian, say nothing.
fn evidence(before: u8, byte: u8, after: u8) -> i32 {
    let letter = |byte: u8| byte.is_ascii_alphabetic() || byte >= 0xc0;
    // Those of ASCII, and those with marks that both pages have.
    let vowel = |byte: u8| {
        b"aeiouyAEIOUY".contains(&byte)
            || matches!(
                byte,
                0xe1 | 0xe2 | 0xe4 | 0xe9 | 0xeb | 0xed | 0xee | 0xf3 | 0xf4 | 0xf6 | 0xfa | 0xfc | 0xfd
            )
    };
    let inside = letter(before) || letter(after);
    match byte {
        // Š and ž are in both, but in few languages of the west.
        0x8a | 0x8e | 0x9a | 0x9e => 1,
        // Letters there, signs here: ś ź ť Ś Ť Ź, ł ą ş ľ ż, Ł Ą Ş Ż Ľ.
        0x8c | 0x8d | 0x8f | 0x9c | 0x9d | 0x9f | 0xa3 | 0xa5 | 0xaa | 0xaf | 0xb3 | 0xb9 | 0xba | 0xbc
        | 0xbe | 0xbf
            if inside =>
        {
            2
        }
        // Consonants there, vowels here (č ć ř ň ď ŕ ĺ; è æ ø ò ï à å): a syllable has one of each.
        0xc0 | 0xc5 | 0xc6 | 0xc8 | 0xcf | 0xd2 | 0xd8 | 0xe0 | 0xe5 | 0xe6 | 0xe8 | 0xef | 0xf2 | 0xf8 => {
            match (letter(before), vowel(before), letter(after), vowel(after)) {
                (_, _, true, true) => 2,
                (_, true, false, _) => 2,
                (false, ..) => -1,
                (true, false, _, false) => -3,
                (true, true, true, false) => 1,
                _ => 0,
            }
        }
        // đ Đ: ð and Ð are letters of Iceland alone.
        0xd0 | 0xf0 => 2,
        // ñ õ ã ê ù û against ń ő ă ę ů ű; the former are the more frequent.
        0xc3 | 0xca | 0xd1 | 0xd5 | 0xd9 | 0xdb | 0xe3 | 0xea | 0xf1 | 0xf5 | 0xf9 | 0xfb => -1,
        // ě against ì, which ends words.
        0xcc | 0xec => {
            if letter(after) {
                2
            } else {
                -2
            }
        }
        0xde | 0xfe => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn told_apart() {
        for (name, page, words) in [
            ("albanian", Charset::Windows1252, "vjedhës çelësash në Shqipëri"),
            ("french", Charset::Windows1252, "le père a été très fâché à l'hôtel"),
            ("french, one letter", Charset::Windows1252, "échec de la première connexion, problème"),
            ("german", Charset::Windows1252, "Größe überschritten, Zugriff für Benutzer"),
            ("spanish", Charset::Windows1252, "contraseña inválida, sesión cerrada"),
            ("italian", Charset::Windows1252, "perché la città è così, però più"),
            ("danish", Charset::Windows1252, "rød grød med fløde, æble på bordet"),
            ("croatian", Charset::Windows1250, "korisnik Marković se prijavio, šifra pogrešna, ključ"),
            ("serbian", Charset::Windows1250, "Đorđe Petrović nije uspešno prijavljen"),
            ("slovene", Charset::Windows1250, "uporabnik čaka na ključ, začetek"),
            ("czech", Charset::Windows1250, "příkaz selhal, chyba při čtení, měsíc"),
            ("polish", Charset::Windows1250, "użytkownik został wylogowany, błąd połączenia"),
            ("hungarian", Charset::Windows1252, "hibás jelszó, felhasználó"),
        ] {
            let encoding = if page == Charset::Windows1250 { WINDOWS_1250 } else { WINDOWS_1252 };
            let (bytes, _, unmappable) = encoding.encode(words);
            assert!(!unmappable, "{name}");
            let message = [b"<13>Nov 21 13:00:05 host app: ".as_slice(), &bytes].concat();
            assert_eq!(Charset::of(&message), page, "{name}");
            assert!(text(&message).ends_with(words), "{name}: {}", text(&message));
        }
    }

    #[test]
    fn what_is_no_text_stays_marked() {
        for (name, bytes) in [
            ("utf-8", "vjedhës".as_bytes()),
            ("utf-8 cut short", &"app: vjedhës çelësash në".as_bytes()[..24]),
            ("noise", b"ab\xff\xfe\x80\x81\x90\xc0\xc1\xf5 x"),
            ("control characters", b"caf\xe9 \x00\x01"),
            ("cyrillic page", b"\xcf\xf0\xe8\xe2\xe5\xf2 \xec\xe8\xf0"),
        ] {
            assert_eq!(Charset::of(bytes), Charset::Utf8, "{name}");
            assert_eq!(text(bytes), String::from_utf8_lossy(bytes), "{name}");
        }
    }
}

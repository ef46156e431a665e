//! Bulk lists, streamed: one value a line, a column of a CSV file, a hosts file, JSON objects, free text.
//!
//! Blank lines and lines that begin with `#` are skipped. A [`Layout`] says where in a line the values
//! stand; [`Layout::resolve`] finds a column by its name, in the header row or in the comment above the
//! rows where abuse.ch writes it. Quoted CSV fields end on their line.
//!
//! A file is read once, by a [`Reader`], in [`Piece`]s of whole lines that know their number, so that
//! any thread may work on them in any order.

use super::json::Json;
use super::plain;
use crate::detect::indicator::Kind;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

/// A longer line is no indicator; it is refused and skipped without being kept.
const LONGEST_LINE: usize = 64 * 1024;

/// One read; large enough that neither system calls nor handing it to a thread count, small enough
/// to stay in a cache.
const PIECE: usize = 256 * 1024;

/// Where the values of a list stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Each line is one value, commas included.
    Lines,
    /// One column of a CSV file.
    Csv {
        /// Which.
        column: Column,
        /// What stands between columns.
        separator: u8,
    },
    /// An address and names that it stands for: the names are the values.
    Hosts,
    /// A JSON object a line.
    Json {
        /// The key of the value, through the objects that it stands in.
        path: Vec<String>,
    },
    /// Free text that names values of the type.
    Free(Kind),
}

/// A column of a CSV file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Column {
    /// By its number, from 1.
    Number(u32),
    /// By its name.
    Name(String),
}

/// Names stand at the beginning, behind comments.
const HEAD: u64 = 64 * 1024;

impl Layout {
    /// Finds what the head of a file tells: the number of a named column and the line that names it, or
    /// else the first row, which may be a header. The error lists the names that there are.
    pub fn resolve(&self, file: impl Read) -> io::Result<Result<(Layout, Header), Vec<String>>> {
        let mut head = Vec::new();
        file.take(HEAD).read_to_end(&mut head)?;
        let head = String::from_utf8_lossy(head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&head)).into_owned();
        let numbered = || head.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
        let first = numbered().find(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let first_row = first.map_or(0, |(line, _)| line);
        let Layout::Csv { column: Column::Name(name), separator } = self else {
            return Ok(Ok((self.clone(), Header { first_row, named: false })));
        };
        let mut known = Vec::new();
        for (line, text) in numbered().take_while(|(line, _)| first_row == 0 || *line <= first_row) {
            let row = text.trim_start_matches(['#', ';', '/']).trim();
            let names = fields(row, *separator);
            if let Some(index) = names.iter().position(|known| known.eq_ignore_ascii_case(name)) {
                let column = Column::Number(u32::try_from(index + 1).unwrap_or(u32::MAX));
                let layout = Layout::Csv { column, separator: *separator };
                return Ok(Ok((layout, Header { first_row, named: line == first_row })));
            }
            if names.len() > 1 || line == first_row {
                known = names;
            }
        }
        Ok(Err(known))
    }
}

/// What is known of the head of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The first line that is no comment; 0 if there is none.
    pub first_row: usize,
    /// It names the columns.
    pub named: bool,
}

impl Header {
    /// Is a row that holds no value of its type the names of columns?
    pub fn is_names(&self, row: &ListRow<'_>) -> bool {
        let word = row.value.as_deref().unwrap_or_default();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_- ".contains(&byte);
        row.line == self.first_row
            && (self.named
                || !word.is_empty()
                    && word.bytes().all(plain)
                    && !word.bytes().all(|byte| byte.is_ascii_hexdigit()))
    }
}

/// The fields of a CSV line.
pub fn fields(line: &str, separator: u8) -> Vec<String> {
    /// A line of separators would be a list of empty names.
    const MOST: u32 = 1024;
    let field = |column| field(line, column, separator).1.map(Cow::into_owned).ok();
    (1..=MOST).map_while(field).collect()
}

/// One row of a list.
#[derive(Debug)]
pub struct ListRow<'a> {
    /// Line, from 1.
    pub line: usize,
    /// Byte of the file where the line begins.
    pub offset: usize,
    /// The line, without its break; empty if it is not text.
    pub text: &'a str,
    /// Where in the line the value stands.
    pub span: Range<usize>,
    /// The value, or why there is none.
    pub value: Result<Cow<'a, str>, &'static str>,
}

impl ListRow<'_> {
    /// Column in characters, from 1.
    pub fn column(&self) -> usize {
        self.text.get(..self.span.start).map_or(1, |before| before.chars().count() + 1)
    }
}

/// Where the list of a set lies. It must lie inside the rules tree: a set from elsewhere must not
/// be able to name files of this machine.
pub fn resolve(set: &Path, tree: &Path, file: &str) -> Result<PathBuf, &'static str> {
    let named = Path::new(file);
    if named.components().any(|part| matches!(part, Component::RootDir | Component::Prefix(_))) {
        return Err("an absolute path; bulk files are relative to the set");
    }
    let path = set.parent().unwrap_or(Path::new("")).join(named);
    let mut depth = 0_i32;
    let above = set.parent().and_then(|parent| parent.strip_prefix(tree).ok());
    depth += above.map_or(0, |path| i32::try_from(path.components().count()).unwrap_or(i32::MAX / 2));
    for part in named.components() {
        match part {
            Component::ParentDir => depth -= 1,
            Component::Normal(_) => depth = depth.saturating_add(1),
            _ => {}
        }
        if depth < 0 {
            return Err("outside of the rules tree");
        }
    }
    let real = path.canonicalize().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "no such file",
        io::ErrorKind::PermissionDenied => "permission denied",
        _ => "cannot be read",
    })?;
    let inside = tree.canonicalize().is_ok_and(|tree| real.starts_with(tree));
    if !inside {
        return Err("outside of the rules tree");
    }
    // A pipe or a device would block the loading for ever.
    if !real.is_file() {
        return Err("not a regular file");
    }
    Ok(path)
}

/// Digest of a file.
pub fn digest(path: &Path) -> io::Result<[u8; 32]> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; PIECE];
    loop {
        match uninterrupted(&mut file, &mut buffer)? {
            0 => return Ok(hasher.finalize().into()),
            read => hasher.update(buffer.get(..read).unwrap_or_default()),
        }
    }
}

/// Cuts a list into pieces.
pub struct Reader<R> {
    file: R,
    /// The line that the last piece left unfinished.
    rest: Vec<u8>,
    /// Bytes before the next piece.
    offset: usize,
    /// Lines before the next piece.
    lines: usize,
    /// Inside a line that was refused for its length.
    overlong: bool,
    ended: bool,
}

/// Some lines of a list.
#[derive(Debug, Default)]
pub struct Piece {
    /// Everything read, refused lines too.
    bytes: Vec<u8>,
    /// The lines to read; before it stands the end of a line that was refused, behind it the
    /// beginning of another.
    lines: Range<usize>,
    /// Bytes of the file before the piece.
    offset: usize,
    /// Number of the first line to read, from 1.
    first: usize,
    /// A line that is too long begins behind the lines.
    overlong: bool,
}

impl<R: Read> Reader<R> {
    /// A reader at the beginning of a list.
    pub fn new(file: R) -> Reader<R> {
        Reader { file, rest: Vec::new(), offset: 0, lines: 0, overlong: false, ended: false }
    }

    /// The next piece, in the memory of one that is done with; false at the end.
    pub fn read(&mut self, piece: &mut Piece) -> io::Result<bool> {
        let Piece { bytes, .. } = piece;
        bytes.clear();
        bytes.reserve(PIECE);
        bytes.append(&mut self.rest);
        let wanted = PIECE - bytes.len().min(PIECE);
        let read = self.file.by_ref().take(wanted as u64).read_to_end(bytes)?;
        self.ended = read < wanted;
        let newline = memchr::memchr(b'\n', bytes);
        let begin = match (self.overlong, newline) {
            (false, _) => 0,
            (true, Some(newline)) => newline + 1,
            (true, None) => bytes.len(),
        };
        let mut end = match memchr::memrchr(b'\n', bytes) {
            _ if self.ended => bytes.len(),
            Some(newline) => newline + 1,
            None => begin,
        };
        piece.overlong = false;
        if begin < bytes.len() && bytes.len() - end > LONGEST_LINE {
            (self.overlong, piece.overlong) = (true, true);
        } else if begin < bytes.len() || newline.is_some() {
            self.overlong = false;
            self.rest.extend_from_slice(bytes.get(end..).unwrap_or_default());
            bytes.truncate(end);
        }
        end = end.min(bytes.len());
        piece.lines = begin.min(end)..end;
        piece.offset = self.offset;
        piece.first = self.lines + 1 + usize::from(begin > 0 && newline.is_some());
        self.offset += bytes.len();
        self.lines += memchr::memchr_iter(b'\n', bytes).count();
        Ok(!bytes.is_empty())
    }
}

impl Piece {
    /// Everything read, for the digest.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Calls `each` for every row.
    pub fn rows(&self, layout: &Layout, each: &mut impl FnMut(ListRow<'_>)) {
        let mut at = self.lines.start;
        let mut line = self.first;
        while at < self.lines.end {
            let rest = self.bytes.get(at..self.lines.end).unwrap_or_default();
            let length = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            rows_of(rest.get(..length).unwrap_or_default(), layout, line, self.offset + at, each);
            at += length + 1;
            line += 1;
        }
        if self.overlong {
            let offset = self.offset + self.lines.end;
            each(ListRow { line, offset, text: "", span: 0..0, value: Err("line too long") });
        }
    }
}

/// Reads once; a signal is no error.
fn uninterrupted(file: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read(into) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Calls `each` for every row of a line; a line has one, but for hosts files and free text.
fn rows_of(bytes: &[u8], layout: &Layout, line: usize, offset: usize, each: &mut impl FnMut(ListRow<'_>)) {
    let refused = |reason| ListRow { line, offset, text: "", span: 0..0, value: Err(reason) };
    if bytes.len() > LONGEST_LINE {
        return each(refused("line too long"));
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return each(refused("not UTF-8")) };
    let text = text.strip_suffix('\r').unwrap_or(text);
    // Editors begin files with a byte order mark.
    let skipped = if line == 1 && text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let content = text.get(skipped..).unwrap_or_default();
    let trimmed = trim(content);
    if trimmed.is_empty() || trimmed.starts_with('#') {
        return;
    }
    let nul = memchr::memchr(0, bytes).is_some();
    let mut give = |span: Range<usize>, value| {
        let value = if nul { Err("NUL byte in a text file") } else { value };
        each(ListRow { line, offset, text, span, value });
    };
    match layout {
        Layout::Lines => {
            let start = skipped + content.len() - trim_start(content).len();
            give(start..start + trimmed.len(), Ok(Cow::Borrowed(trimmed)));
        }
        Layout::Csv { column: Column::Number(column), separator } => {
            let (span, value) = field(content, *column, *separator);
            give(span.start + skipped..span.end + skipped, value);
        }
        Layout::Csv { .. } => give(skipped..text.len(), Err("the file does not name the column")),
        Layout::Hosts => hosts(content, &mut |at, name| {
            give(skipped + at..skipped + at + name.len(), Ok(Cow::Borrowed(name)));
        }),
        Layout::Json { path } => match member(content, path) {
            Ok((span, value)) => give(span.start + skipped..span.end + skipped, Ok(value)),
            Err(reason) => give(skipped..text.len(), Err(reason)),
        },
        Layout::Free(kind) => plain::values(content, &mut |found| {
            if found.kind == *kind {
                let span = found.span.start + skipped..found.span.end + skipped;
                give(span, Ok(Cow::Borrowed(found.text)));
            }
        }),
    }
}

/// The names of a line of a hosts file, but for those that every such file has for the machine itself.
fn hosts<'a>(line: &'a str, each: &mut impl FnMut(usize, &'a str)) {
    let line = line.split('#').next().unwrap_or_default();
    let mut words = line.split_ascii_whitespace();
    let address = words.next().unwrap_or_default();
    let alone = address.parse::<std::net::IpAddr>().is_err();
    for name in std::iter::once(address).filter(|_| alone).chain(words) {
        if name.contains('.') && name != "localhost.localdomain" && name.parse::<std::net::IpAddr>().is_err()
        {
            each(name.as_ptr() as usize - line.as_ptr() as usize, name);
        }
    }
}

/// A member of a JSON object, and where it stands.
fn member<'a>(line: &'a str, path: &[String]) -> Result<(Range<usize>, Cow<'a, str>), &'static str> {
    let mut json = Json::new(line);
    for name in path {
        let mut found = None;
        let read = json.clone().object(|key, json| {
            if key.text == name.as_str() {
                found = Some(json.place());
            }
            Ok(())
        });
        match (read, found) {
            (Err(_) | Ok(false), _) => return Err("not a JSON object"),
            (_, None) => return Err("the object has no such key"),
            (_, Some(place)) => json = Json::at(line, place),
        }
    }
    match json.text() {
        Ok(Some(text)) => Ok((text.span, text.text)),
        _ => Err("the key holds no text"),
    }
}

/// Nearly every text has no space around it, which its first and last byte tell.
fn trim(text: &str) -> &str {
    match text.as_bytes() {
        [0x21..=0x7e] | [0x21..=0x7e, .., 0x21..=0x7e] => text,
        _ => text.trim(),
    }
}

fn trim_start(text: &str) -> &str {
    match text.as_bytes() {
        [0x21..=0x7e, ..] => text,
        _ => text.trim_start(),
    }
}

/// One field of a CSV line, RFC 4180, spaces around it dropped.
fn field(line: &str, column: u32, separator: u8) -> (Range<usize>, Result<Cow<'_, str>, &'static str>) {
    let mut at = 0;
    for current in 1..=column {
        let rest = line.get(at..).unwrap_or_default();
        let start = at + rest.len() - trim_start(rest).len();
        let wanted = current == column;
        let (span, value, next) = match line.get(start..).unwrap_or_default().strip_prefix('"') {
            Some(quoted) => match quoted_end(quoted) {
                None => return (start..line.len(), Err("a quote is not closed")),
                Some(end) => {
                    let inside = quoted.get(..end).unwrap_or_default();
                    let after = start + 1 + end + 1;
                    let tail = line.get(after..).unwrap_or_default();
                    let comma = memchr::memchr(separator, tail.as_bytes());
                    if !tail.get(..comma.unwrap_or(tail.len())).unwrap_or_default().trim().is_empty() {
                        return (start..line.len(), Err("text behind a closing quote"));
                    }
                    let value = match inside.contains('"') {
                        true => Cow::Owned(inside.replace("\"\"", "\"")),
                        false => Cow::Borrowed(inside),
                    };
                    (start..after, value, comma.map(|comma| after + comma + 1))
                }
            },
            None => {
                let comma = memchr::memchr(separator, rest.as_bytes());
                let text = trim(rest.get(..comma.unwrap_or(rest.len())).unwrap_or_default());
                (
                    start.min(at + comma.unwrap_or(rest.len()))..start + text.len(),
                    Cow::Borrowed(text),
                    comma.map(|comma| at + comma + 1),
                )
            }
        };
        if wanted {
            return (span.start..span.end.max(span.start), Ok(value));
        }
        match next {
            Some(next) => at = next,
            None => break,
        }
    }
    (0..line.len(), Err("the line has no such column"))
}

/// Where the quoted text ends: at a quote that is not doubled.
fn quoted_end(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    loop {
        at += memchr::memchr(b'"', bytes.get(at..)?)?;
        if bytes.get(at + 1) != Some(&b'"') {
            return Some(at);
        }
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(column: Option<u32>) -> Layout {
        column.map_or(Layout::Lines, |column| Layout::Csv { column: Column::Number(column), separator: b',' })
    }

    /// The values of a list, with what its head tells.
    fn listed(content: &str, layout: &Layout) -> (Vec<String>, Header) {
        let (layout, header) = layout.resolve(content.as_bytes()).unwrap().expect("the column is there");
        let (mut reader, mut piece, mut all) =
            (Reader::new(content.as_bytes()), Piece::default(), Vec::new());
        while reader.read(&mut piece).unwrap() {
            piece.rows(&layout, &mut |row| {
                let at = &row.text[row.span.clone()];
                let value = row.value.unwrap_or_else(|reason| panic!("{reason}")).into_owned();
                assert!(at.contains(&value) || value.contains('\"'), "{at} {value}");
                all.push(value);
            });
        }
        (all, header)
    }

    #[test]
    fn layouts() {
        let named = |name: &str, separator| Layout::Csv { column: Column::Name(name.to_owned()), separator };
        let json = |path: &[&str]| Layout::Json { path: path.iter().map(|key| key.to_string()).collect() };
        for (name, content, layout, expected, header) in [
            (
                "abuse.ch",
                "# c\n# \"id\",\"url\",\"tags\"\n\"1\",\"http://a.example/,\",\"x\"\n",
                named("url", b','),
                &["http://a.example/,"][..],
                Header { first_row: 3, named: false },
            ),
            (
                "a header row",
                "SHA256,SHA1\nab,cd\n",
                named("sha1", b','),
                &["SHA1", "cd"],
                Header { first_row: 1, named: true },
            ),
            ("semicolons", "a;b\n1;2\n", named("b", b';'), &["b", "2"], Header { first_row: 1, named: true }),
            (
                "hosts",
                "127.0.0.1 localhost\n0.0.0.0 a.example b.example # c\n::1 ip6-localhost\nc.example\n",
                Layout::Hosts,
                &["a.example", "b.example", "c.example"],
                Header { first_row: 1, named: false },
            ),
            (
                "NDJSON",
                "{\"a\": {\"b\": \"x\"}}\n{\"a\": {\"b\": 7}}\n",
                json(&["a", "b"]),
                &["x", "7"],
                Header { first_row: 1, named: false },
            ),
            (
                "free text",
                "Hosts:\n- a[.]evil.com and 198.51.100.1\n",
                Layout::Free(Kind::Domain),
                &["a[.]evil.com"],
                Header { first_row: 1, named: false },
            ),
        ] {
            let (values, found) = listed(content, &layout);
            assert_eq!(
                (values, found),
                (expected.iter().map(|value| value.to_string()).collect(), header),
                "{name}"
            );
        }
        assert_eq!(
            named("url", b',').resolve("a,b\n1,2\n".as_bytes()).unwrap(),
            Err(vec!["a".into(), "b".into()])
        );
    }

    /// Everything read.
    fn rows(file: impl Read, column: Option<u32>, each: &mut impl FnMut(ListRow<'_>)) -> Vec<u8> {
        let (mut reader, mut piece, mut all) = (Reader::new(file), Piece::default(), Vec::new());
        while reader.read(&mut piece).unwrap() {
            piece.rows(&layout(column), each);
            all.extend_from_slice(piece.bytes());
        }
        all
    }

    fn read(content: &[u8], column: Option<u32>) -> Vec<(usize, usize, Result<String, &'static str>)> {
        let mut found = Vec::new();
        let mut each = |row: ListRow<'_>| {
            found.push((row.line, row.column(), row.value.map(Cow::into_owned)));
        };
        assert_eq!(rows(content, column, &mut each), content);
        found
    }

    #[test]
    fn plain_lists() {
        let content = b"\xef\xbb\xbf# heading\n\n one \r\ntwo,2\n\t# x\nlast";
        assert_eq!(
            read(content, None),
            [(3, 2, Ok("one".into())), (4, 1, Ok("two,2".into())), (6, 1, Ok("last".into()))]
        );
    }

    #[test]
    fn csv_columns() {
        for (name, line, column, at, expected) in [
            ("first", "a,b,c", 1, 1, Ok("a")),
            ("second", "a, b ,c", 2, 4, Ok("b")),
            ("last", "a,b,c", 3, 5, Ok("c")),
            ("past the end", "a,b,c", 4, 1, Err("the line has no such column")),
            ("empty", "a,,c", 2, 3, Ok("")),
            ("empty last", "a,", 2, 3, Ok("")),
            ("quoted", r#""a,1","b""#, 1, 1, Ok("a,1")),
            ("behind quoted", r#""a,1","b""#, 2, 7, Ok("b")),
            ("doubled quotes", r#"x,"say ""hi"", twice",z"#, 2, 3, Ok(r#"say "hi", twice"#)),
            ("behind doubled quotes", r#"x,"say ""hi"", twice",z"#, 3, 23, Ok("z")),
            ("open quote", r#"x,"open"#, 2, 3, Err("a quote is not closed")),
            ("after a quote", r#""a"b,c"#, 2, 1, Err("text behind a closing quote")),
            ("quote inside", r#"a"b,c"#, 1, 1, Ok(r#"a"b"#)),
            ("wide characters", "çë,ü", 2, 4, Ok("ü")),
        ] {
            assert_eq!(read(line.as_bytes(), Some(column)), [(1, at, expected.map(String::from))], "{name}");
        }
    }

    #[test]
    fn lines_that_are_no_text() {
        let mut content = b"\xff\xfe\nok\n".to_vec();
        content.extend(vec![b'a'; LONGEST_LINE + 1]);
        content.extend(b"\nb\0c\n");
        content.extend(vec![b'a'; 3 * PIECE]);
        content.extend(b"\nend\n");
        assert_eq!(
            read(&content, None),
            [
                (1, 1, Err("not UTF-8")),
                (2, 1, Ok("ok".into())),
                (3, 1, Err("line too long")),
                (4, 1, Err("NUL byte in a text file")),
                (5, 1, Err("line too long")),
                (6, 1, Ok("end".into())),
            ]
        );
    }

    #[test]
    fn long_lines_at_every_place_of_a_piece() {
        for length in [0, 1, LONGEST_LINE - 1, LONGEST_LINE, LONGEST_LINE + 1, PIECE, 2 * PIECE + 1] {
            for before in
                [0, 1, PIECE - LONGEST_LINE - 2, PIECE - LONGEST_LINE - 1, PIECE - 2, PIECE - 1, PIECE]
            {
                for end in ["\nend", "\nend\n", "\n", ""] {
                    let mut content = b"x\n".repeat(before / 2);
                    content.extend(vec![b'a'; length]);
                    content.extend(end.as_bytes());
                    let mut found = Vec::new();
                    let mut each = |row: ListRow<'_>| {
                        found.push((row.line, row.offset, row.value.map(|value| value.len())));
                    };
                    assert_eq!(rows(&*content, None, &mut each), content);
                    let mut expected: Vec<_> = (0..before / 2).map(|row| (row + 1, 2 * row, Ok(1))).collect();
                    let mut at = (before / 2 + 1, before / 2 * 2);
                    match length {
                        0 => {}
                        1..=LONGEST_LINE => expected.push((at.0, at.1, Ok(length))),
                        _ => expected.push((at.0, at.1, Err("line too long"))),
                    }
                    at = (at.0 + 1, at.1 + length + 1);
                    if end.contains("end") {
                        expected.push((at.0, at.1, Ok(3)));
                    }
                    assert_eq!(found, expected, "{length} {before} {end:?}");
                }
            }
        }
    }

    #[test]
    fn any_chunks_give_the_same_rows() {
        struct Slow<'a>(&'a [u8], usize);
        impl Read for Slow<'_> {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                let count = self.1.min(self.0.len()).min(into.len());
                into[..count].copy_from_slice(&self.0[..count]);
                self.0 = &self.0[count..];
                Ok(count)
            }
        }
        let content = b"one\r\n\n# c\ntwo,\"x\"\n\nthree";
        for step in 1..content.len() + 1 {
            let mut found = Vec::new();
            let mut each = |row: ListRow<'_>| {
                found.push((row.line, row.offset, row.value.unwrap().into_owned()));
            };
            rows(Slow(content, step), Some(1), &mut each);
            let expected = [(1, 0, "one".into()), (4, 10, "two".into()), (6, 19, "three".into())];
            assert_eq!(found, expected, "{step}");
        }
    }

    #[test]
    fn a_million_rows() {
        let content: String = (0..1_000_000).map(|row| format!("{row:064x},x\n")).collect();
        let mut count = 0;
        let mut each = |row: ListRow<'_>| {
            assert_eq!(row.offset, 67 * (row.line - 1));
            count += usize::from(row.value.is_ok_and(|value| value.len() == 64));
        };
        rows(content.as_bytes(), Some(1), &mut each);
        assert_eq!(count, 1_000_000);
    }

    #[test]
    fn lists_stay_inside_the_tree() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("rules.d");
        std::fs::create_dir_all(tree.join("sub")).unwrap();
        for file in ["rules.d/top.csv", "rules.d/sub/near.csv", "outside.csv"] {
            std::fs::write(dir.path().join(file), "x").unwrap();
        }
        std::os::unix::fs::symlink(dir.path().join("outside.csv"), tree.join("link.csv")).unwrap();
        let set = tree.join("sub/set.yaml");
        for (file, expected) in [
            ("near.csv", Ok(())),
            ("./near.csv", Ok(())),
            ("../top.csv", Ok(())),
            ("../sub/near.csv", Ok(())),
            ("none.csv", Err("no such file")),
            ("../../outside.csv", Err("outside of the rules tree")),
            ("../../rules.d/top.csv", Err("outside of the rules tree")),
            ("../link.csv", Err("outside of the rules tree")),
            ("/etc/passwd", Err("an absolute path; bulk files are relative to the set")),
            ("..", Err("not a regular file")),
        ] {
            assert_eq!(resolve(&set, &tree, file).map(drop), expected, "{file}");
        }
    }
}

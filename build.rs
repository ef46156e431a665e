//! Turns the tables of information elements, `elements/*.csv`, into a sorted array for
//! `src/decode/flow/element.rs`. A row that is malformed or stands twice stops the build and says where.

use std::fmt::Write;
use std::path::Path;
use std::{env, fs};

const TABLES: [&str; 2] = ["elements/iana.csv", "elements/vendors.csv"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let mut rows = Vec::new();
    for table in TABLES {
        println!("cargo::rerun-if-changed={table}");
        let text = fs::read_to_string(table).unwrap_or_else(|error| panic!("{table}: {error}"));
        for (line, text) in text.lines().enumerate().filter(|(_, text)| !text.starts_with('#')) {
            let row = row(text).unwrap_or_else(|problem| panic!("{table}:{}: {problem}: {text:?}", line + 1));
            rows.push(row);
        }
    }
    rows.sort_by_key(|row| (row.enterprise, row.id));
    for pair in rows.windows(2) {
        let [one, next] = pair else { continue };
        let key = (one.enterprise, one.id);
        assert!(
            key != (next.enterprise, next.id),
            "element {key:?} stands twice: {} and {}",
            one.name,
            next.name
        );
    }
    let mut out = format!("static ELEMENTS: [Element; {}] = [\n", rows.len());
    for Row { enterprise, id, name, kind } in &rows {
        let element = format!("enterprise: {enterprise}, id: {id}, name: \"{name}\", kind: Kind::{kind}");
        writeln!(out, "    Element {{ {element} }},").expect("a string takes everything");
    }
    out.push_str("];\n");
    let folder = env::var_os("OUT_DIR").expect("cargo sets it");
    fs::write(Path::new(&folder).join("elements.rs"), out).expect("cargo made the folder");
}

struct Row {
    enterprise: u32,
    id: u16,
    name: String,
    kind: &'static str,
}

fn row(text: &str) -> Result<Row, &'static str> {
    let [enterprise, id, name, kind] = text.split(',').collect::<Vec<_>>()[..] else {
        return Err("expected enterprise,number,name,type");
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if name.is_empty() || !name.bytes().all(plain) {
        return Err("a name is letters, digits, underscores and hyphens");
    }
    Ok(Row {
        enterprise: enterprise.parse().map_err(|_| "the enterprise is no number of 32 bits")?,
        id: id.parse().map_err(|_| "the element is no number of 16 bits")?,
        name: name.to_owned(),
        kind: kind_of(kind).ok_or("an unknown type")?,
    })
}

/// The variant of `Kind` for an abstract data type (RFC 7012, section 3.1; RFC 6313, section 4.1).
fn kind_of(text: &str) -> Option<&'static str> {
    Some(match text {
        "octetArray" => "Octets",
        "unsigned8" | "unsigned16" | "unsigned32" | "unsigned64" => "Unsigned",
        "signed8" | "signed16" | "signed32" | "signed64" => "Signed",
        "float32" | "float64" => "Float",
        "boolean" => "Boolean",
        "macAddress" => "Mac",
        "string" => "Text",
        "dateTimeSeconds" => "Seconds",
        "dateTimeMilliseconds" => "Milliseconds",
        "dateTimeMicroseconds" => "Microseconds",
        "dateTimeNanoseconds" => "Nanoseconds",
        "ipv4Address" => "Ipv4",
        "ipv6Address" => "Ipv6",
        "basicList" => "BasicList",
        "subTemplateList" => "SubTemplateList",
        "subTemplateMultiList" => "SubTemplateMultiList",
        _ => return None,
    })
}

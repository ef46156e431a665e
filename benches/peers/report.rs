//! Writes what was measured into the document: the table of goals, the details, the plots.
//!
//! Each number is the median of its rounds. A section that did not run leaves its rows empty; a peer
//! that failed is named as failed.

use crate::plot::{self, Axis, Chart, Series};
use anyhow::Context;
use clap::Args;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct Options {
    /// What the sections wrote: `*.ndjson` and `machine.txt`.
    #[arg(long)]
    results: PathBuf,
    /// The document; what stands between its markers is replaced.
    #[arg(long)]
    document: PathBuf,
    /// The README, whose lines on performance are replaced.
    #[arg(long)]
    readme: Option<PathBuf>,
}

pub fn run(options: &Options) -> anyhow::Result<()> {
    let results = Results::read(&options.results)?;
    let machine = fs::read_to_string(options.results.join("machine.txt")).unwrap_or_default();
    let text = fs::read_to_string(&options.document)
        .with_context(|| format!("{}: no document", options.document.display()))?;
    let text = between(&text, "machine", &machine_table(&machine))?;
    let text = between(&text, "goals", &goals(&results))?;
    let text = between(&text, "details", &details(&results))?;
    let folder = options.document.parent().unwrap_or(Path::new("."));
    write(&folder.join("performance-indicators.svg"), &indicators_plot(&results))?;
    write(&folder.join("performance-loss.svg"), &loss_plot(&results))?;
    if let Some(path) = &options.readme {
        let readme = fs::read_to_string(path)?;
        write(path, &between(&readme, "performance", &summary(&results))?)?;
    }
    write(&options.document, &text)
}

/// The three lines that matter.
fn summary(results: &Results) -> String {
    let tcp = "tcp-1000000";
    let mut out = String::new();
    let _ = writeln!(
        out,
        "- One core receives {} on TCP, matches them against a million indicators and alerts on one in a thousand, with {} CPU seconds a million; rsyslog needs {}, syslog-ng {}, for addresses and domains only.",
        rate(stream_rate(results, tcp, "roje")).replace("/s", " messages a second"),
        results.show(tcp, "roje", CPU, 2),
        results.show(tcp, "rsyslog", CPU, 1),
        results.show(tcp, "syslog-ng", CPU, 1),
    );
    let _ = writeln!(
        out,
        "- UDP at 25,000 evenly spaced messages a second costs {} of what a program costs that only receives them, one by one, and does nothing.",
        number(results.ratio(("spaced", "roje"), ("spaced", "sink"), CPU), 2),
    );
    let _ = writeln!(
        out,
        "- Lines with a listed value that are found, and lines that are taken for such: Roje {}; rsyslog {}, syslog-ng {}, ripgrep {}, each configured for every type it can hold.",
        share(results, "roje").0,
        share(results, "rsyslog").0,
        share(results, "syslog-ng").0,
        share(results, "rg").0,
    );
    out
}

/// Whole or not at all.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let temporary = path.with_extension("tmp");
    fs::write(&temporary, text)?;
    Ok(fs::rename(temporary, path)?)
}

/// Replaces what stands between `<!-- name -->` and `<!-- /name -->`.
fn between(text: &str, name: &str, new: &str) -> anyhow::Result<String> {
    let (open, close) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let (before, rest) = text.split_once(&open).with_context(|| format!("no marker {open}"))?;
    let (_, after) = rest.split_once(&close).with_context(|| format!("no marker {close}"))?;
    Ok(format!("{before}{open}{new}{close}{after}"))
}

fn machine_table(text: &str) -> String {
    let mut out = String::from("| | |\n|---|---|\n");
    for (key, value) in text.lines().filter_map(|line| line.split_once(": ")) {
        let _ = writeln!(out, "| {key} | {value} |");
    }
    out
}

/// Everything measured: by case and program, one value for each round.
struct Results(BTreeMap<(String, String), Vec<Value>>);

impl Results {
    fn read(folder: &Path) -> anyhow::Result<Results> {
        let mut all: BTreeMap<(String, String), Vec<Value>> = BTreeMap::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "ndjson") {
                continue;
            }
            for line in fs::read_to_string(&path)?.lines() {
                let value: Value = serde_json::from_str(line).with_context(|| path.display().to_string())?;
                let text = |key: &str| value[key].as_str().unwrap_or_default().to_string();
                all.entry((text("case"), text("who"))).or_default().push(value["result"].clone());
            }
        }
        Ok(Results(all))
    }

    fn all(&self, case: &str, who: &str) -> &[Value] {
        self.0.get(&(case.to_string(), who.to_string())).map_or(&[], Vec::as_slice)
    }

    fn failed(&self, case: &str, who: &str) -> bool {
        let all = self.all(case, who);
        !all.is_empty() && all.iter().all(|value| value.get("error").is_some())
    }

    /// The median over rounds.
    fn median(&self, case: &str, who: &str, key: &str) -> Option<f64> {
        let values = self.all(case, who).iter().filter_map(|value| value.get(key)?.as_f64());
        median(values.collect())
    }

    /// As text, with what is missing said.
    fn show(&self, case: &str, who: &str, key: &str, digits: usize) -> String {
        match self.median(case, who, key) {
            Some(value) => format!("{value:.digits$}"),
            None if self.failed(case, who) => "failed".into(),
            None => "–".into(),
        }
    }

    fn ratio(&self, one: (&str, &str), other: (&str, &str), key: &str) -> Option<f64> {
        Some(self.median(one.0, one.1, key)? / self.median(other.0, other.1, key)?)
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => values.get(middle).copied(),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

/// One row of the table of goals.
struct Row {
    what: String,
    roje: String,
    others: String,
    goal: String,
    reached: Option<bool>,
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or("–".into(), |value| format!("{value:.digits$}"))
}

/// Rates in thousands or millions.
fn rate(value: Option<f64>) -> String {
    match value {
        None => "–".into(),
        Some(value) if value >= 1e6 => format!("{:.2} M/s", value / 1e6),
        Some(value) => format!("{:.0} k/s", value / 1e3),
    }
}

fn at_most(value: Option<f64>, limit: f64) -> Option<bool> {
    value.map(|value| value <= limit)
}

fn at_least(value: Option<f64>, limit: f64) -> Option<bool> {
    value.map(|value| value >= limit)
}

const CPU: &str = "cpu_per_million";

fn goals(results: &Results) -> String {
    let mut rows = Vec::new();
    udp_rows(results, &mut rows);
    tcp_rows(results, &mut rows);
    matching_rows(results, &mut rows);
    scan_rows(results, &mut rows);
    flow_rows(results, &mut rows);
    found_row(results, &mut rows);
    process_rows(results, &mut rows);
    let mut out = String::from("| | Roje | others, same machine | goal | reached |\n|---|---|---|---|---|\n");
    for Row { what, roje, others, goal, reached } in rows {
        let reached = reached.map_or("–", |reached| if reached { "yes" } else { "**no**" });
        let _ = writeln!(out, "| {what} | {roje} | {others} | {goal} | {reached} |");
    }
    out
}

fn udp_rows(results: &Results, rows: &mut Vec<Row>) {
    for (case, what, limit) in [
        (
            "spaced",
            "UDP syslog at 25,000/s, evenly spaced, 1 M indicators: CPU s a million, and against a plain sink",
            0.2,
        ),
        ("bursts", "the same in bursts of 64", 1.1),
    ] {
        let ratio = results.ratio((case, "roje"), (case, "sink"), CPU);
        rows.push(Row {
            what: what.into(),
            roje: format!(
                "{} (alerts {}), ratio **{}**",
                results.show(case, "roje", CPU, 2),
                results.show(case, "roje", "aside_per_million", 2),
                number(ratio, 2)
            ),
            others: format!(
                "sink {} = 1; rsyslog {}, syslog-ng {}{}",
                results.show(case, "sink", CPU, 2),
                results.show(case, "rsyslog", CPU, 1),
                results.show(case, "syslog-ng", CPU, 1),
                vector(results, case, CPU, 1),
            ),
            goal: format!("≤ {limit}"),
            reached: at_most(ratio, limit),
        });
    }
    let ratios = ["spaced", "bursts"].map(|case| results.ratio((case, "roje"), (case, "gather"), CPU));
    let worst = ratios[0].zip(ratios[1]).map(|(one, other)| one.max(other));
    rows.push(Row {
        what: "both, against a sink that gathers".into(),
        roje: format!("**{}** spaced, **{}** in bursts", number(ratios[0], 2), number(ratios[1], 2)),
        others: format!(
            "gathering sink {} and {} = 1",
            results.show("spaced", "gather", CPU, 2),
            results.show("bursts", "gather", CPU, 2)
        ),
        goal: "≤ 1.4".into(),
        reached: at_most(worst, 1.4),
    });
    let highest = |who| results.median("limit", who, "highest");
    let ratio = highest("roje").zip(highest("sink")).map(|(one, other)| one / other);
    rows.push(Row {
        what: "UDP, highest rate without loss, one sender (GSO-8), one core; share of the sink".into(),
        roje: format!("{}, **{}**", rate(highest("roje")), number(ratio, 2)),
        others: format!(
            "sink {} = 1, gathering {}; rsyslog {}, syslog-ng {}",
            rate(highest("sink")),
            rate(highest("gather")),
            rate(highest("rsyslog")),
            rate(highest("syslog-ng"))
        ),
        goal: "≥ 0.6".into(),
        reached: at_least(ratio, 0.6),
    });
}

fn vector(results: &Results, case: &str, key: &str, digits: usize) -> String {
    match results.all(case, "vector").is_empty() {
        true => String::new(),
        false => format!(", Vector {}", results.show(case, "vector", key, digits)),
    }
}

/// Messages a second of a stream, from the first to the last that was matched.
fn stream_rate(results: &Results, case: &str, who: &str) -> Option<f64> {
    let rates = results
        .all(case, who)
        .iter()
        .filter_map(|value| Some(value.get("sent")?.as_f64()? / value.get("busy")?.as_f64()?));
    median(rates.collect())
}

fn tcp_rows(results: &Results, rows: &mut Vec<Row>) {
    let case = "tcp-1000000";
    let used = results.median(case, "roje", CPU);
    rows.push(Row {
        what: "TCP syslog, CPU s a million, 1 M indicators".into(),
        roje: format!(
            "**{}**, of which {} for making and writing alerts",
            results.show(case, "roje", CPU, 3),
            results.show(case, "roje", "aside_per_million", 3)
        ),
        others: format!(
            "rsyslog {}, syslog-ng {}{}",
            results.show(case, "rsyslog", CPU, 1),
            results.show(case, "syslog-ng", CPU, 1),
            vector(results, case, CPU, 1),
        ),
        goal: "≤ 0.25".into(),
        reached: at_most(used, 0.25),
    });
    let (one, many) = (stream_rate(results, case, "roje"), stream_rate(results, "tcp-connections", "roje"));
    rows.push(Row {
        what: "TCP, messages a second on one core".into(),
        roje: format!("**{}**; {} from 100 connections", rate(one), rate(many)),
        others: format!(
            "rsyslog {}, syslog-ng {}",
            rate(stream_rate(results, case, "rsyslog")),
            rate(stream_rate(results, case, "syslog-ng"))
        ),
        goal: "≥ 4 M/s".into(),
        reached: at_least(one, 4e6),
    });
}

fn matching_rows(results: &Results, rows: &mut Vec<Row>) {
    let speed = |case: &str| results.median(case, "roje", "gb_per_second");
    let foreign = match speed("matching-foreign") {
        Some(speed) => format!("; {speed:.2} on foreign text"),
        None => String::new(),
    };
    for (case, what, goal, limit, more) in [
        (
            "matching-typed",
            "matching alone, one core, 1 M typed indicators",
            "≥ 1.5 GB/s, aim 2.0",
            Some(1.5),
            foreign,
        ),
        ("matching-text", "the same and 1,000 text indicators", "≥ 1.2 GB/s", Some(1.2), String::new()),
        (
            "matching-substring",
            "the same and 1,000 with `match: substring`",
            "measured apart",
            None,
            String::new(),
        ),
    ] {
        rows.push(Row {
            what: what.into(),
            roje: format!("**{} GB/s**{more}", number(speed(case), 2)),
            others: String::new(),
            goal: goal.into(),
            reached: limit.and_then(|limit| at_least(speed(case), limit)),
        });
    }
}

fn scan_rows(results: &Results, rows: &mut Vec<Row>) {
    for (size, name, limit) in [(1_000, "1 k", 5.0), (10_000, "10 k", 20.0), (100_000, "100 k", 35.0)] {
        let case = format!("scan-{size}");
        let seconds = |who| results.median(&case, who, "seconds");
        let best = [seconds("rg"), seconds("rg-no-mmap")].into_iter().flatten().min_by(f64::total_cmp);
        let ratio = seconds("roje").zip(best).map(|(roje, rg)| rg / roje);
        rows.push(Row {
            what: format!("`roje scan` against `rg -F -f`, one core, {name}, loading included"),
            roje: format!("{} s, **{}** times faster", number(seconds("roje"), 2), number(ratio, 1)),
            others: format!(
                "`rg` {} s, `rg --no-mmap` {} s",
                number(seconds("rg"), 2),
                number(seconds("rg-no-mmap"), 2)
            ),
            goal: format!("≥ {limit}"),
            reached: at_least(ratio, limit),
        });
    }
    let seconds = |case| results.median(case, "roje", "seconds");
    let ratio = seconds("big-1").zip(seconds("big-2")).map(|(one, two)| one / two);
    rows.push(Row {
        what: "`roje scan` on 2 cores against 1, 4 GiB of plain text".into(),
        roje: format!(
            "{} s, {} s on one: **{}**",
            number(seconds("big-2"), 2),
            number(seconds("big-1"), 2),
            number(ratio, 2)
        ),
        others: String::new(),
        goal: "≥ 1.8".into(),
        reached: at_least(ratio, 1.8),
    });
}

fn flow_rows(results: &Results, rows: &mut Vec<Row>) {
    for (list, what, limit) in [
        ("flow-100k", "NetFlow v9 / IPFIX, decode and match 100 k addresses, CPU s a million records", 0.06),
        ("flow-100k-prefixes", "the same with 10 k prefixes", 0.08),
    ] {
        let of =
            |key: &str| ["9", "10"].map(|version| results.median(&format!("{list}-{version}"), "roje", key));
        let (whole, aside) = (of("cpu_per_million_records"), of("aside_per_million_records"));
        let roje: Vec<Option<f64>> =
            whole.iter().zip(aside).map(|(whole, aside)| Some((*whole)? - aside?)).collect();
        let worst = roje[0].zip(roje[1]).map(|(one, other)| one.max(other));
        let peer = ["9", "10"].map(|version| {
            let case = format!("{list}-{version}");
            let filter = results.show(&case, "nfdump", "cpu_per_million_records", 2);
            format!(
                "nfcapd {} + nfdump {filter}",
                results.show(&case, "nfcapd", "cpu_per_million_records", 2)
            )
        });
        rows.push(Row {
            what: what.into(),
            roje: format!(
                "**{}** / **{}**; with making and writing alerts {} / {}",
                number(roje[0], 3),
                number(roje[1], 3),
                number(whole[0], 3),
                number(whole[1], 3)
            ),
            others: format!("v9: {}; IPFIX: {}", peer[0], peer[1]),
            goal: format!("≤ {limit}"),
            reached: at_most(worst, limit),
        });
    }
}

/// Planted lines that a program found and lines that it found besides; whether that is exact.
fn share(results: &Results, who: &str) -> (String, Option<bool>) {
    let counts = results.all("found", who).first().and_then(|value| {
        Some((value["found"].as_u64()?, value["planted"].as_u64()?, value["false"].as_u64()?))
    });
    match counts {
        Some((found, planted, wrong)) => {
            let percent = 100.0 * found as f64 / planted as f64;
            (format!("{percent:.1} % / {wrong}"), Some(found == planted && wrong == 0))
        }
        None if results.failed("found", who) => ("failed".into(), None),
        None => ("–".into(), None),
    }
}

fn found_row(results: &Results, rows: &mut Vec<Row>) {
    let (roje, reached) = share(results, "roje");
    rows.push(Row {
        what: "planted lines found / lines found without being planted, every type configured that the program can hold".into(),
        roje: format!("**{roje}**"),
        others: ["rsyslog", "syslog-ng", "rg", "rg-i"]
            .map(|who| format!("{} {}", if who == "rg-i" { "`rg -i`" } else { who }, share(results, who).0))
            .join("; "),
        goal: "100 % / 0".into(),
        reached,
    });
}

fn process_rows(results: &Results, rows: &mut Vec<Row>) {
    let show = |who: &str, key: &str, digits| results.show("ready", who, key, digits);
    rows.push(Row {
        what: "memory at 1 M indicators, resident, whole process, MiB".into(),
        roje: format!("**{}** (peak {})", show("roje", "rss_mib", 0), show("roje", "peak_mib", 0)),
        others: format!(
            "rsyslog {}, syslog-ng {}, addresses and domains only ({} % of the list)",
            show("rsyslog", "rss_mib", 0),
            show("syslog-ng", "rss_mib", 0),
            51
        ),
        goal: "≤ 90 MB".into(),
        reached: at_most(results.median("ready", "roje", "rss_mib").map(|mib| mib * 1.048_576), 90.0),
    });
    rows.push(Row {
        what: "process start to ready with 1 M, seconds".into(),
        roje: format!("**{}**", show("roje", "ready", 2)),
        others: format!(
            "rsyslog {}, syslog-ng {}, addresses and domains only",
            show("rsyslog", "ready", 2),
            show("syslog-ng", "ready", 2)
        ),
        goal: "≤ 0.4".into(),
        reached: at_most(results.median("ready", "roje", "ready"), 0.4),
    });
    let flood = stream_rate(results, "flood", "roje");
    let (sent, matches) =
        (results.median("flood", "roje", "sent"), results.median("flood-sum", "roje", "matches"));
    let exact = sent.zip(matches).map(|(sent, matches)| sent == matches);
    rows.push(Row {
        what: "every line a hit, one indicator, 200 clients, TCP".into(),
        roje: format!(
            "**{}**; {} lines, {} matches in {} alerts and summaries",
            rate(flood),
            number(sent, 0),
            number(matches, 0),
            results.show("flood-sum", "roje", "alerts", 0)
        ),
        others: String::new(),
        goal: "≥ 1 M/s a core, exact".into(),
        reached: at_least(flood, 1e6).zip(exact).map(|(fast, exact)| fast && exact),
    });
    let (p50, p99) =
        (results.median("latency", "roje", "p50_ms"), results.median("latency", "roje", "p99_ms"));
    rows.push(Row {
        what: format!(
            "datagram to alert in the file at half load ({}), p50 / p99, ms",
            rate(results.median("latency", "roje", "rate"))
        ),
        roje: format!("**{} / {}**", number(p50, 2), number(p99, 2)),
        others: String::new(),
        goal: "≤ 2 / 10".into(),
        reached: p50.zip(p99).map(|(p50, p99)| p50 <= 2.0 && p99 <= 10.0),
    });
}

/// Sizes of lists in the plot.
const SIZES: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];

fn details(results: &Results) -> String {
    let mut out = String::from(
        "CPU microseconds for each message on TCP, by number of indicators:\n\n| | 1 k | 10 k | 100 k | 1 M |\n|---|---|---|---|---|\n",
    );
    for (who, name) in [
        ("roje", "Roje, all types"),
        ("rsyslog", "rsyslog, addresses and domains"),
        ("syslog-ng", "syslog-ng, addresses and domains"),
        ("vector", "Vector, addresses and domains"),
    ] {
        if results.all("tcp-1000", who).is_empty() {
            continue;
        }
        let cells = SIZES.map(|size| results.show(&format!("tcp-{size}"), who, CPU, 2)).join(" | ");
        let _ = writeln!(out, "| {name} | {cells} |");
    }
    out.push_str(
        "\nPlanted lines found, by type, when every type is configured that the program can hold:\n\n",
    );
    let mut kinds: BTreeMap<String, ()> = BTreeMap::new();
    let programs = [
        ("roje", "Roje"),
        ("rsyslog", "rsyslog"),
        ("syslog-ng", "syslog-ng"),
        ("rg", "`rg -F -f`"),
        ("rg-i", "`rg -i -F -f`"),
    ];
    for (who, _) in programs {
        if let Some(Value::Object(found)) = results.all("found", who).first().map(|value| &value["kinds"]) {
            kinds.extend(found.keys().map(|kind| (kind.clone(), ())));
        }
    }
    let names: Vec<&str> = kinds.keys().map(String::as_str).collect();
    let _ = writeln!(out, "| | {} | false | CPU s a million |", names.join(" | "));
    let _ = writeln!(out, "|---{}|---|---|", "|---".repeat(names.len()));
    for (who, name) in programs {
        let Some(value) = results.all("found", who).first() else { continue };
        let cells: Vec<String> = names
            .iter()
            .map(|kind| match (&value["kinds"][*kind][0], &value["kinds"][*kind][1]) {
                (Value::Number(found), Value::Number(all)) => format!("{found} of {all}"),
                _ => "failed".into(),
            })
            .collect();
        let used = results.show("found-cpu", who, CPU, 1);
        let _ = writeln!(out, "| {name} | {} | {} | {used} |", cells.join(" | "), value["false"]);
    }
    let flows = ["roje", "nfdump"].map(|who| {
        let list = ["flow-100k", "flow-100k-prefixes"]
            .map(|list| results.show(&format!("{list}-9-found"), who, "found", 0));
        list.join(" / ")
    });
    let planted = ["flow-100k", "flow-100k-prefixes"]
        .map(|list| results.show(&format!("{list}-9-found"), "roje", "planted", 0))
        .join(" / ");
    let _ = writeln!(
        out,
        "\nFlow records with a listed address, NetFlow v9, addresses / and prefixes: {planted} planted; Roje {}, nfdump {}.",
        flows[0], flows[1]
    );
    out
}

fn indicators_plot(results: &Results) -> String {
    let series: Vec<Series> =
        [("roje", "Roje"), ("rsyslog", "rsyslog"), ("syslog-ng", "syslog-ng"), ("vector", "Vector")]
            .into_iter()
            .filter_map(|(who, name)| {
                let point =
                    |size: u64| Some((size as f64, results.median(&format!("tcp-{size}"), who, CPU)?));
                let points: Vec<(f64, f64)> = SIZES.into_iter().filter_map(point).collect();
                (!points.is_empty()).then(|| Series { name: name.into(), points })
            })
            .collect();
    let chart = Chart {
        title: "CPU time for each message, by number of indicators (TCP)",
        x: Axis { title: "indicators", ticks: &[1e3, 1e4, 1e5, 1e6], logarithmic: true },
        y: Axis {
            title: "microseconds for each message",
            ticks: &[0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0],
            logarithmic: true,
        },
    };
    plot::svg(&chart, &series)
}

fn loss_plot(results: &Results) -> String {
    let names = [
        ("roje", "Roje"),
        ("rsyslog", "rsyslog"),
        ("syslog-ng", "syslog-ng"),
        ("vector", "Vector"),
        ("sink", "sink, no work"),
    ];
    let series: Vec<Series> = names
        .into_iter()
        .filter_map(|(who, name)| {
            let mut by_rate: BTreeMap<u64, Vec<(f64, f64)>> = BTreeMap::new();
            for trial in results.all("trial", who) {
                let (Some(target), Some(rate)) = (trial["target"].as_u64(), trial["rate"].as_f64()) else {
                    continue;
                };
                let (sent, lost) = (trial["sent"].as_f64()?, trial["lost"].as_f64()?);
                by_rate.entry(target).or_default().push((rate, 100.0 * lost / sent));
            }
            let mut points: Vec<(f64, f64)> = by_rate
                .into_values()
                .filter_map(|trials| {
                    let rates = median(trials.iter().map(|(rate, _)| *rate).collect())?;
                    Some((rates, median(trials.iter().map(|(_, lost)| *lost).collect())?))
                })
                .collect();
            points.sort_by(|one, other| one.0.total_cmp(&other.0));
            (!points.is_empty()).then(|| Series { name: name.into(), points })
        })
        .collect();
    let chart = Chart {
        title: "Datagrams lost, by rate (one sender, one core, 1 M indicators)",
        x: Axis {
            title: "datagrams a second",
            ticks: &[2.5e4, 5e4, 1e5, 2e5, 4e5, 8e5, 1.6e6],
            logarithmic: true,
        },
        y: Axis { title: "lost, %", ticks: &[0.0, 20.0, 40.0, 60.0, 80.0, 100.0], logarithmic: false },
    };
    plot::svg(&chart, &series)
}

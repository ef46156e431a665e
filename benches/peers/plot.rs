//! Line charts as SVG, readable on light and dark pages.

use std::fmt::Write;

/// One line of a chart.
pub struct Series {
    pub name: String,
    /// In ascending order of x.
    pub points: Vec<(f64, f64)>,
}

/// What the axes show.
pub struct Chart<'a> {
    pub title: &'a str,
    pub x: Axis<'a>,
    pub y: Axis<'a>,
}

pub struct Axis<'a> {
    pub title: &'a str,
    /// Where lines and numbers stand, in ascending order; the first and the last are the ends.
    pub ticks: &'a [f64],
    pub logarithmic: bool,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 56.0;

/// Told apart by hue, by lightness and by dashes.
const STYLE: &str = "\
    .back{fill:#fff}.ink{fill:#1f2328}.faint{fill:#59636e}.grid{stroke:#d1d9e0;stroke-width:1}\
    .s0{--c:#0969da}.s1{--c:#bc4c00}.s2{--c:#1a7f37}.s3{--c:#8250df}.s4{--c:#59636e}.s5{--c:#9a6700}\
    .line{fill:none;stroke:var(--c);stroke-width:2.5;stroke-linejoin:round}.dot{fill:var(--c)}\
    .s1 .line{stroke-dasharray:9 4}.s2 .line{stroke-dasharray:3 3}.s3 .line{stroke-dasharray:12 3 3 3}\
    .s4 .line{stroke-dasharray:1 4;stroke-linecap:round}.s5 .line{stroke-dasharray:6 6}\
    text{font:13px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif}.title{font-size:15px;font-weight:600}\
    @media (prefers-color-scheme:dark){.back{fill:#0d1117}.ink{fill:#e6edf3}.faint{fill:#9198a1}.grid{stroke:#3d444d}\
    .s0{--c:#4493f8}.s1{--c:#f0883e}.s2{--c:#3fb950}.s3{--c:#ab7df8}.s4{--c:#9198a1}.s5{--c:#d29922}}";

/// Colours again as attributes, for programs that know no variables in style sheets.
const COLOURS: [&str; 6] = ["#0969da", "#bc4c00", "#1a7f37", "#8250df", "#59636e", "#9a6700"];

impl Axis<'_> {
    /// Where a value lies between the ends, 0 to 1.
    fn place(&self, value: f64) -> f64 {
        let scale = |value: f64| if self.logarithmic { value.max(1e-9).log10() } else { value };
        let (low, high) = (self.ticks.first().copied(), self.ticks.last().copied());
        let (low, high) = (scale(low.unwrap_or(0.0)), scale(high.unwrap_or(1.0)));
        ((scale(value) - low) / (high - low)).clamp(0.0, 1.0)
    }
}

/// Draws the chart, its legend at the right.
pub fn svg(chart: &Chart<'_>, series: &[Series]) -> String {
    let (inner_width, inner_height) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
    let x = |value: f64| LEFT + inner_width * chart.x.place(value);
    let y = |value: f64| TOP + inner_height * (1.0 - chart.y.place(value));
    let mut out = String::new();
    let mut put = |text: std::fmt::Arguments<'_>| {
        let _ = writeln!(out, "{text}");
    };
    put(format_args!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
        chart.title
    ));
    put(format_args!("<style>{STYLE}</style>"));
    put(format_args!("<rect class=\"back\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"6\" fill=\"#fff\"/>"));
    put(format_args!("<text class=\"ink title\" x=\"{LEFT}\" y=\"28\">{}</text>", chart.title));
    for tick in chart.y.ticks {
        let at = y(*tick);
        let right = WIDTH - RIGHT;
        put(format_args!("<path class=\"grid\" stroke=\"#d1d9e0\" d=\"M{LEFT} {at:.1}H{right}\"/>"));
        let (left, at, text) = (LEFT - 8.0, at + 4.5, number(*tick));
        put(format_args!(
            "<text class=\"faint\" x=\"{left}\" y=\"{at:.1}\" text-anchor=\"end\">{text}</text>"
        ));
    }
    for tick in chart.x.ticks {
        let (at, below) = (x(*tick), HEIGHT - BOTTOM + 20.0);
        let text = number(*tick);
        put(format_args!(
            "<path class=\"grid\" stroke=\"#d1d9e0\" d=\"M{at:.1} {TOP}V{}\"/>",
            HEIGHT - BOTTOM
        ));
        put(format_args!(
            "<text class=\"faint\" x=\"{at:.1}\" y=\"{below}\" text-anchor=\"middle\">{text}</text>"
        ));
    }
    let (middle, bottom) = (LEFT + inner_width / 2.0, HEIGHT - 14.0);
    put(format_args!(
        "<text class=\"ink\" x=\"{middle}\" y=\"{bottom}\" text-anchor=\"middle\">{}</text>",
        chart.x.title
    ));
    let middle = TOP + inner_height / 2.0;
    put(format_args!(
        "<text class=\"ink\" transform=\"translate(18 {middle}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
        chart.y.title
    ));
    for (index, one) in series.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        put(format_args!("<g class=\"s{}\">", index % COLOURS.len()));
        let path: Vec<String> =
            one.points.iter().map(|point| format!("{:.1} {:.1}", x(point.0), y(point.1))).collect();
        put(format_args!(
            "<path class=\"line\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2.5\" d=\"M{}\"/>",
            path.join("L")
        ));
        for point in &one.points {
            let (x, y) = (x(point.0), y(point.1));
            put(format_args!(
                "<circle class=\"dot\" fill=\"{colour}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"/>"
            ));
        }
        let (left, at) = (WIDTH - RIGHT + 14.0, TOP + 10.0 + 24.0 * index as f64);
        put(format_args!(
            "<path class=\"line\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2.5\" d=\"M{left} {at}h28\"/>"
        ));
        let (left, at) = (left + 36.0, at + 4.5);
        put(format_args!("<text class=\"ink\" fill=\"#1f2328\" x=\"{left}\" y=\"{at}\">{}</text>", one.name));
        put(format_args!("</g>"));
    }
    out.push_str("</svg>\n");
    out
}

/// 25000 is 25 k.
fn number(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{} M", v / 1e6),
        v if v >= 1e3 => format!("{} k", v / 1e3),
        v => format!("{v}"),
    }
}

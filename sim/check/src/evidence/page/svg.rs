//! Renders a chart as SVG. Every position is also in a `data-x` attribute, in pixels at zoom 1. The page's script uses
//! it to move everything when the reader zooms.

use super::chart::{BAR, Bar, Chart, TOP, text_width};
use super::{cut, escape, moment};
use crate::certificate::step::State;
use crate::evidence::Evidence;
use crate::evidence::explain::show;
use crate::history::{Datum, End, Function, History, OpId};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The input for the rendering.
pub(super) struct Scene<'a> {
    pub history: &'a History,
    pub evidence: &'a Evidence,
    pub chart: &'a Chart,
    /// The known states after operations of the order, by index in the order.
    pub states: &'a BTreeMap<usize, String>,
    pub file: &'a str,
    /// Number of the violation on the page, for ids.
    pub number: usize,
    /// Prefix of the number in ids, because a violation has several drawings.
    pub prefix: char,
}

impl Scene<'_> {
    /// The top of a row.
    fn top(&self, row: usize) -> f64 {
        TOP + self.chart.row_height * row as f64
    }

    /// Draws the lane names and the drawing.
    pub(super) fn draw(&self) -> String {
        let chart = self.chart;
        let height = self.top(chart.rows) + 8.0;
        let mut out = String::from("<div class=\"plot\"><div class=\"lanes\" aria-hidden=\"true\">");
        for lane in &chart.lanes {
            let tall = chart.row_height * lane.rows as f64;
            let _ = write!(out, "<div style=\"height:{tall}px\">p{}</div>", lane.process);
        }
        let n = format!("{}{}", self.prefix, self.number);
        let _ = write!(
            out,
            "</div><div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Drawing of violation {number}; plus and minus \
             zoom, arrows pan\"><svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart\" role=\"group\" \
             width=\"{w}\" height=\"{height}\" data-w=\"{w}\"><defs>\
             <linearGradient id=\"fade{n}\"><stop class=\"f0\" offset=\"0\"/><stop class=\"f0\" offset=\".35\"/>\
             <stop class=\"f1\" offset=\"1\"/></linearGradient>\
             <linearGradient id=\"corefade{n}\"><stop class=\"c0\" offset=\"0\"/><stop class=\"c0\" offset=\".35\"/>\
             <stop class=\"c1\" offset=\"1\"/></linearGradient>\
             <marker id=\"tip{n}\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" \
             orient=\"auto-start-reverse\"><path class=\"tip\" d=\"M0 0L8 4L0 8z\"/></marker></defs>",
            w = chart.width,
            number = self.number
        );
        for lane in &chart.lanes {
            let (y, tall) = (self.top(lane.first_row), chart.row_height * lane.rows as f64);
            let _ = write!(out, "<rect class=\"lane\" x=\"0\" y=\"{y}\" width=\"100%\" height=\"{tall}\"/>");
        }
        self.axis(&mut out, height);
        // Drawn behind the bars, so that the line does not cross their labels.
        let points: Vec<String> =
            (0..chart.points.len()).map(|i| self.spot(i)).map(|(x, y)| format!("{x:.0},{y}")).collect();
        let _ = write!(out, "<polyline class=\"path\" data-points=\"{0}\" points=\"{0}\"/>", points.join(" "));
        for bar in chart.bars.iter().filter(|bar| !bar.core).chain(chart.bars.iter().filter(|bar| bar.core)) {
            self.bar(&mut out, bar);
        }
        self.order(&mut out);
        self.edges(&mut out);
        out.push_str("</svg></div></div>");
        out
    }

    fn axis(&self, out: &mut String, height: f64) {
        for (event, x) in &self.chart.ticks {
            let _ = write!(
                out,
                "<g class=\"tick\" data-x=\"{x:.0}\" transform=\"translate({x:.0},0)\"><path d=\"M0 22V{height}\"/>\
                 <text y=\"16\">#{event}</text></g>"
            );
        }
        if let Some(x) = self.chart.end {
            let _ = write!(
                out,
                "<g class=\"end\" data-x=\"{x:.0}\" transform=\"translate({x:.0},0)\"><path d=\"M0 22V{height}\"/>\
                 <text y=\"16\">impossible from #{}</text></g>",
                self.evidence.event.unwrap_or_default()
            );
        }
    }

    fn bar(&self, out: &mut String, bar: &Bar) {
        let op = self.history.operation(bar.op);
        let broken = Some(bar.op) == self.evidence.breaks;
        let sees = matches!(op.f, Function::Read | Function::Contains | Function::Dequeue) || op.end == End::Refused;
        let mut class = String::from("op");
        for (name, on) in [
            ("core", bar.core),
            ("breaks", broken),
            ("sees", sees),
            ("open", bar.open),
            ("void", op.end == End::Fail),
            ("refused", op.end == End::Refused),
        ] {
            if on {
                class.push(' ');
                class.push_str(name);
            }
        }
        let (x, y, w) = (bar.left, self.top(bar.row) + 5.0, (bar.right - bar.left).max(4.0));
        let fill = match (bar.open, bar.core) {
            (true, true) => format!(" style=\"fill:url(#corefade{}{})\"", self.prefix, self.number),
            (true, false) => format!(" style=\"fill:url(#fade{}{})\"", self.prefix, self.number),
            _ => String::new(),
        };
        let fits = text_width(&bar.label) + 8.0 <= w;
        let _ = write!(
            out,
            "<g class=\"{class}\" id=\"{v}{n}-{id}\" tabindex=\"0\" role=\"img\" data-x=\"{x:.0}\" data-w=\"{w:.0}\" \
             data-y=\"{y}\" data-p=\"{p}\" data-f=\"{f}\" aria-label=\"{all}\" transform=\"translate({x:.0},{y})\">\
             <rect width=\"{w:.0}\" height=\"{BAR}\" rx=\"4\"{fill}/><text x=\"7\" y=\"17\"{hide}>{label}</text></g>",
            v = self.prefix,
            n = self.number,
            id = bar.op.0,
            p = op.process,
            f = escape(show::name(self.history, op)),
            all = escape(&self.details(bar.op)),
            hide = if fits { "" } else { " display=\"none\"" },
            label = escape(&bar.label),
        );
    }

    /// All details of an operation, one per line.
    fn details(&self, id: OpId) -> String {
        let (history, op) = (self.history, self.history.operation(id));
        let mut text = format!("process {}: {}", op.process, cut(&show::request(history, op), 200));
        let _ = write!(text, "\nreply: {}", cut(&show::reply(history, op), 200));
        if op.key != crate::KeyId::NONE {
            let _ = write!(text, "\nkey: {}", cut(&history.key(op.key), 80));
        }
        let _ = write!(text, "\ncalled: {}", moment(history, op.called, self.file));
        match op.end {
            End::Info if op.returned == crate::history::NEVER => {
                text.push_str("\nnever returned: may happen at any time");
            }
            End::Info => {
                let _ = write!(text, "\ngave up: {}; may happen later", moment(history, op.returned, self.file));
            }
            _ => {
                let _ = write!(text, "\nreturned: {}", moment(history, op.returned, self.file));
            }
        }
        text
    }

    /// The position of a point of the order.
    fn spot(&self, i: usize) -> (f64, f64) {
        let point = &self.chart.points[i];
        (point.x, self.top(self.chart.bars[point.bar].row) + 5.0 + BAR + 5.0)
    }

    /// Draws the order as numbered points, with the states they lead to, and where it ends.
    fn order(&self, out: &mut String) {
        let points = &self.chart.points;
        for (i, point) in points.iter().enumerate() {
            let (x, y) = self.spot(i);
            let bar = &self.chart.bars[point.bar];
            let mut text =
                format!("{} of {} in the order found: {}", point.place + 1, self.evidence.order.len(), bar.label);
            if let Some(state) = self.states.get(&point.place) {
                let _ = write!(text, "\nthen: {state}");
            }
            let _ = write!(
                out,
                "<g class=\"point\" data-x=\"{x:.0}\" data-y=\"{y}\" tabindex=\"0\" role=\"img\" aria-label=\"{}\" \
                 transform=\"translate({x:.0},{y})\"><circle r=\"8\"/><text y=\"3\">{}</text></g>",
                escape(&text),
                i + 1,
            );
        }
        if let Some(i) = points.len().checked_sub(1).filter(|_| self.evidence.event.is_some()) {
            let (x, y) = self.spot(i);
            let held = self.evidence.order.len().checked_sub(1).and_then(|last| self.states.get(&last));
            let text = held.map_or("stuck here".to_owned(), |held| format!("stuck: {}", cut(held, 40)));
            let _ = write!(
                out,
                "<g class=\"stuck\" data-x=\"{x:.0}\" data-y=\"{y}\" transform=\"translate({x:.0},{y})\">\
                 <circle r=\"11\"/><text x=\"17\" y=\"9\">{}</text></g>",
                escape(&text)
            );
        }
    }

    /// Draws arrows from bar to bar, side by side along the bars. Their labels are between the lanes, where no bar is.
    fn edges(&self, out: &mut String) {
        let find = |op: OpId| self.chart.bars.iter().find(|bar| bar.op == op);
        let edges = &self.evidence.edges;
        let mut taken: Vec<(f64, f64, f64)> = Vec::new();
        for (i, edge) in edges.iter().enumerate() {
            let (Some(from), Some(to)) = (find(edge.from), find(edge.to)) else { continue };
            let (down, level) = (to.row >= from.row, to.row == from.row);
            let share = (i + 1) as f64 / (edges.len() + 1) as f64;
            let x = |bar: &Bar| share.mul_add(bar.right - bar.left, bar.left);
            let y = |bar: &Bar, bottom: bool| self.top(bar.row) + 5.0 + if bottom { BAR + 2.0 } else { -2.0 };
            let (x1, x2) = (x(from), x(to));
            let (y1, y2) = (y(from, down), y(to, level || !down));
            let bend = if down { 30.0 } else { -30.0 };
            // An arrow within one lane bends below the bars.
            let (c1, c2) = (y1 + bend, if level { y2 + bend } else { y2 - bend });
            let why = escape(&cut(super::chart::kind(edge), 60));
            let wide = text_width(super::chart::kind(edge)).min(60.0 * 7.25);
            // The label of such an arrow is below the curve.
            let below = if level { 15.0 } else { 0.0 };
            let label = [y1, c1, c2, y2].map(|y| y + below);
            let (mx, my) = self.spot_on([x1, x1, x2, x2], label, wide, &taken);
            taken.push((mx, my, wide));
            let _ = write!(
                out,
                "<g class=\"edge\"><path data-e=\"{x1:.0} {y1} {c1} {x2:.0} {y2} {c2}\" d=\"M{x1:.0} {y1}C{x1:.0} {c1} \
                 {x2:.0} {c2} {x2:.0} {y2}\" marker-end=\"url(#tip{v}{n})\"/><text data-x=\"{mx:.0}\" x=\"{mx:.0}\" \
                 y=\"{my:.0}\">{why}</text></g>",
                v = self.prefix,
                n = self.number,
            );
        }
    }

    /// Returns the position of a label of this width on a curve: near the middle, between the bars of two lanes, and
    /// not beside another label. Zooming moves bars only sideways, so the label stays clear of them.
    fn spot_on(&self, x: [f64; 4], y: [f64; 4], wide: f64, taken: &[(f64, f64, f64)]) -> (f64, f64) {
        let at = |p: [f64; 4], t: f64| {
            let s = 1.0 - t;
            s * s * s * p[0] + 3.0 * s * s * t * p[1] + 3.0 * s * t * t * p[2] + t * t * t * p[3]
        };
        let height = self.chart.row_height;
        // The free space of a row, from its bars down. A label is about 12 high.
        let between = |y: f64| {
            let row = ((y - TOP) / height).floor().max(0.0);
            let (free, next) = (TOP + row * height + 5.0 + BAR + 14.0, TOP + (row + 1.0) * height);
            y.clamp(free, next)
        };
        let apart = |(mx, my): (f64, f64)| {
            taken.iter().all(|&(ox, oy, other)| (my - oy).abs() > 13.0 || mx + 1.5 * wide < ox || ox + 1.5 * other < mx)
        };
        let spots = (0..=20u32).map(|n| {
            let step = f64::from(n.div_ceil(2)) * 0.04;
            let t = if n.is_multiple_of(2) { 0.5 + step } else { 0.5 - step };
            (at(x, t) + 9.0, between(at(y, t)))
        });
        let spots: Vec<(f64, f64)> = spots.collect();
        spots.iter().copied().find(|&spot| apart(spot)).unwrap_or(spots[0])
    }
}

/// A state in words.
pub(in crate::evidence) fn describe(history: &History, state: &State) -> String {
    let some = |values: &mut dyn Iterator<Item = crate::Value>, count: usize| {
        let shown: Vec<String> = values.take(8).map(|value| show::quoted(history, value)).collect();
        let dots = if count > 8 { " …" } else { "" };
        format!("[{}{dots}]", shown.join(" "))
    };
    match state {
        State::Cell(crate::Value::NIL, _) => "the key is missing".to_owned(),
        State::Cell(value, _) => format!("holds {}", show::quoted(history, *value)),
        State::Pieces(held) if held.iter().all(|&piece| matches!(history.datum(piece), Datum::Text(_))) => {
            let texts = held.iter().filter_map(|&piece| match history.datum(piece) {
                Datum::Text(text) => Some(text),
                _ => None,
            });
            let text: String = texts.collect();
            let skipped = text.chars().count().saturating_sub(32);
            match text.char_indices().nth(skipped).filter(|_| skipped > 0) {
                Some((at, _)) => format!("holds \"…{}", format!("{:?}", &text[at..]).trim_start_matches('"')),
                None => format!("holds {text:?}"),
            }
        }
        State::Pieces(held) => {
            let tail = held.len().saturating_sub(8);
            let dots = if tail > 0 { "… " } else { "" };
            format!("{dots}{}", some(&mut held[tail..].iter().copied(), 0))
        }
        State::Sum(sum) => format!("the sum is {sum}"),
        State::Set(set) => format!("holds {}", some(&mut set.iter().copied(), set.len())),
        State::Queue(queue) => format!("holds {}", some(&mut queue.iter().copied(), queue.len())),
        State::Bag(held, _) => {
            let mut each = held.iter().flat_map(|(&element, &count)| std::iter::repeat_n(element, count));
            format!("holds {}", some(&mut each, held.values().sum()))
        }
        State::Lock(None, _) => "the lock is free".to_owned(),
        State::Lock(Some(holder), _) => format!("process {holder} holds the lock"),
        State::Last(None, _) => "no number was given".to_owned(),
        State::Last(Some(last), _) => format!("the last number is {last}"),
    }
}

//! Line charts as SVG, both axes by powers of two: a straight line at 45 degrees is proportional growth.

use std::fmt::Write as _;

/// One chart.
pub(super) struct Chart {
    pub(super) title: String,
    pub(super) series: Vec<Series>,
}

/// One line.
pub(super) struct Series {
    pub(super) name: String,
    /// Both coordinates above 0.
    pub(super) points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 62.0;
/// Dark enough on white, and apart also for those who see few colours.
const COLOURS: [&str; 3] = ["#0b62a4", "#c4500b", "#3d7a2a"];

/// Draws the charts, two beside each other.
pub(super) fn draw(charts: &[Chart]) -> String {
    let rows = charts.len().div_ceil(2);
    let height = HEIGHT * rows.max(1) as f64;
    let width = WIDTH * 2.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    for (index, chart) in charts.iter().enumerate() {
        let (x, y) = (WIDTH * (index % 2) as f64, HEIGHT * (index / 2) as f64);
        let _ = writeln!(svg, "<g transform=\"translate({x} {y})\">");
        one(chart, &mut svg);
        svg.push_str("</g>\n");
    }
    svg.push_str("</svg>\n");
    svg
}

fn one(chart: &Chart, svg: &mut String) {
    let points = || chart.series.iter().flat_map(|series| &series.points);
    let across = Axis::of(points().map(|point| point.0), LEFT, WIDTH - RIGHT);
    let up = Axis::of(points().map(|point| point.1), HEIGHT - BOTTOM, TOP);
    let _ = writeln!(svg, "<text x=\"{LEFT}\" y=\"18\" font-weight=\"bold\">{}</text>", escaped(&chart.title));
    for value in across.marks() {
        let x = across.at(value);
        let _ = writeln!(
            svg,
            "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{value}</text>",
            HEIGHT - BOTTOM + 16.0
        );
    }
    for value in up.marks() {
        let y = up.at(value);
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {y:.1}H{:.1}\" stroke=\"#ddd\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            y + 4.0
        );
    }
    for (index, series) in chart.series.iter().enumerate() {
        let colour = COLOURS.get(index).unwrap_or(&"black");
        let line: Vec<String> =
            series.points.iter().map(|(x, y)| format!("{:.1},{:.1}", across.at(*x), up.at(*y))).collect();
        let _ = writeln!(
            svg,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>",
            line.join(" ")
        );
        for point in &line {
            if let Some((x, y)) = point.split_once(',') {
                let _ = writeln!(svg, "<circle cx=\"{x}\" cy=\"{y}\" r=\"3\" fill=\"{colour}\"/>");
            }
        }
        let x = LEFT + 118.0 * index as f64;
        let y = HEIGHT - 14.0;
        let _ = writeln!(
            svg,
            "<circle cx=\"{x:.1}\" cy=\"{:.1}\" r=\"4\" fill=\"{colour}\"/><text x=\"{:.1}\" y=\"{y:.1}\">{}</text>",
            y - 4.0,
            x + 8.0,
            escaped(&series.name)
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">VMs</text>",
        WIDTH - RIGHT,
        HEIGHT - BOTTOM + 30.0
    );
}

/// An axis from one power of two to another.
struct Axis {
    low: i32,
    high: i32,
    from: f64,
    to: f64,
}

impl Axis {
    fn of(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values {
            low = low.min(value.log2().floor());
            high = high.max(value.log2().ceil());
        }
        #[expect(clippy::cast_possible_truncation, reason = "exponents of an f64")]
        let (low, high) = (low.clamp(-99.0, 99.0) as i32, high.clamp(-99.0, 99.0) as i32);
        Self { low, high: high.max(low + 1), from, to }
    }

    fn at(&self, value: f64) -> f64 {
        let share = (value.log2() - f64::from(self.low)) / f64::from(self.high - self.low);
        self.from + (self.to - self.from) * share
    }

    /// Powers of two, 8 at most.
    fn marks(&self) -> Vec<f64> {
        let step = usize::try_from((self.high - self.low) / 8 + 1).unwrap_or(1);
        let marks = (self.low..=self.high).step_by(step);
        marks.map(|power| 2f64.powi(power)).collect()
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::{Axis, Chart, Series, draw};

    #[test]
    fn proportional_growth_is_a_straight_line() {
        let axis = Axis::of([1.0, 16.0].into_iter(), 0.0, 80.0);
        let places: Vec<f64> = [1.0, 2.0, 4.0, 8.0, 16.0].map(|x| axis.at(x)).into();
        assert_eq!(places, [0.0, 20.0, 40.0, 60.0, 80.0]);
        assert_eq!(axis.marks(), [1.0, 2.0, 4.0, 8.0, 16.0]);
    }

    #[test]
    fn every_point_and_name_is_drawn() {
        let svg = draw(&[Chart {
            title: "a < b".into(),
            series: vec![Series { name: "line".into(), points: vec![(1.0, 3.0), (2.0, 6.0), (4.0, 12.0)] }],
        }]);
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert_eq!(svg.matches("r=\"3\"").count(), 3);
        assert!(svg.contains("a &lt; b") && svg.contains(">line<"));
    }
}

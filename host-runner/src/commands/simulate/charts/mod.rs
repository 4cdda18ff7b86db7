//! Charts of a run: lines over virtual time, as SVG and as PNG.
//!
//! Pure: the same chart gives the same bytes, on every computer. Nothing is taken from the system, not even a font.

mod paint;

use std::fmt::Display;
use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

pub(super) use paint::PaintError;
use paint::Painted;

/// Pixels of an SVG; a PNG has [`PNG_SCALE`] times as many each way.
const SIZE: (u32, u32) = (860, 320);
/// For screens with small pixels, and for print.
const PNG_SCALE: u32 = 2;
/// Twelve pixels: plotters draws 1/1.24 of it.
const LABEL_SIZE: u32 = 15;
const TITLE_SIZE: u32 = 19;
/// How many lines one chart shows at most.
pub(super) const LINES_MAX: usize = LINE_COLOURS.len();
/// How many points a line is drawn with at most; a longer one shows the highest of each stretch.
const POINTS_MAX: usize = 1_440;

const PAPER: RGBColor = RGBColor(0xff, 0xff, 0xff);
const TEXT: RGBColor = RGBColor(0x4d, 0x61, 0x68);
const TITLE: RGBColor = RGBColor(0x1f, 0x2f, 0x34);
const MESH: RGBColor = RGBColor(0xdf, 0xe6, 0xe6);
const LINE_COLOURS: [RGBColor; 5] = [
    RGBColor(0x4b, 0x9c, 0xa3),
    RGBColor(0xb5, 0x77, 0x1c),
    RGBColor(0x8a, 0x5a, 0x83),
    RGBColor(0x6d, 0x8a, 0x3c),
    RGBColor(0x4d, 0x61, 0x68),
];

/// A quantity over time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    /// What it is.
    pub(super) name: String,
    /// Seconds since the start, and the value; ordered by time.
    pub(super) points: Vec<(f64, f64)>,
}

/// Lines of the same unit over the same time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Chart {
    /// What it shows.
    pub(super) title: String,
    /// The unit of the values, such as `W`; empty for a count.
    pub(super) unit: &'static str,
    /// At most [`LINES_MAX`]; more are left out.
    pub(super) lines: Vec<Line>,
}

impl Chart {
    /// As an SVG document.
    pub(super) fn svg(&self) -> Result<String, PaintError> {
        let mut text = String::new();
        self.draw(SVGBackend::with_string(&mut text, SIZE), 1)?;
        Ok(text)
    }

    /// As a PNG file.
    pub(super) fn png(&self) -> Result<Vec<u8>, PaintError> {
        let size = (SIZE.0 * PNG_SCALE, SIZE.1 * PNG_SCALE);
        paint::png(size, |backend: Painted<'_>| self.draw(backend, PNG_SCALE))
    }

    fn draw<B: DrawingBackend>(&self, backend: B, scale: u32) -> Result<(), PaintError> {
        let root = backend.into_drawing_area();
        root.fill(&PAPER).map_err(failed)?;
        let lines: Vec<Line> = self.lines.iter().take(LINES_MAX).map(Line::thinned).collect();
        self.draw_head(&root, &lines, scale)?;
        let end = lines.iter().flat_map(|line| &line.points).map(|(at, _)| *at);
        let (units, step, step_word) = time_axis(end.fold(0.0, f64::max));
        let highest = lines
            .iter()
            .flat_map(|line| &line.points)
            .map(|(_, value)| *value);
        let top = nice_top(highest.fold(0.0, f64::max));
        let label = ("sans-serif", LABEL_SIZE * scale).into_font().color(&TEXT);
        let mut chart = ChartBuilder::on(&root)
            .margin_top(58 * scale)
            .margin_right(24 * scale)
            .margin_bottom(8 * scale)
            .margin_left(8 * scale)
            .x_label_area_size(28 * scale)
            .y_label_area_size(72 * scale)
            .build_cartesian_2d(TimeAxis::new(units), 0.0..top)
            .map_err(failed)?;
        let value_label = |value: &f64| labelled(*value, top, self.unit);
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(MESH.stroke_width(scale))
            .axis_style(MESH.stroke_width(scale))
            .x_labels(9)
            .y_labels(5)
            .x_label_formatter(&|at: &f64| format!("{} {step_word}", short(*at, units.max(10.0))))
            .y_label_formatter(&value_label)
            .x_label_style(label.clone())
            .y_label_style(label)
            .draw()
            .map_err(failed)?;
        for (line, colour) in lines.iter().zip(LINE_COLOURS) {
            let points = line.points.iter().map(|(at, value)| (at / step, *value));
            chart
                .draw_series(LineSeries::new(points, colour.stroke_width(2 * scale)))
                .map_err(failed)?;
        }
        root.present().map_err(failed)
    }

    /// The title, and below it each line's name in its colour.
    fn draw_head<B: DrawingBackend>(
        &self,
        root: &DrawingArea<B, Shift>,
        lines: &[Line],
        scale: u32,
    ) -> Result<(), PaintError> {
        let at = |x: u32, y: u32| (coordinate(x * scale), coordinate(y * scale));
        let anchor = Pos::new(HPos::Left, VPos::Top);
        let title = ("sans-serif", TITLE_SIZE * scale)
            .into_font()
            .color(&TITLE)
            .pos(anchor);
        root.draw_text(&self.title, &title, at(16, 12)).map_err(failed)?;
        let mut x = 16;
        for (line, colour) in lines.iter().zip(LINE_COLOURS) {
            let mark = Rectangle::new([at(x, 41), at(x + 14, 44)], colour.filled());
            root.draw(&mark).map_err(failed)?;
            let name = ("sans-serif", LABEL_SIZE * scale)
                .into_font()
                .color(&TEXT)
                .pos(anchor);
            root.draw_text(&line.name, &name, at(x + 20, 36))
                .map_err(failed)?;
            // Estimated alike for both formats, so that they look alike.
            x += 20
                + 7 * u32::try_from(line.name.chars().count())
                    .unwrap_or(u32::MAX / 32)
                    .min(100)
                + 18;
        }
        Ok(())
    }
}

impl Line {
    /// With no more points than can be told apart.
    fn thinned(&self) -> Self {
        let stretch = self.points.len().div_ceil(POINTS_MAX).max(1);
        let highest = |points: &[(f64, f64)]| points.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1));
        Self {
            name: self.name.clone(),
            points: (self.points.chunks(stretch))
                .filter_map(highest)
                .filter(|(at, value)| at.is_finite() && value.is_finite())
                .collect(),
        }
    }
}

fn failed(err: impl Display) -> PaintError {
    PaintError::Draw(err.to_string())
}

fn coordinate(pixels: u32) -> i32 {
    i32::try_from(pixels).unwrap_or(i32::MAX)
}

/// The axis' length, a whole number of units; and the unit: its length in seconds, and its sign.
fn time_axis(end_s: f64) -> (f64, f64, &'static str) {
    let (step, word) = if end_s > 4.0 * 86_400.0 {
        (86_400.0, "d")
    } else if end_s > 2.0 * 3_600.0 {
        (3_600.0, "h")
    } else {
        (60.0, "min")
    };
    ((end_s / step).ceil().max(1.0), step, word)
}

/// From the start of the run to its end, marked where clocks are.
struct TimeAxis {
    units: f64,
    places: RangedCoordf64,
}

impl TimeAxis {
    fn new(units: f64) -> Self {
        Self {
            units,
            places: (0.0..units).into(),
        }
    }
}

impl Ranged for TimeAxis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        self.places.map(value, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        ticks(self.units)
    }

    fn range(&self) -> Range<f64> {
        self.places.range()
    }
}

impl ValueFormatter<f64> for TimeAxis {
    fn format(value: &f64) -> String {
        value.to_string()
    }
}

/// Where a time axis is marked: at most ten places, at distances that clocks have.
fn ticks(units: f64) -> Vec<f64> {
    let distances = [1.0, 2.0, 3.0, 6.0, 10.0, 20.0, 30.0, 60.0, 120.0];
    let distance = distances
        .into_iter()
        .find(|distance| units / distance <= 9.0)
        .unwrap_or(units);
    (0..10_u32)
        .map(|number| f64::from(number) * distance)
        .take_while(|at| *at <= units)
        .collect()
}

/// A value with its unit; nothing has none. What is counted is whole.
fn labelled(value: f64, top: f64, unit: &str) -> String {
    if unit.is_empty() {
        return if value.fract() == 0.0 {
            short(value, top.max(10.0))
        } else {
            String::new()
        };
    }
    if value == 0.0 {
        "0".to_owned()
    } else {
        format!("{} {unit}", short(value, top))
    }
}

/// A little above the highest value: one, two, two and a half, four, five or eight times a power of ten.
fn nice_top(highest: f64) -> f64 {
    if highest <= 0.0 || !highest.is_finite() {
        return 1.0;
    }
    let magnitude = 10_f64.powf(highest.log10().floor());
    let steps = [1.0, 2.0, 2.5, 4.0, 5.0, 8.0, 10.0];
    let fitting = steps
        .into_iter()
        .map(|step| step * magnitude)
        .find(|top| *top >= highest);
    fitting.unwrap_or(10.0 * magnitude)
}

/// A label's figure: with decimals only where the axis needs them, and thousands as `k`.
fn short(value: f64, top: f64) -> String {
    if top >= 10_000.0 {
        return format!("{}k", short(value / 1_000.0, top / 1_000.0));
    }
    let decimals = if top > 8.0 {
        0
    } else if top > 0.8 {
        1
    } else {
        3
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: &[(f64, f64)]) -> Chart {
        let line = |name: &str| Line {
            name: name.to_owned(),
            points: points.to_vec(),
        };
        Chart {
            title: "Power <all machines>".to_owned(),
            unit: "W",
            lines: vec![line("spread"), line("save power")],
        }
    }

    fn day() -> Vec<(f64, f64)> {
        (0..288_u32)
            .map(|step| (f64::from(step) * 300.0, f64::from(step % 40) * 100.0))
            .collect()
    }

    /// The share of pixels that are not paper, in a part of the picture.
    fn inked(png_bytes: &[u8], x: std::ops::Range<u32>, y: std::ops::Range<u32>) -> f64 {
        let mut reader = png::Decoder::new(std::io::Cursor::new(png_bytes))
            .read_info()
            .unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let frame = reader.next_frame(&mut pixels).unwrap();
        assert_eq!(
            (frame.width, frame.height),
            (SIZE.0 * PNG_SCALE, SIZE.1 * PNG_SCALE)
        );
        let (mut ink, mut all) = (0.0, 0.0);
        for row in y {
            for column in x.clone() {
                let at = 3 * (row * frame.width + column) as usize;
                all += 1.0;
                ink += f64::from(u8::from(pixels[at..at + 3] != [255; 3]));
            }
        }
        ink / all
    }

    #[test]
    fn an_svg_names_its_title_its_lines_and_its_units() {
        let svg = chart(&day()).svg().unwrap();
        for word in [
            "Power &lt;all machines&gt;",
            "spread",
            "save power",
            "4000 W",
            "24 h",
            "12 h",
        ] {
            assert!(svg.contains(word), "{word} is not in {svg}");
        }
    }

    #[test]
    fn a_png_has_words_and_lines_without_any_font_of_the_system() {
        let png = chart(&day()).png().unwrap();
        let title = inked(&png, 32..400, 24..56);
        assert!((0.02..0.6).contains(&title), "the title covers {title}");
        let plot = inked(&png, 200..1_600, 140..560);
        assert!((0.01..0.5).contains(&plot), "the lines cover {plot}");
        let margin = inked(&png, 0..1_720, 0..16);
        assert!(margin < 1e-9, "the margin is empty");
    }

    #[test]
    fn the_same_chart_is_the_same_bytes() {
        assert_eq!(chart(&day()).png().unwrap(), chart(&day()).png().unwrap());
        assert_eq!(chart(&day()).svg().unwrap(), chart(&day()).svg().unwrap());
    }

    #[test]
    fn nothing_a_constant_zero_and_what_is_no_number_can_be_drawn() {
        for points in [
            vec![],
            vec![(0.0, 0.0)],
            vec![(0.0, f64::NAN), (60.0, f64::INFINITY), (120.0, 1.0)],
        ] {
            chart(&points).svg().unwrap();
            chart(&points).png().unwrap();
        }
    }

    #[test]
    fn a_long_line_keeps_its_peaks() {
        let mut points: Vec<_> = (0..100_000_u32).map(|at| (f64::from(at), 1.0)).collect();
        points[54_321].1 = 9.0;
        let thinned = Line {
            name: String::new(),
            points,
        }
        .thinned();
        assert!(thinned.points.len() <= POINTS_MAX);
        assert!(thinned.points.iter().any(|(_, value)| *value > 8.0));
    }

    #[test]
    fn a_time_axis_is_marked_where_clocks_are() {
        assert_eq!(ticks(24.0), [0.0, 3.0, 6.0, 9.0, 12.0, 15.0, 18.0, 21.0, 24.0]);
        assert_eq!((ticks(1.0), ticks(90.0).len()), (vec![0.0, 1.0], 10));
        assert_eq!(ticks(100_000.0), [0.0, 100_000.0]);
        assert_eq!(time_axis(86_100.0), (24.0, 3_600.0, "h"));
    }

    #[test]
    fn counts_are_labelled_where_they_are_whole_and_nothing_has_no_unit() {
        assert_eq!(
            [0.0, 0.5, 3.0].map(|value| labelled(value, 4.0, "")),
            ["0", "", "3"]
        );
        assert_eq!(
            [0.0, 50_000.0].map(|value| labelled(value, 50_000.0, "W")),
            ["0", "50k W"]
        );
    }

    #[test]
    fn axes_end_at_round_figures_and_labels_are_short() {
        for (highest, top) in [
            (0.0, 1.0),
            (0.03, 0.04),
            (7.1, 8.0),
            (8.1, 10.0),
            (2_400.0, 2_500.0),
        ] {
            assert!(
                (nice_top(highest) - top).abs() < 1e-9,
                "{highest}: {}",
                nice_top(highest)
            );
        }
        assert_eq!(short(25_000.0, 50_000.0), "25k");
        assert_eq!(
            (short(0.5, 1.0), short(0.025, 0.05)),
            ("0.5".into(), "0.025".into())
        );
    }
}

//! Charts: series to SVG, for the window and for exported reports.

use api::Timestamp;
use plotters::prelude::*;

use crate::history::UsageSample;

/// The time that a machine's chart shows, in milliseconds.
pub const CHART_SPAN_MS: i64 = 60 * 60 * 1000;

/// A gap longer than this breaks the line: nothing was measured there, so nothing is drawn.
const GAP_MS: i64 = 45_000;

const SIZE: (u32, u32) = (560, 200);

/// Eleven pixels: plotters writes 1/1.24 of it.
const LABEL_SIZE: u32 = 14;

/// Why a chart cannot be drawn.
#[derive(Debug, thiserror::Error)]
pub enum ChartError {
    /// The drawing failed.
    #[error("the drawing failed: {reason}")]
    Draw {
        /// Why.
        reason: String,
    },
}

struct Ink {
    text: RGBColor,
    line: RGBColor,
    water: RGBColor,
    accent: RGBColor,
}

const LIGHT: Ink = Ink {
    text: RGBColor(0x4d, 0x61, 0x68),
    line: RGBColor(0xdf, 0xe6, 0xe6),
    water: RGBColor(0x4b, 0x9c, 0xa3),
    accent: RGBColor(0xb5, 0x77, 0x1c),
};

const DARK: Ink = Ink {
    text: RGBColor(0x9d, 0xb2, 0xb6),
    line: RGBColor(0x24, 0x38, 0x3d),
    water: RGBColor(0x58, 0xb3, 0xba),
    accent: RGBColor(0xe0, 0xa5, 0x4a),
};

/// A machine's CPU (a line) and memory (an area) over the hour before `now`, in percent over minutes ago, as an SVG document without a
/// background.
///
/// Pure: the same series gives the same document. `samples` are ordered by time; a gap in them is a gap in the chart.
pub fn machine_chart(
    machine: &str,
    samples: &[UsageSample],
    now: Timestamp,
    dark: bool,
) -> Result<String, ChartError> {
    let ink = if dark { &DARK } else { &LIGHT };
    let cpu = runs(samples, now, |sample| sample.cpu_percent);
    let memory = runs(samples, now, |sample| match sample.memory_total.0 {
        0 => 0.0,
        total => f64::from(sample.memory_used.0) * 100.0 / f64::from(total),
    });
    let mut svg = String::new();
    draw(&mut svg, ink, &cpu, &memory).map_err(|reason| ChartError::Draw { reason })?;
    Ok(with_title(&svg, &title(machine, samples)))
}

/// Pieces without gaps, as (minutes from now, percent).
fn runs(
    samples: &[UsageSample],
    now: Timestamp,
    value: impl Fn(&UsageSample) -> f64,
) -> Vec<Vec<(f64, f64)>> {
    let mut runs: Vec<Vec<(f64, f64)>> = Vec::new();
    let mut last_ms = None;
    for sample in samples {
        let age_ms = now.unix_ms().saturating_sub(sample.at.unix_ms());
        // An hour in milliseconds is exact as a float.
        let Ok(age) = u32::try_from(age_ms) else { continue };
        if age_ms > CHART_SPAN_MS {
            continue;
        }
        let at_ms = sample.at.unix_ms();
        if last_ms.is_none_or(|last: i64| at_ms.saturating_sub(last) > GAP_MS) {
            runs.push(Vec::new());
        }
        last_ms = Some(at_ms);
        if let Some(run) = runs.last_mut() {
            run.push((-f64::from(age) / 60_000.0, value(sample).clamp(0.0, 100.0)));
        }
    }
    runs
}

fn draw(
    svg: &mut String,
    ink: &Ink,
    cpu: &[Vec<(f64, f64)>],
    memory: &[Vec<(f64, f64)>],
) -> Result<(), String> {
    let text = |size: u32| ("sans-serif", size).into_font().color(&ink.text);
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    let mut chart = ChartBuilder::on(&root)
        .margin(10)
        .margin_right(28)
        .x_label_area_size(22)
        .y_label_area_size(44)
        .build_cartesian_2d(-60.0..0.0, 0.0..100.0)
        .map_err(|err| err.to_string())?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(ink.line)
        .axis_style(ink.line)
        .x_labels(5)
        .y_labels(3)
        .x_label_formatter(&|minutes: &f64| format!("{:.0} min", minutes.abs()))
        .y_label_formatter(&|percent| format!("{percent:.0} %"))
        .x_label_style(text(LABEL_SIZE))
        .y_label_style(text(LABEL_SIZE))
        .draw()
        .map_err(|err| err.to_string())?;
    for run in memory {
        let area = AreaSeries::new(run.iter().copied(), 0.0, ink.water.mix(0.25)).border_style(ink.water);
        chart.draw_series(area).map_err(|err| err.to_string())?;
    }
    for run in cpu {
        let line = LineSeries::new(run.iter().copied(), ink.accent.stroke_width(2));
        chart.draw_series(line).map_err(|err| err.to_string())?;
    }
    root.present().map_err(|err| err.to_string())?;
    Ok(())
}

/// What a screen reader says in place of the picture.
fn title(machine: &str, samples: &[UsageSample]) -> String {
    match samples.last() {
        Some(last) => format!(
            "CPU and memory of {machine} over the last hour; now {:.0} % CPU, {} of {} memory",
            last.cpu_percent, last.memory_used, last.memory_total
        ),
        None => format!("CPU and memory of {machine} over the last hour; nothing was measured yet"),
    }
}

fn with_title(svg: &str, title: &str) -> String {
    let mut escaped = String::with_capacity(title.len());
    for character in title.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            control if control.is_control() => escaped.push(' '),
            other => escaped.push(other),
        }
    }
    match svg
        .split_once("<svg ")
        .and_then(|(before, rest)| Some((before, rest.split_once('>')?)))
    {
        Some((before, (attributes, body))) => {
            format!(
                "{before}<svg role=\"img\" aria-label=\"{escaped}\" {attributes}>\n<title>{escaped}</title>{body}"
            )
        }
        None => svg.to_owned(),
    }
}

//! A bitmap with words: plotters' own, and glyphs of a font that the program brings along.
//!
//! plotters draws words with the system's fonts or with none. A server has no fonts, and a chart should look the same everywhere.

use ab_glyph::{Font, FontRef, GlyphId, PxScale, ScaleFont, point};
use plotters::backend::{BitMapBackend, RGBPixel};
use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind,
};

/// Inter Regular by the Inter Project Authors, cut down to Latin letters; its licence is beside it.
const FONT: &[u8] = include_bytes!("inter-latin.otf");
/// plotters' text size is this much larger than the letters' em square.
const SIZE_PER_EM: f64 = 1.24;
/// How far the baseline is below the top of a line, in em squares.
const BASELINE: f32 = 0.76;

/// Why a chart cannot be drawn.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PaintError {
    /// The drawing failed.
    #[error("cannot draw a chart: {0}")]
    Draw(String),
    /// The picture cannot be encoded.
    #[error("cannot encode a chart as PNG: {0}")]
    Encode(String),
}

/// A picture that is being painted.
pub(super) struct Painted<'a> {
    bitmap: BitMapBackend<'a, RGBPixel>,
    font: FontRef<'static>,
}

/// Paints a picture of this size and encodes it.
pub(super) fn png(
    size: (u32, u32),
    draw: impl FnOnce(Painted<'_>) -> Result<(), PaintError>,
) -> Result<Vec<u8>, PaintError> {
    let font = FontRef::try_from_slice(FONT).map_err(|err| PaintError::Draw(err.to_string()))?;
    let mut pixels = vec![0; size.0 as usize * size.1 as usize * 3];
    draw(Painted {
        bitmap: BitMapBackend::with_buffer(&mut pixels, size),
        font,
    })?;
    let mut file = Vec::new();
    let failed = |err: png::EncodingError| PaintError::Encode(err.to_string());
    let mut encoder = png::Encoder::new(&mut file, size.0, size.1);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(&pixels).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(file)
}

impl Painted<'_> {
    /// The font's scale at which its em square is as high as plotters draws letters of this size.
    fn scale(&self, size: f64) -> PxScale {
        let em = self.font.units_per_em().unwrap_or(1_000.0);
        #[expect(clippy::cast_possible_truncation, reason = "pixels of a letter")]
        let pixels = (size / SIZE_PER_EM) as f32;
        PxScale::from(pixels * self.font.height_unscaled() / em)
    }

    /// Each letter with its distance from the first, and the width of all.
    fn laid_out(&self, text: &str, scale: PxScale) -> (Vec<(GlyphId, f32)>, f32) {
        let font = self.font.as_scaled(scale);
        let (mut glyphs, mut x): (Vec<(GlyphId, f32)>, f32) = (Vec::new(), 0.0);
        for letter in text.chars() {
            let glyph = font.glyph_id(letter);
            if let Some((before, _)) = glyphs.last() {
                x += font.kern(*before, glyph);
            }
            glyphs.push((glyph, x));
            x += font.h_advance(glyph);
        }
        (glyphs, x)
    }
}

impl DrawingBackend for Painted<'_> {
    type ErrorType = <BitMapBackend<'static, RGBPixel> as DrawingBackend>::ErrorType;

    fn get_size(&self) -> (u32, u32) {
        self.bitmap.get_size()
    }

    fn ensure_prepared(&mut self) -> Result<(), DrawingErrorKind<Self::ErrorType>> {
        self.bitmap.ensure_prepared()
    }

    fn present(&mut self) -> Result<(), DrawingErrorKind<Self::ErrorType>> {
        self.bitmap.present()
    }

    fn draw_pixel(
        &mut self,
        point: BackendCoord,
        colour: BackendColor,
    ) -> Result<(), DrawingErrorKind<Self::ErrorType>> {
        self.bitmap.draw_pixel(point, colour)
    }

    fn draw_line<S: BackendStyle>(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        style: &S,
    ) -> Result<(), DrawingErrorKind<Self::ErrorType>> {
        self.bitmap.draw_line(from, to, style)
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        upper_left: BackendCoord,
        bottom_right: BackendCoord,
        style: &S,
        fill: bool,
    ) -> Result<(), DrawingErrorKind<Self::ErrorType>> {
        self.bitmap.draw_rect(upper_left, bottom_right, style, fill)
    }

    fn draw_text<S: BackendTextStyle>(
        &mut self,
        text: &str,
        style: &S,
        at: BackendCoord,
    ) -> Result<(), DrawingErrorKind<Self::ErrorType>> {
        let scale = self.scale(style.size());
        let (glyphs, width) = self.laid_out(text, scale);
        #[expect(clippy::cast_possible_truncation, reason = "pixels of a letter")]
        let em = (style.size() / SIZE_PER_EM) as f32;
        let left = match style.anchor().h_pos {
            HPos::Left => 0.0,
            HPos::Right => -width,
            HPos::Center => -width / 2.0,
        };
        let top = match style.anchor().v_pos {
            VPos::Top => 0.0,
            VPos::Center => -em / 2.0,
            VPos::Bottom => -em,
        };
        let (colour, turned) = (style.color(), style.transform());
        for (glyph, x) in glyphs {
            let glyph = glyph.with_scale_and_position(scale, point(left + x, top + BASELINE * em));
            let Some(outline) = self.font.outline_glyph(glyph) else {
                continue;
            };
            let corner = outline.px_bounds().min;
            let mut painted = Ok(());
            outline.draw(|x, y, coverage| {
                if painted.is_err() || coverage <= 0.0 {
                    return;
                }
                let (x, y) =
                    turned.transform(pixel(corner.x) + coordinate(x), pixel(corner.y) + coordinate(y));
                let alpha = colour.alpha * f64::from(coverage.min(1.0));
                painted = self
                    .bitmap
                    .draw_pixel((at.0 + x, at.1 + y), BackendColor { alpha, ..colour });
            });
            painted?;
        }
        Ok(())
    }

    fn estimate_text_size<S: BackendTextStyle>(
        &self,
        text: &str,
        style: &S,
    ) -> Result<(u32, u32), DrawingErrorKind<Self::ErrorType>> {
        let (_, width) = self.laid_out(text, self.scale(style.size()));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "sizes of words in a picture: small, and not negative"
        )]
        let size = (width.ceil() as u32, (style.size() / SIZE_PER_EM).ceil() as u32);
        Ok(size)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a place in a picture")]
fn pixel(at: f32) -> i32 {
    at.floor() as i32
}

fn coordinate(pixels: u32) -> i32 {
    i32::try_from(pixels).unwrap_or(i32::MAX)
}

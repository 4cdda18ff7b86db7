use super::Question;
use crate::{ImageState, Refusal};

pub(super) fn is_there(question: &Question<'_>) -> Result<(), Refusal> {
    let Some(wanted) = question.subject.asked.image else {
        return Ok(());
    };
    let image = || question.word(question.subject.pool.words().images.word(wanted));
    match question.seat.image(wanted) {
        Some(ImageState::Ready) => Ok(()),
        Some(ImageState::Corrupt) => Err(Refusal::ImageCorrupt { image: image() }),
        None => Err(Refusal::ImageMissing { image: image() }),
    }
}

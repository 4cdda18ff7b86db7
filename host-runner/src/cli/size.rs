//! Sizes as people write them.

use api::Mib;

/// Reads "512 MiB", "4GiB", "1.5G" or a plain number of MiB.
///
/// # Errors
/// What is no size, or not a whole number of MiB; the words name what is expected.
pub(super) fn size(text: &str) -> Result<Mib, String> {
    const EXPECTED: &str = "a size is expected, such as 512MiB, 4GiB or 1.5TiB; a number alone is in MiB";
    let text = text.trim();
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let mib_per_unit = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "m" | "mib" => 1.0,
        "g" | "gib" => 1_024.0,
        "t" | "tib" => 1_024.0 * 1_024.0,
        _ => return Err(EXPECTED.to_owned()),
    };
    let number: f64 = number.parse().map_err(|_| EXPECTED.to_owned())?;
    let mib = number * mib_per_unit;
    if mib.fract() != 0.0 || mib > f64::from(u32::MAX) {
        return Err(format!(
            "{text} is not a whole number of MiB, at most {} MiB",
            u32::MAX
        ));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number within the range, as just checked"
    )]
    Ok(Mib(mib as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        assert_eq!(
            ["512", "512MiB", "512 m", "0.5GiB"].map(|text| size(text).unwrap()),
            [Mib(512); 4]
        );
        assert_eq!(
            ["4G", "4 GiB", "0.00390625TiB"].map(|text| size(text).unwrap()),
            [Mib(4_096); 3]
        );
    }

    #[test]
    fn what_is_no_size_says_what_is_expected() {
        for text in ["", "G", "4 GB", "-1", "1..5", "1e3", "4 GiB x"] {
            assert!(size(text).unwrap_err().contains("such as 512MiB"), "{text:?}");
        }
        for text in ["0.3", "5000TiB"] {
            assert!(
                size(text).unwrap_err().contains("whole number of MiB"),
                "{text:?}"
            );
        }
    }
}

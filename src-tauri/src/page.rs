//! The window's page, as the app answers it.

use crate::contract::Opening;

/// What the page's head ends with. The page's build writes it in lower case.
const HEAD_END: &[u8] = b"</head>";

/// The page with what it shows first inside: a `<script type="application/json" id="opening">`, which no browser runs.
///
/// A page without a head is left as it is.
///
/// # Errors
///
/// When `opening` cannot be written as JSON.
pub fn with_opening(page: &[u8], opening: &Opening) -> serde_json::Result<Vec<u8>> {
    // Names come from machines that are not this one: what could end the element or begin a comment in it is escaped.
    let json = serde_json::to_string(opening)?.replace('<', "\\u003c");
    let at = page.windows(HEAD_END.len()).position(|part| part == HEAD_END);
    let Some((head, rest)) = at.and_then(|at| page.split_at_checked(at)) else {
        return Ok(page.to_vec());
    };
    let element = format!("<script type=\"application/json\" id=\"opening\">{json}</script>");
    Ok([head, element.as_bytes(), rest].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{PoolPicture, Settings};

    fn opening(language: &str) -> Opening {
        Opening {
            settings: Settings {
                language: Some(language.to_owned()),
                ..Settings::default()
            },
            templates: Vec::new(),
            picture: PoolPicture {
                version: 7,
                machines: Vec::new(),
                instances: Vec::new(),
            },
        }
    }

    #[test]
    fn the_head_ends_with_what_the_window_shows_first() {
        let page = with_opening(b"<head><title>M</title></head><body></body>", &opening("en")).expect("JSON");
        let page = String::from_utf8(page).expect("text");
        let (before, rest) = page
            .split_once("<script type=\"application/json\" id=\"opening\">")
            .expect("the element");
        let (json, after) = rest.split_once("</script>").expect("its end");
        assert_eq!(
            (before, after),
            ("<head><title>M</title>", "</head><body></body>")
        );
        assert_eq!(
            serde_json::from_str::<Opening>(json).expect("an opening"),
            opening("en")
        );
    }

    #[test]
    fn a_name_from_elsewhere_cannot_end_the_element() {
        let hostile = opening("</script><script>alert(1)</script><!--");
        let page = with_opening(b"<head></head>", &hostile).expect("JSON");
        let page = String::from_utf8(page).expect("text");
        assert_eq!(page.matches("<script").count(), 1, "{page}");
        assert_eq!(page.matches("</script").count(), 1, "{page}");
        assert!(!page.contains("<!--"), "{page}");
    }

    #[test]
    fn a_page_without_a_head_is_left_alone() {
        assert_eq!(
            with_opening(b"<p>none", &opening("en")).expect("JSON"),
            b"<p>none"
        );
    }
}

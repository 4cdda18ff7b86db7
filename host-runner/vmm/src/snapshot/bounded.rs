//! Lists of bounded length in a state file: an element of a byte in the file may be one of many in memory.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error as _, SeqAccess, Visitor};

/// Reads a list of at most `MAX` elements; of a longer one, no more than that is looked at.
pub fn at_most<'de, D, T, const MAX: usize>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    from.deserialize_seq(AtMost::<T, MAX>(PhantomData))
}

struct AtMost<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for AtMost<T, MAX> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MAX} elements")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = from.next_element()? {
            if list.len() == MAX {
                return Err(A::Error::invalid_length(MAX + 1, &self));
            }
            list.push(element);
        }
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Few(#[serde(deserialize_with = "super::at_most::<_, _, 3>")] Vec<u8>);

    #[test]
    fn a_list_that_is_too_long_is_refused_whatever_it_says_of_its_length() {
        let read = |list: &[u8]| postcard::from_bytes::<Few>(&postcard::to_stdvec(list).unwrap());
        assert_eq!(read(&[1, 2, 3]), Ok(Few(vec![1, 2, 3])));
        assert!(read(&[1, 2, 3, 4]).is_err());
        // A length of 2^32 - 1, and one element.
        assert!(postcard::from_bytes::<Few>(&[0xff, 0xff, 0xff, 0xff, 0x0f, 1]).is_err());
    }
}

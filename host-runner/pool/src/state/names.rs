use std::collections::HashMap;
use std::marker::PhantomData;

/// A word of one vocabulary (groups, tags, …), as a number: comparing is cheap, and two vocabularies cannot be mixed up.
pub struct Name<Vocabulary> {
    number: u32,
    vocabulary: PhantomData<fn() -> Vocabulary>,
}

// Derived, these would ask the same of the vocabulary, which is only a label.
impl<V> Clone for Name<V> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<V> Copy for Name<V> {}
impl<V> PartialEq for Name<V> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}
impl<V> Eq for Name<V> {}
impl<V> PartialOrd for Name<V> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<V> Ord for Name<V> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.number.cmp(&other.number)
    }
}
impl<V> std::hash::Hash for Name<V> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.number.hash(state);
    }
}
impl<V> std::fmt::Debug for Name<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "#{}", self.number)
    }
}

/// The words of one vocabulary, each stored once.
#[derive(Debug, Clone)]
pub struct Names<Vocabulary> {
    // Looked up by word, never walked: its order decides nothing.
    numbers: HashMap<Box<str>, u32>,
    words: Vec<Box<str>>,
    vocabulary: PhantomData<fn() -> Vocabulary>,
}

impl<V> Default for Names<V> {
    fn default() -> Self {
        Self {
            numbers: HashMap::new(),
            words: Vec::new(),
            vocabulary: PhantomData,
        }
    }
}

impl<V> Names<V> {
    /// The word's number, a new one for a new word. No inventory has more words than a `u32` counts.
    pub fn learn(&mut self, word: &str) -> Name<V> {
        if let Some(number) = self.numbers.get(word) {
            return Name::of(*number);
        }
        let number = u32::try_from(self.words.len()).unwrap_or(u32::MAX);
        self.words.push(word.into());
        self.numbers.insert(word.into(), number);
        Name::of(number)
    }

    /// The word; empty for a number of another pool.
    pub fn word(&self, name: Name<V>) -> &str {
        self.words.get(name.number as usize).map_or("", |word| word)
    }
}

impl<V> Name<V> {
    /// Its number among `of` equal shares.
    pub(super) fn share_of(self, of: u32) -> u32 {
        self.number % of
    }

    fn of(number: u32) -> Self {
        Self {
            number,
            vocabulary: PhantomData,
        }
    }
}

/// Labels the names of groups.
#[derive(Debug, Clone)]
pub enum Groups {}
/// Labels the names of tags.
#[derive(Debug, Clone)]
pub enum Tags {}
/// Labels the names of sites.
#[derive(Debug, Clone)]
pub enum Sites {}
/// Labels the names of hardware classes.
#[derive(Debug, Clone)]
pub enum HardwareClasses {}
/// Labels the names of images.
#[derive(Debug, Clone)]
pub enum Images {}
/// Labels the names of storages.
#[derive(Debug, Clone)]
pub enum Storages {}

/// All vocabularies of a pool.
#[derive(Debug, Clone, Default)]
pub struct Vocabularies {
    /// Groups of instances.
    pub groups: Names<Groups>,
    /// Tags of machines.
    pub tags: Names<Tags>,
    /// Sites.
    pub sites: Names<Sites>,
    /// Hardware classes.
    pub hardware: Names<HardwareClasses>,
    /// Images.
    pub images: Names<Images>,
    /// Storages.
    pub storages: Names<Storages>,
}
